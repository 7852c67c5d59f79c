"""Adjoint of `real_states.simulate`: from cotangents of its signals and derivatives to those of its inputs.

The states of every SLACK-th repetition are kept; between these they are computed again. Adjoint states live
in the same windows as the states, so that dephasing moves nothing here either: going backwards, the windows
move the other way, and after every SLACK repetitions they are copied back.

With the map of one repetition S_0' = A_0 S_0 + r_0, S_j' = A_0 S_j + A_j S_0 + r_j and adjoints L, the step
is L_j = A_0^T L_j', L_0 = A_0^T L_0' + sum_j A_j^T L_j'; A_0 gathers sum_j L_j' S_j^T, and A_j L_j' S_0^T.
"""

from numba import njit

from epgbloch.kernels.lanes import (
    WIDTH,
    add,
    denormals_to_zero,
    fill,
    hold,
    load,
    restore_denormals,
    store,
    view,
)
from epgbloch.kernels.layout import LANES, SLACK
from epgbloch.kernels.real_states import (
    DECAY,
    ECHO_U,
    ECHO_Z,
    N_ROWS,
    RECOVERY,
    ZU,
    ZZ,
    U,
    Z,
    advance,
    prepare,
    spread,
    start,
)
from epgbloch.kernels.windows import clear, copy, copy_rows, unwind_minus, unwind_plus, zeros


@njit(cache=True, nogil=True)
def _gather(n_lanes, n_active, size, past, i_state, adjoint, at_plus, at_minus, at_z, bar):
    """Add the cotangents of rows that took the states number i_state to those with the given adjoint."""
    first = 3 * i_state * size
    for h in range(0, n_lanes, WIDTH):
        bar_u, bar_z, bar_zz, bar_zu = (
            load(bar, U + h),
            load(bar, Z + h),
            load(bar, ZZ + h),
            load(bar, ZU + h),
        )
        bar_decay, bar_decay_minus = load(bar, DECAY + h), fill(0)  # two sums: the next need not wait
        for k in range(n_active):
            order, i = k * LANES + h, first + k * n_lanes + h
            f_plus, f_minus, f_z = load(past, i), load(past, i + size), load(past, i + 2 * size)
            l_plus, l_minus = load(adjoint, at_plus + order), load(adjoint, at_minus + order)
            l_z = load(adjoint, at_z + order)
            u, both = f_plus + f_minus, l_plus + l_minus
            bar_u += both * u
            bar_z += both * f_z
            bar_zz += l_z * f_z
            bar_zu += l_z * u
            bar_decay += l_plus * f_plus
            bar_decay_minus += l_minus * f_minus
        store(bar, U + h, bar_u)
        store(bar, Z + h, bar_z)
        store(bar, ZZ + h, bar_zz)
        store(bar, ZU + h, bar_zu)
        store(bar, DECAY + h, bar_decay + bar_decay_minus)


@njit(cache=True, nogil=True)
def _transpose(n_lanes, n_active, rows, adjoint, base, to, at_plus, at_minus, at_z):
    """Apply the transposed rows to the adjoint states at `base`.

    The result replaces the states at `to`, or is added to them if `to` lies before `base`.
    """
    for h in range(0, n_lanes, WIDTH):
        row_u, row_z, row_zz = load(rows, U + h), load(rows, Z + h), load(rows, ZZ + h)
        row_zu, decay = load(rows, ZU + h), load(rows, DECAY + h)
        for order in range(h, n_active * LANES + h, LANES):
            i, j, m = at_plus + order, at_minus + order, at_z + order
            l_plus, l_minus, l_z = load(adjoint, base + i), load(adjoint, base + j), load(adjoint, base + m)
            both = l_plus + l_minus
            common = row_u * both + row_zu * l_z
            f_plus, f_minus, f_z = (
                decay * l_plus + common,
                decay * l_minus + common,
                row_z * both + row_zz * l_z,
            )
            if to < base:
                f_plus += load(adjoint, to + i)
                f_minus += load(adjoint, to + j)
                f_z += load(adjoint, to + m)
            store(adjoint, to + i, f_plus)
            store(adjoint, to + j, f_minus)
            store(adjoint, to + m, f_z)


