"""Adjoint of `selective.simulate`: from cotangents of signals and derivatives to those of its inputs."""

import numpy as np
from numba import njit

from epgbloch.kernels.complex_adjoint import fold_adjoint, keep, restore, retreat, transverse_adjoint, unwind
from epgbloch.kernels.complex_states import SIZE, advance, fold, start, transverse, window_size, zero_states
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
from epgbloch.kernels.selective import (
    N_POINTS,
    contract,
    interpolate,
    interpolate_sets,
    interpolations,
    lane_sum,
    set_factors,
)
from epgbloch.kernels.windows import clear, zeros


@njit(cache=True, nogil=True)
def _dot(x, at_x, y, at_y, size):
    summed = fill(0)
    for i in range(0, size, WIDTH):
        summed += load(x, at_x + i) * load(y, at_y + i)
    return total(summed)


@njit(cache=True, nogil=True)
def _echo_adjoint(
    i_te, n_te, n_sets, n_states, operator, past, before, group, weights, decay, echo_bar, work, to
):
    """Adjoint of the echoes of all sets at one pulse.

    echo_bar : flat, (n_sets,) of this pulse; work : (re, im) scratch; to : (adjoint states, bar, decay_bar at
    this pulse, its stride), added to
    """
    re, im = work
    adjoint, bar, decay_bar, stride = to
    size = n_states * LANES
    # the states before the pulse lie as in a window of n_states orders at offset 0
    transverse(operator, n_sets, size, 0, 2 * size, past, re, im)
    signal = complex(lane_sum(weights, group, re, 0), lane_sum(weights, group, im, 0))
    for j in range(n_sets):
        own = complex(lane_sum(weights, group, re, j), lane_sum(weights, group, im, j))
        decay_bar[0] += echo_bar[j * stride] * own.conjugate()
        if j > 0:
            decay_bar[j * stride] += echo_bar[j * stride] * signal.conjugate()
    for j in range(n_sets):
        summed = decay[i_te].conjugate() * echo_bar[j * stride]
        if j == 0:
            for i in range(1, n_sets):
                summed += decay[i * n_te + i_te].conjugate() * echo_bar[i * stride]
        for h in range(0, LANES, WIDTH):
            weight = load(weights, group * LANES + h)
            store(re, j * LANES + h, weight * fill(summed.real))
            store(im, j * LANES + h, weight * fill(summed.imag))
    transverse_adjoint(operator, n_sets, n_states, past, before, re, im, adjoint, bar)


@njit(cache=True, nogil=True)
def _angle_adjoint(n, n_angles, firsts, points, tables, rate, b1_set, n_sets, bar, slope, scratch):
    """Cotangents of the position at pulse n and of the rate."""
    at, w = firsts[n] * SIZE, 3 * n * N_POINTS
    one = np.float32(1)
    interpolate(tables, at, points, w + N_POINTS, one, slope, 0)
    position_bar, rate_bar = _dot(bar, 0, slope, 0, SIZE), np.float32(0)
    for j in range(1, n_sets):
        if j == b1_set:
            rate_bar = _dot(bar, j * SIZE, slope, 0, SIZE)
            interpolate(tables, at, points, w + 2 * N_POINTS, rate[n], scratch, 0)
        else:
            interpolate(tables, j * n_angles * SIZE + at, points, w + N_POINTS, one, scratch, 0)
        position_bar += _dot(bar, j * SIZE, scratch, 0, SIZE)
    return position_bar, rate_bar


