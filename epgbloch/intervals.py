"""Free intervals of a sequence, and the relaxation and precession of tissues over them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
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
    kinds : ndarray, shape (n_kinds, 2), float64
        Distinct TRs and their parts with a spoiler, from the echo on or none [s].
    i_kind : ndarray, shape (n_pulses,), int64
        Their index at each pulse.
    """

    tr: RealArray
    i_tr: NDArray[np.int64]
    te: RealArray
    i_te: NDArray[np.int64]
    turn: NDArray[np.complex64]
    real: bool
    inverted: float
    inversion_time: float
    kinds: RealArray
    i_kind: NDArray[np.int64]

    @classmethod
    @lru_cache(maxsize=8)  # by identity: designs ask for the signal and the gradient of one sequence
    def of(cls, sequence: Sequence) -> Intervals:
        """Take them from a sequence."""
        before, after = sequence.pulse_margins
        tr, i_tr = _distinct(sequence.tr - before - after)
        te, i_te = _distinct(sequence.te - after)
        phase = sequence.rf_phase
        turn = np.exp(1j * np.append(phase[:-1] - phase[1:], 0.0))
        inversion = sequence.inversion_time
        spoiled = sequence.dephasing * (sequence.tr - sequence.te)
        kinds, i_kind = np.zeros((1, 2)), np.zeros(sequence.n_pulses, np.int64)
        if sequence.spoiler_moment is not None:
            kinds, i_kind = np.unique(np.stack([sequence.tr, spoiled], axis=1), axis=0, return_inverse=True)
        return cls(
            tr,
            i_tr,
            te,
            i_te,
            turn.astype(np.complex64),
            # 1e-9 rad: far above the rounding of multiples of pi, far below float32
            bool(np.all(np.abs(turn.imag) < 1e-9)),
            0.0 if inversion is None else 2 * sequence.inversion_efficiency,
            0.0 if inversion is None else inversion - before,
            kinds,
            i_kind.ravel().astype(np.int64),
        )

    def start(self, tissue: Tissue, wrt: tuple[str, ...]) -> NDArray[np.float32]:
        """Mz right before the first pulse, shape (n_sets, n_atoms)."""
        lost = self.inverted * np.exp(-self.inversion_time / tissue.t1)
        sets = np.zeros((1 + len(wrt), tissue.n_atoms), np.float32)
        sets[0] = 1 - lost
        if "t1" in wrt:
            sets[1 + wrt.index("t1")] = -lost * self.inversion_time / tissue.t1**2
        return sets

    def start_slope(self, tissue: Tissue, wrt: tuple[str, ...]) -> RealArray:
        """Derivative of `start` by the inversion time."""
        lost = self.inverted * np.exp(-self.inversion_time / tissue.t1)
        sets = np.zeros((1 + len(wrt), tissue.n_atoms))
        sets[0] = lost / tissue.t1
        if "t1" in wrt:
            sets[1 + wrt.index("t1")] = lost * (self.inversion_time / tissue.t1 - 1) / tissue.t1**2
        return sets

    def recovery(self, tissue: Tissue, wrt: tuple[str, ...]) -> RealArray:
        """exp(-t / T1) between pulses, shape (n_sets, n_tr, n_atoms)."""
        return _exponentials(self.tr, *_recovery_rates(tissue), wrt)

    def recovery_slope(self, tissue: Tissue, wrt: tuple[str, ...]) -> RealArray:
        """Derivative of `recovery` by the time."""
        return _slopes(self.tr, *_recovery_rates(tissue), wrt)

    def decay(self, tissue: Tissue, times: RealArray, wrt: tuple[str, ...]) -> NDArray[Any]:
        """exp(-t / T2 + 2 pi i off_resonance t) over `times`, shape (n_sets, n_times, n_atoms)."""
        return _exponentials(times, *_decay_rates(tissue, wrt), wrt)

    def diffusion(self, tissue: Tissue, spoiler_moment: float | None) -> RealArray:
        """Numbers of `kernels.diffusion`, shape (n_kinds, 5, n_atoms), or (0, 5, n_atoms) without diffusion.

        The square of the order, integrated over a TR whose last part `spoiled` raises F+ and lowers F- by one
        order, is k^2 tr +- k spoiled + spoiled / 3 (Weigel, J Magn Reson Imaging 2015; 41:266-295).
        """
        if spoiler_moment is None or not tissue.diffusion.any():
            return np.zeros((0, 5, tissue.n_atoms))
        tr, spoiled = self.kinds.T
        exponents = np.stack([spoiled / 3, tr + spoiled, tr - spoiled, tr, 2 * tr], axis=1)
        rows = np.expm1(-np.multiply.outer(exponents, tissue.diffusion * spoiler_moment**2))
        rows[:, 0] += 1
        return rows

    def decay_slope(self, tissue: Tissue, times: RealArray, wrt: tuple[str, ...]) -> NDArray[Any]:
        """Derivative of `decay` by the time."""
        return _slopes(times, *_decay_rates(tissue, wrt), wrt)


Rates = tuple[NDArray[Any], dict[str, NDArray[Any]]]


def _distinct(times: RealArray) -> tuple[RealArray, NDArray[np.int64]]:
    """Distinct values, and which of them each is."""
    if np.all(times == times[0]):
        return times[:1], np.zeros(times.size, np.int64)
    values, index = np.unique(times, return_inverse=True)
    return values, index.astype(np.int64)


def _recovery_rates(tissue: Tissue) -> Rates:
    """Exponent per time, and its derivatives by parameters."""
    return -1 / tissue.t1, {"t1": 1 / tissue.t1**2}


def _decay_rates(tissue: Tissue, wrt: tuple[str, ...]) -> Rates:
    rate, by_parameter = -1 / tissue.t2, {"t2": 1 / tissue.t2**2}
    if "off_resonance" in wrt or tissue.off_resonance.any():
        rate = rate + 2j * np.pi * tissue.off_resonance
        by_parameter["off_resonance"] = np.full(tissue.n_atoms, 2j * np.pi)
    return rate, by_parameter


def _exponentials(
    times: RealArray, rate: NDArray[Any], by_parameter: dict[str, NDArray[Any]], wrt: tuple[str, ...]
) -> NDArray[Any]:
    """exp(rate t) with its derivatives by parameters, shape (n_sets, n_times, n_atoms)."""
    sets = np.zeros((1 + len(wrt), times.size, rate.size), rate.dtype)
    sets[0] = np.exp(np.multiply.outer(times, rate))
    for own, name in zip(sets[1:], wrt, strict=True):
        if name in by_parameter:
            own[:] = sets[0] * by_parameter[name] * times[:, np.newaxis]
    return sets


def _slopes(
    times: RealArray, rate: NDArray[Any], by_parameter: dict[str, NDArray[Any]], wrt: tuple[str, ...]
) -> NDArray[Any]:
    """Derivatives of `_exponentials` by the time."""
    exponent = np.multiply.outer(times, rate)
    factor = np.exp(exponent)
    sets = np.zeros((1 + len(wrt), times.size, rate.size), rate.dtype)
    sets[0] = factor * rate
    for own, name in zip(sets[1:], wrt, strict=True):
        if name in by_parameter:
            own[:] = factor * by_parameter[name] * (1 + exponent)
    return sets
