"""NIfTI images in."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import nibabel as nib


def load_nifti(path: Path, name: str) -> tuple[NDArray[Any], nib.Nifti1Image]:
    """Values of an image, axes (x, y, z, ...), and the image with its header and affine.

    Parameters
    ----------
    path : Path
        The image.
    name : str
        What the message of an error begins with.

    Raises
    ------
    ValueError
        If the image cannot be read.
    """
    import nibabel as nib  # here, as it takes a moment
    from nibabel.filebasedimages import ImageFileError

    try:
        image = nib.nifti1.load(path)
        return np.asarray(image.dataobj), image
    except (ImageFileError, EOFError, OSError, ValueError, zlib.error) as error:
        raise ValueError(f"{name} cannot be read as NIfTI image (.nii, .nii.gz): {error}") from error
