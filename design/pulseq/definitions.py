"""Definitions of a Pulseq file that say what is encoded: slice, field of view and matrix."""

from __future__ import annotations

from typing import Any

import numpy as np

_LARGEST_FOV = 2.0  # m; more is in another unit


def definition(definitions: dict[str, Any], name: str) -> float | None:
    """A number of the definitions; None where it is not there.

    Raises
    ------
    ValueError
        If it is not a finite number of at least 0.
    """
    value = definitions.get(name)
    if value is None:
        return None
    if not isinstance(value, float) or not 0 <= value < np.inf:
        raise ValueError(f"the definition {name} = {value} must be a number of at least 0; correct it")
    return float(value)


def field_of_view(definitions: dict[str, Any]) -> tuple[tuple[float, float, float] | None, str | None]:
    """Definition ``FOV`` along x, y and z [m], and a notice where it cannot be used."""
    value = definitions.get("FOV")
    if value is None:
        return None, None
    sizes = np.atleast_1d(value)
    lengths = sizes.dtype.kind == "f" and sizes.size in (2, 3)
    if not lengths or not ((sizes > 0) & (sizes < _LARGEST_FOV)).all():
        return None, f"the definition FOV = {value} is not two or three lengths in metres; it is not used"
    return (float(sizes[0]), float(sizes[1]), float(sizes[-1])), None


def image_matrix(definitions: dict[str, Any], axes: list[int]) -> tuple[int, int] | None:
    """Definition ``Matrix`` (pixels along x, y and z) in a plane as (ny, nx); None without it.

    Parameters
    ----------
    definitions : dict
        Definitions of the file.
    axes : list of int
        First and second axis of the plane.

    Raises
    ------
    ValueError
        If it does not hold whole numbers for these axes.
    """
    value = definitions.get("Matrix")
    if value is None:
        return None
    sizes = np.atleast_1d(value)
    counts = sizes.dtype.kind == "f" and sizes.size > max(axes)
    if not counts or not ((sizes >= 1) & (sizes % 1 == 0)).all():
        raise ValueError(
            f"the definition Matrix = {value} must hold whole numbers along x, y and z; correct it"
        )
    return int(sizes[axes[1]]), int(sizes[axes[0]])
