"""Figures of the timeline of a repetition, of slice profiles and of what they do to a train."""

import numpy as np
from figure_scripts.cases import PEAKS_DEG, TR, gaussian, lobes
from figure_scripts.drawing import BLUE, GREY, ORANGE, panels, save
from figure_scripts.slice_profile import TISSUES, bloch_profile, exact_signal, models, small_tip_profile


def profiles_figure():
    angles_deg = (10, 60, 90, 120)
    pulse, position = gaussian(), np.linspace(-1.5, 1.5, 601)
    z = 1e3 * pulse.slice_thickness * position
    figure, grid = panels(2, len(angles_deg), 5.2, sharex=True, sharey="row")
    for angle_deg, (top, bottom) in zip(angles_deg, grid.T, strict=True):
        angle = np.deg2rad(angle_deg)
        exact = bloch_profile(pulse, angle, position)
        small_tip = np.sin(angle * small_tip_profile(pulse, position))
        rectangle = np.sin(angle) * (np.abs(position) <= 0.5)
        top.plot(z, np.abs(rectangle), color=GREY, linestyle="--", linewidth=1.2, label="instantaneous")
        top.plot(z, np.abs(exact), color=BLUE, linewidth=2.8, label="Bloch")
        top.plot(z, np.abs(small_tip), color=ORANGE, label="small tip")
        top.set(title=f"{angle_deg}°")
        bottom.plot(z, exact.imag, color=BLUE, linewidth=2.8)
        bottom.plot(z, small_tip.imag, color=ORANGE)
        bottom.set(xlabel="z [mm]", xticks=[-3, 0, 3])
    grid[0, 0].set(ylabel="|M+| / M0")
    grid[1, 0].set(ylabel="Im M+ / M0")
    grid[0, 0].legend(loc="upper left", fontsize=9)
    save(figure, "slice_profiles")


def fingerprint_figure():
    atom = TISSUES[1]
    train = lobes(peaks=PEAKS_DEG)
    time = TR * np.arange(train.n_pulses)
    figure, (top, middle, bottom) = panels(3, 1, 6.4, sharex=True, height_ratios=(1, 2.4, 1.6))
    top.fill_between(time, np.rad2deg(train.flip_angle), color="0.8")
    top.set(ylabel="flip angle [°]", ylim=(0, 130), yticks=[0, 60, 120])
    exact = exact_signal(PEAKS_DEG, atom)
    simpler = {name: model(atom)[0] for name, model in models(PEAKS_DEG).items()}
    for name, color in (("instantaneous", GREY), ("small tip", ORANGE)):
        scale = simpler[name] @ exact / (simpler[name] @ simpler[name])
        middle.plot(time, simpler[name], color=color, label=name)
        bottom.plot(time, scale * simpler[name] - exact, color=color, label=f"{name} x {scale:.2f}")
    middle.plot(time, exact, color=BLUE, label="EPG-Bloch")
    middle.set(ylabel="signal / M0")
    bottom.set(ylabel="difference from\nEPG-Bloch, scaled", xlabel="time [s]")
    middle.legend(loc="upper left")
    bottom.legend(loc="lower left", bbox_to_anchor=(0.13, -0.02), fontsize=9.5)
    save(figure, "fingerprint")


def timeline_figure():
    """The first repetition, not to scale; times in units of the drawing."""
    pulse = gaussian()
    half, echo, end, first = 1.0, 5.0, 10.0, -3.2
    figure, axes = panels(3, 1, 3.6, sharex=True, height_ratios=(1, 1, 0.9))
    shape = np.r_[0, pulse.waveform / pulse.waveform.max(), 0]
    within = np.linspace(-half, half, shape.size)
    for center in (0.0, end):
        axes[0].fill_between(center + within, shape, color=BLUE, linewidth=0)
        axes[1].fill_between([center - half, center + half], 1.0, color=ORANGE, linewidth=0)
        for edge in (center - half, center + half):
            axes[1].annotate(
                "", (edge, -1), (edge, 0), arrowprops={"arrowstyle": "-|>", "color": ORANGE, "lw": 2}
            )
    axes[0].annotate("", (first, 1), (first, 0), arrowprops={"arrowstyle": "-|>", "color": BLUE, "lw": 2})
    axes[0].text(first, 1.1, "inversion", ha="center", color=BLUE)
    axes[0].text(0, 1.1, "pulse 1", ha="center", color=BLUE)
    axes[0].text(end, 1.1, "pulse 2", ha="center", color=BLUE)
    axes[1].text(half + 0.15, -0.95, "instantaneous rewinder", color=ORANGE, va="bottom")
    axes[1].annotate(
        "",
        (end - half - 0.35, 1.1),
        (end - half - 0.35, 0),
        arrowprops={"arrowstyle": "-|>", "color": "black", "lw": 2},
    )
    axes[1].text(end - half - 0.5, 0.9, "spoiler: one order", ha="right", va="top")
    axes[0].plot([echo, echo], [0, 0.7], color="black", linewidth=3)
    axes[0].text(echo, 0.8, "echo: F+ of order 0", ha="center")
    for start, stop, level, name in ((first, 0, 2, "inversion time"), (0, echo, 2, "TE"), (0, end, 1, "TR")):
        axes[2].annotate("", (start, level), (stop, level), arrowprops={"arrowstyle": "<->", "lw": 1})
        axes[2].text((start + stop) / 2, level + 0.08, name, ha="center", va="bottom")
    for row, name in zip(axes, ("RF", "slice\ngradient", ""), strict=True):
        row.grid(visible=False)
        row.spines[:].set_visible(False)
        row.set(xticks=[], yticks=[])
        row.set_ylabel(name, rotation=0, ha="right", va="center")
    for row in axes[:2]:
        row.axhline(0, color="black", linewidth=0.8)
    axes[0].set(xlim=(first - 0.8, end + 1.3), ylim=(-0.1, 1.5))
    axes[1].set_ylim(-1.15, 1.3)
    axes[2].set_ylim(0.6, 2.7)
    save(figure, "timeline")
