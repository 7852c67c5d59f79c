"""Errors of truncated states, sampled slices and single precision over whole trains."""

import numpy as np
from figure_scripts.cases import error, families, gaussian, lobes, random_tissue, rounded, sequence, tissue

from epgbloch import EPGBloch, Tissue
from epgbloch.planning import states_per_atom
from epgbloch.reference import epg_bloch, instantaneous_epg, isochromats
from epgbloch.trains import TRAINS

N_TRAIN = 1120
TOLERANCES = (1e-2, 1e-3, 1e-4, 1e-5)
SUBSLICES_PER_THICKNESS = 64
"""Finer grids change the signals of `lobes` by less than 2e-6."""


def states():
    """Fixed numbers of states, and those chosen for the default tolerance, against all that matter."""
    train, atoms = lobes(), tissue()
    exact = instantaneous_epg(train, atoms, n_states=train.n_pulses // 2)
    counts = [2, 4, 6, 8, 10, 15, 20, 30, 40, 60, 80, 120, 160, 190]
    chosen = states_per_atom(EPGBloch(), train, atoms)
    return {
        "t2_ms": rounded(1e3 * atoms.t2),
        "n_states": counts,
        "error": rounded([error(instantaneous_epg(train, atoms, n_states=n), exact) for n in counts]),
        "chosen": chosen.tolist(),
        "chosen_error": rounded(_with_states(train, atoms, chosen, exact)),
    }


def tolerance():
    """Errors of the chosen numbers of states over the random families."""
    atoms = random_tissue(20)
    errors = {tolerance: [] for tolerance in TOLERANCES}
    counts = {tolerance: [] for tolerance in TOLERANCES}
    for train in families(N_TRAIN).values():
        exact = instantaneous_epg(train, atoms, n_states=N_TRAIN // 2)
        for value in TOLERANCES:
            counts[value].append(states_per_atom(EPGBloch(tolerance=value), train, atoms))
            errors[value].append(_with_states(train, atoms, counts[value][-1], exact))
    return {
        "tolerance": TOLERANCES,
        "largest": rounded([np.max(errors[value]) for value in TOLERANCES]),
        "median": rounded([np.median(errors[value]) for value in TOLERANCES]),
        "median_states": [int(np.median(counts[value])) for value in TOLERANCES],
    }


def _with_states(train, atoms, counts, exact):
    return np.concatenate(
        [
            error(instantaneous_epg(train, atoms[i : i + 1], n_states=int(n)), exact[i : i + 1])
            for i, n in enumerate(counts)
        ]
    )


def ensemble():
    """Isochromats instead of states: orders above their number alias."""
    train, atoms = lobes(), tissue()
    exact = instantaneous_epg(train, atoms, n_states=train.n_pulses // 2)
    counts = [4, 8, 16, 32, 64, 128, 256, 384]
    return {
        "t2_ms": rounded(1e3 * atoms.t2),
        "n_isochromats": counts,
        "error": rounded([error(isochromats(train, atoms, n_isochromats=n), exact) for n in counts]),
    }


def slices():
    """Number of sub-slices and their extent, and the default settings of the engine in all."""
    train, atoms = lobes(gaussian()), tissue()
    n_states = train.n_pulses // 2

    def exact(extent):
        return epg_bloch(
            train,
            atoms,
            n_states=n_states,
            n_subslices=int(SUBSLICES_PER_THICKNESS * extent),
            slice_extent=extent,
        )

    def engine(n_subslices, extent):
        model = EPGBloch(n_states=n_states, n_subslices=n_subslices, slice_extent=extent)
        return model.signal(train, atoms)

    inside, everywhere = exact(3.0), exact(8.0)
    counts = [8, 12, 16, 24, 32, 48, 64, 96, 128, 160, 192]
    extents = [1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0]
    return {
        "t2_ms": rounded(1e3 * atoms.t2),
        "n_subslices": counts,
        "subslices_error": rounded([error(engine(n, 3.0), inside) for n in counts]),
        "extent": extents,
        "extent_error": rounded(
            [error(engine(int(SUBSLICES_PER_THICKNESS * e), e), everywhere) for e in extents]
        ),
        "default_error": rounded(error(EPGBloch().signal(train, atoms), everywhere)),
        "generous_error": rounded(
            error(EPGBloch(n_subslices=96, slice_extent=4.0).signal(train, atoms), everywhere)
        ),
    }


def single_precision():
    """The engine against the oracles with the same states, steps and sub-slices."""

    def errors(model, oracle, pulse, atoms, **setting):
        own, common = [], []
        for train in families(N_TRAIN, pulse).values():
            signal, exact = model.signal(train, atoms), oracle(train, atoms, **setting)
            own.append(error(signal, exact))
            common.append(np.abs(signal - exact).max() / np.abs(exact).max())
        return {
            "n_atoms": atoms.n_atoms,
            "median": rounded(np.median(own)),
            "largest": rounded(np.max(own)),
            "largest_of_common_maximum": rounded(max(common)),
        }

    slices = {"n_states": 20, "n_subslices": 16}
    return {
        "instantaneous": errors(
            EPGBloch(n_states=30), instantaneous_epg, None, random_tissue(50), n_states=30
        ),
        "selective": errors(EPGBloch(**slices), epg_bloch, gaussian(16), random_tissue(10), **slices),
    }


def derivatives():
    """The jacobian of the engine against fourth-order differences of the oracle."""
    n_pulses, n_states, step = 200, 100, 1e-3
    train = sequence(TRAINS["spline11"](n_pulses, np.random.default_rng(3)), gaussian(16))
    atoms = random_tissue(6)
    values = {name: getattr(atoms, name) for name in ("t1", "t2", "b1", "off_resonance")}
    # relative steps; 0.1 Hz for the off-resonance
    steps = {name: step * value for name, value in values.items()} | {"off_resonance": np.full(6, 0.1)}
    errors = []
    for name in values:

        def signal(shift, name=name):
            moved = Tissue(**(values | {name: values[name] + shift * steps[name]}))
            return epg_bloch(train, moved, n_states=n_states, n_subslices=16)

        exact = (8 * (signal(1) - signal(-1)) - signal(2) + signal(-2)) / (12 * steps[name][:, np.newaxis])
        model = EPGBloch(n_states=n_states, n_subslices=16)
        errors.append(error(model.jacobian(train, atoms, wrt=(name,))[1][0], exact).max())
    return {"wrt": list(values), "largest": rounded(errors)}