@njit(cache=True, nogil=True)
def _retreat(n_lanes, n_active, rows, n_sets, before, after, n_states, past, adjoint, bar):
    """Adjoint of `real_states.advance`.

    before, after : window offsets; bar : cotangents of the rows, written.
    """
    size, window = n_states * n_lanes, (n_states + SLACK) * LANES
    clear(bar, 0, n_sets * N_ROWS * LANES)
    for j in range(n_sets):
        base = 3 * j * window
        for h in range(0, n_lanes, WIDTH):
            # order 0 of F+ is a copy of order 0 of F-
            plus, minus = base + (SLACK - after) * LANES + h, base + window + after * LANES + h
            store(adjoint, minus, load(adjoint, minus) + load(adjoint, plus))
            store(adjoint, plus, fill(0))
            store(bar, j * N_ROWS * LANES + RECOVERY + h, load(adjoint, base + 2 * window + h))
    at_plus, at_minus, at_z = (SLACK - before) * LANES, window + before * LANES, 2 * window
    for j in range(n_sets):
        own, base = j * N_ROWS * LANES, 3 * j * window
        current = view(adjoint, base)
        _gather(n_lanes, n_active, size, past, j, current, at_plus, at_minus, at_z, bar)
        if j == 0:
            _transpose(n_lanes, n_active, rows, adjoint, 0, 0, at_plus, at_minus, at_z)
        else:
            _gather(n_lanes, n_active, size, past, 0, current, at_plus, at_minus, at_z, view(bar, own))
            _transpose(n_lanes, n_active, view(rows, own), adjoint, base, 0, at_plus, at_minus, at_z)
            _transpose(n_lanes, n_active, rows, adjoint, base, base, at_plus, at_minus, at_z)


@njit(cache=True, nogil=True)
def _echo_adjoint(
    n_lanes,
    n,
    n_pulses,
    i_te,
    n_te,
    n_sets,
    rows,
    decay,
    echo_bar,
    before,
    n_states,
    past,
    adjoint,
    bar,
    decay_bar,
):
    """Adjoint of the echoes of all sets; adds to adjoint and bar.

    decay_bar : flat, (n_sets, n_pulses, LANES), written.
    """
    size, window = n_states * n_lanes, (n_states + SLACK) * LANES
    at_plus, at_minus, at_z = (SLACK - before) * LANES, window + before * LANES, 2 * window
    one = fill(1)
    for h in range(0, n_lanes, WIDTH):
        echo_u, echo_z, relaxed = (
            load(rows, ECHO_U + h),
            load(rows, ECHO_Z + h),
            load(decay, i_te * LANES + h),
        )
        f_plus, f_z = load(past, h), load(past, 2 * size + h)
        u = f_plus + load(past, size + h)
        transverse = f_plus + echo_u * u + echo_z * f_z
        own_bar = load(echo_bar, n * LANES + h)
        first_decay_bar = own_bar * transverse
        bar_transverse = relaxed * own_bar
        bar_u, bar_z, bar_f, bar_fz = fill(0), fill(0), fill(0), fill(0)
        for j in range(1, n_sets):
            g = 3 * j * size + h
            g_plus, g_z = load(past, g), load(past, g + 2 * size)
            v = g_plus + load(past, g + size)
            own = j * N_ROWS * LANES + h
            own_u, own_z = load(rows, own + ECHO_U), load(rows, own + ECHO_Z)
            derivative = g_plus + echo_u * v + echo_z * g_z + own_u * u + own_z * f_z
            own_bar = load(echo_bar, (j * n_pulses + n) * LANES + h)
            first_decay_bar += own_bar * derivative
            store(decay_bar, (j * n_pulses + n) * LANES + h, own_bar * transverse)
            bar_transverse += load(decay, (j * n_te + i_te) * LANES + h) * own_bar
            own_bar = relaxed * own_bar
            bar_u += own_bar * v
            bar_z += own_bar * g_z
            store(bar, own + ECHO_U, own_bar * u)
            store(bar, own + ECHO_Z, own_bar * f_z)
            bar_f += own_bar * own_u
            bar_fz += own_bar * own_z
            base = 3 * j * window + h
            add(adjoint, base + at_plus, own_bar * (one + echo_u))
            add(adjoint, base + at_minus, own_bar * echo_u)
            add(adjoint, base + at_z, own_bar * echo_z)
        store(decay_bar, n * LANES + h, first_decay_bar)
        store(bar, ECHO_U + h, bar_u + bar_transverse * u)
        store(bar, ECHO_Z + h, bar_z + bar_transverse * f_z)
        add(adjoint, at_plus + h, bar_f + bar_transverse * (one + echo_u))
        add(adjoint, at_minus + h, bar_f + bar_transverse * echo_u)
        add(adjoint, at_z + h, bar_fz + bar_transverse * echo_z)


