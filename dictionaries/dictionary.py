"""Compressed dictionaries."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dictionaries.atom_list import AtomList
from dictionaries.differences import sequence_differences
from dictionaries.grid import Grid
from dictionaries.tiles import Tiles, arrange
from epgbloch import Sequence, Tissue

# Rounding to single precision leaves 1e-6; damaged or differently scaled data are off by far more.
_ORTHONORMALITY = 1e-4
_CHECKED_AT_ONCE = 65536  # atoms, so that checks take no second copy of the coefficients
ERROR_EDGES = np.logspace(-7, 0, 71)
"""Limits of the bins of `Dictionary.error_counts`; errors beyond are counted in the first and last bin."""


class DictionaryError(ValueError):
    """A dictionary that cannot be generated, read, or used with this sequence; the message says why."""


class RelativeError(NamedTuple):
    """Largest and root-mean-square relative error over all atoms."""

    max: float
    rms: float


@dataclass(frozen=True, eq=False)
class Dictionary:
    """Signals of many atoms in a temporal subspace, checked once at construction.

    The signal of atom i at pulse n with proton density 1 is
    ``norms[i] * sum_r basis[n, r] coefficients[i, r]``, up to the truncation error. `generate` makes
    dictionaries, `read_dictionary` reads them, `dictionary_from_arrays` takes those made elsewhere. Do not
    change the arrays.

    Attributes
    ----------
    grid : Grid or AtomList
        Tissue parameters; the atoms are in the order of ``grid.tissue``.
    sequence : Sequence or None
        The sequence of the signals; None if it is not known.
    basis : ndarray, shape (n_pulses, rank), float32 or complex64
        Orthonormal columns U; float32 if all signals are real.
    coefficients : ndarray, shape (n_atoms, rank), same dtype as `basis`
        Compressed atoms U^H s in rows, divided by their norms.
    norms : ndarray, shape (n_atoms,), float32
        Norms ||U^H s|| of the compressed atoms with proton density 1, > 0.
    model : dict
        Settings of the signal model.
    truncation_error : RelativeError or None
        ||s - U U^H s|| / ||s||: maximum and root mean square over all atoms; None if it is not known.
    singular_values : ndarray, shape (n_pulses,), float64, or None
        Singular values of the sampled signals of unit norm that gave the basis, falling.
    error_counts : ndarray, shape (70,), int64, or None
        Number of atoms whose truncation error lies between `ERROR_EDGES`: ten bins a decade from 1e-7 to 1.

    Raises
    ------
    DictionaryError
        If shapes or dtypes do not fit together, a value is not finite, or columns of the basis, atoms or
        norms are not what they should be.
    """

    grid: Grid | AtomList
    sequence: Sequence | None
    basis: NDArray[Any]
    coefficients: NDArray[Any]
    norms: NDArray[np.float32]
    model: dict[str, Any]
    truncation_error: RelativeError | None
    singular_values: NDArray[np.float64] | None = None
    error_counts: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        for name in ("basis", "coefficients", "norms"):
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name)))
        n_pulses = "n_pulses" if self.sequence is None else self.sequence.n_pulses
        shape = self.basis.shape
        if len(shape) != 2 or 0 in shape or (self.sequence is not None and shape[0] != n_pulses):
            raise DictionaryError(
                f"basis has shape {self.basis.shape}; the sequence asks for ({n_pulses}, rank)"
            )
        n_atoms = self.grid.n_atoms
        for name, shape in (("coefficients", (n_atoms, self.rank)), ("norms", (n_atoms,))):
            if getattr(self, name).shape != shape:
                raise DictionaryError(
                    f"{name} has shape {getattr(self, name).shape}; grid and basis ask for {shape}"
                )
        if self.error_counts is not None and self.error_counts.shape != (ERROR_EDGES.size - 1,):
            raise DictionaryError(
                f"error_counts has shape {self.error_counts.shape}; it must be ({ERROR_EDGES.size - 1},)"
            )
        if self.basis.dtype not in (np.float32, np.complex64):
            raise DictionaryError(f"basis is {self.basis.dtype}; it must be float32 or complex64")
        for name, dtype in (("coefficients", self.basis.dtype), ("norms", np.dtype(np.float32))):
            if getattr(self, name).dtype != dtype:
                raise DictionaryError(f"{name} is {getattr(self, name).dtype}; it must be {dtype}")
        for name in ("basis", "truncation_error", "singular_values"):
            value = getattr(self, name)
            if value is not None and not np.isfinite(value).all():
                raise DictionaryError(f"{name} holds values that are not finite")
        if np.abs(self.basis.conj().T @ self.basis - np.eye(self.rank)).max() > _ORTHONORMALITY:
            raise DictionaryError("basis must have orthonormal columns")
        for start in range(0, n_atoms, _CHECKED_AT_ONCE):
            self._check_atoms(slice(start, start + _CHECKED_AT_ONCE))

    def _check_atoms(self, atoms: slice) -> None:
        for name in ("coefficients", "norms"):
            if not np.isfinite(getattr(self, name)[atoms]).all():
                raise DictionaryError(f"{name} holds values that are not finite")
        if np.abs(np.linalg.norm(self.coefficients[atoms], axis=1) - 1).max() > _ORTHONORMALITY:
            raise DictionaryError("coefficients must have rows of unit norm")
        if self.norms[atoms].min() <= 0:
            raise DictionaryError("norms must be positive")

    @property
    def tissue(self) -> Tissue:
        """Tissue of the atoms."""
        return self.grid.tissue

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return self.grid.n_atoms

    @property
    def n_pulses(self) -> int:
        """Number of pulses of the signals."""
        return self.basis.shape[0]

    @property
    def rank(self) -> int:
        """Dimension of the subspace."""
        return self.basis.shape[1]

    def required_sequence(self) -> Sequence:
        """Return the sequence; raise a DictionaryError if it is not known.

        If you know it, say so: ``dataclasses.replace(dictionary, sequence=sequence)`` is the same dictionary
        with that sequence.
        """
        if self.sequence is None:
            raise DictionaryError(
                "the sequence that the dictionary was made for is not known. If you know it, say so: "
                "dataclasses.replace(dictionary, sequence=sequence)"
            )
        return self.sequence

    @cached_property
    def tiles(self) -> Tiles:
        """Atoms in the order in which `match` searches them, made at its first call and kept."""
        return arrange(self.coefficients)

    def check_sequence(self, sequence: Sequence) -> None:
        """Raise a DictionaryError that says what differs unless `sequence` gives the same signals.

        A dictionary of an unknown sequence fits none, see `required_sequence`.
        """
        own = self.required_sequence()
        if own.fingerprint() != sequence.fingerprint():
            differences = "; ".join(sequence_differences(own, sequence))
            raise DictionaryError(
                f"the dictionary was made for another sequence: {differences}. "
                "Use the protocol that it was made for, or generate it again for this one"
            )
