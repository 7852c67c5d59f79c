"""Sequence: timing, phases, fingerprint, round trip through JSON, checks."""

import json
from dataclasses import fields

import numpy as np
import pytest

from epgbloch import RFPulse, Sequence

ANGLES = np.array([0.1, 0.5, 1.2, 0.4])
EARLY = RFPulse.from_samples([1.0, 2.0, 1.0], 1e-3, 2000.0, 3e-3, center=0.3e-3)
COMPLEX = RFPulse.from_samples([-1j, 1 - 2j, -(0.3 + 0j)], 1e-3, 2000.0, 3e-3, center=0.3e-3)
VALUES = {
    "flip_angle": ANGLES,
    "tr": [8e-3, 9e-3, 10e-3, 11e-3],
    "te": 4e-3,
    "phase": [0.0, 1.0, 0.0, -1.0],
    "inversion_time": 20e-3,
    "inversion_efficiency": 0.95,
    "pulse": EARLY,
    "spoiling": "rf",
    "rf_spoiling_increment": 0.7,
}


def make(**changes):
    return Sequence(**VALUES | changes)


def test_numbers_serve_all_pulses_and_vectors_are_read_only_copies():
    angles = ANGLES.copy()
    sequence = Sequence(angles, tr=0.01, te=4e-3, phase=np.float32(0.5))
    angles[0] = 3
    assert sequence.n_pulses == 4
    for name, expected in (("flip_angle", ANGLES), ("tr", 0.01), ("te", 4e-3), ("phase", 0.5)):
        vector = getattr(sequence, name)
        assert vector.dtype == np.float64
        np.testing.assert_array_equal(vector, np.broadcast_to(expected, 4))
        with pytest.raises(ValueError, match="read-only"):
            vector[0] = 1


def test_defaults():
    sequence = Sequence(ANGLES, 0.01, 4e-3)
    assert sequence.inversion_time is None
    assert sequence.inversion_efficiency == 1
    assert sequence.pulse is None
    assert sequence.pulse_margins == (0, 0)
    assert sequence.spoiling == "gradient"
    assert sequence.rf_spoiling_increment == pytest.approx(np.deg2rad(117))
    np.testing.assert_array_equal(sequence.phase, 0)


def test_rf_spoiling_raises_the_phase_step_by_the_increment_every_pulse():
    n_pulses, offset = 1000, 0.3
    sequence = Sequence(np.full(n_pulses, 0.2), 0.01, 4e-3, offset, spoiling="rf")
    degrees = np.cumsum(117 * np.arange(n_pulses)) % 360  # exact in integers
    # n^2 / 2 x 2 rad = 1e6 rad, rounded to 1e-16 of it
    np.testing.assert_allclose(
        np.exp(1j * sequence.rf_phase), np.exp(1j * (offset + np.deg2rad(degrees))), rtol=0, atol=1e-9
    )
    np.testing.assert_array_equal(sequence.phase, offset)


@pytest.mark.parametrize("spoiling", ["gradient", "balanced"])
def test_other_spoilings_keep_the_phase(spoiling):
    np.testing.assert_array_equal(make(spoiling=spoiling).rf_phase, VALUES["phase"])


def test_duration_counts_every_tr_and_the_inversion_time():
    assert make().duration == pytest.approx(58e-3, rel=1e-14)
    assert make(inversion_time=None).duration == pytest.approx(38e-3, rel=1e-14)


def test_pulse_margins_lie_around_the_centre():
    assert make().pulse_margins == pytest.approx((0.3e-3, 0.7e-3), rel=1e-12)


@pytest.mark.parametrize("tenths", range(2, 42))
def test_timing_that_fits_exactly_is_accepted(tenths):
    # decimal times: the differences of these numbers are off by some 1e-18 s, to either side
    before, after = 0.3e-3, 0.7e-3
    te = tenths / 10 * 1e-3 + after
    sequence = make(te=te, tr=te + before, inversion_time=before)
    assert sequence.n_pulses == 4
    make(te=after, tr=tenths * 1e-3, inversion_time=before)
    with pytest.raises(ValueError, match="leaves no room"):
        make(te=te, tr=te + before - 1e-9)


