"""The states of a sequence that matter: which ones to follow for a given error of the signal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from design.mrzero.kernels import graph as kernels
from design.mrzero.sequence import ImagingSequence
from design.mrzero.voxels import Voxels
from design.mrzero.way import Way, merging_grid

RealArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_GROUPS = 4, 4, 3
"""Representative voxels: means of voxels with similar T2, within these with similar B1, and within these with
similar T2'; one group where a property is the same everywhere."""
_MOVED = 0.25
"""Angles as close as this to multiples of 90 degrees are taken this far off for gradients [rad]: what sine or
cosine make nothing has a derivative."""
_CAUTION = 6.0
"""The error counts this many times as large as for the representatives: voxels of a group differ, and states
that are dropped because they seem to matter little are more often those that matter more."""
_MOST_STATES = 1_000_000


@dataclass(frozen=True, eq=False)
class Graph:
    """States and how pulses mix them.

    Attributes
    ----------
    first : ndarray, shape (n_pulses + 1, 3), int64
        First transverse state, longitudinal pair and orbit of each pulse.
    orbits : ndarray, shape (n_orbits, 6), int64
        Rows of states before and after a pulse, see `kernels.graph`.
    k_transverse, k_longitudinal : ndarray, shape (n_states, 4), float64
        (k, tau) of the states after their pulse [cycles/m, s].
    emitting : ndarray, shape (n_emitting,), int64
        Transverse states whose signal is computed.
    estimated_error : float
        Error of the signal by what is left out, relative to its norm, for the representative voxels.
    """

    first: IntArray
    orbits: IntArray
    k_transverse: RealArray
    k_longitudinal: RealArray
    emitting: IntArray
    estimated_error: float

    @property
    def n_states(self) -> int:
        """Transverse states and longitudinal pairs after all pulses."""
        return len(self.k_transverse) + len(self.k_longitudinal)


@dataclass(frozen=True, eq=False)
class Representatives:
    """Groups of voxels with similar T2, for the choice of states; and the power of the object in k-space."""

    r1: RealArray
    r2: RealArray
    r2_prime: RealArray
    b1: RealArray
    weight: RealArray
    spectrum: RealArray

    @classmethod
    def of(cls, voxels: Voxels) -> Representatives:
        """Make groups of equal energy."""
        energy = (np.abs(voxels.coil_sensitivities) ** 2).sum(axis=0) * voxels.proton_density**2
        if not energy.any():
            raise ValueError("proton_density times coil_sensitivities is 0 everywhere; there is no signal")
        b1, r2_prime = np.abs(voxels.b1), 1 / voxels.t2_prime
        group = np.zeros(voxels.n_voxels, np.int64)
        for values, n in zip((voxels.t2, b1, r2_prime), _GROUPS, strict=True):
            if np.ptp(values) > 0:
                group = n * group
                for i in np.unique(group):
                    own = group == i
                    group[own] += _groups(values[own], energy[own], n)
        weight = np.bincount(group, energy)
        used = weight > 0

        def mean(values: RealArray) -> RealArray:
            sums = np.bincount(group, energy * values).astype(np.float64)
            return sums[used] / weight[used]

        return cls(
            mean(1 / voxels.t1),
            mean(1 / voxels.t2),
            mean(r2_prime),
            mean(b1),
            weight[used] / energy.sum(),
            _spectrum(voxels),
        )


def _groups(values: RealArray, energy: RealArray, n: int) -> IntArray:
    """Return the number of each value's group; groups are ranges of values and have equal energy."""
    order = np.argsort(values, kind="stable")
    share = np.cumsum(energy[order])
    result = np.empty(values.size, np.int64)
    result[order] = np.minimum(share / share[-1] * n, n - 1) if share.size and share[-1] > 0 else 0
    return result


def _spectrum(voxels: Voxels) -> RealArray:
    """Power of the object on a grid of k-space, mean 1, shape (z, y, x); flat where voxels are on no grid."""
    place = (voxels.position - voxels.position.min(axis=0)) / voxels.size
    index = np.rint(place).astype(np.int64)
    extent = index.max(axis=0) + 1
    if np.abs(place - index).max() > 1e-3 or extent.prod() > 1e8:
        return np.ones((1, 1, 1))
    power = np.zeros(extent[::-1])
    weight = voxels.proton_density * voxels.coil_sensitivities
    for coil in weight:
        image = np.zeros(extent[::-1], np.complex128)
        np.add.at(image, (index[:, 2], index[:, 1], index[:, 0]), coil)
        power += np.abs(np.fft.fftn(image)) ** 2
    # off-resonance and neighbouring cells blur what a state emits
    power = uniform_filter(power, 3, mode="wrap")
    total = (np.abs(weight) ** 2).sum() * power.size
    return np.maximum(power * power.size / total, 1e-3)


