"""Tables and figures of surrogate.md, from the record of `epgbloch evaluate`."""

from figure_scripts.tables import markdown

from surrogate.evaluation import trainings
from surrogate.probes import OUTSIDE

FIGURES = {
    "examples": "Signals and derivatives of the surrogate on those of the engine",
    "map": "Error against T1 and T2",
    "lengths": "Error along trains longer than trained on",
    "outside": "Error outside the ranges",
}
"""Figures of `epgbloch evaluate` and their captions."""
_BOTH = ("signal", "derivatives")


def joined(records):
    """Return the first of the records {network: record}, with what the table of networks needs of all."""
    keys = ("weights", "parameters", "training", "trained", "start", "all", "families")
    networks = {name: {key: record[key] for key in keys} for name, record in records.items()}
    return next(iter(records.values())) | {"networks": networks}


def tables(record):
    """Return the tables by name, and every figure as a line of its own, as Markdown."""
    images = {
        f"{name}_figure": f"![{caption}](figures/surrogate_{name}.png)" for name, caption in FIGURES.items()
    }
    return images | {
        "training": markdown(("", ""), [*_training(record)]),
        "networks": markdown(
            ("network", "layers", "parameters", "training", "all", *map(_family, record["families"])),
            [*_networks(record["networks"])],
        ),
        "table1": markdown(
            ("family", "signal", "published", "met", "derivatives", "published", "met"), _table1(record)
        ),
        "definitions": markdown(
            ("family", *(f"{what}, {how}" for how in ("mean of signals", "over range") for what in _BOTH)),
            [
                (_family(name), *_percents(entry["mean_of_signals"]), *_percents(entry["over_range"]))
                for name, entry in record["families"].items()
            ],
        ),
        "conditions": markdown(
            ("", "signals", *_BOTH, "95 % of the signals are below"), [*_conditions(record)]
        ),
        "outside": markdown(
            (
                "",
                *(f"signal / derivatives, {how}" for how in ("at the limit", "10 %", "25 %", "50 %", "2 x")),
            ),
            [*_outside(record)],
        ),
    }


def _training(record):
    network, test, every = record["weights"], record["test"], trainings(record)
    last = every[-1]["training"]
    yield (
        "network",
        f"{network['layers']} layers of {network['units']} ({network['cell'].upper()}), "
        f"{record['parameters']:,} parameters",
    )
    yield (
        "signals",
        f"{last['training_signals']:,} to train, {last['validation_signals']:,} to choose the weights, "
        f"{test['signals']:,} to test",
    )
    for number, each in enumerate(every, 1):
        training, trained = each["training"], each["trained"]
        stages = ", ".join(f"{stage['epochs']} x {stage['pulses']} pulses" for stage in training["stages"])
        yield (
            f"training {number}" if len(every) > 1 else "training",
            f"{stages}: {trained['pulses']:.2g} pulses in {trained['steps']:,} steps of "
            f"{training['batch_size']}, learning rate {training['learning_rate']:g}",
        )
    processors = ", ".join(dict.fromkeys(each["trained"]["processor"] for each in every))
    yield (
        "in all",
        f"{sum(each['trained']['pulses'] for each in every):.2g} pulses, {_minutes(record)} ({processors})",
    )


def _minutes(record):
    return f"{sum(each['trained']['seconds'] for each in trainings(record)) / 60:.0f} min"


def _networks(networks):
    for name, entry in networks.items():
        size = entry["weights"]
        yield (
            name,
            f"{size['layers']} of {size['units']}",
            f"{entry['parameters']:,}",
            _minutes(entry),
            *(" / ".join(_percents(e["nrmse"])) for e in (entry["all"], *entry["families"].values())),
        )


def _table1(record):
    for name, entry in record["families"].items():
        cells = [_family(name)]
        for own, published, met in zip(entry["nrmse"], entry["published"], entry["met"], strict=True):
            cells += [f"{100 * own:.3f} %", f"{100 * published:.3f} %", "yes" if met else "no"]
        yield cells


def _conditions(record):
    groups = {
        "all held-out signals": record["all"],
        **{name.replace("_", " "): entry for name, entry in record["conditions"].items()},
        **{f"{entry['pulses']} pulses": entry for entry in record["lengths"]["rows"]},
        "two families, one after the other": record["mixtures"]["two_parts"],
        "Spline11, then PieceConstant5, 1500 pulses": record["mixtures"]["spline11_piece_constant5"],
    }
    for name, entry in groups.items():
        yield name, f"{entry['signals']:,}", *_percents(entry["nrmse"]), _percent(entry["quantile_95"][0])


def _outside(record):
    for name, entries in record["outside"].items():
        title, unit, factor = OUTSIDE[name]
        cells = [" / ".join(_percents(entry["nrmse"])) for entry in entries]
        limit = f"{title} {entries[0]['value'] * factor:.5g} {unit}"
        yield limit, *cells, *[""] * (5 - len(cells))


def _family(name):
    return name.title().replace("_", "")


def _percents(values):
    return [_percent(value) for value in values]


def _percent(value):
    return f"{100 * value:.3g} %"
