"""From a number of a result table back to what it counts: jobs, their attempts, and the verdict rows behind them.

Every count is counted anew from the jobs that are shown, so a trace that does not add up is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hapi_pipeline import engine
from hapi_pipeline.lake import Lake
from hapi_pipeline.results import COMPUTED
from hapi_pipeline.rounds import ROUND
from hapi_pipeline.settings import UserError, shipped
from hapi_pipeline.tables import TABLES

if TYPE_CHECKING:
    import duckdb

Row = Mapping[str, Any]

TRACEABLE = (
    "completion_rates",
    "leaderboard",
    "category_rates",
    "feedback_lift",
    "window_rates",
    "outcome_counts",
    "economics",
    "model_comparisons",
)
"""Tables whose counts are numbers of jobs."""
READ = ("job_states", "attempts", "attempt_outcomes", "verdicts", "rubrics", "standing_criteria", "outcome_counts")
"""Tables that a trace reads besides the one that is traced."""
KEYS = ("window", "cohort", "model", "versus", "round", "rule", "category")
_NAMED = 24  # values that a message lists
_DEFAULTS = {"window": "all", "rule": "all_criteria"}
VERDICT_COLUMNS = (
    "state", "cohort", "job_id", "model", "round", "attempt_id", "criterion_id", "passed", "grader", "grader_role",
    "standing", "source_file", "source_row", "imported_at", "graded_at", "source_sha256", "verdict_id", "comment",
)  # fmt: skip
"""What is told of a verdict."""
PAIR_STATES = ("both", "only_a", "only_b", "neither", "not known for both")
STATES = ("complete", "failed", "pending", "infra", "unattempted", *PAIR_STATES)


def _known(job: Row) -> bool:
    return job["state"] in ("complete", "failed")


COUNTS: Mapping[str, Callable[[Row], bool]] = {
    "n_eligible": lambda job: True,
    "n_attempted": lambda job: job["state"] != "unattempted",
    "n_unattempted": lambda job: job["state"] == "unattempted",
    "n_pending": lambda job: job["state"] == "pending",
    "n_infra": lambda job: job["state"] == "infra",
    "n_graded": _known,
    "n_completed": lambda job: job["state"] == "complete",
    "n_before": lambda job: bool(job["complete_before"]),
    "n_retried": lambda job: _known(job) and not job["complete_before"],
    "n_rescued": lambda job: job["state"] == "complete" and not job["complete_before"],
    "n_failed_before": lambda job: bool(job["failed_before"]),
    "n_failed_rescued": lambda job: job["failed_before"] and job["state"] == "complete",
    "n_never_retried": lambda job: job["failed_before"] and job["state"] == "unattempted",
    "n_priced": lambda job: job["price_usd"] is not None,
    "n_jobs": lambda job: True,
}
"""Which jobs each count counts."""
PAIR_COUNTS: Mapping[str, Callable[[Row], bool]] = {
    "n_eligible": lambda job: True,
    "n_a": lambda job: job["of_a"] in ("complete", "failed"),
    "n_b": lambda job: job["of_b"] in ("complete", "failed"),
    "n_common": lambda job: job["state"] != PAIR_STATES[-1],
    "n_both": lambda job: job["state"] == "both",
    "n_only_a": lambda job: job["state"] == "only_a",
    "n_only_b": lambda job: job["state"] == "only_b",
    "n_neither": lambda job: job["state"] == "neither",
}
"""The same where two models are compared."""
RATES = {
    "rate": ("n_completed", "n_eligible"),
    "rate_graded": ("n_completed", "n_graded"),
    "rate_before": ("n_before", "n_eligible"),
    "rescue_of_retried": ("n_rescued", "n_retried"),
    "rescue_of_failed": ("n_failed_rescued", "n_failed_before"),
}
"""Numerator and denominator of each rate, as counts."""


@dataclass(frozen=True)
class Number:
    """A number of the table beside the same, counted anew from the jobs."""

    column: str
    value: float | int | None
    traced: float | int | None
    meaning: str


@dataclass(frozen=True)
class Trace:
    """All that stands behind some rows of a table."""

    table: str
    keys: Mapping[str, str]
    column: str | None
    n_rows: int  # rows of the table that are taken together
    numbers: tuple[Number, ...]
    formula: Mapping[str, str]  # what the head of the query says
    chain: tuple[tuple[str, ...], ...]  # the tables that it is computed from, step by step
    jobs: tuple[Row, ...]  # those that the column counts; without a column all
    attempts: tuple[Row, ...]
    verdicts: tuple[Row, ...]  # every one given on these attempts; `standing` says whether it counts
    simulated: bool


def trace(lake: Lake, table: str, given: Mapping[str, str | None], column: str | None = None) -> Trace:
    """What stands behind the rows of a result table with these keys (model, round, rule, window, cohort, category).

    A key that the table has and that is not given is summed over, but for the rule (all_criteria) and the window (all).
    `versus` is the other model of a comparison.
    UserError where there is no such table, column, key or row, and where the jobs do not add up to the table.
    """
    keys = _keys(table, given, column)
    counts_of = PAIR_COUNTS if "versus" in keys else COUNTS
    with engine.connect() as connection:
        engine.open_tables(connection, lake, list(dict.fromkeys([table, *READ])))
        if "versus" in keys:
            rows = _pair_rows(connection, keys)
            jobs = _pair_jobs(connection, keys, rows[0]["model_a"], rows[0]["model_b"])
        else:
            rows = _rows(connection, table, keys)
            jobs = _jobs(connection, keys)
        numbers = _numbers(table, rows, jobs, counts_of)
        wrong = [n for n in numbers if not _same(n.value, n.traced)]
        if wrong:
            listed = ", ".join(f"{n.column} is {n.value}, counted anew {n.traced}" for n in wrong[:4])
            raise UserError(f"{table} is not what its jobs add up to ({listed}); `hapi rebuild` finds what is wrong.")
        jobs = _counted(jobs, column, counts_of)
        attempts, verdicts = _behind(connection, jobs, keys)
    return Trace(
        table,
        keys,
        column,
        len(rows),
        numbers,
        engine.query(table).header if (shipped("sql") / f"{table}.sql").exists() else {},
        chain_of(table, column),
        tuple(jobs),
        tuple(attempts),
        tuple(verdicts),
        any(row["simulated"] for row in rows),
    )


def _counted(
    jobs: list[dict[str, Any]], column: str | None, counts_of: Mapping[str, Callable[[Row], bool]]
) -> list[dict[str, Any]]:
    """The jobs that a column counts; of a rate its denominator's, of other columns all."""
    name = RATES[column][1] if column in RATES else column
    counts_it = counts_of.get(name or "")
    return [job for job in jobs if counts_it(job)] if counts_it else jobs


