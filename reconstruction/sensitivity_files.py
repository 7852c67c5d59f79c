"""Coil sensitivities from files: NIfTI, NumPy, HDF5 and BART."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reconstruction.nifti import load_nifti

_HDF5_NAME = "sensitivities"
# Dimensions of BART's files that may be larger than 1 here.
_BART_X, _BART_Y, _BART_Z, _BART_COIL, _BART_MAPS, _BART_SLICE = 0, 1, 2, 3, 4, 13
_BART_DIMENSIONS = 16


def read_sensitivities(
    path: str | os.PathLike[str], *, n_slices: int, n_coils: int, matrix: tuple[int, int]
) -> tuple[NDArray[np.complex64], NDArray[np.float64] | None]:
    """Coil sensitivities of a scan, from a file whose ending tells its format.

    ============================== =====================================================================
    file                           holds complex numbers of shape
    ============================== =====================================================================
    ``.nii``, ``.nii.gz``          (nx, ny, n_slices, n_coils)
    ``.npy``, or ``.h5``, ``.hdf5`` (n_slices, n_coils, ny, nx), or (n_coils, ny, nx) for one slice; HDF5:
                                   the data set ``sensitivities``, or the only one of the file
    ``.cfl`` (or ``.hdr``), BART   (nx, ny, n_slices, n_coils, 1, ...), or slices in dimension 13
    ============================== =====================================================================

    Coils are those of the raw data, in their order; slices are in the order of the maps; pixel (ny // 2, nx
    // 2) is the centre. Values may be zero where nothing is known.

    Parameters
    ----------
    path : path-like
        The file.
    n_slices, n_coils, matrix
        What the raw data ask for; matrix is (ny, nx).

    Returns
    -------
    sensitivities : ndarray, shape (n_slices, n_coils, ny, nx), complex64
    affine : ndarray, shape (4, 4), float64, or None
        Maps voxel indices (x, y, z, 1) to millimetres in RAS; None: the format does not tell.

    Raises
    ------
    ValueError
        If the file cannot be read, is not complex, has another shape, or a slice is not finite or zero.
    """
    file, (ny, nx) = Path(path), matrix
    affine, fortran_order = None, True
    if file.name.endswith((".nii", ".nii.gz")):
        array, image = load_nifti(file, f"{file}:")
        affine = np.asarray(image.affine)
    elif file.suffix in (".cfl", ".hdr"):
        array = _read_bart(file)
    elif file.suffix in (".npy", ".h5", ".hdf5"):
        fortran_order = False
        array = _read_npy(file) if file.suffix == ".npy" else _read_hdf5(file)
        if array.ndim == 3 and n_slices == 1:
            array = array[None]
    else:
        raise ValueError(
            f"{file}: the ending tells the format of coil sensitivities; it must be one of .nii, .nii.gz, "
            ".npy, .h5, .hdf5, .cfl, .hdr"
        )
    if not np.iscomplexobj(array):
        raise ValueError(
            f"{file}: holds {array.dtype} numbers; coil sensitivities are complex: write them with their "
            "phase"
        )
    names, asked = "(n_slices, n_coils, ny, nx)", (n_slices, n_coils, ny, nx)
    if fortran_order:
        names, asked = "(nx, ny, n_slices, n_coils)", (nx, ny, n_slices, n_coils)
    if array.shape != asked:
        exchanged = sorted(array.shape) == sorted(asked)
        raise ValueError(
            f"{file}: has shape {array.shape}; the scan asks for {names} = {asked}: "
            + ("its axes are in another order" if exchanged else "it belongs to another scan or matrix")
        )
    if fortran_order:
        array = array.transpose(2, 3, 1, 0)
    with np.errstate(over="ignore"):  # to infinity, which is refused below
        sensitivities = np.ascontiguousarray(array, dtype=np.complex64)
    _check_values(file, sensitivities)
    return sensitivities, affine


def _check_values(file: Path, sensitivities: NDArray[np.complex64]) -> None:
    finite = np.isfinite(sensitivities)
    if not finite.all():
        z, coil, y, x = (int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(
            f"{file}: is {sensitivities[z, coil, y, x]} at slice {z}, coil {coil}, y={y}, x={x}; it must be "
            "finite: write 0 where nothing is known"
        )
    empty = np.flatnonzero(~sensitivities.any(axis=(1, 2, 3)))
    if empty.size:
        raise ValueError(
            f"{file}: is zero everywhere in slice {empty[0]}; leave the file out to have them estimated"
        )


def _read_npy(file: Path) -> NDArray[Any]:
    try:
        array = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{file}: cannot be read as NumPy array: {error}") from error
    return np.asarray(array)


def _read_hdf5(file: Path) -> NDArray[Any]:
    import h5py

    try:
        with h5py.File(file, "r") as content:
            names: list[str] = []
            content.visititems(
                lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None
            )
            name = _HDF5_NAME if _HDF5_NAME in names else names[0] if len(names) == 1 else None
            if name is None:
                raise ValueError(
                    f"{file}: has no data set {_HDF5_NAME} (but {', '.join(sorted(names)) or 'none'}); "
                    "rename the one that holds the coil sensitivities"
                )
            array = np.asarray(content[name])
    except OSError as error:
        raise ValueError(f"{file}: cannot be read as HDF5 file: {error}") from error
    if array.dtype.names == ("real", "imag"):  # as ISMRMRD and others write complex numbers
        return np.asarray(array["real"] + 1j * array["imag"])
    return array


def _read_bart(file: Path) -> NDArray[np.complex64]:
    """Array of a pair of BART's files, with axes (x, y, slice, coil)."""
    header, data = file.with_suffix(".hdr"), file.with_suffix(".cfl")
    try:
        lines = header.read_text(encoding="utf-8").splitlines()
        sizes = [int(word) for word in lines[lines.index("# Dimensions") + 1].split()]
        values = np.fromfile(data, dtype="<c8")
    except OSError as error:
        raise ValueError(f"{error.filename}: cannot be read: {error.strerror}") from error
    except (ValueError, IndexError) as error:
        raise ValueError(f"{header}: is not a header of BART: its dimensions cannot be read") from error
    sizes += [1] * (_BART_DIMENSIONS - len(sizes))
    if min(sizes) < 1 or np.prod(sizes, dtype=object) != values.size:
        raise ValueError(
            f"{data}: holds {values.size} complex numbers; its header {header.name} asks for {sizes}: the "
            "file is damaged"
        )
    if sizes[_BART_MAPS] > 1:
        raise ValueError(
            f"{file}: holds {sizes[_BART_MAPS]} sets of maps (dimension {_BART_MAPS}); keep the first one "
            f"(bart slice {_BART_MAPS} 0)"
        )
    used = (_BART_X, _BART_Y, _BART_Z, _BART_COIL, _BART_SLICE)
    other = [i for i, size in enumerate(sizes) if size > 1 and i not in used]
    if other or (sizes[_BART_Z] > 1 and sizes[_BART_SLICE] > 1):
        raise ValueError(
            f"{file}: has dimensions {sizes}; coil sensitivities have x, y, z or slices (13), and coils (3)"
        )
    array = values.reshape(sizes, order="F")
    if sizes[_BART_SLICE] > 1:
        array = array.swapaxes(_BART_Z, _BART_SLICE)
    return array.reshape(array.shape[: _BART_COIL + 1])
