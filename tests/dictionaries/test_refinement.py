from dataclasses import fields, replace

import numpy as np
import pytest

from dictionaries import AtomList, Grid, generate, linear_axis, log_axis, match, refine
from dictionaries.variable_projection import State
from epgbloch import EPGBloch, RFPulse, Sequence, Tissue
from epgbloch.trains import sin_squared

MODEL = EPGBloch(n_threads=1)
ANGLES = sin_squared(300, np.deg2rad([15, 60, 30, 70, 45]))
TIMING = {"tr": 10e-3, "te": 4.5e-3, "inversion_time": 20e-3}
SEQUENCE = Sequence(ANGLES, **TIMING)


def grid(n, *others):
    return Grid(log_axis(0.2, 4, n), log_axis(0.02, 0.5, n), *others)


@pytest.fixture(scope="module")
def coarse():
    """Real basis, steps of 17 % in T1 and 18 % in T2."""
    return generate(MODEL, SEQUENCE, grid(20), rank=8)


@pytest.fixture(scope="module")
def spoiled():
    """Complex basis: RF spoiling."""
    return generate(MODEL, Sequence(ANGLES, **TIMING, spoiling="rf"), grid(20), rank=8)


@pytest.fixture(scope="module")
def with_b1():
    return generate(MODEL, SEQUENCE, grid(14, linear_axis(0.6, 1.4, 9)), rank=8)


def tissues(n, seed=1, b1=(1, 1)):
    """Log-uniform T1 0.25-3 s and T2 25-400 ms, at most 0.9 T1."""
    rng = np.random.default_rng(seed)
    t1 = np.exp(rng.uniform(np.log(0.25), np.log(3), n))
    t2 = np.exp(rng.uniform(np.log(0.025), np.log(np.minimum(0.4, 0.9 * t1))))
    return Tissue(t1, t2, rng.uniform(*b1, n))


def voxels_of(dictionary, tissue, snr=np.inf, seed=2, model=MODEL):
    """Voxels, their proton density and noise; SNR is the RMS of the signal over the std of Re noise."""
    rng = np.random.default_rng(seed)
    pd = rng.uniform(0.5, 2, tissue.n_atoms) * np.exp(2j * np.pi * rng.random(tissue.n_atoms))
    signal = pd[:, None] * model.signal(dictionary.sequence, tissue)
    noise = np.sqrt((np.abs(signal) ** 2).mean(axis=1)) / snr
    x = signal @ dictionary.basis.conj()
    return x + noise[:, None] * (rng.standard_normal((*x.shape, 2)) @ [1, 1j]), pd, noise


def refined(dictionary, x, model=MODEL, **settings):
    return refine(model, dictionary, x, match(dictionary, x), **settings)


def relative_error(result, tissue, name):
    return getattr(result, name) / getattr(tissue, name) - 1


@pytest.mark.parametrize("which", ["coarse", "spoiled"])
def test_noise_free_voxels_give_their_tissue(which, request):
    dictionary, tissue = request.getfixturevalue(which), tissues(200)
    assert np.iscomplexobj(dictionary.basis) == (which == "spoiled")
    x, pd, _ = voxels_of(dictionary, tissue)
    result = refined(dictionary, x)
    assert result.converged.all()
    assert not result.at_bound.any()
    for name in ("t1", "t2"):
        assert np.abs(relative_error(match(dictionary, x), tissue, name)).max() > 0.05
        # single precision of signals, divided by their sensitivity; the aim is 1e-3
        assert np.abs(relative_error(result, tissue, name)).max() < 3e-4
    np.testing.assert_allclose(result.pd, pd, rtol=3e-4)  # as T1 and T2
    np.testing.assert_allclose(result.correlation, 1, atol=1e-6)  # single precision


