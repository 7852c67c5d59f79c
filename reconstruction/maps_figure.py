"""Figures of quantitative maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import Normalize
from numpy.typing import ArrayLike, NDArray

from reconstruction.colours import COLOUR_MAPS, relaxation_norm
from reconstruction.maps import Maps
from reconstruction.slice_drawing import Column, draw_columns

_SHOWN = (
    # title, unit, field of Maps, factor to the unit, colours
    ("T1", "ms", "t1", 1e3, COLOUR_MAPS["lipari"]),
    ("T2", "ms", "t2", 1e3, COLOUR_MAPS["navia"]),
    ("Proton density", "a.u.", "pd", 1.0, "gray"),
    ("B1", "%", "b1", 100.0, "cividis"),
)


def display_ranges(slices: Sequence[Maps]) -> dict[str, tuple[float, float]]:
    """Return the range of colours of T1, T2 [s] and B1 that suits several slices, by field of `Maps`.

    Ranges resist outliers: T1 and T2 reach from 0 to 2.5 times the median (fluid saturates) or the 99th
    percentile, whatever is less, B1 from the 1st to the 99th percentile. Proton density has a scale of its
    own in each slice.

    Parameters
    ----------
    slices : sequence of Maps
        At least one with voxels in its mask.
    """
    ranges = {}
    for name in ("t1", "t2", "b1"):
        images = [(getattr(maps, name), maps.mask) for maps in slices]
        if all(image is not None for image, _ in images):
            values = np.concatenate([image[mask] for image, mask in images]).astype(np.float64)
            ranges[name] = _range(name, values)
    return ranges


def _range(name: str, values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = (float(value) for value in np.percentile(values, [1, 99]))
    if name in ("t1", "t2"):
        return 0.0, min(high, 2.5 * float(np.median(values)))
    if name == "pd":
        low = 0.0
    if high <= low:  # a constant map
        margin = 0.01 * high or 1.0
        low, high = low - margin, high + margin
    return low, high


def plot_maps(
    path: str | Path,
    maps: Maps,
    *,
    affine: ArrayLike,
    orientation_known: bool = True,
    truth: Maps | None = None,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    title: str = "",
) -> Path:
    """Draw T1, T2, proton density and, if known, B1 of one slice into a PNG file.

    With `truth`, three rows: truth, result, and error = 100 (result / truth - 1) within both masks, with its
    median magnitude. Truth and result share their colours. Proton density has no absolute scale: the result
    is scaled so that its median ratio to the truth is 1. Axes are in millimetres from the centre of the
    image; letters name the directions in the patient (R, L, A, P, S, I), R, A and S right and up.

    T1 is drawn in the colours lipari and T2 in navia, on the scale of `relaxation_norm`, as recommended for
    relaxometry (`reconstruction.colours`). Ranges are those of `display_ranges`; errors end at the 90th
    percentile of their magnitude, between 5 and 50 percent.

    Parameters
    ----------
    path : str or Path
        PNG file; replaced if it exists, untouched if drawing fails.
    maps : Maps
        Result to draw.
    affine : array_like, shape (4, 4)
        Maps voxel indices (x, y, z, 1) to millimetres in RAS: gives pixel size and orientation.
    orientation_known : bool
        False where the affine does not tell where the slice lies in the patient: the letters are left out.
    truth : Maps or None
        Known maps of the same slice.
    ranges : mapping, optional
        Ranges of colours as of `display_ranges`, to draw several slices alike; None: those of this slice, or
        of the truth.
    title : str
        Heading of the figure.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ValueError
        If the mask is empty or `truth` has another shape.
    OSError
        If the file cannot be written.
    """
    path = Path(path)
    affine = np.asarray(affine, dtype=np.float64)
    if not maps.mask.any():
        raise ValueError("maps.mask is empty; there is nothing to draw")
    if truth is not None and not (truth.mask.shape == maps.mask.shape and (truth.mask & maps.mask).any()):
        raise ValueError(
            f"truth (shape {truth.mask.shape}) and maps (shape {maps.mask.shape}) must have one shape and "
            "masks that overlap"
        )
    columns = _quantities(maps, truth, ranges or {})
    rows = ["result"] if truth is None else ["truth", "result", "error"]
    shown = maps.mask if truth is None else maps.mask | truth.mask
    draw_columns(path, columns, rows, shown, affine, orientation_known, title)
    return path


def plot_quality(
    path: str | Path,
    maps: Maps,
    *,
    affine: ArrayLike,
    orientation_known: bool = True,
    title: str = "",
) -> Path:
    """Draw what tells how far the maps of a slice are to be trusted into a PNG file.

    That is the correlation of measured and modelled signal, and the standard errors that the maps hold, in
    percent of the map. Ranges end at the 1st percentile (correlation) and the 99th (standard errors).
    Parameters are those of `plot_maps`.

    Raises
    ------
    ValueError
        If the mask is empty or the maps hold neither correlation nor standard errors.
    OSError
        If the file cannot be written.
    """
    columns = []
    if maps.correlation is not None:
        image = _masked(maps.correlation, maps.mask)
        low = min(float(np.nanpercentile(image, 1)), 0.999) if maps.mask.any() else 0.0
        norm = Normalize(low, 1.0)
        columns.append(Column("Correlation", "", "magma", image, None, norm, "min"))
    for title_, _, name, _, _ in _SHOWN:
        errors = getattr(maps, f"{name}_std", None)
        if errors is not None:
            image = _masked(100 * errors / np.where(maps.mask, getattr(maps, name), 1), maps.mask)
            known = image[np.isfinite(image)]
            norm = Normalize(0.0, float(np.percentile(known, 99)) if known.any() else 1.0)
            columns.append(Column(f"Standard error of {title_}", "%", "viridis", image, None, norm, "max"))
    if not (maps.mask.any() and columns):
        raise ValueError(
            "maps must hold voxels, and correlation or standard errors; there is nothing to draw"
        )
    affine = np.asarray(affine, dtype=np.float64)
    draw_columns(Path(path), columns, ["result"], maps.mask, affine, orientation_known, title)
    return Path(path)


def _quantities(maps: Maps, truth: Maps | None, ranges: Mapping[str, tuple[float, float]]) -> list[Column]:
    """Columns of the figure; values outside the masks are NaN."""
    pd_scale = 1.0
    if truth is not None:
        both = maps.mask & truth.mask & (truth.pd != 0)
        if maps.pd[both].any():
            pd_scale = float(np.median(np.abs(maps.pd[both] / truth.pd[both])))
    columns = []
    for title, unit, name, factor, colours in _SHOWN:
        if getattr(maps, name) is None:
            continue
        scale = factor / pd_scale if name == "pd" else factor
        result = _masked(getattr(maps, name), maps.mask) * scale
        known = None
        if truth is not None and getattr(truth, name) is not None:
            known = _masked(getattr(truth, name), truth.mask) * factor
        if name in ranges:
            low, high = (factor * end for end in ranges[name])
        else:
            reference = result if known is None else known
            low, high = _range(name, reference[np.isfinite(reference)])
        relaxation = name in ("t1", "t2")
        norm = relaxation_norm(high) if relaxation else Normalize(low, high)
        extend = "max" if relaxation else "neither"
        columns.append(Column(title, unit, colours, result, known, norm, extend))
    return columns


def _masked(image: NDArray[Any], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.where(mask, np.abs(image).astype(np.float64), np.nan)
