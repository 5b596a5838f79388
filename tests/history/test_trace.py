"""From a number to the verdict rows behind it: what is traced adds up, and every row is in the ledger."""

from __future__ import annotations

import csv
import io
import json
import random
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from hapi_pipeline.as_of import lake_as_of
from hapi_pipeline.lake import Lake
from hapi_pipeline.registry import Registry
from hapi_pipeline.results import COMPUTED
from hapi_pipeline.settings import Home
from hapi_pipeline.show import trace_text
from hapi_pipeline.trace import COUNTS, KEYS, PAIR_COUNTS, READ, TRACEABLE, chain_of, trace
from tests import scenario
from tests.history.conftest import DAYS, MODEL, Hapi, World

Row = Mapping[str, Any]


def random_rows(lake: Lake, table: str, count: int = 4) -> list[dict[str, Any]]:
    rows = lake.read(table).to_pylist()
    assert rows
    return random.Random(table).sample(rows, min(count, len(rows)))


@pytest.fixture(scope="module")
def world(world: Lake, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """The world worked out by hand, with the tables that Python makes."""
    root = tmp_path_factory.mktemp("traced")
    shutil.copytree(world.root, root / "lake")
    lake, registry = Lake(root / "lake"), Registry.of(Home(root).ensure())
    for name in ("economics", "model_comparisons"):
        lake.write(name, COMPUTED[name](lake, registry, {}), {})
    return lake


@pytest.mark.parametrize("table", [t for t in TRACEABLE if t != "model_comparisons"])
def test_the_jobs_of_any_cell_add_up_to_its_numbers(world: Lake, table: str) -> None:
    ledger = {v["verdict_id"] for v in world.read("verdict_exports").to_pylist()}
    for row in random_rows(world, table):
        given = {key: row.get(key) for key in KEYS}
        if row.get("scope") == "all":
            given["category"] = None
        if table == "outcome_counts":  # finer than the keys that can be given
            row = dict(row) | sums(world, given)
        found = trace(world, table, given)
        assert {v["verdict_id"] for v in found.verdicts} <= ledger
        for number in found.numbers:
            assert number.value == row[number.column], number
        column = random.Random(str(given)).choice([n.column for n in found.numbers if n.column in COUNTS])
        some = trace(world, table, given, column)
        assert len(some.jobs) == row[column]
        assert {a["job_id"] for a in some.attempts} <= {j["job_id"] for j in some.jobs}


def test_a_comparison_is_traced_to_the_jobs_of_both_models(world: Lake) -> None:
    rows = [r for r in world.read("model_comparisons").to_pylist() if r["window"] == "all"]
    assert rows
    for row in rows:
        # whichever is named first
        for one, other in ((row["model_a"], row["model_b"]), (row["model_b"], row["model_a"])):
            given = {key: row.get(key) for key in ("window", "rule", "round")} | {"model": one, "versus": other}
            found = trace(world, "model_comparisons", given)
            assert {n.column: n.value for n in found.numbers} == {name: row[name] for name in PAIR_COUNTS}
            only_a = trace(world, "model_comparisons", given, "n_only_a")
            assert len(only_a.jobs) == row["n_only_a"]
            assert {a["model"] for a in found.attempts} <= {one, other}
            assert not only_a.jobs or f"{row['n_only_a']} jobs" in trace_text(only_a)


def sums(lake: Lake, given: Mapping[str, Any]) -> dict[str, int]:
    rows = [r for r in lake.read("outcome_counts").to_pylist() if all(r[k] == v for k, v in given.items() if v)]
    return {name: sum(row[name] for row in rows) for name in COUNTS if name in rows[0]}


def test_rows_that_are_not_told_apart_are_added_up(world: Lake) -> None:
    given = {"model": scenario.ALPHA, "round": "feedback_1"}
    rows = [
        r
        for r in world.read("completion_rates").to_pylist()
        if (r["model"], r["round"], r["rule"]) == (scenario.ALPHA, "feedback_1", "all_criteria")
    ]
    found = trace(world, "completion_rates", given)
    numbers: dict[str, Any] = {n.column: n.value for n in found.numbers}
    assert found.n_rows == len(rows) > 1
    for name in ("n_eligible", "n_completed", "n_pending"):
        assert numbers[name] == sum(r[name] for r in rows)
    assert numbers["rate"] == numbers["n_completed"] / numbers["n_eligible"]


def test_it_says_which_verdicts_count_and_why_others_do_not(lived: World) -> None:
    given = {"model": MODEL, "round": "agent_alone"}
    found = trace(lived.lake, "leaderboard", given)
    of_b = [(v["criterion_id"], v["passed"], v["standing"]) for v in found.verdicts if v["job_id"] == "B"]
    # the pass on c1 was regraded to a fail, and the criterion then edited
    assert of_b == [("c1", True, "superseded"), ("c1", False, "stale"), ("c2", True, "counts")]
    with lake_as_of(lived.home, DAYS[1], ["leaderboard", *READ]) as lake:
        found = trace(lake, "leaderboard", given)
    of_b = [(v["criterion_id"], v["passed"], v["standing"]) for v in found.verdicts if v["job_id"] == "B"]
    assert of_b == [("c1", True, "superseded"), ("c1", False, "counts"), ("c2", True, "counts")]


def test_a_verdict_that_changes_shows(copy: World) -> None:
    given = {"model": MODEL, "round": "agent_alone", "category": "Writing"}
    before = trace(copy.lake, "completion_rates", given, "n_completed")
    assert before.jobs == ()
    copy.verdicts({("A", MODEL): {"c2": "pass"}})
    copy.refresh("completion_rates")
    after = trace(copy.lake, "completion_rates", given, "n_completed")
    assert [job["job_id"] for job in after.jobs] == ["A"]
    (planted,) = [v for v in after.verdicts if v["criterion_id"] == "c2" and v["standing"] == "counts"]
    assert planted["passed"] is True
    (replaced,) = [v for v in after.verdicts if v["standing"] == "superseded"]
    assert (replaced["criterion_id"], replaced["passed"]) == ("c2", False)


def test_an_adjudicated_verdict_overrules(world: Lake) -> None:
    given = {"model": scenario.ALPHA, "round": "agent_alone"}
    found = trace(world, "leaderboard", given).verdicts
    decided = {
        (v["attempt_id"], v["criterion_id"])
        for v in found
        if v["grader_role"] == "adjudicator" and v["standing"] == "counts" and v["passed"] is not None
    }
    assert decided
    for v in found:
        if v["grader_role"] != "adjudicator" and v["standing"] in ("counts", "overruled"):
            assert (v["standing"] == "overruled") == ((v["attempt_id"], v["criterion_id"]) in decided)


def test_a_table_that_is_not_what_its_jobs_add_up_to_is_refused(copy: World, hapi: Hapi) -> None:
    keys = {"cohort": "2025-03", "model": MODEL}
    rows = copy.lake.read("completion_rates", keys)
    at = rows.column_names.index("n_completed")
    raised = pa.array([n + 1 for n in rows["n_completed"].to_pylist()], pa.int64())
    copy.lake.write("completion_rates", rows.set_column(at, "n_completed", raised), keys)
    code, out, err = hapi(copy.home, "trace", "completion_rates", "--model", MODEL, "--round", "agent_alone")
    assert (code, out) == (2, "")
    assert "completion_rates is not what its jobs add up to (n_completed is 2, counted anew 0" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["grader_agreement"], "There is no trace of 'grader_agreement', only of completion_rates"),
        (["model_comparisons", "--model", "Rival", "--round", "agent_alone"], "--model A --versus B"),
        (["leaderboard", "--model", MODEL, "--versus", "Rival", "--round", "agent_alone"], "has no column versus"),
        (
            ["model_comparisons", "--model", "Rival", "--versus", "Nobody", "--round", "agent_alone"],
            "are not compared after 'agent_alone' in window 'all'; models that are",
        ),
        (["leaderboard"], f"Say which model: --model {MODEL}, Rival"),
        (["leaderboard", "--model", "Nobody", "--round", "agent_alone"], "has no row of model 'Nobody'; there is"),
        (["leaderboard", "--model", MODEL, "--round", "retry_9"], "there is agent_alone, feedback_1."),
        (["leaderboard", "--model", MODEL, "--round", "agent_alone", "--cohort", "2025-03"], "has no column cohort"),
        (
            ["leaderboard", "--model", MODEL, "--round", "agent_alone", "--column", "x"],
            "has no column 'x'; its numbers",
        ),
    ],
)
def test_what_there_is_not_is_said_with_what_there_is(lived: World, hapi: Hapi, words: list[str], said: str) -> None:
    code, out, err = hapi(lived.home, "trace", *words)
    assert (code, out) == (2, "")
    assert said in err


