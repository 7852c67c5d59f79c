"""What a network was trained on, and refusal of everything else."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from epgbloch import Sequence, Tissue
from surrogate.sampling import Ranges

_ROUNDING = 1e-6
"""Relative room for values at the ends of the ranges that were rounded to single precision."""


class OutOfRangeError(ValueError):
    """A tissue or a sequence outside the ranges that a network was trained on."""


def check_known(sequence: Sequence, tissue: Tissue, pulse: dict[str, Any]) -> None:
    """Raise an error where there is something that the network does not read.

    Parameters
    ----------
    sequence, tissue
        What is to be simulated.
    pulse : dict
        RF pulse of the training data, as in `Recipe.to_dict`.

    Raises
    ------
    ValueError
        If there is another RF pulse, RF spoiling, a TR without dephasing, a phase that changes,
        off-resonance or diffusion.
    """
    remedy = "use EPGBloch"
    trained = f"{pulse['name']} pulse of {1e3 * pulse['duration']:.6g} ms"
    if sequence.pulse is None:
        raise ValueError(
            f"pulse=None is instantaneous, but the network learned the slice profile of a {trained}; "
            f"give the sequence that pulse, or {remedy}"
        )
    if sequence.pulse.fingerprint() != pulse["fingerprint"]:
        raise ValueError(
            f"pulse: the sequence has a {sequence.pulse.name} pulse of "
            f"{1e3 * sequence.pulse.duration:.6g} ms with fingerprint {sequence.pulse.fingerprint()[:8]}, "
            f"but the network learned a {trained} with fingerprint {pulse['fingerprint'][:8]}; give the "
            f"sequence that pulse, or {remedy}"
        )
    if sequence.spoiling != "gradient":
        raise ValueError(
            f'spoiling={sequence.spoiling!r} is unknown to the network, which learned "gradient"; {remedy}'
        )
    unspoiled = np.flatnonzero(sequence.dephasing == 0)
    if unspoiled.size:
        raise ValueError(
            f"dephasing[{unspoiled[0]}]=0 is unknown to the network, which learned one order in every TR; "
            f"{remedy}"
        )
    turned = np.flatnonzero(np.abs(np.exp(1j * (sequence.phase - sequence.phase[0])) - 1) > _ROUNDING)
    if turned.size:
        i_pulse = turned[0]
        raise ValueError(
            f"phase[{i_pulse}]={sequence.phase[i_pulse]:.6g} rad differs from phase[0]="
            f"{sequence.phase[0]:.6g} rad, but the network learned trains of one phase; {remedy}"
        )
    for name, unit in (("off_resonance", "Hz"), ("diffusion", "m^2/s")):
        values = getattr(tissue, name)
        present = np.flatnonzero(values)
        if present.size:
            raise ValueError(
                f"{name}[{present[0]}]={values[present[0]]:.6g} {unit} is unknown to the network; use "
                f"{name}=0, or {remedy.removeprefix('use ')}"
            )


def check_ranges(
    sequence: Sequence, tissue: Tissue, ranges: Ranges, flip_angle: NDArray[np.float64] | None = None
) -> None:
    """Raise an error where a parameter lies outside the ranges of the training data.

    Parameters
    ----------
    sequence, tissue
        What is to be simulated.
    ranges : Ranges
        The ranges.
    flip_angle : ndarray, shape (n_trains, n_pulses), optional
        Flip angles [rad] that take the place of those of the sequence.

    Raises
    ------
    OutOfRangeError
        The message names the parameter, its first value outside, the range and the remedies.
    """
    _check("t1", tissue.t1, ranges.t1, " s")
    _check("t2", tissue.t2, ranges.t2, " s")
    _check("tr", sequence.tr, ranges.tr, " s")
    _check("te / tr", sequence.te / sequence.tr, ranges.te_over_tr, "")
    if sequence.inversion_time is not None:
        _check("inversion_time", np.array([sequence.inversion_time]), ranges.inversion_time, " s")
        efficiency = np.array([sequence.inversion_efficiency])
        _check("inversion_efficiency", efficiency, ranges.inversion_efficiency, "")
    largest = (sequence.flip_angle if flip_angle is None else flip_angle) * tissue.b1.max()
    _check("flip_angle x largest b1", largest, (0.0, ranges.largest_flip_angle), " rad")


def _check(name: str, values: NDArray[np.float64], limits: tuple[float, float], unit: str) -> None:
    low, high = limits
    outside = (values < low * (1 - _ROUNDING)) | (values > high * (1 + _ROUNDING))
    if outside.any():
        first = np.argwhere(outside)[0]
        place = f"[{', '.join(map(str, first))}]" if values.size > 1 else ""
        raise OutOfRangeError(
            f"{name}{place}={values[tuple(first)]:.6g}{unit} lies outside {low:.6g} to {high:.6g}{unit}, the "
            "range that the network was trained on; use EPGBloch, or extrapolate=True for a signal of "
            "unknown error"
        )
