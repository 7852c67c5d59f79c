"""Instantaneous pulses with phases 0 and pi, on resonance: all states are real, lanes are atoms.

With u = F+ + F-, twice the x component, a rotation about y adds the same (cos - 1) u / 2 + sin Z to F+ and
to F-, and Z becomes cos Z - sin u / 2. Derivatives by tissue parameters are further sets of states next to
the signal's own set 0: with the map of one repetition S' = A S + r, set j follows dS' = A dS + (dA S + dr).

Flat arrays. states : for every set the windows of F+, F- and Z. rows : for every set N_ROWS rows of LANES
coefficients, or their derivatives by the parameter. Of each row the first n_lanes values are computed.
"""

import numpy as np
from numba import njit, uint64

from epgbloch.kernels.diffusion import N_ROWS as N_DIFFUSION_ROWS
from epgbloch.kernels.diffusion import attenuate
from epgbloch.kernels.lanes import WIDTH, denormals_to_zero, fill, hold, load, restore_denormals, store, view
from epgbloch.kernels.layout import LANES, SLACK
from epgbloch.kernels.windows import clear, copy, rewind_minus, rewind_plus, zeros

N_ROWS = 8
"""Rotation and relaxation: the parts of u and Z in F+ and F-, of Z and u in Z, of F+ and F- in themselves,
and the recovery; then (cos - 1) / 2 and sin for the echo."""
U, Z, ZZ, ZU, DECAY, RECOVERY, ECHO_U, ECHO_Z = (i * LANES for i in range(N_ROWS))


@njit(cache=True, nogil=True)
def prepare(n_lanes, n, i_tr, n_tr, n_sets, cos, sin, rate, b1_set, turn, e1, e2, rows):
    """Set the rows of all sets for pulse n with TR number i_tr of n_tr."""
    half, one = fill(np.float32(0.5)), fill(np.float32(1))
    sign = fill(turn)
    for h in range(0, n_lanes, WIDTH):
        at, at_tr = n * LANES + h, (i_tr * LANES) + h
        cosine, sine = load(cos, at), load(sin, at)
        f1, f2 = load(e1, at_tr), sign * load(e2, at_tr)
        change = half * (cosine - one)
        store(rows, U + h, f2 * change)
        store(rows, Z + h, f2 * sine)
        store(rows, ZZ + h, f1 * cosine)
        store(rows, ZU + h, -(half * f1 * sine))
        store(rows, DECAY + h, f2)
        store(rows, RECOVERY + h, one - f1)
        store(rows, ECHO_U + h, change)
        store(rows, ECHO_Z + h, sine)
        for j in range(1, n_sets):
            own, own_tr = j * N_ROWS * LANES + h, (j * n_tr + i_tr) * LANES + h
            turned = load(rate, at) if j == b1_set else fill(0)
            d_cos, d_sin = -(turned * sine), turned * cosine
            d1, d2 = load(e1, own_tr), sign * load(e2, own_tr)
            store(rows, own + U, d2 * change + half * f2 * d_cos)
            store(rows, own + Z, d2 * sine + f2 * d_sin)
            store(rows, own + ZZ, d1 * cosine + f1 * d_cos)
            store(rows, own + ZU, -(half * (d1 * sine + f1 * d_sin)))
            store(rows, own + DECAY, d2)
            store(rows, own + RECOVERY, -d1)
            store(rows, own + ECHO_U, half * d_cos)
            store(rows, own + ECHO_Z, d_sin)


@njit(cache=True, nogil=True)
def _pulse(n_lanes, n_active, rows, states, at_plus, at_minus, at_z):
    """Rotate and relax the orders 0 ... n_active - 1 of the signal's set, in place."""
    for h in range(0, n_lanes, WIDTH):
        row_u, row_z, row_zz = load(rows, U + h), load(rows, Z + h), load(rows, ZZ + h)
        row_zu, decay = load(rows, ZU + h), load(rows, DECAY + h)
        for order in range(h, n_active * LANES + h, LANES):
            f_plus, f_minus = load(states, at_plus + order), load(states, at_minus + order)
            f_z = load(states, at_z + order)
            u = f_plus + f_minus
            change = row_u * u + row_z * f_z
            store(states, at_plus + order, decay * f_plus + change)
            store(states, at_minus + order, decay * f_minus + change)
            store(states, at_z + order, row_zz * f_z + row_zu * u)


