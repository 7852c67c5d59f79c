"""Head phantoms: an analytic one, and one from the MNI152 tissue probability maps.

Relaxation times at 3 T and proton densities relative to water (CSF):

================ ====== ====== ==== =========================================================
tissue           T1 [s] T2 [s] PD   source
================ ====== ====== ==== =========================================================
white matter     0.832  0.080  0.71 Wansapura 1999; water content Whittall 1997
gray matter      1.331  0.110  0.83 the same
CSF              4.31   1.89   1.00 subarachnoid space, PMC10696635
fat              0.371  0.133  0.90 subcutaneous fat, Gold 2004; on resonance here
deep gray matter 1.20   0.075  0.80 representative, not from one study
lesion           1.60   0.180  0.90 representative of an oedematous lesion, not from one study
================ ====== ====== ==== =========================================================

References
----------
Wansapura et al. 1999, J Magn Reson Imaging 9:531,
doi 10.1002/(SICI)1522-2586(199904)9:4<531::AID-JMRI4>3.0.CO;2-L.
Whittall et al. 1997, Magn Reson Med 37:34, doi 10.1002/mrm.1910370107.
Gold et al. 2004, AJR Am J Roentgenol 183:343, doi 10.2214/ajr.183.2.1830343.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from reconstruction.phantom import Phantom
from reconstruction.phantom_fields import b1_map, birdcage_sensitivities, image_coordinates

TISSUES = {
    "white matter": (0.832, 0.080, 0.71),
    "gray matter": (1.331, 0.110, 0.83),
    "CSF": (4.31, 1.89, 1.00),
    "fat": (0.371, 0.133, 0.90),
    "deep gray matter": (1.20, 0.075, 0.80),
    "lesion": (1.60, 0.180, 0.90),
}
"""T1 [s], T2 [s] and relative proton density of each tissue at 3 T."""

_SUPERSAMPLING = 8
_N_SULCI = 27
_MNI_CENTRE_Y = -0.018  # [m], middle of the brain in MNI coordinates


def analytic_head(
    matrix: tuple[int, int] = (128, 128),
    *,
    n_coils: int = 8,
    fov: tuple[float, float] = (0.256, 0.256),
    b1_range: tuple[float, float] = (0.8, 1.2),
) -> Phantom:
    """Transverse slice of a head made of smooth shapes, with real partial volume.

    Scalp fat, skull (no signal), CSF, a folded ribbon of gray matter 3 mm thick, white matter, ventricles,
    deep gray matter and one lesion. Each pixel is the mean of 8 x 8 points. The head is 150 mm wide and
    190 mm long; rows run from posterior to anterior, columns from left to right.

    Parameters
    ----------
    matrix : tuple of int
        Image size (ny, nx).
    n_coils : int
        Number of receive coils, see `birdcage_sensitivities`.
    fov : tuple of float
        Field of view (fov_y, fov_x) [m]; what lies outside is cut off.
    b1_range : tuple of float
        Range of the transmit field relative to nominal, see `b1_map`; (1, 1) makes it uniform.

    Returns
    -------
    Phantom
        Tissues in the order of `TISSUES`.

    Raises
    ------
    ValueError
        If `n_coils`, `fov` or `b1_range` is out of range.
    """
    y, x = image_coordinates(matrix, fov, _SUPERSAMPLING)
    label = _head_labels(x, y)
    fractions = [_pixel_mean(label == i_tissue, matrix) for i_tissue in range(len(TISSUES))]
    return _phantom(tuple(TISSUES), np.stack(fractions), n_coils, fov, b1_range)


def mni152_head(
    matrix: tuple[int, int] = (128, 128),
    *,
    z: float = 0.018,
    slice_thickness: float = 5e-3,
    n_coils: int = 8,
    fov: tuple[float, float] = (0.256, 0.256),
    b1_range: tuple[float, float] = (0.8, 1.2),
) -> Phantom:
    """Transverse slice through the MNI152 brain: white matter, gray matter and CSF.

    The tissue probability maps (1 mm) ship with nilearn and are read from its package, nothing is downloaded.
    CSF is what the brain mask holds beyond gray and white matter; skull and scalp are not part of the maps.
    Rows run from posterior to anterior, columns from left to right.

    Parameters
    ----------
    matrix : tuple of int
        Image size (ny, nx).
    z : float
        Height of the slice in MNI coordinates [m].
    slice_thickness : float
        Thickness over which the maps are averaged [m], > 0.
    n_coils, fov, b1_range
        As for `analytic_head`.

    Returns
    -------
    Phantom
        White matter, gray matter and CSF.

    Raises
    ------
    ImportError
        If nilearn is not installed.
    ValueError
        If the slice misses the brain, or an argument is out of range.

    References
    ----------
    Fonov et al. 2011, NeuroImage 54:313, doi 10.1016/j.neuroimage.2010.07.033.
    """
    try:
        from nilearn import datasets
    except ImportError as error:
        raise ImportError(
            "mni152_head needs nilearn, which ships the MNI152 maps: pip install 'epgbloch[phantom]', "
            "or use analytic_head"
        ) from error
    if not slice_thickness > 0:
        raise ValueError(f"slice_thickness={slice_thickness} must be a positive length in metres")
    image = datasets.load_mni152_wm_template(resolution=1)
    white = np.asarray(image.dataobj, dtype=np.float64)
    gray = np.asarray(datasets.load_mni152_gm_template(resolution=1).dataobj, dtype=np.float64)
    brain = np.asarray(datasets.load_mni152_brain_mask(resolution=1).dataobj, dtype=np.float64)

    y, x = image_coordinates(matrix, fov, _SUPERSAMPLING)
    y = y + _MNI_CENTRE_Y
    x0, y0, z0 = image.affine[:3, 3]  # the axes are RAS with 1 mm voxels
    half = 500 * slice_thickness
    planes = np.arange(np.ceil(1e3 * z - z0 - half), np.floor(1e3 * z - z0 + half) + 1).astype(int)
    planes = planes[(planes >= 0) & (planes < white.shape[2])]
    rows = np.broadcast_to(1e3 * y - y0, (y.size, x.size))
    columns = np.broadcast_to(1e3 * x - x0, (y.size, x.size))

    def sampled(volume: NDArray[np.float64]) -> NDArray[np.float64]:
        plane = volume[:, :, planes].mean(axis=2)
        return _pixel_mean(map_coordinates(plane, [columns, rows], order=1), matrix)

    if planes.size == 0 or not brain[:, :, planes].any():
        raise ValueError(f"z={z} m misses the brain of the MNI152 maps; choose about -0.05 to 0.08 m")
    tissue = np.clip([sampled(white), sampled(gray)], 0, 1)
    tissue /= np.maximum(tissue.sum(axis=0), 1)
    fluid = np.clip(sampled(brain) - tissue.sum(axis=0), 0, None)
    names = ("white matter", "gray matter", "CSF")
    return _phantom(names, np.concatenate([tissue, fluid[None]]), n_coils, fov, b1_range)


def _phantom(
    names: tuple[str, ...],
    fractions: NDArray[np.float64],
    n_coils: int,
    fov: tuple[float, float],
    b1_range: tuple[float, float],
) -> Phantom:
    matrix = (fractions.shape[1], fractions.shape[2])
    t1, t2, proton_density = np.transpose([TISSUES[name] for name in names])
    return Phantom(
        names=names,
        fractions=fractions.astype(np.float32),
        t1=t1,
        t2=t2,
        proton_density=proton_density,
        b1=b1_map(matrix, *b1_range),
        coil_sensitivities=birdcage_sensitivities(n_coils, matrix),
        fov=fov,
    )


def _pixel_mean(image: NDArray[np.generic], matrix: tuple[int, int]) -> NDArray[np.float64]:
    """Mean of the supersampled `image` over each pixel."""
    blocks = image.reshape(matrix[0], _SUPERSAMPLING, matrix[1], _SUPERSAMPLING)
    return blocks.mean(axis=(1, 3))


def _head_labels(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.int64]:
    """Tissue number of each point, in the order of `TISSUES`; -1 gives no signal. Lengths in metres."""
    white, gray, fluid, fat, deep, lesion = range(len(TISSUES))
    # Egg-shaped outline: radius 1 is the skin; narrower at the front. Depths are exact on the axes only.
    half_width, half_length = 0.077 * (1 - 0.09 * y / 0.095), 0.095
    radius = np.hypot(x / half_width, y / half_length)
    depth = (1 - radius) * np.hypot(x, y) / np.maximum(radius, 1e-9)
    label = np.full(depth.shape, -1)
    label[depth > 0] = fat
    label[depth > 0.0055 + 0.0015 * np.abs(y) / 0.095] = -1
    label[depth > 0.0125] = fluid

    to_fluid = _distance_to_outer_fluid(x, y, depth - 0.0150)
    label[to_fluid > 0] = gray
    label[to_fluid > 0.0033] = white

    side = np.abs(x)
    label[_ellipse(side, y, 0.0125, 0.0195, 0.0050, 0.0110, -0.35)] = deep  # head of the caudate
    label[_ellipse(side, y, 0.0245, 0.0060, 0.0055, 0.0170, -0.30)] = deep  # putamen and pallidum
    label[_ellipse(side, y, 0.0095, -0.0090, 0.0075, 0.0130, 0.35)] = deep  # thalamus
    label[_ellipse(side, y, 0.0065, 0.0225, 0.0032, 0.0115, -0.45)] = fluid  # frontal horn
    label[_ellipse(side, y, 0.0205, -0.0330, 0.0042, 0.0130, 0.30)] = fluid  # trigone, occipital horn
    label[_ellipse(side, y, 0.0, -0.0060, 0.0013, 0.0120, 0.0)] = fluid  # third ventricle
    label[_ellipse(x, y, 0.0290, 0.0360, 0.0085, 0.0060, 0.6)] = lesion
    return label


def _ellipse(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    x0: float,
    y0: float,
    half_x: float,
    half_y: float,
    tilt: float,
) -> NDArray[np.bool_]:
    """Points inside an ellipse centred at (x0, y0), turned by `tilt` [rad] from x towards y."""
    cos, sin = np.cos(tilt), np.sin(tilt)
    u, v = cos * (x - x0) + sin * (y - y0), cos * (y - y0) - sin * (x - x0)
    return (u / half_x) ** 2 + (v / half_y) ** 2 < 1


def _distance_to_outer_fluid(
    x: NDArray[np.float64], y: NDArray[np.float64], depth: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Distance [m] to the CSF around the brain and in its sulci, negative within it.

    `depth` counts from the surface of the brain inwards. Sulci are sheets that reach from the surface to a
    depth that varies along it; between them, and around their tips, the cortex follows as a level set.
    """
    # Warped coordinates bend the sulci; neighbouring ones differ in depth and in slant.
    u = x + 0.0030 * np.sin(170 * y + 0.6) + 0.0014 * np.sin(390 * y + 60 * x)
    v = y + 0.0030 * np.sin(190 * x + 1.1) + 0.0014 * np.sin(350 * x - 80 * y)
    angle = np.arctan2(0.88 * v, u)
    phase = _N_SULCI * angle + 1.5 * np.sin(2 * angle + 0.4) + 1.0 * np.sin(5 * angle + 2.0)
    turn = phase / (2 * np.pi)
    across = np.abs(turn - np.round(turn)) * 2 * np.pi * np.hypot(x, y) / _N_SULCI
    number = 2 * np.pi * np.round(turn) / _N_SULCI
    reach = 0.0155 + 0.0045 * np.sin(11 * number + 1.0) + 0.0030 * np.sin(7 * number)
    sulci = np.hypot(across, np.maximum(depth - reach, 0)) - 0.0007

    side = np.abs(u)
    fissures = np.minimum(
        _segment_distance(np.abs(x + 0.2 * (u - x)), y, (0.0, 0.095), (0.0, 0.0400)),
        _segment_distance(np.abs(x + 0.2 * (u - x)), y, (0.0, -0.095), (0.0, -0.0440)),
    )
    sylvian = np.minimum(
        _segment_distance(side, v, (0.0680, 0.0230), (0.0430, 0.0120)),
        _segment_distance(side, v, (0.0400, 0.0230), (0.0440, -0.0120)),
    )
    return np.minimum.reduce([depth, sulci, fissures - 0.0009, sylvian - 0.0009])


def _segment_distance(
    x: NDArray[np.float64], y: NDArray[np.float64], start: tuple[float, float], end: tuple[float, float]
) -> NDArray[np.float64]:
    """Distance of each point to the straight segment from `start` to `end`, both (x, y)."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    along = np.clip(((x - start[0]) * dx + (y - start[1]) * dy) / (dx * dx + dy * dy), 0, 1)
    return np.hypot(x - start[0] - along * dx, y - start[1] - along * dy)
