"""Whole sequences and the objects that they image: what a differentiable twin of the scanner simulates."""

from design.mrzero.image_grid import ImageGrid
from design.mrzero.isochromats import isochromat_signal
from design.mrzero.phase_graph import phase_graph_signal
from design.mrzero.sequence import ImagingSequence
from design.mrzero.voxels import Voxels

__all__ = ["ImageGrid", "ImagingSequence", "Voxels", "isochromat_signal", "phase_graph_signal"]
