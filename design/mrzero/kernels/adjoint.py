"""From cotangents of the emitting states back to pulses, ways and voxels; see `evolution`.

There are sets of cotangents. Set 0 belongs to the magnetisation itself. The others, one for each of
x, y, z, tau as far as they are asked for, hold the derivative by a shift of the state along that axis of
(k, tau): what a shift does to the decay within voxels (shape, T2', diffusion) at all later times. A shift of
a state moves its conjugates the other way; its phase at the centre of the voxel needs no set of its own.
"""

import numpy as np
from numba import njit

from design.mrzero.kernels.evolution import (
    LANES,
    ROW,
    arrived,
    coefficients,
    damping,
    follow,
    recovered,
    relaxed,
)
from design.mrzero.kernels.rows import START, add_complex, load_complex, nothing, store_complex, zero
from epgbloch.kernels.lanes import (
    WIDTH,
    add,
    denormals_to_zero,
    fill,
    hold,
    load,
    restore_denormals,
    total,
    view,
)


@njit(cache=True, nogil=True)
def _most(begins):
    """Most states of a pulse."""
    most = 1
    for n in range(begins.size - 1):
        most = max(most, begins[n + 1] - begins[n])
    return most


@njit(cache=True, nogil=True)
def _begin(n, v0, n_voxels, first, first_emitting, emitting, place_of_set, cotangent, bar_t, room):
    """Write what the transverse states of pulse n get as emitting ones; sets begin `room` rows apart."""
    t0, t1 = first[n, 0], first[n + 1, 0]
    for s in range(place_of_set.shape[0]):
        zero(bar_t, s * room * ROW, (t1 - t0) * ROW)
        for e in range(first_emitting[n], first_emitting[n + 1]):
            at, to = place_of_set[s, e] * 2 * n_voxels + v0, (s * room + emitting[e] - t0) * ROW
            if at >= 0:
                for h in range(0, LANES, WIDTH):
                    re, im = load_complex(cotangent, at + h, n_voxels)
                    store_complex(bar_t, to + h, LANES, re, im)


@njit(cache=True, nogil=True)
def _turned_back(bx_re, bx_im, by_re, by_im, cos, sin):
    """Pull the cotangents of the plane that a pulse turns back."""
    s_re, s_im = cos * bx_re - sin * by_re, cos * bx_im - sin * by_im
    return s_re, s_im, sin * bx_re + cos * by_re, sin * bx_im + cos * by_im


@njit(cache=True, nogil=True)
def _add_transverse(bar, i, h, decay, turn_re, turn_im, re, im):
    """Add the cotangent of a state before the pulse, in its frame, to that of the state."""
    if i >= 0:
        x, y = decay * (turn_re * re + turn_im * im), decay * (turn_re * im - turn_im * re)
        add_complex(bar, i * ROW + h, LANES, x, y)


@njit(cache=True, nogil=True)
def _cotangent(bar, i, h):
    """Cotangent of a state, 0 for none."""
    if i < 0:
        return nothing(), nothing()
    return load_complex(bar, i * ROW + h, LANES)


@njit(cache=True, nogil=True)
def _add_to_b(i, b, of_p, v0, h, diffusion, of_b, to, of_diffusion):
    """Add the derivatives by the b-value of a state and by diffusion."""
    if i >= 0:
        of_b[to + i] -= total(load(diffusion, v0 + h) * of_p)
        add(of_diffusion, v0 + h, fill(np.float32(-b[i])) * of_p)


@njit(cache=True, nogil=True)
def _shifted(i, slope, s, v0, h, diffusion, re, im, own_re, own_im):
    """Add to the cotangent of a shift along axis s what it changes of the damping by diffusion."""
    if i < 0 or s > 3:
        return re, im
    factor = load(diffusion, v0 + h) * fill(np.float32(slope[3 * i + s - 1]))
    return re - factor * own_re, im - factor * own_im


