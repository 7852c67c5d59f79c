"""Slice-selective RF pulses: waveform, duration and slice-select gradient."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from epgbloch._checks import positive_number, real_number, require_count, rounded_bytes
from epgbloch.constants import GAMMA_BAR

RECT_FWHM = 1.206709
"""Full width at half maximum of |sinc|, the spectrum of a rectangular pulse, times its duration."""


@dataclass(frozen=True, eq=False)
class RFPulse:
    """RF pulse of finite duration, piecewise constant in equal steps, with its slice-select gradient.

    The flip angle is not part of the pulse: `Sequence.flip_angle` scales the waveform such that an
    on-resonance spin in the middle of the slice turns by the flip angle (times B1). The slice gradient
    is rewound completely on both sides of the pulse centre, so that TE and TR count from the centre.

    Parameters
    ----------
    waveform : array_like, shape (n_steps,), float64 or complex128
        Relative B1 amplitude in the middle of each step. The sum may not vanish.
    duration : float
        Length of the pulse [s].
    bandwidth : float
        Frequency range [Hz] that the slice-select gradient spreads over the slice thickness.
    slice_thickness : float or None
        Nominal slice thickness [m]; None: no slice-select gradient, a non-selective pulse.
    center : float or None
        Time from the start of the pulse to its effective centre [s]; None: half of the duration.
    name : str
        Shape name for reports.

    Raises
    ------
    ValueError
        If a number is not finite or positive, the waveform is not a vector of finite numbers or
        vanishes on average, or the centre lies outside the pulse.
    """

    waveform: NDArray[Any]
    duration: float
    bandwidth: float
    slice_thickness: float | None = None
    center: float | None = None
    name: str = "samples"

    def __post_init__(self) -> None:
        waveform = _finite_samples(self.waveform)
        if abs(waveform.sum()) <= 1e-6 * np.abs(waveform).sum():
            raise ValueError(
                "waveform sums to zero, so that no flip angle can be assigned; "
                "give a pulse that excites its centre frequency"
            )
        waveform.setflags(write=False)
        object.__setattr__(self, "waveform", waveform)
        for name, unit in (("duration", "seconds"), ("bandwidth", "Hz")):
            object.__setattr__(self, name, positive_number(name, getattr(self, name), unit))
        if self.slice_thickness is not None:
            thickness = positive_number("slice_thickness", self.slice_thickness, "metres")
            object.__setattr__(self, "slice_thickness", thickness)
        center = self.duration / 2 if self.center is None else real_number("center", self.center, "seconds")
        if not 0 <= center <= self.duration:
            raise ValueError(
                f"center={center:.6g} s must lie within duration={self.duration:.6g} s; "
                "use None for the middle of the pulse"
            )
        object.__setattr__(self, "center", center)

    @classmethod
    def gaussian(
        cls,
        duration: float,
        slice_thickness: float | None,
        *,
        time_bandwidth_product: float = 3.0,
        n_steps: int = 200,
    ) -> RFPulse:
        """Return a Gaussian pulse; `bandwidth` is the full width at half maximum of its spectrum.

        The standard deviation is sqrt(2 ln 2) / (pi bandwidth); the default time-bandwidth product of 3
        cuts the Gaussian at 4 standard deviations.
        """
        bandwidth = _bandwidth(duration, time_bandwidth_product)
        sigma = np.sqrt(2 * np.log(2)) / (np.pi * bandwidth)
        waveform = np.exp(-0.5 * (_step_times(duration, n_steps) / sigma) ** 2)
        return cls(waveform, duration, bandwidth, slice_thickness, name="gaussian")

    @classmethod
    def sinc(
        cls,
        duration: float,
        slice_thickness: float | None,
        *,
        time_bandwidth_product: float = 4.0,
        n_steps: int = 200,
    ) -> RFPulse:
        """Return a Hamming-windowed sinc pulse with time_bandwidth_product / 2 zero crossings a side."""
        bandwidth = _bandwidth(duration, time_bandwidth_product)
        times = _step_times(duration, n_steps)
        window = 0.54 + 0.46 * np.cos(2 * np.pi * times / duration)
        return cls(np.sinc(bandwidth * times) * window, duration, bandwidth, slice_thickness, name="sinc")

    @classmethod
    def rectangular(
        cls, duration: float, slice_thickness: float | None = None, *, n_steps: int = 200
    ) -> RFPulse:
        """Return a rectangular pulse; `bandwidth` is the full width at half maximum of its spectrum."""
        require_count("n_steps", n_steps)
        bandwidth = _bandwidth(duration, RECT_FWHM)
        return cls(np.ones(n_steps), duration, bandwidth, slice_thickness, name="rectangular")

    @classmethod
    def from_samples(
        cls,
        samples: ArrayLike,
        duration: float,
        bandwidth: float,
        slice_thickness: float | None,
        *,
        center: float | None = None,
    ) -> RFPulse:
        """Return a pulse from its samples (real or complex, equally spaced, piecewise constant)."""
        return cls(_finite_samples(samples), duration, bandwidth, slice_thickness, center)

    @property
    def n_steps(self) -> int:
        """Number of RF time steps."""
        return self.waveform.size

    @property
    def gradient(self) -> float:
        """Slice-select gradient amplitude [T/m]; 0 for a non-selective pulse."""
        if self.slice_thickness is None:
            return 0.0
        return self.bandwidth / (GAMMA_BAR * self.slice_thickness)

    @property
    def step_rotation(self) -> NDArray[np.complex128]:
        """Rotation in each step over the flip angle, shape (n_steps,); sums to 1.

        A real positive value turns the magnetisation from +z towards +x.
        """
        return self.waveform.astype(np.complex128) / self.waveform.sum()

    def fingerprint(self) -> str:
        """Return a hexadecimal SHA-256 of everything that affects the simulation."""
        thickness = -1.0 if self.slice_thickness is None else self.slice_thickness
        lengths = np.array([self.duration, self.center, thickness], dtype=np.float64)
        digest = hashlib.sha256(rounded_bytes(lengths, 1e-12))
        digest.update(rounded_bytes(self.bandwidth, 1e-6))
        digest.update(rounded_bytes(self.step_rotation, 1e-12))
        return digest.hexdigest()


def _finite_samples(value: ArrayLike) -> NDArray[Any]:
    """Return `value` as a float64 or complex128 vector."""
    try:
        samples = np.atleast_1d(np.asarray(value))
    except ValueError:  # rows of different lengths
        samples = np.empty(0)
    kind = samples.dtype.kind
    if kind not in "iufc" or samples.ndim != 1 or samples.size == 0 or not np.all(np.isfinite(samples)):
        raise ValueError("waveform must be a non-empty vector of finite numbers; check its values")
    return samples.astype(np.complex128 if kind == "c" else np.float64)


def _bandwidth(duration: float, time_bandwidth_product: float) -> float:
    product = positive_number("time_bandwidth_product", time_bandwidth_product, "")
    return product / positive_number("duration", duration, "seconds")


def _step_times(duration: float, n_steps: int) -> NDArray[np.float64]:
    require_count("n_steps", n_steps)
    return ((np.arange(n_steps) + 0.5) / n_steps - 0.5) * duration
