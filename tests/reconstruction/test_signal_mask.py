"""The mask of drawn energies, and the agreement of coil images with sensitivities."""

import numpy as np
import pytest

from reconstruction.signal_mask import coil_agreement, signal_mask


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal((*shape, 2)) @ [1, 1j]


def energy_of(*rectangles, level=0.01):
    """Image (40, 50) of a low background and bright rectangles (rows, columns, value)."""
    energy = np.full((40, 50), level)
    for rows, columns, value in rectangles:
        energy[rows, columns] = value
    return energy


LARGE = (slice(5, 35), slice(5, 30), 1.0)


def masked(energy, noise=1e-3, **arguments):
    return signal_mask(energy, np.full(energy.shape, noise), **arguments)


@pytest.mark.parametrize(("width", "taken"), [(5, True), (4, False)])  # 10 and 8 pixels
def test_specks_are_dropped_by_their_pixels_whatever_the_image(width, taken):
    speck = (slice(10, 12), slice(40, 40 + width), 0.5)
    mask = masked(energy_of(LARGE, speck))
    assert mask[speck[:2]].all() == mask[speck[:2]].any() == taken
    assert mask.sum() == 750 + 10 * taken
    # Alone, it is the whole object.
    if taken:
        np.testing.assert_array_equal(masked(energy_of(speck)), energy_of(speck) > 0.1)


@pytest.mark.parametrize(("width", "filled"), [(4, True), (5, False)])
def test_holes_are_filled_where_they_exceed_the_noise(width, filled):
    hole = (slice(10, 12), slice(10, 10 + width), 0.05)
    assert masked(energy_of(LARGE, hole))[hole[:2]].all() == filled
    assert not masked(energy_of(LARGE, hole), noise=0.02)[hole[:2]].any()


def test_threshold_is_a_tenth_of_the_brightest_but_for_a_few_voxels():
    weak = (slice(10, 20), slice(35, 45), 0.11)
    few = (slice(7, 8), slice(6, 15), 1000.0)  # 9 voxels
    for bright in ((LARGE, weak), (LARGE, weak, few)):
        assert masked(energy_of(*bright))[weak[:2]].all()
    assert not masked(energy_of(LARGE, (*weak[:2], 0.09)))[weak[:2]].any()


def test_voxels_must_exceed_four_times_the_noise():
    noise = np.full((40, 50), 0.1)
    noise[:, 20:] = 0.3  # noise of sensitivities that are weak there
    noise[:, 25:] = np.inf
    mask = signal_mask(energy_of(LARGE), noise)
    np.testing.assert_array_equal(mask[5:35, 5:20], True)
    assert mask.sum() == 30 * 15


def test_voxels_must_agree():
    agreement = np.where(np.arange(50) < 20, 0.81, 0.79) * np.ones((40, 1))
    assert masked(energy_of(LARGE), agreement=agreement).sum() == 30 * 15
    # What does not agree does not set the scale either.
    artefact = (slice(0, 40), slice(45, 50), 100.0)
    assert masked(energy_of(LARGE, artefact), agreement=agreement).sum() == 30 * 15


@pytest.mark.parametrize(
    "energy", [energy_of(), energy_of((slice(3, 6), slice(3, 6), 1.0)), np.zeros((40, 50))]
)
def test_empty_slices_are_refused(energy):
    with pytest.raises(ValueError, match=r"at least 10 pixels stands out from the noise.*\(--mask\)"):
        masked(energy, noise=0.01)


def test_agreement_of_images_of_one_object_is_one_and_of_noise_low():
    sensitivities = random(8, 30, 40)
    images = (3e4 * sensitivities * random(30, 40, seed=1)).astype(np.complex64)
    np.testing.assert_allclose(coil_agreement(images, sensitivities), 1, rtol=1e-5)  # single precision
    images[:, :, 20:] = random(8, 30, 20, seed=2)
    agreement = coil_agreement(images, sensitivities)
    np.testing.assert_allclose(agreement[:, :19], 1, rtol=1e-5)
    # Vectors of no relation: 1 / 8 of the power, as the mean over nine pixels.
    assert np.mean(agreement[:, 21:] ** 2) == pytest.approx(1 / 8, rel=0.2)


def test_agreement_is_zero_where_there_is_nothing_to_compare():
    sensitivities = random(3, 12, 12)
    sensitivities[:, :6] = 0
    agreement = coil_agreement(random(3, 12, 12, seed=1), sensitivities)
    assert (agreement[:5] == 0).all()
    assert (agreement[7:] > 0).all()
