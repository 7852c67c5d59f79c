"""Given sensitivities against the coil images of an object behind them."""

import numpy as np
import pytest

from reconstruction.phantom_fields import birdcage_sensitivities
from reconstruction.sensitivity_check import check_sensitivities

MATRIX, N_COILS = (40, 40), 6
COILS = birdcage_sensitivities(N_COILS, MATRIX)


def coil_images(matrix=MATRIX, noise=0.05):
    """An ellipse off the centre, with noise of single pixels."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in matrix), indexing="ij")
    inside = ((x - 0.2) / 0.5) ** 2 + ((y + 0.1) / 0.7) ** 2 < 1
    rng = np.random.default_rng(0)
    coils = birdcage_sensitivities(N_COILS, matrix)
    images = coils * inside + noise * rng.standard_normal((*coils.shape, 2)) @ [1, 1j]
    return images.astype(np.complex64)


def test_right_sensitivities_explain_the_images():
    # Measured 0.97: the noise left by smoothing.
    assert check_sensitivities(coil_images(), COILS, noise_known=True) > 0.95
    # Whatever their scale, from pixel to pixel.
    scale = np.linspace(1, 5, 40) * np.exp(1j * np.linspace(0, 3, 40))
    explained = check_sensitivities(coil_images(), COILS * scale, noise_known=True)
    assert explained == pytest.approx(check_sensitivities(coil_images(), COILS, noise_known=True), rel=1e-4)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda c: c.swapaxes(1, 2), r"x and y \(kx and ky\) are exchanged: "),
        (lambda c: c[:, :, ::-1], "x is mirrored"),
        (lambda c: c[:, ::-1], "y is mirrored"),
        (lambda c: c[:, ::-1, ::-1], "x and y are mirrored"),
        (lambda c: c.swapaxes(1, 2)[:, ::-1, ::-1], r"are exchanged and both mirrored"),
        (lambda c: c.swapaxes(1, 2)[:, ::-1], r"are exchanged and x is mirrored"),
        (lambda c: c.swapaxes(1, 2)[..., ::-1], r"are exchanged and y is mirrored"),
        (np.conj, "they are conjugated"),
    ],
)
@pytest.mark.parametrize("noise_known", [False, True])
def test_faults_of_axes_and_signs_are_named(change, fault, noise_known):
    with pytest.raises(ValueError, match=rf"explain \d+ % of the coil images, but 9\d % if .*{fault}"):
        check_sensitivities(coil_images(), change(COILS), noise_known=noise_known)


def test_other_sensitivities_are_refused():
    others = COILS[[3, 0, 5, 1, 2, 4]]
    with pytest.raises(
        ValueError, match=r"explain only \d+ % of the coil images: they belong to another scan"
    ):
        check_sensitivities(coil_images(), others, noise_known=True)
    # The noise of a loud coil could be what they do not explain.
    assert check_sensitivities(coil_images(), others, noise_known=False) < 0.5


def test_images_that_are_not_square_are_compared_with_mirrored_ones():
    matrix = (32, 48)
    coils = birdcage_sensitivities(N_COILS, matrix)
    assert check_sensitivities(coil_images(matrix), coils, noise_known=True) > 0.95
    with pytest.raises(ValueError, match="if y is mirrored"):
        check_sensitivities(coil_images(matrix), coils[:, ::-1], noise_known=True)
