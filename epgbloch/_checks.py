"""Checks of user input: one clear error each, with the argument, the rule, the value and the remedy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def real_vector(name: str, value: ArrayLike, unit: str) -> NDArray[np.float64]:
    """Return `value` as a finite float64 vector, or raise a ValueError that names it."""
    try:
        raw = np.asarray(value)
        if np.iscomplexobj(raw):
            raise TypeError
        array = np.atleast_1d(raw.astype(np.float64))
    except (TypeError, ValueError):
        raise ValueError(
            f"{name}={value!r} is not numeric; give real numbers in {unit or 'plain units'}"
        ) from None
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}; give a number or a one-dimensional array")
    if array.size == 0:
        raise ValueError(f"{name} is empty; give at least one value")
    bad = np.flatnonzero(~np.isfinite(array))
    if bad.size:
        raise ValueError(f"{name}[{bad[0]}]={array[bad[0]]} is not finite; remove or replace it")
    return array


def require(name: str, array: NDArray[np.float64], valid: NDArray[np.bool_], rule: str, remedy: str) -> None:
    """Raise a ValueError that names the first value of `array` that breaks `rule`."""
    bad = np.flatnonzero(~valid)
    if bad.size:
        raise ValueError(f"{name}[{bad[0]}]={array[bad[0]]:.6g} must be {rule}; {remedy}")


def broadcast(n: int, what: str, **arrays: NDArray[Any]) -> list[NDArray[Any]]:
    """Stretch vectors of length 1 to `n`; raise a ValueError if any has another length."""
    for name, array in arrays.items():
        if array.size not in (1, n):
            raise ValueError(f"{name} has {array.size} values for {n} {what}; give 1 or {n}")
    result = [np.array(np.broadcast_to(array, (n,))) for array in arrays.values()]
    for array in result:
        array.setflags(write=False)
    return result
