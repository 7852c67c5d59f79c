"""Diffusion of the configuration states, and spoilers on a part of the train."""

import numpy as np
import pytest

from epgbloch import EPGBloch, RFPulse, Sequence, Tissue
from epgbloch.reference import epg_bloch, instantaneous_epg, isochromats

FLOAT32 = 2e-5
"""The bound of test_engine; 1e-6 seen over 60 pulses."""
N = 60
MOMENT = 2 * np.pi / 1e-4
"""One turn over 0.1 mm: with water, order 1 loses 8 % in 10 ms."""
RNG = np.random.default_rng(8)
ANGLES = np.deg2rad(RNG.uniform(0, 120, N))
TR = RNG.uniform(8e-3, 12e-3, N)
PULSE = RFPulse.gaussian(1e-3, 5e-3, n_steps=8)
KINDS = {
    "real": {},
    "complex": {"phase": RNG.uniform(0, 6, N)},
    "selective": {"pulse": PULSE},
    "partly spoiled": {"dephasing": RNG.integers(0, 2, N)},
    "partly spoiled, selective": {"pulse": PULSE, "dephasing": RNG.integers(0, 2, N)},
}


def tissue(diffusion):
    return Tissue([1.0, 0.5, 3.0], [0.08, 0.03, 1.2], b1=[0.9, 1.1, 1.0], diffusion=diffusion)


def relative_error(signal, expected):
    return np.abs(signal - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("diffusion", [0.0, [3e-9, 1e-9, 0.0]])
@pytest.mark.parametrize("kind", KINDS)
def test_engine_agrees_with_literal_epg_bloch(kind, diffusion):
    sequence = Sequence(ANGLES, TR, 4e-3, inversion_time=0.02, spoiler_moment=MOMENT, **KINDS[kind])
    signal = EPGBloch(n_states=N, n_subslices=8).signal(sequence, tissue(diffusion))
    expected = epg_bloch(sequence, tissue(diffusion), n_states=N, n_subslices=8)
    assert relative_error(signal, expected) < FLOAT32


@pytest.mark.parametrize("parameter", ["t1", "t2", "b1"])
@pytest.mark.parametrize("kind", ["real", "complex", "selective"])
def test_derivatives_agree_with_differences_of_the_oracle(kind, parameter):
    sequence = Sequence(ANGLES, TR, 4e-3, inversion_time=0.02, spoiler_moment=MOMENT, **KINDS[kind])
    atoms = tissue([3e-9, 1e-9, 2e-9])
    fields = {name: getattr(atoms, name) for name in ("t1", "t2", "b1", "diffusion")}
    step = 1e-4

    def oracle(factor):
        changed = Tissue(**fields | {parameter: factor * fields[parameter]})
        return epg_bloch(sequence, changed, n_states=N, n_subslices=8)

    expected = (oracle(1 + step) - oracle(1 - step)) / (2 * step)
    _, (derivative,) = EPGBloch(n_states=N, n_subslices=8).jacobian(sequence, atoms, wrt=(f"ln_{parameter}",))
    # differences of second order err by 1e-8, float32 by 1e-6
    assert relative_error(derivative, expected) < FLOAT32


@pytest.mark.parametrize(("diffusion", "moment"), [(3e-9, 100.0), (1e-11, 2094.0)])
def test_weak_diffusion_of_high_orders_is_not_lost_to_rounding(diffusion, moment):
    # factors near 1 whose ratio is off by 6e-8 would be wrong by that times the square of the order
    angles = np.deg2rad(5 + 15 * np.sin(np.linspace(0, np.pi, 600)) ** 2)
    sequence = Sequence(angles, 8.7e-3, 4.9e-3, inversion_time=0.02, spoiler_moment=moment)
    fluid = Tissue(4.0, 2.0, diffusion=diffusion)
    expected = instantaneous_epg(sequence, fluid, n_states=301)
    assert relative_error(EPGBloch(n_states=301).signal(sequence, fluid), expected) < FLOAT32


def test_a_spin_echo_follows_stejskal_and_tanner():
    # 90 and 180 degrees: order 1 is refocused at the end of the second TR and read by a pulse of 0 degrees
    tr, te, diffusion = 20e-3, 8e-3, 2.5e-9
    sequence = Sequence(np.deg2rad([90.0, 180, 0]), tr, te, spoiler_moment=MOMENT)
    atoms = Tissue([1e4, 1e4], [1e4, 1e4], diffusion=[0.0, diffusion])  # no relaxation
    still, diffusing = EPGBloch().signal(sequence, atoms)[:, 2].real
    # two gradients of duration tr - te, tr apart
    b = MOMENT**2 * (tr - (tr - te) / 3)
    assert abs(still) == pytest.approx(1, abs=1e-5)
    assert diffusing / still == pytest.approx(np.exp(-b * diffusion), rel=1e-5)  # float32


def test_stored_magnetisation_is_attenuated_over_the_whole_mixing_time():
    # 90 - 90 - n x 0 - 90 degrees: the stimulated echo of order 1; all else is spoiled away
    tr, te, diffusion, n_mixing = 20e-3, 8e-3, 2.5e-9, 4
    angles = np.deg2rad([90.0, 90, *(n_mixing * [0.0]), 90, 0])
    sequence = Sequence(angles, tr, te, spoiler_moment=MOMENT)
    atoms = Tissue([1e4, 1e4], [1e4, 1e4], diffusion=[0.0, diffusion])
    still, diffusing = EPGBloch().signal(sequence, atoms)[:, -1].real
    duration, separation = tr - te, tr * (n_mixing + 2)
    b = MOMENT**2 * (separation - duration / 3)
    assert abs(still) == pytest.approx(0.5, abs=1e-5)
    assert diffusing / still == pytest.approx(np.exp(-b * diffusion), rel=1e-5)


def test_partly_spoiled_trains_agree_with_isochromats():
    sequence = Sequence(ANGLES, TR, 4e-3, phase=KINDS["complex"]["phase"], dephasing=RNG.integers(0, 2, N))
    signal = EPGBloch(tolerance=1e-7).signal(sequence, tissue(0.0))
    assert relative_error(signal, isochromats(sequence, tissue(0.0), n_isochromats=N)) < FLOAT32


def test_no_spoiler_at_all_is_the_balanced_train():
    balanced = Sequence(ANGLES, TR, 4e-3, spoiling="balanced")
    unspoiled = Sequence(ANGLES, TR, 4e-3, dephasing=False)
    np.testing.assert_array_equal(
        EPGBloch().signal(unspoiled, tissue(0.0)), EPGBloch().signal(balanced, tissue(0.0))
    )
    assert unspoiled.fingerprint() != Sequence(ANGLES, TR, 4e-3).fingerprint()


@pytest.mark.parametrize(
    "fields", [{}, KINDS["complex"], {"pulse": PULSE}], ids=["real", "complex", "selective"]
)
def test_gradient_follows_differences_on_a_partly_spoiled_train(fields):
    base = {"tr": TR, "te": 4e-3, "dephasing": KINDS["partly spoiled"]["dephasing"], **fields}
    weights, direction = np.random.default_rng(1).normal(size=(2, 3, N))
    atoms = tissue(0.0)

    def loss(step):
        sequence = Sequence(ANGLES + step * direction[0] ** 2, **base)
        return (weights * epg_bloch(sequence, atoms, n_states=N, n_subslices=8).real).sum()

    expected = (loss(1e-5) - loss(-1e-5)) / 2e-5
    gradient = EPGBloch(n_subslices=8).gradient(Sequence(ANGLES, **base), atoms, weights)
    # cancellation in the sum over pulses takes one digit of float32
    assert gradient.flip_angle @ direction[0] ** 2 == pytest.approx(expected, rel=1e-4)


def test_spoilers_survive_the_way_through_plain_numbers():
    sequence = Sequence(
        ANGLES, TR, 4e-3, dephasing=KINDS["partly spoiled"]["dephasing"], spoiler_moment=MOMENT
    )
    again = Sequence.from_dict(sequence.to_dict())
    assert again.fingerprint() == sequence.fingerprint()
    np.testing.assert_array_equal(again.dephasing, sequence.dephasing)
    assert again.spoiler_moment == MOMENT


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dephasing": 2}, r"dephasing\[0\]=2 must be 0 or 1; use one spoiler"),
        ({"dephasing": [1, 0]}, "dephasing has 2 values"),
        ({"dephasing": "often"}, "dephasing='often' is not numeric; give real numbers in orders"),
        (
            {"dephasing": 1, "spoiling": "balanced"},
            'contradicts spoiling="balanced"; use spoiling="gradient"',
        ),
        ({"spoiler_moment": 0.0}, "spoiler_moment=0 must be positive; give it in rad/m"),
    ],
)
def test_bad_spoilers_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Sequence(ANGLES, TR, 4e-3, **fields)


