"""The command line: every mistake ends as one line, exit code 1 and nothing left behind."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

import jobs.cli
from dictionaries import read_dictionary
from jobs.cli import app

ROOT = Path(jobs.cli.__file__).parents[1]
PROTOCOL = """
sequence:
  flip_angle_deg: {train: sin_squared, n_pulses: 60, angles_deg: [20, 60, 40]}
  tr_ms: 10
  te_ms: 4
  inversion_time_ms: 20
dictionary:
  t1_ms: {log: [200, 5000, 12]}
  t2_ms: {log: [20, 2500, 12]}
  rank: 3
reconstruction: {iterations: 3, coils: adaptive}
"""
TO_CSV = ["simulate", "protocol.yaml", "--out", "signal.csv"]
SIMULATE = [*TO_CSV, "--t1-ms", "800", "--t2-ms", "80"]
DICTIONARY = ["dictionary", "make", "protocol.yaml", "--out", "dict.h5"]
PHANTOM = ["phantom", "--protocol", "protocol.yaml", "--out", "phantom", "--matrix", "16", "--coils", "2"]
RECONSTRUCT = ["reconstruct", "scan.mrd", "--protocol", "protocol.yaml", "--out", "maps"]


def run(*arguments):
    return CliRunner().invoke(app, [*arguments, "--quiet"])


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    """Raw data of a small phantom."""
    folder = tmp_path_factory.mktemp("scan")
    (folder / "protocol.yaml").write_text(PROTOCOL)
    arguments = ["phantom", "--protocol", f"{folder}/protocol.yaml", "--out", f"{folder}/phantom"]
    result = run(*arguments, "--matrix", "32", "--coils", "2")
    assert result.exit_code == 0, result.output
    return folder / "phantom" / "scan.mrd"


@pytest.fixture
def place(tmp_path, monkeypatch, scan):
    """Working folder with a protocol and a scan."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "protocol.yaml").write_text(PROTOCOL)
    shutil.copy(scan, tmp_path / "scan.mrd")
    return tmp_path


def everything(folder):
    return {path.relative_to(folder): path.is_file() and path.read_bytes() for path in folder.rglob("*")}


def assert_fails(place, arguments, message):
    """One line on stderr, exit code 1, and the folder as it was."""
    before = everything(place)
    result = run(*arguments)
    assert result.exit_code == 1, (result.output, result.exception)
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    assert everything(place) == before


@pytest.mark.parametrize("command", ["simulate", "dictionary", "phantom", "reconstruct"])
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("tr_ms: 10", "tr_s: 0.01", "protocol.yaml: sequence.tr_s: unknown key; use tr_ms (in milliseconds)"),
        ("te_ms: 4", "te_ms: 12", "protocol.yaml: sequence: te=0.012 s must be shorter than tr=0.01 s"),
        ("te_ms: 4", "te_ms: -4", "protocol.yaml: sequence.te_ms: must be finite and above 0; got -4"),
        ("te_ms: 4", "te_ms: .nan", "protocol.yaml: sequence.te_ms: must be finite and above 0; got nan"),
        ("rank: 3", "rnak: 3", "protocol.yaml: dictionary.rnak: unknown key; did you mean rank?"),
    ],
)
def test_bad_protocols(place, command, old, new, message):
    assert old in PROTOCOL
    (place / "protocol.yaml").write_text(PROTOCOL.replace(old, new))
    arguments = {
        "simulate": SIMULATE,
        "dictionary": DICTIONARY,
        "phantom": PHANTOM,
        "reconstruct": RECONSTRUCT,
    }[command]
    assert_fails(place, arguments, message)


