"""The section ``trajectory`` of a protocol."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.protocol_pulseq import PulseqTrajectory, pulseq_trajectory
from jobs.protocol_values import Section

_OVERSAMPLING = 2  # samples of a spoke or a line over pixels
_LAST_LINE = 65534  # counters and matrix of ISMRMRD have 16 bits


@dataclass(frozen=True)
class Radial:
    """Golden-angle spokes.

    Attributes
    ----------
    options : dict
        Arguments of `reconstruction.trajectory.golden_angle_radial`.
    """

    options: dict[str, Any] = field(default_factory=dict)

    def __call__(self, n_readouts: int, n_samples: int, matrix: tuple[int, int]) -> NDArray[np.float32]:
        """Trajectory, shape (n_readouts, n_samples, 2) [cycles per pixel]."""
        from reconstruction.trajectory import golden_angle_radial

        return golden_angle_radial(n_readouts, n_samples, **self.options)

    def n_samples(self, n_pixels: int) -> int:
        """Samples of a readout with twofold oversampling."""
        return _OVERSAMPLING * n_pixels


@dataclass(frozen=True)
class Spiral:
    """Variable-density spirals.

    Attributes
    ----------
    options : dict
        Arguments of `reconstruction.trajectory.variable_density_spiral`, with n_interleaves and
        density_exponent.
    """

    options: dict[str, Any]

    def __call__(self, n_readouts: int, n_samples: int, matrix: tuple[int, int]) -> NDArray[np.float32]:
        """Trajectory, shape (n_readouts, n_samples, 2) [cycles per pixel]."""
        from reconstruction.trajectory import variable_density_spiral

        return variable_density_spiral(n_readouts, n_samples, matrix=matrix, **self.options)

    def n_samples(self, n_pixels: int) -> int:
        """Samples of a readout: Nyquist at the edge of k-space, and at least as many as `Radial` has.

        At the speed of the edge, the spiral would cover less than ``a / (a + 2) (1 + pi n / i)`` cycles per
        pixel in the time of a readout (a: density_exponent, i: n_interleaves, n pixels); Nyquist asks for n
        samples a cycle.
        """
        exponent = self.options["density_exponent"]
        speed = exponent / (exponent + 2) * (1 + math.pi * n_pixels / self.options["n_interleaves"])
        return max(_OVERSAMPLING * n_pixels, math.ceil(n_pixels * speed) + 1)


@dataclass(frozen=True)
class Cartesian:
    """Cartesian lines, one per pulse.

    Attributes
    ----------
    lines : tuple of int
        Lines of the readouts, taken again from the first one after the last; empty: all in turn.
    """

    lines: tuple[int, ...] = ()

    def __call__(self, n_readouts: int, n_samples: int, matrix: tuple[int, int]) -> NDArray[np.float32]:
        """Trajectory, shape (n_readouts, n_samples, 2) [cycles per pixel]."""
        from reconstruction.trajectory import cartesian_lines

        lines = np.resize(self.lines or np.arange(matrix[0]), n_readouts)
        try:
            return cartesian_lines(lines, n_samples, matrix=matrix)
        except ValueError as error:
            raise ValueError(f"trajectory.cartesian.lines of the protocol: {error}") from error

    def n_samples(self, n_pixels: int) -> int:
        """Samples of a readout with twofold oversampling."""
        return _OVERSAMPLING * n_pixels


Trajectory = Radial | Spiral | Cartesian | PulseqTrajectory


def read_trajectory(protocol: Section) -> Trajectory:
    """Trajectory of a protocol.

    Raises
    ------
    ProtocolError
        If there is not exactly one kind, or one of its keys is unknown or out of range.
    """
    kinds: dict[str, Callable[[Section], Trajectory]] = {
        "golden_angle_radial": _radial,
        "spiral": _spiral,
        "cartesian": _cartesian,
        "pulseq": lambda section: pulseq_trajectory(section, "pulseq"),
    }
    section = protocol.section("trajectory", tuple(kinds))
    if len(section.values) != 1:
        raise section.error("", f"give one of {', '.join(kinds)}, or remove the section to use the file's")
    (kind,) = section.values
    return kinds[kind](section)


def _radial(trajectory: Section) -> Radial:
    section = trajectory.section(
        "golden_angle_radial", ("first_angle_deg", "angle_increment_deg", "n_skipped")
    )
    options: dict[str, Any] = {
        "first_angle": np.deg2rad(section.number("first_angle_deg", 0.0)),
        "n_skipped": section.count("n_skipped", 0, at_least=0),
    }
    if section.has("angle_increment_deg"):
        options["angle_increment"] = np.deg2rad(section.number("angle_increment_deg", 0.0))
    return Radial(options)


def _spiral(trajectory: Section) -> Spiral:
    section = trajectory.section("spiral", ("n_interleaves", "density_exponent", "angle_increment_deg"))
    options: dict[str, Any] = {
        "n_interleaves": section.count("n_interleaves", 48),
        "density_exponent": section.number("density_exponent", 2.0, at_least=1),
    }
    if section.has("angle_increment_deg"):
        options["angle_increment"] = np.deg2rad(section.number("angle_increment_deg", 0.0))
    return Spiral(options)


def _cartesian(trajectory: Section) -> Cartesian:
    section = trajectory.section("cartesian", ("lines",))
    if not section.has("lines") or section.values["lines"] == "sequential":
        return Cartesian()
    lines = section.vector("lines", at_least=0, at_most=_LAST_LINE)
    if np.any(lines % 1):
        raise section.error("lines", f"must hold whole numbers; got {lines[lines % 1 != 0][0]:g}")
    return Cartesian(tuple(lines.astype(int).tolist()))
