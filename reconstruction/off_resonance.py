"""Phase by off-resonance during a readout, as a sum of products of maps and sample weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Segments:
    """Factors of the phase: ``exp(2 pi i f(r) t[m]) ~ sum_l phases[l](r) weights[l, m]``.

    Attributes
    ----------
    phases : ndarray, shape (n_segments, *matrix), complex64
        Phase at one time for each segment; 1 without off-resonance.
    weights : ndarray, shape (n_segments, n_samples), complex64 or float32
        Weights of the samples of a readout; 1 without off-resonance.
    """

    phases: NDArray[np.complex64]
    weights: NDArray[np.complex64] | NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.phases)

    def __iter__(self) -> Iterator[tuple[NDArray[np.complex64], NDArray[np.complex64] | NDArray[np.float32]]]:
        return zip(self.phases, self.weights, strict=True)


def on_resonance(matrix: tuple[int, ...], n_samples: int) -> Segments:
    """One segment without phase."""
    return Segments(np.ones((1, *matrix), np.complex64), np.ones((1, n_samples), np.float32))


def time_segments(
    off_resonance: NDArray[np.float64],
    times: NDArray[np.float64],
    seen: NDArray[Any],
    accuracy: float,
) -> tuple[Segments, Segments]:
    """Segments of the phase of images, and of the difference of the phases of two pixels.

    With ``|g| <= B`` and Chebyshev points tau_l of the readout, the weights a_l(t) are the real numbers for
    which ``sum_l a_l(t) exp(2 pi i g tau_l)`` comes closest to ``exp(2 pi i g t)`` in the least-squares
    sense; the number of segments is the smallest that makes the largest difference over t and g at most the
    accuracy: about three times ``B`` times the duration of the readout, and some more. There are never more
    than samples, one segment for each of which is exact.

    - Images: ``g = f - f0``, f0 in the middle of the range of f, which puts ``exp(2 pi i f0 t)`` in the
      weights; B is half the range.
    - Differences: ``exp(-2 pi i (f(r) - f(r')) t) ~ sum_l a_l(t) conj(phases[l](r)) phases[l](r')``, with the
      range for B; as the weights are real, the kernel of a Toeplitz operator is as symmetric with as without.

    Parameters
    ----------
    off_resonance : ndarray, shape matrix, float64
        f [Hz].
    times : ndarray, shape (n_samples,), float64
        t [s].
    seen : ndarray, shape matrix, bool
        Pixels that count.
    accuracy : float
        Largest difference of a phase factor.

    Returns
    -------
    of_images, of_differences : Segments

    References
    ----------
    Noll et al. 1991, IEEE Trans Med Imaging 10:629, doi 10.1109/42.108599 (time segmentation).
    Sutton et al. 2003, IEEE Trans Med Imaging 22:178, doi 10.1109/TMI.2002.808360 (least-squares weights).
    Fessler et al. 2005, IEEE Trans Signal Process 53:3393, doi 10.1109/TSP.2005.853152 (section on field
    inhomogeneity: the normal operator as a sum of Toeplitz matrices between diagonal ones).
    """
    low, high = off_resonance[seen].min(), off_resonance[seen].max()
    centre = (low + high) / 2

    def segments(bandwidth: float) -> tuple[NDArray[np.complex64], NDArray[np.float64]]:
        segment_times, weights = _interpolation(bandwidth, times, accuracy)
        angle = 2 * np.pi * np.multiply.outer(segment_times, off_resonance - centre)
        return np.exp(1j * angle).astype(np.complex64), weights

    phases, weights = segments((high - low) / 2)
    of_images = Segments(phases, (weights * np.exp(2j * np.pi * centre * times)).astype(np.complex64))
    phases, weights = segments(high - low)
    return of_images, Segments(phases, weights.astype(np.float32))


def _interpolation(
    bandwidth: float, times: NDArray[np.float64], accuracy: float
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Times of the segments, shape (n_segments,), and weights, shape (n_segments, n_samples)."""
    first, last = times.min(), times.max()
    turns = bandwidth * (last - first)
    # Denser at the edge of the band, where the differences are largest.
    n_frequencies = 32 + 8 * int(np.ceil(turns))
    frequencies = bandwidth * np.sin(np.linspace(0, np.pi / 2, n_frequencies))

    def waves(at: NDArray[np.float64]) -> NDArray[np.float64]:
        angle = 2 * np.pi * np.outer(frequencies, at - (first + last) / 2)
        return np.concatenate([np.cos(angle), np.sin(angle)])

    exact = waves(times)
    for n_segments in range(1 + int(2 * turns), times.size):
        # Chebyshev points and a bound on the condition keep the weights small: they are used in float32.
        points = -np.cos(np.pi * (np.arange(n_segments) + 0.5) / n_segments)
        segment_times = (first + last) / 2 + (last - first) / 2 * points
        basis = waves(segment_times)
        weights = np.linalg.pinv(basis, rcond=accuracy / 100) @ exact
        cosine, sine = np.split(basis @ weights - exact, 2)
        if np.hypot(cosine, sine).max() <= accuracy:
            return segment_times, weights
    return times, np.eye(times.size)
