"""From the k-space of one slice and a dictionary to quantitative maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.ndimage
from numpy.typing import ArrayLike, NDArray

from dictionaries import Dictionary, match
from reconstruction.acquisition import Acquisition
from reconstruction.coils import adaptive_combine, coil_images, espirit
from reconstruction.inversion import N_ITERATIONS, TOLERANCE, Inversion, low_rank_inversion
from reconstruction.maps import Maps
from reconstruction.operators import SubspaceEncoding, checked_sensitivities, readout_basis
from reconstruction.receive_field import estimate_receive_field

COIL_METHODS: dict[str, Callable[[NDArray[np.complex64]], NDArray[np.complex64]]] = {
    "espirit": espirit,
    "adaptive": adaptive_combine,
}
"""Estimators of the coil sensitivities by name."""

# Of the 99th percentile of the signal energy. Measured on radial data of 500 spokes: weakest tissue 0.15
# (far from all coils), gridding artefacts in the background below 0.08 in 99 % of the pixels.
_MASK_THRESHOLD = 0.1
# Of all pixels. Estimated sensitivities are unreliable at the border of the image: specks of up to 0.4 %.
_SMALLEST_REGION = 5e-3


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """Result of `reconstruct`.

    Attributes
    ----------
    maps : Maps
        T1, T2, proton density, correlation and, if the dictionary has several, B1.
    inversion : Inversion
        Coefficient images with residuals of the iteration.
    sensitivities : ndarray, shape (n_coils, ny, nx), complex64
        Sensitivities that were used, in the channels of the acquisition (not whitened).
    receive_field : ndarray, shape (ny, nx), float64, or None
        Field by which the proton density was divided; None: it was not.
    """

    maps: Maps
    inversion: Inversion
    sensitivities: NDArray[np.complex64]
    receive_field: NDArray[np.float64] | None


def reconstruct(
    acquisition: Acquisition,
    dictionary: Dictionary,
    *,
    sensitivities: ArrayLike | None = None,
    coil_method: str = "espirit",
    n_iterations: int = N_ITERATIONS,
    tolerance: float = TOLERANCE,
    mask: ArrayLike | None = None,
    correct_receive_field: bool | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Reconstruction:
    """Maps of one slice: prewhitening, coil sensitivities, low-rank inversion, matching.

    1. Where the acquisition has noise samples, k-space is prewhitened.
    2. Without `sensitivities`, these are estimated from coil images of all readouts, weighted with the first
       basis vector. They are scaled to a root sum of squares of 1 over the channels of the acquisition (not
       the whitened ones, whose noise correlations have nothing to do with the object).
    3. `low_rank_inversion` finds the coefficient images.
    4. Without `mask`, voxels are taken whose signal energy ``(sum_j |x[j]|^2)^(1/2)`` exceeds 10 % of its
       99th percentile. The energy has no zero crossing, unlike images of a train with an inversion. Regions
       of less than 0.5 % of the image are dropped, and holes as small are filled.
    5. `dictionaries.match` finds the atom of each voxel in the mask.
    6. The proton density is divided by the field of `estimate_receive_field`. With estimated sensitivities
       it holds the root sum of squares of the true ones, which the data alone cannot tell from proton
       density; the field rests on the assumption that neighbours of equal T1 and T2 have equal ones.

    Proton density is in arbitrary units. Sensitivities from a reference scan need no step 6.

    Parameters
    ----------
    acquisition : Acquisition
        k-space; one or more whole trains of the sequence of the dictionary.
    dictionary : Dictionary
        Atoms and temporal basis.
    sensitivities : array_like, shape (n_coils, ny, nx), complex64, optional
        Coil sensitivities in the channels of the acquisition; used with the scale given.
    coil_method : {"espirit", "adaptive"}
        Estimator where `sensitivities` is None: `espirit` or `adaptive_combine`.
    n_iterations, tolerance
        See `low_rank_inversion`.
    mask : array_like, shape (ny, nx), bool, optional
        Voxels to match.
    correct_receive_field : bool, optional
        Whether to take step 6; None: if the sensitivities are estimated.
    progress : callable, optional
        Called as ``progress(done, total)`` after each iteration of the inversion.

    Returns
    -------
    Reconstruction
        Maps (0 outside the mask), coefficient images and sensitivities.

    Raises
    ------
    ValueError
        If shapes do not fit, the readouts are not whole trains of the dictionary, the noise samples do not
        allow prewhitening, the mask is empty or leaves the sensitivities, or an argument is out of range.
    """
    if coil_method not in COIL_METHODS:
        raise ValueError(f"coil_method={coil_method!r} must be one of {', '.join(COIL_METHODS)}")
    voxels = None if mask is None else _checked_mask(mask, acquisition.matrix)
    first_vector = readout_basis(dictionary.basis, acquisition.n_readouts)[:, 0]
    whitened, whitening = acquisition, np.eye(acquisition.n_coils, dtype=np.complex64)
    if acquisition.noise is not None:
        whitened, whitening = acquisition.prewhitened()
    if sensitivities is None:
        images = coil_images(whitened, first_vector)
        coils = _unwhitened(COIL_METHODS[coil_method](images), whitening)
    else:
        coils = checked_sensitivities(sensitivities, acquisition)
    encoding = SubspaceEncoding(whitened, np.tensordot(whitening, coils, axes=1), dictionary.basis)
    inversion = low_rank_inversion(
        encoding, whitened.kspace, n_iterations=n_iterations, tolerance=tolerance, progress=progress
    )
    if voxels is None:
        voxels = _signal_mask(inversion.coefficients)
    else:
        _check_seen(voxels, coils)
    maps = _matched(dictionary, inversion.coefficients, voxels)
    field = None
    if correct_receive_field or (correct_receive_field is None and sensitivities is None):
        field, _ = estimate_receive_field(maps)
        maps = replace(maps, pd=(maps.pd / field).astype(np.complex64))
    return Reconstruction(maps, inversion, coils, field)


def _unwhitened(
    sensitivities: NDArray[np.complex64], whitening: NDArray[np.complex64]
) -> NDArray[np.complex64]:
    """Sensitivities in the channels of the acquisition, with unit sum of squares there."""
    coils = np.linalg.solve(whitening, sensitivities.reshape(len(sensitivities), -1))
    return (coils / np.linalg.norm(coils, axis=0)).reshape(sensitivities.shape)


def _checked_mask(mask: ArrayLike, matrix: tuple[int, int]) -> NDArray[np.bool_]:
    array = np.asarray(mask)
    if array.shape != matrix:
        raise ValueError(f"mask has shape {array.shape}; the acquisition asks for (ny, nx) = {matrix}")
    if not np.isin(array, (0, 1)).all():
        raise ValueError("mask must hold only True and False (or 1 and 0); compare it with a threshold first")
    if not array.any():
        raise ValueError("mask is empty; mark the voxels to match, or leave it out to have it estimated")
    return array.astype(bool)


def _check_seen(mask: NDArray[np.bool_], sensitivities: NDArray[np.complex64]) -> None:
    unseen = mask & ~sensitivities.any(axis=0)
    if unseen.any():
        row, column = np.argwhere(unseen)[0]
        raise ValueError(
            f"mask holds {unseen.sum()} voxels where all sensitivities are zero (the first at row {row}, "
            f"column {column}); leave them out of the mask"
        )


def _signal_mask(coefficients: NDArray[np.complex64]) -> NDArray[np.bool_]:
    """Voxels with signal, shape (ny, nx)."""
    energy = np.linalg.norm(coefficients, axis=0)
    mask = _without_specks(energy > _MASK_THRESHOLD * np.percentile(energy, 99))
    mask = ~_without_specks(~mask) & (energy > 0)
    if not mask.any():
        raise ValueError("no region of the image stands out from the background; give a mask")
    return mask


def _without_specks(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    regions, _ = scipy.ndimage.label(mask)
    large = np.bincount(regions.ravel()) >= _SMALLEST_REGION * mask.size
    large[0] = False  # what lies outside the mask
    return large[regions]


def _matched(dictionary: Dictionary, coefficients: NDArray[np.complex64], mask: NDArray[np.bool_]) -> Maps:
    """Maps of the voxels in the mask."""
    found = match(dictionary, coefficients[:, mask].T)

    def image(values: NDArray[Any]) -> NDArray[Any]:
        result = np.zeros(mask.shape, dtype=values.dtype)
        result[mask] = values
        return result

    return Maps(
        t1=image(found.t1),
        t2=image(found.t2),
        pd=image(found.pd),
        mask=mask,
        b1=image(found.b1) if dictionary.grid.b1.size > 1 else None,
        correlation=image(found.correlation),
    )
