"""What an optimisation is told to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from epgbloch._checks import positive_number, real_number, require_count, require_seed


@dataclass(frozen=True)
class Phase:
    """Iterations that train some of the variables.

    Parameters
    ----------
    learning_rate : mapping of str to float
        Names of the variables and networks that are trained, and the first step size of each, in its unit;
        see `optimise` for how it decays.
    n_iterations : int
        Iterations.

    Raises
    ------
    ValueError
        If nothing is trained, a step is not positive, or a count below 1.
    """

    learning_rate: Mapping[str, float]
    n_iterations: int

    def __post_init__(self) -> None:
        require_count("n_iterations", self.n_iterations)
        if not self.learning_rate:
            raise ValueError("learning_rate is empty; name at least one variable to train")
        rates = {
            name: positive_number(f"learning_rate[{name!r}]", rate, "units of the variable")
            for name, rate in self.learning_rate.items()
        }
        object.__setattr__(self, "learning_rate", rates)


@dataclass(frozen=True)
class Settings:
    """Options of `optimiser.optimise` that determine the iterations, checked once.

    Raises
    ------
    ValueError
        If an option is out of range.
    """

    phases: tuple[Phase, ...]
    decay: float
    n_restarts: int
    perturbation: Mapping[str, float]
    n_data: int | None
    batch_size: int
    seed: int
    record_every: int | None

    def __post_init__(self) -> None:
        if not self.phases:
            raise ValueError("phases is empty; give at least one")
        if not 0 < real_number("decay", self.decay, "") <= 1:
            raise ValueError(f"decay={self.decay} must be above 0 and up to 1; 1 keeps the step")
        if isinstance(self.n_restarts, bool) or not isinstance(self.n_restarts, int) or self.n_restarts < 0:
            raise ValueError(f"n_restarts={self.n_restarts!r} must be an integer of at least 0")
        for name in ("n_data", "batch_size", "record_every"):
            if getattr(self, name) is not None:
                require_count(name, getattr(self, name))
        if self.n_data is not None and self.batch_size > self.n_data:
            raise ValueError(f"batch_size={self.batch_size} exceeds n_data={self.n_data}; draw fewer")
        require_seed(self.seed)
        for name, deviation in self.perturbation.items():
            positive_number(f"perturbation[{name!r}]", deviation, "units of the variable")

    def check_names(self, arrays: list[str], networks: list[str]) -> None:
        """Raise a ValueError if a name is none of the variables that may have it."""
        trained = [name for phase in self.phases for name in phase.learning_rate]
        cases = (
            ("learning_rate", trained, arrays + networks),
            ("perturbation", list(self.perturbation), arrays),
        )
        for what, names, known in cases:
            for name in names:
                if name not in known:
                    raise ValueError(f"{what} of {name!r} is of no variable; there are {', '.join(known)}")
