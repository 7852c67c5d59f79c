"""The blocks of a TR: their lengths, their gradients and the shortest times that they allow.

A TR consists of six blocks: RF pulse with slice gradient | slice rephaser and prephaser | wait | readout |
rewinder and spoiler | wait. Gradients are zero where blocks meet. The area of the slice axis from one pulse
centre to the echo is zero, and from there to the next pulse centre that of the spoiler; in plane, it is zero
over the TR.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from design.pulseq.acquisition import Acquisition
from design.pulseq.excitation import Excitation, pulse_on_raster
from design.pulseq.gradients import Trapezoid, round_up, shortest_trapezoid
from design.pulseq.inversion import Inversion, PlayedInversion
from design.pulseq.readout import Readout
from design.pulseq.scanner import Scanner
from epgbloch import RFPulse
from epgbloch._checks import positive_number

DEFAULT_SPOILER_CYCLES = 4.0
"""Turns over the slice thickness by one order of dephasing, unless the sequence has a spoiler moment."""
_FILE_DIGITS = 1e-5
"""Relative distance of scaled gradients from the limits: the file keeps six digits of amplitudes."""


@dataclass(frozen=True)
class MinimumTimes:
    """Shortest times that pulse, readout, spoiler and inversion allow on a scanner.

    Parameters
    ----------
    te, tr : float
        Shortest TE, and shortest TR with it [s]; a longer TE needs a TR longer by as much.
    inversion_time : float
        Shortest time from the centre of the inversion to that of the first pulse [s].
    """

    te: float
    tr: float
    inversion_time: float


@dataclass(frozen=True, eq=False)
class Repetition:
    """The blocks of a TR, of the same length for all pulses, and those of the inversion.

    Parameters
    ----------
    excitation, acquisition, inversion
        Blocks of the RF pulse, of the readout, of the inversion.
    spoiler_cycles : float
        Turns of the magnetisation by one order of dephasing over the slice thickness.
    orders : tuple of int
        Orders of dephasing that occur, 0 or 1.
    """

    excitation: Excitation
    acquisition: Acquisition
    inversion: PlayedInversion
    spoiler_cycles: float
    orders: tuple[int, ...]

    @cached_property
    def scanner(self) -> Scanner:
        """What plays it."""
        return self.excitation.scanner

    def spoiler_area(self, order: int) -> float:
        """Area [1/m] that dephases by `order` and rewinds the first half of the next slice gradient."""
        thickness = float(self.excitation.pulse.slice_thickness)  # type: ignore[arg-type]  # slice-selective
        return order * self.spoiler_cycles / thickness - self.excitation.area_before

    def _pair(self, area: float, plane_area: float) -> tuple[float, Trapezoid, Trapezoid]:
        """Length of a block with gradients of these areas on the slice axis and in plane, and both."""
        slice_axis, in_plane = (
            shortest_trapezoid(
                value,
                self.scanner.max_amplitude * (1 - _FILE_DIGITS),
                self.scanner.max_slew_rate * (1 - _FILE_DIGITS),
                self.scanner.gradient_raster,
            )
            for value in (area, plane_area)
        )
        block = round_up(max(slice_axis.duration, in_plane.duration), self.scanner.block_raster)
        return block, slice_axis.lasting(block), in_plane.lasting(block)

    @cached_property
    def prephase(self) -> tuple[float, Trapezoid, Trapezoid]:
        """Length of the block, slice rephaser, prephaser."""
        return self._pair(self.excitation.area_after, self.acquisition.max_areas[0])

    @cached_property
    def rewind(self) -> tuple[float, Trapezoid, Trapezoid]:
        """Length of the block, spoiler, rewinder."""
        largest = max(abs(self.spoiler_area(order)) for order in self.orders)
        return self._pair(largest, self.acquisition.max_areas[1])

    @cached_property
    def minimum_times(self) -> MinimumTimes:
        """Shortest times."""
        gap = self.scanner.segment_gap
        before_read = self.excitation.block + self.prephase[0]
        pause = self.inversion.block + self.inversion.spoiler_block + gap + self.excitation.centre
        latest = self.inversion.start + self.scanner.block_raster - self.scanner.rf_raster
        return MinimumTimes(
            te=before_read - self.excitation.centre + self.acquisition.echo,
            tr=before_read + self.acquisition.block + self.rewind[0] + gap,
            inversion_time=pause - latest - self.inversion.duration / 2,
        )


def minimum_times(
    pulse: RFPulse,
    readout: Readout,
    scanner: Scanner,
    *,
    spoiler_cycles: float = DEFAULT_SPOILER_CYCLES,
    inversion: Inversion | None = None,
    orders: tuple[int, ...] = (1,),
) -> MinimumTimes:
    """Return the shortest TE, TR and inversion time.

    Parameters
    ----------
    pulse : RFPulse
        Slice-selective pulse.
    readout : Readout
        What to sample.
    scanner : Scanner
        What can be played.
    spoiler_cycles : float
        Turns of the magnetisation by one order of dephasing over the slice thickness, > 0.
    inversion : Inversion or None
        Pulse and spoiler of the inversion; None: the default ones.
    orders : tuple of int
        Orders of dephasing that occur in the train: (1,) spoiled, (0,) balanced, (0, 1) both.

    Raises
    ------
    LimitError
        If the slice gradient or the readout is beyond the limits.
    ValueError
        If the pulse is not slice-selective, or a number is out of range.
    """
    spoiler_cycles = positive_number("spoiler_cycles", spoiler_cycles, "turns")
    if not orders or not set(orders) <= {0, 1}:
        raise ValueError(f"orders={orders!r} must be (0,), (1,) or (0, 1)")
    return plan_repetition(
        pulse, readout, scanner, spoiler_cycles, inversion or Inversion(), orders
    ).minimum_times


def plan_repetition(
    pulse: RFPulse | None,
    readout: Readout,
    scanner: Scanner,
    spoiler_cycles: float,
    inversion: Inversion,
    orders: tuple[int, ...],
) -> Repetition:
    """Return the blocks of a TR, as for `minimum_times`; the parameters are those."""
    excitation = Excitation(pulse_on_raster(pulse, scanner.rf_raster), scanner)
    acquisition = Acquisition(readout, scanner)
    excitation.check()
    acquisition.check()
    thickness = float(excitation.pulse.slice_thickness)  # type: ignore[arg-type]  # slice-selective
    played_inversion = PlayedInversion(inversion, scanner, thickness)
    return Repetition(excitation, acquisition, played_inversion, spoiler_cycles, orders)
