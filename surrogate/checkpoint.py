"""The state of a training in a file, from which it continues exactly."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from epgbloch._files import read_archive, replacing

_FORMAT_VERSION = 2
"""The first one had no number."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message says why and what to do."""


@dataclass
class State:
    """Everything that a training needs to continue, besides its settings and data.

    Attributes
    ----------
    steps : list of ndarray
        `Steps.state`.
    best : list of ndarray
        `Steps.state` at the least validation loss so far; the first state before the first validation.
    setbacks : int
        How often the training diverged.
    stage, epoch, batch : int
        Position: finished stages, finished epochs of this stage, finished batches of this epoch.
    n_steps : int
        Batches so far.
    pulses, unchecked : int
        Simulated pulses that were trained on so far, and since the last validation.
    loss_sum, loss_count : float, int
        Sum of the losses of the batches since the last validation, and their number.
    waited : int
        Validations without improvement in the last stage.
    seconds : float
        Time spent so far [s].
    ended : str
        Empty while something is left to do; "complete"; "patience", after validations without improvement;
        "diverged", again and again.
    history : list of dict
        One entry for each validation, see `training.Report`.
    """

    steps: list[NDArray[Any]]
    best: list[NDArray[Any]]
    setbacks: int = 0
    stage: int = 0
    epoch: int = 0
    batch: int = 0
    n_steps: int = 0
    pulses: int = 0
    unchecked: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0
    waited: int = 0
    seconds: float = 0.0
    ended: str = ""
    history: list[dict[str, Any]] = field(default_factory=list)

    def count(self, pulses: int, loss: float) -> None:
        """Count a step on so many simulated pulses in."""
        self.batch += 1
        self.n_steps += 1
        self.pulses += pulses
        self.unchecked += pulses
        self.loss_sum += loss
        self.loss_count += 1


_LISTS = ("steps", "best")


def write_checkpoint(path: Path, state: State, identity: dict[str, Any]) -> None:
    """Write the state; the file is replaced at once, so that there is always a whole one.

    Parameters
    ----------
    path : Path
        The file.
    state : State
        What is written.
    identity : dict
        What the state belongs to: plain numbers, lists and strings.
    """
    arrays = {f"{name}_{i:03d}": a for name in _LISTS for i, a in enumerate(getattr(state, name))}
    numbers = {name: value for name, value in vars(state).items() if name not in _LISTS}
    numbers["lengths"] = {name: len(getattr(state, name)) for name in _LISTS}
    header = json.dumps({"format_version": _FORMAT_VERSION, "identity": identity, "state": numbers})
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, header=header, **arrays)


def read_checkpoint(path: Path, identity: dict[str, Any]) -> State | None:
    """Return the state in a file of `write_checkpoint`; None if there is no file.

    Raises
    ------
    CheckpointError
        If the file is damaged, of another format version, or belongs to something else.
    """
    try:
        with path.open("rb") as file:
            archive = read_archive(file)
            header = json.loads(str(archive["header"]))
            if header.get("format_version") != _FORMAT_VERSION:
                raise ValueError("it is of another version of epgbloch")
            numbers = header["state"]
            lengths = numbers.pop("lengths")
            lists: dict[str, Any] = {
                name: [archive[f"{name}_{i:03d}"] for i in range(n)] for name, n in lengths.items()
            }
            state = State(**numbers, **lists)
            found = header["identity"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is not a checkpoint, or a damaged one ({error}); remove it or choose another folder to "
            "start again"
        ) from error
    for name, value in json.loads(json.dumps(identity)).items():
        if found.get(name) != value:
            raise CheckpointError(
                f"{path} belongs to a training with {name}={found.get(name)}, not {value}; choose another "
                "folder, or use that value"
            )
    return state
