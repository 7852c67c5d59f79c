"""Moments of the gradients of a Pulseq file at any time."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from design.pulseq.blocks import Blocks


class Moments:
    """Integrals of the three gradients from the start of a file, exact for piecewise linear gradients.

    Parameters
    ----------
    blocks : Blocks
        The blocks of the file.
    """

    def __init__(self, blocks: Blocks) -> None:
        self._axes = [_Axis(blocks, i_axis) for i_axis in range(3)]

    def __call__(self, times: ArrayLike) -> NDArray[np.float64]:
        """Moments [1/m] (cycles per metre) up to the given times [s], shape (..., 3)."""
        at = np.asarray(times, dtype=np.float64)
        return np.stack([axis.moment(at) for axis in self._axes], axis=-1)

    def gradient(self, times: ArrayLike) -> NDArray[np.float64]:
        """Gradients [Hz/m] at the given times [s], shape (..., 3)."""
        at = np.asarray(times, dtype=np.float64)
        return np.stack([axis.gradient(at) for axis in self._axes], axis=-1)


class _Axis:
    """One gradient in linear segments: their start, length, first value, slope, and the moment before."""

    def __init__(self, blocks: Blocks, i_axis: int) -> None:
        starts, lengths, values, slopes = [np.zeros(1)], [np.zeros(1)], [np.zeros(1)], [np.zeros(1)]
        parts = {}
        for number, knots in blocks.gradient_events.items():
            duration = np.diff(knots[0])
            filled = duration > 0
            duration = duration[filled]
            parts[number] = (
                knots[0, :-1][filled],
                duration,
                knots[1, :-1][filled],
                np.diff(knots[1])[filled] / duration,
            )
        for start, number in zip(blocks.start, blocks.gradient[:, i_axis], strict=True):
            if number:
                first, duration, value, slope = parts[number]
                starts.append(start + first)
                lengths.append(duration)
                values.append(value)
                slopes.append(slope)
        self._start, self._length = np.concatenate(starts), np.concatenate(lengths)
        self._value, self._slope = np.concatenate(values), np.concatenate(slopes)
        areas = self._length * (self._value + self._slope * self._length / 2)
        self._before = np.cumsum(areas) - areas

    def _segment(self, times: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        index = np.maximum(np.searchsorted(self._start, times, side="right") - 1, 0)
        return index, times - self._start[index]

    def moment(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        index, passed = self._segment(times)
        passed = np.clip(passed, 0.0, self._length[index])
        return self._before[index] + passed * (self._value[index] + self._slope[index] * passed / 2)

    def gradient(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        index, passed = self._segment(times)
        inside = (passed >= 0) & (passed <= self._length[index])
        return np.where(inside, self._value[index] + self._slope[index] * passed, 0.0)
