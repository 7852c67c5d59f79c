"""Reading values out of a protocol: keys with units, ranges, lists and CSV columns."""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

_UNITS = {"ms": "milliseconds", "deg": "degrees", "hz": "hertz", "mm": "millimetres"}
"""Units of the keys of a protocol."""
LARGEST_COUNT = 10**9
"""Largest whole number that counts something: no array of a protocol is as long."""
_UNIT_SUFFIX = re.compile(
    r"_(?:ns|us|ms|s|sec|seconds?|min|minutes?|deg|degrees?|rad|radians?|k?m?hz|um|mm|cm|m|met(?:er|re)s?)$"
)


class ProtocolError(ValueError):
    """A protocol that cannot be used; one line with the file, the key and what to change."""


class Section:
    """A mapping of a protocol, whose values are read with their rules.

    Parameters
    ----------
    file : Path
        The protocol; CSV files are relative to its folder.
    path : str
        Where the mapping is in the protocol, as in ``sequence.pulse``; empty for the whole protocol.
    values : dict
        The mapping. Columns of CSV files that are read replace their references in it.
    keys : tuple of str
        All keys that may occur.

    Raises
    ------
    ProtocolError
        If `values` is not a mapping or holds another key.
    """

    def __init__(self, file: Path, path: str, values: Any, keys: tuple[str, ...]) -> None:
        self.file, self.path, self.values = file, path, values
        if not isinstance(values, dict):
            raise self.error("", f"must be a section with keys ({', '.join(keys)}); got {_shown(values)}")
        for key in values:
            if key not in keys:
                raise self.error(str(key), _unknown_key(str(key), keys))

    def error(self, key: str, message: str) -> ProtocolError:
        """Error that names the file and the key; an empty key stands for the section itself."""
        place = ".".join(part for part in (self.path, key) if part)
        return ProtocolError(": ".join(part for part in (str(self.file), place, message) if part))

    @contextmanager
    def located(self, key: str = "") -> Iterator[None]:
        """Turn any ValueError of the block into a ProtocolError that names the key."""
        try:
            yield
        except ProtocolError:
            raise
        except ValueError as error:
            raise self.error(key, str(error)) from error

    def has(self, key: str) -> bool:
        """Whether the key is given; null counts as not given."""
        return self.values.get(key) is not None

    def require(self, *keys: str) -> None:
        """Raise unless every key is given."""
        for key in keys:
            if not self.has(key):
                raise self.error(key, "missing; this key is required")

    def only(self, keys: tuple[str, ...], choice: str) -> None:
        """Raise if a key is given that does not go with the choice made in another one."""
        for key in self.values:
            if self.has(key) and key not in keys:
                raise self.error(key, f"does not go with {choice}; remove it (keys here: {', '.join(keys)})")

    def section(self, key: str, keys: tuple[str, ...]) -> Section:
        """The mapping under a key; empty where the key is not given."""
        values = self.values[key] if self.has(key) else {}
        return Section(self.file, f"{self.path}.{key}" if self.path else key, values, keys)

    def text(self, key: str, choices: tuple[str, ...], default: str) -> str:
        """One of the choices."""
        value = self.values[key] if self.has(key) else default
        if value not in choices:
            near = difflib.get_close_matches(str(value), choices, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise self.error(key, f"must be one of {', '.join(choices)}; got {_shown(value)}{hint}")
        return str(value)

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        if not self.has(key):
            return default
        value = self.values[key]
        if not isinstance(value, bool):
            raise self.error(key, f"must be true or false; got {_shown(value)}")
        return value

    def number(self, key: str, default: float, **limits: float) -> float:
        """A finite number within `limits`: above, at_least, at_most."""
        if not self.has(key):
            return default
        value = self.values[key]
        if not _is_number(value):
            raise self.error(key, f"must be a number; got {_shown(value)}")
        self._check_size(key, value)
        self._check_range(key, np.array([value], dtype=np.float64), limits)
        return float(value)

    def count(self, key: str, default: int, at_least: int = 1, at_most: int | None = LARGEST_COUNT) -> int:
        """A whole number."""
        if not self.has(key):
            return default
        value = self.values[key]
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.error(key, f"must be a whole number; got {_shown(value)}")
        if value < at_least:
            raise self.error(key, f"must be at least {at_least}; got {_shown(value)}")
        if at_most is not None and value > at_most:
            raise self.error(key, f"must be at most {at_most}; got {_shown(value)}")
        return value

    def counts(self, key: str, at_least: int) -> tuple[int, ...]:
        """Different whole numbers."""
        values = self.vector(key, at_least=at_least, at_most=LARGEST_COUNT)
        if np.any(values % 1):
            raise self.error(key, f"must hold whole numbers; got {values[values % 1 != 0][0]:g}")
        if len(set(values)) < values.size:
            raise self.error(key, "holds a number twice")
        return tuple(values.astype(int).tolist())

    def vector(self, key: str, default: float | None = None, **limits: float) -> NDArray[np.float64]:
        """A number, a list or a column of a CSV file, within `limits`: above, at_least, at_most."""
        if not self.has(key) and default is not None:
            return np.array([default])
        value = self.values[key]
        if isinstance(value, dict):
            # Kept in the mapping, so that the protocol no longer depends on the file.
            value = self.values[key] = self._csv_column(key)
        items = value if isinstance(value, list) else [value]
        for i, item in enumerate(items):
            if not _is_number(item):
                where = f"value {i} " if isinstance(value, list) else ""
                raise self.error(key, f"{where}must be a number; got {_shown(item)}")
            self._check_size(key, item)
        if not items:
            raise self.error(key, "is empty; give at least one value")
        array = np.array(items, dtype=np.float64)
        self._check_range(key, array, limits)
        return array

    def _csv_column(self, key: str) -> list[float]:
        reference = self.section(key, ("csv", "column"))
        reference.require("csv")
        column = str(reference.values.get("column", key))
        path = self.file.parent / str(reference.values["csv"])
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.DictReader(file)
                columns = reader.fieldnames or []
                if column not in columns:
                    raise self.error(
                        key, f"{path} has no column {column!r}; its columns: {', '.join(columns)}"
                    )
                cells = [(reader.line_num, row[column]) for row in reader]
        except OSError as error:
            raise self.error(key, f"cannot read {path}: {error.strerror}") from error
        except (UnicodeDecodeError, csv.Error) as error:
            raise self.error(key, f"{path} is not a CSV text file: {error}") from error
        numbers = []
        for line, cell in cells:
            try:
                numbers.append(float(cell))
            except (TypeError, ValueError):
                raise self.error(
                    key, f"{path}, line {line}, column {column}: {_shown(cell)} is not a number"
                ) from None
        return numbers

    def _check_size(self, key: str, number: float) -> None:
        try:
            float(number)
        except OverflowError:
            raise self.error(key, f"a whole number of {len(str(number))} digits is too large") from None

    def _check_range(self, key: str, array: NDArray[np.float64], limits: dict[str, float]) -> None:
        tests = {
            "above": (array > limits.get("above", -np.inf), "above"),
            "at_least": (array >= limits.get("at_least", -np.inf), "at least"),
            "at_most": (array <= limits.get("at_most", np.inf), "at most"),
        }
        rules = [f"{words} {limits[name]:g}" for name, (_, words) in tests.items() if name in limits]
        valid = np.isfinite(array)
        for ok, _ in tests.values():
            valid &= ok
        bad = np.flatnonzero(~valid)
        if bad.size:
            where = f"value {bad[0]} " if array.size > 1 else ""
            raise self.error(key, f"{where}must be {' and '.join(['finite', *rules])}; got {array[bad[0]]:g}")


def read_yaml(path: Path) -> tuple[str, Any]:
    """Text and content of a YAML file; keys given twice are errors, and 1e-4 is a number (as in YAML 1.2).

    Raises
    ------
    ProtocolError
        If the file cannot be read or is not YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ProtocolError(f"{path}: cannot read the protocol: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ProtocolError(f"{path}: not a text file; a protocol is YAML text") from error
    return text, parse_yaml(path, text)


def parse_yaml(path: Path, text: str) -> Any:
    """Content of YAML text; `path` is for messages.

    Raises
    ------
    ProtocolError
        If it is not YAML.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ProtocolError(f"{path}: {place}{error.problem}; a protocol is YAML text") from error
    except yaml.YAMLError as error:
        raise ProtocolError(f"{path}: not YAML text: {error}") from error
    except (ValueError, RecursionError) as error:  # a date that does not exist, endless digits or brackets
        raise ProtocolError(f"{path}: a value cannot be read: {error}") from error


class _Loader(yaml.SafeLoader):
    """Safe loader that refuses keys given twice, and keys that are no text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(
                    problem="a key must be plain text, not a list or mapping (an unfilled placeholder?)",
                    problem_mark=key_node.start_mark,
                )
            if key_node.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key {key_node.value!r} is given twice", problem_mark=key_node.start_mark
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(?:\.\d+|\d+\.?\d*)[eE][-+]?\d+$"), list("-+.0123456789")
)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _unknown_key(key: str, keys: tuple[str, ...]) -> str:
    for known in keys:
        stem = _UNIT_SUFFIX.sub("", known)
        if _UNIT_SUFFIX.sub("", key.lower()) == stem:
            unit = _UNITS.get(known[len(stem) + 1 :])
            return f"unknown key; use {known}" + (f" (in {unit})" if unit else " (it has no unit)")
    near = difflib.get_close_matches(key, keys, 1)
    hint = f" did you mean {near[0]}?" if near else ""
    return f"unknown key;{hint} keys here: {', '.join(keys)}"
