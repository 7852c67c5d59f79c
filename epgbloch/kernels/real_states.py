"""Instantaneous pulses with phases 0 and pi, on resonance: all states are real, lanes are atoms.

Derivatives by tissue parameters are further sets of states next to the signal's own set 0. With the map of
one repetition S' = A S + r, set j follows dS' = A dS + (dA S + dr).
"""

import numpy as np
from numba import njit, uint64

from epgbloch.kernels.layout import LANES, SLACK
from epgbloch.kernels.windows import flush, rewind_minus, rewind_plus

# Rows of coefficients, one value per lane. Set 0: the change of F+ and F- by u and Z, the factors of Z and u
# in Z', the factor of F+ and F-, and the recovery. Other sets: the derivatives of their products.
N_COEFFICIENTS = 6


@njit(cache=True, nogil=True, fastmath={"contract"})
def _pulse(n_active, coefficients, plus, minus, z, at_plus, at_minus):
    """Rotation about y and relaxation of the orders 0 ... n_active - 1, in place.

    With u = F+ + F-, twice the x component, the rotation adds the same (cos - 1) u / 2 + sin Z to F+ and
    to F-, and Z becomes cos Z - sin u / 2.
    """
    for k in range(uint64(n_active)):
        order = k * uint64(LANES)
        for lane in range(uint64(LANES)):
            i, j, m = at_plus + order + lane, at_minus + order + lane, order + lane
            f_plus, f_minus, f_z = plus[i], minus[j], z[m]
            u = f_plus + f_minus
            change = coefficients[lane] * u + coefficients[LANES + lane] * f_z
            plus[i] = coefficients[4 * LANES + lane] * (f_plus + change)
            minus[j] = coefficients[4 * LANES + lane] * (f_minus + change)
            z[m] = coefficients[2 * LANES + lane] * f_z + coefficients[3 * LANES + lane] * u


@njit(cache=True, nogil=True, fastmath={"contract"})
def _pulse_derivative(n_active, coefficients, own, plus, minus, z, at_plus, at_minus, window, orders):
    """Do the same to a set of derivatives; the states of set 0 are still those before the pulse.

    own, window, orders : where the coefficients, the windows and the orders of Z of the set begin.
    """
    for k in range(uint64(n_active)):
        order = k * uint64(LANES)
        for lane in range(uint64(LANES)):
            i, j, m = at_plus + order + lane, at_minus + order + lane, order + lane
            f_plus, f_minus, f_z = plus[i], minus[j], z[m]
            g_plus, g_minus, g_z = plus[window + i], minus[window + j], z[orders + m]
            u, v = f_plus + f_minus, g_plus + g_minus
            change_u, change_z = coefficients[lane], coefficients[LANES + lane]
            change = change_u * u + change_z * f_z
            e2, own_e2 = coefficients[4 * LANES + lane], coefficients[own + uint64(4 * LANES) + lane]
            source = e2 * (change_u * v + change_z * g_z) + own_e2 * change
            source += coefficients[own + lane] * u + coefficients[own + uint64(LANES) + lane] * f_z
            plus[window + i] = e2 * g_plus + own_e2 * f_plus + source
            minus[window + j] = e2 * g_minus + own_e2 * f_minus + source
            longitudinal = coefficients[2 * LANES + lane] * g_z + coefficients[3 * LANES + lane] * v
            longitudinal += coefficients[own + uint64(2 * LANES) + lane] * f_z
            z[orders + m] = longitudinal + coefficients[own + uint64(3 * LANES) + lane] * u


@njit(cache=True, nogil=True, fastmath={"contract"})
def prepare(n, i_tr, n_tr, cos, sin, rates, turn, e1, e2, coefficients):
    """Set the coefficients of all sets for pulse n, with TR number i_tr of n_tr; flat arrays of a block."""
    n_sets = rates.shape[0]
    at, at_tr = uint64(n * LANES), uint64(i_tr * LANES)
    for lane in range(uint64(LANES)):
        cosine, sine = cos[at + lane], sin[at + lane]
        f1 = e1[at_tr + lane]
        coefficients[lane] = np.float32(0.5) * (cosine - np.float32(1))
        coefficients[LANES + lane] = sine
        coefficients[2 * LANES + lane] = f1 * cosine
        coefficients[3 * LANES + lane] = np.float32(-0.5) * f1 * sine
        coefficients[4 * LANES + lane] = turn * e2[at_tr + lane]
        coefficients[5 * LANES + lane] = np.float32(1) - f1
    for j in range(1, n_sets):
        own, own_tr = uint64(j * N_COEFFICIENTS * LANES), uint64((j * n_tr + i_tr) * LANES)
        rate = rates[j, n]
        for lane in range(uint64(LANES)):
            cosine, sine = cos[at + lane], sin[at + lane]
            d_cos, d_sin = -rate * sine, rate * cosine
            f1, f2, d_e1 = e1[at_tr + lane], turn * e2[at_tr + lane], e1[own_tr + lane]
            coefficients[own + lane] = np.float32(0.5) * f2 * d_cos
            coefficients[own + uint64(LANES) + lane] = f2 * d_sin
            coefficients[own + uint64(2 * LANES) + lane] = d_e1 * cosine + f1 * d_cos
            coefficients[own + uint64(3 * LANES) + lane] = np.float32(-0.5) * (d_e1 * sine + f1 * d_sin)
            coefficients[own + uint64(4 * LANES) + lane] = turn * e2[own_tr + lane]
            coefficients[own + uint64(5 * LANES) + lane] = -d_e1


