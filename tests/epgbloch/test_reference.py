"""The oracles against closed forms and against one another."""

from functools import partial

import numpy as np
import pytest

from epgbloch.pulse import RFPulse
from epgbloch.reference import bloch_ode, epg_bloch, instantaneous_epg, isochromats
from epgbloch.sequence import Sequence
from epgbloch.tissue import Tissue

ROUNDING = 1e-12  # complex128, up to 200 pulses
ODE = 1e-9  # DOP853 with rtol 1e-11, summed over the pulses

# name: (simulation with enough orders for n, tolerance)
ORACLES = {
    "epg_bloch": (lambda s, t, n, **kw: epg_bloch(s, t, n_states=n, **kw), ROUNDING),
    "isochromats": (lambda s, t, n, **kw: isochromats(s, t, n_isochromats=n, **kw), ROUNDING),
    "bloch_ode": (lambda s, t, n, **kw: bloch_ode(s, t, n_isochromats=n, **kw), ODE),
    "instantaneous_epg": (lambda s, t, n: instantaneous_epg(s, t, n_states=n), ROUNDING),
}
FINITE = [name for name in ORACLES if name != "instantaneous_epg"]
every_oracle = pytest.mark.parametrize("name", ORACLES)
every_finite_oracle = pytest.mark.parametrize("name", FINITE)


def check(name, sequence, tissue, expected, n=None, echo=slice(None), **settings):
    simulate, tolerance = ORACLES[name]
    signal = simulate(sequence, tissue, n or sequence.n_pulses, **settings)
    assert signal.shape == (tissue.n_atoms, sequence.n_pulses)
    assert signal.dtype == np.complex128
    np.testing.assert_allclose(signal[:, echo], expected, rtol=0, atol=tolerance)


def train(n_pulses, **settings):
    rng = np.random.default_rng(7)
    values = {
        "flip_angle": rng.uniform(0.2, 2.2, n_pulses),
        "tr": rng.uniform(8e-3, 14e-3, n_pulses),
        "te": rng.uniform(2e-3, 5e-3, n_pulses),
        "phase": rng.uniform(-3, 3, n_pulses),
        "inversion_time": 12e-3,
        "inversion_efficiency": 0.93,
    }
    return Sequence(**(values | settings))


def asymmetric_pulse(repeat=1, slice_thickness=3e-3):
    """Complex waveform of six steps with an early centre; `repeat` refines the steps, not the shape."""
    samples = np.repeat([0.3 + 0.2j, 1.0 - 0.4j, 1.7 + 0.1j, 1.2, 0.6 - 0.5j, -0.2 + 0.3j], repeat)
    return RFPulse.from_samples(samples, 1.5e-3, 2000, slice_thickness, center=0.6e-3)


TISSUE = Tissue(t1=[0.9, 0.4], t2=[0.08, 0.06], b1=[1.1, 0.8], off_resonance=[7.0, -20.0])


# Closed forms, instantaneous pulses


@every_oracle
def test_excitation_precession_and_t2_decay(name):
    te = 4e-3
    sequence = Sequence(0.7, 10e-3, te, phase=1.3)
    decay = np.exp((-1 / TISSUE.t2 + 2j * np.pi * TISSUE.off_resonance) * te)
    check(name, sequence, TISSUE, (np.sin(0.7 * TISSUE.b1) * decay)[:, None])


@every_oracle
def test_inversion_recovery(name):
    ti, te = 0.3, 5e-3
    tissue = Tissue(t1=[0.9, 0.2], t2=[0.08, 0.05])
    sequence = Sequence(np.pi / 2, 10e-3, te, inversion_time=ti, inversion_efficiency=0.9)
    expected = (1 - 2 * 0.9 * np.exp(-ti / tissue.t1)) * np.exp(-te / tissue.t2)
    check(name, sequence, tissue, expected[:, None])


@every_oracle
def test_look_locker_approaches_the_ernst_signal_with_apparent_t1(name):
    # TR = 50 T2 spoils ideally: exp(-50) = 2e-22.
    t1, t2, tr, te, ti, alpha = 1.5, 0.02, 1.0, 3e-3, 0.2, np.deg2rad(20)
    n = np.arange(12)
    sequence = Sequence(np.full(n.size, alpha), tr, te, inversion_time=ti)
    apparent_t1 = 1 / (1 / t1 - np.log(np.cos(alpha)) / tr)
    steady = (1 - np.exp(-tr / t1)) / (1 - np.cos(alpha) * np.exp(-tr / t1))
    mz = steady + (1 - 2 * np.exp(-ti / t1) - steady) * np.exp(-n * tr / apparent_t1)
    check(name, sequence, Tissue(t1, t2), [np.sin(alpha) * mz * np.exp(-te / t2)])


