"""Exports of Label Studio: every form gives the same verdicts, and what is no verdict never becomes one."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hapi_pipeline.grading import label_studio
from hapi_pipeline.grading.files import OVERALL, VerdictFile, read_verdict_file
from hapi_pipeline.grading.packets import packet_id_for
from hapi_pipeline.grading.verdicts import Gradable, GradingIndex, judge
from hapi_pipeline.settings import UserError

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
PACKET = packet_id_for("attempt-1")
DATA = {
    "packet_id": PACKET,
    "title": "Tidy up a ledger",
    "criteria": [{"criterion_id": f"c0{n}", "text": f"criterion {n}"} for n in (1, 2, 3, 4)],
}
Answers = Mapping[str, Any]
Drop = Callable[[str, str], Path]


def result(name: str, value: Any, **more: Any) -> dict[str, Any]:
    kind = "number" if name == "minutes" else "choices" if name.startswith("verdict") else "text"
    return {"from_name": name, "to_name": "x", "value": {kind: value if kind == "number" else [value]}} | more


def annotation(number: int, who: Any, answers: Answers, **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "completed_by": who,
        "result": [result(name, value) for name, value in answers.items()],
        "was_cancelled": False,
        "ground_truth": False,
        "created_at": "2026-04-03T08:00:00.250000Z",
        "updated_at": "2026-04-03T09:00:00.250000Z",
        "lead_time": 312.4,
    } | more


def task(*annotations: Mapping[str, Any], number: int = 7, data: Mapping[str, Any] = DATA) -> dict[str, Any]:
    return {"id": number, "annotations": list(annotations), "drafts": [], "predictions": [], "data": dict(data)}


def flat(tasks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What Label Studio calls JSON_MIN: a record an annotation, skipped ones left out."""
    return [
        {
            **t["data"],
            "id": t["id"],
            **{
                r["from_name"]: [r["value"]] if "number" in r["value"] else next(iter(r["value"].values()))[0]
                for r in a["result"]
            },
            "annotator": a["completed_by"],
            "annotation_id": a["id"],
            "updated_at": a["updated_at"],
            "lead_time": a["lead_time"],
        }
        for t in tasks
        for a in t["annotations"]
        if not a["was_cancelled"]
    ]


