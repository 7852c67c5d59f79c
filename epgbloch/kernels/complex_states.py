"""Pulses of any phase, with off-resonance or with a slice profile: complex states."""

import numpy as np
from numba import njit, uint64

from epgbloch.kernels.layout import LANES, N_COEFFICIENTS, SLACK
from epgbloch.kernels.windows import flush, rewind_minus, rewind_plus


@njit(cache=True, nogil=True, fastmath={"contract"})
def _apply(n_active, operator, plus_re, plus_im, minus_re, minus_im, z_re, z_im, at_plus, at_minus):
    """Apply one operator per lane to the orders 0 ... n_active - 1, in place, without recovery."""
    for k in range(uint64(n_active)):
        order = k * uint64(LANES)
        for lane in range(uint64(LANES)):
            a_re, a_im = operator[lane], operator[LANES + lane]
            b_re, b_im = operator[2 * LANES + lane], operator[3 * LANES + lane]
            c_re, c_im = operator[4 * LANES + lane], operator[5 * LANES + lane]
            d_re, d_im = operator[6 * LANES + lane], operator[7 * LANES + lane]
            e = operator[10 * LANES + lane]
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
def _fold(operator, e1, e2_re, e2_im):
    """Follow the operator by relaxation and precession up to the next pulse, one value per lane."""
    for i_part in range(uint64(5)):
        # a, b, c, d, p
        at = uint64(2 * LANES) * i_part
        for lane in range(uint64(LANES)):
            re, im = operator[at + lane], operator[at + uint64(LANES) + lane]
            factor_re, factor_im = e2_re[lane], e2_im[lane]
            if i_part == 3:
                factor_re, factor_im = e1[lane], np.float32(0)
            operator[at + lane] = factor_re * re - factor_im * im
            operator[at + uint64(LANES) + lane] = factor_re * im + factor_im * re
    for lane in range(uint64(LANES)):
        operator[10 * LANES + lane] *= e1[lane]
        operator[11 * LANES + lane] = operator[11 * LANES + lane] * e1[lane] + (np.float32(1) - e1[lane])


@njit(cache=True, nogil=True, fastmath={"contract"})
def _transverse(operator, states, offset, re, im):
    """F+ of order 0 right after the pulse, one value per lane, written to `re` and `im`."""
    plus_re, plus_im = states[0][(SLACK - offset) * LANES :], states[1][(SLACK - offset) * LANES :]
    minus_re, minus_im = states[2][offset * LANES :], states[3][offset * LANES :]
    z_re = states[4]
    for lane in range(uint64(LANES)):
        a_re, a_im = operator[lane], operator[LANES + lane]
        b_re, b_im = operator[2 * LANES + lane], operator[3 * LANES + lane]
        p_re, p_im = plus_re[lane], plus_im[lane]
        m_re, m_im = minus_re[lane], minus_im[lane]
        # Z of order 0 is real
        z = z_re[lane]
        re[lane] = a_re * p_re - a_im * p_im + b_re * m_re - b_im * m_im
        re[lane] += operator[4 * LANES + lane] * z + operator[8 * LANES + lane]
        im[lane] = a_re * p_im + a_im * p_re + b_re * m_im + b_im * m_re
        im[lane] += operator[5 * LANES + lane] * z + operator[9 * LANES + lane]


