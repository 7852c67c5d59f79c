"""How the emitting states of a sequence become samples: segments of readouts, nodes in time, tables."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import factorial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from design.mrzero.graph import Graph
from design.mrzero.sequence import ImagingSequence
from design.mrzero.way import Way

RealArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_EVEN = 1e-7
"""Steps of k, in cycles over the object, and of time, as part of the readout, that count as equal."""
_NOTHING = 1e-9
"""What is lost in single precision next to 1."""
_MOST_NODES = 64


@dataclass(frozen=True, eq=False)
class Rates:
    """Largest rates of the object, which tell how many nodes a segment needs.

    Attributes
    ----------
    decay : float
        Largest 1 / T2 + 1 / T2' [1/s].
    frequency : float
        Largest off-resonance [Hz].
    size : ndarray, shape (3,)
        Edges of the voxels [m].
    extent : ndarray, shape (3,)
        Extent of the object, at least a voxel [m].
    dephases, diffuses : bool
        Whether any T2' is finite, and any diffusion above 0.
    """

    decay: float
    frequency: float
    size: RealArray
    extent: RealArray
    dephases: bool
    diffuses: bool


@dataclass(frozen=True, eq=False)
class Encoding:
    """Rows, segments and nodes as the kernels take them, see `kernels.encoding.encode`.

    Attributes
    ----------
    rows, segments, entries : tuple of ndarray
        As in the kernels.
    row_of_entry : ndarray, shape (n_entries,), int64
        Row of each entry.
    row_time : ndarray, shape (n_rows,), float64
        tau of the rows.
    node_time : ndarray, shape (n_nodes,), float64
        Time of the nodes.
    time_of_node : ndarray, shape (n_nodes,), int64
        Place of each node's time among `times`.
    times : ndarray, shape (n_times, 2), float64
        Time of the nodes, and the middle of the samples of their repetition.
    taus : ndarray, shape (n_taus, 3), float64
        tau, sign (0: +, 1: -), middle of the samples of the repetition.
    """

    rows: tuple[Any, ...]
    segments: tuple[Any, ...]
    entries: tuple[Any, ...]
    row_of_entry: IntArray
    row_time: RealArray
    node_time: RealArray
    time_of_node: IntArray
    times: RealArray
    taus: RealArray

    def place_of_sets(self, n_emitting: int, n_sets: int) -> tuple[IntArray, int]:
        """Return rows of cotangents of emitting states, as `decode` takes them, and how many there are.

        A state that the shape of the voxels silences has no cotangent of its own, but may have one by shifts.
        """
        _, shape, damping = self.entries
        emitting = self.rows[2][self.row_of_entry]
        heard = shape != 0
        if len(damping):
            heard[:, 1:] |= heard[:, :1]
        used = np.zeros((n_sets, n_emitting), np.bool_)
        for s in range(n_sets):
            # shifts of tau need what is heard
            used[s, emitting[heard[:, s % 4]]] = True
        places = np.full(used.shape, -1, np.int64)
        n = int(used.sum())
        places[used] = np.arange(n)
        return places, n


def make_encoding(
    sequence: ImagingSequence, way: Way, graph: Graph, rates: Rates, tolerance: float
) -> Encoding:
    """Cut the readouts of a sequence into segments and choose their nodes."""
    n = sequence.n_repetitions
    sampled = np.flatnonzero(sequence.adc)
    counts = np.add.reduceat(sequence.adc.astype(np.int64), way.first_event[:-1])
    first_sample_of = np.concatenate([[0], np.cumsum(counts)])
    first_emitting = np.searchsorted(graph.emitting, graph.first[:, 0])
    k, time = way.k[sampled], way.time[sampled]
    last_of_run = _last_of_runs(sampled, np.column_stack([k * rates.extent, time]), first_sample_of)
    bounds, segment_first = [0], [0]
    emitting: list[IntArray] = []
    signs: list[IntArray] = []
    segment_rows: list[IntArray] = []
    row_first = np.zeros(n + 1, np.int64)
    middles = np.zeros(n)
    for r in range(n):
        begin, end = int(first_sample_of[r]), int(first_sample_of[r + 1])
        own = np.arange(first_emitting[r], first_emitting[r + 1])
        row_first[r + 1] = row_first[r]
        if begin < end and own.size:
            middles[r] = (time[begin] + time[end - 1]) / 2
            tau = graph.k_transverse[graph.emitting[own], 3]
            ends, states, sign, places = _readout(tau, begin, end, time, last_of_run, rates.dephases)
            emitting.append(own[states])
            signs.append(sign)
            segment_rows += [row_first[r] + place for place in places]
            row_first[r + 1] += states.size
            bounds += ends
        elif begin < end:
            segment_rows.append(own)
            bounds.append(end)
        segment_first.append(len(bounds) - 1)
    none = np.zeros(0, np.int64)
    rows = _Rows(row_first, np.concatenate([none, *emitting]), np.concatenate([none, *signs]), segment_rows)
    cuts = _Cuts(sampled, np.array(segment_first), np.array(bounds), middles)
    return _assemble(cuts, rows, way, graph, rates, tolerance)


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows of all repetitions, and those of each segment."""

    first: IntArray
    emitting: IntArray
    sign: IntArray
    of_segment: list[IntArray]


