import numpy as np
import pytest
from matplotlib.colors import to_rgb

from reconstruction.colours import COLOUR_MAPS, relaxation_norm


def test_scale_is_linear_then_logarithmic():
    norm = relaxation_norm(3.0)
    knee = 3 / np.e
    # half of the colours on each side of the knee, so 1 + ln(x / knee) of 2 above it
    expected = [0, 0.25, 0.5, (1 + np.log(2 / knee)) / 2, 1]
    np.testing.assert_allclose(norm([0, knee / 2, knee, 2, 3]), expected, atol=1e-12)
    np.testing.assert_allclose(norm.inverse(expected), [0, knee / 2, knee, 2, 3], atol=1e-12)


def test_slope_of_the_scale_is_continuous():
    norm, knee, step = relaxation_norm(3.0), 3 / np.e, 1e-6
    below, at, above = norm([knee - step, knee, knee + step])
    assert above - at == pytest.approx(at - below, rel=1e-5)  # the second derivative above, times the step


@pytest.mark.parametrize(
    ("name", "colours"),
    # Colours 0, 128 and 255 of the published tables.
    [
        (
            "lipari",
            [(0.011370, 0.073240, 0.148284), (0.645983, 0.384501, 0.402616), (0.992307, 0.959017, 0.856609)],
        ),
        (
            "navia",
            [(0.013420, 0.075817, 0.152989), (0.255325, 0.542974, 0.501320), (0.986688, 0.958281, 0.850479)],
        ),
    ],
)
def test_colours_are_the_published_ones(name, colours):
    found = COLOUR_MAPS[name]([0, 128, 255])[:, :3]
    np.testing.assert_allclose(found, colours, atol=1.5 / 255)  # rounded, interpolated


@pytest.mark.parametrize("name", ["lipari", "navia"])
def test_lightness_rises_evenly(name):
    colours = np.array([to_rgb(colour) for colour in COLOUR_MAPS[name](np.linspace(0, 1, 64))])
    linear = np.where(colours > 0.04045, ((colours + 0.055) / 1.055) ** 2.4, colours / 12.92)  # sRGB
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    lightness = 116 * np.cbrt(np.maximum(luminance, 0.008856)) - 16  # CIE L*, linear near black left out
    steps = np.diff(lightness[luminance > 0.008856])
    # All rise; the published maps vary by a factor of about 2.5 around the mean step.
    assert (steps > 0).all()
    assert steps.max() < 3 * steps.mean()
