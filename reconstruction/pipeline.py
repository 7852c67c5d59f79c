"""From the k-space of one slice and a dictionary to quantitative maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dictionaries import Dictionary, Match, Refined, match
from epgbloch import SignalModel
from reconstruction.acquisition import Acquisition
from reconstruction.admm import Admm, AdmmSettings, low_rank_admm
from reconstruction.conjugate_gradients import norm
from reconstruction.gradient_delays import GradientDelays
from reconstruction.inversion import N_ITERATIONS, TOLERANCE, Inversion, low_rank_inversion
from reconstruction.maps import Maps
from reconstruction.operators import SubspaceEncoding
from reconstruction.preparation import prepare
from reconstruction.receive_field import estimate_receive_field
from reconstruction.signal_mask import signal_mask
from reconstruction.smooth_b1 import SmoothB1, require_b1_axis
from reconstruction.standard_errors import refine_voxels
from reconstruction.trajectory_check import TrajectoryCheck


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """Result of `reconstruct`.

    Attributes
    ----------
    maps : Maps
        T1, T2, proton density, correlation and, if the dictionary has several, B1. The scale of the proton
        density is arbitrary and differs from slice to slice.
    coefficients : ndarray, shape (rank, ny, nx), complex64
        Coefficient images that were matched.
    inversion : Inversion
        Low-rank inversion: images with residuals of the iteration.
    admm : Admm or None
        Images, match and record of the ADMM that followed; None: there was none.
    sensitivities : ndarray, shape (n_coils, ny, nx), complex64
        Sensitivities that were used, in the channels of the acquisition (not whitened); 0 for dead coils.
    receive_field : ndarray, shape (ny, nx), float64, or None
        Field by which the proton density was divided; None: it was not.
    receive_field_degree : int or None
        Degree of its polynomial; 0: the object was too small to estimate one, and the field is 1.
    n_dead_coils : int
        Number of coils without signal or noise, which were left out.
    n_virtual_coils : int or None
        Number of virtual coils that were inverted; None: no coils were compressed.
    kept_energy : float or None
        Their part of the energy of the k-space.
    refined : Refined or None
        Fits of the voxels of the mask that gave the maps; None: the maps are those of the atoms.
    gradient_delays : GradientDelays or None
        Delays that were corrected; None: they were not estimated.
    trajectory_check : TrajectoryCheck or None
        See `Preparation`.
    """

    maps: Maps
    coefficients: NDArray[np.complex64]
    inversion: Inversion
    admm: Admm | None
    sensitivities: NDArray[np.complex64]
    receive_field: NDArray[np.float64] | None
    receive_field_degree: int | None
    n_dead_coils: int
    n_virtual_coils: int | None
    kept_energy: float | None
    refined: Refined | None
    gradient_delays: GradientDelays | None
    trajectory_check: TrajectoryCheck | None


def reconstruct(
    acquisition: Acquisition,
    dictionary: Dictionary,
    *,
    sensitivities: ArrayLike | None = None,
    coil_method: str = "espirit",
    off_resonance: ArrayLike | None = None,
    virtual_coils: float | None = None,
    correct_gradient_delays: bool = False,
    check_consistency: bool = True,
    n_iterations: int = N_ITERATIONS,
    tolerance: float = TOLERANCE,
    admm: AdmmSettings | None = None,
    b1_width: float | None = None,
    refine_with: SignalModel | None = None,
    mask: ArrayLike | None = None,
    correct_receive_field: bool | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Reconstruction:
    """Maps of one slice: prewhitening, coil sensitivities, low-rank inversion, matching, LR-ADMM.

    1. `prepare`: dead coils are left out; where the acquisition has noise samples, k-space is prewhitened;
       with `virtual_coils`, the coils are compressed; with `correct_gradient_delays`, the trajectory is
       corrected; with `check_consistency`, a trajectory or sensitivities that contradict the data are
       refused.
    2. Without `sensitivities`, it estimates these from coil images of all readouts, weighted with the first
       basis vector, with a root sum of squares of 1.
    3. `low_rank_inversion` finds the coefficient images.
    4. Without `mask`, voxels are taken whose signal energy ``(sum_j |x[j]|^2)^(1/2)`` exceeds 10 % of the
       tenth largest and 4 times the noise (`signal_mask`). The energy has no zero crossing, unlike images of
       a train with an inversion. The noise is that of the k-space which the images leave unexplained, but at
       least that of the noise samples. Voxels where estimated sensitivities disagree with the coil images
       (`coil_agreement`) are not taken.
    5. `dictionaries.match` finds the atom of each voxel in the mask. With `admm`, `low_rank_admm` goes on
       from there.
       With `refine_with`, `refine_voxels` goes below the step of the grid and gives standard errors.
    6. The proton density is divided by the field of `estimate_receive_field`. With estimated sensitivities
       it holds the root sum of squares of the true ones, which the data alone cannot tell from proton
       density; the field rests on the assumption that neighbours of equal T1 and T2 have equal ones.

    The scale of the proton density is arbitrary and differs from slice to slice: it follows the sensitivities
    and the receive field of each. Sensitivities from a reference scan need no step 6.

    Parameters
    ----------
    acquisition : Acquisition
        k-space; one or more whole trains of the sequence of the dictionary.
    dictionary : Dictionary
        Atoms and temporal basis.
    sensitivities : array_like, shape (n_coils, ny, nx), complex64, optional
        Coil sensitivities in the channels of the acquisition; used with the scale given.
    off_resonance : array_like, shape (ny, nx), float64, optional
        Off-resonance during the readouts [Hz], positive as in `SubspaceEncoding`; needs the dwell time of the
        acquisition.
    coil_method, virtual_coils, correct_gradient_delays, check_consistency
        See `prepare`.
    n_iterations, tolerance
        See `low_rank_inversion`.
    admm : AdmmSettings, optional
        Settings of `low_rank_admm`; None: the images of the low-rank inversion are matched.
    b1_width : float, optional
        B1 is smooth: the full width at half maximum [m] of the Gaussian in `smooth_b1`. Default: the B1 of
        each voxel is that of its atom.
    refine_with : SignalModel, optional
        Model with which T1, T2 and, unless `b1_width` is given, B1 are fitted; None: those of the atoms.
    mask : array_like, shape (ny, nx), bool, optional
        Voxels to match.
    correct_receive_field : bool, optional
        Whether to take step 6; None: if the sensitivities are estimated.
    progress : callable, optional
        Called as ``progress(done, total)`` after each iteration of the inversion, then of the ADMM.

    Returns
    -------
    Reconstruction
        Maps (0 outside the mask), coefficient images and sensitivities.

    Raises
    ------
    ValueError
        If shapes do not fit, the readouts are not whole trains of the dictionary, the noise samples do not
        allow prewhitening, the mask is empty or leaves the sensitivities, nothing stands out from the noise,
        or an argument is out of range.
    """
    voxels = None if mask is None else _checked_mask(mask, acquisition.matrix)
    if b1_width is not None:
        _check_b1_width(b1_width, dictionary)
    prepared = prepare(
        acquisition,
        dictionary.basis,
        sensitivities=sensitivities,
        coil_method=coil_method,
        virtual_coils=virtual_coils,
        correct_gradient_delays=correct_gradient_delays,
        check_consistency=check_consistency,
    )
    whitened, whitened_coils = prepared.acquisition, prepared.encoding_sensitivities
    encoding = SubspaceEncoding(
        whitened.trajectory,
        whitened.matrix,
        whitened_coils,
        dictionary.basis,
        off_resonance=off_resonance,
        sample_times=None if off_resonance is None else whitened.sample_times,
    )
    inversion = low_rank_inversion(
        encoding, whitened.kspace, n_iterations=n_iterations, tolerance=tolerance, progress=progress
    )
    coefficients, record = inversion.coefficients, None
    noise = _noise_level(encoding, whitened, inversion.misfit, whitened_coils)
    if voxels is None:
        voxels = signal_mask(np.linalg.norm(coefficients, axis=0), noise, prepared.agreement)
    else:
        _check_seen(voxels, prepared.sensitivities)
    smooth = None
    if b1_width is not None:
        dy, dx = acquisition.pixel_size
        smooth = SmoothB1(dictionary, voxels, (b1_width / dy, b1_width / dx))
    if admm is None:
        find = smooth or partial(match, dictionary)
        found = find(coefficients[:, voxels].T)
    else:
        record = low_rank_admm(
            encoding,
            whitened.kspace,
            dictionary,
            start=inversion,
            mask=voxels,
            settings=admm,
            find=smooth,
            progress=progress,
        )
        coefficients, found = record.coefficients, record.match
    b1 = found.b1 if smooth is None else smooth.b1
    maps = _maps(found, voxels, b1 if dictionary.grid.b1.size > 1 else None)
    refined, fit_b1 = None, maps.b1 is not None and smooth is None
    if refine_with is not None:
        refined = refine_voxels(
            refine_with,
            dictionary,
            coefficients,
            found,
            voxels,
            noise / np.sqrt(2 * dictionary.rank),  # of a real part, not of all coefficients
            fit_b1=fit_b1,
            progress=progress,
        )
    field, degree = None, None
    if correct_receive_field or (correct_receive_field is None and sensitivities is None):
        field, degree = estimate_receive_field(maps)
    if refined is not None:
        maps = _refined_maps(refined, maps, fit_b1)
    if field is not None:
        maps = replace(maps, pd=(maps.pd / field).astype(np.complex64))
    return Reconstruction(
        maps=maps,
        coefficients=coefficients,
        inversion=inversion,
        admm=record,
        sensitivities=prepared.sensitivities,
        receive_field=field,
        receive_field_degree=degree,
        n_dead_coils=prepared.n_dead_coils,
        n_virtual_coils=None if prepared.kept_energy is None else whitened.n_coils,
        kept_energy=prepared.kept_energy,
        refined=refined,
        gradient_delays=prepared.gradient_delays,
        trajectory_check=prepared.trajectory_check,
    )


def _checked_mask(mask: ArrayLike, matrix: tuple[int, int]) -> NDArray[np.bool_]:
    array = np.asarray(mask)
    if array.shape != matrix:
        raise ValueError(f"mask has shape {array.shape}; the acquisition asks for (ny, nx) = {matrix}")
    if not np.isin(array, (0, 1)).all():
        raise ValueError("mask must hold only True and False (or 1 and 0); compare it with a threshold first")
    if not array.any():
        raise ValueError("mask is empty; mark the voxels to match, or leave it out to have it estimated")
    return array.astype(bool)


def _check_seen(mask: NDArray[np.bool_], sensitivities: NDArray[np.complex64]) -> None:
    unseen = mask & ~sensitivities.any(axis=0)
    if unseen.any():
        row, column = np.argwhere(unseen)[0]
        raise ValueError(
            f"mask holds {unseen.sum()} voxels where all sensitivities are zero (the first at row {row}, "
            f"column {column}); leave them out of the mask"
        )


def _check_b1_width(width: float, dictionary: Dictionary) -> None:
    if not (np.isfinite(width) and width > 0):
        raise ValueError(f"b1_width={width} must be a positive length in metres; leave it out for none")
    require_b1_axis(dictionary.grid.b1)


def _noise_level(
    encoding: SubspaceEncoding,
    whitened: Acquisition,
    misfit: float,
    sensitivities: NDArray[np.complex64],
) -> NDArray[np.float64]:
    """Root mean square energy of the noise in each voxel, shape (ny, nx); infinite where no coil sees it."""
    variance = (misfit * norm(whitened.kspace)) ** 2 / whitened.kspace.size
    if whitened.noise is not None:
        variance = max(variance, 1.0)
    gain = np.linalg.norm(sensitivities, axis=0).astype(np.float64)
    with np.errstate(divide="ignore"):
        return encoding.noise_gain * np.sqrt(variance) / gain


def _maps(found: Match, mask: NDArray[np.bool_], b1: NDArray[np.float64] | None) -> Maps:
    """Maps of the voxels in the mask."""
    return Maps(
        t1=_image(found.t1, mask),
        t2=_image(found.t2, mask),
        pd=_image(found.pd, mask),
        mask=mask,
        b1=None if b1 is None else _image(b1, mask),
        correlation=_image(found.correlation, mask),
    )


def _refined_maps(refined: Refined, maps: Maps, fit_b1: bool) -> Maps:
    """Maps with the values and standard errors of the fits."""
    names = ["t1", "t2", "pd", "correlation", "t1_std", "t2_std"]
    if fit_b1:
        names += ["b1", "b1_std"]
    return replace(maps, **{name: _image(getattr(refined, name), maps.mask) for name in names})


def _image(values: NDArray[Any], mask: NDArray[np.bool_]) -> NDArray[Any]:
    """Image of the values of the voxels in the mask, 0 outside."""
    result = np.zeros(mask.shape, dtype=values.dtype)
    result[mask] = values
    return result
