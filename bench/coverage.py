"""How often the 95 % intervals of the result tables hold the truth: summed exactly, else simulated and seeded.

    python -m bench.coverage [--samples 8000] [--write]

Every interval is computed by the macros of `sql/_macros.sql` that make the tables, never by a copy of them; beside each
stand the usual alternatives. `--write` puts the tables into docs/coverage.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import stats

from hapi_pipeline import engine

Floats = NDArray[np.float64]
SIZES = (12, 33, 91, 322)
RATES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.64, 0.8, 0.93)
LEAST, MOST = 0.935, 0.965
Z = float(stats.norm.ppf(0.975))
Intervals = dict[str, tuple[Floats, Floats]]
SEED = 2026


def macros(columns: Mapping[str, Any], **expressions: str) -> dict[str, Floats]:
    """Expressions of the project's SQL over columns of equal length, each as an array; null is NaN."""
    with engine.connect() as connection:
        rows = pa.table({"i": np.arange(len(next(iter(columns.values())))), **columns})
        connection.register("given", rows)
        asked = ", ".join(f"({sql})::DOUBLE AS {name}" for name, sql in expressions.items())
        found = connection.sql(f"SELECT {asked} FROM given ORDER BY i").to_arrow_table()
        connection.unregister("given")
    return {name: found[name].to_numpy().astype(float) for name in expressions}


def wilson(x: Floats, n: Floats) -> tuple[Floats, Floats]:
    """The interval of the tables."""
    found = macros({"x": x, "n": n}, lo="wilson_lo(x, n)", hi="wilson_hi(x, n)")
    return found["lo"], found["hi"]


# ---- a share of n independent jobs: coverage is a finite sum


def of_a_share(n: int) -> Intervals:
    """The interval of each number of complete jobs, by method."""
    x, size = np.arange(n + 1.0), np.full(n + 1, float(n))
    inside = (x > 0) & (x < n)
    with np.errstate(invalid="ignore"):
        half = Z * np.sqrt(x * (n - x) / n) / n
        jeffreys = stats.beta.ppf([[0.025], [0.975]], x + 0.5, n - x + 0.5)
        exact = (stats.beta.ppf(0.025, x, n - x + 1), stats.beta.ppf(0.975, x + 1, n - x))
    centre = (x + Z * Z / 2) / (n + Z * Z)
    agresti = Z * np.sqrt(centre * (1 - centre) / (n + Z * Z))
    return {
        "Wilson (used)": wilson(x, size),
        "Jeffreys": (np.where(x > 0, jeffreys[0], 0), np.where(x < n, jeffreys[1], 1)),
        "Agresti-Coull": (centre - agresti, centre + agresti),
        "mid-p": mid_p(n),
        "Clopper-Pearson": (np.where(x > 0, exact[0], 0), np.where(x < n, exact[1], 1)),
        "textbook (Wald)": (np.where(inside, x / n - half, x / n), np.where(inside, x / n + half, x / n)),
    }


def mid_p(n: int) -> tuple[Floats, Floats]:
    """Clopper and Pearson's interval with half the probability of what was seen, by bisection."""
    x = np.arange(n + 1.0)
    ends = []
    for upper in (False, True):
        lo, hi = np.zeros(n + 1), np.ones(n + 1)
        for _ in range(60):
            p = (lo + hi) / 2
            below = stats.binom.cdf(x - 1, n, p) + stats.binom.pmf(x, n, p) / 2
            up = below > 0.025 if upper else below > 0.975
            lo, hi = np.where(up, p, lo), np.where(up, hi, p)
        ends.append((lo + hi) / 2)
    return np.where(x == 0, 0.0, ends[0]).astype(float), np.where(x == n, 1.0, ends[1]).astype(float)


def exact_coverage(interval: tuple[Floats, Floats], n: int, p: float) -> float:
    """Probability that the interval holds p."""
    lo, hi = interval
    return float(stats.binom.pmf(np.arange(n + 1), n, p)[(lo <= p) & (p <= hi)].sum())


def best_possible(n: int, p: float) -> float:
    """Nearest to 95 % that any interval can come at this n and p: of runs of outcomes around the likeliest one."""
    likely = stats.binom.pmf(np.arange(n + 1), n, p)
    sums = np.concatenate([[0.0], np.cumsum(likely)])
    runs = (sums[None, :] - sums[:, None])[np.triu_indices(n + 2, 1)]
    return float(runs[np.argmin(abs(runs - 0.95))])


