"""Gradients, the pulse on the raster, and the inversion pulse, each against an independent calculation."""

import numpy as np
import pytest

from design.pulseq.excitation import pulse_on_raster
from design.pulseq.gradients import shortest_trapezoid, waveforms_through
from design.pulseq.inversion import Inversion
from epgbloch import EPGBloch, RFPulse, Sequence, Tissue

RASTER, MAX_AMPLITUDE, MAX_SLEW = 10e-6, 1.2e6, 6e9


@pytest.mark.parametrize("area", [0.0, 0.1, 5.0, 100.0, 239.0, 241.0, 1000.0, -1000.0])
def test_trapezoid_keeps_to_the_limits(area):
    shape = shortest_trapezoid(area, MAX_AMPLITUDE, MAX_SLEW, RASTER)
    amplitude = abs(float(shape.amplitude(area)))
    assert amplitude <= MAX_AMPLITUDE * (1 + 1e-9)
    assert amplitude / shape.rise <= MAX_SLEW * (1 + 1e-9)
    assert amplitude * (shape.rise + shape.flat) == pytest.approx(abs(area))
    for time in (shape.rise, shape.flat, shape.duration):
        assert time / RASTER == pytest.approx(round(time / RASTER), abs=1e-6)
    # without raster: a triangle, or ramps at the slew limit; the raster costs two steps or less
    peak = min(MAX_AMPLITUDE, np.sqrt(abs(area) * MAX_SLEW))
    least = abs(area) / peak + peak / MAX_SLEW if area else 0.0
    assert least - 1e-9 <= shape.duration <= least + 2 * RASTER + 1e-9
    longer = shape.lasting(shape.duration + 5 * RASTER)
    assert longer.duration == pytest.approx(shape.duration + 5 * RASTER)
    assert abs(longer.amplitude(area)) <= amplitude


def test_waveforms_pass_the_positions():
    """A circle: the area of the linear interpolation between the samples, summed on a fine grid."""
    dwell, start, n_samples = 7e-6, 103.5e-6, 120
    angle = np.linspace(0, 3, n_samples)
    k = 80 * np.stack([np.sin(angle), 1 - np.cos(angle)], axis=-1)
    positions = np.stack([k, k[:, ::-1]])
    n_steps = 110
    made = waveforms_through(positions, dwell, start, n_steps=n_steps, n_ramps=(9, 9), raster=RASTER)
    assert made.samples.shape == (2, n_steps, 2)
    fine = np.linspace(0, n_steps * RASTER, 200 * n_steps + 1)
    knots = np.r_[0, (np.arange(n_steps) + 0.5) * RASTER, n_steps * RASTER]
    for i_readout in range(2):
        for axis in range(2):
            values = np.interp(fine, knots, np.r_[0, made.samples[i_readout, :, axis], 0])
            area = np.r_[0, np.cumsum((values[1:] + values[:-1]) / 2 * np.diff(fine))]
            at = np.interp(start + dwell * np.arange(n_samples), fine, area)
            # interpolation on the fine grid
            assert at[0] == pytest.approx(made.before[i_readout, axis], abs=1e-4)
            assert area[-1] == pytest.approx(made.area[i_readout, axis], abs=1e-4)
            played = at - at[0] + positions[i_readout, 0, axis]
            np.testing.assert_allclose(
                played, positions[i_readout, :, axis], rtol=0, atol=made.deviation + 1e-4
            )
    # a circle of 80 / m is smooth on this raster; 1e-2 of a step of 4.5 / m are allowed
    assert made.deviation < 0.01
    slew = np.linalg.norm(np.diff(made.samples, axis=1), axis=-1).max() / RASTER
    assert made.slew >= slew * (1 - 1e-12)


def test_pulse_that_fits_the_raster_stays():
    pulse = RFPulse.gaussian(1e-3, 3e-3)
    assert pulse_on_raster(pulse, 1e-6) is pulse


@pytest.mark.parametrize("n_steps", [77, 200])
def test_pulse_on_the_raster_has_the_same_profile(n_steps):
    angle = np.linspace(-1, 1, n_steps)
    waveform = np.cos(angle * np.pi / 2) * np.exp(1j * angle**2)
    pulse = RFPulse.from_samples(waveform, 1.00033e-3, 3e3, 3e-3, center=0.45e-3)
    played = pulse_on_raster(pulse, 2e-6)
    assert played.n_steps == 500
    assert played.duration == pytest.approx(1e-3)
    assert played.bandwidth * played.duration == pytest.approx(pulse.bandwidth * pulse.duration)
    assert played.center / played.duration == pytest.approx(pulse.center / pulse.duration)
    # the integral of the waveform over a tenth of the pulse at a time
    parts = [
        np.add.reduceat(each.step_rotation, np.arange(0, each.n_steps, each.n_steps // 5)[:5])
        for each in (played, pulse)
    ]
    if n_steps == 200:
        np.testing.assert_allclose(*parts, rtol=1e-12)
    signals = [
        EPGBloch().signal(
            Sequence([0.5, 1.0, 0.7], tr=9e-3, te=4e-3, pulse=each), Tissue(t1=[0.9], t2=[0.08])
        )
        for each in (pulse, played)
    ]
    # steps of 5 or 13 us against 2 us, and 0.3 us of the pulse
    np.testing.assert_allclose(*signals, rtol=0, atol=3e-4)


def rotated(samples, raster, off_resonance, scale):
    """Mz of equilibrium magnetisation after the pulse, by spinors."""
    up, down = 1.0 + 0j, 0.0 + 0j
    for sample in samples:
        x, y = 2 * np.pi * raster * scale * sample.real, 2 * np.pi * raster * scale * sample.imag
        z = 2 * np.pi * raster * off_resonance
        angle = np.sqrt(x * x + y * y + z * z)
        cosine, sine = np.cos(angle / 2), np.sin(angle / 2) / angle
        up, down = (
            (cosine - 1j * z * sine) * up + (-1j * x - y) * sine * down,
            (-1j * x + y) * sine * up + (cosine + 1j * z * sine) * down,
        )
    return abs(up) ** 2 - abs(down) ** 2


@pytest.mark.parametrize("scale", [0.8, 1.0, 1.3])
@pytest.mark.parametrize("off_resonance", [-300.0, 0.0, 300.0])
def test_adiabatic_pulse_inverts(off_resonance, scale):
    # twice the amplitude that is just adiabatic; the ends, cut at 3.7 %, cost up to 1.5 % of the inversion
    samples = Inversion().samples(10e-6)
    assert rotated(samples, 10e-6, off_resonance, scale) < -0.97


def test_adiabatic_pulse_spares_what_is_outside():
    assert rotated(Inversion().samples(10e-6), 10e-6, 1500.0, 1.0) > 0.9


def test_block_pulse_inverts_on_resonance_only():
    samples = Inversion("block", 1e-3).samples(1e-6)
    assert samples.size == 1000
    assert rotated(samples, 1e-6, 0.0, 1.0) == pytest.approx(-1)
    assert rotated(samples, 1e-6, 0.0, 0.8) == pytest.approx(np.cos(0.8 * np.pi))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "sinc"}, "kind='sinc' must be one of adiabatic, block"),
        ({"duration": 0.0}, "duration=0 must be positive"),
        ({"spoiler_cycles": -1.0}, "spoiler_cycles=-1 must be positive"),
    ],
)
def test_bad_inversions_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Inversion(**values)
