"""The digital twin of the scanner: signals of whole sequences, and gradients back to sequence and object."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from design.mrzero.encoding import Encoding, Rates, make_encoding
from design.mrzero.graph import Graph, Representatives, make_graph
from design.mrzero.kernels.adjoint import backwards
from design.mrzero.kernels.decoding import decode
from design.mrzero.kernels.encoding import encode
from design.mrzero.kernels.evolution import LANES, forwards
from design.mrzero.sequence import ImagingSequence
from design.mrzero.voxels import Voxels
from design.mrzero.way import Way
from epgbloch._checks import require_count
from epgbloch._cores import available_cores

RealArray = NDArray[np.float64]
Floats = NDArray[np.float32]

_PARTS = 8
"""Pieces of work for the threads. Their number does not depend on that of the threads, nor do the results."""
_LARGEST_EXPONENT = 80.0
"""Growth that single precision still holds."""


@dataclass(frozen=True, eq=False)
class Plan:
    """What of a sequence is simulated.

    Attributes
    ----------
    sequence : ImagingSequence
        The sequence.
    graph : Graph
        Its states; `graph.n_states` counts them, `graph.estimated_error` estimates the error of the signal by
        those left out, relative to the norm of the signal.
    way : Way
        Its k and times.
    encoding : Encoding
        Its readouts.
    """

    sequence: ImagingSequence
    graph: Graph
    way: Way
    encoding: Encoding


@dataclass(frozen=True, eq=False)
class TwinGradient:
    """Derivatives of a real scalar by a sequence and by the object, each in the shape of what it belongs to.

    Attributes
    ----------
    flip_angle, phase, moments, durations, adc_phase : ndarray, float64
        By the fields of `ImagingSequence`; `moments` and `durations` are 0 if they were not asked for.
    proton_density, t1, t2, t2_prime, off_resonance, diffusion : ndarray, float64
        By the fields of `Voxels`.
    b1, coil_sensitivities : ndarray, complex128
        dL/d(Re) + i dL/d(Im) of these fields.
    """

    flip_angle: RealArray
    phase: RealArray
    moments: RealArray
    durations: RealArray
    adc_phase: RealArray
    proton_density: RealArray
    t1: RealArray
    t2: RealArray
    t2_prime: RealArray
    off_resonance: RealArray
    diffusion: RealArray
    b1: NDArray[np.complex128]
    coil_sensitivities: NDArray[np.complex128]


class Twin:
    """Simulates sequences on an object by the phase distribution graph, in single precision.

    Parameters
    ----------
    voxels : Voxels
        The object.
    tolerance : float
        Error of the signal, relative to its norm, that states left out may add up to, in 1e-6 to 0.1. It is
        estimated for a few representative voxels: `Plan.graph.estimated_error`.
    n_threads : int, optional
        Threads; by default as many as there are cores. Results do not depend on it.

    Raises
    ------
    ValueError
        If the tolerance is out of range, or the object has no signal.

    References
    ----------
    Endres et al. 2024, Magn Reson Med 92:1189, doi 10.1002/mrm.30055.
    """

    def __init__(self, voxels: Voxels, *, tolerance: float = 1e-3, n_threads: int | None = None) -> None:
        if not 1e-6 <= tolerance <= 0.1:
            raise ValueError(f"tolerance={tolerance:g} must lie in 1e-6 to 0.1")
        if n_threads is not None:
            require_count("n_threads", n_threads)
        self.voxels = voxels
        self.tolerance = float(tolerance)
        self.n_threads = n_threads or available_cores()
        self._representatives = Representatives.of(voxels)
        n = voxels.n_voxels
        self._n_padded = -(-n // LANES) * LANES
        self._r1, self._r2 = self._padded(1 / voxels.t1), self._padded(1 / voxels.t2)
        self._r2_prime = self._padded(1 / voxels.t2_prime)
        self._b1 = self._padded(np.abs(voxels.b1))
        self._off_resonance = self._padded(voxels.off_resonance)
        self._diffusion = self._padded(voxels.diffusion)
        self._position = np.concatenate([self._padded(voxels.position[:, a]) for a in range(3)])
        self._receive_map = (
            voxels.proton_density * voxels.coil_sensitivities * np.exp(1j * np.angle(voxels.b1))
        )
        self._receive = np.concatenate([self._rows(coil) for coil in self._receive_map])
        distinct, places = zip(
            *(np.unique(voxels.position[:, a], return_inverse=True) for a in range(3)), strict=True
        )
        first = np.concatenate([[0], np.cumsum([len(u) for u in distinct])])
        index = np.zeros((3, self._n_padded), np.int64)
        for a in range(3):
            index[a] = first[a]
            index[a, :n] += places[a]
        self._space = (np.concatenate(distinct), first, index)
        extent = np.ptp(voxels.position, axis=0) + voxels.size
        self._rates = Rates(
            float((1 / voxels.t2 + 1 / voxels.t2_prime).max()),
            float(np.abs(voxels.off_resonance).max()),
            voxels.size,
            extent,
            bool(np.isfinite(voxels.t2_prime).any()),
            bool(voxels.diffusion.any()),
        )
        self._tables: dict[str, tuple[bytes, Floats]] = {}

    def plan(self, sequence: ImagingSequence, *, angles: bool = False, ways: bool = False) -> Plan:
        """Choose the states and nodes for a sequence.

        `angles`, `ways`: also for derivatives by flip angles, and by moments and times. The estimated error
        is then that of a sequence whose flip angles keep off the multiples of 90 degrees.
        """
        way = Way.of(sequence)
        graph = make_graph(
            sequence, way, self._representatives, self.voxels.size, self.tolerance, angles=angles, ways=ways
        )
        encoding = make_encoding(sequence, way, graph, self._rates, self.tolerance)
        half = np.abs(encoding.times[:, 0] - encoding.times[:, 1]).max(initial=0.0)
        seen = self._receive_map.any(axis=0)
        shortest = float(self.voxels.t2_prime[seen].min())
        if half > _LARGEST_EXPONENT * shortest:
            raise ValueError(
                f"t2_prime={shortest:.3g} s must be at least {half / _LARGEST_EXPONENT:.3g} s, a "
                f"{2 * _LARGEST_EXPONENT:g}th of the longest readout; lengthen it, or leave such voxels out"
            )
        return Plan(sequence, graph, way, encoding)

    def signal(self, sequence: ImagingSequence) -> NDArray[np.complex64]:
        """Return the samples of a sequence.

        Parameters
        ----------
        sequence : ImagingSequence
            The sequence.

        Returns
        -------
        ndarray, shape (n_coils, n_samples), complex64
            The samples, with the conventions of `ImagingSequence`.

        Raises
        ------
        ValueError
            If the tolerance asks for too many states.
        """
        return self._simulate(self.plan(sequence))[0]

    def gradient(self, sequence: ImagingSequence, cotangent: ArrayLike, *, ways: bool = True) -> TwinGradient:
        """Return the derivatives of a real scalar from its derivatives by the samples.

        Parameters
        ----------
        sequence : ImagingSequence
            The sequence.
        cotangent : array_like, shape (n_coils, n_samples), complex
            dL/d(Re signal) + i dL/d(Im signal).
        ways : bool
            Whether `moments` and `durations` are wanted: they take longer, and more states.

        Returns
        -------
        TwinGradient
            The derivatives. Which states are followed is taken as constant.

        Raises
        ------
        ValueError
            If the cotangent does not fit or is not finite.
        """
        return self.signal_and_pull_back(sequence, ways=ways)[1](cotangent)

    def signal_and_pull_back(
        self, sequence: ImagingSequence, *, ways: bool = True
    ) -> tuple[NDArray[np.complex64], Callable[[ArrayLike], TwinGradient]]:
        """Return the samples, and a function of the cotangent that returns the gradient, see `gradient`."""
        plan = self.plan(sequence, angles=True, ways=ways)
        signal, states = self._simulate(plan)

        def pull_back(cotangent: ArrayLike) -> TwinGradient:
            bar = np.array(cotangent, np.complex128)
            if bar.shape != signal.shape or not np.isfinite(bar).all():
                raise ValueError(f"cotangent must be finite numbers of shape {signal.shape}; got {bar.shape}")
            return self._pull_back(plan, signal, states, bar, ways)

        return signal, pull_back

    def _padded(self, values: RealArray) -> Floats:
        result = np.zeros(self._n_padded, np.float32)
        result[: values.size] = values
        return result

    def _rows(self, values: NDArray[np.complex128]) -> Floats:
        """A row of real and one of imaginary parts."""
        return np.concatenate([self._padded(values.real), self._padded(values.imag)])

    def _map(self, function: Callable[[NDArray[np.int64], int], None], n: int) -> None:
        """Call function(numbers, part) for parts of 0 ... n - 1."""
        parts = np.array_split(np.arange(n), _PARTS)
        if self.n_threads == 1:
            for i, part in enumerate(parts):
                function(part, i)
            return
        with ThreadPoolExecutor(self.n_threads) as pool:
            list(pool.map(function, parts, range(_PARTS)))

    def _damping(self, plan: Plan) -> tuple[RealArray, RealArray, RealArray, RealArray]:
        """b-values of the states until the next pulse and their derivatives by k; empty without diffusion."""
        graph, way = plan.graph, plan.way
        if not self._rates.diffuses:
            return np.zeros(0), np.zeros(0), np.zeros((0, 3)), np.zeros((0, 3))
        (of_t, of_z), end = self._pulses_of_states(plan), way.last_event
        k_t, k_z, square = graph.k_transverse[:, :3], graph.k_longitudinal[:, :3], (2 * np.pi) ** 2
        time_t, time_z, area = way.time[end][of_t], way.time[end][of_z], way.area[end][of_t]
        b_t = square * ((k_t**2).sum(axis=1) * time_t + 2 * (k_t * area).sum(axis=1) + way.square[end][of_t])
        b_z = square * (k_z**2).sum(axis=1) * time_z
        slope_t = 2 * square * (k_t * time_t[:, np.newaxis] + area)
        return b_t, b_z, slope_t, 2 * square * k_z * time_z[:, np.newaxis]

    def _pulses_of_states(self, plan: Plan) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        numbers = np.arange(plan.sequence.n_repetitions)
        counts = np.diff(plan.graph.first, axis=0)
        return np.repeat(numbers, counts[:, 0]), np.repeat(numbers, counts[:, 1])

    def _evolution_arguments(self, plan: Plan) -> tuple[Any, ...]:
        sequence, graph, way = plan.sequence, plan.graph, plan.way
        b_t, b_z, slope_t, slope_z = self._damping(plan)
        return (
            graph.first, graph.orbits, graph.emitting, sequence.flip_angle, sequence.phase,
            way.time[way.last_event], self._r1, self._r2, self._b1, self._diffusion, b_t, b_z, slope_t,
            slope_z,
        )  # fmt: skip

    def _encoding_arguments(self, plan: Plan, states: Floats) -> tuple[Any, ...]:
        encoding = plan.encoding
        nodes = (encoding.node_time, encoding.time_of_node, len(encoding.times))
        diffusion = self._diffusion if self._rates.diffuses else self._diffusion[:0]
        return (
            encoding.rows, encoding.segments, encoding.entries, nodes, self._space, states,
            plan.sequence.phase, self._tau_table(encoding), self._time_table(encoding), self._receive,
            diffusion,
        )  # fmt: skip

    def _tau_table(self, encoding: Encoding) -> Floats:
        """Phase, and decay with T2' until the middle of the readout, that states bring with their tau."""
        tau, sign, middle = encoding.taus.T[:, :, np.newaxis]
        decay = -(1 - 2 * sign) * (tau + middle)
        return self._table("tau", encoding.taus, tau, decay)

    def _time_table(self, encoding: Encoding) -> Floats:
        """Phase, relaxation, and decay with T2' from the middle of the readout on, for both signs of tau."""
        time, middle = encoding.times.T[:, :, np.newaxis]
        signs = (1, -1) if self._rates.dephases else (1,)
        decay = np.concatenate([-sign * (time - middle) for sign in signs])
        times = np.concatenate([time] * len(signs))
        return self._table("time", encoding.times, times, decay, times)

    def _table(
        self,
        name: str,
        key: RealArray,
        time: RealArray,
        dephasing: RealArray,
        relaxing: RealArray | None = None,
    ) -> Floats:
        """exp(-2 pi i f time + dephasing / T2' - relaxing / T2), made anew only if times have changed."""
        known = self._tables.get(name)
        if known is not None and known[0] == key.tobytes():
            return known[1]
        n = self._n_padded
        cycles = time * self._off_resonance.astype(np.float64)
        angle = (-2 * np.pi * (cycles - np.rint(cycles))).astype(np.float32)
        exponent = dephasing.astype(np.float32) * self._r2_prime
        if relaxing is not None:
            exponent -= relaxing.astype(np.float32) * self._r2
        # more occurs in voxels without signal only
        size = np.exp(np.minimum(exponent, _LARGEST_EXPONENT))
        table = np.empty((len(time), 2, n), np.float32)
        np.multiply(size, np.cos(angle), out=table[:, 0])
        np.multiply(size, np.sin(angle), out=table[:, 1])
        self._tables[name] = key.tobytes(), table.ravel()
        return table.ravel()

    def _simulate(self, plan: Plan) -> tuple[NDArray[np.complex64], Floats]:
        """Samples, and the emitting states."""
        arguments = self._evolution_arguments(plan)[:-2]
        states = np.zeros(plan.graph.emitting.size * 2 * self._n_padded, np.float32)
        self._map(lambda blocks, _: forwards(blocks, *arguments, states), self._n_padded // LANES)
        signal = np.zeros((len(self.voxels.coil_sensitivities), plan.sequence.n_samples), np.complex128)
        encoding = self._encoding_arguments(plan, states)
        self._map(
            lambda repetitions, _: encode(repetitions, *encoding, signal),
            plan.sequence.n_repetitions,
        )
        signal *= np.exp(-1j * plan.sequence.adc_phase[plan.sequence.adc])
        return signal.astype(np.complex64), states

    def _pull_back(
        self,
        plan: Plan,
        signal: NDArray[np.complex64],
        states: Floats,
        bar: NDArray[np.complex128],
        ways: bool,
    ) -> TwinGradient:
        sequence, voxels, n, width = plan.sequence, self.voxels, self._n_padded, 2 * self._n_padded
        graph, way, encoding = plan.graph, plan.way, plan.encoding
        adc_phase = np.zeros(sequence.adc.size)
        adc_phase[sequence.adc] = (bar.conj() * signal).imag.sum(axis=0)
        bar = bar * np.exp(1j * sequence.adc_phase[sequence.adc])
        n_sets = 1 if not ways else (5 if self._rates.dephases else 4)
        place_of_set, n_places = encoding.place_of_sets(graph.emitting.size, n_sets)
        of_states = np.zeros(n_places * width, np.float32)
        of_phase = np.zeros(sequence.n_repetitions)
        of_sample = np.zeros((sequence.n_samples, 8 if self._rates.diffuses else 4))
        of_receive = np.zeros((_PARTS, self._receive.size), np.float32)
        of_voxels = np.zeros((_PARTS, 4, n), np.float32)
        arguments = self._encoding_arguments(plan, states)
        self._map(
            lambda repetitions, i: decode(
                repetitions, *arguments, bar, encoding.row_time,
                (self._r2, self._r2_prime, self._off_resonance, self._position), place_of_set,
                of_states, of_phase, of_sample, of_receive[i], of_voxels[i].reshape(-1),
            ),
            sequence.n_repetitions,
        )  # fmt: skip
        arguments = self._evolution_arguments(plan)
        first_emitting = np.searchsorted(graph.emitting, graph.first[:, 0])
        of_pulses = np.zeros((_PARTS, sequence.n_repetitions, 8))
        of_b = np.zeros((_PARTS, graph.n_states))
        of_evolution = np.zeros((4, n), np.float32)
        self._map(
            lambda blocks, i: backwards(
                blocks, *arguments, self._position, self._off_resonance, first_emitting, place_of_set,
                of_states, of_pulses[i], of_b[i], of_evolution.reshape(-1),
            ),
            n // LANES,
        )  # fmt: skip
        pulses = of_pulses.sum(axis=0)
        moments, durations = np.zeros_like(sequence.moments), np.zeros_like(sequence.durations)
        if ways:
            by_k, by_area = np.zeros_like(way.k), np.zeros_like(way.area)
            by_time, by_square = np.zeros_like(way.time), np.zeros_like(way.square)
            by_k[sequence.adc], by_time[sequence.adc] = of_sample[:, :3], of_sample[:, 3]
            if self._rates.diffuses:
                by_area[sequence.adc], by_square[sequence.adc] = of_sample[:, 4:7], of_sample[:, 7]
            end = way.last_event
            by_k[end] += pulses[:, 4:7]
            by_time[end] += pulses[:, 2] + pulses[:, 3] + pulses[:, 7]
            if self._rates.diffuses:
                self._add_damping(plan, of_b.sum(axis=0), by_time, by_area, by_square)
            moments, durations = way.pull_back(sequence, by_k, by_time, by_area, by_square)
        maps = of_voxels.sum(axis=0)[:, : voxels.n_voxels].astype(np.float64)
        own = of_evolution[:, : voxels.n_voxels].astype(np.float64)
        receive = of_receive.sum(axis=0).reshape(-1, 2, n)[:, :, : voxels.n_voxels]
        received = receive[:, 0] + 1j * receive[:, 1]
        turn = np.exp(1j * np.angle(voxels.b1))
        by_turn = (received.conj() * 1j * self._receive_map).real.sum(axis=0)
        size = np.abs(voxels.b1)
        angular = np.divide(by_turn, size, out=np.zeros_like(by_turn), where=size > 0)
        return TwinGradient(
            pulses[:, 0],
            pulses[:, 1] + of_phase,
            moments,
            durations,
            adc_phase,
            (received.conj() * voxels.coil_sensitivities * turn).real.sum(axis=0),
            -own[0] / voxels.t1**2,
            -(own[1] + maps[0]) / voxels.t2**2,
            -maps[1] / voxels.t2_prime**2,
            maps[2],
            own[3] + maps[3],
            turn * (own[2] + 1j * angular),
            received * voxels.proton_density * turn.conj(),
        )

    def _add_damping(
        self, plan: Plan, of_b: RealArray, by_time: RealArray, by_area: RealArray, by_square: RealArray
    ) -> None:
        """Add derivatives by the b-values of states until the next pulse to those by ends of repetitions."""
        graph, end, square = plan.graph, plan.way.last_event, (2 * np.pi) ** 2
        of_t, of_z = self._pulses_of_states(plan)
        n_t = len(graph.k_transverse)
        for k, of, of_pulse in (
            (graph.k_transverse[:, :3], of_b[:n_t], of_t),
            (graph.k_longitudinal[:, :3], of_b[n_t:], of_z),
        ):
            np.add.at(by_time, end[of_pulse], square * (k**2).sum(axis=1) * of)
        np.add.at(by_area, end[of_t], 2 * square * graph.k_transverse[:, :3] * of_b[:n_t, np.newaxis])
        np.add.at(by_square, end[of_t], square * of_b[:n_t])
