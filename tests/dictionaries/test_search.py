"""The bound on a tile, and the search as plain Python."""

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from dictionaries.matching import _best
from dictionaries.search import search
from dictionaries.tiles import TILE, arrange

RANKS = {"real": 7, "complex": 5}


def atoms_of(kind, n_atoms=3 * TILE + 5, spread=0.3, seed=0):
    """Unit atoms around a few directions, in a random order."""
    rng = np.random.default_rng(seed)
    shape = (n_atoms, RANKS[kind])
    directions = rng.standard_normal((4, shape[1]))[rng.integers(4, size=n_atoms)]
    atoms = directions + spread * rng.standard_normal(shape)
    if kind == "complex":
        atoms = atoms + 1j * spread * rng.standard_normal(shape)
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    return atoms.astype(np.complex64 if kind == "complex" else np.float32)


def voxels_of(kind, n_voxels=40):
    rng = np.random.default_rng(1)
    atoms = atoms_of(kind)
    voxels = atoms[rng.integers(len(atoms), size=n_voxels)].astype(np.complex128)
    noise = rng.standard_normal((2, 2, *voxels.shape))
    return voxels + 0.1 * (noise[0, 0] + 1j * noise[0, 1]), 0.1 * (noise[1, 0] + 1j * noise[1, 1])


def found(kind):
    """Best atoms of voxels without and with duals."""
    atoms, (x, y) = atoms_of(kind), voxels_of(kind)
    dictionary = SimpleNamespace(coefficients=atoms, tiles=arrange(atoms))
    return {"best": _best(dictionary, x, None, 1), "best three with duals": _best(dictionary, x, y, 3)}


def components(tiles, kind):
    """Atoms of tiles as vectors, shape (n_tiles, TILE, rank), in double precision."""
    values = tiles.transpose(0, 2, 1).astype(np.float64)
    if kind == "complex":
        values = values[..., ::2] + 1j * values[..., 1::2]
    return values[..., : RANKS[kind]]


@pytest.mark.parametrize("kind", RANKS)
@pytest.mark.parametrize("spread", [0.01, 1.0])
def test_tiles_hold_every_atom_once_within_their_bounds(kind, spread):
    atoms = atoms_of(kind, spread=spread)
    tiles = arrange(atoms)
    numbers = tiles.numbers.ravel()
    np.testing.assert_array_equal(np.sort(numbers[numbers >= 0]), np.arange(len(atoms)))
    held = components(tiles.atoms, kind)
    np.testing.assert_array_equal(held.reshape(len(numbers), -1)[numbers >= 0], atoms[numbers[numbers >= 0]])
    n_tiles = len(held)
    centres = components(tiles.centres, kind).reshape(-1, RANKS[kind])[:n_tiles]
    smallest, largest, radius = tiles.spread.transpose(1, 0, 2).reshape(3, -1)[:, :n_tiles, None]
    x = voxels_of(kind)[0]
    along = np.abs(centres.conj() @ x.T)
    beside = np.sqrt(np.maximum(np.linalg.norm(x, axis=1) ** 2 - along**2, 0))
    products = np.abs(np.einsum("tir,vr->tiv", held.conj(), x))
    # 1e-6: centre and bounds are rounded to single precision; vectors are not longer than 2
    assert (products.max(axis=1) <= largest * along + radius * beside + 1e-6).all()
    assert (products.min(axis=1) >= smallest * along - radius * beside - 1e-6).all()


def test_opposite_atoms_have_a_centre():
    atoms = atoms_of("real", n_atoms=1)
    tiles = arrange(np.repeat([atoms[0], -atoms[0]], TILE // 2, axis=0))
    np.testing.assert_allclose(tiles.spread[0, :, 0], [1, 1, 0], atol=1e-3)  # square root of rounding


def test_similar_atoms_share_a_tile():
    """A shuffled smooth family: tiles reach about as far as their share of it."""
    angle = np.random.default_rng(0).permutation(np.linspace(0, 1, 16 * TILE))
    tiles = arrange(np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32))
    # a tile of 1/16 rad lies within 1/32 of its centre
    np.testing.assert_allclose(tiles.spread[0, 2, :16], 1 / 32, rtol=0.05)  # halves are not exact


def test_rounding_beside_a_centre_hides_no_atom():
    """Voxels x so near the centre u of a tile that single precision sees nothing of them beside it.

    Its atoms are turned from u by 0.1 to and away from x; a tile of equal atoms comes between in likeness.
    """
    n, wrong = 8, 0
    for seed in range(200):
        directions = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, 3)))[0]
        u, v, z = directions.T
        x = np.cos(3e-4) * u + np.sin(3e-4) * v
        near, far = (np.cos(0.1) * u + sign * np.sin(0.1) * v for sign in (1, -1))
        cosine = 0.75 * near @ x + 0.25 * far @ x
        other = cosine * x + np.sqrt(1 - cosine**2) * z
        wide, narrow = (
            arrange(np.repeat(rows, TILE // len(rows), axis=0).astype(np.float32))
            for rows in ([near, far], [other])
        )
        centres, spread = wide.centres.copy(), wide.spread.copy()
        centres[0, :, 1], spread[0, :, 1] = narrow.centres[0, :, 0], narrow.spread[0, :, 0]
        index = search(
            np.concatenate([wide.atoms, narrow.atoms]),
            np.concatenate([wide.numbers, TILE + narrow.numbers]),
            centres,
            spread,
            np.stack([x, np.zeros(n)])[np.newaxis, np.newaxis],
            np.ones((1, 1), np.float32),
            1,
        )
        wrong += index[0, 0] >= TILE // 2
    assert wrong == 0


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    """Results from an interpreter without compilation."""
    path = tmp_path_factory.mktemp("interpreted") / "found.npz"
    run_this = f"import runpy; runpy.run_path({__file__!r}, run_name='__main__')"
    subprocess.run(
        [sys.executable, "-W", "error", "-c", run_this, str(path)],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        check=True,
        timeout=300,
    )
    with np.load(path) as file:
        return dict(file)


@pytest.mark.parametrize("kind", RANKS)
def test_interpreted_search_finds_the_same_atoms(interpreted, kind):
    for name, index in found(kind).items():
        np.testing.assert_array_equal(interpreted[f"{kind}: {name}"], index)


if __name__ == "__main__":
    from numba import config

    assert config.DISABLE_JIT
    np.savez(
        sys.argv[1], **{f"{kind}: {name}": index for kind in RANKS for name, index in found(kind).items()}
    )
