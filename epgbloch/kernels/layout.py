"""Sizes that the kernels and their callers share."""

LANES = 16
"""Values side by side: two AVX2 or one AVX-512 register of float32."""

SLACK = 16
"""Repetitions after which the windows of F+ and F- are moved back."""

N_COEFFICIENTS = 12
"""Real numbers of one RF operator, the affine map of the Bloch equation, row by row.

x' = xx (2 x) + xy (2 y) + xz z + px, y' and z' likewise: the factors of x and y are halved, because kernels
start from F+ + F- = 2 x and -i (F+ - F-) = 2 y of every configuration order. px, py and q are the recovery
during the pulse, for order 0 only.
"""
