"""Pulses of finite duration; lanes are sub-slices of one atom."""

import numpy as np
from numba import njit

from epgbloch.kernels.complex_states import SIZE, advance, fold, start, transverse, window_size, zero_states
from epgbloch.kernels.diffusion import N_ROWS as N_DIFFUSION_ROWS
from epgbloch.kernels.diffusion import rows_of_atom
from epgbloch.kernels.lanes import (
    WIDTH,
    denormals_to_zero,
    fill,
    hold,
    load,
    restore_denormals,
    store,
    total,
    view,
)
from epgbloch.kernels.layout import LANES, SLACK
from epgbloch.kernels.windows import zeros

_LAGRANGE = (-1 / 120, 1 / 24, -1 / 12, 1 / 12, -1 / 24, 1 / 120)
"""1 over the products of the distances between the points 0 ... 5."""
N_POINTS = 6
"""Points of the interpolation over angles."""


@njit(cache=True, nogil=True)
def contract(weights, nodes, group, tables):
    """Sum the operator tables of the nodes with their weights; tables : flat, (n_sets, n_angles, SIZE)."""
    n_sets, n_nodes = weights.shape
    size = nodes.shape[2] * SIZE
    flat = view(nodes, group * n_nodes * size)
    for j in range(n_sets):
        for i in range(0, size, WIDTH):
            value = fill(0)
            for node in range(n_nodes):
                value += fill(weights[j, node]) * load(flat, node * size + i)
            store(tables, j * size + i, value)


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
def interpolations(position, n_angles, n_orders, firsts, weights):
    """Set the first points and the Lagrange weights of all pulses; flat, (n_pulses, n_orders, N_POINTS).

    n_orders : 1, or 3 with the first two derivatives of the weights.
    """
    own = np.zeros((n_orders, N_POINTS))
    for n in range(position.size):
        firsts[n] = interpolation(position[n], n_angles, own)
        for i in range(n_orders * N_POINTS):
            weights[n * n_orders * N_POINTS + i] = own[i // N_POINTS, i % N_POINTS]


@njit(cache=True, nogil=True)
def interpolate(table, at, weights, at_weights, scale, operator, own):
    """Set an operator to scale times the weighted sum of N_POINTS entries, small weights first."""
    w0, w1, w2 = scale * weights[at_weights], scale * weights[at_weights + 1], scale * weights[at_weights + 2]
    w3, w4, w5 = (
        scale * weights[at_weights + 3],
        scale * weights[at_weights + 4],
        scale * weights[at_weights + 5],
    )
    v0, v1, v2, v3, v4, v5 = fill(w0), fill(w1), fill(w2), fill(w3), fill(w4), fill(w5)
    for i in range(0, SIZE, WIDTH):
        j = at + i
        outer = v0 * load(table, j) + v5 * load(table, j + 5 * SIZE)
        outer += v1 * load(table, j + SIZE) + v4 * load(table, j + 4 * SIZE)
        store(operator, own + i, outer + v2 * load(table, j + 2 * SIZE) + v3 * load(table, j + 3 * SIZE))


@njit(cache=True, nogil=True)
def interpolate_sets(tables, n_angles, n, n_orders, firsts, weights, rate, b1_set, n_sets, operator):
    """Operators of all sets at pulse n; that of B1 is `rate` times the derivative by x of set 0."""
    at = firsts[n] * SIZE
    w = n * n_orders * N_POINTS
    interpolate(tables, at, weights, w, np.float32(1), operator, 0)
    for j in range(1, n_sets):
        if j == b1_set:
            interpolate(tables, at, weights, w + N_POINTS, rate[n], operator, j * SIZE)
        else:
            own = j * n_angles * SIZE + at
            interpolate(tables, own, weights, w, np.float32(1), operator, j * SIZE)


@njit(cache=True, nogil=True)
def lane_sum(weights, group, values, j):
    """Weighted sum over lanes of set j; weights : flat, (n_groups, LANES); values : flat, (n_sets, LANES)."""
    summed = fill(0)
    for h in range(0, LANES, WIDTH):
        summed += load(weights, group * LANES + h) * load(values, j * LANES + h)
    return total(summed)


@njit(cache=True, nogil=True)
def set_factors(n_sets, turn, e1, e2, i_tr, n_tr, factors):
    """Repeat E1 and E2 x turn of all sets in all lanes."""
    for j in range(n_sets):
        rotation = turn * e2[j * n_tr + i_tr]
        for h in range(0, LANES, WIDTH):
            store(factors, 3 * j * LANES + h, fill(e1[j * n_tr + i_tr]))
            store(factors, (3 * j + 1) * LANES + h, fill(rotation.real))
            store(factors, (3 * j + 2) * LANES + h, fill(rotation.imag))


@njit(cache=True, nogil=True)
def _echoes(n, stride, i_te, n_te, n_sets, decay, weights, group, re, im, out):
    """Add the echoes of a group of sub-slices at pulse n; stride : from one set to the next in `out`."""
    signal = complex(lane_sum(weights, group, re, 0), lane_sum(weights, group, im, 0))
    out[n] += decay[i_te] * signal
    for j in range(1, n_sets):
        own = complex(lane_sum(weights, group, re, j), lane_sum(weights, group, im, j))
        out[j * stride + n] += decay[i_te] * own + decay[j * n_te + i_te] * signal


@njit(cache=True, nogil=True)
def simulate(
    position,
    i_b1,
    rate,
    b1_set,
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
    diffusion,
    i_kind,
    z_start,
    n_states,
    real,
    atoms,
    out,
):
    """Signals and derivatives of some atoms.

    position : (n_b1, n_pulses) flip angle x B1 in steps of the operator grid; i_b1 : (n_atoms,) which
    rate : (n_b1, n_pulses) its derivative by B1; b1_set : the set of this derivative, or -1 (no `rate`)
    nodes : (n_groups, n_nodes, n_angles, N_COEFFICIENTS * LANES) operators, in groups of LANES sub-slices
    weights : (n_atoms, n_sets, n_nodes) of the nodes, and their derivatives; lane_weights : (n_groups, LANES)
    turn : (n_pulses,) complex phase step to the next pulse; dephase : (n_pulses,) whether a spoiler follows
    e1 : (n_atoms, n_sets, n_tr), e2 : (n_atoms, n_sets, n_tr), e2_echo : (n_atoms, n_sets, n_te) relaxation
    between pulses, up to the echo, the latter two with precession, and their derivatives
    diffusion : (n_atoms, n_kinds, 5) numbers of `diffusion.attenuate` for each kind of TR, or none; i_kind :
    (n_pulses,) which; z_start : (n_atoms, n_sets)
    real : whether only the real parts of the echoes count: half of a symmetric slice is simulated
    out : (n_sets, all atoms, n_pulses) complex64, written at `atoms`
    """
    n_sets, n_all, n_pulses = out.shape
    n_groups, _, n_angles, _ = nodes.shape
    n_tr, n_te, window = e1.shape[2], e2_echo.shape[2], window_size(n_states)
    n_orders = 3 if b1_set > 0 else 1
    own_states, own_product = zero_states(n_sets, n_states), zero_states(1, n_states)
    own_operator, own_folded = zeros(n_sets * SIZE), zeros(n_sets * SIZE)
    own_tables, own_points = zeros(n_sets * n_angles * SIZE), zeros(n_pulses * n_orders * N_POINTS)
    own_factors, own_re, own_im = zeros(n_sets * 3 * LANES), zeros(n_sets * LANES), zeros(n_sets * LANES)
    own_firsts = np.zeros(n_pulses, np.int64)
    states, product, operator = view(own_states, 0), view(own_product, 0), view(own_operator, 0)
    folded, tables, points, firsts = (
        view(own_folded, 0),
        view(own_tables, 0),
        view(own_points, 0),
        view(own_firsts, 0),
    )
    factors, re, im = view(own_factors, 0), view(own_re, 0), view(own_im, 0)
    slice_weights = view(lane_weights, 0)
    own_diffusion_rows, diffuses = zeros(N_DIFFUSION_ROWS * LANES), diffusion.size > 0
    diffusion_rows = view(own_diffusion_rows, 0)
    settings = denormals_to_zero()
    for atom in range(atoms.size):
        if atom == 0 or i_b1[atom] != i_b1[atom - 1]:
            interpolations(position[i_b1[atom]], n_angles, n_orders, own_firsts, own_points)
        out[:, atoms[atom]] = 0
        own_rate = view(rate, i_b1[atom] * n_pulses)
        own_e1, own_e2 = view(e1, atom * n_sets * n_tr), view(e2, atom * n_sets * n_tr)
        decay, echoes = (
            view(e2_echo, atom * n_sets * n_te),
            view(out, atoms[atom] * n_pulses),
        )
        atom_diffusion = view(diffusion, atom * diffusion.shape[1] * N_DIFFUSION_ROWS)
        for group in range(n_groups):
            contract(weights[atom], nodes, group, own_tables)
            start(states, n_sets, n_states, z_start[atom], 0)
            offset = 0
            for n in range(n_pulses):
                at_plus, at_minus = (SLACK - offset) * LANES, 2 * window + offset * LANES
                interpolate_sets(
                    tables, n_angles, n, n_orders, firsts, points, own_rate, b1_set, n_sets, operator
                )
                transverse(operator, n_sets, window, at_plus, at_minus, states, re, im)
                _echoes(
                    n, n_all * n_pulses, i_te[n], n_te, n_sets, decay, slice_weights, group, re, im, echoes
                )
                if n == 0 or i_tr[n] != i_tr[n - 1] or turn[n] != turn[n - 1]:
                    set_factors(n_sets, turn[n], own_e1, own_e2, i_tr[n], n_tr, factors)
                fold(operator, factors, n_sets, folded)
                n_active = min(n_states, n + 1, n_pulses - n)
                if diffuses and (n == 0 or i_kind[n] != i_kind[n - 1]):
                    rows_of_atom(atom_diffusion, i_kind[n], diffusion_rows)
                offset = advance(
                    folded,
                    n_active,
                    n_sets,
                    dephase[n],
                    offset,
                    n_states,
                    states,
                    product,
                    diffuses,
                    diffusion_rows,
                )
        if real:
            for j in range(n_sets):
                for n in range(n_pulses):
                    out[j, atoms[atom], n] = out[j, atoms[atom], n].real
    restore_denormals(settings)
    for array in (
        own_states,
        own_product,
        own_operator,
        own_folded,
        own_tables,
        own_points,
        own_factors,
        own_re,
        own_im,
    ):
        hold(array)
    hold(own_firsts)
    hold(own_diffusion_rows)