@njit(cache=True, nogil=True, fastmath={"contract"})
def _echoes(
    n, n_pulses, i_te, n_te, cos, sin, rates, coefficients, plus, minus, z, at_plus, at_minus, decay, out
):
    """Write the echoes of all sets at pulse n with the TE number i_te of n_te; flat arrays of one block."""
    n_sets = rates.shape[0]
    window, orders = plus.size // n_sets, z.size // n_sets
    at, at_te = uint64(n * LANES), uint64(i_te * LANES)
    for lane in range(uint64(LANES)):
        i, j = at_plus + lane, at_minus + lane
        u = plus[i] + minus[j]
        transverse = plus[i] + coefficients[lane] * u + coefficients[LANES + lane] * z[lane]
        out[at + lane] = decay[at_te + lane] * transverse
    for i_set in range(1, n_sets):
        own, own_z = uint64(i_set * window), uint64(i_set * orders)
        own_te, own_out = uint64((i_set * n_te + i_te) * LANES), uint64((i_set * n_pulses + n) * LANES)
        rate = rates[i_set, n]
        for lane in range(uint64(LANES)):
            i, j = at_plus + lane, at_minus + lane
            u, v = plus[i] + minus[j], plus[own + i] + minus[own + j]
            change_u, change_z = coefficients[lane], coefficients[LANES + lane]
            transverse = plus[i] + change_u * u + change_z * z[lane]
            derivative = plus[own + i] + change_u * v + change_z * z[own_z + lane]
            derivative += rate * (np.float32(-0.5) * sin[at + lane] * u + cos[at + lane] * z[lane])
            out[own_out + lane] = decay[at_te + lane] * derivative + decay[own_te + lane] * transverse


@njit(cache=True, nogil=True)
def advance(n_active, coefficients, n_sets, dephase, offset, n_states, plus, minus, z):
    """Apply pulse, relaxation and dephasing to all sets, and return the new window offset."""
    at_plus, at_minus = uint64((SLACK - offset) * LANES), uint64(offset * LANES)
    window, orders = plus.size // n_sets, z.size // n_sets
    for j in range(1, n_sets):
        own = uint64(j * N_COEFFICIENTS * LANES)
        _pulse_derivative(
            n_active,
            coefficients,
            own,
            plus,
            minus,
            z,
            at_plus,
            at_minus,
            uint64(j * window),
            uint64(j * orders),
        )
    _pulse(n_active, coefficients, plus, minus, z, at_plus, at_minus)
    if dephase:
        offset += 1
        if offset == SLACK:
            for j in range(n_sets):
                rewind_plus(plus[j * window : (j + 1) * window], n_states)
                rewind_minus(minus[j * window : (j + 1) * window], n_states)
                flush(z[j * orders : (j + 1) * orders], n_states)
            offset = 0
    for j in range(n_sets):
        copy = uint64(j * window + (SLACK - offset) * LANES)
        source = uint64(j * window + offset * LANES)
        own, recovery = uint64(j * orders), uint64((j * N_COEFFICIENTS + 5) * LANES)
        for lane in range(uint64(LANES)):
            z[own + lane] += coefficients[recovery + lane]
            plus[copy + lane] = minus[source + lane]
    return offset


@njit(cache=True, nogil=True)
def simulate(cos, sin, rates, turn, dephase, e1, e2, e2_echo, i_tr, i_te, z_start, n_states, out):
    """Signals and derivatives of blocks of LANES atoms.

    cos, sin : (n_blocks, n_pulses, LANES) of flip angle x B1
    rates : (n_sets, n_pulses) derivative of the flip angle by the parameter of the set; row 0 is not used
    turn : (n_pulses,) +1 or -1, the phase step to the next pulse; dephase : spoiling or balanced
    e1, e2 : (n_blocks, n_sets, n_tr, LANES) relaxation over each distinct TR and its derivatives
    e2_echo : (n_blocks, n_sets, n_te, LANES) the same over each distinct TE; i_tr, i_te : (n_pulses,) which
    z_start : (n_blocks, n_sets, LANES) Mz before the first pulse; n_states : orders kept
    out : (n_blocks, n_sets, n_pulses, LANES) float32, written
    """
    n_blocks, n_sets, n_pulses, _ = out.shape
    n_tr, n_te = e1.shape[2], e2_echo.shape[2]
    plus = np.zeros(n_sets * (n_states + SLACK) * LANES, np.float32)
    minus = np.zeros(n_sets * (n_states + SLACK) * LANES, np.float32)
    z = np.zeros(n_sets * n_states * LANES, np.float32)
    coefficients = np.zeros(n_sets * N_COEFFICIENTS * LANES, np.float32)
    for block in range(n_blocks):
        b_cos, b_sin, b_out = cos[block].ravel(), sin[block].ravel(), out[block].ravel()
        b_e1, b_e2, b_echo = e1[block].ravel(), e2[block].ravel(), e2_echo[block].ravel()
        plus[:], minus[:], z[:] = 0, 0, 0
        for j in range(n_sets):
            for lane in range(LANES):
                z[j * n_states * LANES + lane] = z_start[block, j, lane]
        offset = 0
        for n in range(n_pulses):
            at_plus, at_minus = uint64((SLACK - offset) * LANES), uint64(offset * LANES)
            prepare(n, i_tr[n], n_tr, b_cos, b_sin, rates, turn[n], b_e1, b_e2, coefficients)
            _echoes(
                n,
                n_pulses,
                i_te[n],
                n_te,
                b_cos,
                b_sin,
                rates,
                coefficients,
                plus,
                minus,
                z,
                at_plus,
                at_minus,
                b_echo,
                b_out,
            )
            # orders above n are still empty; orders from n_pulses - n on cannot come back in time
            n_active = min(n_states, n + 1, n_pulses - n)
            offset = advance(n_active, coefficients, n_sets, dephase, offset, n_states, plus, minus, z)
