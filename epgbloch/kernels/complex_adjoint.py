"""Adjoint of one pulse and repetition of complex states; see `real_adjoint` for the equations.

Cotangents of complex numbers are d/d(real part) + i d/d(imaginary part). Adjoint states have the layout and
the windows of the states; `past` are the states as they were before the pulse, flat, (n_sets, 6, n_states,
LANES). The way from F to (x, y) and back is its own adjoint up to order: the transposed matrix acts on
adjoint states as the matrix does on states.
"""

from numba import njit

from epgbloch.kernels.complex_states import (
    PX,
    PY,
    SIZE,
    XX,
    XY,
    XZ,
    YX,
    YY,
    YZ,
    ZX,
    ZY,
    ZZ,
    Q,
    apply,
    multiply,
    window_size,
)
from epgbloch.kernels.lanes import WIDTH, add, fill, load, store
from epgbloch.kernels.layout import LANES, SLACK
from epgbloch.kernels.windows import clear, copy, unwind_minus, unwind_plus


@njit(cache=True, nogil=True)
def keep(states, offset, n_sets, n_states, n_orders, out, at):
    """Copy the first orders of the states out of their windows.

    out : flat, (n_sets, 6, n_states, LANES) from `at`.
    """
    window = window_size(n_states)
    for j in range(n_sets):
        for part in range(6):
            first = 0 if part > 3 else (SLACK - offset if part < 2 else offset) * LANES
            to = at + (6 * j + part) * n_states * LANES
            copy(states, (6 * j + part) * window + first, out, to, n_orders * LANES)


@njit(cache=True, nogil=True)
def restore(kept, at, n_sets, n_states, states):
    """Put states back into their windows at offset 0."""
    window, size = window_size(n_states), n_states * LANES
    clear(states, 0, 6 * n_sets * window)
    for j in range(n_sets):
        for part in range(6):
            first = SLACK * LANES if part < 2 else 0
            copy(kept, at + (6 * j + part) * size, states, (6 * j + part) * window + first, size)


@njit(cache=True, nogil=True)
def unwind(adjoint, n_sets, n_states, shift):
    """Move the windows of adjoint states from their start to where a segment ended."""
    window = window_size(n_states)
    for j in range(n_sets):
        for part in range(2):
            unwind_plus(adjoint, (6 * j + part) * window, n_states, shift)
            unwind_minus(adjoint, (6 * j + 2 + part) * window, n_states, shift)


@njit(cache=True, nogil=True)
def _gather(n_active, n_states, past, i_state, adjoint, base, at_plus, at_minus, bar, own):
    """Add the cotangents of the matrix at `own`.

    It took the states number i_state to those with the adjoint at `base`.
    """
    size, window = n_states * LANES, window_size(n_states)
    at_plus, at_minus, at_z = base + at_plus, base + at_minus, base + 4 * window
    for h in range(0, LANES, WIDTH):
        at, first = own + h, 6 * i_state * size
        xx, xy, xz = load(bar, at + XX), load(bar, at + XY), load(bar, at + XZ)
        yx, yy, yz = load(bar, at + YX), load(bar, at + YY), load(bar, at + YZ)
        zx, zy, zz = load(bar, at + ZX), load(bar, at + ZY), load(bar, at + ZZ)
        for order in range(h, n_active * LANES + h, LANES):
            i, j, k = at_plus + order, at_minus + order, at_z + order
            p_re, p_im = load(adjoint, i), load(adjoint, i + window)
            m_re, m_im = load(adjoint, j), load(adjoint, j + window)
            u_re, u_im, v_re, v_im = p_re + m_re, p_im + m_im, p_im - m_im, m_re - p_re
            w_re, w_im = load(adjoint, k), load(adjoint, k + window)
            i = first + order
            p_re, p_im = load(past, i), load(past, i + size)
            m_re, m_im = load(past, i + 2 * size), load(past, i + 3 * size)
            x_re, x_im, y_re, y_im = p_re + m_re, p_im + m_im, p_im - m_im, m_re - p_re
            z_re, z_im = load(past, i + 4 * size), load(past, i + 5 * size)
            xx += u_re * x_re + u_im * x_im
            xy += u_re * y_re + u_im * y_im
            xz += u_re * z_re + u_im * z_im
            yx += v_re * x_re + v_im * x_im
            yy += v_re * y_re + v_im * y_im
            yz += v_re * z_re + v_im * z_im
            zx += w_re * x_re + w_im * x_im
            zy += w_re * y_re + w_im * y_im
            zz += w_re * z_re + w_im * z_im
        store(bar, at + XX, xx)
        store(bar, at + XY, xy)
        store(bar, at + XZ, xz)
        store(bar, at + YX, yx)
        store(bar, at + YY, yy)
        store(bar, at + YZ, yz)
        store(bar, at + ZX, zx)
        store(bar, at + ZY, zy)
        store(bar, at + ZZ, zz)


