"""Which wrong trajectories the data give away, and which they cannot."""

from dataclasses import replace

import numpy as np
import pytest

from reconstruction.acquisition import Acquisition
from reconstruction.trajectory import GOLDEN_ANGLE, golden_angle_radial, variable_density_spiral
from reconstruction.trajectory_check import SYMMETRIES, check_trajectory, trajectory_difference

MATRIX, N_READOUTS = (32, 32), 120
SPOKES = golden_angle_radial(N_READOUTS, 64)
SPIRALS = variable_density_spiral(N_READOUTS, 400, matrix=MATRIX, n_interleaves=12)
EXCHANGE = np.array([[0, 1], [1, 0]])


def acquired(blobs, played, given, noise=0.02, matrix=MATRIX):
    """Data of one trajectory that are said to have another one."""
    given = np.asarray(given, dtype=np.float32)
    return Acquisition(blobs(matrix, played, noise), given, matrix, (0.2, 0.2))


def changed(trajectory, readouts, symmetry):
    result = trajectory.copy()
    result[readouts] = result[readouts] @ np.float32(symmetry).T
    return result


@pytest.mark.parametrize("trajectory", [SPOKES, SPIRALS])
def test_right_trajectories_are_not_suspicious(blobs, trajectory):
    check = check_trajectory(acquired(blobs, trajectory, trajectory), blobs.basis)
    assert check.residual < 0.03  # noise of 1 % in the centre
    assert check.fault == ""
    assert check.delays is None


@pytest.mark.parametrize("symmetry", SYMMETRIES.values())
def test_whole_trajectories_exchanged_or_mirrored_cannot_be_told(blobs, symmetry):
    given = changed(SPOKES, slice(None), symmetry)
    right, wrong = (
        check_trajectory(acquired(blobs, SPOKES, trajectory), blobs.basis) for trajectory in (SPOKES, given)
    )
    assert wrong.fault == ""
    assert wrong.residual == pytest.approx(right.residual, rel=1e-2)  # complex64


@pytest.mark.parametrize(
    ("trajectory", "readouts", "symmetry", "fault"),
    [
        (SPOKES, slice(1, None, 2), EXCHANGE, "in every second readout kx and ky are exchanged"),
        (SPOKES, slice(60, None), EXCHANGE, "in one half of the readouts kx and ky are exchanged"),
        (SPOKES, slice(0, None, 6), EXCHANGE, "in 20 of 120 readouts kx and ky are exchanged"),
        (SPIRALS, slice(1, None, 2), np.diag([1, -1]), "in every second readout ky is mirrored"),
        (SPIRALS, slice(1, None, 6), EXCHANGE, "in 20 of 120 readouts kx and ky are exchanged"),
    ],
)
def test_faults_in_a_part_of_the_readouts_are_named(blobs, trajectory, readouts, symmetry, fault):
    given = changed(trajectory, readouts, symmetry)
    check = check_trajectory(acquired(blobs, trajectory, given), blobs.basis)
    assert check.fault == fault
    assert check.corrected_residual < 0.03 < 0.05 < check.residual


@pytest.mark.parametrize(
    ("played", "given", "fault"),
    [
        (SPOKES, golden_angle_radial(120, 64, angle_increment=1.0), "grows by 111.25 degrees, not 57.30"),
        (
            golden_angle_radial(120, 64, angle_increment=np.pi / 120),
            SPOKES,
            "grows by 1.50 degrees, not 111.25",
        ),
        (
            SPIRALS,
            variable_density_spiral(120, 400, matrix=MATRIX, n_interleaves=12, angle_increment=GOLDEN_ANGLE),
            "grows by 30.00 degrees, not 111.25",
        ),
    ],
)
def test_wrong_angles_are_named(blobs, played, given, fault):
    check = check_trajectory(acquired(blobs, played, given), blobs.basis)
    assert check.fault == f"from readout to readout the angle {fault}"
    assert check.delays is None


def test_gradient_delays_are_named_with_their_size(blobs):
    late = SPOKES - 0.5 / 64 * np.diff(SPOKES[:, :2], axis=1) * 64
    check = check_trajectory(acquired(blobs, late, SPOKES), blobs.basis)
    assert check.fault == "the gradients come late by x 0.50, y 0.50, xy 0.00 samples"
    assert check.delays.x == pytest.approx(0.5, abs=0.01)


def test_exchanged_axes_are_found_where_the_field_of_view_tells(blobs):
    """An object that fills the long side does not fit into the short one."""
    matrix = (24, 80)
    right, wrong = (
        check_trajectory(acquired(blobs, SPOKES, given, matrix=matrix), blobs.basis)
        for given in (SPOKES, SPOKES[..., ::-1])
    )
    assert right.fault == ""
    assert wrong.fault == "kx and ky are exchanged"


def test_other_contradictions_are_not_given_a_name(blobs):
    order = np.random.default_rng(0).permutation(N_READOUTS)
    acquisition = acquired(blobs, SPOKES, SPOKES)
    shuffled = replace(acquisition, kspace=acquisition.kspace[:, order])
    check = check_trajectory(shuffled, blobs.basis)
    assert check.residual > 0.2
    assert check.fault == ""


def test_noise_is_taken_off_where_it_is_known(blobs):
    noise = 3.0
    rng = np.random.default_rng(1)
    acquisition = acquired(blobs, SPOKES, SPOKES, noise)
    unknown = check_trajectory(acquisition, blobs.basis)
    samples = noise * rng.standard_normal((4, 4096, 2)) @ [1, 1j]
    known = check_trajectory(replace(acquisition, noise=samples), blobs.basis)
    assert (unknown.noise_known, known.noise_known) == (False, True)
    assert unknown.residual > 0.3
    assert known.residual < 0.2 * unknown.residual
    assert unknown.fault == known.fault == ""


def test_few_readouts_are_not_compared(blobs):
    trajectory = golden_angle_radial(12, 64)
    assert check_trajectory(acquired(blobs, trajectory, trajectory), blobs.basis[:12]) is None


@pytest.mark.parametrize("name", SYMMETRIES)
def test_differences_of_two_trajectories_are_named(name):
    given = changed(SPIRALS, slice(None), np.linalg.inv(SYMMETRIES[name]))
    assert trajectory_difference(given, SPIRALS, MATRIX) == name


@pytest.mark.parametrize(
    ("given", "difference"),
    [
        (SPOKES, ""),
        (SPOKES + 0.5 / 64, ""),  # half a sample
        (golden_angle_radial(N_READOUTS, 64, first_angle=0.5), "it is turned by -28.6 degrees"),
        (0.8 * SPOKES, "samples differ by up to 0.1 cycles per pixel"),
    ],
)
def test_other_differences_are_measured(given, difference):
    assert trajectory_difference(given, SPOKES, MATRIX) == difference
