"""Measure dictionary matching and write results/matching.json and docs/benchmarks.md.

The dictionary has 312,480 atoms of rank 12, simulated with instantaneous pulses. The complex one is the same
in a basis with phases. Blocked NumPy (single precision, matrix product, square, maximum) matches some of the
voxels, and its time is extended linearly to all. All indices are compared with NumPy in double precision.
"""

import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import date
from multiprocessing import get_context

import numba
import numpy as np
from measure import measure, write_results

from dictionaries import Grid, generate, linear_axis, log_axis, match
from epgbloch import EPGBloch, Sequence, __version__
from epgbloch.trains import sin_squared
from surrogate.hardware import processor_name

N_VOXELS = 12_544
N_SUBSET = 512
N_ROUNDS = 3
RANK = 12
NOISE = 0.1
"""Norm of the noise over that of the voxel."""
BLOCK = (256, 4096)
"""Voxels and atoms that NumPy takes at a time."""
SGEMM = 2000
"""Rows and columns of the matrices that tell the speed of the machine."""


def make_dictionary():
    grid = Grid(log_axis(0.1, 5, 100), log_axis(0.01, 2, 100), linear_axis(0.8, 1.2, 40))
    flip_angle = sin_squared(1120, np.deg2rad([10, 25, 40, 55, 70]))
    sequence = Sequence(flip_angle, tr=8.7e-3, te=4.9e-3, inversion_time=10e-3)
    return generate(EPGBloch(n_states=20), sequence, grid, rank=RANK)


def with_phases(dictionary):
    """The same dictionary in a complex basis."""
    phases = np.exp(1j * np.arange(RANK)).astype(np.complex64)
    return replace(
        dictionary, basis=dictionary.basis * phases, coefficients=dictionary.coefficients * phases.conj()
    )


def make_voxels(dictionary, noise, size=1.0):
    """Noisy atoms."""
    rng = np.random.default_rng(0)
    atoms = dictionary.coefficients[rng.integers(dictionary.n_atoms, size=N_VOXELS)]
    normal = rng.standard_normal((N_VOXELS, RANK, 2)) @ [1, 1j]
    return (size * (atoms + noise / np.sqrt(2 * RANK) * normal)).astype(np.complex64)


def numpy_match(atoms, voxels):
    """Numbers of the best atoms, in the precision of the arguments."""
    index = np.zeros(len(voxels), dtype=np.int64)
    for first in range(0, len(voxels), BLOCK[0]):
        part = voxels[first : first + BLOCK[0]]
        best = np.full(len(part), -1, dtype=part.real.dtype)
        for start in range(0, len(atoms), BLOCK[1]):
            power = np.abs(part @ atoms[start : start + BLOCK[1]].conj().T) ** 2
            top = power.argmax(axis=1)
            values = power[np.arange(len(part)), top]
            better = values > best
            best[better] = values[better]
            index[first : first + BLOCK[0]][better] = start + top[better]
    return index


def run(dictionary, n_threads):
    """Answers, CPU and wall seconds of all candidates by name; in this process."""
    voxels = make_voxels(dictionary, NOISE)
    dual = make_voxels(dictionary, 1.0, size=0.05)[::-1]
    subset = voxels[:N_SUBSET]
    square = np.random.default_rng(0).standard_normal((SGEMM, SGEMM)).astype(np.float32)
    options = {"n_threads": n_threads}
    candidates = {
        "epgbloch": lambda: match(dictionary, voxels, **options).index,
        "epgbloch, with sorting the atoms": lambda: match(replace(dictionary), voxels, **options).index,
        "epgbloch, with duals": lambda: match(dictionary, voxels, dual=dual, **options).index,
        "epgbloch, best 8": lambda: match(dictionary, voxels, n_best=8, **options).index,
        "numpy": lambda: numpy_match(dictionary.coefficients, subset),
        "sgemm": lambda: square @ square,
    }
    for noise in (0.0, 0.3, 1.0):
        noisy = make_voxels(dictionary, noise)
        candidates[f"epgbloch, noise {noise:.0%}"] = lambda noisy=noisy: (
            match(dictionary, noisy, **options).index
        )
    answers, cpu, wall = measure(candidates, N_ROUNDS)
    for seconds in (cpu, wall):
        seconds["numpy"] *= N_VOXELS / N_SUBSET
    return answers, cpu, wall


