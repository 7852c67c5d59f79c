"""Tissue: conversion, indexing, checks."""

import numpy as np
import pytest

from epgbloch import Tissue

FIELDS = ("t1", "t2", "b1", "off_resonance")


def test_numbers_are_repeated_and_vectors_kept():
    tissue = Tissue(t1=[1, 2, 3], t2=0.1, off_resonance=np.float32([5, 0, -5]))
    assert tissue.n_atoms == 3
    for name, expected in zip(FIELDS, ([1, 2, 3], [0.1] * 3, [1] * 3, [5, 0, -5]), strict=True):
        assert getattr(tissue, name).dtype == np.float64
        np.testing.assert_array_equal(getattr(tissue, name), expected)


def test_a_single_atom_from_numbers():
    assert Tissue(1.0, 1.0).n_atoms == 1  # T2 = T1 is allowed


def test_fields_are_read_only_copies():
    t1 = np.array([1.0, 2.0])
    tissue = Tissue(t1, 0.1)
    t1[0] = 9
    assert tissue.t1[0] == 1
    for name in FIELDS:
        with pytest.raises(ValueError, match="read-only"):
            getattr(tissue, name)[0] = 1
    with pytest.raises(AttributeError):
        tissue.t1 = t1


@pytest.mark.parametrize("index", [slice(1, 3), np.array([2, 0]), np.array([True, False, True])])
def test_indexing_selects_the_same_atoms_of_every_field(index):
    tissue = Tissue([1, 2, 3], [0.1, 0.2, 0.3], [0.9, 1.0, 1.1], [-4, 0, 4])
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(tissue[index], name), getattr(tissue, name)[index])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"t2": [0.1, 1.2]}, r"t2=1\.2 s exceeds t1=1 s at atom 1; .* drop the atom or swap"),
        ({"t1": [1, 0]}, r"t1\[1\]=0 must be positive; leave out background"),
        ({"t2": -0.1}, r"t2\[0\]=-0\.1 must be positive"),
        ({"b1": [1, -1]}, r"b1\[1\]=-1 must be positive"),
        ({"t1": [1, np.inf]}, r"t1\[1\]=inf is not finite; remove"),
        ({"t2": np.nan}, r"^t2=nan is not finite"),
        ({"b1": [np.nan, 1]}, r"b1\[0\]=nan is not finite"),
        ({"off_resonance": -np.inf}, r"off_resonance=-inf is not finite"),
        ({"t1": [1, 2, 3], "t2": [0.1, 0.2]}, "t2 has 2 values for 3 atoms; give 1 or 3"),
        ({"t1": [], "t2": []}, "t1 is empty"),
        ({"t1": [[1, 2]]}, r"t1 has shape \(1, 2\); give a number or a one-dim"),
        ({"t1": [[1], [1, 2]]}, "t1=.* is not numeric; give real numbers in seconds"),
        ({"t1": "0.9"}, "t1='0.9' is not numeric"),
        ({"t2": None}, "t2=None is not numeric"),
        ({"b1": [True]}, r"b1=\[True\] is not numeric; give real numbers in plain units"),
        ({"off_resonance": 1j}, "off_resonance=1j is not numeric; give real numbers in Hz"),
    ],
)
def test_bad_values_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Tissue(**{"t1": 1.0, "t2": 0.1} | values)
