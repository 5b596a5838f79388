"""The tables economics and workflow_advice: what completed jobs cost, and who had better do which.

What is here: which jobs, which sums, which rows. The formulas are in `stats/stages.py` and `stats/ratios.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from hapi_pipeline.engine import stream, summed
from hapi_pipeline.job_grid import JobGrid, job_grid
from hapi_pipeline.rounds import ROUND
from hapi_pipeline.stats import bootstrap
from hapi_pipeline.stats.ratios import ratio_of_sums
from hapi_pipeline.stats.stages import Expected, Step, Worth, expected, worth
from hapi_pipeline.tables import TABLES

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from hapi_pipeline.lake import Lake
    from hapi_pipeline.registry import Economics, Registry

    Floats = NDArray[np.float64]

DRAWS = 4_000
ALL = "(all)"
FALLBACK = "a human, at the job's price"
OPTIONS = ("agent_alone", "agent_and_human", "human_alone")


@dataclass(frozen=True)
class Spending:
    """What attempts and reviews took: (jobs × models) for each round."""

    attempts: dict[str, Floats]  # number, superseded and failed ones and further samples included
    priced: dict[str, Floats]  # of these, those whose cost is known
    cost: dict[str, Floats]  # USD, of those
    samples: dict[str, Floats]  # times the work was done from the start: cost / samples is the cost of once
    reviewed: dict[str, Floats]  # current attempts of the first sample that somebody reviewed
    timed: dict[str, Floats]  # of these, those with minutes; and those that left nothing to review
    minutes: dict[str, Floats]  # of one review, the mean over those who judged independently


def economics(lake: Lake, registry: Registry, scope: Mapping[str, str]) -> pa.Table:
    """All rows of the table."""
    grid = job_grid(lake)
    return economics_of(grid, spending(lake, grid), registry.benchmark.economics)


def workflow_advice(lake: Lake, registry: Registry, scope: Mapping[str, str]) -> pa.Table:
    """All rows of the table."""
    grid = job_grid(lake)
    benchmark = registry.benchmark
    return advice_of(grid, spending(lake, grid), benchmark.economics, benchmark.completion_rule)


# ---- what was spent


def spending(lake: Lake, grid: JobGrid) -> Spending:
    """What attempts at the jobs of the grid cost, and how long reviews of them took."""
    import numpy as np

    keys = {
        "jobs": list(grid.jobs),
        "cohorts": [str(cohort) for cohort in grid.cohorts],
        "models": list(grid.models),
        "rounds": list(grid.rounds),
    }
    shape = (len(grid.rounds), len(grid.jobs), len(grid.models))

    def ask(connection: duckdb.DuckDBPyConnection) -> dict[str, Floats]:
        columns = {field.name: np.zeros(shape) for field in fields(Spending)}
        for found in stream(connection, _SPENT, keys):  # some thousand at a time, for there are many
            at = tuple(found.column(key).to_numpy() for key in ("round", "job", "model"))
            for name, column in columns.items():
                column[at] = np.nan_to_num(found.column(name).to_numpy(zero_copy_only=False))
        return columns

    columns = summed({name: lake.files(name) for name in ("attempts", "grades")}, ask)
    return Spending(**{name: dict(zip(grid.rounds, column, strict=True)) for name, column in columns.items()})


_SPENT = """
    WITH reviews AS (
        SELECT attempt_id, count(*) AS n, avg(minutes) AS minutes FROM grades GROUP BY attempt_id
    ),
    wanted AS (
        SELECT unnest($jobs) AS job_id, unnest($cohorts) AS cohort, unnest(range(len($jobs))) AS job
    )
    SELECT w.job, list_position($models, a.model) - 1 AS model, list_position($rounds, a.round) - 1 AS round,
        count(*) AS attempts, count(a.cost_usd) AS priced,
        sum(round(a.cost_usd * 1e9)::HUGEINT)::DOUBLE / 1e9 AS cost,
        count(DISTINCT a.sample) AS samples,
        count(*) FILTER (WHERE a.counts AND r.n > 0 AND a.n_deliverables > 0) AS reviewed,
        count(*) FILTER (WHERE a.counts AND (r.minutes IS NOT NULL OR a.n_deliverables = 0)) AS timed,
        max(r.minutes) FILTER (WHERE a.counts AND a.n_deliverables > 0) AS minutes
    FROM (
        SELECT * REPLACE (coalesce(sample, 1) AS sample), is_current AND coalesce(sample, 1) = 1 AS counts FROM attempts
    ) a JOIN wanted w USING (job_id, cohort) LEFT JOIN reviews r USING (attempt_id)
    WHERE a.model IN (SELECT unnest($models)) AND a.round IN (SELECT unnest($rounds))
    GROUP BY ALL
