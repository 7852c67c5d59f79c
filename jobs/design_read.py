"""``epgbloch design read``: what a Pulseq file plays, as a table and as a folder."""

from __future__ import annotations

import csv
import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from design.pulseq.read import PulseqScan, read_pulseq
from epgbloch import EPGBloch, Sequence, Tissue
from jobs.console import Console, span_of
from jobs.design_read_figure import draw_scan
from jobs.outputs import new_folder
from jobs.protocol_pulseq import scan_section
from jobs.protocol_writer import protocol_text
from jobs.simulate import write_signal_csv

_STRAIGHT = 1e-3  # of the extent of k-space: how far samples may lie beside a line


def read_design(
    path: Path,
    *,
    out: Path | None,
    t1_ms: ArrayLike,
    t2_ms: ArrayLike,
    slice_thickness_mm: float | None,
    segment_gap_us: float | None,
    force: bool,
    console: Console,
) -> PulseqScan:
    """Show what a Pulseq file plays; with `out`, write its train, a protocol, signals and a figure.

    The folder holds the Pulseq file itself, ``sequence.csv`` (one row for each pulse), ``protocol.yaml`` for
    all other commands, ``figure.png``, and ``signal.csv`` if there are tissues.

    Returns
    -------
    PulseqScan
        Train and trajectory.

    Raises
    ------
    ValueError
        If the file is damaged or plays something else, or a tissue is not valid.
    OSError
        If the file cannot be read, or the folder holds an earlier result and `force` is not set.
    """
    tissue = None
    if np.size(t1_ms) or np.size(t2_ms):
        if not (np.size(t1_ms) and np.size(t2_ms) and out):
            raise ValueError("--t1-ms and --t2-ms make signals together, which go into a folder: give --out")
        tissue = Tissue(1e-3 * np.asarray(t1_ms), 1e-3 * np.asarray(t2_ms))
    scan = read_pulseq(
        path,
        slice_thickness=None if slice_thickness_mm is None else 1e-3 * slice_thickness_mm,
        segment_gap=None if segment_gap_us is None else 1e-6 * segment_gap_us,
    )
    facts = scan_facts(scan)
    console.table((path.name, ""), [(name, value) for name, value in facts.items()])
    for notice in scan.notices:
        console.notice(notice)
    if out is None:
        return scan
    with new_folder(out, "design read", force=force) as output:
        shutil.copyfile(path, output.path / path.name)
        section = scan_section(scan)
        _write_train(output.path / "sequence.csv", scan.sequence)
        protocol = _protocol(section, scan, path.name)
        (output.path / "protocol.yaml").write_text(protocol_text(protocol), encoding="utf-8")
        signal = None if tissue is None else EPGBloch().signal(scan.sequence, tissue)
        if tissue is not None and signal is not None:
            write_signal_csv(output.path / "signal.csv", tissue, signal)
        draw_scan(output.path / "figure.png", scan, tissue, signal)
        output.provenance.update(
            {
                "pulseq": path.name,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "facts": facts,
                "notices": list(scan.notices),
            }
        )
    console.result(
        f"wrote {out}: {path.name}, sequence.csv, protocol.yaml, figure.png" + ", signal.csv" * bool(tissue)
    )
    return scan


def scan_facts(scan: PulseqScan) -> dict[str, str]:
    """What a file plays, in words and numbers with units."""
    sequence = scan.sequence
    n_readouts, n_samples = scan.trajectory.shape[:2]
    pulse = sequence.pulse
    assert pulse is not None
    facts = {
        "pulses": f"{sequence.n_pulses}" + (f", {scan.n_dummies} without readout" if scan.n_dummies else ""),
        "flip angle": f"{span_of(np.rad2deg(sequence.flip_angle))} degrees",
        "RF phase": _phases(sequence.rf_phase),
        "TR": f"{span_of(1e3 * sequence.tr)} ms",
        "TE": f"{span_of(1e3 * sequence.te)} ms",
        "inversion": "none"
        if sequence.inversion_time is None
        else f"{1e3 * sequence.inversion_time:.6g} ms before the first pulse",
        "RF pulse": f"{1e3 * pulse.duration:.4g} ms, {pulse.n_steps} steps, "
        + (
            "no slice gradient"
            if pulse.slice_thickness is None
            else f"{pulse.bandwidth:.5g} Hz over {1e3 * pulse.slice_thickness:.4g} mm "
            f"({1e3 * pulse.gradient:.4g} mT/m)"
        ),
        "spoiling": _spoiling(scan),
        "trajectory": f"{trajectory_kind(scan.trajectory)} along {scan.axes[0]} and {scan.axes[1]}, "
        f"{n_readouts} readouts of {n_samples} samples, {1e6 * scan.dwell:.6g} us each",
        "resolution": f"{500 / np.abs(scan.trajectory).max():.4g} mm"
        + ("" if scan.fov is None else f", field of view {_lengths(scan.fov)} mm")
        + ("" if scan.matrix is None else f", matrix {scan.matrix[1]} x {scan.matrix[0]}"),
        "duration": f"{scan.duration:.6g} s",
        "B1+rms": f"{1e6 * scan.b1_rms:.4g} uT over the file",
        "Pulseq": ".".join(map(str, scan.version)),
    }
    return facts