@pytest.mark.parametrize("which", ["coarse", "spoiled"])
@pytest.mark.parametrize(("t1", "t2"), [(0.9, 0.085), (0.5, 0.065), (2.5, 0.3)])
def test_standard_errors_are_those_of_1000_trials(which, t1, t2, request):
    dictionary = request.getfixturevalue(which)
    x, _, noise = voxels_of(dictionary, Tissue(np.full(1000, t1), t2), snr=30)
    x *= noise[0] / noise[:, None]  # equal proton densities but for their phase
    result = refined(dictionary, x, noise_std=noise[0])
    assert result.converged.all()
    for values, errors in (
        (result.t1, result.t1_std),
        (result.t2, result.t2_std),
        (np.abs(result.pd), result.pd_std),
    ):
        # 1000 trials know a standard deviation to 2.2 %: 10 % is 4.5 times that
        assert abs(values.std() / np.median(errors) - 1) < 0.1


@pytest.mark.parametrize("snr", [np.inf, 30])
def test_coarse_grid_with_refinement_beats_fine_grid(coarse, snr):
    tissue = tissues(1000)
    fine = generate(MODEL, SEQUENCE, grid(100), rank=8)
    x = voxels_of(coarse, tissue, snr)[0]
    matched = match(fine, voxels_of(fine, tissue, snr)[0])
    result = refined(coarse, x)
    for name in ("t1", "t2"):
        error, fine_error = (np.abs(relative_error(r, tissue, name)) for r in (result, matched))
        for measure in (np.median, lambda values: np.sqrt((values**2).mean())):
            assert measure(error) < (1e-3 if np.isinf(snr) else 0.9) * measure(fine_error)


def test_noise_is_estimated_from_the_residual(coarse):
    x, _, noise = voxels_of(coarse, tissues(1000), snr=30)
    known, estimated = refined(coarse, x, noise_std=noise), refined(coarse, x)
    np.testing.assert_array_equal(estimated.t2, known.t2)
    for name in ("t1_std", "t2_std", "pd_std"):
        ratio = (getattr(estimated, name) / getattr(known, name)) ** 2
        # chi^2 of 2 rank - 2 - 2 = 12 degrees of freedom: mean 1, known to sqrt(2 / 12 / 1000) = 1.3 %
        assert abs(ratio.mean() - 1) < 0.05
    expected = np.sqrt(12) * (estimated.t1_std / known.t1_std) * noise
    np.testing.assert_allclose(estimated.residual, expected, rtol=1e-10)  # rounding


def test_standard_errors_grow_with_the_noise(coarse):
    x = voxels_of(coarse, tissues(5), snr=30)[0]
    one, three = (refined(coarse, x, noise_std=s) for s in (0.1, 0.3))
    for name in ("t1_std", "t2_std", "pd_std"):
        np.testing.assert_allclose(getattr(three, name), 3 * getattr(one, name), rtol=1e-12)  # rounding
    assert np.isnan(one.b1_std).all()
    assert np.isnan(one.off_resonance_std).all()


def test_b1_is_refined(with_b1):
    tissue = tissues(300, b1=(0.7, 1.3))
    x = voxels_of(with_b1, tissue)[0]
    result = refined(with_b1, x, parameters=("t1", "t2", "b1"))
    assert result.converged.all()
    for name in ("t1", "t2", "b1"):
        # single precision of signals, divided by their sensitivity
        assert np.abs(relative_error(result, tissue, name)).max() < 1e-3
    x, _, noise = voxels_of(with_b1, tissue, snr=100)
    result = refined(with_b1, x, parameters=("b1", "t1", "t2"), noise_std=noise)
    for name in ("t1", "t2", "b1"):
        scores = (getattr(result, name) - getattr(tissue, name)) / getattr(result, f"{name}_std")
        assert abs(scores.std() - 1) < 0.17  # 300 trials know it to 4 %


def test_b1_stays_at_the_atom_unless_refined(with_b1):
    x = voxels_of(with_b1, tissues(100, b1=(0.7, 1.3)))[0]
    result = refined(with_b1, x)
    np.testing.assert_array_equal(result.b1, match(with_b1, x).b1)