@dataclass(frozen=True, eq=False)
class _Cuts:
    """Sampled events, first segments of the repetitions, first samples of the segments, middles of readouts."""

    sampled: IntArray
    first_segment: IntArray
    first_sample: IntArray
    middles: RealArray


def _readout(
    tau: RealArray, begin: int, end: int, time: RealArray, last_of_run: IntArray, dephases: bool
) -> tuple[list[int], IntArray, IntArray, list[IntArray]]:
    """Cut the samples of a repetition where steps change and where tau of a state passes 0.

    Returns the ends of the segments; states and signs of the rows; and the rows of each segment.
    """
    kinks = np.sort(-tau[(-tau > time[begin]) & (-tau < time[end - 1])]) if dephases else tau[:0]
    ends, at = [], begin
    middle = []
    while at < end:
        last = int(last_of_run[at])
        later = kinks[(kinks > time[at]) & (kinks < time[last])] if kinks.size else kinks
        if later.size:
            # the samples up to the kink
            last = at + int(np.searchsorted(time[at : last + 1], later[0], side="right")) - 1
        middle.append((time[at] + time[last]) / 2)
        ends.append(last + 1)
        at = last + 1
    states = np.arange(tau.size)
    if not kinks.size:
        readout = (time[begin] + time[end - 1]) / 2
        sign = (tau + readout < 0).astype(np.int64) if dephases else np.zeros(tau.size, np.int64)
        return ends, states, sign, [states] * len(ends)
    keys = 2 * states + (tau + np.array(middle)[:, np.newaxis] < 0)
    used, places = np.unique(keys, return_inverse=True)
    return ends, used // 2, used % 2, list(places.reshape(keys.shape))


