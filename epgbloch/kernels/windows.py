"""The moving windows of configuration states: back to their start every `SLACK` repetitions."""

import numpy as np
from numba import njit

from epgbloch.kernels.layout import LANES, SLACK

SMALLEST = np.float32(1e-15)
"""States below this fraction of M0 are set to zero; float32 resolves 1e-7."""


@njit(cache=True, nogil=True)
def _flushed(value):
    return value if abs(value) > SMALLEST else np.float32(0)


@njit(cache=True, nogil=True)
def flush(z, n_states):
    """Set tiny values of the first `n_states` orders to zero."""
    for i in range(n_states * LANES):
        z[i] = _flushed(z[i])


@njit(cache=True, nogil=True)
def rewind_plus(plus, n_states):
    """Move the window of F+ from order offset 0 up to `SLACK`."""
    for i in range(n_states * LANES - 1, -1, -1):
        plus[i + SLACK * LANES] = _flushed(plus[i])


@njit(cache=True, nogil=True)
def rewind_minus(minus, n_states):
    """Move the window of F- from order offset `SLACK` down to 0, with empty orders above it."""
    for i in range(n_states * LANES):
        minus[i] = _flushed(minus[i + SLACK * LANES])
    minus[n_states * LANES :] = 0


@njit(cache=True, nogil=True)
def unwind_plus(plus, n_states):
    """Undo `rewind_plus` for adjoint states."""
    for i in range(n_states * LANES):
        plus[i] = plus[i + SLACK * LANES]
    plus[n_states * LANES :] = 0


@njit(cache=True, nogil=True)
def unwind_minus(minus, n_states):
    """Undo `rewind_minus` for adjoint states."""
    for i in range(n_states * LANES - 1, -1, -1):
        minus[i + SLACK * LANES] = minus[i]
    minus[: SLACK * LANES] = 0
