"""Impossible designs end with the name of the limit and a nearest value that can really be played."""

from dataclasses import replace

import numpy as np
import pytest

from design import LimitError
from design.pulseq import PRESETS, Inversion, Readout, minimum_times, plan_timing, preset
from epgbloch import RFPulse, Sequence
from reconstruction.trajectory import golden_angle_radial, variable_density_spiral

SCANNER = PRESETS["siemens"]
PULSE = RFPulse.gaussian(1e-3, 3e-3)
SPOKES = Readout(golden_angle_radial(3, 224), (112, 112), 0.224, 10e-6)


def plan(scanner=SCANNER, lines=SPOKES, inversion=None, **values):
    given = {"flip_angle": [0.3, 1.0, 0.5], "tr": 8.7e-3, "te": 4.9e-3, "pulse": PULSE} | values
    return plan_timing(Sequence(**given), lines, scanner, inversion=inversion)


def refused(limit, message=None, **values):
    """The nearest value of a design that is refused."""
    with pytest.raises(LimitError, match=message) as caught:
        plan(**values)
    assert caught.value.limit == limit
    return caught.value.nearest


def test_short_echo_time_is_refused():
    nearest = refused("te", "te=1.5 ms at pulse 2 is too short for pulse", te=[4.9e-3, 4.9e-3, 1.5e-3])
    assert nearest == pytest.approx(minimum_times(PULSE, SPOKES, SCANNER).te, abs=1e-9)
    plan(te=nearest)
    refused("te", "te=", te=nearest - SCANNER.rf_raster)


def test_short_repetition_time_is_refused():
    message = "tr=6 ms at pulse 1 is too short"
    nearest = refused("tr", message, tr=[8.7e-3, 6e-3, 6e-3], te=[4.9e-3, 4.5e-3, 3.0e-3])
    plan(tr=[8.7e-3, nearest, 6e-3], te=[4.9e-3, 4.5e-3, 3.0e-3])
    refused("tr", "tr=", tr=nearest - SCANNER.block_raster, te=4.5e-3)
    least = minimum_times(PULSE, SPOKES, SCANNER)
    plan(tr=least.tr, te=least.te)


@pytest.mark.parametrize("inversion", [Inversion(), Inversion("block", 1e-3)])
def test_short_inversion_time_is_refused(inversion):
    nearest = refused("inversion_time", "inversion_time=1 ms is", inversion_time=1e-3, inversion=inversion)
    least = minimum_times(PULSE, SPOKES, SCANNER, inversion=inversion).inversion_time
    assert nearest == pytest.approx(least, abs=1e-9)
    played = plan(inversion_time=nearest, inversion=inversion).sequence
    assert played.inversion_time == pytest.approx(nearest, abs=1e-9)
    refused("inversion_time", inversion_time=nearest - SCANNER.rf_raster, inversion=inversion)


def test_inversion_time_of_theory_is_refused():
    sequence = Sequence([0.3], tr=8.7e-3, te=4.9e-3, pulse=PULSE, inversion_time=0.5e-3)
    with pytest.raises(LimitError, match=r"inversion_time=0\.5 ms is too short"):
        plan_timing(sequence, SPOKES, SCANNER)


def test_strong_slice_gradient_is_refused():
    def pulse(thickness):
        return RFPulse.gaussian(1e-3, thickness)

    message = r"slice gradient=35.23 mT/m of every pulse exceeds the 28 mT/m .*the same shape in 1\.259 ms"
    nearest = refused("slice gradient", message, pulse=pulse(2e-3))
    assert nearest == pytest.approx(2e-3 * 3000 / 2384.256, rel=1e-6)
    plan(pulse=pulse(nearest))
    plan(pulse=RFPulse.gaussian(1.259e-3, 2e-3))
    refused("slice gradient", pulse=RFPulse.gaussian(1.258e-3, 2e-3))
    refused("slice gradient", "slice gradient", pulse=pulse(nearest * 0.9999))


def test_large_b1_is_refused():
    angles = np.array([0.3, 1.9, 1.8])
    nearest = refused("B1 peak", r"B1 peak=\d+\.\d+ uT at pulse 1 exceeds the 20 uT", flip_angle=angles)
    plan(flip_angle=np.minimum(angles, nearest))
    refused("B1 peak", "at pulse 0", flip_angle=[nearest * 1.0001])
    with pytest.raises(LimitError, match="the same shape in") as caught:
        plan(flip_angle=angles)
    longer = float(str(caught.value).split("shape in ")[1].split(" ms")[0]) * 1e-3
    plan(flip_angle=angles, pulse=RFPulse.gaussian(longer, 3e-3))


