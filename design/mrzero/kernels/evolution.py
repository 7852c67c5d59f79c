"""Magnetisation of all states through all pulses, in the voxels of a block, and backwards.

Lanes are voxels. Transverse states are kept in the frame of the last pulse, after it; longitudinal pairs as
Y = 2 Z. A row of LANES real parts is followed by one of imaginary parts.

Backwards there are sets of cotangents. Set 0 belongs to the magnetisation itself. The others, one for each of
x, y, z, tau as far as they are asked for, hold the derivative by a shift of the state along that axis of
(k, tau): what a shift does to the decay within voxels (shape, T2', diffusion) at all later times. A shift of
a state moves its conjugates the other way; its phase at the centre of the voxel needs no set of its own.
"""

import numpy as np
from numba import njit

from epgbloch.kernels.lanes import WIDTH, add, denormals_to_zero, fill, load, restore_denormals, store, total

LANES = 32
"""Voxels of a block."""
_ROW = 2 * LANES


@njit(cache=True, nogil=True)
def _coefficients(n, v0, flip, duration, r1, r2, b1, rows):
    """Write cos and sin of the pulse, and the decay since the pulse before, as four rows of LANES."""
    for lane in range(LANES):
        angle = np.float32(flip[n]) * b1[v0 + lane]
        rows[lane], rows[LANES + lane] = np.cos(angle), np.sin(angle)
    if n > 0 and (n == 1 or duration[n - 1] != duration[n - 2]):
        time = np.float32(duration[n - 1])
        for lane in range(LANES):
            rows[2 * LANES + lane] = np.exp(-time * r1[v0 + lane])
            rows[3 * LANES + lane] = np.exp(-time * r2[v0 + lane])


@njit(cache=True, nogil=True)
def _damping(i, b, diffusion, v0, row):
    """Write what diffusion leaves of state i until the next pulse."""
    for lane in range(LANES):
        row[lane] = np.exp(-np.float32(b[i]) * diffusion[v0 + lane])


@njit(cache=True, nogil=True)
def _arrived(t, i, h, decay, cos, sin):
    """Transverse state i before the next pulse and in its frame."""
    re, im = load(t, i * _ROW + h), load(t, i * _ROW + LANES + h)
    return decay * (cos * re - sin * im), decay * (sin * re + cos * im)


@njit(cache=True, nogil=True)
def follow(v0, first, orbits, flip, phase, duration, r1, r2, b1, diffusion, b_t, b_z, t, z, z0, rows):
    """Fill t (n_t rows), z (n_z) and z0 (a row of LANES for each pulse) for the voxels from v0 on.

    b_t, b_z : b-values of the states until the next pulse; empty without diffusion. rows : 7 LANES, scratch.
    """
    settings = denormals_to_zero()
    n_pulses = flip.size
    half, one, nothing = fill(np.float32(0.5)), fill(np.float32(1)), fill(np.float32(0))
    diffuses = b_t.size > 0
    damping_p, damping_m = rows[4 * LANES : 5 * LANES], rows[5 * LANES : 6 * LANES]
    damping_z = rows[6 * LANES : 7 * LANES]
    damping_p[:] = damping_m[:] = damping_z[:] = 1
    for n in range(n_pulses):
        _coefficients(n, v0, flip, duration, r1, r2, b1, rows)
        before = phase[n - 1] - phase[n] if n else 0.0
        turn_re, turn_im = fill(np.float32(np.cos(before))), fill(np.float32(np.sin(before)))
        for j in range(first[n, 2], first[n + 1, 2]):
            i_p, i_m, i_z, o_p, o_m, o_z = orbits[j]
            zero = j == first[n, 2]
            if diffuses:
                if i_p >= 0:
                    _damping(i_p, b_t, diffusion, v0, damping_p)
                if i_m >= 0:
                    _damping(i_m, b_t, diffusion, v0, damping_m)
                if i_z >= 0:
                    _damping(i_z, b_z, diffusion, v0, damping_z)
            for h in range(0, LANES, WIDTH):
                cos, sin = load(rows, h), load(rows, LANES + h)
                e1, e2 = load(rows, 2 * LANES + h), load(rows, 3 * LANES + h)
                p_re = p_im = m_re = m_im = y_re = y_im = nothing
                if i_p >= 0:
                    p_re, p_im = _arrived(t, i_p, h, e2 * load(damping_p, h), turn_re, turn_im)
                if i_m >= 0:
                    m_re, m_im = _arrived(t, i_m, h, e2 * load(damping_m, h), turn_re, turn_im)
                    m_im = -m_im
                if i_z >= 0:
                    relaxed = e1 * load(damping_z, h)
                    y_re, y_im = relaxed * load(z, i_z * _ROW + h), relaxed * load(z, i_z * _ROW + LANES + h)
                if zero:
                    y_re = one if n == 0 else one + e1 * (load(z0, (n - 1) * LANES + h) - one)
                s_re, s_im, d_re, d_im = p_re + m_re, p_im + m_im, p_re - m_re, p_im - m_im
                x_re, x_im = cos * s_re + sin * y_re, cos * s_im + sin * y_im
                if zero:
                    # the states at k and -k are one
                    store(t, o_p * _ROW + h, x_re)
                    store(t, o_p * _ROW + LANES + h, d_im)
                    store(z0, n * LANES + h, cos * y_re - sin * s_re)
                    continue
                if o_p >= 0:
                    store(t, o_p * _ROW + h, half * (x_re + d_re))
                    store(t, o_p * _ROW + LANES + h, half * (x_im + d_im))
                if o_m >= 0:
                    store(t, o_m * _ROW + h, half * (x_re - d_re))
                    store(t, o_m * _ROW + LANES + h, half * (d_im - x_im))
                if o_z >= 0:
                    store(z, o_z * _ROW + h, cos * y_re - sin * s_re)
                    store(z, o_z * _ROW + LANES + h, cos * y_im - sin * s_im)
    restore_denormals(settings)


