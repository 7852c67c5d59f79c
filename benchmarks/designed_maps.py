"""Maps of a brain by an original train and by designed ones, as in figure 9 of Liu et al. 2021.

336 spirals of a variable-density trajectory with 48 interleaves in golden-angle order, eight coils, B1 = 1,
one tissue in each pixel as in the publication. results/design_maps.json, a table and figures.

Run it with `make bench-design-maps`; it takes about five minutes.
"""

from dataclasses import replace
from datetime import date

import numpy as np
from brain import MATRIX, PEAKS_DEG, SCALP, errors, phantoms
from brain_figures import FOLDER, draw_maps
from measure import write_results
from rich.console import Console

from design import (
    Criterion,
    Objective,
    Parametrization,
    optimise_by_evolution,
    optimise_by_gradient,
    published_spline,
    spline,
)
from dictionaries import generate
from dictionaries.grid import Grid, log_axis
from epgbloch import EPGBloch, RFPulse, Sequence, Tissue, __version__
from epgbloch.trains import sin_squared
from jobs.design_figures import draw_trains
from reconstruction.admm import AdmmSettings
from reconstruction.phantom_simulation import simulate_acquisition
from reconstruction.pipeline import reconstruct
from reconstruction.trajectory import variable_density_spiral
from surrogate import GRUSurrogate
from surrogate.hardware import processor_name

N_PULSES, SNRS = 336, (40.0, 3.0)
GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))
ORIGINALS = {
    # peaks of the lobes [degrees], of which 336 pulses play one and a half
    "figure 7": PEAKS_DEG,
    "slower start": (30, 70, 40, 90, 20),
}
TISSUES = Tissue(t1=[0.9, 0.5], t2=[0.085, 0.065])
GRID = Grid(t1=log_axis(0.1, 5, 120), t2=log_axis(0.01, 2.5, 120))
QUANTITIES = ("T1", "T2", "PD")
METHODS = {"low-rank inversion, rank 5": (5, {}), "LR-ADMM, rank 12": (12, {"admm": AdmmSettings()})}


def sequence(flip_angle, n_steps=200):
    pulse = RFPulse.gaussian(1e-3, 3e-3, n_steps=n_steps)
    return Sequence(flip_angle, tr=8.7e-3, te=4.9e-3, inversion_time=10e-3, pulse=pulse)


def trains():
    """Flip angles by name; the designs are those of `cramer_rao.py` with the slice profile."""
    originals = {
        f"original, {name}": sin_squared(1120, np.deg2rad(peaks))[:N_PULSES]
        for name, peaks in ORIGINALS.items()
    }
    base, criterion = sequence(np.full(N_PULSES, np.pi / 4)), Criterion(TISSUES)
    curves = {
        "Spline11": published_spline(N_PULSES, np.pi / 2),
        "60 knots": spline(N_PULSES, 60, 0, np.pi / 2),
    }
    parametrizations = {name: Parametrization(base, {"flip_angle": curve}) for name, curve in curves.items()}
    evolved = optimise_by_evolution(Objective(GRUSurrogate(), criterion, parametrizations["Spline11"]))
    refined = optimise_by_gradient(Objective(EPGBloch(), criterion, parametrizations["60 knots"]))
    return {
        **originals,
        "Spline11 by evolution": evolved.sequence.flip_angle,
        "60 knots by gradient": refined.sequence.flip_angle,
    }


def main():
    console = Console(stderr=True)
    phantom = replace(phantoms(8, points=1)[0], b1=np.ones(MATRIX, np.float32))
    brain = phantom.mask & (phantom.label != 1 + phantom.names.index(SCALP))
    trajectory = variable_density_spiral(
        N_PULSES, 448, matrix=MATRIX, n_interleaves=48, angle_increment=GOLDEN_ANGLE
    )
    criterion = Criterion(TISSUES)
    with console.status("designs ..."):
        flip_angles = trains()
    record = {
        "work": f"{N_PULSES} spirals, {MATRIX[0]} x {MATRIX[1]} pixels, 8 coils, {GRID.n_atoms} atoms",
        "date": date.today().isoformat(),
        "machine": processor_name(),
        "versions": {"epgbloch": __version__},
        "peaks_deg": ORIGINALS,
        "voxels": int(brain.sum()),
        "trains": {},
    }
    drawn = {}
    for name, angles in flip_angles.items():
        with console.status(f"{name} ..."):
            played = sequence(angles)
            dictionaries = {
                rank: generate(EPGBloch(), played, GRID, rank=rank) for rank, _ in METHODS.values()
            }
            results = record["trains"][name] = {"j": criterion.of(EPGBloch(), played)}
            for snr in SNRS:
                fine = EPGBloch(n_subslices=64), sequence(angles, n_steps=400)
                acquisition = simulate_acquisition(phantom, *fine, trajectory, matrix=MATRIX, snr=snr, seed=1)
                results[f"SNR {snr:g}"] = {}
                for method, (rank, options) in METHODS.items():
                    found = reconstruct(
                        acquisition, dictionaries[rank], mask=brain, correct_receive_field=False, **options
                    ).maps
                    results[f"SNR {snr:g}"][method] = errors(found, phantom, brain & found.mask, QUANTITIES)
                    drawn.setdefault((name, method), found)
        console.print(name, record["trains"][name])
    write_results("design_maps", record, lines(record))
    draw_trains(FOLDER / "design_trains.png", {name: sequence(a) for name, a in flip_angles.items()})
    shown = {
        name: drawn[name, next(iter(METHODS))] for name in ("original, figure 7", "Spline11 by evolution")
    }
    draw_maps(phantom.truth(), shown, brain, "design_maps.png", QUANTITIES)


def lines(record):
    """The table of docs/benchmarks.md."""
    head = " | ".join(QUANTITIES)
    return [
        f"{record['work']}. {record['date']}. Mean (median) absolute errors in the brain "
        f"({record['voxels']} pixels).",
        "",
        f"| train | J | SNR | method | {head} |",
        "|---|---|---|---" + "|---" * len(QUANTITIES) + "|",
        *(
            f"| {name} | {values['j']:.2f} | {snr:g} | {method} | "
            + " | ".join(
                f"{100 * result[q]['mean']:.1f} % ({100 * result[q]['median']:.1f} %)" for q in QUANTITIES
            )
            + " |"
            for snr in SNRS
            for method in METHODS
            for name, values in record["trains"].items()
            for result in [values[f"SNR {snr:g}"][method]]
        ),
        "",
        "![Trains](figures/design_trains.png)",
        "",
        "![Maps by the original train and by a design](figures/design_maps.png)",
    ]


if __name__ == "__main__":
    main()
