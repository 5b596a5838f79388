"""Ratios of two sums over the same jobs, such as dollars a completed job.

Sources: Cochran (1977), Sampling Techniques, chapter 6, for the linearised standard error; Woodruff (1971), Journal of
the American Statistical Association 66:411, for carrying it over to the logarithm.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray


class Ratio(NamedTuple):
    """A ratio with its linearised standard error and its interval; None where they are not defined."""

    value: float | None = None
    se: float | None = None
    lo: float | None = None
    hi: float | None = None


def ratio_of_sums(above: ArrayLike, below: ArrayLike, clusters: ArrayLike | None = None, level: float = 0.95) -> Ratio:
    """sum(above) / sum(below) over jobs, values of at least 0, with an interval that is symmetric in the logarithm.

    SE^2 = sum((above - R below)^2) / (n - 1) / (n mean(below)^2), limits R exp(+-t SE / R) with n - 1 degrees of
    freedom; with `clusters` the sums of each cluster stand for the jobs. The logarithm because R +- t SE is too short
    where few jobs count below (bench/coverage_pairs.py). Undefined where nothing counts below; without an interval
    where there is one job, or nothing above.
    """
    from scipy import special

    x, y = _by_cluster(above, clusters), _by_cluster(below, clusters)
    n = len(x)
    if not y.sum() > 0:
        return Ratio()
    found = float(x.sum() / y.sum())
    if n < 2:
        return Ratio(found)
    residuals = x - found * y
    se = math.sqrt(float(residuals @ residuals) / (n - 1) / n) / float(y.mean())
    if not found > 0:
        return Ratio(found, se)
    reach = math.exp(float(special.stdtrit(n - 1, (1 + level) / 2)) * se / found)
    return Ratio(found, se, found / reach, found * reach)


def _by_cluster(values: ArrayLike, clusters: ArrayLike | None) -> NDArray[np.float64]:
    """Values summed by cluster; as they are where each job stands for itself."""
    import numpy as np

    given = np.asarray(values, dtype=float)
    if clusters is None:
        return given
    return np.bincount(np.unique(np.asarray(clusters), return_inverse=True)[1], weights=given).astype(float)
