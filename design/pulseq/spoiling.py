"""What the gradients of a Pulseq file do to the magnetisation from one RF pulse to the next."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from design.pulseq.blocks import AXES
from design.pulseq.moments import Moments
from design.pulseq.pulses import PlayedPulse

_SAME_CYCLES = 0.02
"""Dephasing over a voxel [cycles] that counts as none; 4 degrees at its edges."""
_LEAST_CYCLES = 0.9
"""Least dephasing over a voxel [cycles] that counts as one order."""
_WORST_SLICE = 0.25
"""Largest dephasing over the slice at the readout [cycles]; a tenth of the signal is lost."""


def dephasing_orders(
    pulses: list[PlayedPulse], moments: Moments, voxel: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Orders of dephasing from each pulse to the next, and the moment of one order.

    Parameters
    ----------
    pulses : list of PlayedPulse
        The train.
    moments : Moments
        Gradients of the file.
    voxel : ndarray, shape (3,)
        Size of a voxel along x, y and z [m].

    Returns
    -------
    orders : ndarray, shape (n_pulses,), int64
        0 or 1; the last pulse is like the one before it.
    moment : ndarray, shape (3,), float64
        Moment of one order [1/m]; 0 in balanced trains.

    Raises
    ------
    ValueError
        If the moments from pulse to pulse are neither zero nor all the same, or too weak for one order.
    """
    centers = moments([pulse.center for pulse in pulses])
    played = np.diff(centers, axis=0)
    if len(pulses) == 1:
        return np.ones(1, dtype=np.int64), np.zeros(3)
    cycles = np.abs(played) * voxel
    dephased = cycles.max(axis=1) > _SAME_CYCLES
    if not dephased.any():
        return np.zeros(len(pulses), dtype=np.int64), np.zeros(3)
    first = int(np.argmax(dephased))
    moment = played[first]
    differs = dephased & ((np.abs(played - moment) * voxel).max(axis=1) > _SAME_CYCLES)
    if differs.any():
        i_pulse = int(np.argmax(differs))
        raise ValueError(
            f"from the {pulses[i_pulse]} to the next, repetition {i_pulse}, the gradients dephase a voxel by "
            f"{_shown(played[i_pulse] * voxel)} cycles, in repetition {first} by {_shown(moment * voxel)}; "
            "one dephasing order a TR needs equal moments: rewind the readout, and keep the spoiler constant"
        )
    if cycles[first].max() < _LEAST_CYCLES:
        raise ValueError(
            f"from the {pulses[first]} to the next, the gradients dephase a voxel by "
            f"{_shown(moment * voxel)} cycles: too little for a spoiled sequence (at least "
            f"{_LEAST_CYCLES}), too much for a balanced one (at most {_SAME_CYCLES})"
        )
    orders = dephased.astype(np.int64)
    return np.append(orders, orders[-1]), moment


def check_slice(pulses: list[PlayedPulse], through: NDArray[np.float64], thickness: float) -> str | None:
    """Notice about the dephasing over the slice during the readouts; None where there is next to none.

    Parameters
    ----------
    pulses : list of PlayedPulse
        The pulse of each readout.
    through : ndarray, shape (n_readouts, n_samples)
        Moments through the plane since the pulse centre [1/m].
    thickness : float
        Slice thickness [m].

    Raises
    ------
    ValueError
        If it is large: the slice gradient is not rewound, or encodes partitions.
    """
    cycles = np.abs(through).max(axis=1) * thickness
    worst = int(np.argmax(cycles))
    if cycles[worst] > _WORST_SLICE:
        raise ValueError(
            f"in the readout after the {pulses[worst]} the slice is dephased by {cycles[worst]:.3g} cycles; "
            "the slice gradient must be rewound between pulse centre and readout, and partition encoding is "
            "not supported"
        )
    if cycles[worst] <= _SAME_CYCLES:
        return None
    return (
        f"in the readout after the {pulses[worst]} the slice is dephased by {cycles[worst]:.3g} cycles, "
        f"which the model takes as rewound; it costs {100 * (1 - np.sinc(cycles[worst])):.2g} % of the signal"
    )


def incomplete_spoiler(cycles: NDArray[np.float64]) -> str | None:
    """Notice about a spoiler of a fraction of cycles over a voxel; None where there is none."""
    largest = float(np.abs(cycles).max())
    remaining = float(np.prod(np.abs(np.sinc(cycles))))
    if not cycles.any() or remaining <= 0.1:
        return None
    return (
        f"the spoiler dephases a voxel by {largest:.3g} cycles and leaves up to {100 * remaining:.2g} % "
        "of the signal, which the model takes as dephased; whole cycles leave none"
    )


def _shown(cycles: NDArray[np.float64]) -> str:
    return (
        "("
        + ", ".join(
            f"{name} {value:.3g}" for name, value in zip(AXES, np.round(cycles, 3) + 0.0, strict=True)
        )
        + ")"
    )
