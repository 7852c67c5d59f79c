"""Prewhitened k-space and sensitivities of a slice."""

from dataclasses import replace

import numpy as np
import pytest

from reconstruction.acquisition import Acquisition
from reconstruction.coil_compression import compress_coils
from reconstruction.phantom_fields import birdcage_sensitivities
from reconstruction.preparation import prepare
from reconstruction.trajectory import golden_angle_radial

MATRIX, N_COILS, N_READOUTS = (32, 32), 6, 60
FLAT = np.ones((N_READOUTS, 1)) / np.sqrt(N_READOUTS)


def true_sensitivities():
    return birdcage_sensitivities(N_COILS, MATRIX)


@pytest.fixture(scope="module")
def acquisition():
    """A smooth disc behind a birdcage, direct sums, correlated noise."""
    ny, nx = MATRIX
    y, x = np.meshgrid(np.arange(ny) - ny // 2, np.arange(nx) - nx // 2, indexing="ij")
    image = true_sensitivities() / (1 + np.exp((np.hypot(x, y) - 10) / 0.7))
    trajectory = golden_angle_radial(N_READOUTS, 2 * nx)
    kx, ky = trajectory[..., 0].ravel(), trajectory[..., 1].ravel()
    phase = np.exp(-2j * np.pi * (np.outer(kx, x.ravel()) + np.outer(ky, y.ravel())))
    kspace = (image.reshape(N_COILS, -1) @ phase.T).reshape(N_COILS, N_READOUTS, -1)
    rng = np.random.default_rng(0)
    mixing = np.eye(N_COILS) * np.arange(1, N_COILS + 1)[:, None] + 0.3
    noise = 0.02 * mixing @ (rng.standard_normal((N_COILS, kspace[0].size + 4096, 2)) @ [1, 1j])
    kspace = kspace + noise[:, 4096:].reshape(kspace.shape)
    return Acquisition(kspace, trajectory, MATRIX, (0.2, 0.2), noise=noise[:, :4096])


def test_estimated_sensitivities_are_those_of_the_object(acquisition):
    prepared = prepare(acquisition, FLAT, coil_method="adaptive")
    # Complex64.
    np.testing.assert_allclose(np.linalg.norm(prepared.sensitivities, axis=0), 1, atol=1e-5)
    overlap = np.abs(np.einsum("cyx,cyx->yx", prepared.sensitivities.conj(), true_sensitivities()))
    # 1 is perfect. Measured 0.98: the estimate averages over 7 of 32 pixels.
    assert overlap[8:24, 8:24].min() > 0.97
    assert prepared.agreement[8:24, 8:24].min() > 0.9


def test_encoding_sensitivities_belong_to_the_whitened_channels(acquisition):
    prepared = prepare(acquisition, FLAT, sensitivities=true_sensitivities())
    assert prepared.agreement is None
    np.testing.assert_array_equal(prepared.sensitivities, true_sensitivities().astype(np.complex64))
    covariance = prepared.acquisition.noise @ prepared.acquisition.noise.conj().T / 4096
    np.testing.assert_allclose(covariance, np.eye(N_COILS), atol=1e-4)  # complex64
    _, whitening = acquisition.prewhitened()
    expected = np.einsum("ij,jyx->iyx", whitening, true_sensitivities())
    # Complex64, relative to the largest.
    np.testing.assert_allclose(prepared.encoding_sensitivities, expected, atol=1e-5 * np.abs(expected).max())


def test_without_noise_samples_nothing_is_whitened(acquisition):
    bare = replace(acquisition, noise=None)
    prepared = prepare(bare, FLAT, sensitivities=true_sensitivities())
    np.testing.assert_array_equal(prepared.acquisition.kspace, acquisition.kspace)
    np.testing.assert_array_equal(prepared.encoding_sensitivities, prepared.sensitivities)


def test_dead_coils_are_left_out(acquisition):
    kspace = acquisition.kspace.copy()
    kspace[2] = 0
    prepared = prepare(replace(acquisition, kspace=kspace), FLAT, coil_method="adaptive")
    assert prepared.n_dead_coils == 1
    assert prepared.acquisition.n_coils == len(prepared.encoding_sensitivities) == N_COILS - 1
    assert not prepared.sensitivities[2].any()
    assert prepared.sensitivities[[0, 1, 3, 4, 5]].any(axis=(1, 2)).all()


def test_sensitivities_of_virtual_coils_return_in_the_channels_of_the_raw_data(acquisition):
    prepared = prepare(acquisition, FLAT, coil_method="adaptive", virtual_coils=5)
    assert prepared.acquisition.n_coils == len(prepared.encoding_sensitivities) == 5
    assert 0.99 < prepared.kept_energy < 1
    overlap = np.abs(np.einsum("cyx,cyx->yx", prepared.sensitivities.conj(), true_sensitivities()))
    assert overlap[8:24, 8:24].min() > 0.97  # as with all coils
    # In the virtual channels they are what explains the virtual coils.
    assert prepared.agreement[8:24, 8:24].min() > 0.97


def test_given_sensitivities_are_compressed_like_the_kspace(acquisition):
    prepared = prepare(acquisition, FLAT, sensitivities=true_sensitivities(), virtual_coils=4)
    whitened, whitening = acquisition.prewhitened()
    compression = compress_coils(whitened, 4)
    np.testing.assert_array_equal(prepared.acquisition.kspace, compression.acquisition.kspace)
    expected = np.einsum("ij,jk,kyx->iyx", compression.matrix, whitening, true_sensitivities())
    np.testing.assert_allclose(
        prepared.encoding_sensitivities, expected, atol=1e-5 * np.abs(expected).max()
    )  # complex64
    np.testing.assert_array_equal(prepared.sensitivities, true_sensitivities().astype(np.complex64))


def test_virtual_coils_are_at_most_the_live_ones(acquisition):
    kspace = acquisition.kspace.copy()
    kspace[2] = 0
    broken = replace(acquisition, kspace=kspace)
    options = {"sensitivities": true_sensitivities(), "virtual_coils": N_COILS}
    assert prepare(broken, FLAT, **options).acquisition.n_coils == N_COILS - 1
    with pytest.raises(ValueError, match="virtual_coils=7 exceeds the 6 coils"):
        prepare(broken, FLAT, virtual_coils=7)


def test_unknown_methods_are_refused(acquisition):
    with pytest.raises(ValueError, match="coil_method='sum' must be one of espirit, adaptive"):
        prepare(acquisition, FLAT, coil_method="sum")
