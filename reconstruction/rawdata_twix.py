"""Siemens twix files (.dat) in, by the twixtools library of the extra ``twix``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ismrmrd import constants as flags
from ismrmrd import xsd
from ismrmrd.hdf5 import acquisition_header_dtype
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from reconstruction.rawdata_checks import RawDataError
from reconstruction.rawdata_scan import RawData, Readout, TrajectorySource, checked_raw_data
from reconstruction.rawdata_twix_file import Measurement, is_twix, read_measurements

_COUNTERS = {
    "kspace_encode_step_1": "Lin",
    "kspace_encode_step_2": "Par",
    "average": "Ave",
    "slice": "Sli",
    "contrast": "Eco",
    "phase": "Phs",
    "repetition": "Rep",
    "set": "Set",
    "segment": "Seg",
}
_CARTESIAN, _THREE_DIMENSIONS = 1, 4  # sKSpace.ucTrajectory, ucDimension
_NOISE_READOUT = 7680.0  # microseconds; noise readouts within a measurement have 130 Hz per pixel


def read_twix(
    path: str | os.PathLike[str],
    *,
    trajectory: TrajectorySource | None = None,
    trajectory_units: str = "cycles_per_pixel",
) -> RawData:
    """Headers of a Siemens twix file (.dat of VB, VD, VE), from which slices are read as `Acquisition`.

    The last measurement of the file is the scan. Noise comes from its readouts flagged NOISEADJSCAN or, where
    it has none, from those of the last measurement before it that has some of the same receiver channels.
    Navigators, phase correction, references that are not also imaging, and dummies are skipped; the rules for
    the order of the readouts are those of `read_ismrmrd`, with the counters Lin, Ave, Sli, Par, Eco, Phs,
    Rep, Set and Seg.

    Twix files hold no trajectory. Without `trajectory`, a scan whose protocol says Cartesian is placed by its
    line counters and centres, with the readout and phase oversampling of the protocol; others are refused.

    Matrix and field of view: lBaseResolution pixels over dReadoutFOV along x, as many along y as square
    pixels over dPhaseFOV ask for. Position and directions are those of the readouts (SlicePos; the quaternion
    is a rotation matrix of columns phase, read, slice in sagittal, coronal, transversal, which are left,
    posterior, superior).

    Parameters
    ----------
    path : path-like
        The file.
    trajectory : array_like, shape (n_readouts, n_samples, 2), or callable, optional
        As for `read_ismrmrd`. A centre column in the middle of the readout counts as not set: sequences state
        it for spirals too.
    trajectory_units : str
        Units of the trajectory given, one of `TRAJECTORY_UNITS`.

    Returns
    -------
    RawData
        Headers; `RawData.acquisition` reads a slice.

    Raises
    ------
    ValueError
        If `trajectory_units` is not one of `TRAJECTORY_UNITS`.
    RawDataError
        If twixtools is missing, or the file is missing, not twix, truncated, or not 2-D with equal readouts
        in the order of acquisition.
    """
    file_path = Path(path)
    if not file_path.is_file():
        raise RawDataError(f"{file_path}: no such file")
    if not is_twix(file_path):
        raise RawDataError(f"{file_path}: not a twix file; Siemens raw data (.dat) is needed")
    measurements = read_measurements(file_path)
    protocol = measurements[-1].protocol
    imaging = [line for line in measurements[-1].lines if _is_imaging(line)]
    if not imaging:
        raise RawDataError(f"{file_path}: the last measurement in it has no imaging readouts")
    noise, noise_dwell = _noise(measurements, imaging[0])
    lines = noise + imaging
    heads = np.concatenate(
        [_heads(file_path, noise, noise_dwell), _heads(file_path, imaging, measurements[-1].dwell_time)]
    )
    heads["flags"][: len(noise)] |= _bit(flags.ACQ_IS_NOISE_MEASUREMENT)
    if trajectory is not None:
        middle = heads["number_of_samples"] // 2
        heads["center_sample"][heads["center_sample"] == middle] = 0
    return checked_raw_data(
        file_path,
        header=protocol,
        encodings=[_encoding(file_path, protocol, imaging)],
        heads=heads,
        read=_Lines(file_path, lines),
        trajectory=trajectory,
        trajectory_units=trajectory_units,
    )


@dataclass(frozen=True)
class _Lines:
    """Readouts of a file, opened to read some."""

    path: Path
    lines: list[Any]

    def __call__(self, rows: NDArray[np.int64]) -> Iterator[Readout]:
        with self.path.open("rb") as file:
            for row in rows:
                line = self.lines[row]
                line.fid = file
                try:
                    samples = np.ascontiguousarray(line.data)
                except ValueError as error:
                    raise RawDataError(f"{self.path}: cannot read readout {row} ({error})") from error
                yield int(row), samples.view(np.float32).ravel(), np.empty(0, dtype=np.float32)


def _is_imaging(line: Any) -> bool:
    return bool(line.is_image_scan()) and not line.is_flag_set("RETRO_DUMMYSCAN")


def _noise(measurements: list[Measurement], example: Any) -> tuple[list[Any], float | None]:
    """Noise readouts of the channels of a readout, and their dwell time; None: that of prescans."""
    for measurement in reversed(measurements):
        lines = [
            line
            for line in measurement.lines
            if line.is_flag_set("NOISEADJSCAN") and _channels(line) == _channels(example)
        ]
        if lines:
            return lines, None if measurement is measurements[-1] else measurement.dwell_time
    return [], None


def _channels(line: Any) -> list[int]:
    """Numbers of the receiver channels; VB files tell them elsewhere."""
    if line.version_is_ve:
        return [channel.ChannelId for channel in line.channel_hdr]
    return list(range(line.mdh.UsedChannels))


def _heads(path: Path, lines: list[Any], dwell_time: float | None) -> NDArray[np.void]:
    """Headers of readouts in the form of ISMRMRD; the dwell time [microseconds] is None for prescans."""
    heads = np.zeros(len(lines), dtype=acquisition_header_dtype)
    quaternions = np.zeros((len(lines), 4))
    for head, quaternion, line in zip(heads, quaternions, lines, strict=True):
        mdh = line.mdh
        for name, counter in _COUNTERS.items():
            head["idx"][name] = getattr(mdh.Counter, counter)
        head["scan_counter"] = mdh.ScanCounter
        head["number_of_samples"] = mdh.SamplesInScan
        head["active_channels"] = head["available_channels"] = mdh.UsedChannels
        head["discard_pre"], head["discard_post"] = mdh.CutOff.Pre, mdh.CutOff.Post
        head["center_sample"] = mdh.CenterCol
        head["sample_time_us"] = (
            _NOISE_READOUT / max(mdh.SamplesInScan, 1) if dwell_time is None else dwell_time
        )
        if line.is_flag_set("REFLECT"):
            head["flags"] = _bit(flags.ACQ_IS_REVERSE)
        position = mdh.SliceData.SlicePos
        head["position"] = position.Sag, position.Cor, position.Tra
        quaternion[:] = mdh.SliceData.Quaternion
    known = quaternions.any(axis=1)
    wrong = known & ~(np.abs(np.linalg.norm(quaternions, axis=1) - 1) < 1e-3)
    if wrong.any():
        raise RawDataError(
            f"{path}: the quaternion of a readout, {quaternions[wrong][0].tolist()}, is not of unit length: "
            "the file is damaged"
        )
    if known.any():
        # Scalar first in the file, last for scipy.
        matrices = Rotation.from_quat(np.roll(quaternions[known], -1, axis=1)).as_matrix()
        for i, name in enumerate(("phase_dir", "read_dir", "slice_dir")):
            heads[name][known] = matrices[:, :, i]
    return heads


def _encoding(path: Path, protocol: dict[str, Any], imaging: list[Any]) -> Any:
    """Encoding of the scan in the form of ISMRMRD."""

    def value(place: str, default: float | None = None, buffer: str = "MeasYaps") -> float:
        found: Any = protocol.get(buffer, {})
        for key in place.split("."):
            try:
                found = found[int(key) if key.isdigit() else key]
            except (KeyError, IndexError, TypeError):
                found = default
                break
        if isinstance(found, int | float) and np.isfinite(found):
            return found
        raise RawDataError(
            f"{path}: {place} in the protocol of the scan ({buffer}) is {found!r}; a number is needed"
        )

    if value("sKSpace.ucDimension", 2) == _THREE_DIMENSIONS:
        raise RawDataError(f"{path}: the scan is 3-D (sKSpace.ucDimension=4); only 2-D slices are supported")
    n_x, fov_x, fov_y, thickness = (
        value(place)
        for place in (
            "sKSpace.lBaseResolution",
            "sSliceArray.asSlice.0.dReadoutFOV",
            "sSliceArray.asSlice.0.dPhaseFOV",
            "sSliceArray.asSlice.0.dThickness",
        )
    )
    if not (n_x >= 1 and fov_x > 0):
        raise RawDataError(f"{path}: lBaseResolution={n_x} and dReadoutFOV={fov_x} must be positive")
    cartesian = value("sKSpace.ucTrajectory", 0) == _CARTESIAN
    oversampling = value("flReadoutOSFactor", buffer="Dicom") if cartesian else 1.0
    phase_oversampling = 1 + value("sKSpace.dPhaseOversamplingForDialog", 0)
    centres = sorted({line.mdh.CenterLin for line in imaging})
    if cartesian and len(centres) > 1:
        raise RawDataError(f"{path}: readouts state different central lines ({centres}); they must share one")
    numbers = [line.mdh.Counter.Lin for line in imaging]

    def space(n_x: float, n_y: float, fov_x: float, fov_y: float) -> Any:
        return xsd.encodingSpaceType(
            matrixSize=xsd.matrixSizeType(x=round(n_x), y=round(n_y), z=1),
            fieldOfView_mm=xsd.fieldOfViewMm(x=fov_x, y=fov_y, z=thickness),
        )

    n_y = n_x * fov_y / fov_x
    return xsd.encodingType(
        encodedSpace=space(
            n_x * oversampling, n_y * phase_oversampling, fov_x * oversampling, fov_y * phase_oversampling
        ),
        reconSpace=space(n_x, n_y, fov_x, fov_y),
        encodingLimits=xsd.encodingLimitsType(
            kspace_encoding_step_1=xsd.limitType(
                minimum=min(numbers), maximum=max(numbers), center=centres[0]
            )
        ),
        trajectory=xsd.trajectoryType.CARTESIAN if cartesian else xsd.trajectoryType.OTHER,
    )


def _bit(flag: int) -> np.uint64:
    return np.uint64(1) << np.uint64(flag - 1)
