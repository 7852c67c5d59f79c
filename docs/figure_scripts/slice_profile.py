"""Slice profiles of one pulse, and what a train makes of them: exact, small-tip and instantaneous."""

import numpy as np
from figure_scripts.cases import PEAKS_DEG, gaussian, lobes, rounded
from scipy.optimize import least_squares

from epgbloch import EPGBloch, Tissue
from epgbloch.constants import GAMMA_BAR
from epgbloch.reference import _pulse_operator, _rotation_vectors

SAMPLING = {"n_subslices": 96, "slice_extent": 4.0}
TISSUES = (Tissue(0.5, 0.065), Tissue(0.9, 0.085))
"""Those of Liu et al., section 3.3.2."""


def bloch_profile(pulse, flip_angle, position):
    """M+ after the rewinder, from equilibrium, without relaxation; position in slice thicknesses."""
    frequency = GAMMA_BAR * pulse.gradient * pulse.slice_thickness * position
    vectors = _rotation_vectors(pulse, flip_angle, 0.0, frequency)
    operator = _pulse_operator(vectors, pulse.duration / pulse.n_steps, 1e9, 1e9, "symmetric")
    excited = operator[:, 0, 2] + 1j * operator[:, 1, 2]
    return excited * np.exp(-2j * np.pi * frequency * (pulse.duration - pulse.center))


def small_tip_profile(pulse, position):
    """Fourier transform of the waveform, 1 in the middle: the effective over the nominal flip angle."""
    frequency = GAMMA_BAR * pulse.gradient * pulse.slice_thickness * position
    step = pulse.duration / pulse.n_steps
    to_center = pulse.center - (np.arange(pulse.n_steps) + 0.5) * step
    phases = np.exp(2j * np.pi * np.multiply.outer(frequency, to_center))
    return np.sinc(frequency * step) * (phases @ pulse.step_rotation)


def small_tip_model(train, pulse):
    """Return the function tissue -> (signal, derivatives by ln T1 and ln T2) of one atom.

    Every sub-slice is an instantaneous pulse of its effective flip angle.
    """
    n, extent = SAMPLING["n_subslices"], SAMPLING["slice_extent"]
    position = ((np.arange(n) + 0.5) / n - 0.5) * extent
    profile = small_tip_profile(pulse, position).real
    # a train of negative angles gives the negative signal
    weight = np.sign(profile) * extent / n

    def model(atom):
        subslices = Tissue(atom.t1[0], atom.t2[0], np.abs(profile))
        signal, slopes = EPGBloch().jacobian(train, subslices, wrt=("ln_t1", "ln_t2"))
        return weight @ signal.real, weight @ slopes.real

    return model


def instantaneous_model(train):
    """The same without slice profile."""

    def model(atom):
        signal, slopes = EPGBloch().jacobian(train, atom, wrt=("ln_t1", "ln_t2"))
        return signal[0].real, slopes[:, 0].real

    return model


def models(peaks):
    """Return both simpler models of the train with these peaks [degrees], by name."""
    train = lobes(peaks=peaks)
    return {"small tip": small_tip_model(train, gaussian()), "instantaneous": instantaneous_model(train)}


def exact_signal(peaks, atom):
    """Signal of EPG-Bloch for one atom, shape (n_pulses,)."""
    return EPGBloch(**SAMPLING).signal(lobes(gaussian(), peaks), atom)[0].real


def bias():
    """T1 and T2 that the simpler models fit to signals of EPG-Bloch, with a free scale."""
    rows = []
    for peaks in (np.array(PEAKS_DEG) / 2, np.array(PEAKS_DEG)):
        for atom in TISSUES:
            signal = exact_signal(peaks, atom)
            for kind, model in models(peaks).items():
                t1, t2, residual = _fit(model, signal, atom)
                rows.append(
                    {
                        "largest_flip_angle_deg": rounded(peaks.max()),
                        "t1_ms": rounded(1e3 * atom.t1[0]),
                        "t2_ms": rounded(1e3 * atom.t2[0]),
                        "model": kind,
                        "fitted_t1_ms": rounded(1e3 * t1),
                        "fitted_t2_ms": rounded(1e3 * t2),
                        "residual": rounded(residual),
                    }
                )
    return rows


def _fit(model, signal, start):
    """Least squares by T1, T2 and scale; the residual is relative to the norm of the signal."""

    def evaluate(x):
        return model(Tissue(np.exp(x[0]), np.exp(x[1])))

    result = least_squares(
        lambda x: x[2] * evaluate(x)[0] - signal,
        [np.log(start.t1[0]), np.log(start.t2[0]), 1.0],
        jac=lambda x: np.column_stack([*(x[2] * evaluate(x)[1]), evaluate(x)[0]]),
    )
    t1, t2, _ = result.x
    return np.exp(t1), np.exp(t2), np.linalg.norm(result.fun) / np.linalg.norm(signal)
