from dataclasses import replace

import numpy as np
import pytest

from dictionaries import Grid, match
from dictionaries.search import TILE

N_VOXELS = 70


def make_voxels(dictionary, noise, seed=1, dtype=np.complex64):
    """Atoms with random proton density and complex noise of `noise` times their norm."""
    rng = np.random.default_rng(seed)

    def complex_normal(*shape):
        return rng.standard_normal((*shape, 2)) @ [1, 1j]

    index = rng.integers(dictionary.n_atoms, size=N_VOXELS)
    pd = complex_normal(N_VOXELS)
    voxels = pd[:, None] * dictionary.norms[index, None] * dictionary.coefficients[index]
    noise = noise * np.linalg.norm(voxels, axis=1, keepdims=True) / np.sqrt(2 * dictionary.rank)
    return index, pd, (voxels + noise * complex_normal(N_VOXELS, dictionary.rank)).astype(dtype)


def brute_force(dictionary, voxels):
    """Index, <d, x> and ||x|| of all products in double precision, voxel by voxel."""
    index, product, length = [], [], []
    atoms = dictionary.coefficients.astype(np.complex128)
    for voxel in voxels.astype(np.complex128):
        values = atoms.conj() @ voxel
        index.append(int(np.argmax(np.abs(values))))
        product.append(values[index[-1]])
        length.append(np.sqrt(np.sum(np.abs(voxel) ** 2)))
    return np.array(index), np.array(product), np.array(length)


def random_dictionary(dictionary, n_atoms, rank, seed=0):
    """Random atoms with the dtype of `dictionary`."""
    rng = np.random.default_rng(seed)
    atoms = rng.standard_normal((n_atoms, rank)).astype(dictionary.basis.dtype)
    if np.iscomplexobj(atoms):
        atoms += 1j * rng.standard_normal((n_atoms, rank))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    return replace(
        dictionary,
        grid=Grid(np.linspace(1, 2, n_atoms), 0.1),
        basis=np.linalg.qr(dictionary.basis[:, :1] ** np.arange(rank))[0].astype(atoms.dtype),
        coefficients=atoms,
        norms=rng.uniform(0.5, 2, n_atoms).astype(np.float32),
    )


@pytest.mark.parametrize("which", ["dictionary", "complex_dictionary"])
@pytest.mark.parametrize("noise", [0.0, 0.01, 0.3, 30.0])
def test_match_is_the_brute_force_search(which, noise, request):
    dictionary = request.getfixturevalue(which)
    voxels = make_voxels(dictionary, noise)[2]
    index, product, length = brute_force(dictionary, voxels)
    result = match(dictionary, voxels)
    np.testing.assert_array_equal(result.index, index)
    # 1e-6: results are rounded to single precision, computed in double precision.
    np.testing.assert_allclose(result.pd, product / dictionary.norms[index], rtol=1e-6)
    np.testing.assert_allclose(result.correlation, np.abs(product) / length, rtol=1e-6)
    for name in ("t1", "t2", "b1", "off_resonance"):
        np.testing.assert_array_equal(getattr(result, name), getattr(dictionary.tissue, name)[index])


