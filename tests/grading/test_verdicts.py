"""Judging rows: what counts as a verdict, what is refused under which code, and every row accounted for."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hapi_pipeline.grading.files import OVERALL, RawRow, VerdictFile, read_verdict_file
from hapi_pipeline.grading.packets import PacketSpec, packet_id_for, write_packet
from hapi_pipeline.grading.verdicts import BAD, MISSING, Gradable, GradingIndex, judge, parse_verdict
from hapi_pipeline.tables import TABLES

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
PACKET = packet_id_for("attempt-1")
Make = Callable[..., Gradable]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            (
                "PASS",
                "pass ",
                "Pass\u00a0",
                "ＰＡＳＳ",
                "Passed",
                "yes",
                "Y",
                "TRUE",
                "1",
                "1.0",
                1,
                1.0,
                True,
            ),
            True,
        ),
        (
            ("✓", "✔\ufe0f", "✅", "Sì", "SÍ", "VERO", "Oui", "ja", "Wahr", "да", "はい", "是", "si\u0300"),
            True,
        ),
        (
            ("FAIL", "failed", "no", "N", "False", 0, 0.0, False, "0", "✗", "❌", "nein", "FALSO", "Faux"),
            False,
        ),
        (("нет", "いいえ", "nicht bestanden", "HAYIR", "fa\u200bil"), False),
        (("CANNOT_JUDGE", "cannot judge", "Cannot-Judge", "can’t judge", "N/A", "n/a "), None),
        ((None, "", "  ", "\u00a0", "\n", "\u200b", math.nan, " " * 500), MISSING),
        (
            (
                "x",
                "X",
                "☒",
                "maybe",
                "-",
                "_",
                "-1",
                "2",
                2,
                -1,
                0.5,
                math.inf,
                "passfail",
                "nan",
                "NA",
                "TBD",
                [],
                {},
            ),
            BAD,
        ),
        (("pass?", "not pass", "1_0", "0x1", "p" * 500, "PASS FAIL", b"PASS"), BAD),
    ],
)
def test_words(words: tuple[object, ...], expected: object) -> None:
    assert [(word, parse_verdict(word)) for word in words] == [(word, expected) for word in words]


@settings(derandomize=True, deadline=None)
@given(st.text() | st.floats() | st.integers() | st.binary())
def test_any_value_gets_one_answer_and_blanks_are_never_a_verdict(value: object) -> None:
    answer = parse_verdict(value)
    assert answer in (True, False, None, MISSING, BAD)
    if isinstance(value, str) and not value.strip():
        assert answer is MISSING


def row(number: int = 1, **values: Any) -> RawRow:
    return RawRow(number, {"packet_id": PACKET, "criterion_id": "c01", "passed": "PASS", "grader": "ann"} | values)


def run(
    index: GradingIndex, *rows: RawRow, form: str = "long", simulated: bool | None = None, **header: Any
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    file = VerdictFile(form, header, rows, ())
    return judge(file, index, source_file="f.csv", source_sha256="ab", imported_at=NOW, simulated=simulated)


def refused(index: GradingIndex, *rows: RawRow, **more: Any) -> list[tuple[int | None, str | None, str]]:
    verdicts, quarantine = run(index, *rows, **more)
    assert verdicts == []
    return [(q["row"], q["column"], q["code"]) for q in quarantine]


def test_the_records_are_those_of_the_tables(index: GradingIndex) -> None:
    verdicts, quarantine = run(index, row(), row(2, criterion_id="c02", passed="?"))
    for name, record in (("verdict_exports", verdicts[0]), ("quarantine", quarantine[0])):
        table = TABLES[name]
        assert set(record) == set(table.names)
        assert not [c.name for c in table.columns if not c.nullable and record[c.name] is None]
    assert (quarantine[0]["kind"], quarantine[0]["value"]) == ("verdicts", "?")


@pytest.mark.parametrize(
    ("values", "column", "code"),
    [
        ({"packet_id": "pk_aaaaaaaaaaaa"}, "packet_id", "unknown_id"),
        ({"packet_id": None}, "packet_id", "unknown_id"),
        ({"packet_id": None, "job_id": "j1", "model": "quillmind-9"}, "packet_id", "unknown_id"),
        (
            {"packet_id": None, "job_id": "j1", "model": "other", "round": "agent_alone"},
            "job_id",
            "unknown_id",
        ),
        ({"job_id": "j2"}, "packet_id", "unknown_id"),
        ({"packet_sha256": "00"}, "packet_sha256", "tampered"),
        ({"rubric_version": "rubric-6"}, "rubric_version", "stale_rubric"),
        ({"criterion_id": "c09"}, "criterion_id", "unknown_criterion"),
        ({"criterion_id": None}, "criterion_id", "unknown_criterion"),
        ({"passed": None}, "verdict", "missing_verdict"),
        ({"passed": "  "}, "verdict", "missing_verdict"),
        ({"passed": "perhaps"}, "verdict", "bad_verdict"),
        ({"grader": None}, "grader", "missing_grader"),
        ({"grader": " \t"}, "grader", "missing_grader"),
        ({"criterion_id": OVERALL, "passed": None}, "comment", "missing_verdict"),
    ],
)
def test_refusals(make_gradable: Make, values: dict[str, Any], column: str, code: str) -> None:
    index = GradingIndex([make_gradable(packet_sha256="ab12")])
    assert refused(index, row(4, **values)) == [(4, column, code)]


def test_a_sheet_from_another_export_or_rubric_is_refused_row_by_row(index: GradingIndex, make_gradable: Make) -> None:
    rows = [row(n, packet_id=None, criterion_id=f"c0{n}") for n in (1, 2)]
    header: dict[str, Any] = {"packet_id": PACKET, "overall_feedback": "well"}
    stale = refused(index, *rows, form="workbook", **header, rubric_version="rubric-6")
    assert [(number, code) for number, _, code in stale] == [(n, "stale_rubric") for n in (None, 1, 2)]
    issued = GradingIndex([make_gradable(packet_sha256="ab12")])
    assert {code for *_, code in refused(issued, *rows, form="workbook", **header, packet_sha256="cd")} == {"tampered"}
    assert len(run(issued, *rows, form="workbook", **header, packet_sha256="AB12 ")[0]) == 3


def test_a_workbook_without_a_name_keeps_its_verdicts(index: GradingIndex) -> None:
    verdicts, quarantine = run(index, row(grader=None), form="workbook", packet_id=PACKET)
    assert quarantine == []
    assert (verdicts[0]["grader"], verdicts[0]["flags"]) == ("unknown", ["no_grader"])


def test_the_row_speaks_before_the_header(index: GradingIndex) -> None:
    header: dict[str, Any] = {"grader": "head", "minutes": "10", "graded_at": "2026-04-01"}
    rows = (
        row(1, grader=None),
        row(2, criterion_id="c02", grader="own", minutes="3,5", graded_at="2026-04-02T08:00+02:00"),
    )
    first, second = run(index, *rows, form="twin", **header)[0]
    assert (first["grader"], first["minutes"], first["graded_at"]) == (
        "head",
        10.0,
        datetime(2026, 4, 1, tzinfo=UTC),
    )
    assert (second["grader"], second["minutes"]) == ("own", 3.5)
    assert second["graded_at"] == datetime(2026, 4, 2, 6, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "minutes"),
    [
        ("12,5", 12.5),
        ("12.5", 12.5),
        (" 7 ", 7.0),
        (480, 480.0),
        (0, 0.0),
        ("１２", 12.0),
        (None, None),
        ("12.345", 12.345),
    ],
)
def test_minutes(index: GradingIndex, value: Any, minutes: float | None) -> None:
    verdicts, quarantine = run(index, row(minutes=value))
    assert (verdicts[0]["minutes"], quarantine) == (minutes, [])


@pytest.mark.parametrize(
    "value",
    [
        "half an hour",
        "-5",
        -1,
        "481",
        481,
        "1,234",
        "0:25:00",
        "1e2",
        "1_0",
        True,
        math.nan,
        math.inf,
        "9" * 400,
    ],
)
def test_bad_minutes_cost_the_field_only(index: GradingIndex, value: Any) -> None:
    verdicts, quarantine = run(index, row(7, minutes=value))
    assert [v["minutes"] for v in verdicts] == [None]
    assert [(q["row"], q["column"], q["code"]) for q in quarantine] == [(7, "minutes", "bad_minutes")]
    assert len(quarantine[0]["value"]) <= 120


def test_bad_minutes_of_a_packet_are_told_once(index: GradingIndex) -> None:
    rows = [row(n, criterion_id=f"c0{n}") for n in (1, 2, 3)]
    verdicts, quarantine = run(index, *rows, form="workbook", minutes="long")
    assert [v["minutes"] for v in verdicts] == [None] * 3
    assert [(q["row"], q["code"]) for q in quarantine] == [(None, "bad_minutes")]


@pytest.mark.parametrize(
    ("value", "moment", "flags"),
    [
        ("2026-04-03", datetime(2026, 4, 3, tzinfo=UTC), []),
        ("2026-04-03 09:30", datetime(2026, 4, 3, 9, 30, tzinfo=UTC), []),
        ("2026-04-03T09:30:00.5Z", datetime(2026, 4, 3, 9, 30, 0, 500_000, tzinfo=UTC), []),
        ("2026-04-03 09:30:00 +0530", datetime(2026, 4, 3, 4, 0, tzinfo=UTC), []),
        ("2026-05-02", datetime(2026, 5, 2, tzinfo=UTC), []),  # already tomorrow in the east
        (None, None, []),
        ("03/04/2026", None, ["ambiguous_date"]),
        ("13/04/2026", None, ["ambiguous_date"]),
        ("2026-02-30", None, ["ambiguous_date"]),
        ("2026-W10", None, ["ambiguous_date"]),
        ("20260403", None, ["ambiguous_date"]),
        ("0001-01-01T00:00+14:00", None, ["ambiguous_date"]),
        (46115.0, None, ["ambiguous_date"]),
        ("2062-04-03", None, ["future_date"]),
        ("9999-12-31T23:59-12:00", None, ["ambiguous_date"]),
    ],
)
def test_dates(index: GradingIndex, value: Any, moment: datetime | None, flags: list[str]) -> None:
    verdicts, quarantine = run(index, row(graded_at=value))
    assert (verdicts[0]["graded_at"], verdicts[0]["flags"], quarantine) == (moment, flags, [])


def test_a_grader_who_contradicts_himself_is_refused_on_both_sides(index: GradingIndex) -> None:
    rows = [row(1), row(2, passed="no", grader="Ann"), row(3), row(4, grader="bo", passed="no")]
    rows += [row(5, criterion_id="c02"), row(6, passed="no", grader_role="adjudicator")]
    verdicts, quarantine = run(index, *rows)
    assert [(q["row"], q["code"]) for q in quarantine] == [(1, "conflict"), (2, "conflict"), (3, "conflict")]
    assert [v["source_row"] for v in verdicts] == [4, 5, 6]


def test_exact_repetitions_collapse(index: GradingIndex) -> None:
    rows = [row(1), row(2, passed=True, grader=" ann "), row(3, comment="but see page 2")]
    verdicts, quarantine = run(index, *rows)
    assert quarantine == []
    assert [(v["source_row"], v["comment"]) for v in verdicts] == [(1, None), (3, "but see page 2")]


def test_comments_that_name_the_model_are_flagged(index: GradingIndex) -> None:
    rows = [
        row(1, comment="Typical QuillMind-9!"),
        row(2, criterion_id="c02", comment="quillmind-99 is not it"),
    ]
    assert [v["flags"] for v in run(index, *rows)[0]] == [["blinding_suspect"], []]


def test_ids_survive_what_spreadsheets_do_to_them(make_gradable: Make) -> None:
    index = GradingIndex([make_gradable(criteria=frozenset({"1", "Tone"}))])
    rows = [
        row(1, criterion_id=1.0, packet_id=PACKET.capitalize()),
        row(2, criterion_id="tone"),
        row(3, criterion_id=1),
    ]
    verdicts, quarantine = run(index, *rows)
    assert quarantine == []
    assert [v["criterion_id"] for v in verdicts] == ["1", "Tone"]
    assert {v["packet_id"] for v in verdicts} == {PACKET}


def test_overall_feedback_is_a_row_without_a_verdict(index: GradingIndex) -> None:
    rows = [
        row(1, criterion_id=OVERALL, passed="yes", comment="Good"),
        row(2, criterion_id=OVERALL, passed=None, comment="!"),
    ]
    verdicts, _ = run(index, *rows)
    assert [(v["passed"], v["comment"], v["flags"]) for v in verdicts] == [
        (None, "Good", ["overall_verdict_ignored"]),
        (None, "!", []),
    ]


def test_simulated_marks_spread(index: GradingIndex, make_gradable: Make) -> None:
    made = GradingIndex([make_gradable(simulated=True)])
    assert [
        run(i, row(), simulated=s)[0][0]["simulated"] for i, s in ((index, None), (index, True), (made, False))
    ] == [
        False,
        True,
        True,
    ]


def test_a_verdicts_id_says_which_row_of_which_file_it_comes_from(index: GradingIndex) -> None:
    rows = tuple(row(n, criterion_id=c) for n, c in ((2, "c01"), (10, "c02")))
    file, sha = VerdictFile("long", {}, rows, ()), "0123456789abcdef" * 4

    def ids(name: str, sha: str) -> list[str]:
        return [v["verdict_id"] for v in judge(file, index, source_file=name, source_sha256=sha, imported_at=NOW)[0]]

    assert ids("f.csv", sha) == [f"{sha[:32]}-0000000002", f"{sha[:32]}-0000000010"]
    assert ids("renamed.csv", sha) == ids("f.csv", sha) == sorted(ids("f.csv", sha))
    assert not set(ids("f.csv", sha)) & set(ids("f.csv", "f" + sha[1:]))


def test_verdicts_from_one_row_have_ids_of_their_own(index: GradingIndex) -> None:
    """A task of Label Studio holds many, and two annotations of it may say the same on a criterion."""
    said = [("c01", "PASS", "fine"), ("c02", "?", ""), ("c01", "PASS", "very fine"), ("c02", "PASS", "fine")]
    rows = [row(7, criterion_id=c, passed=word, comment=comment) for c, word, comment in said]
    made, bad = run(index, *rows, rows[0])
    assert [v["verdict_id"] for v in made] == ["ab-0000000007", "ab-0000000007-0002", "ab-0000000007-0003"]
    assert len(bad) == 1


cell = st.sampled_from(
    [
        "c01",
        "c02",
        "C03",
        "zz",
        "",
        "PASS",
        "no",
        "n/a",
        "?",
        "ann",
        "bo",
        PACKET,
        OVERALL,
        "12",
        "x y",
        None,
        1,
        0,
        2.5,
        True,
    ]
)
raw = st.fixed_dictionaries(
    {
        "packet_id": st.sampled_from([PACKET, PACKET, "pk_x", None]),
        "criterion_id": cell,
        "passed": cell,
        "grader": cell,
    },
    optional={"comment": cell, "minutes": cell, "graded_at": cell, "grader_role": cell},
)


@settings(derandomize=True, deadline=None)
@given(st.lists(raw, max_size=12), st.sampled_from(["long", "twin", "workbook"]))
def test_every_row_ends_in_exactly_one_place(values: list[dict[str, Any]], form: str) -> None:
    gradable = Gradable(
        PACKET, "a", "2026-01", "m", "agent_alone", "j", "r", None, frozenset({"c01", "c02", "c03"}), False
    )
    rows = tuple(RawRow(n, v) for n, v in enumerate(values, 1))
    verdicts, quarantine = run(GradingIndex([gradable]), *rows, form=form)
    kept = [v["source_row"] for v in verdicts]
    out = [q["row"] for q in quarantine if q["code"] != "bad_minutes"]
    assert len(kept) == len(set(kept))
    assert len(out) == len(set(out))
    assert not set(kept) & set(out)
    said = [{k: v for k, v in record.items() if k not in ("verdict_id", "source_row", "flags")} for record in verdicts]
    for lost in set(range(1, len(rows) + 1)) - set(kept) - set(out):
        # gone because another row says exactly the same
        alone = run(GradingIndex([gradable]), rows[lost - 1], form=form)[0][0]
        assert {k: v for k, v in alone.items() if k not in ("verdict_id", "source_row", "flags")} in said


def test_a_tampered_workbook_is_refused(spec: PacketSpec, make_gradable: Make, tmp_path: Path) -> None:
    index = GradingIndex([make_gradable(packet_sha256=write_packet(spec, tmp_path / "p"))])
    other = replace(spec, packet_id=packet_id_for("attempt-2"))
    write_packet(other, tmp_path / "q")
    book = openpyxl.load_workbook(tmp_path / "q" / f"packet_{other.packet_id}.xlsx")
    book["grade"]["C4"] = spec.packet_id
    for r in range(8, 12):
        book["grade"].cell(r, 4).value = "PASS"
    book.save(tmp_path / "back.xlsx")
    file = read_verdict_file(tmp_path / "back.xlsx")
    verdicts, quarantine = judge(file, index, source_file="back.xlsx", source_sha256="x", imported_at=NOW)
    assert (verdicts, [q["code"] for q in quarantine]) == ([], ["tampered"] * 4)


def test_everything_is_storable(index: GradingIndex) -> None:
    import pyarrow as pa

    verdicts, quarantine = run(index, row(1, comment="\ud800 ok"), row(2, passed="\udc00" * 300))
    assert pa.Table.from_pylist(verdicts, TABLES["verdict_exports"].schema()).num_rows == 1
    assert pa.Table.from_pylist(quarantine, TABLES["quarantine"].schema()).num_rows == 1
    assert json.dumps(quarantine[0]["message"])
