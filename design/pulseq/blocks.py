"""Pulseq files as tables: blocks in time, and the RF, gradient and ADC events that they play."""

from __future__ import annotations

import contextlib
import io
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from design.pulseq.definitions import definition
from design.pulseq.file_text import LARGEST_SHAPE, checked_text

AXES = ("x", "y", "z")
_LARGEST_GRADIENT, _LARGEST_RF = 1e9, 1e7  # Hz/m and Hz: 23 T/m and 0.2 T
_LONGEST_BLOCK = 1e5  # s
_ROUNDING = 1e-9  # s, of sums of times


@dataclass(frozen=True, eq=False)
class RFEvent:
    """RF event in equal steps.

    Attributes
    ----------
    samples : ndarray, shape (n_steps,), complex128
        Nutation frequency in each step [Hz]; zeros at both ends are left out.
    step : float
        Length of a step [s].
    delay : float
        Time from the start of the block to the first step [s].
    center : float
        Time from the first step to the centre of the pulse [s].
    frequency_offset, phase_offset : float
        Carrier offset [Hz] and phase [rad]; the phase of the carrier counts from the start of the event,
        `lead` before the first step.
    lead : float
        Duration of the zeros left out at the start [s].
    use : str
        What the file says that it is for: excitation, inversion, ...; "undefined" where it says nothing.
    """

    samples: NDArray[np.complex128]
    step: float
    delay: float
    center: float
    frequency_offset: float
    phase_offset: float
    lead: float
    use: str


@dataclass(frozen=True, eq=False)
class ADCEvent:
    """ADC event: `n_samples` samples, the first one half a `dwell` [s] after `delay` [s] in the block.

    `frequency_offset` [Hz] and `phase_offset` [rad] are those of the receiver.
    """

    n_samples: int
    dwell: float
    delay: float
    frequency_offset: float
    phase_offset: float


@dataclass(frozen=True, eq=False)
class Blocks:
    """Blocks of a Pulseq file, and their events by number; number 0 is none.

    Attributes
    ----------
    number : ndarray, shape (n_blocks,), int64
        Numbers of the blocks in the file.
    start, duration : ndarray, shape (n_blocks,), float64
        When the blocks start and how long they last [s].
    end : float
        When the last one ends [s].
    rf, adc : ndarray, shape (n_blocks,), int64
        Events.
    gradient : ndarray, shape (n_blocks, 3), int64
        Gradients along x, y and z.
    rf_events, adc_events : dict
        Events by number.
    gradient_events : dict
        Knots of piecewise linear gradients by number, shape (2, n_knots): times from the start of the
        block [s] and values [Hz/m].
    definitions : dict
        Definitions: numbers, arrays of numbers and strings.
    version : tuple of int
        Major version, minor version, revision.
    """

    number: NDArray[np.int64]
    start: NDArray[np.float64]
    duration: NDArray[np.float64]
    end: float
    rf: NDArray[np.int64]
    adc: NDArray[np.int64]
    gradient: NDArray[np.int64]
    rf_events: dict[int, RFEvent]
    adc_events: dict[int, ADCEvent]
    gradient_events: dict[int, NDArray[np.float64]]
    definitions: dict[str, Any]
    version: tuple[int, int, int]


def read_blocks(path: Path, segment_gap: float | None = None) -> Blocks:
    """Read a Pulseq file, version 1.2 to 1.5, with pypulseq.

    Parameters
    ----------
    path : Path
        The file.
    segment_gap : float or None
        Time [s] that the scanner adds after each segment, which starts with a label TRID; None: that of the
        definition ``SegmentGap``, or none.

    Raises
    ------
    ValueError
        If it is not a Pulseq file, of another version, truncated or damaged.
    OSError
        If it cannot be opened.
    """
    text, version = checked_text(path)
    with _contained(), tempfile.TemporaryDirectory() as folder:
        from pypulseq import Sequence

        # Its parser reads on for ever where the file ends within a section: give it lines to stop at.
        copy = Path(folder) / "copy.seq"
        copy.write_text(text + "\n\n", encoding="utf-8", newline="\n")
        sequence = Sequence()
        sequence.read(str(copy), remove_duplicates=False)
        return _table(sequence, version, segment_gap)


class _FaultyError(ValueError):
    """An error that says what is wrong by itself."""


