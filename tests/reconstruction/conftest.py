"""An object whose k-space is known at any position."""

import numpy as np
import pytest

N_COILS, N_PULSES, RANK = 4, 120, 3


@pytest.fixture(scope="package")
def blobs():
    """Function of (matrix, positions, noise=0, seed=0): k-space (4, n_readouts, n_samples) of Gaussian blobs.

    ``s(k) = sum_b a[c, b] w[t, b] exp(-2 pi^2 width_b^2 |k|^2) exp(-2 pi i k.r_b)``: every blob has its own
    coil weights and evolution; the evolutions are combinations of the basis `blobs.basis`, (120, 3).
    """
    rng = np.random.default_rng(0)
    time = np.arange(N_PULSES) / N_PULSES
    curves = np.stack([np.ones(N_PULSES), np.cos(3 * time), np.exp(-5 * time)], axis=1)
    basis = np.linalg.qr(curves)[0]
    n_blobs = 9
    places = rng.uniform(-0.28, 0.28, (n_blobs, 2))  # of the field of view
    widths = rng.uniform(0.02, 0.06, n_blobs)
    coils = np.exp(2j * np.pi * rng.uniform(size=(N_COILS, n_blobs))) * rng.uniform(
        0.3, 1, (N_COILS, n_blobs)
    )
    evolutions = curves @ rng.uniform(0, 1, (RANK, n_blobs))

    def kspace(matrix, positions, noise=0.0, seed=0):
        scale = np.array(matrix[::-1])
        k = positions.astype(float) * scale
        waves = np.exp(-2j * np.pi * k @ places.T) * np.exp(
            -2 * np.pi**2 * (k**2).sum(-1, keepdims=True) * widths**2
        )
        rows = np.arange(len(positions)) % N_PULSES
        samples = np.einsum("cb,tb,tmb->ctm", coils, evolutions[rows], waves)
        parts = np.random.default_rng(seed).standard_normal((*samples.shape, 2))
        return samples + noise * parts @ [1, 1j]

    kspace.basis = basis
    return kspace
