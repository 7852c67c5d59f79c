"""``epgbloch reconstruct``: raw data into maps, slice by slice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dictionaries import Dictionary, read_dictionary
from jobs.console import Console
from jobs.dictionary import make_dictionary
from jobs.outputs import new_folder
from jobs.protocol import Protocol, load_protocol
from reconstruction.acquisition import Acquisition
from reconstruction.maps import Maps, write_bids
from reconstruction.maps_figure import plot_maps
from reconstruction.pipeline import Reconstruction, reconstruct
from reconstruction.rawdata import RawData, read_ismrmrd

_SPACING_TOLERANCE = 0.01  # [mm], a hundredth of the finest pixels; positions in the file are float32
_NOISE_DEVIATIONS = 5  # standard deviations by which the energy of a scan must exceed that of noise


@dataclass(frozen=True, eq=False)
class SliceResult:
    """Reconstruction of one slice.

    Attributes
    ----------
    number : int
        Number of the slice, counted from 0.
    reconstruction : Reconstruction
        Maps, solver record and sensitivities.
    affine : ndarray, shape (4, 4), float64
        Maps voxel indices (x, y, z, 1) of the slice to millimetres in RAS.
    seconds : float
        Time that it took.
    """

    number: int
    reconstruction: Reconstruction
    affine: NDArray[np.float64]
    seconds: float

    @property
    def maps(self) -> Maps:
        """The maps."""
        return self.reconstruction.maps

    @property
    def median_correlation(self) -> float:
        """Median correlation of measured and modelled signal within the mask."""
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
    subject: str,
    force: bool,
    console: Console,
) -> list[SliceResult]:
    """Reconstruct the slices of a scan and write their maps, figures and provenance.

    Raises
    ------
    ValueError
        If the protocol, the scan or the dictionary is not valid, or they do not fit together.
    OSError
        If the folder holds an earlier result and `force` is not set, or cannot be written.
    """
    if not (subject.isascii() and subject.isalnum()):
        raise ValueError(f"--subject {subject}: a BIDS label consists of letters and digits")
    protocol = load_protocol(protocol_path).changed(
        rank=rank, n_iterations=n_iterations, coil_method=coil_method
    )
    scan = read_ismrmrd(scan_path, trajectory=protocol.trajectory, trajectory_units=protocol.trajectory_units)
    _check_readouts(scan, protocol)
    numbers = _slice_numbers(scan, protocol)
    ny, nx = scan.matrix
    with new_folder(out, "reconstruct", force=force, n_bytes=32 * len(numbers) * ny * nx) as output:
        # All slices are read before the long work, so that damage in the last one shows at once.
        with console.step(f"Checking {len(numbers)} slice(s) of {scan.n_readouts} readouts") as progress:
            affines = []
            for i, number in enumerate(numbers):
                acquisition = scan.acquisition(number)
                with _located(scan, number):
                    _check_signal(acquisition)
                affines.append(acquisition.affine)
                progress(i + 1, len(numbers))
        order, affine = _stack(affines)
        dictionary = _dictionary(dictionary_path, rank, protocol, console)
        results = [
            _reconstruct_slice(scan, number, dictionary, protocol, console)
            for number in (numbers[i] for i in order)
        ]
        output.provenance.update(_provenance(scan, protocol, dictionary, results))
        write_bids(
            output.path,
            [result.maps for result in results],
            affine=affine,
            subject=subject,
            provenance=output.provenance,
        )
        maps = sorted(path.relative_to(output.path) for path in output.path.glob("sub-*/*/*.nii.gz"))
        (output.path / "figures").mkdir()
        figures = [Path("figures", f"slice-{result.number:02d}.png") for result in results]
        for figure, result in zip(figures, results, strict=True):
            title = f"{scan_path.name}, slice {result.number}"
            plot_maps(output.path / figure, result.maps, affine=result.affine, title=title)
        (output.path / ".bidsignore").write_text("figures/\nprovenance.json\n", encoding="utf-8")
    _report(results, console)
    for path in (*maps, *figures):
        console.result(f"wrote {out / path}")
    return results


def _check_readouts(scan: RawData, protocol: Protocol) -> None:
    n_pulses = protocol.sequence.n_pulses
    if scan.n_readouts % n_pulses:
        problem = "fewer than" if scan.n_readouts < n_pulses else "not a multiple of"
        raise ValueError(
            f"{scan.path}: {scan.n_readouts} readouts a slice are {problem} the {n_pulses} pulses of "
            f"{protocol.path}; each repetition of the train must be complete: check that they belong together"
        )


def _slice_numbers(scan: RawData, protocol: Protocol) -> list[int]:
    if protocol.slices is None:
        return list(range(scan.n_slices))
    if max(protocol.slices) >= scan.n_slices:
        raise ValueError(
            f"{protocol.path}: reconstruction.slices: slice {max(protocol.slices)} is not in {scan.path}, "
            f"which holds slices 0 to {scan.n_slices - 1}"
        )
    return sorted(protocol.slices)


@contextmanager
def _located(scan: RawData, number: int) -> Iterator[None]:
    """Name the scan and the slice in errors of the block."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{scan.path}, slice {number}: {error}") from error


