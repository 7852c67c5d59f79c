"""Low-rank ADMM: coefficient images that agree with the data and with the atoms of a dictionary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dictionaries import Dictionary, Match, match
from epgbloch._checks import require_count
from reconstruction.conjugate_gradients import conjugate_gradients, inner, norm
from reconstruction.inversion import Inversion
from reconstruction.operators import SubspaceEncoding
from reconstruction.regularisation import JointTotalVariation, Regularisation

Matcher: TypeAlias = Callable[[NDArray[np.complex64], NDArray[np.complex64] | None], Match]

_TOTAL_VARIATION = JointTotalVariation(2e-3)


@dataclass(frozen=True)
class AdmmSettings:
    """How `low_rank_admm` iterates, checked once at construction.

    Attributes
    ----------
    mu : float
        Penalty, > 0, relative to the mean eigenvalue of E^H E, that is to the mean density of the samples.
        Large values hold the images to the atoms of the first match and suppress noise, small ones let them
        follow the data: 0.02 goes with total variation, 0.5 without.
    n_iterations : int
        Largest number of (outer) iterations, > 0: each solves for the images and matches them.
    n_inner : int
        Iterations of conjugate gradients in each, > 0; they start from the images of the last.
    tolerance : float
        Primal and dual residual at which to stop, in [0, 1); 0: never.
    dual_bound : float
        Largest dual variable of a voxel, > 0, relative to the median length of P x over the mask at the
        start. Voxels that no atom fits (mixed ones, tissues beyond the grid) keep a distance from their atom;
        infinity forbids that, as published.
    regularisation : Regularisation or None
        Spatial penalty on the coefficient images: `JointTotalVariation` or `LocallyLowRank`; None: there is
        none, as published.

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    mu: float = 0.02
    n_iterations: int = 20
    n_inner: int = 10
    tolerance: float = 1e-3
    dual_bound: float = 1.0
    regularisation: Regularisation | None = _TOTAL_VARIATION

    def __post_init__(self) -> None:
        if not (np.isfinite(self.mu) and self.mu > 0):
            raise ValueError(
                f"mu={self.mu} must be positive and finite; it is relative to the mean eigenvalue of the "
                f"normal operator (default: {AdmmSettings.mu:g})"
            )
        if not self.dual_bound > 0:
            raise ValueError(
                f"dual_bound={self.dual_bound} must be positive: without a dual variable, nothing holds the "
                "images to the atoms"
            )
        require_count("n_iterations", self.n_iterations)
        require_count("n_inner", self.n_inner)
        if not 0 <= self.tolerance < 1:
            raise ValueError(f"tolerance={self.tolerance} must lie in [0, 1): it is a relative residual")


@dataclass(frozen=True, eq=False)
class Admm:
    """Result of `low_rank_admm`, with a record of each iteration.

    Attributes
    ----------
    coefficients : ndarray, shape (rank, ny, nx), complex64
        Coefficient images x; the signal of pulse n is ``sum_j U[n, j] x[j]``, in units of the k-space.
    match : Match
        Atom, tissue parameters and proton density of each voxel of the mask.
    data_misfit : ndarray, shape (n_iterations,), float64
        ``||s - E x|| / ||s||``, from the residual of the normal equations: its square is accurate to about
        2e-6, as the adjoint of E is to 1e-4.
    primal_residual : ndarray, shape (n_iterations,), float64
        ``||P x - e|| / ||x||`` over the mask: what the atoms leave of the images, beyond what they may.
    dual_residual : ndarray, shape (n_iterations,), float64
        Change of ``d d^H x`` since the last iteration, relative to ``||x||`` over the mask.
    changed : ndarray, shape (n_iterations,), float64
        Fraction of voxels whose atom changed.
    converged : bool
        Whether both residuals reached the tolerance.
    """

    coefficients: NDArray[np.complex64]
    match: Match
    data_misfit: NDArray[np.float64]
    primal_residual: NDArray[np.float64]
    dual_residual: NDArray[np.float64]
    changed: NDArray[np.float64]
    converged: bool


