"""``epgbloch reconstruct``: raw data into maps, slice by slice."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dictionaries import Dictionary, Grid
from jobs.console import Console
from jobs.dictionary import check_rank, make_dictionary, stored_dictionary
from jobs.options import at_least
from jobs.outputs import new_folder
from jobs.protocol import Protocol, load_protocol
from jobs.slices import (
    check_mask_place,
    check_readouts,
    lack_of_signal,
    located,
    read_mask,
    slice_numbers,
    stack,
)
from reconstruction.maps import Maps, write_bids
from reconstruction.maps_figure import plot_maps
from reconstruction.pipeline import Reconstruction, reconstruct
from reconstruction.rawdata import RawData, read_raw_data

# Measured on a phantom: 0.999, with the train of another sequence 0.74. It takes much to get below: a few
# coefficients fit almost anything; wrong trajectories show in the mask, or leave no region above the noise.
_DOUBTFUL_CORRELATION = 0.9
_DOUBTFUL_MASK = 0.95  # of the image
_ADVICE = "check trajectory, trajectory_units and sequence"


@dataclass(frozen=True, eq=False)
class SliceResult:
    """Reconstruction of one slice.

    Attributes
    ----------
    number : int
        Number of the slice, counted from 0.
    maps : Maps
        The maps; an empty mask where the slice was left empty.
    reconstruction : Reconstruction or None
        Maps, solver record and sensitivities; None: the slice was left empty.
    problem : str
        Why the slice was left empty.
    affine : ndarray, shape (4, 4), float64
        Maps voxel indices (x, y, z, 1) of the slice to millimetres in RAS.
    seconds : float
        Time that it took.
    """

    number: int
    maps: Maps
    reconstruction: Reconstruction | None
    problem: str
    affine: NDArray[np.float64]
    seconds: float

    @property
    def median_correlation(self) -> float:
        """Median correlation of measured and modelled signal within the mask, which is not empty."""
        assert self.maps.correlation is not None
        return float(np.median(self.maps.correlation[self.maps.mask]))


def run_reconstruct(
    scan_path: Path,
    protocol_path: Path,
    *,
    out: Path,
    rank: int | None,
    dictionary_path: Path | None,
    n_iterations: int | None,
    coil_method: str | None,
    mask_path: Path | None,
    subject: str,
    force: bool,
    console: Console,
) -> list[SliceResult]:
    """Reconstruct the slices of a scan and write their maps, figures and provenance.

    Slices without signal are left empty in the volume.

    Raises
    ------
    ValueError
        If the protocol, the scan, the dictionary or the mask is not valid, they do not fit together, or no
        slice can be reconstructed.
    OSError
        If the folder holds an earlier result and `force` is not set, or cannot be written.
    """
    if not (subject.isascii() and subject.isalnum()):
        raise ValueError(f"--subject {subject}: a BIDS label consists of letters and digits")
    at_least(1, rank=rank, iterations=n_iterations)
    protocol = load_protocol(protocol_path).changed(
        rank=rank, n_iterations=n_iterations, coil_method=coil_method
    )
    scan = read_raw_data(
        scan_path, trajectory=protocol.trajectory, trajectory_units=protocol.trajectory_units
    )
    n_repetitions = check_readouts(scan, protocol)
    numbers = slice_numbers(scan, protocol)
    ny, nx = scan.matrix
    if mask_path is not None:
        masks, mask_affine = read_mask(mask_path, (nx, ny, len(numbers)))
    dictionary = None
    if dictionary_path is None:
        check_rank(protocol)
    else:
        with console.step(f"Reading {dictionary_path.name}"):
            dictionary = stored_dictionary(dictionary_path, protocol, rank)
    with new_folder(out, "reconstruct", force=force, n_bytes=32 * len(numbers) * ny * nx) as output:
        if n_repetitions > 1:
            console.notice(f"{n_repetitions} repetitions of the train: assumed to start from equilibrium")
        checks = _check_slices(scan, numbers, console)
        order, affine = stack([check.affine for check in checks])
        orientation_known = all(check.orientation_known for check in checks)
        if not orientation_known:
            console.notice(
                "orientation unknown: the raw data do not say how the slices lie in the patient; the maps "
                "have voxel sizes, but no left and right"
            )
        if mask_path is not None and orientation_known:
            check_mask_place(mask_path, mask_affine, affine)
        if dictionary is None:
            dictionary = make_dictionary(protocol, console)
        results = []
        for z, i in enumerate(order):
            mask = None if mask_path is None else masks[z]
            results.append(_reconstruct_slice(scan, checks[i], dictionary, protocol, mask, console))
            if results[-1].problem and len(order) > 1:
                console.notice(f"slice {numbers[i]} is left empty: {results[-1].problem}")
        if all(result.reconstruction is None for result in results):
            advice = f"; if there should be an image, {_ADVICE}" if mask_path is None else ""
            raise ValueError(f"{scan.path}, slice {results[0].number}: {results[0].problem}{advice}")
        output.provenance.update(_provenance(scan, protocol, dictionary, results))
        output.provenance["dictionary"]["file"] = dictionary_path and dictionary_path.name
        output.provenance["mask"] = mask_path and mask_path.name
        output.provenance["orientation_known"] = orientation_known
        write_bids(
            output.path,
            [result.maps for result in results],
            affine=affine,
            subject=subject,
            provenance=output.provenance,
            orientation_known=orientation_known,
        )
        maps = sorted(path.relative_to(output.path) for path in output.path.glob("sub-*/*/*.nii.gz"))
        (output.path / "figures").mkdir()
        figures = []
        for result in results:
            if result.reconstruction is None:
                continue
            figures.append(Path("figures", f"slice-{result.number:02d}.png"))
            plot_maps(
                output.path / figures[-1],
                result.maps,
                affine=result.affine,
                title=f"{scan_path.name}, slice {result.number}",
                orientation_known=orientation_known,
            )
        (output.path / ".bidsignore").write_text("figures/\nprovenance.json\n", encoding="utf-8")
    _report(results, console)
    _warn_of_doubtful(results, mask_path is None, console)
    for path in (*maps, *figures):
        console.result(f"wrote {out / path}")
    return results


@dataclass(frozen=True)
class _SliceCheck:
    """What the first reading of a slice told."""

    number: int
    affine: NDArray[np.float64]
    orientation_known: bool
    problem: str | None  # why there is nothing to reconstruct


def _check_slices(scan: RawData, numbers: list[int], console: Console) -> list[_SliceCheck]:
    """Read all slices before the long work, so that damage in the last one shows at once."""
    checks = []
    with console.step(f"Checking {len(numbers)} slice(s) of {scan.n_readouts} readouts") as progress:
        for i, number in enumerate(numbers):
            acquisition = scan.acquisition(number)
            with located(scan, number):
                problem = lack_of_signal(acquisition)
            checks.append(_SliceCheck(number, acquisition.affine, acquisition.orientation_known, problem))
            progress(i + 1, len(numbers))
    if not scan.noise_rows.size:
        console.notice("no noise readouts in the raw data: the coils are not prewhitened")
    if all(check.problem for check in checks):
        raise ValueError(f"{scan.path}, slice {numbers[0]}: {checks[0].problem}")
    return checks


def _reconstruct_slice(
    scan: RawData,
    check: _SliceCheck,
    dictionary: Dictionary,
    protocol: Protocol,
    mask: NDArray[np.bool_] | None,
    console: Console,
) -> SliceResult:
    """Maps of a slice. One that cannot be reconstructed is left empty, so that the others are not lost."""
    start = time.perf_counter()
    problem = check.problem
    if problem is None and mask is not None and not mask.any():
        problem = "the mask is empty there"
    if problem is None:
        with console.step(f"Slice {check.number}: {scan.n_coils} coils, rank {dictionary.rank}") as progress:
            try:
                result = reconstruct(
                    scan.acquisition(check.number),
                    dictionary,
                    coil_method=protocol.coil_method,
                    n_iterations=protocol.n_iterations,
                    mask=mask,
                    correct_receive_field=protocol.correct_receive_field,
                    progress=progress,
                )
            except ValueError as error:
                problem = str(error)
    seconds = time.perf_counter() - start
    if problem is not None:
        empty = _empty_maps(scan.matrix, dictionary)
        return SliceResult(check.number, empty, None, problem, check.affine, seconds)
    if result.n_dead_coils:
        console.notice(
            f"slice {check.number}: {result.n_dead_coils} coil(s) without signal or noise left out"
        )
    return SliceResult(check.number, result.maps, result, "", check.affine, seconds)


def _empty_maps(matrix: tuple[int, int], dictionary: Dictionary) -> Maps:
    zero = np.zeros(matrix, dtype=np.float32)
    b1 = zero if dictionary.grid.b1.size > 1 else None
    return Maps(zero, zero, zero.astype(np.complex64), mask=zero > 0, b1=b1, correlation=zero)


def _provenance(
    scan: RawData, protocol: Protocol, dictionary: Dictionary, results: list[SliceResult]
) -> dict[str, Any]:
    error = dictionary.truncation_error
    return {
        "scan": scan.path.name,
        "protocol": protocol.text,
        "sequence_sha256": protocol.sequence.fingerprint(),
        "dictionary": {
            "n_atoms": dictionary.n_atoms,
            "grid": dictionary.grid.to_dict() if isinstance(dictionary.grid, Grid) else None,
            "rank": dictionary.rank,
            "relative_truncation_error": None if error is None else error._asdict(),
            "model": dictionary.model,
        },
        "n_iterations": protocol.n_iterations,
        "coil_method": protocol.coil_method,
        "correct_receive_field": protocol.correct_receive_field,
        "slices": [_slice_provenance(result) for result in results],
    }


def _slice_provenance(result: SliceResult) -> dict[str, Any]:
    if result.reconstruction is None:
        return {"slice": result.number, "n_voxels": 0, "left_empty": result.problem}
    return {
        "slice": result.number,
        "n_voxels": int(result.maps.mask.sum()),
        "median_correlation": result.median_correlation,
        "n_dead_coils": result.reconstruction.n_dead_coils,
        "receive_field_degree": result.reconstruction.receive_field_degree,
        "relative_residuals": result.reconstruction.inversion.residuals.tolist(),
        "converged": result.reconstruction.inversion.converged,
    }


def _report(results: list[SliceResult], console: Console) -> None:
    rows = []
    for result in results:
        number, voxels, seconds = f"{result.number}", f"{result.maps.mask.sum()}", f"{result.seconds:.1f} s"
        if result.reconstruction is None:
            rows.append((number, voxels, "-", "-", "-", seconds))
            continue
        residuals = result.reconstruction.inversion.residuals
        correlation = f"{result.median_correlation:.4f}"
        rows.append((number, voxels, f"{len(residuals) - 1}", f"{residuals[-1]:.2g}", correlation, seconds))
    columns = ("slice", "voxels", "iterations", "residual", "median correlation", "time")
    console.table(columns, rows)


def _warn_of_doubtful(results: list[SliceResult], mask_estimated: bool, console: Console) -> None:
    """Say which slices look like the result of a wrong trajectory or sequence."""
    signs = []
    for result in results:
        if result.reconstruction is None:
            continue
        if result.median_correlation < _DOUBTFUL_CORRELATION:
            signs.append(f"median correlation {result.median_correlation:.2f} in slice {result.number}")
        if mask_estimated and result.maps.mask.mean() > _DOUBTFUL_MASK:
            covered = 100 * result.maps.mask.mean()
            signs.append(f"the mask covers {covered:.0f} % of the image in slice {result.number}")
    if signs:
        console.notice(f"doubtful result ({'; '.join(signs)}): {_ADVICE}")