@njit(cache=True, nogil=True, fastmath={"contract"})
def _advance(operator, n_active, dephase, offset, n_states, states):
    """Apply the folded operator with its recovery, dephase, and return the new window offset."""
    plus_re, plus_im, minus_re, minus_im, z_re, z_im = states
    at_plus, at_minus = (SLACK - offset) * LANES, offset * LANES
    _apply(
        n_active,
        operator,
        plus_re,
        plus_im,
        minus_re,
        minus_im,
        z_re,
        z_im,
        uint64(at_plus),
        uint64(at_minus),
    )
    for lane in range(LANES):
        z_re[lane] += operator[11 * LANES + lane]
        z_im[lane] = np.float32(0)
        plus_re[at_plus + lane] += operator[8 * LANES + lane]
        plus_im[at_plus + lane] += operator[9 * LANES + lane]
        minus_re[at_minus + lane] += operator[8 * LANES + lane]
        minus_im[at_minus + lane] -= operator[9 * LANES + lane]
    if dephase:
        offset += 1
        if offset == SLACK:
            rewind_plus(plus_re, n_states)
            rewind_plus(plus_im, n_states)
            rewind_minus(minus_re, n_states)
            rewind_minus(minus_im, n_states)
            flush(z_re, n_states)
            flush(z_im, n_states)
            offset = 0
    for lane in range(LANES):
        plus_re[(SLACK - offset) * LANES + lane] = minus_re[offset * LANES + lane]
        plus_im[(SLACK - offset) * LANES + lane] = -minus_im[offset * LANES + lane]
    return offset


@njit(cache=True, nogil=True)
def _empty_states(n_states):
    window = (n_states + SLACK) * LANES
    return (
        np.zeros(window, np.float32),
        np.zeros(window, np.float32),
        np.zeros(window, np.float32),
        np.zeros(window, np.float32),
        np.zeros(n_states * LANES, np.float32),
        np.zeros(n_states * LANES, np.float32),
    )


@njit(cache=True, nogil=True, fastmath={"contract"})
def _rotate(cos, sin, operator):
    """Set the operator of an instantaneous pulse of phase 0, one flip angle per lane."""
    operator[:] = 0
    for lane in range(uint64(LANES)):
        operator[lane] = np.float32(0.5) * (np.float32(1) + cos[lane])
        operator[2 * LANES + lane] = np.float32(0.5) * (cos[lane] - np.float32(1))
        operator[4 * LANES + lane] = sin[lane]
        operator[6 * LANES + lane] = np.float32(-0.5) * sin[lane]
        operator[10 * LANES + lane] = cos[lane]


@njit(cache=True, nogil=True, fastmath={"contract"})
def simulate_instantaneous(cos, sin, turn, dephase, e1, e2, e2_echo, i_tr, i_te, z_start, n_states, out):
    """Signals of blocks of LANES atoms for instantaneous pulses.

    Arguments as in `real_states.simulate`, but turn : (n_pulses,) complex phase step to the next pulse, and
    e2, e2_echo : complex, relaxation and precession.
    """
    n_blocks, n_pulses, _ = cos.shape
    states = _empty_states(n_states)
    operator = np.zeros(N_COEFFICIENTS * LANES, np.float32)
    re, im = np.zeros(LANES, np.float32), np.zeros(LANES, np.float32)
    for block in range(n_blocks):
        for state in states:
            state[:] = 0
        states[4][:LANES] = z_start[block]
        offset = 0
        for n in range(n_pulses):
            _rotate(cos[block, n], sin[block, n], operator)
            _transverse(operator, states, offset, re, im)
            echo, decay = e2_echo[block, i_te[n]], e2[block, i_tr[n]]
            for lane in range(LANES):
                out[block, n, lane] = echo[lane] * complex(re[lane], im[lane])
                rotation = turn[n] * decay[lane]
                re[lane], im[lane] = rotation.real, rotation.imag
            _fold(operator, e1[block, i_tr[n]], re, im)
            n_active = min(n_states, n + 1, n_pulses - n)
            offset = _advance(operator, n_active, dephase, offset, n_states, states)


@njit(cache=True, nogil=True, fastmath={"contract"})
def _contract(weights, nodes, table):
    """Sum the operator tables of the relaxation nodes with their weights."""
    flat = table.reshape(table.size)
    flat[:] = 0
    for i_node in range(weights.size):
        node = nodes[i_node].reshape(table.size)
        weight = weights[i_node]
        for i in range(uint64(table.size)):
            flat[i] += weight * node[i]


