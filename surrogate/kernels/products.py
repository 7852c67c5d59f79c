"""Products of small matrices, without the overhead and the threads of a BLAS library."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

WIDTH = 16
"""Columns of a tile: the number of columns of a product is a multiple of this."""


def _tile(n_rows: int) -> Any:
    """Return the compiled function c[i, j] = d[i, j] + sum_k a[i, k] b[k, j] for n_rows x WIDTH values.

    All arrays are flat float32: c begins at i_c with rows of step_c, and d and b likewise; a[i, k] is at
    i_a + i row_a + k column_a. The sums stay in registers, which no loop in Python syntax achieves.
    """

    @intrinsic
    def tile(typing, c, i_c, step_c, d, i_d, step_d, a, i_a, row_a, column_a, b, i_b, step_b, n):  # type: ignore[no-untyped-def]
        size = types.intp
        signature = types.void(c, size, size, d, size, size, a, size, size, size, b, size, size, size)

        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            float32, index = ir.FloatType(), ir.IntType(64)
            vector = ir.VectorType(float32, WIDTH)
            lanes = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH)
            undefined = ir.Constant(vector, ir.Undefined)
            multiply_add = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fmuladd.v{WIDTH}f32"
            )
            data = {
                name: context.make_array(signature.args[i])(context, builder, arguments[i]).data
                for name, i in (("c", 0), ("d", 3), ("a", 6), ("b", 10))
            }
            i_c, step_c, i_d, step_d, i_a, row_a, column_a, i_b, step_b, n = (
                arguments[i] for i in (1, 2, 4, 5, 7, 8, 9, 11, 12, 13)
            )

            def row(name, start, step, i):  # type: ignore[no-untyped-def]
                place = builder.add(start, builder.mul(step, index(i)))
                return builder.bitcast(builder.gep(data[name], [place]), vector.as_pointer())

            def load(pointer):  # type: ignore[no-untyped-def]
                value = builder.load(pointer)
                value.align = 4
                return value

            sums = [load(row("d", i_d, step_d, i)) for i in range(n_rows)]
            before = builder.block
            loop, after = (builder.append_basic_block(name) for name in ("loop", "after"))
            builder.branch(loop)
            builder.position_at_end(loop)
            counter, a_place, b_place = (builder.phi(index) for _ in range(3))
            totals = [builder.phi(vector) for _ in sums]
            b_row = load(row("b", b_place, index(0), 0))
            results = []
            for i, total in enumerate(totals):
                place = builder.add(a_place, builder.mul(row_a, index(i)))
                value = builder.load(builder.gep(data["a"], [place]))
                first = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
                repeated = builder.shuffle_vector(first, undefined, lanes)
                results.append(builder.call(multiply_add, [repeated, b_row, total]))
            for phi, start, end in (
                (counter, index(0), builder.add(counter, index(1))),
                (a_place, i_a, builder.add(a_place, column_a)),
                (b_place, i_b, builder.add(b_place, step_b)),
                *zip(totals, sums, results, strict=True),
            ):
                phi.add_incoming(start, before)
                phi.add_incoming(end, loop)
            more = builder.icmp_signed("<", builder.add(counter, index(1)), n)
            builder.cbranch(more, loop, after)
            builder.position_at_end(after)
            for i, result in enumerate(results):
                builder.store(result, row("c", i_c, step_c, i)).align = 4
            return context.get_dummy_value()

        return signature, generate

    return tile


_tile6, _tile4, _tile2, _tile1 = (_tile(n_rows) for n_rows in (6, 4, 2, 1))


@njit(nogil=True, cache=True)
def multiply_add(c, i_c, step_c, d, i_d, step_d, a, i_a, row_a, column_a, b, i_b, step_b, m, n, k):
    """Set c = d + a b, for a of m x k, b of k x n; n is a multiple of WIDTH and k at least 1.

    All arrays are flat float32. Rows of c begin at i_c, i_c + step_c, ...; d and b likewise; d may be c, and
    step_d = 0 repeats one row. a[i, k] is at i_a + i row_a + k column_a, so that a may be a transpose.
    """
    for j in range(0, n, WIDTH):
        i = 0
        while i + 6 <= m:
            _tile6(c, i_c + i * step_c + j, step_c, d, i_d + i * step_d + j, step_d,
                   a, i_a + i * row_a, row_a, column_a, b, i_b + j, step_b, k)  # fmt: skip
            i += 6
        if i + 4 <= m:
            _tile4(c, i_c + i * step_c + j, step_c, d, i_d + i * step_d + j, step_d,
                   a, i_a + i * row_a, row_a, column_a, b, i_b + j, step_b, k)  # fmt: skip
            i += 4
        if i + 2 <= m:
            _tile2(c, i_c + i * step_c + j, step_c, d, i_d + i * step_d + j, step_d,
                   a, i_a + i * row_a, row_a, column_a, b, i_b + j, step_b, k)  # fmt: skip
            i += 2
        if i < m:
            _tile1(c, i_c + i * step_c + j, step_c, d, i_d + i * step_d + j, step_d,
                   a, i_a + i * row_a, row_a, column_a, b, i_b + j, step_b, k)  # fmt: skip
