"""``epgbloch dictionary match``: tissue parameters of signals in a file."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dictionaries import Dictionary, Match, Refined, match, read_arrays, read_dictionary, refine
from jobs.console import Console
from jobs.models import stored_model
from jobs.outputs import new_file


def run_dictionary_match(
    path: Path,
    signals_path: Path,
    *,
    out: Path,
    refined: bool,
    noise: float | None,
    network: str | None,
    force: bool,
    console: Console,
) -> Match | Refined:
    """Match the signals of a file, one a row, and write T1, T2 and the rest as CSV.

    Parameters
    ----------
    path : Path
        File of the dictionary.
    signals_path : Path
        Signals (n, n_pulses) or coefficients (n, rank): an array in a ``.npy`` file, the variable ``signal``
        of a ``.npz``, ``.mat`` or ``.h5`` file, or the ``.csv`` file of ``epgbloch simulate``.
    out : Path
        CSV file with a row for each signal.
    refined : bool
        Go below the step of the grid, with the model that made the dictionary, and add standard errors.
    noise : float or None
        Standard deviation of the real part of the noise, for the standard errors; None: from the residuals.
    network : str or None
        File of weights, for dictionaries of a network that does not come with the package.
    force : bool
        Replace an existing file.
    console : Console
        Where to report.

    Raises
    ------
    ValueError
        If a file cannot be used, or signals and dictionary do not fit.
    OSError
        If a file cannot be opened, exists and `force` is not set, or cannot be written.
    """
    if out.suffix != ".csv":
        raise ValueError(f"--out {out}: the name must end in .csv")
    if not refined and (noise is not None or network is not None):
        option = "--noise" if noise is not None else "--network"
        raise ValueError(f"{option} is for --refine only; leave it out or add --refine")
    dictionary = read_dictionary(path)
    coefficients = _coefficients(read_signals(signals_path), dictionary, signals_path)
    with new_file(out, force=force) as temporary:
        mask = coefficients.any(axis=1) & np.isfinite(coefficients).all(axis=1)
        with console.step(f"Matching {len(coefficients)} signals with {dictionary.n_atoms} atoms"):
            atoms = match(dictionary, coefficients, mask=mask)
        result: Match | Refined = atoms
        if refined:
            model = stored_model(dictionary, network)
            if model is None:
                raise ValueError(
                    f"{path} does not say what model made it (an imported dictionary?), and --refine needs "
                    "the model; leave --refine out"
                )
            with console.step("Refining") as progress:
                result = refine(model, dictionary, coefficients, atoms, noise_std=noise, progress=progress)
        _write(temporary, result)
    if not mask.all():
        console.notice(
            f"{np.count_nonzero(~mask)} of {mask.size} signals are zero or not finite: rows of nan"
        )
    if isinstance(result, Refined):
        n_left = int(np.count_nonzero(mask & ~result.converged))
        if n_left:
            console.notice(f"{n_left} of {mask.size} did not converge and keep their atom")
    console.result(f"wrote {out}")
    return result


def read_signals(path: Path) -> NDArray[Any]:
    """Return the signals of a file in rows.

    Raises
    ------
    ValueError
        If the file cannot be used.
    OSError
        If it cannot be opened.
    """
    formats = {
        ".npy": _read_npy,
        ".npz": _read_variable,
        ".mat": _read_variable,
        ".h5": _read_hdf5,
        ".csv": _read_csv,
    }
    if path.suffix not in formats:
        raise ValueError(f"{path}: signals come from files that end in {', '.join(formats)}")
    signals = formats[path.suffix](path)
    if signals.ndim != 2 or signals.dtype.kind not in "fciu" or not signals.size:
        raise ValueError(
            f"{path} holds an array of shape {signals.shape} ({signals.dtype}); signals are numbers in rows, "
            "(n, n_pulses) or (n, rank)"
        )
    return signals


def _read_npy(path: Path) -> NDArray[Any]:
    with path.open("rb") as file:
        try:
            return np.asarray(np.load(file, allow_pickle=False))
        except (ValueError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} is not an array of NumPy, or a damaged one ({error})") from error


def _read_variable(path: Path) -> NDArray[Any]:
    variables = read_arrays(path)
    if "signal" not in variables:
        raise ValueError(f"{path} has no variable signal; it has {', '.join(sorted(variables)) or 'none'}")
    return np.asarray(variables["signal"])


def _read_hdf5(path: Path) -> NDArray[Any]:
    with path.open("rb") as file:  # an error of the system where there is no such file
        try:
            with h5py.File(file, "r") as archive:
                return np.asarray(archive["signal"][...])
        except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} is not an HDF5 file with an array called signal, or a damaged one ({error})"
            ) from error


def _read_csv(path: Path) -> NDArray[Any]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        columns = ("pulse", "signal_real", "signal_imag")
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(
                f"{path} has no column {missing[0]!r}; give a file of epgbloch simulate, or signals as .npy"
            )
        try:
            rows = np.array([[float(row[name]) for name in columns] for row in reader])
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}, line {reader.line_num}: {error}") from error
    n_pulses = int(rows[:, 0].max()) + 1 if rows.size else 0
    if not rows.size or not np.array_equal(rows[:, 0], np.arange(len(rows)) % n_pulses):
        raise ValueError(
            f"{path}: the pulses of every signal must be 0, 1, 2 ..., as epgbloch simulate writes"
        )
    return (rows[:, 1] + 1j * rows[:, 2]).reshape(-1, n_pulses)


def _coefficients(signals: NDArray[Any], dictionary: Dictionary, path: Path) -> NDArray[Any]:
    n_pulses, rank = dictionary.basis.shape
    if signals.shape[1] == n_pulses:
        return signals @ dictionary.basis.conj()
    if signals.shape[1] != rank:
        raise ValueError(
            f"{path} holds signals of {signals.shape[1]} values; the dictionary has {n_pulses} pulses and "
            f"rank {rank}"
        )
    return signals


def _write(path: Path, result: Match | Refined) -> None:
    columns = {
        "t1_ms": 1e3 * result.t1,
        "t2_ms": 1e3 * result.t2,
        "b1": result.b1,
        "off_resonance_hz": result.off_resonance,
        "pd_real": result.pd.real,
        "pd_imag": result.pd.imag,
    }
    if isinstance(result, Refined):
        columns |= {
            "t1_std_ms": 1e3 * result.t1_std,
            "t2_std_ms": 1e3 * result.t2_std,
            "converged": result.converged.astype(int),
            "at_bound": result.at_bound.astype(int),
        }
    columns |= {"correlation": result.correlation}
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([f"{value:.7g}" for value in row] for row in zip(*columns.values(), strict=True))
