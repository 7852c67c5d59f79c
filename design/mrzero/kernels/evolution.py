"""Magnetisation of all states through all pulses, in the voxels of a block.

Lanes are voxels. Transverse states are kept in the frame of the last pulse, after it; longitudinal pairs as
Y = 2 Z. A row of LANES real parts is followed by one of imaginary parts.
"""

import numpy as np
from numba import njit

from design.mrzero.kernels.rows import load_complex, nothing, store_complex
from epgbloch.kernels.lanes import WIDTH, denormals_to_zero, fill, load, restore_denormals, store

LANES = np.int64(32)
"""Voxels of a block."""
ROW = 2 * LANES
"""A row of real and one of imaginary parts."""


@njit(cache=True, nogil=True)
def coefficients(n, v0, flip, duration, anew, r1, r2, b1, rows):
    """Write cos and sin of the pulse and, if `anew`, the decays since the one before, as rows of LANES."""
    for lane in range(LANES):
        angle = np.float32(flip[n]) * b1[v0 + lane]
        rows[lane], rows[LANES + lane] = np.cos(angle), np.sin(angle)
    if n > 0 and anew:
        time = np.float32(duration[n - 1])
        for lane in range(LANES):
            rows[2 * LANES + lane] = np.exp(-time * r1[v0 + lane])
            rows[3 * LANES + lane] = np.exp(-time * r2[v0 + lane])


@njit(cache=True, nogil=True)
def damping(i, b, diffusion, v0, rows, to):
    """Write what diffusion leaves of state i until the next pulse, 1 for none."""
    for lane in range(LANES):
        left = np.float32(1)
        if i >= 0 and b.size > 0:
            left = np.exp(-np.float32(b[i]) * diffusion[v0 + lane])
        rows[to + lane] = left


@njit(cache=True, nogil=True)
def arrived(t, i, h, decay, cos, sin):
    """Transverse state i before the next pulse and in its frame."""
    if i < 0:
        return nothing(), nothing()
    re, im = load_complex(t, i * ROW + h, LANES)
    return decay * (cos * re - sin * im), decay * (sin * re + cos * im)


@njit(cache=True, nogil=True)
def relaxed(z, i, h, e1):
    """Longitudinal state i before the next pulse."""
    if i < 0:
        return nothing(), nothing()
    re, im = load_complex(z, i * ROW + h, LANES)
    return e1 * re, e1 * im


@njit(cache=True, nogil=True)
def recovered(z0, n, h, e1):
    """Longitudinal magnetisation with k = 0 before pulse n."""
    one = fill(np.float32(1))
    if n == 0:
        return one
    return one + e1 * (load(z0, (n - 1) * LANES + h) - one)


@njit(cache=True, nogil=True)
def follow(v0, first, orbits, flip, phase, duration, r1, r2, b1, diffusion, b_t, b_z, t, z, z0, rows):
    """Fill t (n_t rows), z (n_z) and z0 (a row of LANES for each pulse) for the voxels from v0 on.

    b_t, b_z : b-values of the states until the next pulse; empty without diffusion. rows : 7 LANES, scratch.
    """
    settings = denormals_to_zero()
    half = fill(np.float32(0.5))
    for i in range(4 * LANES, 7 * LANES):
        rows[i] = np.float32(1)
    for n in range(flip.size):
        anew = n == 1 or duration[n - 1] != duration[n - 2]
        coefficients(n, v0, flip, duration, anew, r1, r2, b1, rows)
        before = phase[n - 1] - phase[n] if n else 0.0
        turn_re, turn_im = fill(np.float32(np.cos(before))), fill(np.float32(np.sin(before)))
        for j in range(first[n, 2], first[n + 1, 2]):
            i_p, i_m, i_z = orbits[j, 0], orbits[j, 1], orbits[j, 2]
            o_p, o_m, o_z = orbits[j, 3], orbits[j, 4], orbits[j, 5]
            zero_order = j == first[n, 2]
            if b_t.size > 0:
                damping(i_p, b_t, diffusion, v0, rows, 4 * LANES)
                damping(i_m, b_t, diffusion, v0, rows, 5 * LANES)
                damping(i_z, b_z, diffusion, v0, rows, 6 * LANES)
            for h in range(0, LANES, WIDTH):
                cos, sin = load_complex(rows, h, LANES)
                e1, e2 = load_complex(rows, 2 * LANES + h, LANES)
                damping_p, damping_m = load_complex(rows, 4 * LANES + h, LANES)
                p_re, p_im = arrived(t, i_p, h, e2 * damping_p, turn_re, turn_im)
                m_re, m_im = arrived(t, i_m, h, e2 * damping_m, turn_re, turn_im)
                y_re, y_im = relaxed(z, i_z, h, e1 * load(rows, 6 * LANES + h))
                if zero_order:
                    y_re = recovered(z0, n, h, e1)
                # the state at -k is the conjugate of m
                s_re, s_im, d_re, d_im = p_re + m_re, p_im - m_im, p_re - m_re, p_im + m_im
                x_re, x_im = cos * s_re + sin * y_re, cos * s_im + sin * y_im
                if zero_order:
                    # the states at k and -k are one
                    store_complex(t, o_p * ROW + h, LANES, x_re, d_im)
                    store(z0, n * LANES + h, cos * y_re - sin * s_re)
                    continue
                if o_p >= 0:
                    store_complex(t, o_p * ROW + h, LANES, half * (x_re + d_re), half * (x_im + d_im))
                if o_m >= 0:
                    store_complex(t, o_m * ROW + h, LANES, half * (x_re - d_re), half * (d_im - x_im))
                if o_z >= 0:
                    store_complex(z, o_z * ROW + h, LANES, cos * y_re - sin * s_re, cos * y_im - sin * s_im)
    restore_denormals(settings)


@njit(cache=True, nogil=True)
def forwards(
    blocks, first, orbits, emitting, flip, phase, duration, r1, r2, b1, diffusion, b_t, b_z, out
):  # fmt: skip
    """Write the emitting states of some blocks of voxels to out, (n_emitting, 2, n_voxels) flat."""
    n_voxels = r1.size
    n_t, n_z = first[flip.size, 0], first[flip.size, 1]
    t, z = np.empty(n_t * ROW, np.float32), np.empty(n_z * ROW, np.float32)
    z0, rows = np.empty(flip.size * LANES, np.float32), np.empty(7 * LANES, np.float32)
    for block in blocks:
        v0 = block * LANES
        follow(v0, first, orbits, flip, phase, duration, r1, r2, b1, diffusion, b_t, b_z, t, z, z0, rows)
        for e in range(emitting.size):
            for h in range(0, LANES, WIDTH):
                re, im = load_complex(t, emitting[e] * ROW + h, LANES)
                store_complex(out, 2 * e * n_voxels + v0 + h, n_voxels, re, im)
