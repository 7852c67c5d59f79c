"""The twin's kernels as plain Python, with NUMBA_DISABLE_JIT=1: the same results as compiled."""

import dataclasses
import os
import subprocess
import sys

import numpy as np

from design.mrzero import ImagingSequence, Twin, Voxels


def results():
    """Signal and gradient of a tiny spin echo, readouts along x and oblique, T2' and diffusion."""
    straight, oblique = [[-100.0, 0, 50.0], *[[50.0, 0, 0]] * 5], [[30.0, 20.0, 0]] * 6
    sampled, times = [False, *[True] * 5], [1e-3] * 6
    sequence = ImagingSequence.from_repetitions(
        [(1.0, 0.3, straight, times, sampled, 0.3), (2.0, 1.2, oblique, times, sampled, 0.0)]
    )
    position = [[0.0, 0.0, 0.0], [0.01, 0.0, 0.0], [0.0, 0.01, 0.0]]
    twin = Twin(
        Voxels(position, [0.01, 0.01, 5e-3], [1.0, 0.5, 0.7], 0.8, 0.06, 0.03, 10.0, 0.9, diffusion=2e-9)
    )
    gradient = twin.gradient(sequence, np.exp(1j * np.arange(10))[np.newaxis])
    return {"signal": twin.signal(sequence), **dataclasses.asdict(gradient)}


def test_interpreted_kernels_agree_with_compiled_ones(tmp_path):
    path = tmp_path / "results.npz"
    run_this = f"import runpy; runpy.run_path({__file__!r}, run_name='__main__')"
    subprocess.run(
        [sys.executable, "-W", "error", "-c", run_this, str(path)],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        check=True,
        timeout=120,
    )
    with np.load(path) as interpreted:
        for name, compiled in results().items():
            # products and sums are rounded together when compiled: 1e-7 an operation
            error = np.abs(interpreted[name] - compiled).max()
            assert error <= 3e-5 * np.abs(compiled).max(), name


if __name__ == "__main__":
    from numba import config

    assert config.DISABLE_JIT
    np.savez(sys.argv[1], **results())
