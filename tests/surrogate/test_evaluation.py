"""Held-out signals, the outputs of both cells, and the tables of errors."""

from dataclasses import replace

import numpy as np
import pytest

from epgbloch import EPGBloch, RFPulse
from surrogate import FAMILIES, Dataset, NetworkSize, Ranges, Recipe, Weights, seed_key
from surrogate.batches import batch_of
from surrogate.errors import SignalErrors
from surrogate.evaluation import (
    PUBLISHED,
    EvaluationError,
    Predictor,
    by_condition,
    by_family,
    error_map,
    evaluate_dataset,
    held_out_rows,
    recipe_of,
    trained_signals,
    unseen_seed,
)
from surrogate.network import build_network, network_of, network_variables


def untrained(size, recipe, n_training=10, n_validation=3):
    """Weights that say they were trained on the first signals of a recipe."""
    arrays = tuple(v.numpy() for v in network_variables(build_network(size, recipe.ranges, 3)))
    card = {
        "data": {"recipe": recipe.to_dict(), "sha256": ""},
        "training": {"training_signals": n_training, "validation_signals": n_validation},
    }
    return Weights(size, recipe.ranges, arrays, card)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_outputs_are_those_of_keras(dataset, recipe, cell):
    weights = untrained(NetworkSize(2, 7, cell), recipe)
    batch = batch_of(dataset, slice(5), dataset.n_pulses)
    expected = network_of(weights).predict_on_batch({"pulses": batch.pulses, "initial": batch.initial})
    outputs = Predictor(weights, n_threads=2).outputs(batch.pulses, batch.initial)
    # float32 with sums in another order, over 101 pulses
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-5)


def test_held_out_rows_are_those_behind_training_and_validation(dataset, recipe):
    np.testing.assert_array_equal(held_out_rows(untrained(NetworkSize(1, 4), recipe), dataset), range(13, 24))


def test_signals_are_recognised_by_their_seed_wherever_they_stand(dataset, recipe):
    order = np.random.default_rng(0).permutation(24)
    shuffled = dataset[order]
    rows = held_out_rows(untrained(NetworkSize(1, 4), recipe), shuffled)
    keys = {tuple(seed_key(recipe.seed, i)) for i in range(13)}
    assert rows.size == 11
    assert not keys & {tuple(key) for key in shuffled.seed_key[rows]}


def test_all_signals_of_another_seed_are_held_out(dataset, recipe):
    weights = untrained(NetworkSize(1, 4), replace(recipe, seed=recipe.seed + 1))
    assert held_out_rows(weights, dataset).size == 24


def test_signals_of_earlier_trainings_are_not_held_out(dataset, recipe):
    """Trained on seed 5 (the data set), then on 6, 6 again with data that are not told, and 9."""

    def card(seed, n_training, start=None):
        data = None if seed is None else {"recipe": {"seed": seed}}
        training = {"training_signals": n_training, "validation_signals": 2}
        return {"data": data, "training": training, "trained": {}, "start": start}

    weights = untrained(NetworkSize(1, 4), replace(recipe, seed=9))
    chain = card(6, 3, card(None, 8, card(5, 10)))
    weights = replace(weights, card=weights.card | {"start": chain})
    assert trained_signals(weights) == {9: 13, 6: 10, 5: 12}
    assert unseen_seed(weights) == 10
    np.testing.assert_array_equal(held_out_rows(weights, dataset), range(12, 24))
    chain["training"] = None
    with pytest.raises(EvaluationError, match="how the weights were trained that they were started from"):
        held_out_rows(weights, dataset)


def test_too_few_held_out_signals(dataset, recipe):
    with pytest.raises(EvaluationError, match=r"4 of 24 signals .* of family piece_constant5; give"):
        held_out_rows(untrained(NetworkSize(1, 4), recipe, 16, 4), dataset)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"ranges": Ranges(t1=(0.1, 4.0))}, "ranges"),
        ({"pulse": RFPulse.gaussian(1e-3, 4e-3)}, "pulse"),
        ({"model": EPGBloch(n_states=9, n_subslices=8)}, "model"),
    ],
)
def test_data_of_another_kind_are_refused(dataset, recipe, change, name):
    weights = untrained(NetworkSize(1, 4), replace(recipe, **change))
    with pytest.raises(EvaluationError, match=f"trained on signals with {name}="):
        held_out_rows(weights, dataset)


@pytest.mark.parametrize(
    "pulse",
    [
        RFPulse.gaussian(1e-3, 5e-3, time_bandwidth_product=2.5),
        RFPulse.sinc(8e-4, 3e-3),
        RFPulse.rectangular(5e-4, n_steps=50),
        RFPulse.from_samples([1.0, 2.5, 1.0, 0.5], 1e-3, 2e3, 3e-3, center=4e-4),
    ],
    ids=lambda pulse: pulse.name,
)
def test_recipe_of_the_card(pulse):
    recipe = Recipe(24, 120, 5, Ranges(t2=(0.02, 0.3)), pulse, EPGBloch(n_states=7))
    found = recipe_of(untrained(NetworkSize(1, 4), recipe))
    assert found.to_dict() == recipe.to_dict()


