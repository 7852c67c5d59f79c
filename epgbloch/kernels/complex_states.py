"""Complex configuration states: one affine operator per lane and pulse, and its derivatives.

Of every order, x = (F+ + F-) / 2 and y = (F+ - F-) / 2i, complex numbers both, and Z go through the pulse by
the real 3 x 3 matrix of the Bloch equation: 18 products, and 8 sums on the way from F to (x, y) and back.

Flat arrays. states : for every set the windows of F+, F- and Z, real and imaginary parts. operator : for
every set N_COEFFICIENTS rows of LANES values, see `layout`. Set 0 belongs to the signal. Set j > 0 belongs
to a parameter: with S' = A S + r, it follows dS' = A dS + (dA S + dr).
"""

from numba import njit

from epgbloch.kernels.diffusion import attenuate
from epgbloch.kernels.lanes import WIDTH, fill, load, store, view
from epgbloch.kernels.layout import LANES, N_COEFFICIENTS, SLACK
from epgbloch.kernels.windows import clear, rewind_minus, rewind_plus, zeros

SIZE = N_COEFFICIENTS * LANES
"""Values of one operator."""
XX, XY, XZ, PX, YX, YY, YZ, PY, ZX, ZY, ZZ, Q = (i * LANES for i in range(N_COEFFICIENTS))


@njit(cache=True, nogil=True)
def window_size(n_states):
    """Values of one window."""
    return (n_states + SLACK) * LANES


@njit(cache=True, nogil=True)
def zero_states(n_sets, n_states):
    """Allocate states."""
    return zeros(n_sets * 6 * window_size(n_states))


@njit(cache=True, nogil=True)
def start(states, n_sets, n_states, z_start, lane_stride):
    """Empty the states but for Mz before the first pulse; z_start : flat, (n_sets, LANES) or (n_sets,)."""
    clear(states, 0, n_sets * 6 * window_size(n_states))
    for j in range(n_sets):
        at = (6 * j + 4) * window_size(n_states)
        for lane in range(LANES):
            states[at + lane] = z_start[j if lane_stride == 0 else j * LANES + lane]


@njit(cache=True, nogil=True)
def apply(n_active, operator, window, at_plus, at_minus, base, source, states):
    """Apply the operator of set 0 to the orders 0 ... n_active - 1 of one set, in place, without recovery.

    base : where the states of the set begin; source : what is added to x, y and Z, see `multiply`, or None.
    """
    at_plus, at_minus, at_z, n = base + at_plus, base + at_minus, base + 4 * window, n_active * LANES
    for h in range(0, LANES, WIDTH):
        xx, xy, xz = load(operator, XX + h), load(operator, XY + h), load(operator, XZ + h)
        yx, yy, yz = load(operator, YX + h), load(operator, YY + h), load(operator, YZ + h)
        zx, zy, zz = load(operator, ZX + h), load(operator, ZY + h), load(operator, ZZ + h)
        for order in range(h, n + h, LANES):
            i, j, k = at_plus + order, at_minus + order, at_z + order
            p_re, p_im = load(states, i), load(states, i + window)
            m_re, m_im = load(states, j), load(states, j + window)
            z_re, z_im = load(states, k), load(states, k + window)
            x_re, x_im, y_re, y_im = p_re + m_re, p_im + m_im, p_im - m_im, m_re - p_re
            u_re, u_im = xx * x_re + xy * y_re + xz * z_re, xx * x_im + xy * y_im + xz * z_im
            v_re, v_im = yx * x_re + yy * y_re + yz * z_re, yx * x_im + yy * y_im + yz * z_im
            w_re, w_im = zx * x_re + zy * y_re + zz * z_re, zx * x_im + zy * y_im + zz * z_im
            if source is not None:
                u_re, u_im = u_re + load(source, order), u_im + load(source, order + n)
                v_re, v_im = v_re + load(source, order + 2 * n), v_im + load(source, order + 3 * n)
                w_re, w_im = w_re + load(source, order + 4 * n), w_im + load(source, order + 5 * n)
            store(states, i, u_re - v_im)
            store(states, i + window, u_im + v_re)
            store(states, j, u_re + v_im)
            store(states, j + window, u_im - v_re)
            store(states, k, w_re)
            store(states, k + window, w_im)


