"""Bad input and bad usage: exit 2, one sentence that says what to do, and nothing changed."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from hapi_pipeline.cli import main
from tests.cli.conftest import JOB_COLUMNS, Hapi, listing, write_csv, write_jobs

Maker = Callable[[Path], Path]


def without(column: str) -> Maker:
    return lambda folder: write_jobs(folder / "short.csv", [c for c in JOB_COLUMNS if c != column])


def holding(name: str, data: bytes) -> Maker:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return make


def a_folder(folder: Path) -> Path:
    (folder / "drop").mkdir()
    return folder / "drop"


BAD_JOBS: dict[str, tuple[Maker, str]] = {
    "no title": (without("title"), "'title'"),
    "no price": (without("price_usd"), "'price_usd'"),
    "no id": (without("job_id"), "'job_id'"),
    "binary": (holding("photo.csv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0"), "binary"),
    "empty": (holding("empty.csv", b""), "empty"),
    "blank": (holding("blank.csv", b" \n\n "), "blanks"),
    "header only": (lambda folder: write_csv(folder / "head.csv", JOB_COLUMNS, []), "no rows"),
    "folder": (a_folder, "folder"),
    "absent": (lambda folder: folder / "nowhere.csv", "does not exist"),
    "cut gzip": (holding("cut.csv.gz", gzip.compress(b"job_id,title\n" * 999)[:40]), "gzip"),
    "not parquet": (holding("fake.parquet", b"PAR1 and then something else PAR1"), "fake.parquet"),
}


def one_sentence(said: str) -> bool:
    return said.startswith("hapi: ") and said.count("\n") == 1 and "Traceback" not in said


@pytest.mark.parametrize("case", BAD_JOBS)
def test_a_bad_job_export_makes_no_home(case: str, hapi: Hapi, home: Path, tmp_path: Path) -> None:
    make, named = BAD_JOBS[case]
    code, out, err = hapi("import", "jobs", make(tmp_path), "--source", "canonical")
    assert (code, out) == (2, "")
    assert one_sentence(err), err
    assert named in err
    assert not home.exists()


def test_bad_job_exports_change_nothing(stocked: Path, hapi: Hapi, tmp_path: Path) -> None:
    before = listing(stocked)
    for make, named in BAD_JOBS.values():
        code, out, err = hapi("import", "jobs", make(tmp_path), "--source", "canonical")
        assert (code, out, named in err) == (2, "", True), err
    assert listing(stocked) == before


def test_a_good_file_is_not_taken_in_beside_a_bad_one(hapi: Hapi, home: Path, tmp_path: Path) -> None:
    good, bad = write_jobs(tmp_path / "jobs.csv"), without("paid")(tmp_path)
    code, _, err = hapi("import", "jobs", good, bad, "--source", "canonical")
    assert (code, "short.csv" in err, "'paid'" in err, home.exists()) == (2, True, True, False)


@pytest.mark.parametrize("source", ["no_such_source", "../canonical", "", "canonical.yaml"])
def test_an_unknown_source_is_named_with_those_that_exist(source: str, hapi: Hapi, home: Path, tmp_path: Path) -> None:
    code, _, err = hapi("import", "jobs", write_jobs(tmp_path / "jobs.csv"), "--source", source)
    assert (code, one_sentence(err), home.exists()) == (2, True, False)
    assert repr(source) in err
    assert "canonical" in err.split("known sources")[1]


BAD_COMMANDS: dict[str, tuple[tuple[str, ...], str]] = {
    "rubrics without texts": (("import", "rubrics", "{bad}"), "'job_id'"),
    "rubrics in a folder": (("import", "rubrics", "{folder}"), "folder"),
    "verdicts that are none": (("import", "verdicts", "{bad}"), "bad.csv"),
    "verdicts in a folder": (("import", "verdicts", "{folder}"), "folder"),
    "attempts in a file": (("import", "attempts", "{bad}"), "not a folder"),
    "attempts without a manifest": (("import", "attempts", "{folder}"), "manifest"),
    "refresh of an unknown month": (("refresh", "--cohort", "2019-01"), "2025-03"),
    "backfill of an unknown model": (("backfill", "--model", "Nobody"), "'Nobody'"),
    "retiring an unknown model": (("models", "retire", "Nobody"), "'Nobody'"),
    "a model without a name": (("models", "add", " ", "--external"), "name"),
    "a model both ways": (("models", "add", "Two Ways", "--external", "--litellm", "a/b"), "--external"),
    "a model neither way": (("models", "add", "No Way"), "--litellm"),
    "explaining an unknown job": (("explain", "J99"), "'J99'"),
    "a query that writes": (("query", "CREATE TABLE t AS SELECT 1"), "SELECT"),
    "a query that deletes": (("query", "DELETE FROM job_posts"), "SELECT"),
    "a query that copies out": (("query", "COPY (SELECT 1) TO '{out}'"), "SELECT"),
    "two queries": (("query", "SELECT 1; DROP VIEW job_posts"), "single SELECT"),
    "no query": (("query", "SELEKT 1"), "SQL"),
    "an unknown table": (("query", "SELECT * FROM salaries"), "salaries"),
    "a file from elsewhere": (("query", "SELECT * FROM read_text('{bad}')"), "failed"),
    "packets into a file": (("packets", "--out", "{bad}"), "bad.csv"),
    "packets of an unknown model": (("packets", "--model", "Nobody", "--out", "{out}"), "'Nobody'"),
    "packets of an unknown round": (("packets", "--round", "overtime", "--out", "{out}"), "'overtime'"),
    "months the wrong way round": (
        ("backfill", "--model", "Sim X", "--cohorts", "2025-04..2025-03"),
        "months",
    ),
}


@pytest.mark.parametrize("case", BAD_COMMANDS)
def test_a_bad_command_says_why_and_changes_nothing(case: str, stocked: Path, hapi: Hapi, tmp_path: Path) -> None:
    words, named = BAD_COMMANDS[case]
    (tmp_path / "bad.csv").write_text("colour,shape\nred,round\n")
    (tmp_path / "folder").mkdir()
    (stocked / "registry" / "models.yaml").write_text("models:\n- {name: Sim X, litellm: a/b}\n")
    places = {"bad": tmp_path / "bad.csv", "folder": tmp_path / "folder", "out": tmp_path / "out"}
    before = listing(stocked)
    code, out, err = hapi(*(word.format(**places) for word in words))
    assert (code, out) == (2, ""), (out, err)
    assert one_sentence(err), err
    assert named in err
    assert listing(stocked) == before
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "case",
    [
        "refresh of an unknown month",
        "backfill of an unknown model",
        "retiring an unknown model",
        "a model without a name",
        "a model both ways",
        "a model neither way",
        "verdicts that are none",
        "attempts without a manifest",
        "explaining an unknown job",
        "a query that writes",
        "an unknown table",
        "rubrics without texts",
        "packets into a file",
        "packets of an unknown model",
    ],
)
def test_a_bad_command_makes_no_home(case: str, hapi: Hapi, home: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("colour,shape\nred,round\n")
    (tmp_path / "folder").mkdir()
    places = {"bad": tmp_path / "bad.csv", "folder": tmp_path / "folder", "out": tmp_path / "out"}
    code, _, err = hapi(*(word.format(**places) for word in BAD_COMMANDS[case][0]))
    assert (code, one_sentence(err)) == (2, True), err
    assert not home.exists()


@pytest.mark.parametrize(
    "words",
    [
        ["refuse"],
        ["import"],
        ["import", "jobs", "f.csv"],
        [],
        ["refresh", "--max-usd", "much"],
        ["refresh", "--max-usd", "-1"],
        ["backfill", "--model", "M", "--max-usd", "nan"],
        ["models", "add", "M", "--litellm", "a/b", "--input-usd", "-2"],
    ],
)
def test_bad_usage_is_exit_2(words: list[str], home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--home", str(home), *words])
    assert stopped.value.code == 2
    assert "hapi" in capsys.readouterr().err
    assert not home.exists()


def test_a_refused_command_leaves_no_trace_of_its_lock(stocked: Path, hapi: Hapi, tmp_path: Path) -> None:
    before = listing(stocked)
    assert hapi("import", "jobs", holding("empty.csv", b"")(tmp_path), "--source", "canonical")[0] == 2
    assert listing(stocked) == before
