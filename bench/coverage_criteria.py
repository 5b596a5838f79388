"""How often the intervals of criterion_transitions hold the truth, criteria of a job standing and falling together.

    python -m bench.coverage_criteria [--samples 1000]

Simulated: jobs of eight criteria each (a client a job). The share that is passed before differs from job to job,
Beta(2, 2); so does the share of the failed that is fixed, Beta(1, 1); 5 % of the passed are broken. By the same SQL
macros as the tables; in brackets the same intervals with criteria taken as independent.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from hapi_pipeline import engine

CRITERIA, BROKEN = 8, 0.05
TRUTHS = {"fix_rate": 0.5, "regression_rate": BROKEN, "pass_after": 0.5 * (1 - BROKEN) + 0.25, "change": 0.225}
_HELD = """
WITH sized AS (
    SELECT *, n11 + n10 + n01 + n00 AS n,
        CASE WHEN kind = 'change' THEN paired_scale(c, n11 + n10 + n01 + n00, n10 - n01, n10 + n01, dd, dj, jj)
             ELSE effective_n(c, total, x, dd, dj, jj) END AS size
    FROM samples
),
ends AS (
    SELECT kind,
        CASE WHEN kind = 'change' THEN paired_lo(n11 * size, n10 * size, n01 * size, n00 * size)
             ELSE wilson_lo(x / total::DOUBLE * size, size) END AS lo,
        CASE WHEN kind = 'change' THEN paired_hi(n11 * size, n10 * size, n01 * size, n00 * size)
             ELSE wilson_hi(x / total::DOUBLE * size, size) END AS hi,
        CASE WHEN kind = 'change' THEN paired_lo(n11, n10, n01, n00) ELSE wilson_lo(x, total) END AS naive_lo,
        CASE WHEN kind = 'change' THEN paired_hi(n11, n10, n01, n00) ELSE wilson_hi(x, total) END AS naive_hi, truth
    FROM sized
)
SELECT kind, avg((lo <= truth AND truth <= hi)::INT), avg((naive_lo <= truth AND truth <= naive_hi)::INT)
FROM ends GROUP BY kind ORDER BY kind
"""


def coverage(jobs: int, samples: int, seed: int = 20261122) -> dict[str, tuple[float, float]]:
    """For each figure the share of samples whose interval holds the truth: as published, and taken as independent."""
    rng = np.random.default_rng(seed)
    shape = (samples, jobs, CRITERIA)
    before = rng.random(shape) < rng.beta(2, 2, (samples, jobs, 1))
    fixed = rng.random(shape) < rng.beta(1, 1, (samples, jobs, 1))
    after = np.where(before, rng.random(shape) >= BROKEN, fixed)
    cells = {"n11": before & after, "n10": ~before & after, "n01": before & ~after, "n00": ~before & ~after}
    by_job = {name: cell.sum(axis=2) for name, cell in cells.items()}
    all_of = np.full((samples, jobs), CRITERIA)
    shares = {
        "fix_rate": (by_job["n10"], by_job["n10"] + by_job["n00"]),
        "regression_rate": (by_job["n01"], by_job["n01"] + by_job["n11"]),
        "pass_after": (by_job["n11"] + by_job["n10"], all_of),
        "change": (by_job["n10"] - by_job["n01"], all_of),
    }
    tables = [
        pa.table(
            {name: count.sum(axis=1) for name, count in by_job.items()}
            | {"x": x.sum(axis=1), "total": n.sum(axis=1), "c": (n > 0).sum(axis=1)}
            | {"dd": (x * x).sum(axis=1) * 1.0, "dj": (x * n).sum(axis=1) * 1.0, "jj": (n * n).sum(axis=1) * 1.0}
            | {"kind": [kind] * samples, "truth": [TRUTHS[kind]] * samples}
        )
        for kind, (x, n) in shares.items()
    ]
    with engine.connect() as connection:
        connection.register("samples", pa.concat_tables(tables))
        return {str(kind): (held, naive) for kind, held, naive in connection.execute(_HELD).fetchall()}


def main(argv: Sequence[str] | None = None) -> int:
    """Print a row for each number of jobs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1000)
    given = parser.parse_args(argv)
    print("| jobs | " + " | ".join(TRUTHS) + " |\n|---" + "|---" * len(TRUTHS) + "|")
    for jobs in (12, 33, 91, 322):
        found = coverage(jobs, given.samples)
        print(f"| {jobs} | " + " | ".join(f"{found[k][0]:.3f} ({found[k][1]:.3f})" for k in TRUTHS) + " |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
