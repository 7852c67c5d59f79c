"""From emitting states to samples, and back.

The samples of a repetition are cut into segments of equal steps in k and time. Within one, what varies slowly
(relaxation, off-resonance, the decay within voxels) is taken at a few nodes and interpolated; the phases of
the voxels' centres are not. A row is an emitting state while its tau has one sign: decay with T2' has a kink at 0.

Tables, float32, real parts before imaginary ones: (entries, 2, n_voxels) flat. Along one axis a segment needs
one sum over the other two axes for each node; oblique ones go through all voxels for every sample.
"""

import numpy as np
from numba import njit

from epgbloch.kernels.lanes import WIDTH, add, fill, load, store, total

TWO_PI = 2 * np.pi


@njit(cache=True, nogil=True)
def _sinc(x):
    """sin(pi x) / (pi x) and its derivative."""
    y = np.pi * x
    if abs(y) < 1e-3:
        return 1 - y * y / 6, np.pi * (-y / 3 + y * y * y / 30)
    sinc = np.sin(y) / y
    return sinc, np.pi * (np.cos(y) - sinc) / y


@njit(cache=True, nogil=True)
def _shape(k, node, size, out):
    """Write what the shape of the voxels leaves of a state at k + node, and its derivatives by k."""
    x, dx = _sinc((k[0] + node[0]) * size[0])
    y, dy = _sinc((k[1] + node[1]) * size[1])
    z, dz = _sinc((k[2] + node[2]) * size[2])
    out[0], out[1], out[2], out[3] = (
        x * y * z,
        dx * size[0] * y * z,
        x * dy * size[1] * z,
        x * y * dz * size[2],
    )


@njit(cache=True, nogil=True)
def _b_value(k, node, slopes):
    """Return the b-value of a state from its start k to a node, and write its derivatives by k.

    node : time, integral of the moment (3) and of its square since the pulse.
    """
    b = node[4]
    for a in range(3):
        b += k[a] * (k[a] * node[0] + 2 * node[1 + a])
        slopes[a] = 2 * TWO_PI**2 * (k[a] * node[0] + node[1 + a])
    return TWO_PI**2 * b


@njit(cache=True, nogil=True)
def _phases(k, coordinates, first, index, n_voxels, table, out):
    """Write exp(-2 pi i k . r) of all voxels.

    coordinates : distinct values along x, then y, then z, which begin at first; index : (3, n_voxels), each
    voxel's places among them.
    """
    n = coordinates.size
    for a in range(3):
        for i in range(first[a], first[a + 1]):
            cycles = k[a] * coordinates[i]
            angle = -TWO_PI * (cycles - np.rint(cycles))
            table[i], table[n + i] = np.cos(angle), np.sin(angle)
    for v in range(n_voxels):
        x, y, z = index[0, v], index[1, v], index[2, v]
        re = table[x] * table[y] - table[n + x] * table[n + y]
        im = table[x] * table[n + y] + table[n + x] * table[y]
        out[v] = re * table[z] - im * table[n + z]
        out[n_voxels + v] = re * table[n + z] + im * table[z]


@njit(cache=True, nogil=True)
def _multiply(a, at, b, bt, n, out, to):
    """Out = a b of complex rows of n values."""
    for v in range(0, n, WIDTH):
        re, im = load(a, at + v), load(a, at + n + v)
        x, y = load(b, bt + v), load(b, bt + n + v)
        store(out, to + v, re * x - im * y)
        store(out, to + n + v, re * y + im * x)


@njit(cache=True, nogil=True)
def _multiply_conjugate(a, at, b, bt, n, out, to):
    """Out = a conj(b) of complex rows of n values."""
    for v in range(0, n, WIDTH):
        re, im = load(a, at + v), load(a, at + n + v)
        x, y = load(b, bt + v), load(b, bt + n + v)
        store(out, to + v, re * x + im * y)
        store(out, to + n + v, im * x - re * y)


@njit(cache=True, nogil=True)
def _add_scaled(factor, a, at, n, out, to):
    """Out += factor a of rows of n values."""
    vector = fill(np.float32(factor))
    for v in range(0, n, WIDTH):
        add(out, to + v, vector * load(a, at + v))


@njit(cache=True, nogil=True)
def _inner(a, at, b, bt, n):
    """Return the sums of Re(conj(a) b) and Im(conj(a) b) over complex rows of n values."""
    same, turned = fill(np.float32(0)), fill(np.float32(0))
    for v in range(0, n, WIDTH):
        re, im = load(a, at + v), load(a, at + n + v)
        x, y = load(b, bt + v), load(b, bt + n + v)
        same += re * x + im * y
        turned += re * y - im * x
    return total(same), total(turned)


