"""Protocols: YAML files that describe a sequence, a dictionary and a reconstruction."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dictionaries.grid import Grid, linear_axis, log_axis
from epgbloch import EPGBloch, Sequence
from jobs.protocol_admm import METHODS, read_admm
from jobs.protocol_scan import Scan, read_scan
from jobs.protocol_sequence import read_sequence
from jobs.protocol_trajectory import Trajectory, read_trajectory
from jobs.protocol_values import LARGEST_COUNT, ProtocolError, Section, read_yaml
from jobs.protocol_writer import protocol_text
from reconstruction.admm import AdmmSettings
from reconstruction.coil_compression import check_virtual_coils
from reconstruction.coils import COIL_METHODS
from reconstruction.inversion import N_ITERATIONS
from reconstruction.rawdata import TRAJECTORY_UNITS
from surrogate import GRUSurrogate

__all__ = ["Protocol", "ProtocolError", "load_protocol"]

DEFAULT_RANK = 5
GRADIENT_DELAYS = ("none", "estimate")
Made = TypeVar("Made")


@dataclass(frozen=True, eq=False)
class Protocol:
    """What a protocol file says, in SI units and radians.

    Attributes
    ----------
    path : Path
        The file.
    text : str
        YAML text that says the same without other files: the file itself, or, where it refers to CSV files or
        the train of a Pulseq file, its content with their numbers. Files that it needs have full paths.
    sequence : Sequence
        Section ``sequence``.
    model : EPGBloch or GRUSurrogate
        Section ``engine`` or ``surrogate``: what makes signals and dictionaries.
    model_given : bool
        Whether there is one of these sections.
    engine : EPGBloch
        `model`, or an engine of default settings where that is a surrogate: what simulates raw data.
    grid : Grid or None
        Section ``dictionary``; None where the section is absent.
    rank : int
        Length of the temporal basis.
    method : str
        How coefficient images are found, one of `jobs.protocol_admm.METHODS`.
    n_iterations : int
        Iterations of the low-rank inversion.
    admm_settings : AdmmSettings
        Settings of LR-ADMM.
    coil_method : str
        Estimator of the coil sensitivities, a name in `reconstruction.coils.COIL_METHODS`.
    virtual_coils : float or None
        Number of virtual coils, or the fraction of the energy that they keep; None: no compression.
    sensitivity_path : Path or None
        File of coil sensitivities; None: they are estimated.
    gradient_delays : {"none", "estimate"}
        Whether gradient delays of radial data are estimated and corrected.
    check_consistency : bool
        Whether a trajectory or sensitivities that contradict the data are refused.
    b1_width : float or None
        Width over which B1 is taken to be smooth [m], see `reconstruct`; None: it is not.
    correct_receive_field : bool
        Whether the proton density is divided by an estimate of the receive field.
    slices : tuple of int or None
        Slices to reconstruct, counted from 0; None: all.
    trajectory : Radial, Spiral, Cartesian, PulseqTrajectory or None
        Function of (n_readouts, n_samples, matrix) that returns the trajectory [cycles per pixel]; None: the
        raw data hold it.
    trajectory_units : str
        Units of the trajectory in the raw data, one of `TRAJECTORY_UNITS`.
    scan : Scan or None
        Section ``scan``: how the sequence is played; None where it is absent.
    """

    path: Path
    text: str
    sequence: Sequence
    model: EPGBloch | GRUSurrogate
    model_given: bool
    engine: EPGBloch
    grid: Grid | None
    rank: int
    method: str
    n_iterations: int
    admm_settings: AdmmSettings
    coil_method: str
    virtual_coils: float | None
    sensitivity_path: Path | None
    gradient_delays: str
    check_consistency: bool
    b1_width: float | None
    correct_receive_field: bool
    slices: tuple[int, ...] | None
    trajectory: Trajectory | None
    trajectory_units: str
    scan: Scan | None

    def changed(self, **values: Any) -> Protocol:
        """Protocol with other values of its fields, except for those that are None."""
        return replace(self, **{name: value for name, value in values.items() if value is not None})

    @property
    def admm(self) -> AdmmSettings | None:
        """Settings of LR-ADMM; None where the method is another."""
        return self.admm_settings if self.method == "lr-admm" else None

    def required_grid(self) -> Grid:
        """Grid of the dictionary.

        Raises
        ------
        ProtocolError
            If the protocol has no section ``dictionary``.
        """
        if self.grid is None:
            raise ProtocolError(f"{self.path}: dictionary: missing; this command needs the grid of T1 and T2")
        return self.grid


def load_protocol(path: str | Path) -> Protocol:
    """Read and check a protocol.

    The annotated example ``examples/protocol.yaml`` lists every key. Other files are relative to the
    protocol.

    Raises
    ------
    ProtocolError
        If the file cannot be read, a key is unknown, missing or has the wrong unit, or a value is out of
        range; the message has the form ``protocol.yaml: sequence.te_ms: ...``.
    """
    path = Path(path)
    text, content = read_yaml(path)
    original = copy.deepcopy(content)
    keys = (
        "sequence",
        "dictionary",
        "engine",
        "surrogate",
        "reconstruction",
        "trajectory",
        "trajectory_units",
        "scan",
    )
    top = Section(path, "", content, keys)
    top.require("sequence")
    sequence = read_sequence(top)
    dictionary = top.section("dictionary", ("t1_ms", "t2_ms", "b1", "off_resonance_hz", "rank"))
    reconstruction = top.section(
        "reconstruction",
        (
            "method",
            "iterations",
            "admm",
            "coils",
            "sensitivities",
            "coil_compression",
            "gradient_delays",
            "check_consistency",
            "smooth_b1_mm",
            "correct_receive_field",
            "slices",
        ),
    )
    sensitivities = _path(reconstruction, "sensitivities")
    slices = None
    if reconstruction.has("slices"):
        slices = reconstruction.counts("slices", at_least=0)
    trajectory = read_trajectory(top) if top.has("trajectory") else None
    units = top.text("trajectory_units", TRAJECTORY_UNITS, "cycles_per_pixel")
    if trajectory is not None and units != "cycles_per_pixel":
        raise top.error("trajectory_units", "a computed trajectory is in cycles_per_pixel; remove this key")
    model, engine = read_model(top)
    if content != original:  # numbers from CSV files replaced their references, and full paths relative ones
        text = protocol_text(content)
    return Protocol(
        path=path,
        text=text,
        sequence=sequence,
        model=model,
        model_given=model is not engine or top.has("engine"),
        engine=engine,
        grid=_grid(dictionary) if top.has("dictionary") else None,
        rank=dictionary.count("rank", DEFAULT_RANK),
        method=reconstruction.text("method", METHODS, "low-rank"),
        n_iterations=reconstruction.count("iterations", N_ITERATIONS),
        admm_settings=read_admm(reconstruction),
        coil_method=reconstruction.text("coils", tuple(COIL_METHODS), "espirit"),
        virtual_coils=_virtual_coils(reconstruction),
        sensitivity_path=sensitivities,
        gradient_delays=reconstruction.text("gradient_delays", GRADIENT_DELAYS, "none"),
        check_consistency=reconstruction.flag("check_consistency", True),
        b1_width=1e-3 * reconstruction.number("smooth_b1_mm", 0.0, above=0) or None,
        correct_receive_field=reconstruction.flag("correct_receive_field", True),
        slices=slices,
        trajectory=trajectory,
        trajectory_units=units,
        scan=read_scan(top, sequence.n_pulses) if top.has("scan") else None,
    )


def _path(section: Section, key: str) -> Path | None:
    """File named by a key, relative to the protocol; the full path replaces it there."""
    if not section.has(key):
        return None
    if not isinstance(section.values[key], str):
        raise section.error(key, f"must be the name of a file; got {section.values[key]!r}")
    path = (section.file.parent / section.values[key]).resolve()
    section.values[key] = str(path)
    return path


def _virtual_coils(section: Section) -> float | None:
    if not section.has("coil_compression"):
        return None
    value = section.number("coil_compression", 0.0, above=0)
    with section.located("coil_compression"):
        check_virtual_coils(value)
    return value


def _grid(section: Section) -> Grid:
    section.require("t1_ms", "t2_ms")
    with section.located():
        return Grid(
            t1=1e-3 * _axis(section, "t1_ms", above=0),
            t2=1e-3 * _axis(section, "t2_ms", above=0),
            b1=_axis(section, "b1", 1.0, above=0),
            off_resonance=_axis(section, "off_resonance_hz", 0.0),
        )


def _axis(section: Section, key: str, default: float | None = None, **limits: float) -> NDArray[np.float64]:
    """Values of an axis: a number, a list, a CSV column, {log: [first, last, n]} or {linear: ...}."""
    value = section.values.get(key)
    if not isinstance(value, dict) or "csv" in value:
        return section.vector(key, default, **limits)
    spacings = {"log": log_axis, "linear": linear_axis}
    if len(value) != 1 or next(iter(value)) not in spacings:
        raise section.error(
            key, "give a number, a list, {log: [first, last, n]} or {linear: [first, last, n]}"
        )
    (spacing,) = value
    axis = section.section(key, (spacing,))
    numbers = axis.vector(spacing).tolist()
    if len(numbers) != 3 or numbers[2] % 1 or numbers[2] > LARGEST_COUNT:
        raise axis.error(spacing, f"takes [first, last, number of values]; got {numbers}")
    with axis.located(spacing):
        return spacings[spacing](numbers[0], numbers[1], int(numbers[2]))


def read_engine(top: Section) -> EPGBloch:
    """Engine with the settings of the section ``engine``."""
    section = top.section("engine", ("n_states", "tolerance", "n_subslices", "slice_extent"))
    with section.located():
        return EPGBloch(
            n_states=section.count("n_states", 1) if section.has("n_states") else None,
            tolerance=section.number("tolerance", 1e-4, above=0),
            n_subslices=section.count("n_subslices", 32),
            slice_extent=section.number("slice_extent", 3.0, above=0),
        )


def read_model(top: Section) -> tuple[EPGBloch | GRUSurrogate, EPGBloch]:
    """Model of the section ``surrogate`` or ``engine``, and the engine (of defaults beside a surrogate)."""
    engine = read_engine(top)
    return (_read_surrogate(top) if "surrogate" in top.values else engine), engine


def _read_surrogate(top: Section) -> GRUSurrogate:
    """Network of the section ``surrogate``: one that comes with the package, or a file of weights."""
    if top.has("engine"):
        raise top.error("surrogate", "one model makes the signals; remove this section or the section engine")
    section = top.section("surrogate", ("network", "extrapolate"))
    extrapolate = section.flag("extrapolate", False)
    if not section.has("network"):
        return GRUSurrogate(extrapolate=extrapolate)
    return read_network(section, "network", lambda name: GRUSurrogate(name, extrapolate=extrapolate))


def read_network(section: Section, key: str, make: Callable[[str], Made]) -> Made:
    """What `make` makes of the name of a shipped network, or of the full path of a file of weights.

    Paths are relative to the file of the section, in which the full one replaces them.
    """
    name = section.values[key]
    if not isinstance(name, str):
        raise section.error(key, f"must be a name or a file of weights (*.npz); got {name!r}")
    if name.endswith(".npz"):
        name = section.values[key] = str((section.file.parent / name).resolve())
    try:
        return make(name)
    except OSError as error:
        raise section.error(key, f"{name}: {error.strerror or error}") from error
    except ValueError as error:
        raise section.error(key, str(error)) from error
