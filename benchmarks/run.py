"""Measure the engine and write results/engine.json and docs/benchmarks.md.

Candidates run in turn in one process, several rounds; the figures are medians. CPU time counts for one
thread, wall time for all threads. Errors of the answers are recorded with the times.
"""

import statistics
import subprocess
import sys
import time
from datetime import date

import numba
import numpy as np
from cases import (
    N_STATES,
    design_sequence,
    design_tissue,
    reference_sequence,
    reference_tissue,
)
from measure import measure, write_results
from numpy_epg import simulate
from rich.console import Console

from epgbloch import EPGBloch, __version__
from surrogate.hardware import processor_name

N_ATOMS = 1000
N_ROUNDS = 7
ALL_STATES = 400
SECOND_PROCESS = """
import time
start = time.perf_counter()
from epgbloch import EPGBloch, Sequence, Tissue
EPGBloch().signal(Sequence([0.2] * 20, tr=0.01, te=0.005), Tissue(1.0, 0.1))
print(time.perf_counter() - start)
"""
STREAM = """
import resource, time
import numpy as np
from dictionaries import Grid, linear_axis, log_axis
from epgbloch import EPGBloch, Sequence
from epgbloch.trains import sin_squared
tissue = Grid(log_axis(0.1, 5, 100), log_axis(0.01, 2, 100), linear_axis(0.8, 1.2, 40)).tissue
flip_angle = sin_squared(1120, np.deg2rad([10, 25, 40, 55, 70]))
sequence = Sequence(flip_angle, tr=8.7e-3, te=4.9e-3, inversion_time=10e-3)
start, energy = time.perf_counter(), []
EPGBloch(n_states=20).stream(sequence, tissue, lambda atoms, signal: energy.append(np.vdot(signal, signal)))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(tissue.n_atoms, time.perf_counter() - start, peak)
"""


def speeds(one, every):
    """Reference work E; returns answers, CPU and wall seconds by name."""
    tissue = reference_tissue(N_ATOMS)
    instantaneous, selective = reference_sequence(selective=False), reference_sequence(selective=True)
    candidates = {
        "numpy, complex128, vectorised over atoms": lambda: simulate(instantaneous, tissue, N_STATES),
        "instantaneous pulses": lambda: one.signal(instantaneous, tissue),
        "+ dT1 + dT2": lambda: one.jacobian(instantaneous, tissue),
        "32 sub-slices": lambda: one.signal(selective, tissue),
        "32 sub-slices + dT1 + dT2": lambda: one.jacobian(selective, tissue),
        "32 sub-slices, all threads": lambda: every.signal(selective, tissue),
        "instantaneous pulses, states for 1e-4": lambda: EPGBloch(n_threads=1).signal(instantaneous, tissue),
    }
    return candidates, *measure(candidates, N_ROUNDS)


def truncation():
    """Largest error of n_states=None and of 20 states over the grid of E, relative to each atom's maximum."""
    sequence, tissue = reference_sequence(selective=False), reference_tissue(N_ATOMS)
    expected = EPGBloch(n_states=ALL_STATES).signal(sequence, tissue)
    scale = np.abs(expected).max(axis=1, keepdims=True)
    return {
        name: float((np.abs(engine.signal(sequence, tissue) - expected) / scale).max())
        for name, engine in (("states for 1e-4", EPGBloch()), ("20 states", EPGBloch(n_states=N_STATES)))
    }


def design(one):
    """CPU seconds of J of a sequence of 336 pulses for two tissues, with its gradient by all flip angles."""
    sequence, tissue = design_sequence(), design_tissue()
    cotangents = np.random.default_rng(0).normal(size=(3, 2, sequence.n_pulses))

    def run():
        one.jacobian(sequence, tissue, wrt=("ln_t1", "ln_t2"))
        one.gradient(sequence, tissue, cotangents[0], cotangents[1:], wrt=("ln_t1", "ln_t2"))

    run()
    seconds = []
    for _ in range(100):  # one after the other, as an optimiser does
        start = time.process_time()
        run()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


def second_process():
    """Wall seconds from the start of the import to the first signal, with compiled kernels on disk."""
    for _ in range(2):
        run = subprocess.run(
            [sys.executable, "-c", SECOND_PROCESS], capture_output=True, text=True, check=True
        )
    return float(run.stdout)


def stream():
    """Wall seconds and peak memory [MB] of 312,480 atoms streamed to a callback, in a process of its own."""
    run = subprocess.run([sys.executable, "-c", STREAM], capture_output=True, text=True, check=True)
    n_atoms, seconds, kilobytes = run.stdout.split()
    return {"atoms": int(n_atoms), "wall_s": float(seconds), "peak_mb": float(kilobytes) / 1000}


def main():
    one, every = EPGBloch(n_states=N_STATES, n_threads=1), EPGBloch(n_states=N_STATES)
    start = time.perf_counter()
    with Console(stderr=True).status("Measuring the engine (about a minute) ..."):
        candidates, answers, cpu, wall = speeds(one, every)
        errors, design_s = truncation(), design(EPGBloch(n_threads=1))
        first_s, streamed = second_process(), stream()
    names = list(candidates)
    expected = answers[names[0]]
    error = np.abs(answers["instantaneous pulses"] - expected).max() / np.abs(expected).max()
    speedup = cpu[names[0]] / cpu["instantaneous pulses"]
    threads = wall["32 sub-slices"] / wall["32 sub-slices, all threads"]
    record = {
        "work": f"{N_ATOMS} atoms x 1000 pulses, {N_STATES} states (reference work E)",
        "date": date.today().isoformat(),
        "machine": processor_name(),
        "versions": {"epgbloch": __version__, "numpy": np.__version__, "numba": numba.__version__},
        "cpu_s": cpu,
        "wall_s": wall,
        "speedup_per_thread_over_numpy": speedup,
        "speedup_of_all_threads": threads,
        "largest_difference_from_numpy_relative": float(error),
        f"largest_error_against_{ALL_STATES}_states_relative": errors,
        "design_value_and_gradient_cpu_s": design_s,
        "second_process_first_signal_s": first_s,
        "stream": streamed,
        "benchmark_s": time.perf_counter() - start,
    }
    lines = [
        f"{record['work']}. {record['machine']}, {record['date']}, medians of {N_ROUNDS}.",
        "",
        "| simulation | CPU s | wall s |",
        "|---|---|---|",
        *(f"| {name} | {cpu[name]:.4f} | {wall[name]:.4f} |" for name in candidates),
        "",
        f"- One thread is {speedup:.0f} times as fast as numpy; the signals differ by {error:.0e} "
        "of the maximum.",
        f"- All threads are {threads:.2f} times as fast as one (32 sub-slices).",
        f"- Largest error against {ALL_STATES} states, of the atom's maximum: "
        + ", ".join(f"{value:.0e} with {name}" for name, value in errors.items())
        + ".",
        f"- Jacobian and gradient by all flip angles, 336 pulses, 2 tissues: {1e3 * design_s:.1f} ms CPU.",
        f"- A second process imports epgbloch and has its first signal after {first_s:.2f} s.",
        f"- {streamed['atoms']} atoms x 1120 instantaneous pulses streamed to a callback: "
        f"{streamed['wall_s']:.1f} s on all threads, {streamed['peak_mb']:.0f} MB at most.",
    ]
    write_results("engine", record, lines)


if __name__ == "__main__":
    main()
