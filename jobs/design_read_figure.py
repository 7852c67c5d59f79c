"""Figure of what a Pulseq file plays: train, signals and trajectory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from design.pulseq.read import PulseqScan
from epgbloch import Tissue
from jobs.figures import new_figure

_MOST_READOUTS = 64  # drawn of a trajectory


def draw_scan(
    path: Path, scan: PulseqScan, tissue: Tissue | None, signal: NDArray[np.complex64] | None
) -> None:
    """Draw flip angles, TR and TE where they vary, signals if there are tissues, and the trajectory.

    Parameters
    ----------
    path : Path
        The figure, .png.
    scan : PulseqScan
        What the file plays.
    tissue, signal : Tissue and ndarray, shape (n_atoms, n_pulses), or None
        Tissues and their signals.
    """
    sequence = scan.sequence
    lines: dict[str, list[tuple[str | None, NDArray[Any]]]] = {
        "flip angle [°]": [(None, np.rad2deg(sequence.flip_angle))]
    }
    for name, values in (("TR", sequence.tr), ("TE", sequence.te)):
        if np.ptp(values) > 1e-6:
            lines.setdefault("time [ms]", []).append((name, 1e3 * values))
    if tissue is not None and signal is not None:
        lines["|signal| / PD"] = [
            (f"T1 {1e3 * t1:g} ms, T2 {1e3 * t2:g} ms", np.abs(echoes))
            for t1, t2, echoes in zip(tissue.t1, tissue.t2, signal, strict=True)
        ]
    figure = new_figure(11, max(4.0, 2.2 * len(lines)))
    grid = figure.add_gridspec(len(lines), 2, width_ratios=(3, 2))
    rows = [figure.add_subplot(grid[i, 0]) for i in range(len(lines))]
    for axes, (label, curves) in zip(rows, lines.items(), strict=True):
        for curve, values in curves:
            axes.plot(values, linewidth=1.2, label=curve)
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
        if 1 < len(curves) <= 12 or curves[0][0]:
            axes.legend(frameon=False, fontsize=8)
    rows[-1].set_xlabel("pulse")
    plane = figure.add_subplot(grid[:, 1])
    n_drawn = min(len(scan.trajectory), _MOST_READOUTS)
    for positions in scan.trajectory[:n_drawn]:
        plane.plot(*positions.T, color="tab:blue", linewidth=0.6, alpha=0.6)
    first = scan.trajectory[0]
    plane.plot(*first.T, ".", color="tab:orange", markersize=3)
    plane.set_aspect("equal")
    plane.set_xlabel(f"k{scan.axes[0]} [1/m]")
    plane.set_ylabel(f"k{scan.axes[1]} [1/m]")
    plane.set_title(f"{n_drawn} of {len(scan.trajectory)} readouts, samples of the first", fontsize=9)
    figure.savefig(path, dpi=150)