@pytest.mark.parametrize("arguments", [DICTIONARY, RECONSTRUCT], ids=lambda arguments: arguments[0])
def test_protocol_without_dictionary(place, arguments):
    (place / "protocol.yaml").write_text(PROTOCOL[: PROTOCOL.index("dictionary:")])
    assert_fails(place, arguments, "protocol.yaml: dictionary: missing; this command needs")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*SIMULATE, "--t1-ms", "900,990", "--t2-ms", "70"], "t2 has 2 values for 3 atoms; give 1 or 3"),
        ([*TO_CSV, "--t1-ms", "80", "--t2-ms", "800"], "t2=0.8 s exceeds t1=0.08 s"),
        ([*TO_CSV, "--t1-ms", "-5", "--t2-ms", "4"], "must be positive"),
        ([*TO_CSV, "--t1-ms", "nan", "--t2-ms", "4"], "not finite"),
        ([*TO_CSV, "--t1-ms", "8,x", "--t2-ms", "4"], "--t1-ms 8,x: give numbers"),
        ([*SIMULATE, "--b1", "0"], "b1[0]=0 must be positive"),
        ([*SIMULATE, "--out", "a.txt"], "--out a.txt: the name must end in .csv or .h5"),
        ([*SIMULATE, "--figure", "a.pdf"], "--figure a.pdf: the name must end in .png"),
        (["simulate", "none.yaml", *SIMULATE[2:]], "none.yaml: cannot read the protocol: No such file"),
        ([*DICTIONARY, "--rank", "0"], "--rank 0: must be at least 1"),
        ([*DICTIONARY, "--rank", "61"], "rank=61 must be"),
        ([*DICTIONARY, "--rank", "3", "--truncation-error", "0.1"], "--truncation-error exclude each other"),
        ([*DICTIONARY, "--truncation-error", "2"], "truncation_error=2.0 must lie between"),
        ([*DICTIONARY, "--out", "."], "is a folder; give a file name"),
        ([*DICTIONARY, "--dry-run", "--truncation-error", "0.1"], "leave --truncation-error out"),
        ([*DICTIONARY, "--dry-run", "--scheduler", "tcp://a:1"], "leave --scheduler out"),
        (["dictionary", "info", "none.h5"], "none.h5: No such file"),
        (["dictionary", "info", "protocol.yaml"], "protocol.yaml is not an HDF5 file"),
        ([*PHANTOM, "--coils", "0"], "--coils 0: must be at least 1"),
        ([*PHANTOM, "--matrix", "0"], "--matrix 0: must be at least 1"),
        ([*PHANTOM, "--repetitions", "0"], "--repetitions 0: must be at least 1"),
        ([*PHANTOM, "--seed", "-1"], "--seed -1: must be at least 0"),
        ([*PHANTOM, "--snr", "nan"], "--snr nan: must be a positive number"),
        ([*PHANTOM, "--snr", "-4"], "--snr -4: must be a positive number"),
        ([*PHANTOM, "--repetitions", "2000"], "raw data can hold 65535, not 120000 readouts"),
        ([*PHANTOM, "--matrix", "40000"], "raw data can hold 65535, not 80000 samples a readout"),
        ([*PHANTOM, "--coils", "70000"], "raw data can hold 65535, not 70000 coils"),
        ([*RECONSTRUCT, "--iterations", "0"], "--iterations 0: must be at least 1"),
        ([*RECONSTRUCT, "--rank", "0"], "--rank 0: must be at least 1"),
        ([*RECONSTRUCT, "--rank", "61"], "rank=61 must be at most 60"),
        ([*RECONSTRUCT, "--mask", "none.nii"], "--mask none.nii: cannot be read"),
        ([*RECONSTRUCT, "--mask", "protocol.yaml"], "--mask protocol.yaml: cannot be read"),
        ([*RECONSTRUCT, "--subject", "a b"], "--subject a b: a BIDS label"),
        ([*RECONSTRUCT, "--dictionary", "none.h5"], "none.h5"),
        ([*RECONSTRUCT, "--dictionary", "protocol.yaml"], "protocol.yaml"),
        (["reconstruct", "none.mrd", *RECONSTRUCT[2:]], "none.mrd: no such file"),
        (["reconstruct", "protocol.yaml", *RECONSTRUCT[2:]], "protocol.yaml: not an HDF5 file"),
    ],
)  # fmt: skip
def test_bad_arguments(place, arguments, message):
    assert_fails(place, arguments, message)


