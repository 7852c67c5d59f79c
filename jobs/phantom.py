"""``epgbloch phantom``: raw data of a head phantom with its truth and its protocol."""

from __future__ import annotations

import math
from pathlib import Path

from jobs.console import Console
from jobs.options import at_least
from jobs.outputs import new_folder
from jobs.protocol import Protocol, load_protocol
from jobs.protocol_trajectory import Cartesian, Radial
from reconstruction.bids import write_bids
from reconstruction.phantom import Phantom
from reconstruction.phantom_simulation import simulate_acquisition
from reconstruction.phantom_templates import analytic_head, mni152_head
from reconstruction.rawdata_writer import write_ismrmrd

_LARGEST_COUNT = 65535  # counters of ISMRMRD have 16 bits


def run_phantom(
    protocol_path: Path,
    *,
    out: Path,
    matrix: int,
    n_coils: int,
    snr: float,
    n_repetitions: int,
    seed: int,
    template: str,
    oversampling: int = 1,
    force: bool,
    console: Console,
) -> Phantom:
    """Simulate raw data of a phantom with the sequence, engine and trajectory of a protocol.

    The folder receives ``scan.mrd``, ``protocol.yaml`` and the true maps in ``truth`` (BIDS), so that
    ``epgbloch reconstruct`` runs on it. Without a trajectory in the protocol, it is golden-angle radial;
    readouts of spirals get as many samples as they need. Where the protocol asks for a surrogate, the raw
    data come from the engine nevertheless. B1 is 1 unless the dictionary has several values of it; then it
    varies over their range. With `oversampling`, the raw data are those of a phantom with so many points on
    each side of a pixel, so that structures below the pixels are blurred as in a patient.

    Raises
    ------
    ValueError
        If the protocol is not valid, a number is out of range, or nilearn is missing for "mni152".
    OSError
        If the folder holds an earlier result and `force` is not set, or cannot be written.
    """
    at_least(1, matrix=matrix, coils=n_coils, repetitions=n_repetitions, oversampling=oversampling)
    at_least(0, seed=seed)
    if not (math.isfinite(snr) and snr > 0):
        raise ValueError(f"--snr {snr:g}: must be a positive number")
    protocol = load_protocol(protocol_path)
    trajectory = protocol.trajectory or Radial()
    n_readouts, n_samples = n_repetitions * protocol.sequence.n_pulses, trajectory.n_samples(matrix)
    for count, what in (
        (n_readouts, "readouts: play the train less often (--repetitions)"),
        (n_samples, "samples a readout: take a smaller --matrix or more interleaves"),
        (n_coils, "coils: take fewer (--coils)"),
    ):
        if count > _LARGEST_COUNT:
            raise ValueError(f"raw data can hold {_LARGEST_COUNT}, not {count} {what}")
    n_bytes = 8 * n_readouts * n_samples * (n_coils + 1)
    with new_folder(out, "phantom", force=force, n_bytes=n_bytes) as output:
        phantom = _make(template, matrix, n_coils, _b1_range(protocol))
        fine = phantom
        if oversampling > 1:
            fine = _make(template, oversampling * matrix, n_coils, _b1_range(protocol))
        with console.step(f"Raw data of a phantom: {n_readouts} readouts, {n_coils} coils"):
            acquisition = simulate_acquisition(
                fine,
                protocol.engine,
                protocol.sequence,
                trajectory(n_readouts, n_samples, phantom.matrix),
                matrix=phantom.matrix,
                snr=snr,
                seed=seed,
            )
            cartesian = isinstance(trajectory, Cartesian)
            write_ismrmrd(output.path / "scan.mrd", [acquisition], cartesian=cartesian)
        output.provenance.update(
            {
                "template": template,
                "matrix": matrix,
                "oversampling": oversampling,
                "n_coils": n_coils,
                "snr": snr,
                "n_repetitions": n_repetitions,
                "seed": seed,
                "model": protocol.engine.settings(),
                "protocol": protocol.text,
            }
        )
        write_bids(
            output.path / "truth",
            [phantom.truth()],
            affine=acquisition.affine,
            provenance=output.provenance,
        )
        (output.path / "protocol.yaml").write_text(protocol.text, encoding="utf-8")
    console.result(f"wrote {out}: scan.mrd, protocol.yaml, truth/")
    console.result(f"next: epgbloch reconstruct {out}/scan.mrd --protocol {out}/protocol.yaml --out maps")
    return phantom


def _make(template: str, matrix: int, n_coils: int, b1_range: tuple[float, float]) -> Phantom:
    make = {"analytic": analytic_head, "mni152": mni152_head}[template]
    try:
        return make((matrix, matrix), n_coils=n_coils, b1_range=b1_range)
    except ImportError as error:
        raise ValueError(str(error)) from error


def _b1_range(protocol: Protocol) -> tuple[float, float]:
    """Range of the transmit field: 0.8 to 1.2, where the dictionary reaches that far."""
    if protocol.grid is None or protocol.grid.b1.size == 1:
        return 1.0, 1.0
    return max(0.8, float(protocol.grid.b1.min())), min(1.2, float(protocol.grid.b1.max()))
