"""The world as of a date: exactly what the tables held at the end of that day."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from hapi_pipeline.as_of import DAYS_KEPT, end_of, lake_as_of, needed, tables_named
from hapi_pipeline.recipes import recipes
from hapi_pipeline.settings import UserError
from hapi_pipeline.tables import TABLES
from tests.history.conftest import DAYS, HELD, MODEL, RIVAL, Hapi, World, comparable

COMPLETED = (
    "SELECT model, round, sum(n_eligible)::INT AS jobs, sum(n_completed)::INT AS done, sum(n_pending)::INT AS pending "
    "FROM completion_rates WHERE rule = 'all_criteria' GROUP BY ALL ORDER BY ALL"
)


@pytest.mark.parametrize("day", DAYS)
def test_every_table_is_as_it_was_at_the_end_of_the_day(lived: World, day: date) -> None:
    with lake_as_of(lived.home, day, HELD) as lake:
        for name, held in lived.held[day].items():
            assert comparable(name, lake.read(name)).to_pylist() == held.to_pylist(), name


def test_a_regrade_a_late_verdict_and_a_correction_count_from_their_day_on(lived: World, hapi: Hapi) -> None:
    # by hand: on day 1 A fails, B is complete, C waits; on day 2 C is out of the benchmark, B is regraded, and A is
    # tried again; on day 4 the rubric of B is edited, so B waits again, and A is complete after feedback
    alone = {
        DAYS[0]: {(MODEL, 3, 1, 1), (RIVAL, 3, 0, 0)},
        DAYS[1]: {(MODEL, 2, 0, 0), (RIVAL, 2, 0, 0)},
        DAYS[2]: {(MODEL, 3, 0, 1), (RIVAL, 3, 0, 1)},
    }
    after = {DAYS[0]: 1, DAYS[1]: 0, DAYS[2]: 1}
    for day in DAYS:
        code, out, err = hapi(lived.home, "query", "--as-of", day, "--format", "json", COMPLETED)
        rows = [json.loads(line) for line in out.splitlines()]
        found = {(r["model"], r["jobs"], r["done"], r["pending"]) for r in rows if r["round"] == "agent_alone"}
        assert (code, found) == (0, alone[day])
        (lifted,) = [r["done"] for r in rows if (r["model"], r["round"]) == (MODEL, "feedback_1")]
        assert lifted == after[day]
        assert f"As of the end of {day} (UTC)" in err
        assert "today's code, benchmark.yaml and models" in err


def test_an_attempt_that_came_later_does_not_count(lived: World, hapi: Hapi) -> None:
    sql = f"SELECT count(*) AS n, count(*) FILTER (is_current) AS now FROM attempts WHERE model = '{RIVAL}'"
    found = {}
    for day in DAYS:
        found[day] = json.loads(hapi(lived.home, "query", "--as-of", day, "--format", "json", sql)[1])
    assert found == {DAYS[0]: {"n": 1, "now": 1}, DAYS[1]: {"n": 1, "now": 1}, DAYS[2]: {"n": 2, "now": 1}}


def test_ledgers_end_with_the_day_too(lived: World, hapi: Hapi) -> None:
    for day in DAYS:
        out = hapi(
            lived.home, "query", "--as-of", day, "--format", "csv", "SELECT max(imported_at)::DATE FROM job_exports"
        )[1]
        assert out.splitlines()[1] == day.isoformat()


def test_before_the_first_import_there_is_nothing_and_days_to_come_are_refused(lived: World, hapi: Hapi) -> None:
    sql = "SELECT (SELECT count(*) FROM job_posts) + (SELECT count(*) FROM leaderboard) AS n"
    assert hapi(lived.home, "query", "--as-of", "2025-04-30", "--format", "csv", sql)[1] == '"n"\n0\n'
    code, out, err = hapi(lived.home, "query", "--as-of", "2999-01-01", "SELECT * FROM leaderboard")
    assert (code, out) == (2, "")
    assert "2999-01-01 is yet to come" in err.splitlines()[-1]
    for wrong in ("2025-02-30", "yesterday", "20250501"):
        with pytest.raises(SystemExit):
            hapi(lived.home, "query", "--as-of", wrong, "SELECT 1")


def test_the_past_reads_and_writes_nothing_of_the_present(copy: World, hapi: Hapi) -> None:
    before = below(copy.home.root)
    hapi(copy.home, "query", "--as-of", DAYS[1], "SELECT * FROM verdicts")
    assert below(copy.home.root) == before
    # a query may read the tables that it names, and no file
    file = copy.home.registry / "benchmark.yaml"
    code, out, _ = hapi(copy.home, "query", "--as-of", DAYS[1], f"SELECT * FROM read_text('{file}')")
    assert (code, out) == (2, "")


def test_only_what_a_query_needs_is_made_and_it_is_made_once(copy: World, hapi: Hapi) -> None:
    sql = "SELECT count(*) FROM job_posts"
    hapi(copy.home, "query", "--as-of", DAYS[0], sql)
    place = copy.home.root / ".cache" / "as_of" / DAYS[0].isoformat() / "lake"
    made = {p: p.stat().st_ino for p in place.rglob("data.parquet")}
    assert {p.relative_to(place).parts[0] for p in made} == {"job_posts"}
    hapi(copy.home, "query", "--as-of", DAYS[0], sql)
    assert {p: p.stat().st_ino for p in place.rglob("data.parquet")} == made


def test_rules_that_change_change_the_past(copy: World, hapi: Hapi) -> None:
    sql = "SELECT count(*) AS n FROM benchmark_jobs"
    ask = ("query", "--as-of", DAYS[0], "--format", "csv", sql)
    assert hapi(copy.home, *ask)[1] == '"n"\n3\n'
    rules = copy.home.registry / "benchmark.yaml"
    rules.write_text(rules.read_text().replace("max_price_usd: 500", "max_price_usd: 100"))
    assert hapi(copy.home, *ask)[1] == '"n"\n2\n'


def test_a_partition_that_is_gone_from_the_past_is_not_shown(copy: World) -> None:
    with lake_as_of(copy.home, DAYS[0], ["job_posts"]) as lake:
        lake.write("job_posts", lake.read("job_posts").slice(0, 0), {"cohort": "2020-02"})
    with lake_as_of(copy.home, DAYS[0], ["job_posts"]) as lake:
        assert {keys["cohort"] for keys in lake.partitions("job_posts")} == {"2025-03"}


def test_old_questions_are_forgotten(copy: World) -> None:
    days = [date(2025, 4, n) for n in range(1, DAYS_KEPT + 4)]
    for day in days:
        with lake_as_of(copy.home, day, []):
            pass
    kept = {p.name for p in (copy.home.root / ".cache" / "as_of").iterdir()}
    assert len(kept) == DAYS_KEPT
    assert days[-1].isoformat() in kept


def test_every_derived_table_has_a_recipe_and_comes_after_what_it_needs() -> None:
    derived = [t.name for t in TABLES.values() if not t.ledger]
    order = needed(derived)
    assert sorted(order) == sorted(derived)
    for name, recipe in recipes().items():
        for source in set(recipe.inputs) - {name}:
            assert TABLES[source].ledger or order.index(source) < order.index(name)


def test_tables_are_found_wherever_a_query_names_them() -> None:
    sql = 'WITH x AS (SELECT * FROM "Leaderboard") SELECT * FROM x JOIN main.verdicts v USING (model) -- attempts_x'
    assert set(tables_named(sql)) == {"leaderboard", "verdicts"}
    assert end_of(date(2025, 12, 31)) == datetime(2026, 1, 1, tzinfo=UTC)


def test_a_day_to_come_leaves_no_trace(copy: World) -> None:
    with pytest.raises(UserError), lake_as_of(copy.home, date(2999, 1, 1), []):
        pass
    assert not (copy.home.root / ".cache").exists()


def below(root: Path) -> dict[str, bytes]:
    return {
        p.relative_to(root).as_posix(): p.read_bytes()
        for p in root.rglob("*")
        if p.is_file() and ".cache" not in p.parts
    }
