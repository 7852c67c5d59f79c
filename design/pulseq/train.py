"""A train as a pypulseq sequence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from design.pulseq.blocks import AXES
from design.pulseq.events import Events
from design.pulseq.gradients import Trapezoid
from design.pulseq.timing import Timing

if TYPE_CHECKING:
    import pypulseq

_INVERSION_SEGMENT = 1


def build_train(timing: Timing) -> pypulseq.Sequence:
    """Return the train of `timing` as a pypulseq sequence, without definitions.

    The labels LIN and REP of an acquisition are i_pulse modulo and over n_readouts; TRID numbers the
    different kinds of segments, as GE's interpreter wants them: the inversion, and TRs with the same sampled
    gradients and the same ADC delay.
    """
    return _Train(timing).build()


@dataclass
class _Train:
    """A pypulseq sequence in the making."""

    timing: Timing
    read_gradients: dict[Any, list[Any]] = field(default_factory=dict)

    def build(self) -> pypulseq.Sequence:
        self.scanner = self.timing.repetition.scanner
        self.events = Events(self.scanner)
        self.sequence = self.events.sequence
        if self.timing.inversion_wait is not None:
            self._add_inversion(self.timing.inversion_wait, self.timing.inversion_shift or 0.0)
        self._prepare()
        for i_pulse in range(self.timing.sequence.n_pulses):
            self._add_repetition(i_pulse)
        return self.sequence

    def _add_inversion(self, wait: float, shift: float) -> None:
        import pypulseq

        inversion, events = self.timing.repetition.inversion, self.events
        pulse = pypulseq.make_arbitrary_rf(
            inversion.samples,
            flip_angle=np.pi,
            no_signal_scaling=True,
            delay=round(inversion.start + shift, 12),
            center=inversion.duration / 2,
            use="inversion",
            system=events.opts,
        )
        self.sequence.add_block(
            pulse, events.label("TRID", _INVERSION_SEGMENT), events.delay(inversion.block)
        )
        spoiler = [events.trapezoid(axis, inversion.spoiler, inversion.spoiler_area) for axis in AXES]
        self.sequence.add_block(*spoiler, events.delay(inversion.spoiler_block))
        self.sequence.add_block(events.delay(wait))

    def _prepare(self) -> None:
        """Make what all TRs share."""
        repetition, sequence = self.timing.repetition, self.timing.sequence
        excitation = repetition.excitation
        self.pulse = self.events.template(
            excitation.shape, excitation.start, excitation.centre - excitation.start, "excitation"
        )
        area = excitation.amplitude * (excitation.trapezoid.rise + excitation.trapezoid.flat)
        delay = round(excitation.start - excitation.trapezoid.rise, 12)
        self.slice_select = self.events.trapezoid("z", excitation.trapezoid, area, delay)
        self.rephaser = self.events.trapezoid("z", repetition.prephase[1], -excitation.area_after)
        self.waits = bool(self.timing.te_waits.any()), bool(self.timing.tr_waits.any())
        readout = repetition.acquisition.readout
        self.axes = [axis for i, axis in enumerate(AXES[:2]) if readout.positions[..., i].any()]
        self.n_readouts = min(readout.n_readouts, sequence.n_pulses)
        self.phases = np.mod(sequence.rf_phase, 2 * np.pi)
        self.shifted: dict[float, tuple[NDArray[np.float64] | None, ...]] = {}
        self.segments: dict[tuple[float, int], int] = {}

    def _add_repetition(self, i_pulse: int) -> None:
        timing, repetition = self.timing, self.timing.repetition
        i_readout = i_pulse % repetition.acquisition.readout.n_readouts
        shift = float(timing.shifts[i_pulse])
        samples, prephase, rewind = self._readouts(shift)
        add, events = self.sequence.add_block, self.events
        straight = samples is None
        segment = self.segments.setdefault(
            (shift, 0 if straight else i_readout), len(self.segments) + _INVERSION_SEGMENT + 1
        )
        add(
            events.pulse(self.pulse, float(timing.sequence.flip_angle[i_pulse]), float(self.phases[i_pulse])),
            self.slice_select,
            events.label("TRID", segment),
            events.delay(repetition.excitation.block),
        )
        block, _, prephaser = repetition.prephase
        add(self.rephaser, *self._in_plane(prephaser, prephase[i_readout]), events.delay(block))
        if self.waits[0]:
            add(events.delay(float(timing.te_waits[i_pulse])))
        add(
            *self._read_gradients(shift, i_readout),
            self._adc(shift, float(self.phases[i_pulse])),
            events.label("LIN", i_readout),
            events.label("REP", i_pulse // repetition.acquisition.readout.n_readouts),
            events.delay(repetition.acquisition.block),
        )
        block, spoiler, rewinder = repetition.rewind
        area = repetition.spoiler_area(int(timing.sequence.dephasing[i_pulse]))
        add(
            self.events.trapezoid("z", spoiler, area),
            *self._in_plane(rewinder, rewind[i_readout]),
            events.delay(block),
        )
        if self.waits[1]:
            add(events.delay(float(timing.tr_waits[i_pulse])))

    def _readouts(self, shift: float) -> tuple[Any, NDArray[np.float64], NDArray[np.float64]]:
        """Samples of the gradients of all readouts, or None, and areas of their prephasers and rewinders."""
        if shift not in self.shifted:
            acquisition = self.timing.repetition.acquisition
            samples = None if acquisition.readout.is_straight else acquisition.waveforms(shift).samples
            self.shifted[shift] = (samples, *acquisition.areas(shift))
        return self.shifted[shift]  # type: ignore[return-value]

    def _adc(self, shift: float, phase: float) -> Any:
        acquisition = self.timing.repetition.acquisition
        return self.events.adc(
            acquisition.readout.n_samples,
            acquisition.readout.dwell,
            round(acquisition.adc_start + shift, 12),
            phase,
        )

    def _read_gradients(self, shift: float, i_readout: int) -> list[Any]:
        key = (shift, i_readout)
        if key not in self.read_gradients:
            samples, _, _ = self._readouts(shift)
            acquisition = self.timing.repetition.acquisition
            if samples is None:
                shape = acquisition.trapezoid
                area = acquisition.readout.straight_gradients[i_readout] * (shape.rise + shape.flat)
                self.read_gradients[key] = self._in_plane(shape, area)
            else:
                self.read_gradients[key] = [
                    self.events.sampled(axis, samples[i_readout, :, i])
                    for i, axis in enumerate(AXES[:2])
                    if axis in self.axes
                ]
        return self.read_gradients[key]

    def _in_plane(self, shape: Trapezoid, area: NDArray[np.float64]) -> list[Any]:
        return [
            self.events.trapezoid(axis, shape, float(area[i]))
            for i, axis in enumerate(AXES[:2])
            if axis in self.axes
        ]
