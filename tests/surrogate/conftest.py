import numpy as np
import pytest

from epgbloch import EPGBloch
from surrogate import NetworkSize, Recipe, Weights, generate_dataset, read_dataset
from surrogate.weights import weight_shapes


@pytest.fixture(scope="session")
def recipe():
    """Recipe of a tiny data set: few sub-slices and states, so that it takes no time."""
    return Recipe(n_signals=24, n_pulses=101, seed=5, model=EPGBloch(n_states=8, n_subslices=8))


@pytest.fixture(scope="session")
def dataset_path(tmp_path_factory, recipe):
    return generate_dataset(tmp_path_factory.mktemp("dataset") / "data.h5", recipe)


@pytest.fixture(scope="session")
def dataset(dataset_path):
    return read_dataset(dataset_path)


@pytest.fixture(scope="session")
def random_weights(recipe):
    """Function that gives a network of random weights, with the card of one that was trained on `recipe`."""

    def make(size=None, seed=0):
        size = size or NetworkSize(2, 12)
        rng = np.random.default_rng(seed)
        arrays = [rng.standard_normal(shape) / size.units**0.5 for shape in weight_shapes(size)]
        card = {"data": {"recipe": recipe.to_dict()}}
        return Weights(size, recipe.ranges, tuple(a.astype(np.float32) for a in arrays), card)

    return make
