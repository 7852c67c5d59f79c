"""Sequences as Pulseq files that are read back: ``epgbloch design export``, and the end of every design."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from design.pulseq import PulseqExport, read_pulseq
from epgbloch import EPGBloch, Sequence, Tissue
from jobs.console import Console
from jobs.design_file import design_sections
from jobs.design_record import is_record, read_record, sequence_facts
from jobs.outputs import new_folder
from jobs.protocol import load_protocol, read_model
from jobs.protocol_scan import Scan, read_scan
from jobs.protocol_writer import protocol_text

COMMAND = "design export"
_TISSUES = Tissue(t1=[0.5, 0.9, 1.4], t2=[0.065, 0.085, 0.11])
"""Typical tissues whose signals must survive the way through the file."""
LARGEST_DIFFERENCE = 1e-3
"""Of signals before and after, relative to the largest one."""


@dataclass(frozen=True)
class RoundTrip:
    """A Pulseq file, and what came back from it.

    Attributes
    ----------
    export : PulseqExport
        The file.
    flip_angle, phase : float
        Largest difference between what was asked for and what was read [rad].
    tr, te : float
        The same [s].
    signal : float
        The same of the signals of typical tissues, relative to the largest one.
    """

    export: PulseqExport
    flip_angle: float
    phase: float
    tr: float
    te: float
    signal: float

    def lines(self) -> list[tuple[bool, str]]:
        """Return whether each comparison went well, and what it says."""
        rounding = "on the rasters of the scanner"
        return [
            (
                max(self.flip_angle, self.phase) < 1e-3,
                f"Read back: flip angles within {np.rad2deg(self.flip_angle):.2g} degrees, phases within "
                f"{np.rad2deg(self.phase):.2g} degrees",
            ),
            (
                max(self.tr, self.te) < 1e-4,
                f"Read back: TR within {1e6 * self.tr:.1f} us, TE within {1e6 * self.te:.1f} us, {rounding}",
            ),
            (
                self.signal < LARGEST_DIFFERENCE,
                f"Read back: signals within {self.signal:.1e} of the largest one",
            ),
        ]


def write_pulseq(path: Path, sequence: Sequence, scan: Scan, engine: EPGBloch) -> RoundTrip:
    """Write a sequence as a Pulseq file, read it again, and compare.

    Raises
    ------
    LimitError
        If the scanner cannot play it.
    """
    export = scan.export(path, sequence, path.stem)
    back = read_pulseq(path).sequence
    turn = np.exp(1j * (back.rf_phase - sequence.rf_phase))
    signals = [engine.signal(s, _TISSUES) for s in (sequence, back)]
    return RoundTrip(
        export,
        flip_angle=float(np.abs(back.flip_angle - sequence.flip_angle).max()),
        # a common phase turns all signals alike; the receiver follows
        phase=float(np.abs(np.angle(turn / turn[0])).max()),
        tr=float(np.abs(back.tr - sequence.tr).max()),
        te=float(np.abs(back.te - sequence.te).max()),
        signal=float(np.abs(signals[1] - signals[0]).max() / np.abs(signals[0]).max()),
    )


def played_protocol(name: str) -> str:
    """Return the text of a protocol for what a Pulseq file beside it plays."""
    return protocol_text({"sequence": {"pulseq": name}, "trajectory": {"pulseq": name}})


def run_export(path: Path, *, out: Path, scanner: str | None, force: bool, console: Console) -> RoundTrip:
    """Write the sequence of a protocol as a Pulseq file, with its report and a protocol of what it plays.

    Parameters
    ----------
    path : Path
        Protocol with the sections ``trajectory`` and ``scan``, or the folder of a design that had them.
    out : Path
        Folder for the Pulseq file, called like the folder, ``protocol.yaml`` and the report.
    scanner : str or None
        Preset, instead of the scanner of the protocol.
    force : bool
        Replace an earlier export.

    Raises
    ------
    LimitError
        If the scanner cannot play it; nothing is written.
    ValueError
        If the protocol cannot be used, or what is read back differs.
    OSError
        If the folder cannot be written.
    """
    sequence, scan, engine = _played(path)
    if scan is None:
        raise ValueError(f"{path}: scan: missing; this command needs the readout and the scanner")
    if scanner is not None:
        scan = scan.on(scanner)
    with new_folder(out, COMMAND, force=force) as output:
        name = f"{out.resolve().name}.seq"
        with console.step(f"Writing {sequence.n_pulses} pulses, and reading them back"):
            trip = write_pulseq(output.path / name, sequence, scan, engine)
        wrong = [text for good, text in trip.lines() if not good]
        if wrong:
            raise ValueError(f"{path}: the file does not play the sequence: {'; '.join(wrong)}")
        (output.path / "protocol.yaml").write_text(played_protocol(name), "utf-8")
        output.provenance["protocol"] = str(path)
    console.table(("Played", ""), sequence_facts(trip.export.sequence))
    for _, text in trip.lines():
        console.result(text)
    least = trip.export.minimum_times
    console.result(
        f"shortest on this scanner: TE {1e3 * least.te:.4g} ms, TR {1e3 * least.tr:.4g} ms, inversion time "
        f"{1e3 * least.inversion_time:.4g} ms"
    )
    console.result(f"wrote {out}: {name}, its report, protocol.yaml")
    return trip


def _played(path: Path) -> tuple[Sequence, Scan | None, EPGBloch]:
    """Sequence, scan and engine of a finished design or of a protocol."""
    if not is_record(path):
        protocol = load_protocol(path)
        return protocol.sequence, protocol.scan, protocol.engine
    sequence, record = read_record(path)
    top = design_sections(path, record["design_file"])
    scan = read_scan(top, sequence.n_pulses) if top.has("scan") else None
    return sequence, scan, read_model(top)[1]
