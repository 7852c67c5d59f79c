"""Vectors of WIDTH float32 values: the unit of work of the kernels.

Compiled code keeps them in vector registers: numba's own vectoriser gives up on loops over lanes with
offsets that it cannot tell apart, and then the kernels are 3 to 10 times slower. The functions below mean
what their bodies say about NumPy vectors, and run as written without compilation (NUMBA_DISABLE_JIT=1).
"""

import operator
import platform

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

WIDTH = 16 if binding.get_host_cpu_features().get("avx512f") else 8
"""Values of a vector: one AVX-512 or AVX2 register; divides LANES."""

_X86 = platform.machine().lower() in ("x86_64", "amd64")

_FLAGS = ("contract",)
"""A product and a sum may be fused; nothing else is reordered."""


def view(array, first):
    """Return the part of a contiguous array from `first` on, flat.

    Compiled, this is a bare address: passing arrays to functions counts references, which costs more than
    20 orders of states. The array must outlive it: arguments of the kernel do, others need `hold`.
    """
    return array.reshape(-1)[first:]


def hold(array):
    """Keep an array alive up to this line."""


def load(array, i):
    """Return the vector array[i : i + WIDTH]."""
    return array[i : i + WIDTH].copy()


def store(array, i, vector):
    """Write the vector to array[i : i + WIDTH]."""
    array[i : i + WIDTH] = vector


def add(array, i, vector):
    """Add the vector to array[i : i + WIDTH]."""
    array[i : i + WIDTH] += vector


def fill(value):
    """Return the vector of equal values."""
    return np.full(WIDTH, value, np.float32)


def total(vector):
    """Return the sum of the values."""
    return vector.sum()


def denormals_to_zero():
    """Make the thread replace denormal numbers by zero, and return its former settings.

    Decayed states become denormal, and processors of the x86 family are 100 times slower with these.
    """
    return 0


def restore_denormals(settings):
    """Put back what `denormals_to_zero` returned."""


class _Vector(types.Type):
    def __init__(self):
        super().__init__(name=f"Vector{WIDTH}")


_vector = _Vector()
_llvm_vector = ir.VectorType(ir.FloatType(), WIDTH)


@register_model(_Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, _llvm_vector)


def _address(context, builder, signature, arguments):
    """Address of element arguments[1] of the array or address arguments[0]."""
    array_type, index_type = signature.args[:2]
    data = arguments[0]
    if isinstance(array_type, types.Array):
        data = context.make_array(array_type)(context, builder, data).data
    # offsets are not negative; indices of 32 bits would wrap
    return builder.gep(data, [context.cast(builder, arguments[1], index_type, types.intp)])


def _floats(array):
    """Tell whether a type is a flat contiguous array or an address of float32."""
    flat = isinstance(array, types.Array) and array.ndim == 1 and array.layout == "C"
    return (flat or isinstance(array, types.CPointer)) and array.dtype == types.float32


@intrinsic
def _view(typing_context, array, first):
    return types.CPointer(array.dtype)(array, first), _address


@intrinsic
def _hold(typing_context, array):
    def codegen(context, builder, signature, arguments):
        return context.get_dummy_value()

    return types.void(array), codegen


@intrinsic
def _load(typing_context, array, i):
    def codegen(context, builder, signature, arguments):
        address = _address(context, builder, signature, arguments)
        return builder.load(builder.bitcast(address, _llvm_vector.as_pointer()), align=4)

    return _vector(array, i), codegen


@intrinsic
def _store(typing_context, array, i, vector):
    def codegen(context, builder, signature, arguments):
        address = _address(context, builder, signature, arguments)
        builder.store(arguments[2], builder.bitcast(address, _llvm_vector.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(array, i, vector), codegen


@intrinsic
def _fill(typing_context, value):
    def codegen(context, builder, signature, arguments):
        scalar = context.cast(builder, arguments[0], signature.args[0], types.float32)
        lane = ir.Constant(ir.IntType(32), 0)
        first = builder.insert_element(ir.Constant(_llvm_vector, ir.Undefined), scalar, lane)
        mask = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH)
        return builder.shuffle_vector(first, ir.Constant(_llvm_vector, ir.Undefined), mask)

    return _vector(value), codegen


@intrinsic
def _total(typing_context, vector):
    def codegen(context, builder, signature, arguments):
        (values,) = arguments
        width = WIDTH
        while width > 1:
            # the upper half onto the lower
            width //= 2
            low = ir.Constant(ir.VectorType(ir.IntType(32), width), list(range(width)))
            high = ir.Constant(ir.VectorType(ir.IntType(32), width), list(range(width, 2 * width)))
            undefined = ir.Constant(values.type, ir.Undefined)
            values = builder.fadd(
                builder.shuffle_vector(values, undefined, low),
                builder.shuffle_vector(values, undefined, high),
            )
        return builder.extract_element(values, ir.Constant(ir.IntType(32), 0))

    return types.float32(vector), codegen


def _control_register(context, builder, name, pointer):
    kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer()])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.sse.{name}")
    builder.call(function, [builder.bitcast(pointer, ir.IntType(8).as_pointer())])


