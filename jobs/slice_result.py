"""What is kept of a slice when it is done, and its part on disk."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reconstruction.gradient_delays import GradientDelays
from reconstruction.maps import Maps
from reconstruction.pipeline import Reconstruction
from reconstruction.trajectory_check import TrajectoryCheck

_THUMBNAIL = 64  # pixels of the larger side of a coil sensitivity, at most
ADMM_RECORD = ("data_misfit", "primal_residual", "dual_residual", "changed")
"""What LR-ADMM records of each outer iteration."""
_REQUIRED = ("t1", "t2", "pd", "mask", "coils", "record")
_OPTIONAL = ("b1", "correlation", "t1_std", "t2_std", "b1_std")


@dataclass(frozen=True, eq=False)
class SliceResult:
    """Maps of one slice and what report and provenance need to know of their making.

    Attributes
    ----------
    number : int
        Number of the slice, counted from 0.
    maps : Maps
        The maps; an empty mask where the slice was left empty.
    affine : ndarray, shape (4, 4), float64
        Maps voxel indices (x, y, z, 1) of the slice to millimetres in RAS.
    problem : str
        Why the slice was left empty; "" where it was not.
    coils : ndarray, shape (n_coils, height, width), complex64
        Coil sensitivities, every n-th pixel, at most 64 a side; no coils where the slice was left empty.
    record : dict
        Records of the solvers, as they go into the provenance; empty where the slice was left empty.
    """

    number: int
    maps: Maps
    affine: NDArray[np.float64]
    problem: str = ""
    coils: NDArray[np.complex64] = field(default_factory=lambda: np.empty((0, 0, 0), np.complex64))
    record: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, number: int, affine: NDArray[np.float64], result: Reconstruction, seconds: float
    ) -> SliceResult:
        """Return what is kept of a reconstruction that took some seconds."""
        _, ny, nx = result.sensitivities.shape
        step = -(-max(ny, nx) // _THUMBNAIL)
        record = {
            "seconds": round(seconds, 2),
            "n_dead_coils": result.n_dead_coils,
            "n_virtual_coils": result.n_virtual_coils,
            "kept_energy": result.kept_energy,
            "gradient_delays_samples": _delays(result.gradient_delays),
            "trajectory_check": _check(result.trajectory_check),
            "receive_field_degree": result.receive_field_degree,
            "relative_residuals": result.inversion.residuals.tolist(),
            "converged": result.inversion.converged,
            "misfit": result.inversion.misfit,
        }
        if result.admm is not None:
            record["admm"] = {name: getattr(result.admm, name).tolist() for name in ADMM_RECORD}
            record["admm"]["converged"] = result.admm.converged
        if result.refined is not None:
            record["refinement"] = {
                "n_not_converged": int((~result.refined.converged).sum()),
                "n_at_bound": int(result.refined.at_bound.sum()),
            }
        return cls(
            number, result.maps, affine, coils=result.sensitivities[:, ::step, ::step].copy(), record=record
        )

    @property
    def median_correlation(self) -> float:
        """Median correlation of measured and modelled signal within the mask, which is not empty."""
        assert self.maps.correlation is not None
        return float(np.median(self.maps.correlation[self.maps.mask]))

    def provenance(self) -> dict[str, Any]:
        """Return what the provenance says about the slice; fits JSON."""
        if self.problem:
            return {"slice": self.number, "n_voxels": 0, "left_empty": self.problem}
        return {
            "slice": self.number,
            "n_voxels": int(self.maps.mask.sum()),
            "median_correlation": self.median_correlation,
            **self.record,
        }

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return arrays from which `from_arrays` makes the result again."""
        maps = {name: getattr(self.maps, name) for name in ("t1", "t2", "pd", "mask", *_OPTIONAL)}
        record = np.frombuffer(json.dumps(self.record).encode(), dtype=np.uint8)
        arrays = {**maps, "coils": self.coils, "record": record}
        return {name: array for name, array in arrays.items() if array is not None}

    @classmethod
    def from_arrays(
        cls, number: int, affine: NDArray[np.float64], arrays: dict[str, NDArray[Any]]
    ) -> SliceResult | None:
        """Return the result that `to_arrays` took apart; None if an array is missing."""
        if not {*_REQUIRED} <= arrays.keys() <= {*_REQUIRED, *_OPTIONAL}:  # damage may hide entries
            return None
        values = dict(arrays)
        record, coils = json.loads(values.pop("record").tobytes()), values.pop("coils")
        return cls(number, Maps(**values), affine, coils=coils, record=record)


def _delays(delays: GradientDelays | None) -> dict[str, float] | None:
    return None if delays is None else {"x": delays.x, "y": delays.y, "xy": delays.xy}


def _check(check: TrajectoryCheck | None) -> dict[str, Any] | None:
    if check is None:
        return None
    return {
        "relative_residual": check.residual,
        "noise_known": check.noise_known,
        "gradient_delays_samples": _delays(check.delays),
    }
