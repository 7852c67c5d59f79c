"""Measure the twin of `design.mrzero` against MRzeroCore; write imaging-twin.json and docs/benchmarks.md.

Both simulate two sequences on one object and pull the gradient of the signal's energy back to the flip
angles, in turn in one process, on one thread; their signals are compared before anything is written. Peak
memory is that of a process that does nothing else. Run it with `make bench-peers`.
"""

import contextlib
import os
import subprocess
import sys
import warnings
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np
from measure import measure, write_results
from scipy.ndimage import gaussian_filter

from design.mrzero import Twin, Voxels
from design.mrzero.sequences import gradient_echo, turbo_spin_echo
from surrogate.hardware import processor_name

MATRIX, FOV, SLICE = 64, 0.2, 5e-3
NAMES = ("epgbloch", "MRzeroCore")
TOLERANCE = 3e-3
# MRzeroCore drops states by fixed thresholds: its defaults, and some that bring it close to the truth
DEFAULT, FINE = (200, 1e-4, 1e-2, 1e-2), (2000, 1e-6, 1e-6, 1e-6)

NOTES = """\
Differences are norms over that of the signal. epgbloch's voxels are boxes, those of MRzeroCore hold exactly
the spatial frequencies below Nyquist's: its signal is multiplied by the shape of a box at the k of samples.
Fine: at most 2000 states, thresholds 1e-6 (state, emitted, latent); default: 200, 1e-4, 1e-2, 1e-2. Times
include the choice of states; those of MRzeroCore are for its default thresholds."""


@dataclass(frozen=True)
class Case:
    """A sequence and its name."""

    name: str
    sequence: object


def cases():
    return (
        Case("FLASH, 64 lines", gradient_echo(MATRIX, FOV, flip_angle=np.deg2rad(8), tr=10e-3, te=4.5e-3)),
        Case(
            "TSE, 64 echoes",
            turbo_spin_echo(MATRIX, FOV, echo_spacing=10e-3, refocusing_angle=np.deg2rad(150)),
        ),
    )


