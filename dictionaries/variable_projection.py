"""Damped Gauss-Newton fits of signals with the proton density projected out. Private to `dictionaries`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dictionaries.bounded_steps import bounded_steps, quadratic
from dictionaries.dictionary import Dictionary
from epgbloch import SignalModel, Tissue

PARAMETERS = ("t1", "t2", "b1", "off_resonance")
"""Tissue parameters that can be fitted, in the order of the arguments of Tissue."""
_LINEAR = "off_resonance"
"""Fitted as it is; the others in their logarithms."""
_FIRST_DAMPING, _LEAST_DAMPING = 1e-3, 1e-7
_DAMPING_STEP = 10.0
_OFFSET = 0.1
"""Where steps fail by rounding, or by inexact derivatives, a fit has converged if the undamped step would
change the signal by at most this part of the residual: a third of a standard error at rank 8
(Bates, Watts 1981, Technometrics 23:179)."""
_SINGULAR = 1e-9
"""Least eigenvalue of the information, scaled to a diagonal of 1: below is single-precision rounding."""


@dataclass
class State:
    """Where the fits of some voxels are: arrays over voxels.

    With voxel x, signal c and derivatives c_j in the subspace, P = I - c c^H / ||c||^2, r = P x.
    """

    cost: NDArray[np.float64]
    """||r||^2."""
    pd: NDArray[np.complex128]
    """<c, x> / ||c||^2."""
    energy: NDArray[np.float64]
    """||c||^2."""
    information: NDArray[np.float64]
    """|pd|^2 Re <P c_i, P c_j>, (n, n_parameters, n_parameters)."""
    descent: NDArray[np.float64]
    """Re <pd P c_j, r>, minus half the gradient of the cost, (n, n_parameters)."""
    slope: NDArray[np.float64]
    """Re <c, c_j> / ||c||^2, (n, n_parameters)."""

    @classmethod
    def of(cls, x: NDArray[Any], c: NDArray[Any], derivatives: NDArray[Any]) -> State:
        """Return the state of voxels x (n, rank) with signals c (n, rank), c_j (n, n_parameters, rank)."""
        energy = (np.abs(c) ** 2).sum(axis=1)
        pd = (c.conj() * x).sum(axis=1) / energy
        residual = x - pd[:, np.newaxis] * c
        along = np.einsum("nr,njr->nj", c.conj(), derivatives) / energy[:, np.newaxis]
        across = pd[:, np.newaxis, np.newaxis] * (derivatives - along[..., np.newaxis] * c[:, np.newaxis])
        return cls(
            cost=(np.abs(residual) ** 2).sum(axis=1),
            pd=pd,
            energy=energy,
            information=(across.conj() @ across.swapaxes(1, 2)).real,
            descent=np.einsum("njr,nr->nj", across.conj(), residual).real,
            slope=along.real,
        )

    @classmethod
    def empty(cls, n: int, n_parameters: int) -> State:
        """Return the state of `n` voxels to be overwritten."""
        vectors = np.empty((2, n, n_parameters))
        return cls(
            np.empty(n),
            np.empty(n, complex),
            np.empty(n),
            np.empty((n, n_parameters, n_parameters)),
            *vectors,
        )

    def put(self, rows: NDArray[np.intp], other: State, chosen: NDArray[np.bool_] | slice) -> None:
        """Overwrite `rows` by the chosen rows of another state."""
        for field in fields(self):
            getattr(self, field.name)[rows] = getattr(other, field.name)[chosen]


class Fit:
    """Fits of voxels, from given tissues on; see `refinement.refine` for the method.

    Parameters
    ----------
    model, dictionary
        Signals and derivatives; sequence and basis.
    names : tuple of str
        Which of PARAMETERS are fitted.
    x : ndarray, shape (n, rank), complex128
        Voxels.
    tissue : ndarray, shape (n, 5), float64
        PARAMETERS of each voxel at the start, within the limits, and diffusion, which stays.
    limits : ndarray, shape (n_parameters, 2), float64
        Least and greatest value of each fitted parameter.
    chunk_size : int
        Number of voxels simulated at once.

    Attributes
    ----------
    tissue : ndarray, shape (n, 5), float64
        PARAMETERS and diffusion of each voxel now.
    state : State
        Its residual and normal equations.
    iterations : ndarray, shape (n,), int64
        Number of steps tried.
    """

    def __init__(
        self,
        model: SignalModel,
        dictionary: Dictionary,
        names: tuple[str, ...],
        x: NDArray[np.complex128],
        tissue: NDArray[np.float64],
        limits: NDArray[np.float64],
        chunk_size: int,
    ) -> None:
        self._model, self._names, self._chunk_size = model, names, chunk_size
        self._sequence, self._analysis = dictionary.required_sequence(), dictionary.basis.conj()
        self._x, self.tissue = x, tissue.copy()
        self._columns = [PARAMETERS.index(name) for name in names]
        self._logarithmic = np.array([name != _LINEAR for name in names])
        self._normals = self._bound_normals()
        self._lowest, self._highest = (np.tile(end, (len(x), 1)) for end in limits.T)
        # where only one of T1 and T2 is fitted, the other limits it
        if "t1" in names and "t2" not in names:
            i = names.index("t1")
            self._lowest[:, i] = np.maximum(self._lowest[:, i], tissue[:, 1])
        if "t2" in names and "t1" not in names:
            i = names.index("t2")
            self._highest[:, i] = np.minimum(self._highest[:, i], tissue[:, 0])
        self.iterations = np.zeros(len(x), np.int64)
        self.state = State.empty(len(x), len(names))
        for rows in self._chunks(np.arange(len(x))):
            self.state.put(rows, self._state(rows, tissue[rows]), slice(None))

    def run(
        self, max_iterations: int, tolerance: float, progress: Callable[[int, int], None] | None
    ) -> NDArray[np.bool_]:
        """Iterate until every voxel has converged or used its iterations; return which ones converged."""
        n_voxels = len(self._x)
        active = np.arange(n_voxels)
        damping = np.full(n_voxels, _FIRST_DAMPING)
        for i_iteration in range(max_iterations + 1):
            steps = self._steps(active, damping[active])
            limits = tolerance * np.abs(self.state.pd[active]) * np.sqrt(self.state.energy[active])
            # where steps failed, damping has made them short: what is left to gain must be small as well
            whole = self._steps(active, np.full(active.size, _LEAST_DAMPING))
            left = np.maximum(limits, _OFFSET * np.sqrt(self.state.cost[active]))
            moving = ~((self._change(active, steps) <= limits) & (self._change(active, whole) <= left))
            active, steps = active[moving], steps[moving]
            if progress is not None:
                progress(n_voxels - active.size, n_voxels)
            if not active.size or i_iteration == max_iterations:
                break
            self.iterations[active] += 1
            for rows, chunk_steps in zip(self._chunks(active), self._chunks(steps), strict=True):
                trial = self._moved(rows, chunk_steps)
                state = self._state(rows, trial)
                better = state.cost < self.state.cost[rows]
                self.tissue[rows[better]] = trial[better]
                self.state.put(rows[better], state, better)
                factor = np.where(better, 1 / _DAMPING_STEP, _DAMPING_STEP)
                damping[rows] = np.maximum(damping[rows] * factor, _LEAST_DAMPING)
        converged = np.ones(n_voxels, np.bool_)
        converged[active] = False
        return converged

    def at_bound(self) -> NDArray[np.bool_]:
        """Return which voxels lie on a bound of a fitted parameter."""
        return (self._room(np.arange(len(self._x))) == 0).any(axis=1)

    def standard_errors(self, noise_std: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Return the standard error of each fitted parameter and of |pd| ("pd") at this level of noise."""
        covariance = _inverse(self.state.information) * noise_std[:, np.newaxis, np.newaxis] ** 2
        deviations = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
        deviations = deviations * self._scales(self.tissue)
        errors = dict(zip(self._names, deviations.T, strict=True))
        shared = np.abs(self.state.pd) ** 2 * quadratic(covariance, self.state.slope)
        return errors | {"pd": np.sqrt(noise_std**2 / self.state.energy + shared)}

    def _chunks(self, rows: NDArray[Any]) -> list[NDArray[Any]]:
        return [rows[i : i + self._chunk_size] for i in range(0, len(rows), self._chunk_size)]

    def _scales(self, tissue: NDArray[np.float64]) -> NDArray[np.float64]:
        """Derivatives of the parameters by the fitted coordinates: the value itself for a logarithm."""
        return np.where(self._logarithmic, tissue[:, self._columns], 1.0)

    def _state(self, rows: NDArray[np.intp], tissue: NDArray[np.float64]) -> State:
        """State of voxels `rows`, were their tissue this one. Equal tissues are simulated once."""
        distinct, inverse = np.unique(tissue, axis=0, return_inverse=True)
        signal, derivatives = self._model.jacobian(self._sequence, Tissue(*distinct.T), self._names)
        c = (signal @ self._analysis).astype(np.complex128)
        by_parameter = (derivatives @ self._analysis).astype(np.complex128)
        by_coordinate = by_parameter.swapaxes(0, 1) * self._scales(distinct)[..., np.newaxis]
        inverse = inverse.reshape(-1)
        return State.of(self._x[rows], c[inverse], by_coordinate[inverse])

    def _bound_normals(self) -> NDArray[np.float64]:
        """Normals of the bounds: upward and downward for each parameter, then T2 <= T1 if both are fitted."""
        identity = np.eye(len(self._names))
        normals = [*identity, *-identity]
        if {"t1", "t2"} <= set(self._names):
            normals.append(identity[self._names.index("t2")] - identity[self._names.index("t1")])
        return np.array(normals)

    def _room(self, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """Distance to each bound in the fitted coordinates, 0 on it."""
        tissue = self.tissue[rows]
        values = tissue[:, self._columns]

        def distance(high: NDArray[np.float64], low: NDArray[np.float64]) -> NDArray[np.float64]:
            ratio = np.divide(high, low, out=np.ones_like(high), where=self._logarithmic)
            return np.where(self._logarithmic, np.log(ratio), high - low)

        room = [distance(self._highest[rows], values), distance(values, self._lowest[rows])]
        if len(self._normals) > 2 * len(self._names):
            room.append(np.log(tissue[:, :1] / tissue[:, 1:2]))
        return np.concatenate(room, axis=1)

    def _steps(self, rows: NDArray[np.intp], damping: NDArray[np.float64]) -> NDArray[np.float64]:
        """Damped Gauss-Newton steps of voxels `rows` within the bounds."""
        information = self.state.information[rows]
        diagonal = np.diagonal(information, axis1=1, axis2=2)
        # a parameter without influence on the signal stays where it is
        diagonal = np.maximum(diagonal, _SINGULAR * diagonal.max(axis=1, keepdims=True))
        damped = information + (damping[:, np.newaxis] * diagonal)[..., np.newaxis] * np.eye(len(self._names))
        return bounded_steps(damped, self.state.descent[rows], self._normals, self._room(rows))

    def _change(self, rows: NDArray[np.intp], steps: NDArray[np.float64]) -> NDArray[np.float64]:
        """Norm of the change of pd c, across c, by steps of voxels `rows`."""
        return np.sqrt(quadratic(self.state.information[rows], steps))

    def _moved(self, rows: NDArray[np.intp], steps: NDArray[np.float64]) -> NDArray[np.float64]:
        """Tissue of voxels `rows` after a step, kept from crossing a bound by rounding."""
        tissue = self.tissue[rows]
        values = tissue[:, self._columns]
        values = np.where(self._logarithmic, values * np.exp(steps), values + steps)
        tissue[:, self._columns] = np.clip(values, self._lowest[rows], self._highest[rows])
        tissue[:, 1] = np.minimum(tissue[:, 1], tissue[:, 0])
        return tissue


def _inverse(information: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverse of each matrix; infinite on the diagonal, zero beside it, where that is singular."""
    scale = np.sqrt(np.diagonal(information, axis1=1, axis2=2))
    outer = scale[:, :, np.newaxis] * scale[:, np.newaxis]
    identity = np.eye(scale.shape[1])
    unit = np.divide(information, outer, out=np.zeros_like(information), where=outer > 0)
    regular = np.linalg.eigvalsh(unit)[:, 0] > _SINGULAR
    inverse = np.linalg.inv(np.where(regular[:, np.newaxis, np.newaxis], unit, identity))
    outer[~regular] = 1.0
    inverse[~regular] = np.where(identity == 1, np.inf, 0.0)
    return inverse / outer