# ---- what is simulated: each gives intervals by method and the truth of every sample


def by_client(n: int, p: float, samples: int, draw: np.random.Generator) -> tuple[Intervals, Floats]:
    """Jobs of clients with 1 to 6 each, alike with an intraclass correlation of .2; never more than n jobs."""
    sizes = np.resize([1, 1, 1, 2, 1, 3, 1, 1, 2, 6], n)
    sizes = sizes[: int(np.searchsorted(np.cumsum(sizes), n)) + 1]
    sizes[-1] -= sizes.sum() - n
    strength = 1 / 0.2 - 1
    own = draw.beta(p * strength, (1 - p) * strength, (samples, len(sizes)))
    done = draw.binomial(sizes, own).astype(float)
    total = done.sum(1)
    columns = {
        "x": total,
        "dd": (done**2).sum(1),
        "dj": done @ sizes,
        "n": np.full(samples, float(n)),
        "c": np.full(samples, float(len(sizes))),
        "jj": np.full(samples, float((sizes**2).sum())),
    }
    found = macros(columns, size="effective_n(c, n, x, dd, dj, jj)", se="cluster_se(c, n, x, dd, dj, jj)")
    t = stats.t.ppf(0.975, len(sizes) - 1) * found["se"]
    share = total / n
    return {
        "Wilson over n_eff (used)": wilson(share * found["size"], found["size"]),
        "Wilson, clients ignored": wilson(total, columns["n"]),
        "t over clients": (share - t, share + t),
    }, np.full(samples, p)


def of_the_money(n: int, p: float, samples: int, draw: np.random.Generator) -> tuple[Intervals, Floats]:
    """Prices under $500 with a long tail; dearer jobs are a little harder."""

    def jobs(shape: tuple[int, int]) -> tuple[Floats, Floats]:
        log_price = np.clip(draw.normal(4.4, 0.9, shape), None, np.log(499.99))
        chance = 1 / (1 + np.exp(-np.log(p / (1 - p)) + 0.3 * (log_price - 4.4)))
        price: Floats = np.round(np.exp(log_price), 2).astype(np.float64)
        return price, chance

    price, chance = jobs((1, 2_000_000))
    truth = float((price * chance).sum() / price.sum())
    price, chance = jobs((samples, n))
    earned = price * (draw.random(price.shape) < chance)
    total, share = price.sum(1), earned.sum(1) / price.sum(1)
    squares = (price**2).sum(1)
    size = macros({"total": total, "squares": squares}, size="kish_n(total, squares)")["size"]
    variance = n / (n - 1) * ((earned - share[:, None] * price) ** 2).sum(1) / total**2
    t = stats.t.ppf(0.975, n - 1) * np.sqrt(variance)
    own = np.where(variance > 0, share * (1 - share) / np.where(variance > 0, variance, 1), size)
    return {
        "Wilson over earn_n_eff (used)": wilson(share * size, size),
        "Wilson over the size by linearising": wilson(share * own, own),
        "linearised, t": (share - t, share + t),
    }, np.full(samples, truth)


def on_a_mix(n: int, p: float, samples: int, draw: np.random.Generator) -> tuple[Intervals, Floats]:
    """Forty strata of a category and a price band, easier and harder; the sample's mix is not the reference's."""
    weight = np.outer([91, 59, 51, 43, 33, 19, 14, 12], [0.1, 0.2, 0.25, 0.25, 0.2]).ravel()
    weight /= weight.sum()
    ease = np.add.outer([0.6, -0.4, -0.3, 0.4, -0.9, 0.9, 0.9, -0.6], [0.2, 0.1, 0.0, -0.1, -0.2]).ravel()
    level = np.log(p / (1 - p))
    for _ in range(50):  # so that the mean over the reference is p
        own = 1 / (1 + np.exp(-(level + ease)))
        level += (p - weight @ own) / (weight @ (own * (1 - own)))
    mix = weight * np.exp(np.resize([-0.3, 0.0, 0.3], 40))
    sizes = draw.multinomial(n, mix / mix.sum(), samples)
    done = draw.binomial(sizes, own)
    seen = sizes > 0
    covered = (weight * seen).sum(1)
    share = np.where(seen, weight * done / np.maximum(sizes, 1), 0).sum(1) / covered
    truth = (weight * own * seen).sum(1) / covered
    squares = np.where(seen, weight**2 / np.maximum(sizes, 1), 0).sum(1)
    size = macros({"covered": covered, "squares": squares}, size="kish_n(covered, squares)")["size"]
    rate = done / np.maximum(sizes, 1)
    variance = np.where(seen, weight**2 * rate * (1 - rate) / np.maximum(sizes, 1), 0).sum(1) / covered**2
    half = Z * np.sqrt(variance)
    return {
        "Wilson over std_n_eff (used)": wilson(share * size, size),
        "sum of the strata's variances": (share - half, share + half),
    }, truth


