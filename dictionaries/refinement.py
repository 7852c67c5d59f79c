"""Tissue parameters below the step of the grid, with standard errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dictionaries.dictionary import Dictionary
from dictionaries.matching import Match
from dictionaries.variable_projection import PARAMETERS, Fit
from epgbloch import SignalModel
from epgbloch._checks import positive_number, real_vector, require_count

_ROUNDING = 1e-5
"""By single precision, residuals of atom and model differ by this much, relative to the voxel."""


@dataclass(frozen=True, eq=False)
class Refined:
    """Tissue parameters of each voxel, not tied to the grid, with standard errors.

    Voxels that did not converge hold the values of their atom, and voxels without atom (index -1) those of
    the match; the standard errors of both are NaN.

    Attributes
    ----------
    index : ndarray, shape (n_voxels,), int64
        Number of the atom where the fit started; -1 without.
    t1, t2 : ndarray, shape (n_voxels,), float64
        Relaxation times [s].
    b1 : ndarray, shape (n_voxels,), float64
        Transmit field relative to nominal.
    off_resonance : ndarray, shape (n_voxels,), float64
        Off-resonance frequency [Hz].
    pd : ndarray, shape (n_voxels,), complex64
        Least-squares proton density.
    t1_std, t2_std, b1_std, off_resonance_std : ndarray, shape (n_voxels,), float64
        Standard errors, in the unit of the parameter; NaN for parameters that were not refined, infinite
        where the data do not determine the parameters.
    pd_std : ndarray, shape (n_voxels,), float64
        Standard error of the magnitude of `pd`.
    residual : ndarray, shape (n_voxels,), float64
        ||x - pd U^H s||, in the unit of the coefficients.
    correlation : ndarray, shape (n_voxels,), float32
        |<d, x>| / ||x|| with the fitted signal d of unit norm in the subspace, 0 to 1 up to rounding.
    converged : ndarray, shape (n_voxels,), bool
        Whether the fit ended before the iterations did, and no further from the voxel than its atom.
    at_bound : ndarray, shape (n_voxels,), bool
        Whether a refined parameter ended on one of its bounds or T2 on T1. The estimate is then biased and
        its standard errors, which do not know the bounds, do not hold.
    iterations : ndarray, shape (n_voxels,), int64
        Number of steps tried.
    """

    index: NDArray[np.int64]
    t1: NDArray[np.float64]
    t2: NDArray[np.float64]
    b1: NDArray[np.float64]
    off_resonance: NDArray[np.float64]
    pd: NDArray[np.complex64]
    t1_std: NDArray[np.float64]
    t2_std: NDArray[np.float64]
    b1_std: NDArray[np.float64]
    off_resonance_std: NDArray[np.float64]
    pd_std: NDArray[np.float64]
    residual: NDArray[np.float64]
    correlation: NDArray[np.float32]
    converged: NDArray[np.bool_]
    at_bound: NDArray[np.bool_]
    iterations: NDArray[np.int64]


def refine(
    model: SignalModel,
    dictionary: Dictionary,
    coefficients: ArrayLike,
    match: Match,
    *,
    parameters: tuple[str, ...] = ("t1", "t2"),
    noise_std: ArrayLike | None = None,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    max_iterations: int = 50,
    tolerance: float = 1e-5,
    chunk_size: int = 2048,
    progress: Callable[[int, int], None] | None = None,
) -> Refined:
    """Fit tissue parameters and proton density to each voxel, from its best atom on.

    With the signal s of the model, c = U^H s its projection on the subspace and x the voxel, the fit
    minimises ||x - pd c||^2. The complex proton density pd = <c, x> / ||c||^2 is eliminated (variable
    projection): what remains depends on the tissue only, with residual r = x - pd c and, in Kaufman's
    approximation, derivatives -pd P c_j, where P = I - c c^H / ||c||^2 and c_j = U^H ds/dp_j for the
    logarithms p_j of T1, T2 and B1, or the off-resonance itself. Gauss-Newton steps with these, damped after
    Levenberg and Marquardt, minimise the linearised residual within the bounds and T2 <= T1.

    Standard errors come from the Cramér-Rao bound at the fit, with pd unknown: the covariance of p is
    sigma^2 (|pd|^2 Re <P c_i, P c_j>)^-1, that of T1 follows by dT1 = T1 d ln T1; the variance of |pd| is
    sigma^2 / ||c||^2 + |pd|^2 q^T cov(p) q with q_j = Re <c, c_j> / ||c||^2. They hold for white Gaussian
    noise small enough that the signal is linear over it, and count no error of model or sequence.

    Parameters
    ----------
    model : SignalModel
        Signals and derivatives. It need not be the one of the dictionary.
    dictionary : Dictionary
        Sequence and subspace of the voxels, and the atoms where the fit starts. Their diffusion stays.
    coefficients : array_like, shape (n_voxels, rank), complex or real
        Voxels in the subspace, as they were given to `match`.
    match : Match
        Best atom of each voxel (n_best=1). Voxels with index -1 are not fitted; their coefficients are not
        read.
    parameters : tuple of str
        What is refined: "t1", "t2", "b1", "off_resonance"; the others stay at the atom. The model must have
        these derivatives. With pulses of finite duration, each new off-resonance costs EPGBloch 0.2 s.
    noise_std : array_like, shape () or (n_voxels,), float64, optional
        Standard deviation of the real part of the noise of a coefficient, and of its imaginary part. The
        columns of the basis are orthonormal: white noise of the signal has the same. None: estimated for
        each voxel from its residual, with 2 rank - 2 - len(parameters) degrees of freedom.
    bounds : mapping, optional
        Least and greatest value of parameters, as in {"b1": (0.7, 1.3)}. For others, the ends of the axes of
        the grid.
    max_iterations : int
        Steps tried at most.
    tolerance : float
        A fit has converged when a step would change the signal by less than this part of its norm, and one
        without damping by less than that or a tenth of the residual.
    chunk_size : int
        Number of voxels simulated at once; memory is about 10 x (1 + len(parameters)) x chunk_size x n_pulses
        bytes. The result depends on it only by single-precision rounding.
    progress : callable, optional
        Called as progress(voxels done, voxels in all).

    Returns
    -------
    Refined
        The atom where the fit does not converge, or its residual exceeds that of the atom of the dictionary.

    Raises
    ------
    ValueError
        If shapes do not fit, the match has several atoms a voxel or does not belong to the dictionary, a
        voxel is zero or not finite, a parameter is unknown or has no derivative in the model, bounds do not
        contain the atoms, a number is out of range, or the rank leaves nothing to estimate the noise from.

    References
    ----------
    Golub, Pereyra 1973, SIAM J Numer Anal 10:413, doi 10.1137/0710036 (variable projection).
    Kaufman 1975, BIT 15:49, doi 10.1007/BF01932995 (approximate derivative of the projection).
    Marquardt 1963, SIAM J Appl Math 11:431, doi 10.1137/0111030 (damping by the diagonal).
    """
    names = _checked_parameters(parameters)
    for name, count in (("max_iterations", max_iterations), ("chunk_size", chunk_size)):
        require_count(name, count)
    positive_number("tolerance", tolerance, "parts of the norm of the signal")
    if match.index.ndim != 1:
        raise ValueError(
            f"match.index has shape {match.index.shape}; one atom a voxel can be refined: match with n_best=1"
        )
    n_voxels = match.index.size
    order = np.argsort(match.index, kind="stable")  # equal atoms come to one chunk, which simulates one
    voxels = order[match.index[order] >= 0]
    x = _checked_voxels(coefficients, (n_voxels, dictionary.rank), voxels)
    n_free = 2 * dictionary.rank - 2 - len(names)
    noise = None if noise_std is None else _checked_noise(noise_std, n_voxels, voxels)
    if noise is None and n_free < 1:
        raise ValueError(
            f"noise_std=None: rank {dictionary.rank} leaves {n_free} degrees of freedom beside the proton "
            f"density and {len(names)} parameters; give noise_std or raise the rank"
        )
    tissue = _tissue(dictionary, match, voxels)
    limits = _limits(dictionary, names, bounds or {}, tissue)
    fit = Fit(model, dictionary, names, x, tissue, limits, chunk_size)
    converged = fit.run(max_iterations, tolerance, progress)

    atoms = dictionary.coefficients[match.index[voxels]].astype(np.complex128)
    products = (atoms.conj() * x).sum(axis=1)
    atom_residual = np.linalg.norm(x - products[:, np.newaxis] * atoms, axis=1)
    length = np.linalg.norm(x, axis=1)
    residual = np.sqrt(fit.state.cost)
    converged &= residual <= atom_residual + _ROUNDING * length
    errors = fit.standard_errors(residual / np.sqrt(n_free) if noise is None else noise)
    residual = np.where(converged, residual, atom_residual)

    def of_fitted(values: NDArray[Any], otherwise: Any) -> NDArray[Any]:
        """Values of the voxels with an atom, in the order of the match."""
        result = np.full(n_voxels, otherwise, dtype=values.dtype)
        result[voxels] = values
        return result

    def of_converged(values: NDArray[Any], otherwise: Any) -> NDArray[Any]:
        result = np.array(np.broadcast_to(otherwise, n_voxels))
        result[voxels[converged]] = values[converged]
        return result

    results = {
        name: of_converged(fit.tissue[:, i], getattr(match, name)) for i, name in enumerate(PARAMETERS)
    }
    unknown = np.full(voxels.size, np.nan)
    for name in (*PARAMETERS, "pd"):
        results[f"{name}_std"] = of_converged(errors.get(name, unknown), np.nan)
    return Refined(
        index=match.index.copy(),
        pd=of_converged(fit.state.pd, match.pd),
        residual=of_fitted(residual, np.nan),
        correlation=of_fitted(np.sqrt(np.maximum(1 - (residual / length) ** 2, 0)).astype(np.float32), 0),
        converged=of_fitted(converged, False),
        at_bound=of_fitted(converged & fit.at_bound(), False),
        iterations=of_fitted(fit.iterations, 0),
        **results,
    )


def _checked_parameters(parameters: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(parameters)
    for name in names:
        if name not in PARAMETERS:
            raise ValueError(f"parameters: {name!r} is none of {', '.join(PARAMETERS)}; correct the name")
    if not names or len(set(names)) < len(names):
        raise ValueError(f"parameters={names} must name at least one parameter, and each once")
    return names


def _tissue(dictionary: Dictionary, match: Match, voxels: NDArray[np.intp]) -> NDArray[np.float64]:
    """Tissue of the atoms of some voxels, shape (n, 5): PARAMETERS and diffusion."""
    index = match.index[voxels]
    if not index.size:
        return np.empty((0, len(PARAMETERS) + 1))
    if index.max() < dictionary.n_atoms:
        atoms = dictionary.grid[index]
        tissue = np.stack([getattr(atoms, name) for name in (*PARAMETERS, "diffusion")], axis=1)
        matched = np.stack([getattr(match, name)[voxels] for name in PARAMETERS], axis=1)
        if np.array_equal(tissue[:, :-1], matched):
            return tissue
    raise ValueError(
        f"match does not belong to this dictionary of {dictionary.n_atoms} atoms; give the dictionary "
        "that the voxels were matched with"
    )


def _checked_voxels(
    coefficients: ArrayLike, shape: tuple[int, int], voxels: NDArray[np.intp]
) -> NDArray[np.complex128]:
    array = np.asarray(coefficients)
    if array.shape != shape:
        raise ValueError(
            f"coefficients have shape {array.shape}; match and dictionary ask for (n_voxels, rank) = {shape}"
        )
    x = array[voxels].astype(np.complex128)
    bad = np.flatnonzero(~np.isfinite(x).all(axis=1) | ~x.any(axis=1))
    if bad.size:
        raise ValueError(
            f"coefficients of voxel {voxels[bad[0]]} are zero or not finite: {x[bad[0]]}; "
            "give those that were matched"
        )
    return x


def _checked_noise(noise_std: ArrayLike, n_voxels: int, voxels: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the noise of the fitted voxels."""
    noise = np.asarray(noise_std, dtype=np.float64)
    if noise.shape not in ((), (n_voxels,)):
        raise ValueError(
            f"noise_std has shape {noise.shape}; give one number or one for each of the {n_voxels} voxels"
        )
    noise = np.broadcast_to(noise, (n_voxels,))[voxels]
    bad = np.flatnonzero(~(np.isfinite(noise) & (noise > 0)))
    if bad.size:
        raise ValueError(
            f"noise_std={noise[bad[0]]:.6g} of voxel {voxels[bad[0]]} must be positive and finite; "
            "leave noise_std out to estimate it from the residual"
        )
    return noise