@njit(cache=True, nogil=True)
def multiply(n_active, operator, own, window, at_plus, at_minus, base, states, accumulate, product):
    """Multiply x, y and Z of the states at `base` by the matrix at `own`.

    product : flat, (x, y, Z; real, imaginary; order; lane), written, or added to.
    """
    at_plus, at_minus, at_z, n = base + at_plus, base + at_minus, base + 4 * window, n_active * LANES
    for h in range(0, LANES, WIDTH):
        at = own + h
        xx, xy, xz = load(operator, at + XX), load(operator, at + XY), load(operator, at + XZ)
        yx, yy, yz = load(operator, at + YX), load(operator, at + YY), load(operator, at + YZ)
        zx, zy, zz = load(operator, at + ZX), load(operator, at + ZY), load(operator, at + ZZ)
        for order in range(h, n + h, LANES):
            i, j, k = at_plus + order, at_minus + order, at_z + order
            p_re, p_im = load(states, i), load(states, i + window)
            m_re, m_im = load(states, j), load(states, j + window)
            z_re, z_im = load(states, k), load(states, k + window)
            x_re, x_im, y_re, y_im = p_re + m_re, p_im + m_im, p_im - m_im, m_re - p_re
            u_re, u_im = xx * x_re + xy * y_re + xz * z_re, xx * x_im + xy * y_im + xz * z_im
            v_re, v_im = yx * x_re + yy * y_re + yz * z_re, yx * x_im + yy * y_im + yz * z_im
            w_re, w_im = zx * x_re + zy * y_re + zz * z_re, zx * x_im + zy * y_im + zz * z_im
            if accumulate:
                u_re, u_im = u_re + load(product, order), u_im + load(product, order + n)
                v_re, v_im = v_re + load(product, order + 2 * n), v_im + load(product, order + 3 * n)
                w_re, w_im = w_re + load(product, order + 4 * n), w_im + load(product, order + 5 * n)
            store(product, order, u_re)
            store(product, order + n, u_im)
            store(product, order + 2 * n, v_re)
            store(product, order + 3 * n, v_im)
            store(product, order + 4 * n, w_re)
            store(product, order + 5 * n, w_im)


@njit(cache=True, nogil=True)
def transverse(operator, n_sets, window, at_plus, at_minus, states, re, im):
    """Write F+ of order 0 after the pulse, without relaxation; re, im : flat, (n_sets, LANES).

    F- of order 0 is the conjugate of F+, and Z real: x, y and Z are real.
    """
    for h in range(0, LANES, WIDTH):
        for j in range(n_sets):
            own, base = j * SIZE + h, 6 * j * window + h
            f_x = load(states, base + at_plus) + load(states, base + at_minus)
            f_y = load(states, base + at_plus + window) - load(states, base + at_minus + window)
            f_z = load(states, base + 4 * window)
            x = load(operator, XX + h) * f_x + load(operator, XY + h) * f_y + load(operator, XZ + h) * f_z
            y = load(operator, YX + h) * f_x + load(operator, YY + h) * f_y + load(operator, YZ + h) * f_z
            if j > 0:
                s_x = load(states, at_plus + h) + load(states, at_minus + h)
                s_y = load(states, at_plus + window + h) - load(states, at_minus + window + h)
                s_z = load(states, 4 * window + h)
                x += load(operator, own + XX) * s_x + load(operator, own + XY) * s_y
                x += load(operator, own + XZ) * s_z
                y += load(operator, own + YX) * s_x + load(operator, own + YY) * s_y
                y += load(operator, own + YZ) * s_z
            store(re, j * LANES + h, x + load(operator, own + PX))
            store(im, j * LANES + h, y + load(operator, own + PY))


