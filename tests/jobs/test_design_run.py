"""epgbloch design run: what it writes can be used, it resumes, and equal seeds give equal designs."""

import json

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from design.pulseq import read_pulseq
from epgbloch import EPGBloch, Tissue
from jobs import design_run
from jobs.cli import app
from jobs.design_record import read_record
from jobs.protocol import load_protocol

CONTENT = {
    "sequence": {
        "flip_angle_deg": 30,
        "n_pulses": 40,
        "tr_ms": 9,
        "te_ms": 4,
        "inversion_time_ms": 15,
        "pulse": {"shape": "gaussian", "duration_ms": 1, "slice_thickness_mm": 3, "n_steps": 20},
    },
    "tissues": {"t1_ms": [900, 500], "t2_ms": [85, 65]},
    "vary": {"flip_angle_deg": {"knots": 5, "range": [0, 90]}},
    "engine": {"n_subslices": 8, "n_states": 10},
    "optimiser": {"starts": 2, "iterations": 30},
}
SCAN = {
    "scan": {"matrix": 32, "fov_mm": 256, "dwell_us": 10, "scanner": "philips"},
    "trajectory": {"golden_angle_radial": None},
}
EVOLUTION = {"method": "evolution+gradient", "population": 3, "generations": 60, "tolerance": 1e-6}


def run(tmp_path, out="out", name="design.yaml", **sections):
    path = tmp_path / name
    path.write_text(yaml.safe_dump({**CONTENT, **sections}))
    return CliRunner().invoke(app, ["design", "run", str(path), "--out", str(tmp_path / out)])


def test_what_it_writes_can_be_used(tmp_path):
    result = run(tmp_path, **SCAN, monte_carlo={"snr": 200, "trials": 300})
    assert result.exit_code == 0, result.output
    out = tmp_path / "out"
    names = {"bounds.png", "convergence.png", "design.json", "design.seq", "design.txt", "protocol.yaml"}
    names |= {"provenance.json", "report.html", "signals.png", "trains.png"}
    assert {path.name for path in out.iterdir()} == names
    assert not (tmp_path / "out.parts").exists()

    sequence, record = read_record(out)
    start, value = record["start_evaluation"]["value"], record["evaluation"]["value"]
    assert value < 0.8 * start
    assert f"criterion: {start:.4g} -> {value:.4g}" in result.output
    assert record["history"][-1][1] == pytest.approx(value, rel=1e-5)  # the same model searched
    # standard deviation of a variance from 300 trials: 8 %; four of them and the truncated subspace
    trials = record["monte_carlo"]
    ratio = (np.array(trials["standard_deviation"]) / trials["bound"]) ** 2
    np.testing.assert_allclose(ratio, 1, atol=0.4)

    played = load_protocol(out / "protocol.yaml").sequence
    model, tissue = EPGBloch(n_subslices=8), Tissue(t1=[0.9, 0.5], t2=[0.085, 0.065])
    wanted = model.signal(sequence, tissue)
    difference = np.abs(model.signal(played, tissue) - wanted).max()
    assert 0 < difference < 1e-3 * np.abs(wanted).max()  # asked of the way through a Pulseq file
    np.testing.assert_allclose(played.flip_angle, sequence.flip_angle, atol=1e-4)
    assert read_pulseq(out / "design.seq").trajectory.shape == (40, 64, 2)

    result = CliRunner().invoke(
        app, ["design", "export", str(out), "--scanner", "ge", "--out", str(tmp_path / "ge")]
    )
    assert result.exit_code == 0, result.output
    again = load_protocol(tmp_path / "ge" / "protocol.yaml").sequence
    np.testing.assert_allclose(again.flip_angle, sequence.flip_angle, atol=1e-4)

    page = (out / "report.html").read_text()
    assert page.count("data:image/png") == 4
    assert "Read back: signals within" in page
    assert f"{value:.4g}" in page


