"""What a dictionary will take, before it is made."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from dictionaries.atom_list import FIELDS, AtomList
from dictionaries.compression import BLOCK
from dictionaries.file_generation import bytes_per_atom
from dictionaries.generation import Work, compressed_atoms
from dictionaries.grid import Grid
from dictionaries.subspace import sample_indices
from epgbloch import Sequence, SignalModel
from epgbloch._checks import require_count


@dataclass(frozen=True)
class Estimate:
    """What `generate_file` will take.

    Attributes
    ----------
    n_atoms : int
        Number of atoms.
    file_bytes : int
        Size of the file before compression, which saves about a tenth.
    disk_bytes : int
        Space needed while it is made: finished parts and the file.
    memory_bytes : int
        Arrays of `generate_file` at their peak, without the libraries and what the model takes beside its
        signals.
    seconds : float
        Time on this machine with this model and its threads.
    """

    n_atoms: int
    file_bytes: int
    disk_bytes: int
    memory_bytes: int
    seconds: float


def estimate(
    model: SignalModel,
    sequence: Sequence,
    grid: Grid | AtomList,
    *,
    rank: int = 12,
    chunk_size: int = 4096,
    n_sample: int = 5000,
    n_probe: int = 1024,
) -> Estimate:
    """Return what `generate_file` will take, from the sizes and a short measurement; nothing is written.

    Some atoms are simulated and compressed. They are spread evenly over the grid, since the number of
    configuration states, and with it the cost, depends on the tissue. A few come before, so that code is
    compiled and tables are made. Fewer atoms than usual share a number of states and are simulated side by
    side: the time is estimated rather high.

    Parameters
    ----------
    model, sequence, grid, rank, chunk_size, n_sample
        As of `generate_file`.
    n_probe : int
        Number of atoms that are simulated. With 512 instead of 1024 of 6220, the time of instantaneous pulses
        came out 40 % instead of 10 % too high.

    Returns
    -------
    Estimate
        Sizes and time.

    Raises
    ------
    ValueError
        As from `generate_file`.
    DictionaryError
        As from `generate_file`, if a probed signal is not usable.
    """
    Work(model, sequence, grid, rank, None, chunk_size, n_sample)  # checks
    require_count("n_probe", n_probe)
    n_pulses, n_atoms = sequence.n_pulses, grid.n_atoms
    warm_up, probe = (grid[sample_indices(n_atoms, n)] for n in (min(n_probe, 64), n_probe))
    is_complex = model.signal(sequence, warm_up).imag.any()
    # not the subspace: any one of its size takes as long
    basis = np.eye(n_pulses, rank, dtype=np.complex64 if is_complex else np.float32) + np.float32(1e-3)
    compressed_atoms(model, sequence, warm_up, 0, basis)
    start = time.perf_counter()
    compressed_atoms(model, sequence, probe, 0, basis)
    seconds = (time.perf_counter() - start) / probe.n_atoms
    in_parts, in_file = bytes_per_atom(grid, rank, basis.dtype)
    file_bytes = in_file * n_atoms + basis.nbytes
    n_listed = 0 if isinstance(grid, Grid) else n_atoms
    # Gram matrix, its eigenvectors and the work space of the solver, or signals and blocks of the file
    subspace_bytes = 6 * n_pulses**2 * (16 if is_complex else 8)
    chunk_bytes = 8 * n_pulses * min(chunk_size, n_atoms) + 2 * in_parts * (chunk_size + BLOCK)
    return Estimate(
        n_atoms=n_atoms,
        file_bytes=file_bytes,
        disk_bytes=in_parts * n_atoms + file_bytes,
        memory_bytes=max(subspace_bytes, chunk_bytes) + 8 * len(FIELDS) * n_listed,
        seconds=seconds * (n_atoms + sample_indices(n_atoms, n_sample).size),
    )
