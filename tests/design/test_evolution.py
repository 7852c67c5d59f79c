"""Design by differential evolution."""

import numpy as np
import pytest

from design import (
    Criterion,
    LimitError,
    Limits,
    Objective,
    Parametrization,
    constant,
    free,
    optimise_by_evolution,
    published_spline,
)
from epgbloch import EPGBloch, Sequence, Tissue

N_PULSES = 30
TISSUE = Tissue(t1=[0.9, 0.5], t2=[0.085, 0.065])
MODEL = EPGBloch(n_threads=1)
BASE = Sequence(np.full(N_PULSES, 0.5), 10e-3, 4e-3, inversion_time=0.0)


def objective(**curves):
    curves = curves or {"flip_angle": published_spline(N_PULSES, 1.5, n_points=4)}
    return Objective(MODEL, Criterion(TISSUE, per_time=True), Parametrization(BASE, curves))


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


OPTIONS = {"population": 4, "tolerance": 1e-9, "max_generations": 110, "seed": 3}


def test_an_interrupted_search_goes_on_to_the_same_design():
    whole = Memory()
    expected = optimise_by_evolution(objective(), remember=whole, **OPTIONS)
    assert list(whole.parts) == ["generation-0", "generation-50", "generation-100"]
    for n_parts in (1, 2):
        memory = Memory(n_parts)
        with pytest.raises(KeyboardInterrupt):
            optimise_by_evolution(objective(), remember=memory, **OPTIONS)
        memory.n_parts = None
        design = optimise_by_evolution(objective(), remember=memory, **OPTIONS)
        np.testing.assert_array_equal(design.parameters, expected.parameters)
        np.testing.assert_array_equal(design.history, expected.history)
        assert (design.value, design.message) == (expected.value, expected.message)
    # a finished search needs no signals
    problem = objective()
    again = optimise_by_evolution(problem, remember=whole, **OPTIONS)
    assert problem.n_signals == 0
    np.testing.assert_array_equal(again.sequence.flip_angle, expected.sequence.flip_angle)


def test_equal_seeds_give_equal_designs_and_others_do_not():
    options = OPTIONS | {"max_generations": 3}
    first = optimise_by_evolution(objective(), **options)
    again = optimise_by_evolution(objective(), **options)
    np.testing.assert_array_equal(first.parameters, again.parameters)
    np.testing.assert_array_equal(first.history, again.history)
    other = optimise_by_evolution(objective(), **(options | {"seed": 4}))
    assert np.all(first.parameters != other.parameters)


def test_histories_fall_and_count_every_signal():
    calls = []
    problem = objective()
    design = optimise_by_evolution(problem, progress=lambda done, most: calls.append((done, most)), **OPTIONS)
    signals, best = design.history.T
    assert np.all(np.diff(signals) >= 0)
    assert np.all(np.diff(best) <= 0)
    assert best[-1] == design.value < best[0]
    # 4 candidates for each of 4 parameters, 2 tissues: 110 generations, and the first of each of 3 legs
    assert design.n_signals == problem.n_signals == (110 + 3) * 16 * 2
    assert calls == [(i, 110) for i in range(1, 111)]
    assert not design.converged
    assert design.message == "stopped after 110 generations"
    assert design.value == pytest.approx(problem.criterion.of(MODEL, design.sequence), rel=1e-12)


def test_the_best_constant_flip_angle_is_found():
    problem = objective(flip_angle=constant(N_PULSES, 0.0, 2.8))
    design = optimise_by_evolution(problem, tolerance=1e-4, seed=1)
    assert design.converged
    assert design.message.startswith("converged after")
    grid = np.linspace(0, 1, 601)[1:]
    values = problem.values(grid[:, np.newaxis])
    # the minimum of the grid is as far from the true one as half its step, in a parabola
    assert design.value <= values.min() * (1 + 1e-6)
    assert abs(design.parameters[0] - grid[np.argmin(values)]) < 1 / 600


def test_tolerance_ends_the_search():
    n = [
        optimise_by_evolution(objective(), tolerance=tolerance, seed=1).n_signals
        for tolerance in (0.1, 0.002)
    ]
    assert n[0] < n[1]


def test_errors():
    for arguments, message in (
        ({"population": 0}, "population=0 must be an integer of at least 1"),
        ({"max_generations": 1.5}, "max_generations=1.5 must be an integer of at least 1"),
        ({"tolerance": 0.0}, "tolerance=0 must be positive"),
        ({"seed": -1}, "seed=-1 must be an integer of at least 0"),
    ):
        with pytest.raises(ValueError, match=message):
            optimise_by_evolution(objective(), **arguments)
    single = Objective(
        MODEL,
        Criterion(TISSUE),
        Parametrization(Sequence(0.5, 10e-3, 4e-3), {"flip_angle": free(1, 0.1, 1.0)}),
    )
    with pytest.raises(ValueError, match=r"infinite for every sequence.*use more pulses"):
        optimise_by_evolution(single, max_generations=2)
    with pytest.raises(ValueError, match="needs pulses of finite duration"):
        optimise_by_evolution(objective(), limits=Limits(maximum_b1_rms=1e-6))


def test_a_search_too_short_for_its_limits_says_so():
    with pytest.raises(LimitError, match="no candidate keeps to the limits after 1 generations; take more"):
        optimise_by_evolution(
            objective(), limits=Limits(maximum_change=1e-3), population=2, max_generations=1
        )
