"""The networks that come with the package, against the engine."""

from dataclasses import replace
from pathlib import Path

import pytest

import surrogate
from surrogate import read_weights, shipped_networks
from surrogate.evaluation import Predictor, recipe_of, unseen_seed
from surrogate.probes import Probes

FOLDER = Path(surrogate.__file__).parent / "trained"
EXPECTED = {"published": (16_643, 0.015, 0.03), "small": (4483, 0.02, 0.04)}
"""Parameters, and the largest NRMSE of signals and derivatives.

About twice the errors over 1000 validation signals in the cards of the first weights: 0.77 % and 1.42 %,
1.07 % and 1.96 %; 50 signals scatter.
"""


def test_every_file_is_expected_and_light():
    assert shipped_networks() == tuple(EXPECTED)
    for path in FOLDER.iterdir():
        assert path.suffix == ".npz"
        assert path.stat().st_size < 1e6


@pytest.mark.parametrize("name", EXPECTED)
def test_error_on_signals_that_were_not_trained_on(name):
    weights = read_weights(FOLDER / f"{name}.npz")
    n_parameters, *limits = EXPECTED[name]
    assert sum(array.size for array in weights.arrays) == n_parameters
    recipe = replace(recipe_of(weights), seed=unseen_seed(weights))
    probes = Probes(Predictor(weights, n_threads=2), recipe, n_signals=50)
    for error, limit in zip(probes.errors(probes.draws(recipe.n_pulses)).nrmse(), limits, strict=True):
        assert error < limit
