"""The function that a design minimises: a criterion of the sequence that parameters make."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from design.crlb import Criterion
from design.parametrization import Parametrization
from epgbloch import SignalModel

RealArray = NDArray[np.float64]


class Objective:
    """Criterion as a function of the parameters u of a design.

    Parameters
    ----------
    model : SignalModel
        What makes the signals. With a method `gradient` (as of `EPGBloch`) the objective has derivatives;
        with `jacobian_of_trains`, populations that differ in flip angles are one call.
    criterion : Criterion
        What is minimised.
    parametrization : Parametrization
        What varies.

    Attributes
    ----------
    n_signals : int
        Signals evaluated so far, with their derivatives: sequences times tissues.
    """

    def __init__(self, model: SignalModel, criterion: Criterion, parametrization: Parametrization) -> None:
        self.model, self.criterion, self.parametrization = model, criterion, parametrization
        self.n_signals = 0

    @property
    def differentiable(self) -> bool:
        """Whether the model gives derivatives by the sequence."""
        return hasattr(self.model, "gradient")

    def value(self, u: RealArray) -> float:
        """Return the criterion at u, shape (n_parameters,)."""
        sequence = self.parametrization.sequence_of(u)
        self.n_signals += self.criterion.tissue.n_atoms
        return self.criterion.of(self.model, sequence)

    def values(self, population: RealArray) -> RealArray:
        """Return the criterion at every row of (n_candidates, n_parameters), shape (n_candidates,)."""
        if not len(population):  # no candidate of an evolution keeps to the limits
            return np.empty(0)
        model: Any = self.model
        if not (self.parametrization.flip_angle_only and hasattr(model, "jacobian_of_trains")):
            return np.array([self.value(u) for u in population])
        criterion, sequence = self.criterion, self.parametrization.sequence
        trains = self.parametrization.values(population)["flip_angle"]
        self.n_signals += len(trains) * criterion.tissue.n_atoms
        signal, derivatives = model.jacobian_of_trains(sequence, trains, criterion.tissue, criterion.wrt)
        return criterion.value(signal, derivatives, sequence.duration)

    def value_and_gradient(self, u: RealArray) -> tuple[float, RealArray]:
        """Return the criterion at u and its derivatives by u, by the adjoint of the model."""
        model: Any = self.model
        sequence = self.parametrization.sequence_of(u)
        criterion = self.criterion
        self.n_signals += criterion.tissue.n_atoms
        signal, derivatives = model.jacobian(sequence, criterion.tissue, criterion.wrt)
        value, *cotangents, by_duration = criterion.value_and_cotangents(
            signal, derivatives, sequence.duration
        )
        gradient = model.gradient(sequence, criterion.tissue, *cotangents, criterion.wrt)
        by_value = {
            "flip_angle": gradient.flip_angle,
            "phase": gradient.phase,
            "tr": gradient.tr + by_duration,  # the duration is the sum of TR and the inversion time
            "te": gradient.te,
            "inversion_time": np.array([gradient.inversion_time + by_duration]),
        }
        return value, self.parametrization.pull_back(u, by_value)