def after_turns(n: int, p: float, samples: int, draw: np.random.Generator) -> tuple[Intervals, Floats]:
    """Three turns; of the jobs still open 15 % are not tried again each time."""
    chances = 1 - (1 - p) ** np.array([0.7, 0.2, 0.1])
    at_risk, still, green = np.full(samples, n), np.ones(samples), np.zeros(samples)
    for turn, chance in enumerate(chances):
        if turn:
            at_risk = draw.binomial(at_risk, 0.85)
        events = draw.binomial(at_risk, chance)
        left = at_risk - events
        still *= np.where(at_risk > 0, left / np.maximum(at_risk, 1), 1)
        green += np.where((at_risk > 0) & (left > 0), events / np.maximum(at_risk * left, 1), 0)
        at_risk = left
    share, se = 1 - still, still * np.sqrt(green)
    with np.errstate(all="ignore"):
        columns = {"still": still, "green": green, "n": np.full(samples, n)}
        size = macros(columns, size="greenwood_n(still, green, n)")["size"]
        spread = Z * np.sqrt(green) / np.log(still)
        log_log = (1 - still ** np.exp(spread), 1 - still ** np.exp(-spread))
    return {
        "Wilson over curve_n_eff (used)": wilson(share * size, size),
        "plain Greenwood": (share - Z * se, share + Z * se),
        "log-log": (
            np.where(np.isfinite(log_log[0]), log_log[0], share),
            np.where(np.isfinite(log_log[1]), log_log[1], share),
        ),
    }, np.full(samples, p)


def net_of_control(n: int, p: float, samples: int, draw: np.random.Generator) -> tuple[Intervals, Floats]:
    """Two arms on the same jobs: .6 p complete under both, .4 p with feedback only, .15 p without only."""
    shares = np.array([0.6 * p, 0.4 * p, 0.15 * p])
    shares = np.append(shares, 1 - shares.sum()) if shares.sum() < 1 else np.append(shares / shares.sum(), 0)
    counts = draw.multinomial(n, shares, samples).astype(float)
    columns = dict(zip(("a", "b", "c", "d"), counts.T.copy(), strict=True))
    found = macros(columns, lo="paired_lo(a, b, c, d)", hi="paired_hi(a, b, c, d)")
    d, se = (
        (counts[:, 1] - counts[:, 2]) / n,
        np.sqrt(counts[:, 1] + counts[:, 2] - (counts[:, 1] - counts[:, 2]) ** 2 / n) / n,
    )
    return {
        "Newcombe (used)": (found["lo"], found["hi"]),
        "textbook (Wald)": (d - Z * se, d + Z * se),
    }, np.full(samples, shares[1] - shares[2])


Simulated = Callable[[int, float, int, np.random.Generator], tuple[Intervals, Floats]]
SIMULATED: dict[str, tuple[str, Simulated]] = {
    "rate, with clients": ("`rate_cl_lo`, `rate_cl_hi`", by_client),
    "share of the money": ("`earn_lo`, `earn_hi`", of_the_money),
    "rate on the reference's mix": ("`rate_std_lo`, `rate_std_hi`", on_a_mix),
    "curve after three turns": ("`curve_lo`, `curve_hi`", after_turns),
    "net of the control arm": ("`net_lo`, `net_hi`", net_of_control),
}


def simulated_coverage(simulate: Simulated, n: int, p: float, samples: int, seed: int = SEED) -> dict[str, float]:
    """Share of samples whose interval holds the truth, by method."""
    draw = np.random.default_rng([seed, n, round(1000 * p)])
    intervals, truth = simulate(n, p, samples, draw)
    return {name: float(((lo <= truth) & (truth <= hi)).mean()) for name, (lo, hi) in intervals.items()}


# ---- the report


