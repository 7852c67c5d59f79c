"""Pulseq files written with pypulseq alone, as its example scripts do."""

import numpy as np
import pytest


@pytest.fixture(scope="session")
def write_train(tmp_path_factory):
    """Function that writes a train of excitations and returns the path.

    Cartesian lines, golden-angle spokes or spirals, of 32 pixels over 256 mm, 5 mm thick.
    """
    pp = pytest.importorskip("pypulseq")
    folder = tmp_path_factory.mktemp("pulseq")
    system = pp.Opts(
        max_grad=30, grad_unit="mT/m", max_slew=120, slew_unit="T/m/s", rf_dead_time=1e-4,
        rf_ringdown_time=2e-5, adc_dead_time=1e-5,
    )  # fmt: skip
    fov, n_pixels, thickness = 0.256, 32, 5e-3

    def excitation(shape, angle, phase):
        common = {"flip_angle": angle, "system": system, "phase_offset": phase, "use": "excitation"}
        common["delay"] = 1e-4
        if shape == "block":
            return pp.make_block_pulse(duration=4e-4, **common), None, None
        make = {"sinc": pp.make_sinc_pulse, "gauss": pp.make_gauss_pulse}[shape]
        options = {"duration": 1e-3, "slice_thickness": thickness, "time_bw_product": 4, "return_gz": True}
        if shape == "sinc":
            options["apodization"] = 0.5
        return make(**common, **options)

    def spiral(angle):
        """Gradients of a spiral of 3 turns out of the centre, on the raster."""
        raster = system.grad_raster_time
        time = (np.arange(501) / 500) ** 0.6
        k = n_pixels / (2 * fov) * time**1.5 * np.exp(2j * np.pi * 3 * time + 1j * angle)
        k[:2] = 0.0  # starts at rest
        wave = np.diff(k) / raster
        down = wave[-1] * np.linspace(1, 0, 40)  # to zero within the slew rate
        wave = np.concatenate([[0.0], wave, down])
        return wave, raster

    def write(
        name, flip_angle, *, phase=0.0, adc_phase=None, tr=12e-3, te=5e-3, readout="cartesian",
        spoiler=4.0, balanced=False, shape="sinc", inversion=None, inversion_time=20e-3, n_dummies=0,
        rewind=True, rewind_slice=True, definitions=True, version=None, n_adc=1, axes="xyz",
    ):  # fmt: skip
        sequence = pp.Sequence(system)
        n_pulses = len(flip_angle)
        phases, trs = np.broadcast_to(phase, n_pulses), np.broadcast_to(tr, n_pulses)
        adc_phases = phases if adc_phase is None else np.broadcast_to(adc_phase, n_pulses)
        x, y, z = axes
        first = excitation(shape, flip_angle[0], 0.0)
        lead = first[0].delay + first[0].shape_dur / 2
        if inversion is not None:
            if inversion == "adiabatic":
                rf = pp.make_adiabatic_pulse("hypsec", duration=8e-3, dwell=1e-5, delay=1e-4, system=system)
            else:
                use = "inversion" if inversion == "hard" else "undefined"
                rf = pp.make_block_pulse(np.pi, duration=1e-3, delay=1e-4, system=system, use=use)
            sequence.add_block(rf)
            passed = pp.calc_duration(rf) - rf.delay - pp.calc_rf_center(rf)[0]
            crusher = pp.make_trapezoid(z, area=4 / thickness, system=system)
            sequence.add_block(crusher)
            wait = inversion_time - passed - pp.calc_duration(crusher) - lead
            sequence.add_block(pp.make_delay(round(wait, 5)))
        dwell = 2e-5
        gradient = pp.make_trapezoid(x, flat_area=n_pixels / fov, flat_time=n_pixels * dwell, system=system)
        golden = np.pi * (np.sqrt(5) - 1) / 2
        for n in range(n_pulses):
            rf, gz, gzr = excitation(shape, flip_angle[n], phases[n])
            for selecting in filter(None, (gz, gzr)):
                selecting.channel = z
            start = sum(sequence.block_durations.values())
            blocks = [(rf, gz)]
            after = pp.calc_duration(rf, gz) if gz else pp.calc_duration(rf)
            adc = pp.make_adc(
                n_pixels, dwell=dwell, delay=gradient.rise_time, system=system, phase_offset=adc_phases[n]
            )
            if readout == "cartesian":
                line = pp.make_trapezoid(y, area=(n % n_pixels - n_pixels // 2) / fov, duration=1e-3, system=system)
                before = [pp.make_trapezoid(x, area=-gradient.area / 2, duration=1e-3, system=system), line]
                during = [gradient]
                back = [pp.make_trapezoid(x, area=-gradient.area / 2, duration=1e-3, system=system)]
                if rewind:
                    back.append(pp.scale_grad(line, -1))
                to_echo = gradient.rise_time + n_pixels * dwell / 2
            elif readout == "radial":
                c, s = np.cos(n * golden), np.sin(n * golden)
                half = pp.make_trapezoid(x, area=-gradient.area / 2, duration=1e-3, system=system)
                other = pp.make_trapezoid(y, area=-gradient.area / 2, duration=1e-3, system=system)
                before = [pp.scale_grad(half, c), pp.scale_grad(other, s)]
                along = pp.make_trapezoid(y, flat_area=n_pixels / fov, flat_time=n_pixels * dwell, system=system)
                during = [pp.scale_grad(gradient, c), pp.scale_grad(along, s)]
                back = list(before) if rewind else []
                to_echo = gradient.rise_time + n_pixels * dwell / 2
            else:
                wave, raster = spiral(n * golden)
                during = [
                    pp.make_arbitrary_grad(axis, part, first=0, last=0, system=system)
                    for axis, part in ((x, wave.real), (y, wave.imag))
                ]
                adc = pp.make_adc(
                    250, dwell=dwell, delay=1e-5, system=system, phase_offset=adc_phases[n]
                )
                before = []
                back = [
                    pp.make_trapezoid(axis, area=-g.area, duration=1.5e-3, system=system)
                    for axis, g in ((x, during[0]), (y, during[1]))
                ]
                to_echo = 1e-5 + dwell / 2
            if gzr is not None and rewind_slice:
                before.append(gzr)
            wait = te - to_echo - (after - lead) - (pp.calc_duration(*before) if before else 0)
            if before:
                blocks.append(tuple(before))
            blocks.append((pp.make_delay(round(wait, 5)),))
            for _ in range(n_adc):
                blocks.append((*during, adc) if n >= n_dummies else tuple(during))
            # The slice gradient before the centre of the next pulse dephases too.
            area = (0 if balanced else spoiler / thickness) - (0 if gz is None else gz.area + gzr.area)
            end = list(back)
            if area:
                end.append(pp.make_trapezoid(z, area=area, system=system))
            if end:
                blocks.append(tuple(end))
            for block in blocks:
                sequence.add_block(*(event for event in block if event is not None))
            played = sum(sequence.block_durations.values()) - start
            sequence.add_block(pp.make_delay(round(trs[n] - played, 5)))
        if definitions:
            sequence.set_definition("FOV", [fov, fov, thickness])
            sequence.set_definition("SliceThickness", thickness)
            sequence.set_definition("Matrix", [n_pixels, n_pixels, 1])
        path = folder / f"{name}.seq"
        if version == "1.4":
            sequence.write(str(path), v141_compat=True)
        else:
            sequence.write(str(path))
        return path

    return write
