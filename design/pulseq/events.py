"""Events of a pypulseq sequence in the making. Equal events are registered once."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from design.pulseq.gradients import Trapezoid
from design.pulseq.scanner import Scanner

if TYPE_CHECKING:
    import pypulseq

_NOT_ZERO = 1e-6
"""Least amplitude [Hz/m, Hz] in the file. GE's interpreter wants the same events in every TR and may take
those of amplitude zero for none; this one turns nothing: 1e-9 turns over a metre in a millisecond."""


@dataclass(frozen=True, eq=False)
class PulseTemplate:
    """An RF event that turns by 1 rad, with its shapes in the file."""

    event: Any
    shapes: list[int]


class Events:
    """A pypulseq sequence and the events that are registered in it.

    Parameters
    ----------
    scanner : Scanner
        What plays the sequence.
    """

    sequence: pypulseq.Sequence

    def __init__(self, scanner: Scanner) -> None:
        import pypulseq

        self._pypulseq, self.opts = pypulseq, scanner.opts()
        self.sequence = pypulseq.Sequence(self.opts)
        self._made: dict[Any, Any] = {}

    def template(
        self, samples: NDArray[np.complex128], delay: float, center: float, use: str
    ) -> PulseTemplate:
        """Register the shapes of a pulse, whose `samples` [Hz] on the RF raster turn by 1 rad."""
        event = self._pypulseq.make_arbitrary_rf(
            samples,
            flip_angle=1.0,
            no_signal_scaling=True,
            delay=delay,
            center=center,
            use=use,
            system=self.opts,
        )
        library = copy(self.sequence.rf_library)
        library.data, library.keymap, library.type = (
            library.data.copy(),
            library.keymap.copy(),
            library.type.copy(),
        )
        _, shapes = self.sequence.register_rf_event(event)
        self.sequence.rf_library = library  # keeps the shapes, forgets the pulse of 1 rad
        return PulseTemplate(event, shapes)

    def pulse(self, template: PulseTemplate, flip_angle: float, phase: float) -> Any:
        """Return a pulse of a flip angle of at least 0 and a phase [rad]."""
        amplitude = flip_angle * np.abs(template.event.signal).max()
        data = (
            max(float(amplitude), _NOT_ZERO),
            *template.shapes,
            template.event.center,
            template.event.delay,
            0.0,
            0.0,
            0.0,
            phase,
        )
        event = copy(template.event)
        event.id, _ = self.sequence.rf_library.find_or_insert(data, event.use[0])
        return event

    def trapezoid(self, axis: str, shape: Trapezoid, area: float, delay: float = 0.0) -> Any:
        """Return a trapezoid of `area` [1/m]."""
        key = (axis, shape, area, delay)
        if key not in self._made:
            amplitude = area / (shape.rise + shape.flat)
            event = self._pypulseq.make_trapezoid(
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
            self._made[key] = event
        return self._made[key]

    def sampled(self, axis: str, samples: NDArray[np.float64], delay: float = 0.0) -> Any:
        """Return a gradient of samples [Hz/m] in the middle of raster steps, zero at both ends."""
        event = self._pypulseq.make_arbitrary_grad(
            axis,
            samples,
            first=0.0,
            last=0.0,
            delay=delay,
            max_grad=np.inf,
            max_slew=np.inf,
            system=self.opts,
        )
        event.id, _ = self.sequence.register_grad_event(event)
        return event

    def adc(
        self, n_samples: int, dwell: float, delay: float, phase: float, frequency_offset: float = 0.0
    ) -> Any:
        """Return an ADC of `n_samples` every `dwell` [s]."""
        key = ("adc", n_samples, dwell, delay, phase, frequency_offset)
        if key not in self._made:
            event = self._pypulseq.make_adc(
                num_samples=n_samples,
                dwell=dwell,
                delay=delay,
                phase_offset=phase,
                freq_offset=frequency_offset,
                system=self.opts,
            )
            event.id, _ = self.sequence.register_adc_event(event)
            self._made[key] = event
        return self._made[key]

    def label(self, name: str, value: int) -> Any:
        """Return what sets a label."""
        if (name, value) not in self._made:
            event = self._pypulseq.make_label(name, "SET", value)
            event.id = self.sequence.register_label_event(event)
            self._made[name, value] = event
        return self._made[name, value]

    def delay(self, duration: float) -> Any:
        """Return a wait, which also makes a block at least this long [s]."""
        return self._pypulseq.make_delay(duration)