@njit(cache=True, nogil=True)
def _damped(c, row, b, diffusion, n, out):
    """Out = row of c after diffusion with this b-value."""
    for v in range(n):
        left = np.exp(-np.float32(b) * diffusion[v])
        out[v], out[n + v] = left * c[2 * row * n + v], left * c[(2 * row + 1) * n + v]


@njit(cache=True, nogil=True)
def _contributions(n, rows, space, phase, states, of_tau, table, place, factors, c):
    """Write what the rows of a repetition are multiplied with at its pulse, and the products: (rows, 2, n_voxels)."""
    row_first, row_k, row_emitting, row_tau, _ = rows
    coordinates, first, index, _ = space
    n_voxels = index.shape[1]
    width = 2 * n_voxels
    cos, sin = np.float32(np.cos(phase)), np.float32(np.sin(phase))
    for i in range(row_first[n], row_first[n + 1]):
        _phases(row_k[i], coordinates, first, index, n_voxels, table, place)
        for v in range(n_voxels):
            re, im = place[v], place[n_voxels + v]
            place[v], place[n_voxels + v] = cos * re - sin * im, cos * im + sin * re
        at = (i - row_first[n]) * width
        _multiply(place, 0, of_tau, row_tau[i] * width, n_voxels, factors, at)
        _multiply(factors, at, states, row_emitting[i] * width, n_voxels, c, at)


@njit(cache=True, nogil=True)
def _at_node(
    s, node, sign, kind, rows, row0, segments, nodes, size, c, diffusion, shape, slopes, damped, out
):
    """Out = sum of the rows of segment s with this sign of tau at a node, before relaxation; tell whether any.

    kind 0: the rows themselves; 1, 2, 3: their derivatives by k at the node, as far as shape goes; 4: their
    derivatives by time, 5, 6, 7: by the integral of the moment, as far as b-values go, over -diffusion.
    """
    _, row_k, _, _, row_sign = rows
    row_begins, row_of = segments[6], segments[7]
    n_voxels = out.size // 2
    width = out.size
    out[:] = 0
    found = False
    for q in range(row_begins[s], row_begins[s + 1]):
        i = row_of[q]
        if row_sign[i] != sign:
            continue
        found = True
        _shape(row_k[i], nodes[0][node], size, shape)
        factor = shape[kind] if kind < 4 else shape[0] * TWO_PI**2
        if kind == 4:
            factor *= row_k[i, 0] ** 2 + row_k[i, 1] ** 2 + row_k[i, 2] ** 2
        elif kind > 4:
            factor *= 2 * row_k[i, kind - 5]
        if diffusion.size > 0:
            b = _b_value(row_k[i], nodes[1][node], slopes)
            _damped(c, i - row0, b, diffusion, n_voxels, damped)
            _add_scaled(factor, damped, 0, width, out, 0)
        else:
            _add_scaled(factor, c, (i - row0) * width, width, out, 0)
    return found


@njit(cache=True, nogil=True)
def _derivatives(s, node, sign, rows, row0, segments, nodes, size, c, diffusion, of_time, at_time, r2, r2_prime,
                 off_resonance, position, at_node, at, shape, slopes, damped, part, n_kinds, out, to, stride):  # fmt: skip
    """Add the derivatives of a node by k (3), time, and, with diffusion, the integrals of the moment (3) and of its square.

    at_node at `at` : the node's own magnetisation. Each kind begins `stride` after the one before in `out`.
    """
    n_voxels = part.size // 2
    width = part.size
    decay = np.float32(1 - 2 * sign)
    for kind in range(1, n_kinds):
        if kind < 4 or diffusion.size > 0:
            _at_node(
                s,
                node,
                sign,
                kind,
                rows,
                row0,
                segments,
                nodes,
                size,
                c,
                diffusion,
                shape,
                slopes,
                damped,
                part,
            )
            _multiply(part, 0, of_time, at_time, n_voxels, part, 0)
        else:
            part[:] = 0
        begin = to + (kind - 1) * stride
        for v in range(n_voxels):
            x, y = at_node[at + v], at_node[at + n_voxels + v]
            re, im = part[v], part[n_voxels + v]
            if kind >= 4:
                re, im = (
                    -diffusion[v] * re if diffusion.size > 0 else re,
                    -diffusion[v] * im if diffusion.size > 0 else im,
                )
            turn = np.float32(0)
            if kind < 4:
                turn = np.float32(-TWO_PI) * position[(kind - 1) * n_voxels + v]
            elif kind == 4:
                turn = np.float32(-TWO_PI) * off_resonance[v]
                rate = r2[v] + decay * r2_prime[v]
                re, im = re - rate * x, im - rate * y
            out[begin + v] += re - turn * y
            out[begin + n_voxels + v] += im + turn * x
    if n_kinds > 5:
        begin = to + 7 * stride
        for v in range(n_voxels):
            factor = np.float32(-(TWO_PI**2)) * diffusion[v]
            out[begin + v] += factor * at_node[at + v]
            out[begin + n_voxels + v] += factor * at_node[at + n_voxels + v]


