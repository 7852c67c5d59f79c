"""Coil images against direct sums; sensitivities against those an object was made with."""

import numpy as np
import pytest

from reconstruction.acquisition import Acquisition
from reconstruction.coils import adaptive_combine, coil_images, espirit
from reconstruction.trajectory import cartesian_lines, density_compensation, golden_angle_radial


def synthetic(n=48, n_coils=6):
    """Sensitivities (unit sum of squares), object, mask."""
    y, x = np.meshgrid(np.linspace(-1, 1, n), np.linspace(-1, 1, n), indexing="ij")
    angle = 2 * np.pi * np.arange(n_coils)[:, None, None] / n_coils
    distance = (x - 1.2 * np.cos(angle)) ** 2 + (y - 1.2 * np.sin(angle)) ** 2
    sensitivities = np.exp(-distance / 1.5) * np.exp(1j * (angle + 0.8 * x * np.cos(angle) + 0.5 * y))
    sensitivities /= np.linalg.norm(sensitivities, axis=0)
    mask = (x / 0.8) ** 2 + (y / 0.7) ** 2 < 1
    image = mask * (1 + 0.5 * ((x - 0.2) ** 2 + y**2 < 0.1)) * np.exp(0.6j * x)
    return sensitivities, image, mask


def agreement(result, expected, mask):
    return np.abs(np.einsum("cyx,cyx->yx", result.conj(), expected))[mask]


def small_acquisition():
    rng = np.random.default_rng(0)
    kspace = rng.standard_normal((2, 9, 16, 2)) @ [1, 1j]
    return Acquisition(kspace, golden_angle_radial(9, 16), matrix=(7, 8), fov=(0.1, 0.1))


def direct_adjoint(acquisition, weights):
    ny, nx = acquisition.matrix
    importance = (np.abs(weights) ** 2 / np.mean(np.abs(weights) ** 2) + 0.1) / 1.1
    compensation = density_compensation(acquisition.trajectory, acquisition.matrix, importance=importance)
    kx, ky = np.moveaxis(acquisition.trajectory.astype(float), -1, 0)
    y = (np.arange(ny) - ny // 2)[:, None, None, None]
    x = (np.arange(nx) - nx // 2)[:, None, None]
    phase = np.exp(2j * np.pi * (kx * x + ky * y))
    return np.einsum("yxtm,ctm->cyx", phase, acquisition.kspace * compensation * weights.conj()[:, None])


@pytest.mark.parametrize("weighted", [False, True])
def test_coil_images_match_direct_sum(weighted):
    acquisition = small_acquisition()
    weights = np.random.default_rng(1).standard_normal((9, 2)) @ [1, 1j] if weighted else None
    images = coil_images(acquisition, weights)
    expected = direct_adjoint(acquisition, np.ones(9) if weights is None else weights)
    assert images.dtype == np.complex64
    # NUFFT accuracy 1e-5; threads change the last digits of the density compensation.
    np.testing.assert_allclose(images, expected, atol=1e-4 * np.abs(expected).max())


def test_lines_of_little_weight_are_as_bright_as_the_others():
    sensitivities, image, _ = synthetic()
    kspace = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(sensitivities * image, (-2, -1))), (-2, -1))
    lines = np.random.default_rng(0).permutation(np.repeat(np.arange(48), 2))
    weights = 1 + 0.7 * np.sin(np.arange(96))  # also the signal over time
    samples = kspace[:, lines] * weights[:, None]
    acquisition = Acquisition(samples, cartesian_lines(lines, 48, matrix=(48, 48)), (48, 48), (0.2, 0.2))
    result = coil_images(acquisition, weights).ravel()
    expected = (sensitivities * image).ravel()
    scale = np.vdot(expected, result) / np.linalg.norm(expected) ** 2
    # Two readouts a line: |w|^2 summed is 0.2 to 5.6, and a tenth of the mean on top of it. Without regard to
    # the weights the error is 0.34, with it 0.08.
    assert np.linalg.norm(result / scale - expected) < 0.12 * np.linalg.norm(expected)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(8), r"weights has shape \(8,\)"),
        (np.full(9, np.nan), "finite"),
        (np.zeros(9), "not all zero"),
    ],
)
def test_wrong_readout_weights_are_named(weights, message):
    with pytest.raises(ValueError, match=message):
        coil_images(small_acquisition(), weights)


