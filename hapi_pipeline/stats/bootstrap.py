"""The bootstrap over jobs: one matrix of weights that every model, round and rule shares.

A draw takes as many jobs, with replacement, as there are; its weights say how often each was taken. A resampled mean of
every model is then one product of matrices, and the differences between models keep what the jobs have in common.
Where jobs belong to clients, whole clients are drawn. Sources: Efron (1979), Annals of Statistics 7:1; Davison &
Hinkley (1997), section 3.8, for clusters; Hesterberg (2015), The American Statistician 69:371, for the expanded
percentiles.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

DRAWS = 10_000
SEED = 2026
BLOCK_BYTES = 32 << 20
"""Memory of a block of weights; what is worked out of them needs about as much again."""


def job_weights(
    n_jobs: int, draws: int = DRAWS, seed: int = SEED, clusters: ArrayLike | None = None
) -> NDArray[np.float32]:
    """How often each draw takes each job: (draws × n_jobs) whole numbers.

    `clusters` names the cluster of each job, as any values; whole clusters are then drawn, as many as there are, and
    all jobs of one have the same weight. Rows then need not add up to the number of jobs.
    """
    import numpy as np

    found, done = np.empty((draws, n_jobs), np.float32), 0
    for block in weight_blocks(n_jobs, draws, seed, clusters):
        found[done : done + len(block)] = block
        done += len(block)
    return found


def weight_blocks(
    n_jobs: int, draws: int = DRAWS, seed: int = SEED, clusters: ArrayLike | None = None
) -> Iterator[NDArray[np.float32]]:
    """`job_weights` some draws at a time, so that memory does not grow with the jobs; the blocks are the same rows."""
    import numpy as np

    of_job = np.arange(n_jobs) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    if len(of_job) != n_jobs:
        raise ValueError(f"{len(of_job)} clusters for {n_jobs} jobs")
    units = int(of_job.max()) + 1 if n_jobs else 0
    generator = np.random.default_rng(seed)
    at_once = max(1, BLOCK_BYTES // (8 * max(n_jobs, 1)))
    for start in range(0, draws, at_once):
        rows = min(at_once, draws - start)
        taken = generator.integers(0, units, (rows, units)) if units else np.empty((rows, 0), np.int64)
        taken += np.arange(rows)[:, None] * units
        counts = np.bincount(taken.ravel(), minlength=rows * units).astype(np.float32).reshape(rows, units)
        yield counts if clusters is None else counts[:, of_job]


def resampled_sums(values: ArrayLike, weights: NDArray[np.float32]) -> NDArray[Any]:
    """Weighted sums of each column of `values` (jobs × columns, no NaN) in each draw: (draws × columns).

    Whole numbers small enough are added up in single precision, in which they are exact; all others in double.
    """
    import numpy as np

    given = np.asarray(values)
    whole = given.size == 0 or bool(np.all(given == np.rint(given)))
    most = float(np.abs(given).max(initial=0.0)) * len(given)
    taken = exact(weights, most) if whole else weights.astype(np.float64)
    return taken @ given.astype(taken.dtype)


def exact(weights: NDArray[np.float32], most: float) -> NDArray[Any]:
    """The weights in a precision in which their products with whole numbers are added up exactly.

    `most` bounds the sum of these numbers, taken without their signs, where every weight is 1. Up to 2^24 every whole
    number has a single of its own, and doubles carry on to 2^53.
    """
    import numpy as np

    single = most * float(weights.max(initial=1.0)) <= 2**24
    return weights if single else weights.astype(np.float64)


def cluster_sums(values: NDArray[Any], clusters: ArrayLike | None) -> NDArray[Any]:
    """Sums of each column over the jobs of a cluster: (clusters × columns), the values themselves without clusters.

    `clusters` gives the cluster of each job as a number from 0 on, of which none is left out.
    """
    import numpy as np

    if clusters is None or not len(values):
        return values
    of_job = np.asarray(clusters, np.intp)
    order = np.argsort(of_job, kind="stable")
    firsts = np.flatnonzero(np.diff(of_job[order], prepend=-1))
    return np.asarray(np.add.reduceat(values[order], firsts, axis=0))


def resampled_means(values: ArrayLike, weights: NDArray[np.float32]) -> NDArray[np.float64]:
    """Weighted mean of each column of `values` (jobs × columns) in each draw: (draws × columns).

    NaN marks a job that is missing in a column: it has no weight there. A draw that takes none of a column's jobs has
    no mean, and is NaN.
    """
    import numpy as np

    given = np.asarray(values, dtype=float)
    known = ~np.isnan(given)
    sums = resampled_sums(np.where(known, given, 0.0), weights)
    sizes = weights.sum(axis=1, dtype=np.float64)[:, None] if known.all() else resampled_sums(known, weights)
    return ratio(sums, sizes)


def bootstrap_means(
    values: ArrayLike, draws: int = DRAWS, seed: int = SEED, clusters: ArrayLike | None = None
) -> NDArray[np.float64]:
    """`resampled_means` over weights that are made and dropped block by block: (draws × columns)."""
    import numpy as np

    given = np.asarray(values, dtype=float)
    blocks = [resampled_means(given, weights) for weights in weight_blocks(len(given), draws, seed, clusters)]
    return np.concatenate(blocks) if blocks else np.empty((0, *given.shape[1:]))


def ratio(above: ArrayLike, below: ArrayLike) -> NDArray[np.float64]:
    """`above / below` in double precision; NaN where nothing stands below."""
    import numpy as np

    x, y = np.asarray(above, dtype=float), np.asarray(below, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.asarray(x / y)
    found[np.broadcast_to(y == 0, found.shape)] = np.nan
    return found


def interval(
    draws: ArrayLike, level: float = 0.95, units: ArrayLike | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Percentile interval of each column of `draws` (draws × columns): lower and upper ends.

    `units` is the number of independent units (jobs, or clients) behind each column. With it, the percentiles are
    Hesterberg's expanded ones, those of a t quantile times sqrt(n / (n - 1)), because a bootstrap of few units is too
    narrow; one unit has no interval (NaN). NaN draws are left out; a column of which a tenth or more are NaN has none.
    Draws may be infinite: an end that is not finite is no bound.
    """
    import numpy as np

    found = np.asarray(draws, dtype=float)
    columns = found.reshape(len(found), -1).T
    count = np.full(len(columns), np.inf) if units is None else np.broadcast_to(np.asarray(units, float), len(columns))
    ends = np.full((2, len(columns)), np.nan)
    missing = np.isnan(columns).sum(axis=1)
    usable = (missing < 0.1 * max(len(found), 1)) & (count > 1)
    tails = np.zeros(len(columns))
    tails[usable] = _tail(level, count[usable])
    for tail in np.unique(tails[usable]):
        whole = np.flatnonzero(usable & (tails == tail) & (missing == 0))
        for some in np.array_split(whole, max(1, len(whole) // _AT_ONCE)):
            ends[:, some] = _quantiles(columns[some], tail)
    for column in np.flatnonzero(usable & (missing > 0)):
        ends[:, [column]] = _quantiles(columns[[column]][:, ~np.isnan(columns[column])], tails[column])
    return ends[0].reshape(found.shape[1:]), ends[1].reshape(found.shape[1:])


_AT_ONCE = 64  # columns of which the draws are sorted at once


def _quantiles(columns: NDArray[np.float64], tail: float) -> NDArray[np.float64]:
    """Both percentiles of each row, not finite where the draws there are not; the rows are left in another order."""
    import numpy as np

    with np.errstate(invalid="ignore"):
        return np.asarray(np.quantile(columns, [tail, 1 - tail], axis=1, overwrite_input=True))


def _tail(level: float, units: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of draws beyond each end."""
    import numpy as np
    from scipy import special

    half = (1 - level) / 2
    finite = np.isfinite(units)
    size = np.where(finite, units, 2.0)
    expanded = special.ndtr(np.sqrt(size / (size - 1)) * special.stdtrit(size - 1, half))
    return np.where(finite, expanded, half)