"""


# ---- sums


_COLUMNS = len(Step._fields)


def step_columns(grid: JobGrid, spent: Spending, round_: str, rule: str) -> Floats:
    """What each job adds to the sums of a step: (jobs × models × fields of Step). NaN where a cost is unknown."""
    import numpy as np

    complete, before = grid.complete[round_, rule], grid.before[round_, rule]
    tried = ~np.isnan(complete) & ~before
    done = tried & (complete == 1)
    price = np.broadcast_to(grid.prices[:, None], complete.shape)
    cost = np.where(spent.priced[round_] == spent.attempts[round_], _once(spent, round_), np.nan)
    timed = tried & (spent.timed[round_] > 0)
    return np.stack(
        [
            tried.astype(float),
            done.astype(float),
            np.where(tried, cost, 0.0),
            np.where(timed, spent.minutes[round_], 0.0),
            timed.astype(float),
            np.where(tried, price, 0.0),
            np.where(done, price, 0.0),
        ],
        axis=2,
    )


def _once(spent: Spending, round_: str) -> Floats:
    """Cost of doing each job once in a round, USD: where it was done several times, the mean of these."""
    import numpy as np

    mean: Floats = spent.cost[round_] / np.maximum(spent.samples[round_], 1.0)
    return mean


def _sums(columns: Floats, clients: NDArray[np.int64], draws: int, seed: int) -> tuple[Floats, Floats]:
    """Sums over jobs of (jobs × anything): as they are, and in each draw (draws × anything)."""
    import numpy as np

    flat = columns.reshape(len(columns), -1)
    unknown = np.isnan(flat).any(axis=0)
    known = np.where(np.isnan(flat), 0.0, flat)
    plain = np.where(unknown, np.nan, known.sum(axis=0))
    names, of_jobs = np.unique(clients, return_inverse=True)
    by_client = bootstrap.cluster_sums(known, of_jobs if len(names) < len(clients) else None)
    whole = (by_client == np.rint(by_client)).all(axis=0)
    parts = [(some, by_client[:, some]) for some in (whole, ~whole)]
    found = np.empty((draws, flat.shape[1]))
    done = 0
    for weights in bootstrap.weight_blocks(len(by_client), draws, seed):
        for some, sums in parts:
            found[done : done + len(weights), some] = bootstrap.resampled_sums(sums, weights)
        done += len(weights)
    found[:, unknown] = np.nan
    return plain.reshape(columns.shape[1:]), found.reshape(draws, *columns.shape[1:])


def _step(sums: Floats) -> Step:
    """A step out of sums (… × fields of Step)."""
    return Step(*(sums[..., i] for i in range(_COLUMNS)))


# ---- economics


def economics_of(
    grid: JobGrid, spent: Spending, assumed: Economics, draws: int = DRAWS, seed: int = bootstrap.SEED
) -> pa.Table:
    """Every model under every rule after every round."""
    import numpy as np
    import pyarrow as pa

    rows: list[dict[str, Any]] = []
    for rule in grid.rules if len(grid.jobs) else ():
        columns = np.stack([step_columns(grid, spent, name, rule) for name in grid.rounds], axis=1)
        plain, drawn = _sums(columns, grid.clients, draws, seed)
        for place, name in enumerate(grid.rounds):
            path = [grid.rounds.index(step) for step in ROUND[name].path]
            for model in range(len(grid.models)):
                money = _money(plain[:, model], drawn[:, :, model], path, assumed)
                units = len(np.unique(grid.clients[columns[:, place, model, 0] > 0]))
                facts = _facts(grid, spent, rule, name, model, assumed)
                rows.append(facts | _with_intervals(money, units))
    return pa.Table.from_pylist(rows, schema=TABLES["economics"].schema())


Money = tuple[dict[str, float], dict[str, Any]]
"""Figures by name, and the same in each draw."""


def _money(plain: Floats, drawn: Floats, path: Sequence[int], assumed: Economics) -> Money:
    """Expected values and worth over a path, from sums (rounds × fields) and the same in each draw."""
    both = []
    for sums in (plain[None], drawn):
        steps = [_step(sums[:, at]) for at in path]
        alone, human_ai = expected(steps[:1]), expected(steps)
        both.append(
            _named(alone, human_ai, worth(alone, human_ai, assumed.grader_usd_per_hour, assumed.value_per_price))
        )
    return {key: float(value[0]) for key, value in both[0].items()}, both[1]


def _named(alone: Expected, human_ai: Expected, found: Worth) -> dict[str, Floats]:
    """Figures under the names of the tables' columns."""
    return {
        "success_alone": alone.success,
        "success_human_ai": human_ai.success,
        "cost_alone_usd": alone.cost,
        "cost_human_ai_usd": human_ai.cost,
        "review_minutes": human_ai.minutes,
        "price_mean_usd": alone.price,
        "alone_per_completed_usd": found.alone_per_completed,
        "human_ai_per_completed_usd": found.human_ai_per_completed,
        "human_ai_fallback_usd": found.human_ai_with_fallback,
        "net_alone_usd": found.net_alone,
        "net_human_ai_usd": found.net_human_ai,
        "net_human_usd": found.net_human,
        "value_alone_human_ai_usd": found.break_even_alone_human_ai,
        "value_human_ai_human_usd": found.break_even_human_ai_human,
        "value_alone_human_usd": found.break_even_alone_human,
        "break_even_grader_rate": found.break_even_grader_rate,
    }


