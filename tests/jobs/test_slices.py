"""Masks from NIfTI files."""

import re

import nibabel as nib
import numpy as np
import pytest

from jobs.slices import check_place, read_mask

SHAPE = (4, 3, 2)  # (nx, ny, n_slices)


def write(folder, values, affine=None, name="mask.nii.gz"):
    nib.save(nib.Nifti1Image(values, np.eye(4) if affine is None else affine), folder / name)
    return folder / name


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_mask_is_turned_to_slices_of_rows_and_columns(tmp_path, dtype):
    values = np.zeros(SHAPE, dtype)
    values[3, 1, 0] = 1
    affine = np.diag([2.0, 2, 5, 1])
    mask, mask_affine = read_mask(write(tmp_path, values, affine), SHAPE)
    assert mask.dtype == bool
    assert np.argwhere(mask).tolist() == [[0, 1, 3]]
    np.testing.assert_array_equal(mask_affine, affine)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones((3, 4, 2), np.uint8), "has shape (3, 4, 2); the maps have (nx, ny, n_slices) = (4, 3, 2)"),
        (np.ones((4, 3), np.uint8), "has shape (4, 3)"),
        (np.zeros(SHAPE, np.uint8), "is empty; mark the voxels"),
        (np.full(SHAPE, 2, np.uint8), "must hold only 0 and 1"),
        (np.full(SHAPE, np.nan, np.float32), "must hold only 0 and 1"),
    ],
)
def test_bad_masks(tmp_path, values, message):
    with pytest.raises(ValueError, match=f"--mask .*mask.nii.gz: {re.escape(message)}"):
        read_mask(write(tmp_path, values), SHAPE)


@pytest.mark.parametrize("damage", ["missing", "text", "truncated", "other format"])
def test_unreadable_masks(tmp_path, damage):
    rng = np.random.default_rng(0)
    path = write(tmp_path, rng.integers(0, 2, SHAPE).astype(np.uint8))
    if damage == "missing":
        path.unlink()
    elif damage == "text":
        path.write_text("mask")
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-20])
    else:
        path = write(tmp_path, np.ones(SHAPE, np.uint8), name="mask.nii")
        path.write_bytes(path.read_bytes()[:352])
    with pytest.raises(ValueError, match=r"--mask .*: cannot be read as NIfTI image"):
        read_mask(path, SHAPE)


def test_place_of_the_mask():
    affine = np.diag([2.0, 2, 5, 1])
    check_place("--mask", "mask.nii", affine.astype(np.float32) * (1 + 1e-6), affine)
    for change in (np.diag([-1, 1, 1, 1]), np.diag([1.01, 1, 1, 1])):
        with pytest.raises(ValueError, match=r"mask\.nii: lies or is oriented otherwise \(affine \[\["):
            check_place("--mask", "mask.nii", affine @ change, affine)
