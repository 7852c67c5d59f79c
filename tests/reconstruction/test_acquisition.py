"""Acquisition: conversion, geometry, checks, prewhitening."""

import numpy as np
import pytest

from reconstruction.acquisition import Acquisition
from reconstruction.trajectory import golden_angle_radial

N_COILS, N_READOUTS, N_SAMPLES = 3, 4, 5


def arguments(**changes):
    rng = np.random.default_rng(0)
    kspace = rng.standard_normal((N_COILS, N_READOUTS, N_SAMPLES, 2)) @ [1, 1j]
    trajectory = rng.uniform(-0.5, 0.5, (N_READOUTS, N_SAMPLES, 2))
    noise = rng.standard_normal((N_COILS, 400, 2)) @ [1, 1j]
    return {
        "kspace": kspace,
        "trajectory": trajectory,
        "matrix": (6, 8),
        "fov": (0.12, 0.24),
        "noise": noise,
    } | changes


def test_arrays_are_converted_and_counted():
    given = arguments(kspace=arguments()["kspace"].tolist())
    acquisition = Acquisition(**given)
    assert acquisition.kspace.dtype == np.complex64
    assert acquisition.trajectory.dtype == np.float32
    assert acquisition.noise.dtype == np.complex64
    assert (acquisition.n_coils, acquisition.n_readouts, acquisition.n_samples) == (3, 4, 5)
    # float32 rounding
    np.testing.assert_allclose(acquisition.kspace, given["kspace"], rtol=1e-6)


def test_default_affine_puts_central_pixel_on_isocentre():
    acquisition = Acquisition(**arguments(slice_index=2, slice_thickness=4e-3))
    assert acquisition.pixel_size == pytest.approx((0.02, 0.03))
    np.testing.assert_allclose(acquisition.affine @ [4, 3, 0, 1], [0, 0, 8, 1], atol=1e-12)
    np.testing.assert_allclose(np.diag(acquisition.affine), [30, 20, 4, 1], rtol=1e-12)


def test_given_affine_is_kept():
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    np.testing.assert_array_equal(Acquisition(**arguments(affine=affine)).affine, affine)


def changed(array, index, value):
    array = np.array(array)
    array[index] = value
    return array


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kspace": np.zeros((4, 5))}, "n_coils, n_readouts, n_samples"),
        ({"kspace": np.zeros((0, 4, 5))}, "at least one coil"),
        ({"kspace": changed(arguments()["kspace"], (1, 2, 3), np.nan)}, "readout 2, sample 3, coil 1"),
        ({"trajectory": np.zeros((4, 5, 3))}, r"trajectory has shape \(4, 5, 3\)"),
        ({"trajectory": np.zeros((4, 6, 2))}, r"trajectory has shape \(4, 6, 2\)"),
        ({"trajectory": np.zeros((4, 5, 2))}, "zero everywhere"),
        ({"trajectory": changed(arguments()["trajectory"], (1, 4, 0), np.inf)}, "readout 1, sample 4"),
        ({"trajectory": changed(arguments()["trajectory"], (3, 2, 1), -0.51)}, "readout 3, sample 2.*units"),
        ({"noise": np.zeros((2, 9))}, "n_coils=3"),
        ({"noise": changed(arguments()["noise"], (2, 7), np.nan)}, "sample 7, coil 2"),
        ({"matrix": (6, 0)}, "matrix"),
        ({"matrix": (6, 8, 1)}, "matrix"),
        ({"fov": (0.1, -0.2)}, "fov"),
        ({"slice_thickness": 0.0}, "slice_thickness"),
        ({"slice_index": -1}, "slice_index"),
        ({"affine": np.zeros((4, 4))}, "affine"),
        ({"affine": np.eye(3)}, "affine"),
    ],
)
def test_wrong_arguments_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        Acquisition(**arguments(**changes))


def test_trajectory_may_overshoot_slightly():
    Acquisition(**arguments(trajectory=changed(arguments()["trajectory"], (0, 0, 0), 0.503)))


