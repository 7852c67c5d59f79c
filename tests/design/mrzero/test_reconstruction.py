"""Reconstructions against dense sums, each other, and finite differences."""

import numpy as np
import pytest
import tensorflow as tf

from design.mrzero import ImageGrid, ImagingSequence
from design.mrzero.reconstruction import adjoint, channels, fft, iterative_adjoint, nufft
from reconstruction import density_compensation, golden_angle_radial

GRID = ImageGrid((7, 6), (0.14, 0.18))
rtol = 1e-5  # single precision


def nrmse(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def dense(k, grid=GRID):
    """Encoding matrix, shape (n_samples, n_pixels)."""
    y, x = np.meshgrid(grid.y, grid.x, indexing="ij")
    return np.exp(-2j * np.pi * (np.outer(k[:, 0], x.ravel()) + np.outer(k[:, 1], y.ravel())))


def random_image(*shape):
    rng = np.random.default_rng(0)
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


def random_k(n=40):
    return np.random.default_rng(1).uniform(-30, 30, (n, 3))


def cartesian(grid=GRID):
    """All points of k-space in a random order, half of the samples at an even edge on its other side."""
    ky, kx = ((np.arange(n) - n // 2) / fov for n, fov in zip(grid.shape, grid.fov, strict=True))
    y, x = np.meshgrid(ky, kx, indexing="ij")
    x[::2, 0] *= -1
    k = np.stack([x.ravel(), y.ravel()], axis=1)
    return np.random.default_rng(2).permutation(k)


def coils():
    sensitivities = random_image(3, *GRID.shape) + 1
    sensitivities[:, 2, 3] = 0
    return sensitivities


def test_adjoint_is_the_dense_sum():
    signal, k = random_image(2, 40), random_k()
    expected = (signal @ dense(k).conj()).reshape(2, *GRID.shape)
    found = adjoint(signal, k, GRID)
    assert found.dtype == tf.complex64
    assert nrmse(found, expected / GRID.n_pixels) < rtol
    density = np.linspace(0.1, 2, 40)
    weighted = ((density * signal) @ dense(k).conj()).reshape(2, *GRID.shape)
    assert nrmse(adjoint(signal, k, GRID, density=density), weighted) < rtol


@pytest.mark.parametrize("method", [adjoint, fft, nufft, iterative_adjoint])
def test_cartesian_samples_give_the_image_back(method):
    image, k = random_image(*GRID.shape), cartesian()
    signal = (dense(k) @ image.ravel())[np.newaxis]
    result = method(signal, k, GRID)
    result = getattr(result, "image", result)
    assert result.shape == (1, *GRID.shape)
    assert nrmse(result[0], image) < rtol


@pytest.mark.parametrize("method", [adjoint, fft, nufft])
def test_coils_are_combined(method):
    image, k = random_image(*GRID.shape), cartesian()
    signal = (dense(k) @ (coils() * image).reshape(3, -1).T).T
    found = method(signal, k, GRID, coil_sensitivities=coils()).numpy()
    assert found[2, 3] == 0  # no coil sees it
    image[2, 3] = 0
    assert nrmse(found, image) < rtol


def test_iterative_adjoint_takes_the_steps_of_the_paper():
    k, n_iterations, step = random_k(), 4, 0.01
    signal = random_image(3, 40)
    matrix = np.concatenate([dense(k) * c.ravel() for c in coils()])
    expected, residuals = np.zeros(GRID.n_pixels, complex), [1.0]
    for _ in range(n_iterations):
        expected = expected - step * matrix.conj().T @ (matrix @ expected - signal.ravel())
        residuals.append(nrmse(matrix @ expected, signal.ravel()))
    image, found = iterative_adjoint(
        signal, k, GRID, coil_sensitivities=coils(), n_iterations=n_iterations, step=step
    )
    assert nrmse(image.numpy().ravel(), expected) < rtol
    np.testing.assert_allclose(found, residuals, rtol=1e-4)


def test_step_is_one_over_the_largest_eigenvalue():
    k, signal = random_k(), random_image(1, 40)
    largest = np.linalg.norm(dense(k), 2) ** 2
    found = iterative_adjoint(signal, k, GRID, n_iterations=1).image
    expected = iterative_adjoint(signal, k, GRID, n_iterations=1, step=1 / largest).image
    # ten power iterations approach from below
    assert 1 <= np.linalg.norm(found) / np.linalg.norm(expected) < 1.1


def test_iterations_sharpen_radial_images():
    grid = ImageGrid((16, 16), (0.2, 0.2))
    image = np.zeros(grid.shape)
    image[5:11, 4:9] = 1.0
    k = golden_angle_radial(40, 32).reshape(-1, 2) / (0.2 / 16)
    signal = (dense(k, grid) @ image.ravel())[np.newaxis]
    result = iterative_adjoint(signal, k, grid, n_iterations=30)
    residuals = result.residuals.numpy()
    assert np.all(np.diff(residuals) < 0)
    scaled = adjoint(signal, k, grid).numpy()[0]
    scaled *= np.vdot(scaled, image) / np.vdot(scaled, scaled)
    assert nrmse(result.image[0], image) < 0.3 * nrmse(scaled, image)


def test_nufft_agrees_with_adjoint():
    grid = ImageGrid((12, 9), (0.2, 0.15))
    spokes = golden_angle_radial(20, 12)
    k = spokes.reshape(-1, 2) * [9 / 0.15, 12 / 0.2]
    density = density_compensation(spokes, grid.shape).ravel()
    image = np.zeros(grid.shape)
    image[4:8, 3:6] = 1.0
    signal = (dense(k, grid) @ image.ravel())[np.newaxis]
    options = {"density": density}
    assert nrmse(nufft(signal, k, grid, **options), adjoint(signal, k, grid, **options)) < rtol
    # what is sharp is blurred, as the corners of k-space are missing
    assert nrmse(nufft(signal, k, grid, **options)[0], image) < 0.3
    far = k * 3.7  # beyond one period of the image
    assert nrmse(nufft(signal, far, grid), adjoint(signal, far, grid)) < rtol


METHODS = {
    "adjoint": adjoint,
    "nufft": nufft,
    "iterative": lambda *a, **c: iterative_adjoint(*a, **c, n_iterations=3, step=0.01).image,
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("coil_sensitivities", [None, coils()])
def test_gradients_agree_with_finite_differences(name, coil_sensitivities):
    rng = np.random.default_rng(5)
    signal, k = random_image(3, 40), random_k()
    weights = random_image(*(GRID.shape if coil_sensitivities is not None else (3, *GRID.shape)))

    def loss(signal, k):
        image = METHODS[name](signal, k, GRID, coil_sensitivities=coil_sensitivities)
        return tf.math.real(tf.reduce_sum(image**2 * weights))

    s, places = tf.Variable(signal, dtype=tf.complex64), tf.Variable(k, dtype=tf.float32)
    with tf.GradientTape() as tape:
        value = loss(s, places)
    by_signal, by_k = (gradient.numpy() for gradient in tape.gradient(value, [s, places]))
    for direction, step in ((random_image(3, 40), 0.02), (rng.normal(size=k.shape), 0.02)):
        if np.iscomplexobj(direction):
            moved = [loss(signal + sign * step * direction, k) for sign in (1, -1)]
            slope = np.sum(by_signal.conj() * direction).real
        else:
            moved = [loss(signal, k + sign * step * direction) for sign in (1, -1)]
            slope = np.sum(by_k * direction)
        # rounding of float32 over the step, and its square
        assert abs((moved[0] - moved[1]) / (2 * step) - slope) < 5e-3 * abs(slope)
    assert np.all(by_k[:, 2] == 0)


@pytest.mark.parametrize("method", [adjoint, nufft])
def test_gradients_by_density_and_coils(method, caplog):
    signal, k = random_image(3, 40), random_k()
    density = tf.Variable(np.linspace(0.1, 2, 40), dtype=tf.float32)
    sensitivities = tf.Variable(coils()[:, :2], dtype=tf.complex64)
    grid = ImageGrid((2, 6), (0.14, 0.18))
    target = random_image(2, 6)

    def loss(density, sensitivities):
        image = method(signal, k, grid, coil_sensitivities=sensitivities, density=density)
        return tf.math.real(tf.reduce_sum(image * target))

    with tf.GradientTape() as tape:
        value = loss(density, sensitivities)
    by_density, by_coils = tape.gradient(value, [density, sensitivities])
    change, turn = np.linspace(-1, 1, 40), random_image(3, 2, 6)
    for gradient, one, other in ((by_density, change, 0), (by_coils, 0, turn)):
        moved = [loss(density + s * 1e-2 * one, sensitivities + s * 1e-2 * other) for s in (1, -1)]
        slope = np.sum(gradient.numpy().conj() * (turn if np.ndim(other) else change)).real
        # rounding of float32 over the step, and its square
        assert abs((moved[0] - moved[1]) / 2e-2 - slope) < 1e-2 * abs(slope)
    assert not caplog.records  # TensorFlow warns of imaginary parts that it drops


def test_fft_is_differentiable_by_the_samples():
    k = cartesian()
    signal = tf.Variable(random_image(1, len(k)), dtype=tf.complex64)
    gradients = []
    for method in (adjoint, fft):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.abs(method(signal, k, GRID)) ** 2)
        gradients.append(tape.gradient(loss, signal).numpy())
    assert nrmse(gradients[1], gradients[0]) < rtol


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda k: k.__setitem__((5, 0), k[5, 0] + 0.2), "k of sample 5 is .* use adjoint or nufft"),
        (lambda k: k.__setitem__((7, 0), 300.0), r"k of sample 7 is .*\(54, .* within the grid"),
        (lambda k: k.__setitem__(9, k[3]), "sample 9 lies where sample 3 does"),
    ],
)
def test_fft_names_the_first_sample_that_is_not_cartesian(change, message):
    k = cartesian()
    change(k)
    with pytest.raises(ValueError, match=message):
        fft(random_image(1, len(k)), k, GRID)


