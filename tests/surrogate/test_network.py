"""The network has the published size, and is saved with its normalisation."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from surrogate import NetworkSize, Ranges
from surrogate.network import build_network, network_variables
from surrogate.weights import weight_shapes


def inputs(n_signals=3, n_pulses=7):
    rng = np.random.default_rng(0)
    ranges = Ranges()
    columns = [
        np.log(rng.uniform(*ranges.t1, (n_signals, n_pulses))),
        np.log(rng.uniform(*ranges.t2, (n_signals, n_pulses))),
        rng.uniform(*ranges.tr, (n_signals, n_pulses)),
        rng.uniform(2e-3, 10e-3, (n_signals, n_pulses)),
        rng.uniform(0, 2, (n_signals, n_pulses)),
    ]
    return {
        "pulses": np.stack(columns, axis=-1).astype(np.float32),
        "initial": rng.uniform(-1, 1, (n_signals, 3)).astype(np.float32),
    }


def test_published_network_has_16643_parameters():
    """Three GRU layers of 32 with two biases a gate (16416), 3 -> 32 (128) and 32 -> 3 (99)."""
    assert build_network(NetworkSize(), Ranges()).count_params() == 16643


@pytest.mark.parametrize(
    "size", [NetworkSize(), NetworkSize(1, 20), NetworkSize(12, 3), NetworkSize(2, 8, "lstm")], ids=str
)
def test_variables_come_in_order(size):
    network = build_network(size, Ranges())
    variables = network_variables(network)
    assert len(variables) == len(network.trainable_variables)
    assert [tuple(variable.shape) for variable in variables] == weight_shapes(size)
    paths = [variable.path for variable in variables]
    assert paths[0].startswith("initial_state")
    assert paths[-1].startswith("output")
    layers = [int(path.partition("/")[0].removeprefix("layer_")) for path in paths if "layer_" in path]
    assert layers == sorted(layers)


def test_seed_determines_first_weights():
    first, same, other = (
        network_variables(build_network(NetworkSize(2, 8), Ranges(), seed=seed)) for seed in (1, 1, 2)
    )
    for a, b, c in zip(first, same, other, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
        assert a.numpy().any() == (not np.array_equal(a.numpy(), c.numpy()))  # biases begin at zero
    kernels = [variable.numpy() for variable in first if variable.name == "recurrent_kernel"]
    assert not np.array_equal(*kernels)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_saved_network_gives_identical_outputs(tmp_path, cell):
    network = build_network(NetworkSize(2, 8, cell), Ranges(), seed=3)
    network.save(tmp_path / "network.keras")
    again = keras.models.load_model(tmp_path / "network.keras")
    np.testing.assert_array_equal(again.predict_on_batch(inputs()), network.predict_on_batch(inputs()))


def test_inputs_are_normalised_by_their_ranges():
    """Inputs at the same relative places of other ranges give the same outputs."""
    ranges = Ranges(
        t1=(1.0, 2.0), t2=(0.1, 0.3), tr=(8e-3, 12e-3), te_over_tr=(0.4, 0.5), largest_flip_angle=1.0
    )
    wide, narrow = (build_network(NetworkSize(1, 8), r, seed=1) for r in (Ranges(), ranges))
    place = np.random.default_rng(0).uniform(size=(2, 5, 5))

    def at(limits):
        low, high = np.array(limits).T
        return (low + place * (high - low)).astype(np.float32)

    first = [np.log([0.1, 5.0]), np.log([0.01, 2.0]), [5e-3, 20e-3], [1.5e-3, 14e-3], [0, np.deg2rad(120)]]
    second = [np.log([1.0, 2.0]), np.log([0.1, 0.3]), [8e-3, 12e-3], [3.2e-3, 6e-3], [0, 1.0]]
    initial = np.ones((2, 3), np.float32)
    outputs = [
        network.predict_on_batch({"pulses": at(limits), "initial": initial})
        for network, limits in ((wide, first), (narrow, second))
    ]
    # float32 inputs, normalised
    np.testing.assert_allclose(outputs[0], outputs[1], atol=1e-5)


def test_state_before_first_pulse_matters_and_outputs_are_causal():
    network = build_network(NetworkSize(2, 8), Ranges())
    values = inputs()
    outputs = network.predict_on_batch(values)
    assert outputs.shape == (3, 7, 3)
    changed = dict(values, initial=-values["initial"])
    assert np.abs(network.predict_on_batch(changed) - outputs)[:, 0].min() > 0
    later = dict(values, pulses=values["pulses"].copy())
    later["pulses"][:, 4] += 0.1
    difference = np.abs(network.predict_on_batch(later) - outputs)
    assert difference[:, :4].max() == 0
    assert difference[:, 4:].min() > 0


def test_mixed_precision_keeps_outputs_in_float32():
    network = build_network(NetworkSize(1, 8), Ranges(), precision="mixed_float16")
    assert network.get_layer("layer_1").compute_dtype == "float16"
    assert network.predict_on_batch(inputs()).dtype == np.float32


OTHER_BACKEND = """
import numpy as np
import sys
from surrogate import NetworkSize, Ranges
from surrogate.network import build_network
values = dict(np.load(sys.argv[1]))
expected = values.pop("outputs")
network = build_network(NetworkSize(2, 8), Ranges())
network.set_weights([values.pop(f"w{i}") for i in range(len(network.get_weights()))])
np.testing.assert_allclose(network.predict_on_batch(values), expected, atol=1e-5)

from surrogate.batches import Batch
from surrogate.steps import KerasSteps, KernelSteps, accelerators
batch = Batch(values["pulses"], values["initial"], expected)
options = {"output_weights": (1.0, 1.0, 1.0), "clip_norm": 0.1, "seed": 4}
steps = KerasSteps(NetworkSize(2, 8), Ranges(), **options, precision="float32")
first, start = steps.state(), tuple(steps.weights())
losses = [steps.step(batch, 1e-2) for _ in range(5)]
assert losses[-1] < 0.95 * losses[0]
ours = KernelSteps(
    NetworkSize(2, 8),
    Ranges(),
    **options,
    start=tuple(steps.weights()),
    batch_size=len(expected),
    n_pulses=expected.shape[1],
    n_threads=1,
)
np.testing.assert_allclose(steps.outputs(batch), ours.outputs(batch), atol=1e-5)  # float32
steps.restore(first)
assert all(map(np.array_equal, steps.weights(), start))
assert steps.step(batch, 1e-2) == losses[0]
assert all(name.startswith(("gpu:", "tpu:")) for name in accelerators())
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_agree(tmp_path, backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    network = build_network(NetworkSize(2, 8), Ranges())
    weights = {f"w{i}": array for i, array in enumerate(network.get_weights())}
    np.savez(tmp_path / "values.npz", outputs=network.predict_on_batch(inputs()), **inputs(), **weights)
    subprocess.run(
        [sys.executable, "-c", OTHER_BACKEND, tmp_path / "values.npz"],
        env=os.environ | {"KERAS_BACKEND": backend},
        cwd=Path(__file__).parents[2],
        check=True,
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"layers": 0}, "layers=0"),
        ({"units": 2.5}, r"units=2\.5"),
        ({"cell": "rnn"}, "cell='rnn' must be one of"),
    ],
)
def test_impossible_sizes_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        NetworkSize(**values)
