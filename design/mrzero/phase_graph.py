"""The phase distribution graph, written to be read: dephased states of every voxel, in double precision.

Transverse magnetisation at r and frequency f is M+ = sum_s F_s exp(-2 pi i (k_s . r + tau_s f)), and the
longitudinal one Mz = Z_0 + sum_s (Z_s exp(-2 pi i (k_s . r + tau_s f)) + complex conjugate); each state
(k, tau) has one complex number for each voxel. Pulses mix a state with its conjugate at -(k, tau); gradients
and time move F_s; equal states merge.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from design.mrzero.sequence import ImagingSequence
from design.mrzero.voxels import Voxels
from design.mrzero.way import merging_grid
from epgbloch._checks import real_number

ComplexArray = NDArray[np.complex128]
RealArray = NDArray[np.float64]


class _States:
    """Magnetisation of each voxel by (kx, ky, kz, tau), merged on a fine grid."""

    def __init__(self, grid: RealArray) -> None:
        self._grid = grid
        self._index: dict[tuple[int, ...], int] = {}
        self.k: list[RealArray] = []
        self.magnetisation: list[ComplexArray] = []

    def add(self, k: RealArray, magnetisation: ComplexArray) -> None:
        key = self._key(k)
        if key in self._index:
            i = self._index[key]
            self.magnetisation[i] = self.magnetisation[i] + magnetisation
        else:
            self._index[key] = len(self.k)
            self.k.append(k)
            self.magnetisation.append(magnetisation)

    def add_pair(self, k: RealArray, magnetisation: ComplexArray) -> None:
        """Add to the one of k and -k whose first component that is not zero is positive."""
        key = self._key(k)
        first = next((part for part in key if part), 0)
        if first < 0:
            k, magnetisation = -k, magnetisation.conj()
        self.add(k, magnetisation)

    def is_zero(self, k: RealArray) -> bool:
        return not any(self._key(k))

    def _key(self, k: RealArray) -> tuple[int, ...]:
        return tuple(np.rint(k / self._grid).astype(np.int64).tolist())

    def pairs(self) -> list[tuple[RealArray, ComplexArray]]:
        return list(zip(self.k, self.magnetisation, strict=True))


def phase_graph_signal(
    sequence: ImagingSequence, voxels: Voxels, *, threshold: float = 0.0
) -> NDArray[np.complex128]:
    """Return the signal of a sequence by the phase distribution graph, without approximation at threshold 0.

    A box of edges a dephases as sinc(k_x a_x) sinc(k_y a_y) sinc(k_z a_z), a Lorentzian as exp(-|tau| / T2').
    The number of states grows with every repetition unless states merge, as where moments repeat.

    Parameters
    ----------
    sequence : ImagingSequence
        The sequence.
    voxels : Voxels
        The object.
    threshold : float
        States below this magnitude in all voxels, relative to full magnetisation, are dropped at every pulse.

    Returns
    -------
    ndarray, shape (n_coils, n_samples), complex128
        The samples.

    References
    ----------
    Endres et al. 2024, Magn Reson Med 92:1189, doi 10.1002/mrm.30055.
    """
    if not 0 <= real_number("threshold", threshold, "") < 1:
        raise ValueError(f"threshold={threshold} must lie in 0 to 1, 1 excluded; 0 drops nothing")
    grid = merging_grid(sequence)
    rates = 1 / voxels.t2, 1 / voxels.t1
    weight = voxels.proton_density * voxels.coil_sensitivities
    equilibrium = np.ones(voxels.n_voxels)
    plus, z = _States(grid), _States(grid)
    first = sequence.first_event
    samples = []
    for n in range(sequence.n_repetitions):
        angle = sequence.flip_angle[n] * np.abs(voxels.b1)
        turn = np.exp(1j * (sequence.phase[n] + np.angle(voxels.b1)))
        plus, z, equilibrium = _pulse(plus, z, equilibrium, angle, turn, threshold, grid)
        events = slice(first[n], first[n + 1])
        steps = np.column_stack([sequence.moments[events], sequence.durations[events]])
        way = np.cumsum(steps, axis=0)
        for e, moved in enumerate(way):
            if sequence.adc[first[n] + e]:
                received = _received(plus, way[: e + 1], voxels) * np.exp(-moved[3] * rates[0])
                turned = np.exp(-1j * sequence.adc_phase[first[n] + e])
                samples.append(turned * (weight @ received))
        total = way[-1]
        plus.k = [k + total for k in plus.k]
        plus.magnetisation = [
            m * np.exp(-total[3] * rates[0] - _b_value(k - total, way) * voxels.diffusion)
            for k, m in plus.pairs()
        ]
        still = 4 * np.pi**2 * total[3] * voxels.diffusion
        z.magnetisation = [m * np.exp(-total[3] * rates[1] - k[:3] @ k[:3] * still) for k, m in z.pairs()]
        equilibrium = 1 + (equilibrium - 1) * np.exp(-total[3] * rates[1])
    return np.stack(samples, axis=1)


def _pulse(
    plus: _States,
    z: _States,
    equilibrium: RealArray,
    angle: RealArray,
    turn: ComplexArray,
    threshold: float,
    grid: RealArray,
) -> tuple[_States, _States, RealArray]:
    """Turn +z by `angle` towards the transverse direction `turn`, in every voxel.

    M+ -> cos^2(a/2) M+ - turn^2 sin^2(a/2) M+^* + turn sin(a) Mz, Mz -> cos(a) Mz - sin(a) Re(turn^* M+).
    """
    same, swapped = np.cos(angle / 2) ** 2, -(turn**2) * np.sin(angle / 2) ** 2
    up, down = turn * np.sin(angle), -0.5 * turn.conj() * np.sin(angle)
    new_plus, new_z = _States(grid), _States(grid)
    new_equilibrium = np.cos(angle) * equilibrium
    new_plus.add(np.zeros(4), up * equilibrium)
    for k, f in plus.pairs():
        if np.abs(f).max() <= threshold:
            continue
        new_plus.add(k, same * f)
        new_plus.add(-k, swapped * f.conj())
        if plus.is_zero(k):
            new_equilibrium = new_equilibrium + 2 * (down * f).real
        else:
            new_z.add_pair(k, down * f)
    for k, m in z.pairs():
        if np.abs(m).max() <= threshold:
            continue
        new_plus.add(k, up * m)
        new_plus.add(-k, up * m.conj())
        new_z.add_pair(k, np.cos(angle) * m)
    return new_plus, new_z, new_equilibrium


def _b_value(start: RealArray, way: RealArray) -> float:
    """Integral of (2 pi k)^2 over time [s/m^2] of a state that starts at `start` and goes along `way`."""
    k = start[:3] + np.concatenate([np.zeros((1, 3)), way[:, :3]])
    duration = np.diff(way[:, 3], prepend=0.0)
    squares = (k[1:] ** 2 + k[1:] * k[:-1] + k[:-1] ** 2).sum(axis=1)
    return float(4 * np.pi**2 / 3 * duration @ squares)


def _received(plus: _States, way: RealArray, voxels: Voxels) -> ComplexArray:
    """Sum of all states at their places at the end of `way`, in every voxel, diffusion included."""
    total = np.zeros(voxels.n_voxels, np.complex128)
    for k, f in plus.pairs():
        place = k + way[-1]
        f = f * np.exp(-_b_value(k, way) * voxels.diffusion)
        cycles = voxels.position @ place[:3] + voxels.off_resonance * place[3]
        shape = np.prod(np.sinc(place[:3] * voxels.size)) * np.exp(-np.abs(place[3]) / voxels.t2_prime)
        total += f * shape * np.exp(-2j * np.pi * cycles)
    return total
