"""Measure the tables of pulseq.md and write them into it: `python docs/fill_pulseq.py` (three minutes)."""

import tempfile
import time
from pathlib import Path

import numpy as np
from figure_scripts.tables import insert

from design.pulseq import PRESETS, Inversion, Readout, build_train, export_pulseq, minimum_times, plan_timing
from epgbloch import EPGBloch, RFPulse, Sequence, Tissue
from epgbloch.reference import _pulse_operator, _rotation_vectors
from reconstruction.trajectory import cartesian_lines, golden_angle_radial, variable_density_spiral

PAGE = Path(__file__).resolve().parent / "pulseq.md"
CYCLES = (1, 2, 4, 8)
TISSUES = {"900 / 85 ms": (0.9, 0.085), "500 / 65 ms": (0.5, 0.065), "2500 / 600 ms": (2.5, 0.6)}
MATRIX, FOV = (112, 112), 0.224


def lobes(n_pulses):
    """Flip angles of 10 to 70 degrees in five lobes [rad]."""
    return np.deg2rad(10 + 60 * np.sin(np.linspace(0, 5 * np.pi, n_pulses)) ** 2)


def spoiled(sequence, t1, t2, cycles, *, n_positions=6007, extent=3.0):
    """Signals (n_cycles, n_pulses) of a slice whose spoilers turn it `cycles` times over its thickness."""
    pulse = sequence.pulse
    position = ((np.arange(n_positions) + 0.5) / n_positions - 0.5) * extent  # in slice thicknesses
    frequency = pulse.bandwidth * position
    turn = np.exp(2j * np.pi * np.outer(cycles, position))
    before, after = (np.exp(-2j * np.pi * frequency * margin) for margin in sequence.pulse_margins)
    plus, mz = np.zeros((len(cycles), n_positions), complex), np.ones((len(cycles), n_positions))
    if sequence.inversion_time is not None:
        mz = 1 - 2 * mz * np.exp(-(sequence.inversion_time - sequence.pulse_margins[0]) / t1)
    signals = []
    for i_pulse, flip_angle in enumerate(sequence.flip_angle):
        vectors = _rotation_vectors(pulse, flip_angle, 0.0, frequency)
        operator = _pulse_operator(vectors, pulse.duration / pulse.n_steps, t1, t2, "symmetric")
        plus = plus * before
        m = np.stack([plus.real, plus.imag, mz, np.ones_like(mz)], axis=-1)
        m = np.einsum("zij,czj->czi", operator, m)
        plus, mz = (m[..., 0] + 1j * m[..., 1]) * after, m[..., 2]
        te, tr = sequence.te[i_pulse], sequence.tr[i_pulse]
        echo = plus * np.exp(-(te - sequence.pulse_margins[1]) / t2)
        signals.append(echo.sum(axis=1) * extent / n_positions)
        rest = tr - sum(sequence.pulse_margins)
        plus, mz = plus * np.exp(-rest / t2) * turn, 1 + (mz - 1) * np.exp(-rest / t1)
    return np.array(signals).T


def spoiler_table():
    sequence = Sequence(
        lobes(336), tr=8.7e-3, te=4.9e-3, inversion_time=20e-3, pulse=RFPulse.gaussian(1e-3, 3e-3, n_steps=50)
    )
    rows = [f"| turns; T1 / T2 | {' | '.join(str(cycles) for cycles in CYCLES)} |", "|---" * 5 + "|"]
    for name, (t1, t2) in TISSUES.items():
        model = EPGBloch(n_subslices=128).signal(sequence, Tissue(t1=[t1], t2=[t2]))
        errors = np.linalg.norm(spoiled(sequence, t1, t2, CYCLES) - model, axis=1) / np.linalg.norm(model)
        rows.append(f"| {name} | {' | '.join(f'{100 * error:.2g} %' for error in errors)} |")
    return "\n".join(rows)


def readouts():
    """Readouts of the tables with their names."""
    lines = np.arange(112)
    return {
        "spokes, 224 samples of 10 us": Readout(golden_angle_radial(112, 224), MATRIX, FOV, 10e-6),
        "lines, 128 samples of 10 us": Readout(
            cartesian_lines(lines, 128, matrix=MATRIX), MATRIX, FOV, 10e-6
        ),
        "spirals (48), 448 samples of 10 us": Readout(
            variable_density_spiral(48, 448, matrix=MATRIX), MATRIX, FOV, 10e-6
        ),
    }


