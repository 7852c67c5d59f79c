"""Dictionaries from a signal model, chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dictionaries.atom_list import AtomList
from dictionaries.compression import Compressed, blocks_of, compress, error_statistics
from dictionaries.dictionary import Dictionary, DictionaryError
from dictionaries.grid import Grid
from dictionaries.subspace import as_real, sample_indices, subspace
from epgbloch import Sequence, SignalModel, Tissue

# Of fixed size, so that the subspace does not depend on chunk_size.
_SAMPLE_CHUNK = 512
_DEFAULT_RANK = 12
_SMALLEST_ERROR = 1e-6
"""Below it, the rounding of single-precision signals counts."""
Progress = Callable[[int, int], None]
"""Called as progress(atoms done, atoms in all)."""


def generate(
    model: SignalModel,
    sequence: Sequence,
    grid: Grid | AtomList,
    *,
    rank: int | None = None,
    truncation_error: float | None = None,
    chunk_size: int = 4096,
    n_sample: int = 5000,
    progress: Progress | None = None,
) -> Dictionary:
    """Return the dictionary of a grid, compressed to a temporal subspace.

    The subspace is spanned by the leading left singular vectors U of the signals of a sample of the atoms,
    each scaled to unit norm. Then the signals s of all atoms are computed in chunks and only U^H s is kept.
    If the signals of the whole sample are exactly real, so are the basis and the dictionary.

    The atoms are kept in memory; `generate_file` keeps them on disk and continues after interruptions.

    Parameters
    ----------
    model : SignalModel
        Computes the signals.
    sequence : Sequence
        Flip angles, timing and pulse.
    grid : Grid or AtomList
        Tissue parameters of the atoms.
    rank : int, optional
        Dimension of the subspace, at most the number of pulses, of atoms and of sampled atoms. 12, unless
        `truncation_error` is given.
    truncation_error : float, optional
        Instead of `rank`: the smallest subspace is taken that leaves at most this part of the signals of the
        sample, as a root mean square of ||s - U U^H s|| / ||s||; 1e-6 to 1. What it leaves over all atoms is
        in the result.
    chunk_size : int
        Number of atoms simulated at once; memory is 8 x chunk_size x n_pulses bytes and what the model takes
        beside. The result does not depend on it if the signals of the model do not, as those of `EPGBloch`.
    n_sample : int
        Number of atoms that span the subspace, evenly spread over the grid, the same each time; all, if
        there are fewer than twice as many.
    progress : callable, optional
        Called as progress(done, total) after each chunk. Both count simulated atoms, the sample included.

    Returns
    -------
    Dictionary
        Its `truncation_error` is taken over all atoms, not only the sample.

    Raises
    ------
    ValueError
        If `rank`, `truncation_error`, `chunk_size` or `n_sample` is out of range, or the first two are both
        given.
    DictionaryError
        If a signal is zero or not finite, or complex where the sample was real; the message names the atom.

    References
    ----------
    McGivney et al. 2014, IEEE Trans Med Imaging 33:2311, doi 10.1109/TMI.2014.2337321 (SVD compression).
    """
    work = Work(model, sequence, grid, rank, truncation_error, chunk_size, n_sample)
    total = work.sample.size + grid.n_atoms

    def report(done: int) -> None:
        if progress is not None:
            progress(done, total)

    basis, singular_values = work.subspace(report)

    def chunks() -> Iterator[tuple[slice, Compressed]]:
        for atoms in work.chunks():
            yield atoms, compressed_atoms(model, sequence, grid[atoms], atoms.start, basis)
            report(work.sample.size + atoms.stop)

    return collected(grid, sequence, model.settings(), basis, singular_values, chunks())


def collected(
    grid: Grid | AtomList,
    sequence: Sequence | None,
    settings: dict[str, Any],
    basis: NDArray[Any],
    singular_values: NDArray[np.float64],
    chunks: Iterable[tuple[slice, Compressed]],
) -> Dictionary:
    """Return the dictionary whose atoms arrive in chunks, with their truncation error."""
    coefficients = np.empty((grid.n_atoms, basis.shape[1]), dtype=basis.dtype)
    norms, error = np.empty(grid.n_atoms, np.float32), np.empty(grid.n_atoms, np.float32)
    for atoms, compressed in chunks:
        coefficients[atoms], norms[atoms], error[atoms] = compressed
    truncated, counts = error_statistics(error[atoms] for atoms in blocks_of(grid.n_atoms))
    return Dictionary(
        grid, sequence, basis, coefficients, norms, settings, truncated, singular_values, counts
    )


@dataclass(frozen=True, eq=False)
class Work:
    """What is to be generated, checked once at construction; parameters as of `generate`."""

    model: SignalModel
    sequence: Sequence
    grid: Grid | AtomList
    rank: int | None
    truncation_error: float | None
    chunk_size: int
    n_sample: int

    def __post_init__(self) -> None:
        n_atoms, n_pulses = self.grid.n_atoms, self.sequence.n_pulses
        if self.truncation_error is None:
            rank = _DEFAULT_RANK if self.rank is None else self.rank
            object.__setattr__(self, "rank", rank)
            check_count("rank", rank, 1, min(n_pulses, n_atoms), f"{n_pulses} pulses, {n_atoms} atoms")
        elif self.rank is not None:
            raise ValueError(
                f"rank={self.rank} and truncation_error={self.truncation_error} are both given; "
                "one follows from the other: leave one out"
            )
        elif not _SMALLEST_ERROR <= self.truncation_error < 1:
            raise ValueError(
                f"truncation_error={self.truncation_error} must lie between {_SMALLEST_ERROR} and 1; "
                "1e-3 is a usual value"
            )
        check_count("chunk_size", self.chunk_size, 1, None, "4096 is the default")
        check_count("n_sample", self.n_sample, self.rank or 1, None, "a subspace needs at least rank signals")

    @property
    def sample(self) -> NDArray[np.intp]:
        """Numbers of the atoms that span the subspace."""
        return sample_indices(self.grid.n_atoms, self.n_sample)

    def chunks(self) -> Iterator[slice]:
        """Return the atoms of every chunk."""
        for start in range(0, self.grid.n_atoms, self.chunk_size):
            yield slice(start, min(start + self.chunk_size, self.grid.n_atoms))

    def subspace(self, report: Callable[[int], None]) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """Return basis and singular values; call report(atoms done) after each block of the sample."""
        sample = self.sample

        def blocks() -> Iterator[NDArray[Any]]:
            for start in range(0, sample.size, _SAMPLE_CHUNK):
                numbers = sample[start : start + _SAMPLE_CHUNK]
                tissue = self.grid[numbers]
                yield unit_signals(_signals(self.model, self.sequence, tissue), tissue, numbers)
                report(start + numbers.size)

        return subspace(blocks(), self.rank, self.truncation_error)


def compressed_atoms(
    model: SignalModel, sequence: Sequence, tissue: Tissue, first: int, basis: NDArray[Any]
) -> Compressed:
    """Return the atoms of a tissue in a subspace; `first` is the number of the first one, for messages.

    Raises
    ------
    DictionaryError
        If a signal is zero within the subspace, not finite, or complex in a real subspace.
    """
    return checked_atoms(_signals(model, sequence, tissue), tissue, first, basis)


def checked_atoms(
    signals: NDArray[np.complex64], tissue: Tissue, first: int, basis: NDArray[Any]
) -> Compressed:
    """Return signals in a subspace; parameters and errors as of `compressed_atoms`."""
    compressed, fault = compress(signals, basis)
    _check_faults(fault, tissue, first + np.arange(tissue.n_atoms))
    return compressed


def unit_signals(signals: NDArray[np.complex64], tissue: Tissue, numbers: NDArray[np.intp]) -> NDArray[Any]:
    """Return signals of unit norm in double precision, real if they are exactly real.

    Raises
    ------
    DictionaryError
        If a signal is zero or not finite; the message names the atom by its number.
    """
    with np.errstate(invalid="ignore"):
        norms = np.linalg.norm(signals.astype(np.complex128), axis=1)
    faults = np.where(np.isfinite(norms), np.where(norms == 0, _ZERO, 0), _NOT_FINITE)
    _check_faults(faults, tissue, numbers)
    return as_real(signals) / norms[:, np.newaxis]


def check_count(name: str, value: int, low: int, high: int | None, remedy: str) -> None:
    """Raise a ValueError that names `value` unless it is an integer from `low` to `high`."""
    if not isinstance(value, int | np.integer) or value < low or (high is not None and value > high):
        limits = f"at least {low}" if high is None else f"{low} to {high}"
        raise ValueError(f"{name}={value} must be an integer, {limits} ({remedy})")


def _signals(model: SignalModel, sequence: Sequence, tissue: Tissue) -> NDArray[np.complex64]:
    signals = np.ascontiguousarray(model.signal(sequence, tissue), dtype=np.complex64)
    if signals.shape != (tissue.n_atoms, sequence.n_pulses):
        raise DictionaryError(
            f"the model returned signals of shape {signals.shape} for {tissue.n_atoms} atoms and "
            f"{sequence.n_pulses} pulses; it must be (n_atoms, n_pulses)"
        )
    return signals


_NOT_FINITE, _COMPLEX, _ZERO = 1, 2, 3
_FAULTS = {
    _NOT_FINITE: "is not finite; leave the atom out of the grid or check the model",
    _COMPLEX: "is complex although all sampled signals are real; raise n_sample, up to the number of atoms",
    _ZERO: "is zero within the subspace; check that flip angles are not all zero, and raise n_sample",
}


def _check_faults(faults: NDArray[Any], tissue: Tissue, numbers: NDArray[np.intp]) -> None:
    """Raise a DictionaryError that names the first atom with a fault of `compress`."""
    bad = np.flatnonzero(faults)
    if bad.size:
        i = bad[0]
        raise DictionaryError(
            f"the signal of atom {numbers[i]} (T1 {tissue.t1[i]:.6g} s, T2 {tissue.t2[i]:.6g} s, "
            f"B1 {tissue.b1[i]:.6g}, off-resonance {tissue.off_resonance[i]:.6g} Hz) "
            f"{_FAULTS[int(faults[i])]}"
        )
