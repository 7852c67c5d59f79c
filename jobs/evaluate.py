"""``epgbloch evaluate``: errors of a trained network against the engine, as tables, figures and JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from epgbloch import __version__
from epgbloch._cores import available_cores
from epgbloch._files import replacing
from jobs import evaluation_figures
from jobs.console import Console
from surrogate import Dataset, Weights, generate_dataset, read_dataset
from surrogate.evaluation import (
    TEST_SIGNALS,
    EvaluationError,
    Predictor,
    by_condition,
    by_family,
    card_entry,
    error_map,
    evaluate_dataset,
    held_out_rows,
    recipe_of,
    unseen_seed,
)
from surrogate.probes import OUTSIDE, Probes
from surrogate.surrogate import find_weights

RESULT, DATA = "evaluation.json", "test-data.h5"
"""Files in the folder of an evaluation."""
_LONG = ("traces", "flip_angle", "waveform")
"""What `RESULT` leaves out."""
_DEFINITION = (
    "NRMSE: root of the summed squared errors over the root of the summed squared values of the engine, over "
    "all signals and pulses; derivatives by ln T1 and ln T2 together. The paper gives no formula for its own."
)


def run_evaluate(
    path: str | Path, *, data: Path | None, out: Path, threads: int | None, signals: int, console: Console
) -> dict[str, Any]:
    """Evaluate a trained network and write numbers and figures into a folder.

    Parameters
    ----------
    path : str or Path
        File of weights, or the name of a shipped network.
    data : Path or None
        Data set: its signals that were not trained on are the test signals. None: 10,000 others are simulated
        into the folder, and used again by later calls.
    out : Path
        The folder. `RESULT` is written last.
    threads : int or None
        Threads; None: all cores.
    signals : int
        Signals of each kind that are simulated outside of the data set.
    console : Console
        Where to report.

    Returns
    -------
    dict
        Contents of `RESULT`.

    Raises
    ------
    ValueError
        If weights or data set cannot be used, or do not fit.
    OSError
        If a file cannot be read or written.
    """
    weights = find_weights(path)[1]
    recipe = recipe_of(weights)
    trained, training = (card_entry(weights, name) for name in ("trained", "training"))
    n_threads = threads or available_cores()
    dataset = _dataset(weights, data, out, n_threads, console)
    try:
        rows = held_out_rows(weights, dataset)
    except EvaluationError as error:
        raise EvaluationError(f"{path}, {data or out / DATA}: {error}") from error
    out.mkdir(parents=True, exist_ok=True)
    predictor = Predictor(weights, n_threads)
    with console.step(f"Evaluating {rows.size} signals x {dataset.n_pulses} pulses") as progress:
        errors = evaluate_dataset(predictor, dataset, rows, progress)
    probes = Probes(predictor, replace(recipe, seed=unseen_seed(weights)), signals)
    result: dict[str, Any] = {
        "weights": {"layers": weights.size.layers, "units": weights.size.units, "cell": weights.size.cell},
        "parameters": sum(array.size for array in weights.arrays),
        "trained": trained,
        "training": training,
        "start": weights.card.get("start"),
        "recipe": recipe.to_dict(),
        "test": {
            "signals": int(rows.size),
            "pulses": dataset.n_pulses,
            "left_out": dataset.n_signals - int(rows.size),
            "sha256": dataset.sha256,
        },
        "definition": _DEFINITION,
        "versions": {"epgbloch": __version__, "numpy": np.__version__},
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "all": errors.summary(),
        "families": by_family(errors, dataset.family[rows]),
        "conditions": by_condition(errors, dataset, rows),
        "map": error_map(errors, dataset.t1[rows], dataset.t2[rows], weights.ranges),
    }
    for name, text, measure in (
        ("lengths", "longer trains", probes.lengths),
        ("mixtures", "mixed trains", probes.mixtures),
        ("outside", "signals outside the ranges", probes.outside),
        ("examples", "examples", probes.examples),
    ):
        with console.step(f"Simulating {text}"):
            result[name] = measure()
    with console.step("Drawing"):
        for name, draw in evaluation_figures.FIGURES.items():
            with replacing(out / f"{name}.png") as figure:
                draw(figure, result)
    with replacing(out / RESULT) as temporary:
        temporary.write_text(json.dumps(_rounded(result), allow_nan=False) + "\n", encoding="utf-8")
    _report(result, console)
    console.result(f"wrote {out / RESULT}")
    return result


def _dataset(weights: Weights, data: Path | None, out: Path, n_threads: int, console: Console) -> Dataset:
    if data is not None:
        with console.step(f"Reading {data}"):
            return read_dataset(data)
    recipe = recipe_of(weights)
    recipe = replace(recipe, n_signals=TEST_SIGNALS, seed=unseen_seed(weights))
    path = out / DATA
    if not path.exists():
        out.mkdir(parents=True, exist_ok=True)
        with console.step(f"Simulating {recipe.n_signals} signals x {recipe.n_pulses} pulses") as progress:
            generate_dataset(path, recipe, n_threads=n_threads, progress=progress)
    with console.step(f"Reading {path}"):
        return read_dataset(path, recipe)


def _rounded(value: Any) -> Any:
    """The same with five digits, and without arrays."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items() if key not in _LONG}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def _report(result: dict[str, Any], console: Console) -> None:
    """Print the tables."""
    test = result["test"]
    console.result(
        f"{test['signals']} test signals; the other {test['left_out']} of the data set have the seeds of "
        "signals that the network was trained or validated on."
    )
    console.table(
        ("family", "signal", "published", "met", "derivatives", "published", "met"),
        [
            (
                name.title().replace("_", ""),  # as in the paper
                *(
                    text
                    for i in range(2)
                    for text in (
                        f"{100 * entry['nrmse'][i]:.3f} %",
                        f"{100 * entry['published'][i]:.3f} %",
                        "yes" if entry["met"][i] else "no",
                    )
                ),
            )
            for name, entry in result["families"].items()
        ],
        title="NRMSE of the test signals (published: Liu et al. 2021, table 1)",
    )
    console.result(_DEFINITION)
    groups = {
        **{name.replace("_", " "): entry for name, entry in result["conditions"].items()},
        **{f"{entry['pulses']} pulses": entry for entry in result["lengths"]["rows"]},
        "two families": result["mixtures"]["two_parts"],
        "Spline11, PieceConstant5, 1500 pulses": result["mixtures"]["spline11_piece_constant5"],
    }
    console.table(
        ("", "signals", "signal", "derivatives", "median signal", "95 % of signals below"),
        [(name, *_summary(entry)) for name, entry in groups.items()],
        title="NRMSE: test signals by kind, longer and mixed trains",
    )
    console.table(
        ("outside the ranges", "value", "factor", "signal", "derivatives"),
        [
            (
                OUTSIDE[name][0],
                f"{entry['value'] * OUTSIDE[name][2]:.5g} {OUTSIDE[name][1]}",
                f"{entry['factor']:g}",
                _percent(entry["nrmse"][0]),
                _percent(entry["nrmse"][1]),
            )
            for name, entries in result["outside"].items()
            for entry in entries
        ],
        title="NRMSE at the limits (factor 1) and beyond",
    )


def _summary(entry: dict[str, Any]) -> tuple[str, ...]:
    return (
        str(entry["signals"]),
        _percent(entry["nrmse"][0]),
        _percent(entry["nrmse"][1]),
        _percent(entry["median_of_signals"][0]),
        _percent(entry["quantile_95"][0]),
    )


def _percent(value: float) -> str:
    return f"{100 * value:.3g} %"
