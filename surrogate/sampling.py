"""Random tissues and sequences, each from a seed of its own."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from epgbloch import RFPulse, Sequence, Tissue
from epgbloch._checks import positive_number, real_vector
from epgbloch.trains import MAXIMUM, TRAINS

FAMILIES = tuple(TRAINS)
"""Families of flip-angle trains; signal `index` gets family index % 5."""


@dataclass(frozen=True)
class Ranges:
    """Ranges that tissues and sequences are drawn from: (lowest, highest), in SI units.

    The defaults are those of Liu et al. (NMR Biomed 2021, e4527, section 3.2), whose inversion is perfect and
    immediately before the first pulse. Here its time and efficiency vary, as they do between protocols.

    Parameters
    ----------
    t1, t2 : tuple of float
        Relaxation times [s], uniform in their logarithm; T2 <= T1.
    tr : tuple of float
        Repetition times [s], uniform.
    te_over_tr : tuple of float
        Echo time over repetition time, uniform.
    inversion_time : tuple of float
        Time from the inversion to the centre of the first pulse [s], uniform.
    inversion_efficiency : tuple of float
        Efficiency of the inversion, uniform.
    largest_flip_angle : float
        Flip angles (times B1) lie between 0 and this [rad], at most 2 pi.

    Raises
    ------
    ValueError
        If a range is not two ascending positive numbers, or no T2 can be below a T1.
    """

    t1: tuple[float, float] = (0.1, 5.0)
    t2: tuple[float, float] = (0.01, 2.0)
    tr: tuple[float, float] = (5e-3, 20e-3)
    te_over_tr: tuple[float, float] = (0.3, 0.7)
    inversion_time: tuple[float, float] = (0.5e-3, 50e-3)
    inversion_efficiency: tuple[float, float] = (0.9, 1.0)
    largest_flip_angle: float = float(MAXIMUM)

    def __post_init__(self) -> None:
        largest = positive_number("largest_flip_angle", self.largest_flip_angle, "radians")
        if largest > 2 * np.pi:
            raise ValueError(f"largest_flip_angle={largest:.6g} must be at most 2 pi radians; lower it")
        object.__setattr__(self, "largest_flip_angle", largest)
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "largest_flip_angle":
                continue
            pair = real_vector(field.name, value, "SI units")
            if pair.size != 2 or not 0 < pair[0] <= pair[1]:
                raise ValueError(f"{field.name}={value!r} must be (lowest, highest), both positive")
            object.__setattr__(self, field.name, (float(pair[0]), float(pair[1])))
        if self.t2[0] > self.t1[0]:
            raise ValueError(f"t2 from {self.t2[0]} s leaves none below t1={self.t1[0]} s; lower it")
        if self.t2[0] == self.t1[1] and self.t2[0] < self.t2[1]:
            raise ValueError(
                f"t2={self.t2} lies at or above t1={self.t1[1]} s, the only one; lower t2, or fix it there"
            )
        if self.te_over_tr[1] >= 1 or self.inversion_efficiency[1] > 1:
            raise ValueError(
                f"te_over_tr={self.te_over_tr} must stay below 1 and "
                f"inversion_efficiency={self.inversion_efficiency} at most at 1"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the ranges as plain numbers and lists (for JSON)."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()
        }


@dataclass(frozen=True, eq=False)
class Draw:
    """A random tissue and sequence.

    Attributes
    ----------
    tissue : Tissue
        One atom, B1 = 1, on resonance.
    sequence : Sequence
        Its sequence.
    family : int
        Number of the flip-angle train's family in `FAMILIES`.
    """

    tissue: Tissue
    sequence: Sequence
    family: int


def seed_sequence(seed: int, index: int) -> np.random.SeedSequence:
    """Return the seed of signal `index` of a data set; no other signal, of this or another set, has it."""
    return np.random.SeedSequence(seed, spawn_key=(index,))


def seed_key(seed: int, index: int) -> NDArray[np.uint64]:
    """Return a hash of the seed of a signal, shape (2,), uint64: equal keys mean equal signals."""
    return seed_sequence(seed, index).generate_state(2, np.uint64).astype(np.uint64)


def draw(seed: int, index: int, n_pulses: int, pulse: RFPulse | None, ranges: Ranges) -> Draw:
    """Draw the tissue and the sequence of one signal; other signals do not matter.

    TR and TE are constant in half of the sequences, and drawn for every pulse in the others; half begin with
    an inversion.

    Parameters
    ----------
    seed : int
        Seed of the data set, >= 0.
    index : int
        Number of the signal in the data set, >= 0; it determines the family of the train.
    n_pulses : int
        Length of the train, at least 101.
    pulse : RFPulse or None
        RF pulse of the sequence.
    ranges : Ranges
        What to draw from.

    Returns
    -------
    Draw
        The same for the same arguments, on every machine.
    """
    rng = np.random.Generator(np.random.Philox(seed_sequence(seed, index)))
    t1, t2 = _relaxation_times(rng, ranges)
    inverted, varying = rng.integers(2), rng.integers(2)
    inversion_time = rng.uniform(*ranges.inversion_time)
    inversion_efficiency = rng.uniform(*ranges.inversion_efficiency)
    n_times = n_pulses if varying else 1
    tr = rng.uniform(*ranges.tr, n_times)
    te = tr * rng.uniform(*ranges.te_over_tr, n_times)
    family = index % len(FAMILIES)
    sequence = Sequence(
        TRAINS[FAMILIES[family]](n_pulses, rng, ranges.largest_flip_angle),
        tr,
        te,
        inversion_time=inversion_time if inverted else None,
        inversion_efficiency=inversion_efficiency if inverted else 1.0,
        pulse=pulse,
    )
    return Draw(Tissue(t1, t2), sequence, family)


def _relaxation_times(rng: np.random.Generator, ranges: Ranges) -> tuple[float, float]:
    while True:
        t1, t2 = (np.exp(rng.uniform(*np.log(limits))) for limits in (ranges.t1, ranges.t2))
        if t2 <= t1:
            return t1, t2