@njit(cache=True, nogil=True)
def _largest(begins):
    """Most entries of a part."""
    most = 1
    for i in range(begins.size - 1):
        most = max(most, begins[i + 1] - begins[i])
    return most


@njit(cache=True, nogil=True)
def _gather(a, first, index, values, lines, j):
    """Add complex values of the voxels to lines[j], by coordinate along axis a."""
    n_voxels = index.shape[1]
    for v in range(n_voxels):
        lines[j, index[a, v] - first[a]] += complex(values[v], values[n_voxels + v])


@njit(cache=True, nogil=True)
def _steps(a, step, coordinates, first, stepping):
    """Write exp(-2 pi i step u) for the coordinates u along axis a."""
    for i in range(first[a], first[a + 1]):
        cycles = step * coordinates[i]
        angle = -TWO_PI * (cycles - np.rint(cycles))
        stepping[i - first[a]] = complex(np.cos(angle), np.sin(angle))


@njit(cache=True, nogil=True)
def encode(
    repetitions, rows, segments, nodes, space, states, phase, of_tau, of_time, receive, diffusion, signal
):
    """Write the samples of some repetitions to signal, (n_coils, n_samples).

    rows : first of each repetition, k, emitting state, place of (tau, sign), sign of tau (0: +, 1: -).
    segments : first of each repetition, first samples, axis (3: oblique), k of the first sample, step of k, first
    nodes, first rows, rows, first weights, weights of nodes.
    nodes : k, way (time, integrals of the moment and of its square), place of time.
    space : distinct coordinates, first ones of x, y and z, places of the voxels among them, size.
    of_tau : (n_tau, 2, n_voxels). of_time : (signs, n_times, 2, n_voxels). receive : (n_coils, 2, n_voxels).
    diffusion : (n_voxels,), or empty.
    """
    first_segment, first_sample, axis, start, step, first_node, _, _, first_weight, weight = segments
    coordinates, first, index, size = space
    n_voxels = index.shape[1]
    width = 2 * n_voxels
    n_coils, n_times = receive.size // width, nodes[3]
    n_signs = of_time.size // (n_times * width)
    n_rows, n_nodes = _largest(rows[0]), _largest(first_node)
    factors, c = np.empty(n_rows * width, np.float32), np.empty(n_rows * width, np.float32)
    at_node, part = np.empty(n_nodes * width, np.float32), np.empty(width, np.float32)
    place, stepping, damped = (
        np.empty(width, np.float32),
        np.empty(width, np.float32),
        np.empty(width, np.float32),
    )
    table, turned = np.empty(2 * coordinates.size, np.float32), np.empty(coordinates.size, np.complex128)
    line_step = np.empty(coordinates.size, np.complex128)
    lines = np.empty((n_nodes, coordinates.size), np.complex128)
    shape, slopes = np.empty(4), np.empty(3)
    for n in repetitions:
        if first_segment[n] == first_segment[n + 1]:
            continue
        _contributions(n, rows, space, phase[n], states, of_tau, table, place, factors, c)
        for s in range(first_segment[n], first_segment[n + 1]):
            node0, n_own = first_node[s], first_node[s + 1] - first_node[s]
            for j in range(n_own):
                at_node[j * width : (j + 1) * width] = 0
                for sign in range(n_signs):
                    if _at_node(s, node0 + j, sign, 0, rows, rows[0][n], segments, nodes, size, c, diffusion, shape,
                                slopes, damped, part):  # fmt: skip
                        _multiply(
                            part,
                            0,
                            of_time,
                            (sign * n_times + nodes[2][node0 + j]) * width,
                            n_voxels,
                            part,
                            0,
                        )
                        _add_scaled(1.0, part, 0, width, at_node, j * width)
            sample0, n_samples = first_sample[s], first_sample[s + 1] - first_sample[s]
            _phases(start[s], coordinates, first, index, n_voxels, table, place)
            a = axis[s]
            if a < 3:
                n_u = first[a + 1] - first[a]
                _steps(a, step[s, a], coordinates, first, line_step)
            else:
                _phases(step[s], coordinates, first, index, n_voxels, table, stepping)
            for coil in range(n_coils):
                if a < 3:
                    lines[:n_own, :n_u] = 0
                    for j in range(n_own):
                        _multiply(at_node, j * width, receive, coil * width, n_voxels, part, 0)
                        _multiply(part, 0, place, 0, n_voxels, part, 0)
                        _gather(a, first, index, part, lines, j)
                    turned[:n_u] = 1
                    for q in range(n_samples):
                        w = first_weight[s] + q * n_own
                        value = 0j
                        for i in range(n_u):
                            at = 0j
                            for j in range(n_own):
                                at += weight[w + j] * lines[j, i]
                            value += at * turned[i]
                            turned[i] *= line_step[i]
                        signal[coil, sample0 + q] = value
                else:
                    # damped is free
                    _multiply(place, 0, receive, coil * width, n_voxels, damped, 0)
                    for q in range(n_samples):
                        w = first_weight[s] + q * n_own
                        re = im = fill(np.float32(0))
                        for v in range(0, n_voxels, WIDTH):
                            x = y = fill(np.float32(0))
                            for j in range(n_own):
                                factor = fill(np.float32(weight[w + j]))
                                x += factor * load(at_node, j * width + v)
                                y += factor * load(at_node, j * width + n_voxels + v)
                            seen_re, seen_im = load(damped, v), load(damped, n_voxels + v)
                            re += x * seen_re - y * seen_im
                            im += x * seen_im + y * seen_re
                        signal[coil, sample0 + q] = complex(total(re), total(im))
                        _multiply(damped, 0, stepping, 0, n_voxels, damped, 0)


