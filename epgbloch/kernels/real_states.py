"""Instantaneous pulses with phases 0 and pi, on resonance: all states are real, lanes are atoms."""

import numpy as np
from numba import njit, uint64

from epgbloch.kernels.layout import LANES, SLACK
from epgbloch.kernels.windows import flush, rewind_minus, rewind_plus


@njit(cache=True, nogil=True, fastmath={"contract"})
def _pulse(n_active, coefficients, plus, minus, z, at_plus, at_minus):
    """Rotation about y and relaxation of the orders 0 ... n_active - 1, in place.

    With u = F+ + F-, twice the x component, the rotation adds the same (cos - 1) u / 2 + sin Z to F+ and
    to F-, and Z becomes cos Z - sin u / 2.
    """
    change_u, change_z, e1_cos, e1_sin, e2, _ = coefficients
    for k in range(uint64(n_active)):
        order = k * uint64(LANES)
        for lane in range(uint64(LANES)):
            i, j, m = at_plus + order + lane, at_minus + order + lane, order + lane
            f_plus, f_minus, f_z = plus[i], minus[j], z[m]
            u = f_plus + f_minus
            change = change_u[lane] * u + change_z[lane] * f_z
            plus[i] = e2[lane] * (f_plus + change)
            minus[j] = e2[lane] * (f_minus + change)
            z[m] = e1_cos[lane] * f_z - e1_sin[lane] * u


@njit(cache=True, nogil=True, fastmath={"contract"})
def _prepare(n, tr, te, cos, sin, turn, e1, e2, e2_echo, plus, minus, z, coefficients, out):
    """Set the lanes' coefficients of pulse n and write its echoes."""
    change_u, change_z, e1_cos, e1_sin, lane_e2, recovery = coefficients
    for lane in range(uint64(LANES)):
        cosine, sine = cos[n + lane], sin[n + lane]
        decay = e1[tr + lane]
        change_u[lane] = np.float32(0.5) * (cosine - np.float32(1))
        change_z[lane] = sine
        e1_cos[lane] = decay * cosine
        e1_sin[lane] = np.float32(0.5) * decay * sine
        lane_e2[lane] = turn * e2[tr + lane]
        recovery[lane] = np.float32(1) - decay
        u = plus[lane] + minus[lane]
        out[n + lane] = e2_echo[te + lane] * (plus[lane] + change_u[lane] * u + sine * z[lane])


@njit(cache=True, nogil=True)
def simulate(cos, sin, turn, dephase, e1, e2, e2_echo, i_tr, i_te, z_start, n_states, out):
    """Signals of blocks of LANES atoms.

    cos, sin : (n_blocks, n_pulses, LANES) of flip angle x B1; turn : (n_pulses,) +1 or -1, the phase step to
    the next pulse; dephase : spoiling or balanced; e1, e2 : (n_blocks, n_tr, LANES) relaxation over each
    distinct TR; e2_echo : (n_blocks, n_te, LANES) over each distinct TE; i_tr, i_te : (n_pulses,) which one;
    z_start : (n_blocks, LANES) Mz before the first pulse; out : (n_blocks, n_pulses, LANES), written.
    """
    n_blocks, n_pulses, _ = cos.shape
    plus = np.zeros((n_states + SLACK) * LANES, np.float32)
    minus = np.zeros((n_states + SLACK) * LANES, np.float32)
    z = np.zeros(n_states * LANES, np.float32)
    buffer = np.zeros((6, LANES), np.float32)
    coefficients = (buffer[0], buffer[1], buffer[2], buffer[3], buffer[4], buffer[5])
    for block in range(n_blocks):
        plus[:], minus[:], z[:] = 0, 0, 0
        z[:LANES] = z_start[block]
        block_cos, block_sin, block_out = cos[block].ravel(), sin[block].ravel(), out[block].ravel()
        block_e1, block_e2, block_echo = e1[block].ravel(), e2[block].ravel(), e2_echo[block].ravel()
        offset = 0
        for n in range(n_pulses):
            at_plus, at_minus = (SLACK - offset) * LANES, offset * LANES
            _prepare(
                uint64(n * LANES),
                uint64(i_tr[n] * LANES),
                uint64(i_te[n] * LANES),
                block_cos,
                block_sin,
                turn[n],
                block_e1,
                block_e2,
                block_echo,
                plus[at_plus:],
                minus[at_minus:],
                z,
                coefficients,
                block_out,
            )
            # orders above n are still empty; orders from n_pulses - n on cannot come back in time
            n_active = min(n_states, n + 1, n_pulses - n)
            _pulse(n_active, coefficients, plus, minus, z, uint64(at_plus), uint64(at_minus))
            if dephase:
                offset += 1
                if offset == SLACK:
                    rewind_plus(plus, n_states)
                    rewind_minus(minus, n_states)
                    flush(z, n_states)
                    offset = 0
            for lane in range(LANES):
                z[lane] += coefficients[5][lane]
                plus[(SLACK - offset) * LANES + lane] = minus[offset * LANES + lane]
