"""Delays of the gradients, estimated from radial data."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reconstruction.acquisition import LARGEST_FREQUENCY, Acquisition
from reconstruction.kspace_centre import CentreFit, KspaceCentre

_STRAIGHT = 0.02  # of the distance between samples; float32 positions are off by 1e-4 of it
_ITERATIONS = 20
_TOLERANCE = 1e-3  # samples
_STARTS = (-3.0, -1.5, 0.0, 1.5, 3.0)  # samples
_LARGEST_RESIDUAL = 0.5  # right trajectories: 0.01 to 0.05 and the noise, small in the centre of k-space
_LARGEST_DELAY = 4.0  # samples; beyond, it is another fault than a delay


@dataclass(frozen=True)
class GradientDelays:
    """Delays of the gradients in dwell times (distances between samples).

    A sample that the trajectory puts at k was taken at ``k - d D n``: n is the direction of the spoke, d the
    distance between its samples and ``D = [[x, xy], [xy, y]]``. Positive: the gradient comes late.

    Attributes
    ----------
    x, y : float
        Delays of the axes.
    xy : float
        Cross term, for gradients that are played on axes oblique to kx and ky.
    residuals : tuple of float
        What the readouts leave unexplained near the centre of k-space without and with the delays (relative
        norms).
    """

    x: float
    y: float
    xy: float
    residuals: tuple[float, float]

    def __str__(self) -> str:
        x, y, xy = (round(delay, 2) + 0.0 for delay in (self.x, self.y, self.xy))  # no -0.00
        return f"x {x:.2f}, y {y:.2f}, xy {xy:.2f} samples"

    def corrected(self, acquisition: Acquisition) -> Acquisition:
        """The acquisition with its samples where they were taken.

        Samples at the ends that come to lie outside of k-space in any readout are cut off in all.

        Raises
        ------
        ValueError
            If the acquisition is not radial.
        """
        directions, along = _spokes(acquisition.trajectory)
        matrix = np.array([[self.x, self.xy], [self.xy, self.y]])
        shift = (along[1] - along[0]) * directions @ matrix
        trajectory = (acquisition.trajectory - shift[:, None]).astype(np.float32)
        kept = np.flatnonzero((np.abs(trajectory) <= LARGEST_FREQUENCY).all(axis=(0, 2)))
        kept_samples = slice(kept[0], kept[-1] + 1)
        return replace(
            acquisition, kspace=acquisition.kspace[..., kept_samples], trajectory=trajectory[:, kept_samples]
        )


def estimate_gradient_delays(acquisition: Acquisition, basis: ArrayLike) -> GradientDelays:
    """Delays with which the spokes agree best near the centre of k-space.

    All spokes cross there. Delayed gradients shift each along and across its direction, and crossing spokes
    contradict each other; Rosenzweig et al. find the shifts from where pairs of spokes intersect. Here all
    samples of the centre are compared at once, with the change of contrast between them: the delays minimise
    the residual of `KspaceCentre`, by Gauss-Newton steps with variable projection.

    Parameters
    ----------
    acquisition : Acquisition
        Radial k-space: straight readouts through k = 0 with the same samples on each, full or partial echoes.
        Live coils, prewhitened where there are noise samples.
    basis : array_like, shape (n_pulses, rank)
        Temporal basis of the signals.

    Returns
    -------
    GradientDelays
        x, y and xy [samples].

    Raises
    ------
    ValueError
        If the readouts are not spokes that cross, too few, or no delays of at most 4 samples are found.

    References
    ----------
    Rosenzweig, Holme, Uecker 2019, Magn Reson Med 81:1898, doi 10.1002/mrm.27506.
    Kaufman 1975, BIT 15:49, doi 10.1007/BF01932995 (derivative of a projected residual).
    """
    directions, along = _spokes(acquisition.trajectory)
    centre = KspaceCentre(acquisition, basis)
    if not -along[0] >= centre.radius <= along[-1]:
        raise ValueError(
            f"the spokes end at or next to the centre of k-space (from {along[0]:.3g} to {along[-1]:.3g} "
            "cycles per pixel), so they hardly cross: delays cannot be told from them; leave the correction "
            "out (gradient_delays, --gradient-delays)"
        )
    positions = centre.positions(acquisition.trajectory)
    zero = np.zeros(len(directions))
    # Shift of each spoke by a unit of x, y and xy.
    shifts = (along[0] - along[1]) * np.stack(
        [
            np.stack([directions[:, 0], zero], axis=1),
            np.stack([zero, directions[:, 1]], axis=1),
            directions[:, ::-1],
        ]
    )

    def fitted(delays: NDArray[np.float64]) -> CentreFit:
        return centre.fit(positions + np.tensordot(delays, shifts, axes=1)[:, None])

    # Gauss-Newton steps lead to the minimum from up to two samples away.
    starts = [np.array([delay, delay, 0.0]) for delay in _STARTS]
    delays = min(starts, key=lambda start: fitted(start).residual)
    for _ in range(_ITERATIONS):
        fit = fitted(delays)
        # d/dk of exp(-2 pi i k.r), for kx and ky.
        slopes = [
            fit.forward((fit.images * (-2j * np.pi * place)).astype(np.complex64)) for place in centre.places
        ]
        columns = [
            fit.without_explained(
                (slopes[0] * shift[:, :1] + slopes[1] * shift[:, 1:]).astype(np.complex64)
            ).ravel()
            for shift in shifts
        ]
        jacobian = np.stack(columns).astype(np.complex128)
        unexplained = fit.unexplained.ravel().astype(np.complex128)
        try:
            step = np.linalg.solve((jacobian.conj() @ jacobian.T).real, (jacobian.conj() @ unexplained).real)
        except np.linalg.LinAlgError:  # spokes of one direction
            break
        delays += np.clip(step, -1, 1)
        if not np.abs(delays).max() <= _LARGEST_DELAY:
            break
        if np.abs(step).max() < _TOLERANCE and fit.residual < _LARGEST_RESIDUAL:
            x, y, xy = delays.tolist()
            return GradientDelays(x, y, xy, (fitted(np.zeros(3)).residual, fit.residual))
    raise ValueError(
        f"no gradient delays of at most {_LARGEST_DELAY:g} samples make the spokes agree (last x, y, xy = "
        f"{np.round(delays, 2).tolist()}): check trajectory and sequence, or leave the correction out"
    )


def _spokes(trajectory: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Directions (n_readouts, 2) and distances from k = 0 (n_samples,); ValueError if they are no spokes."""
    positions = trajectory.astype(np.float64)
    span = positions[:, -1] - positions[:, 0]
    length = np.linalg.norm(span, axis=1)
    directions = span / np.maximum(length, np.finfo(float).tiny)[:, None]
    distance = float(np.median(length)) / max(positions.shape[1] - 1, 1)
    along = np.median(np.einsum("tmi,ti->tm", positions, directions), axis=0)
    error = np.abs(positions - along[:, None] * directions[:, None]).max(axis=(1, 2))
    wrong = np.flatnonzero(error > _STRAIGHT * distance)
    if distance == 0 or wrong.size:
        raise ValueError(
            f"the readouts are not radial (readout {wrong[0] if wrong.size else 0} is not a straight spoke "
            "through k = 0 with the samples of the others), but gradient delays are estimated from radial "
            "data only; leave the correction out (gradient_delays, --gradient-delays)"
        )
    return directions, along
