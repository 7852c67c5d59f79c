"""The RF pulse as it is played: on the RF raster, with its slice gradient."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from design.errors import LimitError
from design.pulseq.gradients import Trapezoid, ramp_steps, round_up
from design.pulseq.scanner import Scanner
from epgbloch import RFPulse
from epgbloch.constants import GAMMA_BAR

_ROUNDING = 1e-9
"""Relative room for rounding errors at limits."""


@dataclass(frozen=True, eq=False)
class Excitation:
    """The block of the RF pulse. Times are seconds from its start.

    Parameters
    ----------
    pulse : RFPulse
        Pulse on the RF raster: slice-selective, as from `pulse_on_raster`, or without slice, whose gradient
        is 0.
    scanner : Scanner
        What plays it.
    """

    pulse: RFPulse
    scanner: Scanner

    @cached_property
    def amplitude(self) -> float:
        """Slice-select gradient [Hz/m]."""
        return self.pulse.gradient * GAMMA_BAR

    @cached_property
    def trapezoid(self) -> Trapezoid:
        """Slice-select gradient; its flat top begins with the pulse."""
        raster = self.scanner.gradient_raster
        n_rise = ramp_steps(self.amplitude, self.scanner.max_slew_rate, raster)
        return Trapezoid(round(n_rise * raster, 12), round_up(self.pulse.duration, raster))

    @cached_property
    def start(self) -> float:
        """Start of the pulse."""
        return round_up(max(self.scanner.rf_dead_time, self.trapezoid.rise), self.scanner.gradient_raster)

    @cached_property
    def centre(self) -> float:
        """Centre of the pulse."""
        return self.start + float(self.pulse.center)  # type: ignore[arg-type]  # set in __post_init__

    @cached_property
    def block(self) -> float:
        """Length of the block."""
        end = max(
            self.start + self.trapezoid.flat + self.trapezoid.rise,
            self.start + self.pulse.duration + self.scanner.rf_ringdown_time,
        )
        return round_up(end, self.scanner.block_raster)

    @cached_property
    def area_before(self) -> float:
        """Area of the slice gradient up to the centre of the pulse [1/m]."""
        return self.amplitude * (self.trapezoid.rise / 2 + self.centre - self.start)

    @cached_property
    def area_after(self) -> float:
        """Area of the slice gradient from the centre of the pulse on [1/m]."""
        return self.amplitude * (self.trapezoid.rise + self.trapezoid.flat) - self.area_before

    @cached_property
    def shape(self) -> NDArray[np.complex128]:
        """RF samples [Hz] that turn by 1 rad."""
        pulse = self.pulse
        n_repeats = round(pulse.duration / self.scanner.rf_raster / pulse.n_steps)
        return np.repeat(pulse.step_rotation, n_repeats) / (2 * np.pi * pulse.duration / pulse.n_steps)

    @cached_property
    def max_flip_angle(self) -> float:
        """Largest flip angle within the limit of B1 [rad]."""
        return self.scanner.max_b1 * GAMMA_BAR / float(np.abs(self.shape).max())

    def _slower(self, ratio: float) -> float:
        """Duration [ms] of the pulse slowed down by `ratio`, on the RF raster."""
        return round_up(self.pulse.duration * ratio, self.scanner.rf_raster) * 1e3

    def check(self) -> None:
        """Raise a LimitError if the slice gradient is too strong."""
        pulse, limit = self.pulse, self.scanner.max_gradient
        if pulse.gradient > limit * (1 + _ROUNDING):
            ratio = pulse.gradient / limit
            thickness = pulse.slice_thickness * ratio * (1 + _ROUNDING)  # type: ignore[operator]
            raise LimitError(
                f"slice gradient={pulse.gradient * 1e3:.4g} mT/m of every pulse exceeds the "
                f"{limit * 1e3:.4g} mT/m of the scanner; the nearest slice_thickness is "
                f"{thickness * 1e3:.6g} mm, or the same shape in {self._slower(ratio):.6g} ms",
                limit="slice gradient",
                nearest=thickness,
            )

    def check_b1(self, flip_angles: NDArray[np.float64]) -> None:
        """Raise a LimitError if the largest flip angle needs too much B1."""
        i_pulse = int(flip_angles.argmax())
        flip_angle = float(flip_angles[i_pulse])
        if flip_angle > self.max_flip_angle * (1 + _ROUNDING):
            ratio = flip_angle / self.max_flip_angle
            raise LimitError(
                f"B1 peak={ratio * self.scanner.max_b1 * 1e6:.4g} uT at pulse {i_pulse} exceeds the "
                f"{self.scanner.max_b1 * 1e6:.4g} uT of the scanner; the nearest flip_angle is "
                f"{self.max_flip_angle:.6g} rad ({np.rad2deg(self.max_flip_angle):.4g} degrees), or the same "
                f"shape in {self._slower(ratio):.6g} ms",
                limit="B1 peak",
                nearest=self.max_flip_angle,
            )


def pulse_on_raster(pulse: RFPulse | None, raster: float) -> RFPulse:
    """Return the pulse in steps of `raster`, its duration rounded to a whole number of them.

    Every step has the mean of the waveform over its time, so that the flip angle stays. Where the duration
    changes, time is stretched and the bandwidth is scaled against it: the slice profile stays. A pulse whose
    steps are whole numbers of raster steps is returned as it is: it is played exactly.

    Raises
    ------
    ValueError
        If the pulse is not slice-selective.
    """
    if not isinstance(pulse, RFPulse) or pulse.slice_thickness is None:
        what = "no slice thickness" if isinstance(pulse, RFPulse) else f"the value {pulse!r}"
        raise ValueError(
            f"pulse has {what}: it must be a slice-selective RFPulse to be played out; "
            "try RFPulse.gaussian(duration, slice_thickness)"
        )
    n_steps = max(1, round(pulse.duration / raster))
    duration = n_steps * raster
    if abs(duration - pulse.duration) < 1e-12 and n_steps % pulse.n_steps == 0:
        return pulse
    sums = np.concatenate([[0], np.cumsum(pulse.waveform)])
    edges, knots = np.linspace(0, 1, n_steps + 1), np.linspace(0, 1, pulse.n_steps + 1)
    cumulative = np.interp(edges, knots, sums.real)
    if np.iscomplexobj(sums):
        cumulative = cumulative + 1j * np.interp(edges, knots, sums.imag)
    stretch = duration / pulse.duration
    return replace(
        pulse,
        waveform=np.diff(cumulative) * n_steps / pulse.n_steps,
        duration=duration,
        bandwidth=pulse.bandwidth / stretch,
        center=pulse.center * stretch,  # type: ignore[operator]
    )
