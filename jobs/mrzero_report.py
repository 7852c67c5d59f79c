"""The report of an experiment of ``epgbloch mrzero``: one HTML page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from epgbloch import __version__
from jobs.mrzero_experiments import Experiment
from jobs.mrzero_task import scaled_error
from jobs.report_page import Page

if TYPE_CHECKING:
    from jobs.mrzero_run import Outcome

_PAPER_SECONDS = 30.0
"""Forward and backward pass of 48 x 48 voxels with 625 spins each on a V100, by the paper."""


def write_report(folder: Path, experiment: Experiment, size: str, outcomes: Sequence[Outcome]) -> None:
    """Write ``report.html`` with the figures that lie in the folder."""
    page = Page(experiment.title, f"{experiment.about} Size: {size}.")
    page.section("Result")
    page.checks(
        line for outcome in outcomes for line in goal_lines(experiment, outcome, published=size == "full")
    )
    page.table(*_numbers(outcomes))
    page.text(
        f"The paper reports {_PAPER_SECONDS:g} s for one forward and backward pass of 48 x 48 voxels with "
        "625 spins each on an NVIDIA V100. Times here are medians over the iterations, step included. The "
        "error of the twin is its own estimate of what dropped states change of the signal."
    )
    for outcome in outcomes:
        page.section(outcome.task.title)
        caption = "Samples in k-space (units of 1/FOV), flip angles, images; below, error and SAR."
        page.image((folder / f"{outcome.task.name}.png").read_bytes(), outcome.task.title, caption)
        page.checks([outcome.pulseq])
    page.section("Settings")
    page.settings((outcome.task.name, _settings(outcome)) for outcome in outcomes)
    html = page.html(f"epgbloch {__version__}")
    (folder / "report.html").write_text(html, encoding="utf-8")


def goal_lines(experiment: Experiment, outcome: Outcome, *, published: bool) -> list[tuple[bool, str]]:
    """Say whether an outcome reaches its goals, which are those of the published size."""
    if outcome.task.name not in experiment.goals or not published:
        return []
    error, sar = experiment.goals[outcome.task.name]
    lines = []
    for value, largest, what in (
        (outcome.best.image_error, error, "image error"),
        (100 * outcome.best.relative_sar, 100 * sar, "SAR"),
    ):
        if math.isfinite(largest):
            text = f"{outcome.task.title}: {what} {value:.3g} %, at most {largest:g} % wanted"
            lines.append((value <= largest, text))
    return lines


def _numbers(outcomes: Sequence[Outcome]) -> tuple[list[str], list[list[str]]]:
    columns = [
        "",
        "image error [%]",
        "scaled [%]",
        "SAR [%]",
        "iterations",
        "s/iteration",
        "twin's error [%]",
    ]
    rows = []
    for outcome in outcomes:
        first, best = outcome.snapshots[0], outcome.best
        for name, snapshot in ((f"{outcome.task.name}, start", first), (outcome.task.name, best)):
            row = [
                name,
                f"{snapshot.image_error:.3g}",
                f"{scaled_error(snapshot.image, outcome.task.target_image):.3g}",
                f"{100 * snapshot.relative_sar:.3g}",
            ]
            if snapshot is best:
                median = float(np.median(outcome.found.seconds))
                row += [
                    str(len(outcome.found.losses)),
                    f"{median:.3g}",
                    f"{100 * outcome.estimated_error:.2g}",
                ]
            rows.append(row + [""] * (len(columns) - len(row)))
    return columns, rows


def _settings(outcome: Outcome) -> str:
    task = outcome.task
    steps = ", ".join(f"{name} {rate:g}" for name, rate in task.learning_rate.items())
    text = f"{task.matrix} x {task.matrix}; first steps: {steps}; last step {task.decay:g} of the first"
    if task.n_restarts:
        text += f"; {task.n_restarts} restarts"
    text += f"; weight of the relative SAR {task.sar_weight:g}"
    if task.train:
        text += f"; {len(task.train)} samples, {task.batch_size} a step"
    return text