def wide(tasks: Sequence[Mapping[str, Any]], delimiter: str) -> str:
    records = flat(tasks)
    out = io.StringIO()
    writer = csv.DictWriter(out, sorted({k for r in records for k in r}), delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writeheader()
    for record in records:
        writer.writerow({k: v if isinstance(v, str | int | float) else json.dumps(v) for k, v in record.items()})
    return out.getvalue()


GOOD = {
    "verdict_0": "Pass",
    "verdict_1": "Fail",
    "comment_1": "=1+1 is not it,\nsorry; naïve",
    "verdict_2": "Cannot judge",
    "verdict_3": "Pass",
    "feedback": 'Please fix the "header"',
    "minutes": 12,
}


def read(drop: Drop, content: Any, people: Mapping[str, str] | None = None) -> VerdictFile:
    text = content if isinstance(content, str) else json.dumps(content)
    return read_verdict_file(drop("anything.bin", text), people)


def judged(file: VerdictFile, index: GradingIndex) -> tuple[dict[tuple[str, str], Any], list[str]]:
    rows, quarantine = judge(file, index, source_file="f", source_sha256="ab", imported_at=NOW)
    return {(r["grader"], r["criterion_id"]): r for r in rows}, [q["code"] for q in quarantine]


def test_two_annotators_are_two_graders_and_a_skipped_task_stays_pending(drop: Drop, index: GradingIndex) -> None:
    other = GOOD | {"verdict_1": "Pass"}
    skipped = annotation(4, 2, {}, was_cancelled=True)
    tasks = [task(annotation(1, 1, GOOD), annotation(2, 2, other)), task(skipped, number=8)]
    file = read(drop, tasks)
    assert file.form == "label_studio"
    rows, codes = judged(file, index)
    assert codes == ["skipped_task"]
    passed = {key: row["passed"] for key, row in rows.items()}
    assert passed[("ls-1", "c02")] is False
    assert passed[("ls-2", "c02")] is True
    assert passed[("ls-1", "c03")] is None
    assert len(passed) == 10
    row = rows[("ls-1", "c02")]
    assert (row["comment"], row["minutes"], row["flags"], row["source_row"]) == (GOOD["comment_1"], 12.0, [], 7)
    assert row["graded_at"].isoformat() == "2026-04-03T09:00:00.250000+00:00"
    assert rows[("ls-2", OVERALL)]["comment"] == GOOD["feedback"]


def test_all_forms_of_an_export_say_the_same(drop: Drop) -> None:
    tasks = [task(annotation(1, 1, GOOD), annotation(2, 5, {"verdict_3": "Fail"}))]
    whole = read(drop, tasks)
    assert len(whole.rows) == 9
    for content in (
        flat(tasks),
        json.dumps(flat(tasks), indent=1),
        "\n".join(json.dumps(record) for record in flat(tasks)),
        "\n".join(json.dumps(record) for record in tasks),
        wide(tasks, ","),
        wide(tasks, "\t"),
    ):
        assert read(drop, content).rows == whole.rows


def test_what_is_not_answered_is_missing_and_never_a_fail(drop: Drop, index: GradingIndex) -> None:
    rows, codes = judged(read(drop, [task(annotation(1, 1, {"verdict_0": "Pass", "comment_1": "unsure"}))]), index)
    assert [c for _, c in rows] == ["c01"]
    assert codes == ["missing_verdict"] * 3


def test_drafts_and_predictions_are_no_verdicts(drop: Drop, index: GradingIndex) -> None:
    said = task()
    said["drafts"] = [annotation(1, 1, GOOD)]
    said["predictions"] = [{"result": [result("verdict_0", "Pass")], "score": 0.9}]
    assert judged(read(drop, [said]), index) == ({}, [])


def test_what_is_odd_is_flagged(drop: Drop, index: GradingIndex) -> None:
    answers = {"verdict_0": "Pass", "verdict_1": "Pass", "verdict_2": "Fail", "verdict_3": "Fail"}
    marked = annotation(1, 1, answers, ground_truth=True)
    marked["result"][0]["origin"] = "prediction"
    rows, codes = judged(read(drop, [task(marked)]), index)
    assert codes == []
    assert {tuple(r["flags"]) for r in rows.values()} == {("ground_truth", "prediction_kept", "tool_lead_time")}
    assert {r["minutes"] for r in rows.values()} == {5.21}


def test_a_task_left_open_all_night_gives_no_minutes(drop: Drop, index: GradingIndex) -> None:
    rows, codes = judged(read(drop, [task(annotation(1, 1, {**GOOD, "minutes": 3}, lead_time=90_000))]), index)
    assert {r["minutes"] for r in rows.values()} == {3.0}
    untold = {k: v for k, v in GOOD.items() if k != "minutes"}
    rows, codes = judged(read(drop, [task(annotation(1, 1, untold, lead_time=90_000))]), index)
    assert ({r["minutes"] for r in rows.values()}, codes) == ({None}, [])


def test_two_answers_to_one_question_are_none(drop: Drop, index: GradingIndex) -> None:
    both = annotation(1, 1, GOOD)
    both["result"][0]["value"] = {"choices": ["Pass", "Fail"]}
    rows, codes = judged(read(drop, [task(both)]), index)
    assert codes == ["bad_verdict"]
    assert ("ls-1", "c01") not in rows


@pytest.mark.parametrize(
    ("who", "people", "grader"),
    [
        (3, {}, "ls-3"),
        ({"id": 3, "email": "Ann@Example.org"}, {"ann@example.org": "grader-07"}, "grader-07"),
        ({"id": 3, "email": "ann@example.org"}, {"3": "grader-07"}, "grader-07"),
        (3, {"3": "grader-07"}, "grader-07"),
        (None, {}, "unknown"),
    ],
)
def test_who_graded(drop: Drop, index: GradingIndex, who: Any, people: Mapping[str, str], grader: str) -> None:
    rows, _ = judged(read(drop, [task(annotation(1, who, GOOD))], people), index)
    assert {g for g, _ in rows} == {grader}


def test_an_address_becomes_a_short_hash_in_every_form(drop: Drop) -> None:
    address = "ann.warden@example.org"
    full = read(drop, [task(annotation(1, {"id": 3, "email": address}, GOOD))])
    small = read(drop, flat([task(annotation(1, address, GOOD))]))
    graders = {row.values["grader"] for file in (full, small) for row in file.rows}
    assert len(graders) == 1
    assert str(graders.pop()).startswith("ls-")
    assert not [row for row in full.rows for value in row.values.values() if "warden" in str(value)]


def test_a_shared_account_is_several_graders_and_a_known_one_contradicts_itself(
    drop: Drop, index: GradingIndex
) -> None:
    tasks = [task(annotation(1, 1, GOOD), annotation(2, 1, GOOD | {"verdict_1": "Pass"}))]
    rows, codes = judged(read(drop, tasks), index)
    assert codes == []
    assert {g for g, _ in rows} == {"ls-1", "ls-1-a2"}
    assert {g for (g, _), row in rows.items() if "shared_account" in row["flags"]} == {"ls-1-a2"}
    rows, codes = judged(read(drop, tasks, {"1": "grader-07"}), index)
    assert codes == ["conflict", "conflict"]
    assert ("grader-07", "c02") not in rows


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ({"criteria": DATA["criteria"]}, "unknown_id"),
        ({"packet_id": PACKET}, "unknown_id"),
        ({"packet_id": PACKET, "criteria": "c01"}, "unknown_id"),
        ({"packet_id": PACKET, "criteria": [{"text": "a"}]}, "unknown_id"),
        ({"packet_id": PACKET, "criteria": [{"criterion_id": "c01"}]}, "unknown_criterion"),
        ({"packet_id": "pk_other", "criteria": [{"criterion_id": "c01"}]}, "unknown_id"),
    ],
)
def test_data_that_does_not_say_what_was_judged(
    drop: Drop, index: GradingIndex, data: Mapping[str, Any], code: str
) -> None:
    tasks = [task(annotation(1, 1, {"verdict_0": "Pass", "verdict_1": "Pass"}), data=data), task(number=9)]
    assert code in judged(read(drop, tasks), index)[1]


