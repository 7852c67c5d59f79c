"""Making data sets: simulated in parallel, resumed after interruptions."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from epgbloch import EPGBloch, __version__
from epgbloch._checks import require_count
from epgbloch._files import Parts, check_space, library_versions, new_hdf5
from surrogate.dataset import FORMAT, FORMAT_VERSION, UNITS, DatasetError, Recipe, combined_digest
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
        If the file exists, another process makes it, or it cannot be written.
    """
    require_count("n_threads", n_threads)
    target = Path(path)
    n_bytes = 8 * 6 * recipe.n_pulses * recipe.n_signals  # twice: parts and the file
    check_space(target.parent, n_bytes, "the data set", "choose another folder or fewer signals")
    with contextlib.closing(Parts(target, "data set", _identity(recipe), DatasetError)) as parts:
        if not parts.open():
            _generate(parts, recipe, n_threads, progress)
    return target


def _generate(parts: Parts, recipe: Recipe, n_threads: int, progress: Progress | None) -> None:
    starts = range(0, recipe.n_signals, _PART)
    model = replace(recipe.model, n_threads=1)
    with ThreadPoolExecutor(n_threads) as pool:
        for start in starts:
            indices = range(start, min(start + _PART, recipe.n_signals))
            if parts.read(_part(start)) is None:
                rows = list(pool.map(partial(_simulate, recipe, model), indices))
                parts.write(_part(start), {name: np.stack([row[name] for row in rows]) for name in UNITS})
            if progress is not None:
                progress(indices.stop, recipe.n_signals)
    with parts.finishing() as complete:
        _assemble(complete, recipe, (parts.required(_part(start)) for start in starts))


def _part(start: int) -> str:
    return f"{start:09d}"


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
        **library_versions("numpy", "scipy", "numba"),
        "recipe": recipe.to_dict(),
    }


def _assemble(path: Path, recipe: Recipe, parts: Iterator[dict[str, NDArray[Any]]]) -> None:
    digests = {name: hashlib.sha256() for name in UNITS}
    # Gzip has a checksum on the data.
    with new_hdf5(path) as file:
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
