"""Whole sequences and the objects that they image: what a differentiable twin of the scanner simulates."""

from design.mrzero.image_grid import ImageGrid
from design.mrzero.isochromats import isochromat_signal
from design.mrzero.phase_graph import phase_graph_signal
from design.mrzero.sequence import ImagingSequence
from design.mrzero.twin import Plan, Twin, TwinGradient
from design.mrzero.voxels import Voxels

__all__ = [
    "ImageGrid",
    "ImagingSequence",
    "Plan",
    "Twin",
    "TwinGradient",
    "Voxels",
    "isochromat_signal",
    "phase_graph_signal",
]