@pytest.mark.parametrize("card", [{}, {"data": "unknown"}, {"data": {"sha256": ""}}])
def test_weights_without_recipe_are_refused(recipe, card):
    weights = replace(untrained(NetworkSize(1, 4), recipe), card=card)
    with pytest.raises(EvaluationError, match=r"the card of the weights has no data\.recipe; evaluate"):
        recipe_of(weights)


def test_first_cards_have_the_default_waveform(recipe):
    values = recipe.to_dict()
    del values["pulse"]["waveform"]
    weights = replace(untrained(NetworkSize(1, 4), recipe), card={"data": {"recipe": values}})
    assert recipe_of(weights).pulse.fingerprint() == recipe.pulse.fingerprint()
    values["pulse"]["fingerprint"] = RFPulse.gaussian(2e-3, 3e-3).fingerprint()
    with pytest.raises(EvaluationError, match="does not hold their RF pulse of fingerprint"):
        recipe_of(weights)


def test_errors_are_those_of_the_network(dataset, recipe):
    weights = untrained(NetworkSize(1, 4), recipe)
    rows, told = held_out_rows(weights, dataset), []
    errors = evaluate_dataset(Predictor(weights), dataset, rows, lambda *done: told.append(done))
    batch = batch_of(dataset, rows, dataset.n_pulses)
    outputs = network_of(weights).predict_on_batch({"pulses": batch.pulses, "initial": batch.initial})
    expected = np.linalg.norm((outputs - batch.targets)[..., 0]) / np.linalg.norm(batch.targets[..., 0])
    np.testing.assert_allclose(errors.nrmse()[0], expected, rtol=1e-4)  # float32 against float32
    assert told == [(11, 11)]


def made_errors(scale):
    """Errors of `scale` times the truth, signal by signal."""
    truth = np.random.default_rng(2).normal(size=(len(scale), 5, 3))
    return SignalErrors.of(truth * (1 + np.asarray(scale)[:, None, None]), truth)


def test_families_stand_beside_the_published_errors():
    family = np.arange(10, dtype=np.uint8) % 5
    scale = np.array([0.004, 0.006, 0.009, 0.01, 0.045])[family]
    table = by_family(made_errors(scale), family)
    assert list(table) == list(FAMILIES) == list(PUBLISHED)
    for i, entry in enumerate(table.values()):
        np.testing.assert_allclose(entry["nrmse"], scale[i], rtol=1e-9)  # double precision
        assert entry["signals"] == 2
    assert table["spline5"]["published"] == [0.00418, 0.00801]
    assert [entry["met"] for entry in table.values()] == [
        [True, True],
        [False, True],
        [False, True],
        [True, True],
        [True, False],
    ]


def test_conditions(dataset):
    scale = np.where(np.ptp(dataset.tr, axis=1) == 0, 0.1, 0.2)
    table = by_condition(made_errors(scale), dataset, np.arange(24))
    np.testing.assert_allclose(table["constant_times"]["nrmse"], 0.1)
    np.testing.assert_allclose(table["varying_times"]["nrmse"], 0.2)
    inverted = int(np.isfinite(dataset.inversion_time).sum())
    assert (table["inversion"]["signals"], table["no_inversion"]["signals"]) == (inverted, 24 - inverted)


def test_map_bins_by_logarithm():
    ranges = Ranges(t1=(0.1, 10.0), t2=(0.01, 1.0))
    t1, t2 = (np.array(v, np.float32) for v in ([0.2, 0.9, 2.0, 10.0], [0.01, 0.05, 0.05, 1.0]))
    found = error_map(made_errors([0.1, 0.1, 0.2, 0.3]), t1, t2, ranges, n_bins=2)
    np.testing.assert_allclose(found["t1_edges"], [0.1, 1, 10])
    np.testing.assert_allclose(found["t2_edges"], [0.01, 0.1, 1])
    assert found["counts"] == [[2, 0], [1, 1]]
    for name in ("signal", "derivative"):
        values = np.array(found[name], float)
        np.testing.assert_allclose(values, [[0.1, np.nan], [0.2, 0.3]])


def test_map_of_a_fixed_time_has_one_bin():
    ranges = Ranges(t1=(1.0, 1.0), t2=(0.01, 1.0))
    t1, t2 = np.ones(3, np.float32), np.array([0.02, 0.05, 0.5], np.float32)
    found = error_map(made_errors([0.1, 0.1, 0.2]), t1, t2, ranges, n_bins=2)
    assert found["t1_edges"][0] < 1 < found["t1_edges"][1]
    assert found["counts"] == [[2, 1]]
    np.testing.assert_allclose(found["signal"], [[0.1, 0.2]])


def test_subsets_of_data_sets_are_data_sets(dataset):
    assert isinstance(dataset[np.array([3, 1])], Dataset)
