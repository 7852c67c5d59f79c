"""Checks of user input: one clear error each, with the argument, the rule, the value and the remedy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def real_vector(name: str, value: ArrayLike, unit: str) -> NDArray[np.float64]:
    """Return `value` as a finite float64 vector, or raise a ValueError that names it."""
    array = _numbers(name, value, unit)
    if array.ndim > 1:
        raise ValueError(f"{name} has shape {array.shape}; give a number or a one-dimensional array")
    return np.atleast_1d(_finite(name, array))


def real_rows(name: str, value: ArrayLike, unit: str, rows: str, n_columns: int) -> NDArray[np.float64]:
    """Return `value` as a finite float64 matrix of `n_columns`, or raise a ValueError that names it.

    `rows` is the name of the number of rows.
    """
    array = _numbers(name, value, unit)
    if array.ndim != 2 or array.shape[1] != n_columns:
        raise ValueError(f"{name} has shape {array.shape}; it must be ({rows}, {n_columns})")
    return _finite(name, array)


def _numbers(name: str, value: ArrayLike, unit: str) -> NDArray[np.float64]:
    try:
        raw = np.asarray(value)
        if raw.dtype.kind not in "iuf":
            raise TypeError
        return raw.astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError(
            f"{name}={value!r} is not numeric; give real numbers in {unit or 'plain units'}"
        ) from None


def _finite(name: str, array: NDArray[np.float64]) -> NDArray[np.float64]:
    if array.size == 0:
        raise ValueError(f"{name} is empty; give at least one value")
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        raise ValueError(f"{_value(name, array, bad[0])} is not finite; remove or replace it")
    return array


def _value(name: str, array: NDArray[np.float64], index: NDArray[np.intp], style: str = "") -> str:
    """Return one value of an array with its place, as in "tr[3]=0.01"."""
    place = f"[{', '.join(map(str, index))}]" if index.size else ""
    return f"{name}{place}={array[tuple(index)]:{style}}"


def real_number(name: str, value: ArrayLike, unit: str) -> float:
    """Return `value` as a finite float, or raise a ValueError that names it."""
    array = real_vector(name, value, unit)
    if array.size != 1:
        raise ValueError(f"{name} has {array.size} values; give one number")
    return float(array[0])


def positive_number(name: str, value: ArrayLike, unit: str) -> float:
    """Return `value` as a finite float above 0, or raise a ValueError that names it."""
    number = real_number(name, value, unit)
    if number <= 0:
        raise ValueError(f"{name}={number:.6g} must be positive; give it in {unit or 'plain units'}")
    return number


def require_count(name: str, value: Any) -> None:
    """Raise a ValueError that names `value` unless it is an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name}={value!r} must be an integer of at least 1")


def require_seed(seed: Any) -> None:
    """Raise a ValueError unless `seed` is an integer of at least 0."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"seed={seed!r} must be an integer of at least 0")


def require(name: str, array: NDArray[np.float64], valid: NDArray[np.bool_], rule: str, remedy: str) -> None:
    """Raise a ValueError that names the first value of `array` that breaks `rule`."""
    if not valid.all():
        raise ValueError(f"{_value(name, array, np.argwhere(~valid)[0], '.6g')} must be {rule}; {remedy}")


def broadcast(n: int, what: str, **arrays: NDArray[Any]) -> list[NDArray[Any]]:
    """Stretch vectors of length 1 to `n` values, one for each `what`; raise a ValueError at other lengths."""
    for name, array in arrays.items():
        if array.size not in (1, n):
            count, remedy = (f"1 {what}", "1") if n == 1 else (f"{n} {what}s", f"1 or {n}")
            raise ValueError(f"{name} has {array.size} values for {count}; give {remedy}")
    result = [np.array(np.broadcast_to(array, (n,))) for array in arrays.values()]
    for array in result:
        array.setflags(write=False)
    return result


def cotangent_of(name: str, value: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.complex64]:
    """Return `value` as finite complex64 numbers of that shape, or raise a ValueError that names it."""
    array = np.asarray(value, dtype=np.complex64)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; it must have that of its signals, {shape}")
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{name} holds values that are not finite; check the scalar that was differentiated")
    return array


def rounded_bytes(values: ArrayLike, unit: float) -> bytes:
    """Return the values as whole multiples of `unit`, for fingerprints that rounding errors do not change."""
    array = np.asarray(values)
    if np.iscomplexobj(array):
        array = np.stack([array.real, array.imag])
    return np.round(array / unit).astype("<i8").tobytes()
