"""Imaging sequences as blocks in time: pulses, readouts, and what fits in between.

Moments count at two kinds of instants only: the centres of pulses, and samples. Between two of them the
moment of the sequence must be played, less what the gradients of the pulse and the readout at both sides
add. An event keeps its time where it can; one that loses time to a pulse or a ramp, or is too short, takes
it from its neighbours. In a long event, gradients are on at its start only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from design.errors import LimitError
from design.mrzero.sequence import ImagingSequence
from design.pulseq.excitation import Excitation
from design.pulseq.gradients import Trapezoid, gentlest_trapezoid, least_steps, steps_up
from design.pulseq.imaging_readout import NO_MOMENT, ImagingReadout, find_runs, plan_readout
from design.pulseq.scanner import Scanner
from epgbloch.constants import GAMMA_BAR

_LONGEST_GRADIENT = 10e-3
"""Gradients of longer events end after this time [s], or twice the least time that they need."""


@dataclass(frozen=True, eq=False)
class ImagingPulse:
    """A block with an RF pulse, its slice gradient if it has one, and dead times.

    `start` and `end` are steps of the block raster; `lead` and `tail` the moments before and after the centre
    of the pulse [1/m], shape (3,).
    """

    name: ClassVar[str] = "pulse"

    repetition: int
    start: int
    end: int
    lead: NDArray[np.float64]
    tail: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ImagingGradients:
    """A block with trapezoids of moments `area` [1/m], shape (3,), or none: a wait.

    `duration` is in seconds, `in_plane` the shape along x and y, `through` that along z.
    """

    duration: float
    area: NDArray[np.float64]
    in_plane: Trapezoid | None
    through: Trapezoid | None


ImagingBlock = ImagingPulse | ImagingReadout | ImagingGradients


@dataclass(frozen=True, eq=False)
class _End:
    """Where the sequence ends, or later where its last moments need more time."""

    name: ClassVar[str] = "end"

    start: int
    end: int
    lead: NDArray[np.float64]
    tail: NDArray[np.float64]


def plan_imaging(
    sequence: ImagingSequence, pulses: dict[str, Excitation], scanner: Scanner, k_step: float
) -> list[ImagingBlock]:
    """Return all blocks in turn.

    Pulse centres are rounded to the block raster, the middle of every readout to the RF raster, dwell times
    to the ADC raster; the moments at pulse centres and samples are those of the sequence. After the last
    readout, blocks may take longer than the sequence.

    Parameters
    ----------
    sequence : ImagingSequence
        What to play.
    pulses : dict
        The pulse of each use.
    scanner : Scanner
        What plays it.
    k_step : float
        1 / field of view [1/m].

    Raises
    ------
    LimitError
        If gradients are too strong or too fast, or there is no time for them.
    ValueError
        If the phase of the receiver changes unevenly within a readout.
    """
    return _Plan(sequence, pulses, scanner, k_step).blocks


class _Plan:
    def __init__(
        self, sequence: ImagingSequence, pulses: dict[str, Excitation], scanner: Scanner, k_step: float
    ) -> None:
        self.sequence, self.scanner = sequence, scanner
        self.blocks: list[ImagingBlock] = []
        self.last: ImagingPulse | ImagingReadout | None = None
        # boundaries of the events, from the start of the file
        origin = pulses[str(sequence.use[0])].centre
        self.times = origin + np.concatenate([[0.0], np.cumsum(sequence.durations)])
        first = sequence.first_event
        done = 0  # events whose moments are played
        for n in range(sequence.n_repetitions):
            pulse = self._pulse(n, pulses[str(sequence.use[n])], self.times[first[n]])
            self._fill(max(n - 1, 0), range(done, first[n]), pulse)
            self._add(pulse)
            done = first[n]
            for run in find_runs(sequence, range(first[n], first[n + 1]), scanner):
                place = f"repetition {n}, events {run.start - first[n]} to {run.stop - 1 - first[n]}"
                times = self.times[run.start + 1 : run.stop + 1]
                readout = plan_readout(sequence, run, times, scanner, k_step, f"{place}, a readout")
                self._fill(n, range(done, run.start + 1), readout, joins=self._is_regular(run))
                self._add(readout)
                done = run.stop
        assert self.last is not None
        end = max(round(self.times[-1] / scanner.block_raster), self.last.end)
        if done < sequence.durations.size:
            self._fill(
                sequence.n_repetitions - 1,
                range(done, sequence.durations.size),
                _End(end, end, np.zeros(3), np.zeros(3)),
            )

    def _add(self, block: ImagingPulse | ImagingReadout) -> None:
        self.blocks.append(block)
        self.last = block

    def _pulse(self, n: int, pulse: Excitation, centre: float) -> ImagingPulse:
        raster = self.scanner.block_raster
        start = round((centre - pulse.centre) / raster)
        z = np.array([0.0, 0.0, 1.0])
        end = start + steps_up(pulse.block, raster)
        return ImagingPulse(n, start, end, pulse.area_before * z, pulse.area_after * z)

    def _is_regular(self, run: range) -> bool:
        """Whether the first event of a readout is like the others, and so a part of its gradient."""
        if len(run) == 1:
            return False
        first, second = self.sequence.durations[run.start : run.start + 2]
        return bool(abs(first - second) <= self.scanner.adc_raster / 2)

    def _fill(
        self, n: int, events: range, following: ImagingPulse | ImagingReadout | _End, *, joins: bool = False
    ) -> None:
        """Add the blocks of events up to the next pulse, readout or end.

        The last event joins the one before it where it is the first of a readout (`joins`).
        """
        if self.last is None:
            return
        moments = np.array(self.sequence.moments[events.start : events.stop])
        times = self.times[events.start : events.stop + 1]
        moved = np.zeros(3)
        if joins and len(moments) > 1:
            moments, moved, times = moments[:-1], moments[-1], np.delete(times, -2)
        elif not len(moments):
            moments, times = np.zeros((1, 3)), np.array([times[0], times[0]])
        # Extra moments go where gradients are on anyway: waits stay waits.
        on = np.flatnonzero(np.abs(moments).max(axis=1) > NO_MOMENT)
        first, last = (on[0], on[-1]) if on.size else (0, len(moments) - 1)
        moments[first] -= self.last.tail
        moments[last] += moved - following.lead
        lengths = [self._steps(moment) for moment in moments]
        start, end = self.last.end, following.start
        if isinstance(following, _End):
            end = max(end, start + sum(lengths))
        wanted = np.rint(times / self.scanner.block_raster).astype(int)
        bounds = _boundaries(wanted, lengths, start, end)
        if bounds is None:
            moments = moments.sum(axis=0)[np.newaxis]
            if self._steps(moments[0]) > end - start:
                raise self._too_short(n, events, following, moments[0], end - start)
            bounds = np.array([start, end])
        for moment, length in zip(moments, np.diff(bounds), strict=True):
            least = self._steps(moment)
            longest = max(2 * least, round(_LONGEST_GRADIENT / self.scanner.block_raster))
            played = min(int(length), longest) if least else 0
            self._add_gradients(moment, played)
            self._add_gradients(np.zeros(3), int(length) - played)

    def _add_gradients(self, moment: NDArray[np.float64], length: int) -> None:
        if length:
            shapes = [shape and shape[0] for shape in self._shapes(moment, length)]
            duration = round(length * self.scanner.block_raster, 12)
            self.blocks.append(ImagingGradients(duration, moment, *shapes))

    @property
    def _limits(self) -> tuple[float, float, float]:
        return self.scanner.max_amplitude, self.scanner.max_slew_rate, self.scanner.gradient_raster

    def _shapes(self, area: NDArray[np.float64], length: int) -> list[tuple[Trapezoid, float] | None]:
        """Trapezoids of a moment in the plane and along z in a block, and the part of limits they take."""
        n_steps = length * round(self.scanner.block_raster / self.scanner.gradient_raster)
        return [
            gentlest_trapezoid(part, n_steps, *self._limits) if part > NO_MOMENT else None
            for part in _parts(area)
        ]

    def _steps(self, area: NDArray[np.float64]) -> int:
        """Steps of the block raster that hold trapezoids of a moment."""
        needed = [least_steps(part, *self._limits) for part in _parts(area) if part > NO_MOMENT]
        ratio = round(self.scanner.block_raster / self.scanner.gradient_raster)
        return -(-max(needed, default=0) // ratio)

    def _too_short(
        self,
        n: int,
        events: range,
        following: ImagingPulse | ImagingReadout | _End,
        area: NDArray[np.float64],
        n_left: int,
    ) -> LimitError:
        """Error of events without time for their gradients: which limit breaks, and how long they must be."""
        assert self.last is not None
        scanner, raster = self.scanner, self.scanner.block_raster
        i_first = int(self.sequence.first_event[n])
        place = (
            f"repetition {n}, events {events.start - i_first} to {events.stop - 1 - i_first}"
            if events
            else f"repetition {n}, its end"
        )
        beside = f"{self.last.name} and {following.name}"
        place += f" (block {len(self.blocks) + 1} of the file, between {beside})"
        now = float(self.times[events.stop] - self.times[events.start])
        nearest = float(np.ceil(now / raster - 1e-6) + self._steps(area) - n_left) * raster
        remedy = f"the nearest duration of these events is {nearest * 1e3:.6g} ms"
        if n_left < 2:
            return LimitError(
                f"{place}: duration={now * 1e3:.6g} ms leaves no time between gradients and dead times of "
                f"{beside}; {remedy}",
                limit="duration",
                nearest=nearest,
            )
        played = zip(("in the plane", "along z"), _parts(area), self._shapes(area, n_left), strict=True)
        axis, part, (shape, _) = max(
            ((axis, part, shape) for axis, part, shape in played if shape is not None),
            key=lambda entry: entry[2][1],
        )
        amplitude = part / (shape.rise + shape.flat)
        limit, value, allowed, unit = "gradient amplitude", amplitude / GAMMA_BAR, scanner.max_gradient, "T/m"
        if amplitude / shape.rise / scanner.max_slew_rate > amplitude / scanner.max_amplitude:
            limit, value, allowed, unit = "slew rate", value / shape.rise, scanner.max_slew, "T/m/s"
        return LimitError(
            f"{place}: {limit}={value:.4g} {unit} {axis} exceeds {allowed:.4g} {unit}, as only "
            f"{n_left * raster * 1e3:.6g} of {now * 1e3:.6g} ms are left for a moment of {part:.6g} 1/m "
            f"beside the gradients of {beside}; {remedy}",
            limit=limit,
            nearest=nearest,
        )


def _parts(area: NDArray[np.float64]) -> tuple[float, float]:
    """Size of a moment in the plane and along z: the two have limits of their own."""
    return float(np.linalg.norm(area[:2])), abs(float(area[2]))


def _boundaries(
    wanted: NDArray[np.int64], lengths: list[int], start: int, end: int
) -> NDArray[np.int64] | None:
    """Boundaries of events near the wanted ones, so that each has its length; None where they do not fit."""
    if sum(lengths) > end - start:
        return None
    bounds = np.clip(wanted, start, end)
    bounds[0], bounds[-1] = start, end
    for i, length in enumerate(lengths):
        bounds[i + 1] = max(bounds[i + 1], bounds[i] + length)
    bounds[-1] = end
    for i, length in reversed(list(enumerate(lengths))):
        bounds[i] = min(bounds[i], bounds[i + 1] - length)
    return bounds
