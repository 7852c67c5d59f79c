"""Design of sequences: Cramer-Rao bounds, their optimisation under limits, and Pulseq files.

Units are seconds, radians, metres, tesla and Hz.
"""

from design.errors import LimitError

__all__ = ["LimitError"]
