"""Adjoint of `instantaneous.simulate`: from cotangents of signals and derivatives to those of its inputs."""

from numba import njit

from epgbloch.kernels.complex_adjoint import fold_adjoint, keep, restore, retreat, transverse_adjoint, unwind
from epgbloch.kernels.complex_states import (
    SIZE,
    XX,
    XZ,
    ZX,
    ZZ,
    advance,
    fold,
    start,
    transverse,
    window_size,
    zero_states,
)
from epgbloch.kernels.instantaneous import rotate, set_factors
from epgbloch.kernels.lanes import (
    WIDTH,
    denormals_to_zero,
    fill,
    hold,
    load,
    restore_denormals,
    store,
    view,
)
from epgbloch.kernels.layout import LANES, SLACK
from epgbloch.kernels.real_states import spread
from epgbloch.kernels.windows import clear, copy, zeros


@njit(cache=True, nogil=True)
def _echo_adjoint(
    n, n_pulses, i_te, n_te, n_sets, n_states, operator, past, before, decay, echo_bar, work, to
):
    """Adjoint of the echoes of all sets; to : (adjoint states, bar), added to, and decay_bar, written."""
    re, im = work
    adjoint, bar, decay_bar = to
    size = n_states * LANES
    # the states before the pulse lie as in a window of n_states orders at offset 0
    transverse(operator, n_sets, size, 0, 2 * size, past, re, im)
    for h in range(0, LANES, WIDTH):
        first = 2 * i_te * LANES + h
        d_re, d_im = load(decay, first), load(decay, first + LANES)
        first_re, first_im = load(re, h), load(im, h)
        d_re_bar, d_im_bar, t_re_bar, t_im_bar = fill(0), fill(0), fill(0), fill(0)
        for j in range(n_sets):
            at = 2 * (j * n_pulses + n) * LANES + h
            e_re, e_im = load(echo_bar, at), load(echo_bar, at + LANES)
            t_re, t_im = load(re, j * LANES + h), load(im, j * LANES + h)
            d_re_bar += e_re * t_re + e_im * t_im
            d_im_bar += e_im * t_re - e_re * t_im
            if j == 0:
                t_re_bar, t_im_bar = d_re * e_re + d_im * e_im, d_re * e_im - d_im * e_re
                continue
            store(decay_bar, at, e_re * first_re + e_im * first_im)
            store(decay_bar, at + LANES, e_im * first_re - e_re * first_im)
            own = 2 * (j * n_te + i_te) * LANES + h
            c_re, c_im = load(decay, own), load(decay, own + LANES)
            t_re_bar += c_re * e_re + c_im * e_im
            t_im_bar += c_re * e_im - c_im * e_re
            store(re, j * LANES + h, d_re * e_re + d_im * e_im)
            store(im, j * LANES + h, d_re * e_im - d_im * e_re)
        store(re, h, t_re_bar)
        store(im, h, t_im_bar)
        store(decay_bar, 2 * n * LANES + h, d_re_bar)
        store(decay_bar, (2 * n + 1) * LANES + h, d_im_bar)
    transverse_adjoint(operator, n_sets, n_states, past, before, re, im, adjoint, bar)


@njit(cache=True, nogil=True)
def _factors_adjoint(n, n_pulses, i_tr, n_tr, n_sets, turn, e2, factors_bar, to):
    """Adjoint of `instantaneous.set_factors`; to : (turn_bar, e1_bar, e2_bar), written."""
    turn_bar, e1_bar, e2_bar = to
    c, s = fill(turn.real), fill(turn.imag)
    for h in range(0, LANES, WIDTH):
        turn_re, turn_im = fill(0), fill(0)
        for j in range(n_sets):
            own, at, bar = 2 * (j * n_tr + i_tr) * LANES + h, (j * n_pulses + n) * LANES, 3 * j * LANES + h
            re, im = load(e2, own), load(e2, own + LANES)
            u, v = load(factors_bar, bar + LANES), load(factors_bar, bar + 2 * LANES)
            store(e1_bar, at + h, load(factors_bar, bar))
            store(e2_bar, 2 * at + h, c * u + s * v)
            store(e2_bar, 2 * at + LANES + h, c * v - s * u)
            turn_re += u * re + v * im
            turn_im += v * re - u * im
        store(turn_bar, 2 * n * LANES + h, turn_re)
        store(turn_bar, (2 * n + 1) * LANES + h, turn_im)


@njit(cache=True, nogil=True)
def _angle_adjoint(n, cos, sin, rate, b1_set, bar, angle_bar, rate_bar):
    """Adjoint of `instantaneous.rotate`; angle_bar and rate_bar are written."""
    half = fill(0.5)
    for h in range(0, LANES, WIDTH):
        at = n * LANES + h
        cosine, sine = load(cos, at), load(sin, at)
        cos_bar = half * load(bar, XX + h) + load(bar, ZZ + h)
        sin_bar = load(bar, XZ + h) - half * load(bar, ZX + h)
        if b1_set > 0:
            own, turned = b1_set * SIZE + h, load(rate, at)
            d_cos_bar = half * load(bar, own + XX) + load(bar, own + ZZ)
            d_sin_bar = load(bar, own + XZ) - half * load(bar, own + ZX)
            store(rate_bar, at, cosine * d_sin_bar - sine * d_cos_bar)
            cos_bar += turned * d_sin_bar
            sin_bar -= turned * d_cos_bar
        store(angle_bar, at, cosine * sin_bar - sine * cos_bar)


