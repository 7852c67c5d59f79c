"""What a scanner can play: limits of amplitude, dead times, raster times."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from epgbloch._checks import positive_number, real_number
from epgbloch.constants import GAMMA_BAR

if TYPE_CHECKING:
    from pypulseq import Opts

_WHOLE = 1e-6
"""How far a ratio of two raster times may be from a whole number."""


@dataclass(frozen=True)
class Scanner:
    """Limits of a scanner and of the program on it that plays Pulseq files.

    Parameters
    ----------
    max_gradient : float
        Largest gradient amplitude [T/m], of the slice axis alone and of both in-plane axes together.
    max_slew : float
        Largest slew rate [T/m/s], likewise.
    max_b1 : float
        Largest B1 amplitude [T].
    rf_dead_time, rf_ringdown_time : float
        Time without other events before and after an RF pulse [s], within its block.
    adc_dead_time : float
        Time before and after an acquisition [s], within its block.
    rf_raster, gradient_raster, adc_raster, block_raster : float
        Raster [s] of RF samples and of delays of RF and ADC; of gradients; of dwell times; of the durations
        of blocks. The raster of blocks is a multiple of that of gradients, this one of that of RF, and the
        raster of RF one of 1 us, in which Pulseq files give delays.
    segment_gap : float
        Time [s] that the interpreter adds after every inversion and every TR. The file leaves it out, so that
        what is played has the TR that was asked for; the definition SegmentGap of the file tells readers.

    Raises
    ------
    ValueError
        If a value is not a positive number (dead times and gap: not negative), or the rasters do not fit.
    """

    max_gradient: float
    max_slew: float
    max_b1: float
    rf_dead_time: float
    rf_ringdown_time: float
    adc_dead_time: float
    rf_raster: float
    gradient_raster: float
    adc_raster: float
    block_raster: float
    segment_gap: float = 0.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("_time") or field.name == "segment_gap":
                number = real_number(field.name, value, "seconds")
                if number < 0:
                    raise ValueError(f"{field.name}={number:.6g} s must be at least 0")
            else:
                number = positive_number(field.name, value, "SI units")
            object.__setattr__(self, field.name, number)
        rasters = [("1 us", 1e-6)] + [
            (name, getattr(self, name)) for name in ("rf_raster", "gradient_raster", "block_raster")
        ]
        for (fine_name, fine), (name, raster) in pairwise(rasters):
            if abs(raster / fine - round(raster / fine)) > _WHOLE or round(raster / fine) < 1:
                raise ValueError(
                    f"{name}={raster:.9g} s must be a multiple of {fine_name}"
                    + ("" if fine == 1e-6 else f"={fine:.9g} s")
                    + ", or blocks and events do not fit together"
                )

    @property
    def max_amplitude(self) -> float:
        """Largest gradient amplitude [Hz/m], the unit of Pulseq."""
        return self.max_gradient * GAMMA_BAR

    @property
    def max_slew_rate(self) -> float:
        """Largest slew rate [Hz/m/s], the unit of Pulseq."""
        return self.max_slew * GAMMA_BAR

    def opts(self) -> Opts:
        """Return the limits as pypulseq takes them."""
        from pypulseq import Opts

        return Opts(
            max_grad=self.max_amplitude,
            grad_unit="Hz/m",
            max_slew=self.max_slew_rate,
            slew_unit="Hz/m/s",
            rf_dead_time=self.rf_dead_time,
            rf_ringdown_time=self.rf_ringdown_time,
            adc_dead_time=self.adc_dead_time,
            rf_raster_time=self.rf_raster,
            grad_raster_time=self.gradient_raster,
            adc_raster_time=self.adc_raster,
            block_duration_raster=self.block_raster,
            gamma=GAMMA_BAR,
        )


PRESETS = {
    "siemens": Scanner(
        max_gradient=28e-3,
        max_slew=150.0,
        max_b1=20e-6,
        rf_dead_time=100e-6,
        rf_ringdown_time=30e-6,
        adc_dead_time=10e-6,
        rf_raster=1e-6,
        gradient_raster=10e-6,
        adc_raster=100e-9,
        block_raster=10e-6,
    ),
    "ge": Scanner(
        max_gradient=40e-3,
        max_slew=150.0,
        max_b1=20e-6,
        rf_dead_time=100e-6,
        rf_ringdown_time=60e-6,
        adc_dead_time=40e-6,
        rf_raster=2e-6,
        gradient_raster=4e-6,
        adc_raster=2e-6,
        block_raster=4e-6,
        segment_gap=117e-6,
    ),
    "philips": Scanner(
        max_gradient=28e-3,
        max_slew=150.0,
        max_b1=20e-6,
        rf_dead_time=100e-6,
        rf_ringdown_time=20e-6,
        adc_dead_time=10e-6,
        rf_raster=1e-6,
        gradient_raster=10e-6,
        adc_raster=100e-9,
        block_raster=10e-6,
    ),
}
"""Limits of whole-body 3 T scanners, cautious ones (docs/pulseq.md has the sources); yours may differ."""


def preset(name: str, **values: Any) -> Scanner:
    """Return the preset "siemens", "ge" or "philips" with single values replaced.

    Raises
    ------
    ValueError
        If there is no such preset or no such value, or values do not fit.

    Examples
    --------
    >>> preset("siemens", max_gradient=40e-3).max_gradient
    0.04
    """
    if name not in PRESETS:
        raise ValueError(f"scanner={name!r} must be one of {', '.join(PRESETS)}; or give a Scanner")
    fields = [field.name for field in dataclasses.fields(Scanner)]
    for key in values:
        if key not in fields:
            raise ValueError(f"{key}={values[key]!r} is no value of a scanner; there are {', '.join(fields)}")
    return dataclasses.replace(PRESETS[name], **values)