def steady_state(e1, e2, alpha, beta):
    """M+ right after a pulse of phase 0 if M+ turns by beta between pulses: fixed point of the Bloch map."""
    cos = np.cos(alpha)
    denominator = (1 - e1 * cos) * (1 - e2 * np.cos(beta)) - e2 * (e1 - cos) * (e2 - np.cos(beta))
    return (1 - e1) * np.sin(alpha) * (1 - e2 * np.exp(-1j * beta)) / denominator


@every_oracle
def test_balanced_steady_state(name):
    # 150 TR leave exp(-45) = 3e-20 of the transient.
    t1, t2, tr, te, alpha = 0.1, 0.05, 0.02, 6e-3, np.deg2rad(50)
    tissue = Tissue(t1, t2, off_resonance=[0.0, 8.0, 25.0, -17.0])
    sequence = Sequence(np.full(150, alpha), tr, te, phase=np.pi * np.arange(150), spoiling="balanced")
    beta = 2 * np.pi * tissue.off_resonance * tr + np.pi  # the alternating phase shifts it by half a turn
    expected = steady_state(np.exp(-tr / t1), np.exp(-tr / t2), alpha, beta)
    expected = expected * np.exp((-1 / t2 + 2j * np.pi * tissue.off_resonance) * te)
    check(name, sequence, tissue, expected[:, None], n=1, echo=[-1])


def test_balanced_on_resonance_is_the_textbook_formula():
    e1, e2, alpha = 0.8, 0.6, 0.9
    textbook = np.sin(alpha) * (1 - e1) / (1 - (e1 - e2) * np.cos(alpha) - e1 * e2)
    assert steady_state(e1, e2, alpha, np.pi) == pytest.approx(textbook, abs=1e-15)  # rounding


@every_oracle
def test_gradient_spoiled_steady_state(name):
    # Mean of `steady_state` over beta, with the integrals of 1 and cos(beta) over (p - q cos(beta)).
    t1, t2, tr, te, alpha = 0.1, 0.05, 0.02, 6e-3, np.deg2rad(50)
    e1, e2, cos = np.exp(-tr / t1), np.exp(-tr / t2), np.cos(alpha)
    p, q = 1 - e1 * cos - e2**2 * (e1 - cos), e2 * (1 - e1) * (1 + cos)
    r = np.sqrt(p**2 - q**2)
    expected = (1 - e1) * np.sin(alpha) * (1 / r - e2 * (p / r - 1) / q) * np.exp(-te / t2)
    # Transient exp(-45); orders 80 and above hold exp(-80 TR / T2) = exp(-32) = 1e-14.
    check(name, Sequence(np.full(150, alpha), tr, te), Tissue(t1, t2), [[expected]], n=80, echo=[-1])


# Finite pulses


@every_finite_oracle
@pytest.mark.parametrize(("n_subslices", "slice_extent"), [(7, 2.0), (12, 3.0)])
def test_small_flip_angle_gives_fourier_slice_profile(name, n_subslices, slice_extent):
    flip, te, f = 1e-4, 4e-3, 60.0
    pulse = asymmetric_pulse()
    sequence = Sequence(flip, 10e-3, te, pulse=pulse)
    tissue = Tissue(1e9, 1e9, off_resonance=f)
    dt = pulse.duration / pulse.n_steps
    lead = pulse.center - (np.arange(pulse.n_steps) + 0.5) * dt  # from the middle of each step to the centre
    cells = ((np.arange(n_subslices) + 0.5) / n_subslices - 0.5) * slice_extent  # z / thickness
    fz = (cells * pulse.bandwidth)[:, None]
    steps = pulse.step_rotation * np.sinc((f + fz) * dt) * np.exp(2j * np.pi * (fz * lead + f * (te + lead)))
    expected = flip * steps.sum() * slice_extent / n_subslices
    # The next term is of order flip^3 = 1e-12; the ODE adds its atol of 1e-13 a step.
    simulate, _ = ORACLES[name]
    signal = simulate(sequence, tissue, 1, n_subslices=n_subslices, slice_extent=slice_extent)
    assert abs(signal[0, 0] - expected) < 3e-12


@every_finite_oracle
def test_non_selective_pulse_without_relaxation_turns_by_the_flip_angle(name):
    sequence = Sequence(2.1, 10e-3, 4e-3, pulse=RFPulse.gaussian(1e-3, None, n_steps=9))
    check(name, sequence, Tissue(1e12, 1e12, b1=0.9), [[np.sin(1.89)]])


