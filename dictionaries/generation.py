"""Dictionaries from a signal model, chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dictionaries.dictionary import Dictionary, DictionaryError, RelativeError
from dictionaries.grid import Grid
from dictionaries.subspace import as_real, sample_indices, subspace
from epgbloch import Sequence, SignalModel, Tissue

# Of fixed size, so that the subspace does not depend on chunk_size.
_SAMPLE_CHUNK = 512


def generate(
    model: SignalModel,
    sequence: Sequence,
    grid: Grid,
    *,
    rank: int = 12,
    chunk_size: int = 4096,
    n_sample: int = 5000,
    progress: Callable[[int, int], None] | None = None,
) -> Dictionary:
    """Return the dictionary of a grid, compressed to a temporal subspace.

    The subspace is spanned by the leading left singular vectors U of the signals of a sample of the atoms,
    each scaled to unit norm. Then the signals s of all atoms are computed in chunks and only U^H s is kept.
    If the signals of the whole sample are exactly real, so are the basis and the dictionary.

    Parameters
    ----------
    model : SignalModel
        Computes the signals.
    sequence : Sequence
        Flip angles, timing and pulse.
    grid : Grid
        Tissue parameters of the atoms.
    rank : int
        Dimension of the subspace, at most the number of pulses, of atoms and of sampled atoms.
    chunk_size : int
        Number of atoms simulated at once; memory is about 24 x chunk_size x n_pulses bytes. The result
        depends on it only by single-precision rounding.
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
        If `rank`, `chunk_size` or `n_sample` is out of range.
    DictionaryError
        If a signal is zero or not finite, or complex where the sample was real; the message names the atom.

    References
    ----------
    McGivney et al. 2014, IEEE Trans Med Imaging 33:2311, doi 10.1109/TMI.2014.2337321 (SVD compression).
    """
    tissue = grid.tissue
    limit = min(sequence.n_pulses, tissue.n_atoms)
    _check_count("rank", rank, 1, limit, f"{sequence.n_pulses} pulses, {tissue.n_atoms} atoms")
    _check_count("chunk_size", chunk_size, 1, None, "4096 is the default")
    _check_count("n_sample", n_sample, rank, None, "a subspace needs at least rank signals")
    sample = sample_indices(tissue.n_atoms, n_sample)
    total = sample.size + tissue.n_atoms

    def signals_of(atoms: NDArray[np.intp], size: int, done: int) -> Iterator[tuple[NDArray[np.intp], Any]]:
        for start in range(0, atoms.size, size):
            chunk = atoms[start : start + size]
            yield chunk, _signals(model, sequence, tissue, chunk)
            if progress is not None:
                progress(done + start + chunk.size, total)

    def unit_signals() -> Iterator[NDArray[Any]]:
        for chunk, signals in signals_of(sample, _SAMPLE_CHUNK, 0):
            norms = np.sqrt(_energy(signals))
            _check_signal(norms, tissue, chunk)
            yield signals / norms[:, np.newaxis]

    basis = subspace(unit_signals(), rank)
    coefficients = np.empty((tissue.n_atoms, rank), dtype=basis.dtype)
    norms = np.empty(tissue.n_atoms, dtype=np.float32)
    squared_error = np.empty(tissue.n_atoms)
    for chunk, signals in signals_of(np.arange(tissue.n_atoms), chunk_size, sample.size):
        if np.iscomplexobj(signals) and not np.iscomplexobj(basis):
            i_complex = np.flatnonzero(signals.imag.any(axis=1))[0]
            raise DictionaryError(
                f"the signal of {_describe(tissue, chunk[i_complex])} is complex although all {sample.size} "
                f"sampled signals are real; raise n_sample, up to the {tissue.n_atoms} atoms of the grid"
            )
        compressed = signals @ basis.conj()
        chunk_norms = np.sqrt(_energy(compressed))
        _check_signal(chunk_norms, tissue, chunk)
        coefficients[chunk] = compressed / chunk_norms[:, np.newaxis]
        norms[chunk] = chunk_norms
        # Not ||s||^2 - ||U^H s||^2, in which single-precision rounding hides errors below 3e-4.
        squared_error[chunk] = _energy(signals - compressed @ basis.T) / _energy(signals)
    error = RelativeError(max=float(np.sqrt(squared_error.max())), rms=float(np.sqrt(squared_error.mean())))
    return Dictionary(grid, sequence, basis, coefficients, norms, model.settings(), error)


def _check_count(name: str, value: int, low: int, high: int | None, remedy: str) -> None:
    if not isinstance(value, int | np.integer) or value < low or (high is not None and value > high):
        limits = f"at least {low}" if high is None else f"{low} to {high}"
        raise ValueError(f"{name}={value} must be an integer, {limits} ({remedy})")


def _signals(model: SignalModel, sequence: Sequence, tissue: Tissue, atoms: NDArray[np.intp]) -> NDArray[Any]:
    """Return the signals of some atoms, checked: complex64, or float32 if they are exactly real."""
    signals = np.ascontiguousarray(model.signal(sequence, tissue[atoms]), dtype=np.complex64)
    if signals.shape != (atoms.size, sequence.n_pulses):
        raise DictionaryError(
            f"the model returned signals of shape {signals.shape} for {atoms.size} atoms and "
            f"{sequence.n_pulses} pulses; it must be (n_atoms, n_pulses)"
        )
    finite = np.isfinite(signals).all(axis=1)
    if not finite.all():
        i_atom = atoms[np.flatnonzero(~finite)[0]]
        raise DictionaryError(
            f"the signal of {_describe(tissue, i_atom)} is not finite; "
            "leave the atom out of the grid or check the model"
        )
    return as_real(signals)


def _energy(signals: NDArray[Any]) -> NDArray[np.float64]:
    """Return the squared norm of each row in double precision."""
    parts = signals.view(signals.real.dtype)
    return np.einsum("ij,ij->i", parts, parts, dtype=np.float64)


def _check_signal(norms: NDArray[np.float64], tissue: Tissue, atoms: NDArray[np.intp]) -> None:
    zero = np.flatnonzero(norms == 0)
    if zero.size:
        raise DictionaryError(
            f"the signal of {_describe(tissue, atoms[zero[0]])} is zero within the subspace; "
            "check that flip angles are not all zero, and raise n_sample"
        )


def _describe(tissue: Tissue, i_atom: np.intp) -> str:
    return (
        f"atom {i_atom} (T1 {tissue.t1[i_atom]:.6g} s, T2 {tissue.t2[i_atom]:.6g} s, "
        f"B1 {tissue.b1[i_atom]:.6g}, off-resonance {tissue.off_resonance[i_atom]:.6g} Hz)"
    )
