"""Quantitative maps as BIDS derivatives: NIfTI images with JSON files."""

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
from reconstruction.maps import Maps
from reconstruction.nifti import load_nifti

_DESCRIPTION = "dataset_description.json"
_STANDARD_ERROR = "Standard error of {}, NaN where it is not known"
_QUANTITIES = {
    "T1map": ("t1", 1, "anat", "s", "Longitudinal relaxation time T1"),
    "T2map": ("t2", 1, "anat", "s", "Transverse relaxation time T2"),
    "PDmap": ("pd", 1, "anat", "arbitrary", "Magnitude of the proton density, each slice on its own scale"),
    "TB1map": ("b1", 100, "fmap", "percent", "Transmit field relative to nominal"),
    "desc-standarderror_T1map": ("t1_std", 1, "anat", "s", _STANDARD_ERROR.format("T1")),
    "desc-standarderror_T2map": ("t2_std", 1, "anat", "s", _STANDARD_ERROR.format("T2")),
    "desc-standarderror_TB1map": ("b1_std", 100, "fmap", "percent", _STANDARD_ERROR.format("B1")),
    "correlation": ("correlation", 1, "anat", "1", "Correlation of measured and modelled signal, 0 to 1"),
}
"""Field of `Maps`, factor to the unit, folder, unit and description by the end of the file name."""
_IGNORE = ".bidsignore"
_NOT_BIDS = "*_correlation.*\n"
_UNKNOWN_ORIENTATION = (
    "unknown: the raw data hold no directions; axes are columns, rows and slices of the image"
)


@dataclass(frozen=True, eq=False)
class BidsMaps:
    """Maps of a BIDS dataset.

    Attributes
    ----------
    maps : list of Maps
        Slices in the order of z. Masks are where T1 is positive.
    affine : ndarray, shape (4, 4), float64
        Maps voxel indices (x, y, z, 1) to millimetres in RAS.
    subject : str
        BIDS label.
    orientation_known : bool
        Whether the affine tells where the slices lie in the patient.
    """

    maps: list[Maps]
    affine: NDArray[np.float64]
    subject: str
    orientation_known: bool