def _keys(table: str, given: Mapping[str, str | None], column: str | None) -> dict[str, str]:
    """The keys that choose rows, checked against what the table has."""
    if table not in TRACEABLE:
        raise UserError(f"There is no trace of {table!r}, only of {', '.join(TRACEABLE)}.")
    names = TABLES[table].names
    if column is not None and column not in names:
        numbers = [c.name for c in TABLES[table].columns if c.field.type in ("int", "float")]
        raise UserError(f"{table} has no column {column!r}; its numbers: {', '.join(numbers)}.")
    compared = table == "model_comparisons"
    if compared and not (given.get("model") and given.get("versus")):
        raise UserError("Say which two models: --model A --versus B.")
    own_keys = (*names, "model", "versus") if compared else names
    foreign = [key for key, value in given.items() if value is not None and key not in own_keys]
    if foreign:
        own = ", ".join(key for key in KEYS if key in own_keys)
        raise UserError(f"{table} has no column {foreign[0]}; what chooses its rows: {own}.")
    defaults = {key: value for key, value in _DEFAULTS.items() if key in names}
    return defaults | {key: value for key, value in given.items() if value is not None}


def _rows(connection: duckdb.DuckDBPyConnection, table: str, keys: Mapping[str, str]) -> list[dict[str, Any]]:
    for key in ("model", "round"):
        if key not in keys:
            raise UserError(f"Say which {key}: --{key} {_alternatives(connection, table, key)}.")
    chosen = dict(keys)
    if "scope" in TABLES[table].names:
        chosen["scope"] = "category" if "category" in keys else "all"
    condition = " AND ".join(f'"{key}" = ${key}' for key in chosen)
    found = connection.sql(f'SELECT * FROM "{table}" WHERE {condition}', params=chosen)  # noqa: S608
    rows: list[dict[str, Any]] = found.to_arrow_table().to_pylist()
    if not rows:
        for key, value in keys.items():
            asked = connection.execute(f'SELECT count(*) FROM "{table}" WHERE "{key}" = ?', [value])  # noqa: S608
            if not asked.fetchall()[0][0]:
                listed = _alternatives(connection, table, key)
                raise UserError(f"{table} has no row of {key} {value!r}; there is {listed or 'nothing yet'}.")
        raise UserError(f"{table} has no row that is all of this at once: {', '.join(keys.values())}.")
    return rows


