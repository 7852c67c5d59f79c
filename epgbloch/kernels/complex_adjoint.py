"""Adjoint of one pulse and repetition of complex states; see `real_adjoint` for the equations.

Cotangents of complex numbers are d/d(real part) + i d/d(imaginary part): y = a x gives conj(a) y_bar to x
and conj(x) y_bar to a. Adjoint states have the layout and the windows of the states; states are given as they
were before the pulse, (n_sets, 6, n_states * LANES), with order 0 at the start.
"""

import numpy as np
from numba import njit, uint64

from epgbloch.kernels.layout import LANES, SLACK
from epgbloch.kernels.windows import unwind_minus, unwind_plus


@njit(cache=True, nogil=True, fastmath={"contract"})
def _gather(
    n_active, bar, p_re, p_im, m_re, m_im, l_re, l_im, x_re, x_im, y_re, y_im, w_re, w_im, at_p, at_m
):
    """Add the cotangents of an operator that took states (p, m, l) to states with adjoints (x, y, w)."""
    for k in range(uint64(n_active)):
        order = k * uint64(LANES)
        for lane in range(uint64(LANES)):
            i, j, m = at_p + order + lane, at_m + order + lane, order + lane
            a, b, c, d, f, g = p_re[m], p_im[m], m_re[m], m_im[m], l_re[m], l_im[m]
            r, s, t, u, v, w = x_re[i], x_im[i], y_re[j], y_im[j], w_re[m], w_im[m]
            bar[lane] += r * a + s * b + t * c + u * d
            bar[LANES + lane] += s * a - r * b + t * d - u * c
            bar[2 * LANES + lane] += r * c + s * d + t * a + u * b
            bar[3 * LANES + lane] += s * c - r * d + t * b - u * a
            bar[4 * LANES + lane] += (r + t) * f + (s + u) * g
            bar[5 * LANES + lane] += (s - u) * f - (r - t) * g
            bar[6 * LANES + lane] += v * (a + c) + w * (b + d)
            bar[7 * LANES + lane] += w * (a - c) - v * (b - d)
            bar[10 * LANES + lane] += v * f + w * g


@njit(cache=True, nogil=True, fastmath={"contract"})
def _transpose(n_active, operator, x_re, x_im, y_re, y_im, w_re, w_im, at_p, at_m):
    """Apply the adjoint of an operator to adjoint states, in place."""
    for k in range(uint64(n_active)):
        order = k * uint64(LANES)
        for lane in range(uint64(LANES)):
            a, b = operator[lane], operator[LANES + lane]
            c, d = operator[2 * LANES + lane], operator[3 * LANES + lane]
            f, g = operator[4 * LANES + lane], operator[5 * LANES + lane]
            h, o, e = operator[6 * LANES + lane], operator[7 * LANES + lane], operator[10 * LANES + lane]
            i, j, m = at_p + order + lane, at_m + order + lane, order + lane
            r, s, t, u, v, w = x_re[i], x_im[i], y_re[j], y_im[j], w_re[m], w_im[m]
            x_re[i] = a * r + b * s + c * t - d * u + h * v + o * w
            x_im[i] = a * s - b * r + c * u + d * t + h * w - o * v
            y_re[j] = c * r + d * s + a * t - b * u + h * v - o * w
            y_im[j] = c * s - d * r + a * u + b * t + h * w + o * v
            w_re[m] = f * (r + t) + g * (s - u) + e * v
            w_im[m] = f * (s + u) - g * (r - t) + e * w


@njit(cache=True, nogil=True, fastmath={"contract"})
def _add_transpose_f(
    n_active, operator, r_re, r_im, t_re, t_im, v_re, v_im, x_re, x_im, y_re, y_im, at_p, at_m
):
    """Add the adjoint of an operator, applied to (r, t, v), to the transverse adjoint states (x, y)."""
    for k in range(uint64(n_active)):
        order = k * uint64(LANES)
        for lane in range(uint64(LANES)):
            a, b = operator[lane], operator[LANES + lane]
            c, d = operator[2 * LANES + lane], operator[3 * LANES + lane]
            h, o = operator[6 * LANES + lane], operator[7 * LANES + lane]
            i, j, m = at_p + order + lane, at_m + order + lane, order + lane
            r, s, t, u, v, w = r_re[i], r_im[i], t_re[j], t_im[j], v_re[m], v_im[m]
            x_re[i] += a * r + b * s + c * t - d * u + h * v + o * w
            x_im[i] += a * s - b * r + c * u + d * t + h * w - o * v
            y_re[j] += c * r + d * s + a * t - b * u + h * v - o * w
            y_im[j] += c * s - d * r + a * u + b * t + h * w + o * v


