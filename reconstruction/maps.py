"""Quantitative maps of one slice."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Maps:
    """T1, T2, proton density and what else was estimated in one slice, checked once at construction.

    Attributes
    ----------
    t1, t2 : ndarray, shape (ny, nx), float32
        Relaxation times [s], positive within `mask`.
    pd : ndarray, shape (ny, nx), complex64
        Proton density in arbitrary units, which differ from slice to slice, with the phase that the coil
        combination left.
    mask : ndarray, shape (ny, nx), bool
        Voxels in which the maps mean anything; outside, written maps are 0 and figures transparent.
    b1 : ndarray, shape (ny, nx), float32, or None
        Transmit field relative to nominal.
    correlation : ndarray, shape (ny, nx), float32, or None
        Normalised correlation of measured and modelled signal, 0 to 1.
    t1_std, t2_std, b1_std : ndarray, shape (ny, nx), float32, or None
        Standard errors, in the unit of the quantity; NaN where they are not known.

    Raises
    ------
    ValueError
        If shapes differ or a value within `mask` is not finite (NaN is one for standard errors), or not
        positive for T1 and T2.
    """

    t1: NDArray[np.float32]
    t2: NDArray[np.float32]
    pd: NDArray[np.complex64]
    mask: NDArray[np.bool_]
    b1: NDArray[np.float32] | None = None
    correlation: NDArray[np.float32] | None = None
    t1_std: NDArray[np.float32] | None = None
    t2_std: NDArray[np.float32] | None = None
    b1_std: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        types = {field.name: {"pd": "c8", "mask": "?"}.get(field.name, "f4") for field in fields(self)}
        for name, dtype in types.items():
            if getattr(self, name) is not None:
                object.__setattr__(self, name, np.array(getattr(self, name), dtype=dtype))
        if self.mask.ndim != 2:
            raise ValueError(f"mask has shape {self.mask.shape}; maps describe one slice (ny, nx)")
        for name in types:
            array = getattr(self, name)
            if array is None:
                continue
            if array.shape != self.mask.shape:
                raise ValueError(
                    f"{name} has shape {array.shape}, mask has {self.mask.shape}; make them equal"
                )
            unknown = np.isnan(array) if name.endswith("_std") else False
            bad = self.mask & ~np.isfinite(array) & ~unknown
            if name in ("t1", "t2"):
                bad |= self.mask & ~(array > 0)
            if bad.any():
                row, column = np.argwhere(bad)[0]
                raise ValueError(
                    f"{name} is {array[row, column]} at row {row}, column {column} within mask; it must be "
                    "finite, and positive for t1 and t2: leave the voxel out of mask"
                )
