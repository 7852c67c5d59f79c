"""Whatever the network does not know is refused by name; what lies at the ends of its ranges is not."""

import numpy as np
import pytest

from epgbloch import RFPulse, Sequence, Tissue
from surrogate import OutOfRangeError
from surrogate.limits import check_known, check_ranges

PULSE = RFPulse.gaussian(1e-3, 3e-3)
N_PULSES = 10


def sequence(**changes):
    values = {"flip_angle": np.linspace(0, 1, N_PULSES), "tr": 0.01, "te": 0.005, "pulse": PULSE}
    return Sequence(**values | changes)


def tissue(**changes):
    return Tissue(**{"t1": [1.0, 2.0], "t2": [0.1, 0.05]} | changes)


def phases(i_pulse, value):
    """0.3 rad but for one pulse."""
    result = np.full(N_PULSES, 0.3)
    result[i_pulse] = value
    return result


@pytest.mark.parametrize(
    ("changes", "atoms", "message"),
    [
        (
            {"pulse": None},
            {},
            "pulse=None is instantaneous, but .* a gaussian pulse of 1 ms; give .* EPGBloch",
        ),
        (
            {"pulse": RFPulse.gaussian(0.9e-3, 3e-3)},
            {},
            r"pulse: .* gaussian pulse of 0\.9 ms .* of 1 ms with",
        ),
        (
            {"pulse": RFPulse.gaussian(1e-3, 5e-3)},
            {},
            "pulse: .* give the sequence that pulse, or use EPGBloch",
        ),
        ({"spoiling": "rf"}, {}, "spoiling='rf' is unknown to the network.* use EPGBloch"),
        ({"spoiling": "balanced"}, {}, "spoiling='balanced' is unknown"),
        ({"dephasing": [1] * 7 + [0] * 3}, {}, r"dephasing\[7\]=0 is unknown to the network"),
        ({"phase": phases(4, 0.31)}, {}, r"phase\[4\]=0\.31 rad differs from phase\[0\]=0\.3 rad"),
        ({"phase": np.pi * (np.arange(N_PULSES) % 2)}, {}, r"phase\[1\]=3\.14159 rad differs"),
        (
            {},
            {"off_resonance": [0.0, 2.0]},
            r"off_resonance\[1\]=2 Hz is unknown.* use off_resonance=0, or EPG",
        ),
        (
            {"spoiler_moment": 2e3},
            {"diffusion": 3e-9},
            r"diffusion\[0\]=3e-09 m\^2/s is unknown to the network",
        ),
    ],
)
def test_what_the_network_does_not_read_is_refused(recipe, changes, atoms, message):
    with pytest.raises(ValueError, match=message):
        check_known(sequence(**changes), tissue(**atoms), recipe.to_dict()["pulse"])


@pytest.mark.parametrize(
    "changes",
    [{}, {"phase": 1.0}, {"phase": phases(4, 0.3 + 2 * np.pi)}, {"spoiler_moment": 2e3}],
)
def test_what_does_not_change_the_signal_is_accepted(recipe, changes):
    check_known(sequence(**changes), tissue(), recipe.to_dict()["pulse"])


VARYING = np.full(N_PULSES, 0.01)
VARYING[6] = 0.021


@pytest.mark.parametrize(
    ("changes", "atoms", "message"),
    [
        (
            {},
            {"t1": [1.0, 5.1]},
            r"t1\[1\]=5\.1 s lies outside 0\.1 to 5 s, the range that .* extrapolate=True",
        ),
        ({}, {"t1": 0.09, "t2": 0.05}, r"t1=0\.09 s lies outside 0\.1 to 5 s"),
        ({}, {"t1": 3.0, "t2": 2.1}, r"t2=2\.1 s lies outside 0\.01 to 2 s"),
        ({}, {"t2": [0.05, 9e-3]}, r"t2\[1\]=0\.009 s lies outside"),
        ({"tr": VARYING, "te": 0.5 * VARYING}, {}, r"tr\[6\]=0\.021 s lies outside 0\.005 to 0\.02 s"),
        ({"te": 2.9e-3}, {}, r"te / tr\[0\]=0\.29 lies outside 0\.3 to 0\.7, the range"),
        ({"te": 7.1e-3}, {}, r"te / tr\[0\]=0\.71 lies outside"),
        ({"inversion_time": 0.06}, {}, r"inversion_time=0\.06 s lies outside 0\.0005 to 0\.05 s"),
        (
            {"inversion_time": 0.03, "inversion_efficiency": 0.8},
            {},
            r"inversion_efficiency=0\.8 lies outside 0\.9 to 1,",
        ),
        (
            {"flip_angle": np.deg2rad([10.0, 100.0, 5.0])},
            {"b1": [1.0, 1.3]},
            r"flip_angle x largest b1\[1\]=2\.26893 rad lies outside 0 to 2\.0944 rad",
        ),
    ],
)
def test_what_is_out_of_range_is_refused(recipe, changes, atoms, message):
    with pytest.raises(OutOfRangeError, match=message):
        check_ranges(sequence(**changes), tissue(**atoms), recipe.ranges)


@pytest.mark.parametrize("te", [0.3 * 0.007, 0.7 * 0.007])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ends_of_the_ranges_belong_to_them(recipe, te, dtype):
    ends = sequence(
        flip_angle=np.deg2rad([0.0, 150.0]).astype(dtype),
        tr=dtype(0.007),
        te=dtype(te),
        inversion_time=float(dtype(0.05)),
        inversion_efficiency=float(dtype(0.9)),
    )
    atoms = {"t1": np.array([0.1, 5.0], dtype), "t2": np.array([0.01, 2.0], dtype), "b1": dtype(0.8)}
    check_ranges(ends, tissue(**atoms), recipe.ranges)


def test_efficiency_counts_only_with_an_inversion(recipe):
    check_ranges(sequence(inversion_efficiency=0.5), tissue(), recipe.ranges)
