"""Brute force: every voxel is a cloud of spins, each of which is followed through the whole sequence."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from design.mrzero.sequence import ImagingSequence
from design.mrzero.voxels import Voxels
from epgbloch._checks import require_count

ComplexArray = NDArray[np.complex128]


def isochromat_signal(
    sequence: ImagingSequence, voxels: Voxels, n_spins: int = 625, *, seed: int = 0
) -> ComplexArray:
    """Return the signal of a sequence by isochromats, in double precision.

    Spins fill each voxel evenly in position and, for T2', in frequency (the quantiles of a Lorentzian): one
    scrambled Sobol sequence of all four. The error falls nearly as 1 / n_spins where states dephase over few
    cycles within a voxel; strongly spoiled states need many spins.

    Parameters
    ----------
    sequence : ImagingSequence
        The sequence.
    voxels : Voxels
        The object.
    n_spins : int
        Spins of each voxel.
    seed : int
        Of the scrambling.

    Returns
    -------
    ndarray, shape (n_coils, n_samples), complex128
        The samples.

    Raises
    ------
    ValueError
        If the object diffuses: these spins stay where they are.

    References
    ----------
    Loktyushin et al. 2021, Magn Reson Med 86:709, doi 10.1002/mrm.28727: algorithm 1, 625 spins a voxel.
    """
    require_count("n_spins", n_spins)
    if voxels.diffusion.any():
        raise ValueError("diffusion must be 0 for isochromats, which do not move; use phase_graph_signal")
    points = qmc.Sobol(4, rng=seed).random_base2((n_spins - 1).bit_length())[:n_spins]
    offset = (points[:, :3] - 0.5) * voxels.size
    place = voxels.position[:, np.newaxis] + offset  # (n_voxels, n_spins, 3)
    # quantiles of a Lorentzian whose decay is exp(-t / T2')
    spread = np.tan(np.pi * (points[:, 3] - 0.5)) / (2 * np.pi * voxels.t2_prime[:, np.newaxis])
    frequency = voxels.off_resonance[:, np.newaxis] + spread
    plus = np.zeros(place.shape[:2], np.complex128)
    z = np.ones(place.shape[:2])
    weight = voxels.proton_density * voxels.coil_sensitivities / n_spins
    samples = []
    first = sequence.first_event
    for n in range(sequence.n_repetitions):
        angle = (sequence.flip_angle[n] * np.abs(voxels.b1))[:, np.newaxis]
        turn = np.exp(1j * (sequence.phase[n] + np.angle(voxels.b1)))[:, np.newaxis]
        # in the frame of the pulse, +z turns towards the real axis
        own = plus * turn.conj()
        x, z = own.real * np.cos(angle) + z * np.sin(angle), z * np.cos(angle) - own.real * np.sin(angle)
        plus = (x + 1j * own.imag) * turn
        for e in range(first[n], first[n + 1]):
            time = sequence.durations[e]
            cycles = place @ sequence.moments[e] + frequency * time
            plus = plus * np.exp(-2j * np.pi * cycles - time / voxels.t2[:, np.newaxis])
            z = 1 + (z - 1) * np.exp(-time / voxels.t1[:, np.newaxis])
            if sequence.adc[e]:
                received = (weight * plus.sum(axis=1)).sum(axis=1)
                samples.append(received * np.exp(-1j * sequence.adc_phase[e]))
    return np.stack(samples, axis=1)
