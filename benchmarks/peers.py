"""Measure epgbloch against blochsim and write results/peers.json and docs/benchmarks.md.

Both simulate reference work E with the same number of states, in turn in one process, on one thread and
on all; the answers are compared before anything is written. Run it with `make bench-peers`.
"""

from dataclasses import dataclass
from datetime import date
from functools import partial
from importlib.metadata import version

import blochsim
import numpy as np
import torch
from blochsim.sequence import exact_slice_profile, rf_definition
from cases import N_STATES, reference_sequence, reference_tissue
from measure import measure, write_results
from rich.console import Console

from epgbloch import EPGBloch, RFPulse, Sequence
from epgbloch._cores import available_cores
from surrogate.hardware import processor_name

N_ATOMS = 1000
N_SUBSLICES, SLICE_EXTENT = 32, 3.0
# blochsim takes half a minute for 1000 atoms with slice profile, and minutes for their derivatives
SLICE_ATOMS = (16, 80)
# both work in float32, which costs 1e-5 over 1000 pulses; relaxation during a pulse of 1 ms makes up to
# 1.5e-2 in a derivative and grows with its length, so that 3e-5 are left at 2 us
SHORT_PULSE = 2e-6
TOLERANCE = 1e-4

NOTES = f"""\
Differences are over the largest value of the signal and of T dS/dT. blochsim turns the magnetisation at the
pulse centre, without relaxation during the pulse, so that the slice profiles agree only for a short pulse.
There blochsim simulates {SLICE_ATOMS[0]} and {SLICE_ATOMS[1]} atoms, and its time is extended linearly to
{N_ATOMS}. It tabulates the pulse in every call (included), epgbloch only in the first (not included)."""


@dataclass(frozen=True)
class Work:
    """One line of the table.

    peer_atoms : numbers of atoms that blochsim simulates; two of them extend linearly to N_ATOMS
    n_rounds : timed repetitions
    """

    name: str
    selective: bool
    derivatives: bool
    peer_atoms: tuple[int, ...]
    n_rounds: int


WORKS = (
    Work("instantaneous pulses, signal", False, False, (N_ATOMS,), 7),
    Work("instantaneous pulses, signal + dT1 + dT2", False, True, (N_ATOMS,), 7),
    Work("32 sub-slices, signal", True, False, SLICE_ATOMS, 3),
    Work("32 sub-slices, signal + dT1 + dT2", True, True, SLICE_ATOMS, 3),
)


class FISPTrain(blochsim.Simulator):
    """Inversion, then pulse, echo at TE and one dephasing order a TR; times in s, angles in rad."""

    inversion = blochsim.Inversion
    readout = blochsim.SSFPFidReadout  # sample, dephase, wait

    def layout(self, *, flip_angle, tr, te, inversion_time):
        parts = [self.operators.inversion(duration_s=inversion_time)]
        for angle, repetition, echo in zip(flip_angle, tr, te, strict=True):
            parts += [
                self.operators.excitation(angle),
                self.operators.delay(echo),
                self.operators.readout(duration_s=repetition - echo),
            ]
        return parts


def blochsim_train(sequence):
    """The same sequence for blochsim, with its sub-slices in the places where epgbloch has them."""
    shaped = {}
    if sequence.pulse is not None:
        pulse = sequence.pulse
        cell = SLICE_EXTENT / N_SUBSLICES
        position = (torch.arange(N_SUBSLICES) - (N_SUBSLICES - 1) / 2) * cell
        shaped["across_slice"] = exact_slice_profile(position)
        shaped["pulse"] = rf_definition(
            pulse.waveform, dwell_s=pulse.duration / pulse.n_steps, bandwidth_hz=pulse.bandwidth
        )
    return FISPTrain(
        flip_angle=sequence.flip_angle.tolist(),
        tr=sequence.tr.tolist(),
        te=sequence.te.tolist(),
        inversion_time=sequence.inversion_time,
        states=N_STATES,
        **shaped,
    )


def few_atoms(tissue, n_atoms):
    return tissue[np.linspace(0, tissue.n_atoms - 1, n_atoms).astype(int)]


def run_epgbloch(engine, sequence, tissue, derivatives):
    if derivatives:
        return engine.jacobian(sequence, tissue, wrt=("t1", "t2"))
    return engine.signal(sequence, tissue), None


def run_blochsim(train, tissue, derivatives):
    """Signal and derivatives in blochsim's own layout and units."""
    relaxation = {"T1": torch.as_tensor(1e3 * tissue.t1), "T2": torch.as_tensor(1e3 * tissue.t2)}
    if derivatives:
        return train.jacobian(("T1", "T2"), **relaxation)
    return train.simulate(**relaxation), None


def in_our_conventions(answer, sequence):
    """Turn -i sin(angle) to sin(angle), the mean over sub-slices to the integral, 1/ms to 1/s."""
    signal, derivatives = answer
    factor = 1j if sequence.pulse is None else 1j * SLICE_EXTENT
    if derivatives is not None:
        derivatives = 1e3 * factor * derivatives.numpy().swapaxes(0, 1)
    return factor * signal.numpy(), derivatives