def test_off_resonance_is_refined():
    phase = np.pi * (np.arange(200) % 2)
    sequence = Sequence(ANGLES[:200], **TIMING, spoiling="balanced", phase=phase)
    dictionary = generate(MODEL, sequence, grid(12, 1.0, linear_axis(-40, 40, 17)), rank=20)
    base = tissues(60)
    tissue = Tissue(base.t1, base.t2, 1.0, np.linspace(-33, 34, 60))
    result = refined(dictionary, voxels_of(dictionary, tissue)[0], parameters=("t1", "t2", "off_resonance"))
    good = result.converged & ~result.at_bound
    assert good.mean() > 0.9  # steps of 5 Hz and 28 %: some of the best atoms lie in another valley
    # single precision, divided by the sensitivity
    np.testing.assert_allclose(result.off_resonance[good], tissue.off_resonance[good], atol=0.02)
    np.testing.assert_allclose(result.t2[good], tissue.t2[good], rtol=2e-3)


@pytest.mark.parametrize("snr", [np.inf, 5])
def test_single_parameter_is_refined(coarse, snr):
    tissue = Tissue(coarse.grid.t1[10], np.geomspace(0.03, 0.4, 30))
    x = voxels_of(coarse, tissue, snr)[0]
    start = match(coarse, x)
    result = refine(MODEL, coarse, x, start, parameters=("t2",))
    np.testing.assert_array_equal(result.t1, start.t1)
    assert np.isnan(result.t1_std).all()
    assert np.isfinite(result.t2_std).all()
    # the residual has its minimum there: to the sides it grows
    for factor in (0.995, 1.005):
        c = MODEL.signal(SEQUENCE, Tissue(result.t1, result.t2 * factor)) @ coarse.basis
        assert np.all(distance(x, c) > result.residual)


def distance(x, c):
    """||x - pd c|| with the best pd."""
    return np.linalg.norm(x - ((c.conj() * x).sum(1) / (np.abs(c) ** 2).sum(1))[:, None] * c, axis=1)


def test_bounds_are_kept_and_told(coarse):
    tissue = Tissue([5.0, 1.0, 0.9], [0.1, 0.012, 0.08])
    x = voxels_of(coarse, tissue)[0]
    result = refined(coarse, x)
    np.testing.assert_array_equal(result.at_bound, [True, True, False])
    assert result.converged.all()
    assert result.t1[0] == coarse.grid.t1[-1]
    assert result.t2[1] == coarse.grid.t2[0]
    stopped = refined(coarse, x, max_iterations=1)
    assert not stopped.converged[0]
    assert not stopped.at_bound[0]  # the atom is the result, wherever the fit was
    wide = refined(coarse, x, bounds={"t1": (0.1, 6), "t2": (0.01, 0.6)})
    assert not wide.at_bound.any()
    # single precision of signals, divided by their sensitivity
    np.testing.assert_allclose(wide.t1, tissue.t1, rtol=1e-3)
    np.testing.assert_allclose(wide.t2, tissue.t2, rtol=1e-3)


def test_best_tissue_on_a_bound_is_found(coarse):
    """Where T1 is held back, T2 is the best for that T1, not the one of the free fit."""
    x = voxels_of(coarse, Tissue(4.4, 0.15))[0]
    result = refined(coarse, x)
    t2 = np.geomspace(0.1, 0.25, 4001)  # steps of 2e-4
    scan = distance(x, MODEL.signal(SEQUENCE, Tissue(coarse.grid.t1[-1], t2)) @ coarse.basis)
    np.testing.assert_allclose(result.t2, t2[scan.argmin()], rtol=5e-4)  # a step of the scan
    assert abs(result.t2[0] / 0.15 - 1) > 5e-3


def test_t2_never_exceeds_t1(coarse):
    x = voxels_of(coarse, Tissue(np.full(100, 0.3), 0.3), snr=50)[0]
    result = refined(coarse, x)
    limit = result.t2 == result.t1
    assert np.all(result.t2 <= result.t1)
    assert result.converged.all()
    assert 25 < limit.sum() < 75  # noise would take half of them across
    np.testing.assert_array_equal(result.at_bound, limit)
    t = np.geomspace(0.25, 0.36, 2001)  # steps of 2e-4
    c = MODEL.signal(SEQUENCE, Tissue(t, t)) @ coarse.basis
    for i_voxel in np.flatnonzero(limit)[:10]:
        best = distance(np.broadcast_to(x[i_voxel], c.shape), c).argmin()
        np.testing.assert_allclose(result.t1[i_voxel], t[best], rtol=1e-3)  # flat minimum, single precision


