import builtins

import numpy as np
import pytest

from epgbloch import Sequence, Tissue
from reconstruction.phantom import Phantom
from reconstruction.phantom_fields import b1_map, birdcage_sensitivities, image_coordinates
from reconstruction.phantom_simulation import simulate_acquisition
from reconstruction.phantom_templates import TISSUES, analytic_head, mni152_head

N_PULSES = 7


class ClosedFormModel:
    """Inversion recovery times echo decay: cheap, complex, and sensitive to every parameter."""

    def signal(self, sequence: Sequence, tissue: Tissue) -> np.ndarray:
        time = np.cumsum(sequence.tr)
        recovery = 1 - 2 * np.exp(-time / tissue.t1[:, None])
        decay = np.exp(-sequence.te / tissue.t2[:, None])
        signal = np.sin(tissue.b1[:, None] * sequence.flip_angle) * recovery * decay
        return (signal * np.exp(0.3j * np.arange(sequence.n_pulses))).astype(np.complex64)

    def settings(self) -> dict:
        return {}


@pytest.fixture(scope="module")
def sequence() -> Sequence:
    return Sequence(flip_angle=np.linspace(0.3, 1.0, N_PULSES), tr=0.2, te=0.02)


@pytest.fixture(scope="module")
def head() -> Phantom:
    return analytic_head()


def small_phantom(matrix: tuple[int, int] = (6, 9), n_coils: int = 3, **changes: object) -> Phantom:
    rng = np.random.default_rng(5)
    fractions = rng.uniform(size=(3, *matrix))
    fractions /= 1.2 * fractions.sum(axis=0)
    fractions[:, 0, :] = 0
    arguments = {
        "names": ("a", "b", "c"),
        "fractions": fractions,
        "t1": [0.4, 0.9, 2.0],
        "t2": [0.03, 0.08, 0.5],
        "proton_density": [0.9, 0.7, 1.0],
        "b1": b1_map(matrix),
        "coil_sensitivities": birdcage_sensitivities(n_coils, matrix),
        "fov": (0.2, 0.3),
    }
    return Phantom(**(arguments | changes))


def random_trajectory(n_readouts: int = 11, n_samples: int = 8) -> np.ndarray:
    return np.random.default_rng(1).uniform(-0.5, 0.5, (n_readouts, n_samples, 2)).astype(np.float32)


