"""Errors of signals against sums written out."""

import numpy as np

from surrogate.errors import SignalErrors


def random_pair(n_signals=6, n_pulses=11):
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(n_signals, n_pulses, 3)).astype(np.float32)
    return (truth + 0.1 * rng.normal(size=truth.shape)).astype(np.float32), truth


def test_errors_over_all_signals():
    outputs, truth = (array.astype(float) for array in random_pair())
    errors, norm = SignalErrors.of(outputs, truth), np.linalg.norm
    expected = [
        norm((outputs - truth)[..., columns]) / norm(truth[..., columns])
        for columns in (slice(1), slice(1, 3))
    ]
    np.testing.assert_allclose(errors.nrmse(), expected, rtol=1e-12)  # double precision
    np.testing.assert_allclose(errors.mean_absolute(), np.abs(outputs - truth).mean(axis=(0, 1)), rtol=1e-12)


def test_errors_of_single_signals():
    outputs, truth = random_pair()
    each = SignalErrors.of(outputs, truth).each_nrmse()
    for own, o, t in zip(each, outputs.astype(float), truth.astype(float), strict=True):
        expected = [
            np.linalg.norm((o - t)[:, :1]) / np.linalg.norm(t[:, :1]),
            np.linalg.norm((o - t)[:, 1:]) / np.linalg.norm(t[:, 1:]),
        ]
        np.testing.assert_allclose(own, expected, rtol=1e-12)  # double precision


def test_error_over_the_range():
    outputs, truth = (array.astype(float) for array in random_pair())
    expected = [
        np.sqrt(np.mean((outputs - truth)[..., columns] ** 2)) / np.ptp(truth[..., columns])
        for columns in (slice(1), slice(1, 3))
    ]
    np.testing.assert_allclose(SignalErrors.of(outputs, truth).range_nrmse(), expected, rtol=1e-12)


def test_selections_and_parts():
    outputs, truth = random_pair()
    errors = SignalErrors.of(outputs, truth)
    rows = np.array([4, 1])
    assert errors[rows].summary() == SignalErrors.of(outputs[rows], truth[rows]).summary()
    parts = [SignalErrors.of(outputs[part], truth[part]) for part in (slice(2), slice(2, 6))]
    assert SignalErrors.joined(parts).summary() == errors.summary()
    np.testing.assert_array_equal(SignalErrors.joined(parts).mean_absolute(), errors.mean_absolute())
    assert errors.summary()["signals"] == 6
