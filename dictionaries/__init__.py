"""Dictionaries of signals: generated chunk by chunk, compressed, stored in HDF5, matched exactly."""

from dictionaries.dictionary import Dictionary, DictionaryError, RelativeError
from dictionaries.generation import generate
from dictionaries.grid import Grid, linear_axis, log_axis
from dictionaries.matching import Match, match
from dictionaries.refinement import Refined, refine
from dictionaries.store import read_dictionary, write_dictionary

__all__ = [
    "Dictionary",
    "DictionaryError",
    "Grid",
    "Match",
    "Refined",
    "RelativeError",
    "generate",
    "linear_axis",
    "log_axis",
    "match",
    "read_dictionary",
    "refine",
    "write_dictionary",
]