def test_negative_diffusion_is_refused():
    with pytest.raises(ValueError, match=r"diffusion\[1\]=-1e-09 must be at least 0; 0 switches"):
        Tissue([1.0, 1.0], 0.1, diffusion=[0.0, -1e-9])


def test_diffusion_needs_a_spoiler_moment():
    with pytest.raises(ValueError, match=r"diffusion=3e-09 m\^2/s needs the spoiler_moment"):
        EPGBloch().signal(Sequence(ANGLES, TR, 4e-3), tissue([0.0, 3e-9, 0.0]))


def test_without_spoilers_diffusion_needs_no_moment():
    sequence = Sequence(ANGLES, TR, 4e-3, spoiling="balanced")
    np.testing.assert_array_equal(
        EPGBloch().signal(sequence, tissue(3e-9)), EPGBloch().signal(sequence, tissue(0.0))
    )


def test_the_gradient_refuses_diffusion():
    sequence = Sequence(ANGLES, TR, 4e-3, spoiler_moment=MOMENT)
    with pytest.raises(ValueError, match=r"gradient: diffusion=3e-09 .* is not differentiated"):
        EPGBloch().gradient(sequence, tissue(3e-9), np.zeros((3, N)))


def test_isochromats_refuse_diffusion():
    with pytest.raises(ValueError, match="diffusion must be 0 for isochromats"):
        isochromats(Sequence(ANGLES, TR, 4e-3), tissue(3e-9), n_isochromats=4)
