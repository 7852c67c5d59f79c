"""Making data sets: simulated in parallel, resumed after interruptions."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from epgbloch import EPGBloch, __version__
from epgbloch._checks import require_count
from surrogate.dataset import FORMAT, FORMAT_VERSION, UNITS, DatasetError, Recipe, combined_digest
from surrogate.files import replacing
from surrogate.sampling import draw, seed_key

_PART = 500
"""Signals that are lost at most when generation is killed."""
Progress = Callable[[int, int], None]
"""Called as progress(signals done, signals in all)."""


def generate_dataset(
    path: str | os.PathLike[str],
    recipe: Recipe,
    *,
    n_threads: int = 1,
    progress: Progress | None = None,
) -> Path:
    """Simulate a data set and write it to an HDF5 file.

    Finished parts of 500 signals are kept beside the file in the folder ``<name>.parts``: a run that was
    killed continues there. The file appears when it is complete, and the folder goes. The result depends
    neither on the number of threads nor on interruptions.

    Parameters
    ----------
    path : path-like
        The file; must not exist.
    recipe : Recipe
        What is simulated.
    n_threads : int
        Signals that are simulated at the same time.
    progress : callable, optional
        Called as progress(signals done, signals in all) from the calling thread.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ValueError
        If `n_threads` is out of range.
    DatasetError
        If the folder of parts belongs to another recipe or version.
    OSError
        If the file exists, or cannot be written.
    """
    require_count("n_threads", n_threads)
    target = Path(path)
    if target.exists():
        raise FileExistsError(f"{target} exists; read it, or choose another name")
    n_bytes = 8 * 6 * recipe.n_pulses * recipe.n_signals  # twice: parts and the file
    _check_space(target.parent, n_bytes)
    parts = target.with_name(f"{target.name}.parts")
    parts.mkdir(exist_ok=True)
    _claim(parts, recipe)
    starts = range(0, recipe.n_signals, _PART)
    model = replace(recipe.model, n_threads=1)
    with ThreadPoolExecutor(n_threads) as pool:
        for start in starts:
            indices = range(start, min(start + _PART, recipe.n_signals))
            if _read_part(parts, start) is None:
                rows = list(pool.map(partial(_simulate, recipe, model), indices))
                _write_part(parts, start, {name: np.stack([row[name] for row in rows]) for name in UNITS})
            if progress is not None:
                progress(indices.stop, recipe.n_signals)
    _assemble(target, recipe, (_required_part(parts, start) for start in starts))
    shutil.rmtree(parts)
    return target


def _simulate(recipe: Recipe, model: EPGBloch, index: int) -> dict[str, Any]:
    """One signal with what it was simulated from."""
    drawn = draw(recipe.seed, index, recipe.n_pulses, recipe.pulse, recipe.ranges)
    sequence = drawn.sequence
    signal, derivatives = model.jacobian(sequence, drawn.tissue, ("ln_t1", "ln_t2"))
    inversion_time = np.nan if sequence.inversion_time is None else sequence.inversion_time
    return {
        "t1": np.float32(drawn.tissue.t1[0]),
        "t2": np.float32(drawn.tissue.t2[0]),
        "inversion_time": np.float32(inversion_time),
        "inversion_efficiency": np.float32(sequence.inversion_efficiency),
        "flip_angle": sequence.flip_angle.astype(np.float32),
        "tr": sequence.tr.astype(np.float32),
        "te": sequence.te.astype(np.float32),
        "targets": np.stack([signal[0].real, *derivatives[:, 0].real]),
        "family": np.uint8(drawn.family),
        "seed_key": seed_key(recipe.seed, index),
    }


def _identity(recipe: Recipe) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "epgbloch_version": __version__,
        **{f"{name}_version": metadata.version(name) for name in ("numpy", "scipy", "numba")},
        "recipe": recipe.to_dict(),
    }


def _claim(parts: Path, recipe: Recipe) -> None:
    """Note in the folder of parts what they belong to, or check it."""
    label, text = parts / "recipe.json", json.dumps(_identity(recipe), sort_keys=True)
    try:
        if label.read_text(encoding="utf-8") != text:
            raise DatasetError(
                f"{parts} holds parts of a data set of another recipe or version; remove the folder, or "
                "choose another name for the data set"
            )
    except FileNotFoundError:
        with replacing(label) as partial_path:
            partial_path.write_text(text, encoding="utf-8")


def _check_space(folder: Path, n_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        raise OSError(
            errno.ENOSPC,
            f"the data set needs {n_bytes / 1e9:.3g} GB and {folder} has {free / 1e9:.3g} GB free; choose "
            "another folder or fewer signals",
        )


def _part_path(parts: Path, start: int) -> Path:
    return parts / f"{start:09d}.npz"


def _write_part(parts: Path, start: int, arrays: dict[str, NDArray[Any]]) -> None:
    with replacing(_part_path(parts, start)) as path, path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def _read_part(parts: Path, start: int) -> dict[str, NDArray[Any]] | None:
    """Arrays of a part; None if it is missing or damaged (the parts carry checksums)."""
    try:
        with _part_path(parts, start).open("rb") as file:
            arrays = np.load(file)
            return {name: arrays[name] for name in UNITS}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _required_part(parts: Path, start: int) -> dict[str, NDArray[Any]]:
    arrays = _read_part(parts, start)
    if arrays is None:
        raise OSError(f"{_part_path(parts, start)} is gone or damaged; run again")
    return arrays


def _assemble(target: Path, recipe: Recipe, parts: Iterator[dict[str, NDArray[Any]]]) -> None:
    digests = {name: hashlib.sha256() for name in UNITS}
    # From 1.10 on, HDF5 has checksums on its own structures; gzip has one on the data.
    with replacing(target) as path, h5py.File(path, "w", libver=("v110", "v110")) as file:
        first = 0
        for arrays in parts:
            for name, values in arrays.items():
                if first == 0:
                    dataset = file.create_dataset(
                        name,
                        shape=(recipe.n_signals, *values.shape[1:]),
                        dtype=values.dtype,
                        chunks=(min(50, recipe.n_signals), *values.shape[1:]),
                        compression="gzip",
                        compression_opts=1,
                        shuffle=True,
                    )
                    dataset.attrs["units"] = np.bytes_(UNITS[name])
                file[name][first : first + len(values)] = values
                digests[name].update(values.tobytes())
            first += len(values)
        identity = _identity(recipe)
        identity["recipe"] = json.dumps(identity["recipe"])
        identity["created"] = datetime.now(UTC).isoformat(timespec="seconds")
        identity["sha256"] = combined_digest(digest.hexdigest() for digest in digests.values())
        for name, value in identity.items():
            file.attrs[name] = np.bytes_(value) if isinstance(value, str) else value