def in_process(dictionary, n_threads):
    """`run` in a process whose NumPy has `n_threads` threads."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(n_threads)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(run, dictionary, n_threads).result()


def exact(dictionary):
    """Numbers of the best atoms in double precision."""
    voxels = make_voxels(dictionary, NOISE)
    return numpy_match(dictionary.coefficients.astype(np.complex128), voxels.astype(np.complex128))


def case(dictionary):
    """Figures of one dictionary, and whether the answers are right."""
    expected = exact(dictionary)
    answers, cpu, _ = in_process(dictionary, 1)
    _, _, wall = in_process(dictionary, os.cpu_count())
    work = dictionary.n_atoms * N_VOXELS * RANK * (4 if np.iscomplexobj(dictionary.coefficients) else 2)
    return {
        "cpu_s": {name: cpu[name] for name in cpu if name != "sgemm"},
        "wall_s": {name: wall[name] for name in wall if name != "sgemm"},
        "speedup_over_numpy_cpu": cpu["numpy"] / cpu["epgbloch"],
        "speedup_over_numpy_cpu_with_sorting": cpu["numpy"] / cpu["epgbloch, with sorting the atoms"],
        "speedup_over_numpy_wall": wall["numpy"] / wall["epgbloch"],
        "speedup_over_numpy_wall_with_sorting": wall["numpy"] / wall["epgbloch, with sorting the atoms"],
        "multiply_adds_of_all_products_per_cpu_s": work / cpu["epgbloch"],
        "sgemm_multiply_adds_per_cpu_s": SGEMM**3 / cpu["sgemm"],
        "differ_from_double_precision": int((answers["epgbloch"] != expected).sum()),
        "numpy_differs_from_double_precision": int((answers["numpy"] != expected[:N_SUBSET]).sum()),
    }


def summary(kind, figures):
    """Sentences on one dictionary."""
    cpu, wall = (figures[f"speedup_over_numpy_{clock}"] for clock in ("cpu", "wall"))
    first_cpu, first_wall = (figures[f"speedup_over_numpy_{clock}_with_sorting"] for clock in ("cpu", "wall"))
    sgemm = figures["sgemm_multiply_adds_per_cpu_s"]
    skipped = figures["multiply_adds_of_all_products_per_cpu_s"] / sgemm
    ours, theirs = figures["differ_from_double_precision"], figures["numpy_differs_from_double_precision"]
    return [
        f"- {kind.capitalize()} basis: {cpu:.0f} times as fast as numpy on one thread, {wall:.0f} times on "
        f"all; {first_cpu:.0f} and {first_wall:.0f} times with sorting.",
        f"  All products at the speed of a large matrix product ({sgemm / 1e9:.0f}e9 multiply-adds a second) "
        f"would take {skipped:.1f} times as long; most are never computed.",
        f"  Of {N_VOXELS} voxels, {ours} get another atom than from numpy in double precision; "
        f"with numpy in single precision {theirs} of {N_SUBSET} do.",
    ]


def main():
    start = time.perf_counter()
    print("Measuring the matching (about eight minutes) ...")
    dictionary = make_dictionary()
    cases = {"real": case(dictionary), "complex": case(with_phases(dictionary))}
    record = {
        "work": f"{dictionary.n_atoms} atoms x rank {RANK}, {N_VOXELS} voxels with {NOISE:.0%} noise",
        "date": date.today().isoformat(),
        "machine": processor_name(),
        "versions": {"epgbloch": __version__, "numpy": np.__version__, "numba": numba.__version__},
        "cases": cases,
        "benchmark_s": time.perf_counter() - start,
    }
    n_threads = os.cpu_count()
    lines = [
        f"{record['work']}. {record['machine']}, {record['date']}, medians of {N_ROUNDS}.",
        "",
        "| matching | real basis, CPU s, 1 thread | complex basis | "
        f"real basis, wall s, {n_threads} threads | complex basis |",
        "|---|---|---|---|---|",
    ]
    for name in cases["real"]["cpu_s"]:
        label = f"numpy, extended from {N_SUBSET} voxels" if name == "numpy" else name
        cells = [f"{cases[kind][clock][name]:.2f}" for clock in ("cpu_s", "wall_s") for kind in cases]
        lines.append(f"| {' | '.join([label, *cells])} |")
    lines += ["", *(line for kind, figures in cases.items() for line in summary(kind, figures))]
    write_results("matching", record, lines)


if __name__ == "__main__":
    main()