def differences(ours, theirs, tissue):
    """Largest difference of the signals, and of T dS/dT, each over the largest value."""
    found = {"signal": np.abs(ours[0] - theirs[0]).max() / np.abs(theirs[0]).max()}
    if ours[1] is not None:
        for i_wrt, name in enumerate(("t1", "t2")):
            time = getattr(tissue, name)[:, None]
            error, scale = time * (ours[1][i_wrt] - theirs[1][i_wrt]), time * theirs[1][i_wrt]
            found[name] = np.abs(error).max() / np.abs(scale).max()
    return {name: float(value) for name, value in found.items()}


def with_short_pulse(sequence):
    """The sequence with a pulse too short for relaxation, which excites the same slice."""
    return Sequence(
        sequence.flip_angle,
        sequence.tr,
        sequence.te,
        inversion_time=sequence.inversion_time,
        pulse=RFPulse.gaussian(SHORT_PULSE, sequence.pulse.slice_thickness),
    )


def check(work):
    """Differences at the work itself and, with slice profile, at a short pulse; exit if too large.

    blochsim turns the magnetisation at the pulse centre, without relaxation during the pulse, so that
    with slice profile the answers agree only as the pulse gets short.
    """
    sequence = reference_sequence(selective=work.selective)
    tissue = few_atoms(reference_tissue(N_ATOMS), work.peer_atoms[0])
    engine = EPGBloch(n_states=N_STATES, n_subslices=N_SUBSLICES, slice_extent=SLICE_EXTENT)
    found = {}
    cases = {"as timed": sequence}
    if work.selective:
        cases[f"with a {1e6 * SHORT_PULSE:.0f} us pulse"] = with_short_pulse(sequence)
    for name, case in cases.items():
        ours = run_epgbloch(engine, case, tissue, work.derivatives)
        theirs = in_our_conventions(run_blochsim(blochsim_train(case), tissue, work.derivatives), case)
        found[name] = differences(ours, theirs, tissue)
    for name, value in found[list(cases)[-1]].items():
        if not value <= TOLERANCE:
            raise SystemExit(f"{work.name}: epgbloch and blochsim differ by {value:.1e} in {name}")
    return found


def extended(seconds):
    """Seconds for N_ATOMS from {number of atoms: seconds}, on the line through two of them."""
    if N_ATOMS in seconds:
        return seconds[N_ATOMS]
    (few, fast), (more, slow) = seconds.items()
    return slow + (N_ATOMS - more) * (slow - fast) / (more - few)


def timed(work, n_threads):
    """CPU and wall seconds for N_ATOMS, {"epgbloch": ..., "blochsim": ...}."""
    torch.set_num_threads(n_threads)
    sequence = reference_sequence(selective=work.selective)
    tissue = reference_tissue(N_ATOMS)
    engine = EPGBloch(
        n_states=N_STATES, n_subslices=N_SUBSLICES, slice_extent=SLICE_EXTENT, n_threads=n_threads
    )
    train = blochsim_train(sequence)
    candidates = {"epgbloch": partial(run_epgbloch, engine, sequence, tissue, work.derivatives)}
    for n_atoms in work.peer_atoms:
        candidates[n_atoms] = partial(run_blochsim, train, few_atoms(tissue, n_atoms), work.derivatives)
    _, cpu, wall = measure(candidates, work.n_rounds)
    return {
        name: {"epgbloch": found.pop("epgbloch"), "blochsim": extended(found)}
        for name, found in (("cpu_s", cpu), ("wall_s", wall))
    }


def table_line(name, result):
    cells = [name]
    for n_threads, clock in (("one thread", "cpu_s"), ("all threads", "wall_s")):
        ours, theirs = result[n_threads][clock]["epgbloch"], result[n_threads][clock]["blochsim"]
        cells += [f"{ours:.3f}", f"{theirs:.3f}", f"{theirs / ours:.1f}"]
    differences = result["differences"]
    cells.append("; ".join(f"{max(found.values()):.0e} {case}" for case, found in differences.items()))
    return f"| {' | '.join(cells)} |"


def main():
    n_cores = available_cores()
    console = Console(stderr=True)
    results = {}
    for work in WORKS:
        with console.status(f"{work.name} ..."):
            results[work.name] = {
                "differences": check(work),
                "one thread": timed(work, 1),
                "all threads": timed(work, n_cores),
            }
    versions = {name: version(name) for name in ("epgbloch", "blochsim", "torch", "numpy", "numba")}
    record = {
        "work": f"{N_ATOMS} atoms x 1000 pulses, {N_STATES} states (reference work E)",
        "date": date.today().isoformat(),
        "machine": processor_name(),
        "threads": n_cores,
        "versions": versions,
        "results": results,
    }
    lines = [
        f"{record['work']}. {record['machine']}, {record['date']}, medians. "
        + ", ".join(f"{name} {number}" for name, number in versions.items())
        + ".",
        "",
        "| work | epgbloch, CPU s, 1 thread | blochsim | ratio "
        f"| epgbloch, wall s, {n_cores} threads | blochsim | ratio | largest relative difference |",
        "|---|---|---|---|---|---|---|---|",
        *(table_line(name, result) for name, result in results.items()),
        "",
        NOTES,
    ]
    write_results("peers", record, lines)


if __name__ == "__main__":
    main()
