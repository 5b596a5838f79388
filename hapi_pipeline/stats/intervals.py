"""The Wilson interval for single shares; `sql/_macros.sql` has it for tables, `stats/paired.py` for arrays.

Source: Wilson (1927), JASA 22:209. How often it and others hold the truth: docs/coverage.md.
"""

from __future__ import annotations

import math

Z = 1.959963984540054
"""97.5 % quantile of the normal distribution."""


def wilson(positive: float, judged: float) -> tuple[float, float]:
    """Wilson score interval at 95 % for a share; the ends are exact where none or all count. Needs judged > 0.

    Both may be fractions: an effective number of jobs, and the share of it that counts.
    """
    centre = (positive + Z * Z / 2) / (judged + Z * Z)
    half = Z / (judged + Z * Z) * math.sqrt(max(positive * (judged - positive), 0.0) / judged + Z * Z / 4)
    lo, hi = max(centre - half, 0.0), min(centre + half, 1.0)
    return (0.0 if positive <= 0 else lo), (1.0 if positive >= judged else hi)
