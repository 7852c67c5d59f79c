"""From a sequence through the twin to an image and its error, and back."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from design.mrzero import ImageGrid
from design.mrzero.losses import image_error
from design.mrzero.optimiser import Phase, optimise
from design.mrzero.reconstruction import adjoint, fft
from design.mrzero.tf_twin import signals
from design.mrzero.trajectory import nominal_trajectory
from design.mrzero.twin import Twin

GRID = ImageGrid((6, 6), (0.18, 0.18))  # that of the voxels


@pytest.fixture
def problem(sequence, make_voxels):
    if sequence.flip_angle[0] == np.pi / 2 and sequence.n_repetitions > 1:
        use = ["excitation"] + ["refocusing"] * (sequence.n_repetitions - 1)
        sequence = dataclasses.replace(sequence, use=use)
    twin = Twin(make_voxels(b1=1.0))

    def image(flip_angle, moments):
        signal = signals(twin, sequence, flip_angle=flip_angle, moments=moments)
        return adjoint(signal, nominal_trajectory(sequence, moments), GRID)[0]

    return sequence, twin, image


@pytest.mark.parametrize("sequence", ["FLASH", "TSE", "bSSFP", "EPI"], indirect=True)
def test_cartesian_images_show_the_object(problem, make_voxels):
    sequence, twin, image = problem
    found = image(sequence.flip_angle, sequence.moments).numpy()
    signal, k = signals(twin, sequence), nominal_trajectory(sequence)
    # float32 k, and places of samples
    np.testing.assert_allclose(fft(signal, k, GRID)[0], found, atol=1e-4 * np.abs(found).max())
    density = make_voxels().proton_density.reshape(GRID.shape)
    # weighted by relaxation, and blurred by decay and off-resonance: alike, in its own place
    likeness = np.sum(np.abs(found) * density) / np.linalg.norm(found) / np.linalg.norm(density)
    moved = np.roll(density, 1, axis=1)
    other = np.sum(np.abs(found) * moved) / np.linalg.norm(found) / np.linalg.norm(moved)
    assert likeness > max(0.85, other)


def test_gradients_agree_with_finite_differences(problem):
    sequence, _, image = problem
    rng = np.random.default_rng(2)
    target = np.abs(image(sequence.flip_angle, sequence.moments)) + 0.05
    angle = tf.Variable(sequence.flip_angle, dtype=tf.float32)
    moments = tf.Variable(sequence.moments, dtype=tf.float32)
    with tf.GradientTape() as tape:
        loss = image_error(image(angle, moments), target)
    by_angle, by_moments = (g.numpy() for g in tape.gradient(loss, [angle, moments]))
    # uphill, where slopes stand out from what the twin leaves out, but each element at its own pace
    first, second = (g / np.abs(g).max() * rng.uniform(0.5, 1.5, g.shape) for g in (by_angle, by_moments))
    for gradient, one, other in ((by_angle, 0.01 * first, 0), (by_moments, 0, 0.01 * second)):
        moved = [
            image_error(image(sequence.flip_angle + s * one, sequence.moments + s * other), target)
            for s in (1, -1)
        ]
        slope = np.sum(gradient * (one if np.ndim(one) else other))
        # the tolerance of the twin, 1e-3, over the step, and the square of the step
        assert abs((moved[0] - moved[1]) / 2 - slope) < 1e-2 * slope


@pytest.mark.parametrize("sequence", ["TSE"], indirect=True)
def test_a_sequence_finds_its_target(problem):
    sequence, _, image = problem
    target = image(sequence.flip_angle, sequence.moments)

    def loss(values):
        return image_error(image(values["flip_angle"], sequence.moments), target)

    found = optimise(
        loss, {"flip_angle": 0.6 * sequence.flip_angle}, Phase({"flip_angle": 0.1}, 40), decay=0.05
    )
    assert found.losses[0] > 30
    assert found.loss < 10  # percent
