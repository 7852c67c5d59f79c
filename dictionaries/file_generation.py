"""Dictionaries of any size: generated into a file, resumed after interruptions, on one machine or many."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dictionaries.atom_list import FIELDS, AtomList
from dictionaries.compression import BLOCK, Compressed
from dictionaries.dictionary import DictionaryError
from dictionaries.generation import Progress, Work, compressed_atoms
from dictionaries.grid import Grid
from dictionaries.store import FORMAT, FORMAT_VERSION, model_text, write_blocks
from epgbloch import Sequence, SignalModel, __version__
from epgbloch._files import Parts, check_space, library_versions
from epgbloch.model import identity


def generate_file(
    path: str | os.PathLike[str],
    model: SignalModel,
    sequence: Sequence,
    grid: Grid | AtomList,
    *,
    rank: int | None = None,
    truncation_error: float | None = None,
    chunk_size: int = 4096,
    n_sample: int = 5000,
    scheduler: Any = None,
    replace: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Generate a dictionary into a file that `read_dictionary` reads; to the last bit the one of `generate`.

    Finished chunks are kept beside the file in the folder ``<name>.parts``: a run that was killed continues
    there. The file appears when it is complete, and the folder goes; until then both need disk space. The
    file depends neither on interruptions nor on the number of threads of the model or of workers, as long as
    these are machines of one kind: other processors may round differently. So may BLAS with another number
    of threads in this process, which computes the subspace; a run that continues takes the one that is kept.

    Memory: the signals of one chunk, 8 x chunk_size x n_pulses bytes, what the model takes beside, a few
    arrays of 8 n_pulses^2 bytes for the subspace, and 8192 atoms of the file; that of an `AtomList` besides.

    Parameters
    ----------
    path : path-like
        The file; must not exist, unless `replace`.
    model, sequence, grid, rank, truncation_error, n_sample
        As of `generate`.
    chunk_size : int
        Number of atoms that are simulated, kept on disk and sent to a worker at once. The file does not
        depend on it if the signals of the model do not, as those of `EPGBloch`.
    scheduler : str or dask.distributed.Client, optional
        Address of a Dask scheduler ("tcp://host:8786"), or a client: its workers compute the chunks, each
        with one thread; this process computes the subspace and writes. Chunks of workers that are lost are
        computed by others. Needs the extra ``distributed``.
    replace : bool
        Replace an earlier file of this name when the new one is complete.
    progress : callable, optional
        Called as progress(done, total) after each chunk. Both count simulated atoms, the sample included.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ValueError
        As from `generate`, or if the settings of the model do not fit JSON.
    DictionaryError
        As from `generate`; if the folder of parts belongs to another dictionary or version, or a worker has
        other versions than this process.
    ImportError
        If `scheduler` is given and Dask is not installed.
    OSError
        If the file exists, another process makes it, it cannot be written (parts that are finished are
        kept), or the scheduler is out of reach.
    """
    work = Work(model, sequence, grid, rank, truncation_error, chunk_size, n_sample)
    target = Path(path)
    with contextlib.closing(Parts(target, "dictionary", _identity(work), DictionaryError)) as parts:
        if not parts.open(replace=replace):
            _generate(parts, work, scheduler, progress)
    return target


def _generate(parts: Parts, work: Work, scheduler: Any, progress: Progress | None) -> None:
    total = work.sample.size + work.grid.n_atoms

    def report(done: int) -> None:
        if progress is not None:
            progress(done, total)

    basis, singular_values = _basis(parts, work, report)
    missing = [atoms for atoms in work.chunks() if not _is_intact(parts.read(_name(atoms)), basis, atoms)]
    n_missing = sum(atoms.stop - atoms.start for atoms in missing)
    _check_space(parts.target.parent, work.grid, basis, n_missing)
    done = total - n_missing
    if n_missing < work.grid.n_atoms:
        report(done)
    with contextlib.closing(_computed(work, basis, missing, scheduler)) as chunks:
        for atoms, compressed in chunks:
            parts.write(_name(atoms), {"basis": _digest(basis), **compressed._asdict()})
            done += atoms.stop - atoms.start
            report(done)
    blocks = _reblocked(parts.required(_name(atoms)) for atoms in work.chunks())
    settings = work.model.settings()
    with parts.finishing() as complete:
        write_blocks(complete, work.grid, work.sequence, settings, basis, singular_values, blocks)


