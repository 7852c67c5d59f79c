"""Pulses of finite duration; lanes are sub-slices of one atom."""

import numpy as np
from numba import njit, uint64

from epgbloch.kernels.complex_states import advance, empty_states, fold, parts_of, start, transverse
from epgbloch.kernels.layout import LANES, N_COEFFICIENTS, SLACK

_LAGRANGE = (-1 / 120, 1 / 24, -1 / 12, 1 / 12, -1 / 24, 1 / 120)
"""1 over the products of the distances between the points 0 ... 5."""


@njit(cache=True, nogil=True, fastmath={"contract"})
def contract(weights, nodes, table):
    """Sum the operator tables of the nodes with their weights."""
    flat = table.reshape(table.size)
    flat[:] = 0
    for i_node in range(weights.size):
        weight = weights[i_node]
        if weight != 0:
            node = nodes[i_node].reshape(table.size)
            for i in range(uint64(table.size)):
                flat[i] += weight * node[i]


@njit(cache=True, nogil=True)
def interpolation(x, n_angles, weights):
    """First of six grid points about x, in grid steps of a grid that starts at -2.

    weights : (1 or 3, 6), written: Lagrange weights of the points, and their first two derivatives by x. Each
    is the product of the distances to the points below and of those to the points above.
    """
    first = min(max(int(x), 0), n_angles - 6)
    t = x - first + 2
    value, slope, curvature = 1.0, 0.0, 0.0
    for i in range(6):
        weights[0, i] = value
        if weights.shape[0] > 1:
            weights[1, i], weights[2, i] = slope, curvature
            curvature = curvature * (t - i) + 2 * slope
            slope = slope * (t - i) + value
        value *= t - i
    value, slope, curvature = 1.0, 0.0, 0.0
    for i in range(5, -1, -1):
        scale = _LAGRANGE[i]
        if weights.shape[0] > 1:
            below, below_slope, below_curvature = weights[0, i], weights[1, i], weights[2, i]
            weights[1, i] = scale * (below_slope * value + below * slope)
            weights[2, i] = scale * (below_curvature * value + 2 * below_slope * slope + below * curvature)
            curvature = curvature * (t - i) + 2 * slope
            slope = slope * (t - i) + value
        weights[0, i] *= scale * value
        value *= t - i
    return first


@njit(cache=True, nogil=True)
def interpolate_sets(tables, first, weights, rates, operator):
    """Operators of all sets at one pulse; a set with a rate is that times the derivative by x of set 0."""
    interpolate(tables[0], first, weights[0], np.float32(1), operator[0])
    for j in range(1, operator.shape[0]):
        if rates[j] != 0:
            interpolate(tables[0], first, weights[1], rates[j], operator[j])
        else:
            interpolate(tables[j], first, weights[0], np.float32(1), operator[j])


@njit(cache=True, nogil=True, fastmath={"contract"})
def _combine(w, t0, t1, t2, t3, t4, t5, scale, operator):
    """Set the operator to scale times the weighted sum of six operators, small weights first."""
    w0, w1, w2 = np.float32(scale * w[0]), np.float32(scale * w[1]), np.float32(scale * w[2])
    w3, w4, w5 = np.float32(scale * w[3]), np.float32(scale * w[4]), np.float32(scale * w[5])
    for j in range(uint64(operator.size)):
        inner = w2 * t2[j] + w3 * t3[j]
        operator[j] = inner + (w1 * t1[j] + w4 * t4[j] + (w0 * t0[j] + w5 * t5[j]))


@njit(cache=True, nogil=True)
def interpolate(table, first, weights, scale, operator):
    """Set the operator to scale times the weighted sum of six entries of the table."""
    _combine(
        weights,
        table[first],
        table[first + 1],
        table[first + 2],
        table[first + 3],
        table[first + 4],
        table[first + 5],
        scale,
        operator,
    )


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def lane_sum(weights, values):
    """Weighted sum over lanes."""
    total = np.float32(0)
    for lane in range(uint64(LANES)):
        total += weights[lane] * values[lane]
    return total


@njit(cache=True, nogil=True, fastmath={"contract"})
def simulate(
    position,
    rates,
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
    """Signals and derivatives of some atoms.

    position : (n_atoms, n_pulses) flip angle x B1 in steps of the operator grid
    rates : (n_sets, n_pulses) its derivative by the parameter of the set; row 0 is not used
    nodes : (n_groups, n_nodes, n_angles, N_COEFFICIENTS * LANES) operators, in groups of LANES sub-slices
    weights : (n_atoms, n_sets, n_nodes) of the nodes, and their derivatives; lane_weights : (n_groups, LANES)
    turn : (n_pulses,) complex phase step to the next pulse; e1 : (n_atoms, n_sets, n_tr), e2 : (n_atoms,
    n_sets, n_tr), e2_echo : (n_atoms, n_sets, n_te) relaxation between pulses, up to the echo, the latter two
    with precession, and their derivatives; z_start : (n_atoms, n_sets)
    out : (n_atoms, n_sets, n_pulses) complex64, written
    """
    n_atoms, n_sets, n_pulses = out.shape
    n_groups, _, n_angles, size = nodes.shape
    states = empty_states(n_sets, n_states)
    parts = parts_of(states, 0)
    operator = np.zeros((n_sets, N_COEFFICIENTS * LANES), np.float32)
    tables = np.zeros((n_sets, n_angles, size), np.float32)
    interpolation_weights = np.zeros((3 if n_sets > 1 else 1, 6), np.float64)
    lane_e1 = np.zeros((n_sets, LANES), np.float32)
    re, im = np.zeros((n_sets, LANES), np.float32), np.zeros((n_sets, LANES), np.float32)
    for atom in range(n_atoms):
        out[atom] = 0
        for group in range(n_groups):
            for j in range(n_sets):
                contract(weights[atom, j], nodes[group], tables[j])
            start(states, z_start[atom].reshape(n_sets, 1), 0)
            offset = 0
            for n in range(n_pulses):
                first = interpolation(position[atom, n], n_angles, interpolation_weights)
                interpolate_sets(tables, first, interpolation_weights, rates[:, n], operator)
                transverse(operator, states, (SLACK - offset) * LANES, offset * LANES, re, im)
                signal = complex(lane_sum(lane_weights[group], re[0]), lane_sum(lane_weights[group], im[0]))
                out[atom, 0, n] += e2_echo[atom, 0, i_te[n]] * signal
                for j in range(1, n_sets):
                    own = complex(lane_sum(lane_weights[group], re[j]), lane_sum(lane_weights[group], im[j]))
                    out[atom, j, n] += e2_echo[atom, 0, i_te[n]] * own + e2_echo[atom, j, i_te[n]] * signal
                for j in range(n_sets):
                    rotation = turn[n] * e2[atom, j, i_tr[n]]
                    re[j], im[j], lane_e1[j] = rotation.real, rotation.imag, e1[atom, j, i_tr[n]]
                fold(operator, lane_e1, re, im)
                n_active = min(n_states, n + 1, n_pulses - n)
                offset = advance(operator, n_active, dephase, offset, n_states, states, parts)
