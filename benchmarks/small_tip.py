"""The conventional model of a slice: instantaneous pulses of the small-tip flip angle in each sub-slice."""

from dataclasses import replace

import numpy as np

from epgbloch import EPGBloch, Tissue
from epgbloch.constants import GAMMA_BAR

N_SUBSLICES, EXTENT = 32, 3.0


class SmallTipEPG:
    """Signal model without RF pulses of finite duration (Liu et al., equation 2).

    n_states : configuration orders
    """

    def __init__(self, n_states=20):
        self._engine = EPGBloch(n_states=n_states)

    def settings(self):
        return {"model": "small-tip EPG", "engine": self._engine.settings()}

    def signal(self, sequence, tissue):
        """Signals (n_atoms, n_pulses) as `EPGBloch.signal`."""
        profile = small_tip_profile(sequence.pulse)
        train = replace(sequence, pulse=None)
        result = np.zeros((tissue.n_atoms, sequence.n_pulses), dtype=np.complex64)
        for angle in profile:
            part = Tissue(tissue.t1, tissue.t2, b1=tissue.b1 * np.abs(angle))
            # a train of negative angles gives the negative signal
            result += np.float32(np.sign(angle)) * self._engine.signal(train, part)
        return result * np.float32(EXTENT / N_SUBSLICES)


def small_tip_profile(pulse):
    """Effective over nominal flip angle in each sub-slice: the Fourier transform of the waveform."""
    position = ((np.arange(N_SUBSLICES) + 0.5) / N_SUBSLICES - 0.5) * EXTENT
    frequency = GAMMA_BAR * pulse.gradient * pulse.slice_thickness * position
    step = pulse.duration / pulse.n_steps
    to_centre = pulse.center - (np.arange(pulse.n_steps) + 0.5) * step
    phases = np.exp(2j * np.pi * np.multiply.outer(frequency, to_centre))
    return (np.sinc(frequency * step) * (phases @ pulse.step_rotation)).real