@njit(cache=True, nogil=True)
def backwards(
    blocks, first, orbits, emitting, flip, phase, duration, r1, r2, b1, diffusion, b_t, b_z, slope_t, slope_z,
    position, off_resonance, first_emitting, place_of_set, cotangent, of_pulses, of_b, of_voxels,
):  # fmt: skip
    """Pull cotangents of the emitting states back to the pulses, the ways between them, and the voxels.

    slope_t, slope_z : derivatives of the b-values by k, (n_states, 3); empty without diffusion. position :
    (3, n_voxels) flat. first_emitting : of each pulse. place_of_set : (n_sets, n_emitting), rows of
    cotangent, -1 for those that are 0. cotangent : (n_rows, 2, n_voxels) flat.

    Adds to of_pulses, (n, 8): by flip angle, phase, relaxation and phase with time since this pulse, then
    by a shift of all transverse states until the next pulse along x, y, z, tau; of_b : by the b-values of
    transverse, then of longitudinal states; of_voxels, (4, n_voxels) flat: by R1, R2, |B1|, diffusion.
    """
    n_voxels, n_pulses, n_sets = r1.size, flip.size, place_of_set.shape[0]
    n_t, n_z = first[n_pulses, 0], first[n_pulses, 1]
    t, z = np.empty(n_t * ROW, np.float32), np.empty(n_z * ROW, np.float32)
    z0, rows = np.empty(n_pulses * LANES, np.float32), np.empty(7 * LANES, np.float32)
    # cotangents of the states of a pulse and of the one before
    rooms = room_t, room_z = _most(first[:, 0]), _most(first[:, 1])
    bar_t, next_t = np.empty(n_sets * room_t * ROW, np.float32), np.empty(n_sets * room_t * ROW, np.float32)
    bar_z, next_z = np.empty(n_sets * room_z * ROW, np.float32), np.empty(n_sets * room_z * ROW, np.float32)
    bar_0 = np.empty(n_sets * ROW, np.float32)
    sums = np.empty(8 * LANES, np.float32)
    of_diffusion = of_voxels[3 * n_voxels :]
    # see `view`: orbits are small
    damping_of = view(diffusion, 0), view(b_t, 0), view(b_z, 0), view(slope_t, 0), view(slope_z, 0)
    states = view(t, 0), view(z, 0), view(z0, 0)
    now, before = (view(bar_t, 0), view(bar_z, 0)), (view(next_t, 0), view(next_z, 0))
    pulled, of_damping = (view(bar_0, 0), view(sums, 0)), (view(of_b, 0), view(of_diffusion, 0))
    diffuses, coefficient_rows = b_t.size > 0, view(rows, 0)
    for block in blocks:
        v0 = block * LANES
        follow(v0, first, orbits, flip, phase, duration, r1, r2, b1, diffusion, b_t, b_z, t, z, z0, rows)
        settings = denormals_to_zero()
        zero(bar_0, START, bar_0.size)
        zero(bar_z, START, bar_z.size)
        last = n_pulses - 1
        _begin(last, v0, n_voxels, first, first_emitting, emitting, place_of_set, cotangent, bar_t, room_t)
        for n in range(last, -1, -1):
            anew = n == last or duration[n - 1] != duration[n]
            coefficients(n, v0, flip, duration, anew, r1, r2, b1, rows)
            if n > 0:
                _begin(n - 1, v0, n_voxels, first, first_emitting, emitting, place_of_set, cotangent, next_t,
                       room_t)  # fmt: skip
                for s in range(n_sets):
                    zero(next_z, s * room_z * ROW, (first[n, 1] - first[n - 1, 1]) * ROW)
            turn = phase[n - 1] - phase[n] if n else 0.0
            turns = np.float32(np.cos(turn)), np.float32(np.sin(turn))
            begins = first[n, 0], first[n, 1], first[max(n - 1, 0), 0], first[max(n - 1, 0), 1]
            zero(sums, START, sums.size)
            for j in range(first[n, 2], first[n + 1, 2]):
                orbit = orbits[j, 0], orbits[j, 1], orbits[j, 2], orbits[j, 3], orbits[j, 4], orbits[j, 5]
                if diffuses:
                    damping(orbits[j, 0], b_t, diffusion, v0, rows, 4 * LANES)
                    damping(orbits[j, 1], b_t, diffusion, v0, rows, 5 * LANES)
                    damping(orbits[j, 2], b_z, diffusion, v0, rows, 6 * LANES)
                for h in range(0, LANES, WIDTH):
                    _orbit_backwards(n, j == first[n, 2], h, v0, orbit, begins, turns, coefficient_rows,
                                     states, diffuses, damping_of, n_sets, n_t, rooms, now, before, pulled,
                                     of_damping)  # fmt: skip
            for lane in range(LANES):
                v = v0 + lane
                of_pulses[n, 0] += sums[lane] * b1[v]
                of_voxels[2 * n_voxels + v] += sums[lane] * np.float32(flip[n])
                if n == 0:
                    continue
                time = np.float32(duration[n - 1])
                turned, of_e1, of_e2 = sums[LANES + lane], sums[2 * LANES + lane], sums[3 * LANES + lane]
                of_pulses[n - 1, 1] += turned
                of_pulses[n, 1] -= turned
                of_voxels[v] -= time * of_e1
                of_voxels[n_voxels + v] -= time * of_e2
                of_pulses[n - 1, 2] -= r1[v] * of_e1 + r2[v] * of_e2
                cycles = np.float32(-2 * np.pi) * turned
                of_pulses[n - 1, 3] += cycles * off_resonance[v]
                for a in range(3):
                    of_pulses[n - 1, 4 + a] += cycles * position[a * n_voxels + v]
                for s in range(1, n_sets):
                    of_pulses[n - 1, 3 + s] += sums[(3 + s) * LANES + lane]
            bar_t, next_t = next_t, bar_t
            bar_z, next_z = next_z, bar_z
            now, before = before, now
        restore_denormals(settings)
    for array in (t, z, z0, rows, bar_t, next_t, bar_z, next_z, bar_0, sums):
        hold(array)


