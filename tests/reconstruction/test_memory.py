"""What an encoding takes against what it holds, and what the machine has."""

import numpy as np
import pytest

from reconstruction import SubspaceEncoding, memory, memory_estimate
from reconstruction.memory import available_memory

SIZES = {"n_readouts": 10, "n_samples": 8, "matrix": (6, 7), "n_coils": 3, "rank": 5}


def encoding(complex_basis=False, **changes):
    sizes = SIZES | changes
    rng = np.random.default_rng(0)
    basis = rng.standard_normal((sizes["n_readouts"], sizes["rank"]))
    return SubspaceEncoding(
        rng.uniform(-0.5, 0.5, (sizes["n_readouts"], sizes["n_samples"], len(sizes["matrix"]))),
        sizes["matrix"],
        np.ones((sizes["n_coils"], *sizes["matrix"])),
        basis + 1j if complex_basis else basis,
    )


@pytest.mark.parametrize("complex_basis", [False, True])
@pytest.mark.parametrize("changes", [{}, {"matrix": (3, 5, 4)}, {"rank": 1}])
def test_kernel_has_the_estimated_size(changes, complex_basis):
    operator = encoding(complex_basis, **changes)
    operator.normal(np.zeros(operator.image_shape))
    estimate = memory_estimate(**SIZES | changes, complex_basis=complex_basis)
    assert sum(normal.nbytes for normal in operator._normal) == estimate.kernel


def test_kernel_of_a_stack():
    """78 planes of 4 bytes at 8 frequencies for each voxel."""
    estimate = memory_estimate(32 * 1120, 512, (32, 256, 256), 16, 12, n_threads=2)
    assert estimate.kernel == 32 * 256 * 256 * 8 * 78 * 4
    assert estimate.peak > estimate.kernel + estimate.multiplying


@pytest.mark.parametrize(
    ("changes", "larger"),
    [
        ({"n_readouts": 800}, ("encoding", "transforming", "building")),
        ({"n_samples": 16}, ("encoding", "transforming", "building")),
        ({"n_coils": 6}, ("encoding", "transforming", "multiplying")),
        ({"rank": 10}, ("kernel", "multiplying")),
        ({"matrix": (12, 14)}, ("encoding", "kernel", "building", "multiplying")),
        ({"complex_basis": True}, ("kernel",)),
        ({"n_segments": 3}, ("encoding", "kernel")),
        ({"n_threads": 2}, ("encoding", "building")),
        ({"tolerance": 1e-6}, ("transforming",)),
    ],
)
def test_estimate_follows_the_sizes(changes, larger):
    default = SIZES | {"n_readouts": 400, "matrix": (11, 11), "n_threads": 1}
    before, after = memory_estimate(**default), memory_estimate(**default | changes)
    for field in larger:
        assert getattr(after, field) > getattr(before, field), field


@pytest.mark.parametrize("name", ["n_readouts", "n_samples", "n_coils", "rank"])
def test_counts_are_checked(name):
    with pytest.raises(ValueError, match=f"{name}=0 must be an integer of at least 1"):
        memory_estimate(**SIZES | {name: 0})


def test_too_large_encodings_are_refused(monkeypatch):
    monkeypatch.setattr(memory, "available_memory", lambda: 10_000)
    with pytest.raises(
        MemoryError, match=r"the encoding needs .* GB of memory and 1e-05 GB are available; .*coils"
    ):
        encoding()


def test_too_large_kernels_are_refused(monkeypatch):
    operator = encoding()
    estimate = memory_estimate(**SIZES)
    monkeypatch.setattr(memory, "available_memory", lambda: estimate.kernel)
    with pytest.raises(MemoryError, match=r"the kernel of the normal operator .* use a lower rank"):
        operator.normal(np.zeros(operator.image_shape))
    monkeypatch.setattr(memory, "available_memory", lambda: None)
    operator.normal(np.zeros(operator.image_shape))


def write_group(folder, limit, current, cache):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{current}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {cache}\n")


def test_available_memory_is_the_least_of_machine_and_groups(monkeypatch, tmp_path):
    system, group, groups = tmp_path / "meminfo", tmp_path / "group", tmp_path / "groups"
    system.write_text("MemTotal:  900 kB\nMemAvailable:  500 kB\nHugePages_Total:  0\n")
    group.write_text("1:name=systemd:/other\n0::/job/step\n")
    for name, path in (("_SYSTEM", system), ("_GROUP", group), ("_GROUPS", groups)):
        monkeypatch.setattr(memory, name, path)
    assert available_memory() == 500 * 1024
    write_group(groups / "job" / "step", "max", 1000, 0)
    assert available_memory() == 500 * 1024
    write_group(groups / "job", 200_000, 150_000, 30_000)
    assert available_memory() == 80_000
    system.unlink()
    assert available_memory() is None or available_memory() > 500 * 1024


def test_this_machine_has_memory():
    available = available_memory()
    assert available is None or available > 1e6
