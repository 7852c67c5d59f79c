"""k-space of one slice with its trajectory, geometry and noise samples."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

LARGEST_FREQUENCY = 0.505
"""Largest component of a trajectory [cycles per pixel]. Corrected for gradient delays, it overshoots the edge
slightly; in wrong units by far."""
# A coil with less than this fraction of the largest noise variance is dead: no receiver gains differ by 1e5.
_DEAD_COIL = 1e-10
# Smallest eigenvalue of the noise correlation; linearly dependent coils give 1e-13 or less in complex64.
_DEPENDENT_COILS = 1e-9


@dataclass(frozen=True, eq=False)
class Acquisition:
    """Non-Cartesian k-space of one slice, checked and converted once at construction.

    The samples follow ``s(k) = sum_r image(r) exp(-2 pi i k.r)`` with r in pixels,
    ``-(n // 2) <= r < n - n // 2`` on each axis: pixel ``(ny // 2, nx // 2)`` lies at r = 0.

    Attributes
    ----------
    kspace : ndarray, shape (n_coils, n_readouts, n_samples), complex64
        Samples, readouts in the order in which they were acquired.
    trajectory : ndarray, shape (n_readouts, n_samples, 2), float32
        Components (kx, ky) [cycles per pixel of `matrix`], within [-0.5, 0.5].
    matrix : tuple of int
        Image size (ny, nx); images are (..., ny, nx).
    fov : tuple of float
        Field of view (fov_y, fov_x) [m].
    noise : ndarray, shape (n_coils, n_noise), complex64, or None
        Samples without signal, for `prewhitened`.
    slice_index : int
        Number of the slice in the measurement.
    slice_thickness : float
        Thickness of the slice [m], > 0.
    affine : ndarray, shape (4, 4), float64
        Maps voxel indices (x, y, z, 1) to millimetres in RAS (right, anterior, superior). Default: axes along
        R, A, S, pixel ``(nx // 2, ny // 2)`` on the isocentre, slices stacked along S by `slice_index`.
    orientation_known : bool
        Whether `affine` tells where the slice lies in the patient. Default: whether it was given.
    dwell_time : float or None
        Time between two samples of a readout [s], > 0; None: not known.

    Raises
    ------
    ValueError
        If a shape does not fit, a value is not finite, the trajectory leaves [-0.5, 0.5] or the geometry is
        not positive; the message names the readout and the sample.
    """

    kspace: NDArray[np.complex64]
    trajectory: NDArray[np.float32]
    matrix: tuple[int, int]
    fov: tuple[float, float]
    noise: NDArray[np.complex64] | None = None
    slice_index: int = 0
    slice_thickness: float = 5e-3
    affine: NDArray[np.float64] = None  # type: ignore[assignment]  # filled in from the geometry
    orientation_known: bool = None  # type: ignore[assignment]  # filled in
    dwell_time: float | None = None

    def __post_init__(self) -> None:
        self._convert()
        self._check_geometry()
        _check_kspace(self.kspace)
        _check_trajectory(self.trajectory, self.kspace.shape[1:])
        if self.noise is not None:
            _check_noise(self.noise, self.n_coils)

    def _convert(self) -> None:
        def set_field(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        set_field("kspace", np.ascontiguousarray(self.kspace, dtype=np.complex64))
        set_field("trajectory", np.ascontiguousarray(self.trajectory, dtype=np.float32))
        if self.noise is not None:
            set_field("noise", np.ascontiguousarray(self.noise, dtype=np.complex64))
        if len(self.matrix) != 2 or any(n != int(n) or n < 1 for n in self.matrix):
            raise ValueError(f"matrix={self.matrix} must be two positive integers (ny, nx)")
        set_field("matrix", (int(self.matrix[0]), int(self.matrix[1])))
        if len(self.fov) != 2 or not all(np.isfinite(f) and f > 0 for f in self.fov):
            raise ValueError(f"fov={self.fov} must be two positive lengths (fov_y, fov_x) in metres")
        set_field("fov", (float(self.fov[0]), float(self.fov[1])))
        if not (np.isfinite(self.slice_thickness) and self.slice_thickness > 0):
            raise ValueError(f"slice_thickness={self.slice_thickness} must be a positive length in metres")
        if self.orientation_known is None:
            set_field("orientation_known", self.affine is not None)
        affine = self._default_affine() if self.affine is None else self.affine
        set_field("affine", np.array(affine, dtype=np.float64))

    def _default_affine(self) -> NDArray[np.float64]:
        (ny, nx), (dy, dx) = self.matrix, self.pixel_size
        size = 1e3 * np.array([dx, dy, self.slice_thickness])
        affine = np.diag([*size, 1.0])
        affine[:3, 3] = size * [-(nx // 2), -(ny // 2), self.slice_index]
        return affine

    def _check_geometry(self) -> None:
        if self.slice_index != int(self.slice_index) or self.slice_index < 0:
            raise ValueError(f"slice_index={self.slice_index} must be an integer >= 0")
        if self.dwell_time is not None and not 0 < self.dwell_time < np.inf:
            raise ValueError(f"dwell_time={self.dwell_time} must be a positive time in seconds, or None")
        affine = self.affine
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise ValueError(f"affine must be a finite (4, 4) array; got shape {affine.shape}:\n{affine}")
        if not np.array_equal(affine[3], [0, 0, 0, 1]) or np.linalg.det(affine[:3, :3]) == 0:
            raise ValueError(f"affine must be invertible with last row 0 0 0 1; got\n{affine}")

    @property
    def n_coils(self) -> int:
        """Number of receiver coils."""
        return self.kspace.shape[0]

    @property
    def n_readouts(self) -> int:
        """Number of readouts of the slice."""
        return self.kspace.shape[1]

    @property
    def n_samples(self) -> int:
        """Number of samples of one readout."""
        return self.kspace.shape[2]

    @property
    def pixel_size(self) -> tuple[float, float]:
        """Pixel size (dy, dx) [m]."""
        return self.fov[0] / self.matrix[0], self.fov[1] / self.matrix[1]

    @property
    def sample_times(self) -> NDArray[np.float64]:
        """Times of the samples of a readout from that next to the centre of k-space [s], shape (n_samples,).

        Raises
        ------
        ValueError
            If `dwell_time` is None, or the readouts pass the centre at different samples.
        """
        if self.dwell_time is None:
            raise ValueError(
                "the dwell time of the readouts is not known (dwell_time, sample_time_us of ISMRMRD), "
                "so off-resonance cannot be corrected; set it in the raw data, or leave the B0 map out"
            )
        centre = np.linalg.norm(self.trajectory, axis=-1).argmin(axis=-1)
        if np.ptp(centre) > 1:  # delays of the gradients may move it by one
            raise ValueError(
                f"readouts pass the centre of k-space at samples {centre.min()} to {centre.max()}; the times "
                "of the samples must be the same in all of them to correct off-resonance"
            )
        times = self.dwell_time * (np.arange(self.n_samples) - int(np.median(centre)))
        return np.asarray(times, dtype=np.float64)

    @property
    def dead_coils(self) -> NDArray[np.bool_]:
        """Coils that are zero in all of k-space or have no noise, shape (n_coils,)."""
        dead: NDArray[np.bool_] = np.logical_not(self.kspace.any(axis=(1, 2)))
        if self.noise is not None:
            variance = np.mean(np.abs(self.noise.astype(np.complex128)) ** 2, axis=1)
            dead |= variance <= _DEAD_COIL * variance.max()
        return dead

    def without_dead_coils(self) -> Acquisition:
        """The same acquisition with only the coils that are not among `dead_coils`.

        Raises
        ------
        ValueError
            If all are dead.
        """
        dead = self.dead_coils
        if dead.all():
            problem = "kspace" if not self.kspace.any() else "noise"
            raise ValueError(f"{problem} is zero in all coils, so none can be used; check the raw data")
        if not dead.any():
            return self
        noise = None if self.noise is None else self.noise[~dead]
        return replace(self, kspace=self.kspace[~dead], noise=noise)

    def prewhitened(self) -> tuple[Acquisition, NDArray[np.complex64]]:
        """Acquisition whose coil noise is uncorrelated and of unit variance, and the matrix that makes it so.

        With the noise covariance ``psi = noise noise^H / n_noise = L L^H`` (Cholesky), k-space and noise are
        multiplied by ``L^-1``; then E|noise|^2 = 1 per complex sample and coil (1/2 in each of the real and
        imaginary parts).

        Returns
        -------
        acquisition : Acquisition
            The same acquisition with whitened `kspace` and `noise`.
        whitening : ndarray, shape (n_coils, n_coils), complex64
            ``L^-1``, lower triangular.

        Raises
        ------
        ValueError
            If there is no noise, fewer noise samples than coils, a dead coil, or linearly dependent coils.

        References
        ----------
        Pruessmann et al. 2001, Magn Reson Med 46:638, doi 10.1002/mrm.1241 (section on noise decorrelation).
        """
        if self.noise is None:
            raise ValueError(
                "noise is None: prewhitening needs noise samples; acquire a noise readout or skip it"
            )
        n_noise = self.noise.shape[1]
        if n_noise < self.n_coils:
            raise ValueError(
                f"noise has {n_noise} samples for {self.n_coils} coils: its covariance is singular; "
                "record at least as many samples as coils (better 100 times as many), or leave the noise "
                "readouts out of the raw data"
            )
        noise = self.noise.astype(np.complex128)
        covariance = noise @ noise.conj().T / n_noise
        variance = covariance.diagonal().real
        dead = np.flatnonzero(variance <= _DEAD_COIL * variance.max())
        if dead.size:
            raise ValueError(
                f"coil {dead[0]} has noise variance {variance[dead[0]]:.3g} (largest of all coils "
                f"{variance.max():.3g}): coil(s) {dead.tolist()} are dead: use without_dead_coils()"
            )
        scale = np.sqrt(variance)
        smallest = np.linalg.eigvalsh(covariance / np.outer(scale, scale))[0]
        if smallest < _DEPENDENT_COILS:
            raise ValueError(
                f"noise covariance is singular (smallest eigenvalue of the correlation {smallest:.3g}): "
                "coils are linearly dependent; in the raw data, remove copies of coils, or leave out the "
                "noise readouts"
            )
        factor = np.linalg.cholesky(covariance)
        inverse = scipy.linalg.solve_triangular(factor, np.eye(self.n_coils), lower=True)
        whitening = inverse.astype(np.complex64)
        kspace = np.tensordot(whitening, self.kspace, axes=1)
        return replace(self, kspace=kspace, noise=whitening @ self.noise), whitening


def _check_kspace(kspace: NDArray[np.complex64]) -> None:
    if kspace.ndim != 3:
        raise ValueError(f"kspace must have shape (n_coils, n_readouts, n_samples); got {kspace.shape}")
    if 0 in kspace.shape:
        raise ValueError(
            f"kspace needs at least one coil, one readout and one sample; got shape {kspace.shape}"
        )
    finite = np.isfinite(kspace)
    if not finite.all():
        readout, sample, coil = np.argwhere(~finite.transpose(1, 2, 0))[0]
        raise ValueError(
            f"kspace is {kspace[coil, readout, sample]!s} at readout {readout}, sample {sample}, coil {coil};"
            " it must be finite: remove or replace the readout"
        )


def _check_trajectory(trajectory: NDArray[np.float32], readouts_and_samples: tuple[int, ...]) -> None:
    if trajectory.shape != (*readouts_and_samples, 2):
        raise ValueError(
            f"trajectory has shape {trajectory.shape}, kspace asks for (n_readouts, n_samples, 2) = "
            f"{(*readouts_and_samples, 2)}"
        )
    finite = np.isfinite(trajectory).all(axis=-1)
    if not finite.all():
        readout, sample = np.argwhere(~finite)[0]
        raise ValueError(
            f"trajectory is {trajectory[readout, sample]} at readout {readout}, sample {sample}; "
            "it must be finite"
        )
    largest = np.abs(trajectory).max(axis=-1)
    if largest.max() > LARGEST_FREQUENCY:
        readout, sample = np.argwhere(largest > LARGEST_FREQUENCY)[0]
        raise ValueError(
            f"trajectory is {trajectory[readout, sample]} at readout {readout}, sample {sample} (largest "
            f"component of all {largest.max():.4g}); it must lie within [-0.5, 0.5] cycles per pixel: "
            "check its units (`trajectory_units`, also a key of protocols) and the matrix"
        )
    if largest.max() == 0:
        raise ValueError("trajectory is zero everywhere; give the k-space positions of the samples")


def _check_noise(noise: NDArray[np.complex64], n_coils: int) -> None:
    if noise.ndim != 2 or noise.shape[0] != n_coils:
        raise ValueError(
            f"noise has shape {noise.shape}; it must be (n_coils, n_noise) with n_coils={n_coils}"
        )
    finite = np.isfinite(noise)
    if not finite.all():
        sample, coil = np.argwhere(~finite.T)[0]
        raise ValueError(
            f"noise is {noise[coil, sample]!s} at sample {sample}, coil {coil}; it must be finite"
        )
