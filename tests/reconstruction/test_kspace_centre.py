"""The centre of k-space against dense least squares and an object that is known everywhere."""

import numpy as np
import pytest

from reconstruction.acquisition import Acquisition
from reconstruction.kspace_centre import KspaceCentre
from reconstruction.trajectory import golden_angle_radial, variable_density_spiral

MATRIX = (32, 32)


def acquired(blobs, trajectory, noise=0.0):
    return Acquisition(blobs(MATRIX, trajectory, noise), trajectory, MATRIX, (0.2, 0.2))


def centre_and_fit(blobs, trajectory, noise=0.0):
    centre = KspaceCentre(acquired(blobs, trajectory, noise), blobs.basis)
    return centre, centre.fit(centre.positions(trajectory))


@pytest.mark.parametrize("kind", ["spokes", "half spokes", "spirals"])
def test_samples_of_an_object_are_explained(blobs, kind):
    trajectory = {
        "spokes": golden_angle_radial(120, 64),
        "half spokes": golden_angle_radial(240, 64)[:, 32:],
        "spirals": variable_density_spiral(120, 400, matrix=MATRIX, n_interleaves=12),
    }[kind]
    centre, fit = centre_and_fit(blobs, trajectory)
    # Measured 1e-3: the regularisation, and the edge of the disc that few pixels describe.
    assert fit.residual < 0.003
    order = np.random.default_rng(0).permutation(len(trajectory))
    assert centre.fit(centre.positions(trajectory[order])).residual > 0.2


def test_fit_is_the_least_squares_solution(blobs):
    trajectory = golden_angle_radial(120, 64)
    centre, fit = centre_and_fit(blobs, trajectory, noise=1.0)
    waves = centre.waves(centre.positions(trajectory)).astype(complex)
    design = np.einsum("tj,tmr->tmjr", centre.basis, waves).reshape(waves.shape[0] * waves.shape[1], -1)
    normal = design.conj().T @ design
    normal += 1e-4 * np.trace(normal).real / len(normal) * np.eye(len(normal))
    samples = centre.samples.reshape(len(centre.samples), -1)
    images = np.linalg.solve(normal, design.conj().T @ samples.T).T
    # complex64; the condition number is 1e4
    np.testing.assert_allclose(fit.images.reshape(images.shape), images, atol=1e-2 * np.abs(images).max())
    np.testing.assert_allclose(
        fit.unexplained.reshape(samples.shape), samples - images @ design.T, atol=1e-3 * np.abs(samples).max()
    )
    np.testing.assert_allclose(fit.without_explained(centre.samples), fit.unexplained, atol=1e-6)


def test_residual_is_that_of_noise(blobs):
    trajectory = golden_angle_radial(120, 64)
    noise = 30.0  # far above the object
    centre, fit = centre_and_fit(blobs, trajectory, noise)
    n_unknowns = blobs.basis.shape[1] * np.pi / 4 * 8**2  # the disc; points of the grid beyond see nothing
    free = 1 - n_unknowns / np.count_nonzero(centre.samples[0])
    # The edge of the disc is not sharp: the unknowns count to about a third.
    assert fit.residual**2 == pytest.approx(free, rel=0.12)


def test_few_readouts_are_refused(blobs):
    with pytest.raises(ValueError, match=r"the centre of k-space holds only \d+ samples for 3 images"):
        KspaceCentre(acquired(blobs, golden_angle_radial(12, 64)), blobs.basis[:12])


@pytest.mark.parametrize("part", [slice(None, None, 1), slice(None, None, 2)])
def test_mirrored_trajectories_of_an_image_are_equal(blobs, part):
    """Axes exchanged throughout give the transposed object: no data can tell. In a part of them, they can."""
    trajectory = golden_angle_radial(120, 64)
    centre, fit = centre_and_fit(blobs, trajectory, noise=0.01)
    exchanged = trajectory.copy()
    exchanged[part] = exchanged[part][..., ::-1]
    other = centre.fit(centre.positions(exchanged))
    if part.step == 1:
        assert other.residual == pytest.approx(fit.residual, rel=1e-3)  # complex64
    else:
        assert other.residual > 10 * fit.residual
