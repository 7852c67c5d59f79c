"""Training files: YAML files that describe the data, the network and its training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jobs.protocol import read_engine, read_network
from jobs.protocol_sequence import read_pulse
from jobs.protocol_values import Section, read_yaml
from surrogate import CELLS, NetworkSize, Ranges, Recipe, Weights
from surrogate.requirements import check_training
from surrogate.settings import METHODS, PRECISIONS, Settings, Stage
from surrogate.surrogate import find_weights

_RANGES = {
    "t1_ms": 1e-3,
    "t2_ms": 1e-3,
    "tr_ms": 1e-3,
    "te_over_tr": 1.0,
    "inversion_time_ms": 1e-3,
    "inversion_efficiency": 1.0,
}
"""Keys of the ranges and their units in SI units."""
_TRAINING = (
    "stages",
    "training_signals",
    "validation_signals",
    "batch_size",
    "learning_rate",
    "final_learning_rate",
    "warmup_steps",
    "clip_norm",
    "output_weights",
    "patience",
    "seed",
    "method",
    "precision",
    "checkpoint_minutes",
)


@dataclass(frozen=True)
class TrainingFile:
    """What a training file says.

    Attributes
    ----------
    data : Path
        File of the data set; made if it does not exist.
    recipe : Recipe
        What the data set is made from.
    size : NetworkSize
        Size of the network.
    start : Weights or None
        Weights to begin with; None: random ones.
    settings : Settings
        How it is trained.
    checkpoint_seconds : float
        Time between two checkpoints [s].
    """

    data: Path
    recipe: Recipe
    size: NetworkSize
    start: Weights | None
    settings: Settings
    checkpoint_seconds: float


def load_training_file(path: str | Path) -> TrainingFile:
    """Read and check a training file.

    The annotated example ``examples/training.yaml`` lists every key. The data set is relative to the file.

    Raises
    ------
    ProtocolError
        If the file cannot be read, a key is unknown, missing or has the wrong unit, a value is out of range,
        or the training is not possible with these data; the message has the form
        ``training.yaml: training.batch_size: ...``.
    """
    path = Path(path)
    top = Section(path, "", read_yaml(path)[1], ("data", "network", "training"))
    top.require("data", "training")
    data = top.section("data", ("file", "signals", "pulses", "seed", "ranges", "pulse", "engine"))
    data.require("file")
    if not isinstance(data.values["file"], str):
        raise data.error("file", f"must be the name of a file; got {data.values['file']!r}")
    network = top.section("network", ("layers", "units", "cell", "start"))
    training = top.section("training", _TRAINING)
    file = TrainingFile(
        data=path.parent / data.values["file"],
        recipe=_recipe(data),
        size=_size(network),
        start=_start(network) if network.has("start") else None,
        settings=_settings(training),
        checkpoint_seconds=60 * training.number("checkpoint_minutes", 5.0, above=0),
    )
    recipe = file.recipe
    with top.located():
        check_training(recipe.n_signals, recipe.n_pulses, recipe.ranges, file.size, file.settings, file.start)
    return file


def _recipe(data: Section) -> Recipe:
    default = Recipe()
    with data.located():
        return Recipe(
            n_signals=data.count("signals", default.n_signals),
            n_pulses=data.count("pulses", default.n_pulses),
            seed=data.count("seed", default.seed, at_least=0),
            ranges=_ranges(data.section("ranges", (*_RANGES, "largest_flip_angle_deg"))),
            pulse=read_pulse(data) if data.has("pulse") else default.pulse,
            model=read_engine(data),
        )


def _ranges(section: Section) -> Ranges:
    values: dict[str, tuple[float, ...]] = {}
    for key, unit in _RANGES.items():
        if section.has(key):
            values[key.removesuffix("_ms")] = tuple((unit * section.vector(key, above=0)).tolist())
    with section.located():
        largest = section.number("largest_flip_angle_deg", 120.0, above=0, at_most=360)
        return Ranges(**values, largest_flip_angle=float(np.deg2rad(largest)))  # type: ignore[arg-type]


def _size(network: Section) -> NetworkSize:
    default = NetworkSize()
    return NetworkSize(
        network.count("layers", default.layers, at_most=100),
        network.count("units", default.units, at_most=10_000),
        network.text("cell", CELLS, default.cell),
    )


def _start(network: Section) -> Weights:
    """Weights of a shipped network or of a file beside the training file."""
    return read_network(network, "start", find_weights)[1]


def _settings(training: Section) -> Settings:
    training.require("stages")
    default = Settings(stages=_stages(training))
    weights = default.output_weights
    if training.has("output_weights"):
        weights = tuple(training.vector("output_weights", at_least=0).tolist())
    with training.located():
        return Settings(
            stages=default.stages,
            training_signals=training.count("training_signals", default.training_signals),
            validation_signals=training.count("validation_signals", default.validation_signals),
            batch_size=training.count("batch_size", default.batch_size),
            learning_rate=training.number("learning_rate", default.learning_rate, above=0),
            final_learning_rate=training.number("final_learning_rate", default.final_learning_rate, above=0),
            warmup_steps=training.count("warmup_steps", default.warmup_steps),
            clip_norm=training.number("clip_norm", default.clip_norm, above=0),
            output_weights=weights,
            patience=training.count("patience", 1) if training.has("patience") else None,
            seed=training.count("seed", default.seed, at_least=0),
            method=training.text("method", METHODS, default.method),
            precision=training.text("precision", PRECISIONS, default.precision),
        )


def _stages(training: Section) -> tuple[Stage, ...]:
    values = training.values["stages"]
    if not isinstance(values, list) or not values:
        raise training.error("stages", "must be a list, as in [{pulses: 140, epochs: 20}, ...]")
    stages = []
    for i, value in enumerate(values):
        stage = Section(training.file, f"training.stages[{i}]", value, ("pulses", "epochs"))
        stage.require("pulses", "epochs")
        stages.append(Stage(stage.count("pulses", 1), stage.count("epochs", 1)))
    return tuple(stages)