# Fingerprint

CHANGES = {
    "flip_angle": [*ANGLES[:-1], 0.41],
    "tr": [8e-3, 9e-3, 10e-3, 11.001e-3],
    "te": [4e-3, 4e-3, 4e-3, 4.001e-3],
    "phase": [0.0, 1.0, 0.0, -1.001],
    "inversion_time": 21e-3,
    "inversion_efficiency": 0.951,
    "pulse": COMPLEX,
    "spoiling": "balanced",
    "rf_spoiling_increment": 0.71,
    "dephasing": [1, 0, 1, 1],
    "spoiler_moment": 2000.0,
}


def test_equal_sequences_have_equal_fingerprints():
    assert make().fingerprint() == make(flip_angle=ANGLES.tolist(), te=np.full(4, 4e-3)).fingerprint()


def test_fingerprint_is_the_same_on_every_machine():
    # exact numbers only; if this changes, stored dictionaries no longer open
    sequence = Sequence([0.5, 1.0], 0.5, 0.25, pulse=RFPulse([1, 2], 0.125, 8.0, 0.5))
    assert sequence.fingerprint() == "439c74d9dab4d366bc108bc28ea0c30937f406dc5e7036114b7fa0eadd3dc4bd"


def test_rounding_of_computed_trains_does_not_change_the_fingerprint():
    """Other processors and libraries may compute sines and exponentials with another last bit."""
    pulse = RFPulse.gaussian(1e-3, 5e-3)
    other_pulse = RFPulse.from_samples(np.nextafter(pulse.waveform, 2), 1e-3, pulse.bandwidth, 5e-3)
    other = make(flip_angle=np.nextafter(ANGLES, 7), te=np.nextafter(4e-3, 1), pulse=other_pulse)
    assert other.fingerprint() == make(pulse=pulse).fingerprint()
    shifted = make(flip_angle=np.asarray(ANGLES) + 1e-8, pulse=pulse)
    assert shifted.fingerprint() != make(pulse=pulse).fingerprint()


@pytest.mark.parametrize("name", [field.name for field in fields(Sequence)])
def test_every_field_changes_the_fingerprint(name):
    assert make(**{name: CHANGES[name]}).fingerprint() != make().fingerprint()


@pytest.mark.parametrize("changes", [{"inversion_time": None}, {"pulse": None}, {"flip_angle": ANGLES[::-1]}])
def test_leaving_out_or_reordering_changes_the_fingerprint(changes):
    assert make(**changes).fingerprint() != make().fingerprint()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            {"spoiling": "gradient", "rf_spoiling_increment": 1},
            {"spoiling": "gradient", "rf_spoiling_increment": 2},
        ),
        ({"spoiling": "rf", "rf_spoiling_increment": 0}, {"spoiling": "gradient"}),
        (
            {"inversion_time": None, "inversion_efficiency": 1},
            {"inversion_time": None, "inversion_efficiency": 0},
        ),
        ({"phase": 0.0, "flip_angle": [0.0, 1.0]}, {"phase": -0.0, "flip_angle": [-0.0, 1.0]}),
    ],
)
def test_what_does_not_affect_the_signal_does_not_change_the_fingerprint(one, other):
    base = {"flip_angle": [0.2, 1.0], "tr": 0.01, "phase": 0.0}
    assert make(**base | one).fingerprint() == make(**base | other).fingerprint()


# Round trip


@pytest.mark.parametrize("pulse", [EARLY, COMPLEX, RFPulse.gaussian(np.float32(1e-3), None), None])
@pytest.mark.parametrize("inversion_time", [np.float32(20e-3), None])
def test_sequence_survives_json(pulse, inversion_time):
    sequence = make(pulse=pulse, inversion_time=inversion_time, inversion_efficiency=np.int64(1))
    values = json.loads(json.dumps(sequence.to_dict(), allow_nan=False))
    copy = Sequence.from_dict(values)
    assert copy.fingerprint() == sequence.fingerprint()
    assert copy.to_dict() == values
    for field in fields(Sequence):
        if field.name != "pulse":
            np.testing.assert_array_equal(getattr(copy, field.name), getattr(sequence, field.name))
    if pulse is None:
        assert copy.pulse is None
        return
    for field in fields(RFPulse):
        np.testing.assert_array_equal(getattr(copy.pulse, field.name), getattr(pulse, field.name))
    assert copy.pulse.waveform.dtype == pulse.waveform.dtype


