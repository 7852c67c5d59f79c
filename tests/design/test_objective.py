"""The objective and its gradient, against the complex128 oracle and against the criterion itself."""

from dataclasses import dataclass

import numpy as np
import pytest

from design import Criterion, Objective, Parametrization, constant, free, spline
from epgbloch import EPGBloch, RFPulse, Sequence, Tissue
from epgbloch.reference import epg_bloch

N_PULSES = 10
RNG = np.random.default_rng(11)
PULSE = RFPulse.gaussian(1e-3, 5e-3, n_steps=4)
ON_RESONANCE = Tissue(t1=[0.3, 0.9], t2=[0.05, 0.2], b1=[0.9, 1.1])
OFF_RESONANCE = Tissue(t1=[0.3, 0.9], t2=[0.05, 0.2], b1=[0.9, 1.1], off_resonance=[8.0, -13.0])
CASES = {
    "real": ({}, ON_RESONANCE),
    "off-resonance": ({"phase": RNG.uniform(-2, 2, N_PULSES)}, OFF_RESONANCE),
    "RF spoiling": ({"spoiling": "rf"}, ON_RESONANCE),
    "balanced": ({"spoiling": "balanced", "phase": RNG.uniform(-2, 2, N_PULSES)}, OFF_RESONANCE),
    "selective": ({"pulse": PULSE}, ON_RESONANCE),
    "selective, off-resonance": ({"pulse": PULSE, "phase": RNG.uniform(-2, 2, N_PULSES)}, OFF_RESONANCE),
}
RELATIVE = 3e-4
"""Of the gradient against the oracle's: signals in single precision, amplified by the inverse of the
information (condition up to some 1000). Measured: up to 9e-5."""


@dataclass(frozen=True)
class Oracle:
    """Signals in double precision, with derivatives by central differences (error: 1e-8 relative)."""

    n_states: int
    n_subslices: int = 2

    def signal(self, sequence, tissue):
        return epg_bloch(sequence, tissue, n_states=self.n_states, n_subslices=self.n_subslices)

    def jacobian(self, sequence, tissue, wrt=("t1", "t2")):
        derivatives = []
        for name in wrt:
            plain = name.removeprefix("ln_")
            values = {k: getattr(tissue, k) for k in ("t1", "t2", "b1", "off_resonance")}
            step = np.full(tissue.n_atoms, 1e-3) if plain == "off_resonance" else 1e-4 * values[plain]

            def moved(k, plain=plain, values=values, step=step):
                return self.signal(sequence, Tissue(**values | {plain: values[plain] + k * step}))

            slope = (moved(1) - moved(-1)) / (2 * step[:, np.newaxis])
            derivatives.append(slope * values[plain][:, np.newaxis] if name.startswith("ln_") else slope)
        return self.signal(sequence, tissue), np.array(derivatives)


def problem(case, **options):
    """Objectives of all fields by the engine and by the oracle."""
    changes, tissue = CASES[case]
    sequence = Sequence(np.full(N_PULSES, 0.5), 10e-3, 4e-3, inversion_time=0.02, **changes)
    curves = {
        "flip_angle": free(N_PULSES, 0.1, 1.8),
        "tr": spline(N_PULSES, 5, 8e-3, 30e-3),
        "te": spline(N_PULSES, 4, 2e-3, 6e-3),
        "inversion_time": constant(1, 5e-3, 0.3),
    }
    if sequence.phase.any():
        curves["phase"] = free(N_PULSES, -3.0, 3.0)
    parametrization = Parametrization(sequence, curves)
    n_states = 1 if sequence.spoiling == "balanced" else N_PULSES // 2 + 1
    criterion = Criterion(tissue, **options)
    engine = EPGBloch(n_states=n_states, n_subslices=2)
    return tuple(Objective(model, criterion, parametrization) for model in (engine, Oracle(n_states)))


def directions(parametrization, rng):
    """One direction of parameters for each field."""
    first, result = 0, {}
    for name, curve in parametrization.curves.items():
        direction = np.zeros(parametrization.n_parameters)
        direction[first : first + curve.n_parameters] = rng.normal(size=curve.n_parameters)
        result[name] = direction
        first += curve.n_parameters
    return result


def slope(function, u, direction, step=3e-4):
    """Derivative along a direction, by central differences: step^2 and 1e-9 / step, both below 1e-5."""
    return (function(u + step * direction) - function(u - step * direction)) / (2 * step)


@pytest.mark.parametrize("case", CASES)
def test_the_gradient_is_that_of_the_oracle_for_every_field(case):
    engine, oracle = problem(case, nuisance=("b1",), proton_density="complex")
    rng = np.random.default_rng(0)
    u = rng.uniform(0.2, 0.8, engine.parametrization.n_parameters)
    value, gradient = engine.value_and_gradient(u)
    # the value itself: single precision, as the gradient
    assert value == pytest.approx(oracle.value(u), rel=RELATIVE)
    for name, direction in directions(engine.parametrization, rng).items():
        expected = slope(oracle.value, u, direction)
        # of the length of the gradient along the field, as cancellation within it cannot be better
        own = np.linalg.norm(gradient[direction != 0]) * np.linalg.norm(direction)
        assert gradient @ direction == pytest.approx(expected, abs=RELATIVE * own), name
        assert abs(expected) > 10 * RELATIVE * own, name  # the test could fail


