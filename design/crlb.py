"""Fisher information and Cramér-Rao bounds of tissue parameters, and what designs minimise of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from epgbloch import Sequence, SignalModel, Tissue
from epgbloch._checks import real_vector, require

RealArray = NDArray[np.float64]

PROTON_DENSITIES = ("real", "complex", "known")
OPTIMALITIES = ("A", "D", "E")
OVER_TISSUES = ("sum", "mean", "worst")
WORST_POWER = 16
"""The worst tissue is found by the norm of this power, which has a derivative; it is at most
n_tissues^(1/16) larger than the largest value."""
_SMALLEST_RECIPROCAL = 1e-11
"""Least reciprocal condition of a normalised information matrix from signals in single precision."""


def fisher_information(
    signal: ArrayLike, derivatives: ArrayLike, proton_density: str = "real"
) -> NDArray[np.float64]:
    """Return the Fisher information of tissue parameters and the proton density, for noise of SD 1.

    F_ij = Re sum_n conj(ds_n / dp_i) ds_n / dp_j, for complex white Gaussian noise with standard deviation 1
    in the real and in the imaginary part of every echo, and a proton density of 1.

    Parameters
    ----------
    signal : array_like, shape (..., n_pulses), complex
        Signals of the atoms.
    derivatives : array_like, shape (n_parameters, ..., n_pulses), complex
        Their derivatives by the parameters.
    proton_density : {"real", "complex", "known"}
        Unknown real factor of the signal, unknown complex one, or none: 1, 2 or 0 more parameters.

    Returns
    -------
    ndarray, shape (..., n, n), float64
        n = n_parameters + 1, 2 or 0; the proton density comes last.

    Raises
    ------
    ValueError
        If `proton_density` is unknown or the shapes do not fit.
    """
    _check_choice("proton_density", proton_density, PROTON_DENSITIES)
    signal, derivatives = np.asarray(signal), np.asarray(derivatives)
    if derivatives.shape[1:] != signal.shape:
        expected = ", ".join(["n_parameters", *map(str, signal.shape)])
        raise ValueError(
            f"derivatives has shape {derivatives.shape}; it must have ({expected}), as the signal"
        )
    return _fisher(_columns(signal, derivatives, proton_density))


def cramer_rao_bound(fisher: ArrayLike, n_parameters: int | None = None) -> NDArray[np.float64]:
    """Return the smallest covariance that an unbiased estimator can have: the inverse of the information.

    Parameters
    ----------
    fisher : array_like, shape (..., n, n), float64
        As from `fisher_information`.
    n_parameters : int, optional
        Return the covariance of the first ones only; the others are unknown all the same.

    Returns
    -------
    ndarray, shape (..., n_parameters, n_parameters), float64
        Infinite where the signals do not determine the parameters.
    """
    return _inverse(np.asarray(fisher, np.float64))[..., :n_parameters, :n_parameters]


@dataclass(frozen=True, eq=False)
class Criterion:
    """A number to be minimised: what Cramér-Rao bounds of some tissues come to.

    For each tissue, the covariance C of `parameters` (noise of SD 1, proton density 1), scaled by `weights`
    as sqrt(w_i) C_ij sqrt(w_j), comes to its trace ("A"), to the geometric mean of its eigenvalues ("D", the
    p-th root of the determinant), or to its largest eigenvalue ("E"). With logarithms of parameters and "A"
    it is the weighted sum of relative variances.

    Parameters
    ----------
    tissue : Tissue
        The tissues.
    parameters : tuple of str
        Parameters that matter: "t1", "t2", "b1", "off_resonance" (as the model knows them), or "ln_t1",
        "ln_t2", "ln_b1" for relative errors.
    nuisance : tuple of str
        Other parameters that are unknown as well.
    proton_density : {"real", "complex", "known"}
        See `fisher_information`.
    optimality : {"A", "D", "E"}
        What becomes of the covariance.
    weights : array_like, shape (n_parameters,), float64
        Of the parameters; 1 if left out.
    tissue_weights : array_like, shape (n_atoms,), float64
        Of the tissues; 1 if left out.
    over_tissues : {"sum", "mean", "worst"}
        Sum over tissues, weighted mean, or weighted maximum (see `WORST_POWER`).
    per_time : bool
        Multiply variances by the duration of the sequence [s]: its square root is the standard deviation
        times the square root of the scan time.

    Raises
    ------
    ValueError
        If a choice is unknown, a parameter is named twice, or weights do not fit or are not positive.

    Examples
    --------
    >>> criterion = Criterion(Tissue(t1=[0.9, 0.5], t2=[0.085, 0.065]))
    >>> value = criterion.of(EPGBloch(), sequence)
    """

    tissue: Tissue
    parameters: tuple[str, ...] = ("ln_t1", "ln_t2")
    nuisance: tuple[str, ...] = ()
    proton_density: str = "real"
    optimality: str = "A"
    weights: ArrayLike | None = None
    tissue_weights: ArrayLike | None = None
    over_tissues: str = "sum"
    per_time: bool = False
    _scale: RealArray = field(init=False, repr=False)
    _share: RealArray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name, choices in (
            ("proton_density", PROTON_DENSITIES),
            ("optimality", OPTIMALITIES),
            ("over_tissues", OVER_TISSUES),
        ):
            _check_choice(name, getattr(self, name), choices)
        if not self.parameters:
            raise ValueError("parameters is empty; name at least one, as in ('ln_t1', 'ln_t2')")
        plain = [name.removeprefix("ln_") for name in self.wrt]
        for i, name in enumerate(plain):
            if name in plain[:i]:
                raise ValueError(f"parameters and nuisance name {name} twice; name it once")
        scale = np.sqrt(_weights("weights", self.weights, len(self.parameters), "parameter"))
        share = _weights("tissue_weights", self.tissue_weights, self.tissue.n_atoms, "tissue")
        if self.over_tissues == "mean":
            share = share / share.sum()
        object.__setattr__(self, "_scale", np.outer(scale, scale))
        object.__setattr__(self, "_share", share)

    @property
    def wrt(self) -> tuple[str, ...]:
        """Parameters by which signals are differentiated."""
        return (*self.parameters, *self.nuisance)

    def of(self, model: SignalModel, sequence: Sequence) -> float:
        """Return the value for a sequence, whose signals a model gives."""
        signal, derivatives = model.jacobian(sequence, self.tissue, self.wrt)
        return float(self.value(signal, derivatives, sequence.duration))

    def bounds(self, model: SignalModel, sequence: Sequence) -> RealArray:
        """Return the standard deviations at the bound of `parameters`, shape (n_atoms, n_parameters).

        For noise of SD 1 and a proton density of 1, neither weighted nor multiplied by time: divide by the
        signal-to-noise ratio (proton density over the SD of the noise of an echo).
        """
        return self.standard_deviations(*model.jacobian(sequence, self.tissue, self.wrt))

    def standard_deviations(self, signal: NDArray[Any], derivatives: NDArray[Any]) -> RealArray:
        """Return those of `bounds` for signals and derivatives that are there already, as for `value`."""
        fisher = fisher_information(signal, derivatives, self.proton_density)
        covariance = cramer_rao_bound(fisher, len(self.parameters))
        return np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1))

    def value(self, signal: NDArray[Any], derivatives: NDArray[Any], duration: ArrayLike) -> RealArray:
        """Return the value for signals that are there already.

        Parameters
        ----------
        signal : ndarray, shape (..., n_atoms, n_pulses), complex
            Signals of `tissue`; axes before come from several sequences.
        derivatives : ndarray, shape (n_wrt, ..., n_atoms, n_pulses), complex
            Their derivatives by `wrt`.
        duration : array_like, shape (...), float64
            Of the sequences [s].

        Returns
        -------
        ndarray, shape (...), float64
            Infinite where the signals do not determine the parameters.
        """
        fisher = fisher_information(signal, derivatives, self.proton_density)
        by_tissue = self._figures(_inverse(fisher))[0]
        if self.per_time:
            by_tissue = by_tissue * np.asarray(duration, np.float64)[..., np.newaxis]
        return self._together(by_tissue)[0]

    def value_and_cotangents(
        self, signal: NDArray[Any], derivatives: NDArray[Any], duration: float
    ) -> tuple[float, NDArray[Any], NDArray[Any], float]:
        """Return the value for one sequence, and its derivatives.

        Parameters
        ----------
        signal : ndarray, shape (n_atoms, n_pulses), complex
            Signals of `tissue`.
        derivatives : ndarray, shape (n_wrt, n_atoms, n_pulses), complex
            Their derivatives by `wrt`.
        duration : float
            Of the sequence [s].

        Returns
        -------
        value : float
            As from `value`.
        signal_cotangent, derivative_cotangents : ndarray, as `signal` and `derivatives`
            Its derivatives by real and imaginary parts, as real and imaginary parts: what
            `EPGBloch.gradient` takes. Zero where the value is infinite.
        by_duration : float
            Its derivative by the duration [1/s].
        """
        columns = _columns(signal, derivatives, self.proton_density)
        covariance = _inverse(_fisher(columns))
        figures, by_covariance = self._figures(covariance)
        time = duration if self.per_time else 1.0
        value, by_figure = self._together(figures * time)
        if not np.isfinite(value):
            return np.inf, np.zeros_like(signal), np.zeros_like(derivatives), 0.0
        padded = np.zeros_like(covariance)
        n = len(self.parameters)
        padded[..., :n, :n] = by_covariance * (time * by_figure)[:, np.newaxis, np.newaxis]
        by_fisher = -covariance @ padded @ covariance
        bars = np.einsum("aij,jan->ian", 2 * by_fisher, columns)
        signal_bar = np.zeros_like(signal, np.complex128)
        n_wrt = len(self.wrt)
        if self.proton_density != "known":
            signal_bar += bars[n_wrt]
        if self.proton_density == "complex":
            signal_bar += -1j * bars[n_wrt + 1]
        by_duration = float(np.sum(by_figure * figures)) if self.per_time else 0.0
        return float(value), signal_bar, bars[:n_wrt], by_duration

    def _figures(self, covariance: RealArray) -> tuple[RealArray, RealArray]:
        """Reduce (..., n, n) to a number for each tissue, and its derivative by the parameters' block."""
        n = len(self.parameters)
        block = covariance[..., :n, :n] * self._scale
        finite = np.asarray(np.isfinite(block).all(axis=(-2, -1)))
        block = np.where(finite[..., np.newaxis, np.newaxis], block, np.eye(n))
        if self.optimality == "A":
            figure, by_block = np.trace(block, axis1=-2, axis2=-1), np.broadcast_to(np.eye(n), block.shape)
        elif self.optimality == "D":
            figure = np.linalg.det(block) ** (1 / n)
            by_block = figure[..., np.newaxis, np.newaxis] / n * np.linalg.inv(block)
        else:
            values, vectors = np.linalg.eigh(block)
            figure, last = values[..., -1], vectors[..., -1]
            by_block = last[..., :, np.newaxis] * last[..., np.newaxis, :]
        return np.where(finite, figure, np.inf), by_block * self._scale

    def _together(self, by_tissue: RealArray) -> tuple[RealArray, RealArray]:
        """Combine the tissues in the last axis, and differentiate by each of them."""
        if self.over_tissues != "worst":
            return by_tissue @ self._share, np.broadcast_to(self._share, by_tissue.shape)
        weighted = by_tissue * self._share
        largest = weighted.max(axis=-1, keepdims=True)
        with np.errstate(invalid="ignore"):
            ratio = np.where(np.isfinite(largest), weighted / largest, 1.0)
        norm = np.sum(ratio**WORST_POWER, axis=-1, keepdims=True) ** (1 / WORST_POWER)
        slope = (ratio / norm) ** (WORST_POWER - 1) * self._share
        return (largest * norm)[..., 0], slope


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name}={value!r} must be one of {', '.join(choices)}")


