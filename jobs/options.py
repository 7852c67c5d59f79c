"""Checks of options that many commands share."""

from __future__ import annotations


def at_least(least: int, **options: int | None) -> None:
    """Raise a ValueError for an option that is given and smaller; names are those of the options."""
    for name, value in options.items():
        if value is not None and value < least:
            raise ValueError(f"--{name} {value}: must be at least {least}")
