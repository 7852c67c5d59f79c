"""Design by gradients."""

from dataclasses import replace

import numpy as np
import pytest

from design import (
    Criterion,
    Limits,
    Objective,
    Parametrization,
    constant,
    free,
    optimise_by_evolution,
    optimise_by_gradient,
    spline,
)
from epgbloch import EPGBloch, Sequence, Tissue

N_PULSES = 40
TISSUE = Tissue(t1=[0.9, 0.5], t2=[0.085, 0.065])
MODEL = EPGBloch(n_threads=1)
BASE = Sequence(np.full(N_PULSES, 0.5), 10e-3, 4e-3, inversion_time=0.0)


def objective(curves=None, **options):
    curves = curves or {"flip_angle": spline(N_PULSES, 5, 0.0, 1.5)}
    return Objective(MODEL, Criterion(TISSUE, **options), Parametrization(BASE, curves))


class Memory:
    """Keeps parts; raises instead of computing more than `n_parts`."""

    def __init__(self, n_parts=None):
        self.parts, self.n_parts = {}, n_parts

    def __call__(self, name, compute):
        if name not in self.parts:
            if len(self.parts) == self.n_parts:
                raise KeyboardInterrupt
            self.parts[name] = compute()
        return self.parts[name]


@pytest.mark.parametrize("method", ["L-BFGS-B", "SLSQP", "trust-constr"])
def test_every_method_finds_the_best_flip_angle_and_tr(method):
    curves = {"flip_angle": constant(N_PULSES, 0.05, 2.8), "tr": constant(N_PULSES, 8e-3, 40e-3)}
    problem = objective(curves, per_time=True)
    axis = np.linspace(0, 1, 21)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    values = problem.values(grid)
    best = grid[np.argmin(values)]
    design = optimise_by_gradient(problem, method=method, n_starts=3, seed=1)
    # at most a step of the grid from the minimum, and no point of the grid is better
    assert design.value <= values.min() * (1 + 1e-6)  # single precision
    np.testing.assert_allclose(design.parameters, best, atol=1 / 20)
    assert design.message.startswith(f"{method} ")


def test_the_gradient_vanishes_at_a_minimum_inside():
    problem = objective({"flip_angle": constant(N_PULSES, 0.05, 2.8)})
    design = optimise_by_gradient(problem, n_starts=2)
    assert design.converged
    _, gradient = problem.value_and_gradient(design.parameters)
    _, beside = problem.value_and_gradient(design.parameters + 0.05)
    # values end some 1e-8 from the minimum, and gradients fall with the square root of that
    assert np.abs(gradient).max() < 1e-2 * np.abs(beside).max()


def test_an_interrupted_search_goes_on_to_the_same_design():
    def search(memory, problem):
        return optimise_by_gradient(problem, remember=memory, n_starts=4, max_iterations=15, seed=5)

    curves = {"flip_angle": free(N_PULSES, 0.0, 1.5)}
    whole = Memory()
    expected = search(whole, objective(curves))
    # four coarse starts, the best third of them, two, on the finer stage
    assert list(whole.parts) == [*(f"stage-0-{i}" for i in range(4)), "stage-1-0", "stage-1-1"]
    for n_parts in (2, 5):
        memory = Memory(n_parts)
        with pytest.raises(KeyboardInterrupt):
            search(memory, objective(curves))
        memory.n_parts = None
        design = search(memory, objective(curves))
        np.testing.assert_array_equal(design.parameters, expected.parameters)
        np.testing.assert_array_equal(design.history, expected.history)
        assert (design.value, design.message) == (expected.value, expected.message)


def test_equal_seeds_give_equal_designs_and_others_do_not():
    first, again, other = (
        optimise_by_gradient(objective(), n_starts=2, max_iterations=3, seed=seed) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.parameters, again.parameters)
    np.testing.assert_array_equal(first.history, again.history)
    assert np.any(first.parameters != other.parameters)


def test_histories_fall_and_count_every_signal():
    calls = []
    problem = objective({"flip_angle": free(N_PULSES, 0.0, 1.5)})
    design = optimise_by_gradient(
        problem, n_starts=3, max_iterations=10, progress=lambda done, most: calls.append((done, most))
    )
    signals, best = design.history.T
    np.testing.assert_array_equal(np.diff(signals), TISSUE.n_atoms)  # one step, one evaluation
    assert np.all(np.diff(best) <= 0)
    assert best[-1] == design.value < best[0]
    assert design.n_signals == problem.n_signals
    assert calls == [(i, 4) for i in range(1, 5)]
    assert design.value == pytest.approx(problem.criterion.of(MODEL, design.sequence), rel=1e-12)


