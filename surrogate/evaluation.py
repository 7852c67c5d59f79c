"""Errors of a trained network on signals that it was not trained on."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from epgbloch import EPGBloch, RFPulse
from surrogate.batches import batch_of
from surrogate.dataset import Dataset, Recipe, comparable
from surrogate.errors import SignalErrors
from surrogate.inference import Inference
from surrogate.sampling import FAMILIES, Ranges, seed_key
from surrogate.weights import Weights

Float32 = NDArray[np.float32]
PUBLISHED = {
    "spline5": (0.00418, 0.00801),
    "spline11": (0.00574, 0.01008),
    "sin_squared5": (0.00780, 0.01694),
    "spline_noise11": (0.01285, 0.02037),
    "piece_constant5": (0.05155, 0.03913),
}
"""NRMSE of signals and derivatives by family: table 1 of Liu et al. (NMR Biomed 2021, e4527).

The paper gives no formula. Of the customary ones, `SignalErrors.nrmse` is compared with it; the others of
`SignalErrors.summary` stand beside it.
"""
TEST_SIGNALS = 10_000
"""Signals of a data set for tests alone, as many as the paper has."""
_BATCH = 100
"""Signals that are computed at a time."""


class EvaluationError(ValueError):
    """An evaluation that cannot be done; the message says why and what to do."""


class Predictor:
    """Outputs of a trained network: by the kernels for GRU cells, by Keras for others.

    Parameters
    ----------
    weights : Weights
        The network.
    n_threads : int
        Threads of the kernels.
    """

    def __init__(self, weights: Weights, n_threads: int = 1) -> None:
        self.weights = weights
        self.n_threads = n_threads
        if weights.size.cell == "gru":
            inference = Inference(weights)
            self._outputs = lambda pulses, initial: inference.outputs_on(n_threads, pulses, initial)
        else:
            self._outputs = _by_keras(weights)

    def outputs(self, pulses: Float32, initial: Float32) -> Float32:
        """Return the outputs (n_signals, n_pulses, 3) for inputs as in `batches.Batch`."""
        return self._outputs(pulses, initial)


def _by_keras(weights: Weights) -> Callable[[Float32, Float32], Float32]:
    from surrogate.network import network_of

    network = network_of(weights)
    return lambda pulses, initial: network.predict_on_batch({"pulses": pulses, "initial": initial})


def card_entry(weights: Weights, *path: str) -> Any:
    """Return what the card of some weights holds under a path of keys.

    Raises
    ------
    EvaluationError
        If it holds nothing there.
    """
    entry: Any = weights.card
    for key in path:
        if not isinstance(entry, dict) or key not in entry:
            raise EvaluationError(
                f"the card of the weights has no {'.'.join(path)}; evaluate weights that epgbloch train wrote"
            )
        entry = entry[key]
    return entry


def recipe_of(weights: Weights) -> Recipe:
    """Return the recipe of the data that a network was trained on.

    Raises
    ------
    EvaluationError
        If the card has no recipe, or its RF pulse is not the one of its fingerprint.
    """
    values = card_entry(weights, "data", "recipe")
    model = {name: value for name, value in values["model"].items() if name != "model"}
    pulse = dict(values["pulse"])
    fingerprint = pulse.pop("fingerprint")
    # the first cards have no waveform: it was the default one
    recipe = Recipe(
        values["n_signals"],
        values["n_pulses"],
        values["seed"],
        Ranges(**values["ranges"]),
        RFPulse(**pulse) if "waveform" in pulse else Recipe().pulse,
        EPGBloch(**model),
    )
    if recipe.pulse.fingerprint() != fingerprint:
        raise EvaluationError(
            f"the card of the weights does not hold their RF pulse of fingerprint {fingerprint[:12]}; "
            "evaluate weights that epgbloch train wrote"
        )
    return recipe


def trainings(card: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the entries of a card, or of a record of `epgbloch evaluate`, by training, the first first."""
    found = [card]
    while found[-1].get("start"):
        found.append(found[-1]["start"])
    return found[::-1]


def trained_signals(weights: Weights) -> dict[int, int]:
    """Return how many signals a network has seen of each data set, by the seed of the set.

    The trainings that it was started from count too. Where one of them does not tell its data, they were
    those of the next training.

    Raises
    ------
    EvaluationError
        If the card does not tell the last training and its data.
    """
    parts = ("training_signals", "validation_signals")
    for part in parts:
        card_entry(weights, "training", part)
    if not all(card.get("training") for card in trainings(weights.card)):
        raise EvaluationError(
            "the card of the weights does not tell how the weights were trained that they were started from; "
            "evaluate weights that epgbloch train wrote"
        )
    seen: dict[int, int] = {}
    seed = card_entry(weights, "data", "recipe", "seed")
    for card in reversed(trainings(weights.card)):
        seed = card["data"]["recipe"]["seed"] if card.get("data") else seed
        seen[seed] = max(seen.get(seed, 0), sum(card["training"][part] for part in parts))
    return seen


def unseen_seed(weights: Weights) -> int:
    """Return the seed of a data set of which a network has seen nothing."""
    return max(trained_signals(weights)) + 1


