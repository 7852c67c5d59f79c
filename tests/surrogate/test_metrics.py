import numpy as np
import pytest

from surrogate.metrics import ErrorSums


def test_errors_of_parts_are_those_of_the_whole():
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((6, 10, 3)).astype(np.float32)
    outputs = truth + 0.1 * rng.standard_normal(truth.shape).astype(np.float32)
    sums = ErrorSums()
    sums.add(outputs[:4], truth[:4])
    sums.add(outputs[4:], truth[4:])
    errors, difference = sums.errors(), outputs - truth
    # float32 sums of 60 values
    np.testing.assert_allclose(errors.mean_absolute, np.abs(difference).mean(axis=(0, 1)), rtol=1e-5)
    norm = np.linalg.norm
    assert errors.signal == pytest.approx(norm(difference[..., 0]) / norm(truth[..., 0]), rel=1e-5)
    assert errors.derivative == pytest.approx(norm(difference[..., 1:]) / norm(truth[..., 1:]), rel=1e-5)
