import numpy as np
import pytest
from scipy.optimize import nnls

from dictionaries.bounded_steps import bounded_steps, quadratic


def problems(n, n_problems=200, seed=0):
    """Ill-conditioned problems with bounds on each unknown and one across, many of which are active."""
    rng = np.random.default_rng(seed)
    factors = rng.standard_normal((n_problems, n, n)) * np.geomspace(1, 0.1, n)
    hessian = factors @ factors.swapaxes(1, 2) + 1e-3 * np.eye(n)
    across = np.eye(n)[0] - np.eye(n)[-1] if n > 1 else np.ones(1)
    normals = np.array([*np.eye(n), *-np.eye(n), across])
    # a third of the bounds is touched from the start
    room = rng.uniform(0, 0.5, (n_problems, len(normals))) * (rng.random((n_problems, len(normals))) > 1 / 3)
    return hessian, rng.standard_normal((n_problems, n)), normals, room


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_steps_are_optimal_within_the_bounds(n):
    """At the minimum the negative gradient is a sum of normals of touched bounds with positive weights."""
    hessian, descent, normals, room = problems(n)
    steps = bounded_steps(hessian, descent, normals, room)
    n_bounded = 0
    for H, s, h, d in zip(hessian, descent, room, steps, strict=True):
        slack = h - normals @ d
        assert slack.min() > -1e-9  # the allowance of the search, times steps of order 1
        touched = slack < 1e-8
        gradient = s - H @ d
        rest = nnls(normals[touched].T, gradient)[1] if touched.any() else np.linalg.norm(gradient)
        assert rest < 1e-6  # rounding, times condition numbers up to 1e5
        n_bounded += touched.any()
    assert n_bounded > 50


def test_wide_bounds_do_not_change_the_free_minimum():
    hessian, descent, normals, room = problems(3)
    steps = bounded_steps(hessian, descent, normals, room + 1e6)
    # rounding, times condition numbers up to 1e5
    np.testing.assert_allclose((hessian @ steps[..., None])[..., 0], descent, atol=1e-9)


def test_quadratic_is_the_form():
    hessian, vectors = problems(3)[:2]
    expected = [v @ H @ v for H, v in zip(hessian, vectors, strict=True)]
    np.testing.assert_allclose(quadratic(hessian, vectors), expected, rtol=1e-12)  # order of summation
