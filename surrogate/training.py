"""Training of networks: windows that grow, exact continuation after interruptions."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from epgbloch import __version__
from surrogate.batches import Batch, batch_of, shuffled
from surrogate.checkpoint import State, read_checkpoint, write_checkpoint
from surrogate.dataset import Dataset
from surrogate.errors import SignalErrors
from surrogate.hardware import processor_name
from surrogate.requirements import TrainingError, check_training
from surrogate.sampling import Ranges
from surrogate.settings import Settings
from surrogate.size import NetworkSize
from surrogate.steps import KerasSteps, KernelSteps, Steps, accelerators
from surrogate.weights import Weights

_CHECK_BATCH = 100
"""Signals that are validated at a time."""
_DIVERGED = 10.0
"""A validation loss so many times the least one so far means that the training has diverged."""
_MOST_SETBACKS = 8
"""Each halves the learning rate; what diverges even then has another reason."""


@dataclass(frozen=True)
class Report:
    """How far a training is.

    Attributes
    ----------
    done, total : int
        Simulated pulses that were trained on, and that there are in all.
    history : list of dict
        One entry for each validation, with plain numbers: ``stage``, ``epoch``, ``window`` (its pulses),
        ``pulses`` (trained on so far), ``seconds``, ``learning_rate``, ``loss`` (mean over the batches since
        the last validation or divergence; None if there are none), and over the validation signals in full
        length ``validation_loss``, ``signal_nrmse`` and ``derivative_nrmse``; ``setbacks``, how often the
        training diverged so far.
    is_saved : bool
        Whether a checkpoint was just written.
    """

    done: int
    total: int
    history: list[dict[str, Any]]
    is_saved: bool


def train(
    dataset: Dataset,
    size: NetworkSize,
    settings: Settings,
    checkpoint: Path,
    *,
    start: Weights | None = None,
    n_threads: int = 1,
    checkpoint_seconds: float = 300.0,
    report: Callable[[Report], None] | None = None,
) -> Weights:
    """Train a network, or continue where an earlier call was interrupted.

    Continuing gives the same weights as an uninterrupted training: bit for bit with the kernels and the same
    number of threads, to rounding on an accelerator. A training that diverges goes back to its best weights,
    before the first validation to the first ones, and continues with half the learning rate. After the ninth
    time it ends with the best weights; the card tells ("trained", "ended").

    Parameters
    ----------
    dataset : Dataset
        Signals; the first ones are trained on, see `Settings`.
    size : NetworkSize
        Size of the network.
    settings : Settings
        How it is trained.
    checkpoint : Path
        File for the state, written at least every `checkpoint_seconds` and at the end.
    start : Weights, optional
        Weights to begin with, of the same size and ranges; by default, random ones.
    n_threads : int
        Threads of the kernels.
    checkpoint_seconds : float
        Time between two checkpoints [s], which a kill loses at most.
    report : callable, optional
        Called after every step.

    Returns
    -------
    Weights
        Those with the least validation loss, with a card.

    Raises
    ------
    TrainingError
        If the data set is too small or its signals too short, the method or the first weights do not fit,
        or no validation loss was finite.
    CheckpointError
        If the checkpoint is damaged or belongs to another training.
    """
    ranges = Ranges(**dataset.recipe["ranges"])
    method = check_training(dataset.n_signals, dataset.n_pulses, ranges, size, settings, start)
    n_training = settings.training_signals
    training, validation = dataset[:n_training], dataset[n_training:][: settings.validation_signals]
    steps = _steps(method, size, ranges, settings, n_threads, start)
    identity = {
        "data": dataset.sha256,
        "size": asdict(size),
        **asdict(settings),
        "method": method,
        "start": None if start is None else start.digest(),
    }
    state = read_checkpoint(checkpoint, identity)
    if state is None:
        state = State(steps.state(), best=steps.state())
    else:
        steps.restore(state.steps)
    started = time.monotonic() - state.seconds
    saved = time.monotonic()

    def save() -> None:
        nonlocal saved
        saved = time.monotonic()
        state.steps, state.seconds = steps.state(), saved - started
        write_checkpoint(checkpoint, state, identity)

    def tell(is_saved: bool) -> None:
        if report is not None:
            report(Report(state.pulses, settings.total_pulses, state.history, is_saved))

    while not state.ended:
        stage = settings.stages[state.stage]
        order = (settings.seed, state.stage, state.epoch)
        for batch in _ahead(shuffled(training, settings.batch_size, stage.pulses, order, state.batch)):
            loss = steps.step(batch, _learning_rate(state, settings))
            state.count(settings.batch_size * stage.pulses, loss)
            if not np.isfinite(loss):
                _go_back(state, steps)
                if state.ended:
                    break
            is_due = time.monotonic() - saved > checkpoint_seconds
            if is_due:
                save()
            tell(is_due)
        else:
            _end_epoch(state, settings, steps, validation, time.monotonic() - started)
        if state.ended:
            save()
            tell(True)
    if not _finite_losses(state):
        raise TrainingError(
            f"the training diverged {state.setbacks} times, and no validation had a finite loss; lower "
            "learning_rate or clip_norm and choose a new folder"
        )
    steps.restore(state.best)
    card = _card(dataset, settings, method, state, start, n_threads)
    return Weights(size, ranges, tuple(steps.weights()), card)


def _learning_rate(state: State, settings: Settings) -> float:
    return settings.learning_rate_at(state.pulses, state.n_steps) / 2**state.setbacks


def _finite_losses(state: State) -> list[float]:
    """Validation losses so far."""
    losses = [entry["validation_loss"] for entry in state.history]
    return [loss for loss in losses if np.isfinite(loss)]


def _go_back(state: State, steps: Steps) -> None:
    """Return to the best weights after a divergence, or end there."""
    state.setbacks += 1
    state.waited = 0
    state.loss_sum, state.loss_count = 0.0, 0
    steps.restore(state.best)
    if state.setbacks > _MOST_SETBACKS:
        state.ended = "diverged"


def _steps(
    method: str, size: NetworkSize, ranges: Ranges, settings: Settings, n_threads: int, start: Weights | None
) -> Steps:
    common: dict[str, Any] = {
        "output_weights": settings.output_weights,
        "clip_norm": settings.clip_norm,
        "seed": settings.seed,
        "start": None if start is None else start.arrays,
    }
    if method == "keras":
        return KerasSteps(size, ranges, **common, precision=settings.precision)
    return KernelSteps(
        size,
        ranges,
        **common,
        batch_size=settings.batch_size,
        n_pulses=settings.longest_window,
        n_threads=n_threads,
    )


def _ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Prepare the next batch while one is in use."""
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, batches, None)
        while (batch := following.result()) is not None:
            following = pool.submit(next, batches, None)
            yield batch


