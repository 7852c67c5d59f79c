"""Measure the normal operator against mrpro and BART; write results/peers_reconstruction.json and the docs.

All on one thread. mrpro makes its kernel once. BART makes it for some of the readouts, and the time is
extended linearly to all; that of a product does not depend on them. The answers are compared before anything
is written: with mrpro the normal operator, with BART, which offers none, images after some iterations of
conjugate gradients. BART takes part where `bart` is on the PATH. Run it with `make bench-peers`.
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
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import sigpy
from measure import measure, write_results
from subspace_encoding import N_READOUTS, RANK, Work, arguments, random

from epgbloch import __version__
from reconstruction import SubspaceEncoding, as_linop
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
BART_READOUTS = (56, 112)
N_ROUNDS = 3
BART_ITERATIONS = (2, 22)
# both ask for 1e-6 and get 1e-5 in single precision
TOLERANCE = 5e-5
# 1 - correlation; BART grids with an accuracy of about 1e-3
BART_TOLERANCE = 1e-2

MRPRO_NOTE = "The products of epgbloch and mrpro differ by {:.0e}."
BART_NOTE = (
    "BART makes its kernel in every call of `pics`, for "
    f"{BART_READOUTS[0]} and {BART_READOUTS[1]} readouts, extended linearly to\n{N_READOUTS}. "
    f"It counts the time without iterations, on the line through calls of {BART_ITERATIONS[0]} and "
    f"{BART_ITERATIONS[1]}, with reading,\nwriting and the adjoint; its product, an iteration. "
    "The correlation of its images with those of SigPy's\nconjugate gradients on `SubspaceEncoding`, "
    f"after {BART_ITERATIONS[0]} iterations of both, is 1 - {{:.0e}}."
)


def some_readouts(n_readouts):
    """Arguments with the first readouts only."""
    trajectory, matrix, sensitivities, basis = arguments(WORK)
    return trajectory[:n_readouts], matrix, sensitivities, basis[:n_readouts]


def extended(seconds):
    """Seconds for all readouts from {number of readouts: seconds}, each for both clocks, on a line."""
    (few, fast), (more, slow) = seconds.items()
    return {
        clock: slow[clock] + (N_READOUTS - more) * (slow[clock] - fast[clock]) / (more - few)
        for clock in fast
    }


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


def write_cfl(name, array):
    shape = array.shape + (1,) * (16 - array.ndim)
    Path(f"{name}.hdr").write_text(f"# Dimensions\n{' '.join(map(str, shape))}\n")
    array.astype(np.complex64).ravel(order="F").tofile(f"{name}.cfl")


def bart_images(n_readouts, n_iterations, kspace):
    """Coefficient images by BART, and CPU and wall seconds; in the current folder."""
    trajectory, matrix, sensitivities, basis = some_readouts(n_readouts)
    k = np.zeros((3, WORK.n_samples, 1, 1, 1, n_readouts))
    k[:2, :, 0, 0, 0] = (trajectory * np.array(matrix[::-1])).transpose(2, 1, 0)
    write_cfl("k", k)
    write_cfl("kspace", kspace.transpose(2, 0, 1)[None, :, None, :, None])
    write_cfl("coils", sensitivities.transpose(2, 1, 0)[:, :, None])
    write_cfl("basis", basis.reshape(1, 1, 1, 1, 1, n_readouts, RANK))
    command = ["bart", "pics", "-i", str(n_iterations), "-t", "k", "-B", "basis", "kspace", "coils", "x"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - start
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    x = np.fromfile("x.cfl", np.complex64).reshape(*matrix[::-1], RANK, order="F").transpose(2, 1, 0)
    return x, {"cpu_s": cpu, "wall_s": wall}


def bart_times():
    """CPU and wall seconds of BART's kernel and normal operator; None without BART."""
    if shutil.which("bart") is None:
        return None
    few, many = BART_ITERATIONS
    starts = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for n_readouts in BART_READOUTS:
            encoding = SubspaceEncoding(*some_readouts(n_readouts), n_threads=1)
            kspace = encoding.forward(random(np.random.default_rng(1), *encoding.image_shape))
            theirs, short = bart_images(n_readouts, few, kspace)
            _, long = bart_images(n_readouts, many, kspace)
            iteration = {clock: (long[clock] - short[clock]) / (many - few) for clock in short}
            starts[n_readouts] = {clock: short[clock] - few * iteration[clock] for clock in short}
    app = sigpy.app.LinearLeastSquares(as_linop(encoding), kspace, max_iter=few, show_pbar=False)
    ours = app.run()
    correlation = abs(np.vdot(theirs, ours)) / np.linalg.norm(theirs) / np.linalg.norm(ours)
    if not 1 - correlation <= BART_TOLERANCE:
        raise SystemExit(f"the images of BART have a correlation of {correlation:.3f} with those of epgbloch")
    return {"normal": iteration, "kernel": extended(starts), "difference": float(1 - correlation)}


def bart_version():
    found = subprocess.run(["bart", "version"], capture_output=True, text=True, check=True).stdout
    return re.sub(r"^v", "", found.strip())


def main():
    torch.set_num_threads(1)
    given = arguments(WORK)
    print("Measuring the reconstruction by epgbloch and its peers (some minutes) ...")
    mrpro_normal(*some_readouts(RANK))  # warm-up
    mrpro, mrpro_kernel = timed_once(partial(mrpro_normal, *given))
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
    difference = float(
        np.linalg.norm(answers["mrpro"] - answers["epgbloch"]) / np.linalg.norm(answers["epgbloch"])
    )
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
    if bart is None:
        lines += ["", MRPRO_NOTE.format(difference)]
    else:
        lines += ["", MRPRO_NOTE.format(difference), BART_NOTE.format(bart["difference"])]
    write_results("peers_reconstruction", record, lines)


if __name__ == "__main__":
    main()
