"""Design of sequences: Cramer-Rao bounds, their optimisation under limits, and Pulseq files.

Units are seconds, radians, metres, tesla and Hz.
"""

from design.constraints import Limits
from design.crlb import Criterion, cramer_rao_bound, fisher_information
from design.errors import LimitError
from design.evolution import optimise_by_evolution
from design.gradient import optimise_by_gradient
from design.monte_carlo import MonteCarlo, monte_carlo
from design.objective import Objective
from design.parametrization import Curve, Parametrization, constant, free, published_spline, spline
from design.result import Design

__all__ = [
    "Criterion",
    "Curve",
    "Design",
    "LimitError",
    "Limits",
    "MonteCarlo",
    "Objective",
    "Parametrization",
    "constant",
    "cramer_rao_bound",
    "fisher_information",
    "free",
    "monte_carlo",
    "optimise_by_evolution",
    "optimise_by_gradient",
    "published_spline",
    "spline",
]
