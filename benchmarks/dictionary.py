"""Make the dictionary of Liu et al.: results/dictionary.json and a table. `make bench-dictionary`.

312,480 atoms (100 T1 x 100 T2 on logarithmic axes, 40 B1) x 1120 pulses to rank 12, by every model. Each runs
in a process of its own, whose peak memory is recorded; code is compiled before.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

from cases import N_STATES, surrogate_sequence
from measure import write_results

from dictionaries import Grid, generate_file, linear_axis, log_axis, read_dictionary
from epgbloch import EPGBloch, __version__
from epgbloch._cores import available_cores
from surrogate import GRUSurrogate, shipped_networks
from surrogate.hardware import processor_name

RANK, N_PULSES = 12, 1120
PUBLISHED = "71 h by EPG-Bloch on 8 cores, below 10 s by the network on a V100 GPU"
MODELS = {
    f"engine, {N_STATES} states": lambda: EPGBloch(n_states=N_STATES),
    "engine, states for 1e-4": EPGBloch,
    **{f"surrogate {name}": lambda name=name: GRUSurrogate(name) for name in shipped_networks()},
}


def grid():
    """T1 0.1-5 s, T2 0.01-2 s, B1 0.8-1.2; T2 <= T1."""
    return Grid(log_axis(0.1, 5, 100), log_axis(0.01, 2, 100), linear_axis(0.8, 1.2, 40))


def run(name):
    """Make the dictionary in this process; print its figures as JSON."""
    model, sequence = MODELS[name](), surrogate_sequence(N_PULSES)
    small = Grid([1.0], log_axis(0.02, 0.2, 20))
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        generate_file(Path(folder) / "warm.h5", model, sequence, small, rank=2)
        before = time.perf_counter(), time.process_time()
        path = generate_file(Path(folder) / "dictionary.h5", model, sequence, grid(), rank=RANK)
        wall, cpu = time.perf_counter() - before[0], time.process_time() - before[1]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        dictionary = read_dictionary(path)
        n_bytes = path.stat().st_size
    print(
        json.dumps(
            {
                "wall_s": wall,
                "cpu_s": cpu,
                "peak_bytes": peak,
                "file_bytes": n_bytes,
                "atoms": dictionary.n_atoms,
                "truncation_error": dictionary.truncation_error._asdict(),
            }
        )
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=MODELS, help=argparse.SUPPRESS)
    only = parser.parse_args().only
    if only:
        run(only)
        return
    found = {}
    for name in MODELS:
        print(f"{name} ...", file=sys.stderr, flush=True)
        command = [sys.executable, __file__, "--only", name]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        found[name] = json.loads(output.splitlines()[-1])
    n_threads = available_cores()
    record = {
        "work": f"{grid().n_atoms} atoms x {N_PULSES} pulses to rank {RANK}, slice profile of 32 sub-slices",
        "date": date.today().isoformat(),
        "machine": processor_name(),
        "threads": n_threads,
        "versions": {"epgbloch": __version__},
        "models": found,
        "published": PUBLISHED,
    }
    lines = [
        f"{record['work']}. {record['machine']}, {n_threads} threads, {record['date']}. Liu et al. report "
        f"{PUBLISHED}.",
        "",
        "| model | wall s | CPU s | peak memory | file | truncation error rms | max |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {name} | {row['wall_s']:.0f} | {row['cpu_s']:.0f} | {row['peak_bytes'] / 1e9:.2f} GB | "
            f"{row['file_bytes'] / 1e6:.0f} MB | {row['truncation_error']['rms']:.1e} | "
            f"{row['truncation_error']['max']:.1e} |"
            for name, row in found.items()
        ),
    ]
    write_results("dictionary", record, lines)


if __name__ == "__main__":
    main()
