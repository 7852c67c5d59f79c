"""Compiled kernels of gated recurrent networks: plain contiguous arrays and sizes only, no checks."""