_INTERVALS = (
    "alone_per_completed_usd",
    "human_ai_per_completed_usd",
    "human_ai_fallback_usd",
    "price_mean_usd",
    "net_alone_usd",
    "net_human_ai_usd",
    "net_human_usd",
    "value_alone_human_ai_usd",
    "value_human_ai_human_usd",
    "value_alone_human_usd",
    "break_even_grader_rate",
)
"""Figures that have an interval; its ends are the column's name without its unit, with _lo and _hi."""


def _with_intervals(money: Money, units: int, names: Sequence[str] = _INTERVALS) -> dict[str, float | None]:
    """Figures and the ends of their intervals; None for what is unknown or has no bound."""
    import numpy as np

    plain, drawn = money
    lo, hi = bootstrap.interval(np.stack([drawn[name] for name in names], axis=1), units=np.full(len(names), units))
    found = {name: _finite(value) for name, value in plain.items()}
    for name, low, high in zip(names, lo, hi, strict=True):
        stem = name.removesuffix("_usd")
        known = not np.isnan(plain[name])
        found |= {f"{stem}_lo": _finite(low) if known else None, f"{stem}_hi": _finite(high) if known else None}
    return found


def _finite(value: float) -> float | None:
    import math

    return round(float(value), 9) if math.isfinite(value) else None


def _facts(
    grid: JobGrid, spent: Spending, rule: str, name: str, model: int, assumed: Economics
) -> dict[str, float | int | bool | str | None]:
    """Counts, and what was really spent on the way to a round."""
    import numpy as np

    path = ROUND[name].path
    listed = grid.listed[:, model]
    state = grid.complete[name, rule][:, model]
    known = ~np.isnan(state)
    attempts, priced, cost = (
        np.sum([column[step][:, model] for step in path], axis=0)
        for column in (spent.attempts, spent.priced, spent.cost)
    )
    once = np.sum([_once(spent, step)[:, model] for step in path], axis=0)
    reviewed, timed, minutes = (
        np.stack([column[step][:, model] for step in path]) for column in (spent.reviewed, spent.timed, spent.minutes)
    )
    n_reviewed, n_timed = int(reviewed.sum()), int(((reviewed > 0) & (timed > 0)).sum())
    spent_minutes = float((minutes * (reviewed > 0)).sum())
    all_timed, all_priced = n_reviewed == n_timed, bool((attempts == priced).all())
    ratio = ratio_of_sums(once[known], state[known], grid.clients[known]) if (attempts == priced)[known].all() else None
    rate = assumed.grader_usd_per_hour
    return {
        "window": "all",
        "rule": rule,
        "round": name,
        "model": grid.models[model],
        "n_jobs": int(listed.sum()),
        "n_graded": int(known.sum()),
        "n_completed": int((state == 1).sum()),
        "n_clients": len(np.unique(grid.clients[known])),
        "n_attempts": int(attempts.sum()),
        "n_cost_known": int(priced.sum()),
        "cost_usd": float(cost.sum()) if all_priced else None,
        "cost_per_attempt_usd": float(cost.sum() / attempts.sum()) if all_priced and attempts.sum() else None,
        "cost_graded_usd": float(once[known].sum()) if ratio is not None else None,
        "cost_per_completed_usd": ratio.value if ratio else None,
        "cost_per_completed_lo": ratio.lo if ratio else None,
        "cost_per_completed_hi": ratio.hi if ratio else None,
        "n_reviewed": n_reviewed,
        "n_timed": n_timed,
        "minutes_per_review": spent_minutes / n_timed if n_timed else None,
        "review_cost_usd": spent_minutes / 60 * rate if all_timed and rate is not None else None,
        "grader_usd_per_hour": rate,
        "value_per_price": assumed.value_per_price,
        "fallback": FALLBACK,
        "simulated": bool((grid.simulated[:, model] & listed).any()),
    }


