"""ISMRMRD raw data out; `reconstruction.rawdata_ismrmrd` reads them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
from ismrmrd import constants as flags
from ismrmrd import xsd
from ismrmrd.hdf5 import acquisition_dtype
from numpy.typing import NDArray

from epgbloch._files import new_hdf5, replacing
from epgbloch.constants import GAMMA_BAR
from reconstruction.acquisition import Acquisition
from reconstruction.rawdata_cartesian import cartesian_grid
from reconstruction.rawdata_checks import LARGEST_COUNT

LPS_TO_RAS = np.array([-1.0, -1.0, 1.0])
"""Signs from ISMRMRD's axes (left, posterior, superior) to those of NIfTI (right, anterior, superior)."""


def write_ismrmrd(
    path: str | os.PathLike[str],
    acquisitions: Sequence[Acquisition],
    *,
    field_strength: float = 3.0,
    cartesian: bool = False,
) -> None:
    """Write slices as an ISMRMRD (HDF5) file that `read_ismrmrd` reads back exactly.

    Noise readouts come first, then the slices one after the other. Each readout is one time point, which
    repetition counts; kspace_encode_step_1 counts it too, or is the line of Cartesian data. Unknown dwell
    times are written as 0 (that of the noise always), and so are directions and position where the
    orientation is not known. The file is written under a temporary name in the same folder and renamed when
    it is complete.

    Parameters
    ----------
    path : path-like
        The file; replaced if it exists.
    acquisitions : sequence of Acquisition
        Slices of one measurement: same shapes, geometry and noise, different `slice_index`.
    field_strength : float
        Main field [T], > 0.
    cartesian : bool
        Write the trajectory as lines of a Cartesian encoding, as scanners do, instead of sample by sample.

    Raises
    ------
    ValueError
        If there is no slice, the slices do not fit together, a count exceeds the 16 bits of the format, the
        axes of an affine are not orthogonal with the pixel size as length, `field_strength` is not positive,
        or the trajectory is not the one of full or partial Cartesian lines, the same samples in each, with
        `cartesian`.

    References
    ----------
    Inati et al. 2017, Magn Reson Med 77:411, doi 10.1002/mrm.26089.
    """
    _check_slices(acquisitions)
    if not (np.isfinite(field_strength) and field_strength > 0):
        raise ValueError(f"field_strength={field_strength} must be positive [T]")
    if cartesian and len({cartesian_grid(acquisition)[0] for acquisition in acquisitions}) > 1:
        raise ValueError("the slices have readouts of different oversampling; a Cartesian file has one")
    table = np.concatenate(
        [_noise_table(acquisitions[0]), *(_slice_table(a, cartesian) for a in acquisitions)]
    )
    table["head"]["scan_counter"] = np.arange(table.size)
    table["head"]["flags"][-1] |= _bit(flags.ACQ_LAST_IN_MEASUREMENT)
    with replacing(Path(path)) as partial, new_hdf5(partial, libver="earliest") as file:
        group = file.create_group("dataset")
        xml = xsd.ToXML(_header(acquisitions, field_strength, cartesian))
        group.create_dataset("xml", data=[xml.encode()], dtype=h5py.special_dtype(vlen=bytes))
        # Chunked and extensible, as the ISMRMRD library makes it.
        group.create_dataset("data", data=table, maxshape=(None,), chunks=(min(table.size, 1024),))


def _check_slices(acquisitions: Sequence[Acquisition]) -> None:
    if not acquisitions:
        raise ValueError("acquisitions is empty; give at least one slice")
    first = acquisitions[0]
    for name in ("n_readouts", "n_samples", "n_coils"):
        if getattr(first, name) > LARGEST_COUNT:
            raise ValueError(f"{name}={getattr(first, name)} exceeds {LARGEST_COUNT}, the limit of ISMRMRD")
    for acquisition in acquisitions[1:]:
        shape = acquisition.kspace.shape
        if shape != first.kspace.shape:
            raise ValueError(
                f"kspace of slice {acquisition.slice_index} has shape {shape}, not {first.kspace.shape}"
            )
        for name in ("matrix", "fov", "slice_thickness"):
            value = getattr(acquisition, name)
            if value != getattr(first, name):
                raise ValueError(
                    f"{name}={value} of slice {acquisition.slice_index} differs from {getattr(first, name)}; "
                    "a file has one geometry"
                )
        if not np.array_equal(np.asarray(first.noise), np.asarray(acquisition.noise)):
            raise ValueError(
                f"noise of slice {acquisition.slice_index} differs; a file has one noise measurement"
            )
    numbers = [acquisition.slice_index for acquisition in acquisitions]
    if len(set(numbers)) < len(numbers) or max(numbers) > LARGEST_COUNT:
        raise ValueError(
            f"slice_index of the slices must differ and be at most {LARGEST_COUNT}; got {numbers}"
        )


def _bit(flag: int) -> np.uint64:
    return np.uint64(1) << np.uint64(flag - 1)


