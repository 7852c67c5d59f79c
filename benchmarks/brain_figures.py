"""Figures of `brain.py`."""

from pathlib import Path

import numpy as np
from PIL import Image

from jobs.figures import new_figure
from reconstruction.colours import COLOUR_MAPS

FOLDER = Path(__file__).parents[1] / "docs" / "figures"
_COLUMNS = {
    # field, factor to the unit, unit, colours, range, range of the error [%]
    "T1": ("t1", 1e3, "ms", COLOUR_MAPS["lipari"], (0, 2000), 20),
    "T2": ("t2", 1e3, "ms", COLOUR_MAPS["navia"], (0, 200), 40),
    "B1": ("b1", 1e2, "%", "cividis", (80, 120), 10),
    "PD": ("pd", 1.0, "", "gray", (0, 1), 20),
}


def draw_maps(truth, found, brain, file="brain_maps.png", quantities=tuple(_COLUMNS)):
    """Truth, and below it named maps and their errors."""
    rows = 1 + 2 * len(found)
    figure = new_figure(3.1 * len(quantities), 2.6 * rows)
    grid = figure.subplots(rows, len(quantities))
    crop = tuple(slice(index.min() - 2, index.max() + 3) for index in np.nonzero(brain))
    for column, name in enumerate(quantities):
        field, factor, unit, colours, limits, largest = _COLUMNS[name]

        def shown(axes, image, title, colours=colours, limits=limits, unit=unit):
            masked = np.ma.masked_array(image, ~brain)[crop]
            drawn = axes.imshow(masked, origin="lower", cmap=colours, vmin=limits[0], vmax=limits[1])
            axes.set(xticks=[], yticks=[], facecolor="black")
            axes.set_title(title, fontsize=9)
            figure.colorbar(drawn, ax=axes, label=unit, fraction=0.05)

        true = factor * np.abs(getattr(truth, field))
        shown(grid[0, column], true, f"{name}, truth")
        for i, (label, maps) in enumerate(found.items()):
            image = factor * np.abs(getattr(maps, field))
            voxels = brain & maps.mask
            if name == "PD":
                image = image / np.median(image[voxels] / true[voxels])
            error = 100 * np.abs(np.divide(image, true, out=np.ones_like(image), where=true > 0) - 1)
            shown(grid[1 + 2 * i, column], image, f"{name}, {label}")
            title = f"|error|, mean {error[voxels].mean():.1f} %"
            shown(grid[2 + 2 * i, column], error, title, "magma", (0, largest), "%")
    path = FOLDER / file
    figure.savefig(path, dpi=72)
    Image.open(path).quantize(256).save(path, optimize=True)


def draw_scan_times(scans):
    """Mean errors against the time of the scan."""
    figure = new_figure(9, 3.6)
    for axes, name in zip(figure.subplots(1, 2), ("T1", "T2"), strict=True):
        radial = {scan: values for scan, values in scans.items() if "spokes" in scan}
        times = [values["scan_s"] for values in radial.values()]
        methods = [method for method in next(iter(radial.values())) if method != "scan_s"]
        for colour, method in zip(("C7", "C0"), methods, strict=True):
            means = [100 * values[method]["brain"][name]["mean"] for values in radial.values()]
            axes.plot(times, means, marker="o", color=colour, label=method)
        axes.set(
            xscale="log", yscale="log", xlabel="scan time [s]", ylabel=f"mean error of {name} [%]", title=name
        )
        axes.set_xticks(times, [f"{time:.1f}" for time in times])
        axes.minorticks_off()
        ticks = [
            tick for tick in (1, 2, 5, 10, 20, 50, 100) if axes.get_ylim()[0] < tick < axes.get_ylim()[1]
        ]
        axes.set_yticks(ticks, [f"{tick}" for tick in ticks])
        axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=7)
    figure.savefig(FOLDER / "brain_scan_times.png", dpi=110)