def direct_sum(phantom: Phantom, sequence: Sequence, trajectory: np.ndarray) -> np.ndarray:
    """The definition of the raw data, voxel by voxel and tissue by tissue, in complex128."""
    ny, nx = phantom.matrix
    result = np.zeros((len(phantom.coil_sensitivities), *trajectory.shape[:2]), dtype=np.complex128)
    k = trajectory.astype(np.float64)
    for row in range(ny):
        for column in range(nx):
            signal = np.zeros(sequence.n_pulses, dtype=np.complex128)
            for i in range(len(phantom.names)):
                tissue = Tissue(phantom.t1[i], phantom.t2[i], phantom.b1[row, column])
                weight = phantom.fractions[i, row, column] * phantom.proton_density[i]
                signal += weight * ClosedFormModel().signal(sequence, tissue)[0]
            wave = np.exp(-2j * np.pi * (k[..., 0] * (column - nx // 2) + k[..., 1] * (row - ny // 2)))
            evolution = signal[np.arange(len(k)) % sequence.n_pulses, None]
            result += phantom.coil_sensitivities[:, row, column, None, None] * evolution * wave
    return result


def simulate(phantom: Phantom, sequence: Sequence, trajectory: np.ndarray | None = None, **arguments: object):
    trajectory = random_trajectory() if trajectory is None else trajectory
    return simulate_acquisition(phantom, ClosedFormModel(), sequence, trajectory, **arguments)


@pytest.mark.parametrize("matrix", [(6, 9), (8, 5)])
@pytest.mark.parametrize("chunk", [2048, 5])
def test_kspace_matches_direct_sum(sequence, monkeypatch, matrix, chunk):
    monkeypatch.setattr("reconstruction.phantom_simulation._VOXELS_PER_CHUNK", chunk)
    phantom, trajectory = small_phantom(matrix), random_trajectory()
    acquisition = simulate(phantom, sequence, trajectory, snr=None)
    expected = direct_sum(phantom, sequence, trajectory)
    assert acquisition.kspace.shape == expected.shape == (3, 11, 8)
    assert acquisition.noise is None
    # float32 signals, rank truncation 1e-6 and NUFFT accuracy 1e-6, relative to the largest sample
    assert np.abs(acquisition.kspace - expected).max() < 1e-5 * np.abs(expected).max()


def test_finer_phantoms_are_seen_through_larger_pixels(sequence):
    phantom, trajectory = small_phantom((6, 8)), random_trajectory()
    acquisition = simulate(phantom, sequence, trajectory, matrix=(3, 4), snr=None)
    assert acquisition.matrix == (3, 4)
    np.testing.assert_array_equal(acquisition.trajectory, trajectory)
    # positions in pixels of the phantom, of which two make one of the image
    expected = direct_sum(phantom, sequence, trajectory / 2)
    assert np.abs(acquisition.kspace - expected).max() < 1e-5 * np.abs(expected).max()  # as above
    for matrix in ((4, 4), (6, 4), (12, 16), (0, 4)):
        with pytest.raises(ValueError, match=r"matrix=.* whole multiple"):
            simulate(phantom, sequence, trajectory, matrix=matrix)


def test_acquisition_keeps_the_geometry(sequence):
    acquisition = simulate(small_phantom(), sequence)
    assert acquisition.matrix == (6, 9)
    assert acquisition.fov == (0.2, 0.3)
    np.testing.assert_array_equal(acquisition.trajectory, random_trajectory())


@pytest.mark.parametrize(
    "changes",
    [
        {"t1": [0.4, 0.9, 2.2]},
        {"t2": [0.03, 0.1, 0.5]},
        {"proton_density": [0.9, 0.8, 1.0]},
        {"b1": np.ones((6, 9))},
        {"fractions": np.full((3, 6, 9), 0.2)},
        {"coil_sensitivities": birdcage_sensitivities(3, (6, 9), relative_radius=2.0)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_each_field_changes_kspace(sequence, changes):
    reference = simulate(small_phantom(), sequence, snr=None).kspace
    changed = simulate(small_phantom(**changes), sequence, snr=None).kspace
    assert np.abs(changed - reference).max() > 1e-3 * np.abs(reference).max()


def test_noise_has_the_stated_level(sequence):
    phantom, trajectory = small_phantom(), random_trajectory(300, 32)
    clean = simulate(phantom, sequence, trajectory, snr=None).kspace
    noisy = simulate(phantom, sequence, trajectory, snr=15.0)
    noise = noisy.kspace - clean
    n = noise.size  # the relative sampling error of a standard deviation is 1 / (2 sqrt(n)) for complex noise
    assert np.abs(clean).mean() / np.std(noise) == pytest.approx(15.0, rel=4 / (2 * np.sqrt(n)))
    assert np.std(noise.real) == pytest.approx(np.std(noise.imag), rel=4 / np.sqrt(n))
    assert noisy.noise.shape == (3, 4096)
    assert np.std(noisy.noise) == pytest.approx(np.std(noise), rel=4 / (2 * np.sqrt(noisy.noise.size)) + 0.01)


@pytest.mark.parametrize("correlation", [0.0, 0.6])
def test_noise_correlation_between_coils(sequence, correlation):
    acquisition = simulate(
        small_phantom(), sequence, noise_correlation=correlation, n_noise_samples=40000, seed=3
    )
    measured = np.corrcoef(acquisition.noise)
    # sampling error of a correlation coefficient: about 1 / sqrt(40000) = 0.005
    np.testing.assert_allclose(measured, (1 - correlation) * np.eye(3) + correlation, atol=0.025)
    whitened, _ = acquisition.prewhitened()
    assert np.std(whitened.noise) == pytest.approx(1.0, rel=1e-3)


def test_seed_decides_the_noise(sequence):
    first, again, other = (simulate(small_phantom(), sequence, seed=seed).kspace for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"snr": 0.0}, "snr=0.0"),
        ({"noise_correlation": 1.0}, "noise_correlation=1.0"),
        ({"n_noise_samples": 0}, "n_noise_samples=0"),
        ({"trajectory": np.zeros((4, 5))}, "trajectory has shape"),
    ],
)
def test_simulation_refuses(sequence, arguments, message):
    with pytest.raises(ValueError, match=message):
        simulate(small_phantom(), sequence, **arguments)


def test_simulation_refuses_snr_without_signal(sequence):
    with pytest.raises(ValueError, match="no signal"):
        simulate(small_phantom(fractions=np.zeros((3, 6, 9))), sequence)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fractions": np.full((3, 6, 9), 0.4)}, "sum <= 1"),
        ({"fractions": np.full((3, 6, 9), -0.1)}, "sum <= 1"),
        ({"fractions": np.zeros((6, 9))}, "n_tissues, ny, nx"),
        ({"names": ("a", "b")}, "names has 2"),
        ({"t1": [0.4, 0.9]}, "t1 has shape"),
        ({"t2": [0.5, 0.08, 0.5]}, "t2 <= t1"),
        ({"t1": [0.4, np.nan, 2.0]}, "t1 holds NaN"),
        ({"proton_density": [-0.1, 1, 1]}, "proton_density"),
        ({"b1": np.ones((9, 6))}, "b1 has shape"),
        ({"b1": np.zeros((6, 9))}, "positive everywhere"),
        ({"coil_sensitivities": np.ones((6, 9))}, "coil_sensitivities has shape"),
        ({"fov": (0.2, 0.0)}, "fov="),
    ],
)
def test_phantom_refuses(changes, message):
    with pytest.raises(ValueError, match=message):
        small_phantom(**changes)


def test_head_partial_volumes(head):
    total = head.fractions.sum(axis=0)
    assert head.fractions.min() >= 0
    assert total.max() <= 1 + 1e-6
    assert total[0].max() == 0  # air around the head
    mixed = (head.fractions > 0.02).sum(axis=0) >= 2
    assert mixed.sum() > 0.2 * head.mask.sum()
    # The area of a tissue does not depend on the matrix: partial volume is real.
    area = head.fractions.sum(axis=(1, 2)) / 128**2
    coarse = analytic_head((64, 64)).fractions.sum(axis=(1, 2)) / 64**2
    np.testing.assert_allclose(coarse, area, rtol=0.01)


def test_head_masks_and_labels(head):
    pure = head.pure_mask()
    assert pure.sum() < head.mask.sum()
    assert not (pure & ~head.mask).any()
    assert (head.fractions.max(axis=0)[pure] > 0.95).all()
    assert head.pure_mask(0.6).sum() > pure.sum()
    assert set(np.unique(head.label[pure])) == set(range(1, len(TISSUES) + 1))
    np.testing.assert_array_equal(head.label > 0, head.mask)
    with pytest.raises(ValueError, match="threshold=1"):
        head.pure_mask(1.0)


def test_head_truth_holds_the_values_of_the_tissues(head):
    truth, pure = head.truth(), head.pure_mask(0.999)
    for number, (t1, t2, density) in enumerate(TISSUES.values(), start=1):
        voxels = pure & (head.label == number)
        np.testing.assert_allclose(truth.t1[voxels], t1, rtol=1e-6)
        np.testing.assert_allclose(truth.t2[voxels], t2, rtol=1e-6)
        np.testing.assert_allclose(np.abs(truth.pd[voxels]), density, rtol=2e-3)
    assert (truth.t1[~truth.mask] == 0).all()
    np.testing.assert_array_equal(truth.b1[truth.mask], head.b1[truth.mask])


def test_head_is_nearly_symmetric_but_for_cortex_and_lesion(head):
    fat = head.fractions[list(TISSUES).index("fat")]
    # x = 0 lies on the centre of column 64, whose mirror images are columns 1 to 127
    np.testing.assert_allclose(fat[:, 1:], fat[:, :0:-1], atol=1e-6)
    assert not np.allclose(fat[1:], fat[:0:-1], atol=0.1)  # narrower at the front
    lesion = head.fractions[list(TISSUES).index("lesion")]
    assert lesion[:, 65:].sum() > 10
    assert lesion[:, :64].sum() == 0


def test_head_parameters_change_the_head(head):
    assert analytic_head((24, 32), n_coils=3).coil_sensitivities.shape == (3, 24, 32)
    wide = analytic_head((64, 64), fov=(0.3, 0.256))
    assert wide.fov == (0.3, 0.256)
    assert wide.mask.sum() < 0.9 * head.mask.sum() / 4
    np.testing.assert_array_equal(analytic_head((16, 16), b1_range=(1.0, 1.0)).b1, 1)


def test_coils_have_unit_root_sum_of_squares():
    for n_coils in (1, 2, 8):
        coils = birdcage_sensitivities(n_coils, (24, 32))
        np.testing.assert_allclose(np.linalg.norm(coils, axis=0), 1, rtol=1e-6)
    brightest = [np.unravel_index(np.abs(coil).argmax(), coil.shape) for coil in coils]
    assert len(set(brightest)) == 8
    assert brightest[0][1] == 31  # coil 0 sits at +x
    with pytest.raises(ValueError, match="n_coils=0"):
        birdcage_sensitivities(0, (4, 4))
    with pytest.raises(ValueError, match="relative_radius"):
        birdcage_sensitivities(4, (4, 4), relative_radius=1.0)


def test_coil_field_obeys_laplace():
    """Fields of wires are analytic functions of x + iy: ratios of two coils satisfy Cauchy-Riemann."""
    coils = birdcage_sensitivities(4, (64, 64)).astype(np.complex128)
    ratio = (coils[0] / coils[1])[16:48, 16:48]
    along_y, along_x = np.gradient(ratio)
    residual = (along_y - 1j * along_x)[1:-1, 1:-1]
    # second-order differences over 1/32; a conjugated phase would give a residual of 2
    assert np.abs(residual).max() < 5e-3 * np.abs(along_x).max()


def test_b1_map_range_and_orientation():
    b1 = b1_map((64, 80), 0.7, 1.1)
    assert b1.min() == pytest.approx(0.7, abs=0.01)
    assert b1.max() == pytest.approx(1.1, abs=0.01)
    row, column = np.unravel_index(b1.argmax(), b1.shape)
    assert row < 32 < 40 < column
    with pytest.raises(ValueError, match=r"low=1\.2"):
        b1_map((4, 4), 1.2, 0.8)


def test_image_coordinates_put_zero_on_the_centre_pixel():
    for n in (8, 9):
        y, x = image_coordinates((n, 4), (n, 4.0))
        assert y[n // 2, 0] == 0
        assert x[0, 2] == 0
        fine, _ = image_coordinates((n, 4), (n, 4.0), 8)
        np.testing.assert_allclose(fine.reshape(n, 8).mean(axis=1), y[:, 0], atol=1e-12)


def test_mni152_head():
    pytest.importorskip("nilearn", reason="the MNI152 maps ship with nilearn, which is optional")
    head = mni152_head((64, 64))
    assert head.names == ("white matter", "gray matter", "CSF")
    assert head.fractions.sum(axis=0).max() <= 1 + 1e-5
    # Gray plus white matter of this slice of a human brain cover roughly 13 cm x 17 cm.
    area = head.mask.sum() * (0.256 / 64) ** 2
    assert 0.010 < area < 0.020
    assert mni152_head((64, 64), z=0.05).mask.sum() < head.mask.sum()
    assert not np.allclose(mni152_head((64, 64), slice_thickness=1e-3).fractions, head.fractions, atol=0.05)
    with pytest.raises(ValueError, match="misses the brain"):
        mni152_head((8, 8), z=0.5)
    with pytest.raises(ValueError, match="slice_thickness=0"):
        mni152_head((8, 8), slice_thickness=0)


def test_mni152_head_names_the_extra(monkeypatch):
    real_import = builtins.__import__

    def without_nilearn(name: str, *arguments: object, **keywords: object):
        if name.startswith("nilearn"):
            raise ImportError("no nilearn")
        return real_import(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without_nilearn)
    with pytest.raises(ImportError, match=r"epgbloch\[phantom\]"):
        mni152_head()
