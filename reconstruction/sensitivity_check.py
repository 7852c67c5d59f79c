"""Do given sensitivities belong to the data?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.fft
from numpy.typing import NDArray

_LOW_PASS = 24  # lines of k-space across, at most: without the streaks of few readouts
_SUSPICIOUS = 0.1
_BETTER = 0.5
_LEAST = 0.5

Array = NDArray[np.complex64]

_MIRRORS: dict[str, Callable[[Array], Array]] = {
    "x is mirrored (kx has the other sign)": lambda c: c[..., ::-1],
    "y is mirrored (ky has the other sign)": lambda c: c[..., ::-1, :],
    "x and y are mirrored (the trajectory has the other sign)": lambda c: c[..., ::-1, ::-1],
    "they are conjugated": np.conj,
}
_EXCHANGES: dict[str, Callable[[Array], Array]] = {
    "x and y (kx and ky) are exchanged": lambda c: c.swapaxes(-1, -2),
    "x and y (kx and ky) are exchanged and x is mirrored": lambda c: c.swapaxes(-1, -2)[..., ::-1],
    "x and y (kx and ky) are exchanged and y is mirrored": lambda c: c.swapaxes(-1, -2)[..., ::-1, :],
    "x and y (kx and ky) are exchanged and both mirrored": lambda c: c.swapaxes(-1, -2)[..., ::-1, ::-1],
}


def check_sensitivities(images: Array, sensitivities: Array, *, noise_known: bool) -> float:
    """Part of the coil images that given sensitivities explain.

    ``sum_r |c^H x|^2 / |c|^2 / sum_r |x|^2`` with the images x, smoothed, and the sensitivities c of all
    coils: 1 where the images are those of one object behind these coils.

    Parameters
    ----------
    images, sensitivities : ndarray, shape (n_coils, ny, nx), complex64
        Coil images (`coil_images`) and sensitivities, in the same channels.
    noise_known : bool
        Whether the channels are prewhitened; else the noise of a loud coil may be what is not explained.

    Returns
    -------
    float
        0 to 1; 1 with a single coil.

    Raises
    ------
    ValueError
        If the sensitivities fit much better with axes exchanged or mirrored, or conjugated (the trajectory or
        the sensitivities have this fault), or explain less than half while the noise is known.
    """
    smooth = _smoothed(images)
    explained = _explained(smooth, sensitivities)
    if explained > 1 - _SUSPICIOUS:
        return explained
    changes = {**_MIRRORS, **(_EXCHANGES if images.shape[-1] == images.shape[-2] else {})}
    fits = {name: _explained(smooth, change(sensitivities)) for name, change in changes.items()}
    name = max(fits, key=lambda name: fits[name])
    if 1 - fits[name] < _BETTER * (1 - explained):
        raise ValueError(
            f"the sensitivities explain {100 * explained:.0f} % of the coil images, but "
            f"{100 * fits[name]:.0f} % if {name}: the trajectory or the sensitivities have axes or signs "
            "wrong; correct them"
        )
    if noise_known and explained < _LEAST:
        raise ValueError(
            f"the sensitivities explain only {100 * explained:.0f} % of the coil images: they belong to "
            "another scan, or slices or coils are in another order; leave them out to have them estimated"
        )
    return explained


def _smoothed(images: Array) -> Array:
    """Images of the centre of k-space, with a Hann window."""
    axes = (-2, -1)
    spectrum = scipy.fft.fft2(images, axes=axes)
    for axis in axes:
        n = images.shape[axis]
        distance = np.abs(scipy.fft.fftfreq(n, 1 / n)) / (min(_LOW_PASS, n) / 2)
        window = np.where(distance < 1, 0.5 + 0.5 * np.cos(np.pi * np.minimum(distance, 1)), 0)
        spectrum *= np.expand_dims(window.astype(np.float32), -1) if axis == -2 else window.astype(np.float32)
    smooth: Array = scipy.fft.ifft2(spectrum, axes=axes)
    return smooth


def _explained(images: Array, sensitivities: Array) -> float:
    gain = np.linalg.norm(sensitivities, axis=0)
    unit = np.divide(sensitivities, gain, out=np.zeros_like(sensitivities), where=gain > 0)
    projected = np.einsum("cyx,cyx->yx", unit.conj(), images)
    return float(np.linalg.norm(projected) / np.linalg.norm(images)) ** 2
