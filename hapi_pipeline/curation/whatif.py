"""What other thresholds would do to the benchmark: the chain worked out in memory under both, month by month.

Nothing is written. Memory holds one month at a time and, of it, a row of a few short values for each post.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hapi_pipeline import engine
from hapi_pipeline.curation.rules import standings
from hapi_pipeline.lake import Lake
from hapi_pipeline.registry import Benchmark, Rules
from hapi_pipeline.settings import UserError

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_LONGEST = 4_000  # characters of a value
_UNREADABLE = object()
Parameters = Callable[[Benchmark, dict[str, str]], Mapping[str, Any]]
Relations = Callable[[Benchmark], Mapping[str, "pa.Table"]]
_RUBRIC = ("min_criteria", "max_criteria")


@dataclass
class WhatIf:
    """What changed thresholds would do, over some months."""

    changed: dict[str, tuple[Any, Any]]  # threshold: (as it stands, as asked)
    cohorts: list[str] = field(default_factory=list)
    uncurated: list[str] = field(default_factory=list)  # left out: never curated
    outdated: list[str] = field(default_factory=list)  # the benchmark that stands is not that of the present rules
    moves: Counter[tuple[str, str, str, str, str]] = field(default_factory=Counter)
    """Jobs by (move, category, price band, rule, code): move is stay, come, go, or no_rubric for those that would come
    if they had a rubric; rule and code are of what turns them away: before for those that come, then for the others."""
    rates: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    """Jobs by (model, round, now or stay, count)."""
    by_month: list[tuple[str, int, int, int]] = field(default_factory=list)  # cohort, now, come, go
    bands: tuple[str, ...] = ()  # price bands, the lowest first, the last for unknown prices
    rounds: tuple[str, ...] = ()
    completion_rule: str = ""
    simulated: bool = False

    def jobs(self, *moves: str) -> int:
        """How many jobs make one of these moves."""
        return sum(n for key, n in self.moves.items() if key[0] in moves)

    def table(self, dimension: str) -> list[dict[str, Any]]:
        """Moves by category or price_band (rows with now, then, come, go, no_rubric), or by rule and code."""
        first, last = {"category": (1, 2), "price_band": (2, 3), "rule": (3, 5)}[dimension]
        sums: dict[tuple[str, ...], Counter[str]] = {}
        for key, n in self.moves.items():
            if dimension != "rule" or key[0] != "stay":
                sums.setdefault(tuple(list(key)[first:last]), Counter())[key[0]] += n
        names = ("rule", "code") if dimension == "rule" else (dimension,)
        rows: list[dict[str, Any]] = []
        for values, jobs in sums.items():
            counts = {"come": jobs["come"], "go": jobs["go"], "no_rubric": jobs["no_rubric"]}
            if dimension != "rule":
                counts = {"now": jobs["stay"] + jobs["go"], "then": jobs["stay"] + jobs["come"]} | counts
            rows.append({**dict(zip(names, values, strict=True)), **counts})
        if dimension == "price_band":
            return sorted(rows, key=lambda r: self.bands.index(r["price_band"]))
        return sorted(rows, key=lambda r: (-r["come"] - r["go"] - r["no_rubric"], *(str(r[name]) for name in names)))

    def rate_rows(self) -> list[dict[str, Any]]:
        """Completion by model and round: of the jobs that are in now, and of those of them that would stay."""
        rows = []
        cells = {(model, round_) for model, round_, _, _ in self.rates}
        for model, round_ in sorted(cells, key=lambda cell: (cell[0], self.rounds.index(cell[1]))):
            row: dict[str, Any] = {"model": model, "round": round_}
            for of in ("now", "stay"):
                eligible, graded, completed = (
                    self.rates[model, round_, of, n] for n in ("n_eligible", "n_graded", "n_completed")
                )
                low, high = wilson(completed, eligible) if graded else (None, None)
                row |= {f"n_eligible_{of}": eligible, f"n_graded_{of}": graded, f"n_completed_{of}": completed}
                row |= {f"rate_{of}": completed / eligible if graded and eligible else None}
                row |= {f"rate_lo_{of}": low, f"rate_hi_{of}": high}
            rows.append(row)
        return rows

    def as_json(self) -> dict[str, Any]:
        """All of it, for a program."""
        return {
            "what_if": {key: {"now": _plain(a), "then": _plain(b)} for key, (a, b) in self.changed.items()},
            "months": [{"cohort": c, "now": n, "come": i, "go": o} for c, n, i, o in self.by_month],
            "months_not_curated": self.uncurated,
            "months_outdated": self.outdated,
            "now": self.jobs("stay", "go"),
            "then": self.jobs("stay", "come"),
            "stay": self.jobs("stay"),
            "come": self.jobs("come"),
            "go": self.jobs("go"),
            "no_rubric": self.jobs("no_rubric"),
            "by_category": self.table("category"),
            "by_price_band": self.table("price_band"),
            "by_rule": self.table("rule"),
            "completion_rule": self.completion_rule,
            "completion": self.rate_rows(),
            "simulated": self.simulated,
        }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def wilson(x: int, n: int) -> tuple[float | None, float | None]:
    """Wilson's score interval at 95 % for x successes of n, by the macros of the lake's own SQL."""
    with engine.connect() as connection:
        found = connection.execute("SELECT wilson_lo($x, $n), wilson_hi($x, $n)", {"x": x, "n": n}).fetchall()
    return found[0]


# ---- the thresholds


def changed_benchmark(benchmark: Benchmark, settings: Iterable[str]) -> Benchmark:
    """The benchmark with thresholds changed by words such as ``max_price_usd=300`` or ``categories=[A, B]``.

    Any key of `rules` and `rubric` in benchmark.yaml, with or without the name of the section before it. Raises
    UserError for a key that is none of them, one that stands twice, and a value of the wrong kind.
    """
    kinds = {f.name: str(f.type) for f in dataclasses.fields(Rules)}
    kinds |= {f.name: str(f.type) for f in dataclasses.fields(Benchmark) if f.name in _RUBRIC}
    values: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        key = key.strip().removeprefix("rules.").removeprefix("rubric.")
        if key not in kinds or not equals:
            raise UserError(f"--what-if {setting!r}: write KEY=VALUE; the keys are {', '.join(kinds)}.")
        if key in values:
            raise UserError(f"--what-if names {key} twice; one value can be tried at a time.")
        values[key] = _value(key, text.strip(), kinds[key])
    rubric = {key: values.pop(key) for key in _RUBRIC if key in values}
    changed = dataclasses.replace(benchmark, rules=dataclasses.replace(benchmark.rules, **values), **rubric)
    if changed.min_criteria > changed.max_criteria:
        raise UserError(
            f"--what-if: min_criteria ({changed.min_criteria}) is over max_criteria ({changed.max_criteria})."
        )
    return changed


_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "bool": ("true or false", lambda v: isinstance(v, bool)),
    "int": ("a whole number of zero or more", lambda v: type(v) is int and 0 <= v < 2**31),
    "float": ("a number over zero", lambda v: type(v) in (int, float) and math.isfinite(v) and v > 0),
    "tuple[str, ...]": ("a list of names, as [A, B]", lambda v: isinstance(v, list) and _all_texts(v)),
    "tuple[str, ...] | None": (
        "a list of names, as [A, B], or null for all",
        lambda v: v is None or (isinstance(v, list) and _all_texts(v)),
    ),
}


def _all_texts(values: Sequence[Any]) -> bool:
    return bool(values) and all(isinstance(v, str) for v in values)


def _value(key: str, text: str, kind: str) -> Any:
    """The value of a threshold, read as it is in benchmark.yaml."""
    import yaml

    wanted, fits = _KINDS[kind]
    value: Any = _UNREADABLE
    with contextlib.suppress(yaml.YAMLError, ValueError, RecursionError):
        value = yaml.safe_load(text) if len(text) < _LONGEST else _UNREADABLE
    if not fits(value):
        raise UserError(f"--what-if {key}={text[:80]}: {key} must be {wanted}.")
    return float(value) if kind == "float" else tuple(value) if isinstance(value, list) else value


def changes(now: Benchmark, then: Benchmark) -> dict[str, tuple[Any, Any]]:
    """The thresholds that differ: name to (now, then)."""
    both = [{**dataclasses.asdict(b.rules), **{k: getattr(b, k) for k in _RUBRIC}} for b in (now, then)]
    return {key: (both[0][key], both[1][key]) for key in both[0] if both[0][key] != both[1][key]}


# ---- the months


def what_if(
    lake: Lake, now: Benchmark, then: Benchmark, cohorts: Sequence[str], parameters: Parameters, relations: Relations
) -> WhatIf:
    """What the rules of `then` would make of these months, against those of `now`.

    `parameters` and `relations` give what the SQL asks for, of a benchmark and a scope and of a benchmark.
    """
    found = WhatIf(
        changes(now, then),
        bands=band_names(now.selection.price_bands),
        rounds=now.rounds,
        completion_rule=now.completion_rule,
    )
    for cohort in cohorts:
        if not lake.path("benchmark_jobs", {"cohort": cohort}).exists():
            found.uncurated.append(cohort)
            continue
        found.cohorts.append(cohort)
        scope = {"cohort": cohort}
        with engine.connect() as connection:
            connection.register("before", standings(lake, scope, parameters(now, scope)))
            connection.register("after", standings(lake, scope, parameters(then, scope)))
            _add_moves(found, lake, now, cohort, connection)
            sets = {of: connection.sql(sql).to_arrow_table() for of, sql in _JOBS.items()}
        for keys in lake.partitions("attempt_outcomes"):
            if keys["cohort"] == cohort:
                _add_rates(found, lake, keys, sets, parameters(now, keys), relations(now))
    return found


def band_names(edges: Sequence[float]) -> tuple[str, ...]:
    """The price bands between these amounts in USD, each with its lower edge, and one for unknown prices."""
    texts = [f"${edge:,.0f}" if edge == int(edge) else f"${edge:,.2f}" for edge in edges]
    between = [f"{low} to {high}" for low, high in itertools.pairwise(texts)]
    return (f"under {texts[0]}", *between, f"{texts[-1]} and over", "unknown")


def _add_moves(found: WhatIf, lake: Lake, now: Benchmark, cohort: str, connection: duckdb.DuckDBPyConnection) -> None:
    """Count the moves of a month, from its posts' standing before and after."""
    connection.execute(_MOVES)
    month: Counter[str] = Counter()
    counted = connection.execute(_COUNTED_MOVES, {"bands": list(now.selection.price_bands)})
    for move, category, band, rule, code, n in counted.fetchall():
        found.moves[move, category, found.bands[-1 if band is None else band], rule, code] += n
        month[move] += n
    found.by_month.append((cohort, month["stay"] + month["go"], month["come"], month["go"]))
    found.simulated |= bool(connection.execute("SELECT bool_or(simulated) FROM moves").fetchall()[0][0])
    engine.open_tables(connection, lake, {"benchmark_jobs": {"cohort": cohort}})
    if connection.execute(_OUTDATED).fetchall()[0][0]:
        found.outdated.append(cohort)