@njit(cache=True, nogil=True)
def _orbit_backwards(
    n, zero_order, h, v0, orbit, begins, turns, rows, states, diffuses, damping_of, n_sets, n_t, rooms,
    now, before, pulled, of_damping,
):  # fmt: skip
    """Pull the cotangents of an orbit back through pulse n for the voxels from h on.

    zero_order : whether it is the orbit with k = 0. begins : first states of the pulse and of the one before.
    now, before : cotangents of the states after both. pulled : cotangents of the longitudinal magnetisation
    with k = 0, overwritten; sums by flip angle, phase, e1 and e2, then by shifts.
    """
    half, one, none = fill(np.float32(0.5)), fill(np.float32(1)), nothing()
    i_p, i_m, i_z, o_p, o_m, o_z = orbit
    t, z, z0 = states
    diffusion, b_t, b_z, slope_t, slope_z = damping_of
    (bar_t, bar_z), (next_t, next_z) = now, before
    bar_0, sums = pulled
    of_b, of_diffusion = of_damping
    room_t, room_z = rooms
    # places among the states of the pulse, and of the one before
    to_p, to_m, to_z = _place(o_p, begins[0]), _place(o_m, begins[0]), _place(o_z, begins[1])
    from_p, from_m, from_z = _place(i_p, begins[2]), _place(i_m, begins[2]), _place(i_z, begins[3])
    turn_re, turn_im = fill(turns[0]), fill(turns[1])
    cos, sin = load_complex(rows, h, LANES)
    e1, e2 = load_complex(rows, 2 * LANES + h, LANES)
    damping_p, damping_m = load_complex(rows, 4 * LANES + h, LANES)
    e_p, e_m, e_z = e2 * damping_p, e2 * damping_m, e1 * load(rows, 6 * LANES + h)
    p_re, p_im = arrived(t, i_p, h, e_p, turn_re, turn_im)
    m_re, m_im = arrived(t, i_m, h, e_m, turn_re, turn_im)
    m_im = -m_im
    y_re, y_im = relaxed(z, i_z, h, e_z)
    if zero_order:
        y_re = recovered(z0, n, h, e1)
    # of set 0, for the shifts by diffusion
    own_p_re, own_p_im, own_m_re, own_m_im, own_y_re, own_y_im = none, none, none, none, none, none
    for s in range(n_sets):
        bp_re, bp_im = _cotangent(bar_t, _in_set(to_p, s, room_t), h)
        if zero_order:
            bm_re, bm_im = bp_re, -bp_im
            by_re, by_im = load_complex(bar_0, s * ROW + h, LANES)
        else:
            bm_re, bm_im = _cotangent(bar_t, _in_set(to_m, s, room_t), h)
            bm_im = -bm_im
            by_re, by_im = _cotangent(bar_z, _in_set(to_z, s, room_z), h)
        if s > 0:
            # shifts move conjugates the other way
            bm_re, bm_im = -bm_re, -bm_im
        bx_re, bx_im = half * (bp_re + bm_re), half * (bp_im + bm_im)
        bd_re, bd_im = half * (bp_re - bm_re), half * (bp_im - bm_im)
        if s == 0:
            s_re, s_im = p_re + m_re, p_im + m_im
            x_re, x_im = cos * s_re + sin * y_re, cos * s_im + sin * y_im
            w_re, w_im = cos * y_re - sin * s_re, cos * y_im - sin * s_im
            add(sums, h, bx_re * w_re + bx_im * w_im - by_re * x_re - by_im * x_im)
        if n == 0:
            # nothing comes before
            return
        bs_re, bs_im, by_re, by_im = _turned_back(bx_re, bx_im, by_re, by_im, cos, sin)
        bp_re, bp_im, bm_re, bm_im = bs_re + bd_re, bs_im + bd_im, bs_re - bd_re, bs_im - bd_im
        of_p, of_m = bp_re * p_re + bp_im * p_im, bm_re * m_re + bm_im * m_im
        if s == 0:
            own_p_re, own_p_im, own_m_re, own_m_im = bp_re, bp_im, bm_re, -bm_im
            own_y_re, own_y_im = by_re, by_im
            add(sums, LANES + h, bp_im * p_re - bp_re * p_im - bm_im * m_re + bm_re * m_im)
            add(sums, 3 * LANES + h, of_p + of_m)
            if zero_order:
                add(sums, 2 * LANES + h, by_re * (y_re - one))
                by_im = none
            else:
                of_y = by_re * y_re + by_im * y_im
                add(sums, 2 * LANES + h, of_y)
                if diffuses:
                    _add_to_b(i_z, b_z, of_y, v0, h, diffusion, of_b, n_t, of_diffusion)
            if diffuses:
                _add_to_b(i_p, b_t, of_p, v0, h, diffusion, of_b, START, of_diffusion)
                _add_to_b(i_m, b_t, of_m, v0, h, diffusion, of_b, START, of_diffusion)
        else:
            add(sums, (3 + s) * LANES + h, of_p - of_m)
        bm_im = -bm_im
        if s > 0:
            bm_re, bm_im = -bm_re, -bm_im
            if diffuses:
                bp_re, bp_im = _shifted(i_p, slope_t, s, v0, h, diffusion, bp_re, bp_im, own_p_re, own_p_im)
                bm_re, bm_im = _shifted(i_m, slope_t, s, v0, h, diffusion, bm_re, bm_im, own_m_re, own_m_im)
                by_re, by_im = _shifted(i_z, slope_z, s, v0, h, diffusion, by_re, by_im, own_y_re, own_y_im)
        _add_transverse(next_t, _in_set(from_p, s, room_t), h, e_p, turn_re, turn_im, bp_re, bp_im)
        _add_transverse(next_t, _in_set(from_m, s, room_t), h, e_m, turn_re, turn_im, bm_re, bm_im)
        if zero_order:
            store_complex(bar_0, s * ROW + h, LANES, e1 * by_re, e1 * by_im)
        elif from_z >= 0:
            add_complex(next_z, _in_set(from_z, s, room_z) * ROW + h, LANES, e_z * by_re, e_z * by_im)


@njit(cache=True, nogil=True)
def _place(i, begin):
    """Place of state i among those from begin on, -1 for none."""
    return i - begin if i >= 0 else -1


@njit(cache=True, nogil=True)
def _in_set(place, s, room):
    """Row of a state in set s, -1 for none."""
    return place + s * room if place >= 0 else -1
