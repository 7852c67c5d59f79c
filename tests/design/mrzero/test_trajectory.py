"""Nominal k-space trajectories."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from design.mrzero import ImagingSequence, Voxels, phase_graph_signal
from design.mrzero.trajectory import nominal_trajectory


def by_loops(sequence, moments):
    """k of every sample, event by event."""
    result, k, e = [], np.zeros(3), 0
    for n in range(sequence.n_repetitions):
        k = {"excitation": 0 * k, "refocusing": -k}.get(sequence.use[n], k)
        for _ in range(sequence.n_events[n]):
            k = k + moments[e]
            if sequence.adc[e]:
                result.append(k)
            e += 1
    return np.array(result)


USES = ["preparation", "excitation", "refocusing", "inversion", "refocusing", "excitation", "refocusing"]


def random_sequence():
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 5, len(USES))
    n = int(counts.sum())
    moments = rng.normal(0, 300, (n, 3))
    angles = np.ones(len(USES))
    return ImagingSequence(angles, angles, counts, moments, np.ones(n), rng.random(n) < 0.7, use=USES)


def test_follows_the_uses_of_the_pulses():
    sequence = random_sequence()
    found = nominal_trajectory(sequence).numpy()
    assert found.dtype == np.float32
    # rounding of float32
    np.testing.assert_allclose(found, by_loops(sequence, sequence.moments), rtol=1e-6, atol=1e-4)
    plain = dataclasses.replace(sequence, use="excitation")
    assert np.abs(nominal_trajectory(plain).numpy() - found).max() > 100


def test_is_the_phase_of_a_spin(sequence):
    if sequence.flip_angle[0] == np.pi / 2:  # the spin echoes, with perfect refocusing
        use = ["excitation"] + ["refocusing"] * (sequence.n_repetitions - 1)
        angle = [np.pi / 2] + [np.pi] * (sequence.n_repetitions - 1)
        sequence = dataclasses.replace(sequence, use=use, flip_angle=angle)
        phase = 0.0  # echoes have that of the excitation
    else:  # no echo of earlier pulses: T2 is far shorter than any wait
        first = sequence.first_event[1:] - 1
        durations = np.where(np.isin(np.arange(sequence.adc.size), first), 10.0, sequence.durations)
        sequence = dataclasses.replace(sequence, durations=durations)
        phase = np.repeat(sequence.phase, sequence.n_events)
    place = np.array([0.013, -0.021, 0.0007])
    point = Voxels([place], [1e-9] * 3, 1.0, 0.5, 0.5)
    found = np.angle(phase_graph_signal(sequence, point)[0])
    received = (phase - sequence.adc_phase)[sequence.adc]
    turned = found + 2 * np.pi * nominal_trajectory(sequence).numpy() @ place - received
    # float32 of k times 2 pi r; spoilers of 300 cycles/m
    np.testing.assert_allclose(np.angle(np.exp(1j * turned)), 0, atol=1e-4)


def test_gradient_by_moments():
    sequence = random_sequence()
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(sequence.n_samples, 3)).astype(np.float32)
    moments = tf.Variable(rng.normal(size=sequence.moments.shape), dtype=tf.float32)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(weights * nominal_trajectory(sequence, moments))
    gradient = tape.gradient(loss, moments).numpy()
    # k is linear in the moments: one derivative for each is exact
    for e in (0, 4, 9, sequence.adc.size - 1):
        unit = np.zeros(sequence.moments.shape)
        unit[e] = 1.0
        np.testing.assert_allclose(
            gradient[e].sum(), (weights * by_loops(sequence, unit)).sum(), rtol=1e-5, atol=1e-5
        )


def test_refuses_moments_of_another_sequence():
    with pytest.raises(ValueError, match=r"moments has shape \(2, 3\); it must be"):
        nominal_trajectory(random_sequence(), np.zeros((2, 3)))
