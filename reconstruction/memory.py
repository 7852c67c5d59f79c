"""Memory that a subspace encoding takes, before it takes it, and memory that there is."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

from epgbloch._checks import require_count
from epgbloch._cores import available_cores
from reconstruction.encoding_inputs import checked_matrix
from reconstruction.fourier import oversampling, transform_bytes
from reconstruction.toeplitz import builder_bytes, coils_held, kernel_bytes, n_builders

_SYSTEM = Path("/proc/meminfo")
_GROUP = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that a `SubspaceEncoding` takes; inputs and results count only where it holds copies.

    Attributes
    ----------
    encoding : int
        Held from the start: trajectory, sensitivities, phases by off-resonance, plans, work arrays.
    kernel : int
        Kernel of `normal`, held from its first call on.
    transforming : int
        What `forward` and `adjoint` take while they run, and the construction: k-space, images, fine grids.
    building : int
        What the first call of `normal` takes to make the kernel: fine grids of twice the size.
    multiplying : int
        What `normal` takes while it runs: images and spectra of some coils.
    """

    encoding: int
    kernel: int
    transforming: int
    building: int
    multiplying: int

    @property
    def peak(self) -> int:
        """Most bytes at the same time."""
        return self.encoding + self.kernel + max(self.transforming, self.building, self.multiplying)


def memory_estimate(
    n_readouts: int,
    n_samples: int,
    matrix: tuple[int, ...],
    n_coils: int,
    rank: int,
    *,
    complex_basis: bool = False,
    n_segments: int = 1,
    tolerance: float = 1e-4,
    n_threads: int | None = None,
) -> MemoryEstimate:
    """Return what a `SubspaceEncoding` of these sizes takes; nothing is allocated.

    Parameters
    ----------
    n_readouts, n_samples : int
        Number of readouts and of samples of each.
    matrix : tuple of int
        Image size (ny, nx) or (nz, ny, nx).
    n_coils, rank : int
        Number of coils and of basis vectors.
    complex_basis : bool
        Whether the basis is complex.
    n_segments : int
        Number of time segments of `normal`, with off-resonance; each has a kernel of its own.
    tolerance, n_threads
        As of `SubspaceEncoding`.

    Returns
    -------
    MemoryEstimate
        Bytes.

    Raises
    ------
    ValueError
        If a number is not positive.

    Examples
    --------
    A stack of 32 slices with 16 coils takes 5.2 GB for the kernel:

    >>> memory_estimate(32 * 1120, 512, (32, 256, 256), 16, 12).kernel / 1e9
    5.234491392
    """
    matrix = checked_matrix(matrix)
    counts = {"n_readouts": n_readouts, "n_samples": n_samples, "n_coils": n_coils, "rank": rank}
    for name, count in {**counts, "n_segments": n_segments}.items():
        require_count(name, count)
    n_threads = n_threads or available_cores()
    n_transforms = min(n_threads, max(n_coils, rank))
    n_all, n_pixels = n_readouts * n_samples, math.prod(matrix)
    kernel = kernel_bytes(matrix, rank, complex_basis)
    builders = min(n_threads, n_builders(matrix, rank, complex_basis, n_all))
    held = coils_held(matrix, rank, n_coils)
    doubled = tuple(2 * n for n in matrix)
    starting = transform_bytes(doubled, oversampling(1e-4), n_all) + 8 * math.prod(doubled) + 8 * n_all
    grids = transform_bytes(matrix, oversampling(tolerance), n_all)
    running = n_transforms * (grids + 16 * n_pixels + 16 * n_all)
    return MemoryEstimate(
        # one complex number and two sorted places for each sample and thread
        encoding=4 * len(matrix) * n_all
        + 24 * n_transforms * n_all
        + 8 * (n_coils + 2 * n_segments) * n_pixels,
        kernel=n_segments * kernel,
        transforming=max(starting, 8 * n_coils * n_all + 8 * rank * n_pixels + running),
        building=builders * builder_bytes(matrix, n_all),
        multiplying=8 * n_pixels * (rank + n_coils + (rank + 2) * held),
    )


def require_memory(n_bytes: int, what: str, remedy: str) -> None:
    """Raise a MemoryError unless the machine has `n_bytes` available for `what`, where it can tell."""
    available = available_memory()
    if available is not None and n_bytes > available:
        raise MemoryError(
            f"{what} needs {n_bytes / 1e9:.3g} GB of memory and {available / 1e9:.3g} GB are available; "
            f"{remedy}"
        )


def available_memory() -> int | None:
    """Bytes that this process can still take; None if the system does not tell.

    Linux: what is free or can be freed, within the limit of the control groups that clusters and containers
    set. Other systems: the size of the memory.
    """
    try:
        lines = dict(line.split(":") for line in _SYSTEM.read_text().splitlines())
        available = 1024 * int(lines["MemAvailable"].split()[0])
    except (OSError, LookupError, ValueError):
        try:
            return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (AttributeError, OSError, ValueError):
            return None
    return min([available, *_left_in_groups()])


def _left_in_groups() -> list[int]:
    """Bytes left in each control group (version 2) around this process that has a limit."""
    left = []
    try:
        path = next(line for line in _GROUP.read_text().splitlines() if line.startswith("0::"))[3:]
    except (OSError, StopIteration):
        return []
    folder = _GROUPS / path.strip("/")
    for group in (folder, *folder.parents):
        try:
            cache = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            used = int((group / "memory.current").read_text()) - int(cache["inactive_file"])
            left.append(int((group / "memory.max").read_text()) - used)
        except (OSError, LookupError, ValueError):  # no such file, or no limit ("max")
            continue
    return left
