"""SigPy's algorithms on subspace encodings."""

import numpy as np
import pytest
import sigpy

from reconstruction import SubspaceEncoding, golden_angle_radial, low_rank_inversion
from reconstruction.linops import as_linop, as_preconditioner

MATRIX, N_PULSES, RANK, N_COILS = (16, 14), 40, 2, 3


def random(*shape, seed=0):
    return (np.random.default_rng(seed).standard_normal((*shape, 2)) @ [1, 1j]).astype(np.complex64)


@pytest.fixture(scope="module")
def encoding():
    y, x = np.mgrid[-1:1:16j, -1:1:14j]
    sensitivities = np.exp(1j * np.array([0.5, 1, 2])[:, None, None] * x) * (
        1 + 0.5 * np.array([-1, 0, 1])[:, None, None] * y
    )
    basis = np.linalg.qr(random(N_PULSES, RANK).real)[0]
    return SubspaceEncoding(golden_angle_radial(N_PULSES, 32), MATRIX, sensitivities, basis)


def test_operators_are_those_of_the_encoding(encoding):
    operator = as_linop(encoding)
    x, s = random(*encoding.image_shape), random(*encoding.kspace_shape, seed=1)
    np.testing.assert_array_equal(operator * x, encoding.forward(x))
    np.testing.assert_array_equal(operator.H * s, encoding.adjoint(s))
    np.testing.assert_array_equal(operator.N * x, encoding.normal(x))
    np.testing.assert_array_equal(operator.N.H * x, encoding.normal(x))
    np.testing.assert_array_equal(operator.H.H * x, encoding.forward(x))
    np.testing.assert_array_equal(operator.H.N * s, encoding.forward(encoding.adjoint(s)))
    np.testing.assert_array_equal(as_preconditioner(encoding) * x, encoding.precondition(x))
    np.testing.assert_array_equal(as_preconditioner(encoding).H * x, encoding.precondition(x))


def test_conjugate_gradients_of_sigpy_and_ours_agree(encoding):
    kspace = random(*encoding.kspace_shape)
    app = sigpy.app.LinearLeastSquares(
        as_linop(encoding), kspace, P=as_preconditioner(encoding), max_iter=8, show_pbar=False
    )
    ours = low_rank_inversion(encoding, kspace, n_iterations=8, tolerance=0).coefficients
    difference = np.linalg.norm(app.run() - ours) / np.linalg.norm(ours)
    # the same iteration in single precision, whose rounding both amplify in another way
    assert difference < 1e-4


def test_sigpy_regularises_in_the_normal_operator(encoding):
    kspace = encoding.forward(random(*encoding.image_shape))
    lamda = 0.3 * sigpy.app.MaxEig(as_linop(encoding).N, dtype=np.complex64, show_pbar=False).run()
    app = sigpy.app.LinearLeastSquares(
        as_linop(encoding), kspace, lamda=lamda, max_iter=30, tol=1e-6, show_pbar=False
    )
    x = app.run()
    residual = encoding.normal(x) + lamda * x - encoding.adjoint(kspace)
    # the accuracy of the right-hand side, 1e-4, and what 30 iterations leave of a condition number of 4
    assert np.linalg.norm(residual) < 1e-4 * np.linalg.norm(encoding.adjoint(kspace))
