"""Tables of the measured errors, written into the Markdown between markers of the same name.

A table stands between `<!-- table: name -->` and `<!-- end -->`.
"""

import re

HEADING = {
    "tolerance": ("tolerance", "states, median", "error, median", "error, largest"),
    "rate_nodes": ("nodes of R1 x R2", "error"),
    "angle_grid": ("step of the angles", "error"),
    "single_precision": (
        "pulses",
        "tissues",
        "error, median",
        "error, largest",
        "relative to the largest signal of all tissues",
    ),
    "derivatives": ("by", "error, largest"),
    "bias": ("largest angle", "T1 / T2", "model", "fitted T1", "fitted T2", "residual"),
}


def tables(record):
    """Return the tables of the measurements in physics.json by name, as Markdown."""
    by_t2 = {name: markdown(["T2 [ms]", *map(_number, t2)], rows) for name, t2, rows in _by_t2(record)}
    return by_t2 | {name: markdown(HEADING[name], rows) for name, rows in _others(record)}


def insert(text, tables):
    """Return the Markdown with its tables replaced."""

    def replace(match):
        return f"<!-- table: {match[1]} -->\n{tables[match[1]]}\n<!-- end -->"

    return re.sub(r"<!-- table: (\w+) -->\n.*?<!-- end -->", replace, text, flags=re.DOTALL)


def _by_t2(record):
    """Name, T2 and rows of the tables that have a column for every T2."""
    states, steps, slices = record["states"], record["rf_steps"], record["slices"]

    def at(part, axis, key, value):
        return part[key][part[axis].index(value)]

    yield (
        "overview",
        states["t2_ms"],
        [
            ("configuration states, tolerance 1e-4", *_errors(states["chosen_error"])),
            ("RF steps, 200", *_errors(at(steps, "n_steps", "symmetric", 200))),
            ("sub-slices, 32 over 3 thicknesses", *_errors(at(slices, "n_subslices", "subslices_error", 32))),
            ("extent, 3 thicknesses", *_errors(at(slices, "extent", "extent_error", 3.0))),
            (
                "interpolation and single precision",
                *_errors(at(slices, "n_subslices", "subslices_error", 192)),
            ),
            ("**all defaults together**", *_errors(slices["default_error"])),
            ("96 sub-slices over 4 thicknesses", *_errors(slices["generous_error"])),
        ],
    )
    yield (
        "states",
        states["t2_ms"],
        [
            *((f"{n} states", *_errors(at(states, "n_states", "error", n))) for n in (10, 20, 40, 80)),
            ("states chosen for 1e-4", *map(str, states["chosen"])),
            ("their error", *_errors(states["chosen_error"])),
        ],
    )
    yield (
        "rf_steps",
        steps["t2_ms"],
        [
            *(
                (f"{n} steps, {name.replace('_', ' ')}", *_errors(at(steps, "n_steps", name, n)))
                for n in (16, 64, 200)
                for name in ("first_order", "symmetric")
            ),
            ("no relaxation in the pulse", *_errors(steps["outside"])),
        ],
    )
    yield (
        "subslices",
        slices["t2_ms"],
        [
            (f"{n} sub-slices", *_errors(at(slices, "n_subslices", "subslices_error", n)))
            for n in (16, 32, 64, 128, 192)
        ],
    )
    yield (
        "extent",
        slices["t2_ms"],
        [
            (f"{e:g} thicknesses", *_errors(at(slices, "extent", "extent_error", e)))
            for e in (2.0, 3.0, 4.0, 5.0, 6.0)
        ],
    )


def _others(record):
    """Name and rows of the other tables."""
    part = record["tolerance"]
    yield (
        "tolerance",
        [
            (f"{value:.0e}".replace("e-0", "e-"), str(count), _error(median), _error(largest))
            for value, count, median, largest in zip(
                part["tolerance"], part["median_states"], part["median"], part["largest"], strict=True
            )
        ],
    )
    part = record["operators"]
    yield (
        "rate_nodes",
        [(f"{n} x {m}", _error(e)) for (n, m), e in zip(part["nodes"], part["rate_error"], strict=True)],
    )
    yield (
        "angle_grid",
        [
            (f"{step:g} degrees", _error(e))
            for step, e in zip(part["angle_step_deg"], part["angle_error"], strict=True)
        ],
    )
    yield (
        "single_precision",
        [
            (
                kind,
                str(part["n_atoms"]),
                *_errors([part["median"], part["largest"], part["largest_of_common_maximum"]]),
            )
            for kind, part in record["single_precision"].items()
        ],
    )
    part = record["derivatives"]
    names = {"t1": "T1", "t2": "T2", "b1": "B1", "off_resonance": "off-resonance"}
    yield (
        "derivatives",
        [(names[name], _error(e)) for name, e in zip(part["wrt"], part["largest"], strict=True)],
    )
    yield (
        "bias",
        [
            (
                f"{row['largest_flip_angle_deg']:.0f} degrees",
                f"{row['t1_ms']:.0f} / {row['t2_ms']:.0f} ms",
                row["model"],
                f"{row['fitted_t1_ms']:.0f} ms",
                f"{row['fitted_t2_ms']:.0f} ms",
                f"{100 * row['residual']:.1f} %",
            )
            for row in record["bias"]
        ],
    )


def markdown(heading, rows):
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _errors(values):
    return [_error(value) for value in values]


def _error(value):
    """Two digits; below 1e-12 only rounding is left."""
    if value < 1e-12:
        return "< 1e-12"
    digits, exponent = f"{value:.1e}".split("e")
    return f"{digits}e{int(exponent)}"


def _number(value):
    return f"{value:g}"