# ---- advice


def advice_of(
    grid: JobGrid, spent: Spending, assumed: Economics, rule: str, draws: int = DRAWS, seed: int = bootstrap.SEED
) -> pa.Table:
    """Who had better do the jobs of each category and price band: for each model, and over all of them."""
    import numpy as np
    import pyarrow as pa

    rows: list[dict[str, Any]] = []
    human_rounds = tuple(name for name in grid.rounds if ROUND[name].arm == "human")
    if rule in grid.rules and human_rounds:
        columns = np.stack([step_columns(grid, spent, name, rule) for name in human_rounds], axis=1)
        for category, band, jobs in _groups(grid):
            found = _Cell(grid, rule, human_rounds, columns[jobs], jobs, assumed, draws, seed)
            rows += [row | {"category": category, "price_band": band} for row in found.rows()]
    return pa.Table.from_pylist(rows, schema=TABLES["workflow_advice"].schema())


def _groups(grid: JobGrid) -> Iterator[tuple[str, str, NDArray[np.intp]]]:
    """Every category and price band that has jobs, with the sums over all of either, or both."""
    import numpy as np

    for category in (ALL, *sorted(set(grid.categories))):
        for band in (ALL, *sorted(set(grid.bands))):
            mine = (category == ALL) | (grid.categories == category)
            jobs = np.flatnonzero(mine & ((band == ALL) | (grid.bands == band)))
            if len(jobs):
                yield str(category), str(band), jobs


