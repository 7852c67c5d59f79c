"""Pulseq files in another program's reader (MRzeroCore)."""

import warnings

import numpy as np
import pytest

from design.pulseq import Inversion, Readout, export_pulseq, preset, read_pulseq
from epgbloch import RFPulse, Sequence
from reconstruction.trajectory import golden_angle_radial

FLIP_ANGLE = np.deg2rad(np.linspace(10, 60, 16))

pytestmark = pytest.mark.peers


@pytest.fixture(scope="module")
def peer():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own imports
        return pytest.importorskip("MRzeroCore")


def exported(path):
    """A train written by this package."""
    pulse = RFPulse.gaussian(2e-3, 5e-3)
    sequence = Sequence(FLIP_ANGLE, 14e-3, 6e-3, spoiling="rf", inversion_time=20e-3, pulse=pulse)
    readout = Readout(golden_angle_radial(16, 64), (32, 32), 0.256, 2e-5)
    inversion = Inversion(kind="block", duration=1e-3)
    export_pulseq(path, sequence, readout, preset("siemens"), inversion=inversion)
    return path


@pytest.mark.parametrize("readout", ["lines", "spokes", "spirals", "exported"])
def test_another_reader_sees_the_same(peer, write_train, tmp_path, readout):
    if readout == "exported":
        path = exported(tmp_path / "exported.seq")
    else:
        path = write_train(f"peers {readout}", FLIP_ANGLE, readout=readout, inversion="inversion")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inversion, *repetitions = peer.Sequence.import_file(str(path))
    assert float(inversion.pulse.angle) == pytest.approx(np.pi, rel=1e-5)
    scan = read_pulseq(path)
    angles = [float(repetition.pulse.angle) for repetition in repetitions]
    np.testing.assert_allclose(angles, scan.sequence.flip_angle, rtol=1e-5)  # 6 digits in the file, float32
    n_samples = [int((repetition.adc_usage > 0).sum()) for repetition in repetitions]
    assert n_samples == [scan.trajectory.shape[1]] * 16
    # from pulse centre to pulse centre
    times = [float(repetition.event_time.sum()) for repetition in repetitions[:-1]]
    np.testing.assert_allclose(times, scan.sequence.tr[:-1], rtol=1e-5)
    for repetition, expected in zip(repetitions, scan.trajectory, strict=True):
        moments = np.cumsum(repetition.gradm.numpy(), axis=0)[:, :2]
        sampled = moments[repetition.adc_usage.numpy() > 0]
        # cycles per metre in float32 sums, of up to 63
        np.testing.assert_allclose(sampled, expected, rtol=0, atol=1e-2)
