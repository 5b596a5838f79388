from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hapi_pipeline import engine
from hapi_pipeline.lake import Lake
from hapi_pipeline.settings import UserError
from hapi_pipeline.tables import TABLES
from tests import scenario


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Two months of one table, which no test changes."""
    return fill(Lake(tmp_path_factory.mktemp("engine") / "lake"))


def fill(lake: Lake) -> Lake:
    for cohort in ("2026-03", "2026-04"):
        rows = scenario.table_of(
            "curation_funnel",
            [
                {
                    "cohort": cohort,
                    "position": 1,
                    "rule": "r",
                    "n_in": 1,
                    "n_kept": 1,
                    "n_rejected": 0,
                    "n_unknown": 0,
                    "rule_version": "1",
                    "simulated": False,
                }
            ],
        )
        lake.write("curation_funnel", rows, {"cohort": cohort})
    (lake.root.parent / "secret.csv").write_text("a\n1\n")
    return lake


@pytest.mark.parametrize(
    "sql",
    [
        "",
        ";",
        "-- nothing",
        "SELECT",
        "SELEC 1",
        "SELECT 1; SELECT 2",
        "CREATE TABLE t AS SELECT 1",
        "DROP VIEW job_posts",
        "INSERT INTO job_posts SELECT * FROM job_posts",
        "DELETE FROM job_posts",
        "UPDATE job_posts SET title = ''",
        "COPY (SELECT 1) TO '{lake}/evil.parquet'",
        "COPY job_posts FROM '{lake}/x.csv'",
        "EXPORT DATABASE '{lake}/out'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{lake}/evil.parquet'",
        "/* x */ explain analyze COPY (SELECT 1) TO '{lake}/e.csv'",
        "ATTACH '{lake}/evil.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "PRAGMA version",
        "CALL pragma_version()",
        "SET threads = 1",
        "SET enable_external_access = true",
        "RESET ALL",
        "CHECKPOINT",
        "BEGIN",
        "PREPARE p AS SELECT 1",
        "USE memory",
        "SELECT * FROM read_csv('{secret}')",
        "SELECT * FROM '{secret}'",
        "SELECT * FROM read_text('{lake}/../secret.csv')",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM read_blob(['/etc/hostname'])",
        "SELECT * FROM read_parquet('https://127.0.0.1:9/x.parquet')",
        "SELECT * FROM sniff_csv('{secret}')",
        "FROM query('COPY (SELECT 1) TO ''{lake}/evil.csv''')",
        "SELECT * FROM lake",
        "SELECT * FROM sql",
        "SELECT no_column FROM job_posts",
        "SELECT 'x'::INTEGER",
        "SELECT error('stop')",
    ],
)
def test_a_query_can_neither_write_nor_read_anything_but_the_lake(
    filled: Lake, bytes_below: Callable[[Path], dict[str, str]], sql: str
) -> None:
    before = bytes_below(filled.root.parent)
    text = sql.format(lake=filled.root, secret=filled.root.parent / "secret.csv") if "{" in sql else sql
    with pytest.raises(UserError) as refused:
        engine.read_only_query(filled, text)
    assert "\n" not in str(refused.value)
    assert bytes_below(filled.root.parent) == before


@pytest.mark.parametrize(
    ("sql", "answer"),
    [
        ("SELECT count(*) AS n FROM curation_funnel;", [{"n": 2}]),
        ("WITH a AS (FROM curation_funnel) SELECT sum(n_in)::BIGINT AS n FROM a", [{"n": 2}]),
        ("FROM curation_funnel SELECT cohort WHERE cohort > '2026-03'", [{"cohort": "2026-04"}]),
        ("VALUES (1)", [{"col0": 1}]),
        ("SELECT round(wilson_lo(1, 2), 4) AS lo, share(1, 0) AS nothing", [{"lo": 0.0945, "nothing": None}]),
    ],
)
def test_a_query_is_answered(filled: Lake, sql: str, answer: list[dict[str, Any]]) -> None:
    assert engine.read_only_query(filled, sql).to_pylist() == answer


def test_every_table_can_be_asked_of_an_empty_lake_with_its_types(lake: Lake) -> None:
    for name, table in TABLES.items():
        found = engine.read_only_query(lake, f"SELECT * FROM {name}")
        assert (found.num_rows, found.column_names) == (0, list(table.names))
        assert [str(t).replace("<l:", "<item:") for t in found.schema.types] == [
            str(t) for t in table.schema().types
        ], name
    assert not lake.root.exists()


def test_a_lake_behind_a_link_can_be_asked(filled: Lake, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(filled.root)
    assert engine.read_only_query(Lake(tmp_path / "link"), "FROM curation_funnel").num_rows == 2


def test_a_damaged_table_is_named_in_one_sentence(lake: Lake) -> None:
    fill(lake).path("curation_funnel", {"cohort": "2026-03"}).write_bytes(b"rubbish")
    with pytest.raises(UserError, match="hapi rebuild --table curation_funnel --write"):
        engine.read_only_query(lake, "SELECT 1")


def test_a_run_sees_its_own_month_only_and_a_ledger_whole(lake: Lake) -> None:
    fill(lake)
    made = engine.Query("x", "SELECT cohort FROM curation_funnel", {})
    assert engine.run(lake, made, {"cohort": "2026-04", "model": "Quill"}).to_pylist() == [{"cohort": "2026-04"}]
    scenario.take_in(lake, "jobs", "job_exports", [scenario.post("a"), scenario.post("b", cohort="2026-04")])
    posts = engine.Query("x", "SELECT job_id FROM job_exports ORDER BY 1", {})
    assert engine.run(lake, posts, {"cohort": "2026-04"})["job_id"].to_pylist() == ["a", "b"]


def test_parameters_that_a_query_does_not_use_are_left_out(lake: Lake) -> None:
    made = engine.Query("x", "SELECT $cohort AS c", {})
    assert engine.run(lake, made, {}, {"cohort": "2026-03", "model": "Quill"}).to_pylist() == [{"c": "2026-03"}]


def test_inputs_are_tables_not_the_names_within_the_query() -> None:
    made = engine.Query("x", "WITH a AS (SELECT * FROM attempts) SELECT * FROM a JOIN rubrics USING (job_id)", {})
    assert made.inputs == ("attempts", "rubrics")


MACROS: list[tuple[str, Any]] = [
    ("usd('$1,500.50')", 1500.5),
    ("usd('1500')", 1500.0),
    ("usd('20 USD')", 20.0),
    ("usd('US$20')", 20.0),
    ("usd('1,50')", None),
    ("usd('$10-$20')", None),
    ("usd('20 EUR')", None),
    ("usd('')", None),
    ("usd(NULL)", None),
    ("usd('1,5000')", None),
    ("truth('Yes')", True),
    ("truth(' 0 ')", False),
    ("truth('maybe')", None),
    ("truth('')", None),
    ("texts('a; b;;')", ["a", "b"]),
    ('texts(\'["a", "b;c"]\')', ["a", "b;c"]),
    ("texts('[oops')", ["[oops"]),
    ("texts(NULL)", None),
    ("job_type('Fixed-Price')", "fixed"),
    ("job_type('HOURLY')", "hourly"),
    ("job_type(' ')", None),
    ("job_type('Barter')", "barter"),
    ("plain('&amp;lt; &lt;b&gt; &quot;&#39;')", "&lt; <b> \"'"),
]


@pytest.mark.parametrize(("sql", "value"), MACROS)
def test_macros(sql: str, value: Any) -> None:
    with engine.connect() as connection:
        assert connection.execute(f"SELECT {sql}").fetchall() == [(value,)]
