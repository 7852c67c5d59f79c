"""Design files: YAML files that describe what a sequence is designed for, what may vary, and how."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from design import (
    Criterion,
    Curve,
    LimitError,
    Limits,
    Parametrization,
    constant,
    free,
    published_spline,
    spline,
)
from design.gradient import METHODS as GRADIENT_METHODS
from design.monte_carlo import ESTIMATED
from epgbloch import EPGBloch, Sequence
from jobs.design_criterion import criterion_of
from jobs.protocol import read_model
from jobs.protocol_scan import Scan, read_scan
from jobs.protocol_sequence import read_sequence
from jobs.protocol_values import ProtocolError, Section, parse_yaml, read_yaml
from jobs.protocol_writer import protocol_text
from surrogate import GRUSurrogate

_KEYS = (
    "sequence",
    "tissues",
    "criterion",
    "vary",
    "limits",
    "optimiser",
    "engine",
    "surrogate",
    "monte_carlo",
    "scan",
    "trajectory",
)
METHODS = ("gradient", "evolution", "evolution+gradient")
"""How the best sequence is found; the last one polishes the result of evolution."""
CURVES = ("spline11", "spline", "free", "constant")
_UNITS = {
    "flip_angle_deg": ("flip_angle", np.pi / 180),
    "phase_deg": ("phase", np.pi / 180),
    "tr_ms": ("tr", 1e-3),
    "te_ms": ("te", 1e-3),
    "inversion_time_ms": ("inversion_time", 1e-3),
}
"""Keys of what may vary, with the field of the sequence and the unit."""
_LIMITS = {
    "flip_angle_change_deg": ("maximum_change", np.pi / 180),
    "duration_ms": ("maximum_duration", 1e-3),
    "b1_rms_ut": ("maximum_b1_rms", 1e-6),
    "b1_window_ms": ("b1_window", 1e-3),
}
_OPTIMISER = {
    "gradient": ("method", "seed", "algorithm", "starts", "iterations", "tolerance"),
    "evolution": ("method", "seed", "population", "generations", "tolerance"),
}


@dataclass(frozen=True, eq=False)
class DesignFile:
    """What a design file says, in SI units and radians.

    Attributes
    ----------
    path : Path
        The file.
    text : str
        YAML text that says the same without other files, as of `Protocol`.
    content : dict
        Its content, with the numbers of other files in place of their references.
    sequence : Sequence
        Section ``sequence``: what does not vary, and what the design is compared with.
    model : EPGBloch or GRUSurrogate
        Section ``engine`` or ``surrogate``: what makes the signals while searching.
    engine : EPGBloch
        `model`, or an engine of default settings where that is a surrogate: what evaluates the result.
    criterion : Criterion
        Sections ``tissues`` and ``criterion``.
    parametrization : Parametrization
        Section ``vary``.
    limits : Limits
        Section ``limits``.
    method : str
        One of `METHODS`.
    options : dict
        Arguments of `optimise_by_gradient` or, with evolution, of `optimise_by_evolution`.
    snr, n_trials : float, int
        Section ``monte_carlo``; no trials: none are asked for.
    scan : Scan or None
        Sections ``scan`` and ``trajectory``: how it is played.
    """

    path: Path
    text: str
    content: dict[str, Any]
    sequence: Sequence
    model: EPGBloch | GRUSurrogate
    engine: EPGBloch
    criterion: Criterion
    parametrization: Parametrization
    limits: Limits
    method: str
    options: dict[str, Any]
    snr: float
    n_trials: int
    scan: Scan | None


def load_design_file(path: str | Path) -> DesignFile:
    """Read and check a design file.

    The annotated example ``examples/design.yaml`` lists every key.

    Raises
    ------
    ProtocolError
        If the file cannot be read, a key is unknown, missing or has the wrong unit, or a value is out of
        range; the message has the form ``design.yaml: vary.tr_ms: ...``.
    LimitError
        If no sequence within the bounds keeps to the limits, or the scanner cannot play all of them.
    """
    path = Path(path)
    text, content = read_yaml(path)
    original = copy.deepcopy(content)
    top = Section(path, "", content, _KEYS)
    top.require("sequence", "tissues", "vary")
    sequence = read_sequence(top)
    model, engine = read_model(top)
    limits = _limits(top)
    method, options = _optimiser(top)
    criterion = criterion_of(top)
    snr, n_trials = _trials(top, criterion)
    parametrization = _parametrization(top, sequence, limits)
    scan = read_scan(top, sequence.n_pulses) if top.has("scan") else None
    if scan is None and top.has("trajectory"):
        raise top.error("trajectory", "has no effect without scan; give both or none")
    file = DesignFile(
        path=path,
        text=text if content == original else protocol_text(content),
        content=content,
        sequence=sequence,
        model=model,
        engine=engine,
        criterion=criterion,
        parametrization=parametrization,
        limits=limits,
        method=method,
        options=options,
        snr=snr,
        n_trials=n_trials,
        scan=scan,
    )
    try:
        _check_limits(top, file)
        _check_model(top, file)
        if file.scan is not None:
            file.scan.check(file.parametrization)
    except LimitError as error:
        raise LimitError(f"{path}: {error}", limit=error.limit, nearest=error.nearest) from error
    return file


def design_sections(path: Path, text: str | None = None) -> Section:
    """Return the sections of a design file, or of its text in the record of a design, to read parts of it."""
    content = read_yaml(path)[1] if text is None else parse_yaml(path, text)
    return Section(path, "", content, _KEYS)


def _parametrization(top: Section, sequence: Sequence, limits: Limits) -> Parametrization:
    section = top.section("vary", tuple(_UNITS))
    curves = {}
    for key, (field, unit) in _UNITS.items():
        if section.has(key):
            n = 1 if field == "inversion_time" else sequence.n_pulses
            change = limits.maximum_change if field == "flip_angle" else None
            curves[field] = _curve(section, key, n, unit, change)
    with section.located():
        return Parametrization(sequence, curves)


def _curve(vary: Section, key: str, n: int, unit: float, change: float | None) -> Curve:
    section = vary.section(key, ("curve", "range", "knots"))
    section.require("range")
    bounds = unit * section.vector("range")
    if bounds.size != 2:
        raise section.error("range", f"takes [smallest, largest]; got {bounds.size} values")
    if not bounds[0] < bounds[1]:
        smallest, largest = section.values["range"]
        message = f"{smallest:g} must be below {largest:g}; leave out what does not vary"
        raise section.error("range", message)
    low, high = float(bounds[0]), float(bounds[1])
    kind = section.text("curve", CURVES, "constant" if n == 1 else "spline")
    if section.has("knots") and kind != "spline":
        raise section.error("knots", f"does not go with curve: {kind}; remove it")
    with section.located():
        if kind == "spline11":
            if key != "flip_angle_deg" or low != 0:
                raise section.error("curve", "spline11 is a curve of flip angles from 0; use spline here")
            return published_spline(n, high)
        if kind == "free":
            return free(n, low, high, change)
        if kind == "constant":
            return constant(n, low, high)
        section.require("knots")
        return spline(n, section.count("knots", 11), low, high)


def _limits(top: Section) -> Limits:
    section = top.section("limits", tuple(_LIMITS))
    values = {
        field: unit * section.number(key, 0.0, above=0)
        for key, (field, unit) in _LIMITS.items()
        if section.has(key)
    }
    with section.located():
        return Limits(**values)


def _optimiser(top: Section) -> tuple[str, dict[str, Any]]:
    every = tuple(dict.fromkeys(key for keys in _OPTIMISER.values() for key in keys))
    section = top.section("optimiser", every)
    method = section.text("method", METHODS, "gradient")
    section.only(_OPTIMISER[method.partition("+")[0]], f"method: {method}")
    options: dict[str, Any] = {"seed": section.count("seed", 0, at_least=0, at_most=None)}
    if section.has("tolerance"):
        options["tolerance"] = section.number("tolerance", 0.0, above=0)
    counts = {
        "starts": "n_starts",
        "iterations": "max_iterations",
        "population": "population",
        "generations": "max_generations",
    }
    options |= {name: section.count(key, 1) for key, name in counts.items() if section.has(key)}
    if section.has("algorithm"):
        options["method"] = section.text("algorithm", GRADIENT_METHODS, "")
    return method, options


def _trials(top: Section, criterion: Criterion) -> tuple[float, int]:
    """SNR, also of everything else that is told, and the number of trials; 0 without the section."""
    section = top.section("monte_carlo", ("snr", "trials"))
    if "monte_carlo" not in top.values:
        return 100.0, 0
    for name in criterion.wrt:
        if name.removeprefix("ln_") not in ESTIMATED:
            raise section.error("", f"cannot estimate {name}, only {', '.join(ESTIMATED)}; leave it out")
    return section.number("snr", 100.0, above=0), section.count("trials", 2000, at_least=2)


def _check_limits(top: Section, file: DesignFile) -> None:
    try:
        file.limits.check_reachable(file.parametrization)
    except LimitError:
        raise
    except ValueError as error:
        raise top.error("limits", str(error)) from error
    if file.options.get("method") == "L-BFGS-B" and file.limits.constraints(file.parametrization):
        message = "L-BFGS-B knows no limits but ranges; use SLSQP or trust-constr"
        raise top.error("optimiser.algorithm", message)


def _check_model(top: Section, file: DesignFile) -> None:
    """Find out now, and not after the search, whether the model knows tissues, parameters and sequences."""
    n = file.parametrization.n_parameters
    corners = (np.zeros(n), np.ones(n), np.arange(n) % 2)
    try:
        for sequence in (file.sequence, *(file.parametrization.sequence_of(u) for u in corners)):
            file.criterion.of(file.model, sequence)
    except ValueError as error:
        raise ProtocolError(
            f"{top.file}: the model cannot evaluate the sequence within its ranges: {error}"
        ) from error
