from dataclasses import replace

import numpy as np
import pytest

from dictionaries import DictionaryError, RelativeError
from epgbloch import RFPulse, Sequence

FLIP_ANGLE = np.deg2rad([10.0, 20.0, 30.0, 40.0])
PULSE = RFPulse.gaussian(1e-3, 5e-3, n_steps=20)


def make_sequence(**changes):
    fields = {"flip_angle": FLIP_ANGLE, "tr": 0.01, "te": 0.004, "inversion_time": 0.02, "pulse": PULSE}
    return Sequence(**(fields | changes))


def make_dictionary(dictionary, sequence):
    """The small dictionary, as if made for a sequence of four pulses."""
    basis = np.linalg.qr(dictionary.basis[:4, :3])[0]
    coefficients = dictionary.coefficients[:, :3]
    coefficients = coefficients / np.linalg.norm(coefficients, axis=1, keepdims=True)
    return replace(dictionary, sequence=sequence, basis=basis, coefficients=coefficients)


def changed(array, index, value):
    array = array.copy()
    array[index] = value
    return array


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("basis", lambda a: a[:-1], r"basis has shape \(59, 6\); the sequence asks for \(60, rank\)"),
        ("basis", lambda a: a[:, :0], r"basis has shape \(60, 0\)"),
        ("basis", lambda a: a[:, 0], r"basis has shape \(60,\)"),
        ("basis", lambda a: a[:, :5], r"coefficients has shape \(342, 6\); .* ask for \(342, 5\)"),
        ("basis", lambda a: a.astype(np.float64), "basis is float64; it must be float32 or complex64"),
        ("basis", lambda a: a.astype(np.complex64), "coefficients is float32; it must be complex64"),
        ("basis", lambda a: changed(a, (3, 1), np.nan), "basis holds values that are not finite"),
        ("basis", lambda a: 1.01 * a, "basis must have orthonormal columns"),
        ("basis", lambda a: a[:, [0, 1, 2, 3, 4, 4]], "basis must have orthonormal columns"),
        ("coefficients", lambda a: a[:-1], r"coefficients has shape \(341, 6\)"),
        ("coefficients", lambda a: changed(a, (7, 0), np.inf), "coefficients holds values that are not"),
        ("coefficients", lambda a: changed(a, 7, 0.0), "coefficients must have rows of unit norm"),
        ("norms", lambda a: a[:-1], r"norms has shape \(341,\)"),
        ("norms", lambda a: a.astype(np.float64), "norms is float64; it must be float32"),
        ("norms", lambda a: changed(a, 2, np.nan), "norms holds values that are not finite"),
        ("norms", lambda a: changed(a, 2, 0.0), "norms must be positive"),
        ("truncation_error", lambda _: RelativeError(np.nan, 0.1), "truncation_error holds values"),
    ],
)
def test_dictionary_refuses(dictionary, name, change, message):
    with pytest.raises(DictionaryError, match=message):
        replace(dictionary, **{name: change(getattr(dictionary, name))})


def test_properties(dictionary, grid):
    assert (dictionary.n_atoms, dictionary.rank) == (342, 6)
    assert dictionary.tissue is grid.tissue


def test_equal_sequences_are_accepted(dictionary):
    stored = make_dictionary(dictionary, make_sequence())
    stored.check_sequence(make_sequence())
    stored.check_sequence(make_sequence(tr=np.full(4, 0.01)))
    # Neither the name of the pulse nor the increment without RF spoiling changes the signal.
    stored.check_sequence(make_sequence(pulse=replace(PULSE, name="other"), rf_spoiling_increment=0.1))


STEEPER = replace(PULSE, bandwidth=4000.0)
LONGER = RFPulse.gaussian(2e-3, 5e-3, n_steps=20)
FINER = RFPulse.gaussian(1e-3, 5e-3, n_steps=40)


