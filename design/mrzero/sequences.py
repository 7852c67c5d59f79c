"""Builders of common imaging sequences.

Images are square, matrix x matrix pixels of a field of view [m]. Sample i of a line through the centre of
k-space lies at (i - matrix // 2) / fov, as does line i of phase encoding; TE is the time of the sample at
k = 0, TR the time from pulse to pulse. Times are in seconds, angles in radians, moments in cycles/m.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from design.mrzero.sequence import ImagingSequence
from epgbloch._checks import positive_number, require_count

RealArray = NDArray[np.float64]
Order = Literal["linear", "centric"]
_Repetition = tuple[float, float, RealArray, RealArray, NDArray[np.bool_], float]

DWELL = 80e-6
"""Time of a sample [s], as in papers on MR-zero: 195 Hz a pixel for 64 samples."""
SPOILER = 400.0
"""Moment of a spoiler along z [cycles/m]: two cycles across a slice of 5 mm."""
RF_SPOILING = float(np.deg2rad(117))
"""Increment of the increment of the phase between spoiled excitations [rad]."""


def phase_encoding(matrix: int, order: Order) -> NDArray[np.int64]:
    """Return the numbers of the lines, counted from the centre of k-space, in the order of acquisition.

    "linear" runs from -(matrix // 2) upwards, "centric" is 0, -1, 1, -2 ...

    Raises
    ------
    ValueError
        If `order` is neither.
    """
    lines = np.arange(matrix) - matrix // 2
    if order == "linear":
        return lines
    if order == "centric":
        return lines[np.argsort(np.abs(lines + 0.25))]
    raise ValueError(f'order={order!r} must be "linear" or "centric"')


def gradient_echo(
    matrix: int,
    fov: float,
    *,
    flip_angle: ArrayLike,
    tr: float,
    te: float,
    order: Order = "linear",
    dwell: float = DWELL,
    spoiler: float = SPOILER,
    rf_spoiling: float = RF_SPOILING,
    n_dummies: int = 0,
) -> ImagingSequence:
    """Cartesian gradient echoes from the first pulse on, spoiled by gradients and RF (FLASH).

    A repetition has the events prephaser, `matrix` samples, rewinder with the spoiler along z; the receiver
    follows the phase of the pulse.

    Parameters
    ----------
    matrix : int
        Lines, and samples of a line.
    fov : float
        Field of view [m].
    flip_angle : array_like, shape () or (n_dummies + matrix,), float64
        Of the pulses [rad].
    tr, te : float
        Repetition and echo time [s].
    order : str
        Of the lines, see `phase_encoding`.
    dwell : float
        Time of a sample [s].
    spoiler : float
        Moment along z [cycles/m].
    rf_spoiling : float
        Pulse n has the phase rf_spoiling n (n + 1) / 2 [rad].
    n_dummies : int
        Pulses before the first line that is sampled.

    Raises
    ------
    ValueError
        If the samples do not fit into TE and TR, or a value is out of range.
    """
    require_count("matrix", matrix)
    start = np.empty((matrix, 2))
    start[:, 0], start[:, 1] = -(matrix // 2), phase_encoding(matrix, order)
    step = np.broadcast_to([1.0, 0.0], start.shape)
    return _spoiled_train(
        start, step, matrix, fov, flip_angle, tr, te, dwell, spoiler, rf_spoiling, n_dummies
    )


def radial_gradient_echo(
    matrix: int,
    fov: float,
    *,
    flip_angle: ArrayLike,
    tr: float,
    te: float,
    n_spokes: int | None = None,
    dwell: float = DWELL,
    spoiler: float = SPOILER,
    rf_spoiling: float = RF_SPOILING,
    n_dummies: int = 0,
) -> ImagingSequence:
    """Gradient echoes along spokes, spoiled by gradients and RF.

    Spoke i stands at the angle pi i / n_spokes from x towards y. The rest is as in `gradient_echo`;
    `flip_angle` may have n_dummies + n_spokes values. Left out, `n_spokes` is `matrix`.

    Raises
    ------
    ValueError
        If the samples do not fit into TE and TR, or a value is out of range.
    """
    require_count("matrix", matrix)
    spokes = matrix if n_spokes is None else n_spokes
    require_count("n_spokes", spokes)
    angle = np.pi * np.arange(spokes) / spokes
    step = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    start = -(matrix // 2) * step
    return _spoiled_train(
        start, step, matrix, fov, flip_angle, tr, te, dwell, spoiler, rf_spoiling, n_dummies
    )


def inversion_prepared(
    matrix: int,
    fov: float,
    *,
    flip_angle: float,
    tr: float,
    te: float,
    inversion_times: ArrayLike,
    recovery_times: ArrayLike,
    order: Order = "centric",
    dwell: float = DWELL,
    spoiler: float = SPOILER,
) -> ImagingSequence:
    """Images by `gradient_echo`, one after the other, each after an inversion.

    Every block is a pulse of 180 degrees, one event of the inversion time with the spoiler, the repetitions
    of `gradient_echo`, of which the last one has one event more, of the recovery time.

    Parameters
    ----------
    inversion_times, recovery_times : array_like, shape (n_blocks,), float64
        From the inversion to the first excitation, and from the end of the last repetition to the next
        inversion [s], at least 0.
    matrix, fov, flip_angle, tr, te, order, dwell, spoiler
        As of `gradient_echo`.

    References
    ----------
    Loktyushin et al. 2021, Magn Reson Med 86:709, doi 10.1002/mrm.28727: figure 7.

    Raises
    ------
    ValueError
        If the samples do not fit into TE and TR, or a value is out of range.
    """
    inversion = np.asarray(inversion_times, np.float64)
    recovery = np.asarray(recovery_times, np.float64)
    if inversion.ndim != 1 or inversion.size == 0 or inversion.shape != recovery.shape:
        raise ValueError(
            f"inversion_times {inversion.shape} and recovery_times {recovery.shape} must have one value for "
            "each block"
        )
    train = gradient_echo(
        matrix, fov, flip_angle=flip_angle, tr=tr, te=te, order=order, dwell=dwell, spoiler=spoiler
    )
    block = _repetitions(train)
    repetitions: list[_Repetition] = []
    for ti, rest in zip(inversion, recovery, strict=True):
        repetitions.append(_preparation(np.pi, ti, spoiler))
        angle, phase, moments, times, adc, received = block[-1]
        last = np.pad(moments, ((0, 1), (0, 0))), np.append(times, rest), np.append(adc, False)
        repetitions += [*block[:-1], (angle, phase, *last, received)]
    return ImagingSequence.from_repetitions(
        repetitions, use=["inversion", *["excitation"] * matrix] * len(inversion)
    )


def turbo_spin_echo(
    matrix: int,
    fov: float,
    *,
    echo_spacing: float,
    flip_angle: float = np.pi / 2,
    refocusing_angle: ArrayLike = np.pi,
    order: Order = "linear",
    dwell: float = 30e-6,
    crusher: float = SPOILER,
) -> ImagingSequence:
    """One excitation and a train of spin echoes that fills k-space (RARE, TSE), with the phases of CPMG.

    The first repetition is the excitation with one event: half an echo spacing, the first crusher and the
    prephaser of the readout. Those of the refocusing pulses have the events crusher with phase encoding,
    `matrix` samples, rewinder with crusher.

    Parameters
    ----------
    matrix : int
        Echoes, and samples of an echo.
    fov : float
        Field of view [m].
    echo_spacing : float
        Time between refocusing pulses [s]; echoes lie in the middle.
    flip_angle : float
        Of the excitation [rad].
    refocusing_angle : array_like, shape () or (matrix,), float64
        Of the refocusing pulses [rad].
    order : str
        Of the lines, see `phase_encoding`.
    dwell : float
        Time of a sample [s].
    crusher : float
        Moment along z on both sides of each refocusing pulse [cycles/m].

    Raises
    ------
    ValueError
        If the samples do not fit between the pulses, or a value is out of range.
    """
    require_count("matrix", matrix)
    unit = 1 / positive_number("fov", fov, "m")
    half = positive_number("echo_spacing", echo_spacing, "s") / 2
    before, after = _times_around("echo_spacing", half, half, matrix, dwell)
    reach = (matrix // 2 + 1) * unit  # what the echo before has to bring along x
    angles = _angles("refocusing_angle", refocusing_angle, matrix)
    preparation = np.array([[reach, 0.0, crusher]]), np.array([half]), np.array([False])
    repetitions: list[_Repetition] = [(flip_angle, 0.0, *preparation, 0.0)]
    for angle, line in zip(angles, phase_encoding(matrix, order), strict=True):
        moments = np.zeros((matrix + 2, 3))
        moments[0] = 0, line * unit, crusher
        moments[1:-1, 0] = unit
        moments[-1] = 2 * reach - matrix * unit, -line * unit, crusher
        repetitions.append((angle, np.pi / 2, moments, *_timing(before, matrix, dwell, after), 0.0))
    return ImagingSequence.from_repetitions(repetitions, use=["excitation", *["refocusing"] * matrix])


def balanced(
    matrix: int,
    fov: float,
    *,
    flip_angle: float,
    tr: float,
    order: Order = "linear",
    dwell: float = 30e-6,
) -> ImagingSequence:
    """Balanced steady-state free precession from the first pulse on, with alternating phases.

    A pulse of half the angle, half a TR before the first of the others, brings the magnetisation near to its
    steady state. TE is TR / 2. A repetition has the events prephaser, `matrix` samples, rewinder.

    Parameters
    ----------
    matrix, fov, flip_angle, tr, order, dwell
        As of `gradient_echo`.

    Raises
    ------
    ValueError
        If the samples do not fit into TR, or a value is out of range.
    """
    require_count("matrix", matrix)
    unit = 1 / positive_number("fov", fov, "m")
    half = positive_number("tr", tr, "s") / 2
    before, after = _times_around("tr", half, half, matrix, dwell)
    repetitions = [_preparation(flip_angle / 2, half, 0.0, phase=np.pi)]
    for i, line in enumerate(phase_encoding(matrix, order)):
        moments = _line(np.array([-(matrix // 2), line]), np.array([1.0, 0.0]), matrix) * unit
        phase = np.pi * (i % 2)
        repetitions.append((flip_angle, phase, moments, *_timing(before, matrix, dwell, after), phase))
    return ImagingSequence.from_repetitions(repetitions)


def echo_planar(
    matrix: int,
    fov: float,
    *,
    te: float,
    flip_angle: float = np.pi / 2,
    inversion_time: float | None = None,
    dwell: float = 10e-6,
    blip: float = 300e-6,
    spoiler: float = SPOILER,
) -> ImagingSequence:
    """One excitation whose lines are read forth and back (EPI), after an inversion where a time is given.

    The events of the excitation are the prephaser and, line by line, `matrix` samples and a blip; after the
    last line the blip brings k back to 0.

    Parameters
    ----------
    matrix : int
        Lines, and samples of a line.
    fov : float
        Field of view [m].
    te : float
        Time of the sample at k = 0 [s].
    flip_angle : float
        Of the excitation [rad].
    inversion_time : float, optional
        From a pulse of 180 degrees to the excitation [s].
    dwell, blip : float
        Time of a sample, and of the blip between lines [s].
    spoiler : float
        Moment along z after the inversion [cycles/m].

    Raises
    ------
    ValueError
        If the lines do not fit into TE, or a value is out of range.
    """
    require_count("matrix", matrix)
    unit = 1 / positive_number("fov", fov, "m")
    positive_number("blip", blip, "s")
    line_time = matrix * positive_number("dwell", dwell, "s") + blip
    half = matrix // 2
    # samples of the line through k = 0, up to k = 0, forth or back
    needed = half * line_time + dwell * (half + 1 if half % 2 == 0 else matrix - half)
    before = _rest("te", te, needed, f"{half} lines and the samples up to k = 0")
    moments = np.zeros((1 + matrix * (matrix + 1), 3))
    moments[0, :2] = -half - 1, -half
    lines = moments[1:].reshape(matrix, matrix + 1, 3)
    direction = np.where(np.arange(matrix) % 2 == 0, 1.0, -1.0)
    lines[:, :-1, 0] = direction[:, np.newaxis]
    lines[:, -1, 0] = direction  # the next line begins at the sample where this one ends
    lines[:, -1, 1] = 1.0
    moments[-1] -= moments.sum(axis=0)
    adc = np.append(False, np.tile(np.append(np.full(matrix, True), False), matrix))
    times = np.append(before, np.tile(np.append(np.full(matrix, dwell), blip), matrix))
    repetitions: list[_Repetition] = [(flip_angle, 0.0, moments * unit, times, adc, 0.0)]
    use = ["excitation"]
    if inversion_time is not None:
        repetitions.insert(0, _preparation(np.pi, inversion_time, spoiler))
        use.insert(0, "inversion")
    return ImagingSequence.from_repetitions(repetitions, use=use)


def _spoiled_train(
    start: RealArray,
    step: RealArray,
    n: int,
    fov: float,
    flip_angle: ArrayLike,
    tr: float,
    te: float,
    dwell: float,
    spoiler: float,
    rf_spoiling: float,
    n_dummies: int,
) -> ImagingSequence:
    """Lines of n samples that begin at `start` and go on by `step`, both (n_lines, 2) in units of 1 / fov."""
    unit = 1 / positive_number("fov", fov, "m")
    if n_dummies:
        require_count("n_dummies", n_dummies)
    before, after = _times_around("te", te, positive_number("tr", tr, "s") - te, n, dwell)
    angles = _angles("flip_angle", flip_angle, n_dummies + len(start))
    repetitions: list[_Repetition] = []
    for i, angle in enumerate(angles):
        phase = rf_spoiling * i * (i + 1) / 2 % (2 * np.pi)
        if i < n_dummies:
            repetitions.append(_preparation(angle, tr, spoiler, phase=phase))
            continue
        moments = _line(start[i - n_dummies], step[i - n_dummies], n) * unit
        moments[-1, 2] = spoiler
        repetitions.append((angle, phase, moments, *_timing(before, n, dwell, after), phase))
    return ImagingSequence.from_repetitions(repetitions)


def _line(start: RealArray, step: RealArray, n: int) -> RealArray:
    """Moments of prephaser, n samples and rewinder in the plane, shape (n + 2, 3)."""
    moments = np.zeros((n + 2, 3))
    moments[0, :2] = start - step  # the first sample lies at the end of the first step
    moments[1:-1, :2] = step
    moments[-1] = -moments.sum(axis=0)
    return moments


def _timing(before: float, n: int, dwell: float, after: float) -> tuple[RealArray, NDArray[np.bool_]]:
    """Durations, and which of them are samples."""
    times = np.concatenate([[before], np.full(n, dwell), [after]])
    adc = np.full(n + 2, True)
    adc[[0, -1]] = False
    return times, adc


def _times_around(name: str, te: float, rest: float, n: int, dwell: float) -> tuple[float, float]:
    """Times before and after n samples, of which number n // 2 ends at `te`, `rest` before the next pulse."""
    positive_number("dwell", dwell, "s")
    until = n // 2 + 1
    before = _rest(
        "te" if name == "te" else f"half of {name}", te, until * dwell, f"{until} samples up to k = 0"
    )
    after = _rest(
        "tr - te" if name == "te" else f"half of {name}", rest, (n - until) * dwell, f"{n - until} samples"
    )
    return before, after


def _rest(name: str, time: float, needed: float, what: str) -> float:
    if not time > needed:
        raise ValueError(
            f"{name}={1e3 * time:.6g} ms must exceed the {1e3 * needed:.6g} ms of {what}; lengthen it, or "
            "shorten the dwell time"
        )
    return time - needed


def _preparation(angle: float, time: float, spoiler: float, phase: float = 0.0) -> _Repetition:
    """A pulse with one event that is not sampled."""
    return angle, phase, np.array([[0.0, 0.0, spoiler]]), np.array([time]), np.array([False]), 0.0


def _angles(name: str, value: ArrayLike, n: int) -> RealArray:
    angles = np.asarray(value, np.float64)
    if angles.shape not in ((), (n,)):
        raise ValueError(f"{name} has shape {angles.shape}; give one angle, or one for each of {n} pulses")
    return np.broadcast_to(angles, (n,))


def _repetitions(sequence: ImagingSequence) -> list[_Repetition]:
    first = sequence.first_event
    return [
        (
            sequence.flip_angle[i],
            sequence.phase[i],
            sequence.moments[first[i] : first[i + 1]],
            sequence.durations[first[i] : first[i + 1]],
            sequence.adc[first[i] : first[i + 1]],
            sequence.adc_phase[first[i]],
        )
        for i in range(sequence.n_repetitions)
    ]
