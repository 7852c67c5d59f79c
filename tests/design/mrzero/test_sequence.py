"""Imaging sequences and objects say what is wrong with them."""

import dataclasses

import numpy as np
import pytest

from design.mrzero import ImagingSequence, Voxels

GOOD = {
    "flip_angle": [0.1, 0.2],
    "phase": [0.0, 0.0],
    "n_events": [1, 2],
    "moments": np.zeros((3, 3)),
    "durations": [1e-3, 1e-3, 2e-3],
    "adc": [True, False, True],
}
VOXELS = {"position": np.zeros((2, 3)), "size": [1e-3] * 3, "proton_density": 1.0, "t1": 1.0, "t2": 0.1}


def test_counts():
    sequence = ImagingSequence(**GOOD)
    assert (sequence.n_repetitions, sequence.n_samples, sequence.duration) == (2, 2, 4e-3)
    np.testing.assert_array_equal(sequence.first_event, [0, 1, 3])
    assert not sequence.moments.flags.writeable


def test_pulses_have_uses():
    assert ImagingSequence(**GOOD).use.tolist() == ["excitation"] * 2
    assert ImagingSequence(**GOOD, use="preparation").use.tolist() == ["preparation"] * 2
    sequence = ImagingSequence(**GOOD, use=("inversion", "excitation"))
    assert sequence.use.tolist() == ["inversion", "excitation"]
    assert not sequence.use.flags.writeable
    assert dataclasses.replace(sequence, phase=[0.1, 0.2]).use.tolist() == sequence.use.tolist()


def test_repetitions_are_joined():
    repetitions = [
        (0.1, 0.2, [1.0, 2.0, 3.0], 1e-3, True, 0.4),
        (0.3, 0.0, np.ones((2, 3)), [2e-3, 0], [False, True], [0.5, 0.6]),
    ]
    sequence = ImagingSequence.from_repetitions(repetitions, use=["excitation", "refocusing"])
    assert sequence.use.tolist() == ["excitation", "refocusing"]
    assert sequence.n_events.tolist() == [1, 2]
    assert sequence.moments.tolist() == [[1, 2, 3], [1, 1, 1], [1, 1, 1]]
    assert sequence.adc_phase.tolist() == [0.4, 0.5, 0.6]
    assert ImagingSequence.from_repetitions(repetitions).use.tolist() == ["excitation"] * 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_events": [1, 0]}, "n_events"),
        ({"flip_angle": [0.1]}, r"flip_angle has shape \(1,\); it must be \(2,\)"),
        ({"moments": np.zeros((3, 2))}, r"it must be \(3, 3\)"),
        ({"moments": np.full((3, 3), np.nan)}, r"moments\[0, 0\] is not finite"),
        ({"durations": [1e-3, -1.0, 0]}, r"durations\[1\]=-1 s must be at least 0"),
        ({"adc": [False] * 3}, "sample at least one"),
        ({"adc": [1, 0, 1]}, "true or false"),
        (
            {"use": ["excitation", "refocussing"]},
            r"use\[1\]='refocussing' must be one of excitation, refocusing",
        ),
        ({"use": ["excitation"]}, "one for each of 2 pulses"),
        ({"use": [1, 2]}, "one word for all pulses"),
    ],
)
def test_bad_sequences(change, message):
    with pytest.raises(ValueError, match=message):
        ImagingSequence(**{**GOOD, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"position": np.zeros((2, 2))}, "position"),
        ({"size": [1e-3, 0, 1e-3]}, "three positive lengths"),
        ({"t1": [1.0, 0.0]}, r"t1\[1\]=0.0 must be above 0"),
        ({"t2": [0.1] * 3}, "one for each of 2 voxels"),
        ({"proton_density": -1.0}, "at least 0"),
        ({"off_resonance": np.inf}, "finite"),
        ({"b1": np.nan}, "b1 holds values that are not finite"),
        ({"coil_sensitivities": np.ones((1, 3))}, r"\(n_coils, 2\)"),
    ],
)
def test_bad_objects(change, message):
    with pytest.raises(ValueError, match=message):
        Voxels(**{**VOXELS, **change})


def test_maps_become_voxels_row_by_row():
    density = np.array([[0.0, 1.0, 2.0], [3.0, 0.0, 0.0]])
    t1 = np.arange(1.0, 7.0).reshape(2, 3)
    coils = np.stack([density, 1j * density])
    space = {"fov": (0.2, 0.6), "slice_thickness": 5e-3}
    voxels = Voxels.from_maps(density, t1, 0.1, **space, coil_sensitivities=coils)
    np.testing.assert_allclose(voxels.position, [[0, -0.1, 0], [0.2, -0.1, 0], [-0.2, 0, 0]], atol=1e-15)
    np.testing.assert_allclose(voxels.size, [0.2, 0.1, 5e-3])
    np.testing.assert_array_equal(voxels.t1, [2, 3, 4])
    np.testing.assert_array_equal(voxels.coil_sensitivities, [[1, 2, 3], [1j, 2j, 3j]])
    with pytest.raises(ValueError, match=r"t2 has shape \(3,\); give one number or shape \(2, 3\)"):
        Voxels.from_maps(density, t1, [0.1] * 3, **space)
    with pytest.raises(ValueError, match="nothing to image"):
        Voxels.from_maps(0 * density, t1, 0.1, **space)
