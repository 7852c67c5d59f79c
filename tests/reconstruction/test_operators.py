"""The subspace encoding against direct sums in double precision."""

import numpy as np
import pytest

from reconstruction import toeplitz
from reconstruction.encoding_inputs import readout_basis
from reconstruction.inversion import low_rank_inversion
from reconstruction.operators import SubspaceEncoding
from reconstruction.trajectory import golden_angle_radial, variable_density_spiral

N_COILS, N_PULSES, RANK, N_SAMPLES = 3, 5, 2, 12
MATRICES = [(6, 7), (9, 4), (2, 5, 4)]


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal((*shape, 2)) @ [1, 1j]


def basis(complex_valued=False):
    full = random(N_PULSES, RANK, seed=1)
    return np.linalg.qr(full if complex_valued else full.real)[0]


def sensitivities(matrix=(6, 7)):
    return random(N_COILS, *matrix, seed=2)


def positions(matrix, n_readouts=2 * N_PULSES):
    """Spokes in two dimensions, turned out of the plane in three."""
    spokes = golden_angle_radial(n_readouts, N_SAMPLES)
    if len(matrix) == 2:
        return spokes
    tilt = np.linspace(-1, 1, n_readouts)[:, None, None] * spokes[..., :1]
    return np.concatenate([spokes, tilt], axis=-1)


def encoding(matrix=(6, 7), n_readouts=2 * N_PULSES, complex_valued=False, **arguments):
    return SubspaceEncoding(
        positions(matrix, n_readouts), matrix, sensitivities(matrix), basis(complex_valued), **arguments
    )