@njit(cache=True, nogil=True)
def forwards(
    blocks, first, orbits, emitting, flip, phase, duration, r1, r2, b1, diffusion, b_t, b_z, out
):  # fmt: skip
    """Write the emitting states of some blocks of voxels to out, (n_emitting, 2, n_voxels) flat."""
    n_voxels = r1.size
    n_t, n_z = first[flip.size, 0], first[flip.size, 1]
    t, z = np.empty(n_t * _ROW, np.float32), np.empty(n_z * _ROW, np.float32)
    z0, rows = np.empty(flip.size * LANES, np.float32), np.empty(7 * LANES, np.float32)
    for block in blocks:
        v0 = block * LANES
        follow(v0, first, orbits, flip, phase, duration, r1, r2, b1, diffusion, b_t, b_z, t, z, z0, rows)
        for e in range(emitting.size):
            for h in range(0, LANES, WIDTH):
                store(out, 2 * e * n_voxels + v0 + h, load(t, emitting[e] * _ROW + h))
                store(out, (2 * e + 1) * n_voxels + v0 + h, load(t, emitting[e] * _ROW + LANES + h))


@njit(cache=True, nogil=True)
def backwards(
    blocks, first, orbits, emitting, flip, phase, duration, r1, r2, b1, diffusion, b_t, b_z, slope_t, slope_z,
    position, off_resonance, n_sets, cotangent, of_pulses, of_b, of_voxels,
):  # fmt: skip
    """Pull cotangents of the emitting states back to the pulses, the ways between them, and the voxels.

    cotangent : (n_sets, n_emitting, 2, n_voxels) flat. position : (3, n_voxels) flat. slope_t, slope_z : derivatives
    of the b-values by k, (n_states, 3); empty without diffusion.

    Adds to of_pulses, (n, 8): by flip angle, phase, relaxation and phase with time since this pulse, then by a
    shift of all transverse states until the next pulse along x, y, z, tau; of_b : by the b-values of transverse,
    then of longitudinal states; of_voxels, (4, n_voxels): by R1, R2, |B1|, diffusion.
    """
    n_voxels, n_pulses = r1.size, flip.size
    n_t, n_z, n_emitting = first[n_pulses, 0], first[n_pulses, 1], emitting.size
    diffuses = b_t.size > 0
    t, z = np.empty(n_t * _ROW, np.float32), np.empty(n_z * _ROW, np.float32)
    z0, rows = np.empty(n_pulses * LANES, np.float32), np.empty(7 * LANES, np.float32)
    bar_t, bar_z = np.empty(n_sets * n_t * _ROW, np.float32), np.empty(n_sets * n_z * _ROW, np.float32)
    bar_0 = np.empty(n_sets * _ROW, np.float32)
    damping_p, damping_m = rows[4 * LANES : 5 * LANES], rows[5 * LANES : 6 * LANES]
    damping_z = rows[6 * LANES : 7 * LANES]
    # by flip angle, phase, e1 and e2; then by shifts
    sums = np.empty(8 * LANES, np.float32)
    half, nothing, one = fill(np.float32(0.5)), fill(np.float32(0)), fill(np.float32(1))
    for block in blocks:
        v0 = block * LANES
        follow(v0, first, orbits, flip, phase, duration, r1, r2, b1, diffusion, b_t, b_z, t, z, z0, rows)
        settings = denormals_to_zero()
        damping_p[:] = damping_m[:] = damping_z[:] = 1
        bar_t[:] = 0
        bar_z[:] = 0
        bar_0[:] = 0
        for s in range(n_sets):
            for e in range(n_emitting):
                at, to = ((s * n_emitting + e) * 2) * n_voxels + v0, (s * n_t + emitting[e]) * _ROW
                for h in range(0, LANES, WIDTH):
                    store(bar_t, to + h, load(cotangent, at + h))
                    store(bar_t, to + LANES + h, load(cotangent, at + n_voxels + h))
        for n in range(n_pulses - 1, -1, -1):
            _coefficients(n, v0, flip, duration, r1, r2, b1, rows)
            if n > 0:
                time = np.float32(duration[n - 1])
                for lane in range(LANES):
                    rows[2 * LANES + lane] = np.exp(-time * r1[v0 + lane])
                    rows[3 * LANES + lane] = np.exp(-time * r2[v0 + lane])
            before = phase[n - 1] - phase[n] if n else 0.0
            turn_re, turn_im = fill(np.float32(np.cos(before))), fill(np.float32(np.sin(before)))
            sums[:] = 0
            for j in range(first[n, 2], first[n + 1, 2]):
                i_p, i_m, i_z, o_p, o_m, o_z = orbits[j]
                zero = j == first[n, 2]
                if diffuses:
                    if i_p >= 0:
                        _damping(i_p, b_t, diffusion, v0, damping_p)
                    if i_m >= 0:
                        _damping(i_m, b_t, diffusion, v0, damping_m)
                    if i_z >= 0:
                        _damping(i_z, b_z, diffusion, v0, damping_z)
                for h in range(0, LANES, WIDTH):
                    cos, sin = load(rows, h), load(rows, LANES + h)
                    e1, e2 = load(rows, 2 * LANES + h), load(rows, 3 * LANES + h)
                    e_p, e_m = e2 * load(damping_p, h), e2 * load(damping_m, h)
                    e_z = e1 * load(damping_z, h)
                    p_re = p_im = m_re = m_im = y_re = y_im = nothing
                    if i_p >= 0:
                        p_re, p_im = _arrived(t, i_p, h, e_p, turn_re, turn_im)
                    if i_m >= 0:
                        m_re, m_im = _arrived(t, i_m, h, e_m, turn_re, turn_im)
                        m_im = -m_im
                    if i_z >= 0:
                        y_re, y_im = e_z * load(z, i_z * _ROW + h), e_z * load(z, i_z * _ROW + LANES + h)
                    if zero:
                        y_re = one if n == 0 else one + e1 * (load(z0, (n - 1) * LANES + h) - one)
                    s_re, s_im = p_re + m_re, p_im + m_im
                    x_re, x_im = cos * s_re + sin * y_re, cos * s_im + sin * y_im
                    w_re, w_im = cos * y_re - sin * s_re, cos * y_im - sin * s_im
                    # of set 0, for the shifts by diffusion
                    own_p_re = own_p_im = own_m_re = own_m_im = own_y_re = own_y_im = nothing
                    for s in range(n_sets):
                        # shifts move conjugates the other way
                        sign = one if s == 0 else -one
                        bp_re = bp_im = bm_re = bm_im = by_re = by_im = nothing
                        if o_p >= 0:
                            at = (s * n_t + o_p) * _ROW + h
                            bp_re, bp_im = load(bar_t, at), load(bar_t, at + LANES)
                        if zero:
                            bm_re, bm_im = sign * bp_re, -(sign * bp_im)
                            by_re, by_im = load(bar_0, s * _ROW + h), load(bar_0, s * _ROW + LANES + h)
                        else:
                            if o_m >= 0:
                                at = (s * n_t + o_m) * _ROW + h
                                bm_re = sign * load(bar_t, at)
                                bm_im = -(sign * load(bar_t, at + LANES))
                            if o_z >= 0:
                                at = (s * n_z + o_z) * _ROW + h
                                by_re, by_im = load(bar_z, at), load(bar_z, at + LANES)
                        bx_re, bx_im = half * (bp_re + bm_re), half * (bp_im + bm_im)
                        bd_re, bd_im = half * (bp_re - bm_re), half * (bp_im - bm_im)
                        if s == 0:
                            by_flip = bx_re * w_re + bx_im * w_im - by_re * x_re - by_im * x_im
                            add(sums, h, by_flip)
                        bs_re, bs_im = cos * bx_re - sin * by_re, cos * bx_im - sin * by_im
                        by_re, by_im = sin * bx_re + cos * by_re, sin * bx_im + cos * by_im
                        bp_re, bp_im = bs_re + bd_re, bs_im + bd_im
                        bm_re, bm_im = bs_re - bd_re, bs_im - bd_im
                        if n == 0:
                            continue
                        if s == 0:
                            own_p_re, own_p_im, own_m_re, own_m_im = bp_re, bp_im, bm_re, bm_im
                            own_y_re, own_y_im = by_re, by_im
                            of_p = bp_re * p_re + bp_im * p_im
                            of_m = bm_re * m_re + bm_im * m_im
                            add(sums, LANES + h, bp_im * p_re - bp_re * p_im - bm_im * m_re + bm_re * m_im)
                            add(sums, 3 * LANES + h, of_p + of_m)
                            if zero:
                                add(sums, 2 * LANES + h, by_re * (y_re - one))
                                by_im = nothing
                            else:
                                of_y = by_re * y_re + by_im * y_im
                                add(sums, 2 * LANES + h, of_y)
                            if diffuses:
                                factor = load(diffusion, v0 + h)
                                if i_p >= 0:
                                    of_b[i_p] -= total(factor * of_p)
                                if i_m >= 0:
                                    of_b[i_m] -= total(factor * of_m)
                                if i_z >= 0:
                                    of_b[n_t + i_z] -= total(factor * (by_re * y_re + by_im * y_im))
                                if i_p >= 0:
                                    at = 3 * n_voxels + v0 + h
                                    add(of_voxels, at, -(fill(np.float32(b_t[i_p])) * of_p))
                                if i_m >= 0:
                                    at = 3 * n_voxels + v0 + h
                                    add(of_voxels, at, -(fill(np.float32(b_t[i_m])) * of_m))
                                if i_z >= 0:
                                    at = 3 * n_voxels + v0 + h
                                    of_y = by_re * y_re + by_im * y_im
                                    add(of_voxels, at, -(fill(np.float32(b_z[i_z])) * of_y))
                        else:
                            of_p = bp_re * p_re + bp_im * p_im
                            of_m = bm_re * m_re + bm_im * m_im
                            add(sums, (3 + s) * LANES + h, of_p - of_m)
                        if i_p >= 0:
                            if diffuses and 1 <= s <= 3:
                                factor = load(diffusion, v0 + h) * fill(np.float32(slope_t[i_p, s - 1]))
                                bp_re, bp_im = bp_re - factor * own_p_re, bp_im - factor * own_p_im
                            at = (s * n_t + i_p) * _ROW + h
                            add(bar_t, at, e_p * (turn_re * bp_re + turn_im * bp_im))
                            add(bar_t, at + LANES, e_p * (turn_re * bp_im - turn_im * bp_re))
                        if i_m >= 0:
                            bm_re, bm_im = sign * bm_re, -(sign * bm_im)
                            if diffuses and 1 <= s <= 3:
                                factor = load(diffusion, v0 + h) * fill(np.float32(slope_t[i_m, s - 1]))
                                bm_re, bm_im = bm_re - factor * own_m_re, bm_im + factor * own_m_im
                            at = (s * n_t + i_m) * _ROW + h
                            add(bar_t, at, e_m * (turn_re * bm_re + turn_im * bm_im))
                            add(bar_t, at + LANES, e_m * (turn_re * bm_im - turn_im * bm_re))
                        if zero:
                            store(bar_0, s * _ROW + h, e1 * by_re)
                            store(bar_0, s * _ROW + LANES + h, e1 * by_im)
                        elif i_z >= 0:
                            if diffuses and 1 <= s <= 3:
                                factor = load(diffusion, v0 + h) * fill(np.float32(slope_z[i_z, s - 1]))
                                by_re, by_im = by_re - factor * own_y_re, by_im - factor * own_y_im
                            at = (s * n_z + i_z) * _ROW + h
                            add(bar_z, at, e_z * by_re)
                            add(bar_z, at + LANES, e_z * by_im)
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
        restore_denormals(settings)
