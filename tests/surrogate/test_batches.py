"""Batches hold every signal once an epoch, in an order that depends on the seed only."""

import numpy as np

from surrogate.batches import batch_of, shuffled
from surrogate.features import initial_state, pulse_features


def test_batch_holds_the_first_pulses(dataset):
    batch = batch_of(dataset, np.array([2, 5]), 30)
    assert batch.pulses.shape == (2, 30, 5)
    np.testing.assert_array_equal(batch.targets, dataset.targets[[2, 5], :, :30].swapaxes(1, 2))
    expected = pulse_features(
        dataset.t1[[2, 5]],
        dataset.t2[[2, 5]],
        dataset.tr[[2, 5], :30],
        dataset.te[[2, 5], :30],
        dataset.flip_angle[[2, 5], :30],
    )
    np.testing.assert_array_equal(batch.pulses, expected)
    i = int(np.flatnonzero(np.isfinite(dataset.inversion_time))[0])
    # the delay ends where the pulse begins, half of its 1 ms earlier
    delay = dataset.inversion_time[i : i + 1] - 0.5e-3
    expected = initial_state(dataset.t1[i : i + 1], delay, dataset.inversion_efficiency[i : i + 1])
    np.testing.assert_allclose(batch_of(dataset, slice(i, i + 1), 1).initial, expected, atol=1e-7)  # float32


def signals(batches):
    """What tells signals apart."""
    return [batch.pulses[:, 0, 0].tolist() for batch in batches]


def test_epoch_uses_every_signal_once(dataset):
    epoch = signals(shuffled(dataset, 5, 3, (0, 1), 0))
    assert [len(batch) for batch in epoch] == [5, 5, 5, 5]  # of 24, 4 are left out
    flat = [signal for batch in epoch for signal in batch]
    assert len(set(flat)) == 20
    assert set(flat) < set(np.log(dataset.t1).tolist())


def test_order_depends_on_the_seed_only(dataset):
    epoch = signals(shuffled(dataset, 5, 3, (0, 1), 0))
    assert signals(shuffled(dataset, 5, 3, (0, 1), 0)) == epoch
    assert signals(shuffled(dataset, 5, 3, (0, 1), 2)) == epoch[2:]
    assert signals(shuffled(dataset, 5, 3, (0, 1), 4)) == []
    assert signals(shuffled(dataset, 5, 3, (0, 2), 0)) != epoch
