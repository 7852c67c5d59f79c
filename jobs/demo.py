"""``epgbloch demo``: the whole chain on a phantom, and its errors against the truth."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from jobs.console import Console
from jobs.dictionary import run_dictionary
from jobs.outputs import new_folder
from jobs.phantom import run_phantom
from jobs.reconstruct import run_reconstruct
from reconstruction.maps import Maps
from reconstruction.maps_figure import plot_maps
from reconstruction.phantom import Phantom

PROTOCOL = Path(__file__).parent / "protocols" / "demo.yaml"
"""Protocol of the demonstration."""


@dataclass(frozen=True)
class TissueError:
    """Truth and median result of one quantity in the pure voxels of one tissue.

    Attributes
    ----------
    tissue : str
        Name of the tissue.
    quantity : str
        "T1" and "T2" [ms] or "PD" (relative to water).
    truth, median : float
        True value and median over the voxels.
    """

    tissue: str
    quantity: str
    truth: float
    median: float

    @property
    def percent(self) -> float:
        """Error of the median [%]."""
        return 100 * (self.median / self.truth - 1)


def run_demo(out: Path, console: Console) -> list[TissueError]:
    """Phantom, raw data, dictionary and maps by the same functions as the single commands.

    Raises
    ------
    OSError
        If the folder holds anything but an earlier demonstration, or cannot be written.
    """
    start = time.perf_counter()
    steps = console.steps_only()
    with new_folder(out, "demo", force=True) as output:
        folder = output.path
        phantom = run_phantom(
            PROTOCOL,
            out=folder / "phantom",
            matrix=128,
            n_coils=8,
            snr=40.0,
            n_repetitions=2,
            seed=0,
            template="analytic",
            force=False,
            console=steps,
        )
        protocol = folder / "phantom" / "protocol.yaml"
        run_dictionary(protocol, out=folder / "dictionary.h5", rank=None, force=False, console=steps)
        (result,) = run_reconstruct(
            folder / "phantom" / "scan.mrd",
            protocol,
            out=folder / "maps",
            rank=None,
            dictionary_path=folder / "dictionary.h5",
            n_iterations=None,
            coil_method=None,
            mask_path=None,
            subject="01",
            force=False,
            console=steps,
        )
        with console.step("Drawing"):
            plot_maps(
                folder / "figure.png",
                result.maps,
                affine=result.affine,
                truth=phantom.truth(),
                title="epgbloch demo: maps of a phantom and their errors",
            )
        errors = tissue_errors(phantom, result.maps)
        output.provenance["errors"] = [{**asdict(error), "error_percent": error.percent} for error in errors]
    _report(errors, out, time.perf_counter() - start, console)
    return errors


def tissue_errors(phantom: Phantom, maps: Maps) -> list[TissueError]:
    """Errors in the voxels that one tissue fills by more than 95 %.

    Proton density has no absolute scale: it is scaled so that its median ratio to the truth over all these
    voxels is 1.
    """
    pure = phantom.pure_mask() & phantom.mask & maps.mask
    density = np.abs(maps.pd)
    density = density / np.median(density[pure] / phantom.pd[pure])
    errors = []
    for i_tissue, name in enumerate(phantom.names):
        voxels = pure & (phantom.label == i_tissue + 1)
        if not voxels.any():
            continue
        for quantity, truth, result in (
            ("T1", 1e3 * phantom.t1[i_tissue], 1e3 * maps.t1),
            ("T2", 1e3 * phantom.t2[i_tissue], 1e3 * maps.t2),
            ("PD", phantom.proton_density[i_tissue], density),
        ):
            errors.append(TissueError(name, quantity, float(truth), float(np.median(result[voxels]))))
    return errors


def _report(errors: list[TissueError], out: Path, seconds: float, console: Console) -> None:
    cells: dict[str, list[str]] = {}
    for error in errors:
        digits = 2 if error.quantity == "PD" else 0
        cell = f"{error.truth:.{digits}f} -> {error.median:.{digits}f} {error.percent:+.1f}%"
        cells.setdefault(error.tissue, []).append(cell)
    console.table(
        ("tissue", "T1 [ms]", "T2 [ms]", "PD"),
        [(tissue, *row) for tissue, row in cells.items()],
        title="truth -> median result, error (voxels of one tissue)",
    )
    console.result(f"Done in {seconds:.0f} s. Open {out}/figure.png; maps (BIDS) are in {out}/maps.")
    console.result(
        f"Next: epgbloch reconstruct {out}/phantom/scan.mrd --protocol {out}/phantom/protocol.yaml --out maps"
    )
