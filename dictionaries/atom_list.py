"""Lists of tissues that need not lie on a grid."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from epgbloch import Tissue

FIELDS = ("t1", "t2", "b1", "off_resonance", "diffusion")
"""Fields of a tissue."""


@dataclass(frozen=True, eq=False)
class AtomList:
    """Any tissues in any order, where a `Grid` has all combinations of axes.

    Parameters
    ----------
    tissue : Tissue
        The atoms.
    """

    tissue: Tissue

    @cached_property
    def t1(self) -> NDArray[np.float64]:
        """Values of T1 that occur [s], ascending, as on an axis of a `Grid`."""
        return np.unique(self.tissue.t1)

    @cached_property
    def t2(self) -> NDArray[np.float64]:
        """Values of T2 that occur [s], ascending."""
        return np.unique(self.tissue.t2)

    @cached_property
    def b1(self) -> NDArray[np.float64]:
        """Values of B1 that occur, relative to nominal, ascending."""
        return np.unique(self.tissue.b1)

    @cached_property
    def off_resonance(self) -> NDArray[np.float64]:
        """Off-resonance frequencies that occur [Hz], ascending."""
        return np.unique(self.tissue.off_resonance)

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return self.tissue.n_atoms

    def __getitem__(self, index: slice | NDArray[np.intp]) -> Tissue:
        """Return the tissue of some atoms."""
        return self.tissue[index]

    def to_dict(self) -> dict[str, list[float]]:
        """Return the values of all atoms as lists; `AtomList(Tissue(**atoms.to_dict()))` is the same list."""
        return {name: getattr(self.tissue, name).tolist() for name in FIELDS}
