"""Pulseq files as imaging sequences: instantaneous pulses, moments, samples."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from design.mrzero.sequence import USES, ImagingSequence
from design.pulseq.blocks import Blocks, read_blocks
from design.pulseq.moments import Moments
from design.pulseq.pulses import PlayedPulse, is_adiabatic, played_pulses

_TIME_STEP = 1e-10  # s, to which times are rounded; ADCs have a raster of 100 ns
_MOST_SAMPLES = 10**8
_EXCITATION = np.deg2rad(90.01)
_ROUNDING = 1e-9  # s, of sums of times
_FILE_DIGITS = 1e-5
"""Relative rounding of moments; amplitudes in files have 6 digits."""
_FIRST_WITH_USE = (1, 5)


def read_imaging_sequence(
    path: str | os.PathLike[str], *, segment_gap: float | None = None
) -> ImagingSequence:
    """Read any Pulseq file (.seq) that plays RF pulses and ADCs, as a sequence for the twin.

    - Pulses become instantaneous at their centre. Flip angle = 2 pi |integral of the RF|, in the frame of the
      carrier; phase at the centre, carrier included. An adiabatic pulse (of changing phase) that is no
      excitation turns by pi.
    - Events end at every sample, at every end of a block and at every pulse; their moments are the exact
      integrals of the gradients. So what a slice gradient adds before the centre of its pulse belongs to the
      repetition before, the rest to the one after.
    - Amplitudes in files have 6 digits. Where moments from pulse to pulse differ by no more than 1e-5 from
      zero, or from a multiple of the smallest one along their axis, they become equal to it: so balanced
      gradients are balanced, and echoes that meet in the sequence meet in the twin.
    - Samples before the first pulse (noise) follow a pulse of 0 degrees at the start of the file.
    - Uses are those of the file (saturation: preparation). Where it has none, as before version 1.5, a pulse
      of at most 90 degrees excites; a larger one inverts if an excitation comes next without a sample in
      between, else it refocuses.

    Parameters
    ----------
    path : str or PathLike
        The file, version 1.2 to 1.5.
    segment_gap : float, optional
        Time [s] that a GE scanner adds after each segment, which starts with a label TRID, instead of the
        definition ``SegmentGap``; without either, none.

    Returns
    -------
    ImagingSequence
        The last repetition lasts to the end of the file.

    Raises
    ------
    ValueError
        If the file is damaged, has no pulse or no ADC, or an ADC is on during a pulse; the message names the
        block.
    OSError
        If the file cannot be opened.

    References
    ----------
    Layton et al. 2017, Magn Reson Med 77:1544, doi 10.1002/mrm.26235 (Pulseq).

    Examples
    --------
    >>> sequence = read_imaging_sequence("tse.seq")  # doctest: +SKIP
    """
    if segment_gap is not None and not 0 <= segment_gap < np.inf:
        raise ValueError(f"segment_gap={segment_gap:.6g} s must be at least 0; leave it out for the file's")
    try:
        return _imaging_sequence(read_blocks(Path(path), segment_gap))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _imaging_sequence(blocks: Blocks) -> ImagingSequence:
    pulses = played_pulses(blocks)
    if not pulses:
        raise ValueError("the file has no RF pulse; there is nothing to simulate")
    samples, receiver = _samples(blocks, pulses)
    centers = np.array([pulse.center for pulse in pulses])
    angles = [_flip_angle(pulse) for pulse in pulses]
    phases = [pulse.phase for pulse in pulses]
    uses = _uses(blocks, pulses, angles, samples)
    if samples[0] < centers[0]:
        centers, angles, phases = np.append(0.0, centers), [0.0, *angles], [0.0, *phases]
        uses = ["preparation", *uses]
    ends = np.concatenate([samples, centers, blocks.start + blocks.duration, [blocks.end]])
    edges = np.unique(_steps(ends[ends >= centers[0]]))
    begin = _steps(centers)
    edges = edges[edges > begin[0]]
    moments = Moments(blocks)
    at = moments(np.append(begin[:1], edges) * _TIME_STEP)
    order = np.searchsorted(edges, _steps(samples))
    adc, adc_phase = np.zeros(edges.size, np.bool_), np.zeros(edges.size)
    adc[order], adc_phase[order] = True, receiver
    first = np.searchsorted(edges, begin, side="right")
    return ImagingSequence(
        flip_angle=angles,
        phase=phases,
        n_events=np.diff(np.append(first, edges.size)),
        moments=_exact(np.diff(at, axis=0), first),
        durations=np.diff(np.append(begin[:1], edges)) * _TIME_STEP,
        adc=adc,
        adc_phase=adc_phase,
        use=uses,
    )


def _steps(times: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.rint(times / _TIME_STEP).astype(np.int64)


def _samples(blocks: Blocks, pulses: list[PlayedPulse]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times [s] of all samples and phases of the receiver [rad]."""
    index = np.flatnonzero(blocks.adc)
    if not index.size:
        raise ValueError("the file has no ADC, and so no signal; export it with its readouts")
    events = [blocks.adc_events[int(number)] for number in blocks.adc[index]]
    n_samples = sum(event.n_samples for event in events)
    if n_samples > _MOST_SAMPLES:
        raise ValueError(f"{n_samples} samples are too many to read")
    begin = np.array([pulse.start for pulse in pulses])
    end = np.array([pulse.end for pulse in pulses])
    times, phases = [], []
    for i_block, event in zip(index, events, strict=True):
        start = blocks.start[i_block] + event.delay
        stop = start + event.n_samples * event.dwell
        # pulses that are not over when the ADC starts, and have begun when it stops
        if ((end > start + _ROUNDING) & (begin < stop - _ROUNDING)).any():
            raise ValueError(f"the ADC of block {blocks.number[i_block]} is on during an RF pulse")
        passed = (np.arange(event.n_samples) + 0.5) * event.dwell
        times.append(start + passed)
        phases.append(event.phase_offset + 2 * np.pi * event.frequency_offset * passed)
    return np.concatenate(times), np.concatenate(phases)


