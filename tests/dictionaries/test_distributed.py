"""Dask workers give the file of one process, even if they are killed."""

import hashlib
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from dictionaries import (
    DictionaryError,
    Grid,
    generate,
    generate_file,
    linear_axis,
    log_axis,
    write_dictionary,
)
from epgbloch import EPGBloch, Sequence

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")

N_PULSES = 200
OPTIONS = {"rank": 6, "chunk_size": 20, "n_sample": 100}
N_ATOMS_SEEN = 100 + 5 * 20
# Dask's own: sockets and loops of a cluster that is shut down
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def cluster():
    # results of a worker that is gone are asked for until then, 30 s by default
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
    ):
        yield cluster


@pytest.fixture(scope="module")
def sequence():
    n = np.arange(N_PULSES)
    return Sequence(np.deg2rad(20 + 30 * np.sin(0.03 * n) ** 2), 0.01, 0.005, inversion_time=0.01)


@pytest.fixture(scope="module")
def grid():
    return Grid(log_axis(0.2, 3, 12), log_axis(0.02, 0.4, 12), linear_axis(0.8, 1.2, 3))


@pytest.fixture(scope="module")
def expected(tmp_path_factory, sequence, grid):
    path = tmp_path_factory.mktemp("expected") / "d.h5"
    return sha256(write_dictionary(path, generate(EPGBloch(n_threads=1), sequence, grid, **OPTIONS)))


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_worker_that_is_killed_loses_nothing(tmp_path, cluster, sequence, grid, expected):
    before = {worker.pid for worker in cluster.workers.values()}
    reports = []

    def progress(done, total):
        reports.append(done)
        if done == N_ATOMS_SEEN:
            os.kill(min(before), signal.SIGKILL)

    path = tmp_path / "d.h5"
    generate_file(
        path,
        EPGBloch(),
        sequence,
        grid,
        scheduler=cluster.scheduler_address,
        progress=progress,
        **OPTIONS,
    )
    assert N_ATOMS_SEEN in reports
    assert reports == sorted(set(reports))
    assert reports[-1] == 100 + grid.n_atoms
    assert sha256(path) == expected
    assert os.listdir(tmp_path) == ["d.h5"]
    assert min(before) not in {worker.pid for worker in cluster.workers.values()}


def test_interrupted_work_is_continued_by_workers(tmp_path, cluster, sequence, grid, expected):
    path = tmp_path / "d.h5"

    def progress(done, total):
        if done == N_ATOMS_SEEN:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate_file(path, EPGBloch(), sequence, grid, progress=progress, **OPTIONS)
    with distributed.Client(cluster, set_as_default=False) as client:
        generate_file(path, EPGBloch(), sequence, grid, scheduler=client, **OPTIONS)
        assert client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)) == 0
        assert client.status == "running"
    assert sha256(path) == expected


def test_workers_get_little_at_a_time(tmp_path, cluster, sequence, grid, monkeypatch):
    """Of chunks with one thread each; an interruption takes back what is under way."""
    submit, cancel = distributed.Client.submit, distributed.Client.cancel
    threads, under_way, cancelled = set(), [], []

    def watched_submit(client, function, job, *arguments, **options):
        threads.add(job.model.n_threads)
        under_way.append(sum(state.status == "pending" for state in client.futures.values()))
        return submit(client, function, job, *arguments, **options)

    def watched_cancel(client, futures):
        cancelled.extend(futures)
        return cancel(client, futures)

    def progress(done, total):
        if done > 200:
            raise KeyboardInterrupt

    monkeypatch.setattr(distributed.Client, "submit", watched_submit)
    monkeypatch.setattr(distributed.Client, "cancel", watched_cancel)
    with pytest.raises(KeyboardInterrupt):
        generate_file(
            tmp_path / "d.h5",
            EPGBloch(n_threads=3),
            sequence,
            grid,
            scheduler=cluster.scheduler_address,
            progress=progress,
            **OPTIONS,
        )
    assert threads == {1}
    assert len(under_way) < 15  # of 20
    assert max(under_way) < 2 * 2
    assert cancelled


def test_errors_of_workers_are_raised(tmp_path, cluster, sequence, grid, monkeypatch):
    # this process believes to have another version, and so does its label
    monkeypatch.setattr("dictionaries.distributed.__version__", "9.9")
    with pytest.raises(
        DictionaryError, match=r"a worker has epgbloch_version=.*, not 9\.9; install the same"
    ):
        generate_file(
            tmp_path / "d.h5", EPGBloch(), sequence, grid, scheduler=cluster.scheduler_address, **OPTIONS
        )


def test_scheduler_out_of_reach(tmp_path, sequence, grid):
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(OSError, match=r"scheduler 'tcp://127\.0\.0\.1:9' is out of reach"),
    ):
        generate_file(tmp_path / "d.h5", EPGBloch(), sequence, grid, scheduler="tcp://127.0.0.1:9", **OPTIONS)


def test_lost_scheduler_is_told(tmp_path, sequence, grid, expected):
    """Killed while chunks are under way."""
    file = str(tmp_path / "scheduler.json")
    scheduler, worker = (
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                f"distributed.cli.dask_{name}",
                "--scheduler-file",
                file,
                "--no-dashboard",
            ],
            stderr=subprocess.DEVNULL,
        )
        for name in ("scheduler", "worker")
    )

    def progress(done, total):
        if done == N_ATOMS_SEEN:
            scheduler.kill()
            scheduler.wait()

    path = tmp_path / "d.h5"
    try:
        with (
            dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
            distributed.Client(scheduler_file=file, set_as_default=False) as client,
            pytest.raises(OSError, match=r"connection to the scheduler was lost .*Run again to continue"),
        ):
            generate_file(path, EPGBloch(), sequence, grid, scheduler=client, progress=progress, **OPTIONS)
    finally:
        for process in (scheduler, worker):
            process.kill()
            process.wait()
    generate_file(path, EPGBloch(), sequence, grid, **OPTIONS)
    assert sha256(path) == expected


def test_cancelled_chunks_are_told(tmp_path, cluster, sequence, grid):
    with distributed.Client(cluster, set_as_default=False) as client:

        def progress(done, total):
            if done == N_ATOMS_SEEN:
                client.cancel([distributed.Future(key, client) for key in client.futures])

        with pytest.raises(OSError, match=r"connection to the scheduler was lost .*Run again to continue"):
            generate_file(
                tmp_path / "d.h5", EPGBloch(), sequence, grid, scheduler=client, progress=progress, **OPTIONS
            )


def test_missing_dask_is_told(tmp_path, sequence, grid, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r"needs Dask: pip install 'epgbloch\[distributed\]'"):
        generate_file(tmp_path / "d.h5", EPGBloch(), sequence, grid, scheduler="tcp://x:1", **OPTIONS)
