"""Complex configuration states: one operator per lane and pulse, and its derivatives.

states : (n_sets, 6, (n_states + SLACK) * LANES) float32, the real and imaginary parts of F+, F- and Z.
operator : (n_sets, N_COEFFICIENTS * LANES) float32, see `layout`. Set 0 belongs to the signal. Set j > 0
belongs to a parameter: with S' = A S + r, it follows dS' = A dS + (dA S + dr).
"""

import numpy as np
from numba import njit, uint64

from epgbloch.kernels.layout import LANES, SLACK
from epgbloch.kernels.windows import flush, rewind_minus, rewind_plus


@njit(cache=True, nogil=True)
def empty_states(n_sets, n_states):
    """Allocate states."""
    return np.zeros((n_sets, 6, (n_states + SLACK) * LANES), np.float32)


@njit(cache=True, nogil=True)
def start(states, z_start, lane_stride):
    """Empty the states but for Mz before the first pulse; z_start : (n_sets, LANES) or (n_sets, 1)."""
    states[:] = 0
    for j in range(states.shape[0]):
        for lane in range(LANES):
            states[j, 4, lane] = z_start[j, lane * lane_stride]


@njit(cache=True, nogil=True, fastmath={"contract"})
def _apply(n_active, operator, plus_re, plus_im, minus_re, minus_im, z_re, z_im, at_plus, at_minus):
    """Apply one operator per lane to the orders 0 ... n_active - 1, in place, without recovery."""
    for k in range(uint64(n_active)):
        order = k * uint64(LANES)
        for lane in range(uint64(LANES)):
            a_re, a_im = operator[lane], operator[LANES + lane]
            b_re, b_im = operator[2 * LANES + lane], operator[3 * LANES + lane]
            c_re, c_im = operator[4 * LANES + lane], operator[5 * LANES + lane]
            d_re, d_im, e = (
                operator[6 * LANES + lane],
                operator[7 * LANES + lane],
                operator[10 * LANES + lane],
            )
            i, j, m = at_plus + order + lane, at_minus + order + lane, order + lane
            p_re, p_im = plus_re[i], plus_im[i]
            m_re, m_im = minus_re[j], minus_im[j]
            l_re, l_im = z_re[m], z_im[m]
            plus_re[i] = a_re * p_re - a_im * p_im + b_re * m_re - b_im * m_im + c_re * l_re - c_im * l_im
            plus_im[i] = a_re * p_im + a_im * p_re + b_re * m_im + b_im * m_re + c_re * l_im + c_im * l_re
            minus_re[j] = a_re * m_re + a_im * m_im + b_re * p_re + b_im * p_im + c_re * l_re + c_im * l_im
            minus_im[j] = a_re * m_im - a_im * m_re + b_re * p_im - b_im * p_re + c_re * l_im - c_im * l_re
            z_re[m] = d_re * (p_re + m_re) - d_im * (p_im - m_im) + e * l_re
            z_im[m] = d_re * (p_im + m_im) + d_im * (p_re - m_re) + e * l_im


@njit(cache=True, nogil=True, fastmath={"contract"})
def _add_transverse(
    operator, p_re, p_im, m_re, m_im, l_re, l_im, q_re, q_im, n_re, n_im, at_p, at_m, n_active
):
    """Add the operator applied to states (p, m, l) to the transverse states (q, n)."""
    for k in range(uint64(n_active)):
        order = k * uint64(LANES)
        for lane in range(uint64(LANES)):
            a_re, a_im = operator[lane], operator[LANES + lane]
            b_re, b_im = operator[2 * LANES + lane], operator[3 * LANES + lane]
            c_re, c_im = operator[4 * LANES + lane], operator[5 * LANES + lane]
            i, j, m = at_p + order + lane, at_m + order + lane, order + lane
            x_re, x_im, y_re, y_im, w_re, w_im = p_re[i], p_im[i], m_re[j], m_im[j], l_re[m], l_im[m]
            q_re[i] += a_re * x_re - a_im * x_im + b_re * y_re - b_im * y_im + c_re * w_re - c_im * w_im
            q_im[i] += a_re * x_im + a_im * x_re + b_re * y_im + b_im * y_re + c_re * w_im + c_im * w_re
            n_re[j] += a_re * y_re + a_im * y_im + b_re * x_re + b_im * x_im + c_re * w_re + c_im * w_im
            n_im[j] += a_re * y_im - a_im * y_re + b_re * x_im - b_im * x_re + c_re * w_im - c_im * w_re


