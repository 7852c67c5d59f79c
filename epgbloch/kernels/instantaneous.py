"""Instantaneous pulses of any phase, with off-resonance; lanes are atoms."""

from numba import njit

from epgbloch.kernels.complex_states import (
    SIZE,
    XX,
    XZ,
    YY,
    ZX,
    ZZ,
    advance,
    fold,
    start,
    transverse,
    window_size,
    zero_states,
)
from epgbloch.kernels.diffusion import N_ROWS as N_DIFFUSION_ROWS
from epgbloch.kernels.lanes import WIDTH, denormals_to_zero, fill, hold, load, restore_denormals, store, view
from epgbloch.kernels.layout import LANES, SLACK
from epgbloch.kernels.real_states import spread
from epgbloch.kernels.windows import zeros


@njit(cache=True, nogil=True)
def rotate(n, cos, sin, rate, b1_set, operator):
    """Set the operators of a rotation about y, one flip angle per lane, and its derivative by B1.

    All other rows are zero and stay so.
    """
    half = fill(0.5)
    for h in range(0, LANES, WIDTH):
        cosine, sine = load(cos, n * LANES + h), load(sin, n * LANES + h)
        store(operator, XX + h, half * cosine)
        store(operator, XZ + h, sine)
        store(operator, YY + h, half)
        store(operator, ZX + h, -(half * sine))
        store(operator, ZZ + h, cosine)
        if b1_set > 0:
            own, turned = b1_set * SIZE + h, load(rate, n * LANES + h)
            store(operator, own + XX, -(half * turned * sine))
            store(operator, own + XZ, turned * cosine)
            store(operator, own + ZX, -(half * turned * cosine))
            store(operator, own + ZZ, -(turned * sine))


@njit(cache=True, nogil=True)
def set_factors(i_tr, n_tr, n_sets, turn, e1, e2, factors):
    """Set E1 and E2 x turn of all sets."""
    turn_re, turn_im = fill(turn.real), fill(turn.imag)
    for j in range(n_sets):
        at = (j * n_tr + i_tr) * LANES
        for h in range(0, LANES, WIDTH):
            re, im = load(e2, 2 * at + h), load(e2, 2 * at + LANES + h)
            store(factors, 3 * j * LANES + h, load(e1, at + h))
            store(factors, (3 * j + 1) * LANES + h, turn_re * re - turn_im * im)
            store(factors, (3 * j + 2) * LANES + h, turn_re * im + turn_im * re)


@njit(cache=True, nogil=True)
def _echoes(n, n_pulses, i_te, n_te, n_sets, decay, re, im, out):
    """Follow the transverse magnetisation of all sets by relaxation; out : flat, (n_sets, n_pulses, 2,
    LANES).
    """
    for h in range(0, LANES, WIDTH):
        for j in range(n_sets):
            at = 2 * i_te * LANES + h
            own_re, own_im = load(re, j * LANES + h), load(im, j * LANES + h)
            d_re, d_im = load(decay, at), load(decay, at + LANES)
            echo_re, echo_im = d_re * own_re - d_im * own_im, d_re * own_im + d_im * own_re
            if j > 0:
                at = 2 * (j * n_te + i_te) * LANES + h
                own_re, own_im = load(re, h), load(im, h)
                d_re, d_im = load(decay, at), load(decay, at + LANES)
                echo_re += d_re * own_re - d_im * own_im
                echo_im += d_re * own_im + d_im * own_re
            store(out, 2 * (j * n_pulses + n) * LANES + h, echo_re)
            store(out, (2 * (j * n_pulses + n) + 1) * LANES + h, echo_im)


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

    Arguments as in `real_states.simulate`, but turn : (n_pulses,) complex phase step to the next pulse;
    e2, e2_echo : (n_blocks, n_sets, n_times, 2, LANES), relaxation and precession, real and imaginary part.
    """
    n_sets, _, n_pulses = out.shape
    n_blocks, n_tr, n_te = i_b1.shape[0], e1.shape[2], e2_echo.shape[2]
    window = window_size(n_states)
    own_states, own_product = zero_states(n_sets, n_states), zero_states(1, n_states)
    own_operator, own_folded, own_factors = (
        zeros(n_sets * SIZE),
        zeros(n_sets * SIZE),
        zeros(n_sets * 3 * LANES),
    )
    own_re, own_im, own_echoes = (
        zeros(n_sets * LANES),
        zeros(n_sets * LANES),
        zeros(n_sets * n_pulses * 2 * LANES),
    )
    own_cos, own_sin, own_rate = zeros(n_pulses * LANES), zeros(n_pulses * LANES), zeros(n_pulses * LANES)
    states, product, operator = view(own_states, 0), view(own_product, 0), view(own_operator, 0)
    folded, factors, echoes = view(own_folded, 0), view(own_factors, 0), view(own_echoes, 0)
    re, im, b_cos, b_sin = view(own_re, 0), view(own_im, 0), view(own_cos, 0), view(own_sin, 0)
    b_rate = view(own_rate, 0)
    diffuses = diffusion.size > 0
    settings = denormals_to_zero()
    for block in range(n_blocks):
        spread(cos, i_b1[block], n_pulses, own_cos)
        spread(sin, i_b1[block], n_pulses, own_sin)
        if b1_set > 0:
            spread(rate, i_b1[block], n_pulses, own_rate)
        b_e1, b_e2 = (
            view(e1, block * n_sets * n_tr * LANES),
            view(e2, 2 * block * n_sets * n_tr * LANES),
        )
        b_decay = view(e2_echo, 2 * block * n_sets * n_te * LANES)
        b_diffusion = view(diffusion, block * diffusion.shape[1] * N_DIFFUSION_ROWS * LANES)
        start(states, n_sets, n_states, view(z_start, block * n_sets * LANES), 1)
        offset = 0
        for n in range(n_pulses):
            at_plus, at_minus = (SLACK - offset) * LANES, 2 * window + offset * LANES
            rotate(n, b_cos, b_sin, b_rate, b1_set, operator)
            transverse(operator, n_sets, window, at_plus, at_minus, states, re, im)
            _echoes(n, n_pulses, i_te[n], n_te, n_sets, b_decay, re, im, echoes)
            set_factors(i_tr[n], n_tr, n_sets, turn[n], b_e1, b_e2, factors)
            fold(operator, factors, n_sets, folded)
            n_active = min(n_states, n + 1, n_pulses - n)
            own = view(b_diffusion, i_kind[n] * N_DIFFUSION_ROWS * LANES)
            offset = advance(
                folded, n_active, n_sets, dephase[n], offset, n_states, states, product, diffuses, own
            )
        for lane in range(min(LANES, atoms.size - block * LANES)):
            atom = atoms[block * LANES + lane]
            for j in range(n_sets):
                for n in range(n_pulses):
                    at = 2 * (j * n_pulses + n) * LANES + lane
                    out[j, atom, n] = complex(echoes[at], echoes[at + LANES])
    restore_denormals(settings)
    for array in (own_states, own_product, own_operator, own_folded, own_factors, own_re, own_im, own_echoes):
        hold(array)
    for array in (own_cos, own_sin, own_rate):
        hold(array)
