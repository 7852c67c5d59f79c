"""Limits of scanners and what pypulseq gets of them."""

import pypulseq
import pytest

from design.pulseq import PRESETS, preset
from epgbloch.constants import GAMMA_BAR


@pytest.mark.parametrize("name", list(PRESETS))
def test_pypulseq_gets_every_limit(name):
    scanner = PRESETS[name]
    opts = scanner.opts()
    assert isinstance(opts, pypulseq.Opts)
    assert opts.max_grad == pytest.approx(scanner.max_gradient * GAMMA_BAR)
    assert opts.max_slew == pytest.approx(scanner.max_slew * GAMMA_BAR)
    assert opts.gamma == GAMMA_BAR
    times = {
        "rf_dead_time": scanner.rf_dead_time,
        "rf_ringdown_time": scanner.rf_ringdown_time,
        "adc_dead_time": scanner.adc_dead_time,
        "rf_raster_time": scanner.rf_raster,
        "grad_raster_time": scanner.gradient_raster,
        "adc_raster_time": scanner.adc_raster,
        "block_duration_raster": scanner.block_raster,
    }
    assert {key: getattr(opts, key) for key in times} == times
    assert min(times.values()) > 0  # pypulseq's own dead times are 0


def test_single_values_are_replaced():
    scanner = preset("siemens", max_gradient=40e-3)
    assert scanner.max_gradient == 40e-3
    assert scanner.max_slew == PRESETS["siemens"].max_slew


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("canon", {}, "scanner='canon' must be one of siemens, ge, philips"),
        ("ge", {"max_grad": 1}, "max_grad=1 is no value of a scanner; there are max_gradient"),
        ("ge", {"max_slew": 0}, "max_slew=0 must be positive"),
        ("ge", {"rf_dead_time": -1e-6}, "rf_dead_time=-1e-06 s must be at least 0"),
        ("siemens", {"block_raster": 15e-6}, "block_raster=1.5e-05 s must be a multiple of gradient_raster"),
        ("siemens", {"gradient_raster": 6.4e-6}, "gradient_raster=6.4e-06 s must be a multiple of rf_raster"),
        ("siemens", {"rf_raster": 0.5e-6}, "rf_raster=5e-07 s must be a multiple of 1 us"),
    ],
)
def test_misfits_are_refused(name, values, message):
    with pytest.raises(ValueError, match=message):
        preset(name, **values)
