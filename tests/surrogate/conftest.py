import pytest

from epgbloch import EPGBloch
from surrogate import Recipe, generate_dataset, read_dataset


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
