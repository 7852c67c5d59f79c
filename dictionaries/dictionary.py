"""Compressed dictionaries."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dictionaries.differences import sequence_differences
from dictionaries.grid import Grid
from dictionaries.tiles import Tiles, arrange
from epgbloch import Sequence, Tissue

# Rounding to single precision leaves 1e-6; damaged or differently scaled data are off by far more.
_ORTHONORMALITY = 1e-4


class DictionaryError(ValueError):
    """A dictionary that cannot be generated, read, or used with this sequence; the message says why."""


class RelativeError(NamedTuple):
    """Largest and root-mean-square relative error over all atoms."""

    max: float
    rms: float


@dataclass(frozen=True, eq=False)
class Dictionary:
    """Signals of all atoms of a grid in a temporal subspace, checked once at construction.

    The signal of atom i at pulse n with proton density 1 is
    ``norms[i] * sum_r basis[n, r] coefficients[i, r]``, up to the truncation error. `generate` makes
    dictionaries, `read_dictionary` reads them. Its arrays must not be changed.

    Attributes
    ----------
    grid : Grid
        Tissue parameters; the atoms are in the order of ``grid.tissue``.
    sequence : Sequence
        The sequence of the signals.
    basis : ndarray, shape (n_pulses, rank), float32 or complex64
        Orthonormal columns U; float32 if all signals are real.
    coefficients : ndarray, shape (n_atoms, rank), same dtype as `basis`
        Compressed atoms U^H s in rows, divided by their norms.
    norms : ndarray, shape (n_atoms,), float32
        Norms ||U^H s|| of the compressed atoms with proton density 1, > 0.
    model : dict
        Settings of the signal model.
    truncation_error : RelativeError
        ||s - U U^H s|| / ||s||: maximum and root mean square over all atoms.

    Raises
    ------
    DictionaryError
        If shapes or dtypes do not fit together, a value is not finite, or columns of the basis, atoms or
        norms are not what they should be.
    """

    grid: Grid
    sequence: Sequence
    basis: NDArray[Any]
    coefficients: NDArray[Any]
    norms: NDArray[np.float32]
    model: dict[str, Any]
    truncation_error: RelativeError

    def __post_init__(self) -> None:
        for name in ("basis", "coefficients", "norms"):
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name)))
        if self.basis.ndim != 2 or self.basis.shape[0] != self.sequence.n_pulses or not self.basis.size:
            raise DictionaryError(
                f"basis has shape {self.basis.shape}; the sequence asks for ({self.sequence.n_pulses}, rank)"
            )
        n_atoms = self.grid.n_atoms
        for name, shape in (("coefficients", (n_atoms, self.rank)), ("norms", (n_atoms,))):
            if getattr(self, name).shape != shape:
                raise DictionaryError(
                    f"{name} has shape {getattr(self, name).shape}; grid and basis ask for {shape}"
                )
        if self.basis.dtype not in (np.float32, np.complex64):
            raise DictionaryError(f"basis is {self.basis.dtype}; it must be float32 or complex64")
        for name, dtype in (("coefficients", self.basis.dtype), ("norms", np.dtype(np.float32))):
            if getattr(self, name).dtype != dtype:
                raise DictionaryError(f"{name} is {getattr(self, name).dtype}; it must be {dtype}")
        for name in ("basis", "coefficients", "norms", "truncation_error"):
            if not np.isfinite(getattr(self, name)).all():
                raise DictionaryError(f"{name} holds values that are not finite")
        if np.abs(self.basis.conj().T @ self.basis - np.eye(self.rank)).max() > _ORTHONORMALITY:
            raise DictionaryError("basis must have orthonormal columns")
        if np.abs(np.linalg.norm(self.coefficients, axis=1) - 1).max() > _ORTHONORMALITY:
            raise DictionaryError("coefficients must have rows of unit norm")
        if self.norms.min() <= 0:
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
    def rank(self) -> int:
        """Dimension of the subspace."""
        return self.basis.shape[1]

    @cached_property
    def tiles(self) -> Tiles:
        """Atoms in the order in which `match` searches them, made at its first call and kept."""
        return arrange(self.coefficients)

    def check_sequence(self, sequence: Sequence) -> None:
        """Raise a DictionaryError that says what differs unless `sequence` gives the same signals."""
        if self.sequence.fingerprint() != sequence.fingerprint():
            differences = "; ".join(sequence_differences(self.sequence, sequence))
            raise DictionaryError(
                f"the dictionary was made for another sequence: {differences}. "
                "Use the protocol that it was made for, or generate it again for this one"
            )