def test_without_scan_the_protocol_holds_the_numbers(tmp_path):
    assert run(tmp_path).exit_code == 0
    sequence, _ = read_record(tmp_path / "out")
    assert load_protocol(tmp_path / "out" / "protocol.yaml").sequence.fingerprint() == sequence.fingerprint()


def test_equal_seeds_give_equal_designs(tmp_path):
    fingerprints = []
    for out, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert run(tmp_path, out, optimiser={**CONTENT["optimiser"], "seed": seed}).exit_code == 0
        fingerprints.append(read_record(tmp_path / out)[1]["fingerprint"])
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


@pytest.mark.parametrize("optimiser", [CONTENT["optimiser"], EVOLUTION], ids=["gradient", "evolution"])
def test_an_interrupted_run_resumes(tmp_path, monkeypatch, optimiser):
    assert run(tmp_path, "whole", optimiser=optimiser).exit_code == 0
    searched = []
    original = design_run._memory

    def interrupted(parts):
        remember = original(parts)

        def first_only(name, compute):
            if searched:
                raise KeyboardInterrupt
            searched.append(name)
            return remember(name, compute)

        return first_only

    monkeypatch.setattr(design_run, "_memory", interrupted)
    result = run(tmp_path, "parts", optimiser=optimiser)
    assert result.exit_code == 130
    assert not (tmp_path / "parts").exists()
    with np.load(tmp_path / "parts.parts" / f"{searched[0]}.npz") as part:
        seconds = float(part["cpu_s"])

    def counting(parts):
        remember = original(parts)

        def told(name, compute):
            return remember(name, lambda: searched.append(name) or compute())

        return told

    monkeypatch.setattr(design_run, "_memory", counting)
    assert run(tmp_path, "parts", optimiser=optimiser).exit_code == 0
    assert len(set(searched)) == len(searched) > 1  # the first part was not searched again
    records = [read_record(tmp_path / out)[1] for out in ("whole", "parts")]
    for key in ("fingerprint", "history", "value_while_searching"):
        assert records[0][key] == records[1][key]
    assert records[1]["cpu_s"] > seconds > 0  # the interrupted run counts, too


def test_parts_of_another_design_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(design_run, "_monte_carlo", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        raise run(tmp_path).exception
    result = run(tmp_path, optimiser={"starts": 3})
    assert result.exit_code == 1
    assert "of another recipe or version" in result.stderr


def test_a_search_without_result_leaves_nothing(tmp_path):
    sequence = {**CONTENT["sequence"], "n_pulses": 1}
    vary = {"flip_angle_deg": {"curve": "free", "range": [5, 90]}}
    result = run(tmp_path, sequence=sequence, vary=vary)
    assert result.exit_code == 1
    assert "signals do not determine the parameters" in result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"design.yaml"}


def test_limits_end_in_one_line(tmp_path):
    result = run(tmp_path, limits={"b1_rms_ut": 1.0, "flip_angle_change_deg": 4})
    assert result.exit_code == 0, result.output
    sequence, record = read_record(tmp_path / "out")
    assert np.abs(np.diff(sequence.flip_angle)).max() <= np.deg2rad(4) * (1 + 1e-6)
    assert record["evaluation"]["b1_rms_ut"] <= 1.0 + 1e-5
    result = run(
        tmp_path, "no", vary={"flip_angle_deg": {"knots": 5, "range": [60, 90]}}, limits={"b1_rms_ut": 1.0}
    )
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "B1+rms" in result.stderr
    assert not (tmp_path / "no").exists()
    assert not (tmp_path / "no.parts").exists()


def test_a_changed_record_is_refused(tmp_path):
    assert run(tmp_path).exit_code == 0
    path = tmp_path / "out" / "design.json"
    record = json.loads(path.read_text())
    record["sequence"]["flip_angle"][3] += 0.01
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match="does not fit its fingerprint"):
        read_record(path)
    path.write_text("{}")
    with pytest.raises(ValueError, match="not a design"):
        read_record(path)
