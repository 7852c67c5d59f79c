"""A scan whose headers are read, and whose slices are read on demand, whatever the format of the file.

The headers have the form of ISMRMRD; `reconstruction.rawdata_ismrmrd` and `reconstruction.rawdata_twix` make
them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ismrmrd import constants as flags
from numpy.typing import ArrayLike, NDArray

from reconstruction.acquisition import Acquisition
from reconstruction.rawdata_cartesian import cartesian_trajectory, is_cartesian, refuse_reversed
from reconstruction.rawdata_checks import (
    RawDataError,
    check_order,
    check_readouts,
    check_space,
    kept,
    kept_samples,
)
from reconstruction.rawdata_writer import LPS_TO_RAS

TrajectorySource = ArrayLike | Callable[[int, int, tuple[int, int]], ArrayLike]
Readout = tuple[int, NDArray[np.float32], NDArray[np.float32]]
"""Row, samples as real and imaginary parts (coil after coil), trajectory; both flat, as the file has them."""

TRAJECTORY_UNITS = ("cycles_per_pixel", "cycles_per_fov", "radians_per_pixel", "cycles_per_m")

_NOT_IMAGING = (
    flags.ACQ_IS_PARALLEL_CALIBRATION,
    flags.ACQ_IS_NAVIGATION_DATA,
    flags.ACQ_IS_PHASECORR_DATA,
    flags.ACQ_IS_HPFEEDBACK_DATA,
    flags.ACQ_IS_DUMMYSCAN_DATA,
    flags.ACQ_IS_RTFEEDBACK_DATA,
    flags.ACQ_IS_SURFACECOILCORRECTIONSCAN_DATA,
    flags.ACQ_IS_PHASE_STABILIZATION_REFERENCE,
    flags.ACQ_IS_PHASE_STABILIZATION,
)
_LEAST_FREQUENCY = 0.25  # cycles per pixel; data of a quarter of the matrix are not meant


@dataclass(frozen=True, eq=False)
class RawData:
    """A raw-data file whose headers are read; the samples are read slice by slice.

    Made by `read_ismrmrd` and `read_twix`. No file stays open.

    Attributes
    ----------
    path : Path
        The file.
    header : ismrmrd.xsd.ismrmrdHeader or dict
        XML header, or protocol of a twix file.
    encoding : ismrmrd.xsd.encodingType
        The encoding of the header that the imaging readouts refer to.
    heads : ndarray, shape (n_rows,)
        Acquisition headers of all rows, a structured array as in ISMRMRD.
    noise_rows : ndarray, shape (n_noise_rows,), int64
        Rows that hold noise readouts.
    slice_rows : dict of int to ndarray, shape (n_readouts,), int64
        Rows of the imaging readouts by ``idx.slice``, in file order.
    read : callable
        ``read(rows)`` yields the `Readout` of each of these rows from the file.
    trajectory : array_like, callable or None
        Replaces the trajectory of the file.
    trajectory_units : str
        One of `TRAJECTORY_UNITS`.
    """

    path: Path
    header: Any
    encoding: Any
    heads: NDArray[np.void]
    noise_rows: NDArray[np.int64]
    slice_rows: dict[int, NDArray[np.int64]]
    read: Callable[[NDArray[np.int64]], Iterator[Readout]]
    trajectory: TrajectorySource | None
    trajectory_units: str

    @property
    def n_slices(self) -> int:
        """Number of slices."""
        return len(self.slice_rows)

    @property
    def n_readouts(self) -> int:
        """Number of imaging readouts of each slice."""
        return len(next(iter(self.slice_rows.values())))

    @property
    def n_coils(self) -> int:
        """Number of receiver coils."""
        return int(self._first_head["active_channels"])

    @property
    def n_samples(self) -> int:
        """Number of samples of one readout, without the discarded ones."""
        return int(kept_samples(self._first_head))

    @property
    def matrix(self) -> tuple[int, int]:
        """Image size (ny, nx), from reconSpace."""
        size = self.encoding.reconSpace.matrixSize
        return size.y, size.x

    @property
    def fov(self) -> tuple[float, float]:
        """Field of view (fov_y, fov_x) [m], from reconSpace."""
        fov = self.encoding.reconSpace.fieldOfView_mm
        return fov.y / 1e3, fov.x / 1e3

    @property
    def slice_thickness(self) -> float:
        """Slice thickness [m]: z extent of reconSpace over its matrix size in z."""
        space = self.encoding.reconSpace
        return space.fieldOfView_mm.z / space.matrixSize.z / 1e3

    @property
    def _first_head(self) -> np.void:
        return self.heads[next(iter(self.slice_rows.values()))[0]]

    def acquisition(self, slice_index: int) -> Acquisition:
        """Samples, trajectory and noise of one slice.

        Parameters
        ----------
        slice_index : int
            0 ... n_slices - 1, counting the slices of the file by rising ``idx.slice``; the acquisition
            carries the number of the file.

        Returns
        -------
        Acquisition
            The noise samples carry the scale of the imaging readouts: where both dwell times are known, they
            are multiplied by sqrt(dwell of noise / dwell of imaging), as the variance goes with the
            bandwidth.

        Raises
        ------
        IndexError
            If there is no such slice.
        RawDataError
            If the samples cannot be read, are not finite, or do not fit the header.
        """
        if not 0 <= slice_index < self.n_slices:
            raise IndexError(f"slice_index={slice_index} must lie in 0 ... {self.n_slices - 1}")
        number, rows = list(self.slice_rows.items())[slice_index]
        kspace, positions = self._kspace(rows)
        with np.errstate(over="ignore", invalid="ignore"):  # infinity and NaN are refused below
            noise = [
                self._samples(row, data) * self._noise_scale(row)
                for row, data, _ in self.read(self.noise_rows)
            ]
        affine = self._affine(rows[0])
        try:
            acquisition = Acquisition(
                kspace=kspace,
                trajectory=positions,
                matrix=self.matrix,
                fov=self.fov,
                noise=np.concatenate(noise, axis=1) if noise else None,
                slice_index=number,
                slice_thickness=self.slice_thickness,
                affine=affine,  # type: ignore[arg-type]  # None: from the geometry
                orientation_known=affine is not None,
                dwell_time=1e-6 * float(self._first_head["sample_time_us"]) or None,
            )
        except ValueError as error:
            raise RawDataError(f"{self.path}, slice {number}: {error}") from error
        largest = np.linalg.norm(acquisition.trajectory, axis=-1).max()
        if largest < _LEAST_FREQUENCY:
            raise RawDataError(
                f"{self.path}, slice {number}: the trajectory covers only {200 * largest:.2g} % of k-space "
                f"(largest |k| {largest:.3g} cycles per pixel, not 0.5): check its units "
                "(`trajectory_units`, also a key of protocols) and the matrix"
            )
        return acquisition

    def _kspace(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
        """Samples and their positions [cycles per pixel] of the readouts of a slice."""
        cartesian = self.trajectory is None and is_cartesian(self.encoding, self.heads[rows])
        from_file = self.trajectory is None and not cartesian
        kspace, positions = None, np.empty(0)
        for i_readout, (row, data, trajectory) in enumerate(self.read(rows)):
            samples = self._samples(row, data)
            if kspace is None:  # not before the file has shown that the header tells the truth
                kspace = np.empty((self.n_coils, self.n_readouts, self.n_samples), dtype=np.complex64)
                positions = np.empty((self.n_readouts, self.n_samples, 2)) if from_file else positions
            kspace[:, i_readout] = samples
            if from_file:
                positions[i_readout] = self._file_trajectory(row, trajectory)
        assert kspace is not None
        if cartesian:
            return kspace, cartesian_trajectory(self.path, self.encoding, self.heads, rows)
        if not from_file:
            positions = self._given_trajectory(rows)
        with np.errstate(over="ignore"):  # infinite ones are refused below
            return kspace, (positions * self._cycles_per_pixel()).astype(np.float32)

    def _samples(self, row: int, data: NDArray[np.float32]) -> NDArray[np.complex64]:
        head = self.heads[row]
        n_channels, n_samples = int(head["active_channels"]), int(head["number_of_samples"])
        if data.size != 2 * n_channels * n_samples:
            raise RawDataError(
                f"{self.path}: row {row} holds {data.size} numbers; its header asks for {n_channels} coils x "
                f"{n_samples} complex samples = {2 * n_channels * n_samples}: the file is damaged"
            )
        samples = np.ascontiguousarray(data, dtype=np.float32).view(np.complex64)
        return samples.reshape(n_channels, n_samples)[:, kept(head)]

    def _file_trajectory(self, row: int, trajectory: NDArray[np.float32]) -> NDArray[np.float32]:
        head = self.heads[row]
        n_dimensions, n_samples = int(head["trajectory_dimensions"]), int(head["number_of_samples"])
        if n_dimensions not in (2, 3):
            raise RawDataError(
                f"{self.path}: row {row} has no trajectory in 2 or 3 dimensions (trajectory_dimensions="
                f"{n_dimensions}); give a computed one (in a protocol `trajectory: "
                "{golden_angle_radial: }`) or a file written with its trajectory"
            )
        if trajectory.size != n_dimensions * n_samples:
            raise RawDataError(
                f"{self.path}: the trajectory of row {row} holds {trajectory.size} numbers; its header asks "
                f"for {n_samples} samples x {n_dimensions} = {n_dimensions * n_samples}: the file is damaged"
            )
        positions = trajectory.reshape(n_samples, n_dimensions)[kept(head)]
        if positions[:, 2:].any():
            raise RawDataError(
                f"{self.path}: the third component of the trajectory of row {row} is not zero (largest "
                f"{np.abs(positions[:, 2]).max():.3g}): only 2-D trajectories are supported; where a "
                "converter stored density weights there, write the file with two components"
            )
        return positions[:, :2]

    def _given_trajectory(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        given = self.trajectory
        computed = callable(given)
        if callable(given):
            given = given(self.n_readouts, self.n_samples, self.matrix)
        positions = np.asarray(given, dtype=np.float64)
        if positions.shape != (self.n_readouts, self.n_samples, 2):
            raise RawDataError(
                f"the trajectory given for {self.path} has shape {positions.shape}; the file asks for "
                f"(n_readouts, n_samples, 2) = {(self.n_readouts, self.n_samples, 2)} (samples kept)"
            )
        if computed:
            refuse_reversed(self.path, self.heads, rows)
            self._check_centre(rows, np.linalg.norm(positions, axis=-1).argmin(axis=-1))
        return positions

    def _check_centre(self, rows: NDArray[np.int64], centre: NDArray[np.int64]) -> None:
        """Compare center_sample of the file, where it is set, with the centre of a computed trajectory."""
        heads = self.heads[rows]
        stated = heads["center_sample"].astype(np.int64)
        different = np.flatnonzero((stated > 0) & (stated - heads["discard_pre"] != centre))
        if different.size:
            i = different[0]
            raise RawDataError(
                f"{self.path}: the k-space centre of row {rows[i]} is sample {stated[i]} (center_sample) "
                f"after {heads['discard_pre'][i]} discarded ones (discard_pre), that of the computed "
                f"trajectory sample {centre[i]} of the {self.n_samples} kept: it does not fit asymmetric or "
                "partial readouts; use a file with its trajectory, or correct these fields"
            )

    def _cycles_per_pixel(self) -> NDArray[np.float64]:
        """Factors for (kx, ky) from `trajectory_units` to cycles per pixel."""
        matrix, fov = np.array(self.matrix[::-1]), np.array(self.fov[::-1])
        factors = {
            "cycles_per_pixel": np.ones(2),
            "cycles_per_fov": 1 / matrix,
            "radians_per_pixel": np.full(2, 1 / (2 * np.pi)),
            "cycles_per_m": fov / matrix,
        }
        return factors[self.trajectory_units]

    def _noise_scale(self, row: int) -> np.float32:
        noise_dwell, dwell = (float(head["sample_time_us"]) for head in (self.heads[row], self._first_head))
        return np.float32(np.sqrt(noise_dwell / dwell) if noise_dwell > 0 and dwell > 0 else 1)

    def _affine(self, row: int) -> NDArray[np.float64] | None:
        head = self.heads[row]
        with np.errstate(all="ignore"):  # NaN, infinity
            axes = np.array([head["read_dir"], head["phase_dir"], head["slice_dir"]], dtype=np.float64)
            deviation = np.abs(axes @ axes.T - np.eye(3)).max()
        if not axes.any():
            return None
        # Scanners write float32 with a few digits; 1e-3 is a quarter of a pixel over 256.
        if not deviation < 1e-3:
            raise RawDataError(
                f"{self.path}: read_dir, phase_dir and slice_dir of row {row} are not orthonormal: "
                f"{axes.tolist()}; correct them, or set all three to zero if the position is unknown"
            )
        if not np.isfinite(head["position"]).all():
            raise RawDataError(
                f"{self.path}: position of row {row} is {head['position'].tolist()}; it must be finite [mm]: "
                "correct it, or set the three directions to zero if the position is unknown"
            )
        (ny, nx), (fov_y, fov_x) = self.matrix, self.fov
        size = 1e3 * np.array([fov_x / nx, fov_y / ny, self.slice_thickness])
        affine = np.eye(4)
        affine[:3, :3] = (axes * size[:, None] * LPS_TO_RAS).T
        # The position is that of r = 0, pixel (nx // 2, ny // 2).
        affine[:3, 3] = head["position"] * LPS_TO_RAS - affine[:3, :3] @ [nx // 2, ny // 2, 0]
        return affine


def checked_raw_data(
    path: Path,
    *,
    header: Any,
    encodings: list[Any],
    heads: NDArray[np.void],
    read: Callable[[NDArray[np.int64]], Iterator[Readout]],
    trajectory: TrajectorySource | None,
    trajectory_units: str,
) -> RawData:
    """Sort the rows of a file into noise and slices, and check that they make 2-D slices.

    Parameters
    ----------
    path, header, heads, read, trajectory, trajectory_units
        See `RawData`.
    encodings : list of ismrmrd.xsd.encodingType
        Encodings to which encoding_space_ref of the readouts refers.

    Raises
    ------
    ValueError
        If `trajectory_units` is not one of `TRAJECTORY_UNITS`.
    RawDataError
        If the rows are not 2-D slices with equal readouts in the order of acquisition.
    """
    if trajectory_units not in TRAJECTORY_UNITS:
        raise ValueError(
            f"trajectory_units={trajectory_units!r} must be one of {', '.join(TRAJECTORY_UNITS)}"
        )
    noise_rows, imaging_rows = _classify(heads)
    if not imaging_rows.size:
        raise RawDataError(f"{path}: none of its {heads.size} readouts is an imaging readout")
    check_readouts(path, heads, imaging_rows, noise_rows)
    references = np.unique(heads["encoding_space_ref"][imaging_rows])
    if references.size > 1 or references[0] >= len(encodings):
        raise RawDataError(
            f"{path}: imaging readouts refer to encodings {references.tolist()} of the header's "
            f"{len(encodings)}; they must share one"
        )
    slices = heads["idx"]["slice"][imaging_rows]
    slice_rows = {int(number): imaging_rows[slices == number] for number in np.unique(slices)}
    counts = {number: len(rows) for number, rows in slice_rows.items()}
    if len(set(counts.values())) > 1:
        raise RawDataError(
            f"{path}: slices have different numbers of readouts ({counts} by slice); "
            "acquire all alike or split the file"
        )
    encoding = encodings[references[0]]
    check_space(path, encoding, n_slices=len(slice_rows))
    for number, rows in slice_rows.items():
        lines_count = trajectory is None and is_cartesian(encoding, heads[rows])
        check_order(path, number, heads, rows, lines_count=lines_count)
    return RawData(path, header, encoding, heads, noise_rows, slice_rows, read, trajectory, trajectory_units)


def _classify(heads: NDArray[np.void]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of noise readouts and of imaging readouts."""

    def has(flag: int) -> NDArray[np.bool_]:
        return (heads["flags"] >> np.uint64(flag - 1)) & np.uint64(1) == 1

    noise = has(flags.ACQ_IS_NOISE_MEASUREMENT)
    other = np.any([has(flag) for flag in _NOT_IMAGING], axis=0)
    other &= ~has(flags.ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING)
    return np.flatnonzero(noise), np.flatnonzero(~noise & ~other)
