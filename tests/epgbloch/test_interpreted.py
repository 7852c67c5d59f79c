"""The kernels as plain Python, with NUMBA_DISABLE_JIT=1: the same results as compiled.

There, vectors are slices of NumPy arrays, and one that reaches beyond its array has the wrong length.
"""

import os
import subprocess
import sys

import numpy as np
import pytest

from epgbloch import EPGBloch, RFPulse, Sequence, Tissue

WRT = ("t1", "t2", "b1", "off_resonance")
PULSE = RFPulse.gaussian(1e-3, 5e-3, n_steps=2)
PHASE = np.random.default_rng(2).uniform(-3, 3, 20)
SPOILED = np.random.default_rng(3).integers(0, 2, 20)
# 20 pulses: more than the 16 after which the windows of states move back
CASES = {
    "real": ({}, {}),
    "one pulse": ({"n_pulses": 1}, {}),
    "phases": ({"phase": PHASE}, {}),
    "off-resonance": ({}, {"off_resonance": [13.0, 0.0]}),
    "partly spoiled": ({"dephasing": SPOILED}, {}),
    "balanced": ({"spoiling": "balanced", "phase": PHASE}, {"off_resonance": 3.0}),
    "diffusion": ({"spoiler_moment": 6e4}, {"diffusion": [3e-9, 0.0]}),
    "diffusion, phases": ({"spoiler_moment": 6e4, "phase": PHASE}, {"diffusion": [3e-9, 0.0]}),
    "selective": ({"pulse": PULSE}, {}),
    "selective, phases": ({"pulse": PULSE, "phase": PHASE}, {"off_resonance": 13.0}),
    "selective, diffusion": ({"pulse": PULSE, "spoiler_moment": 6e4}, {"diffusion": 3e-9}),
}


def results(case):
    """Signals, derivatives and gradients of a case by name."""
    options, fields = CASES[case]
    n = options.get("n_pulses", 20)
    rng = np.random.default_rng(0)
    arrays = {"flip_angle": rng.uniform(0.1, 0.75, n), "tr": rng.uniform(8e-3, 12e-3, n), "te": 4e-3}
    chosen = {
        name: value[:n] if isinstance(value, np.ndarray) else value
        for name, value in options.items()
        if name != "n_pulses"
    }
    sequence = Sequence(**arrays, inversion_time=0.02, **chosen)
    tissue = Tissue([1.0, 0.3], [0.2, 0.03], b1=[0.9, 1.2], **fields)
    engine = EPGBloch(n_subslices=3, n_threads=1)
    found = {"signal": engine.signal(sequence, tissue)}
    # without off-resonance, trains of phase 0 have real states, or half of the slice
    for wrt in (WRT[:3], WRT):
        _, found[f"jacobian by {wrt}"] = engine.jacobian(sequence, tissue, wrt)
        bar = rng.normal(size=(1 + len(wrt), 2, n))
        if not tissue.diffusion.any():
            gradient = engine.gradient(sequence, tissue, bar[0], bar[1:], wrt)
            for name in ("flip_angle", "phase", "tr", "te", "inversion_time"):
                found[f"gradient by {name} of {wrt}"] = np.atleast_1d(getattr(gradient, name))
    return found


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    """Results of all cases from an interpreter without compilation."""
    path = tmp_path_factory.mktemp("interpreted") / "results.npz"
    run_this = f"import runpy; runpy.run_path({__file__!r}, run_name='__main__')"
    subprocess.run(
        [sys.executable, "-W", "error", "-c", run_this, str(path)],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        check=True,
        timeout=300,
    )
    with np.load(path) as file:
        return dict(file)


@pytest.mark.parametrize("case", CASES)
def test_interpreted_kernels_agree_with_compiled_ones(interpreted, case):
    for name, compiled in results(case).items():
        value = interpreted[f"{case}: {name}"]
        assert value.shape == compiled.shape
        # products and sums are rounded together when compiled: 1e-7 an operation, 20 pulses
        error = np.abs(value - compiled).max(axis=-1)
        assert np.all(error <= 1e-5 * np.abs(compiled).max(axis=-1)), (name, error)


if __name__ == "__main__":
    from numba import config

    assert config.DISABLE_JIT
    np.savez(sys.argv[1], **{f"{c}: {name}": value for c in CASES for name, value in results(c).items()})