def _flip_angle(pulse: PlayedPulse) -> float:
    adiabatic = pulse.event.use != "excitation" and is_adiabatic(pulse.event)
    return np.pi if adiabatic else pulse.flip_angle


def _uses(
    blocks: Blocks, pulses: list[PlayedPulse], angles: list[float], samples: NDArray[np.float64]
) -> list[str]:
    """Use of each pulse: that of the file, or a guess from flip angles and samples."""
    n_before = np.searchsorted(samples, [pulse.center for pulse in pulses])
    excites = np.append(np.array(angles) <= _EXCITATION, False)
    uses = []
    for n, pulse in enumerate(pulses):
        use = pulse.event.use if blocks.version[:2] >= _FIRST_WITH_USE else "undefined"
        if use == "saturation":
            use = "preparation"
        if use not in USES:
            sampled = n + 1 == len(pulses) or n_before[n + 1] > n_before[n]
            if excites[n]:
                use = "excitation"
            else:
                use = "inversion" if excites[n + 1] and not sampled else "refocusing"
        uses.append(use)
    return uses


def _exact(moments: NDArray[np.float64], first: NDArray[np.int64]) -> NDArray[np.float64]:
    """Moments whose sums from pulse to pulse are whole multiples where only the digits in the file differ.

    The multiples are those of the smallest sum along each axis that is not 0.
    """
    total = np.add.reduceat(moments, first)
    # of the repetition that plays most: others may play all but nothing along an axis, and leave its rounding
    tolerance = _FILE_DIGITS * np.add.reduceat(np.abs(moments), first).max(axis=0)
    played = np.where(np.abs(total) > tolerance, np.abs(total), np.inf).min(axis=0)
    unit = np.where(np.isfinite(played), played, 1.0)
    near = unit * np.where(np.isfinite(played), np.rint(total / unit), 0.0)
    last = np.append(first[1:], len(moments)) - 1
    moments[last] += np.where(np.abs(total - near) <= tolerance, near - total, 0.0)
    return moments
