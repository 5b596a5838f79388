"""The table model_comparisons: every two models, on the jobs that are known for both.

What is here: which jobs, which pairs, which families. The formulas are in `stats/paired.py` and `stats/bootstrap.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
_DRAWN_BYTES = 128 << 20
"""Memory of the resampled differences that are held at once."""


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

    parts = [rows for window in WINDOWS for rows in _compare_window(grid, window, draws, seed)]
    schema = TABLES["model_comparisons"].schema()
    return pa.concat_tables([schema.empty_table(), *(part.select(schema.names).cast(schema) for part in parts)])


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
    at_once = max(1, _DRAWN_BYTES // (8 * draws * len(a)))
    for start in range(0, len(families), at_once):
        some = families[start : start + at_once]
        resampled = _resampled(some, a, b, clients, draws, seed)
        for family, differences in zip(some, resampled, strict=True):
            yield _rows(grid, family, a, b, clients, differences)


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


def _resampled(
    families: list[Family],
    a: NDArray[np.intp],
    b: NDArray[np.intp],
    clients: NDArray[np.intp],
    draws: int,
    seed: int,
) -> list[NDArray[np.float64]]:
    """The differences of each family in each draw; all families see the same weights."""
    import numpy as np

    own = len(np.unique(clients)) == len(clients)
    prepared: list[Callable[[Any], NDArray[np.float64]]] = [
        paired.resampled_differences(family.complete, a, b) for family in families
    ]
    found = [np.empty((draws, len(a)), order="F") for _ in families]
    done = 0
    for weights in bootstrap.weight_blocks(len(clients), draws, seed, None if own else clients):
        for into, differences in zip(found, prepared, strict=True):
            into[done : done + len(weights)] = differences(weights)
        done += len(weights)
    return found


def _rows(
    grid: JobGrid,
    family: Family,
    a: NDArray[np.intp],
    b: NDArray[np.intp],
    clients: NDArray[np.intp],
    differences: NDArray[np.float64],
) -> pa.Table:
    """The rows of a family."""
    import numpy as np
    import pyarrow as pa

    counts = paired.Pairs(*(count[a, b] for count in paired.pair_counts(family.complete, family.open_to)))
    n = counts.n_common
    units = _clients_behind(family.complete, a, b, clients)
    rate_a = bootstrap.ratio(counts.both + counts.only_a, n)
    rate_b = bootstrap.ratio(counts.both + counts.only_b, n)
    lo, hi = paired.newcombe(counts.both, counts.only_a, counts.only_b, counts.neither)
    boot_lo, boot_hi = (np.round(end, 12) for end in bootstrap.interval(differences, units=units))
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
        "n_clients": units,
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


def _clients_behind(
    complete: NDArray[np.float64], a: NDArray[np.intp], b: NDArray[np.intp], clients: NDArray[np.intp]
) -> NDArray[np.int64]:
    """How many clients the common jobs of each pair come from; worked out once for pairs that share their jobs."""
    import numpy as np

    known = ~np.isnan(complete)
    kind = np.unique(known, axis=1, return_inverse=True)[1].ravel() if known.size else np.zeros(known.shape[1], int)
    counted: dict[tuple[int, int], int] = {}
    for i, j in zip(a, b, strict=True):
        key = (min(kind[i], kind[j]), max(kind[i], kind[j]))
        if key not in counted:
            counted[key] = len(np.unique(clients[known[:, i] & known[:, j]]))
    return np.array([counted[min(kind[i], kind[j]), max(kind[i], kind[j])] for i, j in zip(a, b, strict=True)], int)


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