_MOVES = """
CREATE TEMP TABLE moves AS
SELECT b.job_id, b.category, b.simulated, b.price_usd,
    CASE WHEN b.rule IS NULL AND a.rule IS NULL THEN 'stay'
         WHEN b.rule IS NULL THEN 'go'
         WHEN a.rule IS NULL THEN 'come'
         WHEN a.code = 'no_rubric' AND b.rule <> 'benchmark_jobs' THEN 'no_rubric' END AS move,
    -- what turns the job away: for those that go the new rules, for the others the present ones
    CASE WHEN b.rule IS NULL THEN a.rule ELSE b.rule END AS rule,
    CASE WHEN b.rule IS NULL THEN a.code ELSE b.code END AS code
FROM before b JOIN after a USING (job_id)
"""
_COUNTED_MOVES = """
SELECT move, category,
    CASE WHEN isfinite(price_usd) THEN len(list_filter($bands::DOUBLE[], lambda band: band <= price_usd)) END AS band,
    coalesce(rule, '') AS rule, coalesce(code, '') AS code, count(*) AS n
FROM moves WHERE move IS NOT NULL GROUP BY ALL
"""
_OUTDATED = """
SELECT count(*) FROM (SELECT job_id FROM moves WHERE move IN ('stay', 'go')) m
FULL JOIN benchmark_jobs j ON j.job_id = m.job_id WHERE j.job_id IS NULL OR m.job_id IS NULL
"""
_JOBS = {
    of: "SELECT job_id, category, price_usd, NULL::VARCHAR AS client_id, NULL::TIMESTAMPTZ AS posted_at, "  # noqa: S608
    f"NULL::TIMESTAMPTZ AS completed_at, simulated FROM moves WHERE move IN ({moves})"
    for of, moves in (("now", "'stay', 'go'"), ("stay", "'stay'"))
}


def _add_rates(
    found: WhatIf,
    lake: Lake,
    cell: Mapping[str, str],
    sets: Mapping[str, pa.Table],
    params: Mapping[str, Any],
    relations: Mapping[str, pa.Table],
) -> None:
    """The counts of the results, from their own SQL, over the jobs that are in and over those that would stay."""
    states, counts = engine.query("job_states"), engine.query("outcome_counts")
    import pyarrow as pa

    for of, jobs in sets.items():
        jobs = jobs.append_column("cohort", pa.repeat(cell["cohort"], jobs.num_rows))
        standing = engine.run(lake, states, cell, params, {**relations, "benchmark_jobs": jobs})
        for row in engine.run(lake, counts, cell, params, {"job_states": standing}).to_pylist():
            if row["rule"] == found.completion_rule:
                for count in ("n_eligible", "n_graded", "n_completed"):
                    found.rates[cell["model"], row["round"], of, count] += row[count]
