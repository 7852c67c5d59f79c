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

MAX_R1_DURATION, MAX_R2_DURATION = 0.02, 0.2
"""Ranges of R1 and R2 times the pulse duration that the tables cover, from 0."""
N_R1, N_R2 = 3, 5
"""Chebyshev nodes over these ranges; the interpolation errs by 4e-8."""
ANGLE_STEP = np.pi / 32
"""Step of the flip-angle table [rad] for pulses without negative lobes; through 6 points it errs by 5e-9."""


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


def _chebyshev(maximum: float, n: int) -> NDArray[np.float64]:
    return maximum / 2 * (1 + np.cos(np.pi * (np.arange(n) + 0.5) / n))


def _lagrange(x: NDArray[np.float64], nodes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lagrange weights of `nodes` at every x, shape (n_x, n_nodes)."""
    weights = np.ones((x.size, nodes.size))
    for i, node in enumerate(nodes):
        for other in np.delete(nodes, i):
            weights[:, i] *= (x - other) / (node - other)
    return weights


def in_table(pulse: RFPulse, t1: NDArray[np.float64], t2: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which atoms relax slowly enough for the tabulated rates, shape (n_atoms,)."""
    return (pulse.duration / t1 <= MAX_R1_DURATION) & (pulse.duration / t2 <= MAX_R2_DURATION)


def relaxation_weights(
    pulse: RFPulse, t1: NDArray[np.float64], t2: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Weights of the tabulated relaxation rates for every atom, shape (n_atoms, N_R1 * N_R2)."""
    w1 = _lagrange(pulse.duration / t1, _chebyshev(MAX_R1_DURATION, N_R1))
    w2 = _lagrange(pulse.duration / t2, _chebyshev(MAX_R2_DURATION, N_R2))
    return np.einsum("ai,aj->aij", w1, w2).reshape(t1.size, -1).astype(np.float32)


def angle_step(pulse: RFPulse) -> float:
    """Step of the flip-angle table [rad]: finer for pulses with negative lobes, which turn further."""
    return ANGLE_STEP / float(np.abs(pulse.step_rotation).sum())


def angle_count(pulse: RFPulse, largest: float) -> int:
    """Number of table entries that cover 0 to `largest` [rad], a multiple of 16."""
    needed = int(np.ceil(largest / angle_step(pulse))) + 5
    return -(-needed // 16) * 16


@lru_cache(maxsize=128)
def tabulated_operators(
    pulse: RFPulse,
    off_resonance: float,
    n_angles: int,
    n_subslices: int,
    slice_extent: float,
    symmetric: bool,
) -> NDArray[np.float32]:
    """Operators at the tabulated relaxation rates; see `pulse_operators`."""
    sampling = sample_slice(pulse, n_subslices, slice_extent, symmetric=symmetric)
    r1 = np.repeat(_chebyshev(MAX_R1_DURATION, N_R1), N_R2)
    r2 = np.tile(_chebyshev(MAX_R2_DURATION, N_R2), N_R1)
    return pulse_operators(pulse, off_resonance, n_angles, sampling, r1, r2)


def pulse_operators(
    pulse: RFPulse,
    off_resonance: float,
    n_angles: int,
    sampling: SliceSampling,
    r1: NDArray[np.float64],
    r2: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Return the operators of a pulse of phase 0 at the angles (-2, -1, 0 ... n_angles - 3) x `angle_step`.

    The slice gradient is rewound before and after the pulse, about its centre.

    Parameters
    ----------
    pulse : RFPulse
        The pulse.
    off_resonance : float
        Off-resonance frequency [Hz].
    n_angles : int
        Number of angles.
    sampling : SliceSampling
        Sub-slices.
    r1, r2 : ndarray, shape (n_nodes,), float64
        Relaxation rates times the pulse duration.

    Returns
    -------
    ndarray, shape (n_groups, n_nodes, n_angles, N_COEFFICIENTS * LANES), float32
        Coefficients in the order that `kernels.layout` gives.
    """
    frequency = GAMMA_BAR * pulse.gradient * sampling.position.ravel()
    duration, center, n_steps = pulse.duration, float(pulse.center), pulse.n_steps  # type: ignore[arg-type]
    angles = (np.arange(n_angles) - 2) * angle_step(pulse)
    affine = np.empty((n_angles, frequency.size, r1.size, 3, 4))
    compose(
        angles,
        pulse.step_rotation,
        2 * np.pi * (frequency + off_resonance) * duration / n_steps,
        np.exp(-r1 / (2 * n_steps)),
        np.exp(-r2 / (2 * n_steps)),
        affine,
    )
    before = np.exp(-2j * np.pi * frequency * center)[:, None]
    after = np.exp(-2j * np.pi * frequency * (duration - center))[:, None]
    m = np.moveaxis(affine, (-2, -1), (0, 1))
    a = ((m[0, 0] + m[1, 1]) + 1j * (m[1, 0] - m[0, 1])) / 2 * before * after
    b = ((m[0, 0] - m[1, 1]) + 1j * (m[1, 0] + m[0, 1])) / 2 * before.conj() * after
    c = (m[0, 2] + 1j * m[1, 2]) * after
    d = (m[2, 0] - 1j * m[2, 1]) / 2 * before
    p = (m[0, 3] + 1j * m[1, 3]) * after
    complex_parts = [part for value in (a, b, c, d, p) for part in (value.real, value.imag)]
    coefficients = np.stack([*complex_parts, m[2, 2], m[2, 3]])
    # (coefficient, angle, group x lane, node) -> (group, node, angle, coefficient x lane)
    n_groups = sampling.position.shape[0]
    split = coefficients.reshape(N_COEFFICIENTS, n_angles, n_groups, LANES, r1.size)
    ordered = split.transpose(2, 4, 1, 0, 3).astype(np.float32)
    return np.ascontiguousarray(ordered).reshape(n_groups, r1.size, n_angles, N_COEFFICIENTS * LANES)
