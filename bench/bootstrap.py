"""Bootstrap means of many models over the same jobs, beside scipy.stats.bootstrap, in one run.

    python -m bench.bootstrap [--jobs 322] [--models 50] [--draws 10000]

Both resample the jobs once for all models, scipy by picking values (`batch` bounds its memory), ours by a product of
matrices, which also does differences of all pairs, jobs that some models lack, and clients drawn whole.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable

import numpy as np
from scipy import stats

from hapi_pipeline.stats import bootstrap


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=322)
    parser.add_argument("--models", type=int, default=50)
    parser.add_argument("--draws", type=int, default=10_000)
    asked = parser.parse_args()
    values = (np.random.default_rng(1).random((asked.jobs, asked.models)) < 0.4).astype(float)

    def ours() -> tuple[float, float]:
        lo, hi = bootstrap.interval(bootstrap.bootstrap_means(values, asked.draws))
        return float(lo[0]), float(hi[0])

    def pairs() -> tuple[float, float]:
        from hapi_pipeline.stats import paired

        a, b = np.triu_indices(asked.models, 1)
        differences = paired.Differences(values, a, b)
        blocks = [differences.resampled(weights) for weights in bootstrap.weight_blocks(asked.jobs, asked.draws)]
        lo, hi = bootstrap.interval(np.concatenate(blocks))
        return float(lo[0]), float(hi[0])

    def theirs() -> tuple[float, float]:
        found = stats.bootstrap(
            (values,), np.mean, n_resamples=asked.draws, method="percentile", axis=0, batch=100, rng=1
        ).confidence_interval
        return float(found.low[0]), float(found.high[0])

    print(f"{asked.jobs} jobs × {asked.models} models, {asked.draws} draws")
    for name, work in (("ours, models", ours), ("ours, all pairs", pairs), ("scipy, models", theirs)):
        _report(name, work)


def _report(name: str, work: Callable[[], tuple[float, float]]) -> None:
    started = time.perf_counter()
    lo, hi = work()
    taken, peak = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{name:18} {taken:7.2f} s   first interval {lo:+.4f} {hi:+.4f}   peak so far {peak:6.0f} MB")


if __name__ == "__main__":
    main()
