"""What comes before the inversion of a slice, from dead coils to sensitivities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reconstruction.acquisition import Acquisition
from reconstruction.coil_compression import check_virtual_coils, compress_coils
from reconstruction.coils import COIL_METHODS, coil_images
from reconstruction.encoding_inputs import checked_sensitivities, readout_basis
from reconstruction.gradient_delays import GradientDelays, estimate_gradient_delays
from reconstruction.sensitivity_check import check_sensitivities
from reconstruction.signal_mask import coil_agreement
from reconstruction.trajectory_check import TrajectoryCheck, check_trajectory


@dataclass(frozen=True, eq=False)
class Preparation:
    """Result of `prepare`.

    Attributes
    ----------
    acquisition : Acquisition
        The live coils, prewhitened where the acquisition has noise samples, or virtual coils made of them:
        what is inverted; its trajectory is corrected for gradient delays where these were estimated.
    encoding_sensitivities : ndarray, shape (n_live_coils or n_virtual_coils, ny, nx), complex64
        Sensitivities in the channels of this acquisition.
    sensitivities : ndarray, shape (n_coils, ny, nx), complex64
        Sensitivities in the channels of the raw data (neither whitened nor virtual); 0 for dead coils.
    agreement : ndarray, shape (ny, nx), float64, or None
        `coil_agreement` of estimated sensitivities; None: they were given.
    n_dead_coils : int
        Number of coils without signal or noise, which were left out.
    kept_energy : float or None
        The virtual coils' part of the energy of the k-space; None: no coils were compressed.
    gradient_delays : GradientDelays or None
        Delays that were corrected; None: they were not estimated.
    trajectory_check : TrajectoryCheck or None
        How well the trajectory explains the data; None: it was not checked, or there are too few data.
    """

    acquisition: Acquisition
    encoding_sensitivities: NDArray[np.complex64]
    sensitivities: NDArray[np.complex64]
    agreement: NDArray[np.float64] | None
    n_dead_coils: int
    kept_energy: float | None
    gradient_delays: GradientDelays | None
    trajectory_check: TrajectoryCheck | None


def prepare(
    acquisition: Acquisition,
    basis: ArrayLike,
    *,
    sensitivities: ArrayLike | None = None,
    coil_method: str = "espirit",
    virtual_coils: float | None = None,
    correct_gradient_delays: bool = False,
    check_consistency: bool = True,
) -> Preparation:
    """Prewhitened k-space of the live coils with their sensitivities.

    1. Dead coils are left out. Where the acquisition has noise samples, k-space is prewhitened.
    2. With `virtual_coils`, the coils are compressed (`compress_coils`).
    3. With `correct_gradient_delays`, these are estimated (`estimate_gradient_delays`), and the samples get
       the places where they were taken.
    4. With `check_consistency`, a trajectory that contradicts the data is refused (`check_trajectory`), but
       for gradient delays, and so are given sensitivities (`check_sensitivities`).
    5. Without `sensitivities`, these are estimated from coil images of all readouts, weighted with the first
       vector of the basis. They are scaled to a root sum of squares of 1 over the channels of the raw data
       (not the whitened ones, whose noise correlations have nothing to do with the object). Sensitivities c
       of virtual coils are ``W^-1 A^H c`` there, W the whitening, A the compression.

    Parameters
    ----------
    acquisition : Acquisition
        k-space of a slice.
    basis : array_like, shape (n_pulses, rank)
        Temporal basis; the readouts are whole trains of n_pulses.
    sensitivities : array_like, shape (n_coils, ny, nx), complex64, optional
        Coil sensitivities in the channels of the raw data; used with the scale given.
    coil_method : {"espirit", "adaptive"}
        Estimator where `sensitivities` is None: `espirit` or `adaptive_combine`.
    virtual_coils : float, optional
        Number of virtual coils, at most that of the coils, or the fraction of the energy that they keep. A
        slice with fewer live coils than that uses these. None: no compression.
    correct_gradient_delays : bool
        Whether to take step 3; for radial data.
    check_consistency : bool
        Whether to take step 4.

    Returns
    -------
    Preparation
        What the encoding needs.

    Raises
    ------
    ValueError
        If shapes do not fit, all coils are dead, the noise samples do not allow prewhitening, the method
        is unknown, the number of virtual coils is out of range, gradient delays cannot be estimated,
        or trajectory or sensitivities do not belong to the data.
    """
    if coil_method not in COIL_METHODS:
        raise ValueError(f"coil_method={coil_method!r} must be one of {', '.join(COIL_METHODS)}")
    if virtual_coils is not None:
        check_virtual_coils(virtual_coils, acquisition.n_coils)
    weights = readout_basis(basis, acquisition.n_readouts)[:, 0]
    alive = ~acquisition.dead_coils
    used, whitening = acquisition.without_dead_coils(), np.eye(alive.sum(), dtype=np.complex64)
    if used.noise is not None:
        used, whitening = used.prewhitened()
    compression, kept_energy = np.eye(alive.sum(), dtype=np.complex64), None
    if virtual_coils is not None:
        compressed = compress_coils(used, min(virtual_coils, used.n_coils))
        used, compression, kept_energy = compressed.acquisition, compressed.matrix, compressed.kept_energy
    delays = None
    if correct_gradient_delays:
        delays = estimate_gradient_delays(used, basis)
        used = delays.corrected(used)
    checked = check_trajectory(used, basis) if check_consistency else None
    if checked is not None and checked.fault and checked.delays is None:
        raise ValueError(
            f"the trajectory contradicts the data: {checked.fault}. Near the centre of k-space the readouts "
            f"leave {100 * checked.residual:.0f} % unexplained, without this fault "
            f"{100 * checked.corrected_residual:.0f} %: correct the trajectory, or leave out this check "
            "(check_consistency)"
        )
    coils = np.zeros((acquisition.n_coils, *acquisition.matrix), dtype=np.complex64)
    if sensitivities is None:
        images = coil_images(used, weights)
        estimate = np.tensordot(compression.conj().T, COIL_METHODS[coil_method](images), axes=1)
        coils[alive] = _unwhitened(estimate, whitening)
    else:
        coils[alive] = checked_sensitivities(sensitivities, acquisition.matrix, acquisition.n_coils)[alive]
    used_coils = np.tensordot(compression @ whitening, coils[alive], axes=1)
    agreement = None
    if sensitivities is None:
        agreement = coil_agreement(images, used_coils)
    elif check_consistency:
        check_sensitivities(coil_images(used, weights), used_coils, noise_known=used.noise is not None)
    return Preparation(used, used_coils, coils, agreement, int((~alive).sum()), kept_energy, delays, checked)


def _unwhitened(
    sensitivities: NDArray[np.complex64], whitening: NDArray[np.complex64]
) -> NDArray[np.complex64]:
    """Sensitivities in the channels of the raw data, with unit sum of squares there."""
    coils = np.linalg.solve(whitening, sensitivities.reshape(len(sensitivities), -1))
    return (coils / np.linalg.norm(coils, axis=0)).reshape(sensitivities.shape)
