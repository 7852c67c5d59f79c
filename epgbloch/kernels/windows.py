"""The moving windows of configuration states: back to their start every `SLACK` repetitions.

Dephasing moves no data: the window of F+ starts one order lower, that of F- one order higher. `at` is where
a window begins in a flat array.
"""

import numpy as np
from numba import njit

from epgbloch.kernels.lanes import WIDTH, fill, load, store
from epgbloch.kernels.layout import LANES, SLACK

_SHIFT = SLACK * LANES


@njit(cache=True, nogil=True)
def zeros(size):
    """Return zeros, float32, that start at a cache line: vectors across two lines take twice as long."""
    raw = np.zeros(size + 16, np.float32)
    first = (-raw.ctypes.data % 64) // 4
    return raw[first : first + size]


@njit(cache=True, nogil=True)
def clear(array, at, size):
    """Set `size` values to zero."""
    zero = fill(0)
    for i in range(0, size, WIDTH):
        store(array, at + i, zero)


@njit(cache=True, nogil=True)
def copy(source, at_source, target, at_target, size):
    """Copy `size` values from one array to another."""
    for i in range(0, size, WIDTH):
        store(target, at_target + i, load(source, at_source + i))


@njit(cache=True, nogil=True)
def copy_rows(n_rows, width, source, at_source, source_stride, target, at_target, target_stride):
    """Copy the first `width` values of some rows."""
    for i in range(n_rows):
        copy(source, at_source + i * source_stride, target, at_target + i * target_stride, width)


@njit(cache=True, nogil=True)
def rewind_plus(states, at, n_states):
    """Move the window of F+ from order offset 0 up to `SLACK`."""
    for i in range(WIDTH, n_states * LANES + WIDTH, WIDTH):
        j = at + n_states * LANES - i
        store(states, j + _SHIFT, load(states, j))


@njit(cache=True, nogil=True)
def rewind_minus(states, at, n_states):
    """Move the window of F- from order offset `SLACK` down to 0, with empty orders above it."""
    for i in range(0, n_states * LANES, WIDTH):
        store(states, at + i, load(states, at + i + _SHIFT))
    clear(states, at + n_states * LANES, _SHIFT)


@njit(cache=True, nogil=True)
def unwind_plus(states, at, n_states, shift):
    """Move a window of adjoint F+ from order offset 0 to `shift`: the way back of `rewind_plus`."""
    start = at + _SHIFT
    for i in range(0, n_states * LANES, WIDTH):
        store(states, start - shift * LANES + i, load(states, start + i))
    clear(states, start + (n_states - shift) * LANES, shift * LANES)


@njit(cache=True, nogil=True)
def unwind_minus(states, at, n_states, shift):
    """Move a window of adjoint F- from order offset 0 to `shift`: the way back of `rewind_minus`."""
    for i in range(WIDTH, n_states * LANES + WIDTH, WIDTH):
        j = at + n_states * LANES - i
        store(states, j + shift * LANES, load(states, j))
    clear(states, at, shift * LANES)
