"""Data sets of simulated signals and their derivatives, in HDF5 files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from epgbloch import EPGBloch, RFPulse, Sequence, __version__
from epgbloch._checks import require_count
from surrogate.sampling import Ranges, draw

FORMAT = "epgbloch surrogate data"
"""Attribute `format` of the files."""
FORMAT_VERSION = 1
"""Attribute `format_version` of the files."""
UNITS = {
    "t1": "s",
    "t2": "s",
    "inversion_time": "s; not a number where there is no inversion",
    "inversion_efficiency": "1",
    "flip_angle": "rad",
    "tr": "s",
    "te": "s",
    "targets": "signal of proton density 1 and its derivatives by ln T1 and ln T2",
    "family": "number in surrogate.sampling.FAMILIES",
    "seed_key": "hash of the seed of the signal",
}
"""Arrays of a data set and their units."""
_DAMAGE = (OSError, RuntimeError, ValueError, KeyError, TypeError)
"""What h5py and the parsers raise on damaged bytes."""


class DatasetError(ValueError):
    """A data set that cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Recipe:
    """What determines a data set, apart from the version of the engine.

    Parameters
    ----------
    n_signals : int
        Number of signals, each with a tissue and a sequence of its own.
    n_pulses : int
        Length of every train.
    seed : int
        Seed of the set, >= 0. Sets with different seeds share no signal.
    ranges : Ranges
        What tissues and sequences are drawn from.
    pulse : RFPulse
        RF pulse of all sequences, with a real waveform.
    model : EPGBloch
        Engine that simulates; its `n_threads` does not matter.

    Raises
    ------
    ValueError
        If a number is out of range, or the shortest times of the ranges leave no room for the pulse.
    """

    n_signals: int = 30_000
    n_pulses: int = 1120
    seed: int = 1
    ranges: Ranges = field(default_factory=Ranges)
    pulse: RFPulse = field(default_factory=lambda: RFPulse.gaussian(1e-3, 3e-3))
    model: EPGBloch = field(default_factory=EPGBloch)

    def __post_init__(self) -> None:
        require_count("n_signals", self.n_signals)
        require_count("n_pulses", self.n_pulses)
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ValueError(f"seed={self.seed!r} must be an integer of at least 0")
        if np.iscomplexobj(self.pulse.waveform):
            raise ValueError("the waveform of pulse is complex, and so would be the signals; give a real one")
        draw(self.seed, 4, self.n_pulses, None, self.ranges)  # the family that needs the longest train
        ranges = self.ranges
        tr, te = ranges.tr[0], np.multiply(ranges.te_over_tr, ranges.tr[0])
        try:
            Sequence([0.0, 0.0], tr, te, inversion_time=ranges.inversion_time[0], pulse=self.pulse)
        except ValueError as error:
            raise ValueError(f"the shortest times of {ranges} cannot be played out: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as plain numbers, lists and strings (for JSON)."""
        return {
            "n_signals": self.n_signals,
            "n_pulses": self.n_pulses,
            "seed": self.seed,
            "ranges": self.ranges.to_dict(),
            "pulse": {
                "name": self.pulse.name,
                "duration": self.pulse.duration,
                "center": self.pulse.center,
                "bandwidth": self.pulse.bandwidth,
                "slice_thickness": self.pulse.slice_thickness,
                "waveform": self.pulse.waveform.tolist(),
                "fingerprint": self.pulse.fingerprint(),
            },
            "model": self.model.settings(),
        }


@dataclass(frozen=True, eq=False)
class Dataset:
    """Signals with what they were simulated from, one row each.

    Attributes
    ----------
    recipe : dict
        `Recipe.to_dict` of the recipe.
    sha256 : str
        Hexadecimal SHA-256 of all arrays.
    t1, t2 : ndarray, shape (n_signals,), float32
        Relaxation times [s].
    inversion_time : ndarray, shape (n_signals,), float32
        Time from the inversion to the centre of the first pulse [s]; not a number without inversion.
    inversion_efficiency : ndarray, shape (n_signals,), float32
        Efficiency of the inversion; 1 without.
    flip_angle, tr, te : ndarray, shape (n_signals, n_pulses), float32
        The sequence [rad, s, s].
    targets : ndarray, shape (n_signals, 3, n_pulses), float32
        Signal of proton density 1 and its derivatives by ln T1 and ln T2. The signals are real.
    family : ndarray, shape (n_signals,), uint8
        Family of the flip-angle train, a number in `sampling.FAMILIES`.
    seed_key : ndarray, shape (n_signals, 2), uint64
        Hash of the seed of each signal, see `sampling.seed_key`.
    """

    recipe: dict[str, Any]
    sha256: str
    t1: NDArray[np.float32]
    t2: NDArray[np.float32]
    inversion_time: NDArray[np.float32]
    inversion_efficiency: NDArray[np.float32]
    flip_angle: NDArray[np.float32]
    tr: NDArray[np.float32]
    te: NDArray[np.float32]
    targets: NDArray[np.float32]
    family: NDArray[np.uint8]
    seed_key: NDArray[np.uint64]

    @property
    def n_signals(self) -> int:
        """Number of signals."""
        return self.t1.size

    @property
    def n_pulses(self) -> int:
        """Number of pulses of every signal."""
        return self.flip_angle.shape[1]

    def __getitem__(self, rows: slice) -> Dataset:
        """Return some of the signals; the arrays share their memory."""
        return replace(self, **{name: getattr(self, name)[rows] for name in UNITS})


def read_dataset(path: str | os.PathLike[str], recipe: Recipe | None = None) -> Dataset:
    """Read a whole data set into memory and check it.

    Parameters
    ----------
    path : path-like
        File of `generate_dataset`.
    recipe : Recipe, optional
        The recipe that the data set must be of.

    Returns
    -------
    Dataset
        The signals.

    Raises
    ------
    DatasetError
        If the file is not an intact data set of this format version, or is of another recipe.
    OSError
        If the file cannot be opened.
    """
    with open(path, "rb"):  # an error of the file system as it is; what h5py raises then is damage
        pass
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") != FORMAT.encode():
                raise DatasetError("this HDF5 file is not a data set of the surrogate; choose another file")
            version = file.attrs.get("format_version")
            if version != FORMAT_VERSION:
                raise DatasetError(
                    f"format version {version}, but epgbloch {__version__} reads version {FORMAT_VERSION}: "
                    "generate the data set again"
                )
            own_recipe = json.loads(file.attrs["recipe"])
            if recipe is not None:
                _check_recipe(own_recipe, recipe.to_dict())
            arrays = {name: file[name][...] for name in UNITS}
            sha256 = file.attrs["sha256"].decode()
        if combined_digest(hashlib.sha256(values).hexdigest() for values in arrays.values()) != sha256:
            raise DatasetError("its data do not match their checksum; generate it again")
        return Dataset(own_recipe, sha256, **arrays)
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}") from error
    except _DAMAGE as error:
        raise DatasetError(
            f"{path} is not an HDF5 file, or a truncated or damaged one ({error}); choose another file or "
            "generate the data set again"
        ) from error


def _check_recipe(own: dict[str, Any], wanted: dict[str, Any]) -> None:
    own, wanted = comparable(own), comparable(json.loads(json.dumps(wanted)))
    for name, value in wanted.items():
        if own.get(name) != value:
            raise DatasetError(
                f"it was made with {name}={own.get(name)}, not {value}; choose another name for the data "
                "set, or use that value"
            )


def comparable(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return a `Recipe.to_dict` with the fingerprint of its RF pulse in place of the pulse."""
    return recipe | {"pulse": recipe["pulse"]["fingerprint"]}


def combined_digest(digests: Iterable[str]) -> str:
    """Return the SHA-256 of a data set from those of its arrays, in the order of `UNITS`."""
    return hashlib.sha256("".join(digests).encode()).hexdigest()