@intrinsic
def _denormals_to_zero(typing_context):
    def codegen(context, builder, signature, arguments):
        if not _X86:
            return ir.Constant(ir.IntType(32), 0)
        register = cgutils.alloca_once(builder, ir.IntType(32))
        _control_register(context, builder, "stmxcsr", register)
        settings = builder.load(register)
        # flush to zero and denormals are zero
        builder.store(builder.or_(settings, ir.Constant(ir.IntType(32), 0x8040)), register)
        _control_register(context, builder, "ldmxcsr", register)
        return settings

    return types.int32(), codegen


@intrinsic
def _restore_denormals(typing_context, settings):
    def codegen(context, builder, signature, arguments):
        if _X86:
            register = cgutils.alloca_once(builder, ir.IntType(32))
            builder.store(arguments[0], register)
            _control_register(context, builder, "ldmxcsr", register)
        return context.get_dummy_value()

    return types.void(types.int32), codegen


def _binary(method):
    @intrinsic
    def compiled(typing_context, a, b):
        def codegen(context, builder, signature, arguments):
            return getattr(builder, method)(*arguments, flags=_FLAGS)

        return _vector(a, b), codegen

    return compiled


_add, _subtract, _multiply = _binary("fadd"), _binary("fsub"), _binary("fmul")


@intrinsic
def _negate(typing_context, a):
    def codegen(context, builder, signature, arguments):
        return builder.fneg(arguments[0])

    return _vector(a), codegen


@overload(view, inline="always")
def _overload_view(array, first):
    contiguous = isinstance(array, types.Array) and array.layout == "C"
    if (contiguous or isinstance(array, types.CPointer)) and isinstance(first, types.Integer):
        return lambda array, first: _view(array, first)
    return None


@overload(hold, inline="always")
def _overload_hold(array):
    if isinstance(array, types.Array):
        return lambda array: _hold(array)
    return None


@overload(load, inline="always")
def _overload_load(array, i):
    if _floats(array) and isinstance(i, types.Integer):
        return lambda array, i: _load(array, i)
    return None


@overload(store, inline="always")
def _overload_store(array, i, vector):
    if _floats(array) and isinstance(i, types.Integer) and isinstance(vector, _Vector):
        return lambda array, i, vector: _store(array, i, vector)
    return None


@overload(add, inline="always")
def _overload_add(array, i, vector):
    if _floats(array) and isinstance(i, types.Integer) and isinstance(vector, _Vector):
        return lambda array, i, vector: _store(array, i, _add(_load(array, i), vector))
    return None


@overload(fill, inline="always")
def _overload_fill(value):
    if isinstance(value, types.Number):
        return lambda value: _fill(value)
    return None


@overload(total, inline="always")
def _overload_total(vector):
    if isinstance(vector, _Vector):
        return lambda vector: _total(vector)
    return None


@overload(denormals_to_zero, inline="always")
def _overload_denormals_to_zero():
    return lambda: _denormals_to_zero()


@overload(restore_denormals, inline="always")
def _overload_restore_denormals(settings):
    return lambda settings: _restore_denormals(settings)


def _overload_binary(function, compiled):
    @overload(function)
    def binary(a, b):
        if isinstance(a, _Vector) and isinstance(b, _Vector):
            return lambda a, b: compiled(a, b)
        return None


_overload_binary(operator.add, _add)
_overload_binary(operator.iadd, _add)
_overload_binary(operator.sub, _subtract)
_overload_binary(operator.isub, _subtract)
_overload_binary(operator.mul, _multiply)


@overload(operator.neg)
def _overload_negative(a):
    if isinstance(a, _Vector):
        return lambda a: _negate(a)
    return None
