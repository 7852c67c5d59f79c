"""The receive field from maps of one scan: known fields over known tissues."""

import numpy as np
import pytest

from reconstruction.maps import Maps
from reconstruction.phantom_templates import analytic_head
from reconstruction.receive_field import estimate_receive_field

MATRIX = (96, 96)


def shading(matrix=MATRIX):
    """Not a polynomial, and strong: factor 3 over the head."""
    y, x = (np.linspace(-1, 1, n) for n in matrix)
    return np.exp(0.4 * np.sin(1.5 * x) + 0.3 * y[:, np.newaxis] * x + 0.3 * np.cos(2 * y)[:, np.newaxis])


def head(noise=0.0, field=1.0, seed=0):
    """True maps of the phantom with relative noise, PD times a field."""
    truth = analytic_head(MATRIX).truth()
    rng = np.random.default_rng(seed)
    t1, t2, density = (
        np.abs(values) * np.exp(noise * rng.standard_normal(MATRIX))
        for values in (truth.t1, truth.t2, truth.pd)
    )
    phase = np.exp(1j * rng.uniform(0, 6, MATRIX))
    return Maps(t1=t1, t2=t2, pd=density * field * phase, mask=truth.mask)


@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_field_over_the_head_is_recovered(noise):
    maps = head(noise, shading())
    field, degree = estimate_receive_field(maps)
    ratio = (field / shading())[maps.mask]
    # Neighbouring grey matters differ by 4 % in PD and 10 % in T1 and pass for one tissue: 1.6 % remain, of a
    # field with a standard deviation of 18 %; noise adds 1 %.
    assert degree == 5
    assert np.std(shading()[maps.mask]) / np.mean(shading()[maps.mask]) > 0.15
    assert np.std(ratio) / np.mean(ratio) < 0.025
    assert np.median(field[maps.mask]) == pytest.approx(1)
    assert np.all(field[~maps.mask] == 1)


def test_uniform_field_stays_uniform_although_tissues_differ_in_proton_density():
    maps = head(0.03)
    field, _ = estimate_receive_field(maps)
    # as above; steps of 10 to 30 % between other tissues leave no trace
    assert np.std(field[maps.mask]) < 0.025


def test_lower_degree_fits_a_tilted_field_only():
    maps = head(0.0, shading())
    tilted, degree = estimate_receive_field(maps, max_degree=1)
    assert degree == 1
    error = (tilted / shading())[maps.mask]
    assert np.std(error) / np.mean(error) > 0.03


def test_islands_without_a_pair_take_the_nearest_field():
    maps = head(0.0, shading())
    mask = maps.mask.copy()
    mask[0, 0] = True
    t1 = np.where(mask, np.maximum(maps.t1, 0.1), 0)
    t2 = np.where(mask, np.maximum(maps.t2, 0.05), 0)
    pd = np.where(maps.mask, maps.pd, 1)
    field, _ = estimate_receive_field(Maps(t1=t1, t2=t2, pd=pd, mask=mask))
    assert field[maps.mask].min() <= field[0, 0] <= field[maps.mask].max()


def test_small_objects_are_left_alone():
    mask = np.zeros(MATRIX, dtype=bool)
    mask[40:44, 40:44] = True
    maps = Maps(t1=1.0 * mask, t2=0.1 * mask, pd=shading() * mask, mask=mask)
    field, degree = estimate_receive_field(maps)
    assert degree == 0
    assert np.all(field == 1)


def test_negative_degree_raises():
    with pytest.raises(ValueError, match="max_degree=-1 must be at least 0"):
        estimate_receive_field(head(), max_degree=-1)