@njit(cache=True, nogil=True, fastmath={"contract"})
def _add_longitudinal(operator, p_re, p_im, m_re, m_im, l_re, l_im, o_re, o_im, at_p, at_m, n_active):
    """Add the operator applied to states (p, m, l) to the longitudinal states o."""
    for k in range(uint64(n_active)):
        order = k * uint64(LANES)
        for lane in range(uint64(LANES)):
            d_re, d_im, e = (
                operator[6 * LANES + lane],
                operator[7 * LANES + lane],
                operator[10 * LANES + lane],
            )
            i, j, m = at_p + order + lane, at_m + order + lane, order + lane
            o_re[m] += d_re * (p_re[i] + m_re[j]) - d_im * (p_im[i] - m_im[j]) + e * l_re[m]
            o_im[m] += d_re * (p_im[i] + m_im[j]) + d_im * (p_re[i] - m_re[j]) + e * l_im[m]


@njit(cache=True, nogil=True, fastmath={"contract"})
def transverse(operator, states, at_plus, at_minus, re, im):
    """Write F+ of order 0 right after the pulse, one value per lane, to re, im : (n_sets, LANES).

    `operator` is the one of the pulse alone, before `fold`; order 0 of F+ and F- lies at at_plus, at_minus.
    """
    plus, minus = uint64(at_plus), uint64(at_minus)
    for j in range(states.shape[0]):
        for lane in range(uint64(LANES)):
            re[j, lane], im[j, lane] = operator[j, 8 * LANES + lane], operator[j, 9 * LANES + lane]
        for source in range(2 if j > 0 else 1):
            # derivative of a product: operator times derived states, derived operator times states
            o, k = (0, j) if source == 0 else (j, 0)
            for lane in range(uint64(LANES)):
                a_re, a_im = operator[o, lane], operator[o, LANES + lane]
                b_re, b_im = operator[o, 2 * LANES + lane], operator[o, 3 * LANES + lane]
                p_re, p_im = states[k, 0, plus + lane], states[k, 1, plus + lane]
                m_re, m_im = states[k, 2, minus + lane], states[k, 3, minus + lane]
                # Z of order 0 is real
                z = states[k, 4, lane]
                c_re, c_im = operator[o, 4 * LANES + lane], operator[o, 5 * LANES + lane]
                re[j, lane] += a_re * p_re - a_im * p_im + b_re * m_re - b_im * m_im + c_re * z
                im[j, lane] += a_re * p_im + a_im * p_re + b_re * m_im + b_im * m_re + c_im * z


@njit(cache=True, nogil=True, fastmath={"contract"})
def _multiply(own, e1, e2_re, e2_im, out, keep):
    """Set out to keep x out + own followed by relaxation and precession; `keep` is 0 or 1."""
    for i_part in range(uint64(5)):
        # a, b, c, d, p
        at = uint64(2 * LANES) * i_part
        for lane in range(uint64(LANES)):
            i, j = at + lane, at + uint64(LANES) + lane
            re, im = own[i], own[j]
            factor_re, factor_im = e2_re[lane], e2_im[lane]
            if i_part == 3:
                factor_re, factor_im = e1[lane], np.float32(0)
            out[i] = keep * out[i] + factor_re * re - factor_im * im
            out[j] = keep * out[j] + factor_re * im + factor_im * re
    for lane in range(uint64(LANES)):
        i, j = 10 * LANES + lane, 11 * LANES + lane
        out[i] = keep * out[i] + e1[lane] * own[i]
        out[j] = keep * out[j] + e1[lane] * own[j]