def test_fft_needs_all_points():
    k = cartesian()
    kept = ~np.all(np.isclose(k, [0, -1 / 0.14]), axis=1)
    with pytest.raises(ValueError, match=r"1 of 42 points .* the first at \(0, -1\) steps"):
        fft(random_image(1, len(k) - 1), k[kept], GRID)


def test_channels_add_up_to_the_adjoint():
    counts = [3, 1, 5, 2]
    adc = np.array([0, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1], bool)
    zeros = np.zeros(4)
    sequence = ImagingSequence(zeros, zeros, counts, np.zeros((11, 3)), np.ones(11), adc)
    k, signal = random_k(8), random_image(3, 8)
    for options, used in (({}, signal[:1]), ({"coil_sensitivities": coils()}, signal)):
        found = channels(used, k, GRID, sequence, **options).numpy()
        assert found.shape == (*GRID.shape, 6)  # one repetition has no samples
        images = found[..., :3] + 1j * found[..., 3:]
        for i, own in enumerate((slice(0, 2), slice(2, 6), slice(6, 8))):
            alone = adjoint(used[:, own], k[own], GRID, **options)
            assert nrmse(images[..., i], alone if options else alone[0]) < rtol
    with pytest.raises(ValueError, match="give coil_sensitivities"):
        channels(signal, k, GRID, sequence)
    with pytest.raises(ValueError, match="signal has 7 samples; the sequence takes 8"):
        channels(signal[:1, :7], k[:7], GRID, sequence)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"signal": np.ones(40)}, r"signal has shape \(40,\)"),
        ({"k": np.ones((39, 2))}, r"k has shape \(39, 2\); it must be \(40, 2 or 3\)"),
        ({"coil_sensitivities": np.ones((2, 7, 6))}, r"ask for \(3, 7, 6\)"),
        ({"density": np.ones(3)}, r"density has shape \(3,\); it must be \(40,\)"),
    ],
)
def test_shapes_must_fit(change, message):
    arguments = {"signal": random_image(3, 40), "k": random_k(), "grid": GRID, **change}
    with pytest.raises(ValueError, match=message):
        adjoint(**arguments)
    if "density" not in change:
        with pytest.raises(ValueError, match=message):
            iterative_adjoint(**arguments)
