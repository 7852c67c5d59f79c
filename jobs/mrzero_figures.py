"""Figures and animations of the experiments of ``epgbloch mrzero``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from jobs.figures import new_figure
from jobs.mrzero_phantoms import FOV
from jobs.mrzero_task import Snapshot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = 5
_BLUE, _RED, _GRAY = "#2f6fb0", "#c8553d", "#8b95a1"
_FRAMES_PER_SECOND = 8


@dataclass(frozen=True, eq=False)
class Progress:
    """An optimisation as it is drawn.

    Attributes
    ----------
    title : str
        Heading.
    matrix : int
        Pixels along an axis.
    target_angles : ndarray, shape (n,)
        Flip angles of the target sequence [rad].
    target_image : ndarray, shape (ny, nx), complex64
        The target.
    snapshots : sequence of Snapshot
        In order.
    """

    title: str
    matrix: int
    target_angles: NDArray[np.float64]
    target_image: NDArray[np.complex64]
    snapshots: Sequence[Snapshot]


def chosen(snapshots: Sequence[Snapshot]) -> list[Snapshot]:
    """Five of them: the first, the last, and those whose errors lie evenly between on a logarithmic scale."""
    if len(snapshots) <= _COLUMNS:
        return list(snapshots)
    errors = np.log(np.maximum([s.image_error for s in snapshots], 1e-3))
    wanted = np.linspace(errors[0], errors[-1], _COLUMNS)[1:-1]
    places = {0, len(snapshots) - 1}
    for value in wanted:
        free = [i for i in range(len(snapshots)) if i not in places]
        places.add(min(free, key=lambda i: abs(errors[i] - value)))
    return [snapshots[i] for i in sorted(places)]


def draw_progress(path: Path, progress: Progress) -> None:
    """Draw k-space, flip angles and images at five iterations beside the target, and the curves below."""
    columns = chosen(progress.snapshots)
    n = len(columns) + 1
    figure = new_figure(2.1 * n, 9.0)
    grid = figure.add_gridspec(4, n, height_ratios=(1, 0.7, 1, 0.9))
    largest = _reach(progress)
    for i, snapshot in enumerate(columns):
        axes = figure.add_subplot(grid[0, i])
        _draw_k(axes, snapshot, progress.matrix, largest)
        axes.set_title(f"iteration {snapshot.iteration}", fontsize=9)
        _draw_angles(figure.add_subplot(grid[1, i]), snapshot.flip_angle, progress, legend=i == 0)
        axes = figure.add_subplot(grid[2, i])
        _draw_image(axes, snapshot.image, progress.target_image)
        axes.set_title(
            f"error {snapshot.image_error:.3g} %, SAR {100 * snapshot.relative_sar:.3g} %", fontsize=8
        )
    axes = figure.add_subplot(grid[2, -1])
    _draw_image(axes, progress.target_image, progress.target_image)
    axes.set_title("target", fontsize=9)
    error, sar = figure.add_subplot(grid[3, : n // 2]), figure.add_subplot(grid[3, n // 2 :])
    _draw_curves(error, sar, progress.snapshots)
    figure.suptitle(progress.title, fontsize=11)
    figure.savefig(path, format="png", dpi=110)


def animate_progress(path: Path, progress: Progress) -> None:
    """Write an animation of k-space, flip angles, image and curves.

    A GIF at `path`, and an MP4 beside it where ffmpeg is there.
    """
    figure = new_figure(8.4, 5.0)
    panels = figure.subplots(2, 3)
    largest = _reach(progress)

    def draw(i: int) -> None:
        for axes in panels.flat:
            axes.clear()
        snapshot = progress.snapshots[i]
        _draw_k(panels[0, 0], snapshot, progress.matrix, largest)
        _draw_image(panels[0, 1], snapshot.image, progress.target_image)
        panels[0, 1].set_title(f"iteration {snapshot.iteration}", fontsize=9)
        _draw_image(panels[0, 2], progress.target_image, progress.target_image)
        panels[0, 2].set_title("target", fontsize=9)
        _draw_angles(panels[1, 0], snapshot.flip_angle, progress, legend=False)
        _draw_curves(panels[1, 1], panels[1, 2], progress.snapshots, i)

    save_animation(path, figure, draw, len(progress.snapshots))


def save_animation(path: Path, figure: Any, draw: Callable[[int], None], n_frames: int) -> None:
    """Write frames as a GIF, and as an MP4 where ffmpeg is there."""
    from matplotlib.animation import FFMpegWriter, PillowWriter

    figure.set_layout_engine("constrained")
    writers: list[tuple[Path, Any]] = [(path, PillowWriter(fps=_FRAMES_PER_SECOND))]
    if FFMpegWriter.isAvailable():
        writers.append((path.with_suffix(".mp4"), FFMpegWriter(fps=_FRAMES_PER_SECOND)))
    for target, writer in writers:
        with writer.saving(figure, target, dpi=80):
            for i in range(n_frames):
                draw(i)
                writer.grab_frame()


def _reach(progress: Progress) -> float:
    """Half the width of the panels of k-space, in units of 1 / FOV."""
    largest = max(float(np.abs(s.k).max()) * FOV for s in progress.snapshots)
    return 1.1 * max(min(largest, 2 * progress.matrix), progress.matrix / 2)


def _draw_k(axes: Axes, snapshot: Snapshot, matrix: int, largest: float) -> None:
    lines = snapshot.k.reshape(-1, matrix, 2) * FOV
    for line in lines:
        axes.plot(*line.T, ".", color=_BLUE, markersize=1)
    axes.set_xlim(-largest, largest)
    axes.set_ylim(-largest, largest)
    axes.set_aspect("equal")
    axes.tick_params(labelsize=6)


def _draw_angles(axes: Axes, angles: NDArray[np.float64], progress: Progress, *, legend: bool) -> None:
    axes.plot(np.rad2deg(progress.target_angles[-len(angles) :]), color=_GRAY, linewidth=1, label="target")
    axes.plot(np.rad2deg(angles), color=_RED, linewidth=1, label="flip angle [°]")
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.tick_params(labelsize=6)
    if legend:
        axes.legend(fontsize=6, frameon=False)


def _draw_image(axes: Axes, image: NDArray[np.complex64], target: NDArray[np.complex64]) -> None:
    axes.imshow(np.abs(image), cmap="gray", vmin=0, vmax=np.abs(target).max(), origin="lower")
    axes.set_axis_off()


def _draw_curves(error: Axes, sar: Axes, snapshots: Sequence[Snapshot], place: int | None = None) -> None:
    iterations = [s.iteration for s in snapshots]
    curves = (
        (error, "image error [%]", [s.image_error for s in snapshots], "log"),
        (sar, "SAR [% of the target]", [100 * s.relative_sar for s in snapshots], "linear"),
    )
    for axes, label, values, scale in curves:
        axes.plot(iterations, values, color=_BLUE, linewidth=1.4)
        if place is not None:
            axes.plot(iterations[place], values[place], "o", color=_RED, markersize=4)
        axes.set_yscale(scale)
        axes.set_title(label, fontsize=8)
        axes.set_xlabel("iteration", fontsize=7)
        axes.tick_params(labelsize=6)
        axes.grid(alpha=0.25)