@njit(cache=True, nogil=True)
def _rows_adjoint(n_lanes, n, n_pulses, i_tr, n_tr, n_sets, cos, sin, rate, b1_set, turn, e1, e2, bar, to):
    """Adjoint of `real_states.prepare`; to : (angle_bar, rate_bar, e1_bar, e2_bar), written."""
    angle_bar, rate_bar, e1_bar, e2_bar = to
    half, sign = fill(0.5), fill(turn)
    for h in range(0, n_lanes, WIDTH):
        at, at_tr = n * LANES + h, i_tr * LANES + h
        cosine, sine = load(cos, at), load(sin, at)
        change = half * (cosine - fill(1))
        f1, f2 = load(e1, at_tr), sign * load(e2, at_tr)
        bar_u, bar_z, bar_zz, bar_zu = (
            load(bar, U + h),
            load(bar, Z + h),
            load(bar, ZZ + h),
            half * load(bar, ZU + h),
        )
        cos_bar = half * (f2 * bar_u + load(bar, ECHO_U + h)) + f1 * bar_zz
        sin_bar = f2 * bar_z - f1 * bar_zu + load(bar, ECHO_Z + h)
        f1_bar = cosine * bar_zz - sine * bar_zu - load(bar, RECOVERY + h)
        f2_bar = change * bar_u + sine * bar_z + load(bar, DECAY + h)
        store(rate_bar, at, fill(0))
        for j in range(1, n_sets):
            own, own_tr = j * N_ROWS * LANES + h, (j * n_tr + i_tr) * LANES + h
            to_bar = (j * n_pulses + n) * LANES + h
            bar_u, bar_z, bar_zz = load(bar, own + U), load(bar, own + Z), load(bar, own + ZZ)
            bar_zu = half * load(bar, own + ZU)
            d1, d2 = load(e1, own_tr), sign * load(e2, own_tr)
            cos_bar += half * d2 * bar_u + d1 * bar_zz
            sin_bar += d2 * bar_z - d1 * bar_zu
            store(e1_bar, to_bar, cosine * bar_zz - sine * bar_zu - load(bar, own + RECOVERY))
            store(e2_bar, to_bar, sign * (change * bar_u + sine * bar_z + load(bar, own + DECAY)))
            if j == b1_set:
                turned = load(rate, at)
                d_cos_bar = half * (f2 * bar_u + load(bar, own + ECHO_U)) + f1 * bar_zz
                d_sin_bar = f2 * bar_z - f1 * bar_zu + load(bar, own + ECHO_Z)
                d_cos, d_sin = -(turned * sine), turned * cosine
                f1_bar += d_cos * bar_zz - d_sin * bar_zu
                f2_bar += half * d_cos * bar_u + d_sin * bar_z
                cos_bar += turned * d_sin_bar
                sin_bar -= turned * d_cos_bar
                store(rate_bar, at, cosine * d_sin_bar - sine * d_cos_bar)
        store(e1_bar, at, f1_bar)
        store(e2_bar, at, sign * f2_bar)
        store(angle_bar, at, cosine * sin_bar - sine * cos_bar)


