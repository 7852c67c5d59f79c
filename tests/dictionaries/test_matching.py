from dataclasses import replace

import numpy as np
import pytest

from dictionaries import Grid, match
from dictionaries.tiles import TILE

N_VOXELS = 70
FIELDS = ("index", "t1", "t2", "b1", "off_resonance", "pd", "correlation")


def make_voxels(dictionary, noise, seed=1, dtype=np.complex64, n_voxels=N_VOXELS):
    """Atoms with random proton density and complex noise of `noise` times their norm."""
    rng = np.random.default_rng(seed)

    def complex_normal(*shape):
        return rng.standard_normal((*shape, 2)) @ [1, 1j]

    index = rng.integers(dictionary.n_atoms, size=n_voxels)
    pd = complex_normal(n_voxels)
    voxels = pd[:, None] * dictionary.norms[index, None] * dictionary.coefficients[index]
    noise = noise * np.linalg.norm(voxels, axis=1, keepdims=True) / np.sqrt(2 * dictionary.rank)
    return index, pd, (voxels + noise * complex_normal(n_voxels, dictionary.rank)).astype(dtype)


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
    dictionary = random_dictionary(request.getfixturevalue(which), 16 * TILE + 33, 5)
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
@pytest.mark.parametrize("n_threads", [1, 3])
def test_threads_and_neighbours_do_not_matter(which, n_threads, request):
    """600 voxels are three blocks; then the same voxels one at a time, and in another order."""
    dictionary = request.getfixturevalue(which)
    voxels = make_voxels(dictionary, 0.1, n_voxels=600)[2]
    duals = make_voxels(dictionary, 1.0, seed=2, n_voxels=600)[2]
    whole = match(dictionary, voxels, dual=duals)
    turned = match(dictionary, voxels[::-1], dual=duals[::-1], n_threads=n_threads)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(turned, name)[::-1], getattr(whole, name))
    for i_voxel in (0, 300, 599):
        alone = slice(i_voxel, i_voxel + 1)
        single = match(dictionary, voxels[alone], dual=duals[alone], n_threads=n_threads)
        for name in FIELDS:
            np.testing.assert_array_equal(getattr(single, name), getattr(whole, name)[alone])


@pytest.mark.parametrize("which", ["dictionary", "complex_dictionary"])
def test_of_equal_atoms_the_first_wins(which, request):
    """Copies lie in other tiles and at other places in a tile, where vector loops might round differently."""
    n_atoms = 16 * TILE + 33
    dictionary = random_dictionary(request.getfixturevalue(which), n_atoms, 13)
    first = np.array([5, 300, TILE - 1, 8 * TILE + 7])
    atoms = dictionary.coefficients.copy()
    copies = [first + 1, first + 64, [n_atoms - 4, n_atoms - 3, n_atoms - 2, n_atoms - 1]]
    for copy in copies:
        atoms[copy] = atoms[first]
    dictionary = replace(dictionary, coefficients=atoms)
    voxels = make_voxels(dictionary, 0.05)[2]
    voxels[:4] = (2 - 1j) * atoms[first]
    np.testing.assert_array_equal(match(dictionary, voxels).index[:4], first)


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
        (1e300, "voxel 3 are not finite .in single precision.*leave such voxels out with the mask"),
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


def criterion(dictionary, voxels, duals):
    """|<d, x>|^2 + 2 Re(<d, x> conj(<d, y>)) of all atoms in double precision, shape (n_voxels, n_atoms)."""
    atoms = dictionary.coefficients.astype(np.complex128)
    of_voxels = voxels.astype(np.complex128) @ atoms.conj().T
    of_duals = duals.astype(np.complex128) @ atoms.conj().T
    return np.abs(of_voxels) ** 2 + 2 * (of_voxels * of_duals.conj()).real


def ranked(values, n_best):
    """Numbers of the greatest values of each row, the first of equal ones first."""
    return np.argsort(-values, axis=1, kind="stable")[:, :n_best]


@pytest.mark.parametrize("which", ["dictionary", "complex_dictionary"])
@pytest.mark.parametrize("rank", [*range(1, 9), 13, 20])
def test_all_ranks_duals_and_lists_are_the_brute_force_search(which, rank, request):
    dictionary = random_dictionary(request.getfixturevalue(which), 9 * TILE + 5, rank, seed=rank)
    voxels = make_voxels(dictionary, 0.5)[2]
    duals = make_voxels(dictionary, 0.5, seed=2)[2]
    # of rank 1, atoms differ only by the rounding of their norms to single precision
    for dual in (np.zeros_like(voxels), 0.03 * duals, 3 * duals):
        for n_best in (1, 2, 9, TILE + 3):
            found = match(dictionary, voxels, dual=dual, n_best=n_best).index.reshape(N_VOXELS, -1)
            np.testing.assert_array_equal(found, ranked(criterion(dictionary, voxels, dual), n_best))


