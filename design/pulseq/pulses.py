"""RF pulses of a Pulseq file: when, how strong, at which phase, and the one pulse that they share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from design.pulseq.blocks import AXES, Blocks, RFEvent
from design.pulseq.moments import Moments
from epgbloch import RFPulse
from epgbloch.constants import GAMMA_BAR

_SAME_WAVEFORM = 1e-3  # of the largest sample; shapes in old files have 6 digits
_SAME_GRADIENT = 1e-3  # of the largest gradient; amplitudes in the file have 6 digits
_SAME_POSITION = 1e-2  # of a slice thickness
_INVERSION = np.deg2rad(150.0), np.deg2rad(210.0)
_LARGEST_MISMATCH = 3.0  # between the slice thickness of the definitions and that of the pulse


@dataclass(frozen=True)
class PlayedPulse:
    """One RF pulse.

    Attributes
    ----------
    block : int
        Number of its block.
    start, center, end : float
        When it starts, acts and ends [s].
    flip_angle, phase : float
        Flip angle of a spin that the carrier is resonant with, and phase at the centre [rad].
    event : RFEvent
        Its event.
    """

    block: int
    start: float
    center: float
    end: float
    flip_angle: float
    phase: float
    event: RFEvent

    def __str__(self) -> str:
        angle = f"{np.rad2deg(self.flip_angle):.4g} degrees"
        use = "" if self.event.use == "undefined" else f", use {self.event.use}"
        return f"RF pulse of block {self.block} ({angle}{use})"


def played_pulses(blocks: Blocks) -> list[PlayedPulse]:
    """All RF pulses in turn."""
    integrals = {number: event.step * event.samples.sum() for number, event in blocks.rf_events.items()}
    pulses = []
    for i_block in np.flatnonzero(blocks.rf):
        number = int(blocks.rf[i_block])
        event, integral = blocks.rf_events[number], integrals[number]
        start = float(blocks.start[i_block] + event.delay)
        carrier = event.phase_offset + 2 * np.pi * event.frequency_offset * (event.lead + event.center)
        pulses.append(
            PlayedPulse(
                block=int(blocks.number[i_block]),
                start=start,
                center=start + event.center,
                end=start + event.samples.size * event.step,
                flip_angle=float(2 * np.pi * abs(integral)),
                phase=float(np.round(carrier + np.angle(integral), 9) % (2 * np.pi)),
                event=event,
            )
        )
    return pulses


def is_inversion(pulse: PlayedPulse) -> bool:
    """Whether a pulse before the train inverts: it says so, or says nothing and turns by 150 degrees or more.

    A pulse of changing phase (adiabatic) counts as an inversion if its magnitude alone would turn by more
    than that.
    """
    event = pulse.event
    if event.use != "undefined":
        return event.use == "inversion"
    if _INVERSION[0] <= pulse.flip_angle <= _INVERSION[1]:
        return True
    return is_adiabatic(event)


def is_adiabatic(event: RFEvent) -> bool:
    """Whether the phase of a pulse sweeps, and its magnitude alone would turn by 150 degrees or more."""
    strongest = event.samples[np.argmax(np.abs(event.samples))]
    turned = event.samples * np.conj(strongest)
    # Lobes of a sinc have opposite signs; other phases come from a sweep of the frequency.
    swept = np.abs(turned.imag).sum() > 0.1 * np.abs(turned).sum()
    return bool(swept and 2 * np.pi * event.step * np.abs(event.samples).sum() >= _INVERSION[0])


def common_pulse(
    train: list[PlayedPulse], first: PlayedPulse, moments: Moments, slice_thickness: float | None
) -> tuple[RFPulse, int | None]:
    """The RF pulse that a train shares up to flip angle and phase, and the axis of its slice gradient.

    Parameters
    ----------
    train : list of PlayedPulse
        The pulses.
    first : PlayedPulse
        One of the train that excites.
    moments : Moments
        Gradients of the file.
    slice_thickness : float or None
        Nominal slice thickness [m]; None: the full width at half maximum of the small-tip profile.

    Returns
    -------
    pulse : RFPulse
        Waveform, slice gradient and thickness.
    axis : int or None
        Axis of the slice gradient; None: there is none.

    Raises
    ------
    ValueError
        If a pulse has another waveform, gradient or position than `first`, its gradient changes during the
        pulse or is oblique, or the thickness contradicts the profile.
    """
    _check_waveforms(train, first)
    gradient, axis = _slice_gradient(train, moments)
    if axis is None:
        off = next((pulse for pulse in train if abs(pulse.event.frequency_offset) > 1e-3), None)
        if off is not None:
            raise ValueError(
                f"the {off} has no slice gradient, but a frequency offset of "
                f"{off.event.frequency_offset:.6g} Hz, which the model does not have; remove the offset"
            )
    event = first.event
    waveform = event.samples * np.exp(-1j * np.angle(event.samples.sum()))
    if np.abs(waveform.imag).max() <= 1e-6 * np.abs(waveform).max():
        waveform = waveform.real
    duration = round(event.samples.size * event.step, 12)
    width = _half_maximum_width(waveform, event.step)
    center = round(min(max(event.center, 0.0), duration), 12)
    if axis is None:
        return RFPulse(waveform, duration, width, None, center, "pulseq"), None
    measured = width / gradient
    thickness = measured if slice_thickness is None else slice_thickness
    if not 1 / _LARGEST_MISMATCH <= thickness / measured <= _LARGEST_MISMATCH:
        raise ValueError(
            f"the slice thickness {thickness:.6g} m contradicts the pulse and its gradient, which select "
            f"{measured:.3g} m; correct the definition SliceThickness (in metres)"
        )
    _check_positions(train, gradient, thickness)
    return RFPulse(waveform, duration, gradient * thickness, thickness, center, "pulseq"), axis


def mean_square_b1(blocks: Blocks) -> float:
    """Integral of B1+ squared over the file [T^2 s]."""
    energies = {
        number: event.step * float(np.sum(np.abs(event.samples) ** 2))
        for number, event in blocks.rf_events.items()
    }
    return sum(energies[int(number)] for number in blocks.rf if number) / GAMMA_BAR**2


def _check_waveforms(train: list[PlayedPulse], first: PlayedPulse) -> None:
    expected = first.event.samples / first.event.samples.sum()
    limit = _SAME_WAVEFORM * np.abs(expected).max()
    known: dict[int, bool] = {}
    for pulse in train:
        event = pulse.event
        if id(event) not in known:
            same = event.samples.size == expected.size and abs(event.step / first.event.step - 1) < 1e-6
            same = same and abs(event.center - first.event.center) <= event.step
            if same and pulse.flip_angle > 0:
                same = bool(np.abs(event.samples / event.samples.sum() - expected).max() <= limit)
            known[id(event)] = same or pulse.flip_angle == 0
        if not known[id(event)]:
            raise ValueError(
                f"the {pulse} has another waveform than that of block {first.block}; only an inversion "
                "before the train may; other preparations and refocusing pulses are not supported"
            )


def _slice_gradient(train: list[PlayedPulse], moments: Moments) -> tuple[float, int | None]:
    """Slice gradient [Hz/m] and its axis."""
    starts, ends = np.array([(pulse.start, pulse.end) for pulse in train]).T
    inner = np.linspace(0.001, 0.999, 17)  # not at its ends, where ramps begin
    gradients = moments.gradient(starts[:, np.newaxis] + inner * (ends - starts)[:, np.newaxis])
    largest = np.abs(gradients).max()
    if largest == 0:
        return 0.0, None
    expected = gradients[0, 8]
    bad = np.abs(gradients - expected).max(axis=(1, 2)) > _SAME_GRADIENT * largest
    if bad.any():
        i_pulse = int(np.argmax(bad))
        changes = np.ptp(gradients[i_pulse], axis=0).max() > _SAME_GRADIENT * largest
        raise ValueError(
            f"the gradient during the {train[i_pulse]} "
            + ("changes" if changes else f"is not that of block {train[0].block}")
            + "; only a constant slice gradient is supported, the same for all pulses of the train"
        )
    axis = int(np.argmax(np.abs(expected)))
    if np.abs(np.delete(expected, axis)).max() > _SAME_GRADIENT * largest:
        values = ", ".join(f"g{name} {value:.4g}" for name, value in zip(AXES, expected, strict=True))
        raise ValueError(
            f"the slice gradient of block {train[0].block} is oblique ({values} Hz/m); play it along "
            "x, y or z"
        )
    return float(abs(expected[axis])), axis


def _check_positions(train: list[PlayedPulse], gradient: float, thickness: float) -> None:
    for pulse in train:
        shift = (pulse.event.frequency_offset - train[0].event.frequency_offset) / gradient
        if abs(shift) > _SAME_POSITION * thickness:
            raise ValueError(
                f"the {pulse} excites a slice {1e3 * abs(shift):.4g} mm from that of block {train[0].block}; "
                "give a file of one slice"
            )


def _half_maximum_width(waveform: NDArray[np.float64 | np.complex128], step: float) -> float:
    """Width [Hz] around 0 in which the spectrum is at least half of its value at 0."""
    n_points = 1 << int(np.ceil(np.log2(64 * waveform.size)))
    spectrum = np.abs(np.fft.fft(waveform, n_points))
    spectrum *= np.abs(np.sinc(np.fft.fftfreq(n_points)))
    half = spectrum[0] / 2
    spacing = 1 / (n_points * step)
    widths = []
    for side in (spectrum, np.roll(spectrum[::-1], 1)):
        i = int(np.argmax(side[: n_points // 2] < half))
        widths.append(i - (half - side[i]) / (side[i - 1] - side[i]) if i else n_points / 2)
    return float(sum(widths) * spacing)