@pytest.mark.parametrize("estimate", [adaptive_combine, espirit])
def test_sensitivities_match_those_of_the_object(estimate):
    sensitivities, image, mask = synthetic()
    rng = np.random.default_rng(2)
    images = sensitivities * image + 0.01 * rng.standard_normal((*sensitivities.shape, 2)) @ [1, 1j]
    result = estimate(images)
    assert result.dtype == np.complex64
    np.testing.assert_allclose(np.linalg.norm(result, axis=0), 1, atol=1e-5)  # complex64
    assert agreement(result, sensitivities, mask).min() > 0.99
    # The common phase that is left free is smooth: no jump between neighbours in the object.
    phase = np.einsum("cyx,cyx->yx", result.conj(), sensitivities)
    step = np.angle(phase[:, 1:] * phase[:, :-1].conj())[mask[:, 1:] & mask[:, :-1]]
    assert np.abs(step).max() < 0.1
    # Invariant under the scale of the data.
    np.testing.assert_allclose(estimate(1e-15 * images), result, atol=1e-4)


@pytest.mark.parametrize("estimate", [adaptive_combine, espirit])
def test_virtual_coil_is_real_whatever_the_order_of_coils(estimate):
    sensitivities, image, mask = synthetic()
    images = (sensitivities * image).astype(np.complex64)
    images[0] = 0  # a dark first coil is no reference
    result = estimate(images)
    np.testing.assert_allclose(result[0, mask], 0, atol=1e-5)
    order = [3, 0, 5, 1, 4, 2]
    reordered = estimate(images[order])
    ratio = np.einsum("cyx,cyx->yx", result[order].conj(), reordered)[mask]
    # Equal but for the one free phase of the virtual coil.
    np.testing.assert_allclose(ratio / ratio[0], 1, atol=1e-3)


@pytest.mark.parametrize("estimate", [adaptive_combine, espirit])
def test_single_coil_has_unit_sensitivity(estimate):
    _, image, _ = synthetic()
    result = estimate(image[None] + 1e-3)
    np.testing.assert_allclose(np.abs(result), 1, atol=1e-5)
    assert np.abs(np.diff(np.angle(result), axis=-1)).max() < 0.1


def test_wider_kernel_averages_more_noise():
    sensitivities, image, mask = synthetic()
    rng = np.random.default_rng(3)
    images = sensitivities * image + 0.2 * rng.standard_normal((*sensitivities.shape, 2)) @ [1, 1j]
    errors = [
        1 - agreement(adaptive_combine(images, n_kernel=n), sensitivities, mask).mean() for n in (1, 3, 7)
    ]
    assert errors[0] > 3 * errors[1] > 6 * errors[2]


@pytest.mark.parametrize("changes", [{"calibration_width": 12}, {"kernel_width": 4}, {"threshold": 0.2}])
def test_espirit_parameters_change_the_maps(changes):
    sensitivities, image, mask = synthetic()
    rng = np.random.default_rng(2)
    images = sensitivities * image + 0.05 * rng.standard_normal((*sensitivities.shape, 2)) @ [1, 1j]
    difference = np.abs(espirit(images, **changes) - espirit(images))[:, mask]
    assert 1e-4 < difference.mean() < 0.05  # they change, and stay estimates of the same maps


def test_espirit_crop_zeroes_background_and_default_keeps_all():
    sensitivities, image, mask = synthetic()
    rng = np.random.default_rng(2)
    images = sensitivities * image + 0.01 * rng.standard_normal((*sensitivities.shape, 2)) @ [1, 1j]
    cropped = np.linalg.norm(espirit(images, crop=0.98), axis=0)
    assert cropped[mask].mean() > 0.95
    assert 0 < cropped[~mask].mean() < 0.8
    np.testing.assert_allclose(np.linalg.norm(espirit(images), axis=0), 1, atol=1e-5)  # complex64


@pytest.mark.parametrize("estimate", [adaptive_combine, espirit])
@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.ones((32, 32)), r"images must have shape \(n_coils, ny, nx\)"),
        (np.ones((0, 32, 32)), r"images must have shape"),
        (np.zeros((2, 32, 32)), "zero everywhere"),
        (np.where(np.arange(32) == 5, np.nan, np.ones((2, 32, 32))), "coil 0, pixel y=0, x=5"),
    ],
)
def test_wrong_images_are_named(estimate, images, message):
    with pytest.raises(ValueError, match=message):
        estimate(images)


@pytest.mark.parametrize(
    ("estimate", "changes", "message"),
    [
        (adaptive_combine, {"n_kernel": 0}, "n_kernel=0"),
        (adaptive_combine, {"n_kernel": 33}, "n_kernel=33"),
        (espirit, {"calibration_width": 33}, "calibration_width=33"),
        (espirit, {"kernel_width": 24}, "kernel_width=24"),
        (espirit, {"threshold": 1.0}, r"threshold=1\.0"),
        (espirit, {"crop": -0.1}, r"crop=-0\.1"),
    ],
)
def test_wrong_parameters_are_named(estimate, changes, message):
    with pytest.raises(ValueError, match=message):
        estimate(np.ones((2, 32, 32)), **changes)
