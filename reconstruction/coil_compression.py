"""Fewer virtual coils in place of many real ones."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from reconstruction.acquisition import Acquisition


@dataclass(frozen=True, eq=False)
class Compression:
    """Result of `compress_coils`.

    Attributes
    ----------
    acquisition : Acquisition
        The virtual coils.
    matrix : ndarray, shape (n_virtual, n_coils), complex64
        What made them; its rows are orthonormal, so that white noise stays white.
    kept_energy : float
        Their part of the energy of the k-space, noise included.
    """

    acquisition: Acquisition
    matrix: NDArray[np.complex64]
    kept_energy: float


def compress_coils(acquisition: Acquisition, virtual_coils: float) -> Compression:
    """The combinations of coils that hold most of the energy of the k-space of the slice.

    With the singular value decomposition ``s = U S V^H`` of the k-space as a matrix (n_coils, n_readouts
    n_samples), the virtual coils are ``A s`` with A the first rows of U^H. Prewhiten first: else a loud coil
    counts for more than it knows.

    Parameters
    ----------
    acquisition : Acquisition
        Live coils, prewhitened where there are noise samples.
    virtual_coils : float
        Their number, 1 ... n_coils, or a fraction of the energy, above 0 and below 1: as many as keep it.

    Returns
    -------
    Compression
        Virtual coils, strongest first.

    Raises
    ------
    ValueError
        If the number is out of range, or the k-space is zero.

    References
    ----------
    Buehrer et al. 2007, Magn Reson Med 57:1131, doi 10.1002/mrm.21237.
    Huang et al. 2008, Magn Reson Imaging 26:133, doi 10.1016/j.mri.2007.04.010.
    """
    n_coils = acquisition.n_coils
    check_virtual_coils(virtual_coils, n_coils)
    samples = acquisition.kspace.reshape(n_coils, -1)
    largest = np.abs(samples).max()
    if largest == 0:
        raise ValueError("kspace is zero everywhere; there are no coils to compress")
    samples = samples / largest  # products of raw-data amplitudes leave the range of float32
    energies, vectors = np.linalg.eigh((samples @ samples.conj().T).astype(np.complex128))
    energies, vectors = np.maximum(energies[::-1], 0), vectors[:, ::-1]
    kept = np.cumsum(energies) / energies.sum()
    # Without the last sum, which rounding may leave below 1.
    n_virtual = int(virtual_coils if virtual_coils >= 1 else np.searchsorted(kept[:-1], virtual_coils) + 1)
    matrix = np.ascontiguousarray(vectors[:, :n_virtual].conj().T, dtype=np.complex64)
    virtual = replace(
        acquisition,
        kspace=np.tensordot(matrix, acquisition.kspace, axes=1),
        noise=None if acquisition.noise is None else matrix @ acquisition.noise,
    )
    return Compression(virtual, matrix, float(kept[n_virtual - 1]))


def check_virtual_coils(virtual_coils: float, n_coils: int | None = None) -> None:
    """Raise a ValueError unless it is a number of coils, at most `n_coils`, or a fraction within (0, 1)."""
    if not (0 < virtual_coils < 1 or (1 <= virtual_coils < np.inf and virtual_coils == int(virtual_coils))):
        raise ValueError(
            f"virtual_coils={virtual_coils} must be a whole number of coils, or a fraction of the energy "
            "above 0 and below 1"
        )
    if n_coils is not None and virtual_coils > n_coils:
        raise ValueError(
            f"virtual_coils={virtual_coils:g} exceeds the {n_coils} coils of the data; leave it out to use "
            "all of them"
        )
