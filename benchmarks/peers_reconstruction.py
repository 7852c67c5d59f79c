"""Measure the normal operator against mrpro and BART; write results/peers_reconstruction.json and the docs.

All on one thread. The answers are compared before anything is written: the normal operator with mrpro's, and
with BART, which offers none, the images of a phantom. BART takes part where `bart` is on the PATH.
Run it with `make bench-peers`.
"""

import contextlib
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import types
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np
from measure import measure, write_results
from subspace_encoding import N_READOUTS, RANK, Work, arguments, random

from epgbloch import __version__
from reconstruction import SubspaceEncoding
from surrogate.hardware import processor_name

try:
    import torchvision  # noqa: F401
except (ImportError, RuntimeError):
    # mrpro needs it for a phantom only, and that of PyPI does not go with the CPU build of torch
    for module in ("torchvision", "torchvision.transforms", "torchvision.transforms.functional"):
        sys.modules[module] = types.ModuleType(module)

import torch
from mrpro.data import KTrajectory
from mrpro.operators import NonUniformFastFourierOp

WORK = Work((112, 112), 8)
N_ROUNDS = 3
BART_ITERATIONS = (2, 22)
# mrpro has a tolerance of 1e-6 for the kernel, epgbloch too
TOLERANCE = 1e-5
# BART stops after 22 iterations
BART_CORRELATION = 0.98

NOTES = """\
BART makes its kernel in every call of `pics`: the figure is the time of a call without iterations, on the
line through calls of 2 and 22, with reading, writing and the adjoint. The product is an iteration."""


def mrpro_normal(trajectory, matrix, sensitivities, basis):
    """The normal operator by mrpro, which leaves the sensitivities to others."""
    k = torch.as_tensor(trajectory)[:, None, None, None]  # time, coil, k2, k1, k0, component
    nufft = NonUniformFastFourierOp(
        direction=("y", "x"),
        recon_matrix=matrix,
        encoding_matrix=(1, 1),
        traj=KTrajectory(kz=torch.zeros(1, 1, 1, 1, 1), ky=k[..., 1], kx=k[..., 0]),
    )
    toeplitz = nufft.toeplitz(subspace=torch.as_tensor(basis, dtype=torch.float32))
    coils = torch.as_tensor(sensitivities)[:, None]

    def normal(x):
        (images,) = toeplitz(torch.as_tensor(x)[:, None, None] * coils)
        return (images * coils.conj()).sum(1)[:, 0].numpy()

    return normal


def timed_once(run):
    """The answer, and CPU and wall seconds."""
    start = time.process_time(), time.perf_counter()
    answer = run()
    return answer, {
        "cpu_s": time.process_time() - start[0],
        "wall_s": time.perf_counter() - start[1],
    }