@pytest.mark.parametrize("name", ["t1", "t2"])
def test_a_fixed_relaxation_time_limits_the_other(coarse, name):
    x = voxels_of(coarse, Tissue(np.full(60, 0.3), 0.29), snr=10)[0]
    result = refined(coarse, x, parameters=(name,))
    assert np.all(result.t2 <= result.t1)
    assert np.any(result.t2 == result.t1)
    np.testing.assert_array_equal(result.at_bound, result.t2 == result.t1)


def test_voxels_that_do_not_converge_keep_their_atom(coarse):
    x = voxels_of(coarse, tissues(50), snr=20)[0]
    start = match(coarse, x)
    result = refine(MODEL, coarse, x, start, max_iterations=1)
    assert not result.converged.all()
    lost = ~result.converged
    for name in ("t1", "t2", "b1", "off_resonance", "pd"):
        np.testing.assert_array_equal(getattr(result, name)[lost], getattr(start, name)[lost])
    for name in ("t1_std", "t2_std", "pd_std"):
        np.testing.assert_array_equal(np.isnan(getattr(result, name)), lost)
    np.testing.assert_array_equal(result.iterations, 1)
    np.testing.assert_allclose(result.correlation[lost], start.correlation[lost], rtol=1e-6)  # single prec.


class Worse:
    """The engine with T2 made longer in the wrong way: no fit comes as near as an atom of the engine."""

    def __init__(self):
        self.tissues = []

    def jacobian(self, sequence, tissue, wrt):
        self.tissues.append(tissue)
        signal, derivatives = MODEL.jacobian(sequence, tissue, wrt)
        factor = 1 + 0.2 * np.sin(0.1 * np.arange(sequence.n_pulses))
        return signal * factor, derivatives * factor


def test_fits_further_off_than_the_atom_are_dropped(coarse):
    x = 2 * coarse.norms[:, None] * coarse.coefficients
    result = refined(coarse, x, Worse())
    assert not result.converged.any()
    np.testing.assert_array_equal(result.t1, coarse.tissue.t1)
    np.testing.assert_array_equal(result.t2, coarse.tissue.t2)
    assert np.all(result.residual < 1e-5 * np.linalg.norm(x, axis=1))  # single precision


def test_tissue_of_all_atoms_is_not_needed(coarse):
    """It would take 40 bytes an atom."""
    dictionary = replace(coarse, grid=grid(20))
    x = voxels_of(coarse, tissues(4))[0]
    refine(MODEL, dictionary, x, match(dictionary, x))
    assert "tissue" not in vars(dictionary.grid)


class WithoutB1:
    """The engine, blind to B1."""

    def jacobian(self, sequence, tissue, wrt):
        assert wrt == ("t2", "b1")
        signal, derivatives = MODEL.jacobian(sequence, Tissue(tissue.t1, tissue.t2), wrt)
        derivatives[1] = 0
        return signal, derivatives


def test_parameter_without_influence_stays(coarse):
    tissue = Tissue(coarse.grid.t1[10], np.geomspace(0.03, 0.4, 9))
    x = voxels_of(coarse, tissue)[0]
    result = refined(coarse, x, WithoutB1(), parameters=("t2", "b1"), bounds={"b1": (0.5, 2)})
    assert result.converged.all()
    np.testing.assert_array_equal(result.b1, 1)
    # single precision of signals, divided by their sensitivity
    np.testing.assert_allclose(result.t2, tissue.t2, rtol=1e-3)
    assert np.isinf(result.b1_std).all()


class Backwards:
    """The engine with derivatives of the wrong sign: every step fails."""

    def jacobian(self, sequence, tissue, wrt):
        signal, derivatives = MODEL.jacobian(sequence, tissue, wrt)
        return signal, -derivatives


def test_failing_steps_are_no_convergence(coarse):
    """Damping makes them short."""
    x = voxels_of(coarse, tissues(20))[0]
    result = refined(coarse, x, Backwards())
    assert not result.converged.any()
    np.testing.assert_array_equal(result.iterations, 50)