@njit(cache=True, nogil=True, fastmath={"contract"})
def fold(operator, e1, e2_re, e2_im):
    """Follow the operators by relaxation and precession up to the next pulse, in place.

    e1, e2_re, e2_im : (n_sets, LANES) factors and their derivatives.
    """
    for j in range(operator.shape[0] - 1, -1, -1):
        _multiply(operator[j], e1[0], e2_re[0], e2_im[0], operator[j], np.float32(0))
        if j > 0:
            _multiply(operator[0], e1[j], e2_re[j], e2_im[j], operator[j], np.float32(1))
        constant = np.float32(0 if j > 0 else 1)
        for lane in range(uint64(LANES)):
            operator[j, 11 * LANES + lane] += constant - e1[j, lane]


@njit(cache=True, nogil=True)
def parts_of(states, j):
    """Return the six arrays of one set."""
    return states[j, 0], states[j, 1], states[j, 2], states[j, 3], states[j, 4], states[j, 5]


@njit(cache=True, nogil=True)
def advance(operator, n_active, dephase, offset, n_states, states, first):
    """Apply the folded operators with recovery, dephase, and return the new window offset.

    first : `parts_of` set 0, made once: slices cost as much as 20 states.
    """
    at_plus, at_minus = uint64((SLACK - offset) * LANES), uint64(offset * LANES)
    s0, s1, s2, s3, s4, s5 = first
    for j in range(states.shape[0] - 1, 0, -1):
        d0, d1, d2, d3, d4, d5 = parts_of(states, j)
        own = operator[j]
        _apply(n_active, operator[0], d0, d1, d2, d3, d4, d5, at_plus, at_minus)
        _add_transverse(own, s0, s1, s2, s3, s4, s5, d0, d1, d2, d3, at_plus, at_minus, n_active)
        _add_longitudinal(own, s0, s1, s2, s3, s4, s5, d4, d5, at_plus, at_minus, n_active)
        _recover(own, d0, d1, d2, d3, d4, d5, at_plus, at_minus)
    _apply(n_active, operator[0], s0, s1, s2, s3, s4, s5, at_plus, at_minus)
    _recover(operator[0], s0, s1, s2, s3, s4, s5, at_plus, at_minus)
    if dephase:
        offset += 1
        if offset == SLACK:
            for j in range(states.shape[0]):
                rewind_plus(states[j, 0], n_states)
                rewind_plus(states[j, 1], n_states)
                rewind_minus(states[j, 2], n_states)
                rewind_minus(states[j, 3], n_states)
                flush(states[j, 4], n_states)
                flush(states[j, 5], n_states)
            offset = 0
    at_plus, at_minus = uint64((SLACK - offset) * LANES), uint64(offset * LANES)
    for lane in range(uint64(LANES)):
        s0[at_plus + lane] = s2[at_minus + lane]
        s1[at_plus + lane] = -s3[at_minus + lane]
    for j in range(1, states.shape[0]):
        for lane in range(uint64(LANES)):
            states[j, 0, at_plus + lane] = states[j, 2, at_minus + lane]
            states[j, 1, at_plus + lane] = -states[j, 3, at_minus + lane]
    return offset


@njit(cache=True, nogil=True)
def _recover(operator, plus_re, plus_im, minus_re, minus_im, z_re, z_im, at_plus, at_minus):
    """Add the recovered magnetisation to order 0."""
    for lane in range(uint64(LANES)):
        p_re, p_im = operator[8 * LANES + lane], operator[9 * LANES + lane]
        plus_re[at_plus + lane] += p_re
        plus_im[at_plus + lane] += p_im
        minus_re[at_minus + lane] += p_re
        minus_im[at_minus + lane] -= p_im
        z_re[lane] += operator[11 * LANES + lane]
        z_im[lane] = np.float32(0)
