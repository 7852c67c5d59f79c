"""Pulseq files in protocols."""

import numpy as np
import pytest
import yaml

from design.pulseq.read import read_pulseq
from epgbloch import EPGBloch, RFPulse, Sequence, Tissue
from jobs.protocol import ProtocolError, load_protocol
from jobs.protocol_writer import sequence_section

FLIP_ANGLE = np.deg2rad(np.linspace(10, 60, 16))
ALTERNATING = np.pi * (np.arange(16) % 2)


@pytest.fixture
def load(tmp_path):
    """Write a protocol of a mapping, and load it."""

    def write_and_load(content, name="protocol.yaml"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return load_protocol(path)

    return write_and_load


@pytest.fixture
def fisp(write_train, tmp_path):
    path = tmp_path / "fisp.seq"
    source = write_train("fisp for protocols", FLIP_ANGLE, readout="spokes", inversion="inversion")
    path.write_bytes(source.read_bytes())
    return path


def test_the_train_of_a_pulseq_file(load, fisp):
    protocol = load({"sequence": {"pulseq": fisp.name}})
    expected = read_pulseq(fisp).sequence
    for name in ("flip_angle", "tr", "te", "phase", "inversion_time"):
        # degrees and milliseconds with 13 digits
        np.testing.assert_allclose(getattr(protocol.sequence, name), getattr(expected, name), rtol=1e-11)
    tissue = Tissue(t1=0.9, t2=0.085)
    signals = [EPGBloch().signal(sequence, tissue) for sequence in (protocol.sequence, expected)]
    np.testing.assert_allclose(*signals, rtol=0, atol=1e-6)  # float32


def test_the_text_no_longer_needs_the_train(load, fisp):
    protocol = load({"sequence": {"pulseq": fisp.name}})
    fisp.unlink()
    assert "pulseq" not in protocol.text
    again = load(protocol.text, "again.yaml")
    assert again.sequence.fingerprint() == protocol.sequence.fingerprint()
    assert again.text == protocol.text


def test_the_trajectory_of_a_pulseq_file(load, fisp):
    content = {"sequence": {"pulseq": fisp.name}, "trajectory": {"pulseq": fisp.name}}
    protocol = load(content)
    trajectory = protocol.trajectory
    expected = read_pulseq(fisp).cycles_per_pixel((32, 32))
    assert trajectory.n_samples(128) == 32
    np.testing.assert_array_equal(trajectory(16, 32, (32, 32)), expected)
    np.testing.assert_array_equal(trajectory(32, 32, (64, 32)), np.tile(expected * [1, 0.5], (2, 1, 1)))
    with pytest.raises(ValueError, match=r"have 32 samples, those of the raw data 64"):
        trajectory(16, 64, (32, 32))
    with pytest.raises(ValueError, match="plays 16 readouts, and 20 is not a multiple"):
        trajectory(20, 32, (32, 32))
    assert str(fisp) in protocol.text  # the protocol may be read from elsewhere
    again = load(protocol.text, "again.yaml")
    np.testing.assert_array_equal(again.trajectory(16, 32, (32, 32)), expected)
    fisp.write_text(fisp.read_text().split("\n[SIGNATURE]")[0])
    with pytest.raises(ProtocolError, match=r"trajectory\.pulseq: .*fisp.seq has changed: its SHA-256 is"):
        load(protocol.text, "again.yaml")


@pytest.mark.parametrize(
    ("options", "section", "message"),
    [
        ({"definitions": False}, "trajectory", "has no definition FOV"),
        ({"n_dummies": 3}, "trajectory", "has 3 pulses without readout"),
        (
            {"phase": ALTERNATING, "adc_phase": 0.0},
            "sequence",
            r"readout 1 is off by -?180 degrees\); set the phase of each ADC",
        ),
        ({"wrong": "slice not rewound"}, "sequence", "the slice gradient must be rewound"),
    ],
)
def test_files_that_do_not_fit(load, write_train, options, section, message):
    path = write_train(f"no {section} {len(message)}", FLIP_ANGLE, **options)
    content = {"sequence": {"flip_angle_deg": [10] * 16, "tr_ms": 14, "te_ms": 5}}
    with pytest.raises(ProtocolError, match=rf"protocol.yaml: {section}\.pulseq: .*{message}"):
        load({**content, section: {"pulseq": str(path)}})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("none.seq", r"cannot read .*none.seq: No such file"),
        (3, "must be the name of a Pulseq file; got 3"),
        ({"sha256": "0"}, r"pulseq\.file: missing"),
        ({"file": "a.seq", "hash": "0"}, r"pulseq\.hash: unknown key"),
    ],
)
def test_names_that_are_none(load, value, message):
    with pytest.raises(ProtocolError, match=rf"sequence\.{message}|sequence\.pulseq: {message}"):
        load({"sequence": {"pulseq": value}})


def test_nothing_goes_with_a_pulseq_file(load, fisp):
    with pytest.raises(ProtocolError, match=r"sequence\.tr_ms: does not go with pulseq"):
        load({"sequence": {"pulseq": fisp.name, "tr_ms": 10}})


@pytest.mark.parametrize(
    "sequence",
    [
        Sequence(FLIP_ANGLE, 12e-3, 4e-3, spoiling="rf", pulse=RFPulse.gaussian(1e-3, 3e-3)),
        Sequence(FLIP_ANGLE, 12e-3, 4e-3, spoiling="balanced", phase=ALTERNATING),
        Sequence(FLIP_ANGLE, 12e-3, 4e-3, dephasing=np.arange(16) > 4, inversion_time=0.02,
                 inversion_efficiency=0.95),
        Sequence(FLIP_ANGLE, 12e-3 + 1e-5 * np.arange(16), 4e-3,
                 pulse=RFPulse.from_samples(np.exp(1j * np.linspace(0, 1, 40)), 1e-3, 2e3, None, center=4e-4)
                 ),
    ],
    ids=["rf", "balanced", "partly spoiled", "complex pulse"],
)  # fmt: skip
def test_any_train_in_numbers(load, sequence):
    section = sequence_section(sequence)
    assert load({"sequence": section}).sequence.fingerprint() == sequence.fingerprint()
    if "samples_imaginary" in section.get("pulse", {}):
        section["pulse"]["samples_imaginary"] = [0.0]
        with pytest.raises(ProtocolError, match=r"pulse\.samples_imaginary: has 1 values, samples 40"):
            load({"sequence": section})
