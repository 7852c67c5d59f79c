"""Attenuation of configuration states by isotropic diffusion.

Over one TR the order k of F+, F- and Z is attenuated by exp(-b D), b quadratic in k: from each order to the
next the factor changes by a ratio, and the ratio by a constant step.
"""

from numba import njit

from epgbloch.kernels.lanes import WIDTH, fill, load, store
from epgbloch.kernels.layout import LANES

N_ROWS = 5
"""Factor of order 0 of F+ and F-; ratios of F+, F- and Z from order 0 to 1 and step of all ratios, less 1."""
FIRST, PLUS, MINUS, Z, STEP = (i * LANES for i in range(N_ROWS))


@njit(cache=True, nogil=True)
def _attenuate(n_lanes, n_active, rows, ratio_row, states, at):
    for h in range(0, n_lanes, WIDTH):
        factor = load(rows, FIRST + h) if ratio_row != Z else fill(1)
        # ratio and step less 1: the rounding of a step near 1 would grow with the square of the order
        ratio, step = load(rows, ratio_row + h), load(rows, STEP + h)
        for order in range(h, n_active * LANES + h, LANES):
            store(states, at + order, factor * load(states, at + order))
            factor += factor * ratio
            ratio += step + ratio * step


@njit(cache=True, nogil=True)
def rows_of_atom(diffusion, kind, rows):
    """Repeat the numbers of one kind of TR in all lanes; diffusion : flat, (n_kinds, N_ROWS)."""
    for row in range(N_ROWS):
        for h in range(0, LANES, WIDTH):
            store(rows, row * LANES + h, fill(diffusion[kind * N_ROWS + row]))


@njit(cache=True, nogil=True)
def attenuate(n_lanes, n_active, rows, n_parts, window, at_plus, at_minus, states):
    """Attenuate the orders of one set of states with n_parts windows (real, imaginary) of F+, F- and Z.

    rows : flat, (N_ROWS, LANES).
    """
    for part in range(n_parts):
        _attenuate(n_lanes, n_active, rows, PLUS, states, at_plus + part * window)
        _attenuate(n_lanes, n_active, rows, MINUS, states, at_minus + part * window)
        _attenuate(n_lanes, n_active, rows, Z, states, (2 * n_parts + part) * window)
