"""Compare maps by dictionaries of engine and surrogates: results/surrogate_maps.json, a table, figures.

The phantom, the noise and the train of `epgbloch demo`, with the slice profile that the networks know. The
raw data come from the engine. Run it with `make bench-surrogate`.
"""

import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
from measure import write_results
from rich.console import Console

from dictionaries import generate
from dictionaries.grid import Grid, log_axis
from epgbloch import EPGBloch, RFPulse, Sequence, __version__
from epgbloch.trains import sin_squared
from reconstruction.maps_figure import plot_maps
from reconstruction.phantom_simulation import simulate_acquisition
from reconstruction.phantom_templates import analytic_head
from reconstruction.pipeline import reconstruct
from reconstruction.trajectory import golden_angle_radial
from surrogate import GRUSurrogate, shipped_networks
from surrogate.hardware import processor_name

MATRIX, N_COILS, SNR, N_REPETITIONS = 128, 8, 40.0, 2
RANK = 5
PUBLISHED = {"t1": 0.0174, "t2": 0.0346}
"""Mean absolute differences of Liu et al., another phantom and sequence."""
FIGURE = Path(__file__).parents[1] / "docs" / "figures" / "surrogate_maps_published.png"


def main():
    console = Console(stderr=True)
    sequence = Sequence(
        sin_squared(500, np.deg2rad([15, 60, 30, 70, 45])),
        tr=10e-3,
        te=4.5e-3,
        inversion_time=20e-3,
        pulse=RFPulse.gaussian(1e-3, 3e-3),
    )
    grid = Grid(t1=log_axis(0.2, 5, 200), t2=log_axis(0.02, 2, 200))
    phantom = analytic_head((MATRIX, MATRIX), n_coils=N_COILS)
    trajectory = golden_angle_radial(N_REPETITIONS * sequence.n_pulses, 2 * MATRIX)
    acquisition = simulate_acquisition(phantom, EPGBloch(), sequence, trajectory, snr=SNR)

    maps, seconds = {}, {}
    models = {"engine": EPGBloch(), **{name: GRUSurrogate(name) for name in shipped_networks()}}
    for name, model in models.items():
        with console.status(f"{name}: dictionary of {grid.n_atoms} atoms and maps ..."):
            start = time.perf_counter()
            dictionary = generate(model, sequence, grid, rank=RANK)
            seconds[name] = time.perf_counter() - start
            result = reconstruct(acquisition, dictionary)
            maps[name] = result.maps

    truth = phantom.truth()
    inside = phantom.mask & np.logical_and.reduce([found.mask for found in maps.values()])
    pure = inside & phantom.pure_mask()
    rows = {
        name: {
            "dictionary_s": seconds[name],
            **{
                f"{quantity}_{against}": float(
                    np.mean(np.abs(getattr(found, quantity)[voxels] / getattr(other, quantity)[voxels] - 1))
                )
                for quantity in PUBLISHED
                for against, other, voxels in (("engine", maps["engine"], inside), ("truth", truth, pure))
            },
        }
        for name, found in maps.items()
    }
    plot_maps(
        FIGURE,
        replace(maps["published"], mask=inside),
        affine=acquisition.affine,
        truth=replace(maps["engine"], mask=inside),
        title="maps by dictionaries of the engine (top) and of the published network, and their difference",
    )
    record = {
        "work": f"{grid.n_atoms} atoms x {sequence.n_pulses} pulses; {MATRIX} x {MATRIX} voxels, "
        f"{N_COILS} coils, SNR {SNR:g}",
        "date": date.today().isoformat(),
        "machine": processor_name(),
        "versions": {"epgbloch": __version__},
        "voxels": {"all": int(inside.sum()), "of one tissue": int(pure.sum())},
        "models": rows,
        "published_difference": PUBLISHED,
    }
    lines = [
        f"{record['work']}. {record['machine']}, {record['date']}. Mean absolute relative differences: from "
        f"the maps by the engine's dictionary in {inside.sum()} voxels, and from the truth in those "
        f"{pure.sum()} that one tissue fills. Liu et al. report "
        f"{100 * PUBLISHED['t1']:.2f} % and {100 * PUBLISHED['t2']:.2f} % from their engine.",
        "",
        "| dictionary by | made in | T1, from engine | T2, from engine | T1, from truth | T2, from truth |",
        "|---|---|---|---|---|---|",
        *(
            f"| {name} | {row['dictionary_s']:.0f} s | "
            + " | ".join(
                f"{100 * row[key]:.2f} %" if name != "engine" or key.endswith("truth") else ""
                for key in ("t1_engine", "t2_engine", "t1_truth", "t2_truth")
            )
            + " |"
            for name, row in rows.items()
        ),
        "",
        "![Maps by the engine and by the published network](figures/surrogate_maps_published.png)",
    ]
    write_results("surrogate_maps", record, lines)


if __name__ == "__main__":
    main()
