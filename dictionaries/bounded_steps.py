"""Small quadratic problems with linear inequalities, many at once. Private to `dictionaries`."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ROUNDING = 1e-10
"""Relative violation of an inequality that is rounding."""


def bounded_steps(
    hessian: NDArray[Any],
    descent: NDArray[Any],
    normals: NDArray[np.float64],
    room: NDArray[Any],
) -> NDArray[np.float64]:
    """Return the minimiser of 1/2 d^T H d - s^T d within N d <= h for every problem.

    The minimiser solves the problem with equality in some set of inequalities; all sets of independent ones
    are tried where the free minimiser leaves the bounds. With n <= 4 unknowns they are few.

    Parameters
    ----------
    hessian : ndarray, shape (n_problems, n, n), float64
        H, symmetric and positive definite.
    descent : ndarray, shape (n_problems, n), float64
        s, the negative gradient at d = 0.
    normals : ndarray, shape (n_bounds, n), float64
        N, the same for all problems.
    room : ndarray, shape (n_problems, n_bounds), float64
        h >= 0: d = 0 keeps the bounds.

    Returns
    -------
    ndarray, shape (n_problems, n), float64
    """
    free = np.linalg.solve(hessian, descent[..., np.newaxis])[..., 0]
    outside = np.flatnonzero(~_inside(free, normals, room))
    if not outside.size:
        return free
    free_outside, room, hessian, descent = (a[outside] for a in (free, room, hessian, descent))
    best = np.zeros_like(free_outside)
    lowest = np.zeros(outside.size)
    for size in range(1, normals.shape[1] + 1):
        for active in combinations(range(len(normals)), size):
            rows = normals[list(active)]
            if np.linalg.matrix_rank(rows) < size:
                continue
            towards = np.linalg.solve(hessian, np.broadcast_to(rows.T, (outside.size, *rows.T.shape)))
            excess = free_outside @ rows.T - room[:, active]
            multipliers = np.linalg.solve(rows @ towards, excess[..., np.newaxis])
            steps = free_outside - (towards @ multipliers)[..., 0]
            values = quadratic(hessian, steps) / 2 - (descent * steps).sum(axis=1)
            better = _inside(steps, normals, room) & (values < lowest)
            best[better], lowest[better] = steps[better], values[better]
    free[outside] = best
    return free


def quadratic(matrices: NDArray[Any], vectors: NDArray[Any]) -> NDArray[np.float64]:
    """Return v^T M v for matrices (n, p, p) and vectors (n, p)."""
    return np.einsum("ni,nij,nj->n", vectors, matrices, vectors)


def _inside(
    steps: NDArray[np.float64], normals: NDArray[np.float64], room: NDArray[Any]
) -> NDArray[np.bool_]:
    slack = _ROUNDING * (1 + np.abs(steps).max(axis=1, keepdims=True))
    return (steps @ normals.T <= room + slack).all(axis=1)
