"""Data sets hold what the engine gives, and only intact files are read."""

import h5py
import numpy as np
import pytest

from epgbloch import EPGBloch, RFPulse, Sequence, Tissue
from surrogate import DatasetError, Ranges, Recipe, draw, read_dataset, seed_key


def test_rows_are_engine_signals_of_the_draws(dataset, recipe):
    assert dataset.targets.shape == (24, 3, 101)
    assert dataset.targets.dtype == np.float32
    for i in (0, 7, 23):
        drawn = draw(recipe.seed, i, 101, recipe.pulse, recipe.ranges)
        signal, derivatives = recipe.model.jacobian(drawn.sequence, drawn.tissue, ("ln_t1", "ln_t2"))
        np.testing.assert_array_equal(dataset.targets[i, 0], signal[0].real)
        np.testing.assert_array_equal(dataset.targets[i, 1:], derivatives[:, 0].real)
        np.testing.assert_array_equal(dataset.seed_key[i], seed_key(recipe.seed, i))
        assert dataset.family[i] == i % 5


def test_rows_describe_their_signals(dataset, recipe):
    """What is stored suffices to simulate again."""
    assert np.isnan(dataset.inversion_time).any()
    assert not np.isnan(dataset.inversion_time).all()
    for i in range(6):
        inversion = dataset.inversion_time[i]
        sequence = Sequence(
            dataset.flip_angle[i],
            dataset.tr[i],
            dataset.te[i],
            # up again to half of the pulse, below which float32 may round
            inversion_time=None if np.isnan(inversion) else max(float(inversion), 0.5e-3),
            inversion_efficiency=float(dataset.inversion_efficiency[i]),
            pulse=recipe.pulse,
        )
        signal = recipe.model.signal(sequence, Tissue(dataset.t1[i], dataset.t2[i]))
        # inputs rounded to float32: 1e-7 of 1000 rad in all
        np.testing.assert_allclose(signal[0].real, dataset.targets[i, 0], atol=1e-5)


def test_slices_of_a_data_set(dataset):
    part = dataset[3:7]
    assert (part.n_signals, part.n_pulses) == (4, 101)
    np.testing.assert_array_equal(part.targets, dataset.targets[3:7])
    np.testing.assert_array_equal(part.seed_key, dataset.seed_key[3:7])
    assert part.sha256 == dataset.sha256


def test_file_describes_itself(dataset_path, recipe):
    with h5py.File(dataset_path) as file:
        assert file.attrs["format"] == b"epgbloch surrogate data"
        for name in ("epgbloch", "numpy", "scipy", "numba"):
            assert file.attrs[f"{name}_version"]
        assert file["tr"].attrs["units"] == b"s"
    dataset = read_dataset(dataset_path, recipe)
    assert dataset.recipe["ranges"] == recipe.ranges.to_dict()
    assert dataset.recipe["model"] == recipe.model.settings()
    assert dataset.recipe["pulse"]["fingerprint"] == recipe.pulse.fingerprint()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 6}, "seed=5, not 6"),
        ({"n_signals": 25}, "n_signals=24, not 25"),
        ({"n_pulses": 102}, "n_pulses=101, not 102"),
        ({"ranges": Ranges(t1=(0.2, 5.0))}, "ranges="),
        ({"pulse": RFPulse.gaussian(0.9e-3, 3e-3)}, "pulse="),
        ({"model": EPGBloch(n_states=9, n_subslices=8)}, "model="),
    ],
)
def test_another_recipe_is_refused(dataset_path, recipe, change, message):
    values = {name: getattr(recipe, name) for name in recipe.__dataclass_fields__} | change
    with pytest.raises(DatasetError, match=message):
        read_dataset(dataset_path, Recipe(**values))


def test_damage_is_found(tmp_path, dataset_path):
    image = bytearray(dataset_path.read_bytes())
    path = tmp_path / "damaged.h5"
    path.write_bytes(image[: len(image) // 2])
    with pytest.raises(DatasetError, match=r"damaged\.h5 is not an HDF5 file, or a truncated or damaged one"):
        read_dataset(path)
    path.write_bytes(image)
    with h5py.File(path, "r+") as file:
        file["targets"][3, 0, 5] += 1e-3
    with pytest.raises(DatasetError, match="do not match their checksum"):
        read_dataset(path)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "other.h5"
    with h5py.File(path, "w") as file:
        file["x"] = 1
    with pytest.raises(DatasetError, match="not a data set of the surrogate"):
        read_dataset(path)
    with h5py.File(path, "r+") as file:
        file.attrs["format"] = np.bytes_("epgbloch surrogate data")
        file.attrs["format_version"] = 99
    with pytest.raises(DatasetError, match="format version 99"):
        read_dataset(path)
    with pytest.raises(FileNotFoundError):
        read_dataset(tmp_path / "none.h5")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n_signals": 0}, "n_signals=0"),
        ({"n_pulses": 100}, "n_pulses=100 must be at least 101"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": 1.0}, r"seed=1\.0"),
        ({"ranges": Ranges(inversion_time=(0.4e-3, 1.0))}, "inversion_time=0.0004 s lies within the first"),
        ({"ranges": Ranges(te_over_tr=(0.05, 0.5))}, "te=0.00025 s ends within the RF pulse"),
        ({"ranges": Ranges(te_over_tr=(0.5, 0.95))}, "leaves no room for the next RF pulse"),
        ({"pulse": RFPulse.from_samples([1.0, 1j, 1.0], 1e-3, 3e3, 3e-3)}, "waveform of pulse is complex"),
    ],
)
def test_impossible_recipes_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**values)
