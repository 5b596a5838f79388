"""How often the intervals of the curation audit hold the truth: simulated samples, seeded.

    python -m bench.audit_coverage [--samples 4000]

Each scenario is a chain of decisions with the true share of jobs that a person would turn away by the rule in
question. Samples are drawn as `hapi audit` draws them, answered, and estimated with the pipeline's own functions.
Beside it stands what a natural alternative gives: independent Beta (Jeffreys) posteriors for the strata.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hapi_pipeline.audit.intervals import Stratum, caught_of, share_of


@dataclass(frozen=True)
class Kind:
    """Jobs of one decision in each of some months: how many, how many are judged, the true share that counts."""

    population: int
    judged: int
    share: float


@dataclass(frozen=True)
class Scenario:
    """One rule's decision, the decisions after it, over a number of months."""

    name: str
    caught: Kind
    escaped: tuple[Kind, ...]
    months: int = 1
    drift: float = 0.0  # shares and populations of the months differ by up to this part


@dataclass(frozen=True)
class Coverage:
    """Share of samples whose interval holds the truth, by method, and the mean width of the pipeline's own."""

    precision: float
    recall: float
    width: float
    posterior: float


def _one(population: int, judged: int, share: float) -> Kind:
    return Kind(population, judged, share)


SCENARIOS = (
    Scenario(
        "10 a rule, 10 kept", _one(400, 10, 0.95), (_one(300, 10, 0.02), _one(200, 10, 0.01), _one(1500, 10, 0.01))
    ),
    Scenario(
        "10 a rule, 30 kept", _one(400, 10, 0.95), (_one(300, 10, 0.02), _one(200, 10, 0.01), _one(1500, 30, 0.02))
    ),
    Scenario(
        "30 a rule, 90 kept", _one(400, 30, 0.9), (_one(300, 30, 0.05), _one(200, 30, 0.02), _one(1500, 90, 0.03))
    ),
    Scenario(
        "100 a rule, 300 kept", _one(400, 100, 0.9), (_one(300, 100, 0.05), _one(200, 100, 0.02), _one(1500, 300, 0.03))
    ),
    Scenario("rare rule, 30 kept", _one(50, 10, 0.9), (_one(1500, 30, 0.002),)),
    Scenario("most escape", _one(100, 10, 0.8), (_one(20, 10, 0.0), _one(5000, 30, 0.01))),
    Scenario("bad rule", _one(400, 10, 0.5), (_one(300, 10, 0.3), _one(200, 10, 0.2), _one(1500, 30, 0.3))),
    Scenario("12 months", _one(400, 10, 0.9), (_one(300, 10, 0.02), _one(1500, 30, 0.02)), 12),
    Scenario("12 months, rare", _one(400, 10, 0.9), (_one(300, 10, 0.002), _one(1500, 30, 0.002)), 12),
    Scenario("12 uneven months", _one(400, 10, 0.8), (_one(300, 10, 0.05), _one(1500, 30, 0.03)), 12, 0.8),
)


def coverage(scenario: Scenario, samples: int, seed: int, *, posteriors: bool = True) -> Coverage:
    """Coverage over this many samples in which the share is not unknown."""
    rng = np.random.default_rng(seed)
    kinds = [_months(rng, kind, scenario) for kind in (scenario.caught, *scenario.escaped)]
    totals = [sum(kind.population * kind.share for kind in months) for months in kinds]
    recall = totals[0] / sum(totals)
    precision = totals[0] / sum(kind.population for kind in kinds[0])
    held, widths = np.zeros(3), 0.0
    estimated = judged = 0
    for _ in range(samples):
        drawn = [[_sample(rng, kind) for kind in months] for months in kinds]
        shared = share_of(drawn[0])
        assert shared.lo is not None
        assert shared.hi is not None
        judged += 1
        held[0] += shared.lo <= precision <= shared.hi
        found = caught_of(drawn[0], drawn[1:])
        if found.lo is None or found.hi is None:
            continue
        estimated += 1
        held[1] += found.lo <= recall <= found.hi
        widths += found.hi - found.lo
        if posteriors:
            lo, hi = _posterior(rng, drawn)
            held[2] += lo <= recall <= hi
    return Coverage(held[0] / judged, held[1] / estimated, widths / estimated, held[2] / estimated)


def _months(rng: np.random.Generator, kind: Kind, scenario: Scenario) -> list[Kind]:
    def varied() -> float:
        return 1 + scenario.drift * float(rng.uniform(-1, 1))

    return [
        Kind(round(kind.population * varied()), kind.judged, min(kind.share * varied(), 1.0))
        for _ in range(scenario.months)
    ]


def _sample(rng: np.random.Generator, kind: Kind) -> Stratum:
    return Stratum(kind.population, kind.judged, int(rng.binomial(kind.judged, kind.share)))


def _posterior(rng: np.random.Generator, drawn: Sequence[Sequence[Stratum]], draws: int = 300) -> tuple[float, float]:
    """95 % of the recall under independent Jeffreys posteriors; open ends where none or all count, as above."""

    def total(strata: Sequence[Stratum]) -> np.ndarray:
        positive = np.array([s.positive for s in strata])
        judged = np.array([s.judged for s in strata])
        shares = rng.beta(positive + 0.5, judged - positive + 0.5, (draws, len(strata)))
        return np.asarray(shares @ np.array([s.population for s in strata]))

    escaped = [stratum for kind in drawn[1:] for stratum in kind]
    caught, missed = total(drawn[0]), total(escaped)
    lo, hi = np.quantile(caught / (caught + missed), (0.025, 0.975))
    none_caught = not any(s.positive for s in drawn[0])
    none_missed = not any(s.positive for s in escaped)
    return (0.0 if none_caught else float(lo)), (1.0 if none_missed else float(hi))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    print("| scenario | precision | recall | mean width of recall | recall by Beta posteriors |")
    print("|---|---:|---:|---:|---:|")
    for scenario in SCENARIOS:
        found = coverage(scenario, arguments.samples, arguments.seed)
        print(
            f"| {scenario.name} | {found.precision:.3f} | {found.recall:.3f} | {found.width:.3f} | "
            f"{found.posterior:.3f} |"
        )


if __name__ == "__main__":
    main()
