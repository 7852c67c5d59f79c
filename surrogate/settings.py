"""How networks are trained."""

from __future__ import annotations

import math
from dataclasses import dataclass

from epgbloch._checks import positive_number, require_count

METHODS = ("auto", "kernels", "keras")
"""What computes gradients; see `Settings`."""
PRECISIONS = ("float32", "mixed_float16")
"""What Keras computes with."""


@dataclass(frozen=True)
class Stage:
    """A part of the training on windows of one length.

    Parameters
    ----------
    pulses : int
        Length of the windows, which begin at the first pulse.
    epochs : int
        How often every signal is used.
    """

    pulses: int
    epochs: int

    def __post_init__(self) -> None:
        require_count("pulses", self.pulses)
        require_count("epochs", self.epochs)


@dataclass(frozen=True)
class Settings:
    """How a network is trained.

    The learning rate rises linearly over `warmup_steps` and follows a half cosine from `learning_rate` to
    `final_learning_rate` over all pulses that are trained on.

    Parameters
    ----------
    stages : tuple of Stage
        Windows, usually growing: short ones teach the same physics at a fraction of the time.
    training_signals, validation_signals : int
        The first signals of the data set, and those that follow. All others are left for tests.
    batch_size : int
        Signals a step.
    learning_rate, final_learning_rate : float
        Learning rate of Adam at the beginning and the end.
    warmup_steps : int
        Steps over which the learning rate rises from zero.
    clip_norm : float
        Largest norm of the gradient.
    output_weights : tuple of float
        Weights of the absolute errors of the signal and its derivatives by ln T1 and ln T2.
    patience : int or None
        Validations without improvement in the last stage after which training ends early; None: never.
    seed : int
        Seed of the first weights and the order of the signals.
    method : {"auto", "kernels", "keras"}
        Gradients from the kernels on the processor (GRU only), or from Keras; "auto": from the kernels
        unless Keras sees an accelerator or the cell is another one.
    precision : {"float32", "mixed_float16"}
        What Keras computes with.

    Raises
    ------
    ValueError
        If a value is out of range.
    """

    stages: tuple[Stage, ...]
    training_signals: int = 19_000
    validation_signals: int = 1000
    batch_size: int = 64
    learning_rate: float = 5e-3
    final_learning_rate: float = 5e-5
    warmup_steps: int = 300
    clip_norm: float = 1.0
    output_weights: tuple[float, float, float] = (1.0, 1.0, 1.0)
    patience: int | None = None
    seed: int = 0
    method: str = "auto"
    precision: str = "float32"

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("stages is empty; give at least one, as in Stage(pulses=1120, epochs=10)")
        for name in ("training_signals", "validation_signals", "batch_size", "warmup_steps"):
            require_count(name, getattr(self, name))
        for name in ("learning_rate", "final_learning_rate", "clip_norm"):
            positive_number(name, getattr(self, name), "")
        if len(self.output_weights) != 3 or min(self.output_weights) < 0 or not any(self.output_weights):
            raise ValueError(f"output_weights={self.output_weights} must be three numbers, not all zero")
        if self.patience is not None:
            require_count("patience", self.patience)
        if self.batch_size > self.training_signals:
            raise ValueError(
                f"batch_size={self.batch_size} exceeds training_signals={self.training_signals}; lower it"
            )
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ValueError(f"seed={self.seed!r} must be an integer of at least 0")
        for name, choices in (("method", METHODS), ("precision", PRECISIONS)):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}={getattr(self, name)!r} must be one of {', '.join(choices)}")

    @property
    def longest_window(self) -> int:
        """Pulses of the longest window."""
        return max(stage.pulses for stage in self.stages)

    @property
    def total_pulses(self) -> int:
        """Simulated pulses that are trained on in all."""
        signals = self.training_signals // self.batch_size * self.batch_size
        return signals * sum(stage.pulses * stage.epochs for stage in self.stages)

    def learning_rate_at(self, pulses: int, n_steps: int) -> float:
        """Return the learning rate after `n_steps` steps on `pulses` simulated pulses."""
        fraction = pulses / self.total_pulses
        low, high = self.final_learning_rate, self.learning_rate
        cosine = low + (high - low) * (1 + math.cos(math.pi * fraction)) / 2
        return cosine * min(1.0, (n_steps + 1) / self.warmup_steps)
