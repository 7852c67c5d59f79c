"""Physical constants, one value each for the whole project."""

GAMMA_BAR = 42.576e6
"""Gyromagnetic ratio of the proton over 2 pi [Hz/T], the value that pypulseq uses."""
