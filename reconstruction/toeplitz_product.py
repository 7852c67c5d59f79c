"""Compiled product with the kernel of a Toeplitz operator: plain contiguous arrays, no checks."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

BLOCK = 64
"""Frequencies whose part of the kernel lies together: 20 KB with rank 12, within a first-level cache."""

_Singles: TypeAlias = NDArray[np.float32]


# "contract" permits fused multiply-adds; every frequency is summed in the same order whatever the thread
@njit(cache=True, nogil=True, fastmath={"contract"})
def multiply(kernel: _Singles, planes: NDArray[np.int64], spectra: _Singles, first: int, last: int) -> None:
    """Multiply the vector of coefficients at each frequency with the Hermitian matrix there, in place.

    kernel : (n_blocks, n_planes, BLOCK) float32: one plane for the real part of each element on and above
        the diagonal, then, for complex matrices, one for the imaginary part of each element above it
    planes : (2, rank, rank) int64, planes of the real and of the imaginary part of each element
    spectra : (rank, n_coils, 2 * n_frequencies) float32, real and imaginary parts in turn
    first, last : blocks of frequencies to take
    """
    rank, n_coils = spectra.shape[:2]
    n_frequencies = spectra.shape[2] // 2
    is_complex = kernel.shape[1] > rank * (rank + 1) // 2
    # beyond the last frequency the kernel is zero
    x = np.zeros((rank, 2, BLOCK), np.float32)
    y = np.empty((2, BLOCK), np.float32)
    for i_block in range(first, last):
        matrices = kernel[i_block]
        start = i_block * BLOCK
        n = min(BLOCK, n_frequencies - start)
        for i_coil in range(n_coils):
            for j in range(rank):
                row = spectra[j, i_coil]
                for f in range(n):
                    x[j, 0, f] = row[2 * (start + f)]
                    x[j, 1, f] = row[2 * (start + f) + 1]
            for i in range(rank):
                y[:] = 0
                real, imag = y[0], y[1]
                for j in range(rank):
                    a, xr, xi = matrices[planes[0, i, j]], x[j, 0], x[j, 1]
                    for f in range(BLOCK):
                        real[f] += a[f] * xr[f]
                        imag[f] += a[f] * xi[f]
                    if is_complex and i != j:
                        b = matrices[planes[1, i, j]]
                        sign = np.float32(1 if i < j else -1)
                        for f in range(BLOCK):
                            real[f] -= sign * b[f] * xi[f]
                            imag[f] += sign * b[f] * xr[f]
                row = spectra[i, i_coil]
                for f in range(n):
                    row[2 * (start + f)] = real[f]
                    row[2 * (start + f) + 1] = imag[f]
