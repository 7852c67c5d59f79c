"""The sections ``tissues`` and ``criterion`` of a design file."""

from __future__ import annotations

from design import Criterion
from design.crlb import OPTIMALITIES, OVER_TISSUES, PROTON_DENSITIES
from design.tissues import sample_tissues
from epgbloch import Tissue
from epgbloch.engine import PARAMETERS
from jobs.protocol_values import Section


def criterion_of(top: Section) -> Criterion:
    """Criterion of the sections ``tissues`` and ``criterion`` of a file.

    Raises
    ------
    ProtocolError
        If a key is missing, unknown or out of range.
    """
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