def _limits(
    dictionary: Dictionary,
    names: tuple[str, ...],
    bounds: Mapping[str, tuple[float, float]],
    tissue: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Least and greatest value of each refined parameter, shape (n_parameters, 2)."""
    for name in bounds:
        if name not in names:
            raise ValueError(f"bounds: {name!r} is not refined; add it to parameters or leave its bounds out")
    limits = np.empty((len(names), 2))
    for i, name in enumerate(names):
        axis = getattr(dictionary.grid, name)
        if name not in bounds and axis.size == 1:
            raise ValueError(
                f"the grid has one {name}, {axis[0]:.6g}; give bounds for it: bounds={{{name!r}: (..., ...)}}"
            )
        ends = real_vector(
            f"bounds[{name!r}]", bounds.get(name, (axis[0], axis[-1])), "the unit of the parameter"
        )
        if ends.size != 2 or ends[0] >= ends[1] or (name != "off_resonance" and ends[0] <= 0):
            raise ValueError(
                f"bounds[{name!r}]={bounds[name]} must be two ascending numbers"
                f"{'' if name == 'off_resonance' else ' above 0'}; give (least, greatest)"
            )
        values = tissue[:, PARAMETERS.index(name)]
        if values.size and (values.min() < ends[0] or values.max() > ends[1]):
            raise ValueError(
                f"bounds[{name!r}]={bounds[name]} leave out matched atoms, which reach from "
                f"{values.min():.6g} to {values.max():.6g}; widen them or restrict the grid"
            )
        limits[i] = ends
    return limits
