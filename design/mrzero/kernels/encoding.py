"""From emitting states to samples.

The samples of a repetition are cut into segments of equal steps in k and time. Within one, what varies slowly
(relaxation, off-resonance, the decay within voxels) is taken at a few nodes and interpolated; the phases of
the voxels' centres are not. A row is an emitting state while its tau has one sign: decay with T2' has a kink
at 0. An entry is a row at a node of a segment.

Rows of all voxels are float32 as in `rows`. Along one axis a segment needs one sum over the other two axes for
each node; oblique ones go through all voxels for every sample.

Arguments of the kernels:

rows : first of each repetition, k, emitting state, place of (tau, sign), sign of tau (0: +, 1: -).
segments : first of each repetition, first samples, axis (3: oblique), k of the first sample, step of k, first
    nodes, first rows, rows, first weights, weights of nodes.
entries : first of each node; what the shape of the voxels leaves of them and its derivatives by k, (n, 4);
    b-values and their derivatives by k, (n, 4), or empty without diffusion.
nodes : time, place of time, number of times.
space : distinct coordinates along x, then y, then z; first ones; places of the voxels among them, (3, n_voxels).
states : (n_emitting, 2, n_voxels) flat. of_tau : (n_tau, 2, n_voxels) flat. of_time : (signs, n_times, 2,
    n_voxels) flat. receive : (n_coils, 2, n_voxels) flat. diffusion : (n_voxels,), or empty.
"""

import numpy as np
from numba import njit

from design.mrzero.kernels.rows import START, add_product, add_scaled, multiply, sums, zero
from epgbloch.kernels.lanes import WIDTH

TWO_PI = 2 * np.pi


@njit(cache=True, nogil=True)
def turns(k, phase, coordinates, begin, end, table, to):
    """Write exp(i (phase - 2 pi k u)) for the coordinates u from begin to end, real parts first."""
    n = coordinates.size
    for i in range(begin, end):
        cycles = k * coordinates[i]
        angle = phase - TWO_PI * (cycles - np.rint(cycles))
        table[to + i], table[to + n + i] = np.cos(angle), np.sin(angle)


@njit(cache=True, nogil=True)
def phases(k, phase, coordinates, first, index, table, out):
    """Write exp(i (phase - 2 pi k . r)) of all voxels; table: twice the coordinates, scratch."""
    n, n_voxels = coordinates.size, index.shape[1]
    one = first[3] - first[2] == 1
    if one:
        cycles = k[2] * coordinates[first[2]]
        phase -= TWO_PI * (cycles - np.rint(cycles))
    else:
        turns(k[2], 0.0, coordinates, first[2], first[3], table, START)
    turns(k[0], phase, coordinates, first[0], first[1], table, START)
    turns(k[1], 0.0, coordinates, first[1], first[2], table, START)
    for v in range(n_voxels):
        x, y = index[0, v], index[1, v]
        out[v] = table[x] * table[y] - table[n + x] * table[n + y]
        out[n_voxels + v] = table[x] * table[n + y] + table[n + x] * table[y]
    if not one:
        for v in range(n_voxels):
            re, im, z = out[v], out[n_voxels + v], index[2, v]
            out[v] = re * table[z] - im * table[n + z]
            out[n_voxels + v] = re * table[n + z] + im * table[z]


@njit(cache=True, nogil=True)
def line_turns(k, coordinates, begin, end, n_samples, n, out):
    """Write exp(-2 pi i q k u) for samples q and the coordinates u from begin to end, (n_samples, 2, n)."""
    zero(out, START, 2 * n * n_samples)
    for i in range(begin, end):
        cycles = k * coordinates[i]
        angle = -TWO_PI * (cycles - np.rint(cycles))
        cos, sin = np.cos(angle), np.sin(angle)
        re, im = 1.0, 0.0
        for q in range(n_samples):
            out[2 * q * n + i - begin], out[(2 * q + 1) * n + i - begin] = re, im
            re, im = re * cos - im * sin, re * sin + im * cos


@njit(cache=True, nogil=True)
def gather(values, at, seen, index, begin, a, n, out, to):
    """Write sums of values times seen over all voxels with the same coordinate along axis a, (2, n)."""
    n_voxels = index.shape[1]
    zero(out, to, 2 * n)
    for v in range(n_voxels):
        x, y, re, im = values[at + v], values[at + n_voxels + v], seen[v], seen[n_voxels + v]
        u = to + index[a, v] - begin
        out[u] += x * re - y * im
        out[u + n] += x * im + y * re


@njit(cache=True, nogil=True)
def largest(begins):
    """Most entries of a part, at least 1."""
    most = 1
    for i in range(begins.size - 1):
        most = max(most, begins[i + 1] - begins[i])
    return most


@njit(cache=True, nogil=True)
def padded(n):
    """The next multiple of WIDTH."""
    return (n + WIDTH - 1) // WIDTH * WIDTH


@njit(cache=True, nogil=True)
def contributions(
    begin, end, row_k, row_emitting, row_tau, phase, space, states, of_tau, scratch, factors, c
):
    """Write what rows are multiplied with at their pulse, and the products: (rows, 2, n_voxels).

    scratch : of the size of a table of `phases` and a row of all voxels.
    """
    coordinates, first, index = space
    table, place = scratch
    n_voxels = index.shape[1]
    width = 2 * n_voxels
    for i in range(begin, end):
        at = (i - begin) * width
        phases(row_k[i], phase, coordinates, first, index, table, place)
        multiply(place, START, of_tau, row_tau[i] * width, n_voxels, factors, at)
        multiply(factors, at, states, row_emitting[i] * width, n_voxels, c, at)