@pytest.mark.parametrize("inversion", [Inversion(duration=5e-3), Inversion("block", 0.4e-3)])
def test_large_b1_of_the_inversion_is_refused(inversion):
    values = {"inversion_time": 30e-3}
    nearest = refused(
        "B1 peak of the inversion", "B1 peak=.* of the inversion", inversion=inversion, **values
    )
    plan(inversion=replace(inversion, duration=nearest), **values)
    refused("B1 peak of the inversion", inversion=replace(inversion, duration=0.999 * nearest), **values)
    plan(inversion=inversion)  # nothing is inverted


def test_dwell_off_the_raster_is_refused():
    nearest = refused("dwell", r"dwell=10.04 us is no multiple", lines=replace(SPOKES, dwell=10.04e-6))
    assert nearest == pytest.approx(10e-6)
    nearest = refused("dwell", "dwell=0.02 us", lines=replace(SPOKES, dwell=0.02e-6))
    assert nearest == pytest.approx(0.1e-6)


def test_strong_readout_gradient_is_refused():
    nearest = refused("readout gradient", "readout gradient=.*dwell=1 us", lines=replace(SPOKES, dwell=1e-6))
    # 1 / 224 cycles per pixel of 2 mm a sample
    assert nearest == pytest.approx(np.ceil(1e7 / 0.448 / 42.576e6 / 28e-3) * 1e-7)
    plan(lines=replace(SPOKES, dwell=nearest))
    refused("readout gradient", lines=replace(SPOKES, dwell=nearest - 1e-7))


@pytest.mark.parametrize("vendor", ["siemens", "ge"])
def test_fast_spiral_is_refused(vendor):
    scanner = preset(vendor)
    spirals = Readout(variable_density_spiral(4, 448, matrix=(112, 112)), (112, 112), 0.224, 6e-6)
    values = {"te": 2.6e-3, "tr": 9.3e-3, "scanner": scanner}
    nearest = refused("slew rate", r"slew rate=\d+\.?\d* T/m/s exceeds 150 T/m/s", lines=spirals, **values)
    plan(lines=replace(spirals, dwell=nearest), **values)
    refused("slew rate", lines=replace(spirals, dwell=nearest - scanner.adc_raster), **values)


def test_trajectory_that_gradients_cannot_follow_is_refused():
    # zigzag of a tenth of a step of k-space from sample to sample, far below the gradient raster
    spirals = variable_density_spiral(1, 2000, matrix=(112, 112)).astype(float)
    spirals[:, 1::2, 0] += 0.05 / 112
    scanner = preset("siemens", max_slew=1e6, max_gradient=1.0)
    lines = Readout(spirals, (112, 112), 0.224, 2e-6)
    refused("trajectory error", "trajectory error=", lines=lines, scanner=scanner, te=2.6e-3, tr=9.3e-3)


def test_wait_for_the_interpreter_counts():
    late = preset("siemens", segment_gap=117e-6)
    least, longer = (minimum_times(PULSE, SPOKES, scanner) for scanner in (SCANNER, late))
    assert longer.te == least.te
    assert longer.tr - least.tr == pytest.approx(117e-6)
    assert longer.inversion_time - least.inversion_time == pytest.approx(117e-6)


@pytest.mark.parametrize(
    ("values", "larger"),
    [
        ({"spoiler_cycles": 8.0}, "tr"),
        ({"inversion": Inversion(duration=12e-3)}, "inversion_time"),
        ({"inversion": Inversion(spoiler_cycles=16)}, "inversion_time"),
    ],
)
def test_minimum_times_grow(values, larger):
    least, longer = minimum_times(PULSE, SPOKES, SCANNER), minimum_times(PULSE, SPOKES, SCANNER, **values)
    for name in ("te", "tr", "inversion_time"):
        assert (getattr(longer, name) > getattr(least, name)) == (name == larger), name


def test_balanced_trains_can_be_faster():
    least = minimum_times(PULSE, SPOKES, SCANNER).tr
    assert minimum_times(PULSE, SPOKES, SCANNER, orders=(0,)).tr < least


@pytest.mark.parametrize("pulse", [None, RFPulse.rectangular(1e-3)])
def test_pulses_without_slice_are_refused(pulse):
    with pytest.raises(ValueError, match="must be a slice-selective RFPulse"):
        plan(pulse=pulse)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"orders": (2,)}, r"orders=\(2,\) must be"),
        ({"orders": ()}, r"orders=\(\) must be"),
        ({"spoiler_cycles": 0.0}, "spoiler_cycles=0 must be positive"),
    ],
)
def test_bad_spoilers_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        minimum_times(PULSE, SPOKES, SCANNER, **values)
