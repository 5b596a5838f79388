"""Packets as zip files and as a Label Studio project, and what is said to the operator alone."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from hapi_pipeline.cli import main
from hapi_pipeline.grading.files import read_verdict_file
from hapi_pipeline.grading.label_studio_project import TASKS
from hapi_pipeline.handout import assign, write_out
from tests import scenario
from tests.assignment.conftest import CRITERIA, JOBS, MODELS, ROUND, Desk


def hapi(desk: Desk, *arguments: object) -> int:
    return main(["packets", "--home", str(desk.home.root), *map(str, arguments)])


def flag(desk: Desk, model: str, **flags: list[str]) -> None:
    """Give packets of a model flags, by job."""
    keys = {"cohort": scenario.COHORT, "model": model, "round": ROUND}
    rows = desk.lake.read("packets", keys).to_pylist()
    changed = [row | {"flags": flags.get(row["job_id"].replace("-", "_"), [])} for row in rows]
    desk.lake.write("packets", scenario.table_of("packets", changed), keys)


def zips(folder: Path, unpacked: Path, grader: str) -> dict[Path, bytes]:
    """The zip files below a folder; each must hold one folder of its own name, for this grader."""
    archives = sorted(folder.rglob("*.zip"))
    assert len(archives) == len(JOBS) * len(MODELS)
    assert not [p for p in folder.rglob("*") if p.name.startswith(".")]
    for path in archives:
        with zipfile.ZipFile(path) as archive:
            assert all(name.startswith(f"{path.stem}/") for name in archive.namelist())
            archive.extractall(unpacked)
        (book,) = (unpacked / path.stem).glob("packet_*.xlsx")
        assert read_verdict_file(book).header.get("grader", "") == grader
    return {path: path.read_bytes() for path in archives}


def test_packets_go_out_as_zip_files(desk: Desk, tmp_path: Path) -> None:
    assert hapi(desk, "--out", tmp_path / "out", "--zip") == 0
    before = zips(tmp_path / "out", tmp_path / "unpacked", "")
    assert hapi(desk, "--out", tmp_path / "out", "--zip") == 0
    assert zips(tmp_path / "out", tmp_path / "again", "") == before


def test_packets_go_to_a_grader_as_zip_files(desk: Desk, tmp_path: Path) -> None:
    desk.graders("grader-1", double_share=0.0)
    given = assign(desk.home)
    assert write_out(desk.home, tmp_path / "out", given, zipped=True) == (6, 0)
    before = zips(tmp_path / "out", tmp_path / "unpacked", "grader-1")
    assert write_out(desk.home, tmp_path / "out", given, zipped=True) == (6, 6)
    desk.rubric({"c1": "c1 is met, really"})  # the packets are made anew: they go out beside the old ones
    assert write_out(desk.home, tmp_path / "out", given, zipped=True) == (6, 0)
    assert len(list((tmp_path / "out").rglob("*.zip"))) == 2 * len(before)
    assert write_out(desk.home, tmp_path / "out", given, zipped=True) == (6, 6)


def test_a_label_studio_project_goes_out_and_comes_back(desk: Desk, tmp_path: Path) -> None:
    assert hapi(desk, "--out", tmp_path / "ls", "--label-studio") == 0
    tasks = json.loads((tmp_path / "ls" / TASKS).read_text("utf-8"))
    assert [task["data"]["packet_id"] for task in tasks] == desk.packets
    for path in (tmp_path / "ls").rglob("*"):
        assert not any(word in str(path.relative_to(tmp_path)).lower() for word in ("zephyr", "ostrich", ROUND))
    said = (tmp_path / "ls" / TASKS).read_text("utf-8").lower()
    assert not any(word in said for word in ("zephyr", "ostrich", ROUND, scenario.COHORT, "cost"))

    for number, task in enumerate(tasks):
        result = [
            {"from_name": f"verdict_{n}", "to_name": f"crit_{n}", "type": "choices", "value": {"choices": ["Pass"]}}
            for n in range(len(CRITERIA))
        ]
        times = {"created_at": "2026-03-21T10:00:00Z", "updated_at": "2026-03-21T10:00:00Z", "lead_time": 60.0}
        task |= {"id": number, "annotations": [{"id": number, "completed_by": 7, "result": result} | times]}
    export = tmp_path / "export.json"
    export.write_text(json.dumps(tasks))
    file = read_verdict_file(export)
    assert file.problems == ()
    assert {(r.values["packet_id"], r.values["criterion_id"]) for r in file.rows} == {
        (packet, criterion) for packet in desk.packets for criterion in CRITERIA
    }


def test_each_grader_has_a_label_studio_project_of_what_is_theirs(desk: Desk, tmp_path: Path) -> None:
    desk.graders("grader-1", "grader-2", double_share=0.0)
    assert hapi(desk, "--out", tmp_path / "ls", "--label-studio") == 0
    files = {grader: tmp_path / "ls" / grader / TASKS for grader in ("grader-1", "grader-2")}
    tasks = {g: [task["data"]["packet_id"] for task in json.loads(f.read_text("utf-8"))] for g, f in files.items()}
    noted = sorted(desk.lake.read("assignments").to_pylist(), key=lambda entry: entry["position"])
    assert {g: [e["packet_id"] for e in noted if e["grader"] == g] for g in tasks} == tasks
    assert sorted(tasks["grader-1"] + tasks["grader-2"]) == desk.packets
    before = files["grader-1"].read_bytes()
    assert hapi(desk, "--out", tmp_path / "ls", "--label-studio") == 0, "given once, and the same again"
    assert files["grader-1"].read_bytes() == before
    assert len(desk.lake.read("assignments")) == len(noted)


def test_a_changed_rubric_stops_the_label_studio_project(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row | {"rubric_version": "r2"} for row in desk.lake.read("rubrics").to_pylist()]
    desk.lake.write("rubrics", scenario.table_of("rubrics", rows), scenario.SCOPE)
    assert hapi(desk, "--out", tmp_path / "ls", "--label-studio") == 2
    assert "hapi refresh" in capsys.readouterr().err
    assert not (tmp_path / "ls").exists()


def test_the_operator_is_told_and_the_folders_are_not(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = "names_maker:deliverable_01.md:zephyr nine"
    flag(desk, MODELS[0], job_1=[told])
    flag(desk, MODELS[1], job_2=["not_stripped:deliverable_01.pdf:encrypted"])
    assert hapi(desk, "--out", tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert f"{desk.packet()} {told}" in said
    assert "2 thing(s)" in said
    assert all(b"zephyr" not in p.read_bytes().lower() for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert hapi(desk, "--out", tmp_path / "other", "--model", MODELS[1]) == 0
    assert told not in capsys.readouterr().out
