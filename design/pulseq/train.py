"""A train as a pypulseq sequence."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from design.pulseq.gradients import Trapezoid
from design.pulseq.timing import Timing

if TYPE_CHECKING:
    import pypulseq

_NOT_ZERO = 1e-6
"""Least amplitude [Hz/m, Hz] in the file. GE's interpreter wants the same events in every TR and may take
those of amplitude zero for none; this one turns nothing: 1e-9 turns over a metre in a millisecond."""
_AXES = "xyz"
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
    """A pypulseq sequence in the making. Equal events are registered once."""

    timing: Timing
    events: dict[Any, Any] = field(default_factory=dict)

    def build(self) -> pypulseq.Sequence:
        import pypulseq

        self.pypulseq = pypulseq
        self.scanner = self.timing.repetition.scanner
        self.opts = self.scanner.opts()
        self.sequence = pypulseq.Sequence(self.opts)
        if self.timing.inversion_wait is not None:
            self._add_inversion(self.timing.inversion_wait, self.timing.inversion_shift or 0.0)
        self._prepare()
        for i_pulse in range(self.timing.sequence.n_pulses):
            self._add_repetition(i_pulse)
        return self.sequence

    def _add_inversion(self, wait: float, shift: float) -> None:
        inversion = self.timing.repetition.inversion
        pulse = self.pypulseq.make_arbitrary_rf(
            inversion.samples,
            flip_angle=np.pi,
            no_signal_scaling=True,
            delay=round(inversion.start + shift, 12),
            center=inversion.duration / 2,
            use="inversion",
            system=self.opts,
        )
        self.sequence.add_block(pulse, self._label("TRID", _INVERSION_SEGMENT), self._delay(inversion.block))
        spoiler = [self._trapezoid(axis, inversion.spoiler, inversion.spoiler_area) for axis in _AXES]
        self.sequence.add_block(*spoiler, self._delay(inversion.spoiler_block))
        self.sequence.add_block(self._delay(wait))

    def _prepare(self) -> None:
        """Make what all TRs share."""
        repetition, sequence = self.timing.repetition, self.timing.sequence
        excitation = repetition.excitation
        self.pulse = self.pypulseq.make_arbitrary_rf(
            excitation.shape,
            flip_angle=1.0,
            no_signal_scaling=True,
            delay=excitation.start,
            center=excitation.centre - excitation.start,
            use="excitation",
            system=self.opts,
        )
        library = copy(self.sequence.rf_library)
        library.data, library.keymap, library.type = (
            library.data.copy(),
            library.keymap.copy(),
            library.type.copy(),
        )
        _, self.pulse_shapes = self.sequence.register_rf_event(self.pulse)
        self.sequence.rf_library = library  # keeps the shapes, forgets the pulse of 1 rad
        area = excitation.amplitude * (excitation.trapezoid.rise + excitation.trapezoid.flat)
        delay = round(excitation.start - excitation.trapezoid.rise, 12)
        self.slice_select = self._trapezoid("z", excitation.trapezoid, area, delay)
        self.rephaser = self._trapezoid("z", repetition.prephase[1], -excitation.area_after)
        self.waits = bool(self.timing.te_waits.any()), bool(self.timing.tr_waits.any())
        readout = repetition.acquisition.readout
        self.axes = [axis for i, axis in enumerate("xy") if readout.positions[..., i].any()]
        self.n_readouts = min(readout.n_readouts, sequence.n_pulses)
        self.phases = np.mod(sequence.rf_phase, 2 * np.pi)
        self.shifted: dict[float, tuple[NDArray[np.float64] | None, ...]] = {}
        self.segments: dict[tuple[float, int], int] = {}

    def _add_repetition(self, i_pulse: int) -> None:
        timing, repetition = self.timing, self.timing.repetition
        i_readout = i_pulse % repetition.acquisition.readout.n_readouts
        shift = float(timing.shifts[i_pulse])
        samples, prephase, rewind = self._readouts(shift)
        add = self.sequence.add_block
        straight = samples is None
        segment = self.segments.setdefault(
            (shift, 0 if straight else i_readout), len(self.segments) + _INVERSION_SEGMENT + 1
        )
        add(
            self._excitation(i_pulse),
            self.slice_select,
            self._label("TRID", segment),
            self._delay(repetition.excitation.block),
        )
        block, _, prephaser = repetition.prephase
        add(self.rephaser, *self._in_plane(prephaser, prephase[i_readout]), self._delay(block))
        if self.waits[0]:
            add(self._delay(float(timing.te_waits[i_pulse])))
        add(
            *self._read_gradients(shift, i_readout),
            self._adc(shift, float(self.phases[i_pulse])),
            self._label("LIN", i_readout),
            self._label("REP", i_pulse // repetition.acquisition.readout.n_readouts),
            self._delay(repetition.acquisition.block),
        )
        block, spoiler, rewinder = repetition.rewind
        area = repetition.spoiler_area(int(timing.sequence.dephasing[i_pulse]))
        add(
            self._trapezoid("z", spoiler, area),
            *self._in_plane(rewinder, rewind[i_readout]),
            self._delay(block),
        )
        if self.waits[1]:
            add(self._delay(float(timing.tr_waits[i_pulse])))

    def _readouts(self, shift: float) -> tuple[Any, NDArray[np.float64], NDArray[np.float64]]:
        """Samples of the gradients of all readouts, or None, and areas of their prephasers and rewinders."""
        if shift not in self.shifted:
            acquisition = self.timing.repetition.acquisition
            samples = None if acquisition.readout.is_straight else acquisition.waveforms(shift).samples
            self.shifted[shift] = (samples, *acquisition.areas(shift))
        return self.shifted[shift]  # type: ignore[return-value]

    def _excitation(self, i_pulse: int) -> Any:
        amplitude = self.timing.sequence.flip_angle[i_pulse] * np.abs(self.pulse.signal).max()
        data = (
            max(float(amplitude), _NOT_ZERO),
            *self.pulse_shapes,
            self.pulse.center,
            self.pulse.delay,
            0.0,
            0.0,
            0.0,
            float(self.phases[i_pulse]),
        )
        event = copy(self.pulse)
        event.id, _ = self.sequence.rf_library.find_or_insert(data, "e")
        return event

    def _adc(self, shift: float, phase: float) -> Any:
        if ("adc", shift, phase) not in self.events:
            acquisition = self.timing.repetition.acquisition
            event = self.pypulseq.make_adc(
                num_samples=acquisition.readout.n_samples,
                dwell=acquisition.readout.dwell,
                delay=round(acquisition.adc_start + shift, 12),
                phase_offset=phase,
                system=self.opts,
            )
            event.id, _ = self.sequence.register_adc_event(event)
            self.events["adc", shift, phase] = event
        return self.events["adc", shift, phase]

    def _read_gradients(self, shift: float, i_readout: int) -> list[Any]:
        key = ("read", shift, i_readout)
        if key not in self.events:
            samples, _, _ = self._readouts(shift)
            acquisition = self.timing.repetition.acquisition
            if samples is None:
                shape = acquisition.trapezoid
                area = acquisition.readout.straight_gradients[i_readout] * (shape.rise + shape.flat)
                self.events[key] = self._in_plane(shape, area)
            else:
                self.events[key] = [
                    self._sampled(axis, samples[i_readout, :, i])
                    for i, axis in enumerate("xy")
                    if axis in self.axes
                ]
        return self.events[key]

    def _sampled(self, axis: str, samples: NDArray[np.float64]) -> Any:
        event = self.pypulseq.make_arbitrary_grad(
            axis, samples, first=0.0, last=0.0, max_grad=np.inf, max_slew=np.inf, system=self.opts
        )
        event.id, _ = self.sequence.register_grad_event(event)
        return event

    def _in_plane(self, shape: Trapezoid, area: NDArray[np.float64]) -> list[Any]:
        return [
            self._trapezoid(axis, shape, float(area[i])) for i, axis in enumerate("xy") if axis in self.axes
        ]

    def _trapezoid(self, axis: str, shape: Trapezoid, area: float, delay: float = 0.0) -> Any:
        key = (axis, shape, area, delay)
        if key not in self.events:
            amplitude = area / (shape.rise + shape.flat)
            event = self.pypulseq.make_trapezoid(
                axis,
                amplitude=amplitude if abs(amplitude) > _NOT_ZERO else _NOT_ZERO,
                rise_time=shape.rise,
                flat_time=shape.flat,
                fall_time=shape.rise,
                delay=delay,
                max_grad=np.inf,
                max_slew=np.inf,
                system=self.opts,
            )
            event.id = self.sequence.register_grad_event(event)
            self.events[key] = event
        return self.events[key]

    def _label(self, name: str, value: int) -> Any:
        if (name, value) not in self.events:
            event = self.pypulseq.make_label(name, "SET", value)
            event.id = self.sequence.register_label_event(event)
            self.events[name, value] = event
        return self.events[name, value]

    def _delay(self, duration: float) -> Any:
        return self.pypulseq.make_delay(duration)
