"""From cotangents of the samples back to emitting states; see `encoding`.

Changes of a node are its derivatives by k (3), time, and, with diffusion, by the integrals of the moment (3)
and of its square.
"""

import numpy as np
from numba import njit

from design.mrzero.kernels.encoding import (
    TWO_PI,
    at_node,
    contributions,
    damp,
    gather,
    has_sign,
    largest,
    line_turns,
    padded,
    phases,
)
from design.mrzero.kernels.rows import (
    START,
    add_complex,
    add_conjugate,
    add_scaled,
    add_weighted,
    load_complex,
    multiply,
    multiply_conjugate,
    nothing,
    spread,
    sums,
    zero,
)
from epgbloch.kernels.lanes import WIDTH, add, fill, load, total


@njit(cache=True, nogil=True)
def _add_changes(own, at, of_shape, step, of_time, at_time, sign, maps, n, out, to, stride):
    """Add the changes of a node by k and time, without diffusion, to rows `stride` apart.

    own : the node. of_shape : derivatives by k as far as shape goes, before relaxation, `step` apart.
    """
    r2, r2_prime, off_resonance, position = maps
    cycle, decay = fill(np.float32(-TWO_PI)), fill(np.float32(1 - 2 * sign))
    for v in range(0, n, WIDTH):
        x, y = load_complex(own, at + v, n)
        re, im = load_complex(of_time, at_time + v, n)
        for a in range(3):
            s, t = load_complex(of_shape, (a + 1) * step + v, n)
            turn = cycle * load(position, a * n + v)
            add_complex(out, to + a * stride + v, n, s * re - t * im - turn * y, s * im + t * re + turn * x)
        turn, rate = cycle * load(off_resonance, v), load(r2, v) + decay * load(r2_prime, v)
        add_complex(out, to + 3 * stride + v, n, -(rate * x) - turn * y, turn * x - rate * y)


@njit(cache=True, nogil=True)
def _add_diffusion_changes(begin, end, row_of, row_sign, sign, row0, entry, shape, damping, row_k, c, diffusion,
                           of_time, at_time, scratch, n, out, to, stride):  # fmt: skip
    """Add the changes of a node by time and the integrals of moments that diffusion makes."""
    damped, part = scratch
    for q in range(begin, end):
        i, e = row_of[q], entry + q - begin
        if row_sign[i] != sign or shape[e, 0] == 0:
            continue
        damp(damping[e, 0], diffusion, c, (i - row0) * 2 * n, n, damped)
        multiply(damped, START, of_time, at_time, n, part, START)
        factor = -shape[e, 0] * TWO_PI**2
        square = row_k[i, 0] ** 2 + row_k[i, 1] ** 2 + row_k[i, 2] ** 2
        add_weighted(factor * square, diffusion, part, START, n, out, to + 3 * stride)
        for a in range(3):
            add_weighted(2 * factor * row_k[i, a], diffusion, part, START, n, out, to + (4 + a) * stride)
        add_weighted(factor, diffusion, part, START, n, out, to + 7 * stride)


@njit(cache=True, nogil=True)
def _scatter(lines, at, place, index, begin, a, n, out, to):
    """Pull cotangents of `gather` back: lines at the voxels times conj(place)."""
    n_voxels = index.shape[1]
    for v in range(n_voxels):
        u = at + index[a, v] - begin
        x, y, re, im = lines[u], lines[u + n], place[v], place[n_voxels + v]
        out[to + v], out[to + n_voxels + v] = x * re + y * im, y * re - x * im


@njit(cache=True, nogil=True)
def _add_to_rates(bar, bt, own, at, time, decay, n, of_voxels):
    """Add derivatives by R2, 1 / T2' and off-resonance of a node at this time; decay: by 1 / T2'."""
    passed, cycles = fill(np.float32(-time)), fill(np.float32(TWO_PI * time))
    dephased = fill(np.float32(-decay * time))
    for v in range(0, n, WIDTH):
        re, im = load_complex(bar, bt + v, n)
        x, y = load_complex(own, at + v, n)
        same = re * x + im * y
        add(of_voxels, v, passed * same)
        add(of_voxels, n + v, dephased * same)
        add(of_voxels, 2 * n + v, cycles * (re * y - im * x))


