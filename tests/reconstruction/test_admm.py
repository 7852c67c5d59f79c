"""LR-ADMM against dense matrices, and what it does for undersampled and noisy data."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from dictionaries import AtomList, Dictionary, Grid, generate, log_axis, match
from epgbloch import EPGBloch, Sequence, Tissue
from reconstruction.admm import AdmmSettings, low_rank_admm
from reconstruction.inversion import low_rank_inversion
from reconstruction.operators import SubspaceEncoding
from reconstruction.phantom_fields import birdcage_sensitivities
from reconstruction.regularisation import JointTotalVariation, LocallyLowRank
from reconstruction.trajectory import golden_angle_radial

N_COILS, N_PULSES, RANK, MATRIX, N_SAMPLES, N_ATOMS = 3, 10, 3, (6, 5), 12, 7
N_READOUTS = 2 * N_PULSES
N_PIXELS = 30
SEQUENCE = Sequence(
    flip_angle=np.deg2rad(10 + 50 * np.sin(np.pi * np.arange(60) / 30) ** 2),
    tr=0.014,
    te=0.004,
    inversion_time=0.02,
)
ROUNDING = 1e-4  # of single precision and the non-uniform FFT (1e-6), times the condition of the problem


PUBLISHED = {"tolerance": 0.0, "dual_bound": np.inf, "regularisation": None}


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal((*shape, 2)) @ [1, 1j]


def of_kind(complex_basis, values):
    return (values if complex_basis else values.real).astype(np.complex64 if complex_basis else np.float32)


class Problem:
    """Noise as the data of a tiny image, so that no image explains them, with E as a matrix."""

    def __init__(self, complex_basis=False):
        trajectory = golden_angle_radial(N_READOUTS, N_SAMPLES)
        y, x = np.mgrid[-3:3, -2:3]
        number = np.arange(N_COILS)[:, None, None]
        coils = (np.exp(0.3j * number * x) * (1 + 0.1 * (number - 1) * y)).astype(np.complex64)
        basis = of_kind(
            complex_basis, np.linalg.qr(of_kind(complex_basis, random(N_PULSES, RANK, seed=1)))[0]
        )
        atoms = of_kind(complex_basis, random(N_ATOMS, RANK, seed=2))
        self.dictionary = Dictionary(
            grid=AtomList(Tissue(np.linspace(1, 2, N_ATOMS), 0.1)),
            sequence=None,
            basis=basis,
            coefficients=atoms / np.linalg.norm(atoms, axis=1, keepdims=True),
            norms=np.linspace(0.5, 2, N_ATOMS, dtype=np.float32),
            model={},
            truncation_error=None,
        )
        self.encoding = SubspaceEncoding(trajectory, MATRIX, coils, basis, tolerance=1e-6, n_threads=1)
        self.kspace = random(N_COILS, N_READOUTS, N_SAMPLES).astype(np.complex64)
        self.start = low_rank_inversion(self.encoding, self.kspace, n_iterations=60, tolerance=1e-6)
        self.mask = np.ones(MATRIX, dtype=bool)
        self.mask[1:3, :2] = False
        waves = np.exp(-2j * np.pi * (trajectory.astype(float) @ np.stack([x.ravel(), y.ravel()])))
        matrix = np.einsum("ij,cr,imr->cimjr", np.tile(basis, (2, 1)), coils.reshape(N_COILS, -1), waves)
        self.matrix = matrix.reshape(-1, RANK * N_PIXELS)

    def run(self, changes=None, **settings):
        """Result with some arguments and settings changed."""
        arguments = {"kspace": self.kspace, "dictionary": self.dictionary, "start": self.start}
        arguments |= {"mask": self.mask, "settings": AdmmSettings(**PUBLISHED | settings)}
        return low_rank_admm(self.encoding, **arguments | (changes or {}))


@pytest.fixture(scope="module")
def problem():
    return Problem()


def differences():
    """Forward differences of all coefficient images as a matrix, axis by axis."""
    number = np.arange(N_PIXELS).reshape(MATRIX)
    along = []
    for first, second in ((number[:-1], number[1:]), (number[:, :-1], number[:, 1:])):
        matrix = np.zeros((N_PIXELS, N_PIXELS))
        matrix[first.ravel(), first.ravel()] = -1
        matrix[first.ravel(), second.ravel()] = 1
        along.append(np.kron(np.eye(RANK), matrix))
    return np.concatenate(along)


def soft(lengths, threshold):
    return np.maximum(1 - threshold / np.maximum(lengths, 1e-300), 0)


def shrink_differences(z, threshold):
    parts = z.reshape(2, RANK, N_PIXELS)
    return (parts * soft(np.linalg.norm(parts, axis=(0, 1)), threshold)).ravel()


def shrink_singular_values(z, threshold):
    left, values, right = np.linalg.svd(z.reshape(RANK, N_PIXELS), full_matrices=False)
    return (left * (values * soft(values, threshold)) @ right).ravel()


SPATIAL = {
    "none": (None, None, None),
    "variation": (JointTotalVariation(0.05), differences(), shrink_differences),
    # One block, larger than the image, whatever its offset.
    "low rank": (LocallyLowRank(0.3), np.eye(RANK * N_PIXELS), shrink_singular_values),
}


def oracle(problem, mu, n_iterations, spatial="none", bound=np.inf):
    """Steps 1 to 3 with dense matrices in double precision, in the units of the data.

    Returns x, numbers of the atoms and residuals (data, primal, dual) of each iteration.
    """
    e = problem.matrix
    s = problem.kspace.ravel().astype(np.complex128)
    seen = problem.mask.ravel()
    normal = e.conj().T @ e
    eigenvalue = np.trace(normal).real / len(normal)
    atoms = problem.dictionary.coefficients.astype(np.complex128)
    x = problem.start.coefficients.reshape(-1).astype(np.complex128)
    magnitude = np.sqrt(np.mean(np.sum(np.abs(x.reshape(RANK, -1)[:, seen]) ** 2, axis=0)))
    regularisation, k, shrink = SPATIAL[spatial]
    y = np.zeros(RANK * N_PIXELS, dtype=complex)
    if k is not None:
        z, v = k @ x, np.zeros(len(k), dtype=complex)

    def best(x, y):
        """Atoms by the distance ||P x + y|| itself."""
        chosen = []
        for voxel, dual in zip(x.reshape(RANK, -1).T[seen], y.reshape(RANK, -1).T[seen], strict=True):
            distances = [np.linalg.norm(voxel - d * np.vdot(d, voxel) + dual) for d in atoms]
            chosen.append(int(np.argmin(distances)))
        return np.array(chosen)

    def projector(chosen):
        result = np.zeros((RANK, N_PIXELS, RANK, N_PIXELS), dtype=complex)
        for pixel, number in zip(np.flatnonzero(seen), chosen, strict=True):
            result[:, pixel, :, pixel] = np.eye(RANK) - np.outer(atoms[number], atoms[number].conj())
        return result.reshape(RANK * N_PIXELS, -1)

    chosen = best(x, y)
    p = projector(chosen)
    inside = np.tile(seen, RANK)
    last = np.where(inside, x - p @ x, 0)
    lengths = np.linalg.norm((p @ x).reshape(RANK, -1)[:, seen], axis=0)
    largest, slack = bound * np.median(lengths), np.zeros_like(y)
    records = []
    for _ in range(n_iterations):
        left, right = normal + mu * eigenvalue * p, e.conj().T @ s + mu * eigenvalue * (p @ (slack - y))
        if k is not None:
            left = left + mu * eigenvalue * k.T @ k
            right = right + mu * eigenvalue * (k.T @ (z - v))
        x = np.linalg.solve(left, right)
        chosen = best(x, y)
        p = projector(chosen)
        grown = y + p @ x
        lengths = np.linalg.norm(grown.reshape(RANK, -1), axis=0)
        y = grown * np.tile(np.minimum(1, largest / np.maximum(lengths, 1e-300)), RANK)
        slack = grown - y
        if k is not None:
            z = shrink(k @ x + v, regularisation.weight * magnitude / mu)
            v = v + k @ x - z
        projected = np.where(inside, x - p @ x, 0)
        length = np.linalg.norm(x[inside])
        primal, dual = (
            np.linalg.norm(np.where(inside, p @ x - slack, 0)) / length,
            np.linalg.norm(projected - last) / length,
        )
        last = projected
        records.append((x, chosen, np.linalg.norm(s - e @ x) / np.linalg.norm(s), primal, dual))
    return records


def assert_same(result, records):
    x, chosen, *_ = records[-1]
    assert result.coefficients.dtype == np.complex64
    np.testing.assert_array_equal(result.match.index, chosen)
    assert np.linalg.norm(result.coefficients.ravel() - x) < ROUNDING * np.linalg.norm(x)
    for name, values in zip(
        ("data_misfit", "primal_residual", "dual_residual"),
        np.array([record[2:] for record in records]).T,
        strict=True,
    ):
        np.testing.assert_allclose(getattr(result, name), values, rtol=0, atol=ROUNDING, err_msg=name)


@pytest.mark.parametrize(("complex_basis", "mu"), [(False, 0.05), (False, 1.0), (True, 0.3)])
def test_iterations_are_those_of_dense_matrices(complex_basis, mu):
    problem = Problem(complex_basis)
    records = oracle(problem, mu, 4)
    result = problem.run(mu=mu, n_iterations=4, n_inner=50)
    assert_same(result, records)
    numbers = np.array([match(problem.dictionary, voxels(problem, problem.start.coefficients)).index])
    numbers = np.concatenate([numbers, [record[1] for record in records]])
    np.testing.assert_allclose(result.changed, [np.mean(a != b) for a, b in pairwise(numbers)])


@pytest.mark.parametrize("bound", [0.1, 1.0])
def test_dual_variables_are_bounded(problem, bound):
    """No atom fits these voxels: the bound is met in the first iterations."""
    records = oracle(problem, 0.3, 4, bound=bound)
    assert_same(problem.run(mu=0.3, n_iterations=4, n_inner=50, dual_bound=bound), records)
    free = oracle(problem, 0.3, 4)
    assert np.linalg.norm(records[-1][0] - free[-1][0]) > 0.01 * np.linalg.norm(free[-1][0])


def voxels(problem, images):
    return images.reshape(RANK, *MATRIX)[:, problem.mask].T


def test_dual_variable_decides_about_atoms(problem):
    """So that the comparison above would tell a match of x alone."""
    x, chosen, *_ = oracle(problem, 0.05, 4)[-1]
    assert np.mean(match(problem.dictionary, voxels(problem, x)).index != chosen) > 0.1


@pytest.mark.parametrize("spatial", ["variation", "low rank"])
def test_regularised_iterations_are_those_of_dense_matrices(problem, spatial):
    x, *_ = oracle(problem, 0.3, 4)[-1]
    records = oracle(problem, 0.3, 4, spatial)
    assert np.linalg.norm(records[-1][0] - x) > 0.1 * np.linalg.norm(x)
    result = problem.run(mu=0.3, n_iterations=4, n_inner=40, regularisation=SPATIAL[spatial][0])
    assert_same(result, records)


def test_proton_density_and_tissue_belong_to_the_images(problem):
    result = problem.run(n_iterations=2)
    x, found = voxels(problem, result.coefficients), result.match
    atoms = problem.dictionary.coefficients[found.index]
    pd = np.sum(atoms * x, axis=1) / problem.dictionary.norms[found.index]
    np.testing.assert_allclose(found.pd, pd, rtol=1e-4)  # single precision
    np.testing.assert_array_equal(found.t1, problem.dictionary.grid.tissue.t1[found.index])
    assert found.index.shape == (problem.mask.sum(),)


def test_stops_where_both_residuals_reach_the_tolerance(problem):
    full = problem.run(mu=10.0, n_iterations=6)
    assert not full.converged
    worse = np.maximum(full.primal_residual, full.dual_residual)
    tolerance = 1.001 * worse[3]
    assert min(full.primal_residual[0], full.dual_residual[0]) < tolerance < worse[2]
    calls = []
    result = problem.run(
        {"progress": lambda *call: calls.append(call)}, mu=10.0, n_iterations=6, tolerance=tolerance
    )
    assert result.converged
    assert calls == [(1, 6), (2, 6), (3, 6), (6, 6)]
    for name in ("data_misfit", "primal_residual", "dual_residual", "changed"):
        np.testing.assert_array_equal(getattr(result, name), getattr(full, name)[:4])


def test_settings_left_out_are_the_defaults(problem):
    calls = []
    result = problem.run({"settings": None, "progress": lambda *call: calls.append(call)})
    assert calls[-1] == (AdmmSettings().n_iterations,) * 2
    fewer = problem.run({"settings": replace(AdmmSettings(), n_inner=1)})
    assert np.abs(fewer.coefficients - result.coefficients).max() > 1e-3


@pytest.mark.parametrize("scale", [1e-25, 1e15])
def test_raw_data_amplitudes_only_scale_the_result(problem, scale):
    """Squares of these leave the range of single precision."""
    kspace = np.complex64(scale) * problem.kspace
    start = replace(problem.start, coefficients=np.complex64(scale) * problem.start.coefficients)
    spatial = SPATIAL["variation"][0]
    reference = problem.run(n_iterations=2, regularisation=spatial)
    result = problem.run({"kspace": kspace, "start": start}, n_iterations=2, regularisation=spatial)
    for name in ("data_misfit", "primal_residual", "dual_residual"):
        np.testing.assert_allclose(getattr(result, name), getattr(reference, name), atol=ROUNDING)
    np.testing.assert_array_equal(result.match.index, reference.match.index)
    for ours, theirs in (
        (result.coefficients, reference.coefficients),
        (result.match.pd, reference.match.pd),
    ):
        difference = np.abs(ours / np.complex64(scale) - theirs)
        assert difference.max() < ROUNDING * np.abs(theirs).max()


def test_matcher_is_asked_with_the_dual_variable(problem):
    """One that knows three of the atoms."""
    asked = []

    def find(x, dual):
        asked.append((x, dual if dual is None else dual.copy()))
        few = replace(
            problem.dictionary,
            grid=AtomList(problem.dictionary.grid[:3]),
            coefficients=problem.dictionary.coefficients[:3],
            norms=problem.dictionary.norms[:3],
        )
        return match(few, x, dual=dual)

    result = problem.run({"find": find}, n_iterations=3)
    assert set(result.match.index) == {0, 1, 2}
    assert asked[0][1] is None
    assert not asked[1][1].any()
    assert asked[2][1].any()
    magnitude = np.linalg.norm(voxels(problem, problem.start.coefficients)) / np.sqrt(problem.mask.sum())
    np.testing.assert_allclose(
        asked[0][0] * magnitude, voxels(problem, problem.start.coefficients), atol=1e-6
    )


WRONG = [
    ("mask", lambda p: p.mask[1:], r"mask is bool of shape \(5, 5\); it must be bool of shape \(6, 5\)"),
    ("mask", lambda p: p.mask.astype(float), "mask is float64"),
    ("mask", lambda p: p.mask & False, "mask is empty"),
    ("kspace", lambda p: p.kspace[:, 1:], "s has shape"),
    ("kspace", lambda p: p.kspace * np.nan, "kspace holds NaN"),
    ("start", lambda p: replace(p.start, coefficients=p.start.coefficients[:2]), "start has images of shape"),
    ("start", lambda p: replace(p.start, coefficients=0 * p.start.coefficients), "start is zero"),
    ("start", lambda p: replace(p.start, coefficients=p.start.coefficients * np.nan), "or not finite"),
]


@pytest.mark.parametrize(("name", "make", "message"), WRONG)
def test_wrong_arguments_are_named(problem, name, make, message):
    with pytest.raises(ValueError, match=message):
        problem.run({name: make(problem)})


def test_dictionary_of_another_rank_is_refused(problem, tissues):
    with pytest.raises(ValueError, match=r"the dictionary asks for \(n_voxels, 4\)"):
        problem.run({"dictionary": tissues})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mu": 0.0}, r"mu=0\.0 must be positive"),
        ({"mu": np.inf}, f"mu=inf .*default: {AdmmSettings().mu:g}"),
        ({"n_iterations": 0}, "n_iterations=0"),
        ({"n_inner": 2.0}, r"n_inner=2\.0"),
        ({"tolerance": 1.0}, r"tolerance=1\.0 must lie in \[0, 1\)"),
        ({"tolerance": -1e-3}, r"tolerance=-0\.001"),
        ({"tolerance": np.nan}, "tolerance=nan"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        AdmmSettings(**settings)


@pytest.fixture(scope="module")
def tissues():
    return generate(EPGBloch(), SEQUENCE, Grid(log_axis(0.3, 2.0, 25), log_axis(0.03, 0.3, 25)), rank=4)


def nearest(dictionary, t1, t2):
    tissue = dictionary.grid.tissue
    return np.argmin(np.log(tissue.t1 / t1) ** 2 + np.log(tissue.t2 / t2) ** 2)


def encoded(dictionary, index, pd, mask, noise=0.0):
    """Coefficient images of atoms, and their encoding by 60 spokes, one of each pulse, with samples."""
    images = np.zeros((dictionary.rank, *mask.shape), np.complex64)
    images[:, mask] = pd * dictionary.norms[index] * dictionary.coefficients[index].T
    n = mask.shape[0]
    encoding = SubspaceEncoding(
        golden_angle_radial(60, 2 * n), mask.shape, birdcage_sensitivities(3, mask.shape), dictionary.basis
    )
    kspace = encoding.forward(images)
    return images, encoding, kspace + noise * np.abs(kspace).mean() * random(*kspace.shape)


def test_atoms_make_up_for_missing_samples(tissues):
    """Four tissues and a proton density that varies; one spoke for each contrast, no noise."""
    y, x = np.mgrid[-16:16, -16:16]
    mask = x**2 + y**2 < 13**2
    tissue = [nearest(tissues, *pair) for pair in ((0.8, 0.06), (1.2, 0.09), (0.5, 0.15), (1.7, 0.25))]
    index = np.array(tissue)[(x >= 0) + 2 * (y >= 0)][mask]
    pd = (0.7 + 0.3 * np.cos(x / 6))[mask] * np.exp(0.5j)
    images, encoding, kspace = encoded(tissues, index, pd, mask)
    start = low_rank_inversion(encoding, kspace)
    result = low_rank_admm(
        encoding, kspace, tissues, start=start, mask=mask, settings=AdmmSettings(mu=0.05, n_iterations=20)
    )

    def errors(coefficients, found):
        """Relative error of the images, mean relative errors of T1 and T2."""
        relative = np.linalg.norm((coefficients - images)[:, mask]) / np.linalg.norm(images[:, mask])
        truth = tissues.grid[index]
        ratios = found.t1 / truth.t1, found.t2 / truth.t2
        return np.array([relative, *(np.mean(np.abs(np.log(ratio))) for ratio in ratios)])

    before = errors(start.coefficients, match(tissues, start.coefficients[:, mask].T))
    # Measured: 6.8 %, 4.1 %, 11.2 % before and 3.5 %, 2.1 %, 6.1 % after; 0.52, 0.52 and 0.55 of them.
    assert (errors(result.coefficients, result.match) < 0.7 * before).all()
    # The misfit comes from the normal equations: its square is known to 2e-6, see `Admm`.
    misfit = np.linalg.norm(kspace - encoding.forward(result.coefficients)) / np.linalg.norm(kspace)
    assert result.data_misfit[-1] ** 2 == pytest.approx(misfit**2, abs=2e-6)


@pytest.mark.parametrize(
    ("regularisation", "expected"),
    # Standard deviation of ln T2, measured: 0.061 and 0.085; 0.26 in the inversion, 0.32 without any.
    [(JointTotalVariation(0.03), 0.1), (LocallyLowRank(0.1, block=4), 0.12)],
)
def test_regularisation_lowers_noise_and_keeps_means(tissues, regularisation, expected):
    """A constant image with noise of a tenth of the mean k-space magnitude."""
    mask = np.ones((20, 20), dtype=bool)
    index = np.full(mask.sum(), nearest(tissues, 0.9, 0.09))
    images, encoding, kspace = encoded(tissues, index, 1.0, mask, noise=0.1)
    start = low_rank_inversion(encoding, kspace)

    def run(regularisation):
        settings = AdmmSettings(mu=0.2, n_iterations=5, regularisation=regularisation)
        result = low_rank_admm(encoding, kspace, tissues, start=start, mask=mask, settings=settings)
        return result.coefficients, np.log(result.match.t2)

    (plain, plain_t2), (smooth, smooth_t2) = run(None), run(regularisation)
    assert smooth_t2.std() < expected < 0.15 < plain_t2.std()
    assert np.linalg.norm(smooth - images) < 0.6 * np.linalg.norm(plain - images)  # measured 0.12 and 0.43
    # A step of the grid is 10 %.
    assert np.median(smooth_t2) == pytest.approx(np.log(tissues.grid[index[:1]].t2[0]), abs=0.05)
