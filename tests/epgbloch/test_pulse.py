"""RF pulses: spectrum, gradient, normalisation, fingerprint, checks."""

from dataclasses import fields

import numpy as np
import pytest
from scipy.optimize import brentq

from epgbloch import RFPulse
from epgbloch.constants import GAMMA_BAR

DURATION, THICKNESS = 2e-3, 5e-3
SAMPLES = np.array([0.2 + 0.1j, 1.0 - 0.4j, 0.7, -0.1j])


def spectrum(pulse, frequency):
    """|Fourier transform| of the piecewise constant waveform, 1 at frequency 0."""
    step = pulse.duration / pulse.n_steps
    turns = frequency * step * np.arange(pulse.n_steps)
    waves = np.exp(-2j * np.pi * turns) * np.sinc(frequency * step)
    return abs(waves @ pulse.waveform / pulse.waveform.sum())


def half_maximum_width(pulse):
    return 2 * brentq(lambda f: spectrum(pulse, f) - 0.5, 0, 1.5 * pulse.bandwidth)


def gaussian(**changes):
    return RFPulse.gaussian(DURATION, THICKNESS, **changes)


@pytest.mark.parametrize(
    ("pulse", "rtol"),
    [
        (gaussian(n_steps=2000), 3e-5),  # cut at 4 standard deviations
        (gaussian(), 1e-4),  # steps: their error grows with the square of bandwidth x step
        (gaussian(time_bandwidth_product=5.0), 3e-4),
        (gaussian(n_steps=16), 1.2e-2),
        (RFPulse.gaussian(0.5e-3, None), 1e-4),
        (RFPulse.rectangular(DURATION), 1e-6),  # digits of RECT_FWHM
        (RFPulse.rectangular(DURATION, THICKNESS, n_steps=1), 1e-6),
        (RFPulse.sinc(DURATION, THICKNESS), 5e-3),  # Hamming window
        (RFPulse.sinc(DURATION, THICKNESS, time_bandwidth_product=10.0), 2e-3),
    ],
    ids=lambda value: f"{value.name}-{value.n_steps}" if isinstance(value, RFPulse) else "",
)
def test_bandwidth_is_the_full_width_at_half_maximum_of_the_spectrum(pulse, rtol):
    assert half_maximum_width(pulse) == pytest.approx(pulse.bandwidth, rel=rtol)


@pytest.mark.parametrize(
    ("make", "product"), [(RFPulse.gaussian, 3.0), (RFPulse.gaussian, 6.5), (RFPulse.sinc, 4.0)]
)
def test_time_bandwidth_product_sets_bandwidth_and_default(make, product):
    pulse = make(DURATION, THICKNESS, time_bandwidth_product=product)
    assert pulse.bandwidth == pytest.approx(product / DURATION, rel=1e-15)
    assert RFPulse.gaussian(1.0, None).bandwidth == 3
    assert RFPulse.sinc(1.0, None).bandwidth == 4


def test_default_gaussian_ends_at_4_standard_deviations():
    fine = gaussian(n_steps=20000)
    # FWHM x sigma = sqrt(2 ln 2) / pi puts the end at 4.002 sigma
    assert fine.waveform[[0, -1]] == pytest.approx(np.exp(-0.5 * 4.002**2), rel=2e-3)


@pytest.mark.parametrize("product", [2.0, 4.0, 7.0])
def test_sinc_crosses_zero_at_multiples_of_the_inverse_bandwidth(product):
    pulse = RFPulse.sinc(DURATION, THICKNESS, time_bandwidth_product=product, n_steps=1001)
    step = DURATION / 1001
    times = (np.arange(1001) - 500) * step
    crossings = times[np.flatnonzero(np.diff(np.sign(pulse.waveform)))] + step / 2
    # the outermost of an even product lies on the end of the pulse, outside of the samples
    n_inside = int(np.ceil(product / 2)) - 1
    orders = [k for k in range(-n_inside, n_inside + 1) if k]
    np.testing.assert_allclose(crossings, np.array(orders) / pulse.bandwidth, rtol=0, atol=step)
    assert pulse.waveform[500] == pulse.waveform.max() == 1
    assert spectrum(pulse, 0.0) == pytest.approx(1, rel=1e-12)


def test_sinc_has_a_hamming_window():
    n_steps = 50
    pulse = RFPulse.sinc(DURATION, THICKNESS, time_bandwidth_product=4.0, n_steps=n_steps)
    middle = (np.arange(n_steps) + 0.5) / n_steps  # of each step over the duration
    lobes = np.sin(4 * np.pi * (middle - 0.5)) / (4 * np.pi * (middle - 0.5))
    window = 0.54 - 0.46 * np.cos(2 * np.pi * middle)
    np.testing.assert_allclose(pulse.waveform, lobes * window, rtol=0, atol=1e-14)  # rounding


@pytest.mark.parametrize("thickness", [1e-3, 8e-3])
def test_gradient_spreads_the_bandwidth_over_the_slice(thickness):
    pulse = RFPulse.from_samples(SAMPLES, DURATION, 1500.0, thickness)
    assert pulse.gradient == pytest.approx(1500 / (42.576e6 * thickness), rel=1e-14)
    assert GAMMA_BAR * pulse.gradient * thickness == pytest.approx(pulse.bandwidth, rel=1e-14)


def test_non_selective_pulse_has_no_gradient():
    assert RFPulse.rectangular(DURATION).gradient == 0
    assert gaussian().gradient > 0


