"""Figures of the measured errors: states, RF steps and slices."""

import numpy as np
from figure_scripts.drawing import panels, save, t2_colors

FLOOR = 1e-10
"""Errors below are not drawn."""


def states_figure(states, ensemble):
    figure, (left, right) = panels(1, 2, 3.9, sharey=True)
    _curves(left, states["n_states"], states["error"], states["t2_ms"])
    for chosen, error, color in zip(
        states["chosen"], states["chosen_error"], t2_colors(states["t2_ms"]), strict=True
    ):
        if error > FLOOR:
            left.plot(chosen, error, "D", color=color, markersize=9, markeredgecolor="black", zorder=3)
    left.axhline(1e-4, color="black", linestyle=":", linewidth=1)
    left.text(200, 0.6, "◆ chosen for a tolerance of 1e-4", ha="right", fontsize=9.5)
    left.set(xscale="log", xlabel="configuration states", title="Truncated states")
    _curves(right, ensemble["n_isochromats"], ensemble["error"], ensemble["t2_ms"])
    right.set(xscale="log", xlabel="isochromats", title="Isochromats instead")
    for axes, ticks in ((left, (2, 5, 10, 20, 50, 100, 200)), (right, (4, 10, 20, 50, 100, 200, 400))):
        _ticks(axes, ticks)
    left.set_ylim(FLOOR, 2)
    left.set_ylabel("largest error / largest signal")
    right.legend(loc="lower left", ncols=2)
    save(figure, "states")


def rf_steps_figure(splitting, steps):
    figure, (left, right) = panels(1, 2, 3.9)
    _both(left, splitting, range(len(splitting["t2_ms"])))
    left.set(title="Splitting alone: same staircase, finer steps", ylim=(1e-8, 1e-1))
    counts = np.array(splitting["n_steps"])
    for power, anchor in ((1, 6e-3), (2, 6e-5)):
        left.plot(counts, anchor * (8.0 / counts) ** power, color="0.6", linewidth=1, linestyle=":")
        left.text(counts[-1], anchor * (8.0 / counts[-1]) ** power, f" 1/n{'²' * (power - 1)}", color="0.4")
    _both(right, steps, [steps["t2_ms"].index(t2) for t2 in (10, 100)])
    right.axvline(200, color="black", linestyle=":", linewidth=1)
    right.text(190, 0.5, "default", ha="right", fontsize=9)
    right.set(title="Gaussian pulse of n steps, 400 pulses", ylim=(3e-6, 2))
    for axes in (left, right):
        axes.set(xscale="log", yscale="log", xlabel="RF steps")
        axes.legend(fontsize=9, loc="lower left")
    _ticks(left, (8, 16, 32, 64, 128, 256, 512))
    _ticks(right, (4, 8, 16, 32, 64, 128, 256))
    left.set_ylabel("largest error / largest signal")
    save(figure, "rf_steps")


def slices_figure(slices):
    figure, (left, right) = panels(1, 2, 3.9, sharey=True)
    _curves(left, slices["n_subslices"], slices["subslices_error"], slices["t2_ms"])
    left.axvline(32, color="black", linestyle=":", linewidth=1)
    left.text(31, 5e-7, "default", ha="right", fontsize=9)
    left.set(xscale="log", xlabel="sub-slices over 3 thicknesses", title="Sampling of the slice")
    _ticks(left, (8, 16, 32, 64, 128))
    _curves(right, slices["extent"], slices["extent_error"], slices["t2_ms"])
    right.axvline(3, color="black", linestyle=":", linewidth=1)
    right.text(2.95, 5e-7, "default", ha="right", fontsize=9)
    right.set(xlabel="simulated extent / slice thickness", title="Cut-off tails of the slice")
    left.set_ylabel("largest error / largest signal")
    left.set_ylim(3e-7, 1)
    right.legend(loc="upper right", ncols=2)
    save(figure, "slices")


def _curves(axes, x, errors, t2_ms):
    for values, t2, color in zip(np.transpose(errors), t2_ms, t2_colors(t2_ms), strict=True):
        seen = values > FLOOR
        axes.semilogy(np.array(x)[seen], values[seen], "o-", color=color, label=f"T2 {t2:g} ms")


def _both(axes, part, columns):
    """Both splittings for the T2 of the given columns."""
    for i in columns:
        color = t2_colors(part["t2_ms"])[i]
        for name, style in (("first_order", "o--"), ("symmetric", "s-")):
            values = [row[i] for row in part[name]]
            label = f"{name.replace('_', ' ')}, T2 {part['t2_ms'][i]:g} ms"
            axes.plot(part["n_steps"], values, style, color=color, label=label)


def _ticks(axes, values):
    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.minorticks_off()