def _identity(work: Work) -> dict[str, Any]:
    """Everything that the parts depend on."""
    if isinstance(work.grid, Grid):
        grid: Any = work.grid.to_dict()
    else:
        digest = hashlib.sha256()
        for name in FIELDS:
            digest.update(getattr(work.grid.tissue, name).tobytes())
        grid = digest.hexdigest()
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "epgbloch_version": __version__,
        **library_versions("numpy", "scipy", "numba"),
        "grid": grid,
        "sequence": hashlib.sha256(json.dumps(work.sequence.to_dict()).encode()).hexdigest(),
        "model": identity(json.loads(model_text(work.model.settings()))),
        "rank": None if work.rank is None else int(work.rank),
        "truncation_error": work.truncation_error,
        "chunk_size": int(work.chunk_size),
        "n_sample": int(work.n_sample),
    }


def _basis(parts: Parts, work: Work, report: Any) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Basis and singular values, kept as a part: another number of BLAS threads may round differently."""
    part = parts.read("subspace")
    if part is None or part.keys() != {"basis", "singular_values"}:  # damage may hide entries
        basis, singular_values = work.subspace(report)
        part = {"basis": basis, "singular_values": singular_values}
        parts.write("subspace", part)
    return part["basis"], part["singular_values"]


def _name(atoms: slice) -> str:
    return f"{atoms.start:012d}"


def _digest(basis: NDArray[Any]) -> NDArray[np.uint8]:
    return np.frombuffer(hashlib.sha256(basis.tobytes()).digest(), np.uint8)


def _is_intact(part: dict[str, NDArray[Any]] | None, basis: NDArray[Any], atoms: slice) -> bool:
    """Whether a part is there, undamaged, and of this basis."""
    return (
        part is not None
        and np.array_equal(part.get("basis", ()), _digest(basis))
        and all(len(part.get(name, ())) == atoms.stop - atoms.start for name in Compressed._fields)
    )


def _check_space(folder: Path, grid: Grid | AtomList, basis: NDArray[Any], n_missing: int) -> None:
    in_parts, in_file = bytes_per_atom(grid, basis.shape[1], basis.dtype)
    n_bytes = in_parts * n_missing + in_file * grid.n_atoms
    check_space(folder, n_bytes, "the dictionary", "choose another folder, or fewer atoms")


def bytes_per_atom(grid: Grid | AtomList, rank: int, dtype: Any) -> tuple[int, int]:
    """Bytes of an atom in the parts, and in the file before compression.

    The tissues of a grid are not counted: compressed, they take next to nothing.
    """
    coefficients = rank * np.dtype(dtype).itemsize
    return coefficients + 8, coefficients + 4 + (0 if isinstance(grid, Grid) else 8 * len(FIELDS))


def _computed(
    work: Work, basis: NDArray[Any], missing: list[slice], scheduler: Any
) -> Generator[tuple[slice, Compressed], None, None]:
    """Chunks as they become ready, in any order."""
    if scheduler is not None:
        from dictionaries.distributed import computed_by_workers

        yield from computed_by_workers(scheduler, work, basis, missing)
        return
    for atoms in missing:
        yield atoms, compressed_atoms(work.model, work.sequence, work.grid[atoms], atoms.start, basis)


def _reblocked(parts: Iterable[dict[str, NDArray[Any]]]) -> Iterator[dict[str, NDArray[Any]]]:
    """Cut parts anew into blocks of 8192 atoms."""
    waiting: dict[str, NDArray[Any]] = {}
    for part in parts:
        for name in Compressed._fields:
            waiting[name] = np.concatenate([waiting[name], part[name]]) if name in waiting else part[name]
        while len(waiting["norms"]) >= BLOCK:
            yield {name: values[:BLOCK] for name, values in waiting.items()}
            waiting = {name: values[BLOCK:] for name, values in waiting.items()}
    if len(waiting["norms"]):
        yield waiting
