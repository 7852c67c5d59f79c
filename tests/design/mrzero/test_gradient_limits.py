"""The penalty of gradients against waveforms on a fine raster."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from design.mrzero import ImagingSequence
from design.mrzero.gradient_limits import gradient_penalty
from design.pulseq.scanner import preset
from epgbloch.constants import GAMMA_BAR

SCANNER = preset("siemens")
G, S = SCANNER.max_gradient, SCANNER.max_slew


def largest_area(before, after, time, limit, slew):
    """Area of the largest waveform between two amplitudes, summed on a raster [T s/m]."""
    t = (np.arange(20000) + 0.5) * time / 20000
    return np.mean(np.minimum(limit, np.minimum(before + slew * t, after + slew * (time - t)))) * time


def line(areas, durations, adc):
    """One repetition with these areas along z [T s/m]."""
    moments = np.zeros((len(areas), 3))
    moments[:, 2] = np.array(areas) * GAMMA_BAR
    return ImagingSequence([0.1], [0.0], [len(areas)], moments, durations, adc)


@pytest.mark.parametrize("time", [0.1e-3, 0.3e-3, 2e-3])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("axis", [0, 2])
def test_trapezoids_have_their_ramps_inside(time, sign, axis):
    share = np.sqrt(0.5) if axis == 0 else 1.0
    largest = largest_area(0, 0, time, share * G, share * S)
    for factor, good in ((0.99, True), (1.01, False)):
        sequence = line([sign * factor * largest, 0.0], [time, 1e-3], [False, True])
        moments = np.roll(sequence.moments, axis - 2, axis=1)
        penalty = gradient_penalty(dataclasses.replace(sequence, moments=moments), SCANNER)
        assert (penalty == 0) == good


@pytest.mark.parametrize(("before", "after"), [(0.3, 0.0), (0.2, 0.5), (-0.2, 0.4)])
@pytest.mark.parametrize("sign", [1, -1])
def test_ramps_begin_and_end_at_readouts(before, after, sign):
    dwell, time = 1e-3, 0.25e-3
    before, after = sign * before * G, sign * after * G
    ramps = [0.5e-3, 0.5e-3]
    first = 0.5 * before * ramps[0]
    last = 0.5 * after * ramps[1]
    high = largest_area(before, after, time, G, S)
    low = -largest_area(-before, -after, time, G, S)
    margin = 0.01 * (high - low)
    inside, outside = (high - margin, low + margin), (high + margin, low - margin)
    for area in inside + outside:
        sequence = line(
            [first, before * dwell, area, after * dwell, last],
            [ramps[0], dwell, time, dwell, ramps[1]],
            [False, True, False, True, False],
        )
        assert (gradient_penalty(sequence, SCANNER) == 0) == (area in inside)


def test_readouts_keep_to_amplitude_and_slew():
    ramp = 0.5e-3

    def penalty(amplitudes, dwell=50e-6):
        amplitudes = np.array(amplitudes)
        areas = [0.5 * amplitudes[0] * ramp, *(amplitudes * dwell), 0.5 * amplitudes[-1] * ramp]
        n = len(amplitudes)
        sequence = line(areas, [ramp, *[dwell] * n, ramp], [False, *[True] * n, False])
        return float(gradient_penalty(sequence, SCANNER))

    assert penalty([0.99 * G, 0.99 * G]) == 0
    assert penalty([1.01 * G, 1.01 * G]) > 0
    change = S * 50e-6
    assert penalty([0.0, 0.99 * change]) == 0
    # the square of 1 % of what changes between two samples
    np.testing.assert_allclose(penalty([0.0, 1.01 * change]), (0.01 * change / G) ** 2, rtol=1e-2)


def test_amplitudes_are_zero_at_pulses():
    moment = np.array([[0, 0, 0.1 * G * 1e-3 * GAMMA_BAR]])
    sequence = ImagingSequence([0.1], [0.0], [1], moment, [1e-3], [True])
    np.testing.assert_allclose(gradient_penalty(sequence, SCANNER), 2 * 0.1**2, rtol=1e-5)
    two = ImagingSequence([0.1] * 2, [0.0] * 2, [1, 1], np.tile(moment, (2, 1)), [1e-3] * 2, [True] * 2)
    # both amplitudes beside the second pulse are out of place
    np.testing.assert_allclose(gradient_penalty(two, SCANNER), (1 + 4 + 1) * 0.1**2, rtol=1e-5)


def test_sequences_of_the_field_can_be_played(sequence):
    slow = dataclasses.replace(
        sequence, moments=0.3 * sequence.moments, durations=np.maximum(sequence.durations, 4e-3)
    )
    assert gradient_penalty(slow, SCANNER) == 0
    assert gradient_penalty(sequence, preset("siemens", max_slew=1.0)) > 0


def test_gradients_agree_with_finite_differences(sequence):
    scanner = preset("siemens", max_slew=20.0, max_gradient=5e-3)
    moments = tf.Variable(2 * sequence.moments, dtype=tf.float32)
    durations = tf.Variable(sequence.durations, dtype=tf.float32)
    with tf.GradientTape() as tape:
        penalty = gradient_penalty(sequence, scanner, moments=moments, durations=durations)
    by_moments, by_durations = (g.numpy() for g in tape.gradient(penalty, [moments, durations]))
    rng = np.random.default_rng(0)
    directions = {"moments": rng.normal(size=moments.shape), "durations": 1e-5 * rng.random(durations.shape)}
    for name, gradient in (("moments", by_moments), ("durations", by_durations)):
        values = {"moments": moments.numpy(), "durations": durations.numpy()}
        moved = [
            gradient_penalty(sequence, scanner, **{**values, name: values[name] + s * directions[name]})
            for s in (1, -1)
        ]
        slope = np.sum(gradient * directions[name])
        # rounding of float32, and the curvature of squares and of 1 / time
        np.testing.assert_allclose((moved[0] - moved[1]) / 2, slope, rtol=2e-2)


def test_bad_input():
    sequence = line([0.0, 0.0], [1e-3, 1e-3], [False, True])
    with pytest.raises(ValueError, match=r"moments has shape \(1, 3\); it must be \(2, 3\)"):
        gradient_penalty(sequence, SCANNER, moments=np.zeros((1, 3)))
    with pytest.raises(ValueError, match=r"durations\[1\]=0 s of a sampled event must be positive"):
        gradient_penalty(sequence, SCANNER, durations=[1e-3, 0.0])
