"""Objects made of voxels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

RealArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Voxels:
    """Boxes of equal size, each of one tissue.

    Parameters
    ----------
    position : array_like, shape (n_voxels, 3), float64
        Centres (x, y, z) [m].
    size : array_like, shape (3,), float64
        Edge lengths [m], > 0.
    proton_density : array_like, shape () or (n_voxels,), float64
        Signal of a voxel with full magnetisation, >= 0.
    t1, t2, t2_prime : array_like, shape () or (n_voxels,), float64
        Relaxation times [s], > 0. T2' is that of a Lorentzian distribution of frequencies within the voxel;
        infinite: none.
    off_resonance : array_like, shape () or (n_voxels,), float64
        Frequency of the voxel [Hz].
    b1 : array_like, shape () or (n_voxels,), complex128
        Transmit field relative to nominal: its magnitude multiplies flip angles, its angle adds to phases.
    coil_sensitivities : array_like, shape (n_coils, n_voxels), complex128, optional
        Receive sensitivities; left out: one uniform coil.
    diffusion : array_like, shape () or (n_voxels,), float64
        Coefficient of free, isotropic diffusion [m^2/s], >= 0.

    Raises
    ------
    ValueError
        If shapes do not fit together or a value is out of range.
    """

    position: RealArray
    size: RealArray
    proton_density: RealArray
    t1: RealArray
    t2: RealArray
    t2_prime: RealArray
    off_resonance: RealArray
    b1: NDArray[np.complex128]
    coil_sensitivities: NDArray[np.complex128]
    diffusion: RealArray

    def __init__(
        self,
        position: ArrayLike,
        size: ArrayLike,
        proton_density: ArrayLike,
        t1: ArrayLike,
        t2: ArrayLike,
        t2_prime: ArrayLike = np.inf,
        off_resonance: ArrayLike = 0.0,
        b1: ArrayLike = 1.0,
        coil_sensitivities: ArrayLike | None = None,
        diffusion: ArrayLike = 0.0,
    ) -> None:
        centres = np.array(position, np.float64)
        if centres.ndim != 2 or centres.shape[1] != 3 or len(centres) == 0 or not np.isfinite(centres).all():
            raise ValueError(f"position must be finite numbers of shape (n_voxels, 3); got {centres.shape}")
        n = len(centres)
        edges = np.array(size, np.float64)
        if edges.shape != (3,) or not np.all((edges > 0) & np.isfinite(edges)):
            raise ValueError(f"size={size!r} must be three positive lengths in metres")
        if coil_sensitivities is None:
            coils = np.ones((1, n), np.complex128)
        else:
            coils = np.array(coil_sensitivities, np.complex128)
            if coils.ndim != 2 or coils.shape[1] != n or not np.isfinite(coils).all():
                raise ValueError(
                    f"coil_sensitivities must be finite numbers of shape (n_coils, {n}); got {coils.shape}"
                )
        rules = {
            # least value, whether it may be taken, whether infinity may
            "proton_density": (proton_density, 0.0, True, False),
            "t1": (t1, 0.0, False, True),
            "t2": (t2, 0.0, False, True),
            "t2_prime": (t2_prime, 0.0, False, True),
            "off_resonance": (off_resonance, -np.inf, False, False),
            "diffusion": (diffusion, 0.0, True, False),
        }
        for name, (value, least, inclusive, infinite) in rules.items():
            array = _map(name, value, n, np.float64)
            good = (array >= least if inclusive else array > least) & (infinite | np.isfinite(array))
            if not good.all():
                i = int(np.argmin(good))
                rule = "finite" if least == -np.inf else f"{'at least' if inclusive else 'above'} {least:g}"
                raise ValueError(f"{name}[{i}]={array[i]} must be {rule}; check its unit")
            object.__setattr__(self, name, array)
        fields = {"position": centres, "size": edges, "coil_sensitivities": coils}
        for name, array in {**fields, "b1": _map("b1", b1, n, np.complex128)}.items():
            if not np.isfinite(array).all():
                raise ValueError(f"{name} holds values that are not finite; remove or replace them")
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    @classmethod
    def from_maps(
        cls,
        proton_density: ArrayLike,
        t1: ArrayLike,
        t2: ArrayLike,
        *,
        fov: tuple[float, float],
        slice_thickness: float,
        t2_prime: ArrayLike = np.inf,
        off_resonance: ArrayLike = 0.0,
        b1: ArrayLike = 1.0,
        coil_sensitivities: ArrayLike | None = None,
        diffusion: ArrayLike = 0.0,
    ) -> Voxels:
        """Return the voxels of one slice at z = 0, row by row; those without proton density are left out.

        Pixel (i, j) lies at x = (j - nx // 2) fov_x / nx, y = (i - ny // 2) fov_y / ny.

        Parameters
        ----------
        proton_density : array_like, shape (ny, nx)
            As above.
        t1, t2, t2_prime, off_resonance, b1, diffusion : array_like, shape () or (ny, nx)
            As above; values outside the object do not matter.
        fov : tuple of float
            Field of view (fov_y, fov_x) [m].
        slice_thickness : float
            Edge of the voxels along z [m].
        coil_sensitivities : array_like, shape (n_coils, ny, nx), optional
            As above.
        """
        density = np.asarray(proton_density, np.float64)
        if density.ndim != 2:
            raise ValueError(f"proton_density must have shape (ny, nx); got {density.shape}")
        inside = density > 0
        if not inside.any():
            raise ValueError("proton_density is nowhere above 0: there is nothing to image")
        ny, nx = density.shape
        rows, columns = np.nonzero(inside)
        size = (fov[1] / nx, fov[0] / ny, slice_thickness)
        x, y = (columns - nx // 2) * size[0], (rows - ny // 2) * size[1]

        def of_map(name: str, value: ArrayLike) -> NDArray[Any]:
            array = np.asarray(value)
            if array.shape not in ((), (ny, nx)):
                raise ValueError(f"{name} has shape {array.shape}; give one number or shape {(ny, nx)}")
            return np.broadcast_to(array, (ny, nx))[inside]

        coils = None if coil_sensitivities is None else np.asarray(coil_sensitivities)
        if coils is not None and (coils.ndim != 3 or coils.shape[1:] != (ny, nx)):
            raise ValueError(f"coil_sensitivities must have shape (n_coils, {ny}, {nx}); got {coils.shape}")
        return cls(
            np.stack([x, y, np.zeros(x.size)], axis=1),
            size,
            density[inside],
            of_map("t1", t1),
            of_map("t2", t2),
            of_map("t2_prime", t2_prime),
            of_map("off_resonance", off_resonance),
            of_map("b1", b1),
            None if coils is None else coils[:, inside],
            of_map("diffusion", diffusion),
        )

    @property
    def n_voxels(self) -> int:
        """Number of voxels."""
        return len(self.position)


def _map(name: str, value: ArrayLike, n: int, dtype: type) -> NDArray[Any]:
    array: NDArray[Any] = np.asarray(value, dtype)
    if array.shape not in ((), (n,)):
        raise ValueError(f"{name} has shape {array.shape}; give one number, or one for each of {n} voxels")
    result = np.array(np.broadcast_to(array, (n,)))
    result.setflags(write=False)
    return result