@pytest.mark.parametrize("splitting", ["symmetric", "first_order"])
def test_one_rf_step_relaxes_as_its_splitting_says(splitting):
    t1, t2, d = 0.02, 0.01, 1e-3
    sequence = Sequence(0.8, 10e-3, d / 2, pulse=RFPulse.rectangular(d, n_steps=1), inversion_time=d / 2)
    # Inverted, the pulse starts from Mz = -1; the echo is at its end.
    mz = {"symmetric": 1 - 2 * np.exp(-d / 2 / t1), "first_order": -np.exp(-d / t1)}[splitting]
    decay = {"symmetric": np.exp(-d / 2 / t2), "first_order": 1.0}[splitting]
    check("epg_bloch", sequence, Tissue(t1, t2), [[np.sin(0.8) * mz * decay]], splitting=splitting)


def test_short_pulse_tends_to_instantaneous_rotation_with_first_order():
    tissue = Tissue(0.3, 0.03, off_resonance=40.0)
    limit = instantaneous_epg(train(12), tissue, n_states=6)
    errors = [
        np.abs(
            epg_bloch(train(12, pulse=RFPulse.rectangular(d, n_steps=8)), tissue, n_states=6) - limit
        ).max()
        for d in (2e-5, 1e-5)
    ]
    assert errors[1] < 1e-3  # a few times d / T2
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.02)  # linear in the duration, quadratic term 1 %


def test_splitting_errors_against_ode_fall_with_first_and_second_order():
    settings = {"n_subslices": 6, "slice_extent": 2.5}
    exact = bloch_ode(train(4, pulse=asymmetric_pulse()), TISSUE, n_isochromats=4, **settings)
    repeats = np.array([4, 8, 16])
    signals = {
        splitting: [
            epg_bloch(
                train(4, pulse=asymmetric_pulse(repeat)), TISSUE, n_states=4, splitting=splitting, **settings
            )
            for repeat in repeats
        ]
        for splitting in ("symmetric", "first_order")
    }
    errors = {key: [np.abs(s - exact).max() for s in value] for key, value in signals.items()}
    slope = {key: np.polyfit(np.log(repeats), np.log(value), 1)[0] for key, value in errors.items()}
    # Slopes of the leading term; the next term is a few per cent of it.
    assert slope["first_order"] == pytest.approx(-1, abs=0.05)
    assert slope["symmetric"] == pytest.approx(-2, abs=0.02)
    assert errors["symmetric"][-1] < 1e-6  # 96 steps; first order is at 3e-5
    # Without its second-order term the error is of fourth order: 1e-9 at 96 steps.
    _, coarse, fine = signals["symmetric"]
    np.testing.assert_allclose((4 * fine - coarse) / 3, exact, rtol=0, atol=ODE)


# Agreement and symmetries


@every_oracle
@pytest.mark.parametrize("spoiling", ["gradient", "rf", "balanced"])
def test_oracles_agree_on_instantaneous_pulses(name, spoiling):
    sequence = train(16, spoiling=spoiling)
    check(name, sequence, TISSUE, epg_bloch(sequence, TISSUE, n_states=16))


@pytest.mark.parametrize("spoiling", ["gradient", "rf", "balanced"])
@pytest.mark.parametrize("slice_thickness", [3e-3, None])
def test_epg_bloch_equals_isochromats_with_finite_pulses(spoiling, slice_thickness):
    sequence = train(16, spoiling=spoiling, pulse=asymmetric_pulse(slice_thickness=slice_thickness))
    expected = epg_bloch(sequence, TISSUE, n_states=8, n_subslices=5)
    check("isochromats", sequence, TISSUE, expected, n_subslices=5)


@pytest.mark.parametrize("simulate", [epg_bloch, instantaneous_epg], ids=["epg_bloch", "instantaneous_epg"])
def test_half_as_many_states_as_pulses_are_exact_and_fewer_are_not(simulate):
    sequence = train(12)
    full = simulate(sequence, TISSUE, n_states=12)
    np.testing.assert_allclose(simulate(sequence, TISSUE, n_states=6), full, rtol=0, atol=ROUNDING)
    truncated = simulate(sequence, TISSUE, n_states=5)
    np.testing.assert_allclose(truncated[:, :10], full[:, :10], rtol=0, atol=ROUNDING)
    assert np.abs(truncated - full)[:, 10:].max() > 1e-4  # far above rounding