def _pair_rows(connection: duckdb.DuckDBPyConnection, keys: Mapping[str, str]) -> list[dict[str, Any]]:
    """The row of two models, whichever of them is a."""
    if "round" not in keys:
        raise UserError(f"Say which round: --round {_alternatives(connection, 'model_comparisons', 'round')}.")
    found = connection.sql(
        """
        SELECT * FROM model_comparisons c
        WHERE c.window = $window AND rule = $rule AND round = $round
            AND (model_a = $model AND model_b = $versus OR model_a = $versus AND model_b = $model)
        """,
        params=dict(keys),
    )
    rows: list[dict[str, Any]] = found.to_arrow_table().to_pylist()
    if not rows:
        asked = connection.execute("SELECT model_a FROM model_comparisons UNION SELECT model_b FROM model_comparisons")
        there = ", ".join(sorted(_printable(name) for (name,) in asked.fetchall()))
        raise UserError(
            f"{keys['model']!r} and {keys['versus']!r} are not compared after {keys['round']!r} in window "
            f"{keys['window']!r}; models that are: {there or 'none yet'}."
        )
    return rows


def _pair_jobs(connection: duckdb.DuckDBPyConnection, keys: Mapping[str, str], a: str, b: str) -> list[dict[str, Any]]:
    """The jobs that the window holds for both models, each with what became of it at both."""
    of_b = {job["job_id"]: job for job in _jobs(connection, {**keys, "model": b})}
    paired = []
    for job in _jobs(connection, {**keys, "model": a}):
        other = of_b.get(job["job_id"])
        if other is not None:
            paired.append(job | {"of_a": job["state"], "of_b": other["state"], "state": _pair_state(job, other)})
    return paired


def _pair_state(a: Row, b: Row) -> str:
    if not (_known(a) and _known(b)):
        return PAIR_STATES[-1]
    done = (a["state"] == "complete", b["state"] == "complete")
    return {(True, True): "both", (True, False): "only_a", (False, True): "only_b"}.get(done, "neither")


def _alternatives(connection: duckdb.DuckDBPyConnection, table: str, key: str) -> str:
    found = connection.execute(f'SELECT DISTINCT "{key}" FROM "{table}" ORDER BY 1').fetchall()  # noqa: S608
    names = [_printable(value) for (value,) in found[:_NAMED]]
    return ", ".join(names) + (", …" if len(found) > _NAMED else "")


def _printable(value: object) -> str:
    """A name that came from outside, of which nothing may steer the terminal."""
    return "".join(c if c.isprintable() else " " for c in str(value))


_JOBS = """
WITH newest AS (
    SELECT cohort, row_number() OVER (ORDER BY cohort DESC) <= 12 AS is_recent
    FROM (SELECT DISTINCT cohort FROM outcome_counts)
)
SELECT j.cohort, j.job_id, j.category, j.price_usd, j.complete_before, j.failed_before, j.state
FROM job_states j JOIN newest n USING (cohort)
WHERE j.model = $model AND j.round = $round AND j.rule = $rule
    AND ($cohort IS NULL OR j.cohort = $cohort) AND ($category IS NULL OR j.category = $category)
    AND ($window = 'all' OR $window = 'last_12' AND n.is_recent OR $window = 'post_cutoff' AND j.after_cutoff)
ORDER BY j.cohort, j.job_id
"""


def _jobs(connection: duckdb.DuckDBPyConnection, keys: Mapping[str, str]) -> list[dict[str, Any]]:
    wanted = ("model", "round", "rule", "cohort", "category", "window")
    params = {"cohort": None, "category": None, "window": "all", **{k: v for k, v in keys.items() if k in wanted}}
    found: list[dict[str, Any]] = connection.sql(_JOBS, params=params).to_arrow_table().to_pylist()
    return found


def _numbers(
    table: str, rows: Sequence[Row], jobs: Sequence[Row], counts_of: Mapping[str, Callable[[Row], bool]]
) -> tuple[Number, ...]:
    """Counts and rates of the rows taken together, each beside what the jobs give."""
    counts = {name: sum(map(counts_it, jobs)) for name, counts_it in counts_of.items()}
    found = []
    for column in TABLES[table].columns:
        if column.name in counts_of:
            value = sum(row[column.name] for row in rows)
            found.append(Number(column.name, value, counts[column.name], column.meaning))
        elif column.name in RATES:
            traced = _rate(column.name, counts, rows)
            # rates do not add up: of several rows only that of their sum is told
            told = rows[0][column.name] if len(rows) == 1 else traced
            found.append(Number(column.name, told, traced, column.meaning))
    return tuple(found)


def _rate(name: str, counts: Mapping[str, int], rows: Sequence[Row]) -> float | None:
    """A rate from its counts; null over nothing, and for the strict rates where nothing is graded."""
    above, below = (counts[part] for part in RATES[name])
    # whether anything was graded before cannot be told from the states after this round
    null = rows[0]["rate_before"] is None if name == "rate_before" else name == "rate" and not counts["n_graded"]
    return above / below if below and not null else None


def _same(one: float | None, other: float | None) -> bool:
    return one == other if one is None or other is None else abs(one - other) < 1e-9


