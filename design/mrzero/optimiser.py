"""Adam on the variables of a sequence and the weights of networks, in phases, with restarts.

Import this file by name: it needs TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from design.mrzero.checkpoint import read_checkpoint, write_checkpoint
from design.mrzero.optimiser_groups import fingerprint, groups_of
from design.mrzero.optimiser_result import DivergenceError, Iteration, Optimised
from design.mrzero.optimiser_run import Run
from design.mrzero.optimiser_settings import Phase, Settings
from epgbloch._checks import require_count
from epgbloch._files import library_versions

__all__ = ["DivergenceError", "Iteration", "Optimised", "Phase", "optimise"]


def optimise(
    loss: Callable[..., Any],
    initial: Mapping[str, ArrayLike],
    phases: Phase | Sequence[Phase],
    *,
    networks: Mapping[str, keras.Model] | None = None,
    bounds: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
    decay: float = 0.01,
    n_restarts: int = 0,
    perturbation: Mapping[str, float] | None = None,
    n_data: int | None = None,
    batch_size: int = 1,
    seed: int = 0,
    record_every: int | None = None,
    checkpoint: Path | None = None,
    checkpoint_every: int = 50,
    identity: Mapping[str, Any] | None = None,
    callback: Callable[[Iteration], None] | None = None,
) -> Optimised:
    """Minimise a loss by Adam with a decaying step.

    All phases, one after the other, are a run. In iteration i of the n of a run, a variable moves with the
    step size learning_rate * decay^(i / (n - 1)), from high to low. Each variable and network has an Adam of
    its own, which rests in phases that do not train it, and begins anew with every run. Restarts begin from
    the best variables so far (with data: the last ones), moved by a random perturbation.

    Parameters
    ----------
    loss : callable
        Called as loss({name: value}), with data as loss({name: value}, indices); returns a real scalar, or
        that and {name of a metric: scalar}. The values of variables that are trained are tensors. Others are
        NumPy arrays, constants to `tf_twin.signals`, and the same objects all through a phase, so that what
        depends on them alone can be kept. Networks are not passed: call them. It must be deterministic for
        runs to be repeatable.
    initial : mapping of str to array_like
        First values of the variables; they are float32.
    phases : Phase or sequence of Phase
        What is trained and for how long; repeat phases to alternate.
    networks : mapping of str to keras.Model, optional
        Networks whose weights phases may train. They end with the weights that belong to the result.
    bounds : mapping of str to pair of array_like, optional
        Least and largest values of variables. After each step and perturbation, values beyond them are set to
        them.
    decay : float
        Step size at the end of a run, over that at its beginning, above 0 and up to 1.
    n_restarts : int
        Runs after the first one.
    perturbation : mapping of str to float, optional
        Standard deviations of the Gaussian perturbations at restarts; variables not named are not moved.
    n_data : int, optional
        Number of samples of a data set. Each iteration gets `batch_size` different indices below it.
    batch_size : int
        Samples of an iteration.
    seed : int
        Of perturbations and batches.
    record_every : int, optional
        Keep the variables of every so many iterations, for animations, and the result.
    checkpoint : Path, optional
        File for the state of the optimisation: an interrupted one continues from there, to the same result
        bit by bit on the same machine. A finished one returns at once; remove the file to start again.
    checkpoint_every : int
        Iterations between checkpoints.
    identity : mapping of str to JSON values, optional
        What the loss depends on besides: a checkpoint with another identity is refused.
    callback : callable, optional
        Called with every `Iteration`, not with those of a checkpoint.

    Returns
    -------
    Optimised
        The variables, and how they came about.

    Raises
    ------
    DivergenceError
        If a loss or gradient is not finite, or the loss raises a ValueError after a step, as where a duration
        became negative. The checkpoint stays at the last good iterations.
    ValueError
        If an option is out of range, the loss does not depend on a trained variable, or the checkpoint
        belongs to something else.

    References
    ----------
    Loktyushin et al. 2021, Magn Reson Med 86:709, doi 10.1002/mrm.28727: Adam with steps from high to low and
    restarts, networks and sequence in turn, supervised learning.

    Examples
    --------
    >>> found = optimise(lambda v: (v["x"] - 3) ** 2, {"x": 0.0}, Phase({"x": 0.5}, 200))
    >>> round(float(found.values["x"]), 3)
    3.0
    """
    require_count("checkpoint_every", checkpoint_every)
    settings = Settings(
        phases=(phases,) if isinstance(phases, Phase) else tuple(phases),
        decay=decay,
        n_restarts=n_restarts,
        perturbation=dict(perturbation or {}),
        n_data=n_data,
        batch_size=batch_size,
        seed=seed,
        record_every=record_every,
    )
    bounds, networks = dict(bounds or {}), dict(networks or {})
    settings.check_names(list(initial), list(networks))
    groups = groups_of(initial, bounds, networks)
    run = Run(loss, groups, list(initial), settings, callback)
    if checkpoint is None:
        run.advance(run.n_iterations)
        return run.result()
    whole = {
        **asdict(settings),
        "start": fingerprint(groups),
        "bounds": {name: [np.asarray(b).tolist() for b in pair] for name, pair in bounds.items()},
        "identity": dict(identity or {}),
        "tensorflow_version": tf.__version__,
        **library_versions("numpy", "keras"),
    }
    arrays = read_checkpoint(checkpoint, whole)
    if arrays is None:
        write_checkpoint(checkpoint, run.state(), whole)
    else:
        run.restore(arrays)
    while run.done < run.n_iterations:
        try:
            run.advance(checkpoint_every)
        except DivergenceError as error:
            message = f"{error}. {checkpoint} keeps the last good state"
            raise DivergenceError(
                message, variables=error.variables, iteration=error.iteration, best=error.best
            ) from error
        write_checkpoint(checkpoint, run.state(), whole)
    return run.result()
