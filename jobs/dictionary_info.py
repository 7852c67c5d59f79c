"""``epgbloch dictionary info``: what a dictionary file holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dictionaries import Dictionary, Grid, read_dictionary
from epgbloch import Sequence
from jobs.console import Console, span_of

_UNITS = {
    "t1": ("T1", "ms", 1e3),
    "t2": ("T2", "ms", 1e3),
    "b1": ("B1", "", 1),
    "off_resonance": ("off-resonance", "Hz", 1),
}


def run_dictionary_info(path: Path, *, console: Console) -> Dictionary:
    """Show grid, sequence, model, rank, truncation error and size of a dictionary file.

    Raises
    ------
    DictionaryError
        If the file is not an intact dictionary.
    OSError
        If the file cannot be opened.
    """
    dictionary = read_dictionary(path)
    show_size(dictionary, path, console)
    is_grid = isinstance(dictionary.grid, Grid)
    console.table(
        ("atoms on a grid" if is_grid else "list of atoms", "values", "from", "to"), [*_axes(dictionary)]
    )
    facts = {
        "model": ", ".join(f"{name} {value}" for name, value in dictionary.model.items()) or "unknown",
        **_sequence(dictionary.sequence),
    }
    for name, value in facts.items():
        console.result(f"{name}: {value}")
    return dictionary


def show_size(dictionary: Dictionary, path: Path, console: Console) -> None:
    """Write the table of the size and the truncation error."""
    error = dictionary.truncation_error
    errors = (
        ("unknown", "unknown")
        if error is None
        else (f"{100 * value:.2g} %" for value in (error.rms, error.max))
    )
    console.table(
        ("atoms", "pulses", "rank", "truncation error rms", "max", "size"),
        [
            (
                f"{dictionary.n_atoms}",
                f"{dictionary.n_pulses}",
                f"{dictionary.rank}{' complex' if np.iscomplexobj(dictionary.basis) else ''}",
                *errors,
                f"{path.stat().st_size / 1e6:.1f} MB",
            )
        ],
    )


def _axes(dictionary: Dictionary) -> Iterator[tuple[str, ...]]:
    for name, (label, unit, factor) in _UNITS.items():
        values = factor * np.unique(getattr(dictionary.grid, name))
        heading = f"{label} [{unit}]" if unit else label
        yield heading, str(values.size), f"{values[0]:.6g}", f"{values[-1]:.6g}"


def _sequence(sequence: Sequence | None) -> dict[str, str]:
    if sequence is None:
        return {"sequence": "unknown"}
    angles, times = np.rad2deg(sequence.flip_angle), 1e3 * sequence.tr
    pulse, delay = sequence.pulse, sequence.inversion_time
    thickness = None if pulse is None else pulse.slice_thickness
    return {
        "sequence": f"{sequence.n_pulses} pulses of {span_of(angles)} degrees, spoiling "
        f"{sequence.spoiling}, sha256 {sequence.fingerprint()}",
        "TR, TE [ms]": f"{span_of(times)}, {span_of(1e3 * sequence.te)}",
        "inversion": "none" if delay is None else f"{1e3 * delay:.4g} ms before the first pulse",
        "RF pulse": "instantaneous"
        if pulse is None
        else f"{pulse.name}, {1e3 * pulse.duration:.4g} ms, "
        + ("no slice selection" if thickness is None else f"slice of {1e3 * thickness:.4g} mm"),
    }
