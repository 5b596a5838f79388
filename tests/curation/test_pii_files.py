"""Scanning tables: which column, which row, and plain words when a file is not what it seems."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hapi_pipeline.curation.pii import scan_file

CLEAN = "Draw a green logo, budget $200"
MAIL = "write to maria@quietriver.org"
NAME = "my name is Maria Klein"
ROWS = [
    {"id": 1, "title": "Logo", "text": CLEAN},
    {"id": 2, "title": MAIL, "text": 'a cell\nwith "quotes", and lines'},
    {"id": 3, "title": "Tea", "text": NAME},
    {"id": 4, "title": "Tea", "text": MAIL},
]
DECISIONS = ["keep", "keep", "review", "reject"]


def write_csv(path: Path, encoding: str = "utf-8", newline: str = "\r\n") -> Path:
    with path.open("w", encoding=encoding, newline="") as out:
        writer = csv.DictWriter(out, list(ROWS[0]), lineterminator=newline)
        writer.writeheader()
        writer.writerows(ROWS)
    return path


def write_jsonl(path: Path) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in ROWS) + "\n\n", encoding="utf-8")
    return path


def write_parquet(path: Path) -> Path:
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    return path


def gzipped(path: Path) -> Path:
    target = path.with_name(path.name + ".gz")
    target.write_bytes(gzip.compress(path.read_bytes()))
    return target


WRITERS = {"csv": write_csv, "jsonl": write_jsonl, "parquet": write_parquet}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", list(WRITERS))
def test_the_column_named_text_is_scanned(tmp_path: Path, kind: str, packed: bool) -> None:
    path = WRITERS[kind](tmp_path / f"posts.{kind}")
    reports = list(scan_file(gzipped(path) if packed else path))
    assert [report["row"] for report in reports] == [0, 1, 2, 3]
    assert [report["decision"] for report in reports] == DECISIONS
    assert reports[0]["findings"] == []
    (finding,) = reports[3]["findings"]
    assert finding == {"type": "email", "start": 9, "end": len(MAIL), "score": 0.95}
    json.dumps(reports)


@pytest.mark.parametrize("kind", list(WRITERS))
def test_another_column_on_request(tmp_path: Path, kind: str) -> None:
    path = WRITERS[kind](tmp_path / f"posts.{kind}")
    assert [report["decision"] for report in scan_file(path, "title")] == ["keep", "reject", "keep", "keep"]


@pytest.mark.parametrize("kind", list(WRITERS))
def test_without_a_text_column_all_strings_are_scanned(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    renamed = [{"body" if k == "text" else k: v for k, v in row.items()} for row in ROWS]
    monkeypatch.setattr(f"{__name__}.ROWS", renamed)
    path = WRITERS[kind](tmp_path / f"posts.{kind}")
    assert [report["decision"] for report in scan_file(path)] == ["keep", "reject", "review", "reject"]


@pytest.mark.parametrize("kind", list(WRITERS))
def test_a_missing_column_is_named_with_those_there_are(tmp_path: Path, kind: str) -> None:
    path = WRITERS[kind](tmp_path / f"posts.{kind}")
    with pytest.raises(ValueError, match="has no column 'body'; it has 'id', 'title', 'text'"):
        list(scan_file(path, "body"))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks(tmp_path: Path, encoding: str) -> None:
    path = write_csv(tmp_path / "posts.csv", encoding, "\n")
    assert [report["decision"] for report in scan_file(path)] == DECISIONS


def test_cells_beyond_the_header_and_missing_cells(tmp_path: Path) -> None:
    path = tmp_path / "ragged.csv"
    path.write_text(f"a,b\nx\nx,y,{MAIL}\n", encoding="utf-8")
    assert [report["decision"] for report in scan_file(path)] == ["keep", "reject"]


def test_a_header_alone_has_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "empty.csv"
    path.write_text("text\n", encoding="utf-8")
    assert list(scan_file(path)) == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nothing.csv", b"", "is empty"),
        ("posts.xlsx", b"PK", "is not a CSV, JSONL or Parquet file"),
        ("posts.csv", b"text\n\xff\xfa\xfb", "is not UTF-8 or UTF-16 text"),
        ("posts.csv.gz", gzip.compress(b"text\nabc\n" * 99, mtime=0)[:30], "is a damaged gzip file"),
        ("posts.jsonl", b'{"text": "a"}\n{', "Line 2 of posts.jsonl is not JSON"),
        ("posts.jsonl", b"[1]\n", "Line 1 of posts.jsonl is not a JSON object"),
        ("posts.parquet", b"PAR1 or not", "is not a readable Parquet file"),
    ],
)
def test_unreadable_files_are_told_in_one_sentence(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as raised:
        list(scan_file(path))
    assert "\n" not in str(raised.value)
    assert str(raised.value).endswith(".")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot be read: No such file"):
        list(scan_file(tmp_path / "gone.csv"))


def test_a_long_file_is_scanned_in_order_by_several_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hapi_pipeline.curation.pii.files._BATCH_ROWS", 5)
    monkeypatch.setattr("hapi_pipeline.curation.pii.files._LEAST_BATCHES", 3)
    path = tmp_path / "posts.jsonl"
    path.write_text("".join(json.dumps({"text": MAIL if n % 3 == 0 else CLEAN}) + "\n" for n in range(88)))
    reports = list(scan_file(path))
    assert [report["row"] for report in reports] == list(range(88))
    assert [report["decision"] for report in reports] == ["keep" if n % 3 else "reject" for n in range(88)]


@pytest.mark.parametrize("least", [3, 1000])
def test_rows_before_an_unreadable_one_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, least: int
) -> None:
    monkeypatch.setattr("hapi_pipeline.curation.pii.files._BATCH_ROWS", 5)
    monkeypatch.setattr("hapi_pipeline.curation.pii.files._LEAST_BATCHES", least)
    path = tmp_path / "posts.jsonl"
    path.write_text('{"text": "tea"}\n' * 23 + "{\n")
    reports = scan_file(path)
    assert [next(reports)["row"] for _ in range(23)] == list(range(23))
    with pytest.raises(ValueError, match=r"Line 24 of posts\.jsonl is not JSON"):
        next(reports)


def test_long_texts_make_smaller_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hapi_pipeline.curation.pii.files._BATCH_CHARACTERS", 10)
    from hapi_pipeline.curation.pii import files

    assert list(files._batches(iter(["x" * 8, "y" * 8, "z", "w"]))) == [["x" * 8, "y" * 8], ["z", "w"]]