@pytest.mark.parametrize(
    "options",
    [
        {"optimality": "D", "per_time": True},
        {"optimality": "E", "over_tissues": "worst", "per_time": True},
        {"over_tissues": "worst", "tissue_weights": [1.0, 3.0]},
        {"over_tissues": "mean", "weights": [1.0, 20.0], "proton_density": "known"},
        {"parameters": ("t1", "ln_t2", "ln_b1"), "nuisance": ("off_resonance",)},
        {"parameters": ("ln_t2",), "nuisance": ("t1",), "optimality": "D"},
    ],
    ids=lambda options: ", ".join(map(str, options.values())),
)
def test_the_gradient_is_that_of_the_oracle_for_every_criterion(options):
    engine, oracle = problem("off-resonance", **options)
    rng = np.random.default_rng(1)
    u = rng.uniform(0.2, 0.8, engine.parametrization.n_parameters)
    value, gradient = engine.value_and_gradient(u)
    assert value == pytest.approx(oracle.value(u), rel=RELATIVE)
    direction = sum(directions(engine.parametrization, rng).values())
    expected = slope(oracle.value, u, direction)
    own = np.linalg.norm(gradient) * np.linalg.norm(direction)
    assert gradient @ direction == pytest.approx(expected, abs=RELATIVE * own)
    assert abs(expected) > 10 * RELATIVE * own


def test_values_of_a_population_are_those_of_its_members():
    for curves in (
        {"flip_angle": spline(40, 4, 0.1, 1.5)},
        {"flip_angle": spline(40, 4, 0.1, 1.5), "tr": constant(40, 8e-3, 20e-3)},
    ):
        sequence = Sequence(np.full(40, 0.5), 10e-3, 4e-3, inversion_time=0.0)
        objective = Objective(
            EPGBloch(), Criterion(ON_RESONANCE, per_time=True), Parametrization(sequence, curves)
        )
        population = np.random.default_rng(2).uniform(size=(5, objective.parametrization.n_parameters))
        values = objective.values(population)
        assert values.shape == (5,)
        # single precision of the signals, if several trains share a kernel
        np.testing.assert_allclose(values, [objective.value(u) for u in population], rtol=1e-5)
        np.testing.assert_allclose(
            values, [objective.value_and_gradient(u)[0] for u in population], rtol=1e-5
        )
        assert objective.n_signals == 3 * 5 * ON_RESONANCE.n_atoms


def test_trains_of_a_model_that_takes_several_go_in_one_call():
    calls = []

    class Many(EPGBloch):
        def jacobian_of_trains(self, sequence, flip_angle, tissue, wrt=("t1", "t2")):
            calls.append(flip_angle.shape)
            results = [self.jacobian(Sequence(f, sequence.tr, sequence.te), tissue, wrt) for f in flip_angle]
            return np.stack([r[0] for r in results]), np.stack([r[1] for r in results], axis=1)

    sequence = Sequence(np.full(20, 0.5), 10e-3, 4e-3)
    parametrization = Parametrization(sequence, {"flip_angle": spline(20, 3, 0.1, 1.5)})
    objective = Objective(Many(), Criterion(ON_RESONANCE), parametrization)
    population = np.random.default_rng(3).uniform(size=(6, 3))
    values = objective.values(population)
    assert calls == [(6, 20)]
    assert objective.values(np.empty((0, 3))).shape == (0,)  # evolution asks so where no limits are kept
    assert len(calls) == 1
    assert objective.n_signals == 6 * ON_RESONANCE.n_atoms
    np.testing.assert_allclose(values, [objective.value(u) for u in population], rtol=1e-12)
    also_tr = Parametrization(sequence, parametrization.curves | {"tr": constant(20, 8e-3, 20e-3)})
    Objective(Many(), Criterion(ON_RESONANCE), also_tr).values(np.full((2, 4), 0.5))
    assert len(calls) == 1


def test_models_without_adjoint_have_values_only():
    engine, oracle = problem("real")
    assert engine.differentiable
    assert not oracle.differentiable


def test_where_nothing_is_determined_the_gradient_is_zero():
    sequence = Sequence([0.5], 10e-3, 4e-3)
    objective = Objective(
        EPGBloch(), Criterion(ON_RESONANCE), Parametrization(sequence, {"flip_angle": free(1, 0.1, 1.0)})
    )
    value, gradient = objective.value_and_gradient(np.array([0.5]))
    assert value == np.inf
    np.testing.assert_array_equal(gradient, [0.0])
