"""Dictionaries of signals: generated chunk by chunk, compressed, stored in HDF5, matched exactly."""

from dictionaries.atom_list import AtomList
from dictionaries.dictionary import ERROR_EDGES, Dictionary, DictionaryError, RelativeError
from dictionaries.file_generation import generate_file
from dictionaries.generation import generate
from dictionaries.grid import Grid, linear_axis, log_axis
from dictionaries.matching import Match, match
from dictionaries.refinement import Refined, refine
from dictionaries.store import read_dictionary, write_dictionary

__all__ = [
    "ERROR_EDGES",
    "AtomList",
    "Dictionary",
    "DictionaryError",
    "Grid",
    "Match",
    "Refined",
    "RelativeError",
    "generate",
    "generate_file",
    "linear_axis",
    "log_axis",
    "match",
    "read_dictionary",
    "refine",
    "write_dictionary",
]
