from pathlib import Path

import numpy as np
import pytest

from jobs.report_checks import checks
from jobs.report_data import Results
from reconstruction.bids import BidsMaps
from reconstruction.maps import Maps

RECORD = {"slice": 0, "median_correlation": 0.99, "n_dead_coils": 0, "converged": True}
GRID = {"t1": [0.1, 0.5, 5.0], "t2": [0.01, 2.0], "b1": [1.0]}


def findings(t1=None, mask=None, orientation_known=True, **changes):
    """Texts of the checks: those that are well, and those that are not."""
    mask = np.arange(100).reshape(10, 10) < 60 if mask is None else mask
    t1 = np.linspace(0.5, 1, 100).reshape(10, 10) if t1 is None else t1
    maps = Maps(t1, 0.1 * t1, t1, mask, b1=np.ones((10, 10)))
    provenance = {"mask": None, "dictionary": {"grid": GRID}, "slices": [{**RECORD, **changes}]}
    bids = BidsMaps([maps], np.eye(4), "01", orientation_known)
    found = checks(Results(Path(), bids, provenance))
    return [text for good, text in found if good], [text for good, text in found if not good]


def test_all_is_well():
    good, doubtful = findings()
    assert (len(good), doubtful) == (3, [])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"median_correlation": 0.7}, "Doubtful: median correlation 0.70 in slice 0. Check trajectory"),
        ({"mask": np.ones((10, 10))}, "Doubtful: the mask covers 100 % of the image in slice 0"),
        ({"n_dead_coils": 2}, "Coils without signal or noise were left out in slice 0."),
        (
            {"admm": {"dual_residual": [0.5, 0.3]}},
            "LR-ADMM had not come to rest in slice 0: the last iteration",
        ),
        (
            {"refinement": {"n_not_converged": 3, "n_at_bound": 0}, "n_voxels": 60},
            "5.0 % of the voxels keep their atom",
        ),
        ({"orientation_known": False}, "left and right are unknown"),
        (
            {"t1": np.full((10, 10), 5.0)},
            "100.0 % of the voxels have the greatest T1 of the dictionary, 5000 ms",
        ),
        (
            {"t1": np.full((10, 10), 0.1)},
            "of the voxels have the least T1 of the dictionary, 100 ms: widen it",
        ),
    ],
)
def test_doubts(changes, expected):
    _, doubtful = findings(**changes)
    assert any(expected in text for text in doubtful)


def test_good_ends_of_the_iterations():
    refinement = {"n_not_converged": 0, "n_at_bound": 1}
    good, doubtful = findings(admm={"dual_residual": [0.5, 0.012]}, refinement=refinement, n_voxels=60)
    assert doubtful == []
    assert "LR-ADMM came to rest: the last iteration changed the images by 1.2 % at most." in good
    assert any("0.0 % of the voxels keep their atom" in text for text in good)


def test_few_voxels_at_the_end_are_no_doubt():
    t1 = np.full((10, 10), 1.0)
    t1[0, 0] = 5  # 1 of 60
    assert findings(t1=t1)[1] == []


def test_early_end_is_told_without_alarm():
    good, doubtful = findings(converged=False)
    assert doubtful == []
    assert any("ended before its tolerance in slice 0" in text for text in good)
