"""Gradients through TensorFlow, against finite differences of the oracle, and what tensors come out."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from epgbloch import EPGBloch, RFPulse, Sequence, Tissue
from epgbloch.reference import epg_bloch
from epgbloch.tf_layer import signals, signals_and_derivatives

N_PULSES = 16
RNG = np.random.default_rng(5)
TISSUE = {
    "t1": np.array([0.15, 1.0]),
    "t2": np.array([0.012, 0.3]),
    "b1": np.array([0.85, 1.2]),
    "off_resonance": np.zeros(2),
}
PLAYED = {
    "flip_angle": RNG.uniform(0.1, 1.8, N_PULSES),
    "phase": np.zeros(N_PULSES),
    "tr": RNG.uniform(8e-3, 15e-3, N_PULSES),
    "te": RNG.uniform(3e-3, 5e-3, N_PULSES),
    "inversion_time": np.array(0.02),
}
COMPLEX = {"phase": RNG.uniform(-3, 3, N_PULSES), "off_resonance": np.array([13.0, -4.0])}
PULSE = RFPulse.gaussian(1e-3, 5e-3, n_steps=4)
CASES = {
    "real": ({}, None),
    "complex": (COMPLEX, None),
    "selective": ({}, PULSE),
    "selective, complex": (COMPLEX, PULSE),
}
STEPS = {"t1": 1e-4, "t2": 1e-5, "b1": 1e-3, "off_resonance": 1e-2, "flip_angle": 1e-3, "phase": 1e-3}
STEP_OF_TIMES = 1e-5
WEIGHTS = RNG.normal(size=(2, 2, N_PULSES))
N_STATES = N_PULSES // 2 + 1
ENGINE = EPGBloch(n_states=N_STATES, n_subslices=4)
RELATIVE = 1e-4
"""As in test_derivatives: float32, and the step of the derivative by off-resonance."""


def problem(case):
    """Values of all tensors and a template that none of them is taken from."""
    changes, pulse = CASES[case]
    template = Sequence(np.full(N_PULSES, 0.5), 12e-3, 5e-3, inversion_efficiency=0.9, pulse=pulse)
    return {name: changes.get(name, value) for name, value in (TISSUE | PLAYED).items()}, template


def played(template, values):
    return Sequence(**{name: values[name] for name in PLAYED}, inversion_efficiency=0.9, pulse=template.pulse)


def oracle(template, values):
    tissue = Tissue(**{name: values[name] for name in TISSUE})
    return epg_bloch(played(template, values), tissue, n_states=N_STATES, n_subslices=4)


def difference(function, step):
    """Derivative at 0 by central differences of fourth order."""
    inner, outer = function(step) - function(-step), function(2 * step) - function(-2 * step)
    return (8 * inner - outer) / (12 * step)


def loss_of_signals(signal):
    """A real scalar in which real and imaginary parts play different roles, and that is not linear."""
    linear = WEIGHTS[0] * tf.math.real(signal) + WEIGHTS[1] * tf.math.imag(signal)
    return tf.reduce_sum(linear) + tf.reduce_sum(tf.abs(signal) ** 2)


def gradients_of(loss, values):
    """Gradients by all tensors; TensorFlow's own part of the loss in double precision."""
    tensors = {name: tf.constant(value) for name, value in values.items()}
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        scalar = loss(tensors)
    return {name: gradient.numpy() for name, gradient in tape.gradient(scalar, tensors).items()}


def in_double(*tensors):
    return [tf.cast(tensor, tf.complex128) for tensor in tensors]


def assert_gradients_agree(loss, values, gradients):
    """Compare with differences of loss(values): every atom, and random directions through the train."""
    for name, gradient in gradients.items():
        assert gradient.shape == values[name].shape
        random = np.random.default_rng(3).normal(size=(2, *values[name].shape))
        for direction in np.eye(2) if name in TISSUE else random:

            def along(x, name=name, direction=direction):
                return loss(values | {name: values[name] + x * direction})

            expected = difference(along, STEPS.get(name, STEP_OF_TIMES))
            # directions may nearly be orthogonal to the gradient
            size = np.linalg.norm(gradient) * np.linalg.norm(direction)
            assert size > 0
            assert abs(np.sum(gradient * direction) - expected) < RELATIVE * size, name


@pytest.mark.parametrize("case", ["real", "complex", "selective"])
def test_gradients_agree_with_differences_of_the_oracle(case):
    values, template = problem(case)
    gradients = gradients_of(
        lambda tensors: loss_of_signals(*in_double(signals(ENGINE, template, **tensors))), values
    )
    assert_gradients_agree(lambda v: loss_of_signals(oracle(template, v)).numpy(), values, gradients)


