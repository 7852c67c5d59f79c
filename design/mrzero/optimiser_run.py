"""The iterations of an optimisation, and its state between them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from design.mrzero.checkpoint import Arrays
from design.mrzero.optimiser_groups import Group
from design.mrzero.optimiser_result import DivergenceError, Iteration, Optimised
from design.mrzero.optimiser_settings import Settings

_BATCHES, _PERTURBATIONS = 0, 1
"""Streams of random numbers: each iteration and restart has its own, so that none has a state to keep."""


class Run:
    """An optimisation that can stop anywhere between two iterations.

    Parameters
    ----------
    loss, callback : callable
        As in `optimiser.optimise`.
    groups : dict of str to Group
        All variables.
    arrays : list of str
        Which of them are arrays, not weights of networks.
    settings : Settings
        The options.
    """

    def __init__(
        self,
        loss: Callable[..., Any],
        groups: dict[str, Group],
        arrays: list[str],
        settings: Settings,
        callback: Callable[[Iteration], None] | None,
    ) -> None:
        self._loss, self._groups, self._arrays = loss, groups, arrays
        self._settings, self._callback = settings, callback
        phases = settings.phases
        self._phase_of = np.repeat(np.arange(len(phases)), [phase.n_iterations for phase in phases])
        self.n_iterations = self._phase_of.size * (1 + settings.n_restarts)
        self.done = 0
        self._losses: list[float] = []
        self._seconds: list[float] = []
        self._metrics: dict[str, dict[int, float]] = {}
        self._recorded: dict[int, Arrays] = {}
        self._best: dict[str, list[NDArray[Any]]] = {}
        self._least = np.inf
        self._constants: tuple[tuple[int, int], Arrays] = ((-1, -1), {})
        self._before: dict[str, list[NDArray[Any]]] = {}

    def advance(self, n: int) -> None:
        """Do n more iterations, or those that are left."""
        for index in range(self.done, min(self.done + n, self.n_iterations)):
            restart, i = divmod(index, self._phase_of.size)
            if i == 0 and restart > 0:
                self._restart(restart)
            self._iterate(index, restart, i)
            self.done += 1

    def result(self) -> Optimised:
        """Return what was found, and leave it in the networks."""
        if self._settings.n_data is None:
            for name, values in self._best.items():
                self._groups[name].set(values)
        metrics = {}
        for name, reported in self._metrics.items():
            metrics[name] = np.full(self.done, np.nan)
            metrics[name][list(reported)] = list(reported.values())
        return Optimised(
            values=self._values(),
            loss=self._least if self._settings.n_data is None else self._losses[-1],
            losses=np.array(self._losses),
            metrics=metrics,
            seconds=np.array(self._seconds),
            recorded_iterations=np.array(list(self._recorded), np.int64),
            recorded=self._stacked(),
        )

    def state(self) -> Arrays:
        """Return everything that later iterations and the result depend on."""
        arrays: Arrays = {
            "losses": np.array(self._losses),
            "seconds": np.array(self._seconds),
            "least": np.array(self._least),
            "recorded": np.array(list(self._recorded), np.int64),
        }
        for name, reported in self._metrics.items():
            arrays[f"metric/{name}"] = np.array(list(reported.items()))
        for name, stack in self._stacked().items():
            arrays[f"recorded/{name}"] = stack
        for j, (name, group) in enumerate(self._groups.items()):
            for what, values in (("state", group.state()), ("best", self._best.get(name, []))):
                arrays |= {f"{what}/{j}/{i}": value for i, value in enumerate(values)}
        return arrays

    def restore(self, arrays: Arrays) -> None:
        """Continue from a `state`."""

        def numbered(start: str) -> list[NDArray[Any]]:
            names = [name for name in arrays if name.startswith(start)]
            return [arrays[f"{start}{i}"] for i in range(len(names))]

        self._losses, self._seconds = arrays["losses"].tolist(), arrays["seconds"].tolist()
        self._least, self.done = float(arrays["least"]), len(self._losses)
        for key, array in arrays.items():
            if key.startswith("metric/"):
                self._metrics[key.removeprefix("metric/")] = {int(i): float(value) for i, value in array}
        for place, index in enumerate(arrays["recorded"].tolist()):
            self._recorded[index] = {name: arrays[f"recorded/{name}"][place] for name in self._arrays}
        for j, (name, group) in enumerate(self._groups.items()):
            group.restore(numbered(f"state/{j}/"))
            if best := numbered(f"best/{j}/"):
                self._best[name] = best

    def _iterate(self, index: int, restart: int, i: int) -> None:
        begin = time.perf_counter()
        place = int(self._phase_of[i])
        rates = self._settings.phases[place].learning_rate
        batch = self._batch(index)
        if self._constants[0] != (restart, place):
            fixed = {name: value for name, value in self._values().items() if name not in rates}
            self._constants = (restart, place), fixed
        moving = {
            name: tf.convert_to_tensor(self._groups[name].variables[0].value)
            for name in self._arrays
            if name in rates
        }
        with tf.GradientTape() as tape:
            tape.watch(moving)
            try:
                loss, metrics = self._evaluate({**self._constants[1], **moving}, batch)
            except ValueError as error:
                if i == 0:  # not by a step
                    raise
                what = f"the loss fails ({error})"
                raise self._diverged(what, self._culprits(batch), index) from error
        if not np.isfinite(float(loss)):
            raise self._diverged(f"the loss is {float(loss)}", self._culprits(batch), index)
        sources = {
            name: [moving[name]] if name in moving else [v.value for v in self._groups[name].trained]
            for name in rates
        }
        try:
            gradients = tape.gradient(loss, sources)
        except ValueError as error:
            raise self._diverged(f"the gradient fails ({error})", tuple(rates), index) from error
        gradients = self._checked(gradients, index)
        values = self._values()
        self._keep(index, float(loss), metrics, values)
        self._before = {name: self._groups[name].values() for name in rates}
        progress = i / max(self._phase_of.size - 1, 1)
        for name, rate in rates.items():
            self._groups[name].step(gradients[name], rate * self._settings.decay**progress)
        self._seconds.append(time.perf_counter() - begin)
        if self._callback is not None:
            seconds = self._seconds[-1]
            self._callback(
                Iteration(
                    index, self.n_iterations, restart, place, self._losses[-1], metrics, values, seconds
                )
            )

    def _evaluate(
        self, values: dict[str, Any], batch: NDArray[np.int64] | None
    ) -> tuple[tf.Tensor, dict[str, float]]:
        ordered = {name: values[name] for name in self._arrays}
        returned = self._loss(ordered) if batch is None else self._loss(ordered, batch)
        loss, metrics = returned if isinstance(returned, tuple) else (returned, {})
        loss = tf.convert_to_tensor(loss)
        if loss.shape != () or not loss.dtype.is_floating:
            raise ValueError(
                f"loss returned {loss.dtype.name} of shape {tuple(loss.shape)}; it must be a real scalar, or "
                "that and metrics"
            )
        return loss, {name: float(value) for name, value in metrics.items()}

    def _keep(self, index: int, loss: float, metrics: dict[str, float], values: Arrays) -> None:
        self._losses.append(loss)
        for name, value in metrics.items():
            self._metrics.setdefault(name, {})[index] = value
        if self._settings.record_every is not None and index % self._settings.record_every == 0:
            self._recorded[index] = values
        if self._settings.n_data is None and loss < self._least:
            self._least = loss
            self._best = {name: group.values() for name, group in self._groups.items()}

    def _restart(self, restart: int) -> None:
        rng = np.random.default_rng([self._settings.seed, _PERTURBATIONS, restart])
        for name, group in self._groups.items():
            start = self._best.get(name) or group.values()
            deviation = self._settings.perturbation.get(name)
            shift = None if deviation is None else rng.normal(0, deviation, start[0].shape)
            group.restart(start, shift)
        self._before = {}

    def _batch(self, index: int) -> NDArray[np.int64] | None:
        if self._settings.n_data is None:
            return None
        rng = np.random.default_rng([self._settings.seed, _BATCHES, index])
        return rng.choice(self._settings.n_data, self._settings.batch_size, replace=False)

    def _checked(self, gradients: dict[str, list[Any]], index: int) -> dict[str, list[tf.Tensor]]:
        """Gradients, those of gathered rows as whole tensors, if all are finite."""
        for name, parts in gradients.items():
            if any(part is None for part in parts):
                raise ValueError(f"the loss does not depend on {name!r}; use it, or do not train it")
        whole = {name: [tf.convert_to_tensor(part) for part in parts] for name, parts in gradients.items()}
        bad = {
            name: part.numpy()
            for name, parts in whole.items()
            for part in parts
            if not np.isfinite(part).all()
        }
        if bad:
            name, part = next(iter(bad.items()))
            place = np.argwhere(~np.isfinite(part))[0]
            element = f"{name}{place.tolist()}" if name in self._arrays and part.ndim else name
            what = f"the gradient of the loss by {element} is {part[tuple(place)]}"
            raise self._diverged(what, (), index)
        return whole

    def _culprits(self, batch: NDArray[np.int64] | None) -> tuple[str, ...]:
        """Variables without whose last step the loss would be finite."""
        found = []
        for name, before in self._before.items():
            group = self._groups[name]
            now = group.values()
            group.set(before)
            with contextlib.suppress(ValueError):
                loss, _ = self._evaluate(self._values(), batch)
                if np.isfinite(float(loss)):
                    found.append(name)
            group.set(now)
        return tuple(found)

    def _diverged(self, what: str, names: tuple[str, ...], index: int) -> DivergenceError:
        restart, i = divmod(index, self._phase_of.size)
        where = f"iteration {index}" + (f" (restart {restart})" if restart else "")
        moved = tuple(self._before or self._settings.phases[self._phase_of[i - 1]].learning_rate)
        if i == 0:
            cause = "at the start of a run; change the initial values or the perturbation"
        elif names:
            cause = f"after the last step of {' or '.join(names)}; lower its learning rate, or bound it"
        else:
            cause = f"after the last steps of {' and '.join(moved)}; lower their learning rates"
        best = {name: values[0] for name, values in self._best.items() if name in self._arrays}
        return DivergenceError(
            f"{where}: {what}, {cause}", variables=names or moved, iteration=index, best=best
        )

    def _values(self) -> Arrays:
        return {name: self._groups[name].values()[0] for name in self._arrays}

    def _stacked(self) -> Arrays:
        if not self._recorded:
            return {}
        return {name: np.stack([values[name] for values in self._recorded.values()]) for name in self._arrays}