_ATTEMPTS = """
SELECT a.cohort, a.job_id, a.model, a.round, a.turn, a.attempt_id, a.status, a.finish_reason, a.n_deliverables,
    a.finished_at, o.outcome,
    CASE WHEN $rule = 'all_criteria' THEN o.all_criteria ELSE o.required_criteria END AS complete,
    o.n_passed, o.n_criteria
FROM attempts a
JOIN traced t ON t.cohort = a.cohort AND t.job_id = a.job_id
LEFT JOIN attempt_outcomes o ON o.attempt_id = a.attempt_id
WHERE list_contains($models, a.model) AND list_contains($path, a.round) AND a.is_current AND a.sample = 1
ORDER BY a.cohort, a.job_id, a.model, a.turn, a.attempt_id
"""
# which verdicts count is decided in sql/attempt_outcomes.sql; here it is told of each
_VERDICTS = """
SELECT t.state, v.cohort, v.job_id, v.model, v.round, v.attempt_id, v.criterion_id, v.passed, v.grader, v.grader_role,
    CASE WHEN NOT v.is_current THEN 'superseded'
         WHEN r.criterion_id IS NULL OR NOT (v.rubric_version = r.rubric_version OR coalesce(s.still_stands, false))
             THEN 'stale'
         WHEN v.grader_role <> 'adjudicator' AND count(v.passed) FILTER (
             WHERE v.grader_role = 'adjudicator' AND v.is_current
                 AND (v.rubric_version = r.rubric_version OR coalesce(s.still_stands, false))
         ) OVER (PARTITION BY v.attempt_id, v.criterion_id) > 0 THEN 'overruled'
         ELSE 'counts' END AS standing,
    v.source_file, v.source_row, v.imported_at, v.graded_at, v.source_sha256, v.verdict_id, v.comment
FROM verdicts v
JOIN traced_attempts a ON a.attempt_id = v.attempt_id
JOIN traced t ON t.cohort = v.cohort AND t.job_id = v.job_id
LEFT JOIN rubrics r ON r.job_id = v.job_id AND r.criterion_id = v.criterion_id
LEFT JOIN standing_criteria s
    ON s.job_id = v.job_id AND s.criterion_id = v.criterion_id AND s.rubric_version = v.rubric_version
WHERE v.criterion_id <> '__overall__'
ORDER BY v.cohort, v.job_id, v.model, a.turn, v.attempt_id, coalesce(r.position, 0), v.criterion_id, v.imported_at,
    v.verdict_id
"""


def _behind(
    connection: duckdb.DuckDBPyConnection, jobs: Sequence[Row], keys: Mapping[str, str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The current attempts at these jobs in the round and those before it, and all verdicts on them."""
    import pyarrow as pa

    text = pa.string()
    schema = pa.schema([("cohort", text), ("job_id", text), ("state", text)])
    connection.register("traced", pa.Table.from_pylist([{n: j[n] for n in schema.names} for j in jobs], schema))
    models = [keys[name] for name in ("model", "versus") if name in keys]
    params = {"models": models, "rule": keys["rule"], "path": list(ROUND[keys["round"]].path)}
    attempts = connection.sql(_ATTEMPTS, params=params).to_arrow_table()
    connection.register("traced_attempts", attempts)
    return attempts.to_pylist(), connection.sql(_VERDICTS).to_arrow_table().to_pylist()


# ---- where columns come from


def chain_of(table: str, column: str | None = None) -> tuple[tuple[str, ...], ...]:
    """The tables that a table, or one of its columns, is computed from: each step holds what the one before reads.

    A table stands in the last step that it is reached in, so the ledgers come last.
    """
    depth: dict[str, int] = {}
    seen: set[tuple[str, str]] = set()
    edges: dict[str, set[str]] = {}
    open_columns = [(table, name) for name in ([column] if column else TABLES[table].names)]
    while open_columns:
        here = open_columns.pop()
        if here in seen:
            continue
        seen.add(here)
        for source in _sources(*here):
            if source[0] != here[0]:
                edges.setdefault(here[0], set()).add(source[0])
                open_columns.append(source)

    def visit(name: str, level: int, above: Collection[str]) -> None:
        if name in above or depth.get(name, -1) >= level:
            return
        depth[name] = level
        for source in sorted(edges.get(name, ())):
            visit(source, level + 1, {*above, name})

    visit(table, 0, frozenset())
    levels = range(max(depth.values()) + 1)
    return tuple(tuple(sorted(name for name, at in depth.items() if at == level)) for level in levels)


def _sources(table: str, column: str) -> list[tuple[str, str]]:
    """The columns that a column is computed from; of a table that Python makes, all of its tables."""
    if (shipped("sql") / f"{table}.sql").exists():
        return [(t, c) for t, c in engine.column_lineage(table).get(column, []) if t in TABLES]
    inputs = COMPUTED[table].inputs if table in COMPUTED else ()
    return [(name, key) for name in inputs for key in TABLES[name].names]
