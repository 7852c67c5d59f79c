"""Composition of the small steps of an RF pulse into one affine operator."""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def _rotation(x, y, z, out):
    """Write the right-handed rotation matrix of the rotation vector (x, y, z) [rad] to `out`."""
    angle = np.sqrt(x * x + y * y + z * z)
    s = np.sinc(angle / np.pi)
    half = np.sinc(angle / (2 * np.pi))
    c = 0.5 * half * half
    out[0, 0], out[1, 1], out[2, 2] = (
        1 - c * (y * y + z * z),
        1 - c * (x * x + z * z),
        1 - c * (x * x + y * y),
    )
    out[0, 1], out[1, 0] = c * x * y - s * z, c * x * y + s * z
    out[0, 2], out[2, 0] = c * x * z + s * y, c * x * z - s * y
    out[1, 2], out[2, 1] = c * y * z - s * x, c * y * z + s * x


@njit(cache=True, nogil=True)
def _compose(angle, step_rotation, step_precession, e1, e2, out):
    """Fill out : (n_nodes, 3, 4) with the operators of one flip angle at one sub-slice."""
    rotation = np.empty((3, 3))
    out[:] = 0
    for node in range(e1.size):
        for i in range(3):
            out[node, i, i] = 1
    for step in range(step_rotation.size):
        turn = angle * step_rotation[step]
        _rotation(-turn.imag, turn.real, step_precession, rotation)
        for node in range(e1.size):
            f1, f2 = e1[node], e2[node]
            for j in range(4):
                recovered = 1 - f1 if j == 3 else 0.0
                x, y, z = f2 * out[node, 0, j], f2 * out[node, 1, j], f1 * out[node, 2, j] + recovered
                out[node, 0, j] = f2 * (rotation[0, 0] * x + rotation[0, 1] * y + rotation[0, 2] * z)
                out[node, 1, j] = f2 * (rotation[1, 0] * x + rotation[1, 1] * y + rotation[1, 2] * z)
                rotated = rotation[2, 0] * x + rotation[2, 1] * y + rotation[2, 2] * z
                out[node, 2, j] = f1 * rotated + recovered


@njit(cache=True, nogil=True)
def compose(angles, step_rotation, step_precession, e1, e2, out):
    """Affine maps M' = A M + b (M0 = 1) of a whole RF pulse.

    Every step is half a step of relaxation, the exact rotation about the effective field, and half a step
    of relaxation again.

    angles : (n_angles,) flip angles on resonance [rad]; step_rotation : (n_steps,) complex, rotation over
    flip angle in each step; step_precession : (n_subslices,) precession per step [rad]
    e1, e2 : (n_nodes,) relaxation over half a step
    out : (n_angles, n_subslices, n_nodes, 3, 4), written: A and, in the last column, b
    """
    for i in range(angles.size):
        for j in range(step_precession.size):
            _compose(angles[i], step_rotation, step_precession[j], e1, e2, out[i, j])
