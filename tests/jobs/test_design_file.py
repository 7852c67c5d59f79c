"""Design files: the example says what it says, and mistakes are told with the key."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from design import LimitError
from jobs.design_file import load_design_file
from jobs.protocol_values import ProtocolError
from surrogate import GRUSurrogate

EXAMPLE = Path(__file__).parents[2] / "examples" / "design.yaml"
PULSE = {"shape": "gaussian", "duration_ms": 1, "slice_thickness_mm": 3, "n_steps": 20}
CONTENT = {
    "sequence": {"flip_angle_deg": 30, "n_pulses": 24, "tr_ms": 9, "te_ms": 4, "inversion_time_ms": 15},
    "tissues": {"t1_ms": [900, 500], "t2_ms": [85, 65]},
    "vary": {"flip_angle_deg": {"knots": 5, "range": [5, 80]}},
}
SCAN = {
    "scan": {"matrix": 32, "fov_mm": 256, "dwell_us": 10},
    "trajectory": {"golden_angle_radial": None},
}


def load(tmp_path, *changes):
    """The small design with changes (section, key, value); a key of None replaces the section."""
    content = yaml.safe_load(yaml.safe_dump(CONTENT))
    for section, key, value in changes:
        if key is None:
            content[section] = value
        else:
            content.setdefault(section, {})[key] = value
    path = tmp_path / "design.yaml"
    path.write_text(yaml.safe_dump(content))
    return load_design_file(path)


def test_the_example_is_the_published_setting():
    file = load_design_file(EXAMPLE)
    assert file.sequence.n_pulses == 336
    assert file.sequence.inversion_time == 0
    np.testing.assert_array_equal(file.sequence.tr, 8.7e-3)
    assert file.criterion.wrt == ("ln_t1", "ln_t2")
    assert file.parametrization.n_parameters == 80
    assert file.options == {"seed": 0, "n_starts": 6, "max_iterations": 500, "tolerance": 1e-8}
    assert (file.method, file.snr, file.n_trials, file.scan) == ("gradient", 100, 2000, None)


def test_everything_reaches_its_place(tmp_path):
    file = load(
        tmp_path,
        ("sequence", "pulse", PULSE),
        ("tissues", "weights", [1, 3]),
        ("criterion", None, {"parameters": ["t1", "b1"], "nuisance": ["t2"], "proton_density": "complex",
                             "optimality": "D", "over_tissues": "worst", "per_time": True,
                             "weights": [2, 1]}),
        ("vary", "tr_ms", {"curve": "constant", "range": [8, 12]}),
        ("vary", "inversion_time_ms", {"range": [10, 30]}),
        ("limits", None, {"flip_angle_change_deg": 20, "duration_ms": 400, "b1_rms_ut": 4,
                          "b1_window_ms": 50}),
        ("optimiser", None, {"method": "evolution+gradient", "seed": 7, "population": 4,
                             "generations": 9, "tolerance": 0.1}),
        ("engine", None, {"n_subslices": 6}),
    )  # fmt: skip
    criterion = file.criterion
    assert (criterion.parameters, criterion.nuisance) == (("t1", "b1"), ("t2",))
    assert (criterion.proton_density, criterion.optimality) == ("complex", "D")
    assert (criterion.over_tissues, criterion.per_time) == ("worst", True)
    np.testing.assert_array_equal(criterion.weights, [2, 1])
    np.testing.assert_array_equal(criterion.tissue_weights, [1, 3])
    curves = file.parametrization.curves
    assert {name: curve.n_parameters for name, curve in curves.items()} == {
        "flip_angle": 5,
        "tr": 1,
        "inversion_time": 1,
    }
    assert curves["flip_angle"].maximum == pytest.approx(np.deg2rad(80))
    assert (curves["tr"].minimum, curves["inversion_time"].maximum) == pytest.approx((8e-3, 30e-3))
    limits = file.limits
    assert limits.maximum_change == pytest.approx(np.deg2rad(20))
    assert (limits.maximum_duration, limits.maximum_b1_rms, limits.b1_window) == pytest.approx(
        (0.4, 4e-6, 0.05)
    )
    assert file.options == {"seed": 7, "population": 4, "max_generations": 9, "tolerance": 0.1}
    assert file.model.n_subslices == file.engine.n_subslices == 6


def test_surrogate_searches_and_engine_evaluates(tmp_path):
    pulse = {"shape": "gaussian", "duration_ms": 1, "slice_thickness_mm": 3}
    file = load(tmp_path, ("sequence", "pulse", pulse), ("surrogate", None, {"network": "small"}))
    assert isinstance(file.model, GRUSurrogate)
    assert file.engine is not file.model


def test_tissues_are_drawn_from_ranges(tmp_path):
    ranges = {"t1_ms": [300, 2000], "t2_ms": [30, 500], "b1": [0.8, 1.2], "sample": 20, "seed": 3}
    tissue = load(tmp_path, ("tissues", None, ranges)).criterion.tissue
    assert tissue.n_atoms == 20
    assert 0.3 <= tissue.t1.min() < 0.4
    assert 1.5 < tissue.t1.max() <= 2.0
    assert 0.8 <= tissue.b1.min() < 0.9
    assert np.all(tissue.t2 <= tissue.t1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([("vary", "flip_angle_deg", {"knots": 3, "range": [90, 5]})], "range: 90 must be below 5"),
        ([("monte_carlo", "trials", 1)], "monte_carlo.trials: must be at least 2"),
        ([("monte_carlo", "trials", 9), ("criterion", "nuisance", ["off_resonance"])], "cannot estimate"),
        ([("trajectory", None, SCAN["trajectory"])], "trajectory: has no effect without scan"),
        ([("limits", "b1_rms_ut", 1)], "limits: maximum_b1_rms needs pulses of finite duration"),
        ([("limits", "flip_angle_change_deg", 4), ("optimiser", "algorithm", "L-BFGS-B")],
         "optimiser.algorithm: L-BFGS-B knows no limits"),
        ([("surrogate", "network", "small"), ("sequence", "pulse", {**PULSE, "n_steps": 200}),
          ("vary", "phase_deg", {"knots": 3, "range": [0, 90]})], "trains of one phase"),
        ([("surrogate", "network", "small"), ("sequence", "pulse", {**PULSE, "n_steps": 200}),
          ("vary", "tr_ms", {"curve": "constant", "range": [9, 900]})], "within its ranges: tr"),
        ([("vary", None, {})], "vary: curves is empty"),
        ([("vary", "flip_angle", {"range": [0, 90]})], "vary.flip_angle: unknown key; use flip_angle_deg"),
        ([("vary", "flip_angle_deg", {"range": [0, 90]})], "vary.flip_angle_deg.knots: missing"),
        ([("vary", "flip_angle_deg", {"knots": 30, "range": [0, 90]})], "n_knots=30 exceeds n_pulses=24"),
        ([("vary", "flip_angle_deg", {"curve": "free", "knots": 3, "range": [0, 9]})], "does not go with"),
        ([("vary", "flip_angle_deg", {"curve": "spline11", "range": [5, 90]})], "spline11 is a curve"),
        ([("vary", "flip_angle_deg", {"knots": 3, "range": [90, 0]})], "must be below"),
        ([("vary", "flip_angle_deg", {"knots": 3, "range": [0, 45, 90]})], "takes [smallest, largest]"),
        ([("vary", "te_ms", {"curve": "constant", "range": [2, 12]})], "vary: within its bounds"),
        ([("tissues", "sample", 3), ("tissues", "t1_ms", [1, 2, 3])], "tissues.t1_ms: takes [smallest"),
        ([("tissues", "seed", 3)], "tissues.seed: does not go with a list of tissues"),
        ([("tissues", "weights", [1])], "tissue_weights has 1 values; give one for each tissue, 2"),
        ([("criterion", "parameters", ["t3"])], "criterion.parameters: 't3' must be one of"),
        ([("criterion", "parameters", ["t1", "ln_t1"])], "name t1 twice"),
        ([("criterion", "optimality", "G")], "criterion.optimality: must be one of A, D, E"),
        ([("optimiser", "population", 4)], "optimiser.population: does not go with method: gradient"),
        ([("optimiser", "algorithm", "BFGS")], "did you mean L-BFGS-B?"),
        ([("limits", "b1_window_ms", 4)], "b1_window has no effect"),
        ([("surrogate", None, {})], "the model cannot evaluate the sequence"),
        ([("scan", None, SCAN["scan"])], "trajectory: missing"),
    ],
)  # fmt: skip
def test_mistakes_are_told_with_the_key(tmp_path, changes, message):
    with pytest.raises(ProtocolError) as error:
        load(tmp_path, *changes)
    assert str(error.value).startswith(f"{tmp_path / 'design.yaml'}: ")
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("changes", "limit", "nearest"),
    [
        ([("sequence", "te_ms", 1.5)], "te", None),
        ([("sequence", "tr_ms", 5)], "tr", None),
        ([("vary", "tr_ms", {"curve": "constant", "range": [5, 12]})], "tr", None),
        ([("vary", "te_ms", {"curve": "constant", "range": [4, 8]})], "tr", None),
        ([("sequence", "inversion_time_ms", 2)], "inversion_time", None),
        ([("trajectory", None, {"spiral": {}}), ("scan", "dwell_us", 2)], "slew rate", None),
        ([("limits", "duration_ms", 150)], "duration", 24 * 9e-3 + 15e-3),
        ([("limits", "b1_rms_ut", 0.01)], "B1+rms", None),
    ],
)
def test_the_impossible_is_told_before_the_search(tmp_path, changes, limit, nearest):
    played = [("sequence", "pulse", PULSE), *((key, None, value) for key, value in SCAN.items())]
    with pytest.raises(LimitError) as error:
        load(tmp_path, *played, *changes)
    assert error.value.limit == limit
    assert error.value.nearest > 0
    if nearest is not None:
        assert error.value.nearest == pytest.approx(nearest)
    if limit in ("te", "tr", "inversion_time"):  # the nearest value can be played
        key = f"{limit}_ms"
        others = [change for change in changes if change[1] != key]
        load(tmp_path, *played, *others, ("sequence", key, 1e3 * error.value.nearest))