def _end_epoch(state: State, settings: Settings, steps: Steps, validation: Dataset, seconds: float) -> None:
    """Go on to the next epoch or stage; validate after as much work as an epoch of full length."""
    stage, number = settings.stages[state.stage], state.stage
    state.epoch, state.batch = state.epoch + 1, 0
    ends_stage = state.epoch == stage.epochs
    is_last = number == len(settings.stages) - 1
    if ends_stage or state.unchecked >= settings.training_signals * validation.n_pulses:
        entry = {
            "stage": number + 1,
            "epoch": state.epoch,
            "window": stage.pulses,
            "pulses": state.pulses,
            "seconds": seconds,
            "learning_rate": _learning_rate(state, settings),
            "loss": state.loss_sum / state.loss_count if state.loss_count else None,
            **_validate(steps, validation, settings),
        }
        least, loss = min(_finite_losses(state), default=np.inf), entry["validation_loss"]
        if loss < least:
            state.best, state.waited = steps.state(), 0
        elif not np.isfinite(loss) or loss > _DIVERGED * least:
            _go_back(state, steps)
        elif is_last:
            state.waited += 1
        state.history.append(entry | {"setbacks": state.setbacks})
        state.unchecked = state.loss_count = 0
        state.loss_sum = 0.0
    if ends_stage:
        state.stage, state.epoch = number + 1, 0
    if not state.ended and ends_stage and is_last:
        state.ended = "complete"
    elif not state.ended and settings.patience is not None and state.waited >= settings.patience:
        state.ended = "patience"


def _validate(steps: Steps, validation: Dataset, settings: Settings) -> dict[str, Any]:
    """Errors over the validation signals in full length."""
    parts = []
    for start in range(0, validation.n_signals, _CHECK_BATCH):
        batch = batch_of(validation, slice(start, start + _CHECK_BATCH), validation.n_pulses)
        parts.append(SignalErrors.of(steps.outputs(batch), batch.targets))
    errors = SignalErrors.joined(parts)
    signal, derivative = errors.nrmse()
    return {
        "validation_loss": float(np.dot(settings.output_weights, errors.mean_absolute())),
        "signal_nrmse": signal,
        "derivative_nrmse": derivative,
    }


def _card(
    dataset: Dataset,
    settings: Settings,
    method: str,
    state: State,
    start: Weights | None,
    n_threads: int,
) -> dict[str, Any]:
    """What the network was trained on and how."""
    least = min(_finite_losses(state))
    best = next(entry for entry in state.history if entry["validation_loss"] == least)
    card = {
        "data": {"recipe": dataset.recipe, "sha256": dataset.sha256},
        "training": asdict(settings) | {"method": method},
        "trained": {
            "seconds": state.seconds,
            "steps": state.n_steps,
            "pulses": state.pulses,
            "setbacks": state.setbacks,
            "ended": state.ended,
            "processor": processor_name(),
            "threads": n_threads,
            "accelerators": accelerators() if method == "keras" else [],
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": {
                "epgbloch": __version__,
                **{name: metadata.version(name) for name in ("numpy", "numba", "keras")},
            },
        },
        "validation": best,
        "start": start and {name: start.card.get(name) for name in ("data", "training", "trained", "start")},
    }
    return json.loads(json.dumps(card))  # tuples become the lists that a file holds
