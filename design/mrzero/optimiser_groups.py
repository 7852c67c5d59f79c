"""Variables that are trained together, each group with an Adam of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]


class Group:
    """The variables of one name: an array, or the weights of a network.

    Parameters
    ----------
    variables : list of keras.Variable
        All that the state consists of.
    trained : list of keras.Variable
        Those of them that Adam changes.
    bounds : pair of ndarray, optional
        Least and largest values of an array.
    """

    def __init__(
        self,
        variables: list[keras.Variable],
        trained: list[keras.Variable],
        bounds: tuple[Array, Array] | None = None,
    ) -> None:
        self.variables, self.trained, self._bounds = variables, trained, bounds
        self._adam = keras.optimizers.Adam()
        self._adam.build(trained)
        # as a graph: eagerly, its many small operations take 5 ms for each variable
        kinds = [tf.TensorSpec(variable.shape, variable.dtype) for variable in trained]
        apply = tf.function(lambda gradients: self._adam.apply(gradients, self.trained))
        self._apply = apply.get_concrete_function(kinds)
        self._fresh = [variable.numpy().copy() for variable in self._adam.variables]

    def values(self) -> list[Array]:
        """Copies of the variables."""
        return [variable.numpy().copy() for variable in self.variables]

    def set(self, values: list[Array]) -> None:
        """Give the variables these values."""
        for variable, value in zip(self.variables, values, strict=True):
            variable.assign(value)

    def step(self, gradients: list[tf.Tensor], learning_rate: float) -> None:
        """Take a step of Adam, and project to the bounds."""
        self._adam.learning_rate = learning_rate
        self._apply(gradients)
        self._project()

    def restart(self, values: list[Array], shift: Array | None) -> None:
        """Start again from values, moved by `shift` and projected to the bounds."""
        self.set(values)
        if shift is not None:
            self.variables[0].assign_add(shift)
        self._project()
        for variable, value in zip(self._adam.variables, self._fresh, strict=True):
            variable.assign(value)

    def state(self) -> list[Array]:
        """Everything that the next steps depend on."""
        return self.values() + [variable.numpy().copy() for variable in self._adam.variables]

    def restore(self, state: list[Array]) -> None:
        """Continue from a `state`."""
        for variable, value in zip([*self.variables, *self._adam.variables], state, strict=True):
            variable.assign(value)

    def _project(self) -> None:
        if self._bounds is not None:
            (variable,) = self.variables
            variable.assign(tf.clip_by_value(variable.value, *self._bounds))


def groups_of(
    initial: Mapping[str, ArrayLike],
    bounds: Mapping[str, tuple[ArrayLike, ArrayLike]],
    networks: Mapping[str, keras.Model],
) -> dict[str, Group]:
    """Return the groups by name, arrays first, or raise a ValueError.

    Parameters
    ----------
    initial : mapping of str to array_like
        First values of arrays.
    bounds : mapping of str to pair of array_like
        Least and largest values of arrays, of shapes that stretch to theirs.
    networks : mapping of str to keras.Model
        Networks.
    """
    groups: dict[str, Group] = {}
    for name, value in initial.items():
        array = np.asarray(value, dtype=np.float32)
        bad = np.argwhere(~np.isfinite(array))
        if array.size == 0 or len(bad):
            place = bad[0].tolist() if len(bad) else ""
            raise ValueError(f"initial[{name!r}]{place} must be finite numbers; got shape {array.shape}")
        variable = keras.Variable(array, dtype="float32", name=name)
        groups[name] = Group([variable], [variable], _bounds(name, array, bounds.get(name)))
    for name in bounds:
        if name not in initial:
            raise ValueError(f"bounds of {name!r} are of no variable; there are {', '.join(initial)}")
    for name, network in networks.items():
        if name in initial:
            raise ValueError(f"{name!r} is a network and a variable; give one of them another name")
        groups[name] = Group(list(network.variables), list(network.trainable_variables))
    return groups


def fingerprint(groups: Mapping[str, Group]) -> str:
    """SHA-256 of names, shapes and values."""
    content = hashlib.sha256()
    for name, group in groups.items():
        for value in group.values():
            content.update(f"{name} {value.dtype} {value.shape} ".encode() + value.tobytes())
    return content.hexdigest()


def _bounds(
    name: str, initial: Array, bounds: tuple[ArrayLike, ArrayLike] | None
) -> tuple[Array, Array] | None:
    if bounds is None:
        return None
    try:
        low, high = (np.broadcast_to(np.asarray(b, np.float32), initial.shape) for b in bounds)
    except ValueError:
        raise ValueError(f"bounds of {name!r} must be (least, largest), each for {initial.shape}") from None
    wrong = np.argwhere(~((low <= initial) & (initial <= high)))
    if len(wrong):
        i = tuple(wrong[0])
        raise ValueError(
            f"initial[{name!r}]{wrong[0].tolist()}={initial[i]:.6g} must lie within its bounds "
            f"{low[i]:.6g} to {high[i]:.6g}; widen them or move it"
        )
    return low, high
