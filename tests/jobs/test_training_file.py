"""Training files are read in SI units, and mistakes in them are named."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from epgbloch import EPGBloch, RFPulse
from jobs.protocol_values import ProtocolError
from jobs.training_file import load_training_file
from surrogate import GRUSurrogate, NetworkSize, Ranges, Recipe, write_weights
from surrogate.settings import Settings, Stage

EXAMPLE = Path(__file__).parents[2] / "examples" / "training.yaml"
FULL = """
data:
  file: sets/data.h5
  signals: 50
  pulses: 120
  seed: 4
  ranges: {t1_ms: [200, 3000], t2_ms: [20, 300], tr_ms: [6, 9], te_over_tr: [0.4, 0.5],
           inversion_time_ms: [5, 30], inversion_efficiency: [0.95, 0.97], largest_flip_angle_deg: 90}
  pulse: {shape: sinc, duration_ms: 1.5, slice_thickness_mm: 5}
  engine: {n_subslices: 16, tolerance: 1e-3}
network: {layers: 2, units: 24, cell: lstm}
training:
  stages: [{pulses: 40, epochs: 3}, {pulses: 120, epochs: 2}]
  training_signals: 40
  validation_signals: 8
  batch_size: 10
  learning_rate: 2e-3
  final_learning_rate: 2e-5
  warmup_steps: 7
  clip_norm: 0.5
  output_weights: [1, 2, 3]
  patience: 4
  seed: 3
  method: keras
  precision: mixed_float16
  checkpoint_minutes: 2
