"""Matrix products and activations against numpy."""

import numpy as np
import pytest

from surrogate.kernels.activations import apply_candidate, apply_sigmoid, mix, unmix
from surrogate.kernels.products import WIDTH, multiply_add


def random(*shape):
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("m", [1, 2, 3, 4, 5, 6, 7, 13])
@pytest.mark.parametrize(("n", "k"), [(WIDTH, 1), (3 * WIDTH, 5)])
def test_products_of_all_sizes(m, n, k):
    a, b, d = random(m, k), random(k, n), random(n, 1)[:, 0]
    c = np.full((m + 1, n), 7, np.float32)
    multiply_add(c.ravel(), 0, n, d, 0, 0, a.ravel(), 0, k, 1, b.ravel(), 0, n, m, n, k)
    np.testing.assert_allclose(c[:m], d + a.astype(np.float64) @ b, atol=1e-5)  # float32 sums of 5 terms
    assert np.all(c[m] == 7)


def test_products_of_transposes_and_parts():
    """c[:, 16:32] += a^T b[:, 16:48], the last with an offset."""
    a, b, c = random(9, 4), random(9, 64), random(4, 48)
    expected = c.astype(np.float64)
    expected[:, 16:32] += a.T.astype(np.float64) @ b[:, 32:48]
    multiply_add(c.ravel(), 16, 48, c.ravel(), 16, 48, a.ravel(), 0, 1, 4, b.ravel(), 32, 64, 4, WIDTH, 9)
    np.testing.assert_allclose(c, expected, atol=1e-5)  # float32 sums of 9 terms


def test_sigmoid_and_tanh():
    x = np.linspace(-30, 30, 200_001, dtype=np.float32)
    sigmoid, tanh = x.copy(), x.copy()
    apply_sigmoid(sigmoid)
    apply_candidate(tanh, np.zeros_like(x), np.zeros_like(x))
    exact = x.astype(np.float64)
    # stated error of the rational approximation
    np.testing.assert_allclose(tanh, np.tanh(exact), atol=4e-7)
    np.testing.assert_allclose(sigmoid, 0.5 + 0.5 * np.tanh(exact / 2), atol=2.5e-7)
    small = np.geomspace(1e-30, 1e-3, 1000, dtype=np.float32)
    result = small.copy()
    apply_candidate(result, np.zeros_like(small), np.zeros_like(small))
    np.testing.assert_allclose(result, np.tanh(small.astype(np.float64)), rtol=4e-7)


def test_unmix_is_the_derivative_of_the_cell():
    """Central differences of z h + (1 - z) tanh(n + r q) in double precision."""
    rng = np.random.default_rng(3)
    inputs = rng.standard_normal((5, 40))  # arguments of z and r, n, q, h
    bar = rng.standard_normal(40)

    def state(values):
        z, r = 1 / (1 + np.exp(-values[:2]))
        n = np.tanh(values[2] + r * values[3])
        return n + z * (values[4] - n)

    expected = []
    for i in range(5):
        step = np.zeros((5, 1))
        step[i] = 1e-5
        expected.append(bar * (state(inputs + step) - state(inputs - step)) / 2e-5)
    z, r, n, q, h, bars = (a.astype(np.float32) for a in (*inputs, bar))
    apply_sigmoid(z)
    apply_sigmoid(r)
    apply_candidate(n, r, q)
    result, carry = np.empty_like(z), np.empty_like(z)
    mix(z, n, h, result)
    np.testing.assert_allclose(result, state(inputs), atol=2e-6)  # float32
    unmix(z, r, n, q, h, bars, carry)
    # float32, derivatives up to a few units
    for found, wanted in zip((z, r, n, q, carry), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=5e-6)
