"""Stacked gated recurrent units.

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

from surrogate.kernels.activations import apply_candidate, apply_sigmoid, mix
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
def first_state(weights, initial, state):
    """States before the first pulse, the same in all layers: initial (m, N_INITIAL) -> state (m, units)."""
    m, units = state.shape
    multiply_add(
        state.reshape(m * units), 0, units, weights, N_INITIAL * units, 0,
        initial.reshape(initial.size), 0, N_INITIAL, 1, weights, 0, units, m, units, N_INITIAL,
    )  # fmt: skip


@njit(nogil=True, cache=True)
def forward(weights, start, x, h, gates, result):
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
def output(weights, start, top, outputs):
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
        first_state(weights, initial, states[j])
    for i in range(n_pulses):
        forward(weights, starts[0], x[i], states[0], gates, states[0])
        for j in range(1, n_layers):
            forward(weights, starts[j], states[j - 1], states[j], gates, states[j])
        output(weights, starts[n_layers], states[n_layers - 1], outputs[i])
