"""The protocol between the physics and everything above it."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from epgbloch.sequence import Sequence
from epgbloch.tissue import Tissue


@runtime_checkable
class SignalModel(Protocol):
    """Anything that turns a sequence and tissues into signals: the exact engine, a surrogate."""

    def signal(self, sequence: Sequence, tissue: Tissue) -> NDArray[np.complex64]:
        """Return the signal of every atom at every echo, shape (n_atoms, n_pulses), complex64."""
        ...

    def jacobian(
        self, sequence: Sequence, tissue: Tissue, wrt: tuple[str, ...] = ("t1", "t2")
    ) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
        """Return the signal and its derivatives, (n_atoms, n_pulses) and (n_wrt, n_atoms, n_pulses)."""
        ...

    def settings(self) -> dict[str, Any]:
        """Return what identifies the model in a stored dictionary: plain numbers and strings.

        The name of a ``network`` is information only, see `identity`.
        """
        ...


def identity(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a model that must be equal for equal signals: all but ``network``, a name."""
    return {name: value for name, value in settings.items() if name != "network"}