@njit(cache=True, nogil=True)
def retreat(operator, n_sets, n_active, before, after, n_states, past, adjoint, product, transposed, bar):
    """Adjoint of `complex_states.advance`; before, after : window offsets, equal without a spoiler.

    operator : folded operators, and their cotangents `bar`, written; product, transposed : scratch, one set
    of states and n_sets operators.
    """
    window = window_size(n_states)
    clear(bar, 0, n_sets * SIZE)
    for j in range(n_sets):
        base, own = 6 * j * window, j * SIZE
        for h in range(0, LANES, WIDTH):
            if after != before:
                # order 0 of F+ is the conjugate of order 0 of F-
                p, m = base + (SLACK - after) * LANES + h, base + 2 * window + after * LANES + h
                add(adjoint, m, load(adjoint, p))
                add(adjoint, m + window, -load(adjoint, p + window))
                store(adjoint, p, fill(0))
                store(adjoint, p + window, fill(0))
            # order 0 of Z is real
            z = base + 4 * window + h
            store(adjoint, z + window, fill(0))
            p, m = base + (SLACK - before) * LANES + h, base + 2 * window + before * LANES + h
            store(bar, own + PX + h, load(adjoint, p) + load(adjoint, m))
            store(bar, own + PY + h, load(adjoint, p + window) - load(adjoint, m + window))
            store(bar, own + Q + h, load(adjoint, z))
        for row in range(3):
            for column in range(3):
                copy(
                    operator,
                    own + (4 * row + column) * LANES,
                    transposed,
                    own + (4 * column + row) * LANES,
                    LANES,
                )
    at_plus, at_minus = (SLACK - before) * LANES, 2 * window + before * LANES
    for j in range(n_sets):
        base = 6 * j * window
        _gather(n_active, n_states, past, j, adjoint, base, at_plus, at_minus, bar, 0)
        if j > 0:
            _gather(n_active, n_states, past, 0, adjoint, base, at_plus, at_minus, bar, j * SIZE)
            multiply(n_active, transposed, j * SIZE, window, at_plus, at_minus, base, adjoint, j > 1, product)
            apply(n_active, transposed, window, at_plus, at_minus, base, None, adjoint)
    if n_sets > 1:
        apply(n_active, transposed, window, at_plus, at_minus, 0, product, adjoint)
    else:
        apply(n_active, transposed, window, at_plus, at_minus, 0, None, adjoint)


@njit(cache=True, nogil=True)
def transverse_adjoint(operator, n_sets, n_states, past, before, re, im, adjoint, bar):
    """Adjoint of `complex_states.transverse`; adds to bar and adjoint.

    re, im : flat, (n_sets, LANES) cotangents.
    """
    size, window = n_states * LANES, window_size(n_states)
    for h in range(0, LANES, WIDTH):
        first_x = load(past, h) + load(past, 2 * size + h)
        first_y, first_z = load(past, size + h) - load(past, 3 * size + h), load(past, 4 * size + h)
        for j in range(n_sets):
            u, v = load(re, j * LANES + h), load(im, j * LANES + h)
            at, own = 6 * j * size + h, j * SIZE + h
            x, y = (
                load(past, at) + load(past, at + 2 * size),
                load(past, at + size) - load(past, at + 3 * size),
            )
            z = load(past, at + 4 * size)
            add(bar, XX + h, u * x)
            add(bar, XY + h, u * y)
            add(bar, XZ + h, u * z)
            add(bar, YX + h, v * x)
            add(bar, YY + h, v * y)
            add(bar, YZ + h, v * z)
            add(bar, own + PX, u)
            add(bar, own + PY, v)
            _spread(operator, h, u, v, adjoint, 6 * j * window + h, before, window)
            if j > 0:
                add(bar, own + XX, u * first_x)
                add(bar, own + XY, u * first_y)
                add(bar, own + XZ, u * first_z)
                add(bar, own + YX, v * first_x)
                add(bar, own + YY, v * first_y)
                add(bar, own + YZ, v * first_z)
                _spread(operator, own, u, v, adjoint, h, before, window)


