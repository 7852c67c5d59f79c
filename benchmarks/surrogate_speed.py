"""Measure the surrogate against the engine: results/surrogate.json, surrogate.png and a table.

The counterpart of figure 6 of Liu et al. (NMR Biomed 2021, e4527): time against the number of signals, for
trains of 336 and 1120 pulses with the RF pulse that the surrogate is trained with, all threads. Run it with
`make bench-surrogate` (it takes a while), or with `--largest 10000` for fewer signals.
"""

import argparse
import statistics
import time
from datetime import date
from pathlib import Path

import keras
import numba
import numpy as np
import tensorflow as tf
from cases import N_STATES, surrogate_sequence
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from measure import write_results
from rich.console import Console

from epgbloch import EPGBloch, Tissue, __version__
from epgbloch._cores import available_cores
from surrogate import GRUSurrogate, Weights, shipped_networks
from surrogate.features import network_inputs
from surrogate.hardware import processor_name
from surrogate.network import network_of

SIZES = (100, 1000, 10_000, 100_000)
LENGTHS = (336, 1120)
LARGEST_BATCH = 6400
"""Signals that Keras computes at a time, as in the paper."""
SHORT_S = 2.0
"""What takes less is measured three times, and the median counts."""
CHECKED = 1000
"""Signals whose errors are recorded."""
FIGURE = Path(__file__).parents[1] / "docs" / "figures" / "surrogate_speed.png"


def tissues(n_atoms):
    """T1 0.1-5 s and T2 0.01-2 s, uniform in their logarithms, T2 <= T1; B1 0.8-1.2."""
    rng = np.random.default_rng(0)
    t1, t2 = (np.exp(rng.uniform(*np.log(limits), 3 * n_atoms)) for limits in ((0.1, 5), (0.01, 2)))
    kept = np.flatnonzero(t2 <= t1)[:n_atoms]
    return Tissue(t1[kept], t2[kept], b1=rng.uniform(0.8, 1.2, n_atoms))


class KerasSignals:
    """Signals by Keras, compiled by XLA, in batches of one size."""

    def __init__(self, weights: Weights):
        network = network_of(weights)
        # the derivatives are a small part of the last layer and stay in
        self._network = tf.function(
            lambda pulses, initial: network({"pulses": pulses, "initial": initial}), jit_compile=True
        )

    def signal(self, sequence, tissue):
        size = min(tissue.n_atoms, LARGEST_BATCH)
        result = np.empty((tissue.n_atoms, sequence.n_pulses), np.float32)
        for start in range(0, tissue.n_atoms, size):
            rows = slice(start, start + size)
            pulses, initial = network_inputs(sequence, tissue[rows])
            missing = size - len(initial)  # another batch size would be compiled anew
            outputs = self._network(
                np.pad(pulses, ((0, missing), (0, 0), (0, 0))), np.pad(initial, ((0, missing), (0, 0)))
            )
            result[rows] = outputs[: len(initial), :, 0]
        return result


def seconds(run, is_warm):
    """Wall seconds: one run if it is long, else the median of three, after one for compilation if needed."""
    if not is_warm:
        run()
    spent = []
    while not spent or (len(spent) < 3 and spent[0] < SHORT_S):
        start = time.perf_counter()
        run()
        spent.append(time.perf_counter() - start)
    return statistics.median(spent)


def measured(candidates, n_pulses, sizes, console):
    """Wall seconds {candidate: [one for each size]}; candidates in turn at every size."""
    sequence, found = surrogate_sequence(n_pulses), {name: [] for name in candidates}
    for size in sizes:
        tissue = tissues(size)
        is_warm = any(LARGEST_BATCH < smaller < size for smaller in sizes)  # Keras had its largest batch
        for name, model in candidates.items():
            with console.status(f"{n_pulses} pulses, {size} signals: {name} ..."):
                found[name].append(seconds(lambda m=model, t=tissue: m.signal(sequence, t), is_warm))
    return found


def errors(candidates, n_pulses):
    """NRMSE of all signals against the engine with states for 1e-4, by candidate."""
    sequence, tissue = surrogate_sequence(n_pulses), tissues(CHECKED)
    expected = EPGBloch().signal(sequence, tissue)
    return {
        name: float(np.linalg.norm(model.signal(sequence, tissue) - expected) / np.linalg.norm(expected))
        for name, model in candidates.items()
    }


def draw(record):
    """Time against the number of signals, a panel for each length."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (length, found) in zip(
        figure.subplots(1, len(LENGTHS), sharey=True), record["wall_s"].items(), strict=True
    ):
        for name, values in found.items():
            axes.loglog(record["signals"], values, marker=".", label=name)
        axes.set(xlabel="signals", title=f"{length} pulses")
        axes.grid(alpha=0.3, which="both")
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("wall time [s]")
    figure.axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(FIGURE, format="png", dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=int, default=SIZES[-1], help="leave out larger numbers of signals")
    sizes = [size for size in SIZES if size <= parser.parse_args().largest]
    n_threads = available_cores()
    console = Console(stderr=True)
    surrogates = {name: GRUSurrogate(name) for name in shipped_networks()}
    candidates = {
        "engine, 20 states": EPGBloch(n_states=N_STATES),
        "engine, states for 1e-4": EPGBloch(),
        "surrogate published, Keras (XLA)": KerasSignals(surrogates["published"].weights),
        **{f"surrogate {name}, kernels": model for name, model in surrogates.items()},
    }
    record = {
        "work": f"slice profile of 32 sub-slices, {' and '.join(map(str, LENGTHS))} pulses, B1 0.8-1.2",
        "date": date.today().isoformat(),
        "machine": processor_name(),
        "threads": n_threads,
        "versions": {
            "epgbloch": __version__,
            **{module.__name__: module.__version__ for module in (keras, tf, np, numba)},
        },
        "signals": sizes,
        "wall_s": {str(length): measured(candidates, length, sizes, console) for length in LENGTHS},
        "nrmse_against_states_for_1e-4": {str(length): errors(candidates, length) for length in LENGTHS},
    }
    draw(record)
    lines = [
        f"{record['work']}. {record['machine']}, {n_threads} threads, {record['date']}. Wall seconds; the "
        f"error is the NRMSE of {CHECKED} signals against the engine with states for 1e-4.",
        "",
        "| pulses | candidate | " + " | ".join(f"{size} signals" for size in sizes) + " | error |",
        "|---" * (len(sizes) + 3) + "|",
        *(
            f"| {length} | {name} | "
            + " | ".join(f"{value:.3g}" for value in values)
            + f" | {record['nrmse_against_states_for_1e-4'][length][name]:.1e} |"
            for length, found in record["wall_s"].items()
            for name, values in found.items()
        ),
        "",
        "![Time against the number of signals](figures/surrogate_speed.png)",
    ]
    write_results("surrogate", record, lines)


if __name__ == "__main__":
    main()
