"""Sizes that the kernels and their callers share."""

LANES = 16
"""Values side by side: two AVX2 or one AVX-512 register of float32."""

SLACK = 16
"""Repetitions after which the windows of F+ and F- are moved back."""

N_COEFFICIENTS = 12
"""Real numbers of one RF operator: a, b, c, d, p (complex, real part first), e and q (real).

For every configuration state F+' = a F+ + b F- + c Z,  F-' = conj(a) F- + conj(b) F+ + conj(c) Z,
Z' = d F+ + conj(d) F- + e Z; at k = 0 recovery during the pulse adds p to F+ and q to Z.
Order: a.re, a.im, b.re, b.im, c.re, c.im, d.re, d.im, p.re, p.im, e, q.
"""