def cramer_rao(signal, derivatives):
    """Sum of the bounds of two parameters with unknown real proton density."""
    columns = tf.concat([signal[tf.newaxis], derivatives], axis=0)
    fisher = tf.math.real(tf.einsum("ian,jan->aij", columns, tf.math.conj(columns)))
    return tf.reduce_sum(tf.linalg.diag_part(tf.linalg.inv(fisher))[:, 1:])


@pytest.mark.parametrize("case", ["real", "selective, complex"])
def test_gradient_of_a_cramer_rao_bound(case):
    values, template = problem(case)
    tissue = Tissue(**{name: values[name] for name in TISSUE})
    own = {name: values[name] for name in PLAYED}
    gradients = gradients_of(
        lambda tensors: cramer_rao(
            *in_double(*signals_and_derivatives(ENGINE, template, tissue, ("ln_t1", "b1"), **tensors))
        ),
        own,
    )

    def loss(changed):
        every = values | changed
        derivatives = [
            difference(lambda x: oracle(template, every | {"t1": every["t1"] * (1 + x)}), 1e-3),
            difference(lambda x: oracle(template, every | {"b1": every["b1"] + x}), 1e-3),
        ]
        return cramer_rao(oracle(template, every), np.stack(derivatives)).numpy()

    if case == "real":
        # imaginary signals are at right angles to real ones: phases have no effect of first order
        assert not np.any(gradients.pop("phase"))
    assert_gradients_agree(loss, own, gradients)


def test_everything_given_replaces_the_template():
    values, template = problem("selective, complex")
    expected = ENGINE.signal(played(template, values), Tissue(**{name: values[name] for name in TISSUE}))
    result = signals(ENGINE, template, **{name: tf.constant(value) for name, value in values.items()})
    assert result.dtype == tf.complex64
    np.testing.assert_array_equal(result, expected)
    np.testing.assert_array_equal(signals(ENGINE, template, **values), expected)
    tissue = Tissue(TISSUE["t1"], TISSUE["t2"])
    signal, derivatives = signals_and_derivatives(ENGINE, template, tissue, ("t2",))
    expected, expected_derivatives = ENGINE.jacobian(template, tissue, ("t2",))
    np.testing.assert_array_equal(signal, expected)
    np.testing.assert_array_equal(derivatives, expected_derivatives)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_have_the_dtype_and_shape_of_their_tensors(dtype):
    """One value for all atoms or pulses collects the gradients of all of them."""
    values, template = problem("complex")
    values |= {"t1": 0.8, "off_resonance": 5.0, "flip_angle": 0.6, "phase": 0.3, "tr": 12e-3, "te": 4e-3}
    repeated = {
        name: np.full(2 if name in TISSUE else N_PULSES, value) if np.ndim(value) == 0 else value
        for name, value in values.items()
        if name != "inversion_time"
    }
    single = {name: tf.constant(value, dtype) for name, value in values.items()}
    with tf.GradientTape() as tape:
        tape.watch(single)
        loss = loss_of_signals(*in_double(signals(ENGINE, template, **single)))
    full = gradients_of(
        lambda tensors: loss_of_signals(*in_double(signals(ENGINE, template, **tensors))),
        repeated | {"inversion_time": values["inversion_time"]},
    )
    for name, gradient in tape.gradient(loss, single).items():
        assert gradient.dtype == dtype
        assert gradient.shape == single[name].shape
        expected = full[name].sum() if gradient.shape == () else full[name]
        # float32 rounds the values, and the sum is smaller than its terms
        np.testing.assert_allclose(gradient, expected, atol=1e-5 * np.abs(full[name]).sum(), rtol=0)


@pytest.mark.parametrize("case", ["real", "complex"])
def test_tf_function_gives_the_same(case):
    values, template = problem(case)
    tissue = Tissue(**{name: values[name] for name in TISSUE})
    own = {name: values[name] for name in PLAYED}

    def of_signals(tensors):
        return loss_of_signals(signals(ENGINE, template, **tensors))

    def of_derivatives(tensors):
        return cramer_rao(*in_double(*signals_and_derivatives(ENGINE, template, tissue, **tensors)))

    for loss, inputs in ((of_signals, values), (of_derivatives, own)):
        eager, compiled = gradients_of(loss, inputs), gradients_of(tf.function(loss), inputs)
        for name, gradient in eager.items():
            # TensorFlow may order the sums of the loss differently
            np.testing.assert_allclose(
                compiled[name], gradient, rtol=1e-4, atol=1e-6 * np.abs(gradient).max(), err_msg=name
            )


