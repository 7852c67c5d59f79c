"""The section ``reconstruction.admm`` of a protocol."""

from __future__ import annotations

from jobs.protocol_values import Section
from reconstruction.admm import AdmmSettings
from reconstruction.regularisation import JointTotalVariation, LocallyLowRank, Regularisation

METHODS = ("low-rank", "lr-admm")
"""Methods of reconstruction: low-rank inversion, and LR-ADMM after it."""

_DEFAULTS = AdmmSettings()


def read_admm(reconstruction: Section) -> AdmmSettings:
    """Settings of LR-ADMM; the defaults where there is no section.

    Raises
    ------
    ProtocolError
        If a key is unknown or a value out of range.
    """
    keys = ("mu", "iterations", "inner_iterations", "tolerance", "dual_bound")
    section = reconstruction.section("admm", (*keys, "total_variation", "locally_low_rank", "block"))
    with section.located():
        return AdmmSettings(
            mu=section.number("mu", _DEFAULTS.mu, above=0),
            n_iterations=section.count("iterations", _DEFAULTS.n_iterations),
            n_inner=section.count("inner_iterations", _DEFAULTS.n_inner),
            tolerance=section.number("tolerance", _DEFAULTS.tolerance, at_least=0),
            dual_bound=section.number("dual_bound", _DEFAULTS.dual_bound, above=0),
            regularisation=_regularisation(section),
        )


def _regularisation(section: Section) -> Regularisation | None:
    if section.has("total_variation") and section.has("locally_low_rank"):
        raise section.error("locally_low_rank", "one regularisation at a time; remove it or total_variation")
    if section.has("block") and not section.has("locally_low_rank"):
        raise section.error("block", "is the block width of locally_low_rank; remove it or add the weight")
    if section.has("locally_low_rank"):
        weight = section.number("locally_low_rank", 0.0, above=0)
        return LocallyLowRank(weight, block=section.count("block", LocallyLowRank.block, at_least=2))
    if not section.has("total_variation"):
        return _DEFAULTS.regularisation
    weight = section.number("total_variation", 0.0, at_least=0)
    return JointTotalVariation(weight) if weight > 0 else None