def test_truncated_scan(place):
    content = (place / "scan.mrd").read_bytes()
    (place / "scan.mrd").write_bytes(content[: len(content) // 2])
    assert_fails(place, RECONSTRUCT, "scan.mrd: the file is truncated")


def edit(path, change):
    """Change the acquisition table of a raw-data file."""
    with h5py.File(path, "r+") as file:
        table = file["dataset/data"][...]
        change(table)
        del file["dataset/data"]
        file["dataset"].create_dataset("data", data=table, maxshape=(None,), chunks=(64,))


def remove_trajectory(table):
    table["head"]["trajectory_dimensions"] = 0
    for record in table:
        record["traj"] = np.zeros(0, np.float32)


def set_nan(table):
    table[-1]["data"][3] = np.nan


def remove_coils(table):
    table["head"]["active_channels"] = 0
    for record in table:
        record["data"] = np.zeros(0, np.float32)


def set_zero(table):
    for record in table[1:]:  # row 0 is the noise
        record["data"] *= 0


def set_noise(table):
    rng = np.random.default_rng(0)
    for record in table[1:]:
        record["data"] = rng.choice(table[0]["data"], record["data"].size)


@pytest.mark.parametrize("options", [["--rank", "0"], ["--rank", "61"], ["--iterations", "0"]])
def test_cheap_mistakes_are_found_before_the_scan_is_read(place, monkeypatch, options):
    monkeypatch.setattr("reconstruction.rawdata.RawData.acquisition", None)
    assert_fails(place, [*RECONSTRUCT, *options], "must be at")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove_trajectory, "no trajectory in 2 or 3 dimensions"),
        (set_nan, "it must be finite"),
        (remove_coils, "has no receiver coils"),
        (set_zero, "slice 0: the k-space is zero everywhere"),
        (set_noise, "slice 0: the k-space holds no more energy than the noise readouts"),
    ],
)
def test_damaged_scans(place, change, message):
    edit(place / "scan.mrd", change)
    assert_fails(place, RECONSTRUCT, message)


@pytest.mark.parametrize(
    ("n_pulses", "message"),
    [(90, "60 readouts a slice are fewer than the 90 pulses"), (45, "are not a multiple of the 45 pulses")],
)
def test_readouts_and_pulses_do_not_fit(place, n_pulses, message):
    (place / "protocol.yaml").write_text(PROTOCOL.replace("n_pulses: 60", f"n_pulses: {n_pulses}"))
    assert_fails(place, RECONSTRUCT, message)


def test_slices_that_the_scan_does_not_hold(place):
    (place / "protocol.yaml").write_text(PROTOCOL.replace("iterations: 3", "iterations: 3, slices: [0, 1]"))
    assert_fails(place, RECONSTRUCT, "reconstruction.slices: slice 1 is not in scan.mrd")


def test_dictionary_of_another_sequence(place):
    assert run(*DICTIONARY).exit_code == 0
    (place / "protocol.yaml").write_text(PROTOCOL.replace("te_ms: 4", "te_ms: 5"))
    arguments = [*RECONSTRUCT, "--dictionary", "dict.h5"]
    assert_fails(place, arguments, "the dictionary was made for another sequence: te differs")


def test_dictionary_of_another_rank(place):
    assert run(*DICTIONARY).exit_code == 0
    arguments = [*RECONSTRUCT, "--dictionary", "dict.h5", "--rank", "4"]
    assert_fails(place, arguments, "--rank 4: dict.h5 has rank 3; leave the option out")


OUTPUTS = [SIMULATE, PHANTOM, RECONSTRUCT]
EVERY_OUTPUT = pytest.mark.parametrize(
    "arguments", [*OUTPUTS, DICTIONARY], ids=lambda arguments: arguments[0]
)


def with_output(arguments, out):
    position = arguments.index("--out") + 1
    return [*arguments[:position], out, *arguments[position + 1 :]]


@EVERY_OUTPUT
def test_output_that_cannot_be_written(place, arguments):
    out = "protocol.yaml/below/" + arguments[arguments.index("--out") + 1]
    assert_fails(place, with_output(arguments, out), "Not a directory; choose another place")


