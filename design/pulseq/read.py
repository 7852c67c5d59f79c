"""Pulseq files as sequences: what a .seq file plays, from its RF pulses, gradient moments and times."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from design.pulseq.blocks import AXES, Blocks, read_blocks
from design.pulseq.definitions import definition, field_of_view, image_matrix
from design.pulseq.echoes import (
    Readouts,
    echo_times,
    find_readouts,
    readout_positions,
    receiver_phases,
    through_plane_axis,
)
from design.pulseq.moments import Moments
from design.pulseq.pulses import PlayedPulse, common_pulse, is_inversion, mean_square_b1, played_pulses
from design.pulseq.spoiling import check_slice, dephasing_orders, incomplete_spoiler
from epgbloch import RFPulse, Sequence

_TIME_STEP = 1e-8  # s, to which times are rounded; ADCs have a raster of 100 ns
_SAME_PHASE = 0.01  # rad
_TRAIN_USES = ("excitation", "undefined", "other")


@dataclass(frozen=True, eq=False)
class PulseqScan:
    """What a Pulseq file plays.

    Attributes
    ----------
    sequence : Sequence
        The train, with every RF pulse but the inversion. Phases are those of the file, RF spoiling included.
    trajectory : ndarray, shape (n_readouts, n_samples, 2), float64
        Positions in k-space [1/m] along `axes`: gradient moments since the centre of the RF pulse.
    readout_pulse : ndarray, shape (n_readouts,), int64
        The pulse of each readout, counted from 0. Pulses without readout are missing.
    receiver_phase : ndarray, shape (n_readouts,), float64
        Phase of the receiver at the echo less that of the RF pulse [rad]; the data are the signal of
        `sequence` times exp(-i receiver_phase).
    dwell : float
        Time from sample to sample [s].
    axes : tuple of str
        Axes of the gradients that encode the plane, as in ("x", "y").
    fov : tuple of float or None
        Field of view [m] along the second and the first of `axes`: (y, x) where they are ("x", "y").
    matrix : tuple of int or None
        Image size (ny, nx), in the same order.
    voxel_moment : ndarray, shape (3,), float64
        What one order of dephasing is: cycles over a voxel along x, y and z. 0 in balanced trains.
    duration : float
        Duration of the file [s].
    b1_rms : float
        Root mean square of B1+ over the file [T].
    definitions : dict
        Definitions of the file.
    version : tuple of int
        Version of its format.
    notices : tuple of str
        What a user should know: where the file leaves the model, and what was taken from where.
    """

    sequence: Sequence
    trajectory: NDArray[np.float64]
    readout_pulse: NDArray[np.int64]
    receiver_phase: NDArray[np.float64]
    dwell: float
    axes: tuple[str, str]
    fov: tuple[float, float] | None
    matrix: tuple[int, int] | None
    voxel_moment: NDArray[np.float64]
    duration: float
    b1_rms: float
    definitions: dict[str, Any]
    version: tuple[int, int, int]
    notices: tuple[str, ...]

    @property
    def n_dummies(self) -> int:
        """Number of pulses without readout."""
        return self.sequence.n_pulses - self.readout_pulse.size

    def cycles_per_pixel(
        self, matrix: tuple[int, int] | None = None, fov: tuple[float, float] | None = None
    ) -> NDArray[np.float32]:
        """Trajectory in units of an image, in the convention s(k) = sum of image(r) exp(-2 pi i k r).

        Parameters
        ----------
        matrix : tuple of int, optional
            Image size (ny, nx); default: that of the file.
        fov : tuple of float, optional
            Field of view (y, x) [m]; default: that of the file.

        Returns
        -------
        ndarray, shape (n_readouts, n_samples, 2), float32
            Components (kx, ky) [cycles per pixel].

        Raises
        ------
        ValueError
            If matrix or field of view are neither given nor in the file.
        """
        matrix, fov = matrix or self.matrix, fov or self.fov
        if fov is None:
            raise ValueError("fov is not in the Pulseq file (definition FOV, in metres); give it")
        if matrix is None:
            raise ValueError("matrix is not in the Pulseq file (definition Matrix); give it as (ny, nx)")
        pixel = np.array(fov) / np.array(matrix)
        return (self.trajectory * pixel[::-1]).astype(np.float32)


def read_pulseq(
    path: str | os.PathLike[str],
    *,
    slice_thickness: float | None = None,
    segment_gap: float | None = None,
) -> PulseqScan:
    """Read a Pulseq file (.seq) of a train of excitations with one readout each.

    Gradient-spoiled, RF-spoiled and balanced trains, also those that spoil in part, with or without an
    inversion at the beginning; from any program that writes Pulseq 1.2 to 1.5. Everything follows from what
    is played, not from names or labels:

    - Pulses: flip angle = 2 pi |integral of the RF|, in the frame of the carrier; phase at the pulse centre,
      carrier included. All share one waveform and a constant slice gradient.
    - TR: from pulse centre to pulse centre. The last one ends where the next RF block would start if the file
      went on, or is equal to the one before where that comes too early.
    - TE: from the pulse centre to where the readout first comes nearest to the centre of k-space.
    - Spoiling: moments from pulse centre to pulse centre. Zero is balanced; one constant vector that dephases
      a voxel by a cycle or more is one order. Anything else is an error.
    - Inversion: a first pulse with the use "inversion", or without use and of about 180 degrees or
      adiabatic, before which and after which nothing is read out. Its efficiency is the definition
      ``InversionEfficiency``, or 1.
    - Slice thickness: definition ``SliceThickness`` [m], or else the full width at half maximum of the
      small-tip profile. It scales the signal; the physics depends on waveform and gradient only.

    Parameters
    ----------
    path : str or path
        The file.
    slice_thickness : float, optional
        Nominal slice thickness [m] instead of that of the file.
    segment_gap : float, optional
        Time [s] that a GE scanner adds after each segment, which starts with a label TRID, instead of the
        definition ``SegmentGap``; without either, none.

    Returns
    -------
    PulseqScan
        Sequence, trajectory and what belongs to them.

    Raises
    ------
    ValueError
        If the file is damaged or plays something else (the message names the block), or a number is out of
        range.
    OSError
        If the file cannot be opened.

    References
    ----------
    Layton et al. 2017, Magn Reson Med 77:1544, doi 10.1002/mrm.26235 (Pulseq).

    Examples
    --------
    >>> scan = read_pulseq("fisp.seq")  # doctest: +SKIP
    >>> EPGBloch().signal(scan.sequence, Tissue(t1=0.9, t2=0.085))  # doctest: +SKIP
    """
    if slice_thickness is not None and not 0 < slice_thickness < np.inf:
        raise ValueError(
            f"slice_thickness={slice_thickness:.6g} m must be positive; leave it out for the file's"
        )
    if segment_gap is not None and not 0 <= segment_gap < np.inf:
        raise ValueError(f"segment_gap={segment_gap:.6g} s must be at least 0; leave it out for the file's")
    try:
        return _scan(read_blocks(Path(path), segment_gap), slice_thickness)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _scan(blocks: Blocks, slice_thickness: float | None) -> PulseqScan:
    pulses, inversion, readouts = _train(blocks)
    notices: list[str | None] = []
    if readouts.n_ignored:
        notices.append(f"{readouts.n_ignored} ADC events before the first RF pulse are left out (noise?)")
    moments = Moments(blocks)
    if slice_thickness is None:
        slice_thickness = definition(blocks.definitions, "SliceThickness") or None
    reading = [pulses[i] for i in readouts.pulse]
    first = next((pulse for pulse in reading if pulse.flip_angle > 0), None)
    if first is None:
        raise ValueError("all RF pulses before readouts have an amplitude of 0; there is no signal")
    pulse, slice_axis = common_pulse(pulses, first, moments, slice_thickness)
    if slice_axis is not None and slice_thickness is None:
        notices.append(
            f"no definition SliceThickness: {1e3 * (pulse.slice_thickness or 0):.4g} mm is the full width "
            "at half maximum of the small-tip profile"
        )
    positions = readout_positions(readouts, pulses, moments)
    through = through_plane_axis(positions, slice_axis)
    axes = [i_axis for i_axis in range(3) if i_axis != through]
    plane = positions[..., axes]
    fov, notice = field_of_view(blocks.definitions)
    notices.append(notice)
    pixel = 0.5 / np.abs(plane).max()
    voxel = np.full(3, pixel)
    voxel[through] = pulse.slice_thickness or slice_thickness or (pixel if fov is None else fov[through])
    notices.append(check_slice(reading, positions[..., through], voxel[through]))
    echo = echo_times(readouts, pulses, plane)
    orders, moment = dephasing_orders(pulses, moments, voxel)
    notices.append(incomplete_spoiler(moment * voxel))
    receiver_phase = receiver_phases(readouts, pulses, echo)
    if np.ptp(np.angle(np.exp(1j * (receiver_phase - receiver_phase[0])))) > _SAME_PHASE:
        notices.append(
            "the receiver does not follow the phase of the RF pulses; the data are the signal times "
            "exp(-i receiver_phase), which differs between readouts"
        )
    efficiency = definition(blocks.definitions, "InversionEfficiency") if inversion else None
    tr = _repetition_times(blocks, pulses, echo[-1] + pulse.duration)
    return PulseqScan(
        sequence=Sequence(
            flip_angle=[played.flip_angle for played in pulses],
            tr=tr,
            te=_echo_times(echo, pulses, readouts, tr, pulse),
            phase=[played.phase for played in pulses],
            inversion_time=None
            if inversion is None
            else float(_rounded(pulses[0].center - inversion.center)),
            inversion_efficiency=1.0 if efficiency is None else efficiency,
            pulse=pulse,
            spoiling="gradient" if orders.any() else "balanced",
            dephasing=orders,
            spoiler_moment=2 * np.pi * float(np.linalg.norm(moment)) or None,
        ),
        trajectory=plane,
        readout_pulse=readouts.pulse,
        receiver_phase=receiver_phase,
        dwell=readouts.event[0].dwell,
        axes=(AXES[axes[0]], AXES[axes[1]]),
        fov=None if fov is None else (fov[axes[1]], fov[axes[0]]),
        matrix=image_matrix(blocks.definitions, axes),
        voxel_moment=moment * voxel,
        duration=blocks.end,
        b1_rms=float(np.sqrt(mean_square_b1(blocks) / blocks.end)),
        definitions=blocks.definitions,
        version=blocks.version,
        notices=tuple(notice for notice in notices if notice),
    )


def _train(blocks: Blocks) -> tuple[list[PlayedPulse], PlayedPulse | None, Readouts]:
    """Excitations, the inversion before them, and the readouts that follow them."""
    pulses = played_pulses(blocks)
    if not pulses:
        raise ValueError("the file has no RF pulse; there is nothing to simulate")
    readouts = find_readouts(blocks, pulses)
    inversion = None
    if readouts.pulse[0] > 0 and is_inversion(pulses[0]):
        inversion, pulses = pulses[0], pulses[1:]
        readouts = replace(readouts, pulse=readouts.pulse - 1)
    for pulse in pulses:
        if pulse.event.use not in _TRAIN_USES:
            raise ValueError(
                f"the {pulse} is not an excitation; only an inversion before the train, with no readout in "
                "between, and excitations are supported"
            )
    return pulses, inversion, readouts


def _repetition_times(blocks: Blocks, pulses: list[PlayedPulse], least_end: float) -> NDArray[np.float64]:
    """Times from pulse centre to pulse centre [s]; the last to where the next RF block would start."""
    between = np.diff([pulse.center for pulse in pulses])
    before_center = pulses[-1].center - blocks.start[blocks.number == pulses[-1].block].item()
    last = blocks.end - pulses[-1].center + before_center
    if between.size and blocks.end < least_end:
        last = between[-1]
    return _rounded(np.append(between, last))


def _echo_times(
    echo: NDArray[np.float64],
    pulses: list[PlayedPulse],
    readouts: Readouts,
    tr: NDArray[np.float64],
    pulse: RFPulse,
) -> NDArray[np.float64]:
    """Times from pulse centre to echo [s].

    Any time does for a pulse without readout: that of the first readout, or the middle of a short TR.
    """
    center = np.array([played.center for played in pulses])
    te = np.full(center.size, np.nan)
    te[readouts.pulse] = echo - center[readouts.pulse]
    before = float(pulse.center or 0.0)
    middle = (tr + pulse.duration - 2 * before) / 2
    first = echo[0] - center[readouts.pulse[0]]
    return _rounded(np.where(np.isnan(te), np.where(first <= tr - before, first, middle), te))


def _rounded(times: NDArray[np.float64] | float) -> NDArray[np.float64]:
    return np.round(np.asarray(times) / _TIME_STEP) * _TIME_STEP
