"""Cases outside of the training, against the engine and the data set's own path."""

from dataclasses import replace

import numpy as np
import pytest

from epgbloch import RFPulse, Tissue
from surrogate import NetworkSize, Ranges, draw
from surrogate.batches import batch_of
from surrogate.evaluation import Predictor
from surrogate.features import network_inputs
from surrogate.probes import FACTORS, LENGTHS, OUTSIDE, Probes


@pytest.fixture(scope="module")
def probes(recipe, random_weights):
    unseen = replace(recipe, seed=recipe.seed + 1)
    return Probes(Predictor(random_weights(NetworkSize(1, 4))), unseen, n_signals=5)


def test_inputs_and_truth_are_those_of_the_data_set(probes, dataset, recipe):
    drawn = [draw(recipe.seed, i, recipe.n_pulses, recipe.pulse, recipe.ranges) for i in range(24)]
    cases = [(one.sequence, one.tissue) for one in drawn]
    batch = batch_of(dataset, slice(None), recipe.n_pulses)
    pulses, initial = map(np.concatenate, zip(*(network_inputs(*case) for case in cases), strict=True))
    np.testing.assert_allclose(pulses, batch.pulses, rtol=1e-6, atol=1e-7)  # the data set rounds to float32
    np.testing.assert_allclose(initial, batch.initial, rtol=1e-6, atol=1e-7)
    outputs, truth = probes.compare(cases)
    np.testing.assert_array_equal(truth, batch.targets)
    expected = probes.predictor.outputs(batch.pulses, batch.initial)
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-5)  # of inputs that differ by rounding


def test_b1_scales_the_flip_angles(probes):
    sequence, tissue = probes.draws(101)[0]
    pulses, plain = (network_inputs(sequence, Tissue(tissue.t1, tissue.t2, b1=b1))[0] for b1 in (0.8, 1))
    np.testing.assert_allclose(pulses[..., 4], 0.8 * plain[..., 4], rtol=1e-6)  # float32


def test_no_case_is_of_the_training(probes, recipe):
    trained, tested = (
        {float(draw(seed, i, 101, None, recipe.ranges).tissue.t1[0]) for i in range(24)}
        for seed in (recipe.seed, probes.recipe.seed)
    )
    drawn = {float(tissue.t1[0]) for _, tissue in probes.draws(101)}
    assert not drawn & trained
    assert not drawn & tested  # nor of the test signals, which have the same seed


def test_lengths(probes):
    found = probes.lengths()
    assert [row["pulses"] for row in found["rows"]] == [101, *LENGTHS]
    for row in found["rows"]:
        assert row["signals"] == 5
    outputs, truth = probes.compare(probes.draws(LENGTHS[-1]))
    np.testing.assert_allclose(found["drift"]["pulse"][:2], [59, 177])  # windows of 118 pulses
    window = slice(118, 236)
    error = np.sqrt(np.mean((outputs - truth)[:, window, 0].astype(float) ** 2))
    np.testing.assert_allclose(found["drift"]["error"][1], error, rtol=1e-6)  # the difference is float32
    expected = np.linalg.norm((outputs - truth)[:, -100:, 0]) / np.linalg.norm(truth[:, -100:, 0])
    np.testing.assert_allclose(found["rows"][-1]["end"][0], expected, rtol=1e-5)  # float32


def test_mixed_trains_change_their_family(probes, monkeypatch):
    seen = []
    monkeypatch.setattr(Probes, "errors", lambda self, cases: seen.append(cases) or _NoErrors())
    probes.mixtures()
    assert [{sequence.n_pulses for sequence, _ in cases} for cases in seen] == [{202}, {1500}]
    train = seen[1][0][0].flip_angle
    assert np.unique(np.round(train[750:], 9)).size <= 5
    assert np.unique(np.round(train[:750], 9)).size > 300


class _NoErrors:
    def summary(self):
        return {}


