"""Imaging sequences as Pulseq files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from design.mrzero.sequence import ImagingSequence
from design.pulseq.blocks import AXES
from design.pulseq.events import Events
from design.pulseq.excitation import Excitation
from design.pulseq.gradients import Trapezoid
from design.pulseq.imaging_plan import ImagingBlock, ImagingGradients, ImagingPulse, plan_imaging
from design.pulseq.imaging_readout import ImagingReadout
from design.pulseq.scanner import Scanner
from design.pulseq.writing import checked_target, complete, write_file
from epgbloch import RFPulse
from epgbloch._checks import positive_number

if TYPE_CHECKING:
    import pypulseq

_SELECTIVE = ("excitation", "refocusing")


def export_imaging_sequence(
    sequence: ImagingSequence,
    path: str | os.PathLike[str],
    scanner: Scanner,
    *,
    fov: ArrayLike,
    slice_thickness: float | None,
    pulse_duration: float = 1e-3,
    refocusing_duration: float | None = None,
    time_bandwidth_product: float = 4.0,
    name: str = "mrzero",
) -> None:
    """Write an imaging sequence as a Pulseq 1.5 file, with pulses, ramps and rasters of a scanner.

    Pulses for excitation and refocusing become slice-selective sinc pulses, those for inversion and
    preparation block pulses; without slice thickness, all are block pulses. The centre of a pulse is the
    instant of the sequence. Moments become trapezoids. Neighbouring events that are sampled at equal
    distances become one ADC, whose samples lie at the ends of the events: on a flat gradient where moments
    are equal, else on sampled gradients. Slice gradients and ramps take their time from the events beside
    them, whose moments make up for them, so that the moments at all pulse centres and samples are those of
    the sequence. Events that become too short for their moments take time from their neighbours; in events
    of more than 10 ms gradients are on at the start only.

    Times are rounded: pulse centres to the block raster, the middle of every readout to the RF raster, dwell
    times to the ADC raster. A negative flip angle becomes a positive one with half a turn more phase. Phases
    of RF and ADC are those of the sequence: a quarter turn from those of B1 for all alike, which nothing can
    tell. Labels and segments are not written, which GE's interpreter wants.

    Parameters
    ----------
    sequence : ImagingSequence
        What to play.
    path : str or PathLike
        The file, ending in .seq. An existing one is replaced.
    scanner : Scanner
        What can be played; a preset, for instance. Its `segment_gap` must be 0.
    fov : array_like, shape (3,), float64
        Field of view along x, y and z [m], for the file.
    slice_thickness : float or None
        Slice thickness [m] along z; None: pulses without slice gradients.
    pulse_duration : float
        Duration of the pulses [s], rounded to the RF raster.
    refocusing_duration : float or None
        Duration of those for refocusing [s]; None: the same.
    time_bandwidth_product : float
        Of the sinc pulses.
    name : str
        Name of the sequence in the file, without spaces.

    Raises
    ------
    LimitError
        If a limit of the scanner is broken: its `limit` is "slice gradient", "B1 peak", "readout gradient",
        "gradient amplitude", "slew rate", "trajectory error", "dwell" or "duration". The message names
        repetition, events and, between pulses and readouts, the block; the value and the nearest feasible
        one.
    ValueError
        If the phase of the receiver changes unevenly within a readout, a number is out of range, or a name is
        not fit for the file.
    OSError
        If the file cannot be written.

    References
    ----------
    Loktyushin et al. 2021, Magn Reson Med 86:709, doi 10.1002/mrm.28727: 1 ms sinc pulses of time-bandwidth
    product 4.

    Examples
    --------
    >>> export_imaging_sequence(
    ...     sequence, "tse.seq", preset("siemens"), fov=(0.2, 0.2, 5e-3), slice_thickness=5e-3
    ... )  # doctest: +SKIP
    """
    lengths = np.asarray(fov, np.float64)
    if lengths.shape != (3,) or not ((lengths > 0) & np.isfinite(lengths)).all():
        raise ValueError(f"fov={fov!r} must be three positive lengths along x, y and z in metres")
    if scanner.segment_gap:
        raise ValueError(
            f"segment_gap={scanner.segment_gap:.6g} s of the scanner must be 0: imaging sequences have no "
            "segments; replace it by 0 and play the file where nothing is added between blocks"
        )
    entries: dict[str, Any] = {"FOV": lengths.tolist(), "Name": name}
    if slice_thickness is not None:
        entries["SliceThickness"] = positive_number("slice_thickness", slice_thickness, "metres")
    target = checked_target(path, entries)
    durations = {use: pulse_duration for use in np.unique(sequence.use).tolist()}
    if refocusing_duration is not None:
        durations["refocusing"] = refocusing_duration
    pulses = {
        use: _pulse(
            positive_number("pulse duration", duration, "seconds"),
            slice_thickness if use in _SELECTIVE else None,
            time_bandwidth_product,
            scanner,
        )
        for use, duration in durations.items()
    }
    for use, pulse in pulses.items():
        pulse.check()
        pulse.check_b1(np.where(sequence.use == use, np.abs(sequence.flip_angle), 0.0))
    blocks = plan_imaging(sequence, pulses, scanner, 1 / float(lengths.max()))
    written = _built(sequence, blocks, pulses, scanner)
    complete(written, entries)
    write_file(written, target)


def _pulse(duration: float, thickness: float | None, product: float, scanner: Scanner) -> Excitation:
    n_steps = max(1, round(duration / scanner.rf_raster))
    rounded = round(n_steps * scanner.rf_raster, 12)
    if thickness is None:
        return Excitation(RFPulse.rectangular(rounded, n_steps=n_steps), scanner)
    pulse = RFPulse.sinc(rounded, thickness, time_bandwidth_product=product, n_steps=n_steps)
    return Excitation(pulse, scanner)


def _built(
    sequence: ImagingSequence, blocks: list[ImagingBlock], pulses: dict[str, Excitation], scanner: Scanner
) -> pypulseq.Sequence:
    """Return the blocks as a pypulseq sequence."""
    events = Events(scanner)
    raster = scanner.block_raster
    templates = {
        use: events.template(pulse.shape, pulse.start, pulse.centre - pulse.start, use)
        for use, pulse in pulses.items()
    }
    phases = np.mod(np.where(sequence.flip_angle < 0, np.pi, 0.0) + sequence.phase, 2 * np.pi)
    add = events.sequence.add_block
    for block in blocks:
        if isinstance(block, ImagingGradients):
            add(*_trapezoids(events, block), events.delay(block.duration))
            continue
        length = events.delay(round((block.end - block.start) * raster, 12))
        if isinstance(block, ImagingPulse):
            n = block.repetition
            use = str(sequence.use[n])
            flip_angle = abs(float(sequence.flip_angle[n]))
            add(
                events.pulse(templates[use], flip_angle, float(phases[n])),
                *_slice_gradient(events, pulses[use]),
                length,
            )
        else:
            adc = events.adc(
                block.n_samples, block.dwell, block.adc_delay, block.phase, block.frequency_offset
            )
            add(*_readout_gradients(events, block), adc, length)
    return events.sequence


def _slice_gradient(events: Events, pulse: Excitation) -> list[Any]:
    if not pulse.amplitude:
        return []
    area = pulse.amplitude * (pulse.trapezoid.rise + pulse.trapezoid.flat)
    delay = round(pulse.start - pulse.trapezoid.rise, 12)
    return [events.trapezoid("z", pulse.trapezoid, area, delay)]


def _trapezoids(events: Events, block: ImagingGradients) -> list[Any]:
    shapes: list[Trapezoid | None] = [block.in_plane, block.in_plane, block.through]
    return [
        events.trapezoid(axis, shape, float(area))
        for axis, shape, area in zip(AXES, shapes, block.area, strict=True)
        if shape is not None and area
    ]


def _readout_gradients(events: Events, block: ImagingReadout) -> list[Any]:
    delay = block.gradient_delay
    if block.samples is not None:
        pairs = zip(AXES, block.samples.T, strict=True)
        return [events.sampled(axis, samples, delay) for axis, samples in pairs if samples.any()]
    if block.shape is None:
        return []
    pairs = zip(AXES, block.area, strict=True)
    return [events.trapezoid(axis, block.shape, float(area), delay) for axis, area in pairs if area]
