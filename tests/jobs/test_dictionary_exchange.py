"""`epgbloch dictionary make --dry-run`, `export` and `import`."""

import numpy as np
import pytest
from typer.testing import CliRunner

from dictionaries import read_dictionary
from jobs.cli import app
from jobs.protocol import load_protocol

PROTOCOL = """
sequence: {flip_angle_deg: [20, 40, 60, 30, 20, 10], tr_ms: 10, te_ms: 4}
dictionary:
  t1_ms: {log: [200, 3000, 6]}
  t2_ms: {log: [20, 300, 5]}
  rank: 3
"""


def run(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "protocol.yaml").write_text(PROTOCOL)
    return tmp_path


def test_dry_run_tells_sizes_and_writes_nothing(folder):
    result = run("dictionary", "make", folder / "protocol.yaml", "--out", folder / "dict.h5", "--dry-run")
    assert [path.name for path in folder.iterdir()] == ["protocol.yaml"]
    n_atoms = load_protocol(folder / "protocol.yaml").grid.n_atoms
    assert f" {n_atoms} " in result.stdout
    for heading in ("time on this machine", "disk while it is made", "memory"):
        assert heading in result.stdout


@pytest.mark.parametrize("suffix", [".mat", ".npz"])
def test_exported_dictionaries_come_back(folder, suffix):
    made, arrays, back = folder / "dict.h5", folder / f"arrays{suffix}", folder / "back.h5"
    run("dictionary", "make", folder / "protocol.yaml", "--out", made)
    run("dictionary", "export", made, "--out", arrays)
    run("dictionary", "import", arrays, "--out", back)
    assert back.read_bytes() == made.read_bytes()


def test_arrays_of_another_program_need_a_protocol_for_reconstruct(folder):
    made = folder / "dict.h5"
    run("dictionary", "make", folder / "protocol.yaml", "--out", made)
    dictionary = read_dictionary(made)
    np.savez(
        folder / "foreign.npz",
        basis=dictionary.basis,
        coefficients=dictionary.coefficients * dictionary.norms[:, np.newaxis],
        t1=dictionary.tissue.t1,
        t2=dictionary.tissue.t2,
    )
    result = run("dictionary", "import", folder / "foreign.npz", "--out", folder / "a.h5")
    assert "its sequence is unknown" in result.stderr
    assert read_dictionary(folder / "a.h5").sequence is None
    options = ["--protocol", folder / "protocol.yaml", "--out", folder / "b.h5"]
    run("dictionary", "import", folder / "foreign.npz", *options)
    sequence = load_protocol(folder / "protocol.yaml").sequence
    found = read_dictionary(folder / "b.h5", sequence=sequence)
    np.testing.assert_allclose(found.norms, dictionary.norms, rtol=1e-6)  # single precision
    assert "list of atoms" in run("dictionary", "info", folder / "b.h5").stdout
