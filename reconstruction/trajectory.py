"""k-space trajectories computed from their parameters, and density compensation."""

from __future__ import annotations

import finufft
import numpy as np
from numpy.typing import ArrayLike, NDArray

GOLDEN_ANGLE = np.pi * (np.sqrt(5.0) - 1.0) / 2.0
"""Golden angle of full-diameter spokes [rad], 111.246 degrees."""


def golden_angle_radial(
    n_readouts: int,
    n_samples: int,
    *,
    first_angle: float = 0.0,
    angle_increment: float = GOLDEN_ANGLE,
    n_skipped: int = 0,
) -> NDArray[np.float32]:
    """Full-diameter spokes, each turned by a constant angle from the one before.

    Sample i of readout t lies at ``(i - n_samples // 2) / n_samples`` cycles per pixel along the direction
    ``(cos a, sin a)`` with ``a = first_angle + (t + n_skipped) angle_increment``. A readout with oversampling
    covers the same range more finely: `n_samples` counts all its samples.

    Parameters
    ----------
    n_readouts, n_samples : int
        Number of spokes and of samples on each, > 0.
    first_angle : float
        Angle of spoke 0 [rad], from kx towards ky.
    angle_increment : float
        Angle between successive spokes [rad]. Tiny golden angles are ``pi / ((1 + sqrt(5)) / 2 + n - 1)``.
    n_skipped : int
        Spokes played out before the first one stored (dummy excitations), >= 0.

    Returns
    -------
    ndarray, shape (n_readouts, n_samples, 2), float32
        Components (kx, ky) [cycles per pixel], within [-0.5, 0.5].

    Raises
    ------
    ValueError
        If a count is not positive or an angle is not finite.

    References
    ----------
    Winkelmann et al. 2007, IEEE Trans Med Imaging 26:68, doi 10.1109/TMI.2006.885337.
    Wundrak et al. 2016, Magn Reson Med 75:2372, doi 10.1002/mrm.25831 (tiny golden angles).

    Examples
    --------
    >>> golden_angle_radial(1, 4)[0, :, 0].tolist()
    [-0.5, -0.25, 0.0, 0.25]
    """
    _check_counts(n_readouts=n_readouts, n_samples=n_samples)
    if n_skipped < 0:
        raise ValueError(f"n_skipped={n_skipped} must be >= 0")
    if not np.isfinite([first_angle, angle_increment]).all():
        raise ValueError(f"first_angle={first_angle} and angle_increment={angle_increment} must be finite")
    angle = first_angle + (np.arange(n_readouts) + n_skipped) * angle_increment
    radius = (np.arange(n_samples) - n_samples // 2) / n_samples
    return _components(radius * np.exp(1j * angle[:, None]))


def variable_density_spiral(
    n_readouts: int,
    n_samples: int,
    *,
    matrix: tuple[int, int],
    n_interleaves: int = 48,
    density_exponent: float = 2.0,
    angle_increment: float | None = None,
) -> NDArray[np.float32]:
    """Spirals from the centre to the edge of k-space, one interleave per readout, denser in the centre.

    Interleave 0 is ``k = 0.5 tau^a exp(2 pi i n_turns tau)`` with ``a = density_exponent`` and tau in [0, 1].
    Neighbouring turns of all interleaves together lie ``a tau^(a-1) / (2 n_turns n_interleaves)`` apart;
    ``n_turns = a N / (2 n_interleaves)``, N = max(matrix), makes this 1 / N (Nyquist) at the edge, and the
    spacing falls towards the centre for a > 1 (a = 1: Archimedean, uniform). Time runs as ``tau = (t / T)^(1
    / (a/2 + 1))``, for which the acceleration is asymptotically constant (Kim 2003, slew-limited regime).
    Neither slew rate nor gradient amplitude enter: this is the shape of a spiral, not a waveform for a
    scanner, and it is not slew-optimal. Reconstruct measured data with the trajectory that was played.

    Parameters
    ----------
    n_readouts, n_samples : int
        Number of interleaves and of samples on each, > 0.
    matrix : tuple of int
        Image size (ny, nx).
    n_interleaves : int
        Number of interleaves that together sample the edge at Nyquist, > 0.
    density_exponent : float
        Power of tau in the radius, >= 1.
    angle_increment : float, optional
        Angle between successive readouts [rad]; default 2 pi / n_interleaves. `GOLDEN_ANGLE` works too.

    Returns
    -------
    ndarray, shape (n_readouts, n_samples, 2), float32
        Components (kx, ky) [cycles per pixel], within [-0.5, 0.5].

    Raises
    ------
    ValueError
        If a parameter is out of range, or successive samples lie further apart than Nyquist at the edge.

    References
    ----------
    Kim, Adalsteinsson, Spielman 2003, Magn Reson Med 50:214, doi 10.1002/mrm.10353.
    """
    _check_counts(n_readouts=n_readouts, n_samples=n_samples, n_interleaves=n_interleaves)
    if not 1 <= density_exponent < np.inf:
        raise ValueError(f"density_exponent={density_exponent} must be >= 1 (1 is a uniform density)")
    n_pixels = max(matrix)
    n_turns = density_exponent * n_pixels / (2 * n_interleaves)
    time = np.arange(n_samples) / max(n_samples - 1, 1)
    tau = time ** (1 / (density_exponent / 2 + 1))
    spiral = 0.5 * tau**density_exponent * np.exp(2j * np.pi * n_turns * tau)
    # Radial and azimuthal speed at the edge, in cycles per pixel per readout.
    speed = np.hypot(density_exponent, 2 * np.pi * n_turns) / 2 / (density_exponent / 2 + 1)
    n_nyquist = int(np.ceil(speed * n_pixels)) + 1
    if n_samples < n_nyquist:
        raise ValueError(
            f"n_samples={n_samples} leaves successive samples further apart than 1/{n_pixels} cycles per "
            f"pixel at the edge; use at least {n_nyquist} samples or more interleaves than {n_interleaves}"
        )
    increment = 2 * np.pi / n_interleaves if angle_increment is None else angle_increment
    rotation = np.exp(1j * increment * np.arange(n_readouts))
    return _components(rotation[:, None] * spiral)


def cartesian_lines(lines: ArrayLike, n_samples: int, *, matrix: tuple[int, int]) -> NDArray[np.float32]:
    """Readouts along x, each on one line of the Cartesian grid.

    Sample i of a readout on line l lies at ``kx = (i - n_samples // 2) / n_samples``, ``ky = (l - ny // 2) /
    ny``: line ``ny // 2`` goes through the centre of k-space. More samples than nx are readout oversampling.

    Parameters
    ----------
    lines : array_like, shape (n_readouts,), int
        Line of each readout, 0 ... ny - 1.
    n_samples : int
        Number of samples of a readout, > 0.
    matrix : tuple of int
        Image size (ny, nx).

    Returns
    -------
    ndarray, shape (n_readouts, n_samples, 2), float32
        Components (kx, ky) [cycles per pixel], within [-0.5, 0.5].

    Raises
    ------
    ValueError
        If there is no readout or no sample, or a line is none of the image.

    Examples
    --------
    >>> cartesian_lines([1], 4, matrix=(2, 4))[0].tolist()
    [[-0.5, 0.0], [-0.25, 0.0], [0.0, 0.0], [0.25, 0.0]]
    """
    numbers, ny = np.asarray(lines), matrix[0]
    _check_counts(n_readouts=numbers.size, n_samples=n_samples)
    wrong = np.flatnonzero((numbers < 0) | (numbers >= ny) | (numbers % 1 != 0))
    if wrong.size:
        raise ValueError(
            f"line {numbers[wrong[0]]} of readout {wrong[0]} must be a whole number from 0 to {ny - 1} for "
            f"an image of {ny} rows"
        )
    positions = np.empty((numbers.size, n_samples, 2), dtype=np.float32)
    positions[..., 0] = (np.arange(n_samples) - n_samples // 2) / n_samples
    positions[..., 1] = ((numbers - ny // 2) / ny)[:, np.newaxis]
    return positions


def density_compensation(
    trajectory: ArrayLike,
    matrix: tuple[int, int],
    *,
    n_iterations: int = 20,
    importance: ArrayLike | None = None,
) -> NDArray[np.float32]:
    """Weights that make the adjoint Fourier transform an approximate inverse.

    The Pipe-Menon iteration ``w <- w / (C a w)`` towards ``C a w = 1`` at every sample, with the importance
    a = 1 of each unless given: a sample of a = 2 counts like two in the same place. C convolves with
    ``c(k) = sum_r p(r) exp(2 pi i k.r)``, p a separable triangle of height 1 over twice the field of view:
    c is a product of squared Dirichlet kernels, nonnegative, so that the weights stay positive. C is a
    type-1 and a type-2 non-uniform FFT on the doubled grid.

    As c integrates to 1 over the unit square, the weights are the k-space areas of the samples
    [(cycles per pixel)^2]: samples on the Cartesian grid get 1 / (ny nx), and
    ``sum_m w_m s(k_m) exp(+2 pi i k_m.r)`` returns about the image.

    Parameters
    ----------
    trajectory : array_like, shape (n_readouts, n_samples, 2)
        Components (kx, ky) [cycles per pixel].
    matrix : tuple of int
        Image size (ny, nx).
    n_iterations : int
        Number of iterations, > 0.
    importance : array_like, shape (n_readouts,), optional
        How much the samples of each readout count, > 0.

    Returns
    -------
    ndarray, shape (n_readouts, n_samples), float32
        Weights, > 0.

    Raises
    ------
    ValueError
        If the trajectory or the importance has another shape or is not finite, or the importance is not
        positive.

    References
    ----------
    Pipe and Menon 1999, Magn Reson Med 41:179,
    doi 10.1002/(SICI)1522-2594(199901)41:1<179::AID-MRM25>3.0.CO;2-V.
    """
    _check_counts(n_iterations=n_iterations)
    positions = np.asarray(trajectory, dtype=np.float32)
    if positions.ndim != 3 or positions.shape[-1] != 2:
        raise ValueError(f"trajectory must have shape (n_readouts, n_samples, 2); got {positions.shape}")
    if not np.isfinite(positions).all():
        raise ValueError("trajectory must be finite; it holds NaN or infinity")
    counts = np.ones(len(positions)) if importance is None else np.asarray(importance, dtype=np.float64)
    if counts.shape != positions.shape[:1] or not (np.isfinite(counts) & (counts > 0)).all():
        raise ValueError(
            f"importance must hold a positive number for each of the {len(positions)} readouts; got shape "
            f"{counts.shape}" + (f", smallest {counts.min():.3g}" if counts.size else "")
        )
    repeated = np.repeat(counts.astype(np.float32), positions.shape[1])
    kx, ky = (np.ascontiguousarray(2 * np.pi * positions[..., i].ravel()) for i in range(2))
    triangles = [1 - np.abs(np.arange(-n, n)) / n for n in matrix]
    window = np.outer(*triangles).astype(np.float32)
    to_grid = finufft.Plan(1, window.shape, eps=1e-4, isign=1, dtype="complex64", nthreads=1)
    to_samples = finufft.Plan(2, window.shape, eps=1e-4, isign=-1, dtype="complex64", nthreads=1)
    to_grid.setpts(ky, kx)
    to_samples.setpts(ky, kx)
    weights = np.full(kx.size, 1 / (matrix[0] * matrix[1]), dtype=np.complex64)
    for _ in range(n_iterations):
        weights /= to_samples.execute(window * to_grid.execute(repeated * weights)).real
    return weights.real.reshape(positions.shape[:2])


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"{name}={count} must be at least 1")


def _components(k: NDArray[np.complex128]) -> NDArray[np.float32]:
    return np.stack([k.real, k.imag], axis=-1).astype(np.float32)
