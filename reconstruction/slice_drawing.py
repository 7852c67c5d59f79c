"""Images of one slice side by side, in millimetres, with colour bars."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

_BACKGROUND = "black"
_FOREGROUND = "0.92"


@dataclass(frozen=True)
class Column:
    """One column of the figure: images in display units, with colours and their scale."""

    title: str
    unit: str
    colours: str | Colormap
    result: NDArray[np.float64]
    truth: NDArray[np.float64] | None
    norm: Normalize
    extend: str


def draw_columns(
    path: Path,
    columns: list[Column],
    rows: list[str],
    shown: NDArray[np.bool_],
    affine: NDArray[np.float64],
    orientation_known: bool,
    title: str,
) -> None:
    """Draw columns of images of one slice into a PNG file.

    Parameters
    ----------
    path : Path
        The file; replaced if it exists, untouched if drawing fails.
    columns : list of Column
        The images, shape (ny, nx).
    rows : list of str
        Names of the rows, of "result", "truth" and "error".
    shown : ndarray, shape (ny, nx), bool
        Voxels that the panels show, with a margin.
    affine : ndarray, shape (4, 4)
        Maps voxel indices (x, y, z, 1) to millimetres in RAS.
    orientation_known : bool
        Whether to name the directions in the patient.
    title : str
        Heading.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    (left, right), (bottom, top) = _limits(shown, affine)
    panel_height = np.clip(2.4 * (top - bottom) / (right - left), 1.2, 4.8)
    size = (3.1 * len(columns) + 0.5, (panel_height + 0.1) * len(rows) + 0.9)
    figure = Figure(figsize=size, facecolor=_BACKGROUND, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), len(columns), squeeze=False, sharex=True, sharey=True)
    axes[0, 0].set(xlim=(left, right), ylim=(bottom, top))
    for axes_column, quantity in zip(axes.T, columns, strict=True):
        _draw_column(figure, dict(zip(rows, axes_column, strict=True)), quantity, affine)
        axes_column[0].set_title(quantity.title, color=_FOREGROUND, fontsize=13)
        axes_column[-1].set_xlabel("mm", color=_FOREGROUND)
    if orientation_known:
        letters = oriented(shown, affine)[1:]
        for ax in axes.flat:
            if ax.images:
                _name_directions(ax, *letters)
    for row, axes_row in zip(rows, axes, strict=True):
        axes_row[0].set_ylabel(f"{row}\nmm" if len(rows) > 1 else "mm", color=_FOREGROUND)
    if title:
        figure.suptitle(title, color=_FOREGROUND, fontsize=14)
    _save(figure, path)


def _draw_column(
    figure: Figure, axes: dict[str, Axes], quantity: Column, affine: NDArray[np.float64]
) -> None:
    for row, image in (("truth", quantity.truth), ("result", quantity.result)):
        if row in axes and image is not None:
            drawn = _draw(axes[row], image, affine, cmap=quantity.colours, norm=quantity.norm)
    shared = [axes[row] for row in ("truth", "result") if row in axes]
    _colour_bar(figure, drawn, shared, quantity.unit, quantity.extend)
    for ax in axes.values():
        _style(ax)
    if "error" not in axes:
        return
    if quantity.truth is None:
        for row in ("truth", "error"):
            axes[row].text(0.5, 0.5, "unknown", color=_FOREGROUND, ha="center", transform=axes[row].transAxes)
        return
    with np.errstate(divide="ignore", invalid="ignore"):
        error = 100 * (quantity.result / quantity.truth - 1)
    error[~np.isfinite(error)] = np.nan
    limit = float(np.clip(np.nanpercentile(np.abs(error), 90), 5, 50))
    drawn = _draw(axes["error"], error, affine, cmap="RdBu_r", vmin=-limit, vmax=limit)
    _colour_bar(figure, drawn, [axes["error"]], "%", extend="both")
    median = float(np.nanmedian(np.abs(error)))
    axes["error"].set_title(f"median |error| {median:.2g} %", color=_FOREGROUND, fontsize=9)


def _draw(ax: Axes, image: NDArray[np.float64], affine: NDArray[np.float64], **colours: Any) -> Any:
    """Show an image with R, A and S right and up, in millimetres."""
    turned, _, _ = oriented(image, affine)
    y, x = _half_size(image, affine)
    extent = (-x, x, -y, y)
    limits = ax.get_xlim(), ax.get_ylim()
    drawn = ax.imshow(turned, origin="lower", extent=extent, interpolation="nearest", **colours)
    ax.set(xlim=limits[0], ylim=limits[1])
    return drawn


def _name_directions(ax: Axes, right: str, up: str) -> None:
    for letter, place in ((right, (0.97, 0.5)), (up, (0.5, 0.97))):
        ax.text(*place, letter, color="0.6", ha="center", va="center", fontsize=8, transform=ax.transAxes)


def oriented(image: NDArray[Any], affine: NDArray[np.float64]) -> tuple[NDArray[Any], str, str]:
    """Image whose columns and rows run towards R, A or S, and the letters of these two directions."""
    right, up, _ = nib.aff2axcodes(affine)
    opposite = {"L": "R", "P": "A", "I": "S"}
    flipped = image[:: -1 if up in opposite else 1, :: -1 if right in opposite else 1]
    return flipped, opposite.get(right, right), opposite.get(up, up)


def _half_size(image: NDArray[Any], affine: NDArray[np.float64]) -> tuple[float, float]:
    """Half of the height and of the width of the image [mm]."""
    dx, dy, _ = np.linalg.norm(affine[:3, :3], axis=0)
    return float(image.shape[0] * dy / 2), float(image.shape[1] * dx / 2)


def _limits(mask: NDArray[np.bool_], affine: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Ranges of x and y [mm] around the mask, with a margin of 8 % of its larger side."""
    turned, _, _ = oriented(mask, affine)
    ranges = []
    for axis, half in zip((0, 1), reversed(_half_size(mask, affine)), strict=True):
        inside = np.flatnonzero(turned.any(axis=axis))
        pixel = 2 * half / turned.shape[1 - axis]
        ranges.append((inside[0] * pixel - half, (inside[-1] + 1) * pixel - half))
    margin = 0.08 * max(high - low for low, high in ranges)
    return [(float(low - margin), float(high + margin)) for low, high in ranges]


def _colour_bar(figure: Figure, drawn: Any, axes: list[Axes], unit: str, extend: str) -> None:
    bar = figure.colorbar(drawn, ax=axes, shrink=0.85, pad=0.02, extend=extend, aspect=18 * len(axes))
    bar.set_label(unit, color=_FOREGROUND)
    bar.ax.tick_params(colors=_FOREGROUND, labelsize=8)
    bar.outline.set_edgecolor("0.4")


def _style(ax: Axes) -> None:
    ax.set_facecolor(_BACKGROUND)
    ax.tick_params(colors="0.6", labelsize=7, length=2)
    for spine in ax.spines.values():
        spine.set_color("0.25")


def _save(figure: Figure, path: Path) -> None:
    """Write beside `path` and rename, so that no half-written file takes its name."""
    try:
        with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as temporary:
            drawn = Path(temporary, "figure.png")
            figure.savefig(drawn, dpi=150, facecolor=_BACKGROUND)
            drawn.replace(path)
    except OSError as error:
        raise OSError(f"cannot write figure {path}: {error}; check the folder and its free space") from error
