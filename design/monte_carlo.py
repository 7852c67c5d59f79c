"""Whether estimates from noisy signals are as precise as the Cramér-Rao bound says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from design.crlb import Criterion
from dictionaries import Grid, generate, linear_axis, log_axis, match, refine
from epgbloch import Sequence, SignalModel, Tissue
from epgbloch._checks import positive_number, require_count, require_seed

RealArray = NDArray[np.float64]

ESTIMATED = ("t1", "t2", "b1")
"""Tissue parameters that can be estimated here."""
_RANK = 60
_REACH = 3.0
"""The dictionary goes from the smallest T1 and T2 over this factor to the largest ones times it."""
_N_RELAXATION, _N_B1 = 60, 21


@dataclass(frozen=True, eq=False)
class MonteCarlo:
    """Estimates of tissues from noisy signals, beside the Cramér-Rao bound.

    Attributes
    ----------
    parameters : tuple of str
        Estimated parameters, "t1", "t2" and perhaps "b1".
    bound : ndarray, shape (n_atoms, n_parameters), float64
        Standard deviation of the logarithm at the bound.
    standard_deviation : ndarray, shape (n_atoms, n_parameters), float64
        That of the logarithms of the estimates.
    bias : ndarray, shape (n_atoms, n_parameters), float64
        Mean of the logarithms of the estimates minus the true one.
    snr : float
        Proton density over the standard deviation of the noise.
    n_trials : int
        Noisy signals of each tissue.
    """

    parameters: tuple[str, ...]
    bound: RealArray
    standard_deviation: RealArray
    bias: RealArray
    snr: float
    n_trials: int

    @property
    def variance_ratio(self) -> RealArray:
        """Variance of the estimates over the bound, shape (n_atoms, n_parameters).

        With n trials it has a standard deviation of sqrt(2 / n) itself.
        """
        return (self.standard_deviation / self.bound) ** 2


def monte_carlo(
    model: SignalModel,
    sequence: Sequence,
    tissue: Tissue,
    *,
    parameters: tuple[str, ...] = ("t1", "t2"),
    snr: float = 100.0,
    n_trials: int = 2000,
    seed: int = 0,
) -> MonteCarlo:
    """Estimate tissues again and again from signals with noise, and compare with the bound.

    Each estimate is the best atom of a dictionary around the tissues, refined by least squares with the
    derivatives of the model; the complex proton density is estimated too. What is not estimated is known, and
    so is off-resonance. White Gaussian noise of standard deviation 1 / snr is added to real and imaginary
    parts. The estimator is efficient as long as the noise is small enough for the signal to be linear over
    the errors.

    Parameters
    ----------
    model : SignalModel
        Signals, dictionary and derivatives.
    sequence : Sequence
        The sequence.
    tissue : Tissue
        The true tissues.
    parameters : tuple of str
        What is estimated: "t1", "t2", "b1".
    snr : float
        Proton density over the standard deviation of the noise.
    n_trials : int
        Noisy signals of each tissue.
    seed : int
        Of the noise.

    Returns
    -------
    MonteCarlo
        Standard deviations and bounds.

    Raises
    ------
    ValueError
        If a parameter cannot be estimated here, a number is out of range, or the tissue diffuses.
    """
    for name in parameters:
        if name not in ESTIMATED:
            raise ValueError(f"parameters: {name!r} cannot be estimated here; use {', '.join(ESTIMATED)}")
    snr = positive_number("snr", snr, "")
    require_seed(seed)
    require_count("n_trials", n_trials)
    if n_trials == 1:
        raise ValueError("n_trials=1 must be an integer of at least 2: one estimate has no variance")
    if tissue.diffusion.any():
        raise ValueError(
            f"tissue: diffusion={tissue.diffusion.max():.3g} m^2/s is not in the dictionary; use diffusion=0"
        )
    criterion = Criterion(tissue, tuple(f"ln_{name}" for name in parameters), proton_density="complex")
    rng = np.random.default_rng(seed)
    errors = np.empty((tissue.n_atoms, n_trials, len(parameters)))
    # what is not estimated is known: each value of it has its own dictionary
    known = [tissue.off_resonance, *(getattr(tissue, name) for name in ESTIMATED if name not in parameters)]
    _, group = np.unique(known, axis=1, return_inverse=True)
    for i in range(group.max() + 1):
        atoms = np.flatnonzero(group == i)
        errors[atoms] = _errors(model, sequence, tissue[atoms], parameters, snr, n_trials, rng)
    return MonteCarlo(
        parameters,
        criterion.bounds(model, sequence) / snr,
        errors.std(axis=1, ddof=1),
        errors.mean(axis=1),
        snr,
        n_trials,
    )


def _errors(
    model: SignalModel,
    sequence: Sequence,
    tissue: Tissue,
    parameters: tuple[str, ...],
    snr: float,
    n_trials: int,
    rng: np.random.Generator,
) -> RealArray:
    """Errors of the logarithms, shape (n_atoms, n_trials, n_parameters)."""
    dictionary = generate(model, sequence, _grid(tissue, parameters), rank=min(_RANK, sequence.n_pulses))
    clean = model.signal(sequence, tissue) @ dictionary.basis.conj()
    shape = (tissue.n_atoms, n_trials, dictionary.rank)
    # the columns of the basis are orthonormal: white noise stays white
    noise = rng.normal(scale=1 / snr, size=(2, *shape))
    voxels = (clean[:, np.newaxis] + noise[0] + 1j * noise[1]).reshape(-1, dictionary.rank)
    found = refine(
        model, dictionary, voxels, match(dictionary, voxels), parameters=parameters, noise_std=1 / snr
    )
    return np.stack(
        [
            np.log(getattr(found, name).reshape(shape[:2]) / getattr(tissue, name)[:, np.newaxis])
            for name in parameters
        ],
        axis=-1,
    )


def _grid(tissue: Tissue, parameters: tuple[str, ...]) -> Grid:
    axes = {name: getattr(tissue, name)[:1] for name in (*ESTIMATED, "off_resonance")}
    for name in parameters:
        values = getattr(tissue, name)
        if name == "b1":
            axes[name] = linear_axis(values.min() / 1.5, values.max() * 1.5, _N_B1)
        else:
            axes[name] = log_axis(values.min() / _REACH, values.max() * _REACH, _N_RELAXATION)
    return Grid(**axes)