@njit(cache=True, nogil=True)
def _spread(operator, own, u, v, adjoint, base, before, window):
    """Add to the adjoint states of order 0 what u, v, cotangents of x, y, give through the operator."""
    x = load(operator, own + XX) * u + load(operator, own + YX) * v
    y = load(operator, own + XY) * u + load(operator, own + YY) * v
    p, m = base + (SLACK - before) * LANES, base + 2 * window + before * LANES
    add(adjoint, p, x)
    add(adjoint, p + window, y)
    add(adjoint, m, x)
    add(adjoint, m + window, -y)
    add(adjoint, base + 4 * window, load(operator, own + XZ) * u + load(operator, own + YZ) * v)


@njit(cache=True, nogil=True)
def fold_adjoint(operator, factors, n_sets, bar, factors_bar):
    """Adjoint of `complex_states.fold`.

    operator : operators before folding; factors, and their cotangents, written : flat, (n_sets, 3, LANES)
    bar : cotangents of the folded operators, replaced by those of `operator`
    """
    for h in range(0, LANES, WIDTH):
        e1, re, im = load(factors, h), load(factors, h + LANES), load(factors, h + 2 * LANES)
        e1_bar, re_bar, im_bar = -load(bar, h + Q), fill(0), fill(0)
        for j in range(1, n_sets):
            at = 3 * j * LANES + h
            store(factors_bar, at, -load(bar, j * SIZE + h + Q))
            store(factors_bar, at + LANES, fill(0))
            store(factors_bar, at + 2 * LANES, fill(0))
        for i in range(h, 4 * LANES + h, LANES):
            x, y, z = load(operator, i + XX), load(operator, i + YX), load(operator, i + ZX)
            u, v, w = load(bar, i + XX), load(bar, i + YX), load(bar, i + ZX)
            e1_bar += w * z
            re_bar += u * x + v * y
            im_bar += v * x - u * y
            x_bar, y_bar, z_bar = re * u + im * v, re * v - im * u, e1 * w
            for j in range(1, n_sets):
                k, at = j * SIZE + i, 3 * j * LANES + h
                d1, d_re, d_im = load(factors, at), load(factors, at + LANES), load(factors, at + 2 * LANES)
                dx, dy, dz = load(operator, k + XX), load(operator, k + YX), load(operator, k + ZX)
                u, v, w = load(bar, k + XX), load(bar, k + YX), load(bar, k + ZX)
                e1_bar += w * dz
                re_bar += u * dx + v * dy
                im_bar += v * dx - u * dy
                add(factors_bar, at, w * z)
                add(factors_bar, at + LANES, u * x + v * y)
                add(factors_bar, at + 2 * LANES, v * x - u * y)
                x_bar += d_re * u + d_im * v
                y_bar += d_re * v - d_im * u
                z_bar += d1 * w
                store(bar, k + XX, re * u + im * v)
                store(bar, k + YX, re * v - im * u)
                store(bar, k + ZX, e1 * w)
            store(bar, i + XX, x_bar)
            store(bar, i + YX, y_bar)
            store(bar, i + ZX, z_bar)
        store(factors_bar, h, e1_bar)
        store(factors_bar, h + LANES, re_bar)
        store(factors_bar, h + 2 * LANES, im_bar)
