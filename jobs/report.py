"""``epgbloch report``: one HTML file about the maps of a folder."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from epgbloch import __version__
from jobs import report_figures
from jobs.console import Console
from jobs.outputs import add_files, new_file
from jobs.report_checks import checks
from jobs.report_data import FIGURES, QUANTITIES, Results, figure_name, read_results
from jobs.report_page import Page
from jobs.report_regions import Labels, Row, read_labels, region_statistics, write_table
from jobs.report_tables import dictionary_settings, error_table, region_table, settings, slice_table
from jobs.report_truth import error_statistics, read_truth
from reconstruction.maps import Maps
from reconstruction.maps_figure import display_ranges, plot_maps, plot_quality

REPORT = "report.html"
"""Name of the report in the folder of the maps."""


def run_report(
    folder: Path,
    *,
    roi_path: Path | None,
    truth_path: Path | None,
    out: Path | None,
    force: bool,
    console: Console,
) -> Path:
    """Make the report of a folder of maps, from that folder alone.

    Parameters
    ----------
    folder : Path
        Folder of ``epgbloch reconstruct``.
    roi_path : Path or None
        Label image (NIfTI): adds statistics of its regions, also as a table beside the report.
    truth_path : Path or None
        BIDS folder of true maps: adds their errors, also as a table.
    out : Path or None
        HTML file; None: ``report.html`` in the folder, which is replaced.
    force : bool
        Replace an existing file of this name.
    console : Console
        Where to report.

    Returns
    -------
    Path
        The HTML file.

    Raises
    ------
    ValueError
        If the folder, the labels or the truth cannot be used, or do not fit together.
    OSError
        If a file exists and `force` is not set, or cannot be written.
    """
    results = read_results(folder)
    nx, ny, nz = (*reversed(results.bids.maps[0].mask.shape), len(results.bids.maps))
    affine = results.bids.affine if results.bids.orientation_known else None
    labels = None if roi_path is None else read_labels(roi_path, (nx, ny, nz), affine)
    truth = None if truth_path is None else read_truth(truth_path, (nx, ny, nz), affine)
    own = out is None
    target = folder / REPORT if out is None else out
    written = write_report(results, target, labels=labels, truth=truth, force=force or own, console=console)
    if own:
        add_files(folder, [path.name for path in written])
    for path in written:
        console.result(f"wrote {path}")
    return target


def write_report(
    results: Results,
    path: Path,
    *,
    labels: Labels | None,
    truth: list[Maps] | None,
    force: bool,
    console: Console,
) -> list[Path]:
    """Write the report and its tables, ``<name>_regions.tsv`` and ``<name>_errors.tsv``; return their paths.

    Raises
    ------
    ValueError
        If the masks of the truth and of the maps have no voxel in common.
    OSError
        If a file exists and `force` is not set, or cannot be written.
    """
    regions = None if labels is None else region_statistics(results, labels)
    errors = None if truth is None else error_statistics(results, truth, labels)
    written = []
    with console.step("Drawing the report") as progress:
        html = _page(results, labels, regions, truth, errors, progress).html(_footer(results))
    with new_file(path, force=force, n_bytes=len(html)) as temporary:
        temporary.write_text(html, encoding="utf-8")
    written.append(path)
    for name, rows in (("regions", regions), ("errors", errors)):
        table = path.with_name(f"{path.stem}_{name}.tsv")
        if rows is not None:
            written.append(table)
            with new_file(table, force=force) as temporary:
                write_table(temporary, rows)
        elif force:  # that of an earlier report
            table.unlink(missing_ok=True)
    return written


def _page(
    results: Results,
    labels: Labels | None,
    regions: list[Row] | None,
    truth: list[Maps] | None,
    errors: list[Row] | None,
    progress: Any,
) -> Page:
    provenance = results.provenance
    page = Page(f"Quantitative maps: {provenance['scan']}", _subtitle(results))
    page.section("Summary")
    page.tiles(_tiles(results))
    page.checks(checks(results))
    page.section("Maps")
    page.text(
        "T1 in lipari and T2 in navia, perceptually uniform colour maps recommended for relaxometry, on a "
        "scale that is logarithmic above 1/e of its end. Ranges of T1, T2 and B1 are the same in all slices; "
        "proton density has an arbitrary scale of its own in each."
    )
    _maps(page, results, truth, progress)
    if errors is not None:
        page.section("Errors")
        page.text(
            "Result / truth − 1 in the voxels of both masks. Voxels that hold several tissues have no single "
            "true T1 and T2; medians resist them. Proton density is scaled to a median ratio of 1 in each "
            "slice."
        )
        page.table(*error_table(errors))
    if regions is not None:
        assert labels is not None
        page.section("Regions")
        page.image(
            report_figures.regions(results, labels),
            "Regions on the proton density",
            f"Regions of {labels.path.name} on the proton density.",
        )
        page.table(*region_table(regions))
    page.section("Convergence")
    page.image(report_figures.convergence(results), "Residuals of the inversion", "One line a slice.")
    admm = report_figures.admm_convergence(results)
    if admm is not None:
        page.image(admm, "Residuals of LR-ADMM", "One line a slice in each colour.")
    page.table(*slice_table(results))
    page.section("Fit")
    page.image(report_figures.histograms(results), "Histograms", "All voxels of all masks.")
    if results.values("t1_std") is not None:
        page.text(
            "Standard errors are those of single voxels, from noise and local residual of the fit. Errors "
            "that change a signal as T1, T2 or B1 do leave no residual and are not in them."
        )
    _quality(page, results)
    page.section("Dictionary")
    values = report_figures.singular_values(results)
    if values is not None:
        page.image(
            values,
            "Singular values",
            "The rank cuts signals off at the dotted line; the dashed line is what is lost of them.",
        )
    page.settings(dictionary_settings(provenance["dictionary"]))
    _coils(page, results)
    page.section("Settings and provenance")
    page.settings(settings(provenance))
    page.listing("Protocol", provenance["protocol"], is_open=True)
    record = {name: value for name, value in provenance.items() if name != "files"}  # this one among them
    page.listing("provenance.json", json.dumps(record, indent=2))
    return page


def _subtitle(results: Results) -> str:
    bids = results.bids
    ny, nx = bids.maps[0].mask.shape
    dx, dy, dz = np.linalg.norm(bids.affine[:3, :3], axis=0)
    return (
        f"Subject {bids.subject} · {len(bids.maps)} slice(s) of {nx} × {ny} voxels, "
        f"{dx:.3g} × {dy:.3g} × {dz:.3g} mm³ · {results.provenance.get('created', 'date unknown')}"
    )


def _footer(results: Results) -> str:
    made = results.provenance.get("versions", {}).get("epgbloch", "unknown")
    return f"Maps by epgbloch {made}, report by epgbloch {__version__}."


def _tiles(results: Results) -> list[tuple[str, str]]:
    records = [record for record, _ in results.slices]
    tiles = [(f"{sum(record['n_voxels'] for record in records):,}", "voxels")]
    for name in ("t1", "t2"):
        values = results.values(name)
        assert values is not None
        quantity = QUANTITIES[name]
        tiles.append(
            (f"{quantity.factor * np.median(values):.4g} {quantity.unit}", f"median {quantity.title}")
        )
    tiles.append(
        (f"{min(record['median_correlation'] for record in records):.4f}", "median correlation, least")
    )
    tiles.append(
        (f"{max(record['relative_residuals'][-1] for record in records):.2g}", "last residual, greatest")
    )
    if all("misfit" in record for record in records):
        tiles.append(
            (f"{100 * max(record['misfit'] for record in records):.2g} %", "k-space unexplained, most")
        )
    dictionary = results.provenance["dictionary"]
    tiles.append((f"{dictionary['n_atoms']:,}", f"atoms, rank {dictionary['rank']}"))
    tiles.append((f"{sum(record['seconds'] for record in records):.3g} s", "reconstruction"))
    return tiles


def _maps(page: Page, results: Results, truth: list[Maps] | None, progress: Any) -> None:
    """Add the figures of the maps: those of the folder, or new ones with the truth."""
    ranges = None if truth is not None else display_ranges([maps for _, maps in results.slices])
    pairs = list(zip(results.provenance["slices"], results.bids.maps, strict=True))
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary, "maps.png")
        for z, (record, maps) in enumerate(pairs):
            progress(z, len(pairs))
            page.heading(f"Slice {record['slice']}")
            if not maps.mask.any():
                page.text(f"Left empty: {record.get('left_empty', 'unknown reason')}.")
                continue
            figure = results.folder / FIGURES / figure_name("slice", record["slice"])
            if truth is not None or not figure.exists():
                figure = path
                plot_maps(
                    figure,
                    maps,
                    affine=results.affine(z),
                    orientation_known=results.bids.orientation_known,
                    truth=truth[z] if truth is not None and (truth[z].mask & maps.mask).any() else None,
                    ranges=ranges,
                )
            page.image(figure.read_bytes(), f"Maps of slice {record['slice']}", style="dark")


def _quality(page: Page, results: Results) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary, "quality.png")
        for z, (record, maps) in enumerate(zip(results.provenance["slices"], results.bids.maps, strict=True)):
            if not maps.mask.any() or maps.correlation is None:
                continue
            page.heading(f"Slice {record['slice']}")
            known = results.bids.orientation_known
            plot_quality(path, maps, affine=results.affine(z), orientation_known=known)
            page.image(path.read_bytes(), f"Correlation in slice {record['slice']}", style="dark")


def _coils(page: Page, results: Results) -> None:
    """Add the coil sensitivities, where the folder still holds their figures."""
    figures = []
    for record, _ in results.slices:
        path = results.folder / FIGURES / figure_name("coils", record["slice"])
        if path.exists():
            figures.append((record["slice"], path.read_bytes()))
    if not figures:
        return
    page.section("Coil sensitivities")
    for number, png in figures:
        page.heading(f"Slice {number}")
        page.image(png, f"Coil sensitivities of slice {number}", style="pixels")
    page.text("One picture a coil: brightness is the magnitude, hue the phase; dead coils are black.")