@njit(cache=True, nogil=True)
def fold(operator, factors, n_sets, folded):
    """Follow the operators by relaxation and precession up to the next pulse.

    factors : flat, (n_sets, 3, LANES): E1, real and imaginary part of E2, and their derivatives.
    """
    for h in range(0, LANES, WIDTH):
        e1, re, im = load(factors, h), load(factors, h + LANES), load(factors, h + 2 * LANES)
        for i in range(h, 4 * LANES + h, LANES):
            x, y, z = load(operator, i + XX), load(operator, i + YX), load(operator, i + ZX)
            store(folded, i + XX, re * x - im * y)
            store(folded, i + YX, im * x + re * y)
            store(folded, i + ZX, e1 * z)
        store(folded, h + Q, load(folded, h + Q) + (fill(1) - e1))
        for j in range(1, n_sets):
            # derivative of a product: factor times derived operator, derived factor times operator
            own, at = j * SIZE, 3 * j * LANES + h
            d1, d_re, d_im = load(factors, at), load(factors, at + LANES), load(factors, at + 2 * LANES)
            for i in range(h, 4 * LANES + h, LANES):
                x, y, z = load(operator, i + XX), load(operator, i + YX), load(operator, i + ZX)
                k = own + i
                dx, dy, dz = load(operator, k + XX), load(operator, k + YX), load(operator, k + ZX)
                store(folded, k + XX, re * dx - im * dy + d_re * x - d_im * y)
                store(folded, k + YX, im * dx + re * dy + d_im * x + d_re * y)
                store(folded, k + ZX, e1 * dz + d1 * z)
            store(folded, own + h + Q, load(folded, own + h + Q) - d1)


@njit(cache=True, nogil=True)
def _recover(operator, own, base, window, at_plus, at_minus, states):
    """Add the recovered magnetisation to order 0."""
    for h in range(0, LANES, WIDTH):
        x, y, i, j, k = (
            own + PX + h,
            own + PY + h,
            base + at_plus + h,
            base + at_minus + h,
            base + 4 * window + h,
        )
        store(states, i, load(states, i) + load(operator, x))
        store(states, i + window, load(states, i + window) + load(operator, y))
        store(states, j, load(states, j) + load(operator, x))
        store(states, j + window, load(states, j + window) - load(operator, y))
        store(states, k, load(states, k) + load(operator, own + Q + h))
        store(states, k + window, fill(0))


@njit(cache=True, nogil=True)
def rewind(states, base, window, n_states):
    """Move the windows of one set back to their start."""
    for part in range(2):
        rewind_plus(states, base + part * window, n_states)
        rewind_minus(states, base + (2 + part) * window, n_states)


@njit(cache=True, nogil=True)
def advance(operator, n_active, n_sets, dephase, offset, n_states, states, product, diffuses, diffusion):
    """Apply the folded operators with recovery, dephase, and return the new window offset.

    product : scratch as large as one set of states; diffuses : whether there is diffusion; diffusion : rows
    of `diffusion.attenuate`.
    """
    window = window_size(n_states)
    at_plus, at_minus = (SLACK - offset) * LANES, 2 * window + offset * LANES
    for j in range(1, n_sets):
        multiply(n_active, operator, j * SIZE, window, at_plus, at_minus, 0, states, False, product)
        apply(n_active, operator, window, at_plus, at_minus, 6 * j * window, product, states)
        _recover(operator, j * SIZE, 6 * j * window, window, at_plus, at_minus, states)
    apply(n_active, operator, window, at_plus, at_minus, 0, None, states)
    _recover(operator, 0, 0, window, at_plus, at_minus, states)
    if diffuses:
        for j in range(n_sets):
            own = view(states, 6 * j * window)
            attenuate(LANES, n_active, diffusion, 2, window, at_plus, at_minus, own)
    if not dephase:
        return offset
    offset += 1
    if offset == SLACK:
        for j in range(n_sets):
            rewind(states, 6 * j * window, window, n_states)
        offset = 0
    at_plus, at_minus = (SLACK - offset) * LANES, 2 * window + offset * LANES
    for j in range(n_sets):
        for h in range(0, LANES, WIDTH):
            i, k = 6 * j * window + at_plus + h, 6 * j * window + at_minus + h
            store(states, i, load(states, k))
            store(states, i + window, -load(states, k + window))
    return offset
