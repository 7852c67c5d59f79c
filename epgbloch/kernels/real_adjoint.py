"""Adjoint of `real_states.simulate`: from cotangents of its signals and derivatives to those of its inputs.

The states of every SLACK-th repetition are kept; between these they are computed again. Adjoint states live
in the same windows as the states, so that dephasing moves nothing here either: going backwards, the windows
move the other way, and once in SLACK repetitions they are copied back.

With the map of one repetition S_0' = A_0 S_0 + r_0, S_j' = A_0 S_j + A_j S_0 + r_j and adjoints L, the step
is L_j = A_0^T L_j', L_0 = A_0^T L_0' + sum_j A_j^T L_j'; A_0 gathers sum_j L_j' S_j^T, and A_j L_j' S_0^T.
"""

import numpy as np
from numba import njit, uint64

from epgbloch.kernels.layout import LANES, SLACK
from epgbloch.kernels.real_states import N_COEFFICIENTS, advance, prepare
from epgbloch.kernels.windows import unwind_minus, unwind_plus


@njit(cache=True, nogil=True, fastmath={"contract"})
def _pulse_adjoint(n_active, base, bar, plus, minus, z, l_plus, l_minus, l_z, at_plus, at_minus):
    """Adjoint of `real_states._pulse`, in place; bar : cotangents of the coefficients, added to."""
    for k in range(uint64(n_active)):
        order = k * uint64(LANES)
        for lane in range(uint64(LANES)):
            i, j, m = at_plus + order + lane, at_minus + order + lane, order + lane
            f_plus, f_minus, f_z = plus[m], minus[m], z[m]
            q_plus, q_minus, q_z = l_plus[i], l_minus[j], l_z[m]
            u = f_plus + f_minus
            change = base[lane] * u + base[LANES + lane] * f_z
            total = base[4 * LANES + lane] * (q_plus + q_minus)
            bar[lane] += total * u
            bar[LANES + lane] += total * f_z
            bar[2 * LANES + lane] += q_z * f_z
            bar[3 * LANES + lane] += q_z * u
            bar[4 * LANES + lane] += q_plus * (f_plus + change) + q_minus * (f_minus + change)
            common = base[lane] * total + base[3 * LANES + lane] * q_z
            l_plus[i] = base[4 * LANES + lane] * q_plus + common
            l_minus[j] = base[4 * LANES + lane] * q_minus + common
            l_z[m] = base[LANES + lane] * total + base[2 * LANES + lane] * q_z


@njit(cache=True, nogil=True, fastmath={"contract"})
def _source_adjoint(
    n_active, base, own, bar, bar_own, plus, minus, z, q_plus, q_minus, q_z, at_plus, at_minus, to
):
    """Adjoint of the source A_j S_0 of one derivative: cotangents of its coefficients, and of the states.

    q : adjoint of the derivative after the pulse, unchanged; to : (plus, minus, z) adjoint of the states,
    added to.
    """
    l_plus, l_minus, l_z = to
    for k in range(uint64(n_active)):
        order = k * uint64(LANES)
        for lane in range(uint64(LANES)):
            i, j, m = at_plus + order + lane, at_minus + order + lane, order + lane
            f_plus, f_minus, f_z = plus[m], minus[m], z[m]
            r_plus, r_minus, r_z = q_plus[i], q_minus[j], q_z[m]
            u, both = f_plus + f_minus, r_plus + r_minus
            change = base[lane] * u + base[LANES + lane] * f_z
            total = own[4 * LANES + lane] * both
            bar[lane] += total * u
            bar[LANES + lane] += total * f_z
            bar_own[lane] += both * u
            bar_own[LANES + lane] += both * f_z
            bar_own[2 * LANES + lane] += r_z * f_z
            bar_own[3 * LANES + lane] += r_z * u
            bar_own[4 * LANES + lane] += r_plus * (f_plus + change) + r_minus * (f_minus + change)
            common = base[lane] * total + own[lane] * both + own[3 * LANES + lane] * r_z
            l_plus[i] += own[4 * LANES + lane] * r_plus + common
            l_minus[j] += own[4 * LANES + lane] * r_minus + common
            l_z[m] += base[LANES + lane] * total + own[LANES + lane] * both + own[2 * LANES + lane] * r_z


