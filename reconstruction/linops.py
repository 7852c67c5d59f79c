"""Subspace encodings as linear operators of SigPy, whose algorithms then run on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray
from sigpy.linop import Linop

from reconstruction.operators import SubspaceEncoding

_Apply = Callable[[NDArray[Any]], NDArray[Any]]


class _Operator(Linop):
    """An operator by functions: itself, its adjoint and its normal operator; None: the product of the two."""

    def __init__(
        self,
        shapes: tuple[tuple[int, ...], tuple[int, ...]],
        apply: _Apply,
        adjoint: _Apply,
        normal: _Apply | None,
    ) -> None:
        super().__init__(*shapes, "SubspaceEncoding")
        self._shapes, self._functions, self._normal_function = shapes, (apply, adjoint), normal

    def _apply(self, input: NDArray[Any]) -> NDArray[Any]:
        return self._functions[0](input)

    def _adjoint_linop(self) -> Linop:
        return _Operator(self._shapes[::-1], *self._functions[::-1], None)

    def _normal_linop(self) -> Linop:
        if self._normal_function is None:
            return super()._normal_linop()
        return _Operator((self._shapes[1],) * 2, self._normal_function, self._normal_function, None)


def as_linop(encoding: SubspaceEncoding) -> Linop:
    """Return an encoding E as a SigPy operator A.

    ``A * x`` is `forward`, ``A.H * s`` is `adjoint` and ``A.N * x`` is `normal` of the encoding, which sees
    no samples; algorithms of SigPy that ask for ``A.N`` are as fast as `low_rank_inversion`.

    Parameters
    ----------
    encoding : SubspaceEncoding
        From coefficient images (rank, *matrix) to k-space (n_coils, n_readouts, n_samples).

    Returns
    -------
    sigpy.linop.Linop

    Examples
    --------
    Coefficient images with l1-norms of their wavelet coefficients:

    >>> A = as_linop(encoding)  # doctest: +SKIP
    >>> W = sigpy.linop.Wavelet(A.ishape, axes=(-2, -1))  # doctest: +SKIP
    >>> prox = sigpy.prox.UnitaryTransform(sigpy.prox.L1Reg(W.oshape, 1e-3), W)  # doctest: +SKIP
    >>> x = sigpy.app.LinearLeastSquares(A, kspace, proxg=prox).run()  # doctest: +SKIP
    """
    shapes = (encoding.kspace_shape, encoding.image_shape)
    return _Operator(shapes, encoding.forward, encoding.adjoint, encoding.normal)


def as_preconditioner(encoding: SubspaceEncoding) -> Linop:
    """Return `precondition` of an encoding as a SigPy operator, for the argument P of conjugate gradients."""
    shapes = (encoding.image_shape, encoding.image_shape)
    return _Operator(shapes, encoding.precondition, encoding.precondition, None)
