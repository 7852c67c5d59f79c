"""Reconstruct a simulated brain as Liu et al. did (their figure 7): results/brain.json, tables, figures.

The raw data come from a finer simulation than the dictionaries: more sub-slices, states and steps of the RF
pulse, and 3 x 3 points in each pixel; for comparison also one point, as in the publication.

Run it with `make bench-brain`; it takes about a quarter of an hour.
"""

import time
from dataclasses import replace
from datetime import date

import numpy as np
from brain_figures import draw_maps, draw_scan_times
from measure import write_results
from rich.console import Console
from small_tip import SmallTipEPG

from dictionaries import generate, match
from dictionaries.grid import Grid, linear_axis, log_axis
from epgbloch import EPGBloch, RFPulse, Sequence, __version__
from epgbloch.trains import sin_squared
from reconstruction.admm import AdmmSettings
from reconstruction.phantom_fields import b1_map, birdcage_sensitivities
from reconstruction.phantom_simulation import simulate_acquisition
from reconstruction.phantom_templates import analytic_head
from reconstruction.pipeline import reconstruct
from reconstruction.trajectory import golden_angle_radial, variable_density_spiral
from surrogate import GRUSurrogate
from surrogate.hardware import processor_name

MATRIX, FOV = (112, 112), (0.224, 0.224)
POINTS = 3
"""On each side of a pixel; odd, so that the middle one lies at its centre."""
SNR, RANK, N_SAMPLES = 40.0, 12, 224
# small CRLB of T2 where B1 is not known, among trains of five lobes up to 120 degrees
PEAKS_DEG = (120, 35, 5, 120, 70)
SCALP = "fat"
GRID = Grid(t1=log_axis(0.1, 5, 100), t2=log_axis(0.01, 2, 100), b1=linear_axis(0.8, 1.2, 40))
SMOOTH_B1 = 16e-3
PUBLISHED = AdmmSettings(mu=0.5, dual_bound=np.inf, tolerance=0.0, regularisation=None)
METHODS = {
    "low-rank inversion": {},
    "LR-ADMM as published": {"admm": PUBLISHED},
    "LR-ADMM": {"admm": AdmmSettings(tolerance=0.0)},
    "LR-ADMM, smooth B1": {"admm": AdmmSettings(tolerance=0.0), "b1_width": SMOOTH_B1},
}
BEST = list(METHODS)[-1]
COMPARED = ("LR-ADMM as published", BEST)
LENGTHS = (1120, 560, 280, 140)
SPIRAL_PULSES = 336
QUANTITIES = ("T1", "T2", "B1", "PD")


def sequence(n_pulses=1120, n_steps=200):
    """The train, or its beginning."""
    train = sin_squared(1120, np.deg2rad(PEAKS_DEG))[:n_pulses]
    pulse = RFPulse.gaussian(1e-3, 3e-3, n_steps=n_steps)
    return Sequence(train, tr=8.7e-3, te=4.9e-3, inversion_time=10e-3, pulse=pulse)


