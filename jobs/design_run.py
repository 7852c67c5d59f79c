"""``epgbloch design run``: a sequence from its design file."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from design import (
    Design,
    MonteCarlo,
    Objective,
    monte_carlo,
    optimise_by_evolution,
    optimise_by_gradient,
)
from design.result import Arrays, Remember, joined_histories
from epgbloch._files import Parts
from jobs.console import Console
from jobs.design_export import played_protocol, write_pulseq
from jobs.design_figures import draw_bounds, draw_convergence, draw_signals, draw_trains
from jobs.design_file import DesignFile, load_design_file
from jobs.design_record import FORMAT, RECORD, Evaluation, deviations, quantities, tissue_names
from jobs.design_report import write_report
from jobs.outputs import new_folder, resumable_folder, versions
from jobs.protocol_writer import protocol_text, sequence_section

COMMAND = "design run"
PULSEQ = "design.seq"


def run_design(path: Path, *, out: Path, force: bool, console: Console) -> dict[str, Any]:
    """Design the sequence of a design file, evaluate it with the exact engine, and write it into a folder.

    The folder holds ``design.json``, ``protocol.yaml`` with the sequence, figures and ``report.html``, and
    with a section ``scan`` the Pulseq file ``design.seq``, which has been read back and compared. Interrupted
    or killed, a run continues when called again with the same file.

    Returns
    -------
    dict
        Contents of ``design.json``.

    Raises
    ------
    LimitError
        If no sequence within the bounds keeps to the limits.
    ValueError
        If the design file cannot be used.
    OSError
        If the folder holds anything but an earlier design and `force`, or cannot be written.
    """
    file = load_design_file(path)
    identity = {
        "design": hashlib.sha256(json.dumps(file.content, sort_keys=True).encode()).hexdigest(),
        "versions": versions(),
    }
    with resumable_folder(out, COMMAND, identity, force=force) as parts:
        timed = _Timed(_memory(parts))
        try:
            design, switch = _search(file, timed, console)
        except ValueError:  # it would end the same way again
            for part in parts.folder.glob("*.npz"):
                part.unlink()
            raise
        with console.step("Evaluating with the engine"):
            before = Evaluation.of(file.criterion, file.engine, file.sequence)
            after = Evaluation.of(file.criterion, file.engine, design.sequence)
        trials = _monte_carlo(file, design, console)
        record = _record(file, design, before, after, trials, timed.seconds)
        with new_folder(out, COMMAND, force=force) as output:
            output.provenance["design"] = str(path)
            (output.path / RECORD).write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", "utf-8")
            trip, text = None, protocol_text({"sequence": sequence_section(design.sequence)})
            if file.scan is not None:
                with console.step("Writing the Pulseq file, and reading it back"):
                    trip = write_pulseq(output.path / PULSEQ, design.sequence, file.scan, file.engine)
                for good, line in trip.lines():
                    if not good:
                        console.notice(line)
                text = played_protocol(PULSEQ)
            (output.path / "protocol.yaml").write_text(text, "utf-8")
            with console.step("Drawing"):
                sequences = {"start": file.sequence, "design": design.sequence}
                evaluations = {"start": before, "design": after}
                draw_trains(output.path / "trains.png", sequences)
                draw_signals(output.path / "signals.png", sequences, file.engine, file.criterion)
                draw_bounds(output.path / "bounds.png", evaluations, file.criterion, file.snr, trials)
                draw_convergence(output.path / "convergence.png", design.history, switch)
                write_report(output.path, file, design, evaluations, trials, trip, record)
    _tell(file, before, after, trials, console)
    console.result(
        f"{design.message}; {design.n_signals} signals with derivatives, {timed.seconds:.3g} s CPU"
    )
    written = [RECORD, *([PULSEQ] if file.scan else []), "protocol.yaml", "report.html"]
    console.result(f"wrote {out}: {', '.join(written)} and four figures")
    return record


class _Timed:
    """A `Remember` that adds up the CPU time of the parts, those of earlier runs included."""

    def __init__(self, remember: Remember) -> None:
        self.remember, self.seconds = remember, 0.0

    def __call__(self, name: str, compute: Callable[[], Arrays]) -> Arrays:
        def timed() -> Arrays:
            begin = time.process_time()
            arrays = compute()
            return {**arrays, "cpu_s": np.array(time.process_time() - begin)}

        arrays = self.remember(name, timed)
        self.seconds += float(arrays["cpu_s"])
        return arrays


def _memory(parts: Parts) -> Remember:
    def remember(name: str, compute: Callable[[], Arrays]) -> Arrays:
        arrays = parts.read(name)
        if arrays is None:
            arrays = compute()
            parts.write(name, arrays)
        return arrays

    return remember


def _search(file: DesignFile, remember: Remember, console: Console) -> tuple[Design, int | None]:
    """Find the best sequence; also, after how many signals polishing began."""
    objective = Objective(file.model, file.criterion, file.parametrization)
    n = file.parametrization.n_parameters
    what = f"Designing {n} parameters for {file.criterion.tissue.n_atoms} tissue(s)"

    def told(name: str) -> Any:
        return console.step(f"{what}, {name}")

    if file.method == "gradient":
        with told("by gradients") as progress:
            return optimise_by_gradient(
                objective, limits=file.limits, remember=remember, progress=progress, **file.options
            ), None
    with told("by evolution") as progress:
        design = optimise_by_evolution(
            objective, limits=file.limits, remember=remember, progress=progress, **file.options
        )
    if file.method == "evolution":
        return design, None
    with told("polishing") as progress:
        polished = optimise_by_gradient(
            objective, limits=file.limits, start=design.parameters, remember=remember, progress=progress
        )
    both = replace(
        polished,
        history=joined_histories([design.history, polished.history]),
        converged=design.converged and polished.converged,
        message=f"evolution {design.message}, then {polished.message}",
    )
    return both, design.n_signals


def _monte_carlo(file: DesignFile, design: Design, console: Console) -> MonteCarlo | None:
    if not file.n_trials:
        return None
    criterion = file.criterion
    names = tuple(name.removeprefix("ln_") for name in criterion.wrt)
    with console.step(f"Matching {file.n_trials} noisy signals of each tissue"):
        return monte_carlo(
            file.engine,
            design.sequence,
            criterion.tissue,
            parameters=names,
            snr=file.snr,
            n_trials=file.n_trials,
            seed=file.options["seed"],
        )


def _record(
    file: DesignFile,
    design: Design,
    before: Evaluation,
    after: Evaluation,
    trials: MonteCarlo | None,
    seconds: float,
) -> dict[str, Any]:
    tissue = file.criterion.tissue
    return {
        "format": FORMAT,
        "sequence": design.sequence.to_dict(),
        "fingerprint": design.sequence.fingerprint(),
        "start": file.sequence.to_dict(),
        "tissues": {
            "t1_ms": (1e3 * tissue.t1).tolist(),
            "t2_ms": (1e3 * tissue.t2).tolist(),
            "b1": tissue.b1.tolist(),
            "off_resonance_hz": tissue.off_resonance.tolist(),
        },
        "parameters": list(file.criterion.parameters),
        "start_evaluation": before.to_dict(),
        "evaluation": after.to_dict(),
        "value_while_searching": design.value,
        "model": file.model.settings(),
        "engine": file.engine.settings(),
        "converged": design.converged,
        "message": design.message,
        "signals": design.n_signals,
        "cpu_s": seconds,
        "history": design.history.tolist(),
        "monte_carlo": trials
        and {
            "snr": trials.snr,
            "trials": trials.n_trials,
            "parameters": list(trials.parameters),
            "standard_deviation": trials.standard_deviation.tolist(),
            "bound": trials.bound.tolist(),
            "bias": trials.bias.tolist(),
        },
        "design_file": file.text,
    }


def _tell(
    file: DesignFile, before: Evaluation, after: Evaluation, trials: MonteCarlo | None, console: Console
) -> None:
    columns = [f"{name} [{unit}]" for name, unit, _ in quantities(file.criterion)]
    first, last = (deviations(file.criterion, e.bounds, file.snr) for e in (before, after))
    rows = []
    for i, name in enumerate(tissue_names(file.criterion)):
        cells = [f"{a:.3g} -> {b:.3g}" for a, b in zip(first[i], last[i], strict=True)]
        if trials is not None:
            cells += [f"{ratio:.2f}" for ratio in trials.variance_ratio[i]]
        rows.append((name, *cells))
    checked = [] if trials is None else [f"{name} matched" for name in trials.parameters]
    console.table(
        ("T1/T2 [ms]", *columns, *(name.upper() for name in checked)),
        rows,
        title=f"Standard deviation at the Cramér-Rao bound, SNR {file.snr:g}"
        + (f"; variance over the bound of {trials.n_trials} matched signals" if trials else ""),
    )
    console.result(f"criterion: {before.value:.4g} -> {after.value:.4g}")