@njit(cache=True, nogil=True)
def _keep(n_lanes, states, offset, n_sets, n_states, n_orders, out, at):
    """Copy the first orders of the states out of their windows.

    out : flat, (n_sets, 3, n_states, n_lanes) from `at`.
    """
    size, window = n_states * n_lanes, (n_states + SLACK) * LANES
    for j in range(n_sets):
        base, to = 3 * j * window, at + 3 * j * size
        copy_rows(n_orders, n_lanes, states, base + (SLACK - offset) * LANES, LANES, out, to, n_lanes)
        copy_rows(n_orders, n_lanes, states, base + window + offset * LANES, LANES, out, to + size, n_lanes)
        copy_rows(n_orders, n_lanes, states, base + 2 * window, LANES, out, to + 2 * size, n_lanes)


@njit(cache=True, nogil=True)
def _restore(n_lanes, kept, at, n_sets, n_states, states):
    """Put states back into their windows at offset 0."""
    size, window = n_states * n_lanes, (n_states + SLACK) * LANES
    clear(states, 0, n_sets * 3 * window)
    for j in range(n_sets):
        base, source = 3 * j * window, at + 3 * j * size
        copy_rows(n_states, n_lanes, kept, source, n_lanes, states, base + SLACK * LANES, LANES)
        copy_rows(n_states, n_lanes, kept, source + size, n_lanes, states, base + window, LANES)
        copy_rows(n_states, n_lanes, kept, source + 2 * size, n_lanes, states, base + 2 * window, LANES)


