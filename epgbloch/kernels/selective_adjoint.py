"""Adjoint of `selective.simulate`: from cotangents of signals and derivatives to those of its inputs."""

import numpy as np
from numba import njit, uint64

from epgbloch.kernels.complex_adjoint import fold_adjoint, retreat, rewind_back, transverse_adjoint
from epgbloch.kernels.complex_states import advance, empty_states, fold, parts_of, start, transverse
from epgbloch.kernels.layout import LANES, N_COEFFICIENTS, SLACK
from epgbloch.kernels.selective import contract, interpolate, interpolate_sets, interpolation, lane_sum


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def _dot(x, y):
    total = np.float32(0)
    for i in range(uint64(x.size)):
        total += x[i] * y[i]
    return total


@njit(cache=True, nogil=True)
def adjoint(
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
    echo_bar,
    position_bar,
    rate_bar,
    turn_bar,
    e1_bar,
    e2_bar,
    echo_decay_bar,
    z_start_bar,
):
    """Cotangents of the inputs of `selective.simulate` from those of its output.

    echo_bar : (n_atoms, n_sets, n_pulses) complex64 cotangents of the output
    Added to: position_bar, rate_bar (n_atoms, n_pulses) float32; turn_bar (n_atoms, n_pulses) complex64;
    e1_bar float32, e2_bar, echo_decay_bar complex64 (n_atoms, n_sets, n_pulses) of the factors used at each
    pulse; z_start_bar (n_atoms, n_sets) float32
    """
    n_atoms, n_sets, n_pulses = echo_bar.shape
    n_groups, _, n_angles, n_coefficients = nodes.shape
    size = n_states * LANES
    n_segments = (n_pulses + SLACK - 1) // SLACK
    states, adjoint_states = empty_states(n_sets, n_states), empty_states(n_sets, n_states)
    parts = parts_of(states, 0)
    kept = np.zeros((n_segments, n_sets, 6, size), np.float32)
    past = np.zeros((SLACK, n_sets, 6, size), np.float32)
    operator = np.zeros((n_sets, N_COEFFICIENTS * LANES), np.float32)
    folded, bar = np.zeros_like(operator), np.zeros_like(operator)
    scratch, slope = np.zeros(n_coefficients, np.float32), np.zeros(n_coefficients, np.float32)
    tables = np.zeros((n_sets, n_angles, n_coefficients), np.float32)
    points = np.zeros((3, 6), np.float64)
    lanes = np.zeros((3, n_sets, LANES), np.float32)
    one = np.zeros((3, n_sets), np.float32)
    one_bar = np.zeros((3, n_sets), np.float32)
    for atom in range(n_atoms):
        for group in range(n_groups):
            for j in range(n_sets):
                contract(weights[atom, j], nodes[group], tables[j])
            start(states, z_start[atom].reshape(n_sets, 1), 0)
            offset = 0
            for n in range(n_pulses):
                if n % SLACK == 0:
                    _keep(states, 0, size, kept[n // SLACK])
                first = interpolation(position[atom, n], n_angles, points)
                interpolate_sets(tables, first, points, rates[:, n], operator)
                _factors(turn[n], e1[atom, :, i_tr[n]], e2[atom, :, i_tr[n]], one, lanes)
                fold(operator, lanes[0], lanes[1], lanes[2])
                n_active = min(n_states, n + 1, n_pulses - n)
                offset = advance(operator, n_active, dephase, offset, n_states, states, parts)
            adjoint_states[:] = 0
            for segment in range(n_segments - 1, -1, -1):
                begin, end = segment * SLACK, min((segment + 1) * SLACK, n_pulses)
                _restore(kept[segment], size, states)
                offset = 0
                for n in range(begin, end):
                    n_active = min(n_states, n + 1, n_pulses - n)
                    _keep(states, offset, n_active * LANES, past[n - begin])
                    if n + 1 < end:
                        first = interpolation(position[atom, n], n_angles, points)
                        interpolate_sets(tables, first, points, rates[:, n], operator)
                        _factors(turn[n], e1[atom, :, i_tr[n]], e2[atom, :, i_tr[n]], one, lanes)
                        fold(operator, lanes[0], lanes[1], lanes[2])
                        offset = advance(operator, n_active, dephase, offset, n_states, states, parts)
                for n in range(end - 1, begin - 1, -1):
                    before = n - begin if dephase else 0
                    after = before + 1 if dephase else 0
                    if after == SLACK:
                        rewind_back(adjoint_states, n_states)
                    n_active = min(n_states, n + 1, n_pulses - n)
                    first = interpolation(position[atom, n], n_angles, points)
                    interpolate_sets(tables, first, points, rates[:, n], operator)
                    _factors(turn[n], e1[atom, :, i_tr[n]], e2[atom, :, i_tr[n]], one, lanes)
                    folded[:] = operator
                    fold(folded, lanes[0], lanes[1], lanes[2])
                    retreat(folded, n_active, before, after, past[n - begin], adjoint_states, bar)
                    fold_adjoint(operator, one[0], one[1], one[2], bar, one_bar[0], one_bar[1], one_bar[2])
                    for j in range(n_sets):
                        rotation_bar = complex(one_bar[1, j], one_bar[2, j])
                        e1_bar[atom, j, n] += one_bar[0, j]
                        e2_bar[atom, j, n] += turn[n].conjugate() * rotation_bar
                        turn_bar[atom, n] += rotation_bar * e2[atom, j, i_tr[n]].conjugate()
                    _echo_adjoint(
                        operator,
                        past[n - begin],
                        before,
                        lane_weights[group],
                        e2_echo[atom, :, i_te[n]],
                        echo_bar[atom, :, n],
                        lanes,
                        adjoint_states,
                        bar,
                        echo_decay_bar[atom, :, n],
                    )
                    interpolate(tables[0], first, points[1], np.float32(1), slope)
                    position_bar[atom, n] += _dot(bar[0], slope)
                    for j in range(1, n_sets):
                        if rates[j, n] != 0:
                            rate_bar[atom, n] += _dot(bar[j], slope)
                            interpolate(tables[0], first, points[2], rates[j, n], scratch)
                        else:
                            interpolate(tables[j], first, points[1], np.float32(1), scratch)
                        position_bar[atom, n] += _dot(bar[j], scratch)
            for j in range(n_sets):
                for lane in range(LANES):
                    z_start_bar[atom, j] += adjoint_states[j, 4, lane]


@njit(cache=True, nogil=True)
def _factors(turn, e1, e2, one, lanes):
    """Set the factors of all sets after one pulse, E1 and E2 as two real numbers; `lanes` repeats them."""
    for j in range(e1.size):
        rotation = turn * e2[j]
        one[0, j], one[1, j], one[2, j] = e1[j], rotation.real, rotation.imag
        lanes[0, j], lanes[1, j], lanes[2, j] = e1[j], rotation.real, rotation.imag


@njit(cache=True, nogil=True)
def _keep(states, offset, used, out):
    """Copy the first `used` values of the states out of their windows."""
    for j in range(states.shape[0]):
        for part in range(6):
            at = 0 if part > 3 else (SLACK - offset if part < 2 else offset) * LANES
            out[j, part, :used] = states[j, part, at : at + used]


@njit(cache=True, nogil=True)
def _restore(kept, size, states):
    """Put states back into their windows at offset 0."""
    states[:] = 0
    for j in range(states.shape[0]):
        for part in range(6):
            at = SLACK * LANES if part < 2 else 0
            states[j, part, at : at + size] = kept[j, part]


@njit(cache=True, nogil=True)
def _echo_adjoint(operator, past, before, weights, decay, echo_bar, lanes, adjoint_states, bar, decay_bar):
    """Adjoint of the echo of all sets; lanes : (3, n_sets, LANES) scratch."""
    n_sets = operator.shape[0]
    transverse(operator, past, 0, 0, lanes[1], lanes[2])
    signal = complex(lane_sum(weights, lanes[1, 0]), lane_sum(weights, lanes[2, 0]))
    for j in range(n_sets):
        own = complex(lane_sum(weights, lanes[1, j]), lane_sum(weights, lanes[2, j]))
        decay_bar[0] += echo_bar[j] * own.conjugate()
        if j > 0:
            decay_bar[j] += echo_bar[j] * signal.conjugate()
    for j in range(n_sets):
        total = decay[0].conjugate() * echo_bar[j]
        if j == 0:
            for i in range(1, n_sets):
                total += decay[i].conjugate() * echo_bar[i]
        for lane in range(LANES):
            lanes[1, j, lane], lanes[2, j, lane] = weights[lane] * total.real, weights[lane] * total.imag
    transverse_adjoint(operator, past, before, lanes[1], lanes[2], adjoint_states, bar)
