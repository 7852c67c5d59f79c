"""When everything of a train is played, and which limits it breaks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from design.errors import LimitError
from design.pulseq.inversion import Inversion
from design.pulseq.readout import Readout
from design.pulseq.repetition import DEFAULT_SPOILER_CYCLES, Repetition, plan_repetition
from design.pulseq.scanner import Scanner
from epgbloch import Sequence
from epgbloch._checks import positive_number


@dataclass(frozen=True, eq=False)
class Timing:
    """Waits and shifts of a train: what makes the blocks of a `Repetition` last as long as they should.

    Parameters
    ----------
    repetition : Repetition
        The blocks.
    te_waits, tr_waits : ndarray, shape (n_pulses,), float64
        Wait before the readout and at the end of the TR [s].
    shifts : ndarray, shape (n_pulses,), float64
        Delay of the ADC within its block [s].
    inversion_wait, inversion_shift : float or None
        The same for the inversion; None: no inversion.
    sequence : Sequence
        What is played: times and pulse on the rasters.
    """

    repetition: Repetition
    te_waits: NDArray[np.float64]
    tr_waits: NDArray[np.float64]
    shifts: NDArray[np.float64]
    inversion_wait: float | None
    inversion_shift: float | None
    sequence: Sequence


def plan_timing(
    sequence: Sequence,
    readout: Readout,
    scanner: Scanner,
    *,
    spoiler_cycles: float | None = None,
    inversion: Inversion | None = None,
) -> Timing:
    """Return the timing of a train on a scanner, or raise the limit that forbids it.

    TE and inversion time are rounded to the RF raster, TR to the block raster, each by at most half of it.

    Parameters
    ----------
    sequence : Sequence
        What to play, with a slice-selective pulse.
    readout : Readout
        What to sample; pulse i plays readout i modulo n_readouts.
    scanner : Scanner
        What can be played.
    spoiler_cycles : float or None
        Turns of the magnetisation by one order of dephasing over the slice thickness; None: from the
        `spoiler_moment` of the sequence, or 4, or none where it never dephases.
    inversion : Inversion or None
        Pulse and spoiler of the inversion of a sequence that has one; None: the default ones.

    Raises
    ------
    LimitError
        If a limit of the scanner is broken: `limit` is "slice gradient", "readout gradient", "slew rate",
        "trajectory error", "dwell", "B1 peak", "B1 peak of the inversion", "te", "tr" or "inversion_time".
        The message names the pulse, the value and the nearest feasible one.
    ValueError
        If the pulse is not slice-selective, or `spoiler_cycles` contradicts the sequence.
    """
    cycles = _spoiler_cycles(sequence, spoiler_cycles)
    orders = tuple(np.unique(sequence.dephasing).tolist())
    repetition = plan_repetition(
        sequence.pulse,
        readout,
        scanner,
        cycles,
        inversion or Inversion(),
        orders,
    )
    repetition.excitation.check_b1(sequence.flip_angle)
    least = repetition.minimum_times
    te_steps = np.rint((sequence.te - least.te) / scanner.rf_raster).astype(int)
    _check("te", sequence.te, te_steps, np.full(sequence.n_pulses, least.te), "pulse, gradients and readout")
    te_waits, shifts = _split(te_steps, scanner)
    least_tr = least.tr + te_waits
    tr_steps = np.rint((sequence.tr - least_tr) / scanner.block_raster).astype(int)
    _check("tr", sequence.tr, tr_steps, least_tr, "this te, readout, rewinder and spoiler")
    inversion_wait = inversion_shift = inversion_time = None
    if sequence.inversion_time is not None:
        repetition.inversion.check()
        wanted = np.array([sequence.inversion_time])
        steps = np.rint((wanted - least.inversion_time) / scanner.rf_raster).astype(int)
        _check("inversion_time", wanted, steps, np.array([least.inversion_time]), "inversion and spoiler")
        (inversion_wait,), (delay,) = _split(steps, scanner)
        inversion_shift = scanner.block_raster - scanner.rf_raster - delay
        inversion_time = least.inversion_time + steps[0] * scanner.rf_raster
    played = Sequence(
        sequence.flip_angle,
        tr=np.round(least_tr + tr_steps * scanner.block_raster, 12),
        te=np.round(least.te + te_steps * scanner.rf_raster, 12),
        phase=sequence.phase,
        inversion_time=None if inversion_time is None else round(inversion_time, 12),
        inversion_efficiency=sequence.inversion_efficiency,
        pulse=repetition.excitation.pulse,
        spoiling=sequence.spoiling,
        rf_spoiling_increment=sequence.rf_spoiling_increment,
        dephasing=sequence.dephasing,
        spoiler_moment=sequence.spoiler_moment,
    )
    return Timing(
        repetition,
        te_waits,
        np.round(tr_steps * scanner.block_raster, 12),
        shifts,
        inversion_wait,
        inversion_shift,
        played,
    )


def _spoiler_cycles(sequence: Sequence, spoiler_cycles: float | None) -> float:
    """Turns over the slice, 0 for a train that never dephases."""
    if spoiler_cycles is not None:
        spoiler_cycles = positive_number("spoiler_cycles", spoiler_cycles, "turns")
    if not sequence.dephasing.any():
        if spoiler_cycles is not None:
            raise ValueError(
                f"spoiler_cycles={spoiler_cycles:.6g} has no use in a sequence that never dephases; leave it "
                "out, or change spoiling or dephasing of the sequence"
            )
        return 0.0
    moment, pulse = sequence.spoiler_moment, sequence.pulse
    if moment is None or pulse is None or pulse.slice_thickness is None:
        return DEFAULT_SPOILER_CYCLES if spoiler_cycles is None else spoiler_cycles
    own = moment * pulse.slice_thickness / (2 * np.pi)
    if spoiler_cycles is not None and abs(spoiler_cycles / own - 1) > 1e-6:
        raise ValueError(
            f"spoiler_cycles={spoiler_cycles:.6g} contradicts spoiler_moment={moment:.6g} rad/m of the "
            f"sequence, which makes {own:.6g} turns over the slice; give one of them"
        )
    return own


def _check(
    name: str, wanted: NDArray[np.float64], steps: NDArray[np.int64], least: NDArray[np.float64], what: str
) -> None:
    """Raise a LimitError about the pulse with the largest least time among those that are too short."""
    short = np.flatnonzero(steps < 0)
    if short.size:
        i_pulse = short[least[short].argmax()]
        nearest = float(np.ceil(least[i_pulse] * 1e9 - 1e-3) * 1e-9)
        place = "" if name == "inversion_time" else f" at pulse {i_pulse}"
        raise LimitError(
            f"{name}={wanted[i_pulse] * 1e3:.6g} ms{place} is too short for {what}; the nearest {name} on "
            f"this scanner is {nearest * 1e3:.9g} ms",
            limit=name,
            nearest=nearest,
        )


def _split(steps: NDArray[np.int64], scanner: Scanner) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Whole blocks and the rest of steps of the RF raster [s]."""
    n_fine = round(scanner.block_raster / scanner.rf_raster)
    whole, rest = np.divmod(steps, n_fine)
    return np.round(whole * scanner.block_raster, 12), np.round(rest * scanner.rf_raster, 12)
