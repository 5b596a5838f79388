"""Rebuilding the result tables from many verdicts, beside hand-written DuckDB, pandas, polars and PySpark in one run.

    python -m bench.results [--verdicts 10000000] [--cohorts 12] [--models 10] [--peers duckdb polars pandas spark]
    python -m bench.results --verdicts 100000000 --peers          # does memory grow?
    python -m bench.results --refresh --cohorts 36 --models 20    # what does one cell cost?

A lake of so many verdicts is written cell by cell: rubrics of twelve criteria, three rounds of which the later ones try
again what failed, one verdict in twenty given again (the older ones stay, not current), one packet in ten graded twice.
`rates` are the tables from verdicts to completion rates (attempt_outcomes, job_states, outcome_counts,
completion_rates), by the project's own SQL and code, written to the lake; every peer works out the same completion
rates from the same files and must arrive at the same counts. Then the other tables, each by itself. Every side, and
every other table, runs in a process of its own; memory is the peak of its resident pages (of Spark: with its Java
process). There is a client for every three jobs of a month, the same in all months; with `--unknown-clients` every job
counts as a client of its own, which is what resampling takes longest over.

`--refresh` counts the bytes that are read of the lake when one cell is made anew, and when the summaries are.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from bench.curation import watching
from hapi_pipeline.lake import Lake
from hapi_pipeline.parallel import in_threads
from hapi_pipeline.recipes import batches_of, bring_up_to_date, recipes
from hapi_pipeline.registry import Registry
from hapi_pipeline.results import BY_CELL, SUMMARIES
from hapi_pipeline.settings import shipped
from hapi_pipeline.tables import TABLES

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

SEED = 20261122
CRITERIA = 12
ROUNDS = ("agent_alone", "feedback_1", "feedback_2")
AT_ONCE = 2  # batches of partitions that are made at once, as the assets do
REGRADED, TWICE = 0.05, 0.1
PASS = 0.93  # of a criterion: some two in five attempts are complete
CATEGORIES = ("Accounting", "Admin", "Data", "Design", "Engineering", "Marketing", "Translation", "Web", "Writing")
RATES = ("attempt_outcomes", "job_states", "outcome_counts", "completion_rates")
OTHERS = tuple(table for table in (*BY_CELL, *SUMMARIES) if table not in RATES)
PEERS = ("duckdb", "polars", "pandas", "spark")
_MOST_ADDRESSED = 12 << 30  # bytes of a side's address space
_TRIES = 1 + 0.6 + 0.36  # attempts a job over the three rounds, about


@dataclass(frozen=True)
class Run:
    """What one side took."""

    seconds: float
    cpu_seconds: float
    peak_mib: float
    told: dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verdicts", type=int, default=10_000_000)
    parser.add_argument("--cohorts", type=int, default=12)
    parser.add_argument("--models", type=int, default=10)
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--unknown-clients", action="store_true", help="a lake in which no job's client is known")
    parser.add_argument("--refresh", action="store_true", help="count what refreshing one cell reads")
    parser.add_argument("--rates-only", action="store_true", help="leave out all other tables")
    parser.add_argument("--work", type=Path, help="folder for the lake, emptied at the end")
    parser.add_argument("--side", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.side:
        return run_here(given.side[0], Path(given.side[1]))
    console = Console(width=150)
    with tempfile.TemporaryDirectory(prefix="bench-results-", dir=given.work) as scratch:
        root = Path(scratch) / "lake"
        console.print(f"writing {given.verdicts:,} verdicts in {given.cohorts} × {given.models} cells …")
        rows = write_lake(Lake(root), given.verdicts, given.cohorts, given.models, not given.unknown_clients)
        if given.refresh:
            console.print(refresh_table(root, rows))
            return 0
        console.print(rates_table(rates_of_all(root, given.peers, console), rows, root))
        if not given.rates_only:
            console.print(others_table({table: side(table, root) for table in OTHERS}))
    return 0


# --- the lake ----------------


def write_lake(lake: Lake, verdicts: int, cohorts: int, models: int, known_clients: bool = True) -> int:
    """Write attempts, rubrics, jobs and verdicts; the number of verdicts, which is about the one asked for."""
    import numpy as np

    jobs = max(10, round(verdicts / (cohorts * models * CRITERIA * _TRIES * (1 + TWICE) * (1 + REGRADED))))
    made = 0
    for month in range(cohorts):
        cohort = f"{2023 + month // 12}-{month % 12 + 1:02d}"
        _write_jobs(lake, cohort, jobs, known_clients)
        for number in range(models):
            dice = np.random.default_rng([SEED, month, number])
            made += _write_cell(lake, cohort, f"model-{number:02d}", jobs, dice)
    return made


def _put(lake: Lake, table: str, columns: Mapping[str, Any], keys: Mapping[str, str], size: int) -> None:
    """A partition straight to its place; what is not given is null, 0, false or empty."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = TABLES[table].schema()
    path = lake.path(table, keys)
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = []
    for wanted in schema:
        value = columns.get(wanted.name, keys.get(wanted.name))
        if isinstance(value, str | bool | int | float):
            arrays.append(pa.repeat(pa.scalar(value, wanted.type), size))
        elif value is not None:
            arrays.append(pa.array(value).cast(wanted.type))
        elif wanted.nullable:
            arrays.append(pa.nulls(size, wanted.type))
        else:
            arrays.append(_filler(wanted.type, size))
    pq.write_table(pa.table(arrays, schema=schema), path, compression="zstd", row_group_size=32_768)