@njit(cache=True, nogil=True)
def _add_to_pulse(bar, at, c, tau, decay, n, of_voxels):
    """Add derivatives by 1 / T2' and off-resonance of a row, and return that by the phase of its pulse."""
    dephased, cycles = fill(np.float32(-decay * tau)), fill(np.float32(TWO_PI * tau))
    turned = nothing()
    for v in range(0, n, WIDTH):
        re, im = load_complex(bar, at + v, n)
        x, y = load_complex(c, at + v, n)
        turn = re * y - im * x
        turned += turn
        add(of_voxels, n + v, dephased * (re * x + im * y))
        add(of_voxels, 2 * n + v, cycles * turn)
    return -total(turned)


@njit(cache=True, nogil=True)
def _add_to_rows(begin, end, row_of, row_sign, sign, row0, entry, shape, damping, n_shifts, part, c, diffusion,
                 damped, n, of_voxels, of_c, step):  # fmt: skip
    """Pull the cotangent of a node before relaxation back to its rows and their shifts, `step` apart."""
    for q in range(begin, end):
        i, e = row_of[q], entry + q - begin
        if row_sign[i] != sign:
            continue
        at = (i - row0) * 2 * n
        own = part
        if diffusion.size > 0:
            damp(damping[e, 0], diffusion, part, START, n, damped)
            own = damped
            passed = fill(np.float32(-damping[e, 0] * shape[e, 0]))
            for v in range(0, n, WIDTH):
                re, im = load_complex(damped, v, n)
                x, y = load_complex(c, at + v, n)
                add(of_voxels, 3 * n + v, passed * (re * x + im * y))
            for shift in range(1, n_shifts):
                factor = -shape[e, 0] * damping[e, shift]
                if factor != 0:
                    add_weighted(factor, diffusion, damped, START, n, of_c, shift * step + at)
        for shift in range(n_shifts):
            if shape[e, shift] != 0:
                add_scaled(shape[e, shift], own, START, n, of_c, shift * step + at)