def make_graph(
    sequence: ImagingSequence,
    way: Way,
    voices: Representatives,
    size: RealArray,
    tolerance: float,
    *,
    angles: bool,
    ways: bool,
) -> Graph:
    """Return the states that keep the estimated error below the tolerance.

    States are dropped that lead to little energy, first on the way, then, once it is known what comes after,
    again; transverse states that emit little are followed but not listened to. What this does to the signal
    is then computed for the representative voxels, and less is dropped if it is too much.

    angles, ways : whether states matter too that lead to nothing, but would after small changes of flip
    angles, or of moments and times.
    """
    n = sequence.n_repetitions
    total = np.column_stack([way.k, way.time])[way.last_event]
    grid = merging_grid(sequence)
    e1 = np.exp(-total[:, 3:] * voices.r1)
    e2 = np.exp(-total[:, 3:] * voices.r2)
    flip_angle, phase, b1 = sequence.flip_angle, sequence.phase, voices.b1
    if angles:
        flip_angle = _moved(flip_angle)
    k, time = way.k[sequence.adc], way.time[sequence.adc]
    counts = np.add.reduceat(sequence.adc.astype(np.int64), way.first_event[:-1])
    first_sample = np.concatenate([[0], np.cumsum(counts)])
    square = tolerance**2
    # energy is relative to full transverse magnetisation; angles tell how much of it there will be
    largest_angle = min(np.abs(flip_angle).max() * b1.max(), np.pi / 2)
    cut = square * 1e-2 * max(np.sin(largest_angle) ** 2, 1e-12)
    capacity = 64 * n + 4096
    while True:
        first, orbits = np.zeros((n + 1, 3), np.int64), np.empty((capacity, 6), np.int64)
        k_t, k_z = np.empty((capacity, 4)), np.empty((capacity, 4))
        of_t, of_z = np.empty((2, capacity, b1.size), np.complex128)
        dropped = np.zeros((n, 2))
        if not kernels.build(
            flip_angle, phase, total, grid, e1, e2, b1, voices.weight, cut, first, k_t, k_z, of_t, of_z,
            orbits, dropped,
        ):  # fmt: skip
            capacity *= 2
            if capacity > _MOST_STATES:
                raise ValueError(
                    f"tolerance={tolerance:g} needs more than {_MOST_STATES // 2} states of this sequence: "
                    "its moments never repeat and its pulses are large; loosen the tolerance or use fewer "
                    "pulses"
                )
            continue
        n_t, n_z, n_orbits = first[-1]
        k_t, k_z, of_t, of_z, orbits = k_t[:n_t], k_z[:n_z], of_t[:n_t], of_z[:n_z], orbits[:n_orbits]
        own = kernels.emitted(
            first, k_t, first_sample, k, time, size, voices.spectrum, voices.r2, voices.r2_prime, ways
        )
        lead_t, lead_z = kernels.lead_to(first, orbits, flip_angle, b1, e1, e2, own)
        heard = (np.abs(of_t) ** 2 * own) @ voices.weight
        emitted = heard.sum()
        lost = _lost(first, dropped, lead_t @ voices.weight, lead_z @ voices.weight)
        if lost <= square / (2 * _CAUTION**2) * emitted or cut < 1e-26:
            break
        cut /= 16
    if emitted == 0:
        keep_t, keep_z, audible = np.zeros(len(k_t), bool), np.zeros(len(k_z), bool), np.zeros(len(k_t), bool)
        error = 0.0
    worth = np.concatenate(
        [(np.abs(of_t) ** 2 * lead_t) @ voices.weight, (np.abs(of_z) ** 2 * lead_z) @ voices.weight]
    )
    budget = square / 4
    while emitted > 0:
        keep = _largest(worth, budget * emitted)
        keep_t, keep_z = keep[: len(k_t)], keep[len(k_t) :]
        audible = _largest(heard, budget * emitted) & keep_t & (heard > 0)
        left = kernels.follow(first, orbits, keep_t, keep_z, flip_angle, phase, e1, e2, b1)
        left[~audible] = 0
        wrong = ((np.abs(left - of_t) ** 2 * own) @ voices.weight).sum()
        error = _CAUTION * float(np.sqrt((wrong + lost) / emitted))
        if error <= tolerance or not worth[~keep].any():
            break
        budget *= 0.5 * (tolerance / error) ** 2
    numbers_t, numbers_z = keep_t.astype(np.int64) - 1, keep_z.astype(np.int64) - 1
    new_first, new_orbits = kernels.prune(first, orbits, numbers_t, numbers_z)
    followed = numbers_t >= 0
    return Graph(
        new_first, new_orbits, k_t[followed], k_z[numbers_z >= 0], np.flatnonzero(audible[followed]), error
    )


def _moved(flip_angle: RealArray) -> RealArray:
    """Angles off the multiples of 90 degrees; near 0, relative to the largest."""
    quarter = np.pi / 2 * np.rint(flip_angle / (np.pi / 2))
    least = np.where(quarter == 0, _MOVED * min(np.abs(flip_angle).max(), 1.0) or _MOVED, _MOVED)
    off = flip_angle - quarter
    return np.where(np.abs(off) < least, quarter + np.copysign(least, off), flip_angle)


def _largest(values: RealArray, budget: float) -> NDArray[np.bool_]:
    """Tell which values to keep so that the others add up to at most the budget."""
    order = np.argsort(values)
    keep = np.ones(values.size, np.bool_)
    keep[order[: int(np.searchsorted(np.cumsum(values[order]), budget, side="right"))]] = False
    return keep


def _lost(first: IntArray, dropped: RealArray, of_t: RealArray, of_z: RealArray) -> float:
    """Energy that states dropped on the way would have led to, if as much as the mean of those kept."""
    lost = 0.0
    for column, values in enumerate((of_t, of_z)):
        counts = np.diff(first[:, column])
        sums = np.add.reduceat(np.append(values, 0.0), np.minimum(first[:-1, column], values.size))
        lost += float((dropped[:, column] * np.where(counts > 0, sums / np.maximum(counts, 1), 0.0)).sum())
    return lost