@pytest.mark.parametrize(
    ("t1", "t2", "expected"),
    [
        (tf.TensorSpec([None]), tf.TensorSpec([None]), [None, N_PULSES]),
        (tf.TensorSpec([]), tf.TensorSpec([None]), [None, N_PULSES]),
        (tf.TensorSpec([3]), tf.TensorSpec([None]), [3, N_PULSES]),
        (tf.TensorSpec([]), tf.TensorSpec([1]), [1, N_PULSES]),
    ],
)
def test_static_shapes_within_tf_function(t1, t2, expected):
    found = []

    @tf.function(input_signature=[t1, t2])
    def trace(t1, t2):
        result = signals(ENGINE, problem("real")[1], t1=t1, t2=t2)
        gradients = tf.gradients(tf.math.real(result), [t1, t2])
        found.append((result.shape.as_list(), *(gradient.shape.as_list() for gradient in gradients)))
        return result

    trace.get_concrete_function()
    assert found == [(expected, t1.shape.as_list(), t2.shape.as_list())]


def test_static_shapes_of_derivatives():
    @tf.function
    def trace(flip_angle):
        result = signals_and_derivatives(
            ENGINE, problem("real")[1], Tissue([0.5, 1.0], 0.1), ("t1", "t2", "b1"), flip_angle=flip_angle
        )
        assert [tensor.shape.as_list() for tensor in result] == [[2, N_PULSES], [3, 2, N_PULSES]]
        return result

    trace(tf.constant(0.3))


class Recorder(EPGBloch):
    """Engine that notes what it was asked for."""

    calls = ()

    def jacobian(self, sequence, tissue, wrt=("t1", "t2"), **options):
        type(self).calls += (wrt,)
        return super().jacobian(sequence, tissue, wrt, **options)

    def gradient(self, *arguments, **options):
        type(self).calls += ("sequence",)
        return super().gradient(*arguments, **options)


def test_only_tensors_are_differentiated(monkeypatch):
    monkeypatch.setattr(Recorder, "calls", ())
    values, template = problem("real")
    for given, expected in (({"t2", "b1"}, (("t2", "b1"),)), ({"te"}, ("sequence",))):
        with tf.GradientTape() as tape:
            mixed = {name: tf.Variable(v) if name in given else v for name, v in values.items()}
            loss = loss_of_signals(*in_double(signals(Recorder(), template, **mixed)))
        assert all(g is not None for g in tape.gradient(loss, [mixed[name] for name in given]))
        assert Recorder.calls == expected
        monkeypatch.setattr(Recorder, "calls", ())


def test_arrays_may_change_after_the_call():
    template = problem("real")[1]
    t1, t2 = np.array([0.5, 1.0]), tf.Variable([0.1, 0.2])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.math.real(signals(ENGINE, template, t1=t1, t2=t2)))
    t1 *= 2
    _, (derivative,) = ENGINE.jacobian(template, Tissue(t1 / 2, t2.numpy()), ("t2",))
    # float32
    np.testing.assert_allclose(tape.gradient(loss, t2), derivative.real.sum(axis=1), rtol=1e-5)


@pytest.mark.parametrize(
    "of", [tf.Variable, keras.Variable, lambda values: [tf.Variable(value) for value in values]]
)
def test_variables_and_lists_of_them(of):
    values = np.array([0.1, 0.2], np.float32)
    t2 = of(values)
    with tf.GradientTape() as tape:
        result = tf.math.real(signals(ENGINE, problem("real")[1], t1=1.0, t2=t2))
    gradient = tape.gradient(result, t2)
    _, (derivative,) = ENGINE.jacobian(problem("real")[1], Tissue(1.0, values), ("t2",))
    np.testing.assert_allclose(np.array(gradient), derivative.real.sum(axis=1), rtol=1e-5)  # float32


def test_jacobian_of_a_tape():
    t2 = tf.Variable([0.1, 0.2])
    with tf.GradientTape() as tape:
        result = tf.math.real(signals(ENGINE, problem("real")[1], t1=1.0, t2=t2))
    _, (expected,) = ENGINE.jacobian(problem("real")[1], Tissue(1.0, t2.numpy()), ("t2",))
    jacobian = tape.jacobian(result, t2).numpy()
    np.testing.assert_allclose(
        jacobian, expected.real[:, :, np.newaxis] * np.eye(2)[:, np.newaxis], rtol=1e-6
    )


