"""Delays that the data were made with are found again."""

import numpy as np
import pytest

from reconstruction.acquisition import Acquisition
from reconstruction.gradient_delays import GradientDelays, estimate_gradient_delays
from reconstruction.trajectory import golden_angle_radial, variable_density_spiral

MATRIX, N_SAMPLES = (32, 32), 64


def played(trajectory, delays):
    """Where samples lie when gradients come late by (x, y, xy) samples."""
    span = trajectory[:, -1] - trajectory[:, 0]
    directions = span / np.linalg.norm(span, axis=1, keepdims=True)
    distance = np.linalg.norm(span[0]) / (trajectory.shape[1] - 1)
    x, y, xy = delays
    shift = distance * np.stack(
        [x * directions[:, 0] + xy * directions[:, 1], xy * directions[:, 0] + y * directions[:, 1]], axis=1
    )
    return (trajectory - shift[:, None]).astype(np.float32)


def acquired(blobs, trajectory, delays, noise=0.0, matrix=MATRIX):
    kspace = blobs(matrix, played(trajectory, delays), noise)
    return Acquisition(kspace, trajectory, matrix, (0.2, 0.2))


@pytest.mark.parametrize("delays", [(0, 0, 0), (0.3, -0.2, 0.1), (-1.5, -1.0, 0.3), (3.0, 2.8, 0.0)])
@pytest.mark.parametrize("first", [0, 20])  # the second: partial echoes
def test_delays_are_found(blobs, delays, first):
    trajectory = golden_angle_radial(120, N_SAMPLES)[:, first:]
    # 1 % of the samples in the centre
    acquisition = acquired(blobs, trajectory, delays, noise=0.02)
    result = estimate_gradient_delays(acquisition, blobs.basis)
    # Measured 0.002 at most, with other seeds of the noise too.
    np.testing.assert_allclose([result.x, result.y, result.xy], delays, atol=0.01)
    before, after = result.residuals
    assert after < 0.03
    assert before == pytest.approx(after, rel=1e-2) if delays == (0, 0, 0) else before > 2 * after


def test_one_coil_is_enough(blobs):
    acquisition = acquired(blobs, golden_angle_radial(120, N_SAMPLES), (0.3, -0.2, 0.1), noise=0.02)
    single = Acquisition(acquisition.kspace[:1], acquisition.trajectory, MATRIX, (0.2, 0.2))
    result = estimate_gradient_delays(single, blobs.basis)
    np.testing.assert_allclose([result.x, result.y, result.xy], (0.3, -0.2, 0.1), atol=0.02)  # measured 0.005


def test_fields_of_view_may_differ(blobs):
    acquisition = acquired(blobs, golden_angle_radial(120, N_SAMPLES), (0.3, -0.2, 0.1), matrix=(24, 32))
    result = estimate_gradient_delays(acquisition, blobs.basis)
    np.testing.assert_allclose([result.x, result.y, result.xy], (0.3, -0.2, 0.1), atol=0.01)


def test_corrected_samples_lie_where_they_were_taken(blobs):
    trajectory = golden_angle_radial(120, N_SAMPLES)
    delays = (0.7, -0.4, 0.2)
    acquisition = acquired(blobs, trajectory, delays)
    result = GradientDelays(*delays, (1.0, 0.0)).corrected(acquisition)
    # Samples beyond the edge of k-space, at either end, are cut off.
    assert result.n_samples == N_SAMPLES - 1
    np.testing.assert_array_equal(result.kspace, acquisition.kspace[..., 1:])
    np.testing.assert_allclose(result.trajectory, played(trajectory, delays)[:, 1:], atol=1e-6)  # float32


@pytest.mark.parametrize(
    "trajectory",
    [
        variable_density_spiral(120, 400, matrix=MATRIX, n_interleaves=12),
        0.9 * golden_angle_radial(120, N_SAMPLES) + np.float32([0.01, 0]),
        np.concatenate([golden_angle_radial(119, N_SAMPLES), 0.5 * golden_angle_radial(1, N_SAMPLES)]),
    ],
)
def test_other_data_are_refused(blobs, trajectory):
    acquisition = Acquisition(blobs(MATRIX, trajectory), trajectory, MATRIX, (0.2, 0.2))
    with pytest.raises(
        ValueError, match=r"the readouts are not radial \(readout \d+ is not a straight spoke"
    ):
        estimate_gradient_delays(acquisition, blobs.basis)


def test_half_spokes_are_refused(blobs):
    """Spokes that end in the centre hardly cross: shifted outwards, they agree with anything."""
    acquisition = acquired(blobs, golden_angle_radial(120, N_SAMPLES)[:, N_SAMPLES // 2 :], (0, 0, 0))
    with pytest.raises(ValueError, match="end at or next to the centre of k-space"):
        estimate_gradient_delays(acquisition, blobs.basis)


def test_data_that_no_delay_explains_are_refused(blobs):
    trajectory = golden_angle_radial(120, N_SAMPLES)
    order = np.random.default_rng(0).permutation(120)
    acquisition = Acquisition(blobs(MATRIX, trajectory)[:, order], trajectory, MATRIX, (0.2, 0.2))
    with pytest.raises(ValueError, match="no gradient delays of at most 4 samples make the spokes agree"):
        estimate_gradient_delays(acquisition, blobs.basis)
