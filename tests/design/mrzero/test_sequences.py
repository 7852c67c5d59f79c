"""Builders of sequences: where and when they sample, and echoes against closed forms."""

import numpy as np
import pytest

from design.mrzero import Voxels, phase_graph_signal
from design.mrzero.sequences import (
    balanced,
    echo_planar,
    gradient_echo,
    inversion_prepared,
    phase_encoding,
    radial_gradient_echo,
    turbo_spin_echo,
)

FOV = 0.2
GRE = {"flip_angle": np.deg2rad(5), "tr": 20e-3, "te": 3e-3}
CARTESIAN = {
    "gradient_echo": lambda n, order: gradient_echo(n, FOV, order=order, **GRE),
    "turbo_spin_echo": lambda n, order: turbo_spin_echo(n, FOV, echo_spacing=6e-3, order=order),
    "balanced": lambda n, order: balanced(n, FOV, flip_angle=0.6, tr=5e-3, order=order),
}


def samples(sequence):
    """Positions in k-space (n_samples, 3), and times since the last excitation."""
    k, time, found = np.zeros(3), 0.0, []
    first = sequence.first_event
    for n, use in enumerate(sequence.use):
        if use == "refocusing":
            k = -k
        elif use == "excitation":
            k, time = np.zeros(3), 0.0
        for e in range(first[n], first[n + 1]):
            k, time = k + sequence.moments[e], time + sequence.durations[e]
            if sequence.adc[e]:
                found.append((*k, time))
    array = np.array(found)
    return array[:, :3], array[:, 3]


def voxel(t1=0.8, t2=0.07, **fields):
    return Voxels([[0.0, 0.0, 0.0]], [1e-6, 1e-6, 5e-3], 1.0, t1, t2, **fields)


