"""Shading of the proton density by the receive coils, estimated from the maps themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from reconstruction.maps import Maps

MAX_DEGREE = 5
"""Degree of the polynomial: fields of coil arrays over a head are smooth to about 1 % at this degree."""
# Pairs lie this fraction of the matrix apart: far enough for the field to change, near enough to be alike.
_DISTANCES = (1 / 32, 1 / 16)
# Largest difference of ln T1 and ln T2 within one tissue: a few times the noise of single voxels.
_SAME_T1, _SAME_T2 = 0.1, 0.15
_PAIRS_PER_COEFFICIENT = 100
_N_REWEIGHTINGS = 10


def estimate_receive_field(maps: Maps, *, max_degree: int = MAX_DEGREE) -> tuple[NDArray[np.float64], int]:
    """Smooth field by which the proton density of a tissue varies over the image.

    Root sums of squares of coil sensitivities cannot be told from proton density in the data of one scan. The
    assumption that separates them: voxels of equal T1 and T2 that lie close together are one tissue and have
    one proton density. The logarithm of the field is a polynomial of the position; its differences are fitted
    to the differences of ln |PD| over such pairs of voxels, with weights that fall off for outliers
    (Geman-McClure), which the edges of tissues are. Proton densities of different tissues may differ at will.

    Parameters
    ----------
    maps : Maps
        T1, T2, proton density and mask.
    max_degree : int
        Largest total degree of the polynomial, >= 0. It is lowered until there are 100 pairs per coefficient.

    Returns
    -------
    field : ndarray, shape (ny, nx), float64
        Median 1 over the mask; 1 outside. |PD| / field is the corrected proton density.
    degree : int
        Degree that was used; 0: the object is too small, and the field is 1.

    Raises
    ------
    ValueError
        If `max_degree` is negative.

    References
    ----------
    Mezer et al. 2016, Hum Brain Mapp 37:3623, doi 10.1002/hbm.23264, compare ways of removing the receive
    field from proton density; Vovk et al. 2007, IEEE Trans Med Imaging 26:405, doi 10.1109/TMI.2006.891486,
    review corrections of shading in general.
    """
    if max_degree < 0:
        raise ValueError(f"max_degree={max_degree} must be at least 0; {MAX_DEGREE} is the default")
    mask = maps.mask & (np.abs(maps.pd) > 0)
    pairs = _pairs_of_one_tissue(maps, mask)
    field = np.ones(mask.shape)
    n_coefficients = [(degree + 1) * (degree + 2) // 2 - 1 for degree in range(max_degree + 1)]
    degree = max(d for d, n in enumerate(n_coefficients) if n * _PAIRS_PER_COEFFICIENT <= pairs.shape[1])
    if degree == 0:
        return field, degree
    polynomials = _polynomials(mask, degree)
    level = np.log(np.abs(maps.pd[mask]))
    first, second = pairs
    coefficients = _robust_fit(polynomials[first] - polynomials[second], level[first] - level[second])
    # Polynomials run away where nothing holds them: other voxels take the field of the nearest one in a pair.
    paired = np.zeros(mask.shape, dtype=bool)
    paired[tuple(np.argwhere(mask)[np.unique(pairs)].T)] = True
    field[mask] = np.exp(polynomials @ coefficients)
    nearest = distance_transform_edt(~paired, return_distances=False, return_indices=True)
    field = np.where(mask, field[tuple(nearest)], 1.0)
    field[mask] /= np.median(field[mask])
    return field, degree


def _pairs_of_one_tissue(maps: Maps, mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Numbers of voxels within the mask, shape (2, n_pairs)."""
    number = np.full(mask.shape, -1)
    number[mask] = np.arange(mask.sum())
    found = []
    for distance in _DISTANCES:
        for axis in (0, 1):
            step = max(round(distance * mask.shape[axis]), 1)
            near = number.take(range(mask.shape[axis] - step), axis).ravel()
            far = number.take(range(step, mask.shape[axis]), axis).ravel()
            inside = (near >= 0) & (far >= 0)
            found.append(np.stack([near[inside], far[inside]]))
    pairs = np.concatenate(found, axis=1)
    for values, largest in ((maps.t1[mask], _SAME_T1), (maps.t2[mask], _SAME_T2)):
        difference = np.log(values[pairs[0]] / values[pairs[1]])
        pairs = pairs[:, np.abs(difference) < largest]
    return pairs


def _polynomials(mask: NDArray[np.bool_], degree: int) -> NDArray[np.float64]:
    """Legendre products of total degree 1 ... degree at the voxels, shape (n_voxels, n_coefficients)."""
    position = np.argwhere(mask).astype(np.float64)
    low, high = position.min(axis=0), position.max(axis=0)
    y, x = (2 * (position - low) / np.maximum(high - low, 1) - 1).T
    products = legendre.legvander2d(x, y, [degree, degree]).reshape(-1, degree + 1, degree + 1)
    i, j = np.indices((degree + 1, degree + 1))
    return products[:, (i + j > 0) & (i + j <= degree)]


def _robust_fit(matrix: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    weights: NDArray[Any] = np.ones(len(values))
    coefficients: NDArray[Any] = np.zeros(matrix.shape[1])
    for _ in range(_N_REWEIGHTINGS):
        roots = np.sqrt(weights)
        coefficients = np.linalg.lstsq(matrix * roots[:, np.newaxis], values * roots, rcond=None)[0]
        residual = values - matrix @ coefficients
        # twice the standard deviation, from the median of normal noise
        scale = 2 * 1.4826 * np.median(np.abs(residual)) + 1e-9
        weights = (1 + (residual / scale) ** 2) ** -2.0
    return coefficients
