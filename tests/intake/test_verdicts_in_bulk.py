"""The column-by-column import of large files gives the very rows that judging one by one gives."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import random
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hapi_pipeline.grading import bulk
from hapi_pipeline.grading.files import read_verdict_file
from hapi_pipeline.grading.packets import packet_id_for
from hapi_pipeline.grading.verdicts import judgement
from hapi_pipeline.intake import verdicts_bulk
from hapi_pipeline.intake.verdicts import grading_index, import_verdicts
from hapi_pipeline.intake.verdicts_bulk import ground_of, import_large, packet_ids
from hapi_pipeline.lake import Lake
from hapi_pipeline.settings import UserError
from hapi_pipeline.tables import TABLES
from tests import scenario

MODELS = ("Alpha/1 (beta), v.2", "Beta", "ß-Model")
JOBS = ("job-a", "job-b", "jöb-c")
CRITERIA = ("c1", "c2", "C3", "007")
WHAT = ("packet_id", "job_id", "model", "round", "criterion_id")
FIELDS = (*WHAT, "sample", "passed", "comment", "grader", "minutes", "graded_at")
Drop = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Three models at three jobs, alone and after feedback, with a rubric of four criteria of which one has changed."""
    lake = Lake(tmp_path_factory.mktemp("bulk") / "lake")
    keys = {"cohort": scenario.COHORT}
    rubrics, standing = [], []
    for job in JOBS:
        for criterion in CRITERIA:
            rubrics.append(scenario.criterion(job, criterion, "critical") | keys | {"rubric_version": "v2"})
            for version in ("v1", "v2"):
                stands = version == "v2" or criterion != "c1"
                named = {"job_id": job, "criterion_id": criterion, "rubric_version": version, "still_stands": stands}
                standing.append(keys | named | {"simulated": False})
    lake.write("rubrics", scenario.table_of("rubrics", rubrics), keys)
    lake.write("standing_criteria", scenario.table_of("standing_criteria", standing), keys)
    for model in MODELS:
        for round_ in ("agent_alone", "feedback_1"):
            # Beta's second try at job-b is not there, so verdicts on the first are not late
            jobs = [job for job in JOBS if (model, round_, job) != ("Beta", "feedback_1", "job-b")]
            rows = [scenario.attempt(model, round_, job) for job in jobs]
            lake.write("attempts", scenario.table_of("attempts", rows), keys | {"model": model, "round": round_})
            packets = [_packet(row, at) for at, row in enumerate(rows)]
            lake.write("packets", scenario.table_of("packets", packets), keys | {"model": model, "round": round_})
    return lake


def _packet(attempt: dict[str, Any], at: int) -> dict[str, Any]:
    return {
        **attempt,
        "packet_id": packet_id_for(attempt["attempt_id"]),
        "rubric_version": "v2",
        "n_criteria": len(CRITERIA),
        "packet_sha256": f"ab{at}",
        "folder": "here",
        "issued_at": scenario.NOON,
        "flags": [],
    }


def one_by_one(lake: Lake, path: Path, now: datetime) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    made = judgement(
        read_verdict_file(path), grading_index(lake), source_file=path.name, source_sha256=sha, imported_at=now
    )
    rows = scenario.table_of("verdict_exports", made.rows).to_pylist()
    return sorted(rows, key=lambda row: int(row["source_row"])), made.quarantine


def copy_of(lake: Lake, root: Path) -> Lake:
    """A lake with the same attempts and ledgers of its own."""
    root.mkdir(parents=True)
    for table in ("rubrics", "standing_criteria", "attempts", "packets"):
        if (lake.root / table).exists():
            (root / table).symlink_to(lake.root / table)
    return Lake(root)


def in_bulk(lake: Lake, path: Path, root: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]], datetime] | None:
    """The ledger and the quarantine of an import into a copy of the lake."""
    here = copy_of(lake, root)
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    large = import_large(here, [(path, sha)], least=0)
    if large is None or large.done is None:
        return None
    done = large.done
    rows = sorted(here.read("verdict_exports").to_pylist(), key=lambda row: int(row["source_row"]))
    assert done.rows == len(rows)
    quarantine = here.read("quarantine").to_pylist()
    assert done.quarantined == len(quarantine)
    assert set(done.cohorts) == {row["cohort"] for row in rows}
    return rows, quarantine, datetime.fromisoformat(done.imported_at)