@pytest.mark.parametrize("which", ["dictionary", "complex_dictionary"])
def test_dual_minimises_the_distance_of_its_problem(which, request):
    dictionary = request.getfixturevalue(which)
    voxels, duals = make_voxels(dictionary, 0.1)[2], 0.3 * make_voxels(dictionary, 1.0, seed=2)[2]
    found = match(dictionary, voxels, dual=duals).index
    for i_voxel, (x, y) in enumerate(zip(voxels, duals, strict=True)):
        atoms = dictionary.coefficients.astype(np.complex128)
        rest = x - (atoms.conj() @ x)[:, None] * atoms + y
        distance = np.linalg.norm(rest, axis=1)
        # 1e-6: the norms of the atoms are rounded to single precision
        assert distance[found[i_voxel]] <= distance.min() * (1 + 1e-6)
    assert (found != match(dictionary, voxels + duals).index).any()
    assert (found != match(dictionary, voxels).index).any()


def test_dual_that_cancels_the_voxel_leaves_all_atoms_equal(dictionary):
    voxels = make_voxels(dictionary, 0.1)[2]
    found = match(dictionary, voxels, dual=-voxels / 2, n_best=3)
    np.testing.assert_array_equal(found.index, np.tile([0, 1, 2], (N_VOXELS, 1)))


@pytest.mark.parametrize("which", ["dictionary", "complex_dictionary"])
def test_lists_have_the_values_of_their_atoms(which, request):
    dictionary = request.getfixturevalue(which)
    voxels = make_voxels(dictionary, 0.1)[2]
    found, best = match(dictionary, voxels, n_best=4), match(dictionary, voxels)
    assert found.index.shape == (N_VOXELS, 4)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(found, name)[:, 0], getattr(best, name))
    products = np.einsum("vbr,vr->vb", dictionary.coefficients[found.index].conj(), voxels.astype(complex))
    # 1e-6: single precision of the results
    np.testing.assert_allclose(found.pd, products / dictionary.norms[found.index], rtol=1e-6)
    lengths = np.linalg.norm(voxels.astype(complex), axis=1)
    np.testing.assert_allclose(found.correlation, np.abs(products) / lengths[:, None], rtol=1e-6)
    assert (np.diff(found.correlation, axis=1) <= 0).all()
    np.testing.assert_array_equal(found.t2, dictionary.tissue.t2[found.index])


def test_lists_hold_equal_atoms_in_their_order(dictionary):
    dictionary = random_dictionary(dictionary, 5 * TILE, 4)
    dictionary = replace(dictionary, coefficients=np.tile(dictionary.coefficients[:1], (5 * TILE, 1)))
    found = match(dictionary, make_voxels(dictionary, 1.0)[2], n_best=2 * TILE).index
    np.testing.assert_array_equal(found, np.tile(np.arange(2 * TILE), (N_VOXELS, 1)))


def test_lists_may_hold_the_whole_dictionary(dictionary):
    voxels = make_voxels(dictionary, 0.1)[2][:5]
    found = match(dictionary, voxels, n_best=dictionary.n_atoms).index
    np.testing.assert_array_equal(
        found, ranked(criterion(dictionary, voxels, 0 * voxels), dictionary.n_atoms)
    )


@pytest.mark.parametrize("n_best", [1, 2])
def test_voxels_outside_the_mask_are_left_out(dictionary, n_best):
    voxels = make_voxels(dictionary, 0.1)[2]
    duals = make_voxels(dictionary, 0.1, seed=2)[2]
    mask = np.arange(N_VOXELS) % 3 > 0
    inside = match(dictionary, voxels[mask], dual=duals[mask], n_best=n_best)
    voxels[[0, 3, 6]] = [[0], [np.nan], [np.inf]]
    duals[9] = np.nan
    found = match(dictionary, voxels, dual=duals, mask=mask, n_best=n_best)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(found, name)[mask], getattr(inside, name))
        outside = {"index": -1, "pd": 0, "correlation": 0}.get(name, np.nan)
        np.testing.assert_array_equal(getattr(found, name)[~mask], outside)
    nothing = match(dictionary, voxels, mask=np.zeros(N_VOXELS, dtype=bool), n_best=n_best)
    assert (nothing.index == -1).all()


def test_layout_of_the_voxels_does_not_matter(dictionary):
    voxels = make_voxels(dictionary, 0.1)[2]
    turned = match(dictionary, np.asfortranarray(voxels), dual=np.asfortranarray(voxels[::-1]))
    np.testing.assert_array_equal(turned.index, match(dictionary, voxels, dual=voxels[::-1]).index)


def test_fewer_atoms_than_a_tile(dictionary):
    dictionary = random_dictionary(dictionary, 3, 5)
    voxels = make_voxels(dictionary, 0.5)[2]
    np.testing.assert_array_equal(match(dictionary, voxels).index, brute_force(dictionary, voxels)[0])


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"n_best": 0}, "n_best=0 must be an integer of at least 1"),
        ({"n_best": 343}, "n_best=343 exceeds the 342 atoms"),
        ({"n_threads": 0}, "n_threads=0 must be an integer of at least 1"),
        ({"dual": np.ones((3, 5))}, r"dual has shape \(3, 5\); it must be .* \(3, 6\)"),
        ({"dual": np.full((3, 6), np.nan)}, "duals of voxel 0 are not finite"),
        ({"mask": np.ones(4, dtype=bool)}, r"mask is bool of shape \(4,\); it must be bool of shape \(3,\)"),
        ({"mask": np.ones(3)}, "mask is float64"),
    ],
)
def test_arguments_are_checked(dictionary, argument, message):
    with pytest.raises(ValueError, match=message):
        match(dictionary, np.ones((3, 6)), **argument)