@njit(cache=True, nogil=True, fastmath={"contract"})
def _add_transpose_z(n_active, operator, r_re, r_im, t_re, t_im, v_re, v_im, w_re, w_im, at_p, at_m):
    """Add the adjoint of an operator, applied to (r, t, v), to the longitudinal adjoint states w."""
    for k in range(uint64(n_active)):
        order = k * uint64(LANES)
        for lane in range(uint64(LANES)):
            f, g, e = operator[4 * LANES + lane], operator[5 * LANES + lane], operator[10 * LANES + lane]
            i, j, m = at_p + order + lane, at_m + order + lane, order + lane
            w_re[m] += f * (r_re[i] + t_re[j]) + g * (r_im[i] - t_im[j]) + e * v_re[m]
            w_im[m] += f * (r_im[i] + t_im[j]) - g * (r_re[i] - t_re[j]) + e * v_im[m]


@njit(cache=True, nogil=True)
def rewind_back(adjoint, n_states):
    """Undo the copying of the windows at the end of a segment."""
    for j in range(adjoint.shape[0]):
        unwind_plus(adjoint[j, 0], n_states)
        unwind_plus(adjoint[j, 1], n_states)
        unwind_minus(adjoint[j, 2], n_states)
        unwind_minus(adjoint[j, 3], n_states)


@njit(cache=True, nogil=True)
def retreat(operator, n_active, before, after, past, adjoint, bar):
    """Adjoint of `complex_states.advance`.

    operator : folded operators (n_sets, N_COEFFICIENTS * LANES) and their cotangents `bar`, written
    before, after : window offsets; past : states before the pulse; adjoint : adjoint states, in place
    """
    n_sets = operator.shape[0]
    bar[:] = 0
    for j in range(n_sets):
        for lane in range(LANES):
            p, m = (SLACK - after) * LANES + lane, after * LANES + lane
            # order 0 of F+ is the conjugate of order 0 of F-; order 0 of Z is real
            adjoint[j, 2, m] += adjoint[j, 0, p]
            adjoint[j, 3, m] -= adjoint[j, 1, p]
            adjoint[j, 0, p], adjoint[j, 1, p] = np.float32(0), np.float32(0)
            adjoint[j, 5, lane] = np.float32(0)
            p, m = (SLACK - before) * LANES + lane, before * LANES + lane
            bar[j, 8 * LANES + lane] = adjoint[j, 0, p] + adjoint[j, 2, m]
            bar[j, 9 * LANES + lane] = adjoint[j, 1, p] - adjoint[j, 3, m]
            bar[j, 11 * LANES + lane] = adjoint[j, 4, lane]
    at_p, at_m = uint64((SLACK - before) * LANES), uint64(before * LANES)
    x = adjoint[0]
    for j in range(n_sets):
        y, s, o = adjoint[j], past[j], past[0]
        _gather(
            n_active,
            bar[0],
            s[0],
            s[1],
            s[2],
            s[3],
            s[4],
            s[5],
            y[0],
            y[1],
            y[2],
            y[3],
            y[4],
            y[5],
            at_p,
            at_m,
        )
        if j > 0:
            _gather(
                n_active,
                bar[j],
                o[0],
                o[1],
                o[2],
                o[3],
                o[4],
                o[5],
                y[0],
                y[1],
                y[2],
                y[3],
                y[4],
                y[5],
                at_p,
                at_m,
            )
    _transpose(n_active, operator[0], x[0], x[1], x[2], x[3], x[4], x[5], at_p, at_m)
    for j in range(1, n_sets):
        y, own = adjoint[j], operator[j]
        _add_transpose_f(
            n_active, own, y[0], y[1], y[2], y[3], y[4], y[5], x[0], x[1], x[2], x[3], at_p, at_m
        )
        _add_transpose_z(n_active, own, y[0], y[1], y[2], y[3], y[4], y[5], x[4], x[5], at_p, at_m)
        _transpose(n_active, operator[0], y[0], y[1], y[2], y[3], y[4], y[5], at_p, at_m)