@contextlib.contextmanager
def _contained() -> Iterator[None]:
    """Keep the messages of pypulseq from the user, and turn its many errors into one ValueError."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        # numpy, about a line of numbers that holds something else
        warnings.filterwarnings("error", message=".*could not be read to its end")
        try:
            yield
        except (OSError, _FaultyError):
            raise
        except Exception as error:  # pypulseq checks little: a damaged file ends anywhere
            traceback.clear_frames(error.__traceback__)  # closes its file, about which Python would warn
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:120]
            raise ValueError(
                f"not a readable Pulseq file ({reason}); it is truncated, damaged or uses extensions that "
                "are not supported: write or copy it again"
            ) from error


def _table(sequence: Any, version: tuple[int, int, int], segment_gap: float | None) -> Blocks:
    numbers = list(sequence.block_events)
    rows = np.array([sequence.block_events[number] for number in numbers])
    if rows.ndim != 2 or rows.shape[1] != 7 or (rows < 0).any():
        raise _FaultyError("a block of the Pulseq file is not 8 whole numbers; write or copy it again")
    duration = np.array([sequence.block_durations[number] for number in numbers], dtype=np.float64)
    if not ((duration >= 0) & (duration <= _LONGEST_BLOCK)).all():
        raise _FaultyError("a block of the Pulseq file has no valid duration; write or copy it again")
    rf_events: dict[int, RFEvent] = {}
    adc_events: dict[int, ADCEvent] = {}
    gradient_events: dict[int, NDArray[np.float64]] = {}
    for number, row, length in zip(numbers, rows, duration, strict=True):
        _, rf, *gradients, adc, _ = (int(value) for value in row)
        new = [g for g in gradients if g > 0 and g not in gradient_events]
        if not new and (rf == 0 or rf in rf_events) and (adc == 0 or adc in adc_events):
            continue
        block = sequence.get_block(number)
        if rf and rf not in rf_events:
            rf_events[rf] = _rf_event(block.rf, sequence.rf_raster_time)
            _check_fits(number, "RF pulse", rf_events[rf].delay + _length(rf_events[rf]), length)
        if adc and adc not in adc_events:
            adc_events[adc] = _adc_event(block.adc)
            event = adc_events[adc]
            _check_fits(number, "ADC", event.delay + event.n_samples * event.dwell, length)
        for i_axis, gradient in enumerate(gradients):
            if gradient and gradient not in gradient_events:
                event = getattr(block, f"g{AXES[i_axis]}")
                gradient_events[gradient] = _gradient_knots(event, sequence.grad_raster_time)
                _check_fits(number, "gradient", gradient_events[gradient][0, -1], length)
    if segment_gap is None:
        segment_gap = definition(sequence.definitions, "SegmentGap") or 0.0
    n_segments = np.zeros(len(numbers))
    if segment_gap:
        n_segments = np.cumsum(_segment_starts(sequence, numbers, rows[:, 6]))
    ends = np.cumsum(duration) + segment_gap * np.maximum(n_segments - 1, 0)
    return Blocks(
        number=np.array(numbers, dtype=np.int64),
        start=ends - duration,
        duration=duration,
        end=float(ends[-1] + segment_gap * min(n_segments[-1], 1)),
        rf=rows[:, 1].astype(np.int64),
        adc=rows[:, 5].astype(np.int64),
        gradient=rows[:, 2:5].astype(np.int64),
        rf_events=rf_events,
        adc_events=adc_events,
        gradient_events=gradient_events,
        definitions=dict(sequence.definitions),
        version=version,
    )


def _segment_starts(sequence: Any, numbers: list[int], extensions: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each block carries the label TRID."""
    starts: dict[int, bool] = {0: False}
    for number, extension in zip(numbers, extensions, strict=True):
        if extension not in starts:
            labels = (sequence.get_block(number).label or {}).values()
            starts[extension] = any(label.label == "TRID" for label in labels)
    return np.array([starts[extension] for extension in extensions])


def _length(event: RFEvent) -> float:
    return event.samples.size * event.step


def _check_fits(number: int, name: str, end: float, duration: float) -> None:
    if not end <= duration + _ROUNDING:
        raise _FaultyError(
            f"the {name} of block {number} ends {end:.6g} s after its start, the block {duration:.6g} s"
        )