@njit(cache=True, nogil=True, fastmath={"contract"})
def _echo_adjoint(
    base, cos, sin, rates, decay, echo_bar, plus, minus, z, bar, bar_own, l_plus, l_minus, l_z, bars
):
    """Adjoint of the echoes of all sets; states at order 0 : (n_sets, LANES).

    decay : (n_sets, LANES) and its cotangents `bars`, written; bar : cotangents of the coefficients of set 0;
    bar_own : (n_sets, 2, LANES) cotangents of d cos, d sin, written; l : adjoint states of order 0, added to.
    """
    n_sets = decay.shape[0]
    for lane in range(LANES):
        change_u, change_z = base[lane], base[LANES + lane]
        u, f_z = plus[0, lane] + minus[0, lane], z[0, lane]
        transverse = plus[0, lane] + change_u * u + change_z * f_z
        bar_transverse = decay[0, lane] * echo_bar[0, lane]
        bars[0, lane] = echo_bar[0, lane] * transverse
        bar_u, bar_z = np.float32(0), np.float32(0)
        for j in range(1, n_sets):
            d_cos, d_sin = -rates[j] * sin[lane], rates[j] * cos[lane]
            v, g_z = plus[j, lane] + minus[j, lane], z[j, lane]
            derivative = plus[j, lane] + change_u * v + change_z * g_z
            derivative += np.float32(0.5) * d_cos * u + d_sin * f_z
            bar_derivative = decay[0, lane] * echo_bar[j, lane]
            bars[0, lane] += echo_bar[j, lane] * derivative
            bars[j, lane] = echo_bar[j, lane] * transverse
            bar_transverse += decay[j, lane] * echo_bar[j, lane]
            bar_u += bar_derivative * v
            bar_z += bar_derivative * g_z
            bar_own[j, 0, lane] = np.float32(0.5) * bar_derivative * u
            bar_own[j, 1, lane] = bar_derivative * f_z
            l_plus[j, lane] += bar_derivative * (np.float32(1) + change_u)
            l_minus[j, lane] += bar_derivative * change_u
            l_z[j, lane] += bar_derivative * change_z
            l_plus[0, lane] += np.float32(0.5) * bar_derivative * d_cos
            l_minus[0, lane] += np.float32(0.5) * bar_derivative * d_cos
            l_z[0, lane] += bar_derivative * d_sin
        bar[lane] += bar_u + bar_transverse * u
        bar[LANES + lane] += bar_z + bar_transverse * f_z
        l_plus[0, lane] += bar_transverse * (np.float32(1) + change_u)
        l_minus[0, lane] += bar_transverse * change_u
        l_z[0, lane] += bar_transverse * change_z


@njit(cache=True, nogil=True, fastmath={"contract"})
def _coefficients_adjoint(cos, sin, rates, turn, e1, e2, bar, bar_own, angle_bar, rate_bar, e1_bar, e2_bar):
    """Adjoint of `real_states.prepare`; e1, e2, e1_bar, e2_bar : (n_sets, LANES), the latter written.

    bar_own holds the cotangents of d cos, d sin from the echoes, (n_sets, 2, LANES).
    """
    half = np.float32(0.5)
    for lane in range(LANES):
        b_u, b_z, b_z_z = bar[0, lane], bar[0, LANES + lane], bar[0, 2 * LANES + lane]
        b_z_u, b_e2, b_recovery = bar[0, 3 * LANES + lane], bar[0, 4 * LANES + lane], bar[0, 5 * LANES + lane]
        cosine, sine, f1, f2 = cos[lane], sin[lane], e1[0, lane], e2[0, lane]
        cos_bar, sin_bar = half * b_u + f1 * b_z_z, b_z - half * f1 * b_z_u
        f1_bar = cosine * b_z_z - half * sine * b_z_u - b_recovery
        f2_bar = turn * b_e2
        rate_bar[lane] = np.float32(0)
        for j in range(1, e1.shape[0]):
            o_u, o_z, o_z_z = bar[j, lane], bar[j, LANES + lane], bar[j, 2 * LANES + lane]
            o_z_u, o_e2, o_recovery = (
                bar[j, 3 * LANES + lane],
                bar[j, 4 * LANES + lane],
                bar[j, 5 * LANES + lane],
            )
            d_cos, d_sin = -rates[j] * sine, rates[j] * cosine
            d_cos_bar = half * turn * f2 * o_u + f1 * o_z_z + bar_own[j, 0, lane]
            d_sin_bar = turn * f2 * o_z - half * f1 * o_z_u + bar_own[j, 1, lane]
            f2_bar += turn * (half * d_cos * o_u + d_sin * o_z)
            f1_bar += d_cos * o_z_z - half * d_sin * o_z_u
            e1_bar[j, lane] = cosine * o_z_z - half * sine * o_z_u - o_recovery
            e2_bar[j, lane] = turn * o_e2
            cos_bar += e1[j, lane] * o_z_z + rates[j] * d_sin_bar
            sin_bar -= half * e1[j, lane] * o_z_u + rates[j] * d_cos_bar
            if rates[j] != 0:
                rate_bar[lane] += cosine * d_sin_bar - sine * d_cos_bar
        e1_bar[0, lane], e2_bar[0, lane] = f1_bar, f2_bar
        angle_bar[lane] = cosine * sin_bar - sine * cos_bar