def test_diffusion_of_the_atoms_is_kept():
    """It shortens the signal as T2 does: without it, T2 would be wrong."""
    sequence = Sequence(ANGLES, **TIMING, spoiler_moment=2 * np.pi / 0.2e-3)
    around = grid(20).tissue
    dictionary = generate(
        MODEL,
        sequence,
        AtomList(Tissue(around.t1, around.t2, diffusion=np.where(around.t1 < 1, 1e-9, 0))),
        rank=8,
    )
    tissue = Tissue([0.5, 0.7, 1.8, 3.0], [0.04, 0.08, 0.06, 0.2], diffusion=[1e-9, 1e-9, 0, 0])
    result = refined(dictionary, voxels_of(dictionary, tissue)[0])
    assert result.converged.all()
    # single precision of signals, divided by their sensitivity
    np.testing.assert_allclose(result.t1, tissue.t1, rtol=1e-3)
    np.testing.assert_allclose(result.t2, tissue.t2, rtol=1e-3)


def test_equal_atoms_are_simulated_once(coarse):
    model = Worse()
    x = np.tile(coarse.coefficients[150:153], (40, 1)) + 0.01 * voxels_of(coarse, tissues(120))[0]
    start = match(coarse, x)
    refine(model, coarse, x, start, max_iterations=1)
    assert model.tissues[0].n_atoms == np.unique(start.index).size < 10
    assert model.tissues[1].n_atoms > 100


@pytest.mark.parametrize("chunk_size", [1, 7, 1000])
def test_chunks_do_not_matter(coarse, chunk_size):
    x = voxels_of(coarse, tissues(60), snr=30)[0]
    whole = refined(coarse, x)
    calls = []
    result = refined(coarse, x, chunk_size=chunk_size, progress=lambda *done: calls.append(done))
    for name in ("t1", "t2", "pd", "t1_std", "residual"):
        # single precision of signals and projection, 1e-6, over a sensitivity to T2 of 1e-2 and less
        np.testing.assert_allclose(getattr(result, name), getattr(whole, name), rtol=1e-3)
    done, total = np.transpose(calls)
    assert np.all(np.diff(done) >= 0)
    assert done[-1] == 60
    assert np.all(total == 60)


def test_tolerance_sets_the_number_of_iterations(coarse):
    x = voxels_of(coarse, tissues(60), snr=30)[0]
    rough, fine = (refined(coarse, x, tolerance=tolerance) for tolerance in (1e-2, 1e-6))
    assert rough.iterations.sum() < fine.iterations.sum()
    assert rough.converged.all()


def test_order_of_the_voxels_is_kept(coarse):
    x = voxels_of(coarse, tissues(60), snr=30)[0]
    forward, backward = refined(coarse, x), refined(coarse, x[::-1])
    for field in fields(forward):
        result = getattr(backward, field.name)[::-1]
        # single precision of the projection, divided by the sensitivity
        np.testing.assert_allclose(result, getattr(forward, field.name), rtol=1e-4, err_msg=field.name)


@pytest.mark.parametrize("some", [True, False])
def test_voxels_without_atom_are_passed_through(coarse, some):
    x = voxels_of(coarse, tissues(6), snr=30)[0]
    start = match(coarse, x)
    outside = np.array([False, True, False, False, True, False]) if some else np.ones(6, bool)
    x[outside] = np.nan
    masked = {name: getattr(start, name).copy() for name in ("t1", "t2", "b1", "off_resonance")}
    for values in masked.values():
        values[outside] = np.nan
    index, pd = np.where(outside, -1, start.index), np.where(outside, 0, start.pd)
    noise = np.where(outside, np.nan, 0.01)
    result = refine(MODEL, coarse, x, replace(start, index=index, pd=pd, **masked), noise_std=noise)
    np.testing.assert_array_equal(result.converged, ~outside)
    np.testing.assert_array_equal(result.index, index)
    for name in ("t1", "t2", "t1_std", "t2_std", "pd_std", "residual"):
        np.testing.assert_array_equal(np.isnan(getattr(result, name)), outside)
    for name in ("pd", "correlation", "iterations", "at_bound"):
        assert not getattr(result, name)[outside].any()


