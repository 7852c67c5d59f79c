"""What a folder of ``epgbloch reconstruct`` holds, for its report."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reconstruction.bids import BidsMaps, read_bids
from reconstruction.maps import Maps

FIGURES = "figures"
"""Folder of the figures within that of the maps."""


@dataclass(frozen=True)
class Quantity:
    """A quantity as reports show it.

    Attributes
    ----------
    title : str
        Its name.
    unit : str
        Unit of its values in tables; "" for arbitrary ones.
    factor : float
        Factor from the unit of `Maps` to `unit`.
    digits : int
        Digits after the decimal point in tables.
    """

    title: str
    unit: str
    factor: float
    digits: int


QUANTITIES = {
    "t1": Quantity("T1", "ms", 1e3, 0),
    "t2": Quantity("T2", "ms", 1e3, 1),
    "b1": Quantity("B1", "%", 100.0, 1),
    "pd": Quantity("PD", "", 1.0, 3),
}
"""Quantities by field of `Maps`."""


@dataclass(frozen=True, eq=False)
class Results:
    """Maps with what is known of their making.

    Attributes
    ----------
    folder : Path
        Folder of the maps.
    bids : BidsMaps
        The maps.
    provenance : dict
        Content of ``provenance.json``; its ``slices`` describe those of `bids`, in the same order.
    """

    folder: Path
    bids: BidsMaps
    provenance: dict[str, Any]

    @property
    def slices(self) -> list[tuple[dict[str, Any], Maps]]:
        """Record and maps of the slices that were not left empty."""
        pairs = zip(self.provenance["slices"], self.bids.maps, strict=True)
        return [(record, maps) for record, maps in pairs if maps.mask.any()]

    def affine(self, z: int) -> NDArray[np.float64]:
        """Affine of slice z of the volume."""
        affine = self.bids.affine.copy()
        affine[:3, 3] += z * affine[:3, 2]
        return affine

    def values(self, name: str) -> NDArray[np.float64] | None:
        """Values of a field of `Maps` in all masks, in the unit of the maps; None if a slice lacks it."""
        images = [(getattr(maps, name), maps.mask) for _, maps in self.slices]
        if any(image is None for image, _ in images):
            return None
        return np.abs(np.concatenate([image[mask] for image, mask in images])).astype(np.float64)


def figure_name(kind: str, number: int) -> str:
    """Name of a figure of slice `number` in the folder of the figures."""
    return f"{kind}-{number:02d}.png"


def read_results(folder: Path) -> Results:
    """Read a folder of ``epgbloch reconstruct``.

    Raises
    ------
    ValueError
        If it is none, or not complete.
    """
    path = folder / "provenance.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        known = content["command"] == "epgbloch reconstruct" and isinstance(content["slices"], list)
    except (OSError, ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise ValueError(f"{folder} is not a folder of epgbloch reconstruct: it has no provenance of its own")
    bids = read_bids(folder)
    if len(content["slices"]) != len(bids.maps):
        raise ValueError(
            f"{path} describes {len(content['slices'])} slices and the maps hold {len(bids.maps)}; "
            "reconstruct again"
        )
    return Results(folder, bids, content)
