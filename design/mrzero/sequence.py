"""Imaging sequences as chains of RF pulses, gradient moments and waits."""

from __future__ import annotations

from collections.abc import Sequence as ListOf
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

RealArray = NDArray[np.float64]

USES = ("excitation", "refocusing", "inversion", "preparation")
"""What a pulse can be for; the names are those of Pulseq."""


@dataclass(frozen=True, eq=False)
class ImagingSequence:
    """Repetitions, each an instantaneous RF pulse followed by events, one after the other.

    During an event a gradient moment builds up and time passes; where its ADC is open, its end is sampled.
    Events of all repetitions stand in one list. The signal of a spin at r is its transverse magnetisation,
    which turns by exp(-2 pi i (k . r + off_resonance t)), times exp(-i adc_phase).

    Parameters
    ----------
    flip_angle, phase : array_like, shape (n_repetitions,), float64
        Of the pulses [rad]; excitation of +z leaves the magnetisation at the angle `phase` from +x.
    n_events : array_like, shape (n_repetitions,), int
        Events of each repetition, at least 1.
    moments : array_like, shape (n_all_events, 3), float64
        Gradient moments (x, y, z) of the events [cycles/m].
    durations : array_like, shape (n_all_events,), float64
        Of the events [s], at least 0.
    adc : array_like, shape (n_all_events,), bool
        Whether the end of the event is sampled.
    adc_phase : array_like, shape () or (n_all_events,), float64
        Phase of the receiver [rad].
    use : array_like, shape () or (n_repetitions,), str
        What each pulse is for, one of `USES`. The signal does not depend on it: it tells which trajectory
        through k-space is meant, and what to play on a scanner.

    Raises
    ------
    ValueError
        If shapes do not fit together, values are not finite, times negative, a use is unknown, or nothing is
        sampled.
    """

    flip_angle: RealArray
    phase: RealArray
    n_events: NDArray[np.int64]
    moments: RealArray
    durations: RealArray
    adc: NDArray[np.bool_]
    adc_phase: RealArray
    use: NDArray[np.str_]

    def __init__(
        self,
        flip_angle: ArrayLike,
        phase: ArrayLike,
        n_events: ArrayLike,
        moments: ArrayLike,
        durations: ArrayLike,
        adc: ArrayLike,
        adc_phase: ArrayLike = 0.0,
        use: ArrayLike = "excitation",
    ) -> None:
        counts = np.atleast_1d(np.asarray(n_events))
        if counts.ndim != 1 or counts.dtype.kind not in "iu" or counts.size == 0 or np.any(counts < 1):
            raise ValueError(f"n_events={n_events!r} must be whole numbers of at least 1, one a repetition")
        n_repetitions, n_all = counts.size, int(counts.sum())
        shapes = {
            "flip_angle": (flip_angle, (n_repetitions,)),
            "phase": (phase, (n_repetitions,)),
            "moments": (moments, (n_all, 3)),
            "durations": (durations, (n_all,)),
            "adc_phase": (np.broadcast_to(np.asarray(adc_phase, np.float64), (n_all,)), (n_all,)),
        }
        for name, (value, shape) in shapes.items():
            array = np.array(value, dtype=np.float64)
            if array.shape != shape:
                raise ValueError(f"{name} has shape {array.shape}; it must be {shape}")
            bad = np.argwhere(~np.isfinite(array))
            if len(bad):
                raise ValueError(f"{name}{bad[0].tolist()} is not finite; remove or replace it")
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        short = np.flatnonzero(self.durations < 0)
        if short.size:
            raise ValueError(
                f"durations[{short[0]}]={self.durations[short[0]]:.6g} s must be at least 0 s; lengthen it"
            )
        sampled = np.array(adc)
        if sampled.shape != (n_all,) or sampled.dtype != np.bool_:
            raise ValueError(f"adc must be true or false for each of {n_all} events; got {sampled.shape}")
        if not sampled.any():
            raise ValueError("adc is false for all events; sample at least one")
        sampled.setflags(write=False)
        object.__setattr__(self, "adc", sampled)
        object.__setattr__(self, "n_events", counts.astype(np.int64))
        object.__setattr__(self, "use", _uses(use, n_repetitions))

    @classmethod
    def from_repetitions(
        cls,
        repetitions: ListOf[tuple[float, float, ArrayLike, ArrayLike, ArrayLike, ArrayLike]],
        *,
        use: ArrayLike = "excitation",
    ) -> ImagingSequence:
        """Join repetitions (flip_angle, phase, moments, durations, adc, adc_phase), arrays by event."""
        flip_angle, phase, *arrays = zip(*repetitions, strict=True)
        moments, durations, adc, adc_phase = arrays
        counts = [np.size(times) for times in durations]
        phases = [np.broadcast_to(p, n) for p, n in zip(adc_phase, counts, strict=True)]
        return cls(
            flip_angle,
            phase,
            counts,
            np.concatenate([np.reshape(m, (-1, 3)) for m in moments]),
            np.concatenate([np.ravel(t) for t in durations]),
            np.concatenate([np.ravel(a) for a in adc]),
            np.concatenate(phases),
            use,
        )

    @property
    def n_repetitions(self) -> int:
        """Number of RF pulses."""
        return self.flip_angle.size

    @property
    def n_samples(self) -> int:
        """Number of samples in all."""
        return int(self.adc.sum())

    @property
    def first_event(self) -> NDArray[np.int64]:
        """Where the events of each repetition begin, and the end, shape (n_repetitions + 1,)."""
        return np.concatenate(([0], np.cumsum(self.n_events)))

    @property
    def duration(self) -> float:
        """Time from the first pulse to the end of the last event [s]."""
        return float(self.durations.sum())


def _uses(use: ArrayLike, n: int) -> NDArray[np.str_]:
    given = np.asarray(use)
    if given.dtype.kind != "U" or given.shape not in ((), (n,)):
        raise ValueError(f"use={use!r} must be one word for all pulses, or one for each of {n} pulses")
    result = np.array(np.broadcast_to(given, (n,)))
    unknown = np.flatnonzero(~np.isin(result, USES))
    if unknown.size:
        i = int(unknown[0])
        raise ValueError(f"use[{i}]={str(result[i])!r} must be one of {', '.join(USES)}")
    result.setflags(write=False)
    return result
