"""Measure the subspace encoding and write results/reconstruction.json and docs/benchmarks.md.

Random images, sensitivities and basis: the times do not depend on them. The kernel is measured with the
encoding that it belongs to, as it is made once for each slice.
"""

import time
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version

import numpy as np
from measure import measure, write_results

from epgbloch import __version__
from epgbloch._cores import available_cores
from reconstruction import SubspaceEncoding, golden_angle_radial, memory_estimate
from surrogate.hardware import processor_name

N_READOUTS = 1120
RANK = 12
N_ROUNDS = 3


@dataclass(frozen=True)
class Work:
    """Golden-angle spokes with twice as many samples as pixels; in three dimensions a stack of them."""

    matrix: tuple[int, ...]
    n_coils: int
    complex_basis: bool = False

    @property
    def name(self):
        coils = "1 coil" if self.n_coils == 1 else f"{self.n_coils} coils"
        basis = ", complex basis" if self.complex_basis else ""
        return f"{' x '.join(map(str, self.matrix))}, {coils}{basis}"

    @property
    def n_samples(self):
        return 2 * self.matrix[-1]


WORKS = (
    Work((112, 112), 1),
    Work((112, 112), 8),
    Work((112, 112), 8, complex_basis=True),
    Work((224, 224), 1),
    Work((224, 224), 8),
    Work((16, 64, 64), 8),
)


def random(rng, *shape):
    return rng.standard_normal((*shape, 2), dtype=np.float32).view(np.complex64)[..., 0]


def arguments(work):
    """Trajectory, matrix, sensitivities and basis."""
    rng = np.random.default_rng(0)
    trajectory = golden_angle_radial(N_READOUTS, work.n_samples)
    if len(work.matrix) == 3:
        partition = (np.arange(N_READOUTS) % work.matrix[0]) / work.matrix[0] - 0.5
        kz = np.broadcast_to(partition[:, np.newaxis, np.newaxis], (*trajectory.shape[:2], 1))
        trajectory = np.concatenate([trajectory, kz], axis=-1)
    basis = random(rng, N_READOUTS, RANK)
    basis = np.linalg.qr(basis if work.complex_basis else basis.real)[0]
    return trajectory, work.matrix, random(rng, work.n_coils, *work.matrix), basis


def timed(work, n_threads):
    """CPU and wall seconds by name, and the difference between `normal` and `adjoint` of `forward`."""
    given = arguments(work)
    encoding = SubspaceEncoding(*given, n_threads=n_threads)
    x = random(np.random.default_rng(1), *encoding.image_shape)
    answers, cpu, wall = measure(
        {
            "kernel": lambda: SubspaceEncoding(*given, n_threads=n_threads).normal(x),
            "normal": lambda: encoding.normal(x),
            "forward and adjoint": lambda: encoding.adjoint(encoding.forward(x)),
        },
        N_ROUNDS,
    )
    for seconds in (cpu, wall):
        seconds["kernel"] -= seconds["normal"]
    expected = answers["forward and adjoint"]
    difference = np.linalg.norm(answers["normal"] - expected) / np.linalg.norm(expected)
    return {"cpu_s": cpu, "wall_s": wall, "difference": float(difference)}


def main():
    start = time.perf_counter()
    print("Measuring the subspace encoding (some minutes) ...")
    n_cores = available_cores()
    results = {}
    for work in WORKS:
        estimate = memory_estimate(
            N_READOUTS, work.n_samples, work.matrix, work.n_coils, RANK, complex_basis=work.complex_basis
        )
        results[work.name] = {
            "one thread": timed(work, 1),
            "all threads": timed(work, n_cores),
            "kernel_bytes": estimate.kernel,
        }
    record = {
        "work": f"{N_READOUTS} golden-angle spokes, rank {RANK}",
        "date": date.today().isoformat(),
        "machine": processor_name(),
        "threads": n_cores,
        "versions": {"epgbloch": __version__}
        | {name: version(name) for name in ("finufft", "scipy", "numba")},
        "results": results,
        "benchmark_s": time.perf_counter() - start,
    }
    lines = [
        f"{record['work']}, twice as many samples as pixels. {record['machine']}, {record['date']}, medians "
        f"of {N_ROUNDS}.",
        "",
        "| images | kernel, CPU s, 1 thread | normal | forward and adjoint | kernel, wall s, "
        f"{n_cores} threads | normal | forward and adjoint | size of the kernel | difference |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, result in results.items():
        cells = [name]
        for threads, clock in (("one thread", "cpu_s"), ("all threads", "wall_s")):
            seconds = result[threads][clock]
            cells += [f"{seconds[part]:.2g}" for part in ("kernel", "normal", "forward and adjoint")]
        cells += [f"{result['kernel_bytes'] / 1e6:.0f} MB", f"{result['one thread']['difference']:.0e}"]
        lines.append(f"| {' | '.join(cells)} |")
    write_results("reconstruction", record, lines)


if __name__ == "__main__":
    main()
