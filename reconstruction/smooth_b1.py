"""Transmit field from the voxels' signals, under the assumption that it is smooth."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray

from dictionaries import AtomList, Dictionary, Match, match

_ROUNDING = 1e-6  # of squared correlations in single precision
_UPDATE = 5  # iterations: B1 moves little, and finding it takes as long as several
_FWHM = 2 * np.sqrt(2 * np.log(2))  # of a Gaussian, in standard deviations


def require_b1_axis(values: NDArray[np.float64]) -> None:
    """Raise a ValueError unless there are several values of B1."""
    if values.size < 2:
        raise ValueError(
            f"the dictionary has only B1 = {values[0]:g}; a smooth B1 needs several values: give the "
            "dictionary an axis of B1, or leave the smooth B1 out"
        )


class B1Layers:
    """A dictionary as one dictionary for each of its values of B1.

    Parameters
    ----------
    dictionary : Dictionary
        Atoms with several values of B1.

    Raises
    ------
    ValueError
        If B1 is the same for all atoms.
    """

    def __init__(self, dictionary: Dictionary) -> None:
        self.values, layer = np.unique(dictionary.tissue.b1, return_inverse=True)
        """Values of B1, rising, shape (n_b1,)."""
        require_b1_axis(self.values)
        self._numbers = [np.flatnonzero(layer == i) for i in range(self.values.size)]
        self._dictionaries = [
            replace(
                dictionary,
                grid=AtomList(dictionary.grid[numbers]),
                coefficients=dictionary.coefficients[numbers],
                norms=dictionary.norms[numbers],
                error_counts=None,
            )
            for numbers in self._numbers
        ]

    def misfit(self, voxels: NDArray[np.complex64]) -> NDArray[np.float64]:
        """Squared distance of each voxel from the nearest atom of each layer, shape (n_b1, n_voxels).

        voxels : (n_voxels, rank)
        """
        energy = np.linalg.norm(voxels, axis=1).astype(np.float64) ** 2
        found = (match(layer, voxels).correlation for layer in self._dictionaries)
        return np.stack(
            [energy * np.maximum(1 - correlation.astype(np.float64) ** 2, _ROUNDING) for correlation in found]
        )

    def match(
        self,
        voxels: NDArray[np.complex64],
        b1: NDArray[np.float64],
        dual: NDArray[np.complex64] | None = None,
    ) -> Match:
        """Best atom of each voxel among those whose B1 is next to that of the voxel.

        voxels, dual : (n_voxels, rank), see `dictionaries.match`
        b1 : (n_voxels,)
        """
        middles = (self.values[1:] + self.values[:-1]) / 2
        layers = np.searchsorted(middles, b1)
        result: dict[str, NDArray[Any]] = {}
        for i_layer in np.unique(layers):
            chosen = layers == i_layer
            part = match(
                self._dictionaries[i_layer], voxels[chosen], dual=None if dual is None else dual[chosen]
            )
            values = {**vars(part), "index": self._numbers[i_layer][part.index]}
            for name, array in values.items():
                result.setdefault(name, np.empty(len(voxels), array.dtype))[chosen] = array
        return Match(**result)


class SmoothB1:
    """Matching with a B1 that is smooth, for `low_rank_admm`.

    Voxels are matched with the atoms whose B1 is next to that of `smooth_b1`, which is found from the voxels
    of the first call and of every fifth after it.

    Parameters
    ----------
    dictionary, mask, width
        See `B1Layers` and `smooth_b1`.
    """

    def __init__(self, dictionary: Dictionary, mask: NDArray[np.bool_], width: tuple[float, float]) -> None:
        self._layers, self._mask, self._width = B1Layers(dictionary), mask, width
        self._n_calls = 0
        self.b1 = np.ones(int(mask.sum()))
        """B1 of the voxels, as it was last found."""

    def __call__(self, voxels: NDArray[np.complex64], dual: NDArray[np.complex64] | None = None) -> Match:
        """Match of the voxels, (n_voxels, rank), with their dual."""
        if self._n_calls % _UPDATE == 0:
            self.b1 = smooth_b1(self._layers, voxels, self._mask, self._width)
        self._n_calls += 1
        return self._layers.match(voxels, self.b1, dual)


def smooth_b1(
    layers: B1Layers, voxels: NDArray[np.complex64], mask: NDArray[np.bool_], width: tuple[float, float]
) -> NDArray[np.float64]:
    """B1 of each voxel that fits best the signals around it, shape (n_voxels,).

    For each value of B1, the squared distances of the voxels from their nearest atoms are averaged by a
    Gaussian as logarithms: up to constants, the likelihood of one B1 for the whole neighbourhood, with the
    T1 and T2 of each voxel that fit best, in white noise whose strength may differ from voxel to voxel.
    Mixed voxels at edges, which no atom fits, thus have little weight. A parabola through the smallest and
    its neighbours gives B1 between the values of the dictionary.

    Parameters
    ----------
    layers : B1Layers
        Atoms.
    voxels : ndarray, shape (n_voxels, rank), complex64
        Coefficients of the voxels of the mask.
    mask : ndarray, shape (ny, nx), bool
        Where they lie.
    width : tuple of float
        Full width at half maximum of the Gaussian (y, x) [pixels], > 0.

    Returns
    -------
    ndarray, shape (n_voxels,), float64
        Within the values of the dictionary.
    """
    misfit = np.zeros((layers.values.size, *mask.shape))
    misfit[:, mask] = np.log(layers.misfit(voxels))
    sigma = (0, *(w / _FWHM for w in width))
    cost = scipy.ndimage.gaussian_filter(misfit, sigma, mode="constant")[:, mask]
    return _minimum(layers.values, cost)


def _minimum(values: NDArray[np.float64], cost: NDArray[np.float64]) -> NDArray[np.float64]:
    """Position of the smallest cost, shape (n_values, n), by a parabola through three of the values."""
    best = cost.argmin(axis=0)
    if values.size < 3:
        return values[best]
    middle = np.clip(best, 1, values.size - 2)
    columns = np.arange(cost.shape[1])
    x = [values[middle + i] for i in (-1, 0, 1)]
    left, centre, right = (cost[middle + i, columns] for i in (-1, 0, 1))
    # Newton's divided differences
    first = (centre - left) / (x[1] - x[0])
    second = ((right - centre) / (x[2] - x[1]) - first) / (x[2] - x[0])
    with np.errstate(divide="ignore", invalid="ignore"):
        vertex = (x[0] + x[1]) / 2 - first / (2 * second)
    inside = (second > 0) & (best == middle)
    return np.where(inside, vertex, values[best])