def phantoms(n_coils, points=POINTS):
    """The brain with one tissue in each pixel, and the same with points x points in each pixel."""
    mixed = analytic_head(MATRIX, n_coils=n_coils, fov=FOV)
    tissues = np.arange(1, len(mixed.names) + 1)[:, None, None]
    coarse = replace(mixed, fractions=(mixed.label == tissues).astype(np.float32))
    size = (points * MATRIX[0], points * MATRIX[1])
    rows, columns = (
        np.clip((np.arange(points * n) - points * n // 2 + points // 2) // points + n // 2, 0, n - 1)
        for n in MATRIX
    )
    fine = replace(
        mixed,
        fractions=coarse.fractions[:, rows][:, :, columns],
        b1=b1_map(size),
        coil_sensitivities=birdcage_sensitivities(n_coils, size),
    )
    return coarse, fine


def data(n_coils, trajectory, n_pulses=1120, points=POINTS):
    """Raw data of the fine phantom."""
    model = EPGBloch(n_subslices=64)
    fine = phantoms(n_coils, points)[1]
    return simulate_acquisition(
        fine, model, sequence(n_pulses, n_steps=400), trajectory, matrix=MATRIX, snr=SNR, seed=n_coils
    )


def errors(maps, phantom, voxels, quantities=QUANTITIES):
    """Mean and median of the absolute relative errors of maps; the scale of PD is fitted."""
    truth = phantom.truth()
    result = {}
    for name in quantities:
        found, true = (np.abs(getattr(which, name.lower())[voxels]) for which in (maps, truth))
        ratio = found / true
        if name == "PD":
            ratio = ratio / np.median(ratio)
        error = np.abs(ratio - 1)
        result[name] = {"mean": float(error.mean()), "median": float(np.median(error))}
    return result


def models():
    """What makes the dictionaries, by name."""
    return {
        "EPG, small-tip slice profile": SmallTipEPG(),
        "EPG-Bloch": EPGBloch(n_states=20),
        # its training ends at 120 degrees, which the train times B1 exceeds
        "surrogate, extrapolated": GRUSurrogate("published", extrapolate=True),
    }


def run(acquisition, dictionary, mask, **options):
    """Maps, and the wall and CPU time that they took [s]."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = reconstruct(acquisition, dictionary, mask=mask, correct_receive_field=False, **options)
    return result.maps, {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}


def main():
    console = Console(stderr=True)
    spokes = golden_angle_radial(1120, N_SAMPLES)
    spiral = variable_density_spiral(SPIRAL_PULSES, 2 * N_SAMPLES, matrix=MATRIX, n_interleaves=48)
    with console.status("raw data ..."):
        acquisitions = {
            1: data(1, spokes),
            8: data(8, spokes),
            "8, one point a pixel": data(8, spokes, points=1),
            "spiral": data(8, spiral, SPIRAL_PULSES),
        }
    phantom = phantoms(8)[0]
    scalp = phantom.label == 1 + phantom.names.index(SCALP)
    brain = phantom.mask & ~scalp
    inside = brain & interior(phantom)
    record = {
        "work": f"{GRID.n_atoms} atoms x 1120 pulses, rank {RANK}; {MATRIX[0]} x {MATRIX[1]} pixels, "
        f"SNR {SNR:g}",
        "date": date.today().isoformat(),
        "machine": processor_name(),
        "versions": {"epgbloch": __version__},
        "peaks_deg": PEAKS_DEG,
        "voxels": {"brain": int(brain.sum()), "interior": int(inside.sum())},
        "methods": {},
        "models": {},
        "scan_times": {},
    }

    def evaluated(maps, times):
        regions = {"brain": brain & maps.mask, "interior": inside & maps.mask}
        return {name: errors(maps, phantom, voxels) for name, voxels in regions.items()} | times

    drawn = {}
    for name, model in models().items():
        with console.status(f"dictionary: {name} ..."):
            start = time.perf_counter()
            dictionary = generate(model, sequence(), GRID, rank=RANK)
            seconds = time.perf_counter() - start
            match(dictionary, dictionary.coefficients[:1])  # sorts the atoms, once
        record["models"][name] = {
            "dictionary_s": seconds,
            "truncation": dictionary.truncation_error._asdict(),
        }
        chosen = METHODS if name == "EPG-Bloch" else {m: METHODS[m] for m in COMPARED}
        for method, options in chosen.items():
            for scan in acquisitions:
                if scan == "spiral" or (scan != 8 and name != "EPG-Bloch"):
                    continue
                with console.status(f"{name}, {scan} coil(s), {method} ..."):
                    maps, times = run(acquisitions[scan], dictionary, brain, **options)
                result = evaluated(maps, times)
                console.print(name, scan, method, result["brain"], f"{times['wall_s']:.0f} s")
                if scan == 8:
                    record["models"][name][method] = result
                    drawn[name, method] = maps
                if name == "EPG-Bloch":
                    record["methods"].setdefault(method, {})[scan] = result
        if name == "EPG-Bloch":
            record["scan_times"] = scan_times(acquisitions, model, brain, evaluated, console)
    write_results("brain", record, lines(record))
    draw_maps(phantom.truth(), {name: drawn[name, BEST] for name in models()}, brain)
    draw_scan_times(record["scan_times"])


def interior(phantom):
    """Pixels whose eight neighbours hold the same tissue."""
    label = np.pad(phantom.label, 1)
    shifts = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    same = [np.roll(label, shift, axis=(0, 1)) == label for shift in shifts]
    return np.logical_and.reduce(same)[1:-1, 1:-1]


def scan_times(acquisitions, model, brain, evaluated, console):
    """Errors from the first pulses of the train, and from spirals."""
    result = {}
    full = acquisitions[8]
    scans = {
        f"{n} spokes": replace(full, kspace=full.kspace[:, :n], trajectory=full.trajectory[:n])
        for n in LENGTHS
    }
    scans[f"{SPIRAL_PULSES} spirals"] = acquisitions["spiral"]
    for name, acquisition in scans.items():
        with console.status(f"{name} ..."):
            train = sequence(acquisition.n_readouts)
            dictionary = generate(model, train, GRID, rank=RANK)
            result[name] = {"scan_s": float(np.sum(train.tr))}
            for method, options in {
                "low-rank inversion": {"b1_width": SMOOTH_B1},
                "LR-ADMM": METHODS[BEST],
            }.items():
                result[name][method] = evaluated(*run(acquisition, dictionary, brain, **options))
        console.print(name, {m: v["brain"] for m, v in result[name].items() if m != "scan_s"})
    return result


def lines(record):
    """The tables of docs/benchmarks.md."""
    voxels = record["voxels"]
    head = "| " + " | ".join(QUANTITIES) + " |"
    rule = "|---" * len(QUANTITIES) + "|"

    def cells(errors):
        return " | ".join(f"{100 * errors[q]['mean']:.1f} %" for q in QUANTITIES)

    return [
        f"{record['work']}. {record['machine']}, {record['date']}. Mean absolute errors in the brain "
        f"({voxels['brain']} pixels). Sensitivities are estimated (ESPIRiT). Wall times on two threads, "
        "without the dictionary.",
        "",
        "Dictionary by EPG-Bloch:",
        "",
        f"| method | coils | time {head}",
        f"|---|---|---{rule}",
        *(
            f"| {method} | {scan} | {result['wall_s']:.0f} s | {cells(result['brain'])} |"
            for method, results in record["methods"].items()
            for scan, result in results.items()
        ),
        "",
        f"Dictionaries of three models, eight coils; also in the {voxels['interior']} pixels whose eight "
        "neighbours hold the same tissue:",
        "",
        f"| dictionary by | made in | method | pixels {head}",
        f"|---|---|---|---{rule}",
        *(
            f"| {name} | {results['dictionary_s']:.0f} s | {method} | {region} | "
            f"{cells(results[method][region])} |"
            for name, results in record["models"].items()
            for method in COMPARED
            for region in ("brain", "interior")
        ),
        "",
        "Shorter scans, B1 smooth, eight coils:",
        "",
        f"| scan | time | method {head}",
        f"|---|---|---{rule}",
        *(
            f"| {scan} | {results['scan_s']:.1f} s | {method} | {cells(result['brain'])} |"
            for scan, results in record["scan_times"].items()
            for method, result in results.items()
            if method != "scan_s"
        ),
        "",
        "![Maps by three dictionaries](figures/brain_maps.png)",
        "",
        "![Error against scan time](figures/brain_scan_times.png)",
    ]


if __name__ == "__main__":
    main()
