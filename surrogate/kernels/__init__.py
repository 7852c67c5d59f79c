"""Compiled kernels of gated recurrent networks: plain contiguous arrays and sizes only, no checks."""

from pathlib import Path

from epgbloch._compiled import forget_outdated

forget_outdated(Path(__file__).parent)
