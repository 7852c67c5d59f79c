"""Raw data of numerical phantoms."""

from __future__ import annotations

import finufft
import numpy as np
from numpy.typing import NDArray

from epgbloch import Sequence, SignalModel, Tissue
from reconstruction.acquisition import Acquisition
from reconstruction.phantom import Phantom

# Singular values of the signal evolutions below this fraction of the largest are dropped: far below any
# realistic noise (1e-2), well above the rounding of complex64 signals (1e-8).
_RANK_TOLERANCE = 1e-6
_NUFFT_TOLERANCE = 1e-6
_VOXELS_PER_CHUNK = 2048
_DEFAULT_THICKNESS = 5e-3  # [m], for pulses without a slice gradient


def simulate_acquisition(
    phantom: Phantom,
    model: SignalModel,
    sequence: Sequence,
    trajectory: NDArray[np.float32],
    *,
    matrix: tuple[int, int] | None = None,
    snr: float | None = 40.0,
    n_noise_samples: int = 4096,
    noise_correlation: float = 0.0,
    seed: int | np.random.Generator = 0,
) -> Acquisition:
    """k-space of `phantom` as a multi-coil scanner would record it, with noise.

    Readout i follows pulse ``p = i mod n_pulses`` of the sequence::

        s[c, i, m] = sum_r C_c(r) sum_q fraction_q(r) pd_q signal_q(b1(r))[p] exp(-2 pi i k[i, m].r) + noise

    Every voxel is simulated with its own B1, not a rounded one. The evolutions are compressed over time by
    singular value decomposition to 1e-6 of the largest singular value, and transformed by a non-uniform
    FFT of relative accuracy 1e-6.

    Parameters
    ----------
    phantom : Phantom
        What is imaged.
    model : SignalModel
        What computes the signal evolutions.
    sequence : Sequence
        Pulses. Where there are more readouts than pulses, the train starts again from equilibrium.
    trajectory : ndarray, shape (n_readouts, n_samples, 2), float32
        Components (kx, ky) [cycles per pixel of `matrix`], within [-0.5, 0.5].
    matrix : tuple of int, optional
        Image size (ny, nx) of the acquisition, of which that of the phantom is a multiple: a finer phantom
        holds structures below the pixels, as a patient does. Default: that of the phantom.
    snr : float or None
        Mean of |k-space| over all coils and samples divided by the standard deviation of the complex noise,
        sqrt(E |noise|^2); each of its real and imaginary part has 1/sqrt(2) of it. None: no noise.
    n_noise_samples : int
        Samples of the noise measurement that goes with the data, > 0.
    noise_correlation : float
        Correlation between the noise of any two coils, within [0, 1).
    seed : int or numpy.random.Generator
        Source of the noise.

    Returns
    -------
    Acquisition
        k-space and noise samples; `noise` is None if `snr` is None.

    Raises
    ------
    ValueError
        If an argument is out of range, or there is no signal to which `snr` could refer.
    """
    factor = _oversampling(phantom.matrix, matrix)
    trajectory = np.ascontiguousarray(trajectory, dtype=np.float32)
    if trajectory.ndim != 3 or trajectory.shape[2] != 2:
        raise ValueError(f"trajectory has shape {trajectory.shape}; give (n_readouts, n_samples, 2)")
    coefficients, basis = _compressed_evolutions(phantom, model, sequence)
    pulse = np.arange(trajectory.shape[0]) % sequence.n_pulses
    kspace = _encode(phantom, coefficients, basis[pulse], trajectory / np.float32(factor))
    noise = None
    if snr is not None:
        kspace, noise = _with_noise(kspace, snr, n_noise_samples, noise_correlation, seed)
    thickness = None if sequence.pulse is None else sequence.pulse.slice_thickness
    return Acquisition(
        kspace=kspace,
        trajectory=trajectory,
        matrix=matrix or phantom.matrix,
        fov=phantom.fov,
        noise=noise,
        slice_thickness=thickness or _DEFAULT_THICKNESS,
        orientation_known=True,  # phantoms are axial
    )


def _oversampling(fine: tuple[int, int], matrix: tuple[int, int] | None) -> int:
    """Pixels of the phantom on each side of a pixel of the image."""
    if matrix is None:
        return 1
    factor = fine[0] // matrix[0] if min(matrix) > 0 else 0
    if factor < 1 or fine != (factor * matrix[0], factor * matrix[1]):
        raise ValueError(
            f"matrix={matrix}: the phantom has {fine} pixels, which must be a whole multiple of it, the same "
            "on both axes"
        )
    return factor