@pytest.mark.parametrize("samples", [SAMPLES, [1.0], [1, 2, -0.5], 3 * np.exp(0.7j) * SAMPLES])
def test_step_rotation_sums_to_1_and_follows_the_waveform(samples):
    rotation = RFPulse.from_samples(samples, DURATION, 1500.0, None).step_rotation
    assert rotation.dtype == np.complex128
    assert rotation.sum() == pytest.approx(1, abs=1e-14)  # rounding
    np.testing.assert_allclose(rotation * np.sum(samples), samples, rtol=0, atol=1e-14)


def test_centre_defaults_to_the_middle_and_numbers_become_floats():
    pulse = RFPulse(np.float32([1, 2]), np.float32(0.5), 4, np.int64(1))
    assert pulse.waveform.dtype == np.float64
    assert [
        type(getattr(pulse, name)) for name in ("duration", "bandwidth", "slice_thickness", "center")
    ] == [float] * 4
    assert pulse.center == 0.25
    assert RFPulse([1], 1.0, 1.0, center=0.0).center == 0


def test_waveform_is_a_read_only_copy():
    samples = np.ones(3)
    pulse = RFPulse(samples, DURATION, 1500.0)
    samples[0] = 9
    assert pulse.waveform[0] == 1
    with pytest.raises(ValueError, match="read-only"):
        pulse.waveform[0] = 2


VALUES = {
    "waveform": SAMPLES,
    "duration": DURATION,
    "bandwidth": 1500.0,
    "slice_thickness": THICKNESS,
    "center": 0.9e-3,
    "name": "samples",
}
CHANGES = {
    "waveform": SAMPLES.conj(),
    "duration": 2.1e-3,
    "bandwidth": 1500.1,
    "slice_thickness": None,
    "center": 0.8e-3,
}


def test_equal_pulses_have_equal_fingerprints():
    fingerprint = RFPulse(**VALUES).fingerprint()
    assert fingerprint == RFPulse(**VALUES).fingerprint()
    assert fingerprint == RFPulse(**VALUES | {"name": "other"}).fingerprint()  # no effect on the signal
    assert len(fingerprint) == 64


def test_negative_zeros_do_not_change_the_fingerprint():
    pulses = [RFPulse([1, zero, 2j + zero], 1.0, 1.0, center=zero) for zero in (0.0, -0.0)]
    assert pulses[0].fingerprint() == pulses[1].fingerprint()


@pytest.mark.parametrize("name", [field.name for field in fields(RFPulse) if field.name != "name"])
def test_every_field_changes_the_fingerprint(name):
    changed = RFPulse(**VALUES | {name: CHANGES[name]})
    assert changed.fingerprint() != RFPulse(**VALUES).fingerprint()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"waveform": []}, "waveform must be a non-empty vector of finite numbers"),
        ({"waveform": [1, np.nan]}, "waveform must be a non-empty vector of finite"),
        ({"waveform": [1, np.inf * 1j]}, "waveform must be a non-empty vector of finite"),
        ({"waveform": [[1, 2]]}, "waveform must be a non-empty vector"),
        ({"waveform": [[1], [1, 2]]}, "waveform must be a non-empty vector"),
        ({"waveform": "gaussian"}, "waveform must be a non-empty vector of finite numbers"),
        ({"waveform": [1, -1]}, "waveform sums to zero, .* give a pulse that excites"),
        ({"waveform": [0.0]}, "waveform sums to zero"),
        ({"waveform": [1, 1j, -1, -1j]}, "waveform sums to zero"),
        ({"duration": 0}, "duration=0 must be positive; give it in seconds"),
        ({"duration": -1e-3}, r"duration=-0\.001 must be positive"),
        ({"duration": np.nan}, "duration=nan is not finite"),
        ({"duration": None}, "duration=None is not numeric"),
        ({"duration": [1e-3, 2e-3]}, "duration has 2 values; give one number"),
        ({"bandwidth": -3}, "bandwidth=-3 must be positive; give it in Hz"),
        ({"bandwidth": np.inf}, "bandwidth=inf is not finite"),
        ({"slice_thickness": 0.0}, "slice_thickness=0 must be positive; give it in metres"),
        ({"slice_thickness": np.inf}, "slice_thickness=inf is not finite"),
        ({"center": 2.1e-3}, r"center=0\.0021 s must lie within duration=0\.002 s; use None"),
        ({"center": -1e-6}, r"center=-1e-06 s must lie within"),
        ({"center": np.nan}, "center=nan is not finite"),
        ({"center": "middle"}, "center='middle' is not numeric; give real numbers in seconds"),
    ],
)
def test_bad_values_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        RFPulse(**VALUES | changes)


@pytest.mark.parametrize("make", [RFPulse.gaussian, RFPulse.sinc, RFPulse.rectangular])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_steps": 0}, "n_steps=0 must be an integer of at least 1"),
        ({"n_steps": 10.5}, r"n_steps=10\.5 must be an integer"),
        ({"duration": -1.0}, "duration=-1 must be positive"),
        ({"slice_thickness": "thin"}, "slice_thickness='thin' is not numeric; give real numbers in metres"),
    ],
)
def test_bad_arguments_of_shapes_are_refused(make, changes, message):
    with pytest.raises(ValueError, match=message):
        make(**{"duration": DURATION, "slice_thickness": THICKNESS} | changes)


@pytest.mark.parametrize("make", [RFPulse.gaussian, RFPulse.sinc])
@pytest.mark.parametrize(
    ("product", "message"), [(0, "=0 must be positive; give it in plain"), (np.inf, "is not finite")]
)
def test_bad_time_bandwidth_products_are_refused(make, product, message):
    with pytest.raises(ValueError, match=f"time_bandwidth_product.*{message}"):
        make(DURATION, THICKNESS, time_bandwidth_product=product)
