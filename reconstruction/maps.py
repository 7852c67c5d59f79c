"""Quantitative maps of one slice, written as BIDS derivatives (NIfTI)."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import ArrayLike, NDArray

from epgbloch import __version__

_DESCRIPTION = "dataset_description.json"
_QUANTITIES = {
    "T1map": ("anat", "s", "Longitudinal relaxation time T1"),
    "T2map": ("anat", "s", "Transverse relaxation time T2"),
    "PDmap": ("anat", "arbitrary", "Magnitude of the proton density, each slice on its own scale"),
    "TB1map": ("fmap", "percent", "Transmit field relative to nominal"),
}
"""Folder, unit and description of each BIDS suffix."""
_UNKNOWN_ORIENTATION = (
    "unknown: the raw data hold no directions; axes are columns, rows and slices of the image"
)


@dataclass(frozen=True, eq=False)
class Maps:
    """T1, T2, proton density and what else was estimated in one slice, checked once at construction.

    Attributes
    ----------
    t1, t2 : ndarray, shape (ny, nx), float32
        Relaxation times [s], positive within `mask`.
    pd : ndarray, shape (ny, nx), complex64
        Proton density in arbitrary units, which differ from slice to slice, with the phase that the coil
        combination left.
    mask : ndarray, shape (ny, nx), bool
        Voxels in which the maps mean anything; outside, written maps are 0 and figures transparent.
    b1 : ndarray, shape (ny, nx), float32, or None
        Transmit field relative to nominal.
    correlation : ndarray, shape (ny, nx), float32, or None
        Normalised correlation of measured and modelled signal, 0 to 1.

    Raises
    ------
    ValueError
        If shapes differ or a value within `mask` is not finite, or not positive for T1 and T2.
    """

    t1: NDArray[np.float32]
    t2: NDArray[np.float32]
    pd: NDArray[np.complex64]
    mask: NDArray[np.bool_]
    b1: NDArray[np.float32] | None = None
    correlation: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        types = {"t1": "f4", "t2": "f4", "pd": "c8", "mask": "?", "b1": "f4", "correlation": "f4"}
        for name, dtype in types.items():
            if getattr(self, name) is not None:
                object.__setattr__(self, name, np.array(getattr(self, name), dtype=dtype))
        if self.mask.ndim != 2:
            raise ValueError(f"mask has shape {self.mask.shape}; maps describe one slice (ny, nx)")
        for name in types:
            array = getattr(self, name)
            if array is None:
                continue
            if array.shape != self.mask.shape:
                raise ValueError(
                    f"{name} has shape {array.shape}, mask has {self.mask.shape}; make them equal"
                )
            bad = self.mask & ~np.isfinite(array)
            if name in ("t1", "t2"):
                bad |= self.mask & ~(array > 0)
            if bad.any():
                row, column = np.argwhere(bad)[0]
                raise ValueError(
                    f"{name} is {array[row, column]} at row {row}, column {column} within mask; it must be "
                    "finite, and positive for t1 and t2: leave the voxel out of mask"
                )


def write_bids(
    folder: str | Path,
    maps: list[Maps],
    *,
    affine: ArrayLike,
    subject: str = "01",
    orientation_known: bool = True,
    provenance: dict[str, Any],
) -> Path:
    """Write slices as a BIDS derivatives dataset and return its folder.

    ``sub-<subject>/anat/`` receives T1map, T2map (seconds) and PDmap (magnitude, arbitrary units),
    ``sub-<subject>/fmap/``, where BIDS keeps transmit maps, TB1map (percent of nominal) if all slices have
    `b1`. Each is a float32 NIfTI image with axes (x, y, z), 0 outside the mask, beside a JSON file with units
    and provenance. The phase of the proton density is not written: BIDS has no place for it in a PDmap.

    The dataset is built in a temporary folder beside `folder` and renamed at the end. An earlier result of
    this function for the same subject is replaced as a whole; a folder that holds anything else is refused.

    Parameters
    ----------
    folder : str or Path
        Where the dataset goes; missing parent folders are made.
    maps : list of Maps
        Slices of one size in the order of z, at least one.
    affine : array_like, shape (4, 4)
        Maps voxel indices (x, y, z, 1) to millimetres in RAS; x counts columns, y rows and z slices.
    subject : str
        BIDS label, letters and digits.
    orientation_known : bool
        False where the affine does not tell where the slices lie in the patient: the images then carry only
        the voxel size (qform and sform code 0, "unknown"), and the JSON files say so.
    provenance : dict
        What made the maps; goes into each JSON file. Values must fit JSON.

    Returns
    -------
    Path
        `folder`.

    Raises
    ------
    ValueError
        If the slices, the affine, the subject or the provenance cannot be written.
    FileExistsError
        If `folder` holds something other than an earlier result for this subject.
    OSError
        If `folder` cannot be written (no space, no permission). Nothing half-written stays behind.

    References
    ----------
    Karakuzu et al. 2022, Sci Data 9:517, doi 10.1038/s41597-022-01571-4 (quantitative MRI in BIDS).
    """
    folder = Path(folder).resolve()
    if not (subject.isascii() and subject.isalnum()):
        raise ValueError(f"subject={subject!r} must consist of letters and digits, as BIDS labels do")
    volumes = _volumes(maps)
    affine = _checked_affine(affine)
    sidecars = _sidecars(provenance, orientation_known)
    _check_replaceable(folder, subject)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=f".{folder.name}-", dir=folder.parent, ignore_cleanup_errors=True
        ) as temporary:
            new = Path(temporary, "new")
            for suffix, volume in volumes.items():
                path = new / _relative_path(subject, suffix)
                path.parent.mkdir(parents=True, exist_ok=True)
                nib.save(_nifti(volume, affine, orientation_known), f"{path}.nii.gz")
                Path(f"{path}.json").write_text(sidecars[suffix], encoding="utf-8")
            (new / _DESCRIPTION).write_text(_dataset_description(), encoding="utf-8")
            _swap(new, folder, Path(temporary, "old"))
    except OSError as error:
        raise OSError(
            f"cannot write maps to folder {folder}: {error}; free space or choose another folder"
        ) from error
    return folder


def _volumes(maps: list[Maps]) -> dict[str, NDArray[np.float32]]:
    """Volume with axes (x, y, z) for each BIDS suffix, in its unit, 0 outside the masks."""
    if not maps:
        raise ValueError("maps is empty; give at least one slice")
    shapes = {slice_maps.mask.shape for slice_maps in maps}
    if len(shapes) > 1:
        raise ValueError(f"maps hold slices of different shapes {sorted(shapes)}; write them separately")
    stacks = {
        "T1map": [slice_maps.t1 for slice_maps in maps],
        "T2map": [slice_maps.t2 for slice_maps in maps],
        "PDmap": [np.abs(slice_maps.pd) for slice_maps in maps],
    }
    b1 = [100 * slice_maps.b1 for slice_maps in maps if slice_maps.b1 is not None]
    if b1:
        if len(b1) < len(maps):
            raise ValueError(f"maps hold b1 for {len(b1)} of {len(maps)} slices; give it for all or none")
        stacks["TB1map"] = b1
    mask = np.stack([slice_maps.mask for slice_maps in maps])
    return {suffix: np.where(mask, np.stack(stack), 0).T for suffix, stack in stacks.items()}


def _checked_affine(affine: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(affine, dtype=np.float64)
    if (
        array.shape != (4, 4)
        or not np.isfinite(array).all()
        or not np.array_equal(array[3], [0, 0, 0, 1])
        or np.linalg.det(array[:3, :3]) == 0
    ):
        raise ValueError(
            f"affine must be a finite, invertible (4, 4) array with last row 0 0 0 1; got\n{array}"
        )
    return array


def _nifti(
    volume: NDArray[np.float32], affine: NDArray[np.float64], orientation_known: bool
) -> nib.Nifti1Image:
    image = nib.Nifti1Image(np.asarray(volume, dtype=np.float32), affine if orientation_known else None)
    if orientation_known:
        image.set_sform(affine, code="scanner")
        image.set_qform(affine, code="scanner")
    else:
        image.header.set_zooms(np.linalg.norm(affine[:3, :3], axis=0))
    image.header.set_xyzt_units(xyz="mm")
    return image


def _relative_path(subject: str, suffix: str) -> Path:
    """Path of an image within the dataset, without file extension."""
    return Path(f"sub-{subject}", _QUANTITIES[suffix][0], f"sub-{subject}_{suffix}")


def _sidecars(provenance: dict[str, Any], orientation_known: bool) -> dict[str, str]:
    """Text of the JSON file for each BIDS suffix."""
    notes = {} if orientation_known else {"Orientation": _UNKNOWN_ORIENTATION}
    try:
        return {
            suffix: json.dumps(
                {"Units": units, "Description": description, **notes, "Provenance": provenance},
                indent=2,
                allow_nan=False,
            )
            for suffix, (_, units, description) in _QUANTITIES.items()
        }
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"provenance does not fit JSON ({error}); use strings, finite numbers, lists and dicts"
        ) from error


def _dataset_description() -> str:
    return json.dumps(
        {
            "Name": "epgbloch quantitative maps",
            "BIDSVersion": "1.10.0",
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "epgbloch", "Version": __version__}],
        },
        indent=2,
    )


def _check_replaceable(folder: Path, subject: str) -> None:
    """Raise FileExistsError unless `folder` is absent, empty, or holds only our files for this subject."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; choose another folder for the maps")
    existing = {path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir()}
    ours = {Path(_DESCRIPTION)}
    for suffix in _QUANTITIES:
        path = _relative_path(subject, suffix)
        ours |= {Path(f"{path}.nii.gz"), Path(f"{path}.json")}
    foreign = sorted(existing - ours)
    if foreign:
        raise FileExistsError(
            f"folder {folder} holds {foreign[0]}, which write_bids would not have written for subject "
            f"{subject}; choose an empty or new folder"
        )
    if existing and not _is_ours(folder / _DESCRIPTION):
        raise FileExistsError(
            f"folder {folder} holds files that epgbloch did not write; choose an empty or new folder"
        )


def _is_ours(description: Path) -> bool:
    try:
        content = json.loads(description.read_text(encoding="utf-8"))
        return any(generator["Name"] == "epgbloch" for generator in content["GeneratedBy"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return False


def _swap(new: Path, folder: Path, old: Path) -> None:
    """Put `new` in the place of `folder`, which moves to `old`; on failure `folder` is as before."""
    if folder.exists():
        folder.rename(old)
    try:
        new.rename(folder)
    except BaseException:
        if old.exists():
            old.rename(folder)
        raise