def _compressed_evolutions(
    phantom: Phantom, model: SignalModel, sequence: Sequence
) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
    """Images (rank, ny, nx) and temporal basis (n_pulses, rank) whose product is the evolution per voxel.

    Chunk by chunk; what the basis so far does not explain extends it, so coefficients found earlier stay
    valid. Each chunk takes every n-th voxel: the first one already meets all tissues and the range of B1.
    """
    voxels = np.flatnonzero(phantom.fractions.any(axis=0))
    images = np.zeros((0, phantom.b1.size), dtype=np.complex64)
    basis = np.zeros((sequence.n_pulses, 0), dtype=np.complex64)
    largest = 0.0
    n_chunks = -(-voxels.size // _VOXELS_PER_CHUNK)
    for i_chunk in range(n_chunks):
        chunk = voxels[i_chunk::n_chunks]
        evolution = _evolutions(phantom, model, sequence, chunk)
        largest = max(largest, float(np.linalg.norm(evolution)))
        residual = evolution - (evolution @ basis.conj()) @ basis.T
        if np.linalg.norm(residual) > _RANK_TOLERANCE * largest:
            _, singular_values, vectors = np.linalg.svd(residual, full_matrices=False)
            added = vectors[singular_values > _RANK_TOLERANCE * largest].T
            # A small residual carries rounding errors along the basis: they would break its orthogonality.
            added, _ = np.linalg.qr(added - basis @ (basis.conj().T @ added))
            basis = np.concatenate([basis, added], axis=1)
            images = np.pad(images, ((0, added.shape[1]), (0, 0)))
        images[:, chunk] = (evolution @ basis.conj()).T
    return images.reshape(-1, *phantom.matrix), basis


def _evolutions(
    phantom: Phantom, model: SignalModel, sequence: Sequence, voxels: NDArray[np.intp]
) -> NDArray[np.complex64]:
    """Signal of each voxel at each pulse, without coils, shape (n_voxels, n_pulses)."""
    evolution = np.zeros((voxels.size, sequence.n_pulses), dtype=np.complex64)
    fractions = phantom.fractions.reshape(len(phantom.names), -1)[:, voxels]
    b1 = phantom.b1.ravel()[voxels]
    for fraction, t1, t2, pd in zip(fractions, phantom.t1, phantom.t2, phantom.proton_density, strict=True):
        present = np.flatnonzero(fraction)
        if present.size:
            values, position = np.unique(b1[present], return_inverse=True)
            signal = model.signal(sequence, Tissue(t1, t2, b1=values))
            evolution[present] += np.float32(pd) * fraction[present, None] * signal[position]
    return evolution


def _encode(
    phantom: Phantom,
    images: NDArray[np.complex64],
    basis: NDArray[np.complex64],
    trajectory: NDArray[np.float32],
) -> NDArray[np.complex64]:
    """Noise-free k-space (n_coils, n_readouts, n_samples) from images (rank, ny, nx), basis per readout."""
    coils = phantom.coil_sensitivities
    n_readouts, n_samples, _ = trajectory.shape
    # The array axes are (y, x), so the first coordinate that finufft asks for belongs to ky.
    plan = finufft.Plan(
        2,
        phantom.matrix,
        n_trans=len(coils),
        eps=_NUFFT_TOLERANCE,
        isign=-1,
        dtype="complex64",
        nthreads=1,
    )
    angle = (2 * np.pi * trajectory).reshape(-1, 2)
    plan.setpts(np.ascontiguousarray(angle[:, 1]), np.ascontiguousarray(angle[:, 0]))
    kspace = np.zeros((len(coils), n_readouts, n_samples), dtype=np.complex64)
    for image, weight in zip(images, basis.T, strict=True):
        samples = plan.execute(np.ascontiguousarray(coils * image))
        kspace += weight[:, None] * samples.reshape(kspace.shape)
    return kspace


def _with_noise(
    kspace: NDArray[np.complex64],
    snr: float,
    n_noise_samples: int,
    correlation: float,
    seed: int | np.random.Generator,
) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
    """Noisy k-space and a separate noise measurement (n_coils, n_noise_samples)."""
    if not 0 < snr < np.inf:
        raise ValueError(f"snr={snr} must be positive and finite; snr=None leaves the noise out")
    if n_noise_samples < 1:
        raise ValueError(f"n_noise_samples={n_noise_samples} must be >= 1")
    if not 0 <= correlation < 1:
        raise ValueError(f"noise_correlation={correlation} must lie in [0, 1)")
    mean = float(np.abs(kspace).mean(dtype=np.float64))
    if mean == 0:
        raise ValueError(
            f"the phantom gives no signal, so snr={snr} has no meaning; check the flip angles and the "
            "phantom, or leave the noise out (snr=None)"
        )
    rng = np.random.default_rng(seed)
    n_coils = len(kspace)
    covariance = (1 - correlation) * np.eye(n_coils) + correlation
    factor = (mean / snr) * np.sqrt(0.5) * np.linalg.cholesky(covariance).astype(np.float32)

    def draw(*shape: int) -> NDArray[np.complex64]:
        parts = rng.standard_normal((n_coils, *shape, 2), dtype=np.float32)
        white: NDArray[np.complex64] = parts.view(np.complex64)[..., 0]
        return np.tensordot(factor, white, axes=1).astype(np.complex64)

    return kspace + draw(*kspace.shape[1:]), draw(n_noise_samples)
