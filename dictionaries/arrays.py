"""Dictionaries from arrays that were made elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dictionaries.atom_list import AtomList
from dictionaries.compression import blocks_of
from dictionaries.dictionary import Dictionary, DictionaryError, RelativeError
from dictionaries.generation import check_count, checked_atoms, collected, unit_signals
from dictionaries.grid import Grid
from dictionaries.subspace import sample_indices, subspace
from epgbloch import Sequence, Tissue

_N_SAMPLE = 5000
_BLOCK = 512


def dictionary_from_signals(
    atoms: Grid | AtomList | Tissue,
    signals: ArrayLike,
    *,
    rank: int = 12,
    sequence: Sequence | None = None,
    model: dict[str, Any] | None = None,
) -> Dictionary:
    """Return the dictionary of signals that were computed elsewhere, compressed as by `generate`.

    Parameters
    ----------
    atoms : Grid, AtomList or Tissue
        Tissue parameters, one for each signal.
    signals : array_like, shape (n_atoms, n_pulses), real or complex
        Signals of proton density 1; a common factor scales the proton densities that are found with them. In
        phase with the measurement: epgbloch follows the receiver phase and gives +sin(flip angle) after
        excitation of equilibrium magnetisation.
    rank : int
        Dimension of the subspace.
    sequence : Sequence, optional
        The sequence of the signals, if it is known: you vouch for it.
    model : dict, optional
        What made the signals, in plain numbers and strings; {"model": "imported"} if not given.

    Returns
    -------
    Dictionary
        Its `truncation_error` is taken over all atoms.

    Raises
    ------
    ValueError
        If `rank` is out of range.
    DictionaryError
        If the shapes do not fit, or a signal is zero or not finite.
    """
    grid = AtomList(atoms) if isinstance(atoms, Tissue) else atoms
    rows = np.asarray(signals)
    if rows.ndim != 2 or len(rows) != grid.n_atoms or rows.dtype.kind not in "fciu":
        raise DictionaryError(
            f"signals are {rows.dtype} of shape {rows.shape}; give numbers of shape "
            f"({grid.n_atoms}, n_pulses)"
        )
    limit = min(rows.shape)
    check_count("rank", rank, 1, limit, f"{rows.shape[1]} pulses, {grid.n_atoms} atoms")

    def block(numbers: Any) -> NDArray[np.complex64]:
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(rows[numbers], dtype=np.complex64)

    sample = sample_indices(grid.n_atoms, max(_N_SAMPLE, rank))
    pieces = [sample[start : start + _BLOCK] for start in range(0, sample.size, _BLOCK)]
    basis, singular_values = subspace((unit_signals(block(n), grid[n], n) for n in pieces), rank)
    settings = {"model": "imported"} if model is None else model
    chunks = (
        (part, checked_atoms(block(part), grid[part], part.start, basis)) for part in blocks_of(grid.n_atoms)
    )
    return collected(grid, sequence, settings, basis, singular_values, chunks)


def dictionary_from_arrays(
    atoms: Grid | AtomList | Tissue,
    *,
    basis: ArrayLike,
    coefficients: ArrayLike,
    norms: ArrayLike | None = None,
    sequence: Sequence | None = None,
    model: dict[str, Any] | None = None,
    truncation_error: RelativeError | None = None,
    singular_values: NDArray[np.float64] | None = None,
    error_counts: NDArray[np.int64] | None = None,
) -> Dictionary:
    """Return the dictionary of atoms that were compressed elsewhere.

    Parameters
    ----------
    atoms : Grid, AtomList or Tissue
        Tissue parameters of the atoms.
    basis : array_like, shape (n_pulses, rank), real or complex
        Orthonormal columns U.
    coefficients : array_like, shape (n_atoms, rank), real or complex
        U^H s of every signal s of proton density 1, or these divided by `norms`. Real
        ones are matched twice as fast.
    norms : array_like, shape (n_atoms,), optional
        Norms of U^H s. If not given, those of the coefficients: if these were normalised before, the proton
        densities that are found mean nothing.
    sequence : Sequence, optional
        The sequence of the signals, if it is known: you vouch for it.
    model : dict, optional
        What made the signals, in plain numbers and strings; {"model": "imported"} if not given.
    truncation_error, singular_values, error_counts : optional
        As of `Dictionary`, if they are known.

    Returns
    -------
    Dictionary
        In single precision.

    Raises
    ------
    DictionaryError
        As from `Dictionary`, or if all coefficients of an atom are zero.
    """
    grid = AtomList(atoms) if isinstance(atoms, Tissue) else atoms
    columns, rows = np.asarray(basis), np.asarray(coefficients)
    single = np.complex64 if np.iscomplexobj(columns) or np.iscomplexobj(rows) else np.float32
    if norms is None:
        lengths = np.linalg.norm(rows, axis=-1)
        if not lengths.all():
            raise DictionaryError(
                f"coefficients of atom {np.flatnonzero(lengths == 0)[0]} are all zero; leave the atom out"
            )
        rows = rows / lengths[..., np.newaxis]
    else:
        lengths = np.asarray(norms)
    return Dictionary(
        grid=grid,
        sequence=sequence,
        basis=columns.astype(single),
        coefficients=rows.astype(single, copy=False),
        norms=lengths.astype(np.float32),
        model={"model": "imported"} if model is None else model,
        truncation_error=truncation_error,
        singular_values=singular_values,
        error_counts=error_counts,
    )