def read_bids(folder: str | Path) -> BidsMaps:
    """Read maps that `write_bids` wrote, or others with the same names, units and axes.

    Parameters
    ----------
    folder : str or Path
        BIDS dataset of one subject, with T1map, T2map and PDmap at least.

    Returns
    -------
    BidsMaps

    Raises
    ------
    ValueError
        If there is not one subject with maps, an image is missing or cannot be read, or shapes differ.
    """
    folder = Path(folder)
    found = sorted(folder.glob("sub-*/anat/sub-*_T1map.nii*"))
    found = [path for path in found if path.name.startswith(f"{path.parents[1].name}_T1map.")]
    if len(found) != 1:
        what = f"maps of {len(found)} subjects" if found else "no sub-*/anat/sub-*_T1map.nii.gz"
        raise ValueError(f"{folder} holds {what}; give a BIDS folder with the maps of one subject")
    subject = found[0].parents[1].name.removeprefix("sub-")
    images = {}
    for ending, (name, *_) in _QUANTITIES.items():
        paths = [folder / f"{_relative_path(subject, ending)}{suffix}" for suffix in (".nii.gz", ".nii")]
        existing = [path for path in paths if path.exists()]
        if existing:
            images[name] = load_nifti(existing[0], str(existing[0]))
        elif name in ("t1", "t2", "pd"):
            raise ValueError(f"{folder} lacks {paths[0].relative_to(folder)}; the maps are not complete")
    shapes = {values.shape for values, _ in images.values()}
    shape = images["t1"][0].shape
    if len(shapes) > 1 or len(shape) != 3:
        raise ValueError(
            f"{folder} holds images of shapes {sorted(shapes)}; they must be (nx, ny, nz), all equal"
        )
    factors = {name: factor for name, factor, *_ in _QUANTITIES.values()}
    volumes = {name: values.T / factors[name] for name, (values, _) in images.items()}
    maps = [
        Maps(mask=volumes["t1"][z] > 0, **{name: volume[z] for name, volume in volumes.items()})
        for z in range(shape[2])
    ]
    _, image = images["t1"]
    known = bool(image.header["sform_code"] or image.header["qform_code"])
    return BidsMaps(maps, np.asarray(image.affine), subject, known)


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
    `b1`. Standard errors, where there are any, get the same names with ``desc-standarderror``. The
    correlation has no name in BIDS: it is listed in ``.bidsignore``. Each is a float32 NIfTI image with axes
    (x, y, z), 0 outside the mask (standard errors: NaN), beside a JSON file with units and provenance. The
    phase of the proton density is not written: BIDS has no place for it in a PDmap.

    The dataset is built in a temporary folder beside `folder` and renamed at the end. An earlier result of
    this function for the same subject is replaced as a whole; a folder that holds anything else is refused.

    Parameters
    ----------
    folder : str or Path
        Where the dataset goes; missing parent folders are made.
    maps : list of Maps
        Slices of one size in the order of z, at least one. What one of them holds, all must hold, except for
        those with an empty mask.
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
            for ending, volume in volumes.items():
                path = new / _relative_path(subject, ending)
                path.parent.mkdir(parents=True, exist_ok=True)
                nib.save(_nifti(volume, affine, orientation_known), f"{path}.nii.gz")
                Path(f"{path}.json").write_text(sidecars[ending], encoding="utf-8")
            (new / _DESCRIPTION).write_text(_dataset_description(), encoding="utf-8")
            if "correlation" in volumes:
                (new / _IGNORE).write_text(_NOT_BIDS, encoding="utf-8")
            _swap(new, folder, Path(temporary, "old"))
    except OSError as error:
        raise OSError(
            f"cannot write maps to folder {folder}: {error}; free space or choose another folder"
        ) from error
    return folder


def _volumes(maps: list[Maps]) -> dict[str, NDArray[np.float32]]:
    """Volume with axes (x, y, z) for each end of a file name, in its unit."""
    if not maps:
        raise ValueError("maps is empty; give at least one slice")
    shapes = {slice_maps.mask.shape for slice_maps in maps}
    if len(shapes) > 1:
        raise ValueError(f"maps hold slices of different shapes {sorted(shapes)}; write them separately")
    mask = np.stack([slice_maps.mask for slice_maps in maps])
    volumes = {}
    for ending, (name, factor, *_) in _QUANTITIES.items():
        images = [getattr(slice_maps, name) for slice_maps in maps]
        if all(image is None for image in images):
            continue
        lacking = sum(
            image is None and slice_maps.mask.any() for image, slice_maps in zip(images, maps, strict=True)
        )
        if lacking:
            raise ValueError(
                f"maps hold {name} for {len(maps) - lacking} of {len(maps)} slices; give it for all or none"
            )
        volume = np.stack([np.zeros(mask.shape[1:]) if image is None else np.abs(image) for image in images])
        outside = np.nan if name.endswith("_std") else 0
        volumes[ending] = np.where(mask, np.float32(factor) * volume, np.float32(outside)).T
    return volumes


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


def _relative_path(subject: str, ending: str) -> Path:
    """Path of an image within the dataset, without file extension."""
    return Path(f"sub-{subject}", _QUANTITIES[ending][2], f"sub-{subject}_{ending}")


def _sidecars(provenance: dict[str, Any], orientation_known: bool) -> dict[str, str]:
    """Text of the JSON file for each image."""
    notes = {} if orientation_known else {"Orientation": _UNKNOWN_ORIENTATION}
    try:
        return {
            ending: json.dumps(
                {"Units": units, "Description": description, **notes, "Provenance": provenance},
                indent=2,
                allow_nan=False,
            )
            for ending, (*_, units, description) in _QUANTITIES.items()
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
    ours = {Path(_DESCRIPTION), Path(_IGNORE)}
    for ending in _QUANTITIES:
        path = _relative_path(subject, ending)
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