def phantom(work):
    """Smooth sensitivities, and an ellipse in every coefficient."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in work.matrix), indexing="ij")
    coils = np.arange(work.n_coils)[:, np.newaxis, np.newaxis]
    sensitivities = np.exp(1j * coils * x) * (1 + 0.5 * np.cos(coils) * y)
    weights = np.random.default_rng(0).standard_normal((RANK, 1, 1))
    images = weights * (1 + x * y) * (x**2 + y**2 < 0.6)
    return sensitivities.astype(np.complex64), images.astype(np.complex64)


def write_cfl(name, array):
    shape = array.shape + (1,) * (16 - array.ndim)
    Path(f"{name}.hdr").write_text(f"# Dimensions\n{' '.join(map(str, shape))}\n")
    array.astype(np.complex64).ravel(order="F").tofile(f"{name}.cfl")


def bart_times():
    """CPU and wall seconds of BART's kernel and normal operator; None without BART."""
    if shutil.which("bart") is None:
        return None
    trajectory, matrix, _, basis = arguments(WORK)
    sensitivities, images = phantom(WORK)
    kspace = SubspaceEncoding(trajectory, matrix, sensitivities, basis).forward(images)
    seconds = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        k = np.zeros((3, WORK.n_samples, 1, 1, 1, N_READOUTS))
        k[:2, :, 0, 0, 0] = (trajectory * np.array(matrix[::-1])).transpose(2, 1, 0)
        write_cfl("k", k)
        write_cfl("kspace", kspace.transpose(2, 0, 1)[None, :, None, :, None])
        write_cfl("coils", sensitivities.transpose(2, 1, 0)[:, :, None])
        write_cfl("basis", basis.reshape(1, 1, 1, 1, 1, N_READOUTS, RANK))
        for n_iterations in BART_ITERATIONS:
            command = ["bart", "pics", "-i", str(n_iterations), "-t", "k", "-B", "basis"]
            before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            subprocess.run(
                [*command, "kspace", "coils", "x"],
                check=True,
                capture_output=True,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            seconds[n_iterations] = {"cpu_s": cpu, "wall_s": time.perf_counter() - start}
        x = np.fromfile("x.cfl", np.complex64).reshape(*matrix[::-1], RANK, order="F").transpose(2, 1, 0)
    correlation = abs(np.vdot(x, images)) / np.linalg.norm(x) / np.linalg.norm(images)
    if not correlation > BART_CORRELATION:
        raise SystemExit(f"the images of BART have a correlation of {correlation:.3f} with the phantom")
    few, many = BART_ITERATIONS
    slope = {clock: (seconds[many][clock] - seconds[few][clock]) / (many - few) for clock in seconds[few]}
    return {
        "normal": slope,
        "kernel": {clock: seconds[few][clock] - few * slope[clock] for clock in slope},
        "correlation": correlation,
    }


def bart_version():
    found = subprocess.run(["bart", "version"], capture_output=True, text=True, check=True).stdout
    return re.sub(r"^v", "", found.strip())


def main():
    torch.set_num_threads(1)
    given = arguments(WORK)
    print("Measuring the reconstruction by epgbloch and its peers (about five minutes) ...")
    mrpro, mrpro_kernel = timed_once(lambda: mrpro_normal(*given))
    encoding = SubspaceEncoding(*given, n_threads=1)
    x = random(np.random.default_rng(1), *encoding.image_shape)
    answers, cpu, wall = measure(
        {
            "kernel": lambda: SubspaceEncoding(*given, n_threads=1).normal(x),
            "epgbloch": lambda: encoding.normal(x),
            "forward and adjoint by finufft": lambda: encoding.adjoint(encoding.forward(x)),
            "mrpro": lambda: mrpro(x),
        },
        N_ROUNDS,
    )
    ours, theirs = answers["epgbloch"], answers["mrpro"]
    difference = float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))
    if not difference <= TOLERANCE:
        raise SystemExit(f"the normal operators of epgbloch and mrpro differ by {difference:.1e}")
    results = {
        name: {"normal": {"cpu_s": cpu[name], "wall_s": wall[name]}} for name in answers if name != "kernel"
    }
    results["epgbloch"]["kernel"] = {
        "cpu_s": cpu["kernel"] - cpu["epgbloch"],
        "wall_s": wall["kernel"] - wall["epgbloch"],
    }
    results["mrpro"] |= {"kernel": mrpro_kernel, "difference": difference}
    versions = {"epgbloch": __version__} | {
        name: version(name) for name in ("mrpro", "torch", "finufft", "numpy")
    }
    bart = bart_times()
    if bart is not None:
        results["BART, an iteration of pics"] = bart
        versions["BART"] = bart_version()
    record = {
        "work": f"{WORK.name}, {N_READOUTS} golden-angle spokes x {WORK.n_samples} samples, rank {RANK}",
        "date": date.today().isoformat(),
        "machine": processor_name(),
        "versions": versions,
        "results": results,
    }
    fast = results["epgbloch"]
    lines = [
        f"{record['work']}. {record['machine']}, {record['date']}, one thread. "
        + ", ".join(f"{name} {number}" for name, number in versions.items())
        + ".",
        "",
        "| normal operator | kernel, CPU s | times epgbloch | product, CPU s | times epgbloch |",
        "|---|---|---|---|---|",
    ]
    for name, result in results.items():
        cells = [name]
        for part in ("kernel", "normal"):
            seconds = result[part]["cpu_s"] if part in result else None
            ratio = "" if seconds is None else f"{seconds / fast[part]['cpu_s']:.1f}"
            cells += ["" if seconds is None else f"{seconds:.3g}", ratio]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", f"The products of epgbloch and mrpro differ by {difference:.0e}.", NOTES if bart else ""]
    write_results("peers_reconstruction", record, lines)


if __name__ == "__main__":
    main()