def _check_signal(acquisition: Acquisition) -> None:
    """Raise a ValueError if k-space is zero, or holds no more energy than its noise measurement."""
    if not acquisition.kspace.any():
        raise ValueError("the k-space is zero everywhere; there is nothing to reconstruct")
    if acquisition.noise is None:
        return
    whitened, _ = acquisition.prewhitened()
    kspace, noise = whitened.kspace, acquisition.noise
    # |noise|^2 is 1 on average, with a relative standard deviation of 1 per sample.
    chance = _NOISE_DEVIATIONS * np.sqrt(1 / kspace.size + 1 / noise.size)
    if np.vdot(kspace, kspace).real / kspace.size < 1 + chance:
        raise ValueError(
            "the k-space holds no more energy than the noise readouts: it is noise only, or the noise "
            "readouts have another scale"
        )


def _stack(affines: list[NDArray[np.float64]]) -> tuple[list[int], NDArray[np.float64]]:
    """Order of the slices along their normal, and the affine of the volume that they form."""
    affine = affines[0].copy()
    if len(affines) == 1:
        return [0], affine
    positions = np.array([a[:3, 3] for a in affines])
    normal = affine[:3, 2] / np.linalg.norm(affine[:3, 2])
    order = np.argsort(positions @ normal, kind="stable")
    steps = np.diff(positions[order], axis=0)
    parallel = all(np.allclose(a[:3, :3], affine[:3, :3], rtol=0, atol=1e-4) for a in affines)
    even = np.abs(steps - steps[0]).max() < _SPACING_TOLERANCE
    if not (parallel and even and np.linalg.norm(steps[0]) > _SPACING_TOLERANCE):
        places = ", ".join(f"{place:.2f}" for place in positions @ normal)
        raise ValueError(
            f"the slices do not form a volume: they must be parallel and equally spaced (positions along the "
            f"normal: {places} mm); choose slices that are in reconstruction.slices of the protocol"
        )
    affine[:3, 2], affine[:3, 3] = steps[0], positions[order[0]]
    return order.tolist(), affine


def _dictionary(path: Path | None, rank: int | None, protocol: Protocol, console: Console) -> Dictionary:
    if path is None:
        return make_dictionary(protocol, console)
    with console.step(f"Reading {path.name}"):
        dictionary = read_dictionary(path, sequence=protocol.sequence)
    if rank not in (None, dictionary.rank):
        raise ValueError(f"--rank {rank}: {path} has rank {dictionary.rank}; leave the option out")
    return dictionary


def _reconstruct_slice(
    scan: RawData, number: int, dictionary: Dictionary, protocol: Protocol, console: Console
) -> SliceResult:
    start = time.perf_counter()
    with console.step(f"Slice {number}: {scan.n_coils} coils, rank {dictionary.rank}") as progress:
        acquisition = scan.acquisition(number)
        with _located(scan, number):
            reconstruction = reconstruct(
                acquisition,
                dictionary,
                coil_method=protocol.coil_method,
                n_iterations=protocol.n_iterations,
                correct_receive_field=protocol.correct_receive_field,
                progress=progress,
            )
    return SliceResult(number, reconstruction, acquisition.affine, time.perf_counter() - start)


def _provenance(
    scan: RawData, protocol: Protocol, dictionary: Dictionary, results: list[SliceResult]
) -> dict[str, Any]:
    return {
        "scan": scan.path.name,
        "protocol": protocol.text,
        "sequence_sha256": protocol.sequence.fingerprint(),
        "dictionary": {
            "n_atoms": dictionary.n_atoms,
            "rank": dictionary.rank,
            "relative_truncation_error": dictionary.truncation_error._asdict(),
            "model": dictionary.model,
        },
        "n_iterations": protocol.n_iterations,
        "coil_method": protocol.coil_method,
        "correct_receive_field": protocol.correct_receive_field,
        "slices": [
            {
                "slice": result.number,
                "n_voxels": int(result.maps.mask.sum()),
                "median_correlation": result.median_correlation,
                "relative_residuals": result.reconstruction.inversion.residuals.tolist(),
                "converged": result.reconstruction.inversion.converged,
            }
            for result in results
        ],
    }


def _report(results: list[SliceResult], console: Console) -> None:
    rows = []
    for result in results:
        inversion = result.reconstruction.inversion
        rows.append(
            (
                f"{result.number}",
                f"{result.maps.mask.sum()}",
                f"{len(inversion.residuals) - 1}",
                f"{inversion.residuals[-1]:.2g}",
                f"{result.median_correlation:.4f}",
                f"{result.seconds:.1f} s",
            )
        )
    columns = ("slice", "voxels", "iterations", "residual", "median correlation", "time")
    console.table(columns, rows)
