"""Stacked gated recurrent units backwards: gradients by weights or inputs, by backpropagation through time.

The pass forwards keeps all states and gates. The pass backwards writes the gradients that are asked for:
those whose arrays are not empty. Layout as in `gru`.
"""

import numpy as np
from numba import njit

from surrogate.kernels.activations import add, unmix
from surrogate.kernels.gru import N_INITIAL, first_state, forward, layer_start, output
from surrogate.kernels.products import WIDTH, multiply_add


@njit(nogil=True, cache=True)
def _transposed(weights, start, k, columns, units):
    """Transposes of the blocks of a layer, (3, units, units) recurrent ones, then (3, units, columns); flat.

    The latter have zeros after the first k columns, one for each input.
    """
    result = np.zeros(3 * units * (units + columns), np.float32)
    recurrent = start + 3 * k * units
    for gate in range(3):
        for i in range(units):
            for j in range(units):
                place = (gate * units + i) * units + j
                result[place] = weights[recurrent + j * 3 * units + gate * units + i]
            for j in range(k):
                place = 3 * units * units + (gate * units + i) * columns + j
                result[place] = weights[start + j * 3 * units + gate * units + i]
    return result


@njit(nogil=True, cache=True)
def _add_to_gradient(gradient, start, x, h, planes, ones):
    """Add the derivatives by the weights of one layer at one pulse; planes: what `unmix` leaves."""
    (m, units), k = h.shape, x.shape[1]
    plane = m * units
    inputs, states = x.reshape(m * k), h.reshape(plane)
    recurrent = start + 3 * k * units
    biases = recurrent + 3 * units * units
    for gate in range(3):
        of_state = (gate if gate < 2 else 3) * plane
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


@njit(nogil=True, cache=True)
def _backward(transposed, start, x, h, gates, bar, carry, below, gradient, ones):
    """Pull the derivative by the new states of one layer at one pulse back.

    bar (m, units): the derivative; gates: those of `forward`, overwritten; carry (m, units), set: the
    derivative by h; below (m, columns), set unless empty: the derivative by x, padded with zeros; gradient:
    added to unless empty.
    """
    m, units = h.shape
    plane, columns = m * units, below.shape[1]
    planes, flat_carry, flat_below = gates.reshape(4 * plane), carry.reshape(plane), below.reshape(below.size)
    z, r = planes[:plane], planes[plane : 2 * plane]
    n, q = planes[2 * plane : 3 * plane], planes[3 * plane :]
    unmix(z, r, n, q, h.reshape(plane), bar.reshape(plane), flat_carry)
    for gate in range(3):
        multiply_add(
            flat_carry, 0, units, flat_carry, 0, units, planes, (gate if gate < 2 else 3) * plane, units, 1,
            transposed, gate * units * units, units, m, units, units,
        )  # fmt: skip
    if gradient.size:
        _add_to_gradient(gradient, start, x, h, planes, ones)
    if flat_below.size:
        flat_below[:] = 0
        for gate in range(3):
            multiply_add(
                flat_below, 0, columns, flat_below, 0, columns, planes, gate * plane, units, 1,
                transposed, 3 * units * units + gate * units * columns, columns, m, columns, units,
            )  # fmt: skip


@njit(nogil=True, cache=True)
def _run(weights, starts, x, initial, hidden, gates):
    """Run the layers over all pulses and keep their states and gates."""
    n_layers, n_pulses = gates.shape[:2]
    for j in range(n_layers):
        first_state(weights, initial, hidden[j, 0])
    for i in range(n_pulses):
        forward(weights, starts[0], x[i], hidden[0, i], gates[0, i], hidden[0, i + 1])
        for j in range(1, n_layers):
            below = hidden[j - 1, i + 1]
            forward(weights, starts[j], below, hidden[j, i], gates[j, i], hidden[j, i + 1])