def low_rank_admm(
    encoding: SubspaceEncoding,
    kspace: ArrayLike,
    dictionary: Dictionary,
    *,
    start: Inversion,
    mask: ArrayLike,
    settings: AdmmSettings | None = None,
    find: Matcher | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Admm:
    """Coefficient images x near multiples of atoms d that agree with k-space s, voxel by voxel.

    With E scaled so that the mean eigenvalue of E^H E is 1, P = I - d d^H in the voxels of the mask (0
    elsewhere: nothing is asked of them) and the scaled dual variable y, which starts from 0, each iteration

    1. finds x of ``(E^H E + mu P) x = E^H s + mu P (e - y)`` by conjugate gradients,
    2. matches: d maximises ``|d^H x|^2 + 2 Re{(d^H x) conj(d^H y)}`` over all atoms, exactly, which minimises
       ``||P x + y||``,
    3. sets y to ``y + P x``, shortened to `AdmmSettings.dual_bound` in each voxel, and e to what was cut off.

    The first d is the match of the start. e, which is 0 in the publication, is the distance that a voxel may
    keep from its atom at a price that grows with its length: without it, the dual variables of mixed voxels,
    which no atom fits, grow without end and spoil their neighbours.

    A penalty ``weight R(K x)`` (`AdmmSettings.regularisation`) is split off likewise, with the same mu:
    ``z = shrink(K x + v, weight / mu)``, ``v <- v + K x - z``. Its weight is relative to the root mean square
    of ``(sum_j |x[j]|^2)^(1/2)`` of the start over the mask.

    The problem is not convex: the result depends on the start, and the residuals need not fall. With noisy
    data, fewer iterations may give smaller errors.

    Parameters
    ----------
    encoding : SubspaceEncoding
        Operator E, with the basis of the dictionary.
    kspace : array_like, shape (n_coils, n_readouts, n_samples), complex64
        Samples s that `start` was found from.
    dictionary : Dictionary
        Atoms and temporal basis.
    start : Inversion
        Result of `low_rank_inversion`, the iteration with mu = 0.
    mask : array_like, shape (ny, nx), bool
        Voxels to match.
    settings : AdmmSettings, optional
        Penalty, numbers of iterations, regularisation.
    find : callable, optional
        Function ``find(voxels, dual)`` that returns the `Match` of voxels and dual, (n_voxels, rank), dual
        None at the start. Default: `dictionaries.match` with all atoms; `SmoothB1` restricts them.
    progress : callable, optional
        Called as ``progress(done, total)`` after each iteration, last with ``done == total``.

    Returns
    -------
    Admm
        Images, match and the record of the iterations.

    Raises
    ------
    ValueError
        If shapes do not fit, or a voxel in the mask has no signal.

    References
    ----------
    Assländer et al. 2018, Magn Reson Med 79:83, doi 10.1002/mrm.26639.
    Boyd et al. 2011, Found Trends Mach Learn 3:1, doi 10.1561/2200000016.
    """
    settings = settings or AdmmSettings()
    voxels = _checked_mask(mask, encoding.image_shape[1:])
    data = np.asarray(kspace, dtype=np.complex64)
    if not np.isfinite(data).all():
        raise ValueError("kspace holds NaN or infinity; remove or replace these readouts")
    if start.coefficients.shape != encoding.image_shape:
        raise ValueError(
            f"start has images of shape {start.coefficients.shape}; the encoding asks for "
            f"{encoding.image_shape}: give its low_rank_inversion"
        )
    # Images of unit magnitude, E of unit mean eigenvalue.
    magnitude = norm(start.coefficients[:, voxels]) / np.sqrt(voxels.sum())
    if not (np.isfinite(magnitude) and magnitude > 0):
        raise ValueError("start is zero or not finite in the mask; mark voxels with signal")
    eigenvalue = np.float32(encoding.mean_eigenvalue)
    x = start.coefficients / np.float32(magnitude)
    image = encoding.adjoint(data) / (eigenvalue * np.float32(magnitude))

    def normal(images: NDArray[np.complex64]) -> NDArray[np.complex64]:
        return encoding.normal(images) / eigenvalue

    first, first_gradient = x, normal(x) - image
    data_norm = norm(data) / magnitude / np.sqrt(float(eigenvalue))
    find = find or (lambda voxels, dual: match(dictionary, voxels, dual=dual))
    atoms = _Atoms(dictionary, voxels, x, find, settings.dual_bound)
    penalties: list[_Atoms | _Spatial] = [atoms]
    if settings.regularisation is not None:
        penalties.append(_Spatial(settings.regularisation, x, settings.mu))
    mu, record, converged = np.float32(settings.mu), [], False

    def operator(images: NDArray[np.complex64]) -> NDArray[np.complex64]:
        return normal(images) + mu * sum(penalty.normal(images) for penalty in penalties)

    for i_iteration in range(settings.n_iterations):
        right_side = image + mu * sum(penalty.pull() for penalty in penalties)
        x, residual, _ = conjugate_gradients(
            operator, right_side, encoding.precondition, start=x, n_iterations=settings.n_inner
        )
        # E^H E x - E^H s, from what conjugate gradients left
        gradient = right_side - residual - mu * sum(penalty.normal(x) for penalty in penalties) - image
        for penalty in penalties:
            penalty.update(x)
        squared = (start.misfit * data_norm) ** 2 + inner(x - first, gradient + first_gradient)
        misfit = np.sqrt(max(squared, 0)) / data_norm
        record.append((misfit, atoms.primal, atoms.dual, atoms.changed))
        converged = max(atoms.primal, atoms.dual) <= settings.tolerance
        if progress is not None:
            progress(settings.n_iterations if converged else i_iteration + 1, settings.n_iterations)
        if converged:
            break
    scale = np.complex64(magnitude)
    found = replace(atoms.match, pd=scale * atoms.match.pd)
    misfits, primals, duals, changes = (np.array(column) for column in zip(*record, strict=True))
    return Admm(scale * x, found, misfits, primals, duals, changes, converged)


class _Atoms:
    """The penalty on what the atoms leave of images, ``P x = e`` with P = I - d d^H in the mask."""

    def __init__(
        self,
        dictionary: Dictionary,
        mask: NDArray[np.bool_],
        x: NDArray[np.complex64],
        find: Matcher,
        bound: float,
    ) -> None:
        self._dictionary, self._mask, self._matcher = dictionary, mask, find
        self._dual = np.zeros((dictionary.rank, int(mask.sum())), dtype=np.complex64)
        self._slack = np.zeros_like(self._dual)
        self.primal = self.dual = self.changed = 0.0
        self._find(x[:, mask], None)
        beside = self._beside(x[:, mask])
        self._projected = x[:, mask] - beside
        self._largest = np.float32(bound * np.median(np.linalg.norm(beside, axis=0)))

    def normal(self, images: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Return P x."""
        result = np.zeros_like(images)
        result[:, self._mask] = self._beside(images[:, self._mask])
        return result

    def pull(self) -> NDArray[np.complex64]:
        """Return P (e - y)."""
        result = np.zeros((len(self._dual), *self._mask.shape), dtype=np.complex64)
        result[:, self._mask] = self._beside(self._slack - self._dual)
        return result

    def update(self, images: NDArray[np.complex64]) -> None:
        """Match, and move the dual variable."""
        voxels = images[:, self._mask]
        before = self.match.index
        self._find(voxels, self._dual)
        beside = self._beside(voxels)
        grown = self._dual + beside
        lengths = np.linalg.norm(grown, axis=0)
        factor = np.minimum(
            1, np.divide(self._largest, lengths, out=np.ones_like(lengths), where=lengths > 0)
        )
        self._dual = grown * factor
        self._slack = grown - self._dual
        length, last = norm(voxels), self._projected
        self._projected = voxels - beside
        self.primal, self.dual = norm(beside - self._slack) / length, norm(self._projected - last) / length
        self.changed = float(np.mean(self.match.index != before))

    def _find(self, voxels: NDArray[np.complex64], dual: NDArray[np.complex64] | None) -> None:
        self.match = self._matcher(voxels.T, None if dual is None else dual.T)
        self._atoms = np.ascontiguousarray(self._dictionary.coefficients[self.match.index].T)

    def _beside(self, voxels: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Return what the atoms leave of voxels, shape (rank, n_voxels)."""
        return voxels - self._atoms * np.einsum("rv,rv->v", self._atoms.conj(), voxels)


class _Spatial:
    """A regularisation: ``z = K x`` with the dual variable v."""

    def __init__(self, regularisation: Regularisation, x: NDArray[np.complex64], mu: float) -> None:
        self._regularisation, self._threshold = regularisation, regularisation.weight / mu
        self._split = regularisation.analyse(x)
        self._dual = np.zeros_like(self._split)
        self._n_updates = 0

    def normal(self, images: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Return K^H K x."""
        return self._regularisation.synthesise(self._regularisation.analyse(images))

    def pull(self) -> NDArray[np.complex64]:
        """Return K^H (z - v)."""
        return self._regularisation.synthesise(self._split - self._dual)

    def update(self, images: NDArray[np.complex64]) -> None:
        """Shrink, and move the dual variable."""
        analysed = self._regularisation.analyse(images)
        self._split = self._regularisation.shrink(analysed + self._dual, self._threshold, self._n_updates)
        self._n_updates += 1
        self._dual = self._dual + analysed - self._split


def _checked_mask(mask: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    voxels = np.asarray(mask)
    if voxels.shape != shape or voxels.dtype != bool:
        raise ValueError(
            f"mask is {voxels.dtype} of shape {voxels.shape}; it must be bool of shape {shape}; "
            "compare an image with a threshold"
        )
    if not voxels.any():
        raise ValueError("mask is empty; mark the voxels to match")
    return voxels
