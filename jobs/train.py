"""``epgbloch train``: a network from its training file, with the data set that it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from epgbloch._cores import available_cores
from epgbloch._files import replacing
from jobs.console import Console
from jobs.figures import new_figure
from jobs.training_file import TrainingFile, load_training_file
from surrogate import Dataset, generate_dataset, read_dataset, write_weights
from surrogate.training import Report, train

CHECKPOINT, WEIGHTS, FIGURE = "checkpoint.npz", "weights.npz", "loss.png"
"""Files in the folder of a training."""


def run_train(path: Path, *, out: Path, threads: int | None, console: Console) -> dict[str, Any]:
    """Make the data set of a training file if there is none, and train its network.

    The folder holds the checkpoint, from which a later call continues, the loss curve, and in the end the
    weights with their card.

    Returns
    -------
    dict
        The card of the weights.

    Raises
    ------
    ValueError
        If the training file, the data set or the checkpoint cannot be used.
    OSError
        If a file cannot be read or written.
    """
    file = load_training_file(path)
    n_threads = threads or available_cores()
    dataset = _dataset(file, n_threads, console)
    out.mkdir(parents=True, exist_ok=True)
    n_told = 0

    with console.step(
        f"Training {file.size.layers} layers of {file.size.units} ({file.size.cell}) on "
        f"{file.settings.training_signals} signals"
    ) as progress:

        def report(state: Report) -> None:
            nonlocal n_told
            progress(state.done, state.total)
            for entry in state.history[n_told:]:
                console.info(_line(entry, state))
            n_told = len(state.history)
            if state.is_saved and state.history:
                with replacing(out / FIGURE) as figure:
                    draw_history(figure, state.history)

        weights = train(
            dataset,
            file.size,
            file.settings,
            out / CHECKPOINT,
            start=file.start,
            n_threads=n_threads,
            checkpoint_seconds=file.checkpoint_seconds,
            report=report,
        )
    write_weights(out / WEIGHTS, weights)
    trained, best = weights.card["trained"], weights.card["validation"]
    if trained["ended"] == "diverged":
        console.notice(
            f"the training diverged {trained['setbacks']} times and ended with its best weights; to train "
            "longer, lower learning_rate or clip_norm and choose a new folder"
        )
    console.table(
        ("network", "parameters", "signal NRMSE", "derivative NRMSE", "time"),
        [
            (
                f"{file.size.layers} x {file.size.units} {file.size.cell}",
                f"{sum(array.size for array in weights.arrays)}",
                f"{100 * best['signal_nrmse']:.3g} %",
                f"{100 * best['derivative_nrmse']:.3g} %",
                f"{trained['seconds'] / 60:.1f} min",
            )
        ],
        title="Validation signals, full length",
    )
    console.result(f"wrote {out / WEIGHTS}")
    return weights.card


def _dataset(file: TrainingFile, n_threads: int, console: Console) -> Dataset:
    if not file.data.exists():
        recipe = file.recipe
        with console.step(f"Simulating {recipe.n_signals} signals x {recipe.n_pulses} pulses") as progress:
            generate_dataset(file.data, recipe, n_threads=n_threads, progress=progress)
    with console.step(f"Reading {file.data}"):
        return read_dataset(file.data, file.recipe)


def _line(entry: dict[str, Any], state: Report) -> str:
    before = [e["setbacks"] for e in state.history if e["pulses"] < entry["pulses"]]
    diverged = entry["setbacks"] > (before[-1] if before else 0)
    loss = "none" if entry["loss"] is None else f"{entry['loss']:.5f}"
    remaining = entry["seconds"] * (state.total / entry["pulses"] - 1) / 60
    return (
        f"{100 * entry['pulses'] / state.total:5.1f} %  stage {entry['stage']}, epoch {entry['epoch']}, "
        f"{entry['window']} pulses: loss {loss}; validation {entry['validation_loss']:.5f}, "
        f"signals {100 * entry['signal_nrmse']:.3g} %, derivatives {100 * entry['derivative_nrmse']:.3g} %; "
        f"about {remaining:.0f} min left" + "; diverged, back to the best weights" * diverged
    )


def draw_history(path: Path, history: list[dict[str, Any]]) -> None:
    """Draw losses and errors against the work done into a PNG file."""
    figure = new_figure(8, 6)
    loss, error = figure.subplots(2, 1, sharex=True)
    pulses = [entry["pulses"] for entry in history]
    for axes, lines in (
        (loss, {"loss": "training, windows", "validation_loss": "validation, full length"}),
        (error, {"signal_nrmse": "signal", "derivative_nrmse": "derivatives"}),
    ):
        for key, label in lines.items():
            values = np.array([entry[key] for entry in history], float)  # None becomes not a number
            axes.semilogy(pulses, values, marker=".", linewidth=1.2, label=label)
        axes.grid(alpha=0.3, which="both")
        axes.legend(frameon=False, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    loss.set_ylabel("weighted mean absolute error")
    error.set_ylabel("NRMSE, validation signals")
    error.set_xlabel("simulated pulses trained on")
    figure.savefig(path, format="png", dpi=150)
