"""Instantaneous pulses of any phase, with off-resonance; lanes are atoms."""

import numpy as np
from numba import njit, uint64

from epgbloch.kernels.complex_states import advance, empty_states, fold, parts_of, start, transverse
from epgbloch.kernels.layout import LANES, N_COEFFICIENTS, SLACK


@njit(cache=True, nogil=True, fastmath={"contract"})
def _rotate(cos, sin, rate, derivative, operator):
    """Set the operator of a rotation about y, one flip angle per lane, or `rate` times its derivative."""
    one = np.float32(0 if derivative else 1)
    for lane in range(uint64(LANES)):
        cosine, sine = cos[lane], sin[lane]
        if derivative:
            cosine, sine = -rate * sin[lane], rate * cos[lane]
        operator[lane] = np.float32(0.5) * (one + cosine)
        operator[2 * LANES + lane] = np.float32(0.5) * (cosine - one)
        operator[4 * LANES + lane] = sine
        operator[6 * LANES + lane] = np.float32(-0.5) * sine
        operator[10 * LANES + lane] = cosine


@njit(cache=True, nogil=True, fastmath={"contract"})
def simulate(cos, sin, rates, turn, dephase, e1, e2, e2_echo, i_tr, i_te, z_start, n_states, out):
    """Signals and derivatives of blocks of LANES atoms.

    Arguments as in `real_states.simulate`, but turn : (n_pulses,) complex phase step to the next pulse, and
    e2, e2_echo, out : complex64, relaxation and precession.
    """
    n_blocks, n_sets, n_pulses, _ = out.shape
    states = empty_states(n_sets, n_states)
    parts = parts_of(states, 0)
    operator = np.zeros((n_sets, N_COEFFICIENTS * LANES), np.float32)
    re, im = np.zeros((n_sets, LANES), np.float32), np.zeros((n_sets, LANES), np.float32)
    for block in range(n_blocks):
        start(states, z_start[block], 1)
        offset = 0
        for n in range(n_pulses):
            operator[:] = 0
            for j in range(n_sets):
                _rotate(cos[block, n], sin[block, n], rates[j, n], j > 0, operator[j])
            transverse(operator, states, (SLACK - offset) * LANES, offset * LANES, re, im)
            for j in range(n_sets):
                for lane in range(LANES):
                    echo = e2_echo[block, 0, i_te[n], lane] * complex(re[j, lane], im[j, lane])
                    if j > 0:
                        echo += e2_echo[block, j, i_te[n], lane] * complex(re[0, lane], im[0, lane])
                    out[block, j, n, lane] = echo
            for j in range(n_sets):
                for lane in range(LANES):
                    rotation = turn[n] * e2[block, j, i_tr[n], lane]
                    re[j, lane], im[j, lane] = rotation.real, rotation.imag
            fold(operator, e1[block, :, i_tr[n]], re, im)
            n_active = min(n_states, n + 1, n_pulses - n)
            offset = advance(operator, n_active, dephase, offset, n_states, states, parts)
