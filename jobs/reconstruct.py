"""``epgbloch reconstruct``: raw data into maps, slice by slice."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from dictionaries import Dictionary, Grid
from epgbloch import SignalModel
from jobs.console import Console
from jobs.dictionary import check_rank, make_dictionary, stored_dictionary
from jobs.given_maps import read_given_maps
from jobs.models import stored_model
from jobs.options import at_least
from jobs.outputs import check_folder, new_folder, resumable_folder
from jobs.protocol import Protocol, load_protocol
from jobs.protocol_pulseq import PulseqTrajectory
from jobs.report import REPORT, write_report
from jobs.report_checks import ADVICE, doubtful_signs
from jobs.report_data import FIGURES, Results, figure_name
from jobs.report_figures import coil_montage
from jobs.report_regions import read_labels
from jobs.report_truth import read_truth
from jobs.slice_job import SliceJob, check_slices
from jobs.slice_result import SliceResult
from jobs.slices import (
    check_place,
    check_readouts,
    located,
    read_mask,
    slice_numbers,
    stack,
)
from reconstruction.bids import read_bids, write_bids
from reconstruction.coil_compression import check_virtual_coils
from reconstruction.maps_figure import display_ranges, plot_maps
from reconstruction.rawdata import RawData, read_raw_data
from reconstruction.smooth_b1 import require_b1_axis
from reconstruction.trajectory_check import trajectory_difference

_ROUNDING = 1e-7  # of the largest singular value, in single precision
_MOST_VALUES = 64  # in the provenance


def run_reconstruct(
    scan_path: Path,
    protocol_path: Path,
    *,
    out: Path,
    rank: int | None,
    dictionary_path: Path | None,
    method: str | None = None,
    n_iterations: int | None,
    coil_method: str | None,
    virtual_coils: float | None = None,
    sensitivity_path: Path | None = None,
    b0_path: Path | None = None,
    gradient_delays: str | None = None,
    mask_path: Path | None,
    refined: bool = False,
    roi_path: Path | None = None,
    truth_path: Path | None = None,
    subject: str,
    force: bool,
    console: Console,
) -> list[SliceResult]:
    """Reconstruct the slices of a scan and write their maps, figures and provenance.

    Slices without signal are left empty in the volume. Finished slices are kept beside the folder, in
    ``<out>.parts``: a run that was killed continues there.

    Raises
    ------
    ValueError
        If the protocol, the scan, the dictionary or the mask is not valid, they do not fit together, there
        are slices of a killed run with other settings, or no slice can be reconstructed.
    OSError
        If the folder holds an earlier result and `force` is not set, or cannot be written.
    """
    if not (subject.isascii() and subject.isalnum()):
        raise ValueError(f"--subject {subject}: a BIDS label consists of letters and digits")
    at_least(1, rank=rank, iterations=n_iterations)
    check_folder(out, "reconstruct", force=force)
    protocol = load_protocol(protocol_path).changed(
        rank=rank,
        method=method,
        n_iterations=n_iterations,
        coil_method=coil_method,
        virtual_coils=virtual_coils,
        sensitivity_path=sensitivity_path,
        gradient_delays=gradient_delays,
    )
    trajectory = protocol.trajectory
    played = isinstance(trajectory, PulseqTrajectory)
    scan = read_raw_data(
        scan_path, trajectory=None if played else trajectory, trajectory_units=protocol.trajectory_units
    )
    n_repetitions = check_readouts(scan, protocol)
    if isinstance(trajectory, PulseqTrajectory):
        # As numbers: where its centre lies is known, whatever the counters of the raw data say.
        scan = replace(scan, trajectory=trajectory(scan.n_readouts, scan.n_samples, scan.matrix))
    if protocol.virtual_coils is not None:
        check_virtual_coils(protocol.virtual_coils, scan.n_coils)
    numbers = slice_numbers(scan, protocol)
    ny, nx = scan.matrix
    masks = None
    if mask_path is not None:
        masks, mask_affine = read_mask(mask_path, (nx, ny, len(numbers)))
    dictionary = None
    if dictionary_path is None:
        check_rank(protocol)
    else:
        with console.step(f"Reading {dictionary_path.name}"):
            dictionary = stored_dictionary(dictionary_path, protocol, rank)
    if protocol.b1_width is not None:
        _check_b1_axis(protocol, dictionary)
    model = _model(protocol, dictionary, dictionary_path) if refined else None
    if n_repetitions > 1:
        console.notice(f"{n_repetitions} repetitions of the train: assumed to start from equilibrium")
    checks = check_slices(scan, numbers, console)
    order, affine = stack([check.affine for check in checks])
    checks = [checks[i] for i in order]
    orientation_known = all(check.orientation_known for check in checks)
    if not orientation_known:
        console.notice(
            "orientation unknown: the raw data do not say how the slices lie in the patient; the maps "
            "have voxel sizes, but no left and right"
        )
    if mask_path is not None and orientation_known:
        check_place("--mask", mask_path, mask_affine, affine)
    known_affine = affine if orientation_known else None
    if protocol.trajectory is not None:
        _compare_trajectories(scan, numbers[0], console)
    if b0_path is not None:
        with located(scan, numbers[0]):
            _ = scan.acquisition(numbers[0]).sample_times
    given = read_given_maps(
        scan, len(numbers), known_affine, sensitivity_path=protocol.sensitivity_path, b0_path=b0_path
    )
    shape = (nx, ny, len(numbers))
    labels = None if roi_path is None else read_labels(roi_path, shape, known_affine)
    truth = None if truth_path is None else read_truth(truth_path, shape, known_affine)
    if dictionary is None:
        dictionary = make_dictionary(protocol, console)
    job = SliceJob(scan, protocol, dictionary, checks, masks, model, given)
    with resumable_folder(
        out, "reconstruct", job.identity(), force=force, n_bytes=64 * len(numbers) * ny * nx
    ) as parts:
        results = job.run(parts, console)
        with new_folder(out, "reconstruct", force=force) as output:
            output.provenance.update(_provenance(job, results))
            output.provenance["dictionary"]["file"] = dictionary_path and dictionary_path.name
            for name, path in (
                ("mask", mask_path),
                ("sensitivities", protocol.sensitivity_path),
                ("b0_map", b0_path),
                ("roi", roi_path),
                ("truth", truth_path),
            ):
                output.provenance[name] = path and path.resolve().name
            output.provenance["orientation_known"] = orientation_known
            write_bids(
                output.path,
                [result.maps for result in results],
                affine=affine,
                subject=subject,
                provenance=output.provenance,
                orientation_known=orientation_known,
            )
            _draw(output.path / FIGURES, results, orientation_known, scan_path.name, console)
            report = Results(output.path, read_bids(output.path), output.provenance)
            write_report(
                report, output.path / REPORT, labels=labels, truth=truth, force=False, console=console
            )
            with (output.path / ".bidsignore").open("a", encoding="utf-8") as file:
                file.write("figures/\nprovenance.json\nreport*\n")
            files = sorted(path.relative_to(output.path) for path in output.path.glob("sub-*/*/*.nii.gz"))
            files += sorted(path.relative_to(output.path) for path in output.path.glob("report*"))
    _report(results, console)
    _warn_of_doubtful(results, mask_path is None, console)
    for path in files:
        console.result(f"wrote {out / path}")
    return results


def _check_b1_axis(protocol: Protocol, dictionary: Dictionary | None) -> None:
    grid = protocol.required_grid() if dictionary is None else dictionary.grid
    try:
        require_b1_axis(grid.b1)
    except ValueError as error:
        raise ValueError(f"{protocol.path}: reconstruction.smooth_b1_mm: {error}") from error


def _model(protocol: Protocol, dictionary: Dictionary | None, path: Path | None) -> SignalModel:
    """Model that refines the maps: that of the protocol, or else the one that made the stored dictionary."""
    if dictionary is None or protocol.model_given:
        return protocol.model
    model = stored_model(dictionary)
    if model is None:
        raise ValueError(
            f"--refine: {path} does not say what model made it; name it in the protocol (engine or "
            "surrogate), or leave --refine out"
        )
    return model


def _compare_trajectories(scan: RawData, number: int, console: Console) -> None:
    """Say how the trajectory of the protocol differs from that of the raw data, where these have one."""
    try:
        own = replace(scan, trajectory=None).acquisition(number)
    except ValueError:  # there is none, or it is in other units
        return
    difference = trajectory_difference(scan.acquisition(number).trajectory, own.trajectory, scan.matrix)
    if difference:
        console.notice(
            f"the trajectory of the protocol, which is used, differs from that of {scan.path}: {difference}"
        )


def _provenance(job: SliceJob, results: list[SliceResult]) -> dict[str, Any]:
    dictionary, error = job.dictionary, job.dictionary.truncation_error
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "scan": job.scan.path.name,
        "scan_sha256": job.scan_digest,
        "protocol": job.protocol.text,
        "sequence_sha256": job.protocol.sequence.fingerprint(),
        "dictionary": {
            "n_atoms": dictionary.n_atoms,
            "grid": dictionary.grid.to_dict() if isinstance(dictionary.grid, Grid) else None,
            "rank": dictionary.rank,
            "relative_truncation_error": None if error is None else error._asdict(),
            "relative_singular_values": _singular_values(dictionary),
            "model": dictionary.model,
        },
        "method": job.protocol.method,
        **job.options,
        "refined_with": job.refined_with,
        "slices": [result.provenance() for result in results],
    }


def _singular_values(dictionary: Dictionary) -> list[float] | None:
    """Singular values over the largest one, as far as they stand out from rounding."""
    if dictionary.singular_values is None:
        return None
    values = dictionary.singular_values / dictionary.singular_values[0]
    n_shown = max(dictionary.rank + 1, np.count_nonzero(values > _ROUNDING))
    return [float(value) for value in values[: min(n_shown, _MOST_VALUES)]]


def _draw(
    folder: Path, results: list[SliceResult], orientation_known: bool, scan: str, console: Console
) -> None:
    """Draw maps and coil sensitivities of the slices into a new folder."""
    folder.mkdir()
    drawn = [result for result in results if not result.problem]
    ranges = display_ranges([result.maps for result in drawn])
    with console.step(f"Drawing {len(drawn)} slice(s)") as progress:
        for i, result in enumerate(drawn):
            plot_maps(
                folder / figure_name("slice", result.number),
                result.maps,
                affine=result.affine,
                orientation_known=orientation_known,
                ranges=ranges,
                title=f"{scan}, slice {result.number}",
            )
            coil_montage(folder / figure_name("coils", result.number), result.coils, result.affine)
            progress(i + 1, len(drawn))


def _report(results: list[SliceResult], console: Console) -> None:
    rows = []
    for result in results:
        number, voxels = f"{result.number}", f"{result.maps.mask.sum()}"
        if result.problem:
            rows.append((number, voxels, "-", "-", "-", "-"))
            continue
        residuals = result.record["relative_residuals"]
        correlation, seconds = f"{result.median_correlation:.4f}", f"{result.record['seconds']:.1f} s"
        rows.append((number, voxels, f"{len(residuals) - 1}", f"{residuals[-1]:.2g}", correlation, seconds))
    columns = ("slice", "voxels", "iterations", "residual", "median correlation", "time")
    console.table(columns, rows)


def _warn_of_doubtful(results: list[SliceResult], mask_estimated: bool, console: Console) -> None:
    """Say which slices look like the result of a wrong trajectory or sequence."""
    signs = []
    for result in results:
        if not result.problem:
            signs += doubtful_signs(result.provenance(), result.maps, mask_estimated)
    if signs:
        console.notice(f"doubtful result ({'; '.join(signs)}): {ADVICE}")
