"""Many flip-angle trains in one plan: the results of one call a train."""

import numpy as np
import pytest

from epgbloch import EPGBloch, RFPulse, Sequence, Tissue, operators

N_PULSES = 40
PULSE = RFPulse.gaussian(1e-3, 5e-3, n_steps=8)
PHASE = np.random.default_rng(2).uniform(-3, 3, N_PULSES)


def trains(n_trains, seed=0):
    return np.random.default_rng(seed).uniform(0, 2, (n_trains, N_PULSES))


def sequence(flip_angle, **fields):
    values = {"tr": np.linspace(8e-3, 12e-3, N_PULSES), "te": 4e-3, "inversion_time": 0.02}
    return Sequence(flip_angle, **values | fields)


def tissue(**fields):
    return Tissue([0.9, 0.5, 2.0], [0.085, 0.065, 1.5], **{"b1": [1.0, 0.8, 1.1]} | fields)


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize(
    ("fields", "atoms", "wrt"),
    [
        ({}, {}, ("t1", "ln_b1", "ln_t2")),
        ({"phase": PHASE}, {"off_resonance": [0.0, 20.0, 0.0]}, ("off_resonance", "b1")),
        ({"spoiler_moment": 6e4}, {"diffusion": [3e-9, 0.0, 0.0]}, ("t2",)),
        ({"pulse": PULSE}, {}, ("t2", "b1", "t1")),
        ({"pulse": PULSE}, {"off_resonance": [0.0, 20.0, 20.0]}, ("t1", "ln_t1")),
    ],
    ids=["real", "phases", "diffusion", "selective", "selective, off-resonance"],
)
def test_every_train_has_the_bits_of_its_own_jacobian(fields, atoms, wrt, n_threads):
    n_trains = 90 if "pulse" not in fields else 20  # several tasks
    angles, own = trains(n_trains), tissue(**atoms)
    engine = EPGBloch(n_threads=n_threads, n_subslices=8)
    # the flip angles of the sequence itself do not matter
    signal, derivatives = engine.jacobian_of_trains(sequence(np.zeros(N_PULSES), **fields), angles, own, wrt)
    assert signal.shape == (n_trains, 3, N_PULSES)
    assert derivatives.shape == (len(wrt), n_trains, 3, N_PULSES)
    assert signal.dtype == derivatives.dtype == np.complex64
    for i_train in (0, 1, n_trains // 2, n_trains - 1):
        expected = engine.jacobian(sequence(angles[i_train], **fields), own, wrt)
        np.testing.assert_array_equal(signal[i_train], expected[0])
        np.testing.assert_array_equal(derivatives[:, i_train], expected[1])


def test_atoms_that_relax_within_the_pulse_get_one_table_for_all_trains(monkeypatch):
    fast = Tissue([0.02, 1.0, 0.04], [0.003, 0.1, 0.002])
    angles, engine = trains(3), EPGBloch(n_states=8, n_subslices=4, n_threads=1)
    plain = sequence(angles[0], pulse=PULSE)
    tables, make = [], operators.own_table

    def count(*arguments):
        tables.append(make(*arguments))
        return tables[-1]

    monkeypatch.setattr(operators, "own_table", count)
    signal, derivatives = engine.jacobian_of_trains(plain, angles, fast)
    assert len(tables) == 2
    for i_train in range(3):
        expected = engine.jacobian(sequence(angles[i_train], pulse=PULSE), fast)
        np.testing.assert_array_equal(signal[i_train], expected[0])
        np.testing.assert_array_equal(derivatives[:, i_train], expected[1])


def test_one_train_and_no_derivatives():
    angles = trains(1)
    signal, derivatives = EPGBloch().jacobian_of_trains(sequence(angles[0]), angles.tolist(), tissue(), ())
    assert derivatives.shape == (0, 1, 3, N_PULSES)
    np.testing.assert_array_equal(signal[0], EPGBloch().signal(sequence(angles[0]), tissue()))


def changed(i, j, value):
    angles = trains(3)
    angles[i, j] = value
    return angles


@pytest.mark.parametrize(
    ("flip_angle", "message"),
    [
        (trains(3)[0], r"flip_angle has shape \(40,\); it must be \(n_trains, 40\)"),
        (trains(3)[:, :39], r"flip_angle has shape \(3, 39\); it must be \(n_trains, 40\)"),
        (trains(3)[:0], "flip_angle is empty; give at least one value"),
        ([["a"] * N_PULSES], "flip_angle=.* is not numeric; give real numbers in radians"),
        (changed(2, 5, np.nan), r"flip_angle\[2, 5\]=nan is not finite"),
        (changed(1, 39, -0.1), r"flip_angle\[1, 39\]=-0.1 must be at least 0; use phase=pi to reverse"),
        (changed(0, 7, 90.0), r"flip_angle\[0, 7\]=90 must be at most 2 pi rad; is it in degrees\?"),
    ],
)
def test_trains_are_checked_as_those_of_a_sequence(flip_angle, message):
    with pytest.raises(ValueError, match=message):
        EPGBloch().jacobian_of_trains(sequence(trains(1)[0]), flip_angle, tissue())


def test_names_of_derivatives_are_checked():
    with pytest.raises(ValueError, match="wrt: 'pd' must be one of"):
        EPGBloch().jacobian_of_trains(sequence(trains(1)[0]), trains(2), tissue(), ("pd",))
