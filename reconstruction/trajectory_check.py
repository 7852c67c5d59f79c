"""Does the trajectory belong to the data?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reconstruction.acquisition import Acquisition
from reconstruction.gradient_delays import GradientDelays, estimate_gradient_delays
from reconstruction.kspace_centre import KspaceCentre

# Right trajectories leave 0.016 to 0.035 unexplained, wrong ones 0.07 to 0.7.
_SUSPICIOUS = 0.05
_NOISE = 0.9
_BETTER = 0.4  # a fault is named if the residual without it is less than this fraction
_ROUNDS = 6
_EVEN_STEP = 1e-3  # [rad]

SYMMETRIES: dict[str, NDArray[np.float64]] = {
    "kx and ky are exchanged": np.array([[0.0, 1.0], [1.0, 0.0]]),
    "kx is mirrored": np.array([[-1.0, 0.0], [0.0, 1.0]]),
    "ky is mirrored": np.array([[1.0, 0.0], [0.0, -1.0]]),
    "kx and ky are mirrored (the direction is reversed)": np.array([[-1.0, 0.0], [0.0, -1.0]]),
    "kx and ky are exchanged and kx is mirrored": np.array([[0.0, -1.0], [1.0, 0.0]]),
    "kx and ky are exchanged and ky is mirrored": np.array([[0.0, 1.0], [-1.0, 0.0]]),
    "kx and ky are exchanged and both mirrored": np.array([[0.0, -1.0], [-1.0, 0.0]]),
}
"""Mistakes with axes, as matrices that turn the wrong (kx, ky) into the right one."""


@dataclass(frozen=True)
class TrajectoryCheck:
    """Result of `check_trajectory`.

    Attributes
    ----------
    residual : float
        What the readouts leave unexplained near the centre of k-space: norm over that of the samples, without
        the noise where there are noise samples.
    noise_known : bool
        Whether there are noise samples.
    fault : str
        What is wrong with the trajectory; "" where nothing was found.
    corrected_residual : float
        Residual without that fault; NaN where there is none.
    delays : GradientDelays or None
        The fault, where it is one of the gradients.
    """

    residual: float
    noise_known: bool
    fault: str = ""
    corrected_residual: float = np.nan
    delays: GradientDelays | None = None


def check_trajectory(acquisition: Acquisition, basis: ArrayLike) -> TrajectoryCheck | None:
    """What is wrong with a trajectory, as far as the data can tell.

    Readouts contradict each other near k = 0, where all of them meet, if they were not taken where the
    trajectory says (`KspaceCentre`). Then other trajectories are tried: axes exchanged or mirrored in every
    second readout, in the second half of them, or in any part of them (found readout by readout); another
    angle from readout to readout, where this is constant; gradient delays; for a field of view that is not
    square also axes exchanged throughout. A fault is named only if the residual falls below 0.4 of what it
    was.

    Data cannot tell a trajectory that is exchanged, mirrored or turned as a whole from the right one: it
    makes the mirrored or turned image, and every readout agrees with it. (With kx and ky exchanged, the
    spokes of angles n a become those of 90 degrees - n a.) Only what is known beforehand can: given
    sensitivities (`check_sensitivities`), a field of view that the image does not fit into, or another source
    of the trajectory.

    Parameters
    ----------
    acquisition : Acquisition
        Live coils, prewhitened where there are noise samples.
    basis : array_like, shape (n_pulses, rank)
        Temporal basis. With that of another sequence, the residual is large, but no fault is named.

    Returns
    -------
    TrajectoryCheck or None
        None: the centre of k-space holds too few samples to compare readouts.
    """
    try:
        centre = KspaceCentre(acquisition, basis)
    except ValueError:
        return None
    positions = centre.positions(acquisition.trajectory)
    residual = centre.beyond_noise(centre.fit(positions).residual)
    fine = TrajectoryCheck(residual, acquisition.noise is not None)
    if not _SUSPICIOUS < residual < _NOISE:
        return fine
    others = [(centre.fit(other).residual, name) for name, other in _variants(acquisition, positions)]
    best, fault = min([*others, _readout_by_readout(centre, positions)])
    delays = _delays(acquisition, basis)
    if delays is not None and delays.residuals[1] < best:
        best, fault = delays.residuals[1], f"the gradients come late by {delays}"
    else:
        delays = None
    best = centre.beyond_noise(best)
    if best > _BETTER * residual:
        return fine
    return replace(fine, fault=fault, corrected_residual=best, delays=delays)


def trajectory_difference(given: ArrayLike, other: ArrayLike, matrix: tuple[int, int]) -> str:
    """How a trajectory differs from another one of the same data.

    Parameters
    ----------
    given, other : array_like, shape (n_readouts, n_samples, 2)
        Trajectories [cycles per pixel].
    matrix : tuple of int
        Image size (ny, nx); they are equal if no sample differs by more than 1 / max(matrix).

    Returns
    -------
    str
        "" if they are equal; else what is wrong with one of them, if that is so throughout.
    """
    first, second = (np.asarray(positions, dtype=np.float64) for positions in (given, other))
    tolerance = 1 / max(matrix)

    def differ(positions: NDArray[np.float64]) -> bool:
        return bool(np.linalg.norm(positions - second, axis=-1).max() > tolerance)

    if not differ(first):
        return ""
    for name, symmetry in SYMMETRIES.items():
        if not differ(first @ symmetry.T):
            return name
    k, other_k = first @ [1, 1j], second @ [1, 1j]
    turn = np.exp(1j * np.angle(np.vdot(k, other_k)))
    if np.abs(turn * k - other_k).max() <= tolerance:
        return f"it is turned by {np.rad2deg(np.angle(turn)):.1f} degrees"
    return f"samples differ by up to {np.linalg.norm(first - second, axis=-1).max():.2g} cycles per pixel"


def _variants(
    acquisition: Acquisition, positions: NDArray[np.float64]
) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Names of faults, and positions without them."""
    ny, nx = acquisition.matrix
    if ny != nx:
        yield "kx and ky are exchanged", positions[..., ::-1]
    n_readouts = len(positions)
    parts = {
        "every second readout": slice(1, None, 2),
        "one half of the readouts": slice(n_readouts // 2, None),
    }
    for part, readouts in parts.items():
        for name, matrix in SYMMETRIES.items():
            other = positions.copy()
            other[readouts] = other[readouts] @ matrix.T
            yield f"in {part} {name}", other
    step = _constant_angle(acquisition.trajectory)
    if step is None:
        return
    for angle in _usual_angles(n_readouts, step):
        turn = np.exp(1j * (angle - step) * np.arange(n_readouts))
        turned = (positions @ [1, 1j]) * turn[:, None]
        degrees, given = np.rad2deg([angle, step]) % 360
        yield (
            f"from readout to readout the angle grows by {degrees:.2f} degrees, not {given:.2f}",
            np.stack([turned.real, turned.imag], axis=-1),
        )


def _usual_angles(n_readouts: int, step: float) -> list[float]:
    """Golden angle and tiny ones of half and full turns, even steps; the given one backwards."""
    golden = [np.pi / ((1 + np.sqrt(5)) / 2 + n) for n in range(10)]
    even = [2 * np.pi / n for n in (8, 12, 16, 24, 32, 48, 64, n_readouts, 2 * n_readouts)]
    return [-step, *golden, *(2 * angle for angle in golden), *even]


def _constant_angle(trajectory: NDArray[np.float32]) -> float | None:
    """Angle by which each readout is turned against the one before [rad]; None if it is not constant."""
    k = trajectory.astype(np.float64) @ [1, 1j]
    turns = (k[1:] * k[:-1].conj()).sum(axis=1)
    step = float(np.angle(turns.sum()))
    if np.abs(np.angle(turns * np.exp(-1j * step))).max() > _EVEN_STEP:
        return None
    expected = k[:-1] * np.exp(1j * step)
    return step if np.abs(expected - k[1:]).max() < _EVEN_STEP * np.abs(k).max() else None


def _readout_by_readout(centre: KspaceCentre, positions: NDArray[np.float64]) -> tuple[float, str]:
    """Residual where each readout may have a fault of its own, and the most frequent fault.

    Fits and choices of the fault with the least residual of each readout take turns.
    """
    matrices = np.stack([np.eye(2), *SYMMETRIES.values()])
    waves = [centre.waves(positions @ matrix.T) for matrix in matrices]
    choice = np.zeros(len(positions), dtype=np.intp)
    for _ in range(_ROUNDS):
        fit = centre.fit(np.einsum("tij,tmj->tmi", matrices[choice], positions))
        misfits = [
            np.linalg.norm(centre.samples - fit.forward(fit.images, each), axis=(0, 2)) for each in waves
        ]
        better = np.argmin(misfits, axis=0)
        if (better == choice).all():
            break
        choice = better
    counts = np.bincount(choice, minlength=len(matrices))[1:]
    name = list(SYMMETRIES)[int(counts.argmax())]
    return fit.residual, f"in {counts.max()} of {len(positions)} readouts {name}"


def _delays(acquisition: Acquisition, basis: ArrayLike) -> GradientDelays | None:
    try:
        return estimate_gradient_delays(acquisition, basis)
    except ValueError:  # not radial, or none found
        return None
