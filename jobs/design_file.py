"""Design files: YAML files that describe what a sequence is designed for, what may vary, and how."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from design import Criterion, Curve, Limits, Parametrization, constant, free, published_spline, spline
from design.crlb import OPTIMALITIES, OVER_TISSUES, PROTON_DENSITIES
from design.gradient import METHODS as GRADIENT_METHODS
from design.tissues import sample_tissues
from epgbloch import EPGBloch, Sequence, Tissue
from epgbloch.engine import PARAMETERS
from jobs.protocol import read_model
from jobs.protocol_scan import Scan, read_scan
from jobs.protocol_sequence import read_sequence
from jobs.protocol_values import ProtocolError, Section, parse_yaml, read_yaml
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
        Its text.
    content : dict
        Its content, with the numbers of CSV files in place of their references.
    sequence : Sequence
        Section ``sequence``: where the design starts from, and what does not vary.
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
    top = Section(path, "", content, _KEYS)
    top.require("sequence", "tissues", "vary")
    sequence = read_sequence(top)
    model, engine = read_model(top)
    limits = _limits(top)
    method, options = _optimiser(top)
    trials = top.section("monte_carlo", ("snr", "trials"))
    file = DesignFile(
        path=path,
        text=text,
        content=content,
        sequence=sequence,
        model=model,
        engine=engine,
        criterion=_criterion(top),
        parametrization=_parametrization(top, sequence, limits),
        limits=limits,
        method=method,
        options=options,
        snr=trials.number("snr", 100.0, above=0),
        n_trials=trials.count("trials", 2000) if top.has("monte_carlo") else 0,
        scan=read_scan(top, sequence.n_pulses) if top.has("scan") else None,
    )
    _check_model(top, file)
    limits.check_reachable(file.parametrization)
    if file.scan is not None:
        file.scan.check(file.parametrization)
    return file


def _tissues(top: Section) -> tuple[Tissue, list[float] | None]:
    listed = ("t1_ms", "t2_ms", "b1", "off_resonance_hz", "weights")
    section = top.section("tissues", (*listed, "sample", "seed"))
    section.require("t1_ms", "t2_ms")
    t1, t2 = (1e-3 * section.vector(key, above=0) for key in ("t1_ms", "t2_ms"))
    b1 = section.vector("b1", 1.0, above=0)
    if not section.has("sample"):
        section.only(listed, "a list of tissues")
        weights = section.vector("weights", above=0).tolist() if section.has("weights") else None
        with section.located():
            return Tissue(t1, t2, b1=b1, off_resonance=section.vector("off_resonance_hz", 0.0)), weights
    section.only(("t1_ms", "t2_ms", "b1", "sample", "seed"), "sample")
    for key, values in (("t1_ms", t1), ("t2_ms", t2), ("b1", b1)):
        if values.size > 2:
            raise section.error(key, f"takes [smallest, largest] with sample; got {values.size} values")
    seed = section.count("seed", 0, at_least=0, at_most=None)
    ranges = [(float(values[0]), float(values[-1])) for values in (t1, t2, b1)]
    with section.located():
        return sample_tissues(section.count("sample", 1), *ranges, seed=seed), None


def read_criterion(path: Path, text: str | None = None) -> Criterion:
    """Read the sections ``tissues`` and ``criterion`` of a design file, or of its text.

    Raises
    ------
    ProtocolError
        As from `load_design_file`.
    """
    content = read_yaml(path)[1] if text is None else parse_yaml(path, text)
    top = Section(path, "", content, _KEYS)
    top.require("tissues")
    return _criterion(top)


def _criterion(top: Section) -> Criterion:
    tissue, tissue_weights = _tissues(top)
    section = top.section(
        "criterion",
        (
            "parameters",
            "nuisance",
            "proton_density",
            "optimality",
            "weights",
            "over_tissues",
            "per_time",
        ),
    )
    with section.located():
        return Criterion(
            tissue,
            parameters=_names(section, "parameters", ("ln_t1", "ln_t2")),
            nuisance=_names(section, "nuisance", ()),
            proton_density=section.text("proton_density", PROTON_DENSITIES, "real"),
            optimality=section.text("optimality", OPTIMALITIES, "A"),
            weights=section.vector("weights", above=0) if section.has("weights") else None,
            tissue_weights=tissue_weights,
            over_tissues=section.text("over_tissues", OVER_TISSUES, "sum"),
            per_time=section.flag("per_time", False),
        )


def _names(section: Section, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
    names = section.values.get(key)
    if names is None:
        return default
    choices = (*PARAMETERS, "ln_t1", "ln_t2", "ln_b1")
    if not isinstance(names, list):
        raise section.error(key, f"must be a list of names out of {', '.join(choices)}; got {names!r}")
    for name in names:
        if name not in choices:
            raise section.error(key, f"{name!r} must be one of {', '.join(choices)}")
    return tuple(names)


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


def _check_model(top: Section, file: DesignFile) -> None:
    """Find out now, and not after the search, whether the model knows sequence, tissues and parameters."""
    try:
        file.criterion.of(file.model, file.sequence)
    except ValueError as error:
        raise ProtocolError(f"{top.file}: the model cannot evaluate the sequence: {error}") from error
