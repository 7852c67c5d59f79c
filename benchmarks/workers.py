"""Measure generation by Dask workers: results/workers.json and a table. `make bench-workers`.

The dictionary of Liu et al. with 8 values of B1 instead of 40, 20 states, by this process with one thread and
two, and by local clusters of one and two workers with one thread each. The subspace is made before.
"""

import hashlib
import os
import tempfile
import time
from datetime import date
from pathlib import Path

import dask
from cases import N_STATES, surrogate_sequence
from dask.distributed import Client, LocalCluster
from measure import write_results

from dictionaries import Grid, generate_file, linear_axis, log_axis
from epgbloch import EPGBloch, __version__
from surrogate.hardware import processor_name

GRID = Grid(log_axis(0.1, 5, 100), log_axis(0.01, 2, 100), linear_axis(0.8, 1.2, 8))
N_PULSES, RANK, CHUNK = 1120, 12, 2048


def timed(folder, n_threads, client):
    """Seconds for the chunks and the file, without the subspace; SHA-256 of the file."""
    path = Path(folder) / "dictionary.h5"
    started = []

    def progress(done, total):
        if done >= total - GRID.n_atoms and not started:  # the sample is done
            started.append(time.perf_counter())

    model = EPGBloch(n_states=N_STATES, n_threads=n_threads)
    generate_file(
        path,
        model,
        surrogate_sequence(N_PULSES),
        GRID,
        rank=RANK,
        chunk_size=CHUNK,
        scheduler=client,
        progress=progress,
    )
    seconds = time.perf_counter() - started[0]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.unlink()
    return seconds, digest


def main():
    found, digests = {}, set()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        for n in (1, 2):
            found[f"this process, {n} thread{'s' * (n > 1)}"], digest = timed(folder, n, None)
            digests.add(digest)
        for n in (1, 2):
            with (
                LocalCluster(n_workers=n, threads_per_worker=1, dashboard_address=None) as cluster,
                Client(cluster) as client,
            ):
                timed(folder, 1, client)  # code is compiled and tables are made in every worker
                name = f"Dask, {n} worker{'s' * (n > 1)} of one thread"
                found[name], digest = timed(folder, 1, client)
                digests.add(digest)
    record = {
        "work": f"{GRID.n_atoms} atoms x {N_PULSES} pulses to rank {RANK}, {N_STATES} states, slice profile",
        "date": date.today().isoformat(),
        "machine": processor_name(),
        "versions": {"epgbloch": __version__, "dask": dask.__version__},
        "cores": os.cpu_count(),
        "wall_s": found,
        "same_file": len(digests) == 1,
    }
    reference = found["this process, 1 thread"]
    lines = [
        f"{record['work']}, chunks of {CHUNK}. {record['machine']}, {record['date']}. Without the subspace, "
        "which this process makes. The files are "
        f"{'' if record['same_file'] else 'NOT '}the same, bit for bit.",
        "",
        "| by | wall s | times as fast as one thread |",
        "|---|---|---|",
        *(f"| {name} | {seconds:.1f} | {reference / seconds:.2f} |" for name, seconds in found.items()),
    ]
    write_results("workers", record, lines)


if __name__ == "__main__":
    main()
