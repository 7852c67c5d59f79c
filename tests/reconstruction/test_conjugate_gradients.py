"""Conjugate gradients against dense solutions."""

import numpy as np
import pytest

from reconstruction.conjugate_gradients import conjugate_gradients, inner, norm

SHAPE = (2, 4, 5)
N = 40
CONDITION = 30.0


def random(*shape, seed=0):
    return (np.random.default_rng(seed).standard_normal((*shape, 2)) @ [1, 1j]).astype(np.complex64)


def hermitian(eigenvalues, seed=1):
    vectors = np.linalg.qr(random(N, N, seed=seed).astype(np.complex128))[0]
    return vectors * eigenvalues @ vectors.conj().T


def applied(matrix):
    return lambda x: (matrix @ x.ravel()).reshape(x.shape).astype(np.complex64)


def plain(x):
    return x.copy()


@pytest.fixture(scope="module")
def matrix():
    return hermitian(np.geomspace(1, CONDITION, N))


@pytest.fixture(scope="module")
def right_side():
    return random(*SHAPE, seed=2)


@pytest.fixture(scope="module")
def solution(matrix, right_side):
    return np.linalg.solve(matrix, right_side.ravel()).reshape(SHAPE)


@pytest.mark.parametrize("start", [None, random(*SHAPE, seed=3)])
def test_solution_is_the_dense_one(matrix, right_side, solution, start):
    given = None if start is None else start.copy()
    x, residual, norms = conjugate_gradients(
        applied(matrix), right_side, plain, start=start, n_iterations=2 * N, tolerance=1e-6
    )
    assert x.dtype == residual.dtype == np.complex64
    # The condition times residual and rounding of single precision.
    assert np.linalg.norm(x - solution) < 3 * CONDITION * 1e-6 * np.linalg.norm(solution)
    assert len(norms) < 2 * N
    if start is not None:
        np.testing.assert_array_equal(start, given)  # left alone


def test_exact_after_as_many_iterations_as_eigenvalues(right_side):
    matrix = hermitian(np.resize([1.0, 3.0, 10.0], N))
    _, _, norms = conjugate_gradients(applied(matrix), right_side, plain, n_iterations=3)
    assert norms[2] > 1e-2
    assert norms[3] < 1e-5  # single precision


def test_inverse_as_preconditioner_takes_one_iteration(matrix, right_side, solution):
    x, _, norms = conjugate_gradients(
        applied(matrix), right_side, applied(np.linalg.inv(matrix)), n_iterations=1
    )
    assert len(norms) == 2
    assert np.linalg.norm(x - solution) < 1e-5 * np.linalg.norm(solution)  # single precision


def test_a_near_start_saves_iterations(matrix, right_side, solution):
    options = {"n_iterations": 2 * N, "tolerance": 1e-4}
    cold = conjugate_gradients(applied(matrix), right_side, plain, **options)[2]
    near = (solution + 1e-3 * random(*SHAPE, seed=4)).astype(np.complex64)
    warm = conjugate_gradients(applied(matrix), right_side, plain, start=near, **options)[2]
    assert cold[0] == 1
    assert warm[0] < 0.1
    assert len(warm) < 0.7 * len(cold)
    # The solution itself: nothing is left to do.
    x, _, norms = conjugate_gradients(
        applied(matrix), right_side, plain, start=solution.astype(np.complex64), **options
    )
    assert len(norms) == 1
    np.testing.assert_array_equal(x, solution.astype(np.complex64))


def test_residual_and_norms_are_those_of_x(matrix, right_side):
    for n_iterations in (1, 4, 9):
        x, residual, norms = conjugate_gradients(
            applied(matrix), right_side, plain, start=random(*SHAPE, seed=3), n_iterations=n_iterations
        )
        expected = right_side - applied(matrix)(x)
        scale = np.linalg.norm(right_side)
        # Single precision, of matrix times x.
        assert np.linalg.norm(residual - expected) < 1e-5 * CONDITION * np.linalg.norm(x)
        assert len(norms) == n_iterations + 1
        assert norms[-1] == pytest.approx(np.linalg.norm(expected) / scale, rel=1e-3)


def test_each_iterate_is_the_best_of_its_krylov_space(matrix, right_side):
    """Smallest error in the norm of the operator over span(b, A b, ..., A^(n-1) b)."""
    n_iterations = 5
    vectors = [right_side.ravel().astype(np.complex128)]
    for _ in range(n_iterations - 1):
        vectors.append(matrix @ vectors[-1])
    space = np.linalg.qr(np.stack(vectors, axis=1))[0]
    best = space @ np.linalg.solve(space.conj().T @ matrix @ space, space.conj().T @ vectors[0])
    x, _, _ = conjugate_gradients(applied(matrix), right_side, plain, n_iterations=n_iterations)
    assert np.linalg.norm(x.ravel() - best) < 1e-5 * np.linalg.norm(best)  # single precision


def test_progress_ends_with_the_total(matrix, right_side):
    calls = []

    def solve(n_iterations, tolerance):
        calls.clear()
        return conjugate_gradients(
            applied(matrix),
            right_side,
            plain,
            n_iterations=n_iterations,
            tolerance=tolerance,
            progress=lambda *call: calls.append(call),
        )[2]

    norms = solve(4, 0.0)
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    solve(4, 1.0001 * norms[2])
    assert calls == [(1, 4), (4, 4)]


def test_zero_right_side_gives_zero(matrix):
    zero = np.zeros(SHAPE, np.complex64)
    x, residual, norms = conjugate_gradients(applied(matrix), zero, plain, n_iterations=3)
    assert not x.any()
    assert not residual.any()
    assert norms == [0.0]


def test_norm_and_inner_product_are_summed_in_double_precision():
    x = np.full(2**20, 1 + 1j, np.complex64)
    x[0] = 3e4
    y = random(2**20)
    assert norm(x) == pytest.approx(np.linalg.norm(x.astype(np.complex128)), rel=1e-13)  # rounding
    expected = np.vdot(x.astype(np.complex128), y.astype(np.complex128)).real
    assert inner(x, y) == pytest.approx(expected, rel=1e-10)  # rounding, of terms that cancel
