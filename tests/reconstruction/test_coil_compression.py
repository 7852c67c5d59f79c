"""Virtual coils against the singular value decomposition of k-space."""

import numpy as np
import pytest

from reconstruction.acquisition import Acquisition
from reconstruction.coil_compression import compress_coils
from reconstruction.trajectory import golden_angle_radial


def complex_normal(rng, *shape):
    return rng.standard_normal((*shape, 2)) @ [1, 1j]


def acquisition(n_sources=3, noise=0.0, scale=1.0):
    """Eight coils that are combinations of a few signals of different strength."""
    rng = np.random.default_rng(0)
    strength = 2.0 ** -np.arange(n_sources)
    sources = strength[:, None] * complex_normal(rng, n_sources, 20 * 32)
    kspace = complex_normal(rng, 8, n_sources) @ sources + noise * complex_normal(rng, 8, 20 * 32)
    trajectory = golden_angle_radial(20, 32)
    kspace = scale * kspace.reshape(8, 20, 32)
    return Acquisition(kspace, trajectory, (16, 16), (0.2, 0.2), noise=complex_normal(rng, 8, 500))


@pytest.mark.parametrize("scale", [1.0, 1e-25, 1e25])  # squares beyond the range of float32
def test_all_signal_is_kept_by_as_many_coils_as_there_are_signals(scale):
    data = acquisition(scale=scale)
    compression = compress_coils(data, 3)
    assert compression.kept_energy == pytest.approx(1, abs=1e-6)  # complex64
    back = np.tensordot(compression.matrix.conj().T, compression.acquisition.kspace, axes=1)
    np.testing.assert_allclose(back, data.kspace, atol=1e-5 * np.abs(data.kspace).max())  # complex64


@pytest.mark.parametrize("n_virtual", [1, 3, 8])
def test_energy_is_that_of_the_singular_values(n_virtual):
    data = acquisition(n_sources=8, noise=0.1)
    compression = compress_coils(data, n_virtual)
    singular = np.linalg.svd(data.kspace.reshape(8, -1).astype(complex), compute_uv=False)
    kept = (singular[:n_virtual] ** 2).sum() / (singular**2).sum()
    assert compression.acquisition.n_coils == n_virtual
    assert compression.kept_energy == pytest.approx(kept, abs=1e-6)  # complex64
    energies = np.linalg.norm(compression.acquisition.kspace.reshape(n_virtual, -1), axis=1)
    np.testing.assert_allclose(energies, singular[:n_virtual], rtol=1e-5)  # complex64; strongest first


def test_white_noise_stays_white():
    data = acquisition()
    compression = compress_coils(data, 5)
    np.testing.assert_allclose(compression.matrix @ compression.matrix.conj().T, np.eye(5), atol=1e-6)
    expected = compression.matrix @ data.noise
    np.testing.assert_allclose(compression.acquisition.noise, expected, rtol=1e-6)  # complex64


def test_a_fraction_takes_as_many_coils_as_keep_it():
    data = acquisition(n_sources=8, noise=0.1)
    for fraction in (0.5, 0.9, 0.99):
        n_virtual = compress_coils(data, fraction).acquisition.n_coils
        assert compress_coils(data, n_virtual).kept_energy >= fraction
        assert n_virtual == 1 or compress_coils(data, n_virtual - 1).kept_energy < fraction
    assert compress_coils(data, 1 - 1e-16).acquisition.n_coils == 8
    assert compress_coils(data, 0.5).acquisition.n_coils < compress_coils(data, 0.99).acquisition.n_coils


@pytest.mark.parametrize(
    ("virtual_coils", "message"),
    [
        (0, "virtual_coils=0 must be a whole number of coils, or a fraction"),
        (-0.5, "virtual_coils=-0.5 must be a whole number"),
        (1.5, "virtual_coils=1.5 must be a whole number"),
        (np.nan, "virtual_coils=nan must be a whole number"),
        (np.inf, "virtual_coils=inf must be a whole number"),
        (9, "virtual_coils=9 exceeds the 8 coils"),
    ],
)
def test_numbers_out_of_range_are_refused(virtual_coils, message):
    with pytest.raises(ValueError, match=message):
        compress_coils(acquisition(), virtual_coils)


def test_empty_kspace_is_refused():
    with pytest.raises(ValueError, match="kspace is zero everywhere"):
        compress_coils(acquisition(scale=0.0), 2)