def scratch_size(n_sets, n_states, n_pulses):
    """Float32 values that `adjoint` needs to keep states."""
    return ((n_pulses + SLACK - 1) // SLACK + SLACK) * n_sets * 3 * n_states * LANES


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
    n_atoms,
    scratch,
    echo_bar,
    angle_bar,
    rate_bar,
    e1_bar,
    e2_bar,
    decay_bar,
    z_start_bar,
):
    """Cotangents of the inputs of `real_states.simulate` from those of its output.

    n_atoms : atoms, the others fill the last block; scratch : flat float32, `scratch_size` values
    echo_bar : (n_blocks, n_sets, n_pulses, LANES) cotangents of the output
    Written: angle_bar (n_blocks, n_pulses, LANES) of flip angle x B1; rate_bar, the same, of the rate;
    e1_bar, e2_bar, decay_bar : (n_blocks, n_sets, n_pulses, LANES) of the factors used at each pulse;
    z_start_bar : (n_blocks, n_sets, LANES)
    """
    n_blocks, n_sets, n_pulses, _ = echo_bar.shape
    n_tr, n_te = e1.shape[2], e2_echo.shape[2]
    n_segments = (n_pulses + SLACK - 1) // SLACK
    window = (n_states + SLACK) * LANES
    n_lanes = min(LANES, (n_atoms + WIDTH - 1) // WIDTH * WIDTH)
    size = n_states * n_lanes
    own_states, own_adjoint = zeros(n_sets * 3 * window), zeros(n_sets * 3 * window)
    own_rows, own_bar = zeros(n_sets * N_ROWS * LANES), zeros(n_sets * N_ROWS * LANES)
    own_cos, own_sin, own_rate = zeros(n_pulses * LANES), zeros(n_pulses * LANES), zeros(n_pulses * LANES)
    states, states_bar, kept, past = (
        view(own_states, 0),
        view(own_adjoint, 0),
        view(scratch, 0),
        view(scratch, n_segments * n_sets * 3 * size),
    )
    rows, bar, b_cos, b_sin = view(own_rows, 0), view(own_bar, 0), view(own_cos, 0), view(own_sin, 0)
    b_rate = view(own_rate, 0)
    settings = denormals_to_zero()
    for block in range(n_blocks):
        spread(cos, i_b1[block], n_pulses, own_cos)
        spread(sin, i_b1[block], n_pulses, own_sin)
        if b1_set > 0:
            spread(rate, i_b1[block], n_pulses, own_rate)
        at, at_tr, at_te = (
            block * n_sets * n_pulses * LANES,
            block * n_sets * n_tr * LANES,
            block * n_sets * n_te * LANES,
        )
        b_e1, b_e2, b_decay = view(e1, at_tr), view(e2, at_tr), view(e2_echo, at_te)
        b_echo_bar, b_decay_bar = view(echo_bar, at), view(decay_bar, at)
        at_angle = block * n_pulses * LANES
        angles_bar, rates_bar = view(angle_bar, at_angle), view(rate_bar, at_angle)
        to = (angles_bar, rates_bar, view(e1_bar, at), view(e2_bar, at))
        start(states, view(z_start, block * n_sets * LANES), n_sets, window)
        offset = 0
        for n in range(n_pulses):
            if n % SLACK == 0:
                _keep(
                    n_lanes, states, offset, n_sets, n_states, n_states, kept, n // SLACK * n_sets * 3 * size
                )
            prepare(
                n_lanes, n, i_tr[n], n_tr, n_sets, b_cos, b_sin, b_rate, b1_set, turn[n], b_e1, b_e2, rows
            )
            n_active = min(n_states, n + 1, n_pulses - n)
            offset = advance(
                n_lanes, n_active, rows, n_sets, dephase[n], offset, n_states, states, False, rows
            )
        clear(states_bar, 0, n_sets * 3 * window)
        for segment in range(n_segments - 1, -1, -1):
            first, last = segment * SLACK, min((segment + 1) * SLACK, n_pulses)
            _restore(n_lanes, kept, segment * n_sets * 3 * size, n_sets, n_states, states)
            offset = 0
            for n in range(first, last):
                n_active = min(n_states, n + 1, n_pulses - n)
                _keep(
                    n_lanes, states, offset, n_sets, n_states, n_active, past, (n - first) * n_sets * 3 * size
                )
                if n + 1 < last:
                    prepare(
                        n_lanes,
                        n,
                        i_tr[n],
                        n_tr,
                        n_sets,
                        b_cos,
                        b_sin,
                        b_rate,
                        b1_set,
                        turn[n],
                        b_e1,
                        b_e2,
                        rows,
                    )
                    offset = advance(
                        n_lanes, n_active, rows, n_sets, dephase[n], offset, n_states, states, False, rows
                    )
            offset += dephase[last - 1]
            for j in range(n_sets):
                # the windows come back from their start to where the segment ended
                unwind_plus(states_bar, 3 * j * window, n_states, offset)
                unwind_minus(states_bar, (3 * j + 1) * window, n_states, offset)
            for n in range(last - 1, first - 1, -1):
                after, offset = offset, offset - dephase[n]
                n_active = min(n_states, n + 1, n_pulses - n)
                prepare(
                    n_lanes,
                    n,
                    i_tr[n],
                    n_tr,
                    n_sets,
                    b_cos,
                    b_sin,
                    b_rate,
                    b1_set,
                    turn[n],
                    b_e1,
                    b_e2,
                    rows,
                )
                old = view(past, (n - first) * n_sets * 3 * size)
                _retreat(n_lanes, n_active, rows, n_sets, offset, after, n_states, old, states_bar, bar)
                _echo_adjoint(
                    n_lanes,
                    n,
                    n_pulses,
                    i_te[n],
                    n_te,
                    n_sets,
                    rows,
                    b_decay,
                    b_echo_bar,
                    offset,
                    n_states,
                    old,
                    states_bar,
                    bar,
                    b_decay_bar,
                )
                _rows_adjoint(
                    n_lanes,
                    n,
                    n_pulses,
                    i_tr[n],
                    n_tr,
                    n_sets,
                    b_cos,
                    b_sin,
                    b_rate,
                    b1_set,
                    turn[n],
                    b_e1,
                    b_e2,
                    bar,
                    to,
                )
        for j in range(n_sets):
            copy(states_bar, (3 * j + 2) * window, z_start_bar[block, j], 0, LANES)
    restore_denormals(settings)
    for array in (own_states, own_adjoint, own_rows, own_bar, own_cos, own_sin, own_rate):
        hold(array)
