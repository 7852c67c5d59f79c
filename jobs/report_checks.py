"""What in a reconstruction deserves a second look."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from jobs.report_data import QUANTITIES, Results
from reconstruction.maps import Maps

# Measured on a phantom: 0.999, with the train of another sequence 0.74. It takes much to get below: a few
# coefficients fit almost anything; wrong trajectories show in the mask, or leave no region above the noise.
DOUBTFUL_CORRELATION = 0.9
DOUBTFUL_MASK = 0.95  # of the image
DOUBTFUL_RESIDUAL = 0.2  # right: at most 0.06; trajectories out of order 0.25 to 0.3, another sequence 0.6
ADVICE = "check trajectory, trajectory_units and sequence"
_STILL_CHANGING = 0.05  # of the norm of the images; phantoms: at most 0.03, voxels between atoms take turns
_AT_THE_END = 0.02  # of the voxels; fluid and flow leave some there anyway


class Check(NamedTuple):
    """One line of the list of checks: whether all is well, and what was found."""

    good: bool
    text: str


def doubtful_signs(record: dict[str, Any], maps: Maps, mask_estimated: bool) -> list[str]:
    """Say what makes a slice look like the result of a wrong trajectory or sequence.

    Parameters
    ----------
    record : dict
        What the provenance says about the slice.
    maps : Maps
        Its maps.
    mask_estimated : bool
        Whether the mask is not the user's.
    """
    number, correlation = record["slice"], record["median_correlation"]
    signs = []
    check = record.get("trajectory_check")
    if check and check["noise_known"] and check["relative_residual"] > DOUBTFUL_RESIDUAL:
        unexplained = 100 * check["relative_residual"]
        signs.append(
            f"the readouts leave {unexplained:.0f} % of the centre of k-space unexplained in slice {number}"
        )
    if correlation < DOUBTFUL_CORRELATION:
        signs.append(f"median correlation {correlation:.2f} in slice {number}")
    if mask_estimated and maps.mask.mean() > DOUBTFUL_MASK:
        signs.append(f"the mask covers {100 * maps.mask.mean():.0f} % of the image in slice {number}")
    return signs


def late_gradients(record: dict[str, Any]) -> str:
    """Say that gradients come late and what to do about it; "" if nothing is known of it."""
    delays = (record.get("trajectory_check") or {}).get("gradient_delays_samples")
    if not delays:
        return ""
    size = ", ".join(f"{axis} {delay:.2f}" for axis, delay in delays.items())
    return f"The gradients come late by {size} samples: correct this (--gradient-delays estimate)"


def checks(results: Results) -> list[Check]:
    """Return what the report says first: whether the maps look like what they should be."""
    provenance = results.provenance
    estimated = provenance.get("mask") is None
    signs = []
    for record, maps in results.slices:
        signs += doubtful_signs(record, maps, estimated)
    found = []
    if signs:
        found.append(Check(False, f"Doubtful: {'; '.join(signs)}. {ADVICE[0].upper()}{ADVICE[1:]}."))
    else:
        found.append(
            Check(True, "Measured and modelled signals agree in every slice, and the masks are plausible.")
        )
    for record in provenance["slices"]:
        if "left_empty" in record:
            found.append(Check(False, f"Slice {record['slice']} is left empty: {record['left_empty']}."))
    found += _grid_checks(results)
    found += [
        Check(False, f"{late} in slice {record['slice']}.")
        for record, _ in results.slices
        if (late := late_gradients(record))
    ]
    dead = sorted({record["slice"] for record, _ in results.slices if record["n_dead_coils"]})
    if dead:
        found.append(Check(False, f"Coils without signal or noise were left out in {_slices(dead)}."))
    slow = [record["slice"] for record, _ in results.slices if not record["converged"]]
    if slow:
        text = (
            f"The iteration ended before its tolerance in {_slices(slow)}, at the number of iterations asked "
            "for. That is usual: their number regularises."
        )
        found.append(Check(True, text))
    else:
        found.append(Check(True, "The iteration reached its tolerance in every slice."))
    found += _admm_checks(results)
    found += _refinement_checks(results)
    if not results.bids.orientation_known:
        found.append(
            Check(
                False,
                "The raw data do not say how the slices lie in the patient: left and right are unknown.",
            )
        )
    return found


def _admm_checks(results: Results) -> list[Check]:
    """Whether LR-ADMM came to rest."""
    change = {
        record["slice"]: record["admm"]["dual_residual"][-1]
        for record, _ in results.slices
        if "admm" in record
    }
    if not change:
        return []
    restless = [number for number, part in change.items() if part > _STILL_CHANGING]
    text = f"the last iteration changed the images by {100 * max(change.values()):.1f} % at most"
    if restless:
        advice = "Compare with --method low-rank, or give it more iterations."
        return [Check(False, f"LR-ADMM had not come to rest in {_slices(restless)}: {text}. {advice}")]
    return [Check(True, f"LR-ADMM came to rest: {text}.")]


def _refinement_checks(results: Results) -> list[Check]:
    """Whether the fits below the step of the grid ended well."""
    records = [record for record, _ in results.slices if record.get("refinement")]
    if not records:
        return []
    counts = [
        sum(record["refinement"][name] for record in records) for name in ("n_not_converged", "n_at_bound")
    ]
    shares = [count / sum(record["n_voxels"] for record in records) for count in counts]
    text = (
        f"{100 * shares[0]:.1f} % of the voxels keep their atom because the fit did not converge, and "
        f"{100 * shares[1]:.1f} % ended at a bound of the dictionary; neither has standard errors."
    )
    return [Check(max(shares) <= _AT_THE_END, text)]


def _grid_checks(results: Results) -> list[Check]:
    """Whether voxels pile up at the ends of the axes of the dictionary."""
    grid = (results.provenance.get("dictionary") or {}).get("grid")
    if not grid:
        return []
    found = []
    for name in ("t1", "t2", "b1"):
        values, axis = results.values(name), grid.get(name, [])
        if values is None or len(axis) < 2:
            continue
        quantity = QUANTITIES[name]
        for end, what in ((min(axis), "least"), (max(axis), "greatest")):
            share = float(np.mean(np.isclose(values, end, rtol=1e-5, atol=0)))  # NIfTI has single precision
            if share > _AT_THE_END:
                found.append(
                    Check(
                        False,
                        f"{100 * share:.1f} % of the voxels have the {what} {quantity.title} of the "
                        f"dictionary, {quantity.factor * end:.4g} {quantity.unit}: widen it.",
                    )
                )
    return found or [Check(True, "Few voxels lie at the ends of the dictionary: its ranges suffice.")]


def _slices(numbers: list[Any]) -> str:
    listed = ", ".join(str(number) for number in numbers[:8])
    more = f" and {len(numbers) - 8} more" if len(numbers) > 8 else ""
    return f"slice {listed}" if len(numbers) == 1 else f"slices {listed}{more}"