def _filler(kind: pa.DataType, size: int) -> pa.Array:
    import pyarrow as pa

    if pa.types.is_list(kind):
        return pa.ListArray.from_arrays(pa.array([0] * (size + 1), pa.int32()), pa.array([], pa.string())).cast(kind)
    value: Any = "" if pa.types.is_string(kind) else False if pa.types.is_boolean(kind) else 0
    return pa.repeat(
        pa.scalar(value).cast(kind) if value == 0 and not isinstance(value, bool) else pa.scalar(value, kind), size
    )


def _texts(prefix: str, numbers: np.ndarray[Any, Any], width: int) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    digits = pc.utf8_lpad(pa.array(numbers).cast(pa.string()), width, "0")
    return pc.binary_join_element_wise(pa.scalar(prefix), digits, "")


def _hashes(dice: np.random.Generator, size: int) -> pa.Array:
    """Random ids that look like the hashes they stand for."""
    import numpy as np
    import pyarrow as pa

    text = dice.bytes(size * 32).hex().encode()
    return pa.Array.from_buffers(
        pa.string(), size, [None, pa.py_buffer(np.arange(size + 1, dtype=np.int32) * 64), pa.py_buffer(text)]
    )


def _write_jobs(lake: Lake, cohort: str, jobs: int, known_clients: bool) -> None:
    import numpy as np
    import pyarrow as pa

    ids, keys = _texts(f"~{cohort}-", np.arange(jobs), 8), {"cohort": cohort}
    dice = np.random.default_rng([SEED, int(cohort.replace("-", ""))])
    closed = int(np.datetime64(f"{cohort}-15", "us").astype(np.int64))
    prices = dice.integers(10, 499, jobs).astype(float)
    clients = _texts("client-", dice.integers(0, max(jobs // 3, 1), jobs), 6)
    _put(
        lake,
        "benchmark_jobs",
        {
            "job_id": ids,
            "category": pa.array(CATEGORIES).take(pa.array(np.arange(jobs) % len(CATEGORIES))),
            "price_usd": prices,
            "client_id": clients if known_clients else None,
            "completed_at": pa.array(np.full(jobs, closed), pa.timestamp("us", "UTC")),
            "posted_at": pa.array(np.full(jobs, closed), pa.timestamp("us", "UTC")),
            "rubric_version": "v1",
            "n_criteria": CRITERIA,
        },
        keys,
        jobs,
    )
    every = np.arange(jobs * CRITERIA)
    rubric = {
        "job_id": ids.take(pa.array(every // CRITERIA)),
        "criterion_id": _texts("c", every % CRITERIA + 1, 2),
        "position": every % CRITERIA + 1,
        "importance": pa.array(["critical", "important", "optional"]).take(pa.array(every % CRITERIA % 3)),
        "text": "The table lists all months and its totals add up",
        "rubric_version": "v1",
        "still_stands": True,
    }
    _put(lake, "rubrics", rubric, keys, len(every))
    _put(lake, "standing_criteria", rubric, keys, len(every))


def _write_cell(lake: Lake, cohort: str, model: str, jobs: int, dice: np.random.Generator) -> int:
    """The attempts and verdicts of a model at a month's jobs; the number of verdicts."""
    import numpy as np
    import pyarrow as pa

    open_jobs, made = np.arange(jobs), 0
    when = pa.timestamp("us", "UTC")
    start = int(np.datetime64(f"{cohort}-20", "us").astype(np.int64))
    for round_ in ROUNDS:
        keys, size = {"cohort": cohort, "model": model, "round": round_}, len(open_jobs)
        attempts, job_ids = _hashes(dice, size), _texts(f"~{cohort}-", open_jobs, 8)
        moments = pa.array(start + np.arange(size), when)
        _put(
            lake,
            "attempts",
            {"attempt_id": attempts, "job_id": job_ids, "status": "done", "finish_reason": "finished", "arm": "human",
             "sample": 1, "try_number": 1, "steps": 3, "prompt_tokens": 1000, "completion_tokens": 100,
             "cost_usd": 0.25, "seconds": 9.0, "deliverables": "[]", "n_deliverables": 1,
             "finished_at": moments, "is_current": True},
            keys,
            size,
        )  # fmt: skip
        said = dice.random((size, CRITERIA)) < PASS
        attempt, criterion, grader, current, passed = _votes(dice, said)
        order = dice.permutation(len(attempt))  # as the lake sorts them: by id, which is to say at random
        attempt, criterion, grader, current, passed = (a[order] for a in (attempt, criterion, grader, current, passed))
        ids = _texts("pk_", open_jobs, 12)
        _put(
            lake,
            "verdicts",
            {"verdict_id": _hashes(dice, len(attempt)), "attempt_id": attempts.take(pa.array(attempt)),
             "packet_id": ids.take(pa.array(attempt)), "job_id": job_ids.take(pa.array(attempt)),
             "criterion_id": _texts("c", criterion + 1, 2), "rubric_version": "v1", "passed": passed,
             "grader": _texts("grader-", grader, 2), "grader_role": "grader", "minutes": 12.0,
             "graded_at": pa.array(start + attempt * 1_000_000 + current, when), "source_row": np.arange(len(attempt)),
             "imported_at": pa.array(np.full(len(attempt), start), when), "is_current": current.astype(bool)},
            keys,
            len(attempt),
        )  # fmt: skip
        made += len(attempt)
        open_jobs = open_jobs[~said.all(axis=1)]
    return made


def _votes(dice: np.random.Generator, said: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], ...]:
    """Verdicts on attempts: attempt, criterion, grader, whether it is current, passed."""
    import numpy as np

    attempt, criterion = (a.ravel() for a in np.indices(said.shape))
    passed, grader = said.ravel(), attempt % 37
    again = dice.random(len(passed)) < REGRADED
    second = (attempt % 10 == 0) & (TWICE > 0)
    disagree = dice.random(len(passed)) < 0.02
    columns = (
        (attempt, attempt[again], attempt[second]),
        (criterion, criterion[again], criterion[second]),
        (grader, grader[again], grader[second] + 40),
        (np.ones(len(passed), np.int8), np.zeros(again.sum(), np.int8), np.ones(second.sum(), np.int8)),
        (passed, ~passed[again], (passed ^ disagree)[second]),
    )
    return tuple(np.concatenate(parts) for parts in columns)


# --- our side ----------------


def registry() -> Registry:
    return Registry(shipped("data/registry"))


def make(lake: Lake, known: Registry, table: str, scopes: Sequence[Mapping[str, str]]) -> None:
    """Partitions as their asset makes them, none of which is taken as up to date."""
    recipe = recipes()[table]

    def remake(batch: Sequence[Mapping[str, str]]) -> None:
        bring_up_to_date(recipe, lake, known, batch, lambda scope, fingerprint: False)

    for _ in in_threads(remake, batches_of(recipe, lake, scopes), AT_ONCE if recipe.build_together else 1):
        pass


def cells(lake: Lake) -> list[dict[str, str]]:
    found = {(k["cohort"], k["model"]) for k in lake.partitions("attempts")}
    return [{"cohort": cohort, "model": model} for cohort, model in sorted(found)]


def ours(root: Path) -> dict[str, Any]:
    """The tables from verdicts to completion rates, one after the other."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lake, known, spent = Lake(root), registry(), dict.fromkeys(RATES, 0.0)
    for table in RATES:
        started = time.perf_counter()
        make(lake, known, table, cells(lake))
        spent[table] = time.perf_counter() - started
    counts = lake.read("completion_rates", columns=["round", "n_graded", "n_completed"])
    counts = counts.filter(pc.is_in(counts.column("round"), pa.array(ROUNDS)))
    return {**_sums(counts), "seconds": spent}


def other(table: str, root: Path) -> dict[str, Any]:
    """One of the other tables."""
    lake = Lake(root)
    make(lake, registry(), table, cells(lake) if table in BY_CELL else scopes_of(table, lake))
    return {}


def scopes_of(table: str, lake: Lake) -> list[dict[str, str]]:
    keys = TABLES[table].partitions
    cohorts = sorted({k["cohort"] for k in lake.partitions("benchmark_jobs")})
    return [{"cohort": c} for c in cohorts] if keys == ("cohort",) else [{}]


# --- peers: the same counts from the same files ----------------

_RATES_SQL = """
WITH votes AS (
    SELECT attempt_id, criterion_id, bool_and(passed) AS a, bool_or(passed) AS o FROM {verdicts}
    WHERE is_current GROUP BY attempt_id, criterion_id
), judged AS (
    SELECT t.cohort, t.model, t.round, t.job_id, count(*) AS n, count(*) FILTER (WHERE a) AS n_passed,
        count(*) FILTER (WHERE NOT o) AS n_failed,
        count(*) FILTER (WHERE r.required) AS n_required,
        count(*) FILTER (WHERE r.required AND a) AS required_passed,
        count(*) FILTER (WHERE r.required AND NOT o) AS required_failed
    FROM votes v JOIN {attempts} t USING (attempt_id)
    JOIN (SELECT job_id, criterion_id, importance <> 'optional' AS required FROM {rubrics}) r
        ON r.job_id = t.job_id AND r.criterion_id = v.criterion_id
    GROUP BY ALL
), outcomes AS (
    SELECT cohort, model, round, job_id, 'all_criteria' AS rule,
        CASE WHEN n_failed > 0 THEN false WHEN n_passed = n THEN true END AS complete FROM judged
    UNION ALL
    SELECT cohort, model, round, job_id, 'required_criteria',
        CASE WHEN required_failed > 0 THEN false WHEN required_passed = n_required THEN true END FROM judged
), wide AS (
    SELECT cohort, model, job_id, rule,
        bool_or(complete) FILTER (WHERE round = 'agent_alone') AS c0,
        bool_or(complete) FILTER (WHERE round = 'feedback_1') AS c1,
        bool_or(complete) FILTER (WHERE round = 'feedback_2') AS c2
    FROM outcomes GROUP BY ALL
), states AS (
    SELECT cohort, model, job_id, rule, 'agent_alone' AS round, c0 IS NOT NULL AS graded, coalesce(c0, false) AS done
    FROM wide UNION ALL
    SELECT cohort, model, job_id, rule, 'feedback_1', coalesce(c0, false) OR c1 IS NOT NULL,
        coalesce(c0, false) OR coalesce(c1, false) FROM wide UNION ALL
    SELECT cohort, model, job_id, rule, 'feedback_2', coalesce(c0, false) OR coalesce(c1, false) OR c2 IS NOT NULL,
        coalesce(c0, false) OR coalesce(c1, false) OR coalesce(c2, false) FROM wide
)
SELECT s.cohort, s.model, s.round, b.category, s.rule, count(*) FILTER (WHERE graded) AS n_graded,
    count(*) FILTER (WHERE done) AS n_completed
FROM states s JOIN {benchmark_jobs} b USING (job_id) GROUP BY ALL
"""
"""Written by hand for these files: what the rates need and nothing else. An adjudicator, a rubric of several versions,
an attempt that failed for reasons that are not the model's are not in the data, and this query knows none."""


def duckdb_at_once(root: Path) -> dict[str, Any]:
    """One query over all files."""
    import duckdb

    with duckdb.connect(config={"threads": "2"}) as connection:
        sources = {t: f"read_parquet('{root}/{t}/**/data.parquet', hive_partitioning=false)" for t in _SOURCES}
        rows = connection.sql(_RATES_SQL.format(**sources)).to_arrow_table()
    return _sums(rows)


def duckdb_by_cell(root: Path) -> dict[str, Any]:
    """The same query for one cell after the other, as one would for the sake of memory."""
    import duckdb
    import pyarrow as pa

    parts = []
    with duckdb.connect(config={"threads": "2"}) as connection:
        for scope in cells(Lake(root)):
            month, model = f"cohort={scope['cohort']}", f"model={scope['model']}"
            inside = {"verdicts": f"{month}/{model}/*", "attempts": f"{month}/{model}/*"}
            sources = {
                t: f"read_parquet('{root}/{t}/{inside.get(t, month)}/data.parquet', hive_partitioning=false)"
                for t in _SOURCES
            }
            parts.append(connection.sql(_RATES_SQL.format(**sources)).to_arrow_table())
    return _sums(pa.concat_tables(parts))


_SOURCES = ("verdicts", "attempts", "rubrics", "benchmark_jobs")


def _sums(rows: pa.Table) -> dict[str, Any]:
    return {"sums": [sum(rows.column(c).to_pylist()) for c in ("n_graded", "n_completed")]}


def polars_side(root: Path) -> dict[str, Any]:
    import polars as pl

    def scan(table: str) -> Any:
        return pl.scan_parquet(f"{root}/{table}/**/data.parquet", hive_partitioning=False)

    # step by step: as one lazy plan, polars 2.1 takes all memory there is on a few hundred thousand rows
    votes = scan("verdicts").filter("is_current").group_by("attempt_id", "criterion_id").agg(
        a=pl.col("passed").all(), o=pl.col("passed").any()
    ).collect(engine="streaming")  # fmt: skip
    rubrics = scan("rubrics").select("job_id", "criterion_id", required=pl.col("importance") != "optional").collect()
    required = pl.col("required")
    attempts = scan("attempts").select("attempt_id", "cohort", "model", "round", "job_id").collect()
    judged = (
        votes.join(attempts, on="attempt_id")
        .join(rubrics, on=["job_id", "criterion_id"])
        .group_by("cohort", "model", "round", "job_id")
        .agg(
            n=pl.len(), n_passed=pl.col("a").sum(), n_failed=(~pl.col("o")).sum(), n_required=required.sum(),
            required_passed=(required & pl.col("a")).sum(), required_failed=(required & ~pl.col("o")).sum(),
        )
    )  # fmt: skip

    def rule(name: str, failed: str, passed: str, n: str) -> Any:
        complete = pl.when(pl.col(failed) > 0).then(False).when(pl.col(passed) == pl.col(n)).then(True)
        return judged.select("cohort", "model", "round", "job_id", rule=pl.lit(name), complete=complete)

    outcomes = pl.concat(
        [rule("all_criteria", "n_failed", "n_passed", "n"),
         rule("required_criteria", "required_failed", "required_passed", "n_required")]
    )  # fmt: skip
    steps = {f"c{i}": pl.col("complete").filter(pl.col("round") == round_).first() for i, round_ in enumerate(ROUNDS)}
    wide = outcomes.group_by("cohort", "model", "job_id", "rule").agg(**steps)
    before, parts = pl.lit(False), []
    for i, round_ in enumerate(ROUNDS):
        now = pl.col(f"c{i}")
        done = before | now.fill_null(False)
        parts.append(
            wide.select(
                "cohort", "model", "job_id", "rule", round=pl.lit(round_), graded=before | now.is_not_null(), done=done
            )
        )
        before = done
    jobs = scan("benchmark_jobs").select("job_id", "category").collect()
    rates = (
        pl.concat(parts).join(jobs, on="job_id").group_by("cohort", "model", "round", "category", "rule")
        .agg(n_graded=pl.col("graded").sum(), n_completed=pl.col("done").sum())
    )  # fmt: skip
    return _sums(rates.to_arrow())


def pandas_side(root: Path) -> dict[str, Any]:
    import pandas as pd

    def read(table: str, columns: Sequence[str]) -> Any:
        return pd.concat(
            [pd.read_parquet(p, columns=list(columns)) for p in sorted((root / table).rglob("data.parquet"))]
        )

    verdicts = read("verdicts", ["attempt_id", "criterion_id", "passed", "is_current"])
    verdicts = verdicts[verdicts["is_current"]]
    votes = verdicts.groupby(["attempt_id", "criterion_id"], sort=False)["passed"].agg(["all", "any"]).reset_index()
    del verdicts
    votes = votes.merge(read("attempts", ["attempt_id", "cohort", "model", "round", "job_id"]), on="attempt_id")
    rubrics = read("rubrics", ["job_id", "criterion_id", "importance"])
    votes = votes.merge(rubrics, on=["job_id", "criterion_id"])
    votes["failed"], votes["required"] = ~votes["any"].astype(bool), votes["importance"] != "optional"
    votes["all"] = votes["all"].astype(bool)
    votes["required_passed"], votes["required_failed"] = (
        votes["required"] & votes["all"],
        votes["required"] & votes["failed"],
    )
    keys = ["cohort", "model", "round", "job_id"]
    sums = votes.groupby(keys, sort=False).agg(
        n=("all", "size"), n_passed=("all", "sum"), n_failed=("failed", "sum"), n_required=("required", "sum"),
        required_passed=("required_passed", "sum"), required_failed=("required_failed", "sum"),
    ).reset_index()  # fmt: skip
    parts = []
    rules = {
        "all_criteria": ("n_failed", "n_passed", "n"),
        "required_criteria": ("required_failed", "required_passed", "n_required"),
    }
    for name, (failed, passed, n) in rules.items():
        fate = (sums[passed] == sums[n]).astype(float).mask((sums[failed] == 0) & (sums[passed] != sums[n]))
        parts.append(sums[keys].assign(rule=name, fate=fate))
    wide = pd.concat(parts).set_index(["cohort", "model", "job_id", "rule", "round"])["fate"].unstack("round")
    before, found = False, []
    for round_ in ROUNDS:
        done = before | (wide[round_] == 1)
        found.append(pd.DataFrame({"n_graded": before | wide[round_].notna(), "n_completed": done, "round": round_}))
        before = done
    jobs = read("benchmark_jobs", ["job_id", "category"])
    rates = pd.concat(found).reset_index().merge(jobs, on="job_id")
    rates = rates.groupby(["cohort", "model", "round", "category", "rule"])[["n_graded", "n_completed"]].sum()
    return {"sums": [int(rates[c].sum()) for c in ("n_graded", "n_completed")]}


def spark_side(root: Path) -> dict[str, Any]:
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.master("local[2]").config("spark.driver.memory", "3g").config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "8").config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1").getOrCreate()
    )  # fmt: skip
    session.sparkContext.setLogLevel("ERROR")
    started = time.perf_counter()
    for table in _SOURCES:
        paths = [str(p) for p in sorted((root / table).rglob("data.parquet"))]
        session.read.parquet(*paths).createOrReplaceTempView(table)
    # GROUP BY ALL, FILTER, bool_and and USING are Spark's SQL as well
    rows = session.sql(_RATES_SQL.format(**{t: t for t in _SOURCES})).collect()
    taken = time.perf_counter() - started
    session.stop()
    return {"sums": [sum(r[c] for r in rows) for c in ("n_graded", "n_completed")], "query seconds": taken}


SIDES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "ours": ours,
    **{table: functools.partial(other, table) for table in OTHERS},
    "duckdb": duckdb_at_once,
    "duckdb by cell": duckdb_by_cell,
    "polars": polars_side,
    "pandas": pandas_side,
    "spark": spark_side,
}
_MODULES = {"polars": "polars", "spark": "pyspark"}


# --- running ----------------


def run_here(name: str, root: Path) -> int:
    import duckdb
    import numpy as np
    import pyarrow as pa

    del duckdb, np, pa
    if name != "spark":  # better to fail than to take the machine's last memory; Java reserves more than it uses
        resource.setrlimit(resource.RLIMIT_AS, (_MOST_ADDRESSED, _MOST_ADDRESSED))
    started, before = time.perf_counter(), os.times()
    told = SIDES[name](root)
    seconds, after = time.perf_counter() - started, os.times()
    cpu = sum(after[:4]) - sum(before[:4])
    print("told:" + json.dumps([told.pop("query seconds", seconds), cpu, told]))
    return 0


def side(name: str, root: Path) -> Run:
    """One side in a process of its own."""
    command = [sys.executable, "-m", "bench.results", "--side", name, str(root)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PYSPARK_PYTHON": sys.executable},
    )  # fmt: skip
    with watching(process.pid) as peak:
        output, errors = process.communicate()
    told = [line for line in output.splitlines() if line.startswith("told:")]
    if process.returncode or not told:
        raise SystemExit(f"{name} failed: {errors[-3000:]}")
    seconds, cpu, what = json.loads(told[0].removeprefix("told:"))
    return Run(seconds, cpu, peak[0], what)


def rates_of_all(root: Path, peers: Sequence[str], console: Console) -> dict[str, Run]:
    runs = {"ours": side("ours", root)}
    for name in [p for peer in peers for p in (["duckdb", "duckdb by cell"] if peer == "duckdb" else [peer])]:
        module = _MODULES.get(name)
        absent = module and importlib.util.find_spec(module) is None
        if absent or (name == "spark" and shutil.which("java") is None):
            console.print(f"{name} is not installed: no comparison")
            continue
        runs[name] = side(name, root)
        if runs[name].told["sums"] != runs["ours"].told["sums"]:
            raise SystemExit(f"{name} counts {runs[name].told['sums']}, we count {runs['ours'].told['sums']}")
    return runs


def rates_table(runs: Mapping[str, Run], rows: int, root: Path) -> Table:
    size = sum(p.stat().st_size for p in (root / "verdicts").rglob("*.parquet")) / 1e6
    table = Table(
        title=f"completion rates from {rows:,} verdicts ({size:,.0f} MB); {os.cpu_count()} cores; same counts"
    )
    for column in ("", "seconds", "verdicts/s", "CPU s", "peak MiB", "× DuckDB at once", "× DuckDB by cell"):
        table.add_column(column, justify="right" if column else "left")
    for name, run in runs.items():
        ratios = [f"{run.seconds / runs[p].seconds:.2f}" if p in runs else "" for p in ("duckdb", "duckdb by cell")]
        table.add_row(
            name,
            f"{run.seconds:.1f}",
            f"{rows / run.seconds:,.0f}",
            f"{run.cpu_seconds:.1f}",
            f"{run.peak_mib:,.0f}",
            *ratios,
        )
    spent = runs["ours"].told["seconds"]
    table.caption = "ours, seconds: " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in spent.items())
    return table


