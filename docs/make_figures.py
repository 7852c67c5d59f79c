"""Draw the figures of the documentation: convergence of the oracles and of the engine."""

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

from epgbloch import EPGBloch, RFPulse, Sequence, Tissue
from epgbloch.reference import bloch_ode, epg_bloch, instantaneous_epg, isochromats
from epgbloch.trains import sin_squared

FIGURES = Path(__file__).parent / "figures"
TISSUE = Tissue(t1=[1.0, 0.3, 4.0], t2=[0.05, 0.02, 2.0])
LABELS = ["T1/T2 1000/50 ms", "300/20 ms", "4000/2000 ms"]


def short_train(n_steps, n_pulses=12):
    flip_angle = np.deg2rad(np.linspace(20, 120, n_pulses))
    pulse = RFPulse.gaussian(1e-3, 5e-3, n_steps=n_steps)
    return Sequence(flip_angle, tr=9e-3, te=4e-3, inversion_time=0.02, pulse=pulse)


def long_train(pulse=None):
    flip_angle = sin_squared(400, np.deg2rad([15, 40, 70, 25]))
    return Sequence(flip_angle, tr=9e-3, te=4e-3, inversion_time=0.02, pulse=pulse)


def error(signal, expected):
    """Largest difference of every atom relative to its largest signal."""
    return np.abs(signal - expected).max(axis=1) / np.abs(expected).max(axis=1)


def rf_steps(axes):
    """Steps of the RF pulse; the waveform of 8 steps is refined, so that all pulses are the same."""
    coarse = RFPulse.gaussian(1e-3, 5e-3, n_steps=8)
    setting = {"n_subslices": 4, "slice_extent": 1.5}

    def sequence(factor):
        waveform = np.repeat(coarse.waveform, factor)
        pulse = RFPulse.from_samples(waveform, 1e-3, coarse.bandwidth, 5e-3)
        base = short_train(8)
        return Sequence(base.flip_angle, base.tr, base.te, inversion_time=0.02, pulse=pulse)

    exact = bloch_ode(sequence(1), TISSUE, n_isochromats=13, **setting)
    factors = 2 ** np.arange(0, 8)
    for splitting, style in (("first_order", "o--"), ("symmetric", "s-")):
        errors = np.array(
            [
                error(epg_bloch(sequence(f), TISSUE, n_states=13, splitting=splitting, **setting), exact)
                for f in factors
            ]
        )
        for i_atom in range(2):
            axes.loglog(
                8 * factors,
                errors[:, i_atom],
                style,
                color=f"C{i_atom}",
                label=f"{splitting.replace('_', ' ')}, {LABELS[i_atom]}",
            )
    axes.set(xlabel="RF steps", title="EPG-Bloch against the Bloch ODE")


def states(axes):
    sequence = long_train()
    exact = instantaneous_epg(sequence, TISSUE, n_states=201)
    counts = np.array([2, 4, 8, 12, 20, 30, 50, 80, 120, 160])
    errors = np.array([error(instantaneous_epg(sequence, TISSUE, n_states=n), exact) for n in counts])
    for i_atom, label in enumerate(LABELS):
        axes.semilogy(counts, np.maximum(errors[:, i_atom], 1e-16), "o-", label=label)
    axes.set(xlabel="configuration states", title="truncation of the states, 400 pulses")


def ensemble(axes):
    sequence = long_train()
    exact = instantaneous_epg(sequence, TISSUE, n_states=401)
    counts = np.array([4, 8, 16, 32, 64, 128, 256, 400, 512])
    errors = np.array([error(isochromats(sequence, TISSUE, n_isochromats=int(n)), exact) for n in counts])
    for i_atom, label in enumerate(LABELS):
        axes.loglog(counts, np.maximum(errors[:, i_atom], 1e-16), "o-", label=label)
    axes.set(xlabel="isochromats", title="isochromat ensemble against EPG, 400 pulses")


def subslices(axes):
    sequence = long_train(RFPulse.gaussian(1e-3, 5e-3))
    exact = EPGBloch(n_subslices=768).signal(sequence, TISSUE)
    counts = np.array([4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128])
    errors = np.array([error(EPGBloch(n_subslices=int(n)).signal(sequence, TISSUE), exact) for n in counts])
    for i_atom, label in enumerate(LABELS):
        axes.loglog(counts, errors[:, i_atom], "o-", label=label)
    axes.set(xlabel="sub-slices over 3 slice thicknesses", title="slice sampling, Gaussian pulse")


def convergence():
    figure, grid = plt.subplots(2, 2, figsize=(10, 7.5), layout="constrained")
    for axes, draw in zip(grid.flat, (rf_steps, states, ensemble, subslices), strict=True):
        draw(axes)
        axes.set_ylabel("largest error / largest signal")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.savefig(FIGURES / "convergence.png", dpi=110)


if __name__ == "__main__":
    mpl.use("Agg")
    FIGURES.mkdir(exist_ok=True)
    convergence()
