"""Measure the engine and write results/engine.json and results/engine.md.

Candidates run in turn in one process, several rounds; the figures are medians. CPU time counts for one
thread, wall time for all threads. Differences between the answers are recorded with the times.
"""

from datetime import date

import numba
import numpy as np
from cases import N_STATES, reference_sequence, reference_tissue
from measure import machine, measure, write_results
from numpy_epg import simulate
from rich.console import Console

from epgbloch import EPGBloch, __version__

N_ATOMS = 1000
N_ROUNDS = 7


def main():
    tissue = reference_tissue(N_ATOMS)
    instantaneous, selective = reference_sequence(selective=False), reference_sequence(selective=True)
    one, every = EPGBloch(n_states=N_STATES, n_threads=1), EPGBloch(n_states=N_STATES)
    numpy_name = "numpy, complex128, vectorised over atoms"
    candidates = {
        numpy_name: lambda: simulate(instantaneous, tissue, N_STATES),
        "instantaneous pulses": lambda: one.signal(instantaneous, tissue),
        "instantaneous pulses, all threads": lambda: every.signal(instantaneous, tissue),
        "slice profile, 32 sub-slices": lambda: one.signal(selective, tissue),
        "slice profile, 32 sub-slices, all threads": lambda: every.signal(selective, tissue),
    }
    with Console(stderr=True).status("Measuring the engine (about a minute) ..."):
        answers, cpu, wall = measure(candidates, N_ROUNDS)
    expected = answers[numpy_name]
    error = np.abs(answers["instantaneous pulses"] - expected).max() / np.abs(expected).max()
    speedup = cpu[numpy_name] / cpu["instantaneous pulses"]
    record = {
        "work": f"{N_ATOMS} atoms x {instantaneous.n_pulses} pulses, {N_STATES} states (reference work E)",
        "date": date.today().isoformat(),
        "machine": machine(),
        "versions": {"epgbloch": __version__, "numpy": np.__version__, "numba": numba.__version__},
        "cpu_s": cpu,
        "wall_s": wall,
        "speedup_per_thread_over_numpy": speedup,
        "largest_difference_from_numpy_relative": float(error),
    }
    lines = [
        f"{record['work']}. {record['machine']}, {record['date']}, medians of {N_ROUNDS}.",
        "",
        "| simulation | CPU s | wall s |",
        "|---|---|---|",
        *(f"| {name} | {cpu[name]:.3f} | {wall[name]:.3f} |" for name in candidates),
        "",
        f"One thread is {speedup:.0f} times as fast as numpy; the signals differ by {error:.0e} "
        "of the maximum.",
    ]
    write_results("engine", record, lines)


if __name__ == "__main__":
    main()
