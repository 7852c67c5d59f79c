"""Design by exact gradients: quasi-Newton steps from several starts, from coarse curves to fine ones."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import OptimizeResult, minimize

from design.constraints import Limits
from design.objective import Objective
from design.parametrization import Parametrization
from design.result import Arrays, Design, Progress, Remember, forget, joined_histories, require_finite
from epgbloch import Sequence
from epgbloch._checks import positive_number, real_vector, require, require_count, require_seed

RealArray = NDArray[np.float64]

METHODS = ("L-BFGS-B", "SLSQP", "trust-constr")
_ROUGH = 100.0
"""Tolerance on coarse curves over that on the last one."""
_INSIDE = 1e-3
"""How far from its bounds a start is moved: where a curve is cut, the derivative vanishes."""


def optimise_by_gradient(
    objective: Objective,
    *,
    limits: Limits | None = None,
    start: Sequence | ArrayLike | None = None,
    n_starts: int = 6,
    method: str | None = None,
    max_iterations: int = 500,
    tolerance: float = 1e-8,
    seed: int = 0,
    remember: Remember = forget,
    progress: Progress | None = None,
) -> Design:
    """Minimise by quasi-Newton steps with the exact gradient of the model.

    Curves of many parameters are designed in stages: `n_starts` random starts of a spline with a third of
    the parameters (and again, until 20 or fewer are left); the best third of them begins the next finer
    stage, and so on. Coarse curves have fewer local minima, and random fine ones are far from all good ones.

    Parameters
    ----------
    objective : Objective
        What is minimised; its model needs the method `gradient`.
    limits : Limits, optional
        Constraints beyond the bounds of the parameters.
    start : array_like, shape (n_parameters,), or Sequence, optional
        Begin with these parameters u, or with those that come closest to a sequence, without stages: polishes
        another design. The result is no worse than u, if it keeps to the limits.
    n_starts : int
        Random starts; has no effect with `start`.
    method : {"L-BFGS-B", "SLSQP", "trust-constr"}, optional
        Method of `scipy.optimize.minimize`. Left out: SLSQP with constraints, L-BFGS-B without.
    max_iterations : int
        Of every start and stage.
    tolerance : float
        Relative change of the criterion at which a search ends; a hundred times as much on coarse curves.
    seed : int
        Equal seeds give equal designs.
    remember : callable, optional
        Keeps every start and stage, see `Remember`.
    progress : callable, optional
        Called as progress(starts and stages done, number of them).

    Returns
    -------
    Design
        The best sequence.

    Raises
    ------
    LimitError
        If no sequence within the bounds keeps to the limits, or none was found.
    ValueError
        If an option is out of range, or the model has no gradient.
    """
    if not objective.differentiable:
        raise ValueError(
            f"the model {type(objective.model).__name__} has no derivatives by the sequence; "
            "use optimise_by_evolution, or EPGBloch"
        )
    require_seed(seed)
    require_count("n_starts", n_starts)
    require_count("max_iterations", max_iterations)
    positive_number("tolerance", tolerance, "")
    if method is not None and method not in METHODS:
        raise ValueError(f"method={method!r} must be one of {', '.join(METHODS)}")
    limits = limits or Limits()
    limits.check_reachable(objective.parametrization)
    search = _Search(limits, method, max_iterations, tolerance)
    stages = _stages(objective.parametrization) if start is None else [objective.parametrization]
    if start is not None:
        starts = [_parameters(objective.parametrization, start)]
    else:
        starts = list(np.random.default_rng(seed).uniform(size=(n_starts, stages[0].n_parameters)))
    counts = [-(-len(starts) // 3**i) for i in range(len(stages))]
    histories: list[RealArray] = []
    for i, stage in enumerate(stages):
        rough = _ROUGH if i < len(stages) - 1 else 1.0
        found = []
        for j, u in enumerate(starts):
            own = Objective(objective.model, objective.criterion, stage)
            found.append(remember(f"stage-{i}-{j}", partial(search.minimise, own, u, rough)))
            histories.append(found[-1]["history"])
            if progress is not None:
                progress(len(histories), sum(counts))
        found.sort(key=lambda result: float(result["value"]))
        if i < len(stages) - 1:
            finer = stages[i + 1]
            starts = [finer.parameters_of(stage.sequence_of(f["u"])) for f in found[: counts[i + 1]]]
    best = found[0]
    sequence = objective.parametrization.sequence_of(best["u"])
    limits.check(sequence)
    require_finite(float(best["value"]))
    history = joined_histories(histories)
    objective.n_signals += int(history[-1, 0])
    return Design(
        sequence, best["u"], float(best["value"]), history, bool(best["converged"]), str(best["message"])
    )


def _parameters(parametrization: Parametrization, start: Sequence | ArrayLike) -> RealArray:
    if isinstance(start, Sequence):
        n = parametrization.sequence.n_pulses
        if start.n_pulses != n:
            raise ValueError(f"start has {start.n_pulses} pulses; the design has {n}: give it as many")
        return parametrization.parameters_of(start)
    u = real_vector("start", start, "units of the bounds")
    if u.size != parametrization.n_parameters:
        raise ValueError(
            f"start has {u.size} values; give one for each parameter, {parametrization.n_parameters}"
        )
    require("start", u, (u >= 0) & (u <= 1), "0 to 1", "0 and 1 are the bounds of the parameters")
    return u


def _stages(parametrization: Parametrization) -> list[Parametrization]:
    """From coarse to fine."""
    stages = [parametrization]
    while (coarser := stages[0].coarser()).n_parameters < stages[0].n_parameters:
        stages.insert(0, coarser)
    return stages


@dataclass(frozen=True)
class _Search:
    """One minimisation with the options of `optimise_by_gradient`."""

    limits: Limits
    method: str | None
    max_iterations: int
    tolerance: float

    def minimise(self, objective: Objective, u: RealArray, factor: float) -> Arrays:
        """Minimise from u; `factor` multiplies the tolerance. The value is infinite if no limits are kept.

        The logarithm is minimised: its changes are relative, and SLSQP fails where values span decades.
        """
        parametrization = objective.parametrization
        constraints = self.limits.constraints(parametrization)
        method = self.method or ("SLSQP" if constraints else "L-BFGS-B")
        if constraints and method == "L-BFGS-B":
            raise ValueError("method='L-BFGS-B' knows no limits but bounds; use SLSQP or trust-constr")
        history: list[tuple[int, float]] = []
        best, lowest = u, np.inf

        def value_and_gradient(u: RealArray) -> tuple[float, RealArray]:
            nonlocal best, lowest
            u = np.clip(u, 0.0, 1.0)
            value, gradient = objective.value_and_gradient(u)
            if value < lowest and (not constraints or self.limits.kept_by(parametrization.sequence_of(u))):
                best, lowest = u, value
            history.append((objective.n_signals, lowest))
            return float(np.log(value)), gradient / value

        tolerance = self.tolerance * factor
        options = {
            "L-BFGS-B": {"ftol": tolerance, "gtol": 1e-9, "maxcor": 20, "maxfun": 10 * self.max_iterations},
            "SLSQP": {"ftol": tolerance},
            "trust-constr": {"xtol": tolerance, "gtol": tolerance},
        }[method]
        start = np.clip(u, _INSIDE, 1 - _INSIDE)
        if not np.array_equal(start, u):
            value_and_gradient(u)  # a design is never worse than its start
        with warnings.catch_warnings():
            # of quasi-Newton updates that trust-constr leaves out, as for constraints that are linear
            warnings.filterwarnings("ignore", "delta_grad == 0.0", UserWarning)
            result: OptimizeResult = minimize(
                value_and_gradient,
                start,
                jac=True,
                method=method,
                bounds=[(0.0, 1.0)] * u.size,
                constraints=constraints,
                options={**options, "maxiter": self.max_iterations},
            )
        end = np.clip(result.x, 0.0, 1.0)
        inside = self.limits.moved_inside(parametrization, end)
        if not np.array_equal(inside, end):  # SLSQP may end beyond a limit, by 1e-4 or more
            value_and_gradient(inside)
        return {
            "u": best if np.isfinite(lowest) else inside,
            "value": np.array(lowest),
            "history": np.array(history),
            "converged": np.array(_converged(method, result)),
            "message": np.array(_message(method, result)),
        }


def _converged(method: str, result: OptimizeResult) -> bool:
    # 2: the line search ends at a kink, where a curve is cut, or in the rounding of float32
    return bool(result.success) or (method == "L-BFGS-B" and result.status == 2)


def _message(method: str, result: OptimizeResult) -> str:
    if _converged(method, result):
        return f"{method} converged after {result.nit} steps"
    return f"{method} stopped after {result.nit} steps: {str(result.message).lower()}"
