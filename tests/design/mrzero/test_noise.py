"""Noise of reconstructions against many images of noise."""

import numpy as np
import pytest
import tensorflow as tf

from design.mrzero import ImageGrid
from design.mrzero.noise import noise_deviation, replica_deviation
from design.mrzero.reconstruction import adjoint

GRID = ImageGrid((5, 4), (0.2, 0.2))
RNG = np.random.default_rng(0)
K = RNG.uniform(-10, 10, (30, 2))
COILS = RNG.normal(size=(2, 5, 4)) + 1j * RNG.normal(size=(2, 5, 4))
DENSITY = np.linspace(0.1, 1, 30)


@pytest.mark.parametrize("options", [{"density": DENSITY}, {"coil_sensitivities": COILS}])
def test_formula_agrees_with_replicas(options):
    found = noise_deviation(0.3, GRID, 30, **options)
    replicas = replica_deviation(lambda s: adjoint(s, K, GRID, **options), (2, 30), 0.3, n_replicas=150)
    # 150 replicas have an error of 4 % in each of 20 to 40 pixels, 0.9 % on average; 4 standard deviations
    np.testing.assert_allclose(replicas, np.broadcast_to(found, replicas.shape), rtol=0.16)
    assert abs(np.mean(replicas / found) - 1) < 0.036


def test_replicas_are_differentiable_and_depend_on_the_seed():
    density = tf.Variable(DENSITY, dtype=tf.float32)

    def mean(density, **options):
        return tf.reduce_mean(
            replica_deviation(lambda s: adjoint(s, K, GRID, density=density), (1, 30), 1.0, **options)
        )

    with tf.GradientTape() as tape:
        value = mean(density, n_replicas=5)
    gradient = tape.gradient(value, density)
    moved = [mean(density + s * 0.01, n_replicas=5) for s in (1, -1)]
    np.testing.assert_allclose((moved[0] - moved[1]) / 0.02, tf.reduce_sum(gradient), rtol=1e-3)
    assert value == mean(density, n_replicas=5) != mean(density, n_replicas=5, seed=1)


@pytest.mark.parametrize(
    ("noise", "n", "message"), [(0.0, 30, "noise=0 must be positive"), (0.1, 0, "=0 must be an integer")]
)
def test_options_are_checked(noise, n, message):
    with pytest.raises(ValueError, match=message):
        noise_deviation(noise, GRID, n)
    with pytest.raises(ValueError, match=message):
        replica_deviation(lambda s: s, (1, 3), noise, n_replicas=n)
