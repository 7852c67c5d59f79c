"""The phase distribution graph against isochromats and closed forms."""

import numpy as np
import pytest

from design.mrzero import ImagingSequence, Voxels, isochromat_signal, phase_graph_signal


def nrmse(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def test_agrees_with_isochromats(sequence, make_voxels):
    voxels = make_voxels()
    exact = phase_graph_signal(sequence, voxels)
    assert exact.shape == (1, sequence.n_samples)
    few, many = (nrmse(isochromat_signal(sequence, voxels, n), exact) for n in (512, 8192))
    # spins sample the voxel; the error of an even sample falls nearly as 1 / n, here to well below 1e-2
    assert many < 5e-3
    assert many < 0.5 * few or few < 1e-3


def test_decay_within_voxels_agrees_with_isochromats(sequence, make_voxels):
    voxels = make_voxels(t2_prime=0.02)
    expected = isochromat_signal(sequence, voxels, 8192)
    # the tails of the Lorentzian converge slowly
    assert nrmse(phase_graph_signal(sequence, voxels), expected) < 2e-2
    assert nrmse(phase_graph_signal(sequence, make_voxels()), expected) > 3e-2


def one_voxel(**changes):
    fields = {"proton_density": 2.0, "t1": 0.8, "t2": 0.06, **changes}
    return Voxels([[0.01, -0.02, 0.003]], [2e-3, 2e-3, 5e-3], **fields)


def pulse(angle, phase, moment, time, sampled):
    return (angle, phase, [moment], [time], [sampled], 0.0)


def test_free_induction_decay():
    voxels = one_voxel(t2_prime=0.05, off_resonance=30.0, b1=0.9 * np.exp(0.2j))
    sequence = ImagingSequence.from_repetitions([pulse(0.7, 0.4, [100.0, 50.0, -40.0], 0.02, True)])
    (signal,) = phase_graph_signal(sequence, voxels)[0]
    cycles = np.dot(voxels.position[0], [100.0, 50.0, -40.0]) + 30.0 * 0.02
    shape = np.sinc(0.2) * np.sinc(0.1) * np.sinc(0.2)
    expected = 2 * np.sin(0.63) * np.exp(0.6j - 2j * np.pi * cycles - 0.02 / 0.06 - 0.02 / 0.05) * shape
    np.testing.assert_allclose(signal, expected, rtol=1e-12)


def test_spin_echo_refocuses_field_and_moment_but_not_t2():
    voxels = one_voxel(t2_prime=0.01, off_resonance=77.0)
    moment = [500.0, 0.0, 800.0]  # 1 and 4 whole cycles over the voxel: nothing but the echo is seen
    for angle in (np.pi, 2.0):
        sequence = ImagingSequence.from_repetitions(
            [pulse(np.pi / 2, 0.0, moment, 0.015, False), pulse(angle, np.pi / 2, moment, 0.015, True)]
        )
        (signal,) = phase_graph_signal(sequence, voxels)[0]
        np.testing.assert_allclose(signal, 2 * np.sin(angle / 2) ** 2 * np.exp(-0.03 / 0.06), rtol=1e-12)


def test_inversion_recovers_with_t1():
    voxels = one_voxel()
    sequence = ImagingSequence.from_repetitions(
        [pulse(np.pi, 0.0, [0.0, 0.0, 0.0], 0.3, False), pulse(np.pi / 2, 0.0, [0.0, 0.0, 0.0], 0.0, True)]
    )
    (signal,) = phase_graph_signal(sequence, voxels)[0]
    np.testing.assert_allclose(signal, 2 * (1 - 2 * np.exp(-0.3 / 0.8)), atol=1e-12)


def test_coils_weigh_voxels(make_voxels, sequence):
    coils = np.random.default_rng(1).normal(size=(2, 36)) + 0.3j
    signal = phase_graph_signal(sequence, make_voxels(coil_sensitivities=coils))
    for i in range(2):
        density = make_voxels().proton_density
        parts = [
            phase_graph_signal(sequence, make_voxels(proton_density=density * np.maximum(part, 0)))
            for part in (coils[i].real, -coils[i].real)
        ]
        plain = phase_graph_signal(sequence, make_voxels())
        np.testing.assert_allclose(signal[i], (parts[0] - parts[1] + 0.3j * plain)[0], atol=1e-12)


def test_threshold_drops_states_and_costs_little(make_voxels):
    rng = np.random.default_rng(5)
    sequence = ImagingSequence.from_repetitions(
        [pulse(0.5, 0.0, [0.0, 0.0, 311.0 * (1 + i % 3)], 5e-3, True) for i in range(30)]
    )
    voxels = make_voxels(t1=rng.uniform(0.3, 1, 36))
    exact = phase_graph_signal(sequence, voxels)
    dropped = nrmse(phase_graph_signal(sequence, voxels, threshold=1e-3), exact)
    assert 0 < dropped < 1e-2
    with pytest.raises(ValueError, match="threshold"):
        phase_graph_signal(sequence, voxels, threshold=1.0)


def test_diffusion_of_a_spin_echo_is_stejskal_tanner():
    g, t = [8e4, 0.0, 3e4], 0.02
    sequence = ImagingSequence.from_repetitions(
        [pulse(np.pi / 2, 0.0, g, t, False), pulse(np.pi, np.pi / 2, g, t, True)]
    )
    (moving, resting) = (phase_graph_signal(sequence, one_voxel(diffusion=d))[0, 0] for d in (2e-9, 0.0))
    b = (2 * np.pi) ** 2 * np.dot(g, g) * 2 * t / 3  # gradients on all the time: delta = Delta = t
    np.testing.assert_allclose(moving / resting, np.exp(-b * 2e-9), rtol=1e-12)


def test_diffusion_of_a_stimulated_echo():
    k, wait = 1e4, 0.3
    quarter = np.pi / 2
    sequence = ImagingSequence.from_repetitions(
        [
            pulse(quarter, 0.0, [k, 0, 0], 0.0, False),
            pulse(quarter, 0.0, [0, 0, 0], wait, False),
            pulse(quarter, 0.0, [k, 0, 0], 0.0, True),
        ]
    )
    moving, resting = (phase_graph_signal(sequence, one_voxel(diffusion=d))[0, 0] for d in (1e-9, 0.0))
    np.testing.assert_allclose(moving / resting, np.exp(-((2 * np.pi * k) ** 2) * wait * 1e-9), rtol=1e-12)


def test_isochromats_refuse_diffusion(make_voxels, sequence):
    with pytest.raises(ValueError, match="diffusion must be 0"):
        isochromat_signal(sequence, make_voxels(diffusion=1e-9))
