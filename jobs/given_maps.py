"""Maps of a scan that come from files: coil sensitivities and off-resonance."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.slices import check_place, read_volume
from reconstruction.rawdata import RawData
from reconstruction.sensitivity_files import read_sensitivities


@dataclass(frozen=True, eq=False)
class GivenMaps:
    """Maps that are not estimated; slices in the order of the volume.

    Attributes
    ----------
    sensitivities : ndarray, shape (n_slices, n_coils, ny, nx), complex64, or None
        Coil sensitivities.
    off_resonance : ndarray, shape (n_slices, ny, nx), float64, or None
        Off-resonance [Hz].
    """

    sensitivities: NDArray[np.complex64] | None
    off_resonance: NDArray[np.float64] | None

    def of_slice(self, z: int) -> dict[str, Any]:
        """Arguments of `reconstruct`."""
        given = {"sensitivities": self.sensitivities, "off_resonance": self.off_resonance}
        return {name: maps[z] for name, maps in given.items() if maps is not None}


def read_given_maps(
    scan: RawData,
    n_slices: int,
    affine: NDArray[np.float64] | None,
    *,
    sensitivity_path: Path | None,
    b0_path: Path | None,
) -> GivenMaps:
    """Read maps of a scan.

    Parameters
    ----------
    scan : RawData
        The raw data.
    n_slices : int
        Number of slices that are reconstructed.
    affine : ndarray, shape (4, 4), float64, or None
        Of the volume that they form; None: it is not known where they lie.
    sensitivity_path : Path or None
        See `read_sensitivities`.
    b0_path : Path or None
        NIfTI image [Hz].

    Raises
    ------
    ValueError
        If a file cannot be read, does not fit the scan or lies elsewhere.
    """
    ny, nx = scan.matrix
    sensitivities = off_resonance = None
    if sensitivity_path is not None:
        sensitivities, place = read_sensitivities(
            sensitivity_path, n_slices=n_slices, n_coils=scan.n_coils, matrix=scan.matrix
        )
        if place is not None and affine is not None:
            check_place("--sensitivities", sensitivity_path, place, affine)
    if b0_path is not None:
        values, place = read_volume("--b0-map", b0_path, (nx, ny, n_slices))
        if np.iscomplexobj(values) or not np.isfinite(values).all():
            raise ValueError(
                f"--b0-map {b0_path}: must hold finite real numbers, in Hz: write 0 where it is unknown"
            )
        if affine is not None:
            check_place("--b0-map", b0_path, place, affine)
        off_resonance = values.astype(np.float64)
    return GivenMaps(sensitivities, off_resonance)