"""
SHORT = "data: {file: d.h5}\ntraining: {stages: [{pulses: 10, epochs: 1}]}\n"


def load(tmp_path, text):
    path = tmp_path / "training.yaml"
    path.write_text(text)
    return load_training_file(path)


def test_every_key_arrives(tmp_path):
    file = load(tmp_path, FULL)
    assert file.data == tmp_path / "sets" / "data.h5"
    recipe = file.recipe
    assert (recipe.n_signals, recipe.n_pulses, recipe.seed) == (50, 120, 4)
    expected = Ranges(
        (0.2, 3.0), (0.02, 0.3), (6e-3, 9e-3), (0.4, 0.5), (5e-3, 30e-3), (0.95, 0.97), float(np.deg2rad(90))
    )
    for name, value in expected.to_dict().items():
        assert getattr(recipe.ranges, name) == pytest.approx(value)
    assert recipe.pulse.fingerprint() == RFPulse.sinc(1.5e-3, 5e-3).fingerprint()
    assert recipe.model == EPGBloch(n_subslices=16, tolerance=1e-3)
    assert file.size == NetworkSize(2, 24, "lstm")
    assert file.settings == Settings(
        (Stage(40, 3), Stage(120, 2)),
        40,
        8,
        10,
        2e-3,
        2e-5,
        7,
        0.5,
        (1.0, 2.0, 3.0),
        4,
        3,
        "keras",
        "mixed_float16",
    )
    assert file.checkpoint_seconds == 120


def test_half_precision_needs_keras(tmp_path, monkeypatch):
    text = FULL.replace("lstm", "gru").replace("method: keras", "method: auto")
    monkeypatch.setattr("surrogate.steps.accelerators", lambda: ["gpu:0"])
    assert load(tmp_path, text).settings.precision == "mixed_float16"
    monkeypatch.setattr("surrogate.steps.accelerators", list)
    with pytest.raises(ProtocolError, match="precision='mixed_float16' needs method='keras'"):
        load(tmp_path, text)


def test_training_starts_from_a_shipped_network_or_a_file(tmp_path):
    text = SHORT + "network: {layers: 3, units: 32, start: %s}\n"
    published = GRUSurrogate("published").weights
    assert load(tmp_path, text % "published").start.digest() == published.digest()
    mine = replace(published, arrays=tuple(2 * array for array in published.arrays))
    write_weights(tmp_path / "mine.npz", mine)
    assert load(tmp_path, text % "mine.npz").start.digest() == mine.digest() != published.digest()
    assert load(tmp_path, SHORT).start is None


def test_defaults_are_those_of_the_packages(tmp_path):
    file = load(tmp_path, SHORT)
    assert file.recipe.to_dict() == Recipe().to_dict()
    assert file.size == NetworkSize()
    assert file.settings == Settings((Stage(10, 1),))


def test_example_is_valid_and_lists_every_key():
    file = load_training_file(EXAMPLE)
    assert file.recipe.to_dict() == Recipe().to_dict()
    text = EXAMPLE.read_text()
    uncommented = "\n".join(line.replace("# ", "", 1) for line in text.splitlines())
    keys = ("signals", "pulses", "seed", "ranges", "pulse", "engine", "layers", "units", "cell", "start")
    for key in keys:
        assert f" {key}:" in uncommented
    for name in Settings.__dataclass_fields__:
        assert f" {name}:" in uncommented
    for name in ("t1_ms", "t2_ms", "tr_ms", "te_over_tr", "inversion_time_ms", "inversion_efficiency"):
        assert f" {name}:" in uncommented


def test_commented_defaults_of_the_example_are_the_defaults(tmp_path):
    """Uncommented, the example says the same, but for the patience, which has no default."""
    lines = EXAMPLE.read_text().splitlines()
    keys = ("signals", "pulses", "seed", "ranges", "pulse", "engine", *Settings.__dataclass_fields__)
    keys += (*Ranges().to_dict(), "t1_ms", "t2_ms", "tr_ms", "inversion_time_ms", "largest_flip_angle_deg")
    uncommented = [
        line.replace("# ", "", 1)
        if line.strip("# ").partition(":")[0] in (*keys, "checkpoint_minutes")
        else line
        for line in lines
        if "patience" not in line
    ]
    assert uncommented != lines
    file, expected = load(tmp_path, "\n".join(uncommented)), load_training_file(EXAMPLE)
    assert (file.size, file.settings, file.checkpoint_seconds) == (
        expected.size,
        expected.settings,
        expected.checkpoint_seconds,
    )
    found, wanted = file.recipe.to_dict(), expected.recipe.to_dict()
    for name, value in wanted.pop("ranges").items():
        assert found["ranges"][name] == pytest.approx(value)
    found.pop("ranges")
    assert found == wanted


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("batch_size: 10", "batch: 10", r"training\.batch: unknown key; did you mean batch_size\?"),
        ("batch_size: 10", "batch_size: 0", r"training\.batch_size: must be at least 1; got 0"),
        ("batch_size: 10", "batch_size: 41", r"training: batch_size=41 exceeds training_signals=40"),
        ("pulses: 40, epochs: 3", "pulses: 40", r"training\.stages\[0\]\.epochs: missing"),
        (
            "pulses: 40, epochs: 3",
            "pulses: 0, epochs: 3",
            r"training\.stages\[0\]\.pulses: must be at least 1",
        ),
        ("pulses: 40, epochs: 3", "pulses: 40, steps: 3", r"training\.stages\[0\]\.steps: unknown key"),
        ("[{pulses: 40, epochs: 3}, {pulses: 120, epochs: 2}]", "3", r"training\.stages: must be a list"),
        ("  file: sets/data.h5\n", "", r"data\.file: missing"),
        ("sets/data.h5", "3", r"data\.file: must be the name of a file; got 3"),
        ("t1_ms: [200, 3000]", "t1_s: [0.2, 3]", r"data\.ranges\.t1_s: unknown key; use t1_ms"),
        ("t1_ms: [200, 3000]", "t1_ms: [3000, 200]", r"data\.ranges: t1=\(3\.0, 0\.2\) must be"),
        ("pulses: 120\n", "pulses: 90\n", r"data: n_pulses=90 must be at least 101"),
        (
            "inversion_time_ms: [5, 30]",
            "inversion_time_ms: [0.1, 0.2]",
            "data: the shortest times of .* inversion_time=",
        ),
        ("cell: lstm", "cell: rnn", r"network\.cell: must be one of gru, lstm; got 'rnn'"),
        ("layers: 2", "layers: two", r"network\.layers: must be a whole number"),
        ("output_weights: [1, 2, 3]", "output_weights: [1, 2]", r"training: output_weights=.* three numbers"),
        ("method: keras", "method: tensorflow", r"training\.method: must be one of auto, kernels, keras"),
        ("training_signals: 40", "training_signals: 43", "training_signals=43 and .* exceed the 50 signals"),
        ("pulses: 40, epochs: 3", "pulses: 121, epochs: 3", "windows of 121 pulses are longer than"),
        ("method: keras", "method: kernels", "method='kernels' needs cell='gru'"),
        ("lstm}", "lstm, start: 3}", r"network\.start: must be a name or a file of weights"),
        ("lstm}", "lstm, start: large}", r"network\.start: .* none of the shipped networks"),
        ("lstm}", "lstm, start: none.npz}", r"network\.start: [^\[]*none\.npz: No such file"),
        ("lstm}", "gru, start: small}", "start: the weights are those of .*, not .*layers=2, units=24"),
        ("clip_norm: 0.5", "clip_norm: 0", r"training\.clip_norm: must be finite and above 0; got 0"),
    ],
)
def test_mistakes_are_named(tmp_path, old, new, message):
    assert old in FULL
    with pytest.raises(ProtocolError, match=rf"training\.yaml: .*{message}"):
        load(tmp_path, FULL.replace(old, new, 1))


@pytest.mark.parametrize("key", ["data", "training"])
def test_required_sections(tmp_path, key):
    text = "\n".join(line for line in SHORT.splitlines() if not line.startswith(key))
    with pytest.raises(ProtocolError, match=f"{key}: missing; this key is required"):
        load(tmp_path, text)
