"""Figures of the report: PNG images with a transparent background, for light and dark pages."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from jobs.figures import new_figure, plain_log_ticks
from jobs.report_data import QUANTITIES, Results
from jobs.report_regions import Labels
from reconstruction.slice_drawing import oriented

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FOREGROUND = "#80868f"
_COLOURS = ("#3b82c4", "#d9783a", "#3f9d6b", "#b05ea8")
"""Readable on light and dark; the pairs differ with colour vision deficiencies too."""
_N_BINS = 80
_GAP = 1  # pixels between thumbnails


def convergence(results: Results) -> bytes:
    """Relative residual of the inversion against the iteration, one line a slice."""
    figure, (axes,) = _panels(1)
    for record, _ in results.slices:
        residuals = record["relative_residuals"]
        axes.semilogy(np.arange(len(residuals)), residuals, marker=".", color=_COLOURS[0], alpha=0.7)
    axes.set(xlabel="iteration", ylabel="‖Eᴴs − EᴴE x‖ / ‖Eᴴs‖", title="Low-rank inversion")
    _whole_numbers(axes)
    return _png(figure)


def admm_convergence(results: Results) -> bytes | None:
    """Record of LR-ADMM, one line a slice; None if the maps come from low-rank inversion alone."""
    records = [record["admm"] for record, _ in results.slices if record.get("admm")]
    if not records:
        return None
    figure, (residual_axes, changed_axes) = _panels(2)
    for i, record in enumerate(records):
        iterations = np.arange(1, len(record["changed"]) + 1)
        for colour, (name, label) in zip(
            _COLOURS,
            (
                ("data_misfit", "data, ‖s − E x‖ / ‖s‖"),
                ("primal_residual", "primal, ‖P x − e‖ / ‖x‖"),
                ("dual_residual", "dual"),
            ),
            strict=False,
        ):
            values = np.ma.masked_less_equal(record[name], 0)
            residual_axes.semilogy(
                iterations, values, marker=".", color=colour, alpha=0.7, label=None if i else label
            )
        changed = 100 * np.asarray(record["changed"])
        changed_axes.plot(iterations, changed, marker=".", color=_COLOURS[0], alpha=0.7)
    residual_axes.legend(frameon=False, labelcolor=_FOREGROUND, fontsize=8)
    residual_axes.set(xlabel="outer iteration", title="LR-ADMM: residuals")
    changed_axes.set(xlabel="outer iteration", ylabel="%", title="Voxels with a new atom", ylim=(0, None))
    for axes in (residual_axes, changed_axes):
        _whole_numbers(axes)
    return _png(figure)


def singular_values(results: Results) -> bytes | None:
    """Singular values of the dictionary and its truncation error; None where they are not known."""
    dictionary = results.provenance["dictionary"]
    values = dictionary.get("relative_singular_values")
    if not values:
        return None
    figure, (axes,) = _panels(1)
    axes.semilogy(np.arange(1, len(values) + 1), values, marker=".", color=_COLOURS[0])
    axes.axvline(dictionary["rank"], color=_FOREGROUND, linestyle=":", label=f"rank {dictionary['rank']}")
    error = dictionary.get("relative_truncation_error")
    if error:
        label = f"truncation error, rms {error['rms']:.1e}"
        axes.axhline(error["rms"], color=_COLOURS[1], linestyle="--", label=label)
    axes.legend(frameon=False, labelcolor=_FOREGROUND)
    axes.set(xlabel="number", ylabel="relative to the largest", title="Singular values of the signals")
    _whole_numbers(axes)
    return _png(figure)


def histograms(results: Results) -> bytes:
    """Distribution of T1, T2, B1 and correlation over the voxels of all masks."""
    from matplotlib.ticker import MaxNLocator

    shown = [name for name in ("t1", "t2", "b1", "correlation") if results.values(name) is not None]
    figure, panels = _panels(len(shown))
    for axes, name in zip(panels, shown, strict=True):
        values = results.values(name)
        assert values is not None
        if name == "correlation":
            low = min(float(np.percentile(values, 0.5)), 0.999)
            bins = np.linspace(low, 1, _N_BINS)
            axes.set(xlabel="correlation", title="Measured and modelled signal")
            axes.xaxis.set_major_locator(MaxNLocator(4))
        else:
            quantity = QUANTITIES[name]
            values = quantity.factor * values
            low, high = np.percentile(values, [0.1, 99.9]) * [0.98, 1.02]
            bins = np.geomspace(low, high, _N_BINS) if name != "b1" else np.linspace(low, high, _N_BINS)
            axes.set(xlabel=f"{quantity.title} [{quantity.unit}]", title=quantity.title)
            if name != "b1":
                axes.set_xscale("log")
                plain_log_ticks(axes.xaxis)
        axes.hist(np.clip(values, bins[0], bins[-1]), bins=bins.tolist(), color=_COLOURS[0])
        axes.set_ylabel("voxels")
    return _png(figure)


def regions(results: Results, labels: Labels) -> bytes:
    """Regions with their names on the proton density, for the slices that hold some."""
    from matplotlib import colormaps
    from matplotlib.patches import Patch

    shown = [z for z, values in enumerate(labels.values) if values.any()]
    n_columns = min(len(shown), 4)
    figure = new_figure(3.4 * n_columns + 1.8, 3.4 * -(-len(shown) // n_columns))
    colours = colormaps["tab20"]
    for i, z in enumerate(shown):
        axes = figure.add_subplot(-(-len(shown) // n_columns), n_columns, i + 1)
        dx, dy = np.linalg.norm(results.bids.affine[:3, :2], axis=0)
        density, placed = (
            oriented(image, results.bids.affine)[0]
            for image in (np.abs(results.bids.maps[z].pd), labels.values[z])
        )
        axes.imshow(density, cmap="gray", origin="lower", aspect=dy / dx)
        overlay = np.zeros((*placed.shape, 4))
        for k, number in enumerate(labels.names):
            overlay[placed == number] = (*colours(k % 20)[:3], 0.6)
        axes.imshow(overlay, origin="lower", aspect=dy / dx)
        axes.set_axis_off()
        axes.set_title(f"slice {results.provenance['slices'][z]['slice']}", color=_FOREGROUND, fontsize=10)
    patches = [Patch(color=colours(k % 20), label=name) for k, name in enumerate(labels.names.values())]
    figure.legend(handles=patches, loc="outside right upper", frameon=False, labelcolor=_FOREGROUND)
    return _png(figure)


def coil_montage(path: Path, coils: NDArray[np.complex64], affine: NDArray[np.float64]) -> None:
    """Write coil sensitivities side by side: brightness is the magnitude, hue the phase.

    Parameters
    ----------
    path : Path
        PNG file.
    coils : ndarray, shape (n_coils, height, width), complex64
        Sensitivities.
    affine : ndarray, shape (4, 4), float64
        That of the slice, to turn the pictures like the maps.
    """
    from matplotlib.colors import hsv_to_rgb
    from matplotlib.image import imsave

    magnitude = np.abs(coils)
    hue = (np.angle(coils) / (2 * np.pi)) % 1
    value = magnitude / max(float(magnitude.max()), np.finfo(np.float32).tiny)
    pictures = hsv_to_rgb(np.stack([hue, np.full_like(hue, 0.55), value], axis=-1))
    n_coils, height, width, _ = pictures.shape
    n_columns = int(np.ceil(np.sqrt(1.6 * n_coils)))
    n_rows = -(-n_coils // n_columns)
    montage = np.zeros((n_rows * (height + _GAP) - _GAP, n_columns * (width + _GAP) - _GAP, 3))
    for i, picture in enumerate(pictures):
        picture = oriented(picture, affine)[0][::-1]
        row, column = (i // n_columns) * (height + _GAP), (i % n_columns) * (width + _GAP)
        montage[row : row + height, column : column + width] = picture
    imsave(path, montage)


def _panels(n: int) -> tuple[Figure, list[Axes]]:
    figure = new_figure(4.6 * n, 3.3)
    panels = figure.subplots(1, n, squeeze=False)[0].tolist()
    for axes in panels:
        axes.set_facecolor("none")
        axes.tick_params(which="both", colors=_FOREGROUND)
        axes.grid(alpha=0.25, color=_FOREGROUND)
        for spine in axes.spines.values():
            spine.set_color(_FOREGROUND)
        for text in (axes.xaxis.label, axes.yaxis.label, axes.title):
            text.set_color(_FOREGROUND)
    return figure, panels


def _whole_numbers(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110, transparent=True, format="png")
    return buffer.getvalue()
