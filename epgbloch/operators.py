"""Composite operators of RF pulses with slice profile and relaxation, tabulated for interpolation.

A whole RF pulse is one affine map of (F+, F-, Z). It depends on the flip angle times B1, on the sub-slice
and, smoothly, on R1 and R2: the map is composed step by step at a few Chebyshev nodes of the rates and on
a uniform grid of angles, and interpolated for every atom and pulse.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from epgbloch.constants import GAMMA_BAR
from epgbloch.kernels.layout import LANES, N_COEFFICIENTS
from epgbloch.kernels.rf_steps import compose
from epgbloch.pulse import RFPulse
from epgbloch.tissue import Tissue

MAX_R1_DURATION, MAX_R2_DURATION = 0.02, 0.2
"""Ranges of R1 and R2 times the pulse duration that the tables cover, from 0."""
N_R1, N_R2 = 3, 5
"""Chebyshev nodes over these ranges; the interpolation errs by 4e-8."""
ANGLE_STEP = np.pi / 32
"""Step of the flip-angle table [rad] for pulses without negative lobes; through 6 points it errs by 5e-9."""

FREQUENCY_STEP = 0.02
"""Step of the derivative by off-resonance, in cycles over the pulse duration."""
FREQUENCY_WEIGHTS = {-2: 1 / 12, -1: -2 / 3, 1: 2 / 3, 2: -1 / 12}
"""Central differences of fourth order; with this step they err by 1e-6."""


@dataclass(frozen=True)
class SliceSampling:
    """Positions and weights of the sub-slices that are simulated.

    Attributes
    ----------
    position : ndarray, shape (n_groups, LANES), float64
        Distance from the slice centre [m]; padded with 0.
    weight : ndarray, shape (n_groups, LANES), float32
        Weight in the signal; 0 in the padding.
    """

    position: NDArray[np.float64]
    weight: NDArray[np.float32]


def sample_slice(pulse: RFPulse, n_subslices: int, slice_extent: float, *, symmetric: bool) -> SliceSampling:
    """Return midpoints of equal cells over `slice_extent` slice thicknesses.

    With `symmetric`, only the half z >= 0 with doubled weights: the signal is then the real part.
    """
    if pulse.slice_thickness is None:
        position: NDArray[Any] = np.zeros(1)
        weight: NDArray[Any] = np.ones(1)
    else:
        cell = slice_extent / n_subslices
        index = np.arange(n_subslices) - (n_subslices - 1) / 2
        weight = np.full(n_subslices, cell)
        if symmetric:
            index = index[index >= 0]
            weight = np.where(index > 0, 2 * cell, cell)
        position = index * cell * pulse.slice_thickness
    padding = -position.size % LANES
    return SliceSampling(
        np.pad(position, (0, padding)).reshape(-1, LANES),
        np.pad(weight, (0, padding)).reshape(-1, LANES).astype(np.float32),
    )


@dataclass(frozen=True, eq=False)
class RateNodes:
    """Nodes of R1 and R2 times the pulse duration, between which operators are interpolated.

    Attributes
    ----------
    r1, r2 : ndarray, float64
        Nodes of each rate; the operators belong to all pairs, r2 varying fastest.
    """

    r1: NDArray[np.float64]
    r2: NDArray[np.float64]

    @classmethod
    def table(cls) -> RateNodes:
        """Return the nodes of the table that all atoms share."""
        return cls(_chebyshev(0, MAX_R1_DURATION, N_R1), _chebyshev(0, MAX_R2_DURATION, N_R2))

    @classmethod
    def around(cls, r1: float, r2: float) -> RateNodes:
        """Return nodes for one atom that relaxes too fast for the table.

        A rate within the range of the table keeps its nodes: closer ones would lose the derivative by it to
        the rounding of the operators.
        """
        table = cls.table()
        return cls(
            table.r1 if r1 <= MAX_R1_DURATION else _chebyshev(0.9 * r1, 1.1 * r1, N_R1),
            table.r2 if r2 <= MAX_R2_DURATION else _chebyshev(0.95 * r2, 1.05 * r2, N_R2),
        )

    @property
    def pairs(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """R1 and R2 of all pairs."""
        return np.repeat(self.r1, self.r2.size), np.tile(self.r2, self.r1.size)

    def weights(self, pulse: RFPulse, tissue: Tissue, wrt: tuple[str, ...]) -> NDArray[np.float64]:
        """Weights of the pairs for every atom, and their derivatives by T1 and T2.

        Shape (n_atoms, 1 + len(wrt), n_pairs); zero for other parameters.
        """
        d = pulse.duration
        w1, slope1 = _lagrange(d / tissue.t1, self.r1)
        w2, slope2 = _lagrange(d / tissue.t2, self.r2)
        sets = [np.einsum("ai,aj->aij", w1, w2)]
        for name in wrt:
            if name == "t1":
                sets.append(np.einsum("ai,aj,a->aij", slope1, w2, -d / tissue.t1**2))
            elif name == "t2":
                sets.append(np.einsum("ai,aj,a->aij", w1, slope2, -d / tissue.t2**2))
            else:
                sets.append(np.zeros_like(sets[0]))
        return np.stack(sets, axis=1).reshape(tissue.n_atoms, len(sets), -1)


def _chebyshev(low: float, high: float, n: int) -> NDArray[np.float64]:
    return low + (high - low) / 2 * (1 + np.cos(np.pi * (np.arange(n) + 0.5) / n))


def _lagrange(
    x: NDArray[np.float64], nodes: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lagrange weights of `nodes` at every x and their derivatives, shape (n_x, n_nodes)."""
    weights, slopes = np.ones((x.size, nodes.size)), np.zeros((x.size, nodes.size))
    for i, node in enumerate(nodes):
        for other in np.delete(nodes, i):
            slopes[:, i] = (slopes[:, i] * (x - other) + weights[:, i]) / (node - other)
            weights[:, i] *= (x - other) / (node - other)
    return weights, slopes