def trajectory_kind(trajectory: NDArray[np.float64]) -> str:
    """Lines in one direction, spokes through the centre, other straight readouts, or curves.

    Parameters
    ----------
    trajectory : ndarray, shape (n_readouts, n_samples, 2)
        Positions in k-space.
    """
    position = trajectory[..., 0] + 1j * trajectory[..., 1]
    extent = np.abs(position).max()
    chord = position[:, -1] - position[:, 0]
    if np.abs(chord).min() < _STRAIGHT * extent:
        return "curves"
    along = np.conj(chord / np.abs(chord))[:, np.newaxis] * position
    if np.ptp(along.imag, axis=1).max() > _STRAIGHT * extent:
        return "curves"
    if np.abs(np.diff((chord / np.abs(chord)) ** 2)).max(initial=0) < _STRAIGHT:
        return "lines"
    return "spokes" if np.abs(along.imag).max() < _STRAIGHT * extent else "straight readouts"


def _lengths(fov: tuple[float, float]) -> str:
    return f"{1e3 * fov[1]:.4g} x {1e3 * fov[0]:.4g}"


def _phases(phase: NDArray[np.float64]) -> str:
    """Constant, alternating or otherwise stepping phases, or quadratic ones."""
    turns = np.exp(1j * phase)
    steps = turns[1:] * np.conj(turns[:-1])
    if np.ptp(np.angle(turns * np.conj(turns[0]))) < 1e-3:
        return "constant"
    if np.abs(steps - steps[0]).max() < 1e-3:
        return f"rises by {_degrees(steps[0])} degrees a pulse"
    increments = steps[1:] * np.conj(steps[:-1])
    if np.abs(increments - increments[0]).max() < 1e-3:
        return f"quadratic, increment {_degrees(increments[0])} degrees"
    return "varies"


def _degrees(turn: complex) -> str:
    return f"{np.rad2deg(np.angle(turn)) % 360:.5g}"


def _spoiling(scan: PulseqScan) -> str:
    orders = scan.sequence.dephasing
    if not orders.any():
        return "none (balanced)"
    cycles = " ".join(
        f"{axis} {value:.3g}" for axis, value in zip("xyz", np.round(scan.voxel_moment, 3) + 0.0, strict=True)
    )
    part = "" if orders.all() else f" after {orders.sum()} of {orders.size} pulses"
    return f"gradient, {cycles} cycles over a voxel{part}"


def _write_train(path: Path, sequence: Sequence) -> None:
    columns = {
        "flip_angle_deg": np.rad2deg(sequence.flip_angle),
        "phase_deg": np.rad2deg(sequence.phase),
        "tr_ms": 1e3 * sequence.tr,
        "te_ms": 1e3 * sequence.te,
        "dephasing": sequence.dephasing,
    }
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["pulse", *columns])
        for i_pulse, row in enumerate(zip(*columns.values(), strict=True)):
            writer.writerow([i_pulse, *(f"{value:.13g}" for value in row)])


def _protocol(section: dict[str, Any], scan: PulseqScan, name: str) -> dict[str, Any]:
    """Protocol with the columns of ``sequence.csv`` in place of lists."""
    train = {
        key: {"csv": "sequence.csv"} if isinstance(value, list) else value for key, value in section.items()
    }
    protocol: dict[str, Any] = {"sequence": train}
    if scan.fov is not None and not scan.n_dummies:
        protocol["trajectory"] = {"pulseq": name}
    return protocol
