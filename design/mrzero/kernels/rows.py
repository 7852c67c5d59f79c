"""Rows of complex numbers in single precision: n real parts, then n imaginary ones, anywhere in flat arrays.

n is a multiple of WIDTH; rows are given by array and first place.
"""

import numpy as np
from numba import njit

from epgbloch.kernels.lanes import WIDTH, add, fill, load, store, total

START = np.int64(0)
"""First place of an array. numba compiles functions once more for every literal number they are given."""


@njit(cache=True, nogil=True)
def load_complex(a, at, n):
    """Vectors of real and imaginary parts."""
    return load(a, at), load(a, at + n)


@njit(cache=True, nogil=True)
def store_complex(out, to, n, re, im):
    """Write vectors of real and imaginary parts."""
    store(out, to, re)
    store(out, to + n, im)


@njit(cache=True, nogil=True)
def add_complex(out, to, n, re, im):
    """Add vectors of real and imaginary parts."""
    add(out, to, re)
    add(out, to + n, im)


@njit(cache=True, nogil=True)
def nothing():
    """Return the vector of zeros."""
    return fill(np.float32(0))


@njit(cache=True, nogil=True)
def zero(out, to, size):
    """Write zeros."""
    for i in range(to, to + size):
        out[i] = np.float32(0)


@njit(cache=True, nogil=True)
def multiply(a, at, b, bt, n, out, to):
    """Out = a b."""
    for v in range(0, n, WIDTH):
        re, im = load_complex(a, at + v, n)
        x, y = load_complex(b, bt + v, n)
        store_complex(out, to + v, n, re * x - im * y, re * y + im * x)


@njit(cache=True, nogil=True)
def multiply_conjugate(a, at, b, bt, n, out, to):
    """Out = a conj(b)."""
    for v in range(0, n, WIDTH):
        re, im = load_complex(a, at + v, n)
        x, y = load_complex(b, bt + v, n)
        store_complex(out, to + v, n, re * x + im * y, im * x - re * y)


@njit(cache=True, nogil=True)
def add_conjugate(a, at, b, bt, n, out, to):
    """Out += a conj(b)."""
    for v in range(0, n, WIDTH):
        re, im = load_complex(a, at + v, n)
        x, y = load_complex(b, bt + v, n)
        add_complex(out, to + v, n, re * x + im * y, im * x - re * y)


@njit(cache=True, nogil=True)
def add_product(a, at, b, bt, n, out, to):
    """Out += a b."""
    for v in range(0, n, WIDTH):
        re, im = load_complex(a, at + v, n)
        x, y = load_complex(b, bt + v, n)
        add_complex(out, to + v, n, re * x - im * y, re * y + im * x)


@njit(cache=True, nogil=True)
def add_scaled(factor, a, at, n, out, to):
    """Out += factor a, for a number."""
    vector = fill(np.float32(factor))
    for v in range(0, 2 * n, WIDTH):
        add(out, to + v, vector * load(a, at + v))


@njit(cache=True, nogil=True)
def add_weighted(factor, weights, a, at, n, out, to):
    """Out += factor weights a, for a number and a row of n real weights."""
    number = fill(np.float32(factor))
    for v in range(0, n, WIDTH):
        re, im = load_complex(a, at + v, n)
        vector = number * load(weights, v)
        add_complex(out, to + v, n, vector * re, vector * im)


@njit(cache=True, nogil=True)
def sums(a, at, n_nodes, step, weight, w, b, bt, n):
    """Sum of b times the weighted sum of rows of a, `step` apart; weights from w on."""
    re, im = nothing(), nothing()
    for v in range(0, n, WIDTH):
        x, y = nothing(), nothing()
        for j in range(n_nodes):
            factor = fill(np.float32(weight[w + j]))
            own_x, own_y = load_complex(a, at + j * step + v, n)
            x += factor * own_x
            y += factor * own_y
        own_re, own_im = load_complex(b, bt + v, n)
        re += x * own_re - y * own_im
        im += x * own_im + y * own_re
    return total(re), total(im)


@njit(cache=True, nogil=True)
def spread(bar, b, bt, n, n_nodes, step, weight, w, out):
    """Pull the cotangent of `sums` back: add bar conj(b) to rows of out, `step` apart, with their weights."""
    bar_re, bar_im = fill(np.float32(bar.real)), fill(np.float32(bar.imag))
    for v in range(0, n, WIDTH):
        re, im = load_complex(b, bt + v, n)
        x, y = bar_re * re + bar_im * im, bar_im * re - bar_re * im
        for j in range(n_nodes):
            factor = fill(np.float32(weight[w + j]))
            add_complex(out, j * step + v, n, factor * x, factor * y)