def test_dtypes_and_shapes(coarse):
    result = refined(coarse, voxels_of(coarse, tissues(5))[0])
    expected = {"index": np.int64, "pd": np.complex64, "correlation": np.float32, "iterations": np.int64}
    expected |= {"converged": np.bool_, "at_bound": np.bool_}
    for field in fields(result):
        values = getattr(result, field.name)
        assert values.shape == (5,)
        assert values.dtype == expected.get(field.name, np.float64)


def test_surrogate_takes_the_place_of_the_engine():
    """Its derivatives are no exact ones of its signal; without noise the fit still finds the tissue."""
    surrogate = pytest.importorskip("surrogate")
    model = surrogate.GRUSurrogate("small", n_threads=1)
    sequence = Sequence(ANGLES[:200], **TIMING, pulse=RFPulse.gaussian(1e-3, 3e-3))
    dictionary = generate(model, sequence, grid(20), rank=8)
    tissue = tissues(100)
    result = refined(dictionary, voxels_of(dictionary, tissue, model=model)[0], model)
    assert result.converged.mean() > 0.9
    for name in ("t1", "t2"):
        error = np.abs(relative_error(result, tissue, name))[result.converged]
        assert np.median(error) < 1e-3
    with pytest.raises(ValueError, match="wrt: 'b1' must be one of t1, t2"):
        refined(dictionary, dictionary.coefficients, model, parameters=("b1",), bounds={"b1": (0.5, 2)})


def smooth_signals(theta):
    """Signals (n, 5) that depend on two parameters, and their derivatives (n, 2, 5), all complex."""
    k = np.arange(1, 6)
    a, b = theta[:, :1], theta[:, 1:]
    c = np.exp(1j * k * a / 3) + k * b**2 - 0.2j * a * b
    by_a = 1j * k / 3 * np.exp(1j * k * a / 3) - 0.2j * b
    return c, np.stack([by_a, 2 * k * b - 0.2j * a], axis=1)


def test_descent_is_minus_half_the_gradient_of_the_projected_cost():
    rng = np.random.default_rng(3)
    theta, x = rng.standard_normal((20, 2)), rng.standard_normal((20, 5, 2)) @ [1, 1j]
    state = State.of(x, *smooth_signals(theta))
    step = 1e-6
    for j, direction in enumerate(np.eye(2)):
        above, below = (distance(x, smooth_signals(theta + s * direction)[0]) ** 2 for s in (step, -step))
        # differences: rounding of 1e-16 x cost / step
        np.testing.assert_allclose(state.descent[:, j], -(above - below) / (4 * step), atol=1e-8)


