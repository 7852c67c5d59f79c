"""Standard errors against the scatter over noise, and what they count."""

import numpy as np
import pytest

from dictionaries import Grid, generate, log_axis, match
from epgbloch import EPGBloch, Sequence, Tissue
from epgbloch.trains import sin_squared
from reconstruction.phantom import Phantom
from reconstruction.phantom_simulation import simulate_acquisition
from reconstruction.pipeline import reconstruct
from reconstruction.standard_errors import refine_voxels
from reconstruction.trajectory import golden_angle_radial

ENGINE = EPGBloch()
TRUTH = 0.91, 0.077  # between the points of the grid
SHAPE = (12, 14)


@pytest.fixture(scope="module")
def dictionary():
    sequence = Sequence(
        flip_angle=sin_squared(120, np.deg2rad([20, 60, 40])), tr=12e-3, te=4e-3, inversion_time=20e-3
    )
    grid = Grid(log_axis(0.3, 3, 12), log_axis(0.03, 0.3, 12), [1.0], [0.0])
    return generate(ENGINE, sequence, grid, rank=5)


def voxels(dictionary, deviation, seed=0, extra=0.0):
    """Coefficient images of one tissue with white noise, and its match."""
    signal = ENGINE.signal(dictionary.sequence, Tissue(*TRUTH)) @ dictionary.basis.conj()
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((2, 5, *SHAPE))
    images = signal[0, :, np.newaxis, np.newaxis] + deviation * (noise[0] + 1j * noise[1])
    images[-1] += extra
    mask = np.ones(SHAPE, dtype=bool)
    mask[0] = False
    images = images.astype(np.complex64)
    return images, match(dictionary, images[:, mask].T), mask


def refined(dictionary, images, found, mask, noise):
    noise_std = np.full(SHAPE, noise)
    noise_std[~mask] = np.inf  # not read
    return refine_voxels(ENGINE, dictionary, images, found, mask, noise_std, fit_b1=False)


def test_standard_errors_are_the_scatter_over_noise(dictionary):
    deviation = 0.01
    images, found, mask = voxels(dictionary, deviation)
    result = refined(dictionary, images, found, mask, deviation)
    assert result.converged.all()
    for name, true in zip(("t1", "t2"), TRUTH, strict=True):
        values, errors = getattr(result, name), getattr(result, f"{name}_std")
        # 154 voxels: the standard deviation is known within 6 %, its mean within 8 % of itself.
        assert values.std() == pytest.approx(np.median(errors), rel=0.2)
        assert np.mean(values) == pytest.approx(true, abs=4 * values.std() / np.sqrt(values.size))
        assert len(np.unique(getattr(found, name))) < 10 < len(np.unique(values))


def test_residual_counts_where_it_exceeds_the_noise(dictionary):
    images, found, mask = voxels(dictionary, 0.01)
    known, unknown = (refined(dictionary, images, found, mask, noise) for noise in (0.01, 1e-4))
    # The residual, 6 degrees of freedom in each of some 25 voxels, tells the noise within 20 %.
    np.testing.assert_allclose(unknown.t1_std, known.t1_std, rtol=0.3)
    loud = refined(dictionary, images, found, mask, 0.1)
    np.testing.assert_allclose(
        loud.t1_std, 10 * refined(dictionary, images, found, mask, 0.01).t1_std, rtol=0.3
    )


def test_residual_is_pooled_with_neighbours_only(dictionary):
    images, found, mask = voxels(dictionary, 1e-4)
    images[-1, 6, 6] += 0.02  # what the model cannot explain, in one voxel
    result = refined(dictionary, images, found, mask, 1e-4)
    errors = np.zeros(SHAPE)
    errors[mask] = result.t2_std
    near = np.zeros(SHAPE, dtype=bool)
    near[4:9, 4:9] = True
    assert errors[near].min() > 5 * errors[~near & mask].max()


def test_voxels_at_a_bound_have_no_standard_errors(dictionary):
    images, found, mask = voxels(dictionary, 1e-4)
    outside = ENGINE.signal(dictionary.sequence, Tissue(4.5, 0.077)) @ dictionary.basis.conj()
    images[:, 3, 3] = outside[0]  # T1 beyond the grid
    found = match(dictionary, images[:, mask].T)
    result = refined(dictionary, images, found, mask, 1e-4)
    assert result.at_bound.sum() == 1
    np.testing.assert_array_equal(np.isnan(result.t1_std), result.at_bound)
    assert result.t1[result.at_bound] == pytest.approx(3)


def disc(n=24, b1=1.0):
    y, x = np.mgrid[:n, :n] - (n - 1) / 2
    coils = np.stack([np.ones((n, n)), np.exp(0.04 * x + 0.03j * y)])
    return Phantom(
        names=("tissue",),
        fractions=(np.hypot(x, y) < 0.36 * n)[np.newaxis],
        t1=np.array([TRUTH[0]]),
        t2=np.array([TRUTH[1]]),
        proton_density=np.ones(1),
        b1=np.full((n, n), b1),
        coil_sensitivities=coils,
        fov=(0.2, 0.2),
    )


def test_standard_errors_of_maps(dictionary):
    """From noisy k-space on: scatter within the disc against the standard errors."""
    head = disc()
    trajectory = golden_angle_radial(240, 48)
    acquisition = simulate_acquisition(head, ENGINE, dictionary.sequence, trajectory, snr=10, seed=1)
    y, x = np.mgrid[:24, :24] - 11.5
    inner = np.hypot(x, y) < 6
    result = reconstruct(
        acquisition,
        dictionary,
        sensitivities=head.coil_sensitivities,
        mask=np.hypot(x, y) < 8,
        refine_with=ENGINE,
    )
    for name, true in zip(("t1", "t2"), TRUTH, strict=True):
        values = getattr(result.maps, name)[inner].astype(np.float64)
        error = float(np.median(getattr(result.maps, f"{name}_std")[inner]))
        # 112 voxels: 7 %; measured 0.88 to 1.15 over 10 seeds with SNR 10 and 40
        assert 0.75 < values.std() / error < 1.3, name
        assert np.median(values) == pytest.approx(true, abs=error)
    assert (result.maps.t1_std[~result.maps.mask] == 0).all()


def test_b1_is_fitted_where_the_dictionary_has_it(dictionary):
    grid = Grid(log_axis(0.3, 3, 8), log_axis(0.03, 0.3, 8), [0.8, 1.0, 1.2], [0.0])
    with_b1 = generate(ENGINE, dictionary.sequence, grid, rank=8)
    head = disc(b1=0.93)
    trajectory = golden_angle_radial(240, 48)
    acquisition = simulate_acquisition(head, ENGINE, dictionary.sequence, trajectory, snr=100, seed=1)
    y, x = np.mgrid[:24, :24] - 11.5
    result = reconstruct(
        acquisition,
        with_b1,
        sensitivities=head.coil_sensitivities,
        mask=np.hypot(x, y) < 4,
        n_iterations=20,
        refine_with=ENGINE,
    )
    inside = result.maps.mask
    # 0.8 or 1 without the fit
    assert np.median(result.maps.b1[inside]) == pytest.approx(0.93, abs=0.03)
    assert np.isfinite(result.maps.b1_std[inside]).mean() > 0.8