def share_tables() -> list[str]:
    """Exact coverage of a share, by method; and how near any interval could come."""
    grid = np.linspace(RATES[0], RATES[-1], 441)
    lines = ["## A share of n independent jobs (exact)", "", _head("method")]
    for n in SIZES:
        for name, interval in of_a_share(n).items():
            lines.append(_row(n, name, [exact_coverage(interval, n, p) for p in RATES]))
        lines.append(_row(n, "*nearest possible*", [best_possible(n, p) for p in RATES]))
    lines += [
        "",
        "Over all rates from .05 to .93:",
        "",
        "| n | method | mean | least | within 93.5 to 96.5 % |",
        "|---|---|---|---|---|",
    ]
    for n in SIZES:
        for name, interval in of_a_share(n).items():
            found = np.array([exact_coverage(interval, n, p) for p in grid])
            inside = ((found >= LEAST) & (found <= MOST)).mean()
            lines.append(f"| {n} | {name} | {found.mean():.3f} | {found.min():.3f} | {100 * inside:.0f} % of rates |")
    return lines


def simulated_tables(samples: int) -> list[str]:
    """Coverage by simulation of everything else."""
    lines = []
    for title, (columns, simulate) in SIMULATED.items():
        lines += ["", f"## {title.capitalize()}: {columns} ({samples:,} samples a cell)", "", _head("method")]
        for n in SIZES:
            cells = [simulated_coverage(simulate, n, p, samples) for p in RATES]
            lines += [_row(n, name, [cell[name] for cell in cells]) for name in cells[0]]
    return lines


def _head(first: str) -> str:
    return f"| n | {first} | " + " | ".join(f"p = {p:g}" for p in RATES) + " |\n|---|---|" + "---|" * len(RATES)


def _row(n: int, name: str, found: list[float]) -> str:
    cells = [f"{value:.3f}" if LEAST <= round(value, 3) <= MOST else f"**{value:.3f}**" for value in found]
    return f"| {n} | {name} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=8000)
    parser.add_argument("--write", action="store_true", help="write docs/coverage.md")
    arguments = parser.parse_args()
    text = "\n".join([INTRODUCTION, *share_tables(), *simulated_tables(arguments.samples)]) + "\n"
    print(text)
    if arguments.write:
        (Path(__file__).parents[1] / "docs" / "coverage.md").write_text(text, "utf-8")


INTRODUCTION = """# How often the intervals hold the truth

Made by `python -m bench.coverage --write`; do not edit. The intervals are computed by the macros that make the
tables, and beside each stand the usual alternatives. A 95 % interval should hold the truth in 95 % of samples;
**bold** is what is not within 93.5 and 96.5 %. Formulas and sources: [methodology.md](methodology.md).

What the figures say:

* **Where no interval can.** A share of 12 jobs has 13 possible values. At p = .05 the likeliest three hold 98.0 % of
  the samples and the likeliest two 88.2 %; there is nothing between. *Nearest possible* is what the best set of
  outcomes gives, of any method. So at n = 12 (and at n = 33 near the ends) a fixed interval can only be right on
  average over rates: Wilson's mean is 95.5 % at n = 12 and 95.0 to 95.2 % from n = 33 on, closer than Agresti-Coull,
  mid-p and Clopper-Pearson, which are wider on average, and at n = 12 and 33 its least coverage is higher than that
  of Jeffreys'. From n = 91 on Wilson's is within 93.5 to 96.5 % at almost every rate. The tables use it for all
  shares.
* **Clients.** Ignoring that jobs of a client are alike costs up to seven points of coverage; `rate_cl_lo`,
  `rate_cl_hi` have it back.
* **Money.** Prices have a long tail; the effective number of jobs by Kish keeps coverage, the linearised interval
  does not.
* **Common mix.** With forty cells and few jobs in each, adding up the cells' own variances fails badly (a cell with
  one job has none); the effective number of jobs does not, and is a little too wide where cells differ much.
* **Curves.** Wilson's interval over the effective number of jobs holds where Greenwood's plain one and the log-log
  one do not: with few jobs and rates near 0 or 1.
* **Net of the control arm.** Newcombe's interval is too wide where hardly any job tells the arms apart (a rate of
  .05 among 322 jobs, of .2 among 33): then the number of such jobs is again a small whole number. The textbook's is
  too narrow there.
"""

if __name__ == "__main__":
    main()