def _noise_table(acquisition: Acquisition) -> NDArray[np.void]:
    """Noise as readouts of at most 65535 samples, which the reader puts together again."""
    if acquisition.noise is None:
        return np.zeros(0, dtype=acquisition_dtype)
    pieces = range(0, acquisition.noise.shape[1], LARGEST_COUNT)
    readouts = [acquisition.noise[:, start : start + LARGEST_COUNT] for start in pieces]
    table = _table(readouts, [np.zeros((0, 0), dtype=np.float32)] * len(readouts))
    table["head"]["flags"] = _bit(flags.ACQ_IS_NOISE_MEASUREMENT)
    return table


def _slice_table(acquisition: Acquisition, cartesian: bool) -> NDArray[np.void]:
    trajectory = acquisition.trajectory[:, :0] if cartesian else acquisition.trajectory
    table = _table(list(acquisition.kspace.transpose(1, 0, 2)), list(trajectory))
    head = table["head"]
    head["idx"]["repetition"] = np.arange(acquisition.n_readouts)
    if cartesian:
        _, head["center_sample"], head["idx"]["kspace_encode_step_1"] = cartesian_grid(acquisition)
    else:
        head["trajectory_dimensions"] = 2
        head["center_sample"] = np.linalg.norm(trajectory, axis=-1).argmin(axis=-1)
        head["idx"]["kspace_encode_step_1"] = head["idx"]["repetition"]
    head["idx"]["slice"] = acquisition.slice_index
    head["sample_time_us"] = 1e6 * (acquisition.dwell_time or 0)
    head["flags"][0] |= _bit(flags.ACQ_FIRST_IN_SLICE)
    head["flags"][-1] |= _bit(flags.ACQ_LAST_IN_SLICE)
    if not acquisition.orientation_known:
        return table
    (ny, nx), (dy, dx), affine = acquisition.matrix, acquisition.pixel_size, acquisition.affine
    axes = affine[:3, :3] / (1e3 * np.array([dx, dy, acquisition.slice_thickness]))
    if not np.abs(axes.T @ axes - np.eye(3)).max() < 1e-3:
        raise ValueError(
            f"affine of slice {acquisition.slice_index} must have orthogonal axes as long as pixel and "
            f"slice ({1e3 * dx:.4g}, {1e3 * dy:.4g}, {1e3 * acquisition.slice_thickness:.4g} mm);"
            f" got\n{affine}"
        )
    head["read_dir"], head["phase_dir"], head["slice_dir"] = (axes[:, i] * LPS_TO_RAS for i in range(3))
    head["position"] = (affine @ [nx // 2, ny // 2, 0, 1])[:3] * LPS_TO_RAS
    return table


def _table(
    readouts: list[NDArray[np.complex64]], trajectories: list[NDArray[np.float32]]
) -> NDArray[np.void]:
    table = np.zeros(len(readouts), dtype=acquisition_dtype)
    head = table["head"]
    head["version"] = 1
    head["number_of_samples"] = [samples.shape[1] for samples in readouts]
    head["active_channels"] = head["available_channels"] = len(readouts[0])
    for record, samples, trajectory in zip(table, readouts, trajectories, strict=True):
        record["data"] = np.ascontiguousarray(samples).view(np.float32).ravel()
        record["traj"] = trajectory.ravel()
    return table


def _header(acquisitions: Sequence[Acquisition], field_strength: float, cartesian: bool) -> xsd.ismrmrdHeader:
    first = acquisitions[0]
    (ny, nx), (fov_y, fov_x) = first.matrix, first.fov

    def space(n_x: int) -> xsd.encodingSpaceType:
        return xsd.encodingSpaceType(
            matrixSize=xsd.matrixSizeType(x=n_x, y=ny, z=1),
            fieldOfView_mm=xsd.fieldOfViewMm(
                x=1e3 * fov_x * n_x / nx, y=1e3 * fov_y, z=1e3 * first.slice_thickness
            ),
        )

    readouts = lines = xsd.limitType(minimum=0, maximum=first.n_readouts - 1, center=0)
    n_encoded = nx
    if cartesian:
        n_encoded, _, _ = cartesian_grid(first)
        lines = xsd.limitType(minimum=0, maximum=ny - 1, center=ny // 2)
    numbers = [acquisition.slice_index for acquisition in acquisitions]
    return xsd.ismrmrdHeader(
        acquisitionSystemInformation=xsd.acquisitionSystemInformationType(
            systemFieldStrength_T=field_strength, receiverChannels=first.n_coils
        ),
        experimentalConditions=xsd.experimentalConditionsType(
            H1resonanceFrequency_Hz=round(GAMMA_BAR * field_strength)
        ),
        encoding=[
            xsd.encodingType(
                encodedSpace=space(n_encoded),
                reconSpace=space(nx),
                encodingLimits=xsd.encodingLimitsType(
                    kspace_encoding_step_1=lines,
                    slice=xsd.limitType(minimum=min(numbers), maximum=max(numbers), center=min(numbers)),
                    repetition=readouts,
                ),
                trajectory=xsd.trajectoryType.CARTESIAN if cartesian else xsd.trajectoryType.OTHER,
            )
        ],
    )
