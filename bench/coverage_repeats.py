"""How often the 95 % intervals of the table repeatability hold the truth: simulated, seeded.

    python -m bench.coverage_repeats [--worlds 2000]

A job's chance is drawn from a Beta distribution with the given mean (a + b = 1.6, as unlike as in the reference's
simulation), its attempts from that chance. Beside the table's interval stand Wilson's over all attempts as if each were
a job of its own, and that from the standard deviation of the rates of whole runs.
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from hapi_pipeline.stats import repeats
from hapi_pipeline.stats.intervals import wilson

SIZES, TRIES, MEANS = (12, 33, 91, 322), (1, 2, 5), (0.05, 0.2, 0.375, 0.64, 0.93)
UNLIKE, K, SEED = 1.6, 2, 2026


def truth_of_pairs(mean: float) -> float:
    """E[p^2] of the Beta distribution: pass^2."""
    a, b = UNLIKE * mean, UNLIKE * (1 - mean)
    return a * (a + 1) / ((a + b) * (a + b + 1))


def holds(lo: float | None, hi: float | None, truth: float) -> bool:
    """Whether an interval holds the truth; one that is not there holds nothing."""
    return lo is not None and hi is not None and lo <= truth <= hi


def covered(n: int, tries: int, mean: float, worlds: int) -> dict[str, float]:
    """Share of worlds in which each interval holds the truth."""
    dice = np.random.default_rng([SEED, n, tries, int(1000 * mean)])
    counts: Counter[str] = Counter()
    for _ in range(worlds):
        chances = dice.beta(UNLIKE * mean, UNLIKE * (1 - mean), n)
        outcomes: NDArray[np.bool_] = dice.random((tries, n)) < chances
        jobs = Counter((tries, int(c)) for c in outcomes.sum(axis=0))
        rate = repeats.mean_rate(jobs)
        counts["rate"] += holds(rate.lo, rate.hi, mean)
        counts["attempts as jobs"] += holds(*wilson(float(outcomes.sum()), n * tries), mean)
        if tries >= K:
            pairs = repeats.mean_pass_hat(jobs, K)
            counts["pass^2"] += holds(pairs.lo, pairs.hi, truth_of_pairs(mean))
            runs = outcomes.mean(axis=1)
            reach = stats.t.ppf(0.975, tries - 1) * runs.std(ddof=1) / np.sqrt(tries)
            counts["runs"] += holds(runs.mean() - reach, runs.mean() + reach, mean)
    return {name: count / worlds for name, count in counts.items()}


def main() -> None:
    """Print a line for each number of jobs and attempts: the least and the mean coverage over the rates."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--worlds", type=int, default=2000)
    worlds = parser.parse_args().worlds
    for tries in TRIES:
        for n in SIZES:
            found = [covered(n, tries, mean, worlds) for mean in MEANS]
            told = (
                f"{name} {min(f[name] for f in found):.3f} {np.mean([f[name] for f in found]):.3f} "
                f"{max(f[name] for f in found):.3f}"
                for name in found[0]
            )
            print(f"jobs {n} attempts {tries}: " + "; ".join(told), flush=True)


if __name__ == "__main__":
    main()