class _Cell:
    """The jobs of one category and price band."""

    def __init__(
        self,
        grid: JobGrid,
        rule: str,
        rounds: tuple[str, ...],
        columns: Floats,
        jobs: NDArray[np.intp],
        assumed: Economics,
        draws: int,
        seed: int,
    ):
        import numpy as np

        self.grid, self.rule, self.rounds, self.columns, self.jobs = grid, rule, rounds, columns, jobs
        self.assumed = assumed
        self.turns = tuple(name for name in rounds if ROUND[name].after) or rounds[:1]
        self.known = ~np.isnan(np.stack([grid.complete[name, rule][jobs] for name in self.turns]))
        self.models = [model for model in range(len(grid.models)) if grid.listed[jobs, model].any()]
        self.money: dict[int, tuple[str, Money]] = {}
        enough = [model for model in self.models if self.deep_enough(model)]
        if enough:
            plain, drawn = _sums(columns[:, :, enough], grid.clients[jobs], draws, seed)
            for at, model in enumerate(enough):
                self.money[model] = self.best_turn(model, plain[:, at], drawn[:, :, at])

    def deep_enough(self, model: int) -> list[str]:
        """The human turns after which enough jobs are known."""
        counts = zip(self.turns, self.known[:, :, model].sum(axis=1), strict=True)
        return [name for name, n in counts if n >= self.assumed.min_jobs]

    def best_turn(self, model: int, plain: Floats, drawn: Floats) -> tuple[str, Money]:
        """The human turn with the highest net value, of those after which enough jobs are known, and its figures."""
        import math

        found = {}
        for name in self.deep_enough(model):
            path = [self.rounds.index(step) for step in ROUND[name].path]
            found[name] = _money(plain, drawn, path, self.assumed)
        nets = {name: money[0]["net_human_ai_usd"] for name, money in found.items()}
        chosen = max(found, key=lambda name: -math.inf if math.isnan(nets[name]) else nets[name])
        return chosen, found[chosen]

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row a model, then the best over all of them."""
        made = {model: self.row(model) for model in self.models}
        yield from made.values()
        options = {model: self.nets(model) for model in made if made[model]["advice"] != "no_advice"}
        if options:
            yield self.best(made, options)
        elif made:
            reasons = {row["reason"] for row in made.values()}
            n_graded = max(row["n_graded"] for row in made.values())
            bare = self.common() | {"level": "best", "n_graded": n_graded, "enough_data": False, "advice": "no_advice"}
            yield bare | {"reason": reasons.pop() if len(reasons) == 1 else "no_model_with_enough_data"}

    def common(self) -> dict[str, Any]:
        """What all rows of the cell say."""
        return {
            "rule": self.rule,
            "n_jobs": len(self.jobs),
            "grader_usd_per_hour": self.assumed.grader_usd_per_hour,
            "value_per_price": self.assumed.value_per_price,
            "fallback": FALLBACK,
            "min_jobs": self.assumed.min_jobs,
            "simulated": bool(self.grid.simulated[self.jobs].any()),
        }

    def row(self, model: int) -> dict[str, Any]:
        """The advice for one model."""
        import numpy as np

        enough = model in self.money
        turn = self.money[model][0] if enough else self.turns[0]
        state = self.grid.complete[turn, self.rule][self.jobs, model]
        known = ~np.isnan(state)
        units = len(np.unique(self.grid.clients[self.jobs][known]))
        found = self.common() | {
            "level": "model",
            "model": self.grid.models[model],
            "round": turn,
            "n_graded": int(known.sum()),
            "n_completed": int((state == 1).sum()),
            "n_clients": units,
            "enough_data": enough,
        }
        reason = self.reason(model)
        figures = (
            _with_intervals(self.money[model][1], units, _NETS) if reason is None else dict.fromkeys(_ADVICE_FIGURES)
        )
        found |= {name: figures[name] for name in _ADVICE_FIGURES}
        advice, probability = ("no_advice", None) if reason else _best(*self.nets(model))
        return found | {"advice": advice, "probability": probability, "reason": reason}

    def reason(self, model: int) -> str | None:
        """Why there is no advice on a model; None where there is."""
        import math

        if model not in self.money:
            return "too_few_graded_jobs"
        plain, _ = self.money[model][1]
        if math.isnan(plain["net_alone_usd"]):
            return "unknown_cost"
        if math.isnan(plain["net_human_ai_usd"]):
            return "unknown_cost" if math.isnan(plain["cost_human_ai_usd"]) else "unknown_review_cost"
        return None

    def nets(self, model: int) -> tuple[list[float], Floats]:
        """Net values of the three ways for one model: as they are, and (draws × ways)."""
        import numpy as np

        plain, drawn = self.money[model][1]
        return [plain[name] for name in _NETS], np.stack([drawn[name] for name in _NETS], axis=1)

    def best(
        self, made: Mapping[int, dict[str, Any]], options: Mapping[int, tuple[list[float], Floats]]
    ) -> dict[str, Any]:
        """The best way over all models; a human alone is one way, estimated on the jobs of the best agent."""
        import numpy as np

        best = max(options, key=lambda model: max(options[model][0][:2]))  # of equals the first by name
        ways = [options[model][0][way] for model in options for way in (0, 1)]
        drawn = np.stack([options[model][1][:, way] for model in options for way in (0, 1)], axis=1)
        human, human_drawn = options[best][0][2], options[best][1][:, 2:]
        at, probability = _place(np.array([*ways, human]), np.concatenate([drawn, human_drawn], axis=1))
        advice = OPTIONS[2] if at == len(ways) else OPTIONS[at % 2]
        return made[best] | {"level": "best", "advice": advice, "probability": probability}


_NETS = ("net_alone_usd", "net_human_ai_usd", "net_human_usd")
_ADVICE_FIGURES = (
    "success_alone",
    "success_human_ai",
    "cost_alone_usd",
    "cost_human_ai_usd",
    "review_minutes",
    "price_mean_usd",
    *(name for net in _NETS for name in (net, net.replace("_usd", "_lo"), net.replace("_usd", "_hi"))),
)


def _best(nets: Sequence[float], drawn: Floats) -> tuple[str, float | None]:
    import numpy as np

    at, probability = _place(np.asarray(nets), drawn)
    return OPTIONS[at], probability


def _place(nets: Floats, drawn: Floats) -> tuple[int, float | None]:
    """Which way is the best, and in which share of the draws; those in which something is unknown are left out."""
    import numpy as np

    at = int(np.argmax(nets))
    whole = drawn[~np.isnan(drawn).any(axis=1)]
    return at, float((whole[:, at] >= whole.max(axis=1)).mean()) if len(whole) else None