@njit(cache=True, nogil=True)
def _pulse_derivative(n_lanes, n_active, rows, own, states, base, at_plus, at_minus, at_z):
    """Do the same to a set of derivatives; the states of set 0 are still those before the pulse.

    own, base : where the rows and the states of the set begin.
    """
    for h in range(0, n_lanes, WIDTH):
        row_u, row_z, row_zz = load(rows, U + h), load(rows, Z + h), load(rows, ZZ + h)
        row_zu, decay = load(rows, ZU + h), load(rows, DECAY + h)
        own_u, own_z = load(rows, own + U + h), load(rows, own + Z + h)
        own_zz, own_zu = load(rows, own + ZZ + h), load(rows, own + ZU + h)
        own_decay = load(rows, own + DECAY + h)
        for order in range(h, n_active * LANES + h, LANES):
            f_plus, f_minus = load(states, at_plus + order), load(states, at_minus + order)
            f_z = load(states, at_z + order)
            i, j, m = base + at_plus + order, base + at_minus + order, base + at_z + order
            g_plus, g_minus, g_z = load(states, i), load(states, j), load(states, m)
            u, v = f_plus + f_minus, g_plus + g_minus
            change = row_u * v + row_z * g_z + own_u * u + own_z * f_z
            store(states, i, decay * g_plus + own_decay * f_plus + change)
            store(states, j, decay * g_minus + own_decay * f_minus + change)
            store(states, m, row_zz * g_z + row_zu * v + own_zz * f_z + own_zu * u)


@njit(cache=True, nogil=True)
def _echoes(n_lanes, n, i_te, n_te, n_sets, n_pulses, rows, states, window, at_plus, at_minus, decay, out):
    """Write the echoes of all sets at pulse n with TE number i_te of n_te."""
    at_z = 2 * window
    for h in range(0, n_lanes, WIDTH):
        f_plus, f_z = load(states, at_plus + h), load(states, at_z + h)
        u = f_plus + load(states, at_minus + h)
        echo_u, echo_z = load(rows, ECHO_U + h), load(rows, ECHO_Z + h)
        transverse = f_plus + echo_u * u + echo_z * f_z
        relaxed = load(decay, i_te * LANES + h)
        store(out, n * LANES + h, relaxed * transverse)
        for j in range(1, n_sets):
            base, own = 3 * j * window + h, j * N_ROWS * LANES + h
            g_plus, g_z = load(states, base + at_plus), load(states, base + at_z)
            v = g_plus + load(states, base + at_minus)
            derivative = g_plus + echo_u * v + echo_z * g_z
            derivative += load(rows, own + ECHO_U) * u + load(rows, own + ECHO_Z) * f_z
            own_decay = load(decay, (j * n_te + i_te) * LANES + h)
            echo = relaxed * derivative + own_decay * transverse
            store(out, (j * n_pulses + n) * LANES + h, echo)


@njit(cache=True, nogil=True)
def advance(n_lanes, n_active, rows, n_sets, dephase, offset, n_states, states, diffuses, diffusion):
    """Apply pulse, relaxation and dephasing to all sets, and return the new window offset.

    diffuses : whether there is diffusion; diffusion : rows of `diffusion.attenuate`.
    """
    window = (n_states + SLACK) * LANES
    at_plus, at_minus, at_z = (SLACK - offset) * LANES, window + offset * LANES, 2 * window
    for j in range(1, n_sets):
        own, base = j * N_ROWS * LANES, 3 * j * window
        _pulse_derivative(n_lanes, n_active, rows, own, states, base, at_plus, at_minus, at_z)
    _pulse(n_lanes, n_active, rows, states, at_plus, at_minus, at_z)
    if diffuses:
        for j in range(n_sets):
            attenuate(
                n_lanes, n_active, diffusion, 1, window, at_plus, at_minus, view(states, 3 * j * window)
            )
    if dephase:
        offset += 1
        if offset == SLACK:
            for j in range(n_sets):
                base = 3 * j * window
                rewind_plus(states, base, n_states)
                rewind_minus(states, base + window, n_states)
            offset = 0
    at_plus, at_minus = (SLACK - offset) * LANES, window + offset * LANES
    for j in range(n_sets):
        base, recovery = 3 * j * window, j * N_ROWS * LANES + RECOVERY
        for h in range(0, n_lanes, WIDTH):
            i = base + at_z + h
            store(states, i, load(states, i) + load(rows, recovery + h))
            store(states, base + at_plus + h, load(states, base + at_minus + h))
    return offset


@njit(cache=True, nogil=True)
def spread(table, i_b1, n_pulses, out):
    """Write table[i_b1[lane], n] to out[n x LANES + lane]."""
    for lane in range(uint64(LANES)):
        row = table[i_b1[lane]]
        for n in range(uint64(n_pulses)):
            out[n * uint64(LANES) + lane] = row[n]