def trained_keys(weights: Weights) -> NDArray[np.uint64]:
    """Return the seed keys of all signals that a network was trained or validated on, shape (n, 2)."""
    seen = trained_signals(weights)
    return np.stack([seed_key(seed, index) for seed, n_used in seen.items() for index in range(n_used)])


def held_out_rows(weights: Weights, dataset: Dataset) -> NDArray[np.intp]:
    """Return the signals of a data set that a network was neither trained nor validated on.

    Parameters
    ----------
    weights : Weights
        The network.
    dataset : Dataset
        The data set that it was trained on, or another one of the same ranges, RF pulse and engine.

    Returns
    -------
    ndarray, shape (n_rows,), intp
        Rows whose seeds are none of `trained_keys`.

    Raises
    ------
    EvaluationError
        If the data set is of other ranges, another RF pulse or engine, or a family has no signal left.
    """
    own = comparable(card_entry(weights, "data", "recipe"))
    other = comparable(json.loads(json.dumps(dataset.recipe)))
    for name in ("ranges", "pulse", "model"):
        if own[name] != other[name]:
            raise EvaluationError(
                f"the weights were trained on signals with {name}={own[name]}, and those of the data set "
                f"have {other[name]}; give another data set, or none to have one simulated"
            )
    # rows of two numbers, compared as one
    keys, trained = (
        np.ascontiguousarray(values).view([("a", np.uint64), ("b", np.uint64)])[:, 0]
        for values in (dataset.seed_key, trained_keys(weights))
    )
    rows = np.flatnonzero(~np.isin(keys, trained))
    counts = np.bincount(dataset.family[rows], minlength=len(FAMILIES))
    if not counts.all():
        raise EvaluationError(
            f"{rows.size} of {dataset.n_signals} signals of the data set were not trained on, and none of "
            f"them is of family {FAMILIES[int(np.argmin(counts))]}; give a larger data set, or none to have "
            "one simulated"
        )
    return rows


def evaluate_dataset(
    predictor: Predictor,
    dataset: Dataset,
    rows: NDArray[np.intp],
    progress: Callable[[int, int], None] | None = None,
) -> SignalErrors:
    """Return the errors of some signals of a data set, in the order of `rows`, in full length."""
    parts = []
    for start in range(0, rows.size, _BATCH):
        batch = batch_of(dataset, rows[start : start + _BATCH], dataset.n_pulses)
        parts.append(SignalErrors.of(predictor.outputs(batch.pulses, batch.initial), batch.targets))
        if progress is not None:
            progress(min(start + _BATCH, rows.size), rows.size)
    return SignalErrors.joined(parts)


def by_family(errors: SignalErrors, family: NDArray[np.uint8]) -> dict[str, dict[str, Any]]:
    """Return `SignalErrors.summary` of every family of trains, with what is published beside it."""
    result = {}
    for i_family, name in enumerate(FAMILIES):
        entry = errors[family == i_family].summary()
        met = [own <= other for own, other in zip(entry["nrmse"], PUBLISHED[name], strict=True)]
        result[name] = entry | {"published": list(PUBLISHED[name]), "met": met}
    return result


def by_condition(errors: SignalErrors, dataset: Dataset, rows: NDArray[np.intp]) -> dict[str, dict[str, Any]]:
    """Return `SignalErrors.summary` for constant and varying TR and TE, with and without inversion."""
    constant = np.ptp(dataset.tr[rows], axis=1) == 0
    inverted = np.isfinite(dataset.inversion_time[rows])
    selections = {
        "constant_times": constant,
        "varying_times": ~constant,
        "inversion": inverted,
        "no_inversion": ~inverted,
    }
    return {name: errors[chosen].summary() for name, chosen in selections.items() if chosen.any()}


def error_map(
    errors: SignalErrors, t1: Float32, t2: Float32, ranges: Ranges, n_bins: int = 12
) -> dict[str, Any]:
    """Return the error against T1 and T2.

    Returns
    -------
    dict
        ``t1_edges``, ``t2_edges``: edges of the bins [s], n_bins + 1 each, even in the logarithm (one bin
        around a range that is a point);
        ``counts``: signals in each bin, [i_t1][i_t2]; ``signal``, ``derivative``: NRMSE of the signals of
        each bin, None where there are none.
    """
    edges = [
        np.geomspace(low, high, n_bins + 1) if low < high else np.array([low / 1.1, high * 1.1])
        for low, high in (ranges.t1, ranges.t2)
    ]
    places = [
        np.clip(np.searchsorted(own, values, side="right") - 1, 0, own.size - 2)
        for own, values in zip(edges, (t1, t2), strict=True)
    ]
    n_t1, n_t2 = (own.size - 1 for own in edges)
    counts = np.zeros((n_t1, n_t2), int)
    maps: list[list[list[float | None]]] = [[[None] * n_t2 for _ in range(n_t1)] for _ in range(2)]
    for i_t1, i_t2 in {*zip(*(place.tolist() for place in places), strict=True)}:
        chosen = (places[0] == i_t1) & (places[1] == i_t2)
        counts[i_t1, i_t2] = chosen.sum()
        for values, value in zip(maps, errors[chosen].nrmse(), strict=True):
            values[i_t1][i_t2] = value
    return {
        "t1_edges": edges[0].tolist(),
        "t2_edges": edges[1].tolist(),
        "counts": counts.tolist(),
        "signal": maps[0],
        "derivative": maps[1],
    }