def test_gauss_newton_step_is_that_of_the_whole_linearised_problem():
    """Least squares over all of pd (real and imaginary part) and the parameters, without projection."""
    rng = np.random.default_rng(4)
    theta, x = rng.standard_normal((20, 2)), rng.standard_normal((20, 5, 2)) @ [1, 1j]
    c, derivatives = smooth_signals(theta)
    state = State.of(x, c, derivatives)
    steps = np.linalg.solve(state.information, state.descent[..., None])[..., 0]
    for i in range(20):
        matrix = np.stack([*(state.pd[i] * derivatives[i]), c[i], 1j * c[i]], axis=1)
        residual = x[i] - state.pd[i] * c[i]
        as_real = [np.concatenate([part.real, part.imag]) for part in (matrix, residual)]
        solution, *_ = np.linalg.lstsq(*as_real)
        np.testing.assert_allclose(steps[i], solution[:2], rtol=1e-8)  # rounding, times the condition
        # the covariance of the parameters is the block of the inverse Fisher information of all unknowns
        covariance = np.linalg.inv(as_real[0].T @ as_real[0])
        np.testing.assert_allclose(np.linalg.inv(state.information[i]), covariance[:2, :2], rtol=1e-8)
        magnitude = np.array([state.pd[i].real, state.pd[i].imag]) / abs(state.pd[i])
        variance = magnitude @ covariance[2:, 2:] @ magnitude
        shared = state.slope[i] @ covariance[:2, :2] @ state.slope[i]
        expected = 1 / state.energy[i] + abs(state.pd[i]) ** 2 * shared
        np.testing.assert_allclose(variance, expected, rtol=1e-8)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"parameters": ("t1", "t3")}, "parameters: 't3' is none of t1, t2, b1, off_resonance"),
        ({"parameters": ()}, "must name at least one parameter"),
        ({"parameters": ("t1", "t1")}, "and each once"),
        ({"noise_std": 0.0}, "noise_std=0 of voxel . must be positive and finite; leave noise_std out"),
        ({"noise_std": [0.1, -1, 0.1, 0.1]}, "noise_std=-1 of voxel 1 must be positive"),
        ({"noise_std": [0.1, 0.1]}, r"noise_std has shape \(2,\); give one number or one for each of the 4"),
        ({"noise_std": np.nan}, "noise_std=nan of voxel . must be positive and finite"),
        ({"bounds": {"b1": (0.5, 1.5)}}, "bounds: 'b1' is not refined; add it to parameters"),
        ({"bounds": {"t1": (2, 1)}}, r"bounds\['t1'\]=\(2, 1\) must be two ascending numbers above 0"),
        ({"bounds": {"t1": (0, 1)}}, "two ascending numbers above 0"),
        ({"bounds": {"t1": (0.1,)}}, "two ascending numbers above 0"),
        ({"bounds": {"t1": (0.1, 0.2)}}, r"bounds\['t1'\]=.* leave out matched atoms, which reach from"),
        ({"parameters": ("b1",)}, "the grid has one b1, 1; give bounds for it"),
        ({"max_iterations": 0}, "max_iterations=0 must be an integer of at least 1"),
        ({"chunk_size": 1.5}, "chunk_size=1.5 must be an integer of at least 1"),
        ({"tolerance": 0}, "tolerance=0 must be positive"),
    ],
)
def test_settings_are_checked(coarse, settings, message):
    with pytest.raises(ValueError, match=message):
        refined(coarse, voxels_of(coarse, tissues(4))[0], **settings)


def test_voxels_and_match_are_checked(coarse, spoiled):
    x = voxels_of(coarse, tissues(4))[0]
    start = match(coarse, x)
    with pytest.raises(ValueError, match=r"shape \(4, 7\); match and dictionary ask for .* = \(4, 8\)"):
        refine(MODEL, coarse, x[:, :7], start)
    with pytest.raises(ValueError, match=r"shape \(3, 8\)"):
        refine(MODEL, coarse, x[:3], start)
    for value in (0, np.nan):
        broken = x.copy()
        broken[2] = value
        with pytest.raises(ValueError, match="voxel 2 are zero or not finite"):
            refine(MODEL, coarse, broken, start)
    other = generate(MODEL, SEQUENCE, grid(10), rank=8)
    with pytest.raises(
        ValueError, match=f"match does not belong to this dictionary of {other.n_atoms} atoms"
    ):
        refine(MODEL, other, x, start)
    with pytest.raises(ValueError, match=r"match.index has shape \(4, 2\); .* match with n_best=1"):
        refine(MODEL, coarse, x, match(coarse, x, n_best=2))
    shifted = replace(start, index=(start.index + 1) % coarse.n_atoms)
    with pytest.raises(ValueError, match="match does not belong to this dictionary"):
        refine(MODEL, coarse, x, shifted)


def test_noise_cannot_be_estimated_without_freedom(coarse):
    dictionary = generate(MODEL, SEQUENCE, grid(20), rank=2)
    x = voxels_of(dictionary, tissues(4))[0]
    with pytest.raises(ValueError, match=r"rank 2 leaves 0 degrees of freedom.*give noise_std or raise"):
        refined(dictionary, x)
    result = refined(dictionary, x, noise_std=0.1)
    assert np.isfinite(result.pd).all()
    # beside the proton density, rank 2 leaves one real number to tell T1 and T2 from
    for name in ("t1_std", "t2_std", "pd_std"):
        assert np.isinf(getattr(result, name)[result.converged]).all()
    assert result.converged.any()
