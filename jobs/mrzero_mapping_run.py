"""``epgbloch mrzero run fig7``: T1 mapping, its figure and report."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np

from epgbloch import __version__
from jobs.console import Console
from jobs.figures import new_figure
from jobs.mrzero_figures import save_animation
from jobs.mrzero_sequence_files import COMMAND, write_sequence
from jobs.mrzero_t1 import SIZES, HeldOut, Mapping, MappingOutcome
from jobs.options import at_least
from jobs.outputs import new_folder, resumable_folder, versions
from jobs.report_page import Page

MAPPING = "fig7"
_GOAL = 5.0  # mean error of T1 on held-out brains [%]
_FRAMES = 30
_TIMES = ("inversion_time", "recovery_time")


def run_mapping(
    *, out: Path, size: str, iterations: int | None, seed: int, force: bool, console: Console
) -> None:
    """Run the experiment of figure 7; `iterations` are the steps of the sequence in each of its rounds."""
    if size not in SIZES:
        raise ValueError(f"--size {size!r} must be one of {', '.join(SIZES)}")
    at_least(1, iterations=iterations)
    chosen = SIZES[size]
    if iterations is not None:
        chosen = replace(chosen, n_sequence=iterations)
    identity = {"experiment": MAPPING, "size": repr(chosen), "seed": seed, "versions": versions()}
    with resumable_folder(out, COMMAND, identity, force=force) as parts:
        mapping = Mapping(chosen, seed)
        outcome = mapping.run(parts.folder, console)
        with new_folder(out, COMMAND, force=force) as output, console.step("Writing"):
            output.provenance.update(identity)
            _draw(output.path / "mapping.png", outcome)
            _animate(output.path / "mapping.gif", outcome)
            maps = {"t1": outcome.after[0].truth, "t1_found": outcome.after[0].found}
            pulseq = write_sequence(output.path, "mapping", outcome.sequence, mapping.twin, maps)
            mapping.network.save_weights(output.path / "network.weights.h5")
            _write_history(output.path / "history.csv", outcome)
            error = mapping.twin.plan(outcome.sequence).graph.estimated_error
            _write_report(output.path, outcome, size, pulseq, error)
    before, after = (_mean(found) for found in (outcome.before, outcome.after))
    console.result(f"T1 of held-out brains: mean error {before:.3g} % at first, {after:.3g} % learned")
    console.result(f"wrote {out}: report.html, figure, animation, sequence, network")


def _mean(found: list[HeldOut]) -> float:
    return float(np.mean([one.mean for one in found]))


def _draw(path: Path, outcome: MappingOutcome) -> None:
    figure = new_figure(11, 6.5)
    panels = figure.subplots(2, 3)
    values = outcome.joint.values
    panels[0, 0].bar(np.arange(values[_TIMES[0]].size) - 0.2, values[_TIMES[0]], 0.4, label="TI [s]")
    panels[0, 0].bar(np.arange(values[_TIMES[0]].size) + 0.2, values[_TIMES[1]], 0.4, label="recovery [s]")
    panels[0, 0].set_title("learned times", fontsize=9)
    panels[0, 0].legend(fontsize=7, frameon=False)
    panels[0, 1].semilogy(np.concatenate([outcome.first.losses, outcome.joint.losses]), linewidth=0.8)
    panels[0, 1].axvline(outcome.first.losses.size, color="0.6", linestyle=":")
    panels[0, 1].set_title("mean squared relative error of T1", fontsize=9)
    truth = outcome.after[0].truth
    shown = [(truth, "T1 of a held-out brain [s]")]
    for found, when in ((outcome.before[0], "first sequence"), (outcome.after[0], "learned")):
        shown.append((found.found, f"{when}: mean error {found.mean:.3g} %"))
    relative = np.divide(outcome.after[0].found, truth, out=np.ones_like(truth), where=truth > 0) - 1
    for axes, (image, title) in zip(panels.flat[2:5], shown, strict=True):
        drawn = axes.imshow(image, cmap="viridis", vmin=0, vmax=4.5, origin="lower")
        axes.set_title(title, fontsize=9)
        axes.set_axis_off()
        figure.colorbar(drawn, ax=axes, shrink=0.8)
    drawn = panels[1, 2].imshow(100 * relative, cmap="RdBu", vmin=-20, vmax=20, origin="lower")
    panels[1, 2].set_title("error, learned [%]", fontsize=9)
    panels[1, 2].set_axis_off()
    figure.colorbar(drawn, ax=panels[1, 2], shrink=0.8)
    figure.savefig(path, format="png", dpi=110)


def _animate(path: Path, outcome: MappingOutcome) -> None:
    recorded, joint = outcome.joint.recorded, outcome.joint
    frames = np.unique(np.linspace(0, len(joint.recorded_iterations) - 1, _FRAMES).astype(int))
    largest = max(float(recorded[name].max()) for name in _TIMES) or 1.0
    figure = new_figure(7, 3)
    left, right = figure.subplots(1, 2)

    def draw(i: int) -> None:
        left.clear()
        right.clear()
        iteration = int(joint.recorded_iterations[frames[i]])
        for offset, name in zip((-0.2, 0.2), _TIMES, strict=True):
            times = recorded[name][frames[i]]
            left.bar(np.arange(times.size) + offset, times, 0.4, label=name.replace("_", " "))
        left.set_ylim(0, 1.05 * largest)
        left.set_title(f"times [s], iteration {iteration}", fontsize=9)
        left.legend(fontsize=7, frameon=False, loc="upper right")
        right.semilogy(joint.losses, linewidth=0.8)
        right.plot(iteration, joint.losses[iteration], "o", color="#c8553d", markersize=4)
        right.set_title("mean squared relative error of T1", fontsize=9)

    save_animation(path, figure, draw, frames.size)


def _write_history(path: Path, outcome: MappingOutcome) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["part", "iteration", "loss", "seconds"])
        for part, found in (("network", outcome.first), ("joint", outcome.joint)):
            for i, (loss, seconds) in enumerate(zip(found.losses, found.seconds, strict=True)):
                writer.writerow([part, i, f"{loss:.6g}", f"{seconds:.6g}"])


def _write_report(
    folder: Path, outcome: MappingOutcome, size: str, pulseq: tuple[bool, str], twin_error: float
) -> None:
    page = Page(
        "Figure 7: T1 mapping, learned with its network",
        "Inversion and recovery times of inversion-prepared gradient echoes (TR 15 ms, TE 8 ms, 5°) "
        f"begin at 0 and are learned with a network of pixels. Size: {size}.",
    )
    page.section("Result")
    after = _mean(outcome.after)
    text = f"Mean error of T1 of held-out brains: {after:.3g} %, at most {_GOAL:g} % wanted"
    page.checks(([(after <= _GOAL, text)] if size == "full" else []) + [pulseq])
    rows = []
    for when, found in (("first sequence", outcome.before), ("learned", outcome.after)):
        for i, one in enumerate(found):
            rows.append((f"{when}, brain {i + 1}", f"{one.mean:.3g}", f"{one.median:.3g}"))
    page.table(("", "mean error of T1 [%]", "median [%]"), rows)
    slow = np.sort(outcome.joint.seconds)[-max(1, outcome.joint.seconds.size // 100) :]
    page.table(
        (
            "iterations",
            "median [s]",
            "slowest 1 % [s]",
            "duration of the sequence [s]",
            "twin's error",
        ),
        [
            (
                str(outcome.joint.losses.size),
                f"{np.median(outcome.joint.seconds):.3g}",
                f"{np.median(slow):.3g}",
                f"{outcome.sequence.duration:.4g}",
                f"{twin_error:.2g}",
            )
        ],
    )
    page.image((folder / "mapping.png").read_bytes(), "T1 mapping", "Times, losses and maps.")
    page.section("Model")
    page.text((Mapping.__doc__ or "").split("Parameters")[0])
    html = page.html(f"epgbloch {__version__}")
    (folder / "report.html").write_text(html, encoding="utf-8")
