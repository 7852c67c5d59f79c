"""Stacked gated recurrent units: outputs, loss and its gradient by backpropagation through time.

The recurrence is that of Keras with reset_after=True: z = s(Wz x + Rz h + bz), r = s(Wr x + Rr h + br),
n = tanh(Wn x + bn + r (Rn h + cn)), new h = z h + (1 - z) n.

Signals are rows, units columns; widths are multiples of `products.WIDTH`, padded with zeros, which stay zero.
The gates z, r, n and the inner sum q = Rn h + cn lie in planes of their own, (n_signals, units) each.

Weights lie in one flat float32 vector:

- initial (3, units), its bias (units,);
- for every layer the kernel (inputs, 3, units), the recurrent kernel (units, 3, units), with gates in the
  order z, r, n, and the biases (4, units) of z, r, n and q;
- output (units, n_outputs), its bias (n_outputs,).
"""

import numpy as np
from numba import njit

from surrogate.kernels.activations import add, apply_candidate, apply_sigmoid, mix, unmix
from surrogate.kernels.products import multiply_add

N_INITIAL = 3
"""Numbers that describe the state before the first pulse."""


@njit(nogil=True, cache=True)
def layer_start(i_layer, n_features, units):
    """Place of the kernel of a layer in the vector of weights."""
    start = (N_INITIAL + 1) * units
    if i_layer > 0:
        start += 3 * units * (n_features + units) + 4 * units
        start += (i_layer - 1) * (6 * units * units + 4 * units)
    return start


@njit(nogil=True, cache=True)
def _start(weights, initial, state):
    """States before the first pulse, the same in all layers: initial (m, N_INITIAL) -> state (m, units)."""
    m, units = state.shape
    multiply_add(
        state.reshape(m * units), 0, units, weights, N_INITIAL * units, 0,
        initial.reshape(initial.size), 0, N_INITIAL, 1, weights, 0, units, m, units, N_INITIAL,
    )  # fmt: skip


@njit(nogil=True, cache=True)
def _forward(weights, start, x, h, gates, result):
    """One layer at one pulse: inputs x (m, k), states h (m, units) -> gates (4, m, units) and new states."""
    m, units = h.shape
    k, plane = x.shape[1], m * units
    inputs, states, planes = x.reshape(m * k), h.reshape(plane), gates.reshape(4 * plane)
    recurrent = start + 3 * k * units
    biases = recurrent + 3 * units * units
    for gate in range(3):
        multiply_add(
            planes, gate * plane, units, weights, biases + gate * units, 0,
            inputs, 0, k, 1, weights, start + gate * units, 3 * units, m, units, k,
        )  # fmt: skip
    for gate in range(2):
        multiply_add(
            planes, gate * plane, units, planes, gate * plane, units,
            states, 0, units, 1, weights, recurrent + gate * units, 3 * units, m, units, units,
        )  # fmt: skip
    multiply_add(
        planes, 3 * plane, units, weights, biases + 3 * units, 0,
        states, 0, units, 1, weights, recurrent + 2 * units, 3 * units, m, units, units,
    )  # fmt: skip
    apply_sigmoid(planes[: 2 * plane])
    n = planes[2 * plane : 3 * plane]
    apply_candidate(n, planes[plane : 2 * plane], planes[3 * plane :])
    mix(planes[:plane], n, states, result.reshape(plane))


@njit(nogil=True, cache=True)
def _transposed(weights, start, k, units):
    """Transposes of the blocks of a layer, (3, units, units) recurrent ones, then (3, units, k); flat."""
    result = np.empty(3 * units * (units + k), np.float32)
    recurrent = start + 3 * k * units
    for gate in range(3):
        for i in range(units):
            for j in range(units):
                place = (gate * units + i) * units + j
                result[place] = weights[recurrent + j * 3 * units + gate * units + i]
            for j in range(k):
                place = 3 * units * units + (gate * units + i) * k + j
                result[place] = weights[start + j * 3 * units + gate * units + i]
    return result