@njit(nogil=True, cache=True)
def _pull_back(weights, starts, x, initial, hidden, gates, bars, gradient, x_bar, initial_bar):
    """Pull the derivatives by the outputs, `bars`, back to all arrays after it that are not empty."""
    n_layers, n_pulses, _, m, units = gates.shape
    n_features, n_outputs = x.shape[2], bars.shape[2]
    first, last = N_INITIAL * units, starts[n_layers]
    bias = last + units * n_outputs
    gradient[:] = 0
    ones = np.ones(m, np.float32)
    carry = np.zeros((n_layers, m, units), np.float32)
    bar, nothing = np.empty((m, units), np.float32), np.empty((0, WIDTH), np.float32)
    flat_bar = bar.reshape(m * units)
    transposed = [_transposed(weights, starts[0], n_features, WIDTH, units)]
    transposed += [_transposed(weights, starts[j], units, units, units) for j in range(1, n_layers)]
    output_transposed = np.ascontiguousarray(weights[last:bias].reshape(units, n_outputs).T)
    for i in range(n_pulses - 1, -1, -1):
        flat = bars[i].reshape(m * n_outputs)
        if gradient.size:
            top = hidden[n_layers - 1, i + 1].reshape(m * units)
            multiply_add(
                gradient, last, n_outputs, gradient, last, n_outputs,
                top, 0, 1, units, flat, 0, n_outputs, units, n_outputs, m,
            )  # fmt: skip
            multiply_add(
                gradient, bias, 0, gradient, bias, 0, ones, 0, 0, 1, flat, 0, n_outputs, 1, n_outputs, m
            )
        bar[:] = 0
        multiply_add(
            flat_bar, 0, units, flat_bar, 0, units, flat, 0, n_outputs, 1,
            output_transposed.reshape(units * n_outputs), 0, units, m, units, n_outputs,
        )  # fmt: skip
        for j in range(n_layers - 1, 0, -1):
            add(flat_bar, carry[j].reshape(m * units))
            below = hidden[j - 1, i + 1]
            _backward(
                transposed[j], starts[j], below, hidden[j, i], gates[j, i], bar, carry[j], bar, gradient, ones
            )
        add(flat_bar, carry[0].reshape(m * units))
        below = x_bar[i] if x_bar.size else nothing
        _backward(
            transposed[0], starts[0], x[i], hidden[0, i], gates[0, i], bar, carry[0], below, gradient, ones
        )
    for j in range(1, n_layers):
        add(carry[0].reshape(m * units), carry[j].reshape(m * units))
    start_bar = carry[0].reshape(m * units)  # the state before the first pulse is that of all layers
    if gradient.size:
        multiply_add(
            gradient, 0, units, gradient, 0, units,
            initial.reshape(initial.size), 0, 1, N_INITIAL, start_bar, 0, units, N_INITIAL, units, m,
        )  # fmt: skip
        multiply_add(gradient, first, 0, gradient, first, 0, ones, 0, 0, 1, start_bar, 0, units, 1, units, m)
    if initial_bar.size:
        for i in range(m):
            for j in range(N_INITIAL):
                initial_bar[i, j] = np.sum(carry[0, i] * weights[j * units : (j + 1) * units])


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


@njit(nogil=True, cache=True, error_model="numpy")
def loss_and_gradient(weights, x, initial, targets, scale, hidden, gates, bars, gradient):
    """Sum over signals, pulses and outputs of scale |output - target|, and its gradient.

    x : (n_pulses, m, n_features); initial : (m, N_INITIAL); targets : (n_pulses, m, n_targets); scale :
    (n_targets,); gradient : like weights, overwritten.
    Workspaces: hidden (n_layers, n_pulses + 1, m, units), gates (n_layers, n_pulses, 4, m, units), bars
    (n_pulses, m, n_outputs) that is zero beyond n_targets.
    """
    n_layers, n_pulses, _, m, units = gates.shape
    starts = [layer_start(j, x.shape[2], units) for j in range(n_layers + 1)]
    _run(weights, starts, x, initial, hidden, gates)
    outputs, loss = np.empty((m, bars.shape[2]), np.float32), 0.0
    for i in range(n_pulses):
        output(weights, starts[n_layers], hidden[n_layers - 1, i + 1], outputs)
        loss += _compare(outputs, targets[i], scale, bars[i])
    x_bar, initial_bar = np.empty((0, m, WIDTH), np.float32), np.empty((0, N_INITIAL), np.float32)
    _pull_back(weights, starts, x, initial, hidden, gates, bars, gradient, x_bar, initial_bar)
    return loss


@njit(nogil=True, cache=True)
def pull_back(weights, x, initial, bars, hidden, gates, x_bar, initial_bar):
    """Derivatives by the inputs, of a scalar with the derivatives `bars` by the outputs.

    x : (n_pulses, m, n_features); initial : (m, N_INITIAL); bars : (n_pulses, m, n_outputs)
    Written: x_bar (n_pulses, m, WIDTH), zeros after the first n_features; initial_bar (m, N_INITIAL).
    Workspaces as for `loss_and_gradient`.
    """
    n_layers, _, _, _, units = gates.shape
    starts = [layer_start(j, x.shape[2], units) for j in range(n_layers + 1)]
    _run(weights, starts, x, initial, hidden, gates)
    nothing = np.empty(0, np.float32)
    _pull_back(weights, starts, x, initial, hidden, gates, bars, nothing, x_bar, initial_bar)
