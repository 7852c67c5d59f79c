"""The conventional model of a slice: instantaneous pulses of the small-tip flip angle in each sub-slice."""

import sys
from dataclasses import replace

import numpy as np
from measure import PAGE

from epgbloch import EPGBloch, Tissue

sys.path.append(str(PAGE.parent))  # the figures of the docs draw the same profile
from figure_scripts.slice_profile import small_tip_profile

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
        position = ((np.arange(N_SUBSLICES) + 0.5) / N_SUBSLICES - 0.5) * EXTENT
        profile = small_tip_profile(sequence.pulse, position).real
        train = replace(sequence, pulse=None)
        result = np.zeros((tissue.n_atoms, sequence.n_pulses), dtype=np.complex64)
        for angle in profile:
            part = Tissue(tissue.t1, tissue.t2, b1=tissue.b1 * np.abs(angle))
            # a train of negative angles gives the negative signal
            result += np.float32(np.sign(angle)) * self._engine.signal(train, part)
        return result * np.float32(EXTENT / N_SUBSLICES)