BAD = [
    ({"t2": 2.0}, "t2=2 s exceeds t1=1 s at atom 0"),
    ({"t1": [1.0, 2.0, 3.0], "t2": [0.1, 0.2]}, "t2 has 2 values for 3 atoms; give 1 or 3"),
    ({"flip_angle": [0.1, 0.2]}, "flip_angle has 2 values for 16 pulses; give 1 or 16"),
    ({"flip_angle": -0.1}, r"flip_angle\[0\]=-0.1 must be at least 0"),
    ({"te": 0.02}, "te=0.02 s must be shorter than tr=0.012 s at pulse 0"),
    ({"tr": [0.01, 0.02]}, "tr has 2 values for 16 flip angles"),
    ({"inversion_time": -1.0}, "inversion_time=-1.0 must be at least 0 s"),
    ({"t1": [[1.0]]}, r"t1 has shape \(1, 1\)"),
]


@pytest.mark.parametrize(("given", "message"), BAD)
def test_bad_values_raise(given, message):
    values = {"t1": 1.0, "t2": 0.1} | given
    tensors = {name: tf.constant(value, tf.float64) for name, value in values.items()}
    template = problem("real")[1]
    with pytest.raises(ValueError, match=message):
        signals(ENGINE, template, **values)
    with pytest.raises(ValueError, match=message):
        signals(ENGINE, template, **tensors)
    compiled = tf.function(lambda tensors: signals(ENGINE, template, **tensors))
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        compiled(tensors)


def test_bad_wrt_and_cotangent_raise():
    template = problem("real")[1]
    with pytest.raises(ValueError, match="'t3' must be one of t1, t2, b1"):
        signals_and_derivatives(ENGINE, template, Tissue(1.0, 0.1), ("t3",))
    flip_angle = tf.Variable(0.3)
    with tf.GradientTape() as tape:
        loss = np.nan * tf.math.real(signals(ENGINE, template, t1=1.0, t2=0.1, flip_angle=flip_angle))
    with pytest.raises(ValueError, match="signal_cotangent holds values that are not finite"):
        tape.gradient(loss, flip_angle)


def test_second_derivatives_are_refused():
    template = problem("real")[1]
    t2, flip_angle = tf.Variable(0.1), tf.Variable(0.3)

    def inner_and_outer():
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                result = signals(ENGINE, template, t1=1.0, t2=t2, flip_angle=flip_angle)
                loss = tf.reduce_sum(tf.math.real(result))
            slope = inner.gradient(loss, t2)
        return outer.gradient(slope, flip_angle)

    with pytest.raises(NotImplementedError, match="use signals_and_derivatives"):
        inner_and_outer()
    with pytest.raises(tf.errors.UnimplementedError, match="use signals_and_derivatives"):
        tf.function(inner_and_outer)()


def test_example_of_the_documentation_prints_what_it_says(capsys):
    text = (Path(__file__).parents[2] / "docs" / "tensorflow.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(import.*?)```", text, re.DOTALL)
    (said,) = re.findall(r"It prints ([\d., ]*\d)\. ", text)
    exec(compile(example, "tensorflow.md", "exec"), {})
    printed = [float(number) for number in capsys.readouterr().out.split()]
    # 0.01 from the rounding; perturbing the start by 1e-4 changes less
    np.testing.assert_allclose(printed, [float(number) for number in said.split(", ")], atol=0.011)


def test_diffusion_attenuates_and_has_no_gradient_by_the_sequence():
    angles = tf.constant(np.deg2rad(np.linspace(10, 80, 30)))
    sequence = Sequence(angles.numpy(), 10e-3, 5e-3, spoiler_moment=2 * np.pi / 1e-4)
    tissue = Tissue(1.0, 0.1, diffusion=3e-9)
    expected = EPGBloch().signal(sequence, tissue)
    result = signals(EPGBloch(), sequence, t1=1.0, t2=0.1, diffusion=3e-9)
    np.testing.assert_array_equal(result.numpy(), expected)
    with tf.GradientTape() as tape:
        tape.watch(angles)
        signal, _ = signals_and_derivatives(EPGBloch(), sequence, tissue, flip_angle=angles)
        loss = tf.reduce_sum(tf.math.real(signal))
    np.testing.assert_array_equal(signal.numpy(), expected)
    with pytest.raises(ValueError, match="is not differentiated"):
        tape.gradient(loss, angles)