@njit(cache=True, nogil=True, fastmath={"contract"})
def transverse_adjoint(operator, past, before, re, im, adjoint, bar):
    """Adjoint of `complex_states.transverse`; re, im : (n_sets, LANES) cotangents; adds to bar, adjoint."""
    for j in range(operator.shape[0]):
        for source in range(2 if j > 0 else 1):
            i_operator, i_state = (0, j) if source == 0 else (j, 0)
            own, state = operator[i_operator], past[i_state]
            for lane in range(LANES):
                r, s = re[j, lane], im[j, lane]
                p, m = (SLACK - before) * LANES + lane, before * LANES + lane
                bar[i_operator, lane] += r * state[0, lane] + s * state[1, lane]
                bar[i_operator, LANES + lane] += s * state[0, lane] - r * state[1, lane]
                bar[i_operator, 2 * LANES + lane] += r * state[2, lane] + s * state[3, lane]
                bar[i_operator, 3 * LANES + lane] += s * state[2, lane] - r * state[3, lane]
                bar[i_operator, 4 * LANES + lane] += r * state[4, lane]
                bar[i_operator, 5 * LANES + lane] += s * state[4, lane]
                adjoint[i_state, 0, p] += own[lane] * r + own[LANES + lane] * s
                adjoint[i_state, 1, p] += own[lane] * s - own[LANES + lane] * r
                adjoint[i_state, 2, m] += own[2 * LANES + lane] * r + own[3 * LANES + lane] * s
                adjoint[i_state, 3, m] += own[2 * LANES + lane] * s - own[3 * LANES + lane] * r
                adjoint[i_state, 4, lane] += own[4 * LANES + lane] * r + own[5 * LANES + lane] * s
        for lane in range(LANES):
            bar[j, 8 * LANES + lane] += re[j, lane]
            bar[j, 9 * LANES + lane] += im[j, lane]


@njit(cache=True, nogil=True, fastmath={"contract"})
def fold_adjoint(operator, e1, e2_re, e2_im, bar, e1_bar, e2_bar_re, e2_bar_im):
    """Adjoint of `complex_states.fold`.

    operator : operators before folding; e1, e2 : (n_sets,) factors that all lanes share, and their
    cotangents, written; bar : cotangents of the folded operators, replaced by those of `operator`
    """
    n_sets = operator.shape[0]
    e1_bar[:], e2_bar_re[:], e2_bar_im[:] = 0, 0, 0
    for j in range(n_sets):
        for source in range(2 if j > 0 else 1):
            # folded j = factor 0 x operator j + factor j x operator 0
            i_factor, i_operator = (0, j) if source == 0 else (j, 0)
            own = operator[i_operator]
            total, total_re, total_im = np.float32(0), np.float32(0), np.float32(0)
            for lane in range(LANES):
                for part in (0, 2, 4, 8):
                    r, s = bar[j, part * LANES + lane], bar[j, (part + 1) * LANES + lane]
                    a, b = own[part * LANES + lane], own[(part + 1) * LANES + lane]
                    total_re += r * a + s * b
                    total_im += s * a - r * b
                for part in (6, 7, 10, 11):
                    total += bar[j, part * LANES + lane] * own[part * LANES + lane]
            e1_bar[i_factor] += total
            e2_bar_re[i_factor] += total_re
            e2_bar_im[i_factor] += total_im
        for lane in range(LANES):
            e1_bar[j] -= bar[j, 11 * LANES + lane]
    # set 0 first: the others still hold the cotangents of the folded operators
    for j in range(n_sets):
        for lane in range(LANES):
            for part in (0, 2, 4, 8):
                i, k = part * LANES + lane, (part + 1) * LANES + lane
                r, s = bar[j, i], bar[j, k]
                bar[j, i] = e2_re[0] * r + e2_im[0] * s
                bar[j, k] = e2_re[0] * s - e2_im[0] * r
                if j == 0:
                    for n in range(1, n_sets):
                        bar[0, i] += e2_re[n] * bar[n, i] + e2_im[n] * bar[n, k]
                        bar[0, k] += e2_re[n] * bar[n, k] - e2_im[n] * bar[n, i]
            for part in (6, 7, 10, 11):
                i = part * LANES + lane
                bar[j, i] *= e1[0]
                if j == 0:
                    for n in range(1, n_sets):
                        bar[0, i] += e1[n] * bar[n, i]