@njit(cache=True, nogil=True)
def adjoint(
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
    echo_bar,
    position_bar,
    rate_bar,
    turn_bar,
    e1_bar,
    e2_bar,
    decay_bar,
    z_start_bar,
):
    """Cotangents of the inputs of `selective.simulate` from those of its output.

    echo_bar : (n_atoms, n_sets, n_pulses) complex64 cotangents of the output
    Added to: position_bar, rate_bar (n_atoms, n_pulses) float32; turn_bar (n_atoms, n_pulses) complex64;
    e1_bar float32, e2_bar, decay_bar complex64 (n_atoms, n_sets, n_pulses) of the factors used at each
    pulse; z_start_bar (n_atoms, n_sets) float32
    """
    n_atoms, n_sets, n_pulses = echo_bar.shape
    n_groups, _, n_angles, _ = nodes.shape
    n_tr, n_te, window, size = e1.shape[2], e2_echo.shape[2], window_size(n_states), n_states * LANES
    n_segments = (n_pulses + SLACK - 1) // SLACK
    own_states, own_adjoint = zero_states(n_sets, n_states), zero_states(n_sets, n_states)
    own_product = zero_states(1, n_states)
    own_kept, own_past = zeros(n_segments * n_sets * 6 * size), zeros(SLACK * n_sets * 6 * size)
    own_operator, own_folded, own_bar = zeros(n_sets * SIZE), zeros(n_sets * SIZE), zeros(n_sets * SIZE)
    own_transposed, own_slope, own_scratch = zeros(n_sets * SIZE), zeros(SIZE), zeros(SIZE)
    own_tables, own_points = zeros(n_sets * n_angles * SIZE), zeros(n_pulses * 3 * N_POINTS)
    own_factors, own_factors_bar = zeros(n_sets * 3 * LANES), zeros(n_sets * 3 * LANES)
    own_re, own_im, own_firsts = zeros(n_sets * LANES), zeros(n_sets * LANES), np.zeros(n_pulses, np.int64)
    states, states_bar, product = view(own_states, 0), view(own_adjoint, 0), view(own_product, 0)
    kept, past, operator, folded = (
        view(own_kept, 0),
        view(own_past, 0),
        view(own_operator, 0),
        view(own_folded, 0),
    )
    bar, transposed, slope, scratch = (
        view(own_bar, 0),
        view(own_transposed, 0),
        view(own_slope, 0),
        view(own_scratch, 0),
    )
    tables, points, firsts = view(own_tables, 0), view(own_points, 0), view(own_firsts, 0)
    factors, factors_bar, re, im = (
        view(own_factors, 0),
        view(own_factors_bar, 0),
        view(own_re, 0),
        view(own_im, 0),
    )
    slice_weights = view(lane_weights, 0)
    settings = denormals_to_zero()
    for atom in range(n_atoms):
        if atom == 0 or i_b1[atom] != i_b1[atom - 1]:
            interpolations(position[i_b1[atom]], n_angles, 3, own_firsts, own_points)
        own_rate = view(rate, i_b1[atom] * n_pulses)
        own_e1, own_e2 = view(e1, atom * n_sets * n_tr), view(e2, atom * n_sets * n_tr)
        decay, at = view(e2_echo, atom * n_sets * n_te), atom * n_sets * n_pulses
        for group in range(n_groups):
            contract(weights[atom], nodes, group, own_tables)
            start(states, n_sets, n_states, z_start[atom], 0)
            offset = 0
            for n in range(n_pulses):
                if n % SLACK == 0:
                    keep(states, offset, n_sets, n_states, n_states, kept, n // SLACK * n_sets * 6 * size)
                interpolate_sets(tables, n_angles, n, 3, firsts, points, own_rate, b1_set, n_sets, operator)
                set_factors(n_sets, turn[n], own_e1, own_e2, i_tr[n], n_tr, factors)
                fold(operator, factors, n_sets, folded)
                n_active = min(n_states, n + 1, n_pulses - n)
                offset = advance(
                    folded, n_active, n_sets, dephase[n], offset, n_states, states, product, False, product
                )
            clear(states_bar, 0, n_sets * 6 * window)
            for segment in range(n_segments - 1, -1, -1):
                begin, end = segment * SLACK, min((segment + 1) * SLACK, n_pulses)
                restore(kept, segment * n_sets * 6 * size, n_sets, n_states, states)
                offset = 0
                for n in range(begin, end):
                    n_active = min(n_states, n + 1, n_pulses - n)
                    keep(states, offset, n_sets, n_states, n_active, past, (n - begin) * n_sets * 6 * size)
                    if n + 1 < end:
                        interpolate_sets(
                            tables, n_angles, n, 3, firsts, points, own_rate, b1_set, n_sets, operator
                        )
                        set_factors(n_sets, turn[n], own_e1, own_e2, i_tr[n], n_tr, factors)
                        fold(operator, factors, n_sets, folded)
                        offset = advance(
                            folded,
                            n_active,
                            n_sets,
                            dephase[n],
                            offset,
                            n_states,
                            states,
                            product,
                            False,
                            product,
                        )
                offset += dephase[end - 1]
                unwind(states_bar, n_sets, n_states, offset)
                for n in range(end - 1, begin - 1, -1):
                    after, offset = offset, offset - dephase[n]
                    n_active = min(n_states, n + 1, n_pulses - n)
                    interpolate_sets(
                        tables, n_angles, n, 3, firsts, points, own_rate, b1_set, n_sets, operator
                    )
                    set_factors(n_sets, turn[n], own_e1, own_e2, i_tr[n], n_tr, factors)
                    fold(operator, factors, n_sets, folded)
                    old = view(past, (n - begin) * n_sets * 6 * size)
                    retreat(
                        folded,
                        n_sets,
                        n_active,
                        offset,
                        after,
                        n_states,
                        old,
                        states_bar,
                        product,
                        transposed,
                        bar,
                    )
                    fold_adjoint(operator, factors, n_sets, bar, factors_bar)
                    for j in range(n_sets):
                        rotation_bar = complex(
                            _lanes_total(factors_bar, 3 * j + 1), _lanes_total(factors_bar, 3 * j + 2)
                        )
                        e1_bar[atom, j, n] += _lanes_total(factors_bar, 3 * j)
                        e2_bar[atom, j, n] += turn[n].conjugate() * rotation_bar
                        turn_bar[atom, n] += rotation_bar * e2[atom, j, i_tr[n]].conjugate()
                    _echo_adjoint(
                        i_te[n],
                        n_te,
                        n_sets,
                        n_states,
                        operator,
                        old,
                        offset,
                        group,
                        slice_weights,
                        decay,
                        view(echo_bar, at + n),
                        (re, im),
                        (states_bar, bar, view(decay_bar, at + n), n_pulses),
                    )
                    own_position_bar, own_rate_bar = _angle_adjoint(
                        n, n_angles, firsts, points, tables, own_rate, b1_set, n_sets, bar, slope, scratch
                    )
                    position_bar[atom, n] += own_position_bar
                    rate_bar[atom, n] += own_rate_bar
            for j in range(n_sets):
                z_start_bar[atom, j] += _lanes_total(view(states_bar, (6 * j + 4) * window), 0)
    restore_denormals(settings)
    for array in (
        own_states,
        own_adjoint,
        own_product,
        own_kept,
        own_past,
        own_operator,
        own_folded,
        own_bar,
    ):
        hold(array)
    for array in (
        own_transposed,
        own_slope,
        own_scratch,
        own_tables,
        own_points,
        own_factors,
        own_factors_bar,
    ):
        hold(array)
    hold(own_re)
    hold(own_im)
    hold(own_firsts)


@njit(cache=True, nogil=True)
def _lanes_total(values, row):
    """Sum of one row of lanes."""
    summed = fill(0)
    for h in range(0, LANES, WIDTH):
        summed += load(values, row * LANES + h)
    return total(summed)
