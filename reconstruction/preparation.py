"""What comes before the inversion of a slice: dead coils, prewhitening, coil sensitivities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reconstruction.acquisition import Acquisition
from reconstruction.coils import COIL_METHODS, coil_images
from reconstruction.operators import checked_sensitivities
from reconstruction.signal_mask import coil_agreement


@dataclass(frozen=True, eq=False)
class Preparation:
    """Result of `prepare`.

    Attributes
    ----------
    acquisition : Acquisition
        The live coils, prewhitened where the acquisition has noise samples: what is inverted.
    encoding_sensitivities : ndarray, shape (n_live_coils, ny, nx), complex64
        Sensitivities in the channels of this acquisition.
    sensitivities : ndarray, shape (n_coils, ny, nx), complex64
        Sensitivities in the channels of the raw data (not whitened); 0 for dead coils.
    agreement : ndarray, shape (ny, nx), float64, or None
        `coil_agreement` of estimated sensitivities; None: they were given.
    n_dead_coils : int
        Number of coils without signal or noise, which were left out.
    """

    acquisition: Acquisition
    encoding_sensitivities: NDArray[np.complex64]
    sensitivities: NDArray[np.complex64]
    agreement: NDArray[np.float64] | None
    n_dead_coils: int


def prepare(
    acquisition: Acquisition,
    weights: ArrayLike,
    *,
    sensitivities: ArrayLike | None = None,
    coil_method: str = "espirit",
) -> Preparation:
    """Prewhitened k-space of the live coils with their sensitivities.

    1. Dead coils are left out. Where the acquisition has noise samples, k-space is prewhitened.
    2. Without `sensitivities`, these are estimated from coil images of all readouts. They are scaled to a
       root sum of squares of 1 over the channels of the raw data (not the whitened ones, whose noise
       correlations have nothing to do with the object).

    Parameters
    ----------
    acquisition : Acquisition
        k-space of a slice.
    weights : array_like, shape (n_readouts,)
        Weights of the readouts in the coil images, see `coil_images`; used where `sensitivities` is None.
    sensitivities : array_like, shape (n_coils, ny, nx), complex64, optional
        Coil sensitivities in the channels of the raw data; used with the scale given.
    coil_method : {"espirit", "adaptive"}
        Estimator where `sensitivities` is None: `espirit` or `adaptive_combine`.

    Returns
    -------
    Preparation
        What the encoding needs.

    Raises
    ------
    ValueError
        If shapes do not fit, all coils are dead, the noise samples do not allow prewhitening, or the method
        is unknown.
    """
    if coil_method not in COIL_METHODS:
        raise ValueError(f"coil_method={coil_method!r} must be one of {', '.join(COIL_METHODS)}")
    alive = ~acquisition.dead_coils
    whitened, whitening = acquisition.without_dead_coils(), np.eye(alive.sum(), dtype=np.complex64)
    if whitened.noise is not None:
        whitened, whitening = whitened.prewhitened()
    coils = np.zeros((acquisition.n_coils, *acquisition.matrix), dtype=np.complex64)
    if sensitivities is None:
        images = coil_images(whitened, weights)
        coils[alive] = _unwhitened(COIL_METHODS[coil_method](images), whitening)
    else:
        coils[alive] = checked_sensitivities(sensitivities, acquisition)[alive]
    whitened_coils = np.tensordot(whitening, coils[alive], axes=1)
    agreement = None if sensitivities is not None else coil_agreement(images, whitened_coils)
    return Preparation(whitened, whitened_coils, coils, agreement, int((~alive).sum()))


def _unwhitened(
    sensitivities: NDArray[np.complex64], whitening: NDArray[np.complex64]
) -> NDArray[np.complex64]:
    """Sensitivities in the channels of the raw data, with unit sum of squares there."""
    coils = np.linalg.solve(whitening, sensitivities.reshape(len(sensitivities), -1))
    return (coils / np.linalg.norm(coils, axis=0)).reshape(sensitivities.shape)