def _assemble(cuts: _Cuts, rows: _Rows, way: Way, graph: Graph, rates: Rates, tolerance: float) -> Encoding:
    """Arrange everything in flat arrays."""
    sampled, segment_first, first_sample = cuts.sampled, cuts.first_segment, cuts.first_sample
    counts = np.diff(first_sample)
    first, last = sampled[first_sample[:-1]], sampled[first_sample[1:] - 1]
    span = way.k[last] - way.k[first]
    steps = np.maximum(counts - 1, 1)
    moves = np.abs(span) * rates.extent > _EVEN
    n_moving = moves.sum(axis=1)
    axis = np.where(n_moving > 1, 3, np.argmax(moves, axis=1))
    width = (way.time[last] - way.time[first]) * (np.pi * rates.frequency + rates.decay / 2)
    width = width + np.pi / 2 * (np.abs(span) * rates.size).sum(axis=1)
    needed = np.array([_nodes_for(round(float(x), 1), tolerance) for x in width])
    n_nodes = np.where(needed < counts, needed, counts)
    first_node = np.concatenate([[0], np.cumsum(n_nodes)])
    nodes, first_weight, weight = _all_weights(counts, n_nodes)
    of_segment = np.repeat(np.arange(counts.size), n_nodes)
    e0 = first[of_segment]
    k0, step = way.k[e0], span[of_segment] / steps[of_segment, np.newaxis]
    duration = (way.time[last] - way.time[first])[of_segment] / steps[of_segment]
    u = nodes[:, np.newaxis]
    k_node = k0 + u * step
    time_node = way.time[e0] + nodes * duration
    repetition = np.repeat(np.arange(segment_first.size - 1), np.diff(segment_first))
    times, time_of_node = _distinct(np.column_stack([time_node, cuts.middles[repetition[of_segment]]]))
    place = graph.k_transverse[graph.emitting[rows.emitting]].reshape(-1, 4)
    of_row = np.repeat(np.arange(rows.first.size - 1), np.diff(rows.first))
    taus, tau_of_row = _distinct(np.column_stack([place[:, 3], rows.sign, cuts.middles[of_row]]))
    first_row = np.concatenate([[0], np.cumsum([len(own) for own in rows.of_segment])]).astype(np.int64)
    row_of = np.concatenate([np.zeros(0, np.int64), *rows.of_segment])
    # entries: the rows of each node
    n_entries = np.diff(first_row)[of_segment]
    first_entry = np.concatenate([[0], np.cumsum(n_entries)]).astype(np.int64)
    node = np.repeat(np.arange(n_entries.size), n_entries)
    row = row_of[first_row[of_segment[node]] + np.arange(node.size) - first_entry[node]]
    shape = _shape(place[row, :3] + k_node[node], rates.size)
    damping = np.zeros((0, 4))
    if rates.diffuses:
        area = way.area[e0] + duration[:, np.newaxis] * (u * k0 + u**2 / 2 * step)
        square = (u * k0**2 + u**2 * k0 * step + u**3 / 3 * step**2).sum(axis=1)
        square = way.square[e0] + duration * square
        damping = _damping(place[row, :3], time_node[node], area[node], square[node])
    return Encoding(
        (rows.first, np.ascontiguousarray(place[:, :3]), rows.emitting, tau_of_row, rows.sign),
        (
            segment_first,
            first_sample,
            axis,
            way.k[first],
            span / steps[:, np.newaxis],
            first_node,
            first_row,
            row_of,
            first_weight,
            weight,
        ),
        (first_entry, shape, damping),
        row,
        np.ascontiguousarray(place[:, 3]),
        time_node,
        time_of_node,
        times,
        taus,
    )


def _shape(k: RealArray, size: RealArray) -> RealArray:
    """Return what the shape of the voxels leaves of states at k and its derivatives by k, (n, 4)."""
    y = np.pi * k * size
    near = np.abs(y) < 1e-3
    safe = np.where(near, 1.0, y)
    sinc = np.where(near, 1 - y**2 / 6, np.sin(safe) / safe)
    slope = np.where(near, -y / 3 + y**3 / 30, (np.cos(safe) - np.sin(safe) / safe) / safe)
    # zeros of sinc, which rounding hides: the kernels skip them
    sinc[np.abs(sinc) < _NOTHING] = 0
    slope[np.abs(slope) < _NOTHING] = 0
    slope *= np.pi * size
    result = np.empty((len(k), 4))
    result[:, 0] = sinc.prod(axis=1)
    for a in range(3):
        result[:, 1 + a] = slope[:, a] * sinc[:, (a + 1) % 3] * sinc[:, (a + 2) % 3]
    return result


