"""The subspace encoding against direct sums in double precision."""

import numpy as np
import pytest

from reconstruction.acquisition import Acquisition
from reconstruction.inversion import low_rank_inversion
from reconstruction.operators import SubspaceEncoding, readout_basis
from reconstruction.trajectory import golden_angle_radial, variable_density_spiral

N_COILS, N_PULSES, RANK, N_SAMPLES = 3, 5, 2, 12


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal((*shape, 2)) @ [1, 1j]


def acquisition(matrix=(6, 7), n_readouts=2 * N_PULSES, **changes):
    arguments = {
        "kspace": random(N_COILS, n_readouts, N_SAMPLES),
        "trajectory": golden_angle_radial(n_readouts, N_SAMPLES),
        "matrix": matrix,
        "fov": (0.2, 0.2),
    }
    return Acquisition(**(arguments | changes))


def basis(complex_valued=False):
    full = random(N_PULSES, RANK, seed=1)
    return np.linalg.qr(full if complex_valued else full.real)[0]


def sensitivities(matrix=(6, 7)):
    return random(N_COILS, *matrix, seed=2)


def encoding(matrix=(6, 7), n_readouts=2 * N_PULSES, complex_valued=False, **arguments):
    return SubspaceEncoding(
        acquisition(matrix, n_readouts), sensitivities(matrix), basis(complex_valued), **arguments
    )