def test_whitened_noise_has_identity_covariance_and_fresh_noise_nearly():
    rng = np.random.default_rng(1)
    mixing = 3e-5 * (np.eye(N_COILS) + 0.5 * rng.standard_normal((N_COILS, N_COILS, 2)) @ [1, 1j])
    # Unit variance per complex sample before mixing.
    white = rng.standard_normal((N_COILS, 20_000 + N_READOUTS * N_SAMPLES, 2)) @ [1, 1j] / np.sqrt(2)
    mixed = mixing @ white
    kspace = mixed[:, 20_000:].reshape(N_COILS, N_READOUTS, N_SAMPLES)
    acquisition = Acquisition(**arguments(noise=mixed[:, :10_000], kspace=kspace))
    whitened, whitening = acquisition.prewhitened()
    covariance = whitened.noise @ whitened.noise.conj().T / 10_000
    np.testing.assert_allclose(covariance, np.eye(N_COILS), atol=1e-5)  # complex64 sums
    fresh = whitening @ mixed[:, 10_000:20_000]
    # Statistical: 1/sqrt(10000) = 0.01 for each of the two estimates; five of them.
    np.testing.assert_allclose(fresh @ fresh.conj().T / 10_000, np.eye(N_COILS), atol=0.05)
    expected = np.einsum("ij,jtm->itm", whitening, acquisition.kspace)
    np.testing.assert_allclose(whitened.kspace, expected, rtol=1e-5)
    np.testing.assert_allclose(whitening, np.tril(whitening), atol=0)
    assert whitened.matrix == acquisition.matrix
    np.testing.assert_array_equal(whitened.trajectory, acquisition.trajectory)


def test_orientation_is_known_where_an_affine_is_given():
    assert not Acquisition(**arguments()).orientation_known
    assert Acquisition(**arguments(affine=np.eye(4))).orientation_known
    assert Acquisition(**arguments(orientation_known=True)).orientation_known
    whitened, _ = Acquisition(**arguments()).prewhitened()  # carries the default affine
    assert not whitened.orientation_known


@pytest.mark.parametrize(
    ("changes", "dead"),
    [
        ({}, []),
        ({"noise": changed(arguments()["noise"], 1, 0)}, [1]),
        ({"noise": changed(arguments()["noise"], 2, 1e-6 * arguments()["noise"][2])}, [2]),
        ({"kspace": changed(arguments()["kspace"], 0, 0)}, [0]),
        ({"kspace": changed(arguments()["kspace"], [0, 2], 0), "noise": None}, [0, 2]),
    ],
)
def test_dead_coils_are_left_out(changes, dead):
    acquisition = Acquisition(**arguments(**changes))
    assert np.flatnonzero(acquisition.dead_coils).tolist() == dead
    rest = acquisition.without_dead_coils()
    np.testing.assert_array_equal(rest.kspace, np.delete(acquisition.kspace, dead, axis=0))
    if acquisition.noise is not None:
        np.testing.assert_array_equal(rest.noise, np.delete(acquisition.noise, dead, axis=0))
        rest.prewhitened()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"noise": np.zeros((N_COILS, 10))}, "noise is zero in all coils"),
        ({"kspace": np.zeros((N_COILS, N_READOUTS, N_SAMPLES))}, "kspace is zero in all coils"),
    ],
)
def test_without_live_coils_nothing_is_left(changes, message):
    with pytest.raises(ValueError, match=message):
        Acquisition(**arguments(**changes)).without_dead_coils()


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        (None, "noise is None"),
        (np.ones((N_COILS, 2)), "2 samples for 3 coils"),
        (changed(arguments()["noise"], 1, 0), "coil 1 .* dead: use without_dead_coils"),
        (np.zeros((N_COILS, 10)), "coil 0 .* dead"),
        (changed(arguments()["noise"], 2, arguments()["noise"][0] * 1j), "linearly dependent"),
    ],
)
def test_prewhitening_without_usable_noise_raises(noise, message):
    with pytest.raises(ValueError, match=message):
        Acquisition(**arguments(noise=noise)).prewhitened()


@pytest.mark.parametrize("dwell_time", [0.0, -1e-6, np.nan, np.inf])
def test_dwell_times_must_be_positive(dwell_time):
    with pytest.raises(ValueError, match=r"dwell_time=.* must be a positive time"):
        Acquisition(**arguments(dwell_time=dwell_time))


@pytest.mark.parametrize(
    ("trajectory", "first"),
    [
        (golden_angle_radial(N_READOUTS, N_SAMPLES), -2),
        (golden_angle_radial(N_READOUTS, 2 * N_SAMPLES)[:, N_SAMPLES:], 0),  # from the centre outwards
    ],
)
def test_sample_times_count_from_the_centre_of_kspace(trajectory, first):
    acquisition = Acquisition(**arguments(trajectory=trajectory, dwell_time=2e-6))
    expected = 2e-6 * np.arange(first, first + N_SAMPLES)
    np.testing.assert_allclose(acquisition.sample_times, expected, rtol=1e-12)


def test_sample_times_need_a_dwell_time_and_one_centre():
    spokes = golden_angle_radial(N_READOUTS, N_SAMPLES)
    with pytest.raises(ValueError, match="the dwell time of the readouts is not known"):
        _ = Acquisition(**arguments(trajectory=spokes)).sample_times
    spokes[1] = np.roll(spokes[1], 2, axis=0)
    with pytest.raises(ValueError, match="pass the centre of k-space at samples 2 to 4"):
        _ = Acquisition(**arguments(trajectory=spokes, dwell_time=2e-6)).sample_times
