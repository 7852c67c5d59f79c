"""Reconstruction: raw data in, coil sensitivities, subspace inversion, quantitative maps out; phantoms.

Names are imported from their modules on first use, so that importing this package stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reconstruction.acquisition import Acquisition
    from reconstruction.admm import Admm, AdmmSettings, low_rank_admm
    from reconstruction.bids import BidsMaps, read_bids, write_bids
    from reconstruction.coil_compression import Compression, compress_coils
    from reconstruction.coils import adaptive_combine, coil_images, espirit
    from reconstruction.gradient_delays import GradientDelays, estimate_gradient_delays
    from reconstruction.inversion import Inversion, low_rank_inversion
    from reconstruction.linops import as_linop, as_preconditioner
    from reconstruction.maps import Maps
    from reconstruction.maps_figure import plot_maps
    from reconstruction.memory import MemoryEstimate, memory_estimate
    from reconstruction.operators import SubspaceEncoding
    from reconstruction.phantom import Phantom
    from reconstruction.phantom_fields import b1_map, birdcage_sensitivities
    from reconstruction.phantom_simulation import simulate_acquisition
    from reconstruction.phantom_templates import analytic_head, mni152_head
    from reconstruction.pipeline import Reconstruction, reconstruct
    from reconstruction.preparation import Preparation, prepare
    from reconstruction.rawdata import (
        RawData,
        RawDataError,
        read_ismrmrd,
        read_raw_data,
        read_twix,
        write_ismrmrd,
    )
    from reconstruction.receive_field import estimate_receive_field
    from reconstruction.regularisation import JointTotalVariation, LocallyLowRank
    from reconstruction.sensitivity_check import check_sensitivities
    from reconstruction.sensitivity_files import read_sensitivities
    from reconstruction.smooth_b1 import SmoothB1
    from reconstruction.trajectory import (
        GOLDEN_ANGLE,
        cartesian_lines,
        density_compensation,
        golden_angle_radial,
        variable_density_spiral,
    )
    from reconstruction.trajectory_check import TrajectoryCheck, check_trajectory

_MODULES = {
    "acquisition": ("Acquisition",),
    "admm": ("Admm", "AdmmSettings", "low_rank_admm"),
    "bids": ("BidsMaps", "read_bids", "write_bids"),
    "coil_compression": ("Compression", "compress_coils"),
    "coils": ("adaptive_combine", "coil_images", "espirit"),
    "gradient_delays": ("GradientDelays", "estimate_gradient_delays"),
    "inversion": ("Inversion", "low_rank_inversion"),
    "maps": ("Maps",),
    "linops": ("as_linop", "as_preconditioner"),
    "maps_figure": ("plot_maps",),
    "memory": ("MemoryEstimate", "memory_estimate"),
    "operators": ("SubspaceEncoding",),
    "phantom": ("Phantom",),
    "phantom_fields": ("b1_map", "birdcage_sensitivities"),
    "phantom_simulation": ("simulate_acquisition",),
    "phantom_templates": ("analytic_head", "mni152_head"),
    "pipeline": ("Reconstruction", "reconstruct"),
    "preparation": ("Preparation", "prepare"),
    "rawdata": (
        "RawData",
        "RawDataError",
        "read_ismrmrd",
        "read_raw_data",
        "read_twix",
        "write_ismrmrd",
    ),
    "receive_field": ("estimate_receive_field",),
    "regularisation": ("JointTotalVariation", "LocallyLowRank"),
    "sensitivity_check": ("check_sensitivities",),
    "sensitivity_files": ("read_sensitivities",),
    "smooth_b1": ("SmoothB1",),
    "trajectory": (
        "GOLDEN_ANGLE",
        "cartesian_lines",
        "density_compensation",
        "golden_angle_radial",
        "variable_density_spiral",
    ),
    "trajectory_check": ("TrajectoryCheck", "check_trajectory"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "GOLDEN_ANGLE",
    "Acquisition",
    "Admm",
    "AdmmSettings",
    "BidsMaps",
    "Compression",
    "GradientDelays",
    "Inversion",
    "JointTotalVariation",
    "LocallyLowRank",
    "Maps",
    "MemoryEstimate",
    "Phantom",
    "Preparation",
    "RawData",
    "RawDataError",
    "Reconstruction",
    "SmoothB1",
    "SubspaceEncoding",
    "TrajectoryCheck",
    "adaptive_combine",
    "analytic_head",
    "as_linop",
    "as_preconditioner",
    "b1_map",
    "birdcage_sensitivities",
    "cartesian_lines",
    "check_sensitivities",
    "check_trajectory",
    "coil_images",
    "compress_coils",
    "density_compensation",
    "espirit",
    "estimate_gradient_delays",
    "estimate_receive_field",
    "golden_angle_radial",
    "low_rank_admm",
    "low_rank_inversion",
    "memory_estimate",
    "mni152_head",
    "plot_maps",
    "prepare",
    "read_bids",
    "read_ismrmrd",
    "read_raw_data",
    "read_sensitivities",
    "read_twix",
    "reconstruct",
    "simulate_acquisition",
    "variable_density_spiral",
    "write_bids",
    "write_ismrmrd",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