def times_table():
    pulse = RFPulse.gaussian(1e-3, 3e-3)
    rows = ["| shortest TE / TR [ms] | " + " | ".join(PRESETS) + " |", "|---" * (len(PRESETS) + 1) + "|"]
    for name, readout in readouts().items():
        times = [minimum_times(pulse, readout, scanner) for scanner in PRESETS.values()]
        cells = (f"{1e3 * least.te:.3f} / {1e3 * least.tr:.3f}" for least in times)
        rows.append(f"| {name} | {' | '.join(cells)} |")
    readout = next(iter(readouts().values()))
    for name, inversion in (
        ("shortest inversion time, adiabatic 10 ms", Inversion()),
        ("block 1 ms", Inversion("block", 1e-3)),
    ):
        times = [minimum_times(pulse, readout, scanner, inversion=inversion) for scanner in PRESETS.values()]
        rows.append(f"| {name} | {' | '.join(f'{1e3 * least.inversion_time:.3f}' for least in times)} |")
    return "\n".join(rows)


def presets_table():
    scanners = PRESETS.values()
    rows = ["| | " + " | ".join(PRESETS) + " |", "|---" * (len(PRESETS) + 1) + "|"]
    for text, name, scale in (
        ("gradient amplitude [mT/m]", "max_gradient", 1e3),
        ("slew rate [T/m/s]", "max_slew", 1),
        ("B1 [uT]", "max_b1", 1e6),
        ("RF dead time [us]", "rf_dead_time", 1e6),
        ("RF ringdown time [us]", "rf_ringdown_time", 1e6),
        ("ADC dead time [us]", "adc_dead_time", 1e6),
        ("RF raster [us]", "rf_raster", 1e6),
        ("gradient raster [us]", "gradient_raster", 1e6),
        ("ADC raster [us]", "adc_raster", 1e6),
        ("block raster [us]", "block_raster", 1e6),
        ("gap after every TR [us]", "segment_gap", 1e6),
    ):
        cells = (f"{scale * getattr(scanner, name):.6g}" for scanner in scanners)
        rows.append(f"| {text}, `{name}` | {' | '.join(cells)} |")
    return "\n".join(rows)


def speed_table():
    n_pulses = 1000
    sequence = Sequence(
        lobes(n_pulses), tr=8.7e-3, te=4.9e-3, inversion_time=20e-3, pulse=RFPulse.gaussian(1e-3, 3e-3)
    )
    scanner = PRESETS["siemens"]
    rows = ["| 1000 pulses | build | build, check, report and write | file |", "|---|---|---|---|"]
    spokes = Readout(golden_angle_radial(n_pulses, 224), MATRIX, FOV, 10e-6)
    spirals = Readout(variable_density_spiral(48, 448, matrix=MATRIX), MATRIX, FOV, 8.5e-6)
    spiral_train = Sequence(lobes(n_pulses), tr=8.7e-3, te=2e-3, inversion_time=20e-3, pulse=sequence.pulse)
    for name, train, readout in (
        ("1000 different spokes", sequence, spokes),
        ("48 spirals", spiral_train, spirals),
    ):
        spent = []
        for _ in range(3):
            start = time.process_time()
            build_train(plan_timing(train, readout, scanner))
            middle = time.process_time()
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "train.seq"
                export_pulseq(path, train, readout, scanner)
                size = path.stat().st_size
            spent.append((middle - start, time.process_time() - middle))
        build, whole = np.median(spent, axis=0)
        rows.append(f"| {name} | {build:.1f} s | {whole:.1f} s | {size / 1e6:.1f} MB |")
    return "\n".join(rows)


def main():
    made = {
        "presets": presets_table(),
        "times": times_table(),
        "spoiler": spoiler_table(),
        "speed": speed_table(),
    }
    PAGE.write_text(insert(PAGE.read_text(encoding="utf-8"), made), encoding="utf-8")


if __name__ == "__main__":
    main()
