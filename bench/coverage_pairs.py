"""How often 95 % intervals of differences and of ratios hold the truth, by seeded simulation.

    python -m bench.coverage_pairs [--samples 2000]

Differences: two models on the same n jobs, the chance that both complete a job drawn together (correlation about .4).
Ratios: cost of a job lognormal (sigma .8); samples without a completed job have no
ratio and are left out (their share is told).
"""

from __future__ import annotations

import argparse
import math

import numpy as np

from hapi_pipeline.stats import bootstrap, paired
from hapi_pipeline.stats.ratios import ratio_of_sums

SIZES = (12, 33, 91, 322)
RATES = ((0.05, 0.05), (0.05, 0.17), (0.2, 0.4), (0.3, 0.3), (0.5, 0.64), (0.93, 0.8))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=2000)
    asked = parser.parse_args()
    print("difference of two rates on the same jobs: share of samples whose interval holds the truth")
    print(f"{'n':>4} {'rate a':>7} {'rate b':>7} {'Newcombe':>9} {'bootstrap':>10} {'mid-p <= .05 (rates equal)':>28}")
    for n in SIZES:
        for a, b in RATES:
            print(_difference(n, a, b, asked.samples))
    print("\ncost of a completed job")
    print(f"{'n':>4} {'rate':>5} {'R ± t SE':>9} {'log':>7} {'no ratio':>9}")
    for n in SIZES:
        for rate in (0.05, 0.17, 0.3, 0.5, 0.64, 0.93):
            print(_ratio(n, rate, asked.samples))


def _difference(n: int, a: float, b: float, samples: int) -> str:
    dice = np.random.default_rng([n, int(100 * a), int(100 * b)])
    both = a * b + 0.4 * math.sqrt(a * (1 - a) * b * (1 - b))
    both = min(both, a, b)
    chances = [both, a - both, b - both, 1 - a - b + both]
    counts = dice.multinomial(n, np.maximum(chances, 0), size=samples)
    lo, hi = paired.newcombe(*counts.T)
    newcombe = ((lo <= a - b + 1e-12) & (a - b - 1e-12 <= hi)).mean()
    held = 0
    some = counts[: min(samples, 500)]
    weights = bootstrap.job_weights(n, 2000)
    for row in some:
        gaps = np.repeat([0.0, 1.0, -1.0, 0.0], row)
        low, high = bootstrap.interval(bootstrap.resampled_means(gaps[:, None], weights), units=[n])
        held += bool(low[0] <= a - b + 1e-12 and a - b - 1e-12 <= high[0])
    rejected = (paired.mcnemar_mid_p(counts[:, 1], counts[:, 2]) <= 0.05).mean()
    told = f"{rejected:28.3f}" if a == b else f"{'':28}"
    return f"{n:4} {a:7.2f} {b:7.2f} {newcombe:9.3f} {held / len(some):10.3f} {told}"


def _ratio(n: int, rate: float, samples: int) -> str:
    from scipy import special

    dice, t = np.random.default_rng([n, int(100 * rate)]), special.stdtrit(n - 1, 0.975)
    truth = math.exp(0.32) / rate
    linear, log, none = 0, 0, 0
    for _ in range(samples):
        noise = dice.normal(0, 1, n)
        done = dice.random(n) < rate
        cost = np.exp(0.8 * noise)
        found = ratio_of_sums(cost, done.astype(float))
        if found.value is None or found.se is None or found.lo is None or found.hi is None:
            none += 1
            continue
        linear += abs(found.value - truth) <= t * found.se
        log += found.lo <= truth <= found.hi
    known = samples - none
    return f"{n:4} {rate:5.2f} {linear / known:9.3f} {log / known:7.3f} {none / samples:9.3f}"


if __name__ == "__main__":
    main()
