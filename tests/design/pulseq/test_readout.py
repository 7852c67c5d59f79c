"""Readouts: which are straight, where they cross the centre, which are refused."""

from dataclasses import replace

import numpy as np
import pytest

from design.pulseq import Readout
from reconstruction.trajectory import cartesian_lines, golden_angle_radial, variable_density_spiral

SPOKES = golden_angle_radial(3, 16)


def readout(trajectory, **values):
    return Readout(trajectory, **({"matrix": (8, 16), "fov": (0.1, 0.16), "dwell": 1e-5} | values))


@pytest.mark.parametrize(
    ("trajectory", "is_straight", "echo_sample"),
    [
        (SPOKES, True, 8),
        (cartesian_lines([0, 7], 16, matrix=(8, 16)), True, 8),
        (cartesian_lines([0, 7], 16, matrix=(8, 16))[:, 3:], True, 5),  # partial echo
        (SPOKES + (SPOKES[:, 1:2] - SPOKES[:, :1]) / 2, True, 7.5),  # centre between two samples
        (variable_density_spiral(3, 64, matrix=(8, 16), n_interleaves=8), False, 0),
        (variable_density_spiral(3, 64, matrix=(8, 16), n_interleaves=8)[:, ::-1], False, 63),
    ],
)
def test_centre_is_found(trajectory, is_straight, echo_sample):
    lines = readout(trajectory)
    assert lines.is_straight == is_straight
    assert lines.echo_sample == pytest.approx(echo_sample, abs=1e-6)


def test_positions_are_those_of_the_image():
    # 0.5 cycles per pixel of 10 mm along x, 12.5 mm along y
    lines = readout([[[-0.5, -0.5], [0, 0], [0.5, 0.5]]])
    np.testing.assert_allclose(lines.positions[0], [[-50, -40], [0, 0], [50, 40]])
    np.testing.assert_allclose(lines.straight_gradients, [[50 / 1e-5, 40 / 1e-5]])
    assert lines.step == pytest.approx(1 / 0.16)
    assert (lines.n_readouts, lines.n_samples) == (1, 3)
    assert readout(SPOKES, fov=0.1).fov == (0.1, 0.1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"trajectory": SPOKES[0]}, r"must have shape \(n_readouts, n_samples, 2\)"),
        ({"trajectory": SPOKES[:, :1]}, "at least 2 samples"),
        ({"trajectory": SPOKES * np.nan}, "trajectory must be finite"),
        ({"trajectory": SPOKES[:, 12:]}, "readout 0 does not pass the centre of k-space"),
        (
            {"trajectory": np.stack([SPOKES[0], SPOKES[1] + 2 * (SPOKES[1, 1] - SPOKES[1, 0])])},
            "readout 1 passes the centre of k-space at sample 6, readout 0 at 8",
        ),
        ({"matrix": (8,)}, r"must be \(ny, nx\)"),
        ({"matrix": (8, 0)}, r"matrix\[1\]=0 must be an integer"),
        ({"fov": -0.1}, r"fov\[0\]=-0.1 must be positive"),
        ({"fov": (0.1, 0.1, 0.1)}, "must be one length or"),
        ({"dwell": 0.0}, "dwell=0 must be positive"),
    ],
)
def test_bad_readouts_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        replace(readout(SPOKES), **values)
