"""Measure the approximations of the model and the fit below the grid step (3 minutes).

Writes the figures, physics.json and refinement.json, and the tables of physics.md and dictionaries.md.
"""

import json
from pathlib import Path

from figure_scripts import (
    error_figures,
    profile_figures,
    pulse_errors,
    refinement,
    slice_profile,
    train_errors,
)
from figure_scripts.tables import insert, tables
from rich.console import Console

DOCS = Path(__file__).resolve().parent
MEASUREMENTS = {
    "states": train_errors.states,
    "tolerance": train_errors.tolerance,
    "ensemble": train_errors.ensemble,
    "splitting": pulse_errors.splitting,
    "rf_steps": pulse_errors.rf_steps,
    "slices": train_errors.slices,
    "operators": pulse_errors.interpolation,
    "single_precision": train_errors.single_precision,
    "derivatives": train_errors.derivatives,
    "bias": slice_profile.bias,
}


def main():
    console, record = Console(stderr=True), {}
    for name, measure in MEASUREMENTS.items():
        with console.status(f"Measuring {name} ..."):
            record[name] = measure()
    publish("physics.json", record, "physics.md", tables(record))
    error_figures.states_figure(record["states"], record["ensemble"])
    error_figures.rf_steps_figure(record["splitting"], record["rf_steps"])
    error_figures.slices_figure(record["slices"])
    profile_figures.timeline_figure()
    profile_figures.profiles_figure()
    profile_figures.fingerprint_figure()
    with console.status("Measuring refinement ..."):
        errors = refinement.errors()
    publish("refinement.json", errors, "dictionaries.md", refinement.tables(errors))
    refinement.errors_figure(errors)


def publish(file, record, page, tables):
    """Write a record to its file and its tables into their page."""
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(part)}" for name, part in record.items())
    (DOCS / file).write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    path = DOCS / page
    path.write_text(insert(path.read_text(encoding="utf-8"), tables), encoding="utf-8")


if __name__ == "__main__":
    main()
