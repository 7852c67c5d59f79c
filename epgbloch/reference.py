"""Slow simulations in complex128, written to be read: the oracles that the fast engine is tested against.

All follow the timeline of `Sequence` and the Bloch equation dM/dt = Omega x M - (Mx/T2, My/T2, (Mz - 1)/T1).
With M+ = Mx + i My, RF phase phi, nutation rate w, off-resonance f and slice gradient G, its transverse
part reads

    dM+/dt = i 2 pi (f + gamma_bar G z) M+ + w exp(i phi) Mz - M+/T2,

that is Omega = (-w sin phi, w cos phi, 2 pi (f + gamma_bar G z)). An RF pulse of phase 0 turns +z towards
+x, and M+ turns as exp(+2 pi i f t). Two instantaneous turns rewind the slice gradient around the pulse
centre: exp(-2 pi i gamma_bar G z t), before the pulse with t from its start to its centre, after the
pulse with t from its centre to its end.

A spoiler turns M+ at position theta, 0 to 2 pi across the voxel, by theta. Configuration states are the
Fourier coefficients over theta: M+ = sum_k F+_k exp(i k theta), and likewise F- for the conjugate of M+
and Z for Mz. F-_k is the conjugate of F+_(-k), so that orders k >= 0 hold everything.

The signal of pulse n is M+ exp(-i phi_n) at its echo, averaged over theta and summed over the sub-slices
with weight dz / thickness. Equilibrium magnetisation is 1. Without an RF pulse, or with a non-selective
one, there is one sub-slice of weight 1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from epgbloch.constants import GAMMA_BAR
from epgbloch.pulse import RFPulse
from epgbloch.sequence import Sequence
from epgbloch.tissue import Tissue

SPLITTINGS = ("symmetric", "first_order")

RealArray = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]


def epg_bloch(
    sequence: Sequence,
    tissue: Tissue,
    *,
    n_states: int,
    n_subslices: int = 32,
    slice_extent: float = 3.0,
    splitting: str = "symmetric",
) -> ComplexArray:
    """Return EPG-Bloch signals: small steps of rotation and relaxation through the RF pulse, in every state.

    Each RF step turns the magnetisation exactly about its effective field (RF, slice gradient and
    off-resonance) and relaxes it over the step. "first_order" is equation 3 of the paper,
    M' = R D M + (I - D) M0: decay, rotation, recovery. "symmetric" relaxes over half the step, turns, and
    relaxes over the other half. The errors fall as the first and the second power of the step length.
    Recovery enters order 0 only (equation 4).

    To save time, the steps are first multiplied into one affine operator per sub-slice and distinct pair
    of flip angle and phase. It is then applied to every state, which changes nothing but rounding.

    Parameters
    ----------
    sequence : Sequence
        Pulse sequence. Without an RF pulse, every pulse is one instantaneous rotation.
    tissue : Tissue
        Tissue parameters of the atoms.
    n_states : int
        Orders 0 ... n_states - 1 are kept. Nothing is lost if n_states >= n_pulses / 2.
    n_subslices : int
        Number of sub-slices of a slice-selective pulse: equal cells, computed at their midpoints.
    slice_extent : float
        Range that the sub-slices cover, in slice thicknesses.
    splitting : {"symmetric", "first_order"}
        How rotation and relaxation alternate within an RF step.

    Returns
    -------
    ndarray, shape (n_atoms, n_pulses), complex128
        Signal at every echo.

    Raises
    ------
    ValueError
        If a count is not a positive integer, `slice_extent` is not positive or `splitting` is unknown.

    References
    ----------
    Liu et al., Fast and accurate modeling of transient-state gradient-spoiled sequences by recurrent
    neural networks, NMR Biomed 2021, equations 1-4 and appendix A.
    """
    _require_count("n_states", n_states)
    if splitting not in SPLITTINGS:
        raise ValueError(f"splitting={splitting!r} must be one of {', '.join(SPLITTINGS)}")
    frequency, weight = _subslices(sequence.pulse, n_subslices, slice_extent)
    before, after = sequence.pulse_margins
    to_epg = np.array([[1, 1j, 0], [1, -1j, 0], [0, 0, 1]])  # S of the paper: (Mx, My, Mz) to (F+, F-, Z)
    signal = np.empty((tissue.n_atoms, sequence.n_pulses), np.complex128)
    for i_atom in range(tissue.n_atoms):
        t1, t2, off_resonance = tissue.t1[i_atom], tissue.t2[i_atom], tissue.off_resonance[i_atom]
        diffusion = _diffusion(sequence, tissue, i_atom)
        pulses = np.stack((sequence.flip_angle * tissue.b1[i_atom], sequence.rf_phase), axis=1)
        distinct, operator_of_pulse = np.unique(pulses, axis=0, return_inverse=True)
        operators = [
            _pulse_operator(
                _rotation_vectors(sequence.pulse, flip_angle, phase, off_resonance + frequency),
                _step_length(sequence.pulse),
                t1,
                t2,
                splitting,
            )
            for flip_angle, phase in distinct
        ]
        states = np.zeros((frequency.size, 3, n_states), np.complex128)
        states[:, 2, 0] = 1
        if sequence.inversion_time is not None:
            states[:, 2, 0] = 1 - 2 * sequence.inversion_efficiency
            states = _epg_free(states, sequence.inversion_time - before, t1, t2, off_resonance)
        for i_pulse in range(sequence.n_pulses):
            operator = operators[operator_of_pulse[i_pulse]]
            states = _epg_turn(states, -2 * np.pi * frequency[:, None] * before)
            states = to_epg @ operator[:, :3, :3] @ np.linalg.inv(to_epg) @ states
            states[:, :, 0] += operator[:, :3, 3] @ to_epg.T
            states = _epg_turn(states, -2 * np.pi * frequency[:, None] * after)
            states = _epg_free(states, sequence.te[i_pulse] - after, t1, t2, off_resonance)
            signal[i_atom, i_pulse] = weight * states[:, 0, 0].sum()
            states = _epg_free(
                states, sequence.tr[i_pulse] - sequence.te[i_pulse] - before, t1, t2, off_resonance
            )
            states = _epg_diffuse(states, i_pulse, sequence, diffusion)
            if sequence.dephasing[i_pulse]:
                states = _epg_dephase(states)
    return signal * np.exp(-1j * sequence.rf_phase)


def instantaneous_epg(sequence: Sequence, tissue: Tissue, *, n_states: int) -> ComplexArray:
    """Return textbook EPG signals of instantaneous pulses, with the operators T, E and S of the reference.

    T(alpha, Phi) is a rotation about the axis at angle Phi from +x: it turns +z towards -y at Phi = 0. Its
    transverse magnetisation therefore lags that of this project by 90 degrees; the signal is turned back
    at the end.

    Parameters
    ----------
    sequence : Sequence
        Pulse sequence with pulse=None.
    tissue : Tissue
        Tissue parameters of the atoms.
    n_states : int
        Orders 0 ... n_states - 1 are kept. Nothing is lost if n_states >= n_pulses / 2.

    Returns
    -------
    ndarray, shape (n_atoms, n_pulses), complex128
        Signal at every echo.

    Raises
    ------
    ValueError
        If the sequence has an RF pulse of finite duration or `n_states` is not a positive integer.

    References
    ----------
    Weigel, Extended phase graphs: dephasing, RF pulses, and echoes - pure and simple, J Magn Reson
    Imaging 2015; 41:266-295. DOI 10.1002/jmri.24619.
    """
    _require_count("n_states", n_states)
    if sequence.pulse is not None:
        raise ValueError(
            f"pulse={sequence.pulse.name!r} has a finite duration; use pulse=None or epg_bloch instead"
        )
    signal = np.empty((tissue.n_atoms, sequence.n_pulses), np.complex128)
    for i_atom in range(tissue.n_atoms):
        t1, t2, off_resonance = tissue.t1[i_atom], tissue.t2[i_atom], tissue.off_resonance[i_atom]
        diffusion = _diffusion(sequence, tissue, i_atom)
        states = np.zeros((3, n_states), np.complex128)
        states[2, 0] = 1
        if sequence.inversion_time is not None:
            states[2, 0] = 1 - 2 * sequence.inversion_efficiency
            states = _epg_free(states, sequence.inversion_time, t1, t2, off_resonance)
        for i_pulse in range(sequence.n_pulses):
            alpha = sequence.flip_angle[i_pulse] * tissue.b1[i_atom]
            turn = np.exp(1j * sequence.rf_phase[i_pulse])
            cos2, sin2, sin = np.cos(alpha / 2) ** 2, np.sin(alpha / 2) ** 2, np.sin(alpha)
            T = np.array(
                [
                    [cos2, turn**2 * sin2, -1j * turn * sin],
                    [turn**-2 * sin2, cos2, 1j * turn**-1 * sin],
                    [-0.5j * turn**-1 * sin, 0.5j * turn * sin, np.cos(alpha)],
                ]
            )
            states = _epg_free(T @ states, sequence.te[i_pulse], t1, t2, off_resonance)
            signal[i_atom, i_pulse] = states[0, 0]
            states = _epg_free(states, sequence.tr[i_pulse] - sequence.te[i_pulse], t1, t2, off_resonance)
            states = _epg_diffuse(states, i_pulse, sequence, diffusion)
            if sequence.dephasing[i_pulse]:
                states = _epg_dephase(states)
    return 1j * signal * np.exp(-1j * sequence.rf_phase)


def isochromats(
    sequence: Sequence,
    tissue: Tissue,
    *,
    n_isochromats: int,
    n_subslices: int = 32,
    slice_extent: float = 3.0,
) -> ComplexArray:
    """Return Bloch signals of real magnetisation vectors, averaged over evenly dephased isochromats.

    Isochromat j lies at theta = 2 pi j / n_isochromats. The RF steps are Rodrigues rotations between two half
    steps of relaxation, as in `epg_bloch` with symmetric splitting; both agree up to rounding when neither
    loses an order.

    Parameters
    ----------
    sequence : Sequence
        Pulse sequence. Without an RF pulse, every pulse is one instantaneous rotation.
    tissue : Tissue
        Tissue parameters of the atoms.
    n_isochromats : int
        Number of isochromats. Orders n_isochromats and above alias into the signal; there are none if
        n_isochromats >= n_pulses.
    n_subslices, slice_extent : int, float
        Sub-slices, as in `epg_bloch`.

    Returns
    -------
    ndarray, shape (n_atoms, n_pulses), complex128
        Signal at every echo.

    Raises
    ------
    ValueError
        If a count is not a positive integer or `slice_extent` is not positive.
    """
    return _ensemble(sequence, tissue, n_isochromats, n_subslices, slice_extent, _split_step)


def bloch_ode(
    sequence: Sequence,
    tissue: Tissue,
    *,
    n_isochromats: int,
    n_subslices: int = 32,
    slice_extent: float = 3.0,
) -> ComplexArray:
    """Return signals of the isochromats from a Runge-Kutta solution of the Bloch equation.

    Rotation and relaxation act together, so that there is no splitting error: the limit of `epg_bloch` for
    many RF steps of the same piecewise constant waveform. The relative tolerance of DOP853 is 1e-11. Only
    for short sequences: every RF step and every free interval is one call of the solver.

    Parameters
    ----------
    sequence : Sequence
        Pulse sequence. Without an RF pulse, every pulse is one instantaneous rotation.
    tissue : Tissue
        Tissue parameters of the atoms.
    n_isochromats : int
        Number of isochromats, as in `isochromats`.
    n_subslices, slice_extent : int, float
        Sub-slices, as in `epg_bloch`.

    Returns
    -------
    ndarray, shape (n_atoms, n_pulses), complex128
        Signal at every echo.

    Raises
    ------
    ValueError
        If a count is not a positive integer or `slice_extent` is not positive.
    RuntimeError
        If the solver cannot keep its tolerance.
    """
    return _ensemble(sequence, tissue, n_isochromats, n_subslices, slice_extent, _integrate)


def _ensemble(
    sequence: Sequence,
    tissue: Tissue,
    n_isochromats: int,
    n_subslices: int,
    slice_extent: float,
    advance: Callable[[RealArray, RealArray, float, float, float], RealArray],
) -> ComplexArray:
    """Return the signals of dephased isochromats.

    advance(m, vectors, duration, t1, t2) takes magnetisation (n_subslices, 3, n_isochromats) through a
    time of constant field that turns it by the rotation vectors Omega dt (n_subslices or 1, 3) [rad].
    """
    _require_count("n_isochromats", n_isochromats)
    if tissue.diffusion.any():
        raise ValueError("diffusion must be 0 for isochromats; use epg_bloch or instantaneous_epg")
    frequency, weight = _subslices(sequence.pulse, n_subslices, slice_extent)
    theta = 2 * np.pi * np.arange(n_isochromats) / n_isochromats
    before, after = sequence.pulse_margins
    signal = np.empty((tissue.n_atoms, sequence.n_pulses), np.complex128)
    for i_atom in range(tissue.n_atoms):
        t1, t2, off_resonance = tissue.t1[i_atom], tissue.t2[i_atom], tissue.off_resonance[i_atom]
        precession = np.array([[0, 0, 2 * np.pi * off_resonance]])
        m = np.zeros((frequency.size, 3, n_isochromats))
        m[:, 2] = 1
        if sequence.inversion_time is not None:
            m[:, 2] = 1 - 2 * sequence.inversion_efficiency
            time = sequence.inversion_time - before
            m = advance(m, precession * time, time, t1, t2)
        for i_pulse in range(sequence.n_pulses):
            flip_angle = sequence.flip_angle[i_pulse] * tissue.b1[i_atom]
            steps = _rotation_vectors(
                sequence.pulse, flip_angle, sequence.rf_phase[i_pulse], off_resonance + frequency
            )
            m = _turn(m, -2 * np.pi * frequency[:, None] * before)
            for vectors in steps:
                m = advance(m, vectors, _step_length(sequence.pulse), t1, t2)
            m = _turn(m, -2 * np.pi * frequency[:, None] * after)
            time = sequence.te[i_pulse] - after
            m = advance(m, precession * time, time, t1, t2)
            signal[i_atom, i_pulse] = weight * (m[:, 0] + 1j * m[:, 1]).mean(axis=1).sum()
            time = sequence.tr[i_pulse] - sequence.te[i_pulse] - before
            m = advance(m, precession * time, time, t1, t2)
            if sequence.dephasing[i_pulse]:
                m = _turn(m, theta)
    return signal * np.exp(-1j * sequence.rf_phase)


def _split_step(m: RealArray, vectors: RealArray, duration: float, t1: float, t2: float) -> RealArray:
    """Relax over half the time, turn, relax over the other half; without RF this is exact."""
    half = np.exp(-0.5 * duration / np.array([[t2], [t2], [t1]]))
    equilibrium = np.array([[0.0], [0.0], [1.0]])
    m = equilibrium + half * (m - equilibrium)
    m = _rotation(vectors) @ m
    return equilibrium + half * (m - equilibrium)


def _integrate(m: RealArray, vectors: RealArray, duration: float, t1: float, t2: float) -> RealArray:
    """Integrate the Bloch equation; without duration only turn."""
    if duration <= 0:  # instantaneous pulse, or echo at the end of the pulse (rounding may leave -1e-19 s)
        return _rotation(vectors) @ m
    wx, wy, wz = vectors.T[:, :, None] / duration

    def derivative(_: float, flat: RealArray) -> RealArray:
        x, y, z = np.moveaxis(flat.reshape(m.shape), 1, 0)
        return np.stack(
            [wy * z - wz * y - x / t2, wz * x - wx * z - y / t2, wx * y - wy * x - (z - 1) / t1], axis=1
        ).ravel()

    solution = solve_ivp(
        derivative, (0, duration), m.ravel(), method="DOP853", t_eval=[duration], rtol=1e-11, atol=1e-13
    )
    if not solution.success:
        raise RuntimeError(f"the Bloch equation could not be integrated: {solution.message}")
    return solution.y[:, -1].reshape(m.shape)


def _require_count(name: str, value: int) -> None:
    if not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name}={value!r} must be a positive integer; give at least 1")


def _subslices(pulse: RFPulse | None, n_subslices: int, slice_extent: float) -> tuple[RealArray, float]:
    """Return gamma_bar G z [Hz] of every sub-slice and the weight dz / thickness of each."""
    _require_count("n_subslices", n_subslices)
    if not (np.isfinite(slice_extent) and slice_extent > 0):
        raise ValueError(
            f"slice_extent={slice_extent} must be positive and finite; give it in slice thicknesses"
        )
    if pulse is None or pulse.slice_thickness is None:
        return np.zeros(1), 1.0
    dz = slice_extent * pulse.slice_thickness / n_subslices
    z = (np.arange(n_subslices, dtype=np.float64) + 0.5 - n_subslices / 2) * dz
    return GAMMA_BAR * pulse.gradient * z, dz / pulse.slice_thickness


def _step_length(pulse: RFPulse | None) -> float:
    """Return the length of an RF step [s]; 0 for an instantaneous pulse."""
    return 0.0 if pulse is None else pulse.duration / pulse.n_steps


def _rotation_vectors(
    pulse: RFPulse | None, flip_angle: float, phase: float, frequency: RealArray
) -> RealArray:
    """Return Omega dt [rad] of every RF step and sub-slice, shape (n_steps, n_subslices, 3)."""
    steps = np.ones(1) if pulse is None else pulse.step_rotation
    nutation = flip_angle * np.exp(1j * phase) * steps
    vectors = np.empty((steps.size, frequency.size, 3))
    vectors[:, :, 0] = -nutation.imag[:, None]
    vectors[:, :, 1] = nutation.real[:, None]
    vectors[:, :, 2] = 2 * np.pi * frequency * _step_length(pulse)
    return vectors


def _rotation(vectors: RealArray) -> RealArray:
    """Return the right-handed rotations by |v| about v (Rodrigues), shape (..., 3) to (..., 3, 3)."""
    x, y, z = np.moveaxis(vectors, -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(*x.shape, 3, 3)
    angle = np.linalg.norm(vectors, axis=-1)[..., None, None]
    sine = np.sinc(angle / np.pi)  # sin(a) / a, which is 1 at a = 0
    cosine = 0.5 * np.sinc(angle / (2 * np.pi)) ** 2  # (1 - cos(a)) / a^2
    return np.eye(3) + sine * cross + cosine * (cross @ cross)


def _pulse_operator(
    vectors: RealArray, step_length: float, t1: float, t2: float, splitting: str
) -> RealArray:
    """Return [[A, b], [0, 1]] of a whole pulse, M -> A M + b, shape (n_subslices, 4, 4)."""
    rotations = np.zeros((*vectors.shape[:2], 4, 4))
    rotations[..., :3, :3] = _rotation(vectors)
    rotations[..., 3, 3] = 1
    if splitting == "symmetric":
        half = _relaxation_operator(step_length / 2, t1, t2)
        steps = half @ rotations @ half
    else:
        relaxation = _relaxation_operator(step_length, t1, t2)
        steps = rotations @ np.diag(np.diag(relaxation))
        steps[..., 2, 3] += relaxation[2, 3]
    operator = np.eye(4)
    for step in steps:
        operator = step @ operator
    return operator


def _relaxation_operator(time: float, t1: float, t2: float) -> RealArray:
    """Return [[D, (I - D) M0], [0, 1]], shape (4, 4)."""
    e1, e2 = np.exp(-time / t1), np.exp(-time / t2)
    operator = np.diag([e2, e2, e1, 1.0])
    operator[2, 3] = 1 - e1
    return operator


def _epg_turn(states: ComplexArray, angle: RealArray | float) -> ComplexArray:
    """Turn the transverse magnetisation of states (..., 3, n_states) by an angle (..., 1)."""
    turned = states.copy()
    turned[..., 0, :] *= np.exp(1j * angle)
    turned[..., 1, :] *= np.exp(-1j * angle)
    return turned


def _epg_free(states: ComplexArray, time: float, t1: float, t2: float, off_resonance: float) -> ComplexArray:
    """Return states (..., 3, n_states) after free precession and relaxation."""
    e1, e2 = np.exp(-time / t1), np.exp(-time / t2)
    relaxed = _epg_turn(states, 2 * np.pi * off_resonance * time) * np.array([[e2], [e2], [e1]])
    relaxed[..., 2, 0] += 1 - e1
    return relaxed


def _diffusion(sequence: Sequence, tissue: Tissue, i_atom: int) -> float:
    """Diffusion coefficient times the squared moment of one order [1/s]."""
    coefficient = float(tissue.diffusion[i_atom])
    if coefficient > 0 and sequence.spoiler_moment is None and sequence.dephasing.any():
        raise ValueError(
            f"diffusion={coefficient:.3g} m^2/s needs the spoiler_moment of the sequence [rad/m]"
        )
    return coefficient * (sequence.spoiler_moment or 0.0) ** 2


def _epg_diffuse(states: ComplexArray, i_pulse: int, sequence: Sequence, diffusion: float) -> ComplexArray:
    """Return states (..., 3, n_states) attenuated by diffusion over one TR [1/s per order squared].

    The integral of the squared order over time: orders stand still up to the echo; from there to the end of
    TR, a spoiler takes F+ from k to k + 1 and F- from k to k - 1 with constant speed.
    """
    order = np.arange(states.shape[-1])
    still, moving = sequence.te[i_pulse], sequence.tr[i_pulse] - sequence.te[i_pulse]
    step = int(sequence.dephasing[i_pulse])
    squares = np.stack([order**2 + direction * order + direction**2 / 3 for direction in (step, -step, 0)])
    return states * np.exp(-diffusion * (order**2 * still + squares * moving))


def _epg_dephase(states: ComplexArray) -> ComplexArray:
    """Return states (..., 3, n_states) with every transverse order raised by one; the highest is lost."""
    shifted = np.zeros_like(states)
    shifted[..., 0, 1:] = states[..., 0, :-1]
    shifted[..., 1, :-1] = states[..., 1, 1:]
    shifted[..., 0, 0] = shifted[..., 1, 0].conj()
    shifted[..., 2, :] = states[..., 2, :]
    return shifted


def _turn(m: RealArray, angle: RealArray | float) -> RealArray:
    """Turn vectors (n_subslices, 3, n_isochromats) about +z."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack([cos * m[:, 0] - sin * m[:, 1], sin * m[:, 0] + cos * m[:, 1], m[:, 2]], axis=1)