@njit(cache=True, nogil=True, fastmath={"contract"})
def _interpolate(x, table, operator):
    """Interpolate the operator at x, in grid steps, through six points; the grid starts at -2."""
    i = min(max(int(x), 0), table.shape[0] - 6)
    t = x - i
    # factors t - j over the points j = -2 ... 3
    f0, f1, f2, f3, f4, f5 = t + 2, t + 1, t, t - 1, t - 2, t - 3
    w0 = np.float32(-f1 * f2 * f3 * f4 * f5 / 120)
    w1 = np.float32(f0 * f2 * f3 * f4 * f5 / 24)
    w2 = np.float32(-f0 * f1 * f3 * f4 * f5 / 12)
    w3 = np.float32(f0 * f1 * f2 * f4 * f5 / 12)
    w4 = np.float32(-f0 * f1 * f2 * f3 * f5 / 24)
    w5 = np.float32(f0 * f1 * f2 * f3 * f4 / 120)
    t0, t1, t2, t3, t4, t5 = table[i], table[i + 1], table[i + 2], table[i + 3], table[i + 4], table[i + 5]
    for j in range(uint64(operator.size)):
        inner = w2 * t2[j] + w3 * t3[j]
        operator[j] = inner + (w1 * t1[j] + w4 * t4[j] + (w0 * t0[j] + w5 * t5[j]))


@njit(cache=True, nogil=True, fastmath={"contract"})
def simulate_selective(
    position,
    nodes,
    weights,
    lane_weights,
    turn,
    dephase,
    e1,
    e2,
    e2_echo,
    i_tr,
    i_te,
    z_start,
    n_states,
    out,
):
    """Signals for pulses of finite duration; lanes are sub-slices of one atom.

    position : (n_atoms, n_pulses) flip angle x B1 in steps of the operator grid
    nodes : (n_groups, n_nodes, n_angles, N_COEFFICIENTS * LANES) operators, in groups of LANES sub-slices
    weights : (n_atoms, n_nodes) of the relaxation nodes; lane_weights : (n_groups, LANES)
    turn : (n_pulses,) complex phase step to the next pulse; e1 : (n_atoms, n_tr), e2 : (n_atoms, n_tr),
    e2_echo : (n_atoms, n_te) relaxation between pulses, up to the echo, the latter two with precession
    z_start : (n_atoms,); out : (n_atoms, n_pulses) complex64, written
    """
    n_atoms, n_pulses = position.shape
    n_groups = nodes.shape[0]
    states = _empty_states(n_states)
    operator = np.zeros(N_COEFFICIENTS * LANES, np.float32)
    table = np.zeros(nodes.shape[2:], np.float32)
    lane_e1 = np.zeros(LANES, np.float32)
    re, im = np.zeros(LANES, np.float32), np.zeros(LANES, np.float32)
    for atom in range(n_atoms):
        for n in range(n_pulses):
            out[atom, n] = 0
        for group in range(n_groups):
            _contract(weights[atom], nodes[group], table)
            for state in states:
                state[:] = 0
            states[4][:LANES] = z_start[atom]
            offset = 0
            for n in range(n_pulses):
                _interpolate(position[atom, n], table, operator)
                _transverse(operator, states, offset, re, im)
                sum_re, sum_im = np.float32(0), np.float32(0)
                for lane in range(LANES):
                    sum_re += lane_weights[group, lane] * re[lane]
                    sum_im += lane_weights[group, lane] * im[lane]
                out[atom, n] += e2_echo[atom, i_te[n]] * complex(sum_re, sum_im)
                rotation = turn[n] * e2[atom, i_tr[n]]
                re[:], im[:], lane_e1[:] = rotation.real, rotation.imag, e1[atom, i_tr[n]]
                _fold(operator, lane_e1, re, im)
                n_active = min(n_states, n + 1, n_pulses - n)
                offset = _advance(operator, n_active, dephase, offset, n_states, states)