@njit(cache=True, nogil=True)
def adjoint(
    cos,
    sin,
    rates,
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
    angle_bar,
    rate_bar,
    e1_bar,
    e2_bar,
    echo_decay_bar,
    z_start_bar,
):
    """Cotangents of the inputs of `real_states.simulate` from those of its output.

    echo_bar : (n_blocks, n_sets, n_pulses, LANES) cotangents of the output
    Written: angle_bar (n_blocks, n_pulses, LANES) of flip angle x B1; rate_bar, the same, of non-zero rates;
    e1_bar, e2_bar, echo_decay_bar : (n_blocks, n_sets, n_pulses, LANES) of the factors used at each pulse;
    z_start_bar : (n_blocks, n_sets, LANES)
    """
    n_blocks, n_sets, n_pulses, _ = echo_bar.shape
    n_segments = (n_pulses + SLACK - 1) // SLACK
    window, size = (n_states + SLACK) * LANES, n_states * LANES
    flat_plus, flat_minus = np.zeros(n_sets * window, np.float32), np.zeros(n_sets * window, np.float32)
    flat_z = np.zeros(n_sets * size, np.float32)
    plus, minus = flat_plus.reshape(n_sets, window), flat_minus.reshape(n_sets, window)
    z = flat_z.reshape(n_sets, size)
    l_plus, l_minus = np.zeros((n_sets, window), np.float32), np.zeros((n_sets, window), np.float32)
    l_z = np.zeros((n_sets, size), np.float32)
    kept = np.zeros((n_segments, 3, n_sets, size), np.float32)
    past = np.zeros((SLACK, 3, n_sets, size), np.float32)
    flat = np.zeros(n_sets * N_COEFFICIENTS * LANES, np.float32)
    coefficients = flat.reshape(n_sets, N_COEFFICIENTS * LANES)
    n_tr = e1.shape[2]
    bar = np.zeros((n_sets, N_COEFFICIENTS * LANES), np.float32)
    bar_own = np.zeros((n_sets, 2, LANES), np.float32)
    decay, decay_bar = np.zeros((n_sets, LANES), np.float32), np.zeros((n_sets, LANES), np.float32)
    for block in range(n_blocks):
        b_cos, b_sin, b_e1, b_e2 = (
            cos[block].ravel(),
            sin[block].ravel(),
            e1[block].ravel(),
            e2[block].ravel(),
        )
        plus[:], minus[:], z[:] = 0, 0, 0
        z[:, :LANES] = z_start[block]
        offset = 0
        for n in range(n_pulses):
            if n % SLACK == 0:
                kept[n // SLACK, 0] = plus[:, SLACK * LANES :]
                kept[n // SLACK, 1] = minus[:, :size]
                kept[n // SLACK, 2] = z
            prepare(n, i_tr[n], n_tr, b_cos, b_sin, rates, turn[n], b_e1, b_e2, flat)
            n_active = min(n_states, n + 1, n_pulses - n)
            offset = advance(n_active, flat, n_sets, dephase, offset, n_states, flat_plus, flat_minus, flat_z)
        l_plus[:], l_minus[:], l_z[:] = 0, 0, 0
        for segment in range(n_segments - 1, -1, -1):
            first, last = segment * SLACK, min((segment + 1) * SLACK, n_pulses)
            plus[:], minus[:], offset = 0, 0, 0
            plus[:, SLACK * LANES :] = kept[segment, 0]
            minus[:, :size] = kept[segment, 1]
            z[:] = kept[segment, 2]
            for n in range(first, last):
                n_active = min(n_states, n + 1, n_pulses - n)
                used = n_active * LANES
                at_plus, at_minus = (SLACK - offset) * LANES, offset * LANES
                past[n - first, 0, :, :used] = plus[:, at_plus : at_plus + used]
                past[n - first, 1, :, :used] = minus[:, at_minus : at_minus + used]
                past[n - first, 2, :, :used] = z[:, :used]
                if n + 1 < last:
                    prepare(n, i_tr[n], n_tr, b_cos, b_sin, rates, turn[n], b_e1, b_e2, flat)
                    offset = advance(
                        n_active, flat, n_sets, dephase, offset, n_states, flat_plus, flat_minus, flat_z
                    )
            for n in range(last - 1, first - 1, -1):
                before = n - first if dephase else 0
                after = before + 1 if dephase else 0
                if dephase and after == SLACK:
                    # the windows come back from their start to where the segment ended
                    for j in range(n_sets):
                        unwind_plus(l_plus[j], n_states)
                        unwind_minus(l_minus[j], n_states)
                for j in range(n_sets):
                    for lane in range(LANES):
                        # order 0 of F+ is a copy of order 0 of F-
                        l_minus[j, after * LANES + lane] += l_plus[j, (SLACK - after) * LANES + lane]
                        l_plus[j, (SLACK - after) * LANES + lane] = np.float32(0)
                n_active = min(n_states, n + 1, n_pulses - n)
                prepare(n, i_tr[n], n_tr, b_cos, b_sin, rates, turn[n], b_e1, b_e2, flat)
                bar[:] = 0
                for j in range(n_sets):
                    for lane in range(LANES):
                        bar[j, 5 * LANES + lane] = l_z[j, lane]
                at_plus, at_minus = uint64((SLACK - before) * LANES), uint64(before * LANES)
                state = past[n - first]
                base = coefficients[0]
                _pulse_adjoint(
                    n_active,
                    base,
                    bar[0],
                    state[0, 0],
                    state[1, 0],
                    state[2, 0],
                    l_plus[0],
                    l_minus[0],
                    l_z[0],
                    at_plus,
                    at_minus,
                )
                for j in range(1, n_sets):
                    _source_adjoint(
                        n_active,
                        base,
                        coefficients[j],
                        bar[0],
                        bar[j],
                        state[0, 0],
                        state[1, 0],
                        state[2, 0],
                        l_plus[j],
                        l_minus[j],
                        l_z[j],
                        at_plus,
                        at_minus,
                        (l_plus[0], l_minus[0], l_z[0]),
                    )
                    _pulse_adjoint(
                        n_active,
                        base,
                        bar[0],
                        state[0, j],
                        state[1, j],
                        state[2, j],
                        l_plus[j],
                        l_minus[j],
                        l_z[j],
                        at_plus,
                        at_minus,
                    )
                for j in range(n_sets):
                    decay[j] = e2_echo[block, j, i_te[n]]
                first_plus, first_minus = (SLACK - before) * LANES, before * LANES
                _echo_adjoint(
                    base,
                    cos[block, n],
                    sin[block, n],
                    rates[:, n],
                    decay,
                    echo_bar[block, :, n],
                    state[0],
                    state[1],
                    state[2],
                    bar[0],
                    bar_own,
                    l_plus[:, first_plus : first_plus + LANES],
                    l_minus[:, first_minus : first_minus + LANES],
                    l_z,
                    decay_bar,
                )
                echo_decay_bar[block, :, n] = decay_bar
                _coefficients_adjoint(
                    cos[block, n],
                    sin[block, n],
                    rates[:, n],
                    turn[n],
                    e1[block, :, i_tr[n]],
                    e2[block, :, i_tr[n]],
                    bar,
                    bar_own,
                    angle_bar[block, n],
                    rate_bar[block, n],
                    e1_bar[block, :, n],
                    e2_bar[block, :, n],
                )
        z_start_bar[block] = l_z[:, :LANES]
