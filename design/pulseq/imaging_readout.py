"""Readouts of imaging sequences as they are played: one ADC and its gradients in one block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from design.errors import LimitError
from design.mrzero.sequence import ImagingSequence
from design.pulseq.acquisition import broken_limit, sampled_ramps
from design.pulseq.gradients import Trapezoid, Waveforms, ramp_steps, steps_up, waveforms_through
from design.pulseq.scanner import Scanner

NO_MOMENT = 1e-6
"""Moments below this [1/m] need no gradient; they turn a metre by 1e-6 cycles."""
_SAME_MOMENT = 1e-6
"""Relative difference of moments that makes a gradient change."""
_SINGLE_DWELL = 10e-6
"""Dwell time of an ADC of one sample [s]."""
_LONGEST_DWELL = 2e-3
"""Samples farther apart than this [s] have ADCs of their own."""
_SAME_PHASE = 1e-4
"""How far the phase of a sample may be from that of the ADC [rad]; phases in the file have 6 digits."""


@dataclass(frozen=True, eq=False)
class ImagingReadout:
    """A block with an ADC and, where samples lie apart in k-space, gradients. Times in seconds.

    The gradient is on before the first sample and after the last one, for half a dwell time at least, and
    ramps beyond that; `lead` and `tail` are the moments that others must make up for.

    Parameters
    ----------
    start, end : int
        Where the block starts and ends, in steps of the block raster.
    n_samples : int
        Number of samples.
    dwell, adc_delay : float
        Of the ADC; delays count from the start of the block.
    phase, frequency_offset : float
        Of the receiver [rad], [Hz].
    gradient_delay : float
        Start of the gradients.
    shape : Trapezoid or None
        Trapezoid on all axes; None: sampled gradients, or none.
    area : ndarray, shape (3,), float64
        Moments of the trapezoid along x, y and z [1/m].
    samples : ndarray, shape (n_steps, 3), float64, or None
        Sampled gradients [Hz/m].
    lead, tail : ndarray, shape (3,), float64
        Moments before the first sample and after the last one [1/m].
    """

    name: ClassVar[str] = "readout"

    start: int
    end: int
    n_samples: int
    dwell: float
    adc_delay: float
    phase: float
    frequency_offset: float
    gradient_delay: float
    shape: Trapezoid | None
    area: NDArray[np.float64]
    samples: NDArray[np.float64] | None
    lead: NDArray[np.float64]
    tail: NDArray[np.float64]


def find_runs(sequence: ImagingSequence, events: range, scanner: Scanner) -> list[range]:
    """Events of a repetition in one ADC each: neighbours that are sampled at equal distances in time."""
    runs: list[range] = []
    for e in events:
        if not sequence.adc[e]:
            continue
        last = runs[-1] if runs and runs[-1].stop == e else None
        if last is not None:
            spacing = sequence.durations[last.start + 1] if len(last) > 1 else sequence.durations[e]
            near = spacing <= _LONGEST_DWELL
            if near and abs(sequence.durations[e] - spacing) <= scanner.adc_raster / 2:
                runs[-1] = range(last.start, e + 1)
                continue
        runs.append(range(e, e + 1))
    return runs


def plan_readout(
    sequence: ImagingSequence,
    run: range,
    times: NDArray[np.float64],
    scanner: Scanner,
    k_step: float,
    place: str,
) -> ImagingReadout:
    """Return the block of one ADC.

    Parameters
    ----------
    sequence : ImagingSequence
        The sequence.
    run : range
        The events, all sampled at their ends.
    times : ndarray, shape (len(run),), float64
        When [s].
    scanner : Scanner
        What plays it.
    k_step : float
        1 / field of view [1/m], for the error of sampled gradients.
    place : str
        What error messages call it.

    Raises
    ------
    LimitError
        If the gradients are too strong or too fast, or the dwell time is below the raster.
    ValueError
        If the phase of the receiver changes unevenly.
    """
    n = len(run)
    dwell = _dwell(times, scanner, place)
    adc_start = _on_raster((times[0] + times[-1] - n * dwell) / 2, scanner.rf_raster)
    first, last = adc_start + dwell / 2, adc_start + (n - 0.5) * dwell
    phase, frequency = _receiver(sequence.adc_phase[run.start : run.stop], dwell, place)
    steps = sequence.moments[run.start + 1 : run.stop]
    largest = np.abs(steps).max(initial=0.0)
    raster = scanner.gradient_raster
    shape, samples, area, lead, tail = None, None, np.zeros(3), np.zeros(3), np.zeros(3)
    begin, finish = adc_start, adc_start + n * dwell
    if largest <= NO_MOMENT:
        pass
    elif np.ptp(steps, axis=0).max() <= _SAME_MOMENT * largest:
        gradient = steps.mean(axis=0) / dwell
        _check(scanner, gradient, dwell, place)
        n_rise = max(
            ramp_steps(part, scanner.max_slew_rate, raster)
            for part in (float(np.linalg.norm(gradient[:2])), float(gradient[2]))
        )
        n_first, n_last = int(np.floor(begin / raster + 1e-6)), steps_up(finish, raster)
        shape = Trapezoid(round(n_rise * raster, 12), round((n_last - n_first) * raster, 12))
        begin, finish = (n_first - n_rise) * raster, (n_last + n_rise) * raster
        area = gradient * (shape.rise + shape.flat)
        lead = gradient * (first - begin - shape.rise / 2)
        tail = gradient * (finish - last - shape.rise / 2)
    else:
        begin, waveforms = _sampled(steps, dwell, first, scanner)
        samples = waveforms.samples[0]
        finish = begin + len(samples) * raster
        amplitude = float(np.linalg.norm(samples, axis=1).max())
        fault = broken_limit(scanner, amplitude, waveforms.slew, waveforms.deviation / k_step)
        if fault is not None:
            raise LimitError(
                f"{place}: {fault[1]}, as moments change from sample to sample every {dwell * 1e6:.6g} us; "
                "lengthen these events, or give them more even moments",
                limit=fault[0],
            )
        lead = waveforms.before[0]
        tail = waveforms.area[0] - lead - steps.sum(axis=0)
    block, dead = scanner.block_raster, scanner.adc_dead_time
    start = int(np.floor(min(begin, adc_start - dead) / block + 1e-6))
    end = steps_up(max(finish, adc_start + n * dwell + dead), block)
    return ImagingReadout(
        start=start,
        end=end,
        n_samples=n,
        dwell=dwell,
        adc_delay=round(adc_start - start * block, 12),
        phase=phase,
        frequency_offset=frequency,
        gradient_delay=round(begin - start * block, 12),
        shape=shape,
        area=area,
        samples=samples,
        lead=lead,
        tail=tail,
    )


def _on_raster(time: float, raster: float) -> float:
    return round(round(time / raster) * raster, 12)


def _dwell(times: NDArray[np.float64], scanner: Scanner, place: str) -> float:
    if times.size == 1:
        return max(_on_raster(_SINGLE_DWELL, scanner.adc_raster), scanner.adc_raster)
    wanted = (times[-1] - times[0]) / (times.size - 1)
    dwell = _on_raster(wanted, scanner.adc_raster)
    if dwell < scanner.adc_raster * 0.5:
        raise LimitError(
            f"{place}: dwell={wanted * 1e6:.6g} us is below the ADC raster of "
            f"{scanner.adc_raster * 1e6:.6g} us; lengthen the sampled events to that at least",
            limit="dwell",
            nearest=scanner.adc_raster,
        )
    return dwell


def _receiver(phases: NDArray[np.float64], dwell: float, place: str) -> tuple[float, float]:
    """Phase and frequency of the ADC that give the phases of its samples."""
    turn = float(np.angle(np.exp(1j * (phases[1] - phases[0])))) if phases.size > 1 else 0.0
    left = phases - phases[0] - turn * np.arange(phases.size)
    if np.abs(np.angle(np.exp(1j * left))).max() > _SAME_PHASE:
        raise ValueError(
            f"{place}: adc_phase changes unevenly, but an ADC of Pulseq has one phase and one frequency; "
            "give the events of a readout equal phases"
        )
    return float(np.mod(phases[0] - turn / 2, 2 * np.pi)), turn / (2 * np.pi * dwell)


def _check(scanner: Scanner, gradient: NDArray[np.float64], dwell: float, place: str) -> None:
    amplitude = max(float(np.linalg.norm(gradient[:2])), abs(float(gradient[2])))
    fault = broken_limit(scanner, amplitude, 0.0, 0.0)
    if fault is not None:
        ratio = amplitude / scanner.max_amplitude
        nearest = steps_up(dwell * ratio, scanner.adc_raster) * scanner.adc_raster
        raise LimitError(
            f"{place}: {fault[1]} with samples every {dwell * 1e6:.6g} us; the nearest duration of these "
            f"events is {nearest * 1e6:.6g} us",
            limit=fault[0],
            nearest=nearest,
        )


def _sampled(
    steps: NDArray[np.float64], dwell: float, first: float, scanner: Scanner
) -> tuple[float, Waveforms]:
    """Start of sampled gradients, and the gradients; the first sample is at the time `first`."""
    positions = np.concatenate([np.zeros((1, 3)), np.cumsum(steps, axis=0)])[np.newaxis]
    raster = scanner.gradient_raster
    up, down = sampled_ramps(positions, dwell, scanner)
    n_ramps = up + 1, down + 1  # ramps of one step would bend too much
    begin = np.floor(first / raster + 1e-6 - n_ramps[0]) * raster
    wait = first - begin
    n_steps = steps_up(wait + len(steps) * dwell, raster) + n_ramps[1]
    return float(begin), waveforms_through(
        positions, dwell, wait, n_steps=n_steps, n_ramps=n_ramps, raster=raster
    )
