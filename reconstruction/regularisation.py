"""Spatial regularisation of coefficient images, in the form that `low_rank_admm` asks for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from epgbloch._checks import require_count


class Regularisation(Protocol):
    """Convex penalty ``weight R(K x)`` of coefficient images x, (rank, ny, nx) or (rank, nz, ny, nx)."""

    @property
    def weight(self) -> float:
        """Weight relative to the magnitude of the images, see `low_rank_admm`."""
        ...

    def analyse(self, x: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Return K x."""
        ...

    def synthesise(self, z: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Return K^H z."""
        ...

    def shrink(self, z: NDArray[np.complex64], threshold: float, i_call: int) -> NDArray[np.complex64]:
        """Return argmin_u ``threshold R(u) + ||u - z||^2 / 2``; calls are counted from 0."""
        ...


@dataclass(frozen=True)
class JointTotalVariation:
    """l2,1 norm of finite differences: edges that all coefficient images share cost once.

    ``R(K x) = sum_r (sum_j sum_a |x[j](r + e_a) - x[j](r)|^2)^(1/2)`` over pixels r, coefficients j and axes
    a; differences across the border of the image are zero.

    Parameters
    ----------
    weight : float
        See `low_rank_admm`, > 0.

    Raises
    ------
    ValueError
        If the weight is not positive.

    References
    ----------
    Rudin, Osher, Fatemi 1992, Physica D 60:259, doi 10.1016/0167-2789(92)90242-F.
    """

    weight: float

    def __post_init__(self) -> None:
        _check_weight(self.weight)

    def analyse(self, x: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Return forward differences, shape (n_axes, rank, ny, nx)."""
        differences = np.zeros((x.ndim - 1, *x.shape), dtype=np.complex64)
        for i_axis, part in enumerate(differences):
            _view(part, i_axis, slice(None, -1))[:] = np.diff(x, axis=i_axis + 1)
        return differences

    def synthesise(self, z: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Return the adjoint of `analyse`, shape (rank, ny, nx)."""
        x = np.zeros(z.shape[1:], dtype=np.complex64)
        for i_axis, part in enumerate(z):
            inner = _view(part, i_axis, slice(None, -1))
            _view(x, i_axis, slice(1, None))[:] += inner
            _view(x, i_axis, slice(None, -1))[:] -= inner
        return x

    def shrink(self, z: NDArray[np.complex64], threshold: float, i_call: int = 0) -> NDArray[np.complex64]:
        """Return z with the length of its vectors (over axes and coefficients) reduced by the threshold."""
        length = np.linalg.norm(z, axis=(0, 1))
        factor = np.divide(
            np.maximum(length - threshold, 0), length, out=np.zeros_like(length), where=length > 0
        )
        return (z * factor).astype(np.complex64)


@dataclass(frozen=True)
class LocallyLowRank:
    """Nuclear norm of the matrices (pixels of a block, coefficients).

    ``R(x) = sum over blocks ||X_b||_*``: neighbouring voxels share few signal evolutions. Blocks tile the
    image; the tiling has another offset at each call of `shrink`, so that no block borders show. At the
    border of the image, blocks wrap around to the opposite side.

    Parameters
    ----------
    weight : float
        See `low_rank_admm`, > 0.
    block : int
        Width of the blocks [pixels], > 1.

    Raises
    ------
    ValueError
        If the weight is not positive or the block too small.

    References
    ----------
    Trzasko and Manduca 2011, Proc Intl Soc Mag Reson Med 19:4371 (locally low rank).
    Lima da Cruz et al. 2019, Magn Reson Med 81:3551, doi 10.1002/mrm.27635 (in fingerprinting).
    """

    weight: float
    block: int = field(default=8, kw_only=True)

    def __post_init__(self) -> None:
        _check_weight(self.weight)
        require_count("block", self.block)
        if self.block < 2:
            raise ValueError("block=1 must be at least 2: a single pixel has no neighbours")

    def analyse(self, x: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Return x."""
        return x

    def synthesise(self, z: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Return z."""
        return z

    def shrink(self, z: NDArray[np.complex64], threshold: float, i_call: int = 0) -> NDArray[np.complex64]:
        """Return z with the singular values of its blocks reduced by the threshold."""
        rank, *shape = z.shape
        # (i g) mod 1 with the golden ratio g fills the block evenly, another irrational number per axis
        offsets = [int(self.block * (i_call * root % 1)) for root in _IRRATIONAL[: len(shape)]]
        axes = tuple(range(1, z.ndim))
        rolled = np.roll(z, offsets, axis=axes)
        padded = np.pad(rolled, [(0, 0), *((0, -n % self.block) for n in shape)])
        counts = [n // self.block for n in padded.shape[1:]]
        split = padded.reshape(rank, *(n for count in counts for n in (count, self.block)))
        order = (*range(1, split.ndim, 2), *range(2, split.ndim, 2), 0)
        blocks = split.transpose(order)
        matrices = blocks.reshape(-1, self.block ** len(shape), rank)
        left, values, right = np.linalg.svd(matrices, full_matrices=False)
        shrunk = (left * np.maximum(values - threshold, 0)[:, np.newaxis]) @ right
        images = shrunk.reshape(blocks.shape).transpose(np.argsort(order)).reshape(padded.shape)
        inner = images[(slice(None), *(slice(n) for n in shape))]
        return np.roll(inner, [-offset for offset in offsets], axis=axes).astype(np.complex64)


_IRRATIONAL = ((np.sqrt(5) - 1) / 2, np.sqrt(2) - 1, np.sqrt(3) - 1)


def _check_weight(weight: float) -> None:
    if not (np.isfinite(weight) and weight > 0):
        raise ValueError(
            f"weight={weight} must be positive and finite; leave the regularisation out for none"
        )


def _view(x: NDArray[np.complex64], i_axis: int, part: slice) -> NDArray[np.complex64]:
    """View of images (rank, ...) that takes `part` of spatial axis `i_axis`."""
    return x[(slice(None),) * (i_axis + 1) + (part,)]
