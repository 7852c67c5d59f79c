"""Stored dictionaries must be those that the protocol describes."""

import re
from dataclasses import replace

import numpy as np
import pytest

from dictionaries import write_dictionary
from jobs.console import Console
from jobs.dictionary import check_rank, make_dictionary, run_dictionary, stored_dictionary
from jobs.protocol import load_protocol
from surrogate import write_weights

PROTOCOL = """
sequence: {flip_angle_deg: [20, 40, 60, 30, 20, 10], tr_ms: 10, te_ms: 4}
dictionary:
  t1_ms: {log: [200, 3000, 6]}
  t2_ms: {log: [20, 300, 5]}
  rank: 3
engine: {tolerance: 1e-4, n_subslices: 16}
"""


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Dictionary file of PROTOCOL."""
    folder = tmp_path_factory.mktemp("dictionary")
    (folder / "protocol.yaml").write_text(PROTOCOL)
    out = folder / "dict.h5"
    run_dictionary(folder / "protocol.yaml", out=out, rank=None, force=False, console=Console(quiet=True))
    return out


@pytest.fixture
def read(tmp_path, stored):
    """Read the stored dictionary with a changed protocol."""

    def read_with(old="", new="", rank=None):
        assert old in PROTOCOL
        (tmp_path / "protocol.yaml").write_text(PROTOCOL.replace(old, new) if old else PROTOCOL)
        protocol = load_protocol(tmp_path / "protocol.yaml").changed(rank=rank)
        return stored_dictionary(stored, protocol, rank)

    return read_with


@pytest.mark.parametrize(
    ("old", "new", "rank"),
    [
        ("", "", None),
        ("", "", 3),
        ("200, 3000, 6", "200, 3000.000000001, 6", None),  # rounding
        (PROTOCOL[PROTOCOL.index("engine") :], "", None),
        (PROTOCOL[PROTOCOL.index("dictionary") : PROTOCOL.index("engine")], "", None),
        (PROTOCOL[PROTOCOL.index("dictionary") : PROTOCOL.index("engine")], "", 3),
    ],
    ids=["same", "rank given", "rounding", "no engine", "no grid", "no grid, rank given"],
)
def test_dictionary_that_fits(read, old, new, rank):
    dictionary = read(old, new, rank)
    assert (dictionary.n_atoms, dictionary.rank) == (dictionary.grid.n_atoms, 3)


def test_name_of_the_network_does_not_matter(tmp_path):
    """The same weights in another file."""
    network = 'surrogate: {network: "%s"}\n'
    text = PROTOCOL[: PROTOCOL.index("engine")].replace("te_ms: 4}", "te_ms: 5, pulse: {shape: gaussian, "
        "duration_ms: 1, slice_thickness_mm: 3}}")  # fmt: skip
    (tmp_path / "protocol.yaml").write_text(text + network % "small")
    protocol = load_protocol(tmp_path / "protocol.yaml")
    write_weights(tmp_path / "mine.npz", protocol.model.weights)
    write_dictionary(tmp_path / "d.h5", make_dictionary(protocol, Console(quiet=True)))
    (tmp_path / "protocol.yaml").write_text(text + network % "mine.npz")
    protocol = load_protocol(tmp_path / "protocol.yaml")
    assert stored_dictionary(tmp_path / "d.h5", protocol, None).model["network"] == "small"
    weights = protocol.model.weights
    arrays = tuple(array + np.float32(1e-3) for array in weights.arrays)
    write_weights(tmp_path / "mine.npz", replace(weights, arrays=arrays))
    with pytest.raises(ValueError, match=r"not the dictionary of .*: sha256 is .* section surrogate"):
        stored_dictionary(tmp_path / "d.h5", load_protocol(tmp_path / "protocol.yaml"), None)


@pytest.mark.parametrize(
    ("old", "new", "difference"),
    [
        ("3000, 6", "3000, 7", "t1 is 6 values from 0.2 to 3, not 7 values from 0.2 to 3. Generate"),
        ("log: [20,", "log: [21,", "t2 is 5 values from 0.02 to 0.3, not 5 values from 0.021 to 0.3"),
        ("rank: 3", "rank: 3\n  b1: [0.9, 1]", "b1 is 1, not 2 values from 0.9 to 1"),
        ("rank: 3", "rank: 3\n  off_resonance_hz: 5", "off_resonance is 0, not 5"),
        ("rank: 3", "rank: 2", "rank is 3, not 2"),
    ],
)
def test_grid_that_differs(read, old, new, difference):
    with pytest.raises(ValueError, match=r"dict\.h5 is not the dictionary of .*protocol\.yaml") as caught:
        read(old, new)
    assert difference in str(caught.value)
    assert str(caught.value).endswith(
        "or remove the section dictionary from the protocol to use the file as it is"
    )


@pytest.mark.parametrize(
    ("old", "new", "difference"),
    [
        ("n_subslices: 16", "n_subslices: 24", "n_subslices is 16, not 24"),
        ("tolerance: 1e-4", "tolerance: 1e-3", "tolerance is 0.0001, not 0.001"),
        ("{tolerance", "{n_states: 9, tolerance", "n_states is None, not 9"),
        ("{tolerance", "{slice_extent: 2, tolerance", "slice_extent is 3.0, not 2.0"),
    ],
)
def test_engine_that_differs(read, old, new, difference):
    with pytest.raises(ValueError, match=re.escape(difference)) as caught:
        read(old, new)
    assert "remove the section engine from" in str(caught.value)


def test_all_differences_are_named(read):
    whole = PROTOCOL[PROTOCOL.index("  rank") :]
    with pytest.raises(ValueError, match="rank is 3, not 2; n_subslices is 16, not 8") as caught:
        read(whole, "  rank: 2\nengine: {n_subslices: 8}")
    assert "remove the section dictionary and the section engine from" in str(caught.value)


def test_rank_of_the_command_line(read):
    with pytest.raises(ValueError, match=r"--rank 2: .*dict\.h5 has rank 3; leave the option out"):
        read(rank=2)


def test_rank_is_limited_by_pulses_and_atoms(tmp_path):
    (tmp_path / "protocol.yaml").write_text(PROTOCOL)
    protocol = load_protocol(tmp_path / "protocol.yaml")
    check_rank(protocol.changed(rank=6))
    with pytest.raises(ValueError, match="rank=7 must be at most 6: there are 6 pulses and 29 atoms"):
        check_rank(protocol.changed(rank=7))
