"""Textbook EPG in plain numpy, vectorised over atoms and states: the yardstick that anyone can write."""

import numpy as np


def simulate(sequence, tissue, n_states):
    """Signals (n_atoms, n_pulses) for instantaneous pulses of phase 0, complex128."""
    plus = np.zeros((n_states, tissue.n_atoms), np.complex128)
    minus, z = np.zeros_like(plus), np.zeros_like(plus)
    z[0] = 1
    if sequence.inversion_time is not None:
        decay = np.exp(-sequence.inversion_time / tissue.t1)
        z[0] = 1 - 2 * sequence.inversion_efficiency * decay
    signal = np.empty((tissue.n_atoms, sequence.n_pulses), np.complex128)
    for n in range(sequence.n_pulses):
        angle = sequence.flip_angle[n] * tissue.b1
        cosine, sine = np.cos(angle), np.sin(angle)
        plus, minus, z = (
            (1 + cosine) / 2 * plus + (cosine - 1) / 2 * minus + sine * z,
            (cosine - 1) / 2 * plus + (1 + cosine) / 2 * minus + sine * z,
            cosine * z - sine / 2 * (plus + minus),
        )
        signal[:, n] = plus[0] * np.exp(-sequence.te[n] / tissue.t2)
        e1, e2 = np.exp(-sequence.tr[n] / tissue.t1), np.exp(-sequence.tr[n] / tissue.t2)
        z *= e1
        z[0] += 1 - e1
        plus[1:] = plus[:-1] * e2
        minus[:-1] = minus[1:] * e2
        minus[-1] = 0
        plus[0] = minus[0].conj()
    return signal
