"""What all figures share: size, colours, saving."""

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

FIGURES = Path(__file__).resolve().parents[1] / "figures"
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#707070"
"""Exact, small tip, instantaneous: distinct for the colour-blind."""


def panels(n_rows, n_columns, height, **settings):
    """Return a figure of page width and its axes."""
    mpl.use("Agg")
    plt.rcParams.update(
        {
            "font.size": 10.5,
            "axes.titlesize": 11,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": "0.88",
            "axes.axisbelow": True,
            "lines.linewidth": 1.6,
            "lines.markersize": 4.5,
            "legend.frameon": False,
        }
    )
    return plt.subplots(n_rows, n_columns, figsize=(9.5, height), layout="constrained", **settings)


def t2_colors(t2_ms):
    """Colours from short (dark) to long T2 (light), by the logarithm."""
    position = np.log(np.asarray(t2_ms) / 10) / np.log(200)
    return mpl.colormaps["viridis"](0.9 * position)


def save(figure, name):
    FIGURES.mkdir(exist_ok=True)
    figure.savefig(FIGURES / f"{name}.png", dpi=115, metadata={"Software": None})
    plt.close(figure)