def same(lake: Lake, path: Path, root: Path) -> bool:
    """Whether the file is taken in bulk; then with the same outcome."""
    found = in_bulk(lake, path, root)
    if found is None:
        return False
    rows, quarantine, now = found
    expected, bad = one_by_one(lake, path, now)
    assert rows == expected
    key = [column for column in TABLES["quarantine"].names if column != "imported_at"]
    assert sorted([str([q[c] for c in key]) for q in quarantine]) == sorted([str([q[c] for c in key]) for q in bad])
    return True


# --- files ----------------

WORDS = ["PASS", "fail", "Sì", "1", "0", "1.0", "n/a", "CANNOT_JUDGE", "", " ", "perhaps", "✓", "x"]
COMMENTS = [
    "",
    "fine",
    "two, three; four",
    'he said "no"',
    " blanks ",
    "Beta did it",
    "alpha/1 (BETA), v.2 did it",
    "ß-model",
    "SS-MODEL",
    "naïve ✓",
    "\u00a0x",
    "a\tb",
    "two\nlines",
    "three\r\nlines\rmore",
    "c\x07ntrol",
    "\ufffe",
    "=1+1",
    "NULL",
    "NaN",
]
GRADERS = ["ann", "bob", " ann  b ", "", "żoe", "ann"]
MINUTES = ["12", "12,5", "0.5", "", "481", "long", "1,234", "１２", "-1"]
DATES = [
    "2026-03-25T10:00:00Z",
    "2026-03-25",
    "2026-03-25 10:00:00",
    "2026-03-25T10:00:00+05:30",
    "2026-03-25T10:00",
    "2026-03-25T10:00:00.25Z",
    "2026-03-01T10:00:00Z",
    "2026-02-30T10:00:00Z",
    "1999-03-25T10:00:00Z",
    "2099-03-25T10:00:00Z",
    "2026-03-25T10:00:60Z",
    "2026-03-25T10:00:00+25:00",
    "2026-03-25T10Z",
    "2026-03-25T10:11:12.13+05",
    "25/03/2026",
    "",
]


def packet(model: str, job: str, round_: str) -> str:
    return packet_id_for(str(scenario.attempt(model, round_, job)["attempt_id"]))


PACKETS = [packet(m, j, r) for m in MODELS for j in JOBS for r in ("agent_alone", "feedback_1")]


def record(dice: random.Random, dirt: float) -> dict[str, Any]:
    """A row; with `dirt` as the chance that a cell is out of the ordinary."""

    def odd() -> bool:
        return dice.random() < dirt

    row: dict[str, Any] = dict.fromkeys(FIELDS, "")
    model, job, round_ = dice.choice(MODELS), dice.choice(JOBS), dice.choice(("agent_alone", "feedback_1"))
    if dice.random() < 0.5 or odd():
        row["packet_id"] = packet(model, job, round_) if not odd() else dice.choice(["pk_aaaaaaaaaaaa", "Pk_x", " "])
    if not row["packet_id"] or odd():
        row |= {"job_id": job, "model": model, "round": round_}
        if odd():
            row["sample"] = dice.choice(["", "1", "2"])
        if odd():
            row[dice.choice(["job_id", "model", "round"])] = dice.choice(["", "other", " job-a", "Beta "])
    others = ["c9", "c3", "7", "", "__overall__", "c 1"]
    row["criterion_id"] = dice.choice(CRITERIA) if not odd() else dice.choice(others)
    row["passed"] = dice.choice(["PASS", "FAIL"]) if not odd() else dice.choice(WORDS)
    row["comment"] = dice.choice(COMMENTS[:4]) if not odd() else dice.choice(COMMENTS)
    row["grader"] = dice.choice(["ann", "bob"]) if not odd() else dice.choice(GRADERS)
    row["minutes"] = dice.choice(MINUTES[:3]) if not odd() else dice.choice(MINUTES)
    row["graded_at"] = dice.choice(DATES[:3]) if not odd() else dice.choice(DATES)
    return row


def as_csv(rows: Sequence[dict[str, Any]], dice: random.Random, delimiter: str = ",", end: str = "\n") -> str:
    out = io.StringIO()
    names = list(rows[0]) if rows else list(FIELDS)
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end)
    writer.writerow(names)
    for row in rows:
        writer.writerow([row.get(name, "") for name in names])
    return out.getvalue()


def damaged(text: str, dice: random.Random, times: int) -> str:
    """Lines cut, doubled, blanked, run together; stray quotes and commas."""
    lines = text.splitlines(keepends=True)
    for _ in range(times if len(lines) > 1 else 0):
        at = dice.randrange(1, len(lines))
        line = lines[at]
        place = dice.randrange(len(line)) if line else 0
        lines[at] = dice.choice(
            [
                line[:place] + '"' + line[place:],
                line[:place] + "," + line[place:],
                line[:place] + line[place + 1 :],
                line.rstrip("\r\n") + ",,,\n",
                line + line,
                "\n" + line,
                line.rstrip("\r\n"),
                line[:place] + "\n" + line[place:],
                line[:place] + "\r" + line[place:],
                ",,,,,,,,,\n",
                '{"a": 1}\n' + line,
                line.replace('"', "", 1),
            ]
        )
    return "".join(lines)