def test_outside_moves_one_quantity(probes, recipe, monkeypatch):
    seen = []
    monkeypatch.setattr(Probes, "errors", lambda self, cases: seen.append(cases) or _NoErrors())
    found = probes.outside()
    assert [e["factor"] for e in found["t1_above"]] == list(FACTORS)
    np.testing.assert_allclose([e["value"] for e in found["t1_below"]], 0.1 / np.array(FACTORS))
    np.testing.assert_allclose([e["value"] for e in found["t2_above"]], 2 * np.array(FACTORS))
    np.testing.assert_allclose([e["value"] for e in found["t2_below"]], 0.01 / np.array(FACTORS))
    by_name = dict(
        zip([(n, e["factor"]) for n, es in found.items() for e in es], seen, strict=True)
    )  # in the order of calls
    for _, tissue in by_name["t2_above", 2.0]:
        assert tissue.t2[0] == pytest.approx(4.0)
        assert tissue.t1[0] >= 4.0
    for _, tissue in by_name["t2_below", 2.0]:
        assert tissue.t2[0] == pytest.approx(0.005)
        assert recipe.ranges.t1[0] <= tissue.t1[0] <= recipe.ranges.t1[1]
    for _, tissue in by_name["t1_below", 2.0]:
        assert tissue.t1[0] == pytest.approx(0.05)
        assert tissue.t2[0] <= 0.05
    for sequence, tissue in by_name["tr_above", 1.5]:
        np.testing.assert_allclose(sequence.tr, 0.03)
        assert recipe.ranges.t1[0] <= tissue.t1[0] <= recipe.ranges.t1[1]
    for sequence, _ in by_name["te_over_tr_below", 2.0]:
        np.testing.assert_allclose(sequence.te, 0.15 * sequence.tr)
    for sequence, _ in by_name["inversion_time_above", 1.1]:
        assert sequence.inversion_time == pytest.approx(0.055)
        assert recipe.ranges.inversion_efficiency[0] <= sequence.inversion_efficiency <= 1
    for sequence, _ in by_name["inversion_efficiency_below", 1.5]:
        assert sequence.inversion_efficiency == pytest.approx(0.6)
        assert sequence.inversion_time is not None
    largest = max(s.flip_angle.max() for s, _ in by_name["flip_angle_above", 1.5])
    assert recipe.ranges.largest_flip_angle < largest <= 1.5 * recipe.ranges.largest_flip_angle


def test_what_cannot_be_is_left_out(probes, recipe, monkeypatch):
    monkeypatch.setattr(Probes, "errors", lambda self, cases: _NoErrors())
    ranges = Ranges(
        t1=(0.1, 2.3),
        t2=(0.079, 2.0),
        tr=(4e-3, 2e-2),
        inversion_time=(2e-3, 5e-2),
        largest_flip_angle=5.0,
    )
    other = replace(probes, recipe=replace(recipe, ranges=ranges, pulse=RFPulse.gaussian(2e-3, 3e-3)))
    found = {name: [e["factor"] for e in entries] for name, entries in other.outside().items()}
    assert found["t1_below"] == [1.0, 1.1, 1.25]
    assert found["t2_above"] == [1.0, 1.1]
    assert found["tr_below"] == [1.0, 1.1]  # 0.3 TR are 1.2 and 1.09 ms; half of the pulse takes 1 ms
    assert found["flip_angle_above"] == [1.0, 1.1, 1.25]
    assert found["te_over_tr_above"] == [1.0]  # 0.77 TR leave 0.92 ms
    assert found["inversion_time_below"] == [1.0, 1.1, 1.25, 1.5, 2.0]
    assert found["inversion_efficiency_below"] == [1.0, 1.1, 1.25, 1.5, 2.0]
    assert found.keys() == OUTSIDE.keys()


def test_examples_hold_both_traces(probes):
    examples = probes.examples()
    assert [len(example["flip_angle"]) for example in examples] == [101, 1500]
    for example in examples:
        for tissue in example["tissues"]:
            own, exact = tissue["traces"]["surrogate"], tissue["traces"]["engine"]
            assert own.shape == exact.shape == (3, len(example["flip_angle"]))
            expected = np.linalg.norm(own[0] - exact[0]) / np.linalg.norm(exact[0])
            assert tissue["nrmse"][0] == pytest.approx(expected, rel=1e-5)  # float32
