"""A recurrent network that takes the place of the engine.

The modules `network`, `steps` and `training` need Keras, which takes seconds to import; they are not imported
here.
"""

from surrogate.dataset import Dataset, DatasetError, Recipe, read_dataset
from surrogate.generation import generate_dataset
from surrogate.limits import OutOfRangeError
from surrogate.sampling import FAMILIES, Draw, Ranges, draw, seed_key
from surrogate.size import CELLS, NetworkSize
from surrogate.surrogate import GRUSurrogate, shipped_networks
from surrogate.weights import Weights, WeightsError, read_weights, write_weights

__all__ = [
    "CELLS",
    "FAMILIES",
    "Dataset",
    "DatasetError",
    "Draw",
    "GRUSurrogate",
    "NetworkSize",
    "OutOfRangeError",
    "Ranges",
    "Recipe",
    "Weights",
    "WeightsError",
    "draw",
    "generate_dataset",
    "read_dataset",
    "read_weights",
    "seed_key",
    "shipped_networks",
    "write_weights",
]