@njit(cache=True, nogil=True)
def decode(
    repetitions, rows, segments, entries, nodes, space, states, phase, of_tau, of_time, receive, diffusion,
    cotangent, row_time, maps, place_of_set, of_states, of_phase, of_sample, of_receive, of_voxels,
):  # fmt: skip
    """Pull cotangents of the samples of some repetitions back; see `encode`.

    row_time : tau of the rows. maps : R2, 1 / T2', off-resonance, position (3, n_voxels) flat. place_of_set : (n_sets,
    n_emitting), rows of of_states, -1 for those that are 0; n_sets is 1, or 4 with shifts of k, 5 with one of
    tau, as in `evolution`.

    Adds to of_states, (n_rows, 2, n_voxels); of_phase, by the phase of the pulses; of_sample, changes, (n_samples,
    4 or 8); of_receive; of_voxels, (4, n_voxels): by R2, 1 / T2', off-resonance, diffusion. All but of_phase
    and of_sample are flat.
    """
    row_first, row_k, row_emitting, row_tau, row_sign = rows
    (first_segment, first_sample, axis, start, step, first_node, row_begins, row_of, first_weight,
     weight) = segments  # fmt: skip
    first_entry, shape, damping = entries
    node_time, place_of_time, n_times = nodes
    coordinates, first, index = space
    n_voxels, n_sets = index.shape[1], place_of_set.shape[0]
    width = 2 * n_voxels
    n_coils, n_signs = receive.size // width, of_time.size // (n_times * width)
    n_rows, n_nodes, most = largest(row_first), largest(first_node), largest(first_sample)
    n_shifts = min(n_sets, 4)
    n_changes = 0 if n_sets == 1 else of_sample.shape[1]
    stride, step_c = n_nodes * width, n_rows * width
    factors, c = np.empty(step_c, np.float32), np.empty(step_c, np.float32)
    of_c = np.empty(n_shifts * step_c, np.float32)
    node = np.zeros(2 * stride, np.float32)  # for each sign of tau
    of_node, pulled = np.empty(stride, np.float32), np.empty(stride, np.float32)
    changes = np.empty(n_changes * stride, np.float32)
    parts, part = np.empty(4 * width, np.float32), np.empty(width, np.float32)
    place, seen = np.empty(width, np.float32), np.empty(width, np.float32)
    stepping, damped = np.empty(width, np.float32), np.empty(width, np.float32)
    table = np.empty(2 * coordinates.size, np.float32)
    n_line = padded(largest(first))
    lines, turning = np.empty(2 * n_nodes * n_line, np.float32), np.empty(2 * most * n_line, np.float32)
    known_axis, known_step, known_samples = 3, 0.0, 0
    for n in repetitions:
        row0, end = row_first[n], row_first[n + 1]
        if row0 == end:
            continue
        contributions(row0, end, row_k, row_emitting, row_tau, phase[n], space, states, of_tau, (table, place),
                      factors, c)  # fmt: skip
        for shift in range(n_shifts):
            zero(of_c, shift * step_c, (end - row0) * width)
        for s in range(first_segment[n], first_segment[n + 1]):
            node0, n_own = first_node[s], first_node[s + 1] - first_node[s]
            q0, q1 = row_begins[s], row_begins[s + 1]
            for kind in range(n_changes):
                zero(changes, kind * stride, n_own * width)
            for sign in range(n_signs):
                if not has_sign(q0, q1, row_of, row_sign, sign):
                    continue
                for j in range(n_own):
                    at_time = (sign * n_times + place_of_time[node0 + j]) * width
                    at, entry = (sign * n_nodes + j) * width, first_entry[node0 + j]
                    at_node(q0, q1, row_of, row_sign, sign, row0, entry, shape, damping, n_shifts, c, diffusion,
                            damped, n_voxels, parts, width)  # fmt: skip
                    multiply(parts, START, of_time, at_time, n_voxels, node, at)
                    if n_changes > 0:
                        _add_changes(node, at, parts, width, of_time, at_time, sign, maps, n_voxels, changes,
                                     j * width, stride)  # fmt: skip
                    if n_changes > 4:
                        _add_diffusion_changes(q0, q1, row_of, row_sign, sign, row0, entry, shape, damping, row_k,
                                               c, diffusion, of_time, at_time, (damped, part), n_voxels, changes,
                                               j * width, stride)  # fmt: skip
            zero(of_node, START, n_own * width)
            sample0, n_samples = first_sample[s], first_sample[s + 1] - first_sample[s]
            a = axis[s]
            if a == 3:
                phases(step[s], 0.0, coordinates, first, index, table, stepping)
            elif a != known_axis or step[s, a] != known_step or n_samples > known_samples:
                known_axis, known_step, known_samples = a, step[s, a], n_samples
                line_turns(step[s, a], coordinates, first[a], first[a + 1], n_samples, n_line, turning)
            for coil in range(n_coils):
                phases(start[s], 0.0, coordinates, first, index, table, place)
                if a < 3:
                    _decode_line(coil, sample0, n_samples, n_own, first_weight[s], weight, cotangent, turning, place,
                                 receive, index, first[a], a, n_line, n_changes, changes, stride, seen, lines,
                                 pulled, of_sample)  # fmt: skip
                else:
                    _decode_oblique(coil, sample0, n_samples, n_own, first_weight[s], weight, cotangent, stepping,
                                    place, receive, n_voxels, n_changes, changes, stride, seen, pulled,
                                    of_sample)  # fmt: skip
                for j in range(n_own):
                    for sign in range(n_signs):
                        if has_sign(q0, q1, row_of, row_sign, sign):
                            add_conjugate(pulled, j * width, node, (sign * n_nodes + j) * width, n_voxels,
                                          of_receive, coil * width)  # fmt: skip
                    add_conjugate(pulled, j * width, receive, coil * width, n_voxels, of_node, j * width)
            for sign in range(n_signs):
                if not has_sign(q0, q1, row_of, row_sign, sign):
                    continue
                for j in range(n_own):
                    _add_to_rates(of_node, j * width, node, (sign * n_nodes + j) * width, node_time[node0 + j],
                                  1 - 2 * sign, n_voxels, of_voxels)  # fmt: skip
                    at_time = (sign * n_times + place_of_time[node0 + j]) * width
                    multiply_conjugate(of_node, j * width, of_time, at_time, n_voxels, part, START)
                    _add_to_rows(q0, q1, row_of, row_sign, sign, row0, first_entry[node0 + j], shape, damping,
                                 n_shifts, part, c, diffusion, damped, n_voxels, of_voxels, of_c, step_c)  # fmt: skip
        for i in range(row0, end):
            at, decay = (i - row0) * width, 1 - 2 * row_sign[i]
            for shift in range(n_sets):
                to = place_of_set[shift, row_emitting[i]] * width
                if to < 0:
                    continue
                if shift == 0:
                    of_phase[n] += _add_to_pulse(of_c, at, c, row_time[i], decay, n_voxels, of_voxels)
                if shift < 4:
                    add_conjugate(of_c, shift * step_c + at, factors, at, n_voxels, of_states, to)
                else:
                    # decay with tau
                    multiply_conjugate(of_c, at, factors, at, n_voxels, part, START)
                    add_weighted(-float(decay), maps[1], part, START, n_voxels, of_states, to)


