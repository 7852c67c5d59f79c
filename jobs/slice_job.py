"""The slices of a reconstruction, one after the other, and what a killed run left of them."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dictionaries import Dictionary
from epgbloch import SignalModel
from epgbloch._files import Parts
from jobs.console import Console
from jobs.given_maps import GivenMaps
from jobs.outputs import versions
from jobs.protocol import Protocol
from jobs.report_checks import ADVICE, late_gradients
from jobs.slice_result import SliceResult
from jobs.slices import lack_of_signal, located
from reconstruction.maps import Maps
from reconstruction.pipeline import reconstruct
from reconstruction.rawdata import RawData


@dataclass(frozen=True)
class SliceCheck:
    """What the first reading of a slice told.

    Attributes
    ----------
    number : int
        Number of the slice, counted from 0.
    affine : ndarray, shape (4, 4), float64
        Maps voxel indices (x, y, z, 1) of the slice to millimetres in RAS.
    orientation_known : bool
        Whether the affine tells where the slice lies in the patient.
    problem : str or None
        Why there is nothing to reconstruct.
    """

    number: int
    affine: NDArray[np.float64]
    orientation_known: bool
    problem: str | None


def check_slices(scan: RawData, numbers: list[int], console: Console) -> list[SliceCheck]:
    """Read all slices before the long work, so that damage in the last one shows at once."""
    checks = []
    with console.step(f"Checking {len(numbers)} slice(s) of {scan.n_readouts} readouts") as progress:
        for i, number in enumerate(numbers):
            acquisition = scan.acquisition(number)
            with located(scan, number):
                problem = lack_of_signal(acquisition)
            checks.append(SliceCheck(number, acquisition.affine, acquisition.orientation_known, problem))
            progress(i + 1, len(numbers))
    if not scan.noise_rows.size:
        console.notice("no noise readouts in the raw data: the coils are not prewhitened")
    if all(check.problem for check in checks):
        raise ValueError(f"{scan.path}, slice {numbers[0]}: {checks[0].problem}")
    return checks


@dataclass(frozen=True, eq=False)
class SliceJob:
    """What is to be reconstructed: everything that the maps depend on.

    Attributes
    ----------
    scan : RawData
        Raw data.
    protocol : Protocol
        The protocol, with options of the command line.
    dictionary : Dictionary
        Atoms and temporal basis.
    checks : list of SliceCheck
        The slices in the order of the volume.
    masks : ndarray, shape (n_slices, ny, nx), bool, or None
        Voxels to match, in the same order; None: estimated.
    model : SignalModel or None
        What refines the maps; None: they are those of the atoms.
    given : GivenMaps
        Maps that are not estimated.
    """

    scan: RawData
    protocol: Protocol
    dictionary: Dictionary
    checks: list[SliceCheck]
    masks: NDArray[np.bool_] | None
    model: SignalModel | None
    given: GivenMaps

    @property
    def options(self) -> dict[str, Any]:
        """Options of `reconstruct`; fit JSON."""
        return {
            "n_iterations": self.protocol.n_iterations,
            "coil_method": self.protocol.coil_method,
            "virtual_coils": self.protocol.virtual_coils,
            "correct_gradient_delays": self.protocol.gradient_delays == "estimate",
            "check_consistency": self.protocol.check_consistency,
            "b1_width": self.protocol.b1_width,
            "correct_receive_field": self.protocol.correct_receive_field,
        }

    @property
    def refined_with(self) -> dict[str, Any] | None:
        """Settings of the model that refines the maps; fit JSON."""
        return None if self.model is None else self.model.settings()

    @cached_property
    def scan_digest(self) -> str:
        """SHA-256 of the raw data."""
        with self.scan.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def identity(self) -> dict[str, Any]:
        """Everything that a finished slice depends on."""
        dictionary = self.dictionary
        tissue = dictionary.grid[np.arange(dictionary.n_atoms)]
        atoms = (tissue.t1, tissue.t2, tissue.b1, tissue.off_resonance)
        return {
            "scan": self.scan_digest,
            "protocol": self.protocol.text,
            "method": self.protocol.method,
            "options": self.options,
            "refined_with": self.refined_with,
            "dictionary": _digest(*atoms, dictionary.basis, dictionary.coefficients, dictionary.norms),
            "mask": None if self.masks is None else _digest(self.masks),
            "given": [_digest(*self.given.of_slice(z).values()) for z in range(len(self.checks))],
            **versions(),
        }

    def run(self, parts: Parts, console: Console) -> list[SliceResult]:
        """Results of the slices in the order of the volume; finished ones come from the parts.

        A slice that cannot be reconstructed is left empty, so that the others are not lost.

        Raises
        ------
        ValueError
            If no slice can be reconstructed.
        """
        found = {check.number: self._finished(parts, check) for check in self.checks}
        n_found = sum(result is not None for result in found.values())
        if n_found:
            console.notice(f"{n_found} of {len(found)} slices are found in {parts.folder}")
        results = []
        for z, check in enumerate(self.checks):
            result = found.pop(check.number)
            if result is None:
                result = self._reconstructed(z, console)
                if not result.problem:
                    parts.write(_part(check), result.to_arrays())
            results.append(result)
            if result.problem and len(self.checks) > 1:
                console.notice(f"slice {check.number} is left empty: {result.problem}")
            elif result.record.get("n_dead_coils"):
                console.notice(
                    f"slice {check.number}: {result.record['n_dead_coils']} coil(s) without signal or noise "
                    "left out"
                )
            if late := late_gradients(result.record):
                console.notice(f"slice {check.number}: {late[0].lower()}{late[1:]}")
        if all(result.problem for result in results):
            advice = f"; if there should be an image, {ADVICE}" if self.masks is None else ""
            raise ValueError(f"{self.scan.path}, slice {results[0].number}: {results[0].problem}{advice}")
        return results

    def _finished(self, parts: Parts, check: SliceCheck) -> SliceResult | None:
        """Slice of an earlier run; None if there is none, or a damaged one."""
        arrays = parts.read(_part(check))
        return None if arrays is None else SliceResult.from_arrays(check.number, check.affine, arrays)

    def _reconstructed(self, z: int, console: Console) -> SliceResult:
        check, mask = self.checks[z], None if self.masks is None else self.masks[z]
        problem = check.problem
        if problem is None and mask is not None and not mask.any():
            problem = "the mask is empty there"
        if problem is None:
            start = time.perf_counter()
            title = f"Slice {check.number}: {self.scan.n_coils} coils, rank {self.dictionary.rank}"
            if len(self.checks) > 1:
                title = f"{title} ({z + 1} of {len(self.checks)})"
            with console.step(title) as progress:
                try:
                    result = reconstruct(
                        self.scan.acquisition(check.number),
                        self.dictionary,
                        admm=self.protocol.admm,
                        refine_with=self.model,
                        mask=mask,
                        progress=progress,
                        **self.given.of_slice(z),
                        **self.options,
                    )
                except ValueError as error:
                    problem = str(error)
        if problem is not None:
            empty = _empty_maps(self.scan.matrix)
            return SliceResult(check.number, empty, check.affine, problem)
        return SliceResult.of(check.number, check.affine, result, time.perf_counter() - start)


def _part(check: SliceCheck) -> str:
    return f"slice-{check.number:04d}"


def _digest(*arrays: NDArray[Any]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _empty_maps(matrix: tuple[int, int]) -> Maps:
    zero = np.zeros(matrix, dtype=np.float32)
    return Maps(zero, zero, zero.astype(np.complex64), mask=zero > 0)
