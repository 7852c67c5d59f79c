"""Errors of matching and of the fit below the grid step, against noise: for dictionaries.md."""

import numpy as np
from figure_scripts.cases import lobes, rounded
from figure_scripts.drawing import BLUE, GREY, ORANGE, panels, save
from figure_scripts.tables import markdown

from dictionaries import Grid, generate, log_axis, match, refine
from epgbloch import EPGBloch, Tissue

RANK = 8
N_VOXELS = 3000
SNR = (3, 10, 30, 100, 300, 1000)
SIZES = {"coarse": 20, "fine": 100}
SHOWN = (10, 30, 100)
"""Signal-to-noise ratios in the table."""


def errors():
    """RMS relative errors in per cent of random tissues, matched on two grids and fitted from the coarse one.

    The signal-to-noise ratio is the RMS of the signal over the train, over the standard deviation of the real
    part of the noise.
    """
    model, sequence = EPGBloch(), lobes(peaks=(15, 60, 30, 70, 45))
    tissue = _tissue()
    signal = model.signal(sequence, tissue)
    dictionaries = {name: generate(model, sequence, _grid(n), rank=RANK) for name, n in SIZES.items()}
    record = {"snr": list(SNR), "atoms": {name: part.n_atoms for name, part in dictionaries.items()}}
    record |= {"pulses": sequence.n_pulses, "rank": RANK, "voxels": N_VOXELS}
    rows = []
    for snr in SNR:
        noise = np.sqrt((np.abs(signal) ** 2).mean(axis=1)) / snr
        row = {}
        for name, dictionary in dictionaries.items():
            rng = np.random.default_rng(5)  # the same noise of the signal, whatever the grid
            noisy = signal + noise[:, np.newaxis] * (rng.standard_normal((*signal.shape, 2)) @ [1, 1j])
            voxels = noisy @ dictionary.basis
            found = match(dictionary, voxels)
            row[name] = _percent(found, tissue)
            if name == "coarse":
                fit = refine(model, dictionary, voxels, found, noise_std=noise)
                row["refined"] = _percent(fit, tissue)
                deviations = [fit.t1_std / fit.t1, fit.t2_std / fit.t2]
                row["predicted"] = [100 * float(np.sqrt(np.nanmean(d**2))) for d in deviations]
                row["steps"] = float(fit.iterations.mean())
                row["left"] = int((~fit.converged | fit.at_bound).sum())
        rows.append(row)
    for name in rows[0]:
        record[name] = rounded([row[name] for row in rows])
    record["b1_ignored"] = _b1_ignored(model, dictionaries["coarse"], tissue)
    return record


def _b1_ignored(model, dictionary, tissue):
    """Median shifts and standard errors at SNR 30 in per cent, where B1 is 0.95 and fitted as 1."""
    signal = model.signal(dictionary.sequence, Tissue(tissue.t1, tissue.t2, 0.95))
    noise = np.sqrt((np.abs(signal) ** 2).mean(axis=1)) / 30
    voxels = signal @ dictionary.basis
    fit = refine(model, dictionary, voxels, match(dictionary, voxels), noise_std=noise)
    values = {
        name: [
            getattr(fit, name) / getattr(tissue, name) - 1,
            getattr(fit, f"{name}_std") / getattr(fit, name),
        ]
        for name in ("t1", "t2")
    }
    return {
        name: rounded([100 * float(np.nanmedian(np.abs(value))) for value in pair], 2)
        for name, pair in values.items()
    }


def errors_figure(record):
    figure, axes = panels(1, 2, 3.9, sharey=True)
    styles = {
        "coarse": ("o-", GREY, f"{SIZES['coarse']} x {SIZES['coarse']} grid, matched"),
        "fine": ("s-", ORANGE, f"{SIZES['fine']} x {SIZES['fine']} grid, matched"),
        "refined": ("D-", BLUE, f"{SIZES['coarse']} x {SIZES['coarse']} grid, refined"),
        "predicted": (":", "black", "its standard errors"),
    }
    for i, panel in enumerate(axes):
        for name, (style, color, label) in styles.items():
            panel.loglog(record["snr"], np.transpose(record[name])[i], style, color=color, label=label)
        panel.set(xlabel="signal-to-noise ratio", title=f"T{i + 1}")
        panel.set_xticks(record["snr"], [f"{snr:g}" for snr in record["snr"]])
        panel.minorticks_off()
    axes[0].set_ylabel("RMS error [%]")
    axes[0].set_yticks([0.01, 0.1, 1, 10], ["0.01", "0.1", "1", "10"])
    axes[1].legend(loc="lower left")
    save(figure, "refinement")


def tables(record):
    """Return the table of dictionaries.md by name, as Markdown."""
    heading = ["SNR", *(f"T{i} error, {what}" for i in (1, 2) for what in ("coarse", "fine", "refined"))]
    rows = []
    for snr in SHOWN:
        at = record["snr"].index(snr)
        cells = [record[name][at][i] for i in (0, 1) for name in ("coarse", "fine", "refined")]
        rows.append([f"{snr:g}", *(f"{value:.2g} %" for value in cells)])
    return {"refinement": markdown(heading, rows)}


def _grid(n):
    return Grid(log_axis(0.2, 4, n), log_axis(0.02, 0.5, n))


def _tissue():
    """T1 0.25-3 s and T2 25-400 ms, log-uniform with T2 <= 0.9 T1: off the edges of the grids."""
    rng = np.random.default_rng(4)
    t1 = np.exp(rng.uniform(np.log(0.25), np.log(3), N_VOXELS))
    return Tissue(t1, np.exp(rng.uniform(np.log(0.025), np.log(np.minimum(0.4, 0.9 * t1)))))


def _percent(found, tissue):
    return [
        100 * float(np.sqrt(np.mean((getattr(found, name) / getattr(tissue, name) - 1) ** 2)))
        for name in ("t1", "t2")
    ]