@njit(cache=True, nogil=True)
def _decode_line(coil, sample0, n_samples, n_own, w, weight, cotangent, turning, place, receive, index, begin, a,
                 n_line, n_changes, changes, stride, seen, lines, pulled, of_sample):  # fmt: skip
    """Pull samples of a coil along an axis back to the nodes, and add the derivatives by samples."""
    n_voxels = index.shape[1]
    width, line = 2 * n_voxels, 2 * n_line
    zero(lines, START, n_own * line)
    for q in range(n_samples):
        spread(
            cotangent[coil, sample0 + q], turning, q * line, n_line, n_own, line, weight, w + q * n_own, lines
        )
    for j in range(n_own):
        _scatter(lines, j * line, place, index, begin, a, n_line, pulled, j * width)
    multiply(receive, coil * width, place, START, n_voxels, seen, START)
    for kind in range(n_changes):
        for j in range(n_own):
            gather(changes, kind * stride + j * width, seen, index, begin, a, n_line, lines, j * line)
        for q in range(n_samples):
            re, im = sums(lines, START, n_own, line, weight, w + q * n_own, turning, q * line, n_line)
            bar = cotangent[coil, sample0 + q]
            of_sample[sample0 + q, kind] += bar.real * re + bar.imag * im


@njit(cache=True, nogil=True)
def _decode_oblique(coil, sample0, n_samples, n_own, w, weight, cotangent, stepping, place, receive, n_voxels,
                    n_changes, changes, stride, seen, pulled, of_sample):  # fmt: skip
    """Pull samples of a coil back to the nodes, and add the derivatives by samples; overwrites place."""
    width = 2 * n_voxels
    zero(pulled, START, n_own * width)
    multiply(receive, coil * width, place, START, n_voxels, seen, START)
    for q in range(n_samples):
        bar = cotangent[coil, sample0 + q]
        spread(bar, place, START, n_voxels, n_own, width, weight, w + q * n_own, pulled)
        multiply(place, START, stepping, START, n_voxels, place, START)
        for kind in range(n_changes):
            re, im = sums(changes, kind * stride, n_own, width, weight, w + q * n_own, seen, START, n_voxels)
            of_sample[sample0 + q, kind] += bar.real * re + bar.imag * im
        multiply(seen, START, stepping, START, n_voxels, seen, START)
