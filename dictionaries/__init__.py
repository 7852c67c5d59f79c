"""Dictionaries of signals: generated chunk by chunk, compressed, stored in HDF5, matched exactly."""

from dictionaries.arrays import dictionary_from_arrays, dictionary_from_signals
from dictionaries.atom_list import AtomList
from dictionaries.dictionary import ERROR_EDGES, Dictionary, DictionaryError, RelativeError
from dictionaries.estimate import Estimate, estimate
from dictionaries.exchange import export_mat, export_npz, import_dictionary, read_arrays
from dictionaries.file_generation import generate_file
from dictionaries.generation import generate
from dictionaries.grid import Grid, linear_axis, log_axis
from dictionaries.matching import Match, match
from dictionaries.reading import read_dictionary
from dictionaries.refinement import Refined, refine
from dictionaries.store import write_dictionary

__all__ = [
    "ERROR_EDGES",
    "AtomList",
    "Dictionary",
    "DictionaryError",
    "Estimate",
    "Grid",
    "Match",
    "Refined",
    "RelativeError",
    "dictionary_from_arrays",
    "dictionary_from_signals",
    "estimate",
    "export_mat",
    "export_npz",
    "generate",
    "generate_file",
    "import_dictionary",
    "linear_axis",
    "log_axis",
    "match",
    "read_arrays",
    "read_dictionary",
    "refine",
    "write_dictionary",
]