def test_it_fits_the_terminal_and_says_how_much_more_there_is(lived: World, hapi: Hapi) -> None:
    found = trace(lived.lake, "completion_rates", {"model": MODEL, "round": "feedback_1"})
    text = trace_text(found)
    assert max(map(len, text.splitlines())) <= 80
    for words in ("n_completed", "Every number was counted anew", "Computed from: completion_rates ← outcome_counts"):
        assert words in text
    many = scale(found, 30)
    assert "… 52 more jobs" in trace_text(many)
    assert "more" not in trace_text(many, everything=True)


def scale(found: Any, times: int) -> Any:
    from dataclasses import replace

    failed = [dict(found.jobs[0]) | {"job_id": f"F{n}", "state": "failed"} for n in range(2 * times)]
    return replace(found, jobs=tuple(failed), verdicts=(), attempts=())


def test_csv_and_json_hold_everything(lived: World, hapi: Hapi) -> None:
    words = ("trace", "category_rates", "--model", MODEL, "--round", "agent_alone", "--category", "Data", "--format")
    rows = list(csv.DictReader(io.StringIO(hapi(lived.home, *words, "csv")[1])))
    whole = json.loads(hapi(lived.home, *words, "json")[1])
    assert [v["verdict_id"] for v in whole["verdicts"]] == [r["verdict_id"] for r in rows] != []
    exports = {v["verdict_id"]: v for v in lived.lake.read("verdict_exports").to_pylist()}
    for row in rows:
        origin = exports[row["verdict_id"]]
        assert (row["source_file"], int(row["source_row"])) == (origin["source_file"], origin["source_row"])
        assert row["criterion_id"] == origin["criterion_id"]


def test_of_the_past_it_tells_what_was_known_then(lived: World, hapi: Hapi) -> None:
    words = ("trace", "leaderboard", "--model", MODEL, "--round", "agent_alone", "--format", "json")
    out = hapi(lived.home, *words, "--as-of", DAYS[0])[1]
    latest = max(datetime.fromisoformat(v["imported_at"]) for v in json.loads(out)["verdicts"])
    assert latest < datetime(2025, 5, 2, tzinfo=UTC)


def test_the_chain_of_tables_ends_at_the_ledgers() -> None:
    chain = chain_of("leaderboard", "n_completed")
    assert chain[:3] == (("leaderboard",), ("window_rates",), ("outcome_counts",))
    assert "verdict_exports" in chain[-1]
    for table in TRACEABLE:
        assert chain_of(table)[0] == (table,)


def test_explain_tells_what_was_regraded(lived: World, hapi: Hapi) -> None:
    out = hapi(lived.home, "explain", "B")[1]
    history = out[out.index("Regrades") :].splitlines()
    assert history[3].split()[-6:] == ["c1", "ann", "pass", "fail", "2025-05-01", "2025-05-02"]
    assert "Regrades" not in hapi(lived.home, "explain", "C")[1]
