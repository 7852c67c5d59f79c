"""``epgbloch simulate``: signals of tissues into a CSV or HDF5 file, and a figure."""

from __future__ import annotations

import contextlib
import csv
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import ArrayLike, NDArray

from epgbloch import Tissue, __version__
from jobs.console import Console
from jobs.figures import new_figure
from jobs.outputs import new_file
from jobs.protocol import Protocol, load_protocol

_LARGEST_LEGEND = 12


def run_simulate(
    protocol_path: Path,
    t1_ms: ArrayLike,
    t2_ms: ArrayLike,
    b1: ArrayLike,
    off_resonance_hz: ArrayLike,
    *,
    out: Path,
    figure: Path | None,
    force: bool,
    console: Console,
) -> NDArray[np.complex64]:
    """Simulate the sequence of a protocol and write the signals.

    A ``.csv`` file has one row for each tissue and pulse; a ``.h5`` file holds the array ``signal`` (n_atoms,
    n_pulses), the tissues and the protocol. The signal is relative to a proton density of 1.

    Returns
    -------
    ndarray, shape (n_atoms, n_pulses), complex64
        The signals.

    Raises
    ------
    ValueError
        If the protocol or a tissue is not valid, or the name of a file does not tell its format.
    OSError
        If a file exists and `force` is not set, or cannot be written.
    """
    if out.suffix not in (".csv", ".h5"):
        raise ValueError(f"--out {out}: the name must end in .csv or .h5")
    if figure is not None and figure.suffix != ".png":
        raise ValueError(f"--figure {figure}: the name must end in .png")
    protocol = load_protocol(protocol_path)
    tissue = Tissue(1e-3 * np.asarray(t1_ms), 1e-3 * np.asarray(t2_ms), b1=b1, off_resonance=off_resonance_hz)
    with contextlib.ExitStack() as files:
        path = files.enter_context(new_file(out, force=force))
        figure_path = files.enter_context(new_file(figure, force=force)) if figure else None
        with console.step(
            f"Simulating {tissue.n_atoms} tissue(s) x {protocol.sequence.n_pulses} pulses"
        ) as progress:
            signal = protocol.model.signal(protocol.sequence, tissue, progress=progress)
        if out.suffix == ".csv":
            write_signal_csv(path, tissue, signal)
        else:
            _write_hdf5(path, protocol, tissue, signal)
        if figure_path is not None:
            _draw(figure_path, tissue, signal)
    for written in filter(None, (out, figure)):
        console.result(f"wrote {written}")
    return signal


def _columns(tissue: Tissue) -> dict[str, NDArray[np.float64]]:
    return {
        "t1_ms": 1e3 * tissue.t1,
        "t2_ms": 1e3 * tissue.t2,
        "b1": tissue.b1,
        "off_resonance_hz": tissue.off_resonance,
    }


def write_signal_csv(path: Path, tissue: Tissue, signal: NDArray[np.complex64]) -> None:
    """Write one row for each tissue and pulse."""
    columns = _columns(tissue)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, "pulse", "signal_real", "signal_imag"])
        for i_atom, echoes in enumerate(signal):
            values = [f"{column[i_atom]:.9g}" for column in columns.values()]
            for i_pulse, echo in enumerate(echoes):
                writer.writerow([*values, i_pulse, f"{echo.real:.8g}", f"{echo.imag:.8g}"])


def _write_hdf5(path: Path, protocol: Protocol, tissue: Tissue, signal: NDArray[np.complex64]) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["epgbloch_version"] = __version__
        file.attrs["protocol"] = protocol.text
        for name, column in _columns(tissue).items():
            file[name] = column
        file["signal"] = signal
        file["signal"].attrs["axes"] = "tissue, pulse"
        file["signal"].attrs["scale"] = "relative to a proton density of 1"


def _draw(path: Path, tissue: Tissue, signal: NDArray[np.complex64]) -> None:
    parts = {"real part": signal.real, "imaginary part": signal.imag}
    if not signal.imag.any():
        del parts["imaginary part"]
    figure = new_figure(8, 1 + 3 * len(parts))
    all_axes = figure.subplots(len(parts), 1, squeeze=False, sharex=True)[:, 0]
    columns = _columns(tissue)
    for axes, (name, part) in zip(all_axes, parts.items(), strict=True):
        for i_atom, line in enumerate(part):
            label = f"T1 {columns['t1_ms'][i_atom]:g} ms, T2 {columns['t2_ms'][i_atom]:g} ms"
            if np.ptp(tissue.b1):
                label += f", B1 {tissue.b1[i_atom]:g}"
            if np.ptp(tissue.off_resonance):
                label += f", {tissue.off_resonance[i_atom]:g} Hz"
            axes.plot(line, linewidth=1.2, label=label)
        axes.axhline(0, color="0.7", linewidth=0.6, zorder=0)
        axes.set_ylabel(f"signal / PD, {name}")
        axes.spines[["top", "right"]].set_visible(False)
    if tissue.n_atoms <= _LARGEST_LEGEND:
        all_axes[0].legend(frameon=False, fontsize=8)
    all_axes[-1].set_xlabel("pulse")
    figure.savefig(path, dpi=150)
