"""Design by differential evolution: no derivatives by the sequence, the whole population in one call."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import differential_evolution

from design.constraints import Limits
from design.errors import LimitError
from design.objective import Objective
from design.result import Arrays, Design, Progress, Remember, forget, joined_histories, require_finite
from epgbloch._checks import positive_number, require_count, require_seed

RealArray = NDArray[np.float64]

_LEG = 50
"""Generations of one search of scipy; the next begins with its population. What is remembered are legs."""


def optimise_by_evolution(
    objective: Objective,
    *,
    limits: Limits | None = None,
    population: int = 10,
    tolerance: float = 0.002,
    max_generations: int = 1000,
    seed: int = 0,
    remember: Remember = forget,
    progress: Progress | None = None,
) -> Design:
    """Minimise by scipy's differential evolution (best1bin, dithered), as Liu et al. designed.

    Parameters
    ----------
    objective : Objective
        What is minimised; one call of `Objective.values` a generation.
    limits : Limits, optional
        Constraints beyond the bounds of the parameters.
    population : int
        Candidates for each parameter.
    tolerance : float
        The search has converged when the values of the population deviate by less than this fraction of
        their mean (standard deviation).
    max_generations : int
        Where to stop at the latest.
    seed : int
        Equal seeds give equal designs.
    remember : callable, optional
        Keeps each 50 generations, see `Remember`; a search that goes on finds the same design as one that was
        never interrupted.
    progress : callable, optional
        Called as progress(generations done, max_generations).

    Returns
    -------
    Design
        The best candidate.

    Raises
    ------
    LimitError
        If no sequence within the bounds keeps to the limits, or none was found.
    ValueError
        If an option is out of range.

    References
    ----------
    Liu H et al., NMR Biomed 2021, e4527, section 3.3.2: population 10, tolerance 0.002, 1000 generations.
    """
    require_seed(seed)
    require_count("population", population)
    require_count("max_generations", max_generations)
    positive_number("tolerance", tolerance, "")
    limits = limits or Limits()
    limits.check_reachable(objective.parametrization)
    constraints = tuple(limits.constraints(objective.parametrization))
    n_parameters = objective.parametrization.n_parameters
    candidates: RealArray | None = None
    histories: list[RealArray] = []
    done = 0

    def leg() -> Arrays:
        history: list[tuple[int, float]] = []
        n_before = objective.n_signals

        def report(intermediate_result) -> None:  # type: ignore[no-untyped-def]  # scipy looks at the name
            history.append((objective.n_signals - n_before, float(intermediate_result.fun)))
            if progress is not None:
                progress(done + len(history), max_generations)

        result = differential_evolution(
            lambda u: objective.values(u.T),
            [(0.0, 1.0)] * n_parameters,
            maxiter=min(_LEG, max_generations - done),
            popsize=population,
            tol=tolerance,
            rng=np.random.default_rng([seed, done]),
            init="latinhypercube" if candidates is None else candidates,
            constraints=constraints,
            callback=report,
            vectorized=True,
            updating="deferred",
            polish=False,
        )
        history.append((objective.n_signals - n_before, float(result.fun)))
        return {
            "population": result.population,
            "best": result.x,
            "value": np.array(float(result.fun)),
            "history": np.array(history),
            "converged": np.array(bool(result.success)),
            "n_generations": np.array(result.nit),
        }

    while True:
        arrays = remember(f"generation-{done}", leg)
        histories.append(arrays["history"])
        candidates = arrays["population"]
        done += int(arrays["n_generations"])
        converged = bool(arrays["converged"])
        if converged or done >= max_generations:
            break
    sequence = objective.parametrization.sequence_of(arrays["best"])
    try:
        limits.check(sequence)
    except LimitError as error:
        raise LimitError(
            f"no candidate keeps to the limits after {done} generations; take more generations or a larger "
            f"population, or optimise_by_gradient. The best candidate: {error}",
            limit=error.limit,
        ) from error
    require_finite(float(arrays["value"]))
    return Design(
        sequence,
        arrays["best"],
        float(arrays["value"]),
        joined_histories(histories),
        converged,
        f"converged after {done} generations" if converged else f"stopped after {done} generations",
    )
