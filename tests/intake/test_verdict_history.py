"""What comes of verdicts over time: again, in parts, in another order, on an older sheet, too late; and the replies."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hapi_pipeline import engine
from hapi_pipeline.grading.packets import packet_id_for
from hapi_pipeline.intake.verdicts import grading_index, import_verdicts, reply_path
from hapi_pipeline.lake import Lake
from hapi_pipeline.registry import Benchmark
from tests import scenario

Drop = Callable[[str, str], Path]
Current = dict[tuple[str, str], tuple[bool | None, str | None]]
MODEL, JOB = "Alpha", "job-a"
ATTEMPT = f"{MODEL} agent_alone {JOB}"
PACKET = packet_id_for(ATTEMPT)
KEYS = {"cohort": scenario.COHORT, "model": MODEL, "round": "agent_alone"}
HEAD = "packet_id,criterion_id,passed,grader,graded_at,comment\n"
Line = tuple[str, str, str, str]  # criterion, verdict, grader, date


def fill(lake: Lake, *rounds: str) -> Lake:
    """Attempts at one job with a rubric of three criteria."""
    rubric = [scenario.criterion(JOB, c, i) | {"cohort": scenario.COHORT} for c, i in scenario.RUBRIC]
    lake.write("rubrics", scenario.table_of("rubrics", rubric), {"cohort": scenario.COHORT})
    for round_ in rounds or ("agent_alone",):
        attempts = scenario.table_of("attempts", [scenario.attempt(MODEL, round_, JOB)])
        lake.write("attempts", attempts, KEYS | {"round": round_})
    return lake


def csv_of(lines: Sequence[Line]) -> str:
    return HEAD + "".join(f"{PACKET},{c},{v},{g},{d},\n" for c, v, g, d in lines)


def current(lake: Lake) -> Current:
    """The verdicts that count, through the query that decides it."""
    found = engine.run(lake, engine.query("verdicts"), KEYS).to_pylist()
    return {(v["grader"], v["criterion_id"]): (v["passed"], v["comment"]) for v in found if v["is_current"]}


def codes(lake: Lake) -> list[str]:
    return sorted(lake.read("quarantine")["code"].to_pylist())


# one verdict a grader, criterion and day, so that dates decide
dated = st.dictionaries(
    st.tuples(
        st.sampled_from(["c1", "c2", "c3"]), st.sampled_from(["ann", "bob"]), st.sampled_from(["01", "02", "03"])
    ),
    st.sampled_from(["pass", "fail", "n/a"]),
    min_size=1,
)
numbers = itertools.count()


@settings(derandomize=True, deadline=None, max_examples=7, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(dated, st.data())
def test_parts_orders_and_repeats_change_nothing(tmp_path: Path, drop: Drop, said: Any, data: st.DataObject) -> None:
    lines = [(c, v, g, f"2026-03-{day}") for (c, g, day), v in said.items()]
    # in one file a grader says one thing on a criterion
    files: list[list[Line]] = [[line for line in lines if line[3].endswith(day)] for day in ("01", "02", "03")]
    files = [f for f in files if f]
    cut = data.draw(st.integers(0, len(files[0])))
    parts = [f for f in (files[0][:cut], files[0][cut:], *files[1:]) if f]
    turned = data.draw(st.permutations(parts))
    n = next(numbers)
    lakes = [fill(Lake(tmp_path / f"{n}-{k}")) for k in range(3)]
    paths = [drop(f"{n}-{k}.csv", csv_of(f)) for k, f in enumerate(files)]
    for path in paths:
        import_verdicts(lakes[0], [path])
    import_verdicts(lakes[1], [drop(f"{n}-p{k}.csv", csv_of(f)) for k, f in enumerate(turned)])
    for k, some in enumerate(turned):
        import_verdicts(lakes[2], [drop(f"{n}-q{k}.csv", csv_of(some))])
    assert import_verdicts(lakes[0], list(reversed(paths)))[0] is None
    newest = {(g, c): v for c, v, g, _ in sorted(lines, key=lambda line: line[3])}
    meaning = {"pass": True, "fail": False, "n/a": None}
    expected = {key: (meaning[v], None) for key, v in newest.items()}
    for lake in lakes:
        assert current(lake) == expected
        assert codes(lake) == []


def test_what_two_files_of_one_import_say_differently_is_in_quarantine_on_both_sides(lake: Lake, drop: Drop) -> None:
    fill(lake)
    first = [("c1", "pass", "ann", ""), ("c2", "pass", "ann", ""), ("c3", "pass", "bob", "")]
    second = [("c1", "fail", "ann", ""), ("c2", "pass", "ann", ""), ("c3", "fail", "ann", "")]
    paths = [drop("a.csv", csv_of(first)), drop("b.csv", csv_of(second))]
    done, _ = import_verdicts(lake, paths)
    assert done is not None
    assert [(f.rows, f.quarantined) for f in done.files] == [(2, 1), (2, 1)]
    assert current(lake) == {("ann", "c2"): (True, None), ("bob", "c3"): (True, None), ("ann", "c3"): (False, None)}
    found = lake.read("quarantine").to_pylist()
    assert sorted((q["file"], q["row"], q["code"]) for q in found) == [
        ("a.csv", 1, "conflict"),
        ("b.csv", 1, "conflict"),
    ]


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        (("2026-03-01", "2026-03-02"), {("ann", "c1"): (False, None)}),
        (("2026-03-02", "2026-03-01"), {("ann", "c1"): (True, None)}),
        (("2026-03-02", "2026-03-02"), {}),
        (("2026-03-02", ""), {}),
    ],
)
def test_dates_tell_a_correction_from_a_contradiction(
    lake: Lake, drop: Drop, dates: tuple[str, str], expected: Current
) -> None:
    fill(lake)
    files = [csv_of([("c1", word, "ann", day)]) for word, day in zip(("pass", "fail"), dates, strict=True)]
    import_verdicts(lake, [drop("a.csv", files[0]), drop("b.csv", files[1])])
    assert current(lake) == expected
    assert codes(lake) == ([] if expected else ["conflict"] * 2)


def test_across_imports_it_is_a_regrade_and_both_stay(lake: Lake, drop: Drop) -> None:
    fill(lake)
    import_verdicts(lake, [drop("a.csv", csv_of([("c1", "pass", "ann", "")]))])
    import_verdicts(lake, [drop("b.csv", csv_of([("c1", "fail", "ann", "")]))])
    assert current(lake) == {("ann", "c1"): (False, None)}
    assert lake.read("verdict_exports").num_rows == 2


def flags(lake: Lake) -> list[list[str]]:
    return [list(row["flags"]) for row in lake.read("verdict_exports").to_pylist()]


@pytest.mark.parametrize("after", ["feedback_1", "retry_1"])
def test_what_comes_after_the_next_attempt_is_late_and_counts(lake: Lake, drop: Drop, after: str) -> None:
    fill(lake, "agent_alone", after)
    import_verdicts(lake, [drop("a.csv", csv_of([("c1", "pass", "ann", "")]))])
    assert flags(lake) == [["late"]]
    assert current(lake) == {("ann", "c1"): (True, None)}


def test_what_comes_before_the_next_attempt_is_not_late(lake: Lake, drop: Drop) -> None:
    fill(lake, "agent_alone", "feedback_2")  # two rounds on: not the one that follows
    import_verdicts(lake, [drop("a.csv", csv_of([("c1", "pass", "ann", "2026-03-21")]))])
    assert flags(lake) == [[]]


def test_a_date_before_the_work_was_there_is_flagged(lake: Lake, drop: Drop) -> None:
    fill(lake)  # the attempt was finished on 20 March
    lines = [("c1", "pass", "ann", "2026-03-18"), ("c2", "pass", "ann", "2026-03-20")]
    import_verdicts(lake, [drop("a.csv", csv_of(lines))])
    assert flags(lake) == [["before_issue"], []]


def test_roles_that_were_assigned_count_and_not_what_a_row_says(lake: Lake, drop: Drop) -> None:
    fill(lake)
    text = "packet_id,criterion_id,passed,grader,grader_role\n" + "".join(
        f"{PACKET},c1,pass,{g},{r}\n" for g, r in (("ann", "adjudicator"), ("bob", ""), ("cid", "adjudicator"))
    )
    roles = {(PACKET, "ann"): "grader", (PACKET, "bob"): "adjudicator"}
    import_verdicts(lake, [drop("a.csv", text)], role_of=lambda packet, grader: roles.get((packet, grader)))
    found = lake.read("verdict_exports").to_pylist()
    assert {r["grader"]: r["grader_role"] for r in found} == {
        "ann": "grader",
        "bob": "adjudicator",
        "cid": "adjudicator",
    }


# --- a rubric's edit ------------------


def edited(lake: Lake, benchmark: Benchmark) -> None:
    """c1 is as it was, c2 has other words, c3 is gone, c4 is new."""
    scenario.take_in(lake, "jobs", "job_exports", [scenario.post(JOB)])
    later = {"rubric_version": "r2", "source_sha256": "e" * 64, "imported_at": scenario.NOON + timedelta(days=1)}
    old = [scenario.criterion(JOB, c, i) for c, i in scenario.RUBRIC]
    new = [
        scenario.criterion(JOB, "c1", "critical", **later),
        scenario.criterion(JOB, "c2", "important", text="c2 is met in full", **later),
        scenario.criterion(JOB, "c4", "optional", **later),
    ]
    scenario.take_in(lake, "rubrics", "rubric_exports", old)
    scenario.take_in(lake, "rubrics", "rubric_exports", new)
    scenario.curate(lake, scenario.rules(benchmark))
    lake.write("attempts", scenario.table_of("attempts", [scenario.attempt(MODEL, "agent_alone", JOB)]), KEYS)


def sheet(version: str, *criteria: str) -> str:
    top = f"packet_id,{PACKET}\ngrader,ann\nrubric_version,{version}\npacket_sha256,{'f' * 64}\n\n"
    return top + "criterion_id,verdict,comment\n" + "".join(f"{c},pass,\n" for c in criteria)


def test_an_older_sheet_counts_where_the_words_have_not_changed(lake: Lake, drop: Drop, benchmark: Benchmark) -> None:
    edited(lake, benchmark)
    import_verdicts(lake, [drop("old.csv", sheet("r1", "c1", "c2", "c3"))])
    (kept,) = lake.read("verdict_exports").to_pylist()
    assert (kept["criterion_id"], kept["rubric_version"], kept["flags"]) == ("c1", "r1", ["older_rubric"])
    found = lake.read("quarantine").to_pylist()
    assert {(q["value"], q["code"]) for q in found} == {("c2", "stale_rubric"), ("c3", "stale_rubric")}
    lake.write("verdicts", engine.run(lake, engine.query("verdicts"), KEYS), KEYS)
    (row,) = scenario.make(lake, benchmark, "attempt_outcomes", {k: KEYS[k] for k in ("cohort", "model")}).to_pylist()
    assert (row["n_passed"], row["outcome"]) == (1, "pending")


def test_a_version_that_never_was_is_refused_whole(lake: Lake, drop: Drop, benchmark: Benchmark) -> None:
    edited(lake, benchmark)
    import_verdicts(lake, [drop("odd.csv", sheet("r7", "c1", "c2"))])
    assert codes(lake) == ["stale_rubric"] * 2
    import_verdicts(lake, [drop("new.csv", sheet("r2", "c1", "c2", "c4"))])
    assert lake.read("verdict_exports").num_rows == 3


def test_the_index_knows_what_stands(lake: Lake, benchmark: Benchmark) -> None:
    edited(lake, benchmark)
    gradable = grading_index(lake).by_packet(PACKET)
    assert gradable is not None
    assert gradable.standing == {"r1": frozenset({"c1"}), "r2": frozenset({"c1", "c2", "c4"})}


# --- replies and graders ------------------


def test_every_file_gets_its_reply(lake: Lake, drop: Drop, tmp_path: Path) -> None:
    fill(lake)
    paths = [
        drop("a.csv", csv_of([("c1", "perhaps", "ann", ""), ("c2", "pass", "ann", "")])),
        drop("b c<d>.csv", csv_of([("c1", "pass", "bob", ""), ("c2", "fail", "ann", "")])),
    ]
    done, _ = import_verdicts(lake, paths, replies=tmp_path / "replies")
    assert done is not None
    texts = [reply_path(tmp_path / "replies", f.name, f.sha256).read_text() for f in done.files]
    assert {p.name for p in (tmp_path / "replies").iterdir()} == {
        f"a.csv_{done.files[0].sha256[:8]}.md",
        f"b_c_d_.csv_{done.files[1].sha256[:8]}.md",
    }
    assert "criterion c1 (“c1 is met”)" in texts[0]
    assert "Another file that came with this one" in texts[0]
    assert "Another file that came with this one" in texts[1]
    assert not [text for text in texts if MODEL in text]


@pytest.mark.parametrize("name", ["../../x", "..", ".hidden", "a\nb", "x" * 300, "/etc/passwd", "\u202exslx.csv"])
def test_a_reply_stays_in_its_folder(tmp_path: Path, name: str) -> None:
    path = reply_path(tmp_path, name, "0123456789abcdef")
    assert path.parent == tmp_path
    assert path.name.endswith("_01234567.md")
    assert not path.name.startswith(".")
    assert len(path.name) < 100


def test_graders_of_an_annotation_tool_are_those_of_the_registry(lake: Lake, drop: Drop) -> None:
    fill(lake)
    data = {"packet_id": PACKET, "criteria": [{"criterion_id": "c1", "text": "?"}]}
    records = [
        data | {"verdict_0": "Pass", "annotator": who, "annotation_id": n, "id": 1}
        for n, who in enumerate(("ann@example.org", 4), 1)
    ]
    people = {"Ann@example.org": "grader-01"}
    import_verdicts(lake, [drop("x.json", json.dumps(records))], people=people)
    assert set(current(lake)) == {("grader-01", "c1"), ("ls-4", "c1")}
