"""Figures of designs: trains, signals, bounds, convergence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from design import Criterion, MonteCarlo
from epgbloch import Sequence, SignalModel
from jobs.design_record import Evaluation, deviations, quantities, tissue_names
from jobs.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#8b95a1", "#2f6fb0", "#c8553d", "#3a8f5c", "#8a5fb0", "#b8862b")
"""Of the sequences; the first one is the start."""
_MOST_TISSUES = 4
_LARGEST_HEIGHT = 9.0
_FIELDS = (
    ("flip_angle", "flip angle [degrees]", np.rad2deg),
    ("rf_phase", "RF phase [degrees]", np.rad2deg),
    ("tr", "TR [ms]", lambda seconds: 1e3 * seconds),
    ("te", "TE [ms]", lambda seconds: 1e3 * seconds),
)


def draw_trains(path: Path, sequences: dict[str, Sequence]) -> None:
    """Draw flip angles, and whatever else differs between pulses or sequences, of named sequences."""
    shown = [
        (field, label, unit)
        for field, label, unit in _FIELDS
        if field == "flip_angle" or _varies([getattr(s, field) for s in sequences.values()])
    ]
    figure = new_figure(8, 0.8 + 2.2 * len(shown))
    panels = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (field, label, unit) in zip(panels, shown, strict=True):
        for (name, sequence), colour in zip(sequences.items(), _colours(len(sequences)), strict=True):
            axes.plot(unit(getattr(sequence, field)), color=colour, linewidth=1.6, label=name)
        axes.set_ylabel(label)
        _plain(axes)
    panels[0].set_ylim(bottom=0)
    _legend(figure, panels[0])
    panels[-1].set_xlabel("pulse")
    _save(figure, path)


def draw_signals(
    path: Path, sequences: dict[str, Sequence], model: SignalModel, criterion: Criterion
) -> None:
    """Draw the signals of the first tissues, a panel each."""
    n = min(_MOST_TISSUES, criterion.tissue.n_atoms)
    signals = [model.signal(sequence, criterion.tissue[:n]) for sequence in sequences.values()]
    complex_valued = any(np.any(signal.imag) for signal in signals)
    figure = new_figure(8, 0.8 + 1.9 * n)
    panels = figure.subplots(n, 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for i, (axes, tissue) in enumerate(zip(panels, tissue_names(criterion)[:n], strict=True)):
        for name, signal, colour in zip(sequences, signals, _colours(len(sequences)), strict=True):
            values = np.abs(signal[i]) if complex_valued else signal[i].real
            axes.plot(values, color=colour, linewidth=1.4, label=name)
        axes.axhline(0, color="0.8", linewidth=0.8, zorder=0)
        axes.set_ylabel("|signal| / M0" if complex_valued else "signal / M0")
        axes.set_title(f"T1/T2 {tissue} ms", fontsize=9, loc="right")
        _plain(axes)
    _legend(figure, panels[0])
    panels[-1].set_xlabel("pulse")
    _save(figure, path)


def draw_bounds(
    path: Path,
    evaluations: dict[str, Evaluation],
    criterion: Criterion,
    snr: float,
    trials: MonteCarlo | None = None,
) -> None:
    """Draw standard deviations at the bound, a panel for each parameter; dots are those of `trials`.

    `trials` belong to the last of the evaluations.
    """
    what = quantities(criterion)
    names = tissue_names(criterion)
    # no longer than a page: labels of many tissues become small
    figure = new_figure(8, min(1.2 + 0.32 * len(names) * max(len(evaluations), 2), _LARGEST_HEIGHT))
    size = min(10.0, 60 * (_LARGEST_HEIGHT - 1.2) / len(names))
    panels = figure.subplots(1, len(what), sharey=True, squeeze=False)[0]
    height = 0.8 / len(evaluations)
    rows = np.arange(len(names))
    for k, (axes, (name, unit, _)) in enumerate(zip(panels, what, strict=True)):
        for j, (label, evaluation) in enumerate(evaluations.items()):
            values = deviations(criterion, evaluation.bounds, snr)[:, k]
            place = rows + (j - (len(evaluations) - 1) / 2) * height
            axes.barh(
                place,
                np.where(np.isfinite(values), values, 0),
                0.9 * height,
                color=_colours(len(evaluations))[j],
                label=label,
            )
        found = _matched(criterion, trials, k)
        if found is not None:
            axes.plot(found, place, "o", color="black", markersize=4, label="matched with noise")
        axes.set_xlabel(f"standard deviation of {name} [{unit}], SNR {snr:g}")
        axes.set_yticks(rows, names, fontsize=size)
        axes.tick_params(axis="y", length=0)
        _plain(axes)
    panels[0].invert_yaxis()
    panels[0].set_ylabel("T1/T2 [ms]")
    _legend(figure, panels[0])
    _save(figure, path)


def _matched(criterion: Criterion, trials: MonteCarlo | None, k: int) -> NDArray[np.float64] | None:
    """Standard deviations of matched signals in the unit of parameter k."""
    name = criterion.parameters[k]
    plain = name.removeprefix("ln_")
    if trials is None or plain not in trials.parameters:
        return None
    deviation = trials.standard_deviation[:, trials.parameters.index(plain)]
    if name == plain:
        deviation = deviation * getattr(criterion.tissue, plain)
    return deviation * quantities(criterion)[k][2]


def draw_convergence(path: Path, history: NDArray[np.float64], switch: int | None) -> None:
    """Draw the best value against the signals evaluated; `switch` is where polishing began."""
    figure = new_figure(8, 3.2)
    axes = figure.subplots()
    finite = np.isfinite(history[:, 1])
    axes.step(history[finite, 0], history[finite, 1], where="post", color=COLOURS[1], linewidth=1.6)
    if switch is not None:
        axes.axvline(switch, color="0.6", linewidth=1, linestyle=":")
        axes.annotate(" polished", (switch, 0.95), xycoords=("data", "axes fraction"), fontsize=9, va="top")
    axes.annotate(
        f"{history[-1, 1]:.4g}", history[-1], (4, 8), textcoords="offset points", fontsize=9, ha="right"
    )
    axes.set_xlabel("signals evaluated, with derivatives")
    axes.set_ylabel("best criterion")
    axes.set_xlim(left=0)
    _plain(axes)
    _save(figure, path)


def _varies(vectors: list[NDArray[np.float64]]) -> bool:
    together = np.concatenate(vectors)
    return bool(np.ptp(together) > 1e-9)


def _colours(n: int) -> list[str]:
    """Of n sequences, in turn."""
    return [COLOURS[i % len(COLOURS)] for i in range(n)]


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, ncols=min(len(labels), 3), loc="outside upper left")


def _plain(axes: Axes) -> None:
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, format="png", dpi=150)
