"""Coil images and coil sensitivities."""

from __future__ import annotations

from collections.abc import Callable

import finufft
import numpy as np
import scipy.ndimage
from numpy.typing import ArrayLike, NDArray

from reconstruction.acquisition import Acquisition
from reconstruction.trajectory import density_compensation

# Of the mean: what was measured only at times of no weight must not be amplified without limit.
_LEAST_IMPORTANCE = 0.1


def coil_images(acquisition: Acquisition, weights: ArrayLike | None = None) -> NDArray[np.complex64]:
    """Image of each coil from all readouts together, by the density-compensated adjoint NUFFT.

    ``image(r) = sum_t conj(weights_t) sum_m d_tm s_tm exp(+2 pi i k_tm.r)`` with the density compensation d
    (`density_compensation`), for which readouts count as ``|weights_t|^2`` and a tenth of its mean: parts of
    k-space that were measured at times of little weight are as bright as the others. Where the contrast
    changes from readout to readout, the first subspace vector as weights gives the coefficient image with the
    most signal.

    Parameters
    ----------
    acquisition : Acquisition
        k-space, trajectory and matrix; prewhitened where the noise of the coils differs.
    weights : array_like, shape (n_readouts,), optional
        Real or complex weight of each readout; default 1.

    Returns
    -------
    ndarray, shape (n_coils, ny, nx), complex64
        Coil images, in units of the k-space.

    Raises
    ------
    ValueError
        If the weights have another shape, are not finite or all zero.
    """
    trajectory = acquisition.trajectory
    readout_weights = np.ones(acquisition.n_readouts) if weights is None else np.asarray(weights)
    if readout_weights.shape != (acquisition.n_readouts,):
        raise ValueError(
            f"weights has shape {readout_weights.shape}; it must hold one value for each of the "
            f"{acquisition.n_readouts} readouts"
        )
    if not np.isfinite(readout_weights).all() or not readout_weights.any():
        raise ValueError("weights must be finite and not all zero")
    energy = np.abs(readout_weights) ** 2
    importance = (energy / energy.mean() + _LEAST_IMPORTANCE) / (1 + _LEAST_IMPORTANCE)
    compensation = density_compensation(trajectory, acquisition.matrix, importance=importance)
    compensation = (compensation * readout_weights.conj()[:, None]).astype(np.complex64)
    samples = (acquisition.kspace * compensation).reshape(acquisition.n_coils, -1)
    kx, ky = (np.ascontiguousarray(2 * np.pi * trajectory[..., i].ravel()) for i in range(2))
    plan = finufft.Plan(
        1,
        acquisition.matrix,
        n_trans=acquisition.n_coils,
        eps=1e-5,
        isign=1,
        dtype="complex64",
        nthreads=1,
    )
    plan.setpts(ky, kx)
    return plan.execute(samples).reshape(acquisition.n_coils, *acquisition.matrix)


def adaptive_combine(images: ArrayLike, *, n_kernel: int = 7) -> NDArray[np.complex64]:
    """Coil sensitivities as the dominant eigenvectors of the local signal covariance.

    The covariance ``R(r) = mean over n_kernel^2 pixels of x x^H`` of the coil images x has the sensitivities
    as its dominant eigenvector where the object is smooth. The eigenvector has unit length (sum of squares
    over the coils 1) and a free phase; it is turned so that a virtual coil ``v^H c`` is real and positive, v
    the dominant eigenvector of the covariance over the whole image: unlike one physical coil, it is dark
    nowhere in the object for ordinary arrays. With one coil all sensitivities are 1: the phase stays in the
    image.

    Parameters
    ----------
    images : array_like, shape (n_coils, ny, nx)
        Complex coil images, prewhitened where the noise of the coils differs.
    n_kernel : int
        Width of the averaging window [pixels], > 0.

    Returns
    -------
    ndarray, shape (n_coils, ny, nx), complex64
        Sensitivities; arbitrary unit vectors where there is no signal.

    Raises
    ------
    ValueError
        If the images have another shape, are not finite or all zero, or `n_kernel` is not in 1 ... min(ny,
        nx).

    References
    ----------
    Walsh, Gmitro, Marcellin 2000, Magn Reson Med 43:682,
    doi 10.1002/(SICI)1522-2594(200005)43:5<682::AID-MRM10>3.0.CO;2-G.
    """
    coils = _checked_images(images)
    n_coils, ny, nx = coils.shape
    if not 1 <= n_kernel <= min(ny, nx):
        raise ValueError(f"n_kernel={n_kernel} must lie between 1 and the smaller image side {min(ny, nx)}")
    # eigh uses the lower triangle, but copies the upper one: np.empty there may hold signalling NaN.
    covariance = np.zeros((ny, nx, n_coils, n_coils), dtype=np.complex64)
    for i in range(n_coils):
        for j in range(i + 1):
            product = coils[i] * coils[j].conj()
            covariance[..., i, j] = scipy.ndimage.uniform_filter(product, size=n_kernel)
    _, vectors = np.linalg.eigh(covariance, UPLO="L")
    sensitivities = np.moveaxis(vectors[..., -1], -1, 0)
    return _referenced_to_virtual_coil(sensitivities, coils)