def centres(sequence, voxels):
    """Signal at the centre of every line of a square matrix, over exp(-0) of a point in space."""
    signal = phase_graph_signal(sequence, voxels)[0]
    n = round(np.sqrt(signal.size))
    return signal.reshape(n, n)[:, n // 2]


@pytest.mark.parametrize("n", [5, 8])
@pytest.mark.parametrize("order", ["linear", "centric"])
@pytest.mark.parametrize("name", CARTESIAN)
def test_cartesian_lines(name, order, n):
    k, _ = samples(CARTESIAN[name](n, order))
    number = np.rint(k * FOV).astype(int)
    np.testing.assert_allclose(number, k * FOV, atol=1e-9)
    lines = phase_encoding(n, order)
    np.testing.assert_array_equal(number[:, 1].reshape(n, n), np.repeat(lines[:, np.newaxis], n, axis=1))
    np.testing.assert_array_equal(number[:, 0].reshape(n, n), np.tile(np.arange(n) - n // 2, (n, 1)))
    assert not number[:, 2].any()


def test_order():
    np.testing.assert_array_equal(phase_encoding(6, "linear"), [-3, -2, -1, 0, 1, 2])
    np.testing.assert_array_equal(phase_encoding(6, "centric"), [0, -1, 1, -2, 2, -3])
    with pytest.raises(ValueError, match=r"order=.spiral"):
        phase_encoding(6, "spiral")


@pytest.mark.parametrize("n", [5, 8])
def test_echo_planar_lines(n):
    sequence = echo_planar(n, FOV, te=20e-3)
    k, time = samples(sequence)
    number = k * FOV
    axis = np.arange(n) - n // 2
    expected_x = np.concatenate([axis if i % 2 == 0 else axis[::-1] for i in range(n)])
    np.testing.assert_allclose(number[:, 0], expected_x, atol=1e-9)
    np.testing.assert_allclose(number[:, 1], np.repeat(axis, n), atol=1e-9)
    centre = np.flatnonzero(np.abs(number).max(axis=1) < 1e-6)
    np.testing.assert_allclose(time[centre], [20e-3], rtol=1e-12)
    np.testing.assert_allclose(sequence.moments.sum(axis=0), 0, atol=1e-9)


def test_radial_lines():
    n = 8
    k, time = samples(radial_gradient_echo(n, FOV, n_spokes=3, **GRE))
    angle = np.pi * np.arange(3)[:, np.newaxis] / 3
    radius = (np.arange(n) - n // 2) / FOV
    expected = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.zeros((3, n))], axis=2)
    np.testing.assert_allclose(k.reshape(3, n, 3), expected, atol=1e-9)
    np.testing.assert_allclose(time.reshape(3, n)[:, n // 2], 3e-3, rtol=1e-12)


@pytest.mark.parametrize(
    ("sequence", "te", "tr"),
    [
        (gradient_echo(8, FOV, **GRE), 3e-3, 20e-3),
        (balanced(8, FOV, flip_angle=0.6, tr=5e-3), 2.5e-3, 5e-3),
        (gradient_echo(7, FOV, n_dummies=3, **GRE), 3e-3, 20e-3),
    ],
)
def test_times(sequence, te, tr):
    _, time = samples(sequence)
    n = round(np.sqrt(len(time)))
    np.testing.assert_allclose(time.reshape(n, n)[:, n // 2], te, rtol=1e-12)
    repetition = np.add.reduceat(sequence.durations, sequence.first_event[:-1])
    np.testing.assert_allclose(repetition[-n:], tr, rtol=1e-12)


def test_flash_approaches_its_steady_state():
    t1, t2, angle, tr, te = 0.1, 1e-3, 0.4, 20e-3, 3e-3
    sequence = gradient_echo(6, FOV, flip_angle=angle, tr=tr, te=te, n_dummies=60, rf_spoiling=0.0)
    e1 = np.exp(-tr / t1)
    steady = np.sin(angle) * (1 - e1) / (1 - e1 * np.cos(angle)) * np.exp(-te / t2)
    # (e1 cos(angle))^60 = 2e-8 of the way is left
    np.testing.assert_allclose(centres(sequence, voxel(t1, t2))[-1], steady, rtol=1e-6)


def test_spoiled_train_from_equilibrium():
    t1, t2, angle, tr, te = 0.8, 1e-3, 0.2, 20e-3, 3e-3
    found = centres(gradient_echo(6, FOV, flip_angle=angle, tr=tr, te=te), voxel(t1, t2))
    z, expected = 1.0, []
    for _ in range(6):
        expected.append(z * np.sin(angle) * np.exp(-te / t2))
        z = 1 + (z * np.cos(angle) - 1) * np.exp(-tr / t1)
    # exp(-tr / t2) = 2e-9 of the transverse magnetisation is left at the next pulse
    np.testing.assert_allclose(found, expected, rtol=1e-7)


def test_echoes_decay_with_t2_alone():
    found = centres(turbo_spin_echo(8, FOV, echo_spacing=6e-3), voxel(t2_prime=4e-3, off_resonance=60.0))
    np.testing.assert_allclose(found, np.exp(-6e-3 * np.arange(1, 9) / 0.07), rtol=1e-6)  # voxel of 1 um


def test_stimulated_echoes_add_in_phase():
    """Without relaxation the second echo is sin^4(a / 2) + sin^2(a) / 2 with the phases of CPMG."""
    a = np.deg2rad(120)
    found = centres(turbo_spin_echo(6, FOV, echo_spacing=6e-3, refocusing_angle=a), voxel(t1=1e6, t2=1e6))
    first = np.sin(a / 2) ** 2
    np.testing.assert_allclose(found[:2], [first, first**2 + np.sin(a) ** 2 / 2], rtol=1e-6)


def test_balanced_reaches_its_steady_state():
    t1, t2, angle, tr = 0.3, 0.1, 0.7, 5e-3
    found = centres(balanced(12, FOV, flip_angle=angle, tr=tr), voxel(t1, t2))
    e1, e2 = np.exp(-tr / t1), np.exp(-tr / t2)
    steady = np.sin(angle) * (1 - e1) / (1 - (e1 - e2) * np.cos(angle) - e1 * e2) * np.exp(-tr / 2 / t2)
    assert found[0].real > 0
    # from sin(angle / 2) M0 it decays monotonically and in phase
    assert np.all(np.diff(found.real) < 0)
    np.testing.assert_allclose(found.imag, 0, atol=1e-9)
    assert found[-1].real > steady


def test_inversion_and_recovery():
    t1, t2 = 0.8, 1e-3
    settings = {"flip_angle": 0.1, "tr": 15e-3, "te": 8e-3}
    ti, rest = [0.2, 1.0], [0.4, 0.7]
    sequence = inversion_prepared(4, FOV, inversion_times=ti, recovery_times=rest, **settings)
    np.testing.assert_array_equal(sequence.use, (["inversion"] + ["excitation"] * 4) * 2)
    found = phase_graph_signal(sequence, voxel(t1, t2))[0].reshape(2, 4, 4)[:, 0, 2]
    z, expected = 1.0, []
    for i in range(2):
        z = 1 + (-z - 1) * np.exp(-ti[i] / t1)
        expected.append(z * np.sin(0.1) * np.exp(-8e-3 / t2))
        for _ in range(4):
            z = 1 + (z * np.cos(0.1) - 1) * np.exp(-15e-3 / t1)
        z = 1 + (z - 1) * np.exp(-rest[i] / t1)
    np.testing.assert_allclose(found, expected, rtol=1e-6)  # exp(-15 ms / T2) is left of earlier echoes
    np.testing.assert_allclose(sequence.duration, sum(ti) + sum(rest) + 8 * 15e-3)


def test_inversion_before_echo_planar_nulls():
    sequence = echo_planar(4, FOV, te=10e-3, inversion_time=0.8 * np.log(2))
    assert np.abs(phase_graph_signal(sequence, voxel())).max() < 1e-9
    assert np.abs(phase_graph_signal(echo_planar(4, FOV, te=10e-3), voxel())).max() > 0.5


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: gradient_echo(64, FOV, flip_angle=0.1, tr=20e-3, te=2e-3),
            r"te=2 ms must exceed the 2.64 ms",
        ),
        (lambda: gradient_echo(64, FOV, flip_angle=0.1, tr=5e-3, te=3e-3), r"tr - te=2 ms must exceed"),
        (lambda: turbo_spin_echo(96, FOV, echo_spacing=6e-3, dwell=8e-5), r"half of echo_spacing=3 ms"),
        (lambda: balanced(64, FOV, flip_angle=1.0, tr=1.5e-3), r"half of tr=0.75 ms"),
        (lambda: echo_planar(64, FOV, te=20e-3), r"te=20 ms must exceed the .* ms of 32 lines"),
        (lambda: gradient_echo(8, FOV, flip_angle=[0.1] * 7, tr=20e-3, te=3e-3), r"each of 8 pulses"),
        (lambda: gradient_echo(0, FOV, flip_angle=0.1, tr=20e-3, te=3e-3), "matrix=0"),
        (lambda: gradient_echo(8, -FOV, flip_angle=0.1, tr=20e-3, te=3e-3), "fov=-0.2"),
        (
            lambda: inversion_prepared(8, FOV, inversion_times=[1], recovery_times=[1, 2], **GRE),
            "one value for each block",
        ),
    ],
)
def test_settings_that_do_not_fit(build, message):
    with pytest.raises(ValueError, match=message):
        build()
