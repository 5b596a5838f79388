"""Everything remade from the ledgers: what was altered by hand is found, and put right when asked."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from hapi_pipeline import rebuild as rebuild_module
from hapi_pipeline.lake import conform
from hapi_pipeline.rebuild import derived_tables, difference, rebuild
from hapi_pipeline.recipes import make_partitions, recipes
from hapi_pipeline.registry import Registry
from hapi_pipeline.results import BY_CELL
from hapi_pipeline.settings import UserError
from hapi_pipeline.tables import TABLES
from tests.history.conftest import HELD, MODEL, RIVAL, Hapi, World

CELL = {"cohort": "2025-03", "model": MODEL}


SOME = ("job_posts", "verdicts", "attempt_outcomes", "completion_rates")


def differing(world: World, *tables: str, write: bool = False) -> list[tuple[str, str]]:
    return [(d.table, d.text) for c in rebuild(world.home, tables or None, write=write) for d in c.differences]


def tamper(path: Path, rows: pa.Table) -> None:
    """Rows changed in the file itself, which goes on saying that it is what it was."""
    pq.write_table(rows.replace_schema_metadata(pq.read_schema(path).metadata), path)


def test_what_is_altered_by_hand_is_found_and_mended(copy: World, hapi: Hapi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild_module, "derived_tables", lambda: list(SOME))
    lake = copy.lake
    whole = {p.relative_to(lake.root): p.read_bytes() for p in lake.root.rglob("data.parquet")}
    gone = lake.path("attempt_outcomes", CELL)
    gone.unlink()
    altered = lake.path("completion_rates", CELL)
    rows = pq.read_table(altered)
    at = rows.column_names.index("n_completed")
    tamper(altered, rows.set_column(at, rows.schema.field(at), pc.add(rows["n_completed"], 1)))
    ragged = lake.path("job_posts", {"cohort": "2025-03"})
    ragged.write_bytes(ragged.read_bytes()[:500])
    fewer = lake.path("verdicts", CELL | {"round": "agent_alone"})
    tamper(fewer, pq.read_table(fewer).slice(1))

    code, out, _ = hapi(copy.home, "rebuild")
    assert code == 1
    told = {line.split()[0]: line for line in out.splitlines() if line.endswith("differ")}
    assert set(told) == {"attempt_outcomes", "completion_rates", "job_posts", "verdicts"}
    said = " ".join(out.split())
    assert f"{rows.num_rows} row(s) differ in n_completed" in said
    assert "1 row(s) are missing" in said
    assert "cannot be read" in out
    assert max(map(len, out.splitlines()[:-3])) <= 80

    code, out, _ = hapi(copy.home, "rebuild", "--write")
    assert code == 1
    assert "4 partition(s) of the lake differed, 4 were replaced" in out
    assert {p.relative_to(lake.root): p.read_bytes() for p in lake.root.rglob("data.parquet")} == whole
    assert list((copy.home.root / ".cache").iterdir()) == []


def test_one_table_can_be_rebuilt_alone(copy: World, hapi: Hapi) -> None:
    for table in ("rubrics", "job_posts"):
        for path in copy.lake.files(table):
            path.unlink()
    assert {table for table, _ in differing(copy, "rubrics")} == {"rubrics"}
    assert hapi(copy.home, "rebuild", "--table", "rubrics", "--write")[0] == 1
    code, out, _ = hapi(copy.home, "rebuild", "--table", "rubrics")
    assert (code, out.splitlines()[-1].endswith("the lake holds the same.")) == (0, True)
    assert {table for table, _ in differing(copy, "job_posts")} == {"job_posts"}


def test_when_a_packet_was_issued_is_not_compared(copy: World) -> None:
    keys = CELL | {"round": "agent_alone"}
    rows = copy.lake.read("packets", keys)
    at = rows.column_names.index("issued_at")
    earlier = pa.array([rows["issued_at"][0].as_py().replace(year=2024)] * rows.num_rows, rows.schema.field(at).type)
    copy.lake.write("packets", rows.set_column(at, "issued_at", earlier), keys)
    assert differing(copy, "packets") == []


def test_a_partition_that_no_ledger_explains_is_told_and_left(copy: World) -> None:
    models = copy.home.registry / "models.yaml"
    models.write_text("\n".join(line for line in models.read_text().splitlines() if RIVAL not in line))
    found = list(rebuild(copy.home, ["job_states"], write=True))
    assert {(d.keys["model"], d.mendable) for d in found[0].differences} == {(RIVAL, False)}
    assert copy.lake.read("job_states", {"model": RIVAL}).num_rows


@pytest.mark.parametrize(("table", "said"), [("nonsense", "no table 'nonsense'"), ("job_exports", "is a ledger")])
def test_a_table_that_is_not_derived_is_refused(lived: World, hapi: Hapi, table: str, said: str) -> None:
    code, out, err = hapi(lived.home, "rebuild", "--table", table)
    assert (code, out) == (2, "")
    assert said in err
    with pytest.raises(UserError):
        list(rebuild(lived.home, [table]))


def test_every_kind_of_difference_has_its_words() -> None:
    names = ["cohort", "job_id", "rule", "code", "observed", "threshold", "rule_version"]

    def rows(*listed: tuple[str, str]) -> pa.Table:
        filled = [dict.fromkeys(names, "x") | {"job_id": job, "code": code} for job, code in listed]
        return pa.Table.from_pylist(filled, pa.schema([(name, pa.string()) for name in names]))

    made = rows(("a", "1"), ("b", "2"))
    for there, said in (
        (made, None),
        (rows(("a", "1")), "1 row(s) are missing"),
        (rows(("a", "1"), ("b", "2"), ("c", "3")), "1 row(s) should not be there"),
        (rows(("a", "1"), ("b", "9")), "1 row(s) differ in code"),
        (rows(("b", "2"), ("a", "1")), "the rows stand in another order"),
        (rows(("a", "1"), ("b", "2"), ("b", "2")), "1 row(s) are there twice"),
        ("broken", "cannot be read: broken"),
    ):
        assert difference("rejected_jobs", there, made) == said


def test_the_tables_of_a_rebuild_are_all_that_are_derived() -> None:
    assert {"job_posts", "attempts", "packets", "verdicts", "leaderboard"} <= set(derived_tables())


@pytest.mark.parametrize("table", [name for name in BY_CELL if name in HELD])
def test_what_is_made_together_is_as_if_made_alone(lived: World, table: str) -> None:
    recipe, registry, n = recipes()[table], Registry.of(lived.home), 0
    for cohort in {keys["cohort"] for keys in lived.lake.partitions(table)}:
        scopes = [{"cohort": cohort, "model": model} for model in (MODEL, RIVAL)]
        for scope, made in make_partitions(recipe, lived.lake, registry, scopes):
            alone = conform(TABLES[table], cast(pa.Table, recipe.build(lived.lake, registry, scope)))
            assert conform(TABLES[table], cast(pa.Table, made)) == alone
            n += alone.num_rows
    assert n