# Bad input


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"flip_angle": [70, 0, 0, 0]}, r"flip_angle\[0\]=70 must be at most 2 pi rad; is it in degrees\?"),
        ({"flip_angle": [0.1, -0.2, 1, 7]}, r"flip_angle\[1\]=-0\.2 must be at least 0; use phase=pi"),
        ({"flip_angle": [0.1, np.nan]}, r"flip_angle\[1\]=nan is not finite"),
        ({"flip_angle": []}, "flip_angle is empty"),
        ({"flip_angle": "spline5"}, "flip_angle='spline5' is not numeric; give real numbers in radians"),
        ({"flip_angle": np.ones((2, 4))}, r"flip_angle has shape \(2, 4\)"),
        ({"tr": 0}, r"tr\[0\]=0 must be positive; check its unit: it is in seconds"),
        ({"tr": [8e-3] * 3 + [np.inf]}, r"tr\[3\]=inf is not finite"),
        ({"tr": [8e-3] * 3}, "tr has 3 values for 4 flip angles; give 1 or 4"),
        ({"flip_angle": 0.1}, "tr has 4 values for 1 flip angle; give 1$"),
        ({"te": [-1e-3, 4e-3, 4e-3, 4e-3]}, r"te\[0\]=-0\.001 must be positive; .* seconds"),
        ({"te": [4e-3] * 5}, "te has 5 values for 4 flip angles"),
        ({"phase": [0, 1]}, "phase has 2 values for 4 flip angles"),
        ({"phase": np.nan}, "phase=nan is not finite"),
        ({"phase": 1j}, "phase=1j is not numeric"),
        ({"inversion_time": -1e-3}, r"inversion_time=-0\.001 must be at least 0 s; use None"),
        ({"inversion_time": np.inf}, "inversion_time=inf is not finite"),
        ({"inversion_time": "none"}, "inversion_time='none' is not numeric; give real numbers in seconds"),
        ({"inversion_time": [0.1, 0.2]}, "inversion_time has 2 values; give one number"),
        ({"inversion_efficiency": 95}, r"inversion_efficiency=95.* must lie in 0 to 1"),
        ({"inversion_efficiency": -0.1}, r"inversion_efficiency=-0\.1 must lie in 0 to 1"),
        ({"inversion_efficiency": np.nan}, "inversion_efficiency=nan is not finite"),
        ({"pulse": "gaussian"}, "pulse='gaussian' must be an RFPulse or None; try RFPulse.gaussian"),
        ({"spoiling": "spoiled"}, "spoiling='spoiled' must be one of gradient, rf, balanced"),
        ({"rf_spoiling_increment": np.nan}, "rf_spoiling_increment=nan is not finite"),
        ({"rf_spoiling_increment": None}, "rf_spoiling_increment=None is not numeric"),
        # timing; the pulse lasts from 0.3 ms before to 0.7 ms after its centre
        (
            {"te": [4e-3, 4e-3, 10e-3, 4e-3]},
            r"te=0\.01 s must be shorter than tr=0\.01 s at pulse 2; shorten",
        ),
        ({"te": 12e-3, "pulse": None}, r"te=0\.012 s must be shorter than tr=0\.008 s at pulse 0"),
        (
            {"te": [4e-3, 0.6e-3, 4e-3, 4e-3]},
            r"te=0\.0006 s ends within the RF pulse at pulse 1; it must be at least 0\.0007 s after",
        ),
        (
            {"te": [4e-3, 4e-3, 9.8e-3, 4e-3]},
            r"tr - te=0\.0002 s at pulse 2 leaves no room for the next RF pulse; .* at least 0\.0003 s",
        ),
        ({"inversion_time": 0.2e-3}, r"inversion_time=0\.0002 s lies within the first .* at least 0\.0003 s"),
    ],
)
def test_bad_values_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)