def espirit(
    images: ArrayLike,
    *,
    calibration_width: int = 24,
    kernel_width: int = 6,
    threshold: float = 0.02,
    crop: float = 0.0,
) -> NDArray[np.complex64]:
    """Coil sensitivities by ESPIRiT from the centre of the coil images' k-space.

    The phase is referenced as in `adaptive_combine`; the sum of squares over the coils is 1 (0 where
    cropped).

    Parameters
    ----------
    images : array_like, shape (n_coils, ny, nx)
        Complex coil images, prewhitened where the noise of the coils differs.
    calibration_width : int
        Side of the k-space centre used, > `kernel_width`, at most min(ny, nx).
    kernel_width : int
        Side of the k-space kernels, > 0.
    threshold : float
        Singular values of the calibration matrix above this fraction of the largest span the signal, in [0,
        1).
    crop : float
        Voxels whose eigenvalue (1 in the object, less in the background) is not above it are set to 0, in [0,
        1). The default 0 keeps all: gridding artefacts lower the eigenvalue also in the object.

    Returns
    -------
    ndarray, shape (n_coils, ny, nx), complex64
        Sensitivities.

    Raises
    ------
    ValueError
        If the images have another shape, are not finite or all zero, or a parameter is out of range.

    References
    ----------
    Uecker et al. 2014, Magn Reson Med 71:990, doi 10.1002/mrm.24751.
    """
    coils = _checked_images(images)
    if kernel_width < 1 or not kernel_width < calibration_width <= min(coils.shape[1:]):
        raise ValueError(
            f"kernel_width={kernel_width} and calibration_width={calibration_width} must satisfy "
            f"1 <= kernel_width < calibration_width <= {min(coils.shape[1:])}, the smaller image side; "
            "for small matrices use adaptive_combine (in a protocol `reconstruction: {coils: adaptive}`)"
        )
    for name, value in (("threshold", threshold), ("crop", crop)):
        if not 0 <= value < 1:
            raise ValueError(f"{name}={value} must lie in [0, 1)")
    import sigpy.mri.app  # here, as it takes seconds

    # sigpy divides by the phase of coil 0, so the strongest coil goes there: a dark one would give NaN.
    order = np.argsort(-np.linalg.norm(coils, axis=(1, 2)))
    calibration = sigpy.mri.app.EspiritCalib(
        sigpy.fft(coils[order], axes=(-2, -1)),
        calib_width=calibration_width,
        kernel_width=kernel_width,
        thresh=threshold,
        crop=crop,
        show_pbar=False,
    )
    sensitivities = np.empty_like(coils)
    sensitivities[order] = calibration.run()
    return _referenced_to_virtual_coil(sensitivities, coils)


def _checked_images(images: ArrayLike) -> NDArray[np.complex64]:
    coils = np.asarray(images, dtype=np.complex64)
    if coils.ndim != 3 or 0 in coils.shape:
        raise ValueError(f"images must have shape (n_coils, ny, nx); got {coils.shape}")
    if not np.isfinite(coils).all():
        coil, y, x = np.argwhere(~np.isfinite(coils))[0]
        raise ValueError(
            f"images is {coils[coil, y, x]} at coil {coil}, pixel y={y}, x={x}; it must be finite"
        )
    if not coils.any():
        raise ValueError("images is zero everywhere; check the k-space and the readout weights")
    # Products of raw-data amplitudes leave the range of float32; sensitivities do not depend on the scale.
    return coils / np.abs(coils).max()


def _referenced_to_virtual_coil(
    sensitivities: NDArray[np.complex64], images: NDArray[np.complex64]
) -> NDArray[np.complex64]:
    flat = images.reshape(len(images), -1)
    virtual = np.linalg.eigh(flat @ flat.conj().T)[1][:, -1]
    phase = np.angle(np.tensordot(virtual.conj(), sensitivities, axes=1))
    return (sensitivities * np.exp(-1j * phase)).astype(np.complex64)


COIL_METHODS: dict[str, Callable[[NDArray[np.complex64]], NDArray[np.complex64]]] = {
    "espirit": espirit,
    "adaptive": adaptive_combine,
}
"""Estimators of the coil sensitivities by name."""
