"""What a training needs, checked before its data are made."""

from __future__ import annotations

from surrogate.sampling import Ranges
from surrogate.settings import Settings
from surrogate.size import NetworkSize
from surrogate.weights import Weights


class TrainingError(ValueError):
    """A training that cannot be done; the message says why and what to do."""


def check_training(
    n_signals: int,
    n_pulses: int,
    ranges: Ranges,
    size: NetworkSize,
    settings: Settings,
    start: Weights | None,
) -> str:
    """Check that a training is possible and choose its method.

    Parameters
    ----------
    n_signals, n_pulses : int
        Size of the data set.
    ranges : Ranges
        Its ranges.
    size, settings, start
        As of `training.train`.

    Returns
    -------
    str
        What computes the gradients: "kernels" or "keras".

    Raises
    ------
    TrainingError
        If the data set is too small or its signals too short, or the method or the first weights do not fit.
    """
    n_used = settings.training_signals + settings.validation_signals
    if n_used > n_signals:
        raise TrainingError(
            f"training_signals={settings.training_signals} and validation_signals="
            f"{settings.validation_signals} exceed the {n_signals} signals of the data set; lower them or "
            "generate more"
        )
    longest = settings.longest_window
    if longest > n_pulses:
        raise TrainingError(
            f"stages: windows of {longest} pulses are longer than the signals, {n_pulses} pulses; shorten "
            "them"
        )
    if start is not None and start.size != size:
        raise TrainingError(
            f"start: the weights are those of {start.size}, not {size}; give the network that size"
        )
    if start is not None and start.ranges != ranges:
        raise TrainingError(
            f"start: the weights were trained within {start.ranges}, the data are drawn from {ranges}; "
            "generate data within the same ranges"
        )
    return _method(size, settings)


def _method(size: NetworkSize, settings: Settings) -> str:
    method = settings.method
    if method == "auto":
        from surrogate.steps import accelerators

        method = "kernels" if size.cell == "gru" and not accelerators() else "keras"
    elif method == "kernels" and size.cell != "gru":
        raise TrainingError(f"method='kernels' needs cell='gru', not {size.cell!r}; use method='keras'")
    if method == "kernels" and settings.precision != "float32":
        raise TrainingError(f"precision={settings.precision!r} needs method='keras'; use 'float32'")
    return method