def waves(matrix, trajectory):
    """exp(-2 pi i k.r), shape (n_readouts, n_samples, ny, nx)."""
    ny, nx = matrix
    kx, ky = np.moveaxis(trajectory.astype(float), -1, 0)[..., None, None]
    y, x = np.mgrid[-(ny // 2) : ny - ny // 2, -(nx // 2) : nx - nx // 2]
    return np.exp(-2j * np.pi * (kx * x + ky * y))


def direct_forward(x, matrix, n_readouts, complex_valued):
    pulse = np.arange(n_readouts) % N_PULSES
    evolution = np.einsum("ij,jyx->iyx", basis(complex_valued)[pulse], x)
    trajectory = golden_angle_radial(n_readouts, N_SAMPLES)
    return np.einsum("cyx,iyx,imyx->cim", sensitivities(matrix), evolution, waves(matrix, trajectory))


def relative_error(result, expected):
    return np.linalg.norm(result - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize("matrix", [(6, 7), (9, 4)])
@pytest.mark.parametrize("n_readouts", [N_PULSES, 3 * N_PULSES])
def test_forward_matches_direct_sum(matrix, n_readouts, complex_valued):
    x = random(RANK, *matrix, seed=3)
    result = encoding(matrix, n_readouts, complex_valued).forward(x)
    assert result.dtype == np.complex64
    assert result.shape == (N_COILS, n_readouts, N_SAMPLES)
    # NUFFT tolerance 1e-5, and its rounding in single precision
    assert relative_error(result, direct_forward(x, matrix, n_readouts, complex_valued)) < 3e-5


@pytest.mark.parametrize("complex_valued", [False, True])
@pytest.mark.parametrize("tolerance", [1e-2, 1e-5])
def test_adjoint_is_the_adjoint_of_forward(complex_valued, tolerance):
    operator = encoding(complex_valued=complex_valued, tolerance=tolerance)
    x, s = random(*operator.image_shape, seed=3), random(*operator.kspace_shape, seed=4)
    forward, adjoint = operator.forward(x), operator.adjoint(s)
    assert adjoint.dtype == np.complex64
    assert adjoint.shape == (RANK, 6, 7)
    # single precision, whatever the tolerance of the NUFFT: both transforms share one kernel
    bound = 1e-6 * np.linalg.norm(forward) * np.linalg.norm(s)
    assert abs(np.vdot(s, forward) - np.vdot(adjoint, x)) < bound


@pytest.mark.parametrize("complex_valued", [False, True])
def test_normal_is_adjoint_of_forward_whatever_the_threads(complex_valued):
    x = random(RANK, 6, 7, seed=3)
    operator = encoding(complex_valued=complex_valued, n_threads=1)
    result = operator.normal(x)
    np.testing.assert_array_equal(result, operator.adjoint(operator.forward(x)))
    for n_threads in (2, 8, None):
        parallel = encoding(complex_valued=complex_valued, n_threads=n_threads)
        np.testing.assert_array_equal(parallel.normal(x), result)
        np.testing.assert_array_equal(parallel.precondition(x), operator.precondition(x))


def test_operator_is_reusable():
    operator, other = encoding(), encoding()
    x, s = random(*operator.image_shape, seed=3), random(*operator.kspace_shape, seed=4)
    operator.adjoint(s)
    np.testing.assert_array_equal(operator.forward(x), other.forward(x))


def test_tolerance_decides_the_accuracy():
    x = random(RANK, 6, 7, seed=3)
    expected = direct_forward(x, (6, 7), 2 * N_PULSES, False)
    errors = [relative_error(encoding(tolerance=t).forward(x), expected) for t in (1e-1, 1e-3, 1e-5)]
    assert errors[0] > 10 * errors[1] > 100 * errors[2]


def test_rank_one():
    operator = SubspaceEncoding(acquisition(), sensitivities(), basis()[:, :1])
    x = random(1, 6, 7, seed=3)
    padded = np.concatenate([x, np.zeros_like(x)])
    np.testing.assert_allclose(operator.forward(x), encoding().forward(padded), atol=1e-5)
    assert operator.normal(x).shape == (1, 6, 7)


def test_precondition_is_the_regularised_inverse_of_the_optimal_circulant():
    """Its eigenvalues are the Rayleigh quotients of F^H F with the vectors of the Fourier basis."""
    matrix, trajectory = (6, 7), golden_angle_radial(10, N_SAMPLES)
    dense = waves(matrix, trajectory).reshape(-1, 42)
    fourier = np.fft.fft2(np.eye(42).reshape(42, *matrix), norm="ortho").reshape(42, 42)
    eigenvalues = np.einsum("ki,ji,jl,kl->k", fourier, dense.conj(), dense, fourier.conj()).real
    density = eigenvalues.reshape(matrix)
    x = random(RANK, *matrix, seed=3)
    expected = np.fft.ifft2(np.fft.fft2(x) * density.mean() / (density + density.mean()))
    # NUFFT tolerance 1e-5 of the point spread function
    assert relative_error(encoding(matrix).precondition(x), expected) < 1e-4


def test_precondition_of_cartesian_sampling_is_half():
    grid = np.stack(np.meshgrid(np.arange(-3, 3) / 6, np.arange(-3, 3) / 6), axis=-1)
    cartesian = acquisition((6, 6), trajectory=grid, kspace=random(N_COILS, 6, 6))
    operator = SubspaceEncoding(cartesian, sensitivities((6, 6)), np.ones((6, 1)))
    x = random(1, 6, 6, seed=3)
    np.testing.assert_allclose(operator.precondition(x), x / 2, atol=1e-4)  # NUFFT tolerance


@pytest.mark.parametrize("n_trains", [1, 3])
@pytest.mark.parametrize("rank", [1, RANK])
@pytest.mark.parametrize("trajectory", ["radial", "spiral"])
def test_noise_gain_predicts_the_inversion_of_noise(trajectory, rank, n_trains):
    matrix, n_pulses = (32, 32), 60
    n_readouts = n_trains * n_pulses
    if trajectory == "radial":
        positions = golden_angle_radial(n_readouts, 64)
    else:
        positions = variable_density_spiral(n_readouts, 400, matrix=matrix, n_interleaves=8)
    noise = (random(1, *positions.shape[:2], seed=5) / np.sqrt(2)).astype(np.complex64)
    data = Acquisition(kspace=noise, trajectory=positions, matrix=matrix, fov=(0.2, 0.2))
    train = np.linalg.qr(np.random.default_rng(6).standard_normal((n_pulses, rank)))[0]
    operator = SubspaceEncoding(data, np.ones((1, *matrix)), train)
    images = low_rank_inversion(operator, noise, n_iterations=12, tolerance=0.0).coefficients
    energy = np.sqrt(np.mean(np.sum(np.abs(images) ** 2, axis=0)))
    assert 0.5 < operator.noise_gain / energy < 2  # the documented accuracy


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
        ({"sensitivities": np.ones((2, 6, 7))}, r"sensitivities has shape \(2, 6, 7\).*\(3, 6, 7\)"),
        ({"sensitivities": np.ones((3, 7, 6))}, r"sensitivities has shape \(3, 7, 6\)"),
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
    ],
)
def test_wrong_arguments_are_named(changes, message):
    arguments = {"sensitivities": sensitivities(), "basis": basis()} | changes
    with pytest.raises(ValueError, match=message):
        SubspaceEncoding(acquisition(), **arguments)


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
