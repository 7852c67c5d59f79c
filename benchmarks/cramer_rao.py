"""Designs in the setting of Liu et al. 2021 (section 3.3.2): results/design.json and a table.

336 pulses, T1/T2 of 900/85 and 500/65 ms, TE/TR 4.9/8.7 ms, flip angles up to 90 degrees; J is the sum of the
Cramér-Rao bounds of ln T1 and ln T2 with the proton density unknown (noise and proton density 1). Every
search runs on one thread with several seeds; J is always that of the exact engine.

Run it with `make bench-design`; it takes about four minutes.
"""

import statistics
import time
from datetime import date

import numpy as np
from measure import write_results
from rich.console import Console

from design import (
    Criterion,
    Limits,
    Objective,
    Parametrization,
    free,
    optimise_by_evolution,
    optimise_by_gradient,
    published_spline,
    spline,
)
from epgbloch import EPGBloch, RFPulse, Sequence, Tissue, __version__
from surrogate import GRUSurrogate
from surrogate.hardware import processor_name

SEEDS = range(5)
N_PULSES, MAXIMUM = 336, np.pi / 2
CHANGE = np.deg2rad(1.3)
TISSUES = Tissue(t1=[0.9, 0.5], t2=[0.085, 0.065])
TIMES = {"tr": 8.7e-3, "te": 4.9e-3}
INSTANTANEOUS = Sequence(np.full(N_PULSES, MAXIMUM / 2), **TIMES, inversion_time=0.0)
SELECTIVE = Sequence(
    np.full(N_PULSES, MAXIMUM / 2), **TIMES, inversion_time=10e-3, pulse=RFPulse.gaussian(1e-3, 3e-3)
)
ENGINE = EPGBloch(n_threads=1)
SURROGATE = GRUSurrogate("published", n_threads=1)
SPLINE11 = published_spline(N_PULSES, MAXIMUM)
SPLINE80 = spline(N_PULSES, 80, 0.0, MAXIMUM)
CASES = {
    # name: (sequence, model, optimiser, curve, limits)
    "Spline11, evolution": (INSTANTANEOUS, ENGINE, optimise_by_evolution, SPLINE11, None),
    "Spline11, gradient": (INSTANTANEOUS, ENGINE, optimise_by_gradient, SPLINE11, None),
    "80 knots, gradient": (INSTANTANEOUS, ENGINE, optimise_by_gradient, SPLINE80, None),
    "free angles, gradient": (
        INSTANTANEOUS,
        ENGINE,
        optimise_by_gradient,
        free(N_PULSES, 0.0, MAXIMUM),
        None,
    ),
    "free angles, steps up to 1.3 degrees, gradient": (
        INSTANTANEOUS,
        ENGINE,
        optimise_by_gradient,
        free(N_PULSES, 0.0, MAXIMUM, CHANGE),
        Limits(maximum_change=CHANGE),
    ),
    "slice profile: Spline11, evolution": (SELECTIVE, ENGINE, optimise_by_evolution, SPLINE11, None),
    "slice profile: Spline11, evolution by surrogate": (
        SELECTIVE,
        SURROGATE,
        optimise_by_evolution,
        SPLINE11,
        None,
    ),
    "slice profile: 80 knots, gradient": (SELECTIVE, ENGINE, optimise_by_gradient, SPLINE80, None),
    "slice profile: 80 knots, gradient by surrogate": (
        SELECTIVE,
        SURROGATE,
        optimise_by_gradient,
        SPLINE80,
        None,
    ),
}
PUBLISHED = {"cpu_s": 41.0, "signals": 70000}
"""Spline11, evolution by the surrogate of Liu et al. on a V100."""


def search(case, seed):
    """One design: its exact J, signals evaluated, CPU time [s]."""
    sequence, model, optimise, curve, limits = case
    criterion = Criterion(TISSUES)
    objective = Objective(model, criterion, Parametrization(sequence, {"flip_angle": curve}))
    start = time.process_time()
    design = optimise(objective, seed=seed, limits=limits)
    seconds = time.process_time() - start
    change = float(np.rad2deg(np.abs(np.diff(design.sequence.flip_angle)).max()))
    return {
        "j": criterion.of(ENGINE, design.sequence),
        "signals": design.n_signals,
        "cpu_s": seconds,
        "largest_change_deg": change,
    }


def main():
    console = Console(stderr=True)
    record = {
        "work": f"{N_PULSES} pulses, two tissues, one thread, seeds {SEEDS.start} to {SEEDS.stop - 1}",
        "date": date.today().isoformat(),
        "machine": processor_name(),
        "versions": {"epgbloch": __version__},
        "published": PUBLISHED,
        "designs": {},
    }
    for name, case in CASES.items():
        with console.status(f"{name} ..."):
            search(case, 99)  # compiles, and makes the table of RF operators
            runs = [search(case, seed) for seed in SEEDS]
        record["designs"][name] = runs
        console.print(name, [round(run["j"], 3) for run in runs], [round(run["cpu_s"], 2) for run in runs])
    write_results("design", record, lines(record))


def lines(record):
    """The table of docs/benchmarks.md."""
    published = record["published"]
    table = [
        f"{record['work']}. {record['machine']}, {record['date']}. Medians, and ranges over the seeds.",
        "",
        "| design | J | signals with derivatives | CPU time | largest step |",
        "|---|---|---|---|---|",
        f"| Liu et al. 2021: Spline11, evolution by surrogate, V100 | - | {published['signals']} | "
        f"{published['cpu_s']:.0f} s | - |",
    ]
    for name, runs in record["designs"].items():
        j, signals, cpu, change = (
            [run[key] for run in runs] for key in ("j", "signals", "cpu_s", "largest_change_deg")
        )
        table.append(
            f"| {name} | {statistics.median(j):.3f} ({min(j):.3f} to {max(j):.3f}) | "
            f"{statistics.median(signals):.0f} | {statistics.median(cpu):.2g} s ({min(cpu):.2g} to "
            f"{max(cpu):.2g}) | {statistics.median(change):.2g} degrees |"
        )
    return table


if __name__ == "__main__":
    main()
