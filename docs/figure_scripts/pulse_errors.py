"""Errors that arise within the RF pulse: splitting, steps, relaxation, interpolated operators."""

import numpy as np
from figure_scripts.cases import error, gaussian, lobes, rounded, sequence, tissue
from numpy.polynomial.chebyshev import chebpts1
from scipy.interpolate import barycentric_interpolate

from epgbloch import RFPulse, operators
from epgbloch.constants import GAMMA_BAR
from epgbloch.reference import _pulse_operator, _rotation_vectors, bloch_ode, epg_bloch

SPLITTINGS = ("first_order", "symmetric")


def splitting():
    """Both splittings against the Bloch equation as an ODE, for one piecewise constant waveform."""
    atoms, coarse = tissue(20, 50), gaussian(8)
    setting = {"n_subslices": 4, "slice_extent": 1.5}

    def train(factor):
        waveform = np.repeat(coarse.waveform, factor)
        pulse = RFPulse.from_samples(waveform, coarse.duration, coarse.bandwidth, coarse.slice_thickness)
        return sequence(np.deg2rad(np.linspace(20, 120, 12)), pulse)

    exact = bloch_ode(train(1), atoms, n_isochromats=12, **setting)
    factors = [1, 2, 4, 8, 16, 32, 64]
    return {
        "t2_ms": rounded(1e3 * atoms.t2),
        "n_steps": [8 * factor for factor in factors],
    } | {
        name: rounded(
            [
                error(epg_bloch(train(factor), atoms, n_states=12, splitting=name, **setting), exact)
                for factor in factors
            ]
        )
        for name in SPLITTINGS
    }


def rf_steps():
    """Steps of a Gaussian pulse over a train, and relaxation moved out of the pulse, against many steps."""
    atoms, setting = tissue(), {"n_states": 80, "n_subslices": 16}
    exact = epg_bloch(lobes(gaussian(1600)), atoms, **setting)
    # without duration nothing relaxes in the pulse; the intervals on both sides grow by half of the pulse
    sudden = epg_bloch(lobes(RFPulse.gaussian(1e-9, 3e-3)), atoms, **setting)
    counts = [4, 8, 16, 32, 64, 128, 200, 400]
    return {
        "t2_ms": rounded(1e3 * atoms.t2),
        "n_steps": counts,
        "outside": rounded(error(sudden, exact)),
    } | {
        name: rounded(
            [error(epg_bloch(lobes(gaussian(n)), atoms, splitting=name, **setting), exact) for n in counts]
        )
        for name in SPLITTINGS
    }


def interpolation():
    """Largest error of an operator's entries between the nodes of R1 and R2 and between the angles."""
    pulse, rng = gaussian(), np.random.default_rng(0)
    frequency = GAMMA_BAR * pulse.gradient * pulse.slice_thickness * np.linspace(-1.5, 1.5, 9)

    def operator(angle, r1, r2):
        """Operator at rates per pulse duration."""
        vectors = _rotation_vectors(pulse, angle, 0.0, frequency)
        step, d = pulse.duration / pulse.n_steps, pulse.duration
        return _pulse_operator(vectors, step, d / r1, d / r2, "symmetric")

    rates = rng.uniform(0, 1, (20, 2)) * (operators.MAX_R1_DURATION, operators.MAX_R2_DURATION)
    angles = np.deg2rad([30, 90, 180])
    exact = {angle: np.array([operator(angle, *rate) for rate in rates]) for angle in angles}
    counts = [(2, 3), (2, 4), (3, 4), (operators.N_R1, operators.N_R2), (4, 6)]
    rate_errors = []
    for n_r1, n_r2 in counts:
        nodes1 = operators.MAX_R1_DURATION * (1 + chebpts1(n_r1)) / 2
        nodes2 = operators.MAX_R2_DURATION * (1 + chebpts1(n_r2)) / 2
        differences = []
        for angle in angles:
            table = np.array([[operator(angle, r1, r2) for r2 in nodes2] for r1 in nodes1])
            for rate, expected in zip(rates, exact[angle], strict=True):
                by_r2 = barycentric_interpolate(nodes1, table, rate[0])
                differences.append(np.abs(barycentric_interpolate(nodes2, by_r2, rate[1]) - expected).max())
        rate_errors.append(max(differences))
    slow = 1e-3, 1e-2
    places = rng.uniform(0, np.pi, 30)
    expected = [operator(place, *slow) for place in places]
    parts = [8, 16, 32, 64]
    angle_errors = []
    for n_parts in parts:
        step = np.pi / n_parts
        grid = np.arange(-2, n_parts + 4) * step
        table = np.array([operator(angle, *slow) for angle in grid])
        differences = []
        for place, entry in zip(places, expected, strict=True):
            first = int(place / step)
            near = slice(first, first + 6)
            differences.append(np.abs(barycentric_interpolate(grid[near], table[near], place) - entry).max())
        angle_errors.append(max(differences))
    return {
        "nodes": counts,
        "rate_error": rounded(rate_errors),
        "angle_step_deg": [180 / n_parts for n_parts in parts],
        "angle_error": rounded(angle_errors),
    }
