"""The table model_comparisons: every two models, on the jobs that are known for both.

What is here: which jobs, which pairs, which families. The formulas are in `stats/paired.py` and `stats/bootstrap.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hapi_pipeline.job_grid import JobGrid, job_grid
from hapi_pipeline.stats import bootstrap, paired
from hapi_pipeline.tables import TABLES

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from hapi_pipeline.lake import Lake
    from hapi_pipeline.registry import Registry

WINDOWS = ("all", "last_12", "post_cutoff")
SIGNIFICANT = 0.05
_AT_ONCE_BYTES = 128 << 20
"""Memory of the resampled differences that are held at once, and of what they are drawn from, each."""


@dataclass(frozen=True)
class Family:
    """One window, rule and round: the pairs that are tested together."""

    window: str
    rule: str
    round: str
    complete: NDArray[np.float64]  # (jobs of the window × models): 1, 0, NaN unknown or outside of the window
    open_to: NDArray[np.bool_]  # which jobs belong to the window for a model
    simulated: NDArray[np.bool_]


def model_comparisons(lake: Lake, registry: Registry, scope: Mapping[str, str]) -> pa.Table:
    """All rows of the table; without any where fewer than two models have been tried."""
    return compare(job_grid(lake))


def compare(grid: JobGrid, draws: int = bootstrap.DRAWS, seed: int = bootstrap.SEED) -> pa.Table:
    """Every two models of a grid under every window, rule and round; a pair once, the first by name being a."""
    import pyarrow as pa

    schema = TABLES["model_comparisons"].schema()
    found: dict[str, pa.Table] = {}
    for window in WINDOWS:
        if window == "last_12" and grid.recent().all():
            found[window] = _as_window(found["all"], window)
        else:
            parts = (rows.select(schema.names).cast(schema) for rows in _compare_window(grid, window, draws, seed))
            found[window] = pa.concat_tables([schema.empty_table(), *parts])
    return pa.concat_tables(found.values())


def _as_window(rows: pa.Table, window: str) -> pa.Table:
    """The rows of a window that has the same jobs as another one, under its own name."""
    import pyarrow as pa

    at = rows.schema.get_field_index("window")
    return rows.set_column(at, rows.schema.field(at), pa.repeat(pa.scalar(window), len(rows)))


def _compare_window(grid: JobGrid, window: str, draws: int, seed: int) -> Iterator[pa.Table]:
    """The families of a window, which share one matrix of weights."""
    import numpy as np

    families, jobs = _families(grid, window)
    if not families:
        return
    a, b = _pairs(grid, families[0])
    if not len(a):
        return
    clients = np.unique(grid.clients[jobs], return_inverse=True)[1]
    for family, resampled in zip(families, _resampled(families, a, b, clients, draws, seed), strict=True):
        yield _rows(grid, family, a, b, resampled)


def _families(grid: JobGrid, window: str) -> tuple[list[Family], NDArray[np.intp]]:
    """The families of a window, and which jobs of the grid it is about."""
    import numpy as np

    open_to = np.array(grid.listed)
    if window == "last_12":
        open_to[~grid.recent()] = False
    if window == "post_cutoff":
        open_to[grid.after != 1] = False
    jobs = np.flatnonzero(np.any(open_to, axis=1))
    mine = np.take(open_to, jobs, axis=0)
    families = [
        Family(window, rule, name, np.where(mine, grid.complete[name, rule][jobs], np.nan), mine, grid.simulated[jobs])
        for rule in grid.rules
        for name in grid.rounds
    ]
    return families, jobs


def _pairs(grid: JobGrid, family: Family) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Every two models once; after the cutoff only those whose cutoff is known."""
    import numpy as np

    a, b = np.triu_indices(len(grid.models), 1)
    if family.window == "post_cutoff":
        dated = np.any(~np.isnan(grid.after), axis=0)
        kept = dated[a] & dated[b]
        a, b = a[kept], b[kept]
    return a, b


@dataclass(frozen=True)
class Resampled:
    """What resampling tells of the pairs of a family."""

    units: NDArray[np.int64]  # clients behind the common jobs
    lo: NDArray[np.float64]
    hi: NDArray[np.float64]