def _damping(k: RealArray, time: RealArray, area: RealArray, square: RealArray) -> RealArray:
    """Return b-values since the pulse of states that start at k, and their derivatives by k, (n, 4)."""
    turned = k * time[:, np.newaxis] + area
    result = np.empty((len(k), 4))
    result[:, 0] = (k * (turned + area)).sum(axis=1) + square
    result[:, 1:] = 2 * turned
    return (2 * np.pi) ** 2 * result


def _all_weights(counts: IntArray, n_nodes: IntArray) -> tuple[RealArray, IntArray, RealArray]:
    """Return the nodes of all segments among their samples, where the weights of each begin, and all weights."""
    nodes, offsets, weights = [], [], []
    known: dict[tuple[int, int], int] = {}
    total = 0
    for key in zip(counts.tolist(), n_nodes.tolist(), strict=True):
        place, weight = _interpolation(*key)
        nodes.append(place)
        if key not in known:
            known[key] = total
            weights.append(weight.ravel())
            total += weight.size
        offsets.append(known[key])
    return np.concatenate(nodes), np.array(offsets, np.int64), np.concatenate(weights)


def _last_of_runs(sampled: IntArray, where: RealArray, first_sample: IntArray) -> IntArray:
    """Return for each sample the last one that equal steps of k and time lead to, within its repetition."""
    n = len(sampled)
    steps = np.diff(where, axis=0)
    same = np.abs(np.diff(steps, axis=0)) <= _EVEN * np.maximum(1, np.abs(steps[1:]))
    # steps j and j + 1 belong together
    joined = same[:, :3].all(axis=1) & (np.abs(np.diff(steps[:, 3])) <= 1e-9 * np.maximum(steps[1:, 3], 1e-6))
    inside = np.diff(sampled) == 1
    inside[first_sample[1:-1][(first_sample[1:-1] > 0) & (first_sample[1:-1] < n)] - 1] = False
    joined &= inside[1:] & inside[:-1]
    # runs of joined steps end where the next step is not joined
    last = np.arange(n)
    ends = np.flatnonzero(~np.append(joined, False)) if n > 1 else np.zeros(0, np.int64)
    if n > 1:
        end_of_step = ends[np.searchsorted(ends, np.arange(n - 1))]
        last[:-1] = np.where(inside, end_of_step + 1, last[:-1])
    return last


def _distinct(values: RealArray) -> tuple[RealArray, IntArray]:
    """Return distinct rows, equal to a picosecond, and the place of each row among them."""
    _, at, place = np.unique(np.rint(values * 1e12), axis=0, return_index=True, return_inverse=True)
    return values[at], place.reshape(-1).astype(np.int64)


@lru_cache(maxsize=4096)
def _nodes_for(width: float, tolerance: float) -> int:
    """Return the Chebyshev nodes that interpolate exp(width u) in -1 <= u <= 1 well below the tolerance."""
    n = 2
    while n < _MOST_NODES and 2 * ((width + 0.1) / 2) ** n / factorial(n) > tolerance / 20:
        n += 1
    return n


@lru_cache(maxsize=4096)
def _interpolation(n_samples: int, n_nodes: int) -> tuple[RealArray, RealArray]:
    """Return nodes among samples 0, 1, ... and their weights in each sample, (n_samples, n_nodes)."""
    samples = np.arange(n_samples, dtype=np.float64)
    if n_nodes == n_samples:
        return samples, np.eye(n_samples)
    nodes = (n_samples - 1) / 2 * (1 + np.cos((2 * np.arange(n_nodes) + 1) * np.pi / (2 * n_nodes)))
    weights = np.ones((n_samples, n_nodes))
    for i in range(n_nodes):
        for j in range(n_nodes):
            if i != j:
                weights[:, i] *= (samples - nodes[j]) / (nodes[i] - nodes[j])
    return nodes, weights