def as_even_jsonl(rows: Sequence[dict[str, Any]], dice: random.Random) -> str:
    """The same fields in the same order on all lines, as a program writes them."""
    ascii_only = dice.random() < 0.5
    lines = []
    for row in rows:
        minutes = row["minutes"]
        number = {"minutes": float(minutes) if minutes in ("12", "0.5") else 5}
        lines.append(json.dumps({**row, **number}, ensure_ascii=ascii_only) + "\n")
    return "".join(lines)


def as_jsonl(rows: Sequence[dict[str, Any]], dice: random.Random, dirt: float) -> str:
    lines = []
    for row in rows:
        values: dict[str, Any] = {k: v for k, v in row.items() if v != "" or dice.random() < 0.2}
        if dice.random() < dirt:
            name = dice.choice(list(FIELDS))
            values[name] = dice.choice([None, True, 0, 1, 1.0, 0.5, 12, 1e300, [1], {"a": 1}, "x", "\ud800", 10**30])
        if dice.random() < dirt:
            values["verdict"] = dice.choice(["PASS", "FAIL"])
        if dice.random() < dirt:
            values["extra"] = dice.choice([1, "2026-01-01 10:00:00", [1], None, {"deep": [{}]}])
        lines.append(json.dumps(values, ensure_ascii=dice.random() < 0.5))
    return "\n".join(lines) + dice.choice(["", "\n", "\n\n"])


