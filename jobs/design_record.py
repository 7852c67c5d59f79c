"""Finished designs on disk: design.json, and what the commands say about sequences."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from design import Criterion, Limits
from epgbloch import Sequence, SignalModel
from jobs.console import span_of

FORMAT = "epgbloch design 1"
RECORD = "design.json"

_QUANTITIES = {
    "ln_t1": ("T1", "%", 100.0),
    "ln_t2": ("T2", "%", 100.0),
    "ln_b1": ("B1", "%", 100.0),
    "t1": ("T1", "ms", 1e3),
    "t2": ("T2", "ms", 1e3),
    "b1": ("B1", "%", 100.0),
    "off_resonance": ("off-resonance", "Hz", 1.0),
}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a criterion says about a sequence.

    Attributes
    ----------
    value : float
        The criterion.
    bounds : ndarray, shape (n_atoms, n_parameters), float64
        Standard deviations at the Cramér-Rao bound, for noise of SD 1 and a proton density of 1.
    duration : float
        Of the sequence [s].
    b1_rms : float or None
        Root mean square of B1+ over the train [T]; None with instantaneous pulses.
    """

    value: float
    bounds: NDArray[np.float64]
    duration: float
    b1_rms: float | None

    @classmethod
    def of(cls, criterion: Criterion, model: SignalModel, sequence: Sequence) -> Evaluation:
        """Evaluate a sequence."""
        signals = model.jacobian(sequence, criterion.tissue, criterion.wrt)
        return cls(
            float(criterion.value(*signals, sequence.duration)),
            criterion.standard_deviations(*signals),
            sequence.duration,
            None if sequence.pulse is None else float(Limits().b1_rms(sequence)[0]),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers for JSON; infinite ones become None."""
        bounds = [[_finite(value) for value in row] for row in self.bounds.tolist()]
        return {
            "value": _finite(self.value),
            "bounds": bounds,
            "duration_s": self.duration,
            "b1_rms_ut": None if self.b1_rms is None else 1e6 * self.b1_rms,
        }


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def quantities(criterion: Criterion) -> list[tuple[str, str, float]]:
    """Return the name, the unit and the factor into that unit of each parameter of a criterion."""
    return [_QUANTITIES[name] for name in criterion.parameters]


def deviations(criterion: Criterion, bounds: NDArray[np.float64], snr: float) -> NDArray[np.float64]:
    """Return bounds in the units of `quantities`, for a signal-to-noise ratio."""
    return bounds * np.array([factor for _, _, factor in quantities(criterion)]) / snr


def precision_text(snr: float) -> str:
    """Return what the standard deviations of a report are."""
    return (
        "Smallest standard deviations that unbiased estimates can have (Cramér-Rao bound), at a ratio of "
        f"{snr:g} between the proton density and the standard deviation of the noise of an echo."
    )


def tissue_names(criterion: Criterion) -> list[str]:
    """Return short names of the tissues: T1/T2 [ms], and B1 and off-resonance where they matter."""
    tissue, names = criterion.tissue, []
    for i in range(tissue.n_atoms):
        name = f"{1e3 * tissue.t1[i]:.4g}/{1e3 * tissue.t2[i]:.4g}"
        if np.any(tissue.b1 != 1):
            name += f", B1 {tissue.b1[i]:.3g}"
        if np.any(tissue.off_resonance != 0):
            name += f", {tissue.off_resonance[i]:.3g} Hz"
        names.append(name)
    return names


def sequence_facts(sequence: Sequence) -> list[tuple[str, str]]:
    """Return what a reader wants to know of a sequence first."""
    facts = [
        ("Pulses", f"{sequence.n_pulses}"),
        ("Flip angles", f"{span_of(np.rad2deg(sequence.flip_angle))} degrees"),
        ("TR", f"{span_of(1e3 * sequence.tr)} ms"),
        ("TE", f"{span_of(1e3 * sequence.te)} ms"),
        ("Duration", f"{sequence.duration:.4g} s"),
        ("Spoiling", sequence.spoiling),
    ]
    if sequence.inversion_time is not None:
        facts.insert(4, ("Inversion time", f"{1e3 * sequence.inversion_time:.4g} ms"))
    if sequence.n_pulses > 1:
        change = np.rad2deg(np.abs(np.diff(sequence.flip_angle)).max())
        facts.insert(2, ("Largest change of the flip angle", f"{change:.3g} degrees"))
    if sequence.pulse is None:
        facts.append(("RF pulse", "instantaneous"))
        return facts
    pulse = sequence.pulse
    thickness = "" if pulse.slice_thickness is None else f", slice {1e3 * pulse.slice_thickness:.4g} mm"
    facts.append(("RF pulse", f"{pulse.name}, {1e3 * pulse.duration:.4g} ms{thickness}"))
    facts.append(("B1+rms of the train", f"{1e6 * Limits().b1_rms(sequence)[0]:.4g} uT"))
    return facts


def is_record(path: Path) -> bool:
    """Whether a path means a finished design, and not a YAML file."""
    return path.is_dir() or path.suffix == ".json"


def read_record(path: Path) -> tuple[Sequence, dict[str, Any]]:
    """Read the sequence of a finished design, and everything else that its file holds.

    Raises
    ------
    ValueError
        If the file is not a design, or its sequence was changed.
    OSError
        If it cannot be read.
    """
    file = path / RECORD if path.is_dir() else path
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{file}: not a design: {error}; give the folder of epgbloch design run") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise ValueError(f"{file}: not a design ({FORMAT}); give the folder of epgbloch design run")
    try:
        sequence = Sequence.from_dict(record["sequence"])
        stored = record["fingerprint"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{file}: its sequence cannot be read ({error}); run the design again") from error
    if sequence.fingerprint() != stored:
        raise ValueError(f"{file}: the sequence does not fit its fingerprint; it was changed: run it again")
    return sequence, record
