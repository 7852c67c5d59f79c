"""The experiments of ``epgbloch mrzero run`` whose targets are images, in published and in quick settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from design.mrzero.sequences import SPOILER, gradient_echo, radial_gradient_echo, turbo_spin_echo
from jobs.mrzero_phantoms import FOV, ObjectMaps, brain, resolution_phantom, sparse_sample
from jobs.mrzero_task import Arrays, Task, pulses_only, whole_encoding

_EXCITATION = float(np.deg2rad(5))
_N_SAMPLES = 1024


@dataclass(frozen=True)
class Size:
    """How large an experiment is: pixels along an axis, and steps of each optimisation."""

    matrix: int
    n_iterations: int


@dataclass(frozen=True)
class Experiment:
    """An experiment.

    Attributes
    ----------
    title, about : str
        Heading, and what is done.
    sizes : dict of str to Size
        "full" with the published settings, "quick".
    tasks : callable
        Makes its tasks from size and seed.
    goals : dict of str to tuple of float
        By task: largest image error [%] and largest relative SAR (infinite: none) that count as reached.
    """

    title: str
    about: str
    sizes: dict[str, Size]
    tasks: Callable[[Size, int], list[Task]]
    goals: dict[str, tuple[float, float]]


def _from_zero(
    name: str,
    title: str,
    size: Size,
    seed: int,
    te: float,
    shown: ObjectMaps,
    *,
    sar_weight: float,
    train: tuple[ObjectMaps, ...] = (),
    batch_size: int = 1,
    mask: bool = False,
) -> Task:
    """Learn pulses and lines of k-space, beginning near zero."""
    n = size.matrix
    settings: dict[str, Any] = {"tr": 20e-3, "te": te}
    target = gradient_echo(n, FOV, flip_angle=_EXCITATION, **settings)
    structure = gradient_echo(n, FOV, flip_angle=0.0, rf_spoiling=0.0, **settings)
    return Task(
        name,
        title,
        n,
        target,
        structure,
        _near_zero(n, seed),
        whole_encoding(n, SPOILER),
        {"flip_angle": 0.003, "phase": 0.01, "centre": 0.3, "extent": 2.0, "extent_change": 0.03},
        size.n_iterations,
        shown,
        train=train,
        batch_size=batch_size,
        sar_weight=sar_weight,
        edge_weight=5.0,
        decay=0.03,
        mask=mask,
    )


def _near_zero(n: int, seed: int) -> Arrays:
    """Zero, but for random centres of lines within a few pixels of k-space: equal lines would stay equal."""
    rng = np.random.default_rng(seed)
    return {
        "flip_angle": np.full(n, 1e-3),
        "phase": np.zeros(n),
        "centre": rng.normal(0, n / 8, (n, 2)),
        "extent": np.zeros(2),
        "extent_change": np.zeros((n, 2)),
    }


def _figure_2(size: Size, seed: int) -> list[Task]:
    shown = brain(size.matrix)
    return [
        _from_zero("encoding", "Pulses and gradients from zero", size, seed, 3e-3, shown, sar_weight=1e-4)
    ]


def _figure_3(size: Size, seed: int) -> list[Task]:
    n, shown = size.matrix, brain(size.matrix)
    target = gradient_echo(n, FOV, flip_angle=_EXCITATION, tr=20e-3, te=1.5e-3)
    return [
        _from_zero("no_penalty", "All from zero, no SAR penalty", size, seed, 1.5e-3, shown, sar_weight=0.0),
        Task(
            "rf_only",
            "Flip angles only, from the target, with SAR penalty",
            n,
            target,
            target,
            {"flip_angle": np.full(n, _EXCITATION)},
            pulses_only(0, 0.0),
            {"flip_angle": 0.001},
            size.n_iterations,
            shown,
            sar_weight=5e-3,
        ),
        _from_zero("penalty", "All from zero, with SAR penalty", size, seed, 1.5e-3, shown, sar_weight=1e-3),
    ]


def _refocusing(
    name: str,
    title: str,
    size: Size,
    shown: ObjectMaps,
    train: tuple[ObjectMaps, ...] = (),
    batch_size: int = 1,
) -> Task:
    n = size.matrix
    target = turbo_spin_echo(n, FOV, echo_spacing=6e-3, order="centric")
    return Task(
        name,
        title,
        n,
        target,
        target,
        {"flip_angle": np.full(n, np.pi)},
        pulses_only(1, np.pi / 2),
        {"flip_angle": 0.1},
        size.n_iterations,
        shown,
        train=train,
        batch_size=batch_size,
        sar_weight=0.3,
        decay=0.1,
    )


def _figure_4(size: Size, seed: int) -> list[Task]:
    return [
        _refocusing("rare", "RARE, trained on the resolution phantom", size, resolution_phantom(size.matrix))
    ]


def _samples(matrix: int, seed: int, edge: int) -> tuple[ObjectMaps, ...]:
    rng = np.random.default_rng(seed)
    return tuple(sparse_sample(matrix, rng, edge=edge) for _ in range(_N_SAMPLES))


def _figure_5(size: Size, seed: int) -> list[Task]:
    shown = brain(size.matrix)
    return [
        _refocusing("brain", "RARE, trained on a brain", size, shown),
        _refocusing(
            "sparse",
            "RARE, trained on single voxels",
            size,
            shown,
            _samples(size.matrix, seed, 1),
            batch_size=8,
        ),
    ]


def _figure_6(size: Size, seed: int) -> list[Task]:
    return [
        _from_zero(
            "sparse",
            "Pulses and gradients from zero, trained on sparse samples",
            size,
            seed,
            3e-3,
            brain(size.matrix),
            sar_weight=1e-4,
            train=_samples(size.matrix, seed, 6),
            batch_size=4,
        )
    ]


def _figure_s1(size: Size, seed: int) -> list[Task]:
    return [
        _from_zero(
            "mask",
            "Pulses and gradients from zero, the target a mask",
            size,
            seed,
            3e-3,
            brain(size.matrix),
            sar_weight=1e-4,
            mask=True,
        )
    ]


def _figure_s2(size: Size, seed: int) -> list[Task]:
    n, angle = size.matrix, float(np.deg2rad(25))
    settings: dict[str, Any] = {"flip_angle": angle, "tr": 20e-3, "te": 3e-3}
    transient = radial_gradient_echo(n, FOV, **settings)
    return [
        Task(
            "radial",
            "Flip angles of a transient radial sequence, the target its steady state",
            n,
            radial_gradient_echo(n, FOV, n_dummies=100, **settings),
            transient,
            {"flip_angle": np.full(n, angle)},
            pulses_only(0, 0.0),
            {"flip_angle": 0.02},
            size.n_iterations,
            brain(n),
            radial=True,
            shape_only=True,
        )
    ]


_INFINITE = float("inf")
EXPERIMENTS = {
    "fig2": Experiment(
        "Figure 2: an imaging sequence from zero",
        "All pulses and gradients begin near zero; the target is a gradient echo (TR 20 ms, TE 3 ms, 5°).",
        {"full": Size(48, 400), "quick": Size(16, 150)},
        _figure_2,
        {"encoding": (10.0, _INFINITE)},
    ),
    "fig3": Experiment(
        "Figure 3: with and without a SAR penalty",
        "The task of figure 2 at half the resolution (TE 1.5 ms): without penalty, flip angles alone, "
        "and all with penalty.",
        {"full": Size(24, 1000), "quick": Size(12, 80)},
        _figure_3,
        {"rf_only": (5.0, 0.73), "penalty": (_INFINITE, 1.0)},
    ),
    "fig4": Experiment(
        "Figure 4: RARE with little SAR",
        "Refocusing angles under a strong SAR penalty, trained on a resolution phantom (echo spacing 6 ms, "
        "centric order).",
        {"full": Size(96, 80), "quick": Size(24, 80)},
        _figure_4,
        {"rare": (15.0, 0.15)},
    ),
    "fig5": Experiment(
        "Figure 5: RARE with little SAR, trained on other objects",
        "The task of figure 4, trained on a brain, and on 1024 single voxels; images are of the brain.",
        {"full": Size(96, 80), "quick": Size(24, 60)},
        _figure_5,
        {"brain": (15.0, 0.15), "sparse": (_INFINITE, 0.15)},
    ),
    "fig6": Experiment(
        "Figure 6: an imaging sequence from zero, trained on sparse samples",
        "The task of figure 2, trained on 1024 small squares at random places; images are of the brain.",
        {"full": Size(48, 1000), "quick": Size(16, 150)},
        _figure_6,
        {"sparse": (_INFINITE, _INFINITE)},
    ),
    "s1": Experiment(
        "Figure S1: an imaging sequence from a mask",
        "The task of figure 2; the target is the outline of the object, which no image can match.",
        {"full": Size(48, 400), "quick": Size(16, 150)},
        _figure_s1,
        {"mask": (_INFINITE, _INFINITE)},
    ),
    "s2": Experiment(
        "Figure S2: radial imaging in the transient state",
        "Flip angles of 48 spokes from equilibrium (TR 20 ms, TE 3 ms, 25°); the target is the steady state.",
        {"full": Size(48, 120), "quick": Size(24, 40)},
        _figure_s2,
        {"radial": (_INFINITE, _INFINITE)},
    ),
}
"""By the names of the command line."""
