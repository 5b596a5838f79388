from __future__ import annotations

import re
from pathlib import Path

import pytest

from hapi_pipeline import engine
from hapi_pipeline.settings import shipped
from hapi_pipeline.tables import FIELDS, TABLES, data_tables

SQL = sorted(p.stem for p in shipped("sql").glob("[!_]*.sql"))


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_declared_soundly(name: str) -> None:
    table = TABLES[name]
    assert len(set(table.names)) == len(table.names)
    assert set(table.names) <= set(FIELDS)
    assert table.schema().names == list(table.names)
    # what a file is found by must stand in its rows too
    assert set(table.partitions) <= set(table.names)
    assert not any(c.nullable for c in table.columns if c.name in table.partitions)
    assert table.grain
    assert table.meaning.endswith(".")


def test_every_field_is_used_and_described() -> None:
    used = {c for t in data_tables() for c in t.names}
    assert set(FIELDS) - used == set()
    assert all(f.meaning for f in FIELDS.values())


@pytest.mark.parametrize("name", SQL)
def test_sql_is_named_like_a_table_reads_known_relations_and_says_its_grain(name: str) -> None:
    made = engine.query(name)
    assert name in TABLES
    assert set(made.inputs) <= set(TABLES) | set(engine.CONSTANT_RELATIONS)
    assert made.header["grain"]
    assert set(re.findall(r"\$([a-z_]+)", made.sql)) <= {
        "cohort",
        "model",
        "job_types",
        "statuses",
        "require_paid",
        "max_milestones",
        "allow_price_change",
        "max_price_usd",
        "categories",
        "min_criteria",
        "max_criteria",
        "min_similarity",
        "jobs_per_month",
        "sample_seed",
        "price_bands",
        "reference_cohort",
        "rule_version",
    }


def test_the_kept_lineage_is_that_of_the_sql_as_it_stands() -> None:
    kept = engine._all_kept_lineage()
    assert set(kept) == set(SQL)
    assert {name: kept[name]["sql_sha256"] for name in SQL} == {name: engine._sql_sha256(name) for name in SQL}


def test_lineage_follows_a_column_through_the_query() -> None:
    assert ("job_exports", "price_usd") in engine.derive_column_lineage("job_posts")["price_usd"]


def test_the_data_dictionary_names_every_table() -> None:
    path = Path(__file__).resolve().parents[1] / "docs/data_dictionary.md"
    if not path.exists():
        pytest.skip("the documentation is not part of an installed package")
    text = path.read_text("utf-8")
    assert [name for name in TABLES if name not in text] == []