def others_table(runs: Mapping[str, Run]) -> Table:
    total = sum(run.cpu_seconds for run in runs.values())
    most = max(run.peak_mib for run in runs.values())
    table = Table(title=f"the other tables: {total:.1f} CPU s, {most:,.0f} MiB at most")
    table.add_column("table")
    for column in ("seconds", "CPU s", "peak MiB"):
        table.add_column(column, justify="right")
    for name, run in sorted(runs.items(), key=lambda item: -item[1].cpu_seconds):
        table.add_row(name, f"{run.seconds:.1f}", f"{run.cpu_seconds:.1f}", f"{run.peak_mib:,.0f}")
    return table


# --- what a refresh reads ----------------


def refresh_table(root: Path, rows: int) -> Table:
    """Make all, then one cell and the summaries again, counting what is read of the lake's files."""
    lake, known = Lake(root), registry()
    everything = cells(lake)
    started = time.perf_counter()
    for name in BY_CELL:
        make(lake, known, name, everything)
    taken = time.perf_counter() - started
    table = Table(title=f"{rows:,} verdicts in {len(everything)} cells; all cells made in {taken:.1f} s")
    for column in ("made", "seconds", "KiB read", "of the lake", "tables read", "of other cells"):
        table.add_column(column, justify="left" if column in ("made", "tables read") else "right")
    whole = sum(p.stat().st_size for p in root.rglob("*.parquet"))
    one = everything[len(everything) // 2]
    works = [("one cell", _maker(lake, known, {name: [one] for name in BY_CELL}))]
    works += [(name, _maker(lake, known, {name: scopes_of(name, lake)})) for name in SUMMARIES]
    for name, work in works:
        with counting(root) as reads:
            started = time.perf_counter()
            work()
            seconds = time.perf_counter() - started
        total = sum(reads.values())
        foreign = sum(1 for path in reads if _of_other_cell(path, one)) if name == "one cell" else ""
        named = ", ".join(sorted({path.split("/")[0] for path in reads}))
        table.add_row(name, f"{seconds:.2f}", f"{total / 1024:,.0f}", f"{total / whole:.2%}", named, str(foreign))
    return table


def _maker(lake: Lake, known: Registry, wanted: Mapping[str, Sequence[Mapping[str, str]]]) -> Callable[[], None]:
    def work() -> None:
        for name, scopes in wanted.items():
            make(lake, known, name, scopes)

    return work


def _of_other_cell(path: str, cell: Mapping[str, str]) -> bool:
    parts = dict(part.split("=", 1) for part in path.split("/") if "=" in part)
    return any(parts.get(key, value) != value for key, value in cell.items())


class counting:  # noqa: N801 (used as a function)
    """Bytes of the lake's files that this process opens, by their path: whole files, so rather too many than too few.

    The files that are opened are told by the kernel's `inotify`; which parts of them are read is not.
    """

    def __init__(self, root: Path):
        self.root, self.reads = root, dict[str, int]()

    def __enter__(self) -> dict[str, int]:
        import ctypes

        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._libc.inotify_init1(os.O_NONBLOCK)
        self._folders: dict[int, Path] = {}
        for folder in {p.parent for p in self.root.rglob("*.parquet")}:
            watch = self._libc.inotify_add_watch(self._descriptor, str(folder).encode(), 0x00000020)  # IN_OPEN
            if watch < 0:
                raise SystemExit("the kernel's limit of watched folders (fs.inotify.max_user_watches) is too low")
            self._folders[watch] = folder
        self._ended = threading.Event()
        self._overflown = False
        self._drain = threading.Thread(target=self._collect, daemon=True)
        self._drain.start()
        return self.reads

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._drain.join()
        os.close(self._descriptor)
        if self._overflown:
            raise SystemExit("too many files were opened to count them")

    def _collect(self) -> None:
        """Empty the kernel's queue, which holds some thousand events only, until nothing more can come."""
        ended = False
        while not ended:
            ended = self._ended.wait(0.01)
            for watch, name in self._events():
                path = self._folders[watch] / name
                if name.endswith(".parquet") and not name.startswith(".") and path.exists():
                    self.reads[str(path.relative_to(self.root))] = path.stat().st_size

    def _events(self) -> Iterator[tuple[int, str]]:
        import struct

        while True:
            try:
                data = os.read(self._descriptor, 1 << 20)
            except BlockingIOError:
                return
            at = 0
            while at < len(data):
                watch, mask, _, length = struct.unpack_from("iIII", data, at)
                if mask & 0x4000:  # IN_Q_OVERFLOW
                    self._overflown = True
                    return
                yield watch, data[at + 16 : at + 16 + length].rstrip(b"\0").decode()
                at += 16 + length


if __name__ == "__main__":
    raise SystemExit(main())
