"""Errors of maps where the truth is known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, minimum_filter

from jobs.report_data import QUANTITIES, Results
from jobs.report_regions import Labels, Row
from jobs.slices import check_place
from reconstruction.bids import read_bids
from reconstruction.maps import Maps

_FEWEST = 10  # voxels of a tissue
_MOST_TISSUES = 20


def read_truth(folder: Path, shape: tuple[int, int, int], affine: NDArray[np.float64] | None) -> list[Maps]:
    """Read true maps, such as ``epgbloch phantom`` writes to ``truth``.

    Parameters
    ----------
    folder : Path
        BIDS dataset of one subject.
    shape, affine
        As of `read_labels`.

    Raises
    ------
    ValueError
        If the maps cannot be read, or their geometry differs.
    """
    truth = read_bids(folder)
    ny, nx = truth.maps[0].mask.shape
    if (nx, ny, len(truth.maps)) != shape:
        raise ValueError(
            f"--truth {folder}: has shape {(nx, ny, len(truth.maps))}; the maps have (nx, ny, n_slices) = "
            f"{shape}"
        )
    if affine is not None and truth.orientation_known:
        check_place("--truth", folder, truth.affine, affine)
    return truth.maps


def error_statistics(results: Results, truth: list[Maps], labels: Labels | None) -> list[Row]:
    """Return rows with the columns of ``errors.tsv``: the errors of each quantity in groups of voxels.

    Groups are all voxels of both masks, those whose eight neighbours have the same true T1 and T2, if there
    are any, and the regions of `labels`, or without them the tissues: voxels of equal true T1 and T2, where
    these are few. Proton density has no absolute scale: in each slice it is
    scaled so that its median ratio to the truth is 1.
    """
    both = np.stack([maps.mask & true.mask for maps, true in zip(results.bids.maps, truth, strict=True)])
    if not both.any():
        raise ValueError(
            "--truth: its masks and those of the maps have no voxel in common; check that they belong "
            "together"
        )
    rows = []
    for name, voxels in _groups(both, truth, labels):
        for field, quantity in QUANTITIES.items():
            pairs = _pairs(results.bids.maps, truth, field, both, voxels)
            if pairs is None:
                continue
            found, true = (quantity.factor * values for values in pairs)
            error = 100 * (found / true - 1)
            rows.append(
                {
                    "group": name,
                    "quantity": quantity.title,
                    "unit": quantity.unit or "n/a",
                    "n_voxels": int(true.size),
                    "truth_median": float(np.median(true)),
                    "result_median": float(np.median(found)),
                    "error_median_percent": float(np.median(error)),
                    "absolute_error_median_percent": float(np.median(np.abs(error))),
                    "absolute_error_q90_percent": float(np.quantile(np.abs(error), 0.9)),
                }
            )
    return rows


def _groups(
    both: NDArray[np.bool_], truth: list[Maps], labels: Labels | None
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    yield "all voxels", both
    times = np.stack([[true.t1, true.t2] for true in truth], axis=1)  # (2, n_slices, ny, nx)
    window = (1, 1, 3, 3)
    inner = both & (minimum_filter(times, window) == maximum_filter(times, window)).all(axis=0)
    if inner.any():
        yield "voxels away from borders", inner
    if labels is not None:
        for number, name in labels.names.items():
            voxels = both & (labels.values == number)
            if voxels.any():
                yield name, voxels
        return
    tissues, counts = np.unique(times[:, both], axis=1, return_counts=True)
    if len(counts) > _MOST_TISSUES:
        return
    for (t1, t2), count in zip(tissues.T, counts, strict=True):
        if count >= _FEWEST:
            name = f"T1 {1e3 * t1:.0f} ms, T2 {1e3 * t2:.0f} ms"
            yield name, both & (times[0] == t1) & (times[1] == t2)


def _pairs(
    slices: list[Maps], truth: list[Maps], name: str, both: NDArray[np.bool_], voxels: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Values of result and truth where the truth is not 0; None if one of them is not known."""
    found: list[Any] = []
    true: list[Any] = []
    for z, (maps, known) in enumerate(zip(slices, truth, strict=True)):
        images = [getattr(side, name) for side in (maps, known)]
        if any(image is None for image in images):
            return None
        ours, theirs = (np.abs(image).astype(np.float64) for image in images)
        usable = theirs > 0
        if name == "pd" and (both[z] & usable & (ours > 0)).any():
            ours /= np.median((ours / np.where(usable, theirs, 1))[both[z] & usable])
        found.append(ours[voxels[z] & usable])
        true.append(theirs[voxels[z] & usable])
    ours, theirs = np.concatenate(found), np.concatenate(true)
    return (ours, theirs) if ours.size else None
