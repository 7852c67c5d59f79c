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
"""Steps of k, in cycles per extent of the object, and of time, relative to the readout, that count as equal."""
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
    dephases : bool
        Whether any T2' is finite.
    """

    decay: float
    frequency: float
    size: RealArray
    extent: RealArray
    dephases: bool


@dataclass(frozen=True, eq=False)
class Encoding:
    """Rows, segments and nodes as the kernels take them, see `kernels.encoding.encode`.

    Attributes
    ----------
    rows, segments : tuple of ndarray
        As in the kernels.
    row_time : ndarray, shape (n_rows,), float64
        tau of the rows.
    k_node, way_node : ndarray, shape (n_nodes, 3) and (n_nodes, 5), float64
        k at the nodes; time and the integrals of the moment and of its square.
    time_of_node : ndarray, shape (n_nodes,), int64
        Place of each node's time among `times`.
    times : ndarray, shape (n_times, 2), float64
        Time of the nodes, and the middle of the samples of their repetition.
    taus : ndarray, shape (n_taus, 3), float64
        tau, sign (0: +, 1: -), middle of the samples of the repetition.
    """

    rows: tuple[Any, ...]
    segments: tuple[Any, ...]
    row_time: RealArray
    k_node: RealArray
    way_node: RealArray
    time_of_node: IntArray
    times: RealArray
    taus: RealArray


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
    rows: list[tuple[int, int]] = []
    row_first, segment_first = [0], [0]
    bounds: list[int] = [0]
    segment_rows: list[list[int]] = []
    middles = np.zeros(n)
    for r in range(n):
        begin, end = int(first_sample_of[r]), int(first_sample_of[r + 1])
        emitting = range(int(first_emitting[r]), int(first_emitting[r + 1]))
        if begin < end and len(emitting):
            middles[r] = (time[begin] + time[end - 1]) / 2
            tau = graph.k_transverse[graph.emitting[emitting.start : emitting.stop], 3]
            kinks = (
                np.sort(-tau[(-tau > time[begin]) & (-tau < time[end - 1])]) if rates.dephases else tau[:0]
            )
            numbers: dict[tuple[int, int], int] = {}
            at = begin
            while at < end:
                last = int(last_of_run[at])
                later = kinks[(kinks > time[at]) & (kinks < time[last])]
                if later.size:
                    # the samples up to the kink
                    last = at + int(np.searchsorted(time[at : last + 1], later[0], side="right")) - 1
                signs = (
                    (tau + (time[at] + time[last]) / 2 < 0) if rates.dephases else np.zeros(tau.size, bool)
                )
                own = []
                for e, sign in zip(emitting, signs.astype(int), strict=True):
                    key = (e, int(sign))
                    if key not in numbers:
                        numbers[key] = len(rows)
                        rows.append(key)
                    own.append(numbers[key])
                segment_rows.append(own)
                bounds.append(last + 1)
                at = last + 1
        elif begin < end:
            segment_rows.append([])
            bounds.append(end)
        row_first.append(len(rows))
        segment_first.append(len(bounds) - 1)
    first_sample = np.array(bounds)
    return _assemble(
        sampled, way, graph, rates, tolerance, rows, np.array(row_first), np.array(segment_first), first_sample,
        segment_rows, middles,
    )  # fmt: skip


def _assemble(
    sampled: IntArray,
    way: Way,
    graph: Graph,
    rates: Rates,
    tolerance: float,
    rows: list[tuple[int, int]],
    row_first: IntArray,
    segment_first: IntArray,
    first_sample: IntArray,
    segment_rows: list[list[int]],
    middles: RealArray,
) -> Encoding:
    """Arrange everything in flat arrays."""
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
    weights, places, offsets, known = [], [], [], {}
    total = 0
    for count, nodes in zip(counts.tolist(), n_nodes.tolist(), strict=True):
        place, weight = _interpolation(count, nodes)
        places.append(place)
        if (count, nodes) not in known:
            known[count, nodes] = total
            weights.append(weight.ravel())
            total += weight.size
        offsets.append(known[count, nodes])
    u = np.concatenate(places)
    of_segment = np.repeat(np.arange(counts.size), n_nodes)
    e0 = first[of_segment]
    k0, step = way.k[e0], span[of_segment] / steps[of_segment, np.newaxis]
    duration = (way.time[last] - way.time[first])[of_segment] / steps[of_segment]
    u_ = u[:, np.newaxis]
    k_node = k0 + u_ * step
    area = way.area[e0] + duration[:, np.newaxis] * (u_ * k0 + u_**2 / 2 * step)
    square = way.square[e0] + duration * (u_ * k0**2 + u_**2 * k0 * step + u_**3 / 3 * step**2).sum(axis=1)
    time_node = way.time[e0] + u * duration
    repetition = np.repeat(np.arange(segment_first.size - 1), np.diff(segment_first))
    times, time_of_node = _distinct(np.column_stack([time_node, middles[repetition[of_segment]]]))
    emitting = np.array([e for e, _ in rows], np.int64)
    sign = np.array([s for _, s in rows], np.int64)
    place_k = graph.k_transverse[graph.emitting[emitting]].reshape(-1, 4)
    of_row = np.repeat(np.arange(row_first.size - 1), np.diff(row_first))
    taus, tau_of_row = _distinct(np.column_stack([place_k[:, 3], sign, middles[of_row]]))
    row_counts = [len(own) for own in segment_rows]
    return Encoding(
        (row_first, np.ascontiguousarray(place_k[:, :3]), emitting, tau_of_row, sign),
        (
            segment_first,
            first_sample,
            axis,
            way.k[first],
            span / steps[:, np.newaxis],
            first_node,
            np.concatenate([[0], np.cumsum(row_counts)]).astype(np.int64),
            np.array([i for own in segment_rows for i in own], np.int64),
            np.array(offsets, np.int64),
            np.concatenate(weights),
        ),
        np.ascontiguousarray(place_k[:, 3]),
        k_node,
        np.column_stack([time_node, area, square]),
        time_of_node,
        times,
        taus,
    )


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
    """Return nodes among samples 0 ... n_samples - 1 and their weights in each sample, (n_samples, n_nodes)."""
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