def _resampled(
    families: list[Family],
    a: NDArray[np.intp],
    b: NDArray[np.intp],
    clients: NDArray[np.intp],
    draws: int,
    seed: int,
) -> list[Resampled]:
    """The intervals of each family's differences. All see the same weights, drawn again for as many as fit at once."""
    import numpy as np

    n_clients = len(np.unique(clients))
    of_jobs = None if n_clients == len(clients) else clients
    found = [Resampled(np.empty(len(a), np.int64), np.empty(len(a)), np.empty(len(a))) for _ in families]
    at_once = max(1, _AT_ONCE_BYTES // (8 * max(draws, len(clients))))
    for some, pairs in _portions(len(families), len(a), at_once):
        prepared = [paired.Differences(families[i].complete, a[pairs], b[pairs], of_jobs) for i in some]
        drawn = _drawn(prepared, n_clients, draws, seed)
        for i, differences, resampled in zip(some, prepared, drawn, strict=True):
            found[i].units[pairs] = differences.units
            found[i].lo[pairs], found[i].hi[pairs] = bootstrap.interval(resampled, units=differences.units)
    return found


def _drawn(prepared: Sequence[paired.Differences], n_clients: int, draws: int, seed: int) -> list[NDArray[np.float64]]:
    """All differences in every draw: (draws × pairs) each."""
    import numpy as np

    found = [np.empty((draws, len(differences.units)), order="F") for differences in prepared]
    done = 0
    for weights in bootstrap.weight_blocks(n_clients, draws, seed):
        for into, differences in zip(found, prepared, strict=True):
            into[done : done + len(weights)] = differences.resampled(weights)
        done += len(weights)
    return found


def _portions(n_families: int, n_pairs: int, at_once: int) -> Iterator[tuple[range, slice]]:
    """Families and pairs that are worked on together: whole families, or a part of the pairs of one."""
    pairs_at_once = min(n_pairs, at_once)
    families_at_once = max(1, at_once // n_pairs)
    for family in range(0, n_families, families_at_once):
        for pair in range(0, n_pairs, pairs_at_once):
            yield range(family, min(family + families_at_once, n_families)), slice(pair, pair + pairs_at_once)


def _rows(
    grid: JobGrid,
    family: Family,
    a: NDArray[np.intp],
    b: NDArray[np.intp],
    resampled: Resampled,
) -> pa.Table:
    """The rows of a family."""
    import numpy as np
    import pyarrow as pa

    counts = paired.Pairs(*(count[a, b] for count in paired.pair_counts(family.complete, family.open_to)))
    n = counts.n_common
    rate_a = bootstrap.ratio(counts.both + counts.only_a, n)
    rate_b = bootstrap.ratio(counts.both + counts.only_b, n)
    lo, hi = paired.newcombe(counts.both, counts.only_a, counts.only_b, counts.neither)
    boot_lo, boot_hi = (np.round(end, 12) for end in (resampled.lo, resampled.hi))
    p_mid = np.where(n > 0, paired.mcnemar_mid_p(counts.only_a, counts.only_b), np.nan)
    p_holm = paired.holm(p_mid)
    bounds = _bounds(family, a, b)
    mde = paired.smallest_gap(n, bootstrap.ratio(counts.only_a + counts.only_b, n))
    simulated = (family.simulated & family.open_to).astype(float)
    either = (simulated.T @ family.open_to.astype(float) + family.open_to.T.astype(float) @ simulated)[a, b]
    names = np.asarray(grid.models, dtype=object)
    whole = {
        "n_eligible": bounds[0],
        "n_a": counts.n_a,
        "n_b": counts.n_b,
        "n_common": n,
        "n_both": counts.both,
        "n_only_a": counts.only_a,
        "n_only_b": counts.only_b,
        "n_neither": counts.neither,
        "n_clients": resampled.units,
    }
    real = {
        "rate_a": rate_a,
        "rate_b": rate_b,
        "difference": rate_a - rate_b,
        "diff_lo": lo,
        "diff_hi": hi,
        "boot_lo": boot_lo,
        "boot_hi": boot_hi,
        "bound_lo": bounds[1],
        "bound_hi": bounds[2],
        "p_mid": p_mid,
        "p_holm": p_holm,
        "mde": mde,
    }
    return pa.table(
        {
            **{key: [getattr(family, key)] * len(a) for key in ("window", "rule", "round")},
            "model_a": names[a],
            "model_b": names[b],
            **{key: count.astype(np.int64) for key, count in whole.items()},
            **{key: pa.array(value, from_pandas=True) for key, value in real.items()},
            "significant": pa.array(p_holm <= SIGNIFICANT, mask=np.isnan(p_holm)),
            "same_jobs": (n == counts.n_a) & (n == counts.n_b),
            "simulated": either > 0,
        }
    )


def _bounds(
    family: Family, a: NDArray[np.intp], b: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Jobs open to both, and the difference over all of them if what is unknown were all bad for a, or all good."""
    import numpy as np

    open_to = family.open_to.astype(float)
    least = np.where(family.open_to, np.nan_to_num(family.complete, nan=0.0), 0.0).T @ open_to
    most = np.where(family.open_to, np.nan_to_num(family.complete, nan=1.0), 0.0).T @ open_to
    n = (open_to.T @ open_to)[a, b]
    return n, bootstrap.ratio(least[a, b] - most[b, a], n), bootstrap.ratio(most[a, b] - least[b, a], n)
