"""Chunks of a dictionary, computed by the workers of a Dask cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from dictionaries.compression import Compressed
from dictionaries.dictionary import DictionaryError
from dictionaries.generation import Work, compressed_atoms
from epgbloch import Sequence, SignalModel, Tissue, __version__
from epgbloch._files import library_versions

if TYPE_CHECKING:
    from distributed import Client

_CONTINUE = "Run again to continue: finished parts are kept"


def computed_by_workers(
    scheduler: Any, work: Work, basis: NDArray[Any], chunks: list[slice]
) -> Generator[tuple[slice, Compressed], None, None]:
    """Yield chunks as workers finish them, and their coefficients, norms and errors.

    Twice as many chunks are under way as the workers have threads: as many as arrive later count too. Dask
    gives the chunks of a worker that is lost to another one.

    Raises
    ------
    DictionaryError
        As from `compressed_atoms`, or if a worker has other versions than this process.
    ImportError
        If Dask is not installed.
    OSError
        If the scheduler is out of reach, or workers were lost again and again with the same chunk.
    """
    with _connected(scheduler) as client:
        from distributed import CancelledError, KilledWorker, as_completed

        # Sent with every chunk: what one worker held for all would be lost with it.
        job = _Job(_single_threaded(work.model), work.sequence, basis, _versions())
        waiting: dict[Any, slice] = {}
        done = as_completed(loop=client.loop)
        left = iter(chunks)
        try:
            while True:
                for atoms in left:
                    tissue = work.grid[atoms]
                    future = client.submit(_compressed, job, tissue, atoms.start, pure=False)
                    waiting[future] = atoms
                    done.add(future)
                    if len(waiting) >= 2 * max(sum(client.nthreads().values()), 1):
                        break
                if not waiting:
                    return
                future = next(done)
                atoms = waiting.pop(future)
                yield atoms, future.result()
        except KilledWorker as error:
            raise OSError(
                f"workers were lost again and again with the same {work.chunk_size} atoms ({error}): give "
                f"them more memory. {_CONTINUE}; with a smaller chunk_size, remove them: it starts afresh"
            ) from error
        except (CancelledError, OSError) as error:
            raise OSError(f"the connection to the scheduler was lost ({error}). {_CONTINUE}") from error
        finally:
            with contextlib.suppress(Exception):  # nothing to cancel without connection
                client.cancel(list(waiting))


@contextlib.contextmanager
def _connected(scheduler: Any) -> Iterator[Client]:
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError(
            f"scheduler={scheduler!r} needs Dask: pip install 'epgbloch[distributed]'", name="distributed"
        ) from error
    if isinstance(scheduler, Client):
        yield scheduler
        return
    try:
        client = Client(scheduler, set_as_default=False)
    except (OSError, ValueError) as error:
        raise OSError(
            f"the Dask scheduler {scheduler!r} is out of reach ({error}); check that it runs and its address"
        ) from error
    with client:
        yield client


@dataclass(frozen=True, eq=False)
class _Job:
    """What all chunks have in common."""

    model: SignalModel
    sequence: Sequence
    basis: NDArray[Any]
    versions: dict[str, str]


def _compressed(job: _Job, tissue: Tissue, first: int) -> Compressed:
    """Runs on a worker."""
    for name, version in _versions().items():
        if job.versions[name] != version:
            raise DictionaryError(
                f"a worker has {name}={version}, not {job.versions[name]}; install the same versions "
                "everywhere, or results differ"
            )
    return compressed_atoms(job.model, job.sequence, tissue, first, job.basis)


def _versions() -> dict[str, str]:
    return {"epgbloch_version": __version__, **library_versions("numpy", "scipy", "numba")}


def _single_threaded(model: SignalModel) -> Any:
    """Return the model with one thread, if it has such a setting: Dask runs a chunk on every thread."""
    if is_dataclass(model) and any(field.name == "n_threads" for field in fields(model)):
        return replace(model, n_threads=1)
    return model
