"""Compiled kernels of the twin: plain arrays and scalars, no checks. Private to `design.mrzero`."""

from pathlib import Path

from epgbloch._compiled import forget_outdated
from epgbloch.kernels import lanes

forget_outdated(Path(__file__).parent, Path(lanes.__file__))
