"""Trained networks in files: the weights with a card that says what they are."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from epgbloch import __version__
from epgbloch._files import read_archive, replacing
from surrogate.sampling import Ranges
from surrogate.size import NetworkSize

_FORMAT = "epgbloch surrogate weights"
_FORMAT_VERSION = 1


class WeightsError(ValueError):
    """Weights that cannot be used; the message says why and what to do."""


@dataclass(frozen=True, eq=False)
class Weights:
    """A trained network.

    Attributes
    ----------
    size : NetworkSize
        Layers, units and cell.
    ranges : Ranges
        Ranges of the training data, which normalise the inputs.
    arrays : tuple of ndarray, float32
        The weights in the order of `network.network_variables`.
    card : dict
        What the network was trained on and how, and its errors: plain numbers, lists and strings.
    """

    size: NetworkSize
    ranges: Ranges
    arrays: tuple[NDArray[np.float32], ...]
    card: dict[str, Any]

    def digest(self) -> str:
        """Return the SHA-256 of size, ranges and weights, in hexadecimal digits."""
        digest = hashlib.sha256(
            json.dumps([asdict(self.size), self.ranges.to_dict()], sort_keys=True).encode()
        )
        for array in self.arrays:
            digest.update(array.astype("<f4").tobytes())
        return digest.hexdigest()


def weight_shapes(size: NetworkSize) -> list[tuple[int, ...]]:
    """Return the shapes of the weights in the order of `network.network_variables`."""
    n_states, n_gates, n_biases = {"gru": (1, 3, 2), "lstm": (2, 4, 1)}[size.cell]
    u = size.units
    shapes: list[tuple[int, ...]] = [(3, u), (u,)] * n_states
    for i_layer in range(size.layers):
        bias = (n_biases, n_gates * u) if n_biases > 1 else (n_gates * u,)
        shapes += [(u if i_layer else 5, n_gates * u), (u, n_gates * u), bias]
    return [*shapes, (u, 3), (3,)]


def write_weights(path: str | os.PathLike[str], weights: Weights) -> Path:
    """Write a trained network to a NumPy archive (.npz) with checksums; it replaces the file at once.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ValueError
        If the card does not fit JSON.
    OSError
        If the file cannot be written.
    """
    header = {
        "format": _FORMAT,
        "format_version": _FORMAT_VERSION,
        "epgbloch_version": __version__,
        "size": asdict(weights.size),
        "ranges": weights.ranges.to_dict(),
        "card": weights.card,
    }
    arrays = {f"weights_{i:02d}": array for i, array in enumerate(weights.arrays)}
    with replacing(Path(path)) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, header=json.dumps(header, allow_nan=False), **arrays)
    return Path(path)


def read_weights(path: str | os.PathLike[str]) -> Weights:
    """Read a trained network from a file of `write_weights` and check it.

    Raises
    ------
    WeightsError
        If the file is damaged, of another format or version, or its weights are not those of its size.
    OSError
        If the file cannot be opened.
    """
    with open(path, "rb") as file:
        try:
            archive = read_archive(file)
            header = json.loads(str(archive["header"]))
            if header["format"] != _FORMAT or header["format_version"] != _FORMAT_VERSION:
                raise WeightsError(
                    f"{path} holds {header['format']}, version {header['format_version']}; epgbloch "
                    f"{__version__} reads {_FORMAT}, version {_FORMAT_VERSION}"
                )
            size, ranges = NetworkSize(**header["size"]), Ranges(**header["ranges"])
            shapes = weight_shapes(size)
            arrays = tuple(archive[f"weights_{i:02d}"] for i in range(len(shapes)))
            card = dict(header["card"])
        except WeightsError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise WeightsError(
                f"{path} is not a file of weights, or a truncated or damaged one ({error}); copy it again"
            ) from error
    for array, shape in zip(arrays, shapes, strict=True):
        if array.shape != shape or array.dtype != np.float32 or not np.all(np.isfinite(array)):
            raise WeightsError(
                f"{path}: weights of shape {array.shape} ({array.dtype}) are not finite float32 numbers of "
                f"shape {shape}, which {size} needs; copy the file again"
            )
    return Weights(size, ranges, arrays, card)
