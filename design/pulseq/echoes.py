"""Readouts of a Pulseq file: their place in k-space, and when they pass its centre."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from design.pulseq.blocks import AXES, ADCEvent, Blocks
from design.pulseq.moments import Moments
from design.pulseq.pulses import PlayedPulse

_MOST_SAMPLES = 10**8
_CENTRE = 0.05  # of the extent of k-space: how near to its centre a readout may begin or end


@dataclass(frozen=True, eq=False)
class Readouts:
    """ADC events that follow RF pulses.

    Attributes
    ----------
    block : ndarray, shape (n_readouts,), int64
        Numbers of their blocks.
    start, end : ndarray, shape (n_readouts,), float64
        When the ADC is on [s].
    pulse : ndarray, shape (n_readouts,), int64
        The RF pulse before each, counted from 0.
    event : list of ADCEvent
        Their events, all of the same number of samples and dwell time.
    n_ignored : int
        ADC events before the first RF pulse, as in measurements of noise.
    """

    block: NDArray[np.int64]
    start: NDArray[np.float64]
    end: NDArray[np.float64]
    pulse: NDArray[np.int64]
    event: list[ADCEvent]
    n_ignored: int

    @property
    def sample_times(self) -> NDArray[np.float64]:
        """Times [s] of the samples, shape (n_readouts, n_samples)."""
        event = self.event[0]
        return self.start[:, np.newaxis] + (np.arange(event.n_samples) + 0.5) * event.dwell


def find_readouts(blocks: Blocks, pulses: list[PlayedPulse]) -> Readouts:
    """Readouts of a file, and the RF pulse that each belongs to.

    Raises
    ------
    ValueError
        If there is none, two follow one pulse, one overlaps with a pulse, or they differ in samples or dwell
        time.
    """
    index = np.flatnonzero(blocks.adc)
    if not index.size:
        raise ValueError("the file has no ADC, and so no readout; export it with its readouts")
    events = [blocks.adc_events[int(number)] for number in blocks.adc[index]]
    start = blocks.start[index] + np.array([event.delay for event in events])
    pulse = np.searchsorted([pulse.center for pulse in pulses], start, side="right") - 1
    n_ignored = int((pulse < 0).sum())
    if n_ignored == index.size:
        raise ValueError("all ADC events come before the first RF pulse; there is no readout")
    index, start, pulse, events = index[n_ignored:], start[n_ignored:], pulse[n_ignored:], events[n_ignored:]
    number = blocks.number[index]
    first = events[0]
    for block, event in zip(number, events, strict=True):
        if event.n_samples != first.n_samples or abs(event.dwell - first.dwell) > 1e-12:
            raise ValueError(
                f"the ADC of block {block} has {event.n_samples} samples of {1e6 * event.dwell:.6g} us, "
                f"that of block {number[0]} {first.n_samples} of {1e6 * first.dwell:.6g} us; all readouts "
                "must be alike"
            )
    if first.n_samples * index.size > _MOST_SAMPLES:
        raise ValueError(f"{first.n_samples} samples in each of {index.size} readouts are too many to read")
    again = np.flatnonzero(np.diff(pulse) == 0)
    if again.size:
        i = again[0]
        raise ValueError(
            f"the ADC of block {number[i + 1]} is the second one after the {pulses[pulse[i]]}; several "
            "echoes or readouts per RF pulse are not supported"
        )
    end = start + first.n_samples * first.dwell
    following = np.array([pulse.start for pulse in pulses] + [np.inf])[pulse + 1]
    overlap = (start < np.array([pulses[i].end for i in pulse]) - 1e-9) | (end > following + 1e-9)
    if overlap.any():
        raise ValueError(f"the ADC of block {number[np.argmax(overlap)]} is on during an RF pulse")
    return Readouts(number, start, end, pulse, events, n_ignored)


def readout_positions(readouts: Readouts, pulses: list[PlayedPulse], moments: Moments) -> NDArray[np.float64]:
    """Position of every sample [1/m], shape (n_readouts, n_samples, 3): moments since the pulse centre."""
    centers = np.array([pulses[i].center for i in readouts.pulse])
    return moments(readouts.sample_times) - moments(centers)[:, np.newaxis]


def through_plane_axis(positions: NDArray[np.float64], slice_axis: int | None) -> int:
    """Axis that the readouts do not encode: that of the slice gradient, or the one that they leave out.

    Raises
    ------
    ValueError
        If there is no slice gradient and the readouts encode all axes, or there is no readout gradient.
    """
    extent = np.abs(positions).max(axis=(0, 1))
    axis = slice_axis
    if axis is None:
        axis = 2 if extent[2] <= 1e-3 * extent.max() else int(np.argmin(extent))
        if extent[axis] > 1e-3 * extent.max():
            values = ", ".join(f"{name} {value:.4g}" for name, value in zip(AXES, extent, strict=True))
            raise ValueError(f"the readouts encode three axes (to {values} 1/m); only one slice is supported")
    if np.delete(extent, axis).max() == 0:
        raise ValueError("no in-plane gradient is on before or in the readouts; there is no image to encode")
    return axis


def echo_times(
    readouts: Readouts, pulses: list[PlayedPulse], plane: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Time of each echo [s] from the start of the file, shape (n_readouts,).

    The echo is where the readout first comes nearest to the centre of k-space, on straight lines between its
    samples.

    Parameters
    ----------
    readouts : Readouts
        The readouts.
    pulses : list of PlayedPulse
        The RF pulses.
    plane : ndarray, shape (n_readouts, n_samples, 2)
        In-plane positions [1/m].

    Raises
    ------
    ValueError
        If a readout neither starts or ends near the centre of k-space nor passes it on its way.
    """
    position = plane[..., 0] + 1j * plane[..., 1]
    largest = np.abs(position).max()
    step = np.diff(position, axis=1, append=position[:, -1:])
    length = np.maximum(np.abs(step), 1e-12 * largest)
    # Fraction of the way to the next sample at which the line is nearest to 0
    along = np.clip(-(position * np.conj(step)).real / length**2, 0.0, 1.0)
    distance = np.abs(position + along * step)
    nearest = distance.min(axis=1)
    i_sample = np.argmax(distance <= nearest[:, np.newaxis] + 1e-6 * largest, axis=1)
    row = np.arange(len(position))
    passed = i_sample + along[row, i_sample]
    outside = (nearest > _CENTRE * largest) & ((passed == 0) | (passed == position.shape[1] - 1))
    if outside.any():
        i = int(np.argmax(outside))
        raise ValueError(
            f"the readout after the {pulses[readouts.pulse[i]]} stays {nearest[i]:.4g} 1/m away from the "
            f"centre of k-space (which reaches {largest:.4g} 1/m), with its nearest sample at one end; a "
            "readout must be prephased after its RF pulse"
        )
    return readouts.sample_times[:, 0] + passed * readouts.event[0].dwell


def receiver_phases(
    readouts: Readouts, pulses: list[PlayedPulse], echo: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Phase of the receiver at the echo less that of the RF pulse [rad], -pi to pi, shape (n_readouts,)."""
    receiver = [
        event.phase_offset + 2 * np.pi * event.frequency_offset * (when - start)
        for event, when, start in zip(readouts.event, echo, readouts.start, strict=True)
    ]
    phase = np.array(receiver) - np.array([pulses[i].phase for i in readouts.pulse])
    return np.angle(np.exp(1j * phase))