@EVERY_OUTPUT
def test_existing_output_needs_force(place, arguments):
    assert run(*arguments).exit_code == 0
    assert_fails(place, arguments, "give --force to replace it")
    out = place / arguments[arguments.index("--out") + 1]
    before = out.stat().st_ino
    assert run(*arguments, "--force").exit_code == 0
    assert out.stat().st_ino != before


@pytest.mark.parametrize("arguments", OUTPUTS, ids=lambda arguments: arguments[0])
def test_full_disk(place, monkeypatch, arguments):
    def no_space(*_arguments, **_options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", no_space)
    monkeypatch.setattr(Path, "rename", no_space)
    resumable = "No space left on device; free space or choose another folder"
    message = resumable if arguments[0] == "reconstruct" else "is full; free space or choose another place"
    assert_fails(place, arguments, message)


def test_dictionary_on_a_full_disk_keeps_its_parts(place, monkeypatch):
    replace = os.replace

    def no_space(source, target):
        if "000000000000" in str(target):  # the first atoms, after the subspace
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", no_space)
        result = run(*DICTIONARY)
    assert result.exit_code == 1
    assert "dict.h5: No space left on device; free space" in result.stderr
    assert "Run again to continue" in result.stderr
    assert sorted(path.name for path in (place / "dict.h5.parts").iterdir()) == [
        "label.json",
        "lock",
        "subspace.npz",
    ]
    assert run(*DICTIONARY).exit_code == 0
    assert not (place / "dict.h5.parts").exists()


def test_dictionary_by_a_link_and_in_place_of_an_earlier_one(place):
    (place / "elsewhere").mkdir()
    (place / "dict.h5").symlink_to("elsewhere/real.h5")
    assert run(*DICTIONARY).exit_code == 0
    assert (place / "dict.h5").is_symlink()
    made = (place / "elsewhere" / "real.h5").read_bytes()
    assert run(*DICTIONARY, "--rank", "2", "--force").exit_code == 0
    assert (place / "dict.h5").is_symlink()
    assert (place / "elsewhere" / "real.h5").read_bytes() != made
    assert [path.name for path in (place / "elsewhere").iterdir()] == ["real.h5"]


@pytest.mark.parametrize("moment", ["while the file is written", "before the rename", "after the rename"])
def test_forced_dictionary_killed_at_its_end_is_completed(place, moment):
    """The earlier file stays until the new one is complete; calling again ends well."""
    assert run(*DICTIONARY).exit_code == 0
    old = (place / "dict.h5").read_bytes()
    arguments = [*DICTIONARY, "--rank", "2", "--force"]
    code = f"""
import os
from pathlib import Path
import dictionaries.file_generation as generation
from jobs.cli import app

replace = os.replace

def killed(source, target):
    if Path(target).name != "dict.h5" or {moment!r} == "after the rename":
        replace(source, target)
    if Path(target).name == "dict.h5":
        os._exit(9)

os.replace = killed
if {moment!r} == "while the file is written":
    generation.write_blocks = lambda *_: os._exit(9)
app({arguments!r})
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", code], cwd=place, env=environment).returncode == 9
    assert ((place / "dict.h5").read_bytes() == old) == (moment != "after the rename")
    assert run(*arguments).exit_code == 0
    assert not (place / "dict.h5.parts").exists()
    assert read_dictionary(place / "dict.h5").rank == 2


@pytest.mark.parametrize("arguments", [PHANTOM, RECONSTRUCT], ids=lambda arguments: arguments[0])
def test_too_little_space_is_found_before_the_work(place, monkeypatch, arguments):
    usage = shutil.disk_usage(place)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    assert_fails(place, arguments, "MB free; choose another place")


def test_foreign_folder_is_never_replaced(place):
    (place / "maps").mkdir()
    (place / "maps" / "thesis.txt").write_text("years of work")
    assert_fails(
        place, [*RECONSTRUCT, "--force"], "holds thesis.txt, which epgbloch reconstruct did not write"
    )


@pytest.mark.parametrize("arguments", [PHANTOM, RECONSTRUCT, ["demo", "--out", "."]], ids=lambda a: a[0])
@pytest.mark.parametrize("out", [".", ".."])
def test_current_folder_is_never_replaced(place, monkeypatch, arguments, out):
    (place / "below").mkdir()
    monkeypatch.chdir(place / "below")
    for name in ("protocol.yaml", "scan.mrd"):
        shutil.copy(place / name, name)
    assert_fails(place, with_output(arguments, out), "is the current folder or one around it")


def test_mni152_needs_nilearn(place, monkeypatch):
    monkeypatch.setitem(sys.modules, "nilearn", None)
    assert_fails(place, [*PHANTOM, "--template", "mni152"], "pip install 'epgbloch[phantom]'")


@pytest.mark.parametrize(
    "options", [["--seed", "1"], ["--snr", "20"], ["--coils", "3"], ["--repetitions", "2"]]
)
def test_options_of_the_phantom_change_its_data(place, options):
    assert run(*PHANTOM).exit_code == 0
    before = (place / "phantom" / "scan.mrd").read_bytes()
    assert run(*PHANTOM, "--force").exit_code == 0
    assert (place / "phantom" / "scan.mrd").read_bytes() == before
    assert run(*PHANTOM, "--force", *options).exit_code == 0
    assert (place / "phantom" / "scan.mrd").read_bytes() != before


def test_choices_are_those_of_the_pipeline():
    from jobs.protocol import GRADIENT_DELAYS
    from reconstruction.coils import COIL_METHODS

    assert [method.value for method in jobs.cli._Coils] == list(COIL_METHODS)
    assert tuple(choice.value for choice in jobs.cli._GradientDelays) == GRADIENT_DELAYS


def test_usage_errors_have_code_2(place):
    assert run("reconstruct", "scan.mrd").exit_code == 2
    assert run(*RECONSTRUCT, "--coils", "sum").exit_code == 2
    assert run("no-such-command").exit_code == 2


def test_interrupt_has_code_130(place, monkeypatch):
    def interrupted(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("jobs.phantom.simulate_acquisition", interrupted)
    before = everything(place)
    result = run(*PHANTOM)
    assert result.exit_code == 130
    assert result.stderr == "interrupted\n"
    assert everything(place) == before


def test_debug_and_mistakes_of_the_program_keep_the_traceback(place, monkeypatch):
    (place / "protocol.yaml").write_text("sequence: 3")
    assert isinstance(run(*DICTIONARY, "--debug").exception, ValueError)
    monkeypatch.setenv("EPGBLOCH_DEBUG", "1")
    assert isinstance(run(*DICTIONARY).exception, ValueError)
    monkeypatch.setenv("EPGBLOCH_DEBUG", "0")
    assert isinstance(run(*DICTIONARY).exception, SystemExit)

    def mistake(*_arguments, **_options):
        raise KeyError("mistake")

    monkeypatch.setattr("jobs.dictionary.load_protocol", mistake)
    assert isinstance(run(*DICTIONARY).exception, KeyError)


def python(code):
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)


def test_help_imports_nothing_heavy():
    heavy = ["numpy", "numba", "scipy", "h5py", "yaml", "matplotlib", "tensorflow", "epgbloch"]
    code = f"import sys, jobs.cli; print([name for name in {heavy} if name in sys.modules])"
    assert python(code).stdout == "[]\n"


def test_jobs_leave_out_tensorflow_and_pyplot():
    modules = "import jobs.demo, jobs.simulate"
    names = ["tensorflow", "keras", "matplotlib.pyplot", "nilearn", "sigpy"]
    assert python(f"import sys; {modules}; print([n for n in {names} if n in sys.modules])").stdout == "[]\n"


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_names_the_commands(option):
    command = [sys.executable, "-m", "jobs.cli", option]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in ("demo", "simulate", "dictionary", "reconstruct", "phantom"):
        assert name in result.stdout


def test_version():
    from epgbloch import __version__

    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.stdout == f"epgbloch {__version__}\n"