@njit(cache=True, nogil=True)
def decode(
    repetitions, rows, segments, nodes, space, states, phase, of_tau, of_time, receive, diffusion, cotangent,
    row_time, r2, r2_prime, off_resonance, position, n_sets,
    of_states, of_phase, of_sample, of_receive, of_voxels,
):  # fmt: skip
    """Pull cotangents of the samples of some repetitions back; see `encode`.

    row_time : tau of the rows. position : (3, n_voxels) flat. n_sets : 1, or 4 with shifts of k, 5 with one of tau, as in `evolution`.

    Adds to of_states, (n_sets, n_emitting, 2, n_voxels); of_phase, by the phase of the pulses; of_sample, by k, time,
    and, with diffusion, the integrals of the moment and its square at the samples, (n_samples, 4 or 8);
    of_receive; of_voxels, (4, n_voxels): by R2, 1 / T2', off-resonance, diffusion.
    """
    first_segment, first_sample, axis, start, step, first_node, row_begins, row_of, first_weight, weight = (
        segments
    )
    coordinates, first, index, size = space
    row_first, row_k, row_emitting, row_tau, row_sign = rows
    n_voxels = index.shape[1]
    width = 2 * n_voxels
    n_coils, n_times = receive.size // width, nodes[3]
    n_signs = of_time.size // (n_times * width)
    n_rows, n_nodes = _largest(rows[0]), _largest(first_node)
    n_emitting = of_states.size // (n_sets * width)
    n_shifts = min(n_sets, 4)
    factors, c = np.empty(n_rows * width, np.float32), np.empty(n_rows * width, np.float32)
    of_c = np.empty(n_shifts * n_rows * width, np.float32)
    # one for each sign of tau
    at_node = np.zeros(2 * n_nodes * width, np.float32)
    of_at_node, part = np.empty(n_nodes * width, np.float32), np.empty(width, np.float32)
    pulled = np.empty(n_nodes * width, np.float32)
    n_kinds = 0 if n_sets == 1 else of_sample.shape[1]
    stride = n_nodes * width
    changes, received = np.empty(n_kinds * stride, np.float32), np.empty(n_kinds * stride, np.float32)
    place, stepping, damped = (
        np.empty(width, np.float32),
        np.empty(width, np.float32),
        np.empty(width, np.float32),
    )
    turning = np.empty(width, np.float32)
    table, turned = np.empty(2 * coordinates.size, np.float32), np.empty(coordinates.size, np.complex128)
    line_step = np.empty(coordinates.size, np.complex128)
    lines = np.empty((8, n_nodes, coordinates.size), np.complex128)
    of_lines = np.empty((n_nodes, coordinates.size), np.complex128)
    shape, slopes = np.empty(4), np.empty(3)
    for n in repetitions:
        if first_segment[n] == first_segment[n + 1]:
            continue
        row0 = row_first[n]
        _contributions(n, rows, space, phase[n], states, of_tau, table, place, factors, c)
        of_c[:] = 0
        for s in range(first_segment[n], first_segment[n + 1]):
            node0, n_own = first_node[s], first_node[s + 1] - first_node[s]
            changes[:] = 0
            for j in range(n_own):
                for sign in range(n_signs):
                    at = (sign * n_nodes + j) * width
                    at_time = (sign * n_times + nodes[2][node0 + j]) * width
                    found = _at_node(s, node0 + j, sign, 0, rows, row0, segments, nodes, size, c, diffusion, shape,
                                     slopes, damped, part)  # fmt: skip
                    if found:
                        _multiply(part, 0, of_time, at_time, n_voxels, part, 0)
                    at_node[at : at + width] = part
                    if found and n_kinds > 0:
                        _derivatives(s, node0 + j, sign, rows, row0, segments, nodes, size, c, diffusion, of_time,
                                     at_time, r2, r2_prime, off_resonance, position, at_node, at, shape, slopes,
                                     damped, part, min(n_kinds, 7) + 1, changes, j * width, stride)  # fmt: skip
            of_at_node[:] = 0
            sample0, n_samples = first_sample[s], first_sample[s + 1] - first_sample[s]
            _phases(start[s], coordinates, first, index, n_voxels, table, place)
            a = axis[s]
            n_u = 0
            if a < 3:
                n_u = first[a + 1] - first[a]
                _steps(a, step[s, a], coordinates, first, line_step)
            else:
                _phases(step[s], coordinates, first, index, n_voxels, table, stepping)
            for coil in range(n_coils):
                for kind in range(n_kinds):
                    for j in range(n_own):
                        at = kind * stride + j * width
                        _multiply(changes, at, receive, coil * width, n_voxels, received, at)
                if a < 3:
                    of_lines[:n_own, :n_u] = 0
                    turned[:n_u] = 1
                    for q in range(n_samples):
                        w = first_weight[s] + q * n_own
                        bar = cotangent[coil, sample0 + q]
                        for i in range(n_u):
                            back = bar * np.conj(turned[i])
                            for j in range(n_own):
                                of_lines[j, i] += weight[w + j] * back
                            turned[i] *= line_step[i]
                    for j in range(n_own):
                        for v in range(n_voxels):
                            value = of_lines[j, index[a, v] - first[a]]
                            part[v], part[n_voxels + v] = value.real, value.imag
                        _multiply_conjugate(part, 0, place, 0, n_voxels, pulled, j * width)
                    for kind in range(n_kinds):
                        lines[kind, :n_own, :n_u] = 0
                        for j in range(n_own):
                            _multiply(received, kind * stride + j * width, place, 0, n_voxels, part, 0)
                            _gather(a, first, index, part, lines[kind], j)
                    turned[:n_u] = 1
                    for q in range(n_samples):
                        w = first_weight[s] + q * n_own
                        bar = np.conj(cotangent[coil, sample0 + q])
                        for kind in range(n_kinds):
                            value = 0j
                            for i in range(n_u):
                                at_u = 0j
                                for j in range(n_own):
                                    at_u += weight[w + j] * lines[kind, j, i]
                                value += at_u * turned[i]
                            of_sample[sample0 + q, kind] += (bar * value).real
                        for i in range(n_u):
                            turned[i] *= line_step[i]
                else:
                    pulled[: n_own * width] = 0
                    turning[:] = place
                    for q in range(n_samples):
                        w = first_weight[s] + q * n_own
                        bar = cotangent[coil, sample0 + q]
                        bar_re, bar_im = fill(np.float32(bar.real)), fill(np.float32(bar.imag))
                        for v in range(0, n_voxels, WIDTH):
                            re, im = load(turning, v), load(turning, n_voxels + v)
                            back_re, back_im = bar_re * re + bar_im * im, bar_im * re - bar_re * im
                            store(part, v, back_re)
                            store(part, n_voxels + v, back_im)
                            for j in range(n_own):
                                factor = fill(np.float32(weight[w + j]))
                                add(pulled, j * width + v, factor * back_re)
                                add(pulled, j * width + v + n_voxels, factor * back_im)
                        for kind in range(n_kinds):
                            same = fill(np.float32(0))
                            for v in range(0, n_voxels, WIDTH):
                                x = y = fill(np.float32(0))
                                for j in range(n_own):
                                    factor = fill(np.float32(weight[w + j]))
                                    at = kind * stride + j * width + v
                                    x += factor * load(received, at)
                                    y += factor * load(received, at + n_voxels)
                                same += load(part, v) * x + load(part, n_voxels + v) * y
                            of_sample[sample0 + q, kind] += total(same)
                        _multiply(turning, 0, stepping, 0, n_voxels, turning, 0)
                for j in range(n_own):
                    for sign in range(n_signs):
                        _multiply_conjugate(
                            pulled, j * width, at_node, (sign * n_nodes + j) * width, n_voxels, part, 0
                        )
                        _add_scaled(1.0, part, 0, width, of_receive, coil * width)
                    _multiply_conjugate(pulled, j * width, receive, coil * width, n_voxels, part, 0)
                    _add_scaled(1.0, part, 0, width, of_at_node, j * width)
            for j in range(n_own):
                node = node0 + j
                at = j * width
                for sign in range(n_signs):
                    of_r2_prime = np.float32(1 - 2 * sign)
                    time = np.float32(nodes[1][node, 0])
                    own = (sign * n_nodes + j) * width
                    for v in range(n_voxels):
                        re, im = of_at_node[at + v], of_at_node[at + n_voxels + v]
                        x, y = at_node[own + v], at_node[own + n_voxels + v]
                        same, turn = re * x + im * y, re * y - im * x
                        of_voxels[0, v] -= time * same
                        of_voxels[1, v] -= of_r2_prime * time * same
                        of_voxels[2, v] += np.float32(TWO_PI) * time * turn
                    _multiply_conjugate(of_at_node, at, of_time, (sign * n_times + nodes[2][node]) * width, n_voxels,
                                        part, 0)  # fmt: skip
                    for q in range(row_begins[s], row_begins[s + 1]):
                        i = row_of[q]
                        if row_sign[i] != sign:
                            continue
                        _shape(row_k[i], nodes[0][node], size, shape)
                        mine = (i - row0) * width
                        if diffusion.size > 0:
                            b = _b_value(row_k[i], nodes[1][node], slopes)
                            # pull through the damping, then everything as without it
                            for v in range(n_voxels):
                                left = np.exp(-np.float32(b) * diffusion[v])
                                damped[v], damped[n_voxels + v] = left * part[v], left * part[n_voxels + v]
                            for v in range(n_voxels):
                                same = damped[v] * c[mine + v] + damped[n_voxels + v] * c[mine + n_voxels + v]
                                same *= np.float32(shape[0])
                                of_voxels[3, v] -= np.float32(b) * same
                                if n_sets > 1:
                                    for shift in range(1, 4):
                                        factor = -np.float32(shape[0] * slopes[shift - 1]) * diffusion[v]
                                        to = shift * n_rows * width + mine + v
                                        of_c[to] += factor * damped[v]
                                        of_c[to + n_voxels] += factor * damped[n_voxels + v]
                        else:
                            damped[:] = part
                        for shift in range(n_shifts):
                            _add_scaled(shape[shift], damped, 0, width, of_c, shift * n_rows * width + mine)
        for i in range(row_first[n], row_first[n + 1]):
            at = (i - row0) * width
            _, turn = _inner(of_c, at, c, at, n_voxels)
            of_phase[n] -= turn
            tau, of_r2_prime = np.float32(row_time[i]), np.float32(1 - 2 * row_sign[i])
            for v in range(n_voxels):
                re, im, x, y = of_c[at + v], of_c[at + n_voxels + v], c[at + v], c[at + n_voxels + v]
                of_voxels[1, v] -= of_r2_prime * tau * (re * x + im * y)
                of_voxels[2, v] += np.float32(TWO_PI) * tau * (re * y - im * x)
            for shift in range(n_shifts):
                _multiply_conjugate(of_c, shift * n_rows * width + at, factors, at, n_voxels, part, 0)
                to = (shift * n_emitting + row_emitting[i]) * width
                _add_scaled(1.0, part, 0, width, of_states, to)
                if shift == 0 and n_sets == 5:
                    to = (4 * n_emitting + row_emitting[i]) * width
                    for v in range(n_voxels):
                        factor = -of_r2_prime * r2_prime[v]
                        of_states[to + v] += factor * part[v]
                        of_states[to + n_voxels + v] += factor * part[n_voxels + v]
