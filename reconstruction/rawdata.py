"""ISMRMRD raw data in and (from `reconstruction.rawdata_writer`) out."""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from ismrmrd import constants as flags
from ismrmrd import xsd
from numpy.typing import ArrayLike, NDArray

from reconstruction.acquisition import Acquisition
from reconstruction.rawdata_checks import RawDataError, check_order, check_readouts, check_space, kept_samples
from reconstruction.rawdata_writer import LPS_TO_RAS, write_ismrmrd

__all__ = ["TRAJECTORY_UNITS", "RawData", "RawDataError", "read_ismrmrd", "write_ismrmrd"]

TrajectorySource = ArrayLike | Callable[[int, int, tuple[int, int]], ArrayLike]

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
_BLOCK = 512  # readouts read at once: neither the file nor a slice is held a second time


# Row, samples (n_coils, n_samples), flat trajectory.
_Readout = tuple[int, NDArray[np.complex64], NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class RawData:
    """An ISMRMRD file whose headers are read; the samples are read slice by slice.

    Made by `read_ismrmrd`. No file stays open.

    Attributes
    ----------
    path : Path
        The file.
    dataset : str
        HDF5 group of the measurement.
    header : ismrmrd.xsd.ismrmrdHeader
        XML header.
    encoding : ismrmrd.xsd.encodingType
        The encoding of the header that the imaging readouts refer to.
    heads : ndarray, shape (n_rows,)
        Acquisition headers of all rows, a structured array.
    noise_rows : ndarray, shape (n_noise_rows,), int64
        Rows that hold noise readouts.
    slice_rows : dict of int to ndarray, shape (n_readouts,), int64
        Rows of the imaging readouts by ``idx.slice``, in file order.
    trajectory : array_like, callable or None
        Replaces the trajectory of the file.
    trajectory_units : str
        One of `TRAJECTORY_UNITS`.
    """

    path: Path
    dataset: str
    header: Any
    encoding: Any
    heads: NDArray[np.void]
    noise_rows: NDArray[np.int64]
    slice_rows: dict[int, NDArray[np.int64]]
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
        kspace = np.empty((self.n_coils, self.n_readouts, self.n_samples), dtype=np.complex64)
        positions = np.empty((self.n_readouts, self.n_samples, 2), dtype=np.float64)
        for i_readout, (row, samples, trajectory) in enumerate(self._read(rows)):
            kspace[:, i_readout] = samples
            if self.trajectory is None:
                positions[i_readout] = self._file_trajectory(row, trajectory)
        if self.trajectory is not None:
            positions = self._given_trajectory(rows)
        noise = [samples * self._noise_scale(row) for row, samples, _ in self._read(self.noise_rows)]
        affine = self._affine(rows[0])
        try:
            acquisition = Acquisition(
                kspace=kspace,
                trajectory=(positions * self._cycles_per_pixel()).astype(np.float32),
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

    def _read(self, rows: NDArray[np.int64]) -> Iterator[_Readout]:
        """Each readout, samples without the discarded ones, trajectory as in the file."""
        if not rows.size:
            return
        runs = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
        with _open(self.path) as file:
            table = file[self.dataset]["data"]
            for run in runs:
                records = itertools.chain.from_iterable(_blocks(self.path, table, run[0], run[-1] + 1))
                for row, record in zip(run, records, strict=True):
                    yield int(row), self._samples(row, record["data"]), record["traj"]

    def _samples(self, row: int, data: NDArray[np.float32]) -> NDArray[np.complex64]:
        head = self.heads[row]
        n_channels, n_samples = int(head["active_channels"]), int(head["number_of_samples"])
        if data.size != 2 * n_channels * n_samples:
            raise RawDataError(
                f"{self.path}: row {row} holds {data.size} numbers; its header asks for {n_channels} coils x "
                f"{n_samples} complex samples = {2 * n_channels * n_samples}: the file is damaged"
            )
        samples = np.ascontiguousarray(data, dtype=np.float32).view(np.complex64)
        return samples.reshape(n_channels, n_samples)[:, _kept(head)]

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
        positions = trajectory.reshape(n_samples, n_dimensions)[_kept(head)]
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
        noise_dwell, dwell = self.heads[row]["sample_time_us"], self._first_head["sample_time_us"]
        return np.float32(np.sqrt(noise_dwell / dwell) if noise_dwell > 0 and dwell > 0 else 1)

    def _affine(self, row: int) -> NDArray[np.float64] | None:
        head = self.heads[row]
        axes = np.array([head["read_dir"], head["phase_dir"], head["slice_dir"]], dtype=np.float64)
        if not axes.any():
            return None
        # Scanners write float32 with a few digits; 1e-3 is a quarter of a pixel over 256.
        if not np.abs(axes @ axes.T - np.eye(3)).max() < 1e-3:
            raise RawDataError(
                f"{self.path}: read_dir, phase_dir and slice_dir of row {row} are not orthonormal: "
                f"{axes.tolist()}; correct them, or set all three to zero if the position is unknown"
            )
        (ny, nx), (fov_y, fov_x) = self.matrix, self.fov
        size = 1e3 * np.array([fov_x / nx, fov_y / ny, self.slice_thickness])
        affine = np.eye(4)
        affine[:3, :3] = (axes * size[:, None] * LPS_TO_RAS).T
        # The position is that of r = 0, pixel (nx // 2, ny // 2).
        affine[:3, 3] = head["position"] * LPS_TO_RAS - affine[:3, :3] @ [nx // 2, ny // 2, 0]
        return affine


def read_ismrmrd(
    path: str | os.PathLike[str],
    *,
    trajectory: TrajectorySource | None = None,
    trajectory_units: str = "cycles_per_pixel",
    dataset: str = "dataset",
) -> RawData:
    """Headers of an ISMRMRD (HDF5) file, from which slices are read as `Acquisition`.

    Noise readouts become the noise samples; navigators, phase correction, dummy scans, calibration that is
    not also imaging, and feedback are skipped; discarded samples (discard_pre, discard_post) are cut off.
    Matrix and field of view are those of reconSpace. Readout oversampling (encodedSpace larger than
    reconSpace) needs no step of its own: non-Cartesian samples are kept as they are, and the trajectory
    carries their finer spacing.

    The readouts of a slice are taken in the order of the file, which must be that of the acquisition: a
    counter (set, repetition, average) may fall only where another one rises, and scan_counter never. Several
    contrasts (echoes) or phases are refused.

    Parameters
    ----------
    path : path-like
        The file.
    trajectory : array_like, shape (n_readouts, n_samples, 2), or callable, optional
        Used instead of the trajectory of the file, for every slice. A callable gets (n_readouts, n_samples,
        matrix), n_samples without discarded samples, and returns the array; its sample next to k = 0 must be
        center_sample of the file, where this is set.
    trajectory_units : str
        Units of the trajectory, of the file or given: one of `TRAJECTORY_UNITS`, where "pixel" and "fov" are
        those of reconSpace. Sign: ``s(k) = sum_r image(r) exp(-2 pi i k.r)``.
    dataset : str
        HDF5 group of the measurement.

    Returns
    -------
    RawData
        Headers; `RawData.acquisition` reads a slice.

    Raises
    ------
    ValueError
        If `trajectory_units` is not one of `TRAJECTORY_UNITS`.
    RawDataError
        If the file is missing, not HDF5, truncated, not ISMRMRD, or not 2-D with equal readouts in the order
        of acquisition.

    References
    ----------
    Inati et al. 2017, Magn Reson Med 77:411, doi 10.1002/mrm.26089.
    """
    if trajectory_units not in TRAJECTORY_UNITS:
        raise ValueError(
            f"trajectory_units={trajectory_units!r} must be one of {', '.join(TRAJECTORY_UNITS)}"
        )
    file_path = Path(path)
    with _open(file_path) as file:
        header, heads = _read_headers(file, file_path, dataset)
    noise_rows, imaging_rows = _classify(heads)
    if not imaging_rows.size:
        raise RawDataError(f"{file_path}: none of its {heads.size} readouts is an imaging readout")
    check_readouts(file_path, heads, imaging_rows, noise_rows)
    references = np.unique(heads["encoding_space_ref"][imaging_rows])
    if references.size > 1 or references[0] >= len(header.encoding):
        raise RawDataError(
            f"{file_path}: imaging readouts refer to encodings {references.tolist()} of the header's "
            f"{len(header.encoding)}; they must share one"
        )
    slices = heads["idx"]["slice"][imaging_rows]
    slice_rows = {int(number): imaging_rows[slices == number] for number in np.unique(slices)}
    counts = {number: len(rows) for number, rows in slice_rows.items()}
    if len(set(counts.values())) > 1:
        raise RawDataError(
            f"{file_path}: slices have different numbers of readouts ({counts} by slice); "
            "acquire all alike or split the file"
        )
    encoding = header.encoding[references[0]]
    check_space(file_path, encoding, n_slices=len(slice_rows))
    for number, rows in slice_rows.items():
        check_order(file_path, number, heads, rows)
    return RawData(
        file_path, dataset, header, encoding, heads, noise_rows, slice_rows, trajectory, trajectory_units
    )


def _open(path: Path) -> h5py.File:
    if not path.is_file():
        raise RawDataError(f"{path}: no such file")
    try:
        if not h5py.is_hdf5(path):
            raise RawDataError(f"{path}: not an HDF5 file; ISMRMRD raw data (.h5, .mrd) is needed")
        return h5py.File(path, "r")
    except OSError as error:
        reason = (
            "the file is truncated; copy it again"
            if "truncated" in str(error)
            else "the file cannot be opened"
        )
        raise RawDataError(f"{path}: {reason} ({error})") from error


def _blocks(path: Path, table: h5py.Dataset, start: int, stop: int) -> Iterator[NDArray[np.void]]:
    """Rows start to stop - 1 of the acquisition table, a few hundred at a time."""
    for first in range(start, stop, _BLOCK):
        last = min(first + _BLOCK, stop) - 1
        try:
            # Whole rows even for the headers alone: HDF5 never frees the arrays that fields() leaves out.
            yield table[first : last + 1].ravel()
        except (OSError, RuntimeError) as error:
            raise RawDataError(
                f"{path}: cannot read rows {first} to {last} ({error}); copy the file"
            ) from error


def _read_headers(file: h5py.File, path: Path, dataset: str) -> tuple[Any, NDArray[np.void]]:
    if not isinstance(file.get(dataset), h5py.Group):
        raise RawDataError(
            f"{path}: no group /{dataset}; the file has {sorted(file)}: rename the one with the measurement "
            f"to {dataset}, or give its name to read_ismrmrd (dataset)"
        )
    group = file[dataset]
    for name, holds in (("xml", "header"), ("data", "readouts")):
        if not isinstance(group.get(name), h5py.Dataset) or not group[name].size:
            raise RawDataError(f"{path}: /{dataset}/{name} is missing or empty, so there is no {holds}")
    if not {"head", "traj", "data"} <= set(group["data"].dtype.names or ()):
        raise RawDataError(f"{path}: /{dataset}/data is not an ISMRMRD acquisition table")
    try:
        document = np.ravel(group["xml"][()])[0]
    except (OSError, RuntimeError) as error:
        raise RawDataError(f"{path}: cannot read /{dataset}/xml ({error}); copy the file") from error
    table = group["data"]
    heads = np.concatenate([block["head"].copy() for block in _blocks(path, table, 0, len(table))])
    try:
        with warnings.catch_warnings():
            # The parser warns of values that it cannot convert; those that are used are checked below.
            warnings.simplefilter("ignore")
            return xsd.CreateFromDocument(document), heads
    except Exception as error:  # the XML parsers below raise a dozen unrelated types
        reason = " ".join(str(error).split())
        raise RawDataError(f"{path}: /{dataset}/xml is not an ISMRMRD header: {reason}") from error


def _classify(heads: NDArray[np.void]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of noise readouts and of imaging readouts."""

    def has(flag: int) -> NDArray[np.bool_]:
        return (heads["flags"] >> np.uint64(flag - 1)) & np.uint64(1) == 1

    noise = has(flags.ACQ_IS_NOISE_MEASUREMENT)
    other = np.any([has(flag) for flag in _NOT_IMAGING], axis=0)
    other &= ~has(flags.ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING)
    return np.flatnonzero(noise), np.flatnonzero(~noise & ~other)


def _kept(head: np.void) -> slice:
    return slice(int(head["discard_pre"]), int(head["number_of_samples"]) - int(head["discard_post"]))
