from dataclasses import fields

import numpy as np
import pytest

from jobs.slice_result import SliceResult
from reconstruction.inversion import Inversion
from reconstruction.maps import Maps
from reconstruction.pipeline import Reconstruction

SHAPE = (100, 130)


@pytest.fixture
def result():
    rng = np.random.default_rng(0)
    t1, t2, b1, correlation = rng.uniform(0.1, 1, (4, *SHAPE))
    maps = Maps(t1, t2, t1 * np.exp(1j * t2), mask=t1 > 0.5, b1=b1, correlation=correlation)
    coefficients = np.ones((2, *SHAPE), np.complex64)
    inversion = Inversion(coefficients, np.array([1, 0.1]), True, 0.05)
    coils = np.exp(1j * rng.uniform(size=(3, *SHAPE))).astype(np.complex64)
    absent = dict.fromkeys(field.name for field in fields(Reconstruction))
    present = {"maps": maps, "inversion": inversion, "sensitivities": coils}
    reconstruction = Reconstruction(**absent | present | {"n_dead_coils": 1, "receive_field_degree": 2})
    return SliceResult.of(4, np.diag([2.0, 2, 3, 1]), reconstruction, 1.23456), coils


def test_thumbnails_are_every_nth_pixel(result):
    kept, coils = result
    np.testing.assert_array_equal(kept.coils, coils[:, ::3, ::3])  # 130 / 3 pixels are at most 64


def test_provenance(result):
    kept, _ = result
    correlation = kept.maps.correlation[kept.maps.mask]
    provenance = kept.provenance()
    expected = {
        "slice": 4,
        "n_voxels": correlation.size,
        "median_correlation": pytest.approx(np.median(correlation)),
        "seconds": 1.23,
        "n_dead_coils": 1,
        "receive_field_degree": 2,
        "relative_residuals": [1, 0.1],
        "converged": True,
        "misfit": 0.05,
    }
    assert {name: provenance[name] for name in expected} == expected


def test_arrays_make_the_same_result(result):
    kept, _ = result
    again = SliceResult.from_arrays(4, kept.affine, kept.to_arrays())
    assert again.provenance() == kept.provenance()
    np.testing.assert_array_equal(again.coils, kept.coils)
    for name in ("t1", "t2", "pd", "mask", "b1", "correlation"):
        np.testing.assert_array_equal(getattr(again.maps, name), getattr(kept.maps, name))


@pytest.mark.parametrize("missing", ["t1", "record", "coils"])
def test_missing_array(result, missing):
    kept, _ = result
    arrays = kept.to_arrays()
    del arrays[missing]
    assert SliceResult.from_arrays(4, kept.affine, arrays) is None
