"""Compiled kernels of the twin: plain arrays and scalars, no checks. Private to `design.mrzero`."""

from pathlib import Path

from epgbloch._compiled import forget_outdated

forget_outdated(Path(__file__).parent)