@njit(cache=True, nogil=True)
def start(states, z_start, n_sets, window):
    """Empty the states but for Mz before the first pulse; z_start : flat, (n_sets, LANES)."""
    clear(states, 0, n_sets * 3 * window)
    for j in range(n_sets):
        copy(z_start, j * LANES, states, (3 * j + 2) * window, LANES)


@njit(cache=True, nogil=True)
def simulate(
    cos,
    sin,
    i_b1,
    rate,
    b1_set,
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
    atoms,
    out,
):
    """Signals and derivatives of blocks of LANES atoms.

    cos, sin : (n_b1, n_pulses) of flip angle x B1; i_b1 : (n_blocks, LANES) which
    rate : (n_b1, n_pulses) their derivative by B1; b1_set : the set of this derivative, or -1 (no `rate`)
    turn : (n_pulses,) +1 or -1, the phase step to the next pulse; dephase : (n_pulses,) 0 or 1 spoilers
    e1, e2 : (n_blocks, n_sets, n_tr, LANES) relaxation over each distinct TR and its derivatives
    e2_echo : (n_blocks, n_sets, n_te, LANES) the same over each distinct TE; i_tr, i_te : (n_pulses,) which
    diffusion : (n_blocks, n_kinds, 5, LANES) rows of `diffusion.attenuate` for each kind of TR, or none;
    i_kind : (n_pulses,) which
    z_start : (n_blocks, n_sets, LANES) Mz before the first pulse; n_states : orders kept
    out : (n_sets, all atoms, n_pulses) complex64, written at `atoms`; its real part holds the echoes
    """
    n_sets, _, n_pulses = out.shape
    n_blocks, n_tr, n_te = i_b1.shape[0], e1.shape[2], e2_echo.shape[2]
    window = (n_states + SLACK) * LANES
    own_states, own_rows = zeros(n_sets * 3 * window), zeros(n_sets * N_ROWS * LANES)
    own_echoes, own_rate = zeros(n_sets * n_pulses * LANES), zeros(n_pulses * LANES)
    own_cos, own_sin = zeros(n_pulses * LANES), zeros(n_pulses * LANES)
    states, rows, echoes = view(own_states, 0), view(own_rows, 0), view(own_echoes, 0)
    b_cos, b_sin, b_rate = view(own_cos, 0), view(own_sin, 0), view(own_rate, 0)
    # a few atoms alone leave the other vectors empty
    n_lanes = min(LANES, (atoms.size + WIDTH - 1) // WIDTH * WIDTH)
    diffuses = diffusion.size > 0
    settings = denormals_to_zero()
    for block in range(n_blocks):
        spread(cos, i_b1[block], n_pulses, own_cos)
        spread(sin, i_b1[block], n_pulses, own_sin)
        if b1_set > 0:
            spread(rate, i_b1[block], n_pulses, own_rate)
        b_e1, b_e2 = (
            view(e1, block * n_sets * n_tr * LANES),
            view(e2, block * n_sets * n_tr * LANES),
        )
        b_decay = view(e2_echo, block * n_sets * n_te * LANES)
        b_diffusion = view(diffusion, block * diffusion.shape[1] * N_DIFFUSION_ROWS * LANES)
        start(states, view(z_start, block * n_sets * LANES), n_sets, window)
        offset = 0
        for n in range(n_pulses):
            at_plus, at_minus = (SLACK - offset) * LANES, window + offset * LANES
            prepare(
                n_lanes, n, i_tr[n], n_tr, n_sets, b_cos, b_sin, b_rate, b1_set, turn[n], b_e1, b_e2, rows
            )
            _echoes(
                n_lanes,
                n,
                i_te[n],
                n_te,
                n_sets,
                n_pulses,
                rows,
                states,
                window,
                at_plus,
                at_minus,
                b_decay,
                echoes,
            )
            # orders above n are still empty; orders from n_pulses - n on cannot come back in time
            n_active = min(n_states, n + 1, n_pulses - n)
            own = view(b_diffusion, i_kind[n] * N_DIFFUSION_ROWS * LANES)
            offset = advance(
                n_lanes, n_active, rows, n_sets, dephase[n], offset, n_states, states, diffuses, own
            )
        for lane in range(min(LANES, atoms.size - block * LANES)):
            atom = atoms[block * LANES + lane]
            for j in range(n_sets):
                for n in range(n_pulses):
                    out[j, atom, n] = echoes[(j * n_pulses + n) * LANES + lane]
    restore_denormals(settings)
    for array in (own_states, own_rows, own_echoes, own_cos, own_sin, own_rate):
        hold(array)
