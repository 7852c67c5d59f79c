"""Numerical phantoms with known T1, T2 and proton density.

`phantom_templates` makes heads, `phantom_fields` their coils and B1, `phantom_simulation` their raw data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reconstruction.maps import Maps


@dataclass(frozen=True, eq=False)
class Phantom:
    """One slice made of a few tissues that share voxels (partial volume), checked once at construction.

    Attributes
    ----------
    names : tuple of str
        Names of the tissues.
    fractions : ndarray, shape (n_tissues, ny, nx), float32
        Partial volumes within [0, 1]; their sum is at most 1, the rest of a voxel gives no signal.
    t1, t2 : ndarray, shape (n_tissues,), float64
        Relaxation times [s], 0 < t2 <= t1.
    proton_density : ndarray, shape (n_tissues,), float64
        Proton density relative to water, >= 0.
    b1 : ndarray, shape (ny, nx), float32
        Transmit field relative to nominal, > 0.
    coil_sensitivities : ndarray, shape (n_coils, ny, nx), complex64
        Receive sensitivities.
    fov : tuple of float
        Field of view (fov_y, fov_x) [m].

    Raises
    ------
    ValueError
        If shapes do not fit together or a value is outside its range.
    """

    names: tuple[str, ...]
    fractions: NDArray[np.float32]
    t1: NDArray[np.float64]
    t2: NDArray[np.float64]
    proton_density: NDArray[np.float64]
    b1: NDArray[np.float32]
    coil_sensitivities: NDArray[np.complex64]
    fov: tuple[float, float]

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        for name in ("fractions", "b1"):
            object.__setattr__(self, name, np.array(getattr(self, name), dtype=np.float32))
        for name in ("t1", "t2", "proton_density"):
            object.__setattr__(self, name, np.array(getattr(self, name), dtype=np.float64))
        object.__setattr__(self, "coil_sensitivities", np.array(self.coil_sensitivities, dtype=np.complex64))
        self._check_shapes()
        self._check_values()

    def _check_shapes(self) -> None:
        if self.fractions.ndim != 3 or 0 in self.fractions.shape:
            raise ValueError(f"fractions must have shape (n_tissues, ny, nx); got {self.fractions.shape}")
        n_tissues, ny, nx = self.fractions.shape
        if len(self.names) != n_tissues:
            raise ValueError(f"names has {len(self.names)} entries for {n_tissues} tissues: {self.names}")
        for name in ("t1", "t2", "proton_density"):
            shape = getattr(self, name).shape
            if shape != (n_tissues,):
                raise ValueError(f"{name} has shape {shape}; give one value for each of {n_tissues} tissues")
        if self.b1.shape != (ny, nx):
            raise ValueError(f"b1 has shape {self.b1.shape}; fractions ask for (ny, nx) = {(ny, nx)}")
        coils = self.coil_sensitivities.shape
        if len(coils) != 3 or coils[0] < 1 or coils[1:] != (ny, nx):
            raise ValueError(
                f"coil_sensitivities has shape {coils}; fractions ask for (n_coils, {ny}, {nx}), n_coils >= 1"
            )

    def _check_values(self) -> None:
        for name in ("fractions", "t1", "t2", "proton_density", "b1", "coil_sensitivities"):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"{name} holds NaN or infinity; every value must be finite")
        if self.fractions.min() < 0 or self.fractions.sum(axis=0).max() > 1 + 1e-5:
            raise ValueError(
                f"fractions must be >= 0 with a sum <= 1 in each voxel; smallest {self.fractions.min():.4g}, "
                f"largest sum {self.fractions.sum(axis=0).max():.6g}: divide them by their sum"
            )
        if self.t2.min() <= 0 or np.any(self.t2 > self.t1):
            raise ValueError(f"t1={self.t1} and t2={self.t2} must satisfy 0 < t2 <= t1 for every tissue [s]")
        if self.proton_density.min() < 0:
            raise ValueError(f"proton_density={self.proton_density} must be >= 0")
        if self.b1.min() <= 0:
            raise ValueError(f"b1 reaches {self.b1.min():.4g}; it must be positive everywhere (1 = nominal)")
        if len(self.fov) != 2 or not all(np.isfinite(length) and length > 0 for length in self.fov):
            raise ValueError(f"fov={self.fov} must be two positive lengths (fov_y, fov_x) in metres")

    @property
    def matrix(self) -> tuple[int, int]:
        """Image size (ny, nx)."""
        return self.b1.shape[0], self.b1.shape[1]

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Voxels at least half of which is tissue, shape (ny, nx)."""
        return self.fractions.sum(axis=0) >= 0.5

    @property
    def label(self) -> NDArray[np.uint8]:
        """Number of the dominant tissue in `names`, counted from 1; 0 outside `mask`. Shape (ny, nx)."""
        return np.where(self.mask, 1 + self.fractions.argmax(axis=0), 0).astype(np.uint8)

    def pure_mask(self, threshold: float = 0.95) -> NDArray[np.bool_]:
        """Voxels that one tissue fills by more than `threshold`, shape (ny, nx).

        Error tables should use only these: the signal of a mixed voxel is a sum of evolutions, for which
        no single T1 and T2 is the truth.
        """
        if not 0.5 <= threshold < 1:
            raise ValueError(f"threshold={threshold} must lie in [0.5, 1): a fraction of the voxel")
        return self.fractions.max(axis=0) > threshold

    @property
    def pd(self) -> NDArray[np.float32]:
        """Proton density of each voxel, sum of fraction x proton density, shape (ny, nx)."""
        return np.tensordot(self.proton_density, self.fractions, axes=1).astype(np.float32)

    def truth(self) -> Maps:
        """Maps that a perfect reconstruction would find in pure voxels.

        T1 and T2 are those of the dominant tissue, not an average over the voxel: averages of T1, of 1/T1
        and of the signal all differ, and none describes a mixed voxel. See `pure_mask`.
        """
        dominant = self.fractions.argmax(axis=0)
        mask = self.mask
        return Maps(
            t1=np.where(mask, self.t1[dominant], 0),
            t2=np.where(mask, self.t2[dominant], 0),
            pd=np.where(mask, self.pd, 0),
            b1=np.where(mask, self.b1, 0),
            mask=mask,
        )
