"""Sizes of networks."""

from __future__ import annotations

from dataclasses import dataclass

from epgbloch._checks import require_count

CELLS = ("gru", "lstm")
"""Recurrent cells."""


@dataclass(frozen=True)
class NetworkSize:
    """Size of a network. The default is the published one: 16,643 parameters.

    Parameters
    ----------
    layers : int
        Recurrent layers.
    units : int
        Width of every layer.
    cell : {"gru", "lstm"}
        Recurrent cell.

    Raises
    ------
    ValueError
        If a number is below 1 or the cell unknown.
    """

    layers: int = 3
    units: int = 32
    cell: str = "gru"

    def __post_init__(self) -> None:
        require_count("layers", self.layers)
        require_count("units", self.units)
        if self.cell not in CELLS:
            raise ValueError(f"cell={self.cell!r} must be one of {', '.join(CELLS)}")
