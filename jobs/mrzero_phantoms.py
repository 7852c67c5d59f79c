"""Objects for the experiments of ``epgbloch mrzero``: brains, a resolution phantom, sparse samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from design.mrzero import Voxels
from reconstruction.phantom_fields import b1_map, image_coordinates
from reconstruction.phantom_templates import TISSUES, analytic_head

RealArray = NDArray[np.float64]

FOV = 0.2
"""Field of view of all experiments, along both axes [m]."""
SLICE_THICKNESS = 5e-3
"""Of all objects [m]."""
BRAIN_TISSUES = ("white matter", "gray matter", "CSF", "deep gray matter", "lesion")
_SUPERSAMPLING = 8
_FREQUENCY = 30.0  # largest off-resonance of brains and of the resolution phantom [Hz]
_VARIATION = 0.15  # of tissues between held-out brains, either way


@dataclass(frozen=True, eq=False)
class ObjectMaps:
    """One slice; every map has shape (ny, nx), float64.

    Attributes
    ----------
    proton_density : ndarray
        0 outside the object.
    t1, t2 : ndarray
        Relaxation times [s]; 1 outside.
    off_resonance : ndarray
        Frequency [Hz].
    b1 : ndarray
        Transmit field relative to nominal.
    fractions : dict
        Partial volume of each tissue, by name; empty where there are none.
    """

    proton_density: RealArray
    t1: RealArray
    t2: RealArray
    off_resonance: RealArray
    b1: RealArray
    fractions: dict[str, RealArray]

    def voxels(self) -> Voxels:
        """Return the object for the twin."""
        return Voxels.from_maps(
            self.proton_density,
            self.t1,
            self.t2,
            fov=(FOV, FOV),
            slice_thickness=SLICE_THICKNESS,
            off_resonance=self.off_resonance,
            b1=self.b1,
        )


def brain(matrix: int, seed: int = 0) -> ObjectMaps:
    """Return a transverse slice of a brain with real partial volume; 0 is the nominal one.

    A mixed voxel has the sum of the proton densities, and relaxation rates averaged with them as weights.
    Other seeds vary the size along both axes and the tissues by up to 15 %, the side, and the fields.

    Parameters
    ----------
    matrix : int
        Voxels along both axes of `FOV`.
    seed : int
        Of the variation.
    """
    rng = np.random.default_rng(seed)
    zoom, factors, flip = np.ones(2), np.ones((len(BRAIN_TISSUES), 2)), False
    if seed:
        zoom = rng.uniform(0.9, 1.1, 2)
        factors = rng.uniform(1 - _VARIATION, 1 + _VARIATION, (len(BRAIN_TISSUES), 2))
        flip = bool(rng.integers(2))
    head = analytic_head((matrix, matrix), n_coils=1, fov=(FOV * zoom[0], FOV * zoom[1]))
    names = [head.names.index(name) for name in BRAIN_TISSUES]
    fractions = head.fractions[names].astype(np.float64)
    if flip:
        fractions = fractions[:, :, ::-1]
    t1, t2, density = np.transpose([TISSUES[name] for name in BRAIN_TISSUES])
    t1, t2 = t1 * factors[:, 0], np.minimum(t2 * factors[:, 1], t1 * factors[:, 0])
    water = density[:, np.newaxis, np.newaxis] * fractions
    total = water.sum(axis=0)
    inside = fractions.sum(axis=0) >= 0.1
    weights = np.where(inside, water / np.where(inside, total, 1), 0)
    times = [
        np.where(inside, 1 / np.tensordot(1 / of_tissues, weights, axes=1).clip(1e-9), 1)
        for of_tissues in (t1, t2)
    ]
    return ObjectMaps(
        np.where(inside, total, 0),
        times[0],
        times[1],
        _smooth_field(matrix, rng) * _FREQUENCY,
        b1_map((matrix, matrix), 0.85, 1.1).astype(np.float64),
        dict(zip(BRAIN_TISSUES, fractions, strict=True)),
    )


def resolution_phantom(matrix: int) -> ObjectMaps:
    """Return a disc of doped water with plastic bars of five widths and four vials of other relaxation times.

    Relaxation times are those of gels and of doped water, not of one phantom.
    """
    y, x = image_coordinates((matrix, matrix), (1.0, 1.0), _SUPERSAMPLING)
    disc = np.hypot(x, y) < 0.42
    bars = np.zeros_like(disc)
    left = -0.30
    for width in (0.06, 0.045, 0.03, 0.02, 0.012):
        for _ in range(2):
            bars |= (np.abs(x - left - width / 2) < width / 2) & (np.abs(y - 0.12) < 0.14)
            left += 2 * width
    density, rate1, rate2 = np.where(disc & ~bars, 1.0, 0.0), disc / 0.9, disc / 0.12
    vials = ((0.5, 0.06), (1.4, 0.09), (2.5, 0.3), (3.5, 1.2))
    for i, (t1, t2) in enumerate(vials):
        vial = np.hypot(x - 0.18 * (i - 1.5), y + 0.2) < 0.065
        rate1, rate2 = np.where(vial, 1 / t1, rate1), np.where(vial, 1 / t2, rate2)
    total = _pixel_mean(density, matrix)
    inside = total > 0.05
    times = [
        np.where(inside, total / np.where(inside, _pixel_mean(density * rate, matrix), 1), 1)
        for rate in (rate1, rate2)
    ]
    return ObjectMaps(
        np.where(inside, total, 0),
        times[0],
        times[1],
        _smooth_field(matrix, np.random.default_rng(0)) * _FREQUENCY,
        b1_map((matrix, matrix), 0.9, 1.1).astype(np.float64),
        {},
    )


def sparse_sample(matrix: int, rng: np.random.Generator, *, edge: int = 1) -> ObjectMaps:
    """Return a square of random brain-like voxels at a random place, and nothing else.

    Every voxel is white matter, gray matter or CSF with T1, T2 and proton density off by up to 20 %, and has
    a frequency of -60 to 60 Hz.

    Parameters
    ----------
    matrix : int
        Voxels along both axes of `FOV`.
    rng : Generator
        Where the numbers come from.
    edge : int
        Voxels along the edge of the square.

    References
    ----------
    Loktyushin et al. 2021, Magn Reson Med 86:709, doi 10.1002/mrm.28727, section 2.3.1.
    """
    tissue = np.array([TISSUES[name] for name in ("white matter", "gray matter", "CSF")])
    values = tissue[rng.integers(3, size=(edge, edge))] * rng.uniform(0.8, 1.2, (edge, edge, 3))
    return _square(matrix, rng, values[..., 2], values[..., 0], values[..., 1])


def wide_sample(matrix: int, rng: np.random.Generator, *, edge: int = 12) -> ObjectMaps:
    """Return a square of random voxels of wide ranges at a random place, for the mapping of T1.

    Proton density 0 to 1.5, T1 0.3 to 6.1 s, T2 0 to 3.8 s, though not above T1 nor below 1 ms, frequency
    -60 to 60 Hz.

    References
    ----------
    Loktyushin et al. 2021, Magn Reson Med 86:709, doi 10.1002/mrm.28727, supporting section 6.2.
    """
    shape = edge, edge
    t1 = rng.uniform(0.3, 6.1, shape)
    t2 = rng.uniform(1e-3, np.minimum(t1, 3.8))
    return _square(matrix, rng, rng.uniform(0, 1.5, shape), t1, t2)


def _square(
    matrix: int, rng: np.random.Generator, density: RealArray, t1: RealArray, t2: RealArray
) -> ObjectMaps:
    edge = len(density)
    if edge > matrix:
        raise ValueError(f"edge={edge} must not exceed matrix={matrix}; take smaller squares")
    row, column = rng.integers(matrix - edge + 1, size=2)
    maps = np.ones((4, matrix, matrix)) * np.array([0.0, 1.0, 1.0, 0.0])[:, np.newaxis, np.newaxis]
    frequency = rng.uniform(-60, 60, (edge, edge))
    maps[:, row : row + edge, column : column + edge] = density, t1, t2, frequency
    return ObjectMaps(maps[0], maps[1], maps[2], maps[3], np.ones((matrix, matrix)), {})


def _smooth_field(matrix: int, rng: np.random.Generator) -> RealArray:
    """A random field of a few long waves, with values within -1 and 1, shape (matrix, matrix)."""
    y, x = image_coordinates((matrix, matrix), (1.0, 1.0))
    field = np.zeros((matrix, matrix))
    for _ in range(4):
        ky, kx, phase = rng.uniform(-1.2, 1.2), rng.uniform(-1.2, 1.2), rng.uniform(0, 2 * np.pi)
        field += np.cos(2 * np.pi * (ky * y + kx * x) + phase)
    return field / np.abs(field).max()


def _pixel_mean(image: RealArray, matrix: int) -> RealArray:
    mean: RealArray = image.reshape(matrix, _SUPERSAMPLING, matrix, _SUPERSAMPLING).mean(axis=(1, 3))
    return mean