@njit(nogil=True, cache=True)
def _backward(transposed, start, x, h, gates, bar, carry, below, gradient, ones):
    """Pull the derivative by the new states of one layer at one pulse back.

    bar (m, units): the derivative; gates: those of `_forward`, overwritten; carry (m, units), set: the
    derivative by h; below, set unless empty: the derivative by x; gradient: added to.
    """
    m, units = h.shape
    k, plane = x.shape[1], m * units
    inputs, states, planes = x.reshape(m * k), h.reshape(plane), gates.reshape(4 * plane)
    flat_carry, flat_below = carry.reshape(plane), below.reshape(below.size)
    z, r = planes[:plane], planes[plane : 2 * plane]
    n, q = planes[2 * plane : 3 * plane], planes[3 * plane :]
    unmix(z, r, n, q, states, bar.reshape(plane), flat_carry)
    recurrent = start + 3 * k * units
    biases = recurrent + 3 * units * units
    for gate in range(3):
        of_state = (gate if gate < 2 else 3) * plane
        multiply_add(
            flat_carry, 0, units, flat_carry, 0, units, planes, of_state, units, 1,
            transposed, gate * units * units, units, m, units, units,
        )  # fmt: skip
        multiply_add(
            gradient, recurrent + gate * units, 3 * units, gradient, recurrent + gate * units, 3 * units,
            states, 0, 1, units, planes, of_state, units, units, units, m,
        )  # fmt: skip
        multiply_add(
            gradient, start + gate * units, 3 * units, gradient, start + gate * units, 3 * units,
            inputs, 0, 1, k, planes, gate * plane, units, k, units, m,
        )  # fmt: skip
    for gate in range(4):
        place = biases + gate * units
        multiply_add(
            gradient, place, 0, gradient, place, 0, ones, 0, 0, 1, planes, gate * plane, units, 1, units, m
        )
    if flat_below.size:
        flat_below[:] = 0
        for gate in range(3):
            multiply_add(
                flat_below, 0, k, flat_below, 0, k, planes, gate * plane, units, 1,
                transposed, 3 * units * units + gate * units * k, k, m, k, units,
            )  # fmt: skip


@njit(nogil=True, cache=True, error_model="numpy")
def _compare(outputs, targets, scale, bars):
    """Sum of scale |output - target| and its derivative by the outputs; padded outputs do not count."""
    loss = 0.0
    for i in range(targets.shape[0]):
        for j in range(targets.shape[1]):
            difference = outputs[i, j] - targets[i, j]
            loss += scale[j] * abs(difference)
            bars[i, j] = scale[j] * np.sign(difference)
    return loss


@njit(nogil=True, cache=True)
def _output(weights, start, top, outputs):
    """Outputs (m, n_outputs) of the last layer's states (m, units)."""
    (m, units), n_outputs = top.shape, outputs.shape[1]
    multiply_add(
        outputs.reshape(m * n_outputs), 0, n_outputs, weights, start + units * n_outputs, 0,
        top.reshape(m * units), 0, units, 1, weights, start, n_outputs, m, n_outputs, units,
    )  # fmt: skip


@njit(nogil=True, cache=True)
def predict(weights, x, initial, n_layers, units, outputs):
    """Outputs of some signals.

    x : (n_pulses, m, n_features); initial : (m, N_INITIAL); outputs : (n_pulses, m, n_outputs), written.
    """
    n_pulses, m, n_features = x.shape
    states = np.empty((n_layers, m, units), np.float32)
    gates = np.empty((4, m, units), np.float32)
    starts = [layer_start(i_layer, n_features, units) for i_layer in range(n_layers + 1)]
    for j in range(n_layers):
        _start(weights, initial, states[j])
    for i in range(n_pulses):
        _forward(weights, starts[0], x[i], states[0], gates, states[0])
        for j in range(1, n_layers):
            _forward(weights, starts[j], states[j - 1], states[j], gates, states[j])
        _output(weights, starts[n_layers], states[n_layers - 1], outputs[i])