def waves(matrix, trajectory):
    """exp(-2 pi i k.r), shape (n_readouts, n_samples, *matrix)."""
    pixels = np.mgrid[tuple(slice(-(n // 2), n - n // 2) for n in matrix)]
    return np.exp(-2j * np.pi * np.tensordot(trajectory.astype(float), pixels[::-1], axes=1))


def dense_matrix(matrix, n_readouts=2 * N_PULSES, complex_valued=False, phase=1.0):
    """E as an array, shape (n_coils n_readouts n_samples, rank n_pixels)."""
    pulse = np.arange(n_readouts) % N_PULSES
    factors = [waves(matrix, positions(matrix, n_readouts)) * phase, sensitivities(matrix)]
    fourier, coils = (array.reshape(*array.shape[: -len(matrix)], -1) for array in factors)
    dense = np.einsum("ij,imr,cr->cimjr", basis(complex_valued)[pulse], fourier, coils)
    return dense.reshape(N_COILS * n_readouts * N_SAMPLES, -1)


def relative_error(result, expected):
    return np.linalg.norm(result - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("n_readouts", [N_PULSES, 3 * N_PULSES])
def test_forward_matches_direct_sum(matrix, n_readouts, complex_valued):
    x = random(RANK, *matrix, seed=3)
    result = encoding(matrix, n_readouts, complex_valued, tolerance=1e-5).forward(x)
    assert result.dtype == np.complex64
    assert result.shape == (N_COILS, n_readouts, N_SAMPLES)
    expected = dense_matrix(matrix, n_readouts, complex_valued) @ x.ravel()
    # NUFFT tolerance 1e-5, and its rounding in single precision
    assert relative_error(result.ravel(), expected) < 3e-5


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize("tolerance", [1e-2, 1e-5])
@pytest.mark.parametrize("matrix", MATRICES)
def test_adjoint_is_the_adjoint_of_forward(matrix, complex_valued, tolerance):
    operator = encoding(matrix, complex_valued=complex_valued, tolerance=tolerance)
    x, s = random(*operator.image_shape, seed=3), random(*operator.kspace_shape, seed=4)
    forward, adjoint = operator.forward(x), operator.adjoint(s)
    assert adjoint.dtype == np.complex64
    assert adjoint.shape == (RANK, *matrix)
    # single precision, whatever the tolerance of the NUFFT: both transforms share one kernel
    bound = 1e-6 * np.linalg.norm(forward) * np.linalg.norm(s)
    assert abs(np.vdot(s, forward) - np.vdot(adjoint, x)) < bound


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("rank", [1, RANK, 5])
def test_normal_matches_the_dense_matrix(matrix, complex_valued, rank):
    vectors = np.linalg.qr(random(N_PULSES, N_PULSES, seed=1))[0][:, :rank]
    train = vectors if complex_valued else vectors.real
    operator = SubspaceEncoding(positions(matrix), matrix, sensitivities(matrix), train)
    x = random(*operator.image_shape, seed=3)
    result = operator.normal(x)
    assert result.dtype == np.complex64
    fourier = waves(matrix, positions(matrix)).reshape(2 * N_PULSES, N_SAMPLES, -1)
    seen = sensitivities(matrix).reshape(N_COILS, 1, -1) * x.reshape(rank, -1)
    samples = np.einsum("ij,imr,cjr->cim", np.tile(train, (2, 1)), fourier, seen)
    images = np.einsum("ij,imr,cim->cjr", np.tile(train.conj(), (2, 1)), fourier.conj(), samples)
    expected = np.einsum("cr,cjr->jr", sensitivities(matrix).reshape(N_COILS, -1).conj(), images)
    # kernel to 1e-6 of its norm, in single precision
    assert relative_error(result.reshape(rank, -1), expected) < 1e-5


@pytest.mark.parametrize("complex_valued", [False, True])
def test_normal_is_adjoint_of_forward(complex_valued):
    operator = encoding(complex_valued=complex_valued, tolerance=1e-3)
    x = random(*operator.image_shape, seed=3)
    # the tolerance, twice
    assert relative_error(operator.normal(x), operator.adjoint(operator.forward(x))) < 2e-3


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize("matrix", MATRICES)
def test_normal_is_symmetric_and_positive(matrix, complex_valued):
    operator = encoding(matrix, complex_valued=complex_valued)
    n = RANK * np.prod(matrix)
    units = np.eye(n, dtype=np.complex64).reshape(n, *operator.image_shape)
    dense = np.stack([operator.normal(unit).ravel() for unit in units], axis=1)
    eigenvalues = np.linalg.eigvalsh(dense.astype(complex))
    # single precision
    np.testing.assert_allclose(dense, dense.conj().T, atol=1e-6 * eigenvalues[-1])
    # kernel to 1e-6
    assert eigenvalues[0] > -1e-5 * eigenvalues[-1]


@pytest.mark.parametrize("complex_valued", [False, True])
def test_results_do_not_depend_on_the_threads(complex_valued):
    results = []
    for n_threads in (1, 2, 7, None):
        operator = encoding((9, 10), complex_valued=complex_valued, n_threads=n_threads)
        x, s = random(*operator.image_shape, seed=3), random(*operator.kspace_shape, seed=4)
        results.append(
            (operator.forward(x), operator.adjoint(s), operator.normal(x), operator.precondition(x))
        )
    for other in results[1:]:
        for result, expected in zip(other, results[0], strict=True):
            np.testing.assert_array_equal(result, expected)


def test_normal_adds_coils_that_are_not_held_together(monkeypatch):
    x = random(RANK, 6, 7, seed=3)
    expected = encoding().normal(x)
    for n_held in (1, 2):
        monkeypatch.setattr(toeplitz, "WORK_BYTES", n_held * 8 * x.size)
        # single precision
        np.testing.assert_allclose(encoding().normal(x), expected, atol=1e-6 * np.abs(expected).max())


def test_operator_is_reusable():
    operator, other = encoding(), encoding()
    x, s = random(*operator.image_shape, seed=3), random(*operator.kspace_shape, seed=4)
    operator.adjoint(s)
    operator.normal(2 * x)
    np.testing.assert_array_equal(operator.forward(x), other.forward(x))
    np.testing.assert_array_equal(operator.normal(x), other.normal(x))


def test_tolerance_decides_the_accuracy():
    x = random(RANK, 6, 7, seed=3)
    expected = dense_matrix((6, 7)) @ x.ravel()
    errors = [relative_error(encoding(tolerance=t).forward(x).ravel(), expected) for t in (1e-1, 1e-3, 1e-5)]
    assert errors[0] > 10 * errors[1] > 100 * errors[2]


def test_rank_one():
    operator = SubspaceEncoding(positions((6, 7)), (6, 7), sensitivities(), basis()[:, :1])
    x = random(1, 6, 7, seed=3)
    padded = np.concatenate([x, np.zeros_like(x)])
    np.testing.assert_allclose(operator.forward(x), encoding().forward(padded), atol=1e-5)


@pytest.mark.parametrize("matrix", MATRICES)
def test_precondition_is_the_regularised_inverse_of_the_optimal_circulant(matrix):
    """Its eigenvalues are the Rayleigh quotients of F^H F with the vectors of the Fourier basis."""
    n = np.prod(matrix)
    axes = tuple(range(1, 1 + len(matrix)))
    dense = waves(matrix, positions(matrix)).reshape(-1, n)
    fourier = np.fft.fftn(np.eye(n).reshape(n, *matrix), axes=axes, norm="ortho").reshape(n, n)
    density = (np.abs(dense @ fourier.conj()) ** 2).sum(axis=0).reshape(matrix)
    x = random(RANK, *matrix, seed=3)
    filtered = np.fft.fftn(x, axes=axes) * density.mean() / (density + density.mean())
    # NUFFT tolerance 1e-5 of the point spread function
    assert relative_error(encoding(matrix).precondition(x), np.fft.ifftn(filtered, axes=axes)) < 1e-4


def test_precondition_of_cartesian_sampling_is_half():
    grid = np.stack(np.meshgrid(np.arange(-3, 3) / 6, np.arange(-3, 3) / 6), axis=-1)
    operator = SubspaceEncoding(grid, (6, 6), sensitivities((6, 6)), np.ones((6, 1)))
    x = random(1, 6, 6, seed=3)
    np.testing.assert_allclose(operator.precondition(x), x / 2, atol=1e-4)  # NUFFT tolerance


@pytest.mark.parametrize("n_trains", [1, 3])
@pytest.mark.parametrize("rank", [1, RANK])
@pytest.mark.parametrize("trajectory", ["radial", "spiral"])
def test_noise_gain_predicts_the_inversion_of_noise(trajectory, rank, n_trains):
    matrix, n_pulses = (32, 32), 60
    n_readouts = n_trains * n_pulses
    if trajectory == "radial":
        readouts = golden_angle_radial(n_readouts, 64)
    else:
        readouts = variable_density_spiral(n_readouts, 400, matrix=matrix, n_interleaves=8)
    noise = (random(1, *readouts.shape[:2], seed=5) / np.sqrt(2)).astype(np.complex64)
    train = np.linalg.qr(np.random.default_rng(6).standard_normal((n_pulses, rank)))[0]
    operator = SubspaceEncoding(readouts, matrix, np.ones((1, *matrix)), train)
    images = low_rank_inversion(operator, noise, n_iterations=12, tolerance=0.0).coefficients
    energy = np.sqrt(np.mean(np.sum(np.abs(images) ** 2, axis=0)))
    assert 0.5 < operator.noise_gain / energy < 2  # the documented accuracy


OFF_RESONANCE = {"sample_times": np.linspace(-1e-3, 3e-3, N_SAMPLES)}


def off_resonance(matrix):
    """Hz, -50 to 250: 1.2 turns over the 4 ms of a readout from one end to the other."""
    field = np.linspace(-50, 250, int(np.prod(matrix)))
    return np.random.default_rng(7).permutation(field).reshape(matrix)


@pytest.mark.parametrize("tolerance", [1e-2, 1e-4])
@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize("matrix", MATRICES)
def test_off_resonance_matches_the_dense_matrix(matrix, complex_valued, tolerance):
    field, times = off_resonance(matrix), OFF_RESONANCE["sample_times"]
    # positive off-resonance turns counter-clockwise
    phase = np.exp(2j * np.pi * np.multiply.outer(times, field))
    dense = dense_matrix(matrix, complex_valued=complex_valued, phase=phase)
    operator = encoding(
        matrix, complex_valued=complex_valued, off_resonance=field, tolerance=tolerance, **OFF_RESONANCE
    )
    x, s = random(*operator.image_shape, seed=3), random(*operator.kspace_shape, seed=4)
    # the tolerance of the phase, and that of the NUFFT
    assert relative_error(operator.forward(x).ravel(), dense @ x.ravel()) < 2 * tolerance
    assert relative_error(operator.adjoint(s).ravel(), dense.conj().T @ s.ravel()) < 2 * tolerance
    assert relative_error(operator.normal(x).ravel(), dense.conj().T @ (dense @ x.ravel())) < 2 * tolerance
    assert (
        relative_error(encoding(matrix, complex_valued=complex_valued).forward(x), operator.forward(x)) > 0.1
    )


def test_off_resonance_keeps_symmetry():
    operator = encoding(off_resonance=off_resonance((6, 7)), **OFF_RESONANCE)
    x, y, s = (random(*shape, seed=3) for shape in (*[operator.image_shape] * 2, operator.kspace_shape))
    forward, normal = operator.forward(x), operator.normal(x)
    # single precision
    bound = 1e-6 * np.linalg.norm(forward) * np.linalg.norm(s)
    assert abs(np.vdot(s, forward) - np.vdot(operator.adjoint(s), x)) < bound
    bound = 1e-6 * np.linalg.norm(normal) * np.linalg.norm(y)
    assert abs(np.vdot(y, normal) - np.vdot(operator.normal(y), x)) < bound


def test_uniform_off_resonance_is_a_phase_of_the_samples():
    operator = encoding(off_resonance=np.full((6, 7), 70.0), **OFF_RESONANCE)
    x = random(*operator.image_shape, seed=3)
    expected = encoding().forward(x) * np.exp(2j * np.pi * 70 * OFF_RESONANCE["sample_times"])
    assert relative_error(operator.forward(x), expected) < 1e-6  # single precision
    assert relative_error(operator.normal(x), encoding().normal(x)) < 1e-6


@pytest.mark.parametrize(
    ("n_readouts", "message"),
    [
        (N_PULSES - 1, "4 readouts for 5 pulses: there are fewer readouts than pulses.*protocol"),
        (N_PULSES + 2, "7 readouts for 5 pulses: that is not a multiple, 2 would be left over.*protocol"),
    ],
)
def test_incomplete_trains_are_refused(n_readouts, message):
    with pytest.raises(ValueError, match=message):
        encoding(n_readouts=n_readouts)


def test_readout_basis_repeats_the_train():
    rows = readout_basis(basis(), 2 * N_PULSES)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, np.concatenate([basis(), basis()]), rtol=1e-6)  # float32
    assert readout_basis(basis(complex_valued=True), N_PULSES).dtype == np.complex64


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"matrix": (6,)}, r"matrix=\(6,\) must be positive integers \(ny, nx\) or \(nz, ny, nx\)"),
        ({"matrix": (0, 7)}, r"matrix=\(0, 7\)"),
        ({"trajectory": np.zeros((10, 12, 3))}, r"trajectory has shape \(10, 12, 3\).*n_samples, 2\)"),
        ({"matrix": (4, 6, 7)}, r"trajectory has shape \(10, 12, 2\).*n_samples, 3\).*kz"),
        ({"trajectory": np.full((10, 12, 2), np.nan)}, "nan.* at readout 0, sample 0; it must be finite"),
        ({"trajectory": np.full((10, 12, 2), 3.0)}, "must be finite and lie within.*cycles per pixel"),
        ({"sensitivities": np.ones((3, 7, 6))}, r"sensitivities has shape \(3, 7, 6\).*\(n_coils, ny, nx\)"),
        ({"sensitivities": np.ones((6, 7))}, r"sensitivities has shape \(6, 7\)"),
        ({"sensitivities": np.ones((0, 6, 7))}, r"sensitivities has shape \(0, 6, 7\)"),
        ({"sensitivities": np.zeros((3, 6, 7))}, "sensitivities is zero everywhere"),
        (
            {"sensitivities": np.where(np.arange(7) == 4, np.nan, np.ones((3, 6, 7)))},
            "coil 0, pixel y=0, x=4",
        ),
        ({"basis": np.ones(5)}, r"basis must have shape \(n_pulses, rank\); got \(5,\)"),
        ({"basis": np.ones((5, 0))}, "basis must have shape"),
        ({"basis": np.full((5, 2), np.inf)}, "basis holds NaN or infinity"),
        ({"tolerance": 1e-9}, "tolerance=1e-09"),
        ({"n_threads": 0}, "n_threads=0"),
        ({"off_resonance": np.zeros((7, 6)), **OFF_RESONANCE}, r"off_resonance has shape \(7, 6\)"),
        (
            {"off_resonance": np.full((6, 7), np.nan), **OFF_RESONANCE},
            "off_resonance is nan at pixel y=0, x=0",
        ),
        ({"off_resonance": np.zeros((6, 7))}, "off_resonance needs sample_times"),
        (
            {"off_resonance": np.zeros((6, 7)), "sample_times": np.zeros(11)},
            r"sample_times has shape \(11,\).*12 samples",
        ),
        (OFF_RESONANCE, "sample_times has a meaning only with off_resonance"),
    ],
)
def test_wrong_arguments_are_named(changes, message):
    arguments = {
        "trajectory": positions((6, 7)),
        "matrix": (6, 7),
        "sensitivities": sensitivities(),
        "basis": basis(),
    } | changes
    with pytest.raises(ValueError, match=message):
        SubspaceEncoding(**arguments)


@pytest.mark.parametrize(
    ("method", "shape", "name"),
    [
        ("forward", (RANK, 7, 6), "x"),
        ("normal", (RANK + 1, 6, 7), "x"),
        ("precondition", (6, 7), "x"),
        ("adjoint", (N_COILS, N_PULSES, N_SAMPLES), "s"),
    ],
)
def test_wrong_shapes_are_named(method, shape, name):
    with pytest.raises(ValueError, match=f"{name} has shape .*n_coils, n_readouts, n_samples"):
        getattr(encoding(), method)(np.zeros(shape))
