"""Losses against their formulas, and their gradients where formulas are singular."""

import numpy as np
import pytest
import tensorflow as tf

from design.mrzero import losses

RNG = np.random.default_rng(0)
IMAGE = (RNG.normal(size=(12, 13)) + 1j * RNG.normal(size=(12, 13))).astype(np.complex64)
TARGET = (RNG.normal(size=(12, 13)) + 1j * RNG.normal(size=(12, 13))).astype(np.complex64)
FIRST = np.arange(13) < np.full((12, 1), 4)
SECOND = np.arange(13) > np.full((12, 1), 6)
SIZE = np.abs(IMAGE)
rtol = 1e-5  # single precision

EXPECTED = {
    "image_error": ((IMAGE, TARGET), 100 * np.linalg.norm(IMAGE - TARGET) / np.linalg.norm(TARGET)),
    "l2_error": ((IMAGE, TARGET), np.sum(np.abs(IMAGE - TARGET) ** 2) / np.sum(np.abs(TARGET) ** 2)),
    "l1_error": ((IMAGE, TARGET), np.sum(np.abs(IMAGE - TARGET)) / np.sum(np.abs(TARGET))),
    "mask_error": (
        (IMAGE, FIRST),
        np.min([np.sum((a * SIZE - FIRST) ** 2) for a in np.linspace(0, 2, 20001)]) / FIRST.sum(),
    ),
    "mean_signal": ((IMAGE, FIRST), SIZE[FIRST].mean()),
    "contrast": (
        (IMAGE, FIRST, SECOND),
        abs(SIZE[FIRST].mean() - SIZE[SECOND].mean()) / (SIZE[FIRST].mean() + SIZE[SECOND].mean()),
    ),
    "nulling": ((IMAGE, FIRST, SECOND), np.mean(SIZE[FIRST] ** 2) / np.mean(SIZE[SECOND] ** 2)),
    "signal_to_noise": ((IMAGE, FIRST, 0.2), SIZE[FIRST].mean() / 0.2),
    "relative_sar": ((SIZE[0], np.abs(TARGET[0])), np.sum(SIZE[0] ** 2) / np.sum(np.abs(TARGET[0]) ** 2)),
    "scan_time": ((SIZE[0],), SIZE[0].sum()),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_is_its_formula(name):
    arguments, expected = EXPECTED[name]
    found = getattr(losses, name)(tf.constant(arguments[0]), *arguments[1:])
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, expected, rtol=rtol)


@pytest.mark.parametrize("name", EXPECTED)
def test_is_differentiable(name):
    (start, *others), _ = EXPECTED[name]
    value = tf.Variable(start)
    with tf.GradientTape() as tape:
        loss = getattr(losses, name)(value, *others)
    gradient = tape.gradient(loss, value).numpy()
    direction = RNG.normal(size=start.shape) + (1j * RNG.normal(size=start.shape) if start.ndim == 2 else 0)
    direction, step = direction.astype(start.dtype), 1e-2
    moved = [getattr(losses, name)(tf.constant(start + s * step * direction), *others) for s in (1, -1)]
    slope = np.sum(gradient.conj() * direction).real
    # rounding of float32 over the step, and the curvature of magnitudes near zero
    assert abs((moved[0] - moved[1]) / (2 * step) - slope) < 2e-2 * max(abs(slope), 0.1 * moved[0])


@pytest.mark.parametrize("name", ["image_error", "l2_error", "l1_error"])
def test_the_target_is_a_minimum(name):
    value = tf.Variable(TARGET)
    with tf.GradientTape() as tape:
        loss = getattr(losses, name)(value, TARGET)
    assert loss == 0
    assert np.all(tape.gradient(loss, value).numpy() == 0)


@pytest.mark.parametrize("name", ["mask_error", "mean_signal", "nulling", "contrast", "signal_to_noise"])
def test_gradients_stay_finite_at_zero(name):
    (_, *others), _ = EXPECTED[name]
    image = IMAGE.copy()
    image[0, 0] = 0
    value = tf.Variable(image)
    with tf.GradientTape() as tape:
        loss = getattr(losses, name)(value, *others)
    assert np.isfinite(tape.gradient(loss, value).numpy()).all()
    if name == "mask_error":
        assert losses.mask_error(0 * value, FIRST) == 1


def test_similarity():
    size = np.abs(TARGET)
    assert losses.ssim(tf.constant(TARGET), size) == 1
    noisy = [float(losses.ssim(tf.constant(size + s * SIZE), size)) for s in (0.1, 1.0)]
    assert 1 > noisy[0] > noisy[1]


def test_noise_may_differ_between_pixels():
    deviation = RNG.uniform(0.1, 1, IMAGE.shape)
    found = losses.signal_to_noise(tf.constant(IMAGE), FIRST, deviation)
    np.testing.assert_allclose(found, SIZE[FIRST].mean() / deviation[FIRST].mean(), rtol=rtol)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("image_error", (IMAGE, TARGET[:5]), r"shape \(12, 13\), its target or mask \(5, 13\)"),
        ("l1_error", (IMAGE, 0 * TARGET), "the target or mask is 0 everywhere"),
        ("mean_signal", (IMAGE, np.zeros((12, 13), bool)), "the target or mask is 0 everywhere"),
        ("relative_sar", (SIZE[0], [0.0]), "target is 0 everywhere"),
    ],
)
def test_what_cannot_be_compared_is_refused(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(losses, name)(tf.constant(arguments[0]), *arguments[1:])


def test_real_images_have_complex_targets(caplog):
    value = tf.Variable(SIZE)
    with tf.GradientTape() as tape:
        loss = losses.l2_error(value, TARGET)
    expected = 2 * (SIZE - TARGET.real) / np.sum(np.abs(TARGET) ** 2)
    np.testing.assert_allclose(tape.gradient(loss, value), expected, rtol=1e-4, atol=1e-7)
    assert not caplog.records  # TensorFlow warns of imaginary parts that it drops