@njit(nogil=True, cache=True, error_model="numpy")
def loss_and_gradient(weights, x, initial, targets, scale, hidden, gates, bars, gradient):
    """Sum over signals, pulses and outputs of scale |output - target|, and its gradient.

    x : (n_pulses, m, n_features); initial : (m, N_INITIAL); targets : (n_pulses, m, n_targets); scale :
    (n_targets,); gradient : like weights, overwritten.
    Workspaces: hidden (n_layers, n_pulses + 1, m, units), gates (n_layers, n_pulses, 4, m, units), bars
    (n_pulses, m, n_outputs) that is zero beyond n_targets.
    """
    n_layers, n_pulses, _, m, units = gates.shape
    n_features, n_outputs = x.shape[2], bars.shape[2]
    starts = [layer_start(i_layer, n_features, units) for i_layer in range(n_layers + 1)]
    output = starts[n_layers]
    output_bias = output + units * n_outputs
    outputs = np.empty((m, n_outputs), np.float32)
    loss = 0.0
    for i_layer in range(n_layers):
        _start(weights, initial, hidden[i_layer, 0])
    for i in range(n_pulses):
        _forward(weights, starts[0], x[i], hidden[0, i], gates[0, i], hidden[0, i + 1])
        for j in range(1, n_layers):
            below = hidden[j - 1, i + 1]
            _forward(weights, starts[j], below, hidden[j, i], gates[j, i], hidden[j, i + 1])
        _output(weights, output, hidden[n_layers - 1, i + 1], outputs)
        loss += _compare(outputs, targets[i], scale, bars[i])

    gradient[:] = 0
    ones = np.ones(m, np.float32)
    carry = np.zeros((n_layers, m, units), np.float32)
    bar, nothing = np.empty((m, units), np.float32), np.empty((0, units), np.float32)
    transposed = [
        _transposed(weights, starts[j], n_features if j == 0 else units, units) for j in range(n_layers)
    ]
    output_transposed = np.ascontiguousarray(weights[output:output_bias].reshape(units, n_outputs).T)
    for i in range(n_pulses - 1, -1, -1):
        flat = bars[i].reshape(m * n_outputs)
        top = hidden[n_layers - 1, i + 1].reshape(m * units)
        multiply_add(
            gradient, output, n_outputs, gradient, output, n_outputs,
            top, 0, 1, units, flat, 0, n_outputs, units, n_outputs, m,
        )  # fmt: skip
        multiply_add(
            gradient,
            output_bias,
            0,
            gradient,
            output_bias,
            0,
            ones,
            0,
            0,
            1,
            flat,
            0,
            n_outputs,
            1,
            n_outputs,
            m,
        )
        bar[:] = 0
        multiply_add(
            bar.reshape(m * units), 0, units, bar.reshape(m * units), 0, units, flat, 0, n_outputs, 1,
            output_transposed.reshape(units * n_outputs), 0, units, m, units, n_outputs,
        )  # fmt: skip
        for j in range(n_layers - 1, 0, -1):
            add(bar.reshape(m * units), carry[j].reshape(m * units))
            below = hidden[j - 1, i + 1]
            _backward(
                transposed[j], starts[j], below, hidden[j, i], gates[j, i], bar, carry[j], bar, gradient, ones
            )
        add(bar.reshape(m * units), carry[0].reshape(m * units))
        _backward(
            transposed[0], starts[0], x[i], hidden[0, i], gates[0, i], bar, carry[0], nothing, gradient, ones
        )
    for j in range(n_layers):
        flat_carry = carry[j].reshape(m * units)
        multiply_add(
            gradient, 0, units, gradient, 0, units,
            initial.reshape(initial.size), 0, 1, N_INITIAL, flat_carry, 0, units, N_INITIAL, units, m,
        )  # fmt: skip
        place = N_INITIAL * units
        multiply_add(gradient, place, 0, gradient, place, 0, ones, 0, 0, 1, flat_carry, 0, units, 1, units, m)
    return loss