def test_the_order_of_the_criteria_is_that_of_the_data(drop: Drop, index: GradingIndex) -> None:
    turned = DATA | {"criteria": list(reversed(DATA["criteria"]))}
    rows, _ = judged(read(drop, [task(annotation(1, 1, GOOD), data=turned)]), index)
    assert {c: r["passed"] for (_, c), r in rows.items()} == {
        "c04": True,
        "c03": False,
        "c02": None,
        "c01": True,
        OVERALL: None,
    }


def test_a_sheet_of_another_packet_is_refused_here_too(drop: Drop, make_gradable: Callable[..., Gradable]) -> None:
    index = GradingIndex([make_gradable(packet_sha256="ab12")])
    for extra, code in (({"packet_sha256": "cd"}, "tampered"), ({"rubric_version": "r0"}, "stale_rubric")):
        rows, codes = judged(read(drop, [task(annotation(1, 1, GOOD), data=DATA | extra)]), index)
        assert (rows, set(codes)) == ({}, {code})


@pytest.mark.parametrize("cut", [20, 200, 700])
def test_a_cut_off_export_is_refused_in_one_sentence(drop: Drop, cut: int) -> None:
    text = json.dumps([task(annotation(1, 1, GOOD), annotation(2, 2, GOOD))])
    with pytest.raises(UserError, match="cut off") as caught:
        read(drop, text[: len(text) - cut])
    assert "\n" not in str(caught.value)


def test_another_labelling_project_is_refused_in_one_sentence(drop: Drop) -> None:
    with pytest.raises(UserError, match="Label Studio export, but not of a project") as caught:
        read(drop, [task(annotation(1, 1, {"label": "Car"}), data={"image": "a.png"})])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [[task(annotation(1, 1, GOOD)), 5, None, "x", []], [task(), *[[]] * 3]])
def test_what_is_no_task_among_tasks_has_a_code(drop: Drop, content: list[Any]) -> None:
    assert [p.code for p in read(drop, content).problems] == ["bad_line"] * (len(content) - 1)


scrap: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(st.data())
def test_any_scrap_in_any_place_never_crashes_and_never_makes_a_verdict(data: st.DataObject) -> None:
    said = task(annotation(1, 1, {"verdict_0": "Pass", "comment_0": "x"}))
    places: list[Any] = [said, said["data"], said["annotations"][0], *said["annotations"][0]["result"]]
    place = data.draw(st.sampled_from(places))
    key = data.draw(st.sampled_from(sorted(place)))
    place[key] = data.draw(scrap)
    try:
        found = label_studio.read_export([said, task()], "f.json", {})
    except UserError:
        return
    for _, values, _ in found.rows:
        if values["criterion_id"] in ("c02", "c03", "c04"):
            assert values.get("passed") is None or values["passed"] == place[key]
