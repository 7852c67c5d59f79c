"""Tissue parameters of a set of atoms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from epgbloch._checks import broadcast, real_vector, require


@dataclass(frozen=True, eq=False)
class Tissue:
    """Relaxation times and fields of `n_atoms` atoms, checked once at construction.

    Every field is a number or a vector; vectors must have the same length, numbers are repeated.

    Parameters
    ----------
    t1 : array_like, shape (n_atoms,), float64
        Longitudinal relaxation time [s], > 0.
    t2 : array_like, shape (n_atoms,), float64
        Transverse relaxation time [s], > 0 and at most `t1`.
    b1 : array_like, shape (n_atoms,), float64
        Transmit field relative to nominal, > 0: the flip angle is multiplied by it.
    off_resonance : array_like, shape (n_atoms,), float64
        Off-resonance frequency [Hz]. The transverse magnetisation turns as exp(+2 pi i off_resonance t).
    diffusion : array_like, shape (n_atoms,), float64
        Isotropic diffusion coefficient [m^2/s], at least 0; water at body temperature has 3e-9. It attenuates
        the dephased configuration states of sequences with a `spoiler_moment`.

    Raises
    ------
    ValueError
        If a value is not a finite number or not positive, T2 exceeds T1, or the lengths differ.
    """

    t1: NDArray[np.float64]
    t2: NDArray[np.float64]
    b1: NDArray[np.float64]
    off_resonance: NDArray[np.float64]
    diffusion: NDArray[np.float64]

    def __init__(
        self,
        t1: ArrayLike,
        t2: ArrayLike,
        b1: ArrayLike = 1.0,
        off_resonance: ArrayLike = 0.0,
        diffusion: ArrayLike = 0.0,
    ) -> None:
        vectors = {
            "t1": real_vector("t1", t1, "seconds"),
            "t2": real_vector("t2", t2, "seconds"),
            "b1": real_vector("b1", b1, ""),
            "off_resonance": real_vector("off_resonance", off_resonance, "Hz"),
            "diffusion": real_vector("diffusion", diffusion, "m^2/s"),
        }
        n_atoms = max(vector.size for vector in vectors.values())
        for name, vector in zip(vectors, broadcast(n_atoms, "atom", **vectors), strict=True):
            object.__setattr__(self, name, vector)
        for name in ("t1", "t2", "b1"):
            vector = getattr(self, name)
            require(name, vector, vector > 0, "positive", "leave out background voxels")
        require("diffusion", self.diffusion, self.diffusion >= 0, "at least 0", "0 switches diffusion off")
        bad = np.flatnonzero(self.t2 > self.t1)
        if bad.size:
            i_atom = bad[0]
            raise ValueError(
                f"t2={self.t2[i_atom]:.6g} s exceeds t1={self.t1[i_atom]:.6g} s at atom {i_atom}; "
                "T2 cannot be longer than T1: drop the atom or swap the two arguments"
            )

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return self.t1.size

    def __getitem__(self, index: slice | NDArray[np.intp]) -> Tissue:
        """Return the atoms chosen by a slice or an index array."""
        chosen = object.__new__(Tissue)  # what was checked once needs no check again
        for name in ("t1", "t2", "b1", "off_resonance", "diffusion"):
            values = getattr(self, name)[index]
            if values.ndim != 1 or values.size == 0:
                raise IndexError(
                    f"index {index!r} does not choose a vector of atoms; use a slice, as in [3:4]"
                )
            values.setflags(write=False)
            object.__setattr__(chosen, name, values)
        return chosen