def _rf_event(rf: Any, raster: float) -> RFEvent:
    samples, times = np.asarray(rf.signal, dtype=np.complex128), np.asarray(rf.t, dtype=np.float64)
    numbers = [rf.delay, rf.center, rf.freq_offset, rf.phase_offset, rf.freq_ppm, rf.phase_ppm]
    if not (np.isfinite(samples).all() and np.isfinite(times).all() and np.isfinite(numbers).all()):
        raise _FaultyError("an RF pulse holds values that are not finite")
    if np.abs(samples).max() > _LARGEST_RF or np.abs(numbers[2:4]).max() > _LARGEST_RF:
        raise _FaultyError("an RF pulse is impossibly strong or far off; the file is damaged: write it again")
    if rf.freq_ppm or rf.phase_ppm:
        raise _FaultyError(
            "an RF pulse has its frequency offset in ppm, which depends on the scanner; give it in Hz"
        )
    step = times[1] - times[0] if times.size > 1 else 2 * times[0]
    first = 0.0
    if not (np.allclose(np.diff(times), step, rtol=1e-6) and abs(times[0] - step / 2) < 1e-3 * step):
        # Corners of a piecewise linear pulse
        first, length = times[0], times[-1] - times[0]
        n_steps = round(length / raster)
        if not 1 <= n_steps <= LARGEST_SHAPE or (np.diff(times) < 0).any():
            raise _FaultyError("an RF pulse has times that do not increase")
        step = length / n_steps
        samples = np.interp(first + (np.arange(n_steps) + 0.5) * step, times, samples)
    filled = np.flatnonzero(samples)
    n_before = filled[0] if filled.size else 0
    n_end = filled[-1] + 1 if filled.size else samples.size
    lead = first + n_before * step
    return RFEvent(
        samples=samples[n_before:n_end],
        step=float(step),
        delay=float(rf.delay + lead),
        center=float(rf.center - lead),
        frequency_offset=float(rf.freq_offset),
        phase_offset=float(rf.phase_offset),
        lead=float(lead),
        use=rf.use,
    )


def _adc_event(adc: Any) -> ADCEvent:
    numbers = [adc.dwell, adc.delay, adc.freq_offset, adc.phase_offset, adc.freq_ppm, adc.phase_ppm]
    if not np.isfinite(numbers).all() or adc.num_samples < 1 or adc.dwell <= 0:
        raise _FaultyError("an ADC has values that are not valid")
    if np.abs(numbers[2:4]).max() > _LARGEST_RF:
        raise _FaultyError("an ADC is impossibly far off; the file is damaged: write it again")
    if adc.freq_ppm or adc.phase_ppm:
        raise _FaultyError(
            "an ADC has its frequency offset in ppm, which depends on the scanner; give it in Hz"
        )
    if np.any(adc.phase_modulation):
        raise _FaultyError("an ADC modulates its phase, which is not supported")
    return ADCEvent(
        n_samples=adc.num_samples,
        dwell=float(adc.dwell),
        delay=float(adc.delay),
        frequency_offset=float(adc.freq_offset),
        phase_offset=float(adc.phase_offset),
    )


def _gradient_knots(gradient: Any, raster: float) -> NDArray[np.float64]:
    if gradient.type == "trap":
        lengths = [gradient.delay, gradient.rise_time, gradient.flat_time, gradient.fall_time]
        times = np.cumsum(lengths, dtype=np.float64)
        values = gradient.amplitude * np.array([0.0, 1.0, 1.0, 0.0])
    else:
        times, values = (
            np.asarray(gradient.tt, dtype=np.float64),
            np.asarray(gradient.waveform, dtype=np.float64),
        )
        if gradient.time_id <= 0:  # samples between its ends
            end = gradient.shape_dur if gradient.time_id == 0 else times[-1] + raster / 2
            times = np.concatenate([[0.0], times, [end]])
            values = np.concatenate([[gradient.first], values, [gradient.last]])
        times = gradient.delay + times
    knots = np.stack([times, values])
    if np.abs(values).max() > _LARGEST_GRADIENT:
        raise _FaultyError("a gradient is impossibly strong; the file is damaged: write it again")
    if not np.isfinite(knots).all() or (np.diff(times) < 0).any() or times[0] < 0:
        raise _FaultyError("a gradient has times that do not increase, or values that are not finite")
    return knots