@settings(deadline=None, max_examples=50, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10**9),
    size=st.integers(1, 60),
    dirt=st.sampled_from([0.0, 0.02, 0.3]),
    dialect=st.sampled_from([",", ";", "\t", "json", "even json"]),
    end=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
    harm=st.sampled_from([0, 0, 1, 5]),
    block=st.sampled_from([200, 3000, 1 << 20]),
)
def test_any_file_gives_the_same_both_ways(
    graded: Lake,
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    size: int,
    dirt: float,
    dialect: str,
    end: str,
    encoding: str,
    harm: int,
    block: int,
) -> None:
    dice = random.Random(seed)
    rows = [record(dice, dirt) for _ in range(size)]
    if dialect.endswith("json"):
        text = as_jsonl(rows, dice, dirt) if dialect == "json" else as_even_jsonl(rows, dice)
    else:
        text = as_csv(rows, dice, dialect, end)
    text = damaged(text, dice, harm)
    folder = tmp_path_factory.mktemp("file")
    path = folder / "verdicts.txt"
    path.write_bytes(text.encode(encoding, "replace"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            bulk.judge_in_bulk, "__kwdefaults__", (bulk.judge_in_bulk.__kwdefaults__ or {}) | {"block": block}
        )
        patch.setattr(bulk, "_FEW", dice.choice([0, 1000]))  # both ways to look up what is known
        patch.setattr(bulk, "_MARKED", dice.choice([0, 1000]))
        try:
            taken = same(graded, path, folder / "lake")
        except UserError:
            with pytest.raises(UserError):
                read_verdict_file(path)
            return
    if not harm and dialect != "json":
        assert taken


def test_an_even_file_needs_no_reader_of_json(graded: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "_json_table", lambda text: pytest.fail("a line is left"))
    rows = clean_rows(100, random.Random(14))
    rows[3]["comment"] = 'he said "no", \\o/'
    made = judged_by_columns(graded, "".join(json.dumps(row) + "\n" for row in rows).encode())
    assert (made.n_plain, made.judged.rows, made.judged.quarantine) == (100, [], [])


@pytest.mark.parametrize("newer", [0, 1])
def test_of_two_attempts_at_the_same_the_current_one_is_meant(tmp_path: Path, newer: int) -> None:
    """Whichever of them the lake has first."""
    lake, keys = Lake(tmp_path / "lake"), {"cohort": scenario.COHORT}
    rubrics = [scenario.criterion("job-a", c, "critical") | keys for c in CRITERIA]
    lake.write("rubrics", scenario.table_of("rubrics", rubrics), keys)
    both = [scenario.attempt("Beta", "agent_alone", "job-a") | {"attempt_id": name} for name in ("a", "b")]
    both[1 - newer]["is_current"] = False
    cell = keys | {"model": "Beta", "round": "agent_alone"}
    lake.write("attempts", scenario.table_of("attempts", both), cell)
    about = {"job_id": "job-a", "model": "Beta", "round": "agent_alone", "grader": "ann", "passed": "PASS"}
    rows = [about | {"criterion_id": c, "comment": ""} for c in CRITERIA]
    rows += [about | {"criterion_id": CRITERIA[0], "grader": "bob", "comment": "\x07"}]  # judged one by one
    path = tmp_path / "current.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert same(lake, path, tmp_path / "copy")
    taken = in_bulk(lake, path, tmp_path / "again")
    assert taken is not None
    assert {row["attempt_id"] for row in taken[0]} == {"ab"[newer]}
    assert len(taken[0]) == len(rows)


# --- what the comparison might not meet ----------------


@pytest.fixture
def here(graded: Lake, tmp_path: Path) -> Lake:
    return copy_of(graded, tmp_path / "lake")


def clean_rows(size: int, dice: random.Random) -> list[dict[str, Any]]:
    """Rows without anything unusual, no two on the same criterion of a grader."""
    there = [p for p in PACKETS if p != packet("Beta", "job-b", "feedback_1")]
    every = [(p, c, g) for p in there for c in CRITERIA for g in ("ann", "bob", "cy")]
    chosen = dice.sample(every, size)
    about = {"comment": "two, three", "minutes": "12,5", "graded_at": "2026-03-25T10:00:00Z"}
    return [
        {"packet_id": p, "criterion_id": c, "passed": dice.choice(["PASS", "no"]), "grader": g} | about
        for p, c, g in chosen
    ]


def judged_by_columns(lake: Lake, data: bytes) -> bulk.Bulk:
    shape, ground = bulk.shape_of(data, "v"), ground_of(lake)
    assert shape is not None
    now = scenario.NOON + timedelta(days=30)
    return bulk.judge_in_bulk(data, shape, lambda: ground, source_file="v", source_sha256="0" * 64, imported_at=now)


@pytest.mark.parametrize("dialect", [",", ";", "\t", "json", "ascii json"])
def test_only_what_is_odd_is_judged_one_by_one(graded: Lake, dialect: str) -> None:
    dice = random.Random(7)
    rows = clean_rows(100, dice)
    rows[50]["passed"] = "perhaps"
    rows[70]["comment"] = "two\nlines"
    if dialect.endswith("json"):
        text = "".join(json.dumps(row, ensure_ascii=dialect != "json") + "\n" for row in rows)
    else:
        text = as_csv(rows, dice, dialect)
    made = judged_by_columns(graded, text.encode())
    assert [q["row"] for q in made.judged.quarantine] == [51]
    # a cell over two lines is one by one in CSV; in JSON it is written on one line
    assert [made.n_plain, len(made.judged.rows)] == ([99, 0] if dialect.endswith("json") else [98, 1])


def test_a_contradiction_is_refused_on_both_sides_and_a_repetition_is_none(graded: Lake, tmp_path: Path) -> None:
    rows = clean_rows(40, random.Random(8))
    twice = [dict(rows[3]), dict(rows[4]) | {"passed": "PASS" if rows[4]["passed"] == "no" else "no"}]
    twice += [dict(rows[5]) | {"passed": "n/a", "comment": "Beta did it"}, dict(rows[6]) | {"comment": "more"}]
    twice[1]["grader"] = twice[1]["grader"].upper()  # the same person
    path = tmp_path / "twice.csv"
    path.write_text(as_csv([*rows, *twice], random.Random(8)))
    found = in_bulk(graded, path, tmp_path / "lake")
    assert found is not None
    taken, quarantine, now = found
    assert sorted((q["row"], q["code"]) for q in quarantine) == [(n, "conflict") for n in (5, 6, 42, 43)]
    assert [row["source_row"] for row in taken if row["source_row"] > 40] == [44]
    assert taken == one_by_one(graded, path, now)[0]


def test_a_quote_that_is_never_closed_costs_its_line_only(graded: Lake, tmp_path: Path) -> None:
    """The csv reader gives up after 131,072 characters, and says so; the reason is the same in bulk."""
    rows = clean_rows(150, random.Random(9)) * 30
    lines = as_csv(rows, random.Random(9)).splitlines(keepends=True)
    lines[7] = lines[7].replace('"two', '""two', 1)
    path = tmp_path / "quote.csv"
    path.write_text("".join(lines))
    assert path.stat().st_size > 200_000
    assert same(graded, path, tmp_path / "lake")


def test_a_key_that_stands_twice_in_an_object_is_read_as_by_the_other_reader(graded: Lake, tmp_path: Path) -> None:
    rows = clean_rows(60, random.Random(10))
    lines = [json.dumps(row) + "\n" for row in rows]
    lines[5] = lines[5].replace('"grader"', '"grader": "dee", "grader"')
    lines[9] = lines[9][:-2] + "} " + lines[10]
    lines[10] = "\n"
    lines[20] = lines[20].replace("}", ', "verdict": "n/a"}')
    path = tmp_path / "twice.jsonl"
    path.write_text("".join(lines))
    assert same(graded, path, tmp_path / "lake")


@pytest.mark.parametrize(
    "text",
    [
        "packet_id,pk_x\ncriterion_id,passed\nc1,PASS\n",  # the twin of a workbook
        "note,,\npacket_id,criterion_id,passed\npk_x,c1,PASS\n",  # something above the table
        '"packet_id",criterion_id,passed\npk_x,c1,PASS\n',
        '[{"packet_id": "pk_x", "criterion_id": "c1", "passed": true}]',
        '{"id": 1, "text": "x", "label": 1}\n',
        "colour,size\nred,2\n",
        "",
    ],
)
def test_other_forms_are_left_to_the_other_reader(text: str) -> None:
    assert bulk.shape_of(text.encode(), "v") is None


def test_few_lines_of_a_large_file_tell_its_form(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = clean_rows(60, random.Random(13)) * 80
    rows[0] = rows[0] | {"comment": "long " * 4000}
    data = as_csv(rows, random.Random(13)).encode()
    whole = bulk.shape_of(data, "v")
    assert whole is not None
    for most in (1 << 14, 1 << 16, 1 << 18):  # less than the first rows, less than the lines wanted, enough of them
        monkeypatch.setattr(bulk, "_HEAD", most)
        assert bulk.shape_of(data, "v") == (whole if most == 1 << 18 else None)


def test_only_one_large_file_has_its_attempts_looked_up_ahead(
    here: Lake, drop: Drop, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = drop("a.csv", "packet_id,criterion_id,passed\n"), drop("b.csv", "")
    assert verdicts_bulk.ahead(here, [path]) is None
    monkeypatch.setattr(verdicts_bulk, "LEAST", 1)
    assert verdicts_bulk.ahead(here, [path, path]) is None
    assert verdicts_bulk.ahead(here, [other]) is None
    assert verdicts_bulk.ahead(here, [path.parent / "missing.csv"]) is None
    looked_up = verdicts_bulk.ahead(here, [path])
    assert looked_up is not None
    ground = looked_up.result()
    assert set(ground.attempts.column("packet_id").to_pylist()) >= {packet("Beta", "job-a", "agent_alone")}


def test_packets_have_the_same_ids() -> None:
    import pyarrow as pa

    attempts = ["", "attempt-1", "ä" * 300, *map(str, range(200))]
    assert packet_ids(pa.array(attempts)).to_pylist() == [packet_id_for(a) for a in attempts]


def test_the_command_takes_large_files_in_bulk_and_only_once(
    here: Lake, drop: Drop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(verdicts_bulk, "LEAST", 0)
    rows = clean_rows(50, random.Random(11))
    rows[9]["passed"] = ""
    path = drop("large.csv", as_csv(rows, random.Random(11)))
    done, repeated = import_verdicts(here, [path], replies=tmp_path / "replies")
    assert done is not None
    assert (done.rows, done.quarantined, repeated, done.cohorts) == (49, 1, [], (scenario.COHORT,))
    (reply,) = (tmp_path / "replies").iterdir()
    text = reply.read_text()
    assert "49 verdict(s)" in text
    assert "Row 11" in text  # the tenth row stands below the column names
    assert import_verdicts(here, [path]) == (None, [path])
    assert len(here.imports("verdicts")) == 1


def test_a_large_file_that_came_too_early_may_come_again(
    graded: Lake, drop: Drop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(verdicts_bulk, "LEAST", 0)
    lake = Lake(tmp_path / "lake")
    path = drop("early.csv", as_csv(clean_rows(30, random.Random(12)), random.Random(12)))
    first, _ = import_verdicts(lake, [path])
    assert first is not None
    assert (first.rows, first.quarantined) == (0, 30)
    assert import_verdicts(lake, [path]) == (None, [path])
    for table in ("rubrics", "standing_criteria", "attempts", "packets"):
        (lake.root / table).symlink_to(graded.root / table)
    again, _ = import_verdicts(lake, [path])
    assert again is not None
    assert again.rows == 30
    assert again.import_id != first.import_id
