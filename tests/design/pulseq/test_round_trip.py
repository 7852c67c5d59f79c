"""Random trains of the class that the package exports: written, read back and simulated."""

import numpy as np
import pypulseq
import pytest

from design.pulseq import PRESETS, Readout, export_pulseq, preset, read_pulseq
from epgbloch import EPGBloch, RFPulse, Sequence, Tissue, trains
from reconstruction.trajectory import cartesian_lines, golden_angle_radial, variable_density_spiral

TISSUE = Tissue(t1=[0.9, 0.5, 3.0], t2=[0.085, 0.065, 1.5])
MATRIX, FOV = (48, 48), 0.24


def random_readout(rng, n_pulses):
    kind = rng.integers(3)
    if kind == 0:
        trajectory = golden_angle_radial(n_pulses, int(rng.integers(40, 100)))
    elif kind == 1:
        trajectory = cartesian_lines(rng.integers(48, size=n_pulses), 64, matrix=MATRIX)
    else:
        trajectory = variable_density_spiral(5, 400, matrix=MATRIX, n_interleaves=24)
    return Readout(trajectory, MATRIX, FOV, float(rng.choice([12e-6, 16e-6])))


def random_train(rng):
    """Train and readout; times are off the rasters of the scanners."""
    n_pulses = int(rng.integers(8, 24))
    make, duration = [(RFPulse.gaussian, 2e-3), (RFPulse.sinc, 3e-3)][rng.integers(2)]
    spoiling = str(rng.choice(["gradient", "rf", "balanced"]))
    values = {
        "tr": 22e-3 + 3e-3 * rng.uniform(size=n_pulses if rng.integers(2) else ()),
        "te": 6.5e-3 + 0.5e-3 * rng.uniform(),
        "phase": 2 * np.pi * rng.uniform(size=n_pulses if rng.integers(2) else ()),
        "inversion_time": 15e-3 + 20e-3 * rng.uniform() if rng.integers(2) else None,
        "inversion_efficiency": 0.95,
        "pulse": make(duration, rng.uniform(3e-3, 8e-3)),
        "spoiling": spoiling,
    }
    if spoiling == "gradient" and rng.integers(2):
        values["dephasing"] = rng.integers(2, size=n_pulses)
    angles = np.maximum(trains.spline(n_pulses, rng.uniform(0, np.pi / 2, 6)), 0.0)
    angles[rng.integers(n_pulses)] = 0.0
    return Sequence(angles, **values), random_readout(rng, n_pulses)


@pytest.mark.parametrize("seed", range(20))
def test_design_to_file_and_back(seed, tmp_path):
    rng = np.random.default_rng(seed)
    sequence, readout = random_train(rng)
    scanner = preset(sorted(PRESETS)[seed % len(PRESETS)])
    path = tmp_path / "train.seq"
    cycles = float(rng.integers(2, 6)) if sequence.dephasing.any() else None
    export = export_pulseq(path, sequence, readout, scanner, spoiler_cycles=cycles)
    file = pypulseq.Sequence(scanner.opts())
    file.read(str(path))
    timing, faults = file.check_timing()
    assert timing, faults

    scan = read_pulseq(path)
    played = scan.sequence
    # 6 digits in the file, which has next to nothing for 0 degrees
    np.testing.assert_allclose(played.flip_angle, sequence.flip_angle, rtol=1e-5, atol=1e-8)
    np.testing.assert_array_equal(played.dephasing[:-1], sequence.dephasing[:-1])  # after the last: unseen
    # Files turn all phases alike; a pulse of 0 degrees has any phase.
    turned = np.exp(1j * (played.phase - sequence.rf_phase))[sequence.flip_angle > 0]
    np.testing.assert_allclose(turned, turned[0], rtol=0, atol=2e-5)  # 6 digits up to 2 pi, twice
    # Times on the block raster, exactly those that the export states (rounded to 1e-8 s); TR is the
    # difference of two of them.
    raster = max(scanner.block_raster, scanner.gradient_raster)
    for name in ("tr", "te"):
        np.testing.assert_allclose(getattr(played, name), getattr(export.sequence, name), rtol=0, atol=1.1e-8)
        difference = getattr(played, name) - getattr(sequence, name)
        assert np.abs(difference).max() <= raster + 1e-8
    if sequence.inversion_time is None:
        assert played.inversion_time is None
    else:
        assert played.inversion_time == pytest.approx(export.sequence.inversion_time, abs=1.1e-8)
        assert played.inversion_time == pytest.approx(sequence.inversion_time, abs=raster + 1e-8)
        assert played.inversion_efficiency == 0.95
    positions = readout.trajectory[np.arange(sequence.n_pulses) % readout.n_readouts]
    np.testing.assert_allclose(scan.cycles_per_pixel(), positions, rtol=0, atol=2e-3 / 48)
    np.testing.assert_allclose(scan.receiver_phase, 0, atol=2e-5)
    assert scan.notices == ()
    signals = [EPGBloch().signal(train, TISSUE) for train in (played, sequence)]
    np.testing.assert_allclose(*signals, rtol=0, atol=1e-3)  # times are on rasters
