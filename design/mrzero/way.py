"""Where k and time go within the repetitions of a sequence, and derivatives back to moments and durations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from design.mrzero.sequence import ImagingSequence

RealArray = NDArray[np.float64]

_SAME = 1e-6


def merging_grid(sequence: ImagingSequence) -> RealArray:
    """Return the cells of (k, tau), shape (4,), in which states count as equal and merge.

    Each is a millionth of the largest moment along its axis, or of the longest event.
    """
    largest = np.concatenate([np.abs(sequence.moments).max(axis=0), [sequence.durations.max()]])
    grid: RealArray = _SAME * np.where(largest > 0, largest, 1.0)
    return grid


@dataclass(frozen=True, eq=False)
class Way:
    """Sums at the end of every event, since the pulse of its repetition.

    Attributes
    ----------
    k : ndarray, shape (n_all_events, 3), float64
        Moment m [cycles/m].
    time : ndarray, shape (n_all_events,), float64
        [s].
    area : ndarray, shape (n_all_events, 3), float64
        Integral of m over time.
    square : ndarray, shape (n_all_events,), float64
        Integral of |m|^2 over time. A state that starts at k has gathered the b-value
        (2 pi)^2 (|k|^2 time + 2 k . area + square).
    first_event : ndarray, shape (n_repetitions + 1,), int64
        Where the events of each repetition begin, and the end.
    """

    k: RealArray
    time: RealArray
    area: RealArray
    square: RealArray
    first_event: NDArray[np.int64]

    @classmethod
    def of(cls, sequence: ImagingSequence) -> Way:
        """Return the way of a sequence."""
        first = sequence.first_event
        k = _sums(sequence.moments, first)
        before = k - sequence.moments
        duration = sequence.durations
        area = _sums(duration[:, np.newaxis] / 2 * (before + k), first)
        square = _sums(duration / 3 * (before**2 + before * k + k**2).sum(axis=1), first)
        return cls(k, _sums(duration, first), area, square, first)

    @property
    def last_event(self) -> NDArray[np.int64]:
        """Last event of each repetition."""
        return self.first_event[1:] - 1

    def pull_back(
        self, sequence: ImagingSequence, k: RealArray, time: RealArray, area: RealArray, square: RealArray
    ) -> tuple[RealArray, RealArray]:
        """Return derivatives by moments and durations from those by the sums at all events."""
        first, duration = self.first_event, sequence.durations[:, np.newaxis]
        before = self.k - sequence.moments
        by_area, by_square = _sums_back(area, first), _sums_back(square, first)[:, np.newaxis]
        by_duration = (by_area * (before + self.k) / 2).sum(axis=1)
        by_duration += (by_square * (before**2 + before * self.k + self.k**2) / 3).sum(axis=1)
        by_before = duration * (by_area / 2 + by_square / 3 * (2 * before + self.k))
        by_k = k + duration * (by_area / 2 + by_square / 3 * (2 * self.k + before))
        # what comes before an event is the k of the event before it; the first one starts from 0
        by_before[first[:-1]] = 0
        by_k[:-1] += by_before[1:]
        return _sums_back(by_k, first), by_duration + _sums_back(time, first)


def _sums(steps: RealArray, first: NDArray[np.int64]) -> RealArray:
    """Cumulative sums within each repetition."""
    sums: RealArray = np.cumsum(steps, axis=0)
    before = np.concatenate([np.zeros_like(sums[:1]), sums[first[1:-1] - 1]])
    return sums - np.repeat(before, np.diff(first), axis=0)


def _sums_back(values: RealArray, first: NDArray[np.int64]) -> RealArray:
    """Sums from each event to the last one of its repetition."""
    totals = np.add.reduceat(values, first[:-1], axis=0)
    result: RealArray = np.repeat(totals, np.diff(first), axis=0) - _sums(values, first) + values
    return result
