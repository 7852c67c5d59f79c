"""Division of the engine's work into tasks of equal kernel and number of states."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from epgbloch import operators
from epgbloch.intervals import Intervals
from epgbloch.kernels.layout import LANES
from epgbloch.sequence import Sequence
from epgbloch.tasks import TableOf, Task
from epgbloch.tissue import Tissue

if TYPE_CHECKING:
    from epgbloch.engine import EPGBloch

ATOMS_PER_TASK = 512
"""Atoms that one thread simulates in one go at most, a multiple of LANES."""
LEAST_PER_TASK = 128
"""Atoms with instantaneous pulses that are not shared out: they take little longer than making a task.

The cotangents of a gradient outgrow the cache of the processor earlier.
"""


def plan(
    engine: EPGBloch,
    sequence: Sequence,
    flip_angle: NDArray[np.float64],
    tissue: Tissue,
    wrt: tuple[str, ...],
    *,
    real_loss: bool = True,
    summed: bool = False,
) -> list[Task]:
    """Split the atoms into tasks of equal kernel and number of states.

    Parameters
    ----------
    engine : EPGBloch
        Its settings.
    sequence : Sequence
        The sequence but for its flip angles.
    flip_angle : ndarray, shape (n_trains, n_pulses), float64
        Flip angles [rad].
    tissue : Tissue
        The same atoms for every train, one train after the other.
    wrt : tuple of str
        Tissue parameters of the derivatives.
    real_loss : bool
        False: imaginary parts count even where they are zero.
    summed : bool
        Whether only the sum over atoms matters, so that a few may share the largest number of states.

    Raises
    ------
    ValueError
        If diffusion needs the moment of the spoilers, which the sequence does not tell.
    """
    if sequence.spoiler_moment is None and sequence.dephasing.any() and tissue.diffusion.any():
        raise ValueError(
            f"diffusion={tissue.diffusion.max():.3g} m^2/s needs the spoiler_moment of the "
            "sequence [rad/m]; give Sequence(..., spoiler_moment=...)"
        )
    intervals = Intervals.of(sequence)
    i_train, i_atom = np.divmod(np.arange(tissue.n_atoms), tissue.n_atoms // len(flip_angle))
    n_states = states_per_atom(engine, sequence, tissue)
    if summed and sequence.pulse is None and tissue.n_atoms <= LANES:
        n_states[:] = n_states.max()  # one task, of the longest T2
    if sequence.pulse is None:
        keys = [tissue.off_resonance != 0, tissue.diffusion > 0, n_states]
    else:
        # an atom that needs a table of its own has it for all trains
        tables = np.where(operators.in_table(sequence.pulse, tissue), -1, i_atom)
        keys = [tables, tissue.off_resonance, tissue.diffusion > 0, n_states]
    keys = [key for key in keys if np.any(key != key[0])]
    # neighbours of equal train and B1 share their angles, see `inputs`
    order = np.lexsort((tissue.b1, i_train, *keys))
    steps = np.zeros(order.size - 1, bool)
    for key in keys:
        steps |= np.diff(key[order]) != 0
    largest_angle = float(flip_angle.max()) * float(tissue.b1.max())
    # some tasks for every thread; sums over tasks must not depend on the number of threads
    n_tasks, least = (8, LANES if summed else LEAST_PER_TASK) if sequence.pulse is None else (32, LANES)
    n_atoms_most = min(max(tissue.n_atoms // n_tasks // LANES * LANES, least), ATOMS_PER_TASK)
    tasks: list[Task] = []
    for members in np.split(order, np.flatnonzero(steps) + 1):
        real = (
            real_loss
            and intervals.real
            and bool(tissue.off_resonance[members[0]] == 0)
            and "off_resonance" not in wrt
            and (sequence.pulse is None or not np.iscomplexobj(sequence.pulse.waveform))
        )
        table_of = None
        if sequence.pulse is not None:
            table_of = _tables(engine, sequence, wrt, real, tissue[members[:1]], largest_angle)
        for first in range(0, members.size, n_atoms_most):
            atoms = members[first : first + n_atoms_most]
            own = (atoms, i_train[atoms], tissue[atoms], int(n_states[atoms[0]]))
            tasks.append(Task(sequence, flip_angle, intervals, wrt, *own, real, table_of))
    return tasks


def _tables(
    engine: EPGBloch,
    sequence: Sequence,
    wrt: tuple[str, ...],
    real: bool,
    example: Tissue,
    largest_angle: float,
) -> TableOf:
    """Return the function that gives the operators for atoms like `example`."""
    pulse = sequence.pulse
    assert pulse is not None
    n_angles = operators.angle_count(pulse, largest_angle)
    frequencies = operators.frequencies(pulse, float(example.off_resonance[0]), wrt)
    if operators.in_table(pulse, example)[0]:
        table = operators.shared_table(
            pulse, frequencies, n_angles, engine.n_subslices, engine.slice_extent, real
        )
        return lambda atom: table
    sampling = operators.sample_slice(pulse, engine.n_subslices, engine.slice_extent, symmetric=real)
    return partial(operators.own_table, pulse, frequencies, n_angles, sampling)


def states_per_atom(engine: EPGBloch, sequence: Sequence, tissue: Tissue) -> NDArray[np.intp]:
    """Return the number of configuration orders that every atom needs, see `EPGBloch`."""
    # no order beyond the middle of the spoilers can return to 0 before the end
    highest = int(sequence.dephasing.sum()) // 2 + 1
    if engine.n_states is not None:
        return np.full(tissue.n_atoms, min(engine.n_states, highest), np.intp)
    shortest_way = np.cumsum(np.sort(sequence.tr[sequence.dephasing > 0]))
    n_states = 1 + np.searchsorted(shortest_way, -0.5 * np.log(engine.tolerance) * tissue.t2)
    # few distinct numbers, so that atoms can be simulated side by side; at most 1/8 too many states
    step = 2 ** np.maximum(np.floor(np.log2(n_states)).astype(int) - 3, 0)
    return np.minimum(-(-n_states // step) * step, highest)
