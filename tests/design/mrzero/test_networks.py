"""Networks behind a reconstruction."""

import numpy as np
import pytest

from design.mrzero.networks import convolutional_network, pixel_network


def test_convolutions_see_neighbours_within_their_kernels():
    network = convolutional_network(4, 2, n_features=5, n_hidden=2, kernel_size=3, seed=1)
    image = np.random.default_rng(0).normal(size=(1, 9, 11, 4)).astype(np.float32)
    start = network(image).numpy()
    assert start.shape == (1, 9, 11, 2)
    assert start.min() < 0  # no ReLU at the end
    image[0, 4, 5] += 1
    changed = np.any(network(image).numpy() != start, axis=-1)[0]
    assert changed[1:8, 2:9].any()
    changed[1:8, 2:9] = False
    assert not changed.any()


def test_pixels_are_seen_alone():
    network = pixel_network(10, 1, n_units=6, n_hidden=3)
    assert [layer.units for layer in network.layers] == [6, 6, 6, 1]
    pixels = np.random.default_rng(0).normal(size=(5, 10)).astype(np.float32)
    whole = network(pixels).numpy()
    assert whole.shape == (5, 1)
    # other shapes of matrix products may round otherwise
    np.testing.assert_allclose(network(pixels[2:3]).numpy(), whole[2:3], rtol=1e-5)


@pytest.mark.parametrize("build", [convolutional_network, pixel_network])
def test_equal_seeds_give_equal_weights(build):
    first, same, other = (build(3, 2, seed=seed).get_weights() for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, same, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_counts_are_checked():
    with pytest.raises(ValueError, match="n_features=0 must be"):
        convolutional_network(2, 1, n_features=0)
    with pytest.raises(ValueError, match="n_inputs=0 must be"):
        pixel_network(0, 1)
