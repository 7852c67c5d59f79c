"""Compiled kernels: plain contiguous arrays and scalars only, no checks. Private to `epgbloch`.

Layout. All kernels work on `LANES` values side by side: sub-slices of one atom, or atoms. Arrays of
configuration states are flat, with entry (k, lane) at k * LANES + lane, so that the innermost loop is
contiguous. Vectors of them stay in registers, see `lanes`.

Shift. The dephasing F+_k -> F+_(k+1), F-_k -> F-_(k-1) moves no data. F+ and F- live in windows of longer
buffers; the window of F+ moves down by one order a TR and the window of F- moves up. After `SLACK` TRs both
are copied back to where they started.

F- stands for the conjugate of F+ of negative order: F-_k = conj(F+_(-k)).
"""

from pathlib import Path

from epgbloch._compiled import forget_outdated

forget_outdated(Path(__file__).parent)