@njit(cache=True, nogil=True)
def adjoint(
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
    echo_bar,
    angle_bar,
    rate_bar,
    turn_bar,
    e1_bar,
    e2_bar,
    decay_bar,
    z_start_bar,
):
    """Cotangents of the inputs of `instantaneous.simulate` from those of its output.

    echo_bar : (n_blocks, n_sets, n_pulses, 2, LANES) cotangents of the output, real and imaginary parts
    Written: angle_bar (n_blocks, n_pulses, LANES) of flip angle x B1; rate_bar, the same, of the rate;
    turn_bar (n_blocks, n_pulses, 2, LANES); e1_bar (n_blocks, n_sets, n_pulses, LANES), e2_bar and decay_bar
    (n_blocks, n_sets, n_pulses, 2, LANES) of the factors used at each pulse; z_start_bar (n_blocks, n_sets,
    LANES)
    """
    n_blocks, n_sets, n_pulses, _, _ = echo_bar.shape
    n_tr, n_te, window, size = e1.shape[2], e2_echo.shape[2], window_size(n_states), n_states * LANES
    n_segments = (n_pulses + SLACK - 1) // SLACK
    own_states, own_adjoint = zero_states(n_sets, n_states), zero_states(n_sets, n_states)
    own_product = zero_states(1, n_states)
    own_kept, own_past = zeros(n_segments * n_sets * 6 * size), zeros(SLACK * n_sets * 6 * size)
    own_operator, own_folded, own_bar = zeros(n_sets * SIZE), zeros(n_sets * SIZE), zeros(n_sets * SIZE)
    own_transposed, own_re, own_im = zeros(n_sets * SIZE), zeros(n_sets * LANES), zeros(n_sets * LANES)
    own_factors, own_factors_bar = zeros(n_sets * 3 * LANES), zeros(n_sets * 3 * LANES)
    own_cos, own_sin, own_rate = zeros(n_pulses * LANES), zeros(n_pulses * LANES), zeros(n_pulses * LANES)
    states, states_bar, product = view(own_states, 0), view(own_adjoint, 0), view(own_product, 0)
    kept, past, operator, folded = (
        view(own_kept, 0),
        view(own_past, 0),
        view(own_operator, 0),
        view(own_folded, 0),
    )
    bar, transposed, re, im = view(own_bar, 0), view(own_transposed, 0), view(own_re, 0), view(own_im, 0)
    factors, factors_bar = view(own_factors, 0), view(own_factors_bar, 0)
    b_cos, b_sin, b_rate = view(own_cos, 0), view(own_sin, 0), view(own_rate, 0)
    settings = denormals_to_zero()
    for block in range(n_blocks):
        spread(cos, i_b1[block], n_pulses, own_cos)
        spread(sin, i_b1[block], n_pulses, own_sin)
        if b1_set > 0:
            spread(rate, i_b1[block], n_pulses, own_rate)
        at, at_tr = block * n_sets * n_pulses * LANES, block * n_sets * n_tr * LANES
        b_e1, b_e2 = view(e1, at_tr), view(e2, 2 * at_tr)
        b_decay, b_echo_bar = (
            view(e2_echo, 2 * block * n_sets * n_te * LANES),
            view(echo_bar, 2 * at),
        )
        b_decay_bar, at_angle = view(decay_bar, 2 * at), block * n_pulses * LANES
        b_angle_bar, b_rate_bar = view(angle_bar, at_angle), view(rate_bar, at_angle)
        to = (view(turn_bar, 2 * at_angle), view(e1_bar, at), view(e2_bar, 2 * at))
        start(states, n_sets, n_states, view(z_start, block * n_sets * LANES), 1)
        offset = 0
        for n in range(n_pulses):
            if n % SLACK == 0:
                keep(states, offset, n_sets, n_states, n_states, kept, n // SLACK * n_sets * 6 * size)
            rotate(n, b_cos, b_sin, b_rate, b1_set, operator)
            set_factors(i_tr[n], n_tr, n_sets, turn[n], b_e1, b_e2, factors)
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
                    rotate(n, b_cos, b_sin, b_rate, b1_set, operator)
                    set_factors(i_tr[n], n_tr, n_sets, turn[n], b_e1, b_e2, factors)
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
                rotate(n, b_cos, b_sin, b_rate, b1_set, operator)
                set_factors(i_tr[n], n_tr, n_sets, turn[n], b_e1, b_e2, factors)
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
                _factors_adjoint(n, n_pulses, i_tr[n], n_tr, n_sets, turn[n], b_e2, factors_bar, to)
                _echo_adjoint(
                    n,
                    n_pulses,
                    i_te[n],
                    n_te,
                    n_sets,
                    n_states,
                    operator,
                    old,
                    offset,
                    b_decay,
                    b_echo_bar,
                    (re, im),
                    (states_bar, bar, b_decay_bar),
                )
                _angle_adjoint(n, b_cos, b_sin, b_rate, b1_set, bar, b_angle_bar, b_rate_bar)
        for j in range(n_sets):
            copy(states_bar, (6 * j + 4) * window, z_start_bar[block, j], 0, LANES)
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
    for array in (own_transposed, own_re, own_im, own_factors, own_factors_bar, own_cos, own_sin, own_rate):
        hold(array)
