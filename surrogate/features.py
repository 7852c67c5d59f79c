"""What the network reads: five numbers a pulse, three about the state before the first one."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from epgbloch import Sequence, SequenceGradient, Tissue
from surrogate.sampling import Ranges

FEATURES = ("ln_t1", "ln_t2", "tr", "te", "angle")
"""Inputs at each pulse: logarithms of T1 and T2 in seconds, TR and TE [s], flip angle times B1 [rad]."""
INITIAL = ("mz", "d_ln_t1", "d_ln_t2")
"""State before the first pulse: Mz and its derivatives by ln T1 and ln T2; the last is always 0."""
OUTPUTS = ("signal", "d_ln_t1", "d_ln_t2")
"""Outputs at each pulse: signal of proton density 1 and its derivatives by ln T1 and ln T2."""


def pulse_features(
    t1: ArrayLike, t2: ArrayLike, tr: ArrayLike, te: ArrayLike, angle: ArrayLike
) -> NDArray[np.float32]:
    """Return the inputs of the network at every pulse, not normalised.

    Parameters
    ----------
    t1, t2 : array_like, shape (n_signals,)
        Relaxation times [s].
    tr, te, angle : array_like, shape (n_signals, n_pulses) or (n_pulses,)
        Repetition and echo times [s], flip angles times B1 [rad].

    Returns
    -------
    ndarray, shape (n_signals, n_pulses, 5), float32
        In the order of `FEATURES`.
    """
    columns = (np.log(np.asarray(t1))[:, None], np.log(np.asarray(t2))[:, None], tr, te, angle)
    return np.stack(np.broadcast_arrays(*(np.asarray(c, np.float32) for c in columns)), axis=-1)


def initial_state(
    t1: ArrayLike, inversion_delay: ArrayLike, inversion_efficiency: ArrayLike
) -> NDArray[np.float32]:
    """Return Mz right before the first pulse and its derivatives by ln T1 and ln T2.

    Mz = 1 - 2 efficiency exp(-delay / T1) after an inversion, 1 without. The published network reads the
    vector (0, 0, Mz) instead, with Mz = +1 or -1; the derivative tells an inversion delay from an imperfect
    inversion, and both are what the outputs begin with.

    Parameters
    ----------
    t1 : array_like, shape (n_signals,)
        Longitudinal relaxation times [s].
    inversion_delay : array_like, shape () or (n_signals,)
        Time from the inversion to the start of the first pulse [s]; not a number without inversion.
    inversion_efficiency : array_like, shape () or (n_signals,)
        Efficiency of the inversion.

    Returns
    -------
    ndarray, shape (n_signals, 3), float32
        Mz, dMz / d ln T1, and 0.
    """
    ratio = np.asarray(inversion_delay, np.float64) / np.asarray(t1, np.float64)
    lost = np.nan_to_num(2 * np.asarray(inversion_efficiency) * np.exp(-ratio))
    slope = np.nan_to_num(-lost * ratio)
    return np.stack([1 - lost, slope, np.zeros_like(lost)], axis=-1).astype(np.float32)


def network_inputs(
    sequence: Sequence, tissue: Tissue, flip_angle: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return `pulse_features` and `initial_state` of every atom; its B1 scales the flip angles.

    These are `flip_angle`, shape (n_atoms, n_pulses) [rad], or, where it is None, those of the sequence.
    """
    angle = (sequence.flip_angle if flip_angle is None else flip_angle) * tissue.b1[:, np.newaxis]
    return (
        pulse_features(tissue.t1, tissue.t2, sequence.tr, sequence.te, angle),
        initial_state(tissue.t1, _inversion_delay(sequence), sequence.inversion_efficiency),
    )


def _inversion_delay(sequence: Sequence) -> float:
    """Time from the inversion to the start of the first pulse [s]; not a number without inversion."""
    if sequence.inversion_time is None:
        return np.nan
    return sequence.inversion_time - sequence.pulse_margins[0]


def sequence_gradient(
    sequence: Sequence, tissue: Tissue, pulses_bar: NDArray[np.float32], initial_bar: NDArray[np.float32]
) -> SequenceGradient:
    """Return the derivatives of a scalar by the sequence from those by its `network_inputs`.

    Sums over atoms are in double precision. The phases do not matter to the network.

    Parameters
    ----------
    sequence, tissue
        As for `network_inputs`.
    pulses_bar : ndarray, shape (n_atoms, n_pulses, 5), float32
        Derivatives of the scalar by the inputs at each pulse.
    initial_bar : ndarray, shape (n_atoms, 3), float32
        Derivatives by the state before the first pulse.
    """
    tr, te = (pulses_bar[..., FEATURES.index(name)].sum(axis=0, dtype=np.float64) for name in ("tr", "te"))
    flip_angle = np.einsum("a,an->n", tissue.b1, pulses_bar[..., FEATURES.index("angle")])
    inversion_time = 0.0
    if sequence.inversion_time is not None:
        ratio = _inversion_delay(sequence) / tissue.t1
        loss_rate = 2 * sequence.inversion_efficiency * np.exp(-ratio) / tissue.t1
        slopes = np.stack([loss_rate, loss_rate * (ratio - 1), np.zeros_like(ratio)], axis=-1)
        inversion_time = float(np.sum(slopes * initial_bar))
    return SequenceGradient(flip_angle, np.zeros(sequence.n_pulses), tr, te, inversion_time)


def normalisation(ranges: Ranges) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return centre and half width of every input's range, two vectors of shape (5,).

    Inputs minus centre, over half width, lie in -1 ... 1. Where the range is a point, the half width is 1.
    """
    limits = np.array(
        [
            np.log(ranges.t1),
            np.log(ranges.t2),
            ranges.tr,
            np.multiply(ranges.te_over_tr, ranges.tr),
            (0.0, ranges.largest_flip_angle),
        ]
    )
    half_width = np.diff(limits, axis=1)[:, 0] / 2
    return limits.mean(axis=1), np.where(half_width > 0, half_width, 1.0)
