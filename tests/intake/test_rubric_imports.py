"""Rubrics: whole or not at all, the newest one counts."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hapi_pipeline.intake import rubrics_bulk
from hapi_pipeline.intake.rubrics import IMPORTANCE, check_rubrics, import_rubrics
from hapi_pipeline.lake import Lake
from hapi_pipeline.registry import Benchmark
from hapi_pipeline.settings import UserError
from tests import scenario

Drop = Callable[[str, str | bytes], Path]
HEAD = "job_id,criterion_id,position,text,importance,author\n"


def criteria(lake: Lake) -> list[tuple[str, str, int, str, str]]:
    rows = lake.read("rubric_exports").to_pylist()
    return [(r["job_id"], r["criterion_id"], r["position"], r["text"], r["importance"]) for r in rows]


def quarantined(lake: Lake) -> dict[int, str]:
    return {r["row"]: r["code"] for r in lake.read("quarantine").to_pylist()}


def test_a_rubric_is_taken_in_with_its_order_defaults_and_version(lake: Lake, drop: Drop) -> None:
    (done,) = import_rubrics(
        lake, [drop("r.csv", HEAD + "j1,b,2,Second,Optional,\nj1, a ,1, First ,,mo\nj1,c,,Last,PITFALL,\n")]
    )
    assert sorted(criteria(lake)) == [
        ("j1", "a", 1, "First", "critical"),
        ("j1", "b", 2, "Second", "optional"),
        ("j1", "c", 3, "Last", "pitfall"),
    ]
    assert (done.rows, done.quarantined) == (3, 0)
    assert len({r["rubric_version"] for r in lake.read("rubric_exports").to_pylist()}) == 1


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        ("j1,,2,T,,", "missing_criterion_id"),
        ("j1,a,2,T,,", "duplicate_criterion"),
        ("j1,b,2, ,,", "missing_text"),
        ("j1,b,2,T,vital,", "bad_importance"),
        ("j1,b,1.5,T,,", "bad_position"),
        ("j1,b,nan,T,,", "bad_position"),
        ("j1,b,2,T", "bad_row"),
        ("j1,b,2,T,,,too,long", "bad_row"),
        (",b,2,T,,", "missing_job_id"),
    ],
)
def test_a_bad_row_holds_its_rubric_back_whole_and_no_other(lake: Lake, drop: Drop, bad: str, code: str) -> None:
    (done,) = import_rubrics(lake, [drop("r.csv", HEAD + f"j1,a,1,A,,\n{bad}\nj10,a,1,A,,\n")])
    of_nobody = code == "missing_job_id"
    assert {c[0] for c in criteria(lake)} == ({"j1", "j10"} if of_nobody else {"j10"})
    assert quarantined(lake) == {2: code} | ({} if of_nobody else {1: "rubric_held_back"})
    assert done.rows + done.quarantined == 3


def test_a_line_of_json_that_is_cut_short_holds_its_rubric_back(lake: Lake, drop: Drop) -> None:
    rows = [
        json.dumps({"job_id": j, "criterion_id": c, "text": "T"}) for j, c in (("j1", "a"), ("j1", "b"), ("j2", "a"))
    ]
    rows[1] = rows[1][:-3]
    import_rubrics(lake, [drop("r.jsonl", "\n".join(rows))])
    assert {c[0] for c in criteria(lake)} == {"j2"}
    assert quarantined(lake) == {1: "rubric_held_back", 2: "bad_row"}


def test_a_workbook_is_read_like_any_other_file(lake: Lake, drop: Drop) -> None:
    sink = io.BytesIO()
    with xlsxwriter.Workbook(sink, {"in_memory": True}) as book:
        sheet = book.add_worksheet()
        table: list[list[Any]] = [
            ["Job_ID", "criterion_id", "text", "position", "note"],
            [4711, "a", "T", 1, "aside"],
            ["j2", "b", "=1+1", None, None],
        ]
        for i, row in enumerate(table):
            for column, value in enumerate(row):
                if value is not None:
                    sheet.write_string(i, column, value) if isinstance(value, str) else sheet.write(i, column, value)
    (done,) = import_rubrics(lake, [drop("r.xlsx", sink.getvalue())])
    assert sorted(criteria(lake)) == [("4711", "a", 1, "T", "critical"), ("j2", "b", 1, "=1+1", "critical")]
    assert done.unmapped_columns == ("note",)


def test_the_same_file_counts_once_and_a_corrected_one_is_current(lake: Lake, drop: Drop, benchmark: Benchmark) -> None:
    scenario.take_in(lake, "jobs", "job_exports", [scenario.post("j1")])
    first = drop("1.csv", HEAD + "j1,a,1,A,,\nj1,b,2,B,,\n")
    (done,) = import_rubrics(lake, [first])
    assert import_rubrics(lake, [first]) == [done]
    import_rubrics(lake, [drop("2.csv", HEAD + "j1,a,1,A changed,,\n")])
    scenario.make(lake, benchmark, "job_posts", scenario.SCOPE)
    now = scenario.make(lake, benchmark, "rubrics", scenario.SCOPE).to_pylist()
    assert [(r["criterion_id"], r["text"]) for r in now] == [("a", "A changed")]
    assert len(criteria(lake)) == 3, "the older rubric stays, with its history"


@pytest.mark.parametrize("column", ["job_id", "criterion_id", "text"])
def test_a_required_column_that_is_missing_is_named_and_nothing_is_written(lake: Lake, drop: Drop, column: str) -> None:
    good, bad = (
        drop("good.csv", HEAD + "j1,a,1,A,,\n"),
        drop("bad.csv", HEAD.replace(column, "x") + "1,2,3,4,5,6\n"),
    )
    with pytest.raises(UserError, match=f"bad.csv lacks the column '{column}'"):
        import_rubrics(lake, [good, bad])
    assert not lake.root.exists()


def versions(rows: list[dict[str, Any]]) -> set[str]:
    good, _ = check_rubrics(rows)
    return {g["rubric_version"] for g in good}


def test_the_version_changes_with_text_order_and_importance_and_with_nothing_else() -> None:
    base: list[dict[str, Any]] = [
        {"_row": i, "job_id": "j", "criterion_id": c, "text": c, "position": str(i)} for i, c in enumerate("ab", 1)
    ]
    (version,) = versions(base)
    assert versions([r | {"author": "mo", "_row": r["_row"] + 5, "importance": "CRITICAL"} for r in base]) == {version}
    for change in ({"text": "other"}, {"importance": "optional"}, {"position": "9"}, {"criterion_id": "z"}):
        assert versions([base[0] | change, base[1]]) != {version}, change


WORDS = st.sampled_from(["", " ", "a", "b", "1", "2.5", "nan", "critical", "Optional", "vital", "-3"])


@settings(derandomize=True, deadline=None, max_examples=150)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "job_id": st.sampled_from(["j1", "j2", " ", ""]),
                "criterion_id": WORDS,
                "text": WORDS,
                "importance": WORDS,
                "position": WORDS,
            }
        ),
        max_size=8,
    )
)
def test_every_row_is_a_criterion_or_rejected_and_no_rubric_is_split(
    given_rows: list[dict[str, str]],
) -> None:
    rows: list[dict[str, Any]] = [row | {"_row": i} for i, row in enumerate(given_rows, 1)]
    good, rejected = check_rubrics(rows)
    assert sorted([g["source_row"] for g in good] + [r.row or 0 for r in rejected]) == [r["_row"] for r in rows]
    for job in {g["job_id"] for g in good}:
        mine = [g for g in good if g["job_id"] == job]
        assert len(mine) == sum((r["job_id"] or "").strip() == job for r in rows)
        assert sorted(g["position"] for g in mine) == list(range(1, len(mine) + 1))
        assert all(g["importance"] in IMPORTANCE for g in mine)


PLAIN = st.sampled_from(["a", "b", "c", "d", "ä ö", "x\u3000y"])
SPACED = st.builds(
    "{}{}{}".format, st.sampled_from(["", "", " ", "\u3000", "\t"]), PLAIN, st.sampled_from(["", "\x85"])
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "job_id": st.sampled_from(["j1", "j1", "j2", "j3", " j1", "j2\u2003", "", "\t"]),
                "criterion_id": PLAIN | SPACED,
                "text": SPACED | st.sampled_from(["Says what it does", "\u2003", "'; --", "\u1680x"]),
                "importance": st.sampled_from(["", "critical", "Optional", " pitfall", "PITFALL\u00a0", "vital", " "]),
                "position": st.sampled_from(
                    ["", "", "1", "2", "02", "3.0", " 1", "1e3", "1_0", "٣", "x", "1234567890"]
                ),
                "author": SPACED | st.just(""),
            }
        ),
        min_size=1,
        max_size=14,
    ),
    st.sampled_from([1, 3, 1_000]),
    st.booleans(),
)
def test_a_file_is_judged_as_its_rows_are_however_many_are_judged_together(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, str]], together: int, in_order: bool
) -> None:
    rows = sorted(rows, key=lambda row: row["job_id"]) if in_order else rows
    folder = tmp_path_factory.mktemp("rubrics")
    (folder / "r.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rubrics_bulk, "TOGETHER", together)
        lake = Lake(folder / "lake")
        import_rubrics(lake, [folder / "r.jsonl"])
    good, rejected = check_rubrics(
        [{name: value or None for name, value in row.items()} | {"_row": i} for i, row in enumerate(rows, 1)]
    )
    there = lake.read("rubric_exports").to_pylist()
    assert [{name: row[name] for name in good[0]} for row in there] == sorted(good, key=lambda row: row["source_row"])
    quarantine = [(r["row"], r["column"], r["value"], r["code"]) for r in lake.read("quarantine").to_pylist()]
    assert sorted(quarantine, key=str) == sorted(((r.row, r.column, r.value, r.code) for r in rejected), key=str)