@njit(cache=True, nogil=True)
def damp(b, diffusion, a, at, n, out):
    """Out = a after diffusion with this b-value."""
    for v in range(n):
        left = np.exp(-np.float32(b) * diffusion[v])
        out[v], out[n + v] = left * a[at + v], left * a[at + n + v]


@njit(cache=True, nogil=True)
def at_node(begin, end, row_of, row_sign, sign, row0, entry, shape, damping, n_kinds, c, diffusion, damped, n,
            out, step):  # fmt: skip
    """Write the sums of the rows with this sign of tau at a node, before relaxation.

    begin, end : of the rows of the segment. entry : that of the first. row0 : the first row of c. n_kinds : 1, or
    4 with the derivatives by k as far as shape goes; these are `step` apart.
    """
    for kind in range(n_kinds):
        zero(out, kind * step, 2 * n)
    for q in range(begin, end):
        i = row_of[q]
        if row_sign[i] != sign:
            continue
        e = entry + q - begin
        own, at = c, (i - row0) * 2 * n
        if diffusion.size > 0:
            damp(damping[e, 0], diffusion, c, at, n, damped)
            own, at = damped, 0
        for kind in range(n_kinds):
            if shape[e, kind] != 0:
                add_scaled(shape[e, kind], own, at, n, out, kind * step)


@njit(cache=True, nogil=True)
def has_sign(begin, end, row_of, row_sign, sign):
    """Tell whether any of the rows of a segment has this sign."""
    for q in range(begin, end):
        if row_sign[row_of[q]] == sign:
            return True
    return False


@njit(cache=True, nogil=True)
def encode(
    repetitions, rows, segments, entries, nodes, space, states, phase, of_tau, of_time, receive, diffusion,
    signal,
):  # fmt: skip
    """Write the samples of some repetitions to signal, (n_coils, n_samples)."""
    row_first, row_k, row_emitting, row_tau, row_sign = rows
    (first_segment, first_sample, axis, start, step, first_node, row_begins, row_of, first_weight,
     weight) = segments  # fmt: skip
    first_entry, shape, damping = entries
    _, place_of_time, n_times = nodes
    coordinates, first, index = space
    n_voxels = index.shape[1]
    width = 2 * n_voxels
    n_coils, n_signs = receive.size // width, of_time.size // (n_times * width)
    n_rows, n_nodes, most = largest(row_first), largest(first_node), largest(first_sample)
    factors, c = np.empty(n_rows * width, np.float32), np.empty(n_rows * width, np.float32)
    node, part = np.empty(n_nodes * width, np.float32), np.empty(width, np.float32)
    place, seen = np.empty(width, np.float32), np.empty(width, np.float32)
    stepping, damped = np.empty(width, np.float32), np.empty(width, np.float32)
    table = np.empty(2 * coordinates.size, np.float32)
    n_line = padded(largest(first))
    lines, turning = np.empty(2 * n_nodes * n_line, np.float32), np.empty(2 * most * n_line, np.float32)
    known_axis, known_step, known_samples = 3, 0.0, 0
    n_kinds = np.int64(1)
    for n in repetitions:
        row0, end = row_first[n], row_first[n + 1]
        if row0 == end:
            continue
        contributions(row0, end, row_k, row_emitting, row_tau, phase[n], space, states, of_tau, (table, place),
                      factors, c)  # fmt: skip
        for s in range(first_segment[n], first_segment[n + 1]):
            node0, n_own = first_node[s], first_node[s + 1] - first_node[s]
            zero(node, START, n_own * width)
            for sign in range(n_signs):
                if not has_sign(row_begins[s], row_begins[s + 1], row_of, row_sign, sign):
                    continue
                for j in range(node0, node0 + n_own):
                    at_node(row_begins[s], row_begins[s + 1], row_of, row_sign, sign, row0, first_entry[j],
                            shape, damping, n_kinds, c, diffusion, damped, n_voxels, part, START)  # fmt: skip
                    at_time = (sign * n_times + place_of_time[j]) * width
                    add_product(part, START, of_time, at_time, n_voxels, node, (j - node0) * width)
            sample0, n_samples = first_sample[s], first_sample[s + 1] - first_sample[s]
            phases(start[s], 0.0, coordinates, first, index, table, place)
            a = axis[s]
            if a == 3:
                phases(step[s], 0.0, coordinates, first, index, table, stepping)
            elif a != known_axis or step[s, a] != known_step or n_samples > known_samples:
                known_axis, known_step, known_samples = a, step[s, a], n_samples
                line_turns(step[s, a], coordinates, first[a], first[a + 1], n_samples, n_line, turning)
            for coil in range(n_coils):
                multiply(receive, coil * width, place, START, n_voxels, seen, START)
                if a < 3:
                    for j in range(n_own):
                        gather(node, j * width, seen, index, first[a], a, n_line, lines, 2 * j * n_line)
                for q in range(n_samples):
                    w = first_weight[s] + q * n_own
                    if a < 3:
                        re, im = sums(
                            lines, START, n_own, 2 * n_line, weight, w, turning, 2 * q * n_line, n_line
                        )
                    else:
                        re, im = sums(node, START, n_own, width, weight, w, seen, START, n_voxels)
                        multiply(seen, START, stepping, START, n_voxels, seen, START)
                    signal[coil, sample0 + q] = complex(re, im)