@pytest.mark.parametrize(
    ("stored", "given", "message"),
    [
        (
            {},
            {"flip_angle": np.deg2rad([10, 20, 35, 45])},
            r"flip_angle differs at 2 of 4 pulses, first at pulse 2: 0\.52359\d* rad in the dictionary, "
            r"0\.61086\d* rad given",
        ),
        ({}, {"flip_angle": FLIP_ANGLE[:3]}, "n_pulses is 4 in the dictionary, 3 given"),
        ({}, {"tr": 0.011}, r"tr differs at 4 of 4 pulses, first at pulse 0: 0\.01 s .* 0\.011 s given"),
        (
            {},
            {"te": [0.004, 0.004, 0.005, 0.004]},
            r"te differs at 1 of 4 pulses, first at pulse 2: 0\.004 s",
        ),
        ({}, {"phase": [0, np.pi, 0, np.pi]}, r"phase differs at 2 of 4 pulses, first at pulse 1: 0\.0 rad"),
        ({}, {"inversion_time": 0.03}, r"inversion_time is 0\.02 s in the dictionary, 0\.03 s given"),
        ({}, {"inversion_time": None}, r"inversion_time is 0\.02 s in the dictionary, None given"),
        ({}, {"inversion_efficiency": 0.9}, r"inversion_efficiency is 1\.0 in the dictionary, 0\.9 given"),
        ({}, {"spoiling": "balanced"}, "spoiling is gradient in the dictionary, balanced given"),
        ({}, {"dephasing": 0}, r"dephasing differs at \d+ of \d+ pulses, first at pulse 0: 1\.0 orders"),
        ({}, {"spoiler_moment": 2e3}, r"spoiler_moment is None in the dictionary, 2000\.0 rad/m given"),
        (
            {"spoiling": "rf"},
            {"spoiling": "rf", "rf_spoiling_increment": 0.5},
            r"rf_spoiling_increment is 2\.04203\d* rad in the dictionary, 0\.5 rad given",
        ),
        ({}, {"pulse": None}, "pulse is gaussian in the dictionary, instantaneous given"),
        ({"pulse": None}, {}, "pulse is instantaneous in the dictionary, gaussian given"),
        ({}, {"pulse": STEEPER}, r"pulse\.bandwidth is 3000\.0 Hz in the dictionary, 4000\.0 Hz given"),
        ({}, {"pulse": LONGER}, r"pulse\.duration is 0\.001 s in the dictionary, 0\.002 s given"),
        (
            {},
            {"pulse": replace(PULSE, slice_thickness=None)},
            r"pulse\.slice_thickness is 0\.005 m in the dictionary, None given",
        ),
        ({}, {"pulse": replace(PULSE, center=4e-4)}, r"pulse\.center is 0\.0005 s .* 0\.0004 s given"),
        (
            {},
            {"pulse": FINER},
            r"pulse\.waveform differs \(gaussian of 20 steps .*, gaussian of 40 steps given\)",
        ),
    ],
)
def test_another_sequence_is_refused(dictionary, stored, given, message):
    stored = make_dictionary(dictionary, make_sequence(**stored))
    prefix = "made for another sequence: "
    with pytest.raises(DictionaryError, match=f"{prefix}{message}.*Use the protocol"):
        stored.check_sequence(make_sequence(**given))


def test_all_differences_are_named(dictionary):
    stored = make_dictionary(dictionary, make_sequence())
    given = make_sequence(tr=0.02, te=0.005, inversion_time=None, spoiling="balanced", pulse=None)
    with pytest.raises(DictionaryError) as caught:
        stored.check_sequence(given)
    names = [phrase.split()[0] for phrase in str(caught.value).split(": ", 1)[1].split("; ")]
    assert names == ["tr", "te", "inversion_time", "spoiling", "pulse"]


def test_inversion_efficiency_does_not_matter_without_inversion(dictionary):
    stored = make_dictionary(dictionary, make_sequence(inversion_time=None))
    stored.check_sequence(make_sequence(inversion_time=None, inversion_efficiency=0.5))
    with pytest.raises(DictionaryError) as caught:
        stored.check_sequence(make_sequence(inversion_time=None, inversion_efficiency=0.5, tr=0.02))
    assert "inversion" not in str(caught.value)
