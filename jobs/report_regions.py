"""Statistics of maps in the regions of a label image."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.report_data import QUANTITIES, Results
from jobs.slices import check_place, read_volume
from reconstruction.maps import Maps

Row = dict[str, Any]
UNIT_ENDINGS = {"ms": "_ms", "%": "_percent", "": ""}
"""How names of columns end, by unit."""


@dataclass(frozen=True, eq=False)
class Labels:
    """Regions of the maps.

    Attributes
    ----------
    path : Path
        Their file.
    values : ndarray, shape (n_slices, ny, nx), int64
        Number of the region of each voxel, slices in the order of the maps; 0: none.
    names : dict
        Names by number, for all numbers that occur.
    """

    path: Path
    values: NDArray[np.int64]
    names: dict[int, str]


def read_labels(path: Path, shape: tuple[int, int, int], affine: NDArray[np.float64] | None) -> Labels:
    """Read regions from a NIfTI image, and their names from a table beside it.

    As in BIDS (``dseg``), the table is called like the image with the ending ``.tsv`` and has the columns
    ``index`` and ``name``.

    Parameters
    ----------
    path : Path
        Image of integers with the geometry of the maps.
    shape : tuple of int
        Shape (nx, ny, n_slices) of the maps.
    affine : ndarray, shape (4, 4), or None
        That of the maps; None where their orientation is not known: it is not compared.

    Raises
    ------
    ValueError
        If the image or the table cannot be read, they hold other values, or the geometry differs.
    """
    values, image_affine = read_volume("--roi", path, shape)
    if affine is not None:
        check_place("--roi", path, image_affine, affine)
    numbers = values.astype(np.int64) if np.isfinite(values).all() else values
    if not np.array_equal(numbers, values) or numbers.min() < 0:
        raise ValueError(
            f"--roi {path}: must hold whole numbers, 0 outside the regions; round or label it first"
        )
    present = [int(number) for number in np.unique(numbers) if number]
    if not present:
        raise ValueError(f"--roi {path}: is empty; number the regions from 1 on")
    table = path.with_name(f"{path.name.removesuffix('.gz').removesuffix('.nii')}.tsv")
    names = _read_names(table) if table.exists() else {}
    return Labels(path, numbers, {number: names.get(number, f"region {number}") for number in present})


def _read_names(path: Path) -> dict[int, str]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
        return {int(row["index"]): row["name"] for row in rows if row["name"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: cannot be read as table of regions ({error}); it needs the columns index and name, "
            "separated by tabs"
        ) from error


def region_statistics(results: Results, labels: Labels) -> list[Row]:
    """Return one row for each region, with the columns of ``regions.tsv``.

    Number of voxels within the mask (and outside, which do not count), then mean, standard deviation, median
    and quartiles of T1, T2, B1 and PD, and the median of their standard errors. NaN where there are none.
    """
    rows = []
    for number, name in labels.names.items():
        inside = labels.values == number
        masks = np.stack([maps.mask for maps in results.bids.maps])
        row: Row = {
            "index": number,
            "name": name,
            "n_voxels": int((inside & masks).sum()),
            "n_outside_mask": int((inside & ~masks).sum()),
        }
        for field, quantity in QUANTITIES.items():
            values = _values(results.bids.maps, field, inside & masks)
            if values is None:
                continue
            values *= quantity.factor
            unit = UNIT_ENDINGS[quantity.unit]
            row |= {f"{field}_{what}{unit}": value for what, value in _statistics(values)}
            errors = _values(results.bids.maps, f"{field}_std", inside & masks)
            if errors is not None:
                errors = quantity.factor * errors[np.isfinite(errors)]
                row[f"{field}_standard_error_median{unit}"] = (
                    float(np.median(errors)) if errors.size else np.nan
                )
        rows.append(row)
    return rows


def _values(slices: list[Maps], name: str, voxels: NDArray[np.bool_]) -> NDArray[np.float64] | None:
    """Values of a field of `Maps`; None if a slice lacks it."""
    images = [getattr(maps, name, None) for maps in slices]
    if any(image is None for image in images):
        return None
    return np.abs(np.stack([image for image in images if image is not None])[voxels]).astype(np.float64)


def _statistics(values: NDArray[np.float64]) -> Iterator[tuple[str, float]]:
    if not values.size:
        values = np.array([np.nan])
    yield "mean", float(values.mean())
    yield "sd", float(values.std(ddof=1)) if values.size > 1 else float("nan")
    for what, share in (("q25", 0.25), ("median", 0.5), ("q75", 0.75)):
        yield what, float(np.quantile(values, share))


def write_table(path: Path, rows: list[Row]) -> None:
    """Write rows of equal columns as BIDS does: separated by tabs, ``n/a`` for missing values."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(rows[0])
        writer.writerows([_cell(value) for value in row.values()] for row in rows)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.7g}" if np.isfinite(value) else "n/a"
    return str(value)
