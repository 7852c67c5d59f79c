"""A recurrent network that takes the place of the engine: training data, network, training."""

from surrogate.dataset import Dataset, DatasetError, Recipe, read_dataset
from surrogate.generation import generate_dataset
from surrogate.sampling import FAMILIES, Draw, Ranges, draw, seed_key

__all__ = [
    "FAMILIES",
    "Dataset",
    "DatasetError",
    "Draw",
    "Ranges",
    "Recipe",
    "draw",
    "generate_dataset",
    "read_dataset",
    "seed_key",
]
