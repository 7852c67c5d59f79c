"""``epgbloch dictionary report``: what a dictionary can tell apart, as figures and numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dictionaries import Dictionary, Match, match, read_dictionary
from epgbloch import SignalModel, Tissue
from jobs.console import Console
from jobs.figures import new_figure, plain_log_ticks
from jobs.models import stored_model
from jobs.outputs import new_folder

SNRS = (5, 10, 20, 40, 80, 160)
"""Root mean square of the signal over the standard deviation of the real part of the noise."""
CONFUSION_SNR = 20
N_TRIALS = 3000
"""Noisy signals at each SNR."""
_N_SHOWN = 20_000
"""Atoms that are drawn at most."""
_N_BINS = 40
_ROUNDING = 1e-7
"""Singular values below it, relative to the largest, are those of rounding in single precision."""
FIGURES = ("singular_values", "atoms", "matching")
_AXES = {"t1": ("T1", "ms", 1e3), "t2": ("T2", "ms", 1e3)}


def run_dictionary_report(
    path: Path, *, out: Path, network: str | None = None, seed: int, force: bool, console: Console
) -> dict[str, Any]:
    """Draw singular values, atoms and the errors of matching against SNR.

    Signals of random tissues within the axes of the dictionary, by the model that it was made with, are
    matched with noise. Where the model is not known (imported dictionaries), atoms take their place: then
    the errors hold nothing of the steps of the grid.

    Parameters
    ----------
    path : Path
        File of the dictionary.
    out : Path
        Folder for the figures and ``report.json``.
    network : str or None
        File of weights, for dictionaries of a network that does not come with the package.
    seed : int
        Seed of the noise and of the choice of atoms.
    force : bool
        Replace an earlier report.
    console : Console
        Where to report.

    Returns
    -------
    dict
        Contents of ``report.json``.

    Raises
    ------
    DictionaryError
        If the file is not an intact dictionary.
    OSError
        If the folder holds anything but an earlier report and `force`, or cannot be written.
    """
    dictionary = read_dictionary(path)
    error = dictionary.truncation_error
    rng = np.random.default_rng(seed)
    model = None if dictionary.sequence is None else stored_model(dictionary, network)
    values = _singular_values(dictionary)
    with new_folder(out, "dictionary report", force=force) as output:
        with console.step(f"Simulating {N_TRIALS} tissues"):
            tissue, signals = _signals(dictionary, model, rng)
        truth = {name: getattr(tissue, name) for name in _AXES}
        trials = {}
        with console.step(f"Matching {len(SNRS)} x {N_TRIALS} noisy signals") as progress:
            for i, snr in enumerate(SNRS):
                found = _matched(dictionary, signals, snr, rng)
                trials[snr] = truth, {name: getattr(found, name) for name in _AXES}
                progress(i + 1, len(SNRS))
        record = {
            "dictionary": str(path),
            "atoms": dictionary.n_atoms,
            "rank": dictionary.rank,
            "truncation_error": error and error._asdict(),
            "singular_values": values.tolist(),
            "signals": "atoms" if model is None else "random tissues",
            "trials_per_snr": N_TRIALS,
            "seed": seed,
            "snr_definition": "root mean square of the signal / SD of the real part of the noise",
            "relative_errors": {str(snr): _errors(*trial) for snr, trial in trials.items()},
        }
        output.provenance["dictionary"] = str(path)
        with console.step("Drawing"):
            _draw_singular_values(output.path / "singular_values.png", values, dictionary)
            _draw_atoms(output.path / "atoms.png", dictionary)
            _draw_matching(output.path / "matching.png", record["relative_errors"], trials[CONFUSION_SNR])
        text = json.dumps(record, indent=2, allow_nan=False)
        (output.path / "report.json").write_text(text + "\n", encoding="utf-8")
    console.table(
        (
            "SNR",
            *(f"{_AXES[name][0]}, {what}" for name in _AXES for what in ("median", "90 % below", "bias")),
        ),
        [
            (
                snr,
                *(f"{100 * errors[name][key]:.2g} %" for name in _AXES for key in ("median", "q90", "bias")),
            )
            for snr, errors in record["relative_errors"].items()
        ],
        title="Relative error of matched atoms with noise: its magnitude, and the median of its sign (bias)",
    )
    console.result(f"wrote {out}: {', '.join(f'{name}.png' for name in FIGURES)}, report.json")
    return record


def _signals(
    dictionary: Dictionary, model: SignalModel | None, rng: np.random.Generator
) -> tuple[Tissue, NDArray[Any]]:
    """Random tissues and the coefficients of their signals, of unit norm."""
    atoms = dictionary.tissue
    if model is None:
        chosen = rng.integers(atoms.n_atoms, size=N_TRIALS)
        return atoms[chosen], dictionary.coefficients[chosen]
    t1 = _log_uniform(max(atoms.t1.min(), atoms.t2.min()), atoms.t1.max(), rng)
    t2 = _log_uniform(atoms.t2.min(), np.minimum(atoms.t2.max(), t1), rng)
    b1 = rng.uniform(atoms.b1.min(), atoms.b1.max(), N_TRIALS)
    # the engine makes a table for every off-resonance
    off_resonance = rng.choice(np.linspace(atoms.off_resonance.min(), atoms.off_resonance.max(), 7), N_TRIALS)
    tissue = Tissue(t1, t2, b1=b1, off_resonance=off_resonance)
    signals = model.signal(dictionary.required_sequence(), tissue)
    signals /= np.linalg.norm(signals, axis=1, keepdims=True)
    return tissue, signals @ dictionary.basis.conj()


def _log_uniform(low: Any, high: Any, rng: np.random.Generator) -> NDArray[np.float64]:
    """Random numbers from `low` to `high`, never beyond them by rounding."""
    return np.clip(np.exp(rng.uniform(np.log(low), np.log(high), N_TRIALS)), low, high)


def _matched(dictionary: Dictionary, signals: NDArray[Any], snr: float, rng: np.random.Generator) -> Match:
    # Signals of unit norm have a root mean square of 1 / sqrt(n_pulses), and white noise keeps its standard
    # deviation in an orthonormal basis.
    deviation = 1 / (snr * np.sqrt(len(dictionary.basis)))
    noise = rng.standard_normal((2, *signals.shape))
    return match(dictionary, signals + deviation * (noise[0] + 1j * noise[1]))


def _errors(truth: dict[str, NDArray[np.float64]], found: dict[str, NDArray[np.float64]]) -> dict[str, Any]:
    errors = {name: found[name] / truth[name] - 1 for name in truth}
    return {
        name: {
            "median": float(np.median(np.abs(error))),
            "q90": float(np.quantile(np.abs(error), 0.9)),
            "bias": float(np.median(error)),
        }
        for name, error in errors.items()
    }


def _singular_values(dictionary: Dictionary) -> NDArray[np.float64]:
    """Singular values over the largest one: those of the generation, or else of the compressed atoms."""
    values = dictionary.singular_values
    if values is None:
        values = np.linalg.svd(dictionary.coefficients, compute_uv=False)
    return values / values[0]


def _draw_singular_values(path: Path, values: NDArray[np.float64], dictionary: Dictionary) -> None:
    values = values[: max(dictionary.rank + 1, np.count_nonzero(values > _ROUNDING))]
    figure = new_figure(6, 4)
    axes = figure.subplots()
    axes.semilogy(np.arange(1, len(values) + 1), values, marker=".", linewidth=1)
    axes.axvline(dictionary.rank, color="0.4", linestyle=":", label=f"rank {dictionary.rank}")
    error = dictionary.truncation_error
    if error is not None and error.rms > 0:
        rms = error.rms
        axes.axhline(rms, color="C1", linestyle="--", label=f"truncation error of all atoms, rms ({rms:.1e})")
    axes.set(
        xlabel="number", ylabel="singular value / largest", title="Singular values of the sampled signals"
    )
    axes.grid(alpha=0.3, which="both")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)


def _draw_atoms(path: Path, dictionary: Dictionary) -> None:
    """Draw the leading coefficients of the atoms, coloured by each parameter."""
    step = -(-dictionary.n_atoms // _N_SHOWN)
    atoms, tissue = dictionary.coefficients[::step].real, dictionary.tissue[::step]
    pairs = [pair for pair in ((0, 1), (1, 2)) if max(pair) < dictionary.rank] or [(0, 0)]
    names = ["t1", "t2", *(n for n in ("b1", "off_resonance") if np.ptp(getattr(tissue, n)) > 0)]
    figure = new_figure(4.6 * len(names), 3.8 * len(pairs))
    grid = figure.subplots(len(pairs), len(names), squeeze=False)
    labels = {"t1": "T1 [ms]", "t2": "T2 [ms]", "b1": "B1", "off_resonance": "off-resonance [Hz]"}
    for row, (i, j) in zip(grid, pairs, strict=True):
        for axes, name in zip(row, names, strict=True):
            is_time = name in _AXES
            points = axes.scatter(
                atoms[:, i],
                atoms[:, j],
                c=getattr(tissue, name) * (1e3 if is_time else 1),
                s=2,
                cmap="viridis",
                norm="log" if is_time and np.ptp(getattr(tissue, name)) > 0 else None,
                linewidths=0,
                rasterized=True,
            )
            bar = figure.colorbar(points, ax=axes, label=labels[name])
            if is_time:
                plain_log_ticks(bar.ax.yaxis)
            axes.set(xlabel=f"coefficient {i + 1}", ylabel=f"coefficient {j + 1}")
    figure.suptitle("Atoms in the subspace (unit norm, real part)")
    figure.savefig(path, dpi=110)


def _draw_matching(
    path: Path,
    errors: dict[str, Any],
    trial: tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.float64]]],
) -> None:
    figure = new_figure(13.2, 3.8)
    *confusions, curves = figure.subplots(1, 3)
    for axes, (name, (label, unit, factor)) in zip(confusions, _AXES.items(), strict=True):
        true, found = (factor * values[name] for values in trial)
        edges = np.geomspace(true.min(), max(true.max(), true.min() * 1.01), _N_BINS + 1)
        edges[0], edges[-1] = 0.999 * edges[0], 1.001 * edges[-1]
        counts, _, _ = np.histogram2d(true, found, bins=(edges, edges))
        with np.errstate(invalid="ignore"):
            share = counts / counts.sum(axis=1, keepdims=True)
        mesh = axes.pcolormesh(edges, edges, np.ma.masked_invalid(share).T, cmap="magma_r", vmin=0)
        figure.colorbar(mesh, ax=axes, label="share of the true value's trials")
        axes.plot(edges, edges, color="0.5", linewidth=0.6)
        axes.set(
            xscale="log",
            yscale="log",
            xlabel=f"true {label} [{unit}]",
            ylabel=f"matched {label} [{unit}]",
            title=f"{label} at SNR {CONFUSION_SNR}",
        )
        plain_log_ticks(axes.xaxis)
        plain_log_ticks(axes.yaxis)
    snrs = [float(snr) for snr in errors]
    for i, (name, (label, _, _)) in enumerate(_AXES.items()):
        for key, style, what in (("median", "-", "median"), ("q90", "--", "90 % below")):
            values = [100 * error[name][key] for error in errors.values()]
            curves.plot(snrs, values, style, color=f"C{i}", marker=".", label=f"{label}, {what}")
    curves.set(xscale="log", xlabel="SNR", ylabel="relative error [%]", title="Error of the match")
    curves.set_xticks(snrs, [f"{snr:g}" for snr in snrs])
    curves.minorticks_off()
    if all(value > 0 for line in curves.lines for value in line.get_ydata()):  # 0: matched exactly
        curves.set_yscale("log")
        plain_log_ticks(curves.yaxis)
    curves.grid(alpha=0.3)
    curves.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(path, dpi=110)
