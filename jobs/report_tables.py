"""Tables of the report: cells as text."""

from __future__ import annotations

from typing import Any

import numpy as np

from jobs.report_data import QUANTITIES, Results
from jobs.report_regions import UNIT_ENDINGS, Row

_DASH = "–"
_AXES = {
    "t1": ("T1 [ms]", 1e3),
    "t2": ("T2 [ms]", 1e3),
    "b1": ("B1, relative", 1.0),
    "off_resonance": ("off-resonance [Hz]", 1.0),
}


def slice_table(results: Results) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns and rows about the solver, one row a slice."""
    columns = ("slice", "voxels", "iterations", "residual", "tolerance reached", "median correlation", "time")
    rows: list[tuple[str, ...]] = [
        (
            f"{record['slice']}",
            f"{record['n_voxels']:,}",
            f"{len(record['relative_residuals']) - 1}",
            f"{record['relative_residuals'][-1]:.2g}",
            "yes" if record["converged"] else "no",
            f"{record['median_correlation']:.4f}",
            f"{record['seconds']:.1f} s",
        )
        for record, _ in results.slices
    ]
    return columns, rows


def region_table(rows: list[Row]) -> tuple[tuple[str, ...], list[tuple[str, ...]], str]:
    """Columns, rows and caption of `region_statistics`, one row for each region and quantity."""
    columns = ("region", "quantity", "n", "mean ± SD", "median (quartiles)", "standard error")
    cells: list[tuple[str, ...]] = []
    for row in rows:
        for name, quantity in QUANTITIES.items():
            unit = UNIT_ENDINGS[quantity.unit]
            if f"{name}_mean{unit}" not in row:
                continue
            mean, sd, q25, median, q75 = (
                _number(row[f"{name}_{what}{unit}"], quantity.digits)
                for what in ("mean", "sd", "q25", "median", "q75")
            )
            error = row.get(f"{name}_standard_error_median{unit}", np.nan)
            cells.append(
                (
                    row["name"],
                    quantity.title,
                    f"{row['n_voxels']:,}",
                    f"{mean} ± {sd} {quantity.unit}",
                    f"{median} ({q25} {_DASH} {q75}) {quantity.unit}",
                    f"{_number(error, quantity.digits)} {quantity.unit if np.isfinite(error) else ''}",
                )
            )
    caption = "Voxels of the mask. Standard errors: median over the region, of a single voxel."
    return columns, cells, caption


def error_table(rows: list[Row]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns and rows of `error_statistics`."""
    digits = {quantity.title: quantity.digits for quantity in QUANTITIES.values()}
    columns = (
        "voxels of",
        "quantity",
        "n",
        "truth, median",
        "result, median",
        "median error",
        "median |error|",
        "90 % of |error| below",
    )
    cells = []
    for row in rows:
        unit = "" if row["unit"] == "n/a" else f" {row['unit']}"
        values = [
            f"{_number(row[name], digits[row['quantity']])}{unit}"
            for name in ("truth_median", "result_median")
        ]
        cells.append(
            (
                row["group"],
                row["quantity"],
                f"{row['n_voxels']:,}",
                *values,
                f"{row['error_median_percent']:+.2f} %",
                f"{row['absolute_error_median_percent']:.2f} %",
                f"{row['absolute_error_q90_percent']:.2f} %",
            )
        )
    return columns, cells


def dictionary_settings(dictionary: dict[str, Any]) -> list[tuple[str, str]]:
    """Names and values that describe the dictionary of a provenance."""
    settings = [("atoms", f"{dictionary['n_atoms']:,}"), ("rank", f"{dictionary['rank']}")]
    for name, axis in (dictionary.get("grid") or {}).items():
        label, factor = _AXES.get(name, (name, 1.0))
        low, high = factor * axis[0], factor * axis[-1]
        ends = f"{low:.6g}" if len(axis) == 1 else f"{len(axis)} values, {low:.6g} to {high:.6g}"
        settings.append((label, ends))
    error = dictionary.get("relative_truncation_error")
    if error:
        settings.append(("truncation error", f"rms {error['rms']:.2g}, at most {error['max']:.2g}"))
    settings += [(f"model: {name}", f"{value}") for name, value in (dictionary.get("model") or {}).items()]
    return settings


def settings(provenance: dict[str, Any]) -> list[tuple[str, str]]:
    """Names and values of everything in the provenance that fits a line."""
    simple = [
        (name, "none" if value is None else f"{value}")
        for name, value in provenance.items()
        if isinstance(value, str | int | float | None) and name != "protocol"
    ]
    versions = ", ".join(f"{name} {version}" for name, version in provenance.get("versions", {}).items())
    return [*simple, ("versions", versions)]


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if np.isfinite(value) else _DASH