@pytest.mark.parametrize("which", ["dictionary", "complex_dictionary"])
def test_match_of_many_tiles_is_the_brute_force_search(which, request):
    """More atoms than a tile, and not a multiple of it; random atoms have the best anywhere."""
    dictionary = random_dictionary(request.getfixturevalue(which), 2 * TILE + 33, 5)
    voxels = make_voxels(dictionary, 0.5)[2][:20]
    index = brute_force(dictionary, voxels)[0]
    assert len(np.unique(index // TILE)) > 1
    np.testing.assert_array_equal(match(dictionary, voxels).index, index)


def test_noiseless_voxels_return_their_atoms(dictionary):
    index, pd, voxels = make_voxels(dictionary, 0.0)
    result = match(dictionary, voxels)
    np.testing.assert_array_equal(result.index, index)
    np.testing.assert_allclose(result.pd, pd, rtol=1e-6)  # single precision
    np.testing.assert_allclose(result.correlation, 1, atol=1e-6)  # single precision


def test_dtypes_and_shapes(dictionary):
    result = match(dictionary, make_voxels(dictionary, 0.1)[2])
    expected = {"index": np.int64, "pd": np.complex64, "correlation": np.float32}
    expected |= dict.fromkeys(("t1", "t2", "b1", "off_resonance"), np.float64)
    for name, dtype in expected.items():
        assert getattr(result, name).dtype == dtype
        assert getattr(result, name).shape == (N_VOXELS,)


@pytest.mark.parametrize("which", ["dictionary", "complex_dictionary"])
def test_real_voxels_are_complex_voxels_without_imaginary_part(which, request):
    dictionary = request.getfixturevalue(which)
    voxels = make_voxels(dictionary, 0.1)[2].real
    real, as_complex = match(dictionary, voxels), match(dictionary, voxels.astype(np.complex64))
    for name in ("index", "pd", "correlation"):
        np.testing.assert_array_equal(getattr(real, name), getattr(as_complex, name))


@pytest.mark.parametrize("which", ["dictionary", "complex_dictionary"])
@pytest.mark.parametrize("block", [1, 13, N_VOXELS])
def test_block_does_not_matter(which, block, request):
    dictionary = request.getfixturevalue(which)
    voxels = make_voxels(dictionary, 0.1)[2]
    whole, blocks = match(dictionary, voxels), match(dictionary, voxels, block=block)
    for name in ("index", "t1", "t2", "b1", "off_resonance", "pd", "correlation"):
        np.testing.assert_array_equal(getattr(blocks, name), getattr(whole, name))


@pytest.mark.parametrize("which", ["dictionary", "complex_dictionary"])
@pytest.mark.parametrize("block", [1, 8, 512])
def test_of_equal_atoms_the_first_wins(which, block, request):
    """Copies lie in other tiles and at other places in a tile, where vector loops might round differently."""
    n_atoms = 2 * TILE + 33
    dictionary = random_dictionary(request.getfixturevalue(which), n_atoms, 13)
    first = np.array([5, 300, TILE - 1, TILE + 7])
    atoms = dictionary.coefficients.copy()
    copies = [first + 1, first + 64, [n_atoms - 4, n_atoms - 3, n_atoms - 2, n_atoms - 1]]
    for copy in copies:
        atoms[copy] = atoms[first]
    dictionary = replace(dictionary, coefficients=atoms)
    voxels = make_voxels(dictionary, 0.05)[2]
    voxels[:4] = (2 - 1j) * atoms[first]
    np.testing.assert_array_equal(match(dictionary, voxels, block=block).index[:4], first)


def test_equal_atoms_throughout(dictionary):
    """Every pair of atom and voxel is a candidate for the best."""
    dictionary = random_dictionary(dictionary, 3000, 4)
    dictionary = replace(dictionary, coefficients=np.tile(dictionary.coefficients[:1], (3000, 1)))
    assert not match(dictionary, make_voxels(dictionary, 1.0)[2]).index.any()


@pytest.mark.parametrize("which", ["dictionary", "complex_dictionary"])
def test_atoms_closer_than_single_precision_are_told_apart(which, request):
    """Components differ by a few bits: products in single precision put most of these atoms out of order."""
    dictionary = random_dictionary(request.getfixturevalue(which), 600, 12)
    factors = 1 + 3e-7 * np.random.default_rng(5).standard_normal((600, 12))
    atoms = (dictionary.coefficients[:1] * factors).astype(dictionary.basis.dtype)
    assert len(np.unique(atoms, axis=0)) == 600
    dictionary = replace(dictionary, coefficients=atoms)
    voxels = make_voxels(dictionary, 1.0)[2]
    np.testing.assert_array_equal(match(dictionary, voxels).index, brute_force(dictionary, voxels)[0])


@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_scale_of_the_voxels_only_scales_pd(dictionary, factor):
    voxels = make_voxels(dictionary, 0.1)[2]
    reference, scaled = match(dictionary, voxels), match(dictionary, factor * voxels)
    np.testing.assert_array_equal(scaled.index, reference.index)
    np.testing.assert_allclose(scaled.pd, factor * reference.pd, rtol=1e-6)  # single precision
    np.testing.assert_allclose(scaled.correlation, reference.correlation, rtol=1e-6)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0.0, "voxel 3 are zero"),
        (np.nan, "voxel 3 are not finite"),
        (1j * np.inf, "voxel 3 are not finite"),
        (1e300, "voxel 3 are not finite .in single precision.*mask such voxels"),
    ],
)
def test_voxels_without_meaning_are_refused(dictionary, value, message):
    voxels = make_voxels(dictionary, 0.1, dtype=np.complex128)[2]
    voxels[3] = value
    with pytest.raises(ValueError, match=message):
        match(dictionary, voxels)


@pytest.mark.parametrize("shape", [(6,), (4, 5), (0, 6), (2, 3, 6)])
def test_shapes_that_do_not_fit_are_refused(dictionary, shape):
    with pytest.raises(ValueError, match=r"the dictionary asks for \(n_voxels, 6\)"):
        match(dictionary, np.ones(shape))


@pytest.mark.parametrize("block", [0, -1, 2.5])
def test_block_is_checked(dictionary, block):
    with pytest.raises(ValueError, match=f"block={block} must be a positive integer"):
        match(dictionary, np.ones((1, 6)), block=block)
