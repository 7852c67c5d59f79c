"""Figures of ``epgbloch evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jobs.figures import new_figure, plain_log_ticks
from surrogate.evaluation import trainings
from surrogate.probes import OUTSIDE

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_map(path: Path, result: dict[str, Any]) -> None:
    """Draw the NRMSE against T1 and T2."""
    figure = new_figure(10, 4.2)
    part = result["map"]
    edges = [1e3 * np.array(part[name]) for name in ("t2_edges", "t1_edges")]
    for axes, name, title in zip(
        figure.subplots(1, 2, sharey=True), ("signal", "derivative"), ("signal", "derivatives"), strict=True
    ):
        values = 100 * np.array(part[name], float)  # None becomes not a number
        mesh = axes.pcolormesh(*edges, np.ma.masked_invalid(values), cmap="viridis")
        figure.colorbar(mesh, ax=axes, label="NRMSE [%]")
        axes.set(xscale="log", yscale="log", xlabel="T2 [ms]", title=f"Held-out signals: {title}")
        if name == "signal":
            axes.set_ylabel("T1 [ms]")
    figure.savefig(path, format="png", dpi=110)


def draw_lengths(path: Path, result: dict[str, Any]) -> None:
    """Draw the error along the longest trains."""
    figure = new_figure(8, 4)
    axes: Axes = figure.subplots()
    drift = result["lengths"]["drift"]
    axes.semilogy(drift["pulse"], drift["signal"], color="0.6", label="signal")
    axes.semilogy(drift["pulse"], drift["error"], color="C0", label="error of the surrogate")
    stages = [stage for each in trainings(result) for stage in each["training"]["stages"]]
    trained = max(stage["pulses"] for stage in stages)
    axes.axvline(trained, color="0.3", linestyle=":", label=f"end of the training windows ({trained} pulses)")
    axes.set(xlabel="pulse", ylabel="root mean square", title="Trains longer than trained on")
    _plain(axes)
    axes.legend(frameon=False)
    figure.savefig(path, format="png", dpi=110)


def draw_outside(path: Path, result: dict[str, Any]) -> None:
    """Draw the growth of the error outside the ranges."""
    figure = new_figure(11.5, 4.2)
    for i, (axes, title) in enumerate(
        zip(figure.subplots(1, 2, sharey=True), ("signals", "derivatives"), strict=True)
    ):
        for i_quantity, (name, entries) in enumerate(result["outside"].items()):
            axes.semilogy(
                [entry["factor"] for entry in entries],
                [100 * entry["nrmse"][i] for entry in entries],
                color=f"C{i_quantity}" if i_quantity < 10 else ("black", "0.5")[i_quantity - 10],
                marker="." if name.endswith("above") else "x",
                linestyle="-" if name.endswith("above") else "--",
                label=OUTSIDE[name][0],
            )
        axes.set(xlabel="factor beyond the limit of the range", title=f"Outside the ranges: {title}")
        _plain(axes)
        plain_log_ticks(axes.yaxis)
        if i == 0:
            axes.set_ylabel("NRMSE [%]")
        else:
            axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(path, format="png", dpi=110)


def draw_examples(path: Path, result: dict[str, Any]) -> None:
    """Draw a few signals and derivatives of the surrogate on those of the engine."""
    examples = result["examples"]
    figure = new_figure(6.5 * len(examples), 9)
    grid = figure.subplots(5, len(examples), squeeze=False, sharex="col")
    for column, example in zip(grid.T, examples, strict=True):
        column[0].plot(np.rad2deg(example["flip_angle"]), color="0.3", linewidth=0.9)
        column[0].set(ylabel="flip angle [deg]", title=example["title"])
        column[0].title.set_fontsize(9)
        for i, label in enumerate(("signal", "d signal / d ln T1", "d signal / d ln T2")):
            for color, tissue in zip(("C0", "C1", "C2"), example["tissues"], strict=True):
                name = f"{tissue['name']}: {1e3 * tissue['t1']:g}/{1e3 * tissue['t2']:g} ms"
                column[i + 1].plot(
                    tissue["traces"]["engine"][i], color=color, linewidth=2.2, alpha=0.4, label=name
                )
                column[i + 1].plot(
                    tissue["traces"]["surrogate"][i], color="black", linewidth=0.6, linestyle="--"
                )
            column[i + 1].set_ylabel(label)
        for color, tissue in zip(("C0", "C1", "C2"), example["tissues"], strict=True):
            error = tissue["traces"]["surrogate"][0] - tissue["traces"]["engine"][0]
            column[4].plot(error, color=color, linewidth=0.8)
        column[4].set(ylabel="error of the signal", xlabel="pulse")
        for axes in column:
            _plain(axes)
    lines = grid[1, 0].get_lines()[::2]
    figure.legend(
        lines,
        [f"{line.get_label()} (T1/T2)" for line in lines],
        title="engine; dashes: surrogate",
        loc="outside lower center",
        ncols=3,
        frameon=False,
    )
    figure.savefig(path, format="png", dpi=75)


FIGURES = {"map": draw_map, "lengths": draw_lengths, "outside": draw_outside, "examples": draw_examples}
"""Figures by name: function(path, result)."""


def _plain(axes: Axes) -> None:
    axes.grid(alpha=0.3, which="both")
    axes.spines[["top", "right"]].set_visible(False)
