"""Exact EPG-Bloch simulation of transient-state MR sequences.

Units are seconds, radians, metres, tesla and Hz. Signals are complex64 arrays (n_atoms, n_pulses).
"""

from epgbloch.engine import EPGBloch
from epgbloch.model import SignalModel
from epgbloch.pulse import RFPulse
from epgbloch.sequence import Sequence
from epgbloch.tasks import SequenceGradient
from epgbloch.tissue import Tissue

__version__ = "0.1.0"

__all__ = ["EPGBloch", "RFPulse", "Sequence", "SequenceGradient", "SignalModel", "Tissue", "__version__"]
