"""The twin as a TensorFlow function: the gradients of `Twin.gradient`."""

import numpy as np
import pytest
import tensorflow as tf

from design.mrzero import Twin
from design.mrzero.tf_twin import signals

NAMES = {
    "sequence": ("flip_angle", "phase", "moments", "durations", "adc_phase"),
    "voxels": ("proton_density", "t1", "t2", "off_resonance", "b1"),
}


@pytest.mark.parametrize("owner", NAMES)
def test_gradients_are_those_of_the_twin(sequence, make_voxels, owner):
    voxels = make_voxels()
    twin, whole = Twin(voxels), {"sequence": sequence, "voxels": voxels}[owner]
    tensors = {name: tf.Variable(getattr(whole, name)) for name in NAMES[owner]}
    bar = np.exp(1j * np.arange(sequence.n_samples)).astype(np.complex64)
    with tf.GradientTape() as tape:
        signal = signals(twin, sequence, **tensors)
        loss = tf.reduce_sum(tf.math.real(signal * np.conj(bar)))
    found = tape.gradient(loss, tensors)
    ways = owner == "sequence"
    expected, pull_back = twin.signal_and_pull_back(sequence, ways=ways)
    np.testing.assert_array_equal(signal.numpy(), expected)
    gradient = pull_back(bar[np.newaxis])
    for name, value in found.items():
        np.testing.assert_array_equal(value.numpy(), getattr(gradient, name))


def test_numbers_are_constants_and_scalars_are_for_all(sequence, make_voxels):
    twin = Twin(make_voxels())
    scalar = tf.Variable(0.07, dtype=tf.float64)
    with tf.GradientTape() as tape:
        signal = signals(twin, sequence, t2=scalar, flip_angle=sequence.flip_angle * 0.9)
        loss = tf.reduce_sum(tf.math.real(signal))
    slope = tape.gradient(loss, scalar)
    assert slope.shape == ()
    assert slope.dtype == tf.float64
    ends = []
    for t2 in (0.069, 0.071):
        fields = {"t2": t2, "flip_angle": sequence.flip_angle * 0.9}
        ends.append(np.real(signals(Twin(make_voxels(), tolerance=1e-5), sequence, **fields).numpy()).sum())
    # steps of 1 ms, states left out, single precision
    assert slope.numpy() == pytest.approx((ends[1] - ends[0]) / 2e-3, rel=2e-2, abs=1e-2)


def test_graph_mode_is_refused(sequence, make_voxels):
    twin = Twin(make_voxels())
    with pytest.raises(ValueError, match=r"within tf\.function"):
        tf.function(lambda: signals(twin, sequence))()
