"""``epgbloch mrzero run``: a published experiment, its figures, sequences and report."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from design.mrzero import ImagingSequence
from design.mrzero.optimiser import Optimised
from jobs.console import Console
from jobs.mrzero_experiments import EXPERIMENTS, Experiment, Size
from jobs.mrzero_figures import Progress, animate_progress, draw_progress
from jobs.mrzero_mapping_run import MAPPING, run_mapping
from jobs.mrzero_report import write_report
from jobs.mrzero_sequence_files import COMMAND, write_sequence
from jobs.mrzero_task import Snapshot, Task, iterations_seen
from jobs.options import at_least
from jobs.outputs import new_folder, resumable_folder, versions

_FRAMES = 40


@dataclass(frozen=True, eq=False)
class Outcome:
    """A task that is done.

    Attributes
    ----------
    task : Task
        The task.
    found : Optimised
        What `optimise` returned.
    snapshots : list of Snapshot
        On the way.
    best : Snapshot
        Of the result.
    sequence : ImagingSequence
        The result.
    estimated_error : float
        Of the twin's signal of it, relative.
    pulseq : tuple of bool and str
        Whether the Pulseq file was written, and what there is to say.
    """

    task: Task
    found: Optimised
    snapshots: list[Snapshot]
    best: Snapshot
    sequence: ImagingSequence
    estimated_error: float
    pulseq: tuple[bool, str]


def run_experiment(
    name: str,
    *,
    out: Path,
    size: str = "full",
    iterations: int | None = None,
    seed: int = 0,
    force: bool,
    console: Console,
) -> None:
    """Run an experiment and write a folder with its figures, animations, sequences, history and report.

    Interrupted or killed, it continues when called again with the same arguments.

    Parameters
    ----------
    name, size : str
        Key of `EXPERIMENTS`, and of its sizes.
    out : Path
        The folder.
    iterations : int, optional
        Steps of each optimisation, instead of those of the size.
    seed : int
        Of the start, of sparse samples and of held-out objects.
    force : bool
        Replace an earlier result.
    console : Console
        Where to tell.

    Raises
    ------
    ValueError
        If a name is unknown, a number out of range, or an optimisation diverges.
    OSError
        If the folder holds anything but an earlier result and `force`, or cannot be written.
    """
    at_least(0, seed=seed)
    if name == MAPPING:
        run_mapping(out=out, size=size, iterations=iterations, seed=seed, force=force, console=console)
        return
    experiment, chosen = _chosen(name, size, iterations)
    identity = {
        "experiment": name,
        "matrix": chosen.matrix,
        "iterations": chosen.n_iterations,
        "seed": seed,
        "versions": versions(),
    }
    with resumable_folder(out, COMMAND, identity, force=force) as parts:
        tasks = experiment.tasks(chosen, seed)
        found = []
        for task in tasks:
            with console.step(task.title) as progress:
                found.append(
                    task.optimise(
                        record_every=max(1, task.n_steps // _FRAMES),
                        checkpoint=parts.folder / f"{task.name}.npz",
                        callback=iterations_seen(progress),
                    )
                )
        with new_folder(out, COMMAND, force=force) as output:
            output.provenance.update(identity)
            outcomes = []
            for task, result in zip(tasks, found, strict=True):
                with console.step(f"Writing: {task.title}"):
                    outcomes.append(_finish(task, result, output.path))
            _write_history(output.path / "history.csv", outcomes)
            write_report(output.path, experiment, size, outcomes)
    _tell(experiment, outcomes, console)
    console.result(f"wrote {out}: report.html, figures, animations, sequences")


def _chosen(name: str, size: str, iterations: int | None) -> tuple[Experiment, Size]:
    if name not in EXPERIMENTS:
        raise ValueError(f"experiment {name!r} must be one of {', '.join([*EXPERIMENTS, MAPPING])}")
    experiment = EXPERIMENTS[name]
    if size not in experiment.sizes:
        raise ValueError(f"--size {size!r} must be one of {', '.join(experiment.sizes)}")
    at_least(1, iterations=iterations)
    chosen = experiment.sizes[size]
    return experiment, chosen if iterations is None else Size(chosen.matrix, iterations)


def _finish(task: Task, found: Optimised, folder: Path) -> Outcome:
    """Simulate what was recorded, and write figure, animation and sequence."""
    snapshots = []
    for i, iteration in enumerate(found.recorded_iterations):
        values = {name: record[i] for name, record in found.recorded.items()}
        snapshots.append(task.snapshot(values, int(iteration)))
    best = task.snapshot(found.values, len(found.losses))
    snapshots.append(best)
    sequence = task.sequence(found.values)
    progress = Progress(task.title, task.matrix, task.target.flip_angle, task.target_image, snapshots)
    draw_progress(folder / f"{task.name}.png", progress)
    animate_progress(folder / f"{task.name}.gif", progress)
    images = {"image": best.image, "target_image": task.target_image}
    pulseq = write_sequence(folder, task.name, sequence, task.twin, images)
    error = task.twin.plan(sequence).graph.estimated_error
    return Outcome(task, found, snapshots, best, sequence, error, pulseq)


def _write_history(path: Path, outcomes: Sequence[Outcome]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        names = list(outcomes[0].found.metrics)
        writer.writerow(["task", "iteration", "loss", *names, "seconds"])
        for outcome in outcomes:
            found = outcome.found
            columns: list[Any] = [found.losses, *(found.metrics[name] for name in names), found.seconds]
            for i, row in enumerate(zip(*columns, strict=True)):
                writer.writerow([outcome.task.name, i, *(f"{value:.6g}" for value in row)])


def _tell(experiment: Experiment, outcomes: Sequence[Outcome], console: Console) -> None:
    rows = []
    for outcome in outcomes:
        median = float(np.median(outcome.found.seconds))
        rows.append(
            (
                outcome.task.name,
                f"{outcome.best.image_error:.3g}",
                f"{100 * outcome.best.relative_sar:.3g}",
                str(len(outcome.found.losses)),
                f"{median:.3g}",
            )
        )
    columns = ("task", "image error [%]", "SAR [%]", "iterations", "s/iteration")
    console.table(columns, rows, title=experiment.title)
