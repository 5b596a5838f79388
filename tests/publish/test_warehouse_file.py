"""The warehouse: what is public and nothing else, equal to the lake, described, replaced whole."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest

from hapi_pipeline import warehouse
from hapi_pipeline.cli import main
from hapi_pipeline.engine import read_only_query
from hapi_pipeline.lake import Lake
from hapi_pipeline.made import made_from
from hapi_pipeline.registry import Registry
from hapi_pipeline.release.public import CLEARED_ONLY, PRIVATE, PUBLIC, public_table
from hapi_pipeline.settings import Home
from hapi_pipeline.tables import TABLES
from hapi_pipeline.warehouse import EXAMPLES, Built, build_warehouse, column_comment, examples


@pytest.fixture(scope="module")
def built(made_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Built:
    out = tmp_path_factory.mktemp("warehouse") / "hapi.duckdb"
    return build_warehouse(Lake(made_home.lake), Registry.of(made_home), made_home, out)


def asked(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def listed(path: Path) -> set[str]:
    return {name for (name,) in asked(path, "SELECT table_name FROM duckdb_tables()")}


def test_it_holds_the_public_tables_and_no_other(built: Built) -> None:
    assert listed(built.path) == {*PUBLIC, "about"}
    assert not listed(built.path) & set(PRIVATE)


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_a_table_says_what_hapi_query_says(name: str, built: Built, made_home: Home) -> None:
    rule, table = PUBLIC[name], public_table(name)
    kept = [c for c in table.names if c not in CLEARED_ONLY and c not in (rule.put or {})]
    named = ", ".join(f't."{c}"' for c in kept)
    where = f" WHERE t.{rule.rows}".replace("_clearance", "benchmark_jobs") if rule.rows else ""
    sql = f'SELECT {named} FROM "{name}" t{{}} ORDER BY ALL'
    in_lake = read_only_query(Lake(made_home.lake), sql.format(where), [name, "benchmark_jobs"]).to_pylist()
    with duckdb.connect(str(built.path), read_only=True) as connection:
        assert connection.sql(sql.format("")).to_arrow_table().to_pylist() == in_lake


def test_the_tables_that_matter_are_not_empty(built: Built) -> None:
    for name in ("benchmark_jobs", "rubrics", "verdicts", "leaderboard", "model_comparisons", "economics"):
        assert asked(built.path, f'SELECT count(*) > 0 FROM "{name}"') == [(True,)]


def test_texts_clients_and_graders_stay(built: Built, made_home: Home) -> None:
    lake = Lake(made_home.lake)
    private = {str(v) for (v,) in _rows(lake, "SELECT DISTINCT description FROM benchmark_jobs")}
    private |= {str(v) for (v,) in _rows(lake, "SELECT DISTINCT client_id FROM benchmark_jobs")}
    private |= {str(v) for (v,) in _rows(lake, "SELECT DISTINCT grader FROM verdicts")}
    private |= {str(v) for (v,) in _rows(lake, "SELECT DISTINCT source_file FROM benchmark_jobs")}
    private |= {str(v) for (v,) in _rows(lake, "SELECT DISTINCT text FROM rubrics")}
    assert len(private) > 5
    with duckdb.connect(str(built.path), read_only=True) as connection:
        rows = [row for name in sorted(PUBLIC) for row in connection.execute(f'SELECT * FROM "{name}"').fetchall()]
    assert len(rows) > 100
    assert not private & {str(value) for row in rows for value in row}


def _rows(lake: Lake, sql: str) -> list[tuple[Any, ...]]:
    tables = [name for name in TABLES if f" {name}" in sql]
    return [tuple(r.values()) for r in read_only_query(lake, sql, tables).to_pylist()]


def test_texts_of_cleared_jobs_are_in_it(published_home: Home, tmp_path: Path) -> None:
    path = published_home.registry / "benchmark.yaml"
    text = path.read_text("utf-8")
    assert "\n  jobs: simulated" in text
    path.write_text(text.replace("\n  jobs: simulated", "\n  jobs: all"), "utf-8")
    done = build_warehouse(
        Lake(published_home.lake), Registry.of(published_home), published_home, tmp_path / "w.duckdb"
    )
    lake = Lake(published_home.lake)
    assert asked(done.path, "SELECT job_id, description FROM benchmark_jobs ORDER BY job_id") == _rows(
        lake, "SELECT job_id, description FROM benchmark_jobs ORDER BY job_id"
    )


def test_every_table_and_column_says_what_it_means(built: Built) -> None:
    said = dict(asked(built.path, "SELECT table_name, comment FROM duckdb_tables()"))
    columns = asked(
        built.path,
        "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE table_name IN "
        "(SELECT table_name FROM duckdb_tables()) AND NOT internal",
    )
    meanings = {(table, column): comment for table, column, comment in columns}
    for name in PUBLIC:
        table = public_table(name)
        assert said[name].startswith(TABLES[name].meaning)
        assert f"primary key: {', '.join(table.key)}" in said[name]
        for column in table.columns:
            assert meanings[name, column.name] == column_comment(column)
    assert all(meanings.values())
    assert "[USD]" in meanings["economics", "cost_usd"]


def test_examples_are_views_that_answer(built: Built) -> None:
    views = dict(asked(built.path, "SELECT view_name, comment FROM duckdb_views() WHERE NOT internal"))
    assert views == {f"{EXAMPLES}{e.name}": e.meaning for e in examples()}
    assert all(views.values())
    for view in views:
        assert asked(built.path, f'SELECT * FROM "{view}"') or view == f"{EXAMPLES}feedback"


def test_the_headline_is_counted_anew_by_an_example(built: Built) -> None:
    sql = "SELECT model, round, n_completed, n_eligible FROM {} ORDER BY ALL"
    assert asked(built.path, sql.format("example_headline")) == asked(built.path, sql.format("example_from_jobs"))


def test_it_says_what_it_is(built: Built, made_home: Home) -> None:
    about = dict(asked(built.path, "FROM about"))
    assert about["simulated"] == "no"
    assert not built.simulated
    assert about["made_from"] == made_from(Lake(made_home.lake), Registry.of(made_home))
    assert about["jobs"] == str(asked(built.path, "SELECT count(*) FROM benchmark_jobs")[0][0])


def test_simulated_data_says_so(published_home: Home, tmp_path: Path) -> None:
    lake = Lake(published_home.lake)
    board = lake.read("leaderboard")
    at = board.schema.get_field_index("simulated")
    import pyarrow as pa

    flagged = [True] + [False] * (board.num_rows - 1)
    lake.write("leaderboard", board.set_column(at, board.schema.field(at), pa.array(flagged)), {})
    done = build_warehouse(lake, Registry.of(published_home), published_home, tmp_path / "w.duckdb")
    assert done.simulated
    about = dict(asked(done.path, "FROM about"))
    assert about["simulated"] == "yes"
    assert about["what"].startswith("SIMULATED DATA")
    assert about["how_to_cite"].startswith("SIMULATED DATA")


def everything(path: Path) -> list[Any]:
    """Rows in the order in which they stand, comments and views."""
    with duckdb.connect(str(path), read_only=True) as connection:
        rows = [connection.execute(f'SELECT * FROM "{name}"').fetchall() for name in sorted(listed(path))]
    told = asked(path, "SELECT view_name, sql, comment FROM duckdb_views() WHERE NOT internal ORDER BY ALL")
    columns = asked(path, "SELECT table_name, column_name, data_type, comment FROM duckdb_columns() ORDER BY ALL")
    return [rows, told, columns]


def test_the_same_lake_gives_the_same_content(built: Built, made_home: Home, tmp_path: Path) -> None:
    shutil.copytree(made_home.root, tmp_path / "elsewhere")
    home = Home(tmp_path / "elsewhere")
    again = build_warehouse(Lake(home.lake), Registry.of(home), home, tmp_path / "again.duckdb")
    assert everything(again.path) == everything(built.path)


def test_a_build_that_fails_leaves_the_old_one(
    made_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "hapi.duckdb"
    out.write_bytes(before := b"the old one")

    def fail(*_: object) -> bool:
        raise RuntimeError("killed")

    monkeypatch.setattr(warehouse, "_describe", fail)
    with pytest.raises(RuntimeError, match="killed"):
        build_warehouse(Lake(made_home.lake), Registry.of(made_home), made_home, out)
    assert out.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["hapi.duckdb"]


def test_a_reader_keeps_the_file_it_has_opened(built: Built, made_home: Home, tmp_path: Path) -> None:
    out = tmp_path / "hapi.duckdb"
    shutil.copyfile(built.path, out)
    with duckdb.connect(str(out), read_only=True) as reader:
        count = reader.execute("SELECT count(*) FROM verdicts").fetchall()
        build_warehouse(Lake(made_home.lake), Registry.of(made_home), made_home, out)
        assert reader.execute("SELECT count(*) FROM verdicts").fetchall() == count


def test_the_command_writes_where_it_is_told(
    published_home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine.duckdb"
    assert main(["warehouse", "--home", str(published_home.root), "--out", str(out)]) == 0
    assert f"Wrote {out}: {len(PUBLIC)} tables" in capsys.readouterr().out
    assert out.exists()
    assert main(["warehouse", "--home", str(published_home.root)]) == 0
    assert (published_home.releases / "hapi.duckdb").exists()


def test_the_command_refuses_what_cannot_be(
    home: Home, published_home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["warehouse", "--home", str(home.root)]) == 2
    assert "no results yet" in capsys.readouterr().err
    assert main(["warehouse", "--home", str(tmp_path / "nowhere")]) == 2
    assert "is not a home" in capsys.readouterr().err
    assert main(["warehouse", "--home", str(published_home.root), "--out", str(tmp_path)]) == 2
    assert "is a folder" in capsys.readouterr().err
    assert main(["warehouse", "--home", str(published_home.root), "--out", str(tmp_path / "no" / "x.duckdb")]) == 2
    assert "There is no folder" in capsys.readouterr().err
