"""Two rates on the same jobs: difference, interval, exact test, and the smallest gap that can be resolved.

All functions take arrays of any shape (a cell a pair) and work on all of them at once. The four counts of a pair are
`both`, `only_a`, `only_b` and `neither`: jobs by which of the two completed them. Sources: Newcombe (1998), Statistics
in Medicine 17:2635, method 10, for the interval; McNemar (1947), Psychometrika 12:153, and Fagerland, Lydersen & Laake
(2013), BMC Medical Research Methodology 13:91, for the mid-p test; Holm (1979), Scandinavian Journal of Statistics
6:65; Connor (1987), Biometrics 43:207, for the size of a paired comparison.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hapi_pipeline.stats import bootstrap
from hapi_pipeline.stats.bootstrap import ratio

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

Z = 1.959963984540054
Z_POWER = 0.8416212335729143
"""Normal quantiles of a two-sided test at 5 % and of 80 % power."""


class Pairs(NamedTuple):
    """Counts of jobs for each pair of models, as (models × models) arrays: the row is a, the column b."""

    n_a: Floats  # jobs known for a, among those open to both
    n_b: Floats
    n_common: Floats  # jobs known for both
    both: Floats
    only_a: Floats
    only_b: Floats
    neither: Floats


def pair_counts(complete: ArrayLike, eligible: ArrayLike | None = None) -> Pairs:
    """Counts of all pairs of models from (jobs × models): 1 complete, 0 not, NaN unknown.

    `eligible` (jobs × models) says which jobs a model may be judged on; a pair is judged on those open to both.
    """
    import numpy as np

    given = np.asarray(complete, dtype=float)
    open_to = np.ones(given.shape) if eligible is None else np.asarray(eligible, dtype=float)
    known = ~np.isnan(given) * open_to
    done = np.where(known > 0, np.nan_to_num(given), 0.0)
    failed = known - done
    n_a = known.T @ open_to
    return Pairs(n_a, n_a.T, known.T @ known, done.T @ done, done.T @ failed, failed.T @ done, failed.T @ failed)


def wilson(x: ArrayLike, n: ArrayLike) -> tuple[Floats, Floats]:
    """Wilson score interval at 95 %, exact at its ends; NaN where n is 0."""
    import numpy as np

    successes, size = np.asarray(x, dtype=float), np.asarray(n, dtype=float)
    z2 = Z * Z
    centre = (successes + z2 / 2) / (size + z2)
    inside = ratio(successes * (size - successes), size)
    half = Z / (size + z2) * np.sqrt(inside + z2 / 4)
    none, all_ = (successes == 0) & (size > 0), (successes == size) & (size > 0)
    return np.where(none, 0.0, centre - half), np.where(all_, 1.0, centre + half)


def newcombe(both: ArrayLike, only_a: ArrayLike, only_b: ArrayLike, neither: ArrayLike) -> tuple[Floats, Floats]:
    """95 % interval of rate a minus rate b: Newcombe's method 10, square-and-add of Wilson limits.

    phi, the correlation of the two, is corrected for continuity where it is positive and is 0 where a margin is empty,
    so that two models that agree on every job still have an interval. NaN where there is no job.
    """
    import numpy as np

    e, f, g, h = (np.asarray(count, dtype=float) for count in (both, only_a, only_b, neither))
    n = e + f + g + h
    rate_a, rate_b = ratio(e + f, n), ratio(e + g, n)
    (lo_a, hi_a), (lo_b, hi_b) = wilson(e + f, n), wilson(e + g, n)
    cross = e * h - f * g
    margins = np.sqrt((e + f) * (g + h) * (e + g) * (f + h))
    phi = np.nan_to_num(ratio(np.where(cross > 0, np.maximum(cross - n / 2, 0), cross), margins))
    down = _square_and_add(rate_a - lo_a, hi_b - rate_b, phi)
    up = _square_and_add(hi_a - rate_a, rate_b - lo_b, phi)
    return rate_a - rate_b - down, rate_a - rate_b + up


def _square_and_add(x: Floats, y: Floats, phi: Floats) -> Floats:
    import numpy as np

    return np.sqrt(np.maximum(x * x - 2 * phi * x * y + y * y, 0.0))


def mcnemar_mid_p(only_a: ArrayLike, only_b: ArrayLike) -> Floats:
    """Two-sided mid-p value of McNemar's exact test; 1 where no job tells the two apart.

    2 P(X <= m) - P(X = m) for X ~ Binomial(only_a + only_b, 1/2) and m the smaller count, as P(X <= m) + P(X <= m - 1),
    in which nothing cancels.
    """
    import numpy as np
    from scipy import special

    f, g = np.asarray(only_a, dtype=float), np.asarray(only_b, dtype=float)
    fewer, n = np.minimum(f, g), (f + g).astype(np.int64)
    below = np.where(fewer > 0, special.bdtr(np.maximum(fewer - 1, 0), n, 0.5), 0.0)
    return np.where(n > 0, special.bdtr(fewer, n, 0.5) + below, 1.0)


def holm(p_values: ArrayLike) -> Floats:
    """Holm's adjusted p values of one family, in the order given; NaN (no test) stays NaN and is not counted."""
    import numpy as np

    given = np.asarray(p_values, dtype=float)
    adjusted = np.full(given.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(given))
    order = tested[np.argsort(given[tested], kind="stable")]
    steps = given[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def smallest_gap(n: ArrayLike, discordance: ArrayLike) -> Floats:
    """Smallest difference that n common jobs show with 80 % power at 5 %, two-sided; NaN where none up to 1 is.

    Solves n = ((z sqrt(psi) + z' sqrt(psi - d^2)) / d)^2 (Connor 1987) for d, in closed form, with psi the share of
    jobs that one of the two completes and the other does not. A difference cannot be larger than that share: where it
    would have to be, the share is taken to be just the difference (all discordant jobs one way).
    """
    import numpy as np

    size, psi = np.asarray(n, dtype=float), np.asarray(discordance, dtype=float)
    inside = size - Z**2 + Z_POWER**2
    at_one = (np.sqrt(size) * Z + Z_POWER * np.sqrt(np.maximum(inside, 0.0))) / (size + Z_POWER**2)
    gap = at_one * np.maximum(np.sqrt(psi), at_one)
    return np.where((inside > 0) & (gap <= 1), gap, np.nan)


class Differences:
    """Rate a minus rate b over the common jobs of pairs of models, ready to be resampled.

    `complete` as in `pair_counts`; pair i is models `rows[i]` and `columns[i]`. `clusters` gives the cluster of each
    job as a number from 0 on, of which none is left out; without it every job is one of its own. What the jobs of a
    cluster add to a rate is summed once, here: a draw then costs what the clusters cost, however many jobs there are.
    Pairs of models known on the same jobs share a column a model; the others have one a pair.

    `units` says how many clusters the common jobs of each pair come from.
    """

    units: NDArray[np.int64]

    def __init__(self, complete: ArrayLike, rows: ArrayLike, columns: ArrayLike, clusters: ArrayLike | None = None):
        import numpy as np

        given = np.asarray(complete, dtype=float)
        a, b = np.asarray(rows, dtype=int), np.asarray(columns, dtype=int)
        known = ~np.isnan(given)
        kind = np.unique(known, axis=1, return_inverse=True)[1].ravel() if known.size else np.zeros(known.shape[1], int)
        self._alike = kind[a] == kind[b]
        used = np.unique(np.concatenate([a[self._alike], b[self._alike]]))
        place = np.zeros(given.shape[1], int)
        place[used] = np.arange(len(used))
        self._a, self._b = place[a[self._alike]], place[b[self._alike]]
        self._alone = _Sums(given[:, used], clusters)
        self._apart = _Sums(given[:, a[~self._alike]] - given[:, b[~self._alike]], clusters)
        self.units = np.empty(len(a), np.int64)
        self.units[self._alike] = self._alone.clusters_behind()[self._a]
        self.units[~self._alike] = self._apart.clusters_behind()

    def resampled(self, weights: NDArray[np.float32]) -> Floats:
        """The differences in each draw, from how often it takes each cluster: (draws × pairs)."""
        import numpy as np

        found = np.empty((len(self._alike), len(weights)))
        means = self._alone.means(weights)
        found[self._alike] = means[self._a] - means[self._b]
        found[~self._alike] = self._apart.means(weights)
        return found.T


class _Sums:
    """Columns of -1, 0, 1 and NaN (missing), summed by cluster: of the values, and of how many there are."""

    def __init__(self, values: Floats, clusters: ArrayLike | None):
        import numpy as np

        known = ~np.isnan(values)
        # whole numbers, which single precision adds up exactly
        self._values = bootstrap.cluster_sums(np.where(known, values, 0).astype(np.float32), clusters)
        self._sizes = bootstrap.cluster_sums(known.astype(np.float32), clusters)
        self._most = float(self._sizes.max(axis=1, initial=0.0).sum())

    def clusters_behind(self) -> NDArray[np.int64]:
        """How many clusters have a value in each column."""
        import numpy as np

        return np.asarray(np.count_nonzero(self._sizes, axis=0), np.int64)

    def means(self, weights: NDArray[np.float32]) -> Floats:
        """Weighted means (columns × draws); NaN where a draw takes nothing of a column, of which the sum is 0 too."""
        import numpy as np

        taken = bootstrap.exact(weights, self._most)
        with np.errstate(invalid="ignore"):
            return np.asarray(np.divide(self._values.T @ taken.T, self._sizes.T @ taken.T, dtype=np.float64))