def test_polishing_improves_a_design_by_evolution():
    problem = objective()
    rough = optimise_by_evolution(problem, population=3, max_generations=5, seed=2)
    polished = optimise_by_gradient(problem, start=rough.parameters)
    assert polished.value < rough.value
    np.testing.assert_allclose(
        polished.value, optimise_by_gradient(problem, start=rough.sequence).value, rtol=0.05
    )  # a train that is cut has other parameters
    assert polished.converged


@pytest.mark.parametrize("method", ["L-BFGS-B", "SLSQP", "trust-constr"])
def test_a_design_is_never_worse_than_its_start(method):
    # at the bounds, where searches begin a little inside; and at the minimum, which cannot improve
    problem = objective()
    minimum = optimise_by_gradient(problem, n_starts=3).parameters
    for u in (np.array([1.0, 0.0, 1.0, 0.0, 1.0]), minimum):
        design = optimise_by_gradient(problem, start=u, method=method, max_iterations=1)
        assert design.value <= problem.value(u)


def test_a_start_within_limits_is_not_left_for_a_worse_one():
    limits = Limits(maximum_change=0.05)
    curves = {"flip_angle": free(N_PULSES, 0.0, 1.5)}
    problem = objective(curves)
    start = replace(BASE, flip_angle=np.linspace(0.1, 1.4, N_PULSES))
    design = optimise_by_gradient(problem, start=start, limits=limits, max_iterations=2)
    limits.check(design.sequence)
    assert design.value <= problem.criterion.of(MODEL, start) * (1 + 1e-6)


def test_few_iterations_have_not_converged():
    design = optimise_by_gradient(objective(), n_starts=1, max_iterations=1)
    assert not design.converged
    assert design.message.startswith("L-BFGS-B stopped after 1 steps: ")


def test_a_looser_tolerance_ends_sooner():
    for method in ("L-BFGS-B", "SLSQP"):
        n = [
            optimise_by_gradient(objective(), n_starts=1, tolerance=tolerance, method=method).n_signals
            for tolerance in (1e-2, 1e-8)
        ]
        assert n[0] < n[1], method


def test_errors():
    class NoGradient:
        def signal(self, sequence, tissue):
            return MODEL.signal(sequence, tissue)

        def jacobian(self, sequence, tissue, wrt=("t1", "t2")):
            return MODEL.jacobian(sequence, tissue, wrt)

    without = Objective(NoGradient(), Criterion(TISSUE), objective().parametrization)
    with pytest.raises(ValueError, match="the model NoGradient has no derivatives by the sequence; use opti"):
        optimise_by_gradient(without)
    for arguments, message in (
        ({"n_starts": 0}, "n_starts=0 must be an integer of at least 1"),
        ({"max_iterations": 0}, "max_iterations=0 must be an integer of at least 1"),
        ({"tolerance": -1.0}, "tolerance=-1 must be positive"),
        ({"seed": -1}, "seed=-1 must be an integer of at least 0"),
        ({"method": "BFGS"}, "method='BFGS' must be one of L-BFGS-B, SLSQP, trust-constr"),
        (
            {"method": "L-BFGS-B", "limits": Limits(maximum_change=0.01)},
            "method='L-BFGS-B' knows no limits but bounds; use SLSQP or trust-constr",
        ),
        (
            {"start": Sequence(np.full(9, 0.5), 10e-3, 4e-3, inversion_time=0.0)},
            "start has 9 pulses; the design has 40",
        ),
        ({"start": [0.5, 0.5]}, "start has 2 values; give one for each parameter, 5"),
        ({"start": [0.5, 0.5, 0.5, 1.5, 0.5]}, r"start\[3\]=1.5 must be 0 to 1"),
    ):
        with pytest.raises(ValueError, match=message):
            optimise_by_gradient(objective(), **arguments)
    single = Objective(
        MODEL,
        Criterion(TISSUE),
        Parametrization(Sequence(0.5, 10e-3, 4e-3), {"flip_angle": free(1, 0.1, 1.0)}),
    )
    with pytest.raises(ValueError, match=r"infinite for every sequence.*use more pulses"):
        optimise_by_gradient(single)
