"""Time segmentation against the exact phase."""

import numpy as np
import pytest

from reconstruction.off_resonance import time_segments

TIMES = np.linspace(-2e-3, 6e-3, 50)


def segments(low, high, accuracy=1e-3, times=TIMES):
    field = np.append(np.linspace(low, high, 197), 1e4)  # the last pixel is outside the coils
    return field[:-1], time_segments(field, times, field < 1e4, accuracy)


@pytest.mark.parametrize("accuracy", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("bounds", [(-150, 150), (300, 320), (-800, 400)])
def test_phase_factors_are_accurate(bounds, accuracy):
    field, (images, differences) = segments(*bounds, accuracy)
    exact = np.exp(2j * np.pi * np.outer(field, TIMES))
    error = np.abs(images.phases[:, :-1].T @ images.weights - exact).max()
    # the accuracy holds between the frequencies of the fit, too, to a few percent; and single precision
    assert error < 1.1 * accuracy + 3e-6
    pairs = differences.phases[:, :-1].conj() * differences.phases[:, [0]]
    error = np.abs(pairs.T @ differences.weights - exact.conj() * exact[0]).max()
    assert error < 1.1 * accuracy + 3e-6
    assert np.isrealobj(differences.weights)


def test_number_of_segments_follows_range_duration_and_accuracy():
    def count(low, high, accuracy=1e-3, times=TIMES):
        return [len(part) for part in segments(low, high, accuracy, times)[1]]

    assert count(-100, 100) == count(200, 400) == count(-200, 200, times=TIMES / 2)
    assert count(-100, 100)[1] == count(-200, 200)[0]
    assert count(50, 50) == [1, 1]
    for more in (count(-400, 400), count(-100, 100, 1e-6), count(-100, 100, times=4 * TIMES)):
        assert min(np.subtract(more, count(-100, 100))) > 0
    # 2 x half the range x duration, and up to ten more
    assert 16 < count(-1000, 1000)[0] < 26
    # one for each sample is exact
    assert count(-1e4, 1e4) == [50, 50]
