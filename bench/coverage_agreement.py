"""How often the intervals of the tables on graders hold the truth, and how far corrected rates are off. Seeded.

    python -m bench.coverage_agreement [--runs 400] [--seed 2026]

Worlds: each job has a share of criteria that are truly met, drawn for the job, so its criteria go together; two graders
err independently, each failing what is good and passing what is bad with probabilities of the world. Truth is the same
figure over a world of 40,000 jobs.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from hapi_pipeline.stats import agreement as figures
from hapi_pipeline.stats.bootstrap import job_weights

CRITERIA = 10
DRAWS = 1000
FIGURES = ("raw", "alpha", "ac1", "kappa")


@dataclass(frozen=True)
class World:
    """How good the work is (Beta over jobs), and how often a grader errs on a criterion."""

    name: str
    good: tuple[float, float]
    false_fail: float
    false_pass: float


WORLDS = (
    World("half pass, 10 % errors", (2, 2), 0.10, 0.10),
    World("90 % pass, 5 % errors", (9, 1), 0.05, 0.05),
    World("95 % pass, 2 % errors", (19, 1), 0.02, 0.10),
)


def verdicts(world: World, n_jobs: int, rng: np.random.Generator) -> tuple[Any, Any]:
    """What is true of each criterion (jobs × criteria), and what two graders say (jobs × criteria × 2)."""
    truth = rng.random((n_jobs, CRITERIA)) < rng.beta(*world.good, n_jobs)[:, None]
    errs = rng.random((n_jobs, CRITERIA, 2)) < np.where(truth, world.false_fail, world.false_pass)[..., None]
    return truth, truth[..., None] ^ errs


def estimates(said: Any, weights: Any) -> dict[str, figures.Estimate]:
    """The figures of the table over these jobs."""
    flat = said.reshape(-1, 2).astype(np.int64)
    jobs = np.repeat(np.arange(len(said)), CRITERIA)
    counts = np.column_stack([(flat == k).sum(1) for k in (0, 1)])
    found = figures.agreement(counts, jobs, weights)
    kappa = figures.cohens_kappa(flat[:, 0], flat[:, 1], jobs, weights)
    return {"raw": found.raw, "alpha": found.alpha, "ac1": found.ac1, "kappa": kappa}


def agreement_coverage(runs: int, rng: np.random.Generator) -> None:
    """Coverage of the 95 % intervals by number of doubly graded jobs."""
    print(
        f"{'agreement, share of ' + str(runs) + ' intervals that hold the truth':58s}", *(f"{f:>12s}" for f in FIGURES)
    )
    for world in WORLDS:
        true = {k: e.value for k, e in estimates(verdicts(world, 40_000, rng)[1], None).items()}
        for n_jobs in (10, 20, 50, 150):
            weights, hits, given = job_weights(n_jobs, DRAWS, 1), dict.fromkeys(FIGURES, 0), dict.fromkeys(FIGURES, 0)
            for _ in range(runs):
                for name, e in estimates(verdicts(world, n_jobs, rng)[1], weights).items():
                    if e.lo is not None and e.hi is not None:
                        given[name] += 1
                        hits[name] += e.lo <= (true[name] or 0.0) <= e.hi
            told = [f"{hits[f] / given[f]:.3f} of {given[f]:>3d}" if given[f] else "none" for f in FIGURES]
            print(f"{world.name:40s} {n_jobs:>4d} jobs{'':8s}", *(f"{t:>12s}" for t in told))


def corrected(world: World, n_attempts: int, double: float, rng: np.random.Generator) -> tuple[float, figures.Estimate]:
    """Apparent and corrected completion in a world where an adjudicator, who is right, sees what two disagree on."""
    truth, said = verdicts(world, n_attempts, rng)
    twice = np.arange(n_attempts) < double * n_attempts
    apart = (said[..., 0] != said[..., 1]).any(1)
    settled = np.where(apart[:, None], truth, said[..., 0])[twice].all(1)
    words = said[twice].all(1)  # of both graders, whole attempts
    whole = said[..., 0].all(1)
    shares = []
    for kind in (settled, ~settled):
        right = (words[kind] == settled[kind][:, None]).sum(1).astype(float)
        shares.append((int(right.sum()), 2 * int(kind.sum())))
    counts = figures.Counts(n_attempts, int(whole.sum()), shares[0][1], shares[0][0], shares[1][1], shares[1][0])
    return float(whole.mean()), figures.rogan_gladen(counts)


def correction(runs: int, rng: np.random.Generator) -> None:
    """Bias of apparent and corrected completion rates, and coverage of the interval."""
    head = f"{'attempts':>8s} {'truth':>7s} {'apparent':>9s} {'corrected':>9s} covers"
    print(f"\n{'completion, ' + str(runs) + ' runs':40s} {head}")
    for world in WORLDS:
        true = float(verdicts(world, 400_000, rng)[0].all(1).mean())
        for n_attempts in (322, 2000):
            apparent, values, hits, given = [], [], 0, 0
            for _ in range(runs):
                seen, found = corrected(world, n_attempts, 0.15, rng)
                if found.value is None or found.lo is None or found.hi is None:
                    continue
                apparent.append(seen)
                values.append(found.value)
                given += 1
                hits += found.lo <= true <= found.hi
            means = (
                f"{np.mean(apparent):9.3f} {np.mean(values):9.3f} {hits / given:.3f} of {given}" if given else "none"
            )
            print(f"{world.name:40s} {n_attempts:>8d} {true:7.3f} {means}")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--seed", type=int, default=2026)
    arguments = parser.parse_args()
    began, rng = time.monotonic(), np.random.default_rng(arguments.seed)
    agreement_coverage(arguments.runs, rng)
    correction(arguments.runs, rng)
    print(f"\n{time.monotonic() - began:.0f} s, seed {arguments.seed}")


if __name__ == "__main__":
    main()
