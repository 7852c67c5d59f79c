"""The readout as it is played: ADC and in-plane gradients on the rasters of a scanner."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from design.errors import LimitError
from design.pulseq.gradients import (
    Trapezoid,
    Waveforms,
    end_gradients,
    ramp_steps,
    round_up,
    steps_up,
    waveforms_through,
)
from design.pulseq.readout import Readout
from design.pulseq.scanner import Scanner
from epgbloch.constants import GAMMA_BAR

TRAJECTORY_TOLERANCE = 1e-2
"""Largest distance between played and requested positions, in steps of k-space (1 / field of view)."""
_ROUNDING = 1e-9
"""Relative room for rounding errors at limits."""
_RAMP_SLEW = 0.9
"""Part of the slew rate that the ramps of sampled gradients take; the bend at their end needs some."""
_MAX_DWELL = 1e-3
"""Where the search for a feasible dwell time ends [s]."""


def broken_limit(scanner: Scanner, amplitude: float, slew: float, deviation: float) -> tuple[str, str] | None:
    """Name of the limit that sampled gradients break, and how; None where they break none.

    Parameters
    ----------
    scanner : Scanner
        What plays them.
    amplitude, slew : float
        Largest gradient [Hz/m] and slew rate [Hz/m/s].
    deviation : float
        Largest distance from the requested positions, in steps of k-space.
    """
    for name, value, limit, unit in (
        ("readout gradient", amplitude / GAMMA_BAR * 1e3, scanner.max_gradient * 1e3, "mT/m"),
        ("slew rate", slew / GAMMA_BAR, scanner.max_slew, "T/m/s"),
        ("trajectory error", deviation, TRAJECTORY_TOLERANCE, "steps of k-space"),
    ):
        if value > limit * (1 + _ROUNDING):
            return name, f"{name}={value:.4g} {unit} exceeds {limit:.4g} {unit}"
    return None


def sampled_ramps(positions: NDArray[np.float64], dwell: float, scanner: Scanner) -> tuple[int, int]:
    """Raster steps of the ramps before and after sampled gradients through `positions` [1/m]."""
    first, last = np.linalg.norm(end_gradients(positions, dwell), axis=-1).max(axis=-1)
    raster, slew = scanner.gradient_raster, _RAMP_SLEW * scanner.max_slew_rate
    return ramp_steps(first, slew, raster), ramp_steps(last, slew, raster)


@dataclass(frozen=True, eq=False)
class Acquisition:
    """The block of the readout. Times are seconds from its start.

    The ADC starts at `adc_start`, or later by a shift of less than the block raster, in steps of the RF
    raster: so TE is adjusted more finely than blocks could. The gradients make up for the shift.

    Parameters
    ----------
    readout : Readout
        What to sample.
    scanner : Scanner
        What plays it.
    """

    readout: Readout
    scanner: Scanner

    @cached_property
    def max_shift(self) -> float:
        """Largest shift of the ADC."""
        return self.scanner.block_raster - self.scanner.rf_raster

    @cached_property
    def n_ramps(self) -> tuple[int, int]:
        """Raster steps of the ramps before and after, enough for every readout."""
        raster, max_slew = self.scanner.gradient_raster, self.scanner.max_slew_rate
        if self.readout.is_straight:
            strongest = np.linalg.norm(self.readout.straight_gradients, axis=1).max()
            return (ramp_steps(strongest, max_slew, raster),) * 2
        return sampled_ramps(self.readout.positions, self.readout.dwell, self.scanner)

    @cached_property
    def adc_start(self) -> float:
        """Start of the ADC without shift. Its first sample lies half a dwell time later."""
        ready = self.n_ramps[0] * self.scanner.gradient_raster
        if not self.readout.is_straight:
            ready -= self.readout.dwell / 2
        start = max(ready, self.scanner.adc_dead_time)
        return round_up(start, self.scanner.rf_raster)

    @cached_property
    def _sampled(self) -> float:
        """End of the ADC with the largest shift."""
        return self.adc_start + self.max_shift + self.readout.n_samples * self.readout.dwell

    @cached_property
    def n_steps(self) -> int:
        """Length of the gradients in raster steps."""
        return steps_up(self._sampled, self.scanner.gradient_raster) + self.n_ramps[1]

    @cached_property
    def block(self) -> float:
        """Length of the block."""
        end = max(self.n_steps * self.scanner.gradient_raster, self._sampled + self.scanner.adc_dead_time)
        return round_up(end, self.scanner.block_raster)

    @cached_property
    def trapezoid(self) -> Trapezoid:
        """Gradient of straight readouts; it starts with the block."""
        raster = self.scanner.gradient_raster
        n_flat = self.n_steps - sum(self.n_ramps)
        return Trapezoid(round(self.n_ramps[0] * raster, 12), round(n_flat * raster, 12))

    @cached_property
    def echo(self) -> float:
        """Time of k = 0 without shift."""
        return self.adc_start + (self.readout.echo_sample + 0.5) * self.readout.dwell

    def waveforms(self, shift: float) -> Waveforms:
        """Gradients of readouts that are not straight; they start with the block."""
        return waveforms_through(
            self.readout.positions,
            self.readout.dwell,
            self.adc_start + shift + self.readout.dwell / 2,
            n_steps=self.n_steps,
            n_ramps=self.n_ramps,
            raster=self.scanner.gradient_raster,
        )

    def areas(self, shift: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Areas [1/m] of prephasers and rewinders, both of shape (n_readouts, 2)."""
        if self.readout.is_straight:
            amplitude = self.readout.straight_gradients
            first = self.adc_start + shift + self.readout.dwell / 2
            before = amplitude * (first - self.trapezoid.rise / 2)
            area = amplitude * (self.trapezoid.rise + self.trapezoid.flat)
        else:
            waveforms = self.waveforms(shift)
            before, area = waveforms.before, waveforms.area
        prephase = self.readout.positions[:, 0] - before
        return prephase, -(prephase + area)

    @cached_property
    def max_areas(self) -> tuple[float, float]:
        """Largest areas [1/m] of prephaser and rewinder, of both axes together, with any shift."""
        areas = [self.areas(shift) for shift in self._shifts]
        prephase, rewind = (np.linalg.norm(vectors, axis=-1).max() for vectors in zip(*areas, strict=True))
        return float(prephase), float(rewind)

    @property
    def _shifts(self) -> list[float]:
        """All shifts, or with straight readouts, whose areas change linearly, the extreme ones."""
        if self.readout.is_straight:
            return [0.0, self.max_shift]
        n_shifts = round(self.scanner.block_raster / self.scanner.rf_raster)
        return [i_shift * self.scanner.rf_raster for i_shift in range(n_shifts)]

    def check(self) -> None:
        """Raise a LimitError if the dwell time is off its raster, or gradients are too strong or too fast."""
        self._check_dwell()
        fault = self._fault()
        if fault is None:
            return
        name, detail = fault
        nearest = self._nearest_dwell()
        remedy = (
            f"the nearest dwell is {nearest * 1e6:.6g} us" if nearest is not None else "no dwell time helps"
        )
        raise LimitError(
            f"{detail}, whatever the pulse, with dwell={self.readout.dwell * 1e6:.6g} us; {remedy}",
            limit=name,
            nearest=nearest,
        )

    def _check_dwell(self) -> None:
        raster, dwell = self.scanner.adc_raster, self.readout.dwell
        n_steps = dwell / raster
        if abs(n_steps - round(n_steps)) > 1e-6 or round(n_steps) < 1:
            nearest = max(1, round(n_steps)) * raster
            raise LimitError(
                f"dwell={dwell * 1e6:.6g} us is no multiple of the ADC raster of {raster * 1e6:.6g} us; "
                f"the nearest dwell is {nearest * 1e6:.6g} us",
                limit="dwell",
                nearest=nearest,
            )

    def _fault(self) -> tuple[str, str] | None:
        """Name of the limit that the gradients break, and how."""
        scanner = self.scanner
        if self.readout.is_straight:
            amplitude, slew, deviation = (
                np.linalg.norm(self.readout.straight_gradients, axis=1).max(),
                0.0,
                0.0,
            )
        else:
            played = [self.waveforms(shift) for shift in self._shifts]
            amplitude = max(np.linalg.norm(waveforms.samples, axis=-1).max() for waveforms in played)
            slew = max(waveforms.slew for waveforms in played)
            deviation = max(waveforms.deviation for waveforms in played) / self.readout.step
        return broken_limit(scanner, amplitude, slew, deviation)

    def _nearest_dwell(self) -> float | None:
        """Shortest feasible dwell time above this one [s], by doubling and bisection."""

        def feasible(n_steps: int) -> bool:
            readout = replace(self.readout, dwell=n_steps * raster)
            return Acquisition(readout, self.scanner)._fault() is None

        raster = self.scanner.adc_raster
        below = round(self.readout.dwell / raster)
        above = 2 * below
        while not feasible(above):
            below, above = above, 2 * above
            if above * raster > _MAX_DWELL:
                return None
        while above - below > 1:
            middle = (below + above) // 2
            below, above = (below, middle) if feasible(middle) else (middle, above)
        return above * raster
