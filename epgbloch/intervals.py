"""Free intervals of a sequence, and the relaxation and precession of tissues over them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from epgbloch.sequence import Sequence
from epgbloch.tissue import Tissue

RealArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Intervals:
    """Free intervals and phase steps of a sequence, with every distinct duration once.

    Factors carry one set for the signal and one for the derivative by each parameter in `wrt`, out of "t1",
    "t2", "b1" and "off_resonance".

    Attributes
    ----------
    tr, te : ndarray, float64
        Distinct durations from the end of a pulse to the start of the next, and to the echo [s].
    i_tr, i_te : ndarray, shape (n_pulses,), int64
        Their index at each pulse.
    turn : ndarray, shape (n_pulses,), complex64
        exp(i (phase of the pulse - phase of the next one)).
    real : bool
        Whether all of these are +1 or -1.
    inverted : float
        Mz lost to the inversion: twice its efficiency, or 0.
    inversion_time : float
        Time from the inversion to the start of the first pulse [s].
    """

    tr: RealArray
    i_tr: NDArray[np.int64]
    te: RealArray
    i_te: NDArray[np.int64]
    turn: NDArray[np.complex64]
    real: bool
    inverted: float
    inversion_time: float

    @classmethod
    def of(cls, sequence: Sequence) -> Intervals:
        """Take them from a sequence."""
        before, after = sequence.pulse_margins
        tr, i_tr = np.unique(sequence.tr - before - after, return_inverse=True)
        te, i_te = np.unique(sequence.te - after, return_inverse=True)
        phase = sequence.rf_phase
        turn = np.exp(1j * np.append(phase[:-1] - phase[1:], 0.0))
        inversion = sequence.inversion_time
        return cls(
            tr,
            i_tr.astype(np.int64),
            te,
            i_te.astype(np.int64),
            turn.astype(np.complex64),
            # 1e-9 rad: far above the rounding of multiples of pi, far below float32
            bool(np.all(np.abs(turn.imag) < 1e-9)),
            0.0 if inversion is None else 2 * sequence.inversion_efficiency,
            0.0 if inversion is None else inversion - before,
        )

    def start(self, tissue: Tissue, wrt: tuple[str, ...]) -> NDArray[np.float32]:
        """Mz right before the first pulse, shape (n_sets, n_atoms)."""
        lost = self.inverted * np.exp(-self.inversion_time / tissue.t1)
        sets = [1 - lost]
        for name in wrt:
            sets.append(-lost * self.inversion_time / tissue.t1**2 if name == "t1" else np.zeros_like(lost))
        return np.stack(sets).astype(np.float32)

    def start_slope(self, tissue: Tissue, wrt: tuple[str, ...]) -> RealArray:
        """Derivative of `start` by the inversion time."""
        lost = self.inverted * np.exp(-self.inversion_time / tissue.t1)
        sets = [lost / tissue.t1]
        for name in wrt:
            slope = lost * (self.inversion_time / tissue.t1 - 1) / tissue.t1**2
            sets.append(slope if name == "t1" else np.zeros_like(lost))
        return np.stack(sets)

    def recovery(self, tissue: Tissue, wrt: tuple[str, ...]) -> NDArray[np.float32]:
        """exp(-t / T1) between pulses, shape (n_sets, n_tr, n_atoms)."""
        return _exponential(self.tr, *_recovery_rates(tissue), wrt)[0].real.astype(np.float32)

    def recovery_slope(self, tissue: Tissue, wrt: tuple[str, ...]) -> RealArray:
        """Derivative of `recovery` by the time."""
        return _exponential(self.tr, *_recovery_rates(tissue), wrt)[1].real

    def decay(self, tissue: Tissue, times: RealArray, wrt: tuple[str, ...]) -> NDArray[np.complex64]:
        """exp(-t / T2 + 2 pi i off_resonance t) over `times`, shape (n_sets, n_times, n_atoms)."""
        return _exponential(times, *_decay_rates(tissue), wrt)[0].astype(np.complex64)

    def decay_slope(self, tissue: Tissue, times: RealArray, wrt: tuple[str, ...]) -> NDArray[np.complex128]:
        """Derivative of `decay` by the time."""
        return _exponential(times, *_decay_rates(tissue), wrt)[1]


Rates = tuple[NDArray[Any], dict[str, NDArray[Any]]]


def _recovery_rates(tissue: Tissue) -> Rates:
    """Exponent per time, and its derivatives by parameters."""
    return -1 / tissue.t1, {"t1": 1 / tissue.t1**2}


def _decay_rates(tissue: Tissue) -> Rates:
    return -1 / tissue.t2 + 2j * np.pi * tissue.off_resonance, {
        "t2": 1 / tissue.t2**2,
        "off_resonance": np.full(tissue.n_atoms, 2j * np.pi),
    }


def _exponential(
    times: RealArray, rate: NDArray[Any], by_parameter: dict[str, NDArray[Any]], wrt: tuple[str, ...]
) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """exp(rate t) with its derivatives by parameters, and the derivatives of all these by t."""
    factors = np.exp(np.multiply.outer(times, rate)).astype(np.complex128)
    t = times[:, np.newaxis]
    values, slopes = [factors], [factors * rate]
    for name in wrt:
        own = by_parameter.get(name, np.zeros_like(rate))
        values.append(factors * own * t)
        slopes.append(factors * own * (1 + rate * t))
    return np.stack(values), np.stack(slopes)
