"""Pulseq files of other people: written with pypulseq alone, as its example scripts do."""

import numpy as np
import pytest

FOV, N_PIXELS, THICKNESS, DWELL = 0.256, 32, 5e-3, 2e-5
GOLDEN_ANGLE = np.pi * (np.sqrt(5) - 1) / 2


@pytest.fixture(scope="session")
def write_train(tmp_path_factory):
    """Function that writes a train of excitations as a Pulseq file and returns its path.

    Lines, golden-angle spokes or spirals of 32 pixels over 256 mm; a sinc pulse (time-bandwidth product 4), a
    Gaussian one or a hard one; slices of 5 mm. `wrong` is how a train leaves the model.
    """
    folder = tmp_path_factory.mktemp("pulseq")

    def write(name, flip_angle, **options):
        path = folder / f"{name}.seq"
        version = options.pop("version", "1.5")
        sequence = train(np.asarray(flip_angle), **options)
        sequence.write(str(path), v141_compat=version == "1.4")
        return path

    return write


def train(
    flip_angle, *, phase=0.0, adc_phase=None, tr=14e-3, te=5e-3, readout="lines", spoiler=4.0, shape="sinc",
    inversion=None, inversion_time=20e-3, n_dummies=0, axes="xyz", definitions=True, wrong=None,
):  # fmt: skip
    """Train as a sequence of pypulseq; `spoiler` is in cycles over the slice, all moments included."""
    import pypulseq as pp

    system = pp.Opts(
        max_grad=30, grad_unit="mT/m", max_slew=120, slew_unit="T/m/s", rf_dead_time=1e-4,
        rf_ringdown_time=2e-5, adc_dead_time=1e-5,
    )  # fmt: skip
    sequence = pp.Sequence(system)
    x, y, z = axes
    n_pulses = flip_angle.size
    phases, trs = np.broadcast_to(phase, n_pulses), np.broadcast_to(tr, n_pulses)
    adc_phases = phases if adc_phase is None else np.broadcast_to(adc_phase, n_pulses)
    rf, *_ = excitation(pp, system, shape, z, 1.0, 0.0)
    lead = rf.delay + rf.shape_dur / 2
    if inversion is not None:
        add_inversion(pp, system, sequence, inversion, inversion_time - lead, z)
    for n in range(n_pulses):
        start = sum(sequence.block_durations.values())
        rf, gz, gzr = excitation(pp, system, shape, z, flip_angle[n], phases[n])
        before, during, back, adc, to_echo = encoding(pp, system, readout, n, x, y, adc_phases[n])
        if gzr is not None and wrong != "slice not rewound":
            before = [*before, gzr]
        if wrong in ("readout not rewound", "partitions"):
            back = []
        if wrong == "partitions":
            before[-1] = pp.scale_grad(gzr, 1 + 0.1 * n)
        # The slice gradient before the centre of the next pulse dephases too.
        area = spoiler / THICKNESS - (0 if gz is None else gz.area + gzr.area)
        end = [*back, pp.make_trapezoid(z, area=area, system=system)] if area else back
        sequence.add_block(rf, *filter(None, [gz]))
        after = sum(sequence.block_durations.values()) - start - lead
        wait = te - after - to_echo - pp.calc_duration(*before)
        sequence.add_block(*before)
        sequence.add_block(pp.make_delay(round(wait, 5)))
        sequence.add_block(*during, *([adc] if n >= n_dummies else []))
        if wrong == "two echoes":
            sequence.add_block(*during, adc)
        sequence.add_block(*end)
        played = sum(sequence.block_durations.values()) - start
        sequence.add_block(pp.make_delay(round(trs[n] - played, 5)))
    if definitions:
        sequence.set_definition("FOV", [FOV, FOV, THICKNESS])
        sequence.set_definition("SliceThickness", THICKNESS)
        sequence.set_definition("Matrix", [N_PIXELS, N_PIXELS, 1])
    return sequence


def excitation(pp, system, shape, axis, angle, phase):
    """RF pulse, slice gradient and its rewinder."""
    common = {"system": system, "phase_offset": phase, "delay": 1e-4, "use": "excitation"}
    if shape == "hard":
        return pp.make_block_pulse(angle, duration=4e-4, **common), None, None
    options = {"duration": 1e-3, "slice_thickness": THICKNESS, "time_bw_product": 4, "return_gz": True}
    if shape == "sinc":
        events = pp.make_sinc_pulse(angle, apodization=0.46, **common, **options)
    else:
        events = pp.make_gauss_pulse(angle, **common, **options)
    for gradient in events[1:]:
        gradient.channel = axis
    return events


def add_inversion(pp, system, sequence, kind, time, axis):
    """Inversion with its crusher; its centre lies `time` before what follows."""
    if kind == "adiabatic":
        rf = pp.make_adiabatic_pulse("hypsec", duration=8e-3, dwell=1e-5, delay=1e-4, system=system)
    else:
        rf = pp.make_block_pulse(np.pi, duration=1e-3, delay=1e-4, system=system, use=kind)
    crusher = pp.make_trapezoid(axis, area=4 / THICKNESS, system=system)
    sequence.add_block(rf)
    sequence.add_block(crusher)
    passed = pp.calc_duration(rf) - rf.delay - pp.calc_rf_center(rf)[0] + pp.calc_duration(crusher)
    sequence.add_block(pp.make_delay(round(time - passed, 5)))


def encoding(pp, system, readout, n, x, y, phase):
    """Gradients before, during and after readout n, the ADC, and the time from `during` to the echo."""
    flat = pp.make_trapezoid(x, flat_area=N_PIXELS / FOV, flat_time=N_PIXELS * DWELL, system=system)
    adc = pp.make_adc(N_PIXELS, dwell=DWELL, delay=flat.rise_time, phase_offset=phase, system=system)
    to_echo = flat.rise_time + N_PIXELS * DWELL / 2

    def half(axis, part):
        return pp.scale_grad(pp.make_trapezoid(axis, area=-flat.area / 2, duration=1e-3, system=system), part)

    if readout == "lines":
        line = pp.make_trapezoid(y, area=(n % N_PIXELS - N_PIXELS // 2) / FOV, duration=1e-3, system=system)
        return [half(x, 1), line], [flat], [half(x, 1), pp.scale_grad(line, -1)], adc, to_echo
    if readout == "spokes":
        c, s = np.cos(n * GOLDEN_ANGLE), np.sin(n * GOLDEN_ANGLE)
        across = pp.scale_grad(flat, s)
        across.channel = y
        halves = [half(x, c), half(y, s)]
        return halves, [pp.scale_grad(flat, c), across], halves, adc, to_echo
    time = (np.arange(501) / 500) ** 0.6  # a spiral of 3 turns, on the raster
    k = N_PIXELS / (2 * FOV) * time**1.5 * np.exp(2j * np.pi * 3 * time + 1j * n * GOLDEN_ANGLE)
    k[:2] = 0  # from rest
    wave = np.diff(k) / system.grad_raster_time
    wave = np.concatenate([[0], wave, wave[-1] * np.linspace(1, 0, 40)])
    parts = [
        pp.make_arbitrary_grad(axis, part, first=0, last=0, system=system)
        for axis, part in ((x, wave.real), (y, wave.imag))
    ]
    back = [
        pp.make_trapezoid(part.channel, area=-part.area, duration=1.5e-3, system=system) for part in parts
    ]
    adc = pp.make_adc(250, dwell=DWELL, delay=1e-5, phase_offset=phase, system=system)
    return [], parts, back, adc, 1e-5 + DWELL / 2
