"""The pixels of an image in space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from epgbloch._checks import positive_number, require_count

RealArray = NDArray[np.float64]


@dataclass(frozen=True)
class ImageGrid:
    """Pixels of an image; pixel i of n along an axis lies at (i - n // 2) fov / n.

    Parameters
    ----------
    shape : tuple of int
        Matrix (ny, nx).
    fov : tuple of float
        Field of view (fov_y, fov_x) [m].

    Raises
    ------
    ValueError
        If a count is below 1, or a length not positive.
    """

    shape: tuple[int, int]
    fov: tuple[float, float]

    def __post_init__(self) -> None:
        for name, unit in (("shape", "pixels"), ("fov", "metres")):
            if len(getattr(self, name)) != 2:
                raise ValueError(f"{name}={getattr(self, name)!r} must be two numbers (y, x) in {unit}")
        for count in self.shape:
            require_count("shape", count)
        fov_y, fov_x = (positive_number("fov", length, "metres") for length in self.fov)
        object.__setattr__(self, "shape", (int(self.shape[0]), int(self.shape[1])))
        object.__setattr__(self, "fov", (fov_y, fov_x))

    @property
    def n_pixels(self) -> int:
        """Number of pixels."""
        return self.shape[0] * self.shape[1]

    @property
    def y(self) -> RealArray:
        """Positions of the rows [m], shape (ny,)."""
        return _positions(self.shape[0], self.fov[0])

    @property
    def x(self) -> RealArray:
        """Positions of the columns [m], shape (nx,)."""
        return _positions(self.shape[1], self.fov[1])


def _positions(n: int, fov: float) -> RealArray:
    return (np.arange(n, dtype=np.float64) - n // 2) * (fov / n)