def test_as_many_isochromats_as_pulses_are_exact_and_fewer_alias():
    sequence = train(8)
    expected = epg_bloch(sequence, TISSUE, n_states=8)
    check("isochromats", sequence, TISSUE, expected, n=8)
    aliased = isochromats(sequence, TISSUE, n_isochromats=7)
    np.testing.assert_allclose(aliased[:, :7], expected[:, :7], rtol=0, atol=ROUNDING)
    assert np.abs(aliased - expected)[:, 7].max() > 1e-4  # far above rounding


@every_finite_oracle
def test_receiver_follows_a_common_phase(name):
    expected = ORACLES[name][0](train(3, pulse=asymmetric_pulse(), phase=[0, 2, -1]), TISSUE, 3)
    check(name, train(3, pulse=asymmetric_pulse(), phase=[0.9, 2.9, -0.1]), TISSUE, expected)


@every_oracle
def test_gradient_spoiler_absorbs_a_linear_phase_but_not_a_quadratic_one(name):
    n = np.arange(6)
    expected = epg_bloch(train(6, phase=0.0), TISSUE, n_states=6)
    check(name, train(6, phase=0.7 * n), TISSUE, expected)
    quadratic = ORACLES[name][0](train(6, phase=0.7 * n**2), TISSUE, 6)
    assert np.abs(quadratic - expected).max() > 1e-2  # far above rounding


@every_oracle
def test_rf_spoiling_is_a_quadratic_phase_on_top_of_the_given_one(name):
    n, increment = np.arange(6), np.deg2rad(50)
    sequence = train(6, phase=0.4, spoiling="rf", rf_spoiling_increment=increment)
    phase = 0.4 + n * (n + 1) / 2 * increment
    check(name, sequence, TISSUE, epg_bloch(train(6, phase=phase), TISSUE, n_states=6))


@every_finite_oracle
def test_mirrored_frequencies_and_phases_conjugate_the_signal(name):
    # A reflection y -> -y maps off-resonance, z and RF phase to their negatives.
    pulse = RFPulse.from_samples([0.2, 1.0, 0.7, -0.1], 1e-3, 2000, 3e-3, center=0.4e-3)
    phase = np.array([0.3, -1.1, 2.0])
    mirrored = Tissue(TISSUE.t1, TISSUE.t2, TISSUE.b1, -TISSUE.off_resonance)
    simulate, _ = ORACLES[name]
    expected = simulate(train(3, pulse=pulse, phase=phase), mirrored, 3, n_subslices=4).conj()
    check(name, train(3, pulse=pulse, phase=-phase), TISSUE, expected, n_subslices=4)


@every_finite_oracle
def test_real_pulses_on_resonance_give_a_real_signal(name):
    sequence = train(3, pulse=RFPulse.gaussian(1e-3, 3e-3, n_steps=6), phase=[0, np.pi, 0])
    simulate, tolerance = ORACLES[name]
    signal = simulate(sequence, Tissue(0.9, 0.08), 3, n_subslices=4)
    np.testing.assert_allclose(signal.imag, 0, atol=tolerance)
    assert np.abs(signal.real).min() > 1e-2


# Bad input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (partial(epg_bloch, n_states=0), "n_states=0 must be a positive integer"),
        (partial(epg_bloch, n_states=2.5), "n_states=2.5 must be a positive integer"),
        (partial(epg_bloch, n_states=2, n_subslices=0), "n_subslices=0 must be a positive integer"),
        (partial(epg_bloch, n_states=2, slice_extent=-1.0), "slice_extent=-1.0 must be positive"),
        (partial(epg_bloch, n_states=2, slice_extent=np.inf), "slice_extent=inf must be positive"),
        (
            partial(epg_bloch, n_states=2, splitting="exact"),
            "splitting='exact' must be one of symmetric, first",
        ),
        (partial(isochromats, n_isochromats=0), "n_isochromats=0 must be a positive integer"),
        (partial(isochromats, n_isochromats=2, n_subslices=-3), "n_subslices=-3 must be"),
        (partial(bloch_ode, n_isochromats=0), "n_isochromats=0 must be a positive integer"),
        (partial(bloch_ode, n_isochromats=2, slice_extent=0.0), "slice_extent=0.0 must be positive"),
        (partial(instantaneous_epg, n_states=0), "n_states=0 must be a positive integer"),
        (partial(instantaneous_epg, n_states=2), "pulse='samples' has a finite duration; use pulse=None"),
    ],
)
def test_bad_arguments_raise(call, message):
    with pytest.raises(ValueError, match=message):
        call(train(2, pulse=asymmetric_pulse()), TISSUE)
