"""Pixels in space."""

import numpy as np
import pytest

from design.mrzero import ImageGrid


def test_the_centre_is_pixel_n_over_2():
    grid = ImageGrid((4, 3), (0.2, 0.3))
    np.testing.assert_allclose(grid.y, [-0.1, -0.05, 0, 0.05], atol=1e-15)
    np.testing.assert_allclose(grid.x, [-0.1, 0, 0.1], atol=1e-15)
    assert grid.n_pixels == 12


@pytest.mark.parametrize(
    ("shape", "fov", "message"),
    [
        ((4, 0), (0.2, 0.2), "shape=0 must be an integer of at least 1"),
        ((4, 4), (0.2, -0.2), "fov=-0.2 must be positive"),
        ((4,), (0.2, 0.2), r"shape=\(4,\) must be two numbers"),
        ((4, 4), (0.2, 0.2, 0.2), "must be two numbers"),
    ],
)
def test_bad_grids(shape, fov, message):
    with pytest.raises(ValueError, match=message):
        ImageGrid(shape, fov)