def in_table(pulse: RFPulse, tissue: Tissue) -> NDArray[np.bool_]:
    """Tell which atoms relax slowly enough for the tabulated rates, shape (n_atoms,)."""
    d = pulse.duration
    return (d / tissue.t1 <= MAX_R1_DURATION) & (d / tissue.t2 <= MAX_R2_DURATION)


def frequencies(pulse: RFPulse, off_resonance: float, wrt: tuple[str, ...]) -> tuple[float, ...]:
    """Off-resonances [Hz] at which operators are needed: one, or five for a derivative by differences."""
    if "off_resonance" not in wrt:
        return (off_resonance,)
    step = FREQUENCY_STEP / pulse.duration
    return (off_resonance, *(off_resonance + i * step for i in FREQUENCY_WEIGHTS))


def angle_step(pulse: RFPulse) -> float:
    """Step of the flip-angle table [rad]: finer for pulses with negative lobes, which turn further."""
    return ANGLE_STEP / float(np.abs(pulse.step_rotation).sum())


def angle_count(pulse: RFPulse, largest: float) -> int:
    """Number of table entries that cover 0 to `largest` [rad], a multiple of 16."""
    needed = int(np.ceil(largest / angle_step(pulse))) + 6
    return -(-needed // 16) * 16


@dataclass(frozen=True, eq=False)
class OperatorTable:
    """Operators of a pulse and what is needed to interpolate between them.

    Attributes
    ----------
    pulse : RFPulse
        The pulse.
    sampling : SliceSampling
        Sub-slices.
    nodes : RateNodes
        Relaxation rates.
    operators : ndarray, float32
        See `pulse_operators`.
    angle_step : float
        Step of the flip angles [rad].
    """

    pulse: RFPulse
    sampling: SliceSampling
    nodes: RateNodes
    operators: NDArray[np.float32]
    angle_step: float

    def weights(self, tissue: Tissue, wrt: tuple[str, ...]) -> NDArray[np.float32]:
        """Weights of all nodes for the atoms and their derivatives, shape (n_atoms, 1 + len(wrt), n)."""
        weights = self.nodes.weights(self.pulse, tissue, wrt)
        if self.operators.shape[1] > weights.shape[2]:
            # see `frequencies`
            others = np.zeros((len(FREQUENCY_WEIGHTS), *weights.shape))
            for other, weight in zip(others, FREQUENCY_WEIGHTS.values(), strict=True):
                slope = weight * self.pulse.duration / FREQUENCY_STEP
                other[:, 1 + wrt.index("off_resonance")] = slope * weights[:, 0]
            weights = np.concatenate([weights, *others], axis=2)
        return weights.astype(np.float32)


@lru_cache(maxsize=128)
def shared_table(
    pulse: RFPulse,
    off_resonances: tuple[float, ...],
    n_angles: int,
    n_subslices: int,
    slice_extent: float,
    symmetric: bool,
) -> OperatorTable:
    """Return the table of all atoms that do not relax too fast."""
    sampling = sample_slice(pulse, n_subslices, slice_extent, symmetric=symmetric)
    nodes = RateNodes.table()
    operators = pulse_operators(pulse, off_resonances, n_angles, sampling, nodes)
    return OperatorTable(pulse, sampling, nodes, operators, angle_step(pulse))


def own_table(
    pulse: RFPulse,
    off_resonances: tuple[float, ...],
    n_angles: int,
    sampling: SliceSampling,
    atom: Tissue,
) -> OperatorTable:
    """Return the table of one atom that relaxes too fast for the shared one."""
    nodes = RateNodes.around(pulse.duration / float(atom.t1[0]), pulse.duration / float(atom.t2[0]))
    operators = pulse_operators(pulse, off_resonances, n_angles, sampling, nodes)
    return OperatorTable(pulse, sampling, nodes, operators, angle_step(pulse))


def pulse_operators(
    pulse: RFPulse,
    off_resonances: tuple[float, ...],
    n_angles: int,
    sampling: SliceSampling,
    nodes: RateNodes,
) -> NDArray[np.float32]:
    """Return the operators of a pulse of phase 0 at the angles (-2, -1, 0 ... n_angles - 3) x `angle_step`.

    The slice gradient is rewound before and after the pulse, about its centre.

    Parameters
    ----------
    pulse : RFPulse
        The pulse.
    off_resonances : tuple of float
        Off-resonance frequencies [Hz].
    n_angles : int
        Number of angles.
    sampling : SliceSampling
        Sub-slices.
    nodes : RateNodes
        Relaxation rates.

    Returns
    -------
    ndarray, shape (n_groups, n_off_resonances * n_pairs, n_angles, N_COEFFICIENTS * LANES), float32
        Coefficients in the order that `kernels.layout` gives.
    """
    operators = [_operators_at(pulse, f, n_angles, sampling, nodes) for f in off_resonances]
    return np.concatenate(operators, axis=1)


def _turned(u: NDArray[Any], v: NDArray[Any], angle: NDArray[Any]) -> NDArray[Any]:
    """Return cos(angle) u + sin(angle) v, one angle per sub-slice (last axis but one)."""
    return np.cos(angle)[:, np.newaxis] * u + np.sin(angle)[:, np.newaxis] * v


def _operators_at(
    pulse: RFPulse, off_resonance: float, n_angles: int, sampling: SliceSampling, nodes: RateNodes
) -> NDArray[np.float32]:
    frequency = GAMMA_BAR * pulse.gradient * sampling.position.ravel()
    duration, center, n_steps = pulse.duration, float(pulse.center), pulse.n_steps  # type: ignore[arg-type]
    angles = (np.arange(n_angles) - 2) * angle_step(pulse)
    r1, r2 = nodes.pairs
    affine = np.empty((n_angles, frequency.size, r1.size, 3, 4))
    compose(
        angles,
        pulse.step_rotation,
        2 * np.pi * (frequency + off_resonance) * duration / n_steps,
        np.exp(-r1 / (2 * n_steps)),
        np.exp(-r2 / (2 * n_steps)),
        affine,
    )
    before = 2 * np.pi * frequency * center
    after = 2 * np.pi * frequency * (duration - center)
    m = np.moveaxis(affine, (-2, -1), (0, 1))
    # rewinding turns the transverse magnetisation about -z
    columns = np.stack(
        [_turned(m[:, 0], -m[:, 1], before), _turned(m[:, 1], m[:, 0], before), m[:, 2], m[:, 3]]
    )
    x, y, z = np.moveaxis(columns, 1, 0)
    rows = np.stack([_turned(x, y, after), _turned(y, -x, after), z])
    rows[:, :2] /= 2
    coefficients = rows.reshape(N_COEFFICIENTS, *rows.shape[2:])
    # (coefficient, angle, group x lane, node) -> (group, node, angle, coefficient x lane)
    n_groups = sampling.position.shape[0]
    split = coefficients.reshape(N_COEFFICIENTS, n_angles, n_groups, LANES, r1.size)
    ordered = split.transpose(2, 4, 1, 0, 3).astype(np.float32)
    return np.ascontiguousarray(ordered).reshape(n_groups, r1.size, n_angles, N_COEFFICIENTS * LANES)
