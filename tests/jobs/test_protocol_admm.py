"""The section ``reconstruction.admm`` and what goes with it: every key, every mistake."""

import re
from pathlib import Path

import pytest
import yaml

import jobs.cli
from jobs.protocol import ProtocolError, load_protocol
from jobs.protocol_admm import METHODS
from reconstruction.admm import AdmmSettings
from reconstruction.regularisation import JointTotalVariation, LocallyLowRank

SEQUENCE = {"flip_angle_deg": [10, 20, 30], "tr_ms": 10, "te_ms": 4}
EXAMPLE = Path(jobs.cli.__file__).parents[1] / "examples" / "protocol.yaml"


@pytest.fixture
def load(tmp_path):
    """Protocol with a section ``reconstruction``."""

    def write_and_load(**reconstruction):
        path = tmp_path / "protocol.yaml"
        path.write_text(yaml.safe_dump({"sequence": SEQUENCE, "reconstruction": reconstruction}))
        return load_protocol(path)

    return write_and_load


def test_low_rank_inversion_is_the_default(load):
    protocol = load()
    assert protocol.method == "low-rank"
    assert protocol.admm is None
    assert protocol.admm_settings == AdmmSettings()
    assert protocol.b1_width is None


def test_method_turns_lr_admm_on(load):
    assert load(method="lr-admm").admm == AdmmSettings()
    settings = load(admm={"mu": 0.5})
    assert settings.admm is None
    assert settings.changed(method="lr-admm").admm == AdmmSettings(mu=0.5)


def test_every_key_reaches_the_settings(load):
    section = {"mu": 0.07, "iterations": 6, "inner_iterations": 4, "tolerance": 0.02}
    section |= {"dual_bound": 3}
    settings = load(method="lr-admm", admm=section).admm
    expected = AdmmSettings(mu=0.07, n_iterations=6, n_inner=4, tolerance=0.02, dual_bound=3)
    assert settings == expected
    assert load(method="lr-admm", admm={"tolerance": 0}).admm.tolerance == 0


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"total_variation": 2e-3}, JointTotalVariation(2e-3)),
        ({"locally_low_rank": 0.1}, LocallyLowRank(0.1)),
        ({"locally_low_rank": 0.1, "block": 5}, LocallyLowRank(0.1, block=5)),
        ({"locally_low_rank": None, "block": None}, AdmmSettings().regularisation),
        ({"total_variation": 0}, None),
    ],
)
def test_regularisations(load, section, expected):
    assert load(admm=section).admm_settings.regularisation == expected


def test_smooth_b1_is_in_millimetres(load):
    assert load(smooth_b1_mm=16).b1_width == pytest.approx(0.016, rel=1e-15)
    assert load(smooth_b1_mm=None).b1_width is None


@pytest.mark.parametrize(
    ("reconstruction", "message"),
    [
        ({"method": "admm"}, r"reconstruction\.method: must be one of low-rank, lr-admm; got 'admm'"),
        ({"admm": {"rho": 1}}, r"reconstruction\.admm\.rho: unknown key"),
        ({"admm": 0.2}, r"reconstruction\.admm: must be a section with keys \(mu, iterations"),
        ({"admm": {"mu": 0}}, r"reconstruction\.admm\.mu: must be finite and above 0; got 0"),
        ({"admm": {"iterations": 0}}, r"admm\.iterations: must be at least 1; got 0"),
        ({"admm": {"inner_iterations": 2.5}}, r"admm\.inner_iterations: must be a whole number"),
        ({"admm": {"tolerance": -1}}, r"admm\.tolerance: must be finite and at least 0; got -1"),
        ({"admm": {"tolerance": 1.5}}, r"reconstruction\.admm: tolerance=1\.5 must lie in \[0, 1\)"),
        ({"admm": {"total_variation": -1}}, r"admm\.total_variation: must be finite and at least 0; got -1"),
        ({"admm": {"dual_bound": 0}}, r"admm\.dual_bound: must be finite and above 0; got 0"),
        ({"admm": {"locally_low_rank": -1}}, r"admm\.locally_low_rank: must be finite and above 0; got -1"),
        (
            {"admm": {"locally_low_rank": 1, "total_variation": 1}},
            r"admm\.locally_low_rank: one regularisation at a time; remove it or total_variation",
        ),
        ({"admm": {"locally_low_rank": 1, "block": 1}}, r"admm\.block: must be at least 2; got 1"),
        ({"admm": {"block": 8}}, r"admm\.block: is the block width of locally_low_rank; remove it or add"),
        ({"smooth_b1_mm": 0}, r"reconstruction\.smooth_b1_mm: must be finite and above 0; got 0"),
        ({"smooth_b1": 16}, r"reconstruction\.smooth_b1: unknown key; use smooth_b1_mm \(in millimetres\)"),
    ],
)
def test_mistakes_are_named(load, reconstruction, message):
    with pytest.raises(ProtocolError, match=message):
        load(**reconstruction)


def test_example_states_the_defaults():
    """What the annotated protocol gives and says is what holds without it."""
    assert load_protocol(EXAMPLE).admm_settings == AdmmSettings()
    text = EXAMPLE.read_text(encoding="utf-8")
    section = re.search(r"\n  admm:\n((?:    .*\n)+)", text)[1]
    stated = re.findall(r"(?:Default: |Defaults: |and )([\d.e-]*\d|false|true)\b", section)
    defaults = AdmmSettings()
    expected = [defaults.mu, defaults.n_iterations, defaults.n_inner, defaults.tolerance]
    expected += [defaults.dual_bound]
    assert [yaml.safe_load(value.replace("1e-", "1.0e-")) for value in stated] == expected
    assert f"# block: {LocallyLowRank.block} " in section


def test_command_line_offers_the_methods():
    assert tuple(method.value for method in jobs.cli._Method) == METHODS