def object_maps():
    """An ellipse of three tissues, with smooth fields."""
    rng = np.random.default_rng(0)
    y, x = np.meshgrid(*[np.arange(MATRIX) - MATRIX // 2] * 2, indexing="ij")
    inside = (x / 27) ** 2 + (y / 30) ** 2 < 1
    tissue = np.digitize(gaussian_filter(rng.normal(size=inside.shape), 4), [-0.03, 0.03])
    frequency, b1 = (gaussian_filter(rng.normal(size=inside.shape), 12) for _ in range(2))
    return {
        "proton_density": np.array([0.7, 0.8, 1.0])[tissue] * inside,
        "t1": np.array([0.85, 1.4, 4.0])[tissue],
        "t2": np.array([0.07, 0.1, 2.0])[tissue],
        "t2_prime": np.full(inside.shape, 0.04),
        "off_resonance": 20 * frequency / frequency.std(),
        "b1": 1 + 0.1 * b1 / np.abs(b1).max(),
    }


def our_run(sequence):
    """A function that returns signal and gradient by flip angles; everything but the object is inside."""
    twin = Twin(Voxels.from_maps(**object_maps(), fov=(FOV, FOV), slice_thickness=SLICE), n_threads=1)

    def run():
        signal, pull_back = twin.signal_and_pull_back(sequence, ways=False)
        return signal[0], pull_back(2 * signal).flip_angle

    return run


def peer_run(sequence, settings):
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own imports
        import MRzeroCore as mr0  # noqa: N813
    torch.set_num_threads(1)
    maps = object_maps()
    inside = maps["proton_density"] > 0

    def grid(values):
        return torch.tensor(np.where(inside, values, 1.0).T[:, :, np.newaxis], dtype=torch.float32)

    edge = 1e3 * FOV / MATRIX
    affine = torch.tensor(
        [[edge, 0, 0, -500 * FOV], [0, edge, 0, -500 * FOV], [0, 0, 1e3 * SLICE, 0], [0.0, 0, 0, 1]]
    )
    density = torch.tensor(maps["proton_density"].T[:, :, np.newaxis], dtype=torch.float32)
    ones = torch.ones_like(density)
    data = mr0.VoxelGridPhantom(
        density, grid(maps["t1"]), grid(maps["t2"]), grid(maps["t2_prime"]), 0 * ones,
        grid(maps["off_resonance"]), (grid(maps["b1"]) + 0j)[None], (ones + 0j)[None], affine,
    ).build()  # fmt: skip
    played = mr0.Sequence(normalized_grads=False)
    first = sequence.first_event
    for n in range(sequence.n_repetitions):
        events = slice(first[n], first[n + 1])
        repetition = played.new_rep(int(sequence.n_events[n]))
        excites = sequence.use[n] == "excitation"
        repetition.pulse.usage = mr0.PulseUsage.EXCIT if excites else mr0.PulseUsage.REFOC
        repetition.pulse.angle = torch.tensor(sequence.flip_angle[n], dtype=torch.float32)
        repetition.pulse.phase = torch.tensor(sequence.phase[n], dtype=torch.float32)
        repetition.event_time[:] = torch.tensor(sequence.durations[events], dtype=torch.float32)
        repetition.gradm[:] = torch.tensor(sequence.moments[events], dtype=torch.float32)
        repetition.adc_usage[:] = torch.tensor(sequence.adc[events].astype(int))

    shape = torch.tensor(shape_of_box(sequence), dtype=torch.float32)

    def run():
        angles = []
        for repetition in played:
            repetition.pulse.angle = repetition.pulse.angle.detach().requires_grad_()
            angles.append(repetition.pulse.angle)
        n_states, state, emitted, latent = settings
        with silence():
            graph = mr0.compute_graph(played, data, n_states, state, threaded=False)
            signal = mr0.execute_graph(
                graph,
                played,
                data,
                min_emitted_signal=emitted,
                min_latent_signal=latent,
                print_progress=False,
            )
        ((shape * signal[:, 0]).abs() ** 2).sum().backward()
        return signal.detach().numpy()[:, 0], np.array([float(angle.grad) for angle in angles])

    return run


@contextlib.contextmanager
def silence():
    """Drop what compiled code prints."""
    kept = os.dup(1)
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 1)
        try:
            yield
        finally:
            os.dup2(kept, 1)
            os.close(kept)


def shape_of_box(sequence):
    """What the shape of a voxel leaves of each sample, whose nominal k is on the grid."""
    lines = sequence.n_samples // MATRIX
    k = (np.arange(MATRIX) - MATRIX // 2) / MATRIX
    return np.outer(np.sinc(k[:lines]), np.sinc(k)).ravel()


def difference(a, b):
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def peak_memory(name, i_case):
    """Peak memory [GB] of a process that runs one case."""
    command = [sys.executable, __file__, "--memory", name, str(i_case)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def run_of(name, sequence, settings=DEFAULT):
    return our_run(sequence) if name == "epgbloch" else peer_run(sequence, settings)


def main():
    record, rows = [], []
    for i, case in enumerate(cases()):
        sequence = case.sequence
        runs = {name: run_of(name, sequence) for name in NAMES}
        answers, cpu, _ = measure(runs, 5)
        ours, gradient = answers["epgbloch"]
        # in ours the receiver has its own phase, in theirs excitation leaves the magnetisation along -y
        turn = 1j * np.exp(-1j * sequence.adc_phase[sequence.adc]) * shape_of_box(sequence)
        fine, fine_gradient = peer_run(sequence, FINE)()
        errors = {
            "fine": difference(turn * fine, ours),
            "default": difference(turn * answers["MRzeroCore"][0], ours),
        }
        if errors["fine"] > TOLERANCE:
            raise SystemExit(f"{case.name}: signals differ by {errors['fine']:.1e}")
        memory = {name: peak_memory(name, i) for name in NAMES}
        ratio = cpu["MRzeroCore"] / cpu["epgbloch"]
        record.append(
            {
                "case": case.name,
                "cpu_s": cpu,
                "ratio": ratio,
                "difference": errors,
                "gradient_difference": difference(fine_gradient, gradient),
                "peak_memory_gb": memory,
            }
        )
        rows.append(
            f"| {case.name} | {cpu['epgbloch']:.3f} | {cpu['MRzeroCore']:.2f} | {ratio:.0f} | "
            f"{memory['epgbloch']:.2f} | {memory['MRzeroCore']:.2f} | {errors['fine']:.0e} | "
            f"{errors['default']:.0e} | {record[-1]['gradient_difference']:.0e} |"
        )
    n_voxels = int((object_maps()["proton_density"] > 0).sum())
    machine = f"{processor_name()}, one thread, {date.today()}, medians of 5"
    versions = ", ".join(f"{name} {version(name)}" for name in ("epgbloch", "MRzeroCore", "torch", "numba"))
    lines = [
        f"Signal and gradient by the flip angles, 64 x 64, {n_voxels} voxels. {machine}. {versions}.",
        "",
        "| sequence | epgbloch, CPU s | MRzeroCore | ratio | epgbloch, peak GB | MRzeroCore "
        "| difference, fine | default | gradient, fine |",
        "|---|---|---|---|---|---|---|---|---|",
        *rows,
        "",
        NOTES,
    ]
    write_results("imaging-twin", {"machine": machine, "versions": versions, "cases": record}, lines)


if __name__ == "__main__":
    if "--memory" in sys.argv:
        name, i_case = sys.argv[2], int(sys.argv[3])
        run_of(name, cases()[i_case].sequence)()
        # getrusage would count the process that this one was made by
        (line,) = (x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
        print(int(line.split()[1]) / 2**20)
    else:
        main()
