"""The inversion before the train: its pulse and its spoiler."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from design.errors import LimitError
from design.pulseq.gradients import Trapezoid, round_up, shortest_trapezoid
from design.pulseq.scanner import Scanner
from epgbloch._checks import positive_number
from epgbloch.constants import GAMMA_BAR

KINDS = ("adiabatic", "block")
_CUTOFF = 4.0
"""Half the length of the hyperbolic secant times beta: its ends are at 3.7 % of the peak."""
_MU = 4.9
_ADIABATICITY = 4.0
_ROUNDING = 1e-9
"""Relative room for rounding errors at limits."""


@dataclass(frozen=True)
class Inversion:
    """A non-selective inversion pulse with a spoiler on all three axes after it.

    Parameters
    ----------
    kind : {"adiabatic", "block"}
        "adiabatic": a hyperbolic secant with mu = 4.9 and beta = 8 / duration, and twice the amplitude that
        is just adiabatic at resonance; its sweep is 1248 Hz x 10 ms / duration wide. "block": 180 degrees
        with constant amplitude.
    duration : float
        Length of the pulse [s].
    spoiler_cycles : float
        Turns of the magnetisation by the spoiler over one slice thickness, on each axis.

    Raises
    ------
    ValueError
        If the kind is unknown or a number not positive.

    References
    ----------
    Baum, Tycko, Pines 1985, Phys Rev A 32:3435, doi 10.1103/PhysRevA.32.3435.
    """

    kind: str = "adiabatic"
    duration: float = 10e-3
    spoiler_cycles: float = 8.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind={self.kind!r} must be one of {', '.join(KINDS)}")
        for name, unit in (("duration", "seconds"), ("spoiler_cycles", "turns")):
            object.__setattr__(self, name, positive_number(name, getattr(self, name), unit))

    def samples(self, raster: float) -> NDArray[np.complex128]:
        """RF amplitude [Hz] in the middle of each step of `raster`."""
        n_steps = max(1, round(self.duration / raster))
        if self.kind == "block":
            return np.full(n_steps, 0.5 / (n_steps * raster), np.complex128)
        time = (np.arange(n_steps) + 0.5 - n_steps / 2) / n_steps * 2 * _CUTOFF  # in units of 1 / beta
        beta = 2 * _CUTOFF / (n_steps * raster)
        peak = beta * np.sqrt(_MU * _ADIABATICITY) / (2 * np.pi)
        # sech(x) exp(-i mu ln cosh x): the frequency sweeps as -mu beta tanh x
        return peak / np.cosh(time) * np.exp(-1j * _MU * np.log(np.cosh(time)))


@dataclass(frozen=True, eq=False)
class PlayedInversion:
    """The blocks of the inversion and of its spoiler. Times are seconds from the start of the first.

    The pulse starts at `start`, or later by a shift of less than the block raster, in steps of the RF raster.

    Parameters
    ----------
    inversion : Inversion
        What to play.
    scanner : Scanner
        What plays it.
    slice_thickness : float
        Slice thickness [m], for the spoiler.
    """

    inversion: Inversion
    scanner: Scanner
    slice_thickness: float

    @cached_property
    def samples(self) -> NDArray[np.complex128]:
        """RF amplitude [Hz] on the RF raster."""
        return self.inversion.samples(self.scanner.rf_raster)

    @cached_property
    def duration(self) -> float:
        """Length of the pulse."""
        return self.samples.size * self.scanner.rf_raster

    @cached_property
    def start(self) -> float:
        """Start of the pulse without shift."""
        return round_up(self.scanner.rf_dead_time, self.scanner.rf_raster)

    @cached_property
    def block(self) -> float:
        """Length of the block of the pulse."""
        shift = self.scanner.block_raster - self.scanner.rf_raster
        end = self.start + shift + self.duration + self.scanner.rf_ringdown_time
        return round_up(end, self.scanner.block_raster)

    @cached_property
    def spoiler_area(self) -> float:
        """Area of the spoiler on each axis [1/m]."""
        return self.inversion.spoiler_cycles / self.slice_thickness

    @cached_property
    def spoiler(self) -> Trapezoid:
        """Spoiler, the same on all axes; together they keep to the limits."""
        part = 1 / np.sqrt(3)
        return shortest_trapezoid(
            self.spoiler_area,
            part * self.scanner.max_amplitude,
            part * self.scanner.max_slew_rate,
            self.scanner.gradient_raster,
        )

    @cached_property
    def spoiler_block(self) -> float:
        """Length of the block of the spoiler."""
        return round_up(self.spoiler.duration, self.scanner.block_raster)

    def check(self) -> None:
        """Raise a LimitError if the pulse needs too much B1."""
        peak, limit = float(np.abs(self.samples).max()) / GAMMA_BAR, self.scanner.max_b1
        if peak > limit * (1 + _ROUNDING):
            raster = self.scanner.rf_raster
            n_steps = int(np.ceil(self.samples.size * peak / limit))
            while (
                np.abs(replace(self.inversion, duration=n_steps * raster).samples(raster)).max()
                > limit * GAMMA_BAR
            ):
                n_steps += 1  # the sample nearest to the peak depends a little on the number of steps
            raise LimitError(
                f"B1 peak={peak * 1e6:.4g} uT of the inversion exceeds the {limit * 1e6:.4g} uT of the "
                f"scanner; the nearest duration of the inversion is {n_steps * raster * 1e3:.6g} ms",
                limit="B1 peak of the inversion",
                nearest=n_steps * raster,
            )
