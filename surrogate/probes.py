"""Errors of a trained network where it was not trained: other lengths, other trains, outside its ranges."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import count, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from epgbloch import Sequence, Tissue
from epgbloch.trains import TRAINS, sin_squared
from surrogate.dataset import Recipe
from surrogate.errors import SignalErrors
from surrogate.evaluation import Float32, Predictor
from surrogate.features import network_inputs
from surrogate.sampling import FAMILIES, Ranges, draw

LENGTHS = (1500, 2000, 5930)
"""Pulses of the trains of `Probes.lengths`, beside those of the training."""
FACTORS = (1.0, 1.1, 1.25, 1.5, 2.0)
"""How far outside of its range `outside` puts a quantity: times the upper limit, or over the lower one."""
TISSUES = {
    "white matter": (0.8, 0.07),
    "grey matter": (1.3, 0.1),
    "cerebrospinal fluid": (4.0, 1.5),
}
"""T1 and T2 of the example signals [s]."""
OUTSIDE = {
    "t1_above": ("T1 above", "ms", 1e3),
    "t1_below": ("T1 below", "ms", 1e3),
    "t2_above": ("T2 above", "ms", 1e3),
    "t2_below": ("T2 below", "ms", 1e3),
    "tr_above": ("TR above", "ms", 1e3),
    "tr_below": ("TR below", "ms", 1e3),
    "te_over_tr_above": ("TE above", "TR", 1.0),
    "te_over_tr_below": ("TE below", "TR", 1.0),
    "inversion_time_above": ("inversion time above", "ms", 1e3),
    "inversion_time_below": ("inversion time below", "ms", 1e3),
    "inversion_efficiency_below": ("inversion efficiency below", "%", 100.0),
    "flip_angle_above": ("flip angle above", "°", 180 / np.pi),
}
"""What `Probes.outside` moves beyond its limits: title, unit, and factor from SI units to it."""
Case = tuple[Sequence, Tissue]
"""A sequence with one atom."""


@dataclass(frozen=True)
class Probes:
    """Random cases, simulated by the engine and by the network.

    Parameters
    ----------
    predictor : Predictor
        The network.
    recipe : Recipe
        Of its training data, with a seed that it was not trained on.
    n_signals : int
        Cases of each kind.
    """

    predictor: Predictor
    recipe: Recipe
    n_signals: int = 100

    def compare(self, cases: Iterable[Case]) -> tuple[Float32, Float32]:
        """Return what the network and the engine say, both (n_cases, n_pulses, 3); equal lengths only."""
        listed = list(cases)
        model = replace(self.recipe.model, n_threads=1)

        def simulate(case: Case) -> Float32:
            signal, derivatives = model.jacobian(*case, ("ln_t1", "ln_t2"))
            return np.concatenate([signal, derivatives[:, 0]]).real.T

        with ThreadPoolExecutor(self.predictor.n_threads) as pool:
            truth = np.stack(list(pool.map(simulate, listed)))
        inputs = [network_inputs(*case) for case in listed]
        outputs = [
            self.predictor.outputs(*map(np.concatenate, zip(*inputs[start : start + 100], strict=True)))
            for start in range(0, len(inputs), 100)
        ]
        return np.concatenate(outputs), truth

    def errors(self, cases: Iterable[Case]) -> SignalErrors:
        """Return the errors of the network for some cases of equal length."""
        return SignalErrors.of(*self.compare(cases))

    def draws(self, n_pulses: int, ranges: Ranges | None = None, *, inverted: bool = False) -> list[Case]:
        """Return random cases of all families, all with or half of them without an inversion."""
        recipe = self.recipe
        drawn = (
            draw(recipe.seed, index, n_pulses, recipe.pulse, ranges or recipe.ranges)
            for index in count(10**6)
        )
        cases = ((one.sequence, one.tissue) for one in drawn)
        chosen = (case for case in cases if not inverted or case[0].inversion_time is not None)
        return list(islice(chosen, self.n_signals))

    def lengths(self) -> dict[str, Any]:
        """Return errors for trains of several lengths.

        Returns
        -------
        dict
            ``rows``: one `SignalErrors.summary` a length, with ``pulses``, and ``end``: the NRMSE of the last
            100 pulses alone. ``drift``: root mean square error of the signals of the longest trains in each
            of 50 equal windows (the rest is left out), beside that of the truth.
        """
        rows = []
        for n_pulses in (self.recipe.n_pulses, *LENGTHS):
            outputs, truth = self.compare(self.draws(n_pulses))
            end = SignalErrors.of(outputs[:, -100:], truth[:, -100:]).nrmse()
            rows.append({"pulses": n_pulses, **SignalErrors.of(outputs, truth).summary(), "end": list(end)})
        width = n_pulses // 50
        windows = np.stack([outputs - truth, truth])[:, :, : 50 * width, 0].reshape(2, len(truth), 50, width)
        error, size = np.sqrt(np.square(windows, dtype=np.float64).mean(axis=(1, 3)))
        drift = {
            "pulse": (width * (np.arange(50) + 0.5)).tolist(),
            "error": error.tolist(),
            "signal": size.tolist(),
        }
        return {"rows": rows, "drift": drift}

    def mixtures(self) -> dict[str, dict[str, Any]]:
        """Return errors for trains that change their family on the way.

        "two_parts": two families at random, each for half of the length of training (101 pulses at least);
        "spline11_piece_constant5": Spline11, then PieceConstant5, 750 pulses each, longer than trained on, as
        in figure 5 of Liu et al. (NMR Biomed 2021, e4527).
        """
        half = max(self.recipe.n_pulses // 2, 101)
        rng = np.random.default_rng((self.recipe.seed, 2))
        two = [
            self._mixture(case, rng.choice(FAMILIES, 2, replace=False).tolist(), half, rng)
            for case in self.draws(2 * half)
        ]
        published = [
            self._mixture(case, ["spline11", "piece_constant5"], 750, rng) for case in self.draws(1500)
        ]
        return {
            "two_parts": self.errors(two).summary(),
            "spline11_piece_constant5": self.errors(published).summary(),
        }

    def _mixture(self, case: Case, families: list[str], length: int, rng: np.random.Generator) -> Case:
        largest = self.recipe.ranges.largest_flip_angle
        parts = [TRAINS[name](length, rng, largest) for name in families]
        return _with(case[0], flip_angle=np.concatenate(parts)), case[1]

    def outside(self) -> dict[str, list[dict[str, Any]]]:
        """Return errors on the limits of the ranges and beyond, one quantity at a time.

        Returns
        -------
        dict
            For every name of `OUTSIDE` a list of `SignalErrors.summary` with ``factor`` (of `FACTORS`) and
            ``value`` (SI units). The other quantities are drawn from their ranges, with T2 <= T1. For flip
            angles the largest one that trains are drawn with is raised, which scales them. What cannot be is
            left out: T2 above the longest T1, T1 below the shortest T2, times without room for the RF pulse,
            flip angles above 360 degrees.
        """
        limits, n_pulses = self.recipe.ranges, self.recipe.n_pulses
        result: dict[str, list[dict[str, Any]]] = {name: [] for name in OUTSIDE}
        for name, entries in result.items():
            quantity, _, direction = name.rpartition("_")
            field = "largest_flip_angle" if quantity == "flip_angle" else quantity
            limit = np.atleast_1d(getattr(limits, field))[-1 if direction == "above" else 0]
            for factor in FACTORS:
                value = float(limit * factor if direction == "above" else limit / factor)
                try:
                    ranges = _moved(limits, field, value)
                    replace(self.recipe, ranges=ranges)
                except ValueError:  # which cannot be
                    continue
                cases = self.draws(n_pulses, ranges, inverted=quantity.startswith("inversion"))
                entries.append({"factor": factor, "value": value, **self.errors(cases).summary()})
        return result

    def examples(self) -> list[dict[str, Any]]:
        """Return a few signals with their truth: the counterparts of figures 4 and 5 of Liu et al.

        Returns
        -------
        list of dict
            ``title``, ``flip_angle`` [rad], and ``tissues``: ``name``, ``t1``, ``t2`` [s], ``nrmse`` of the
            signal and of the derivatives, and ``traces``: ``surrogate`` and ``engine``, both (3, n_pulses) in
            the order of `features.OUTPUTS`.
        """
        limits, pulse = self.recipe.ranges, self.recipe.pulse
        rng = np.random.default_rng((self.recipe.seed, 3))
        n_pulses = self.recipe.n_pulses
        largest = limits.largest_flip_angle
        tr = float(np.mean(limits.tr))
        inverted = Sequence(
            sin_squared(n_pulses, largest * np.array([0.25, 0.5, 0.75, 1.0, 0.4])),
            tr,
            tr * float(np.mean(limits.te_over_tr)),
            inversion_time=float(np.mean(limits.inversion_time)),
            pulse=pulse,
        )
        parts = [TRAINS[name](750, rng, largest) for name in ("spline11", "piece_constant5")]
        tr_each = rng.uniform(*limits.tr, 1500)
        te_each = tr_each * rng.uniform(*limits.te_over_tr, 1500)
        varying = Sequence(np.concatenate(parts), tr_each, te_each, pulse=pulse)
        result = []
        for title, sequence in (
            (f"SinSquared5 after an inversion, constant TR and TE, {n_pulses} pulses", inverted),
            ("Spline11, then PieceConstant5, TR and TE drawn for every pulse, 1500 pulses", varying),
        ):
            outputs, truth = self.compare((sequence, Tissue(*times)) for times in TISSUES.values())
            tissues = [
                {
                    "name": name,
                    "t1": t1,
                    "t2": t2,
                    "nrmse": list(SignalErrors.of(own[None], exact[None]).nrmse()),
                    "traces": {"surrogate": own.T, "engine": exact.T},
                }
                for (name, (t1, t2)), own, exact in zip(TISSUES.items(), outputs, truth, strict=True)
            ]
            result.append({"title": title, "flip_angle": sequence.flip_angle, "tissues": tissues})
        return result


def _moved(limits: Ranges, quantity: str, value: float) -> Ranges:
    """Ranges with one quantity fixed at a value, and with the part of the others that goes with it."""
    if quantity == "largest_flip_angle":
        return replace(limits, largest_flip_angle=value)
    if quantity == "t1":
        return replace(limits, t1=(value, value), t2=(limits.t2[0], min(limits.t2[1], value)))
    if quantity == "t2":
        return replace(limits, t1=(max(limits.t1[0], value), limits.t1[1]), t2=(value, value))
    point: dict[str, Any] = {quantity: (value, value)}
    return replace(limits, **point)


def _with(sequence: Sequence, flip_angle: NDArray[np.float64]) -> Sequence:
    return Sequence(
        flip_angle,
        sequence.tr,
        sequence.te,
        inversion_time=sequence.inversion_time,
        inversion_efficiency=sequence.inversion_efficiency,
        pulse=sequence.pulse,
    )