def _weights(name: str, weights: ArrayLike | None, n: int, what: str) -> RealArray:
    if weights is None:
        return np.ones(n)
    vector = real_vector(name, weights, "")
    if vector.size != n:
        raise ValueError(f"{name} has {vector.size} values; give one for each {what}, {n}")
    require(name, vector, vector > 0, "positive", f"leave the {what} out to ignore it")
    return vector


def _columns(signal: NDArray[Any], derivatives: NDArray[Any], proton_density: str) -> NDArray[Any]:
    """Derivatives by all that is unknown, shape (n, ..., n_pulses), in double precision."""
    more = {"known": [], "real": [signal], "complex": [signal, 1j * signal]}[proton_density]
    real = proton_density != "complex" and not np.any(signal.imag) and not np.any(derivatives.imag)
    if real:
        return np.concatenate([derivatives.real, *(s.real[np.newaxis] for s in more)]).astype(np.float64)
    return np.concatenate([derivatives, *(s[np.newaxis] for s in more)]).astype(np.complex128)


def _fisher(columns: NDArray[Any]) -> RealArray:
    rows = np.moveaxis(columns, 0, -2)
    return (rows.conj() @ rows.swapaxes(-1, -2)).real


def _inverse(fisher: RealArray) -> RealArray:
    """Invert (..., n, n); infinite where that is not determined."""
    diagonal = np.diagonal(fisher, axis1=-2, axis2=-1)
    known = np.all((diagonal > 0) & np.isfinite(diagonal), axis=-1)
    size = np.sqrt(np.where(known[..., np.newaxis], diagonal, 1.0))
    # without units, so that the condition means something
    size = size[..., :, np.newaxis] * size[..., np.newaxis, :]
    n = fisher.shape[-1]
    plain = np.where(known[..., np.newaxis, np.newaxis], fisher / size, np.eye(n))
    values = np.linalg.eigvalsh(plain)
    known = known & (values[..., 0] > _SMALLEST_RECIPROCAL * values[..., -1])
    plain = np.where(known[..., np.newaxis, np.newaxis], plain, np.eye(n))
    inverse = np.linalg.inv(plain) / size
    return np.where(known[..., np.newaxis, np.newaxis], inverse, np.inf)
