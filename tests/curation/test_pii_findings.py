"""Every text of every post is scanned, whatever process does it; attached files only where they are text and inside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hapi_pipeline.curation import pii_findings as scanned
from hapi_pipeline.curation.pii.files import attached_text
from hapi_pipeline.lake import Lake
from hapi_pipeline.naming import slug
from hapi_pipeline.tables import TABLES

SCOPE = {"cohort": "2026-03"}
MAIL, PHONE, CLEAN = "write to maria@quietriver.org", "call me on +44 20 7946 0958", "Draw a green logo"


def post(job_id: str, **values: Any) -> dict[str, Any]:
    row = dict.fromkeys(TABLES["job_posts"].names) | {"cohort": "2026-03", "job_id": job_id, "source": "canonical"}
    row |= {"assumed_fields": [], "content_id": job_id, "source_file": "f", "source_sha256": "a" * 64, "source_row": 1}
    row |= {"imported_at": datetime(2026, 4, 1, tzinfo=UTC), "simulated": False}
    return row | values


def lake_with(home: Path, *posts: Mapping[str, Any], row_group_size: int | None = None) -> Lake:
    lake = Lake(home / "lake")
    rows = pa.Table.from_pylist([dict(p) for p in posts], schema=TABLES["job_posts"].schema())
    if row_group_size is None:
        lake.write("job_posts", rows, SCOPE)
    else:
        path = lake.path("job_posts", SCOPE)
        path.parent.mkdir(parents=True)
        pq.write_table(rows, path, row_group_size=row_group_size)
    return lake


def attach(home: Path, job_id: str, name: str, data: bytes) -> Path:
    path = home / "attachments" / slug(job_id) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def rows_of(lake: Lake, workers: int = 1) -> list[dict[str, Any]]:
    batches = list(scanned.pii_findings(lake, SCOPE, workers=workers))
    return [row for batch in batches for row in batch.to_pylist()]


def places(lake: Lake) -> list[tuple[str, str, str]]:
    return [(row["job_id"], row["place"], row["finding_type"]) for row in rows_of(lake)]


def test_every_text_of_every_post_is_scanned(tmp_path: Path) -> None:
    lake = lake_with(
        tmp_path,
        post("a", title=MAIL, description=PHONE, job_type="hourly"),
        post("b", title=CLEAN, description=CLEAN),
        post("c", title=None, description=None, attachments=["plan.pdf", "for maria@quietriver.org"]),
        post("d", description=f"{MAIL}, {PHONE}, {MAIL}"),
    )
    assert places(lake) == [
        ("a", "description", "phone"),
        ("a", "title", "email"),
        ("c", "attachments", "email"),
        ("d", "description", "email"),
        ("d", "description", "email"),
        ("d", "description", "phone"),
    ]
    (first, *_) = [row for row in rows_of(lake) if row["job_id"] == "d"]
    assert MAIL[first["start"] : first["end"]] == "maria@quietriver.org"
    assert (first["cohort"], first["decision"]) == ("2026-03", "reject")
    assert first["detector_version"] == scanned.detector_version()
    assert "quietriver" not in json.dumps(rows_of(lake), default=str)


def test_the_rows_are_ready_to_be_written(tmp_path: Path) -> None:
    posts = [post(f"{n:03}", title=MAIL if n % 3 else CLEAN, description=PHONE) for n in range(50)]
    lake = lake_with(tmp_path, *posts)
    written = lake.write("pii_findings", scanned.pii_findings(lake, SCOPE, workers=1), SCOPE)
    assert written.rows == 50 + 33
    assert lake.read("pii_findings", SCOPE).num_rows == written.rows


def test_no_month_no_findings(tmp_path: Path) -> None:
    assert rows_of(Lake(tmp_path / "lake")) == []
    assert scanned.attachments_state(Lake(tmp_path / "lake"), SCOPE) == ""


def test_any_number_of_processes_gives_the_same_rows(tmp_path: Path) -> None:
    posts = [post(f"{n:03}", title=MAIL if n % 3 else CLEAN, description=PHONE if n % 7 else "") for n in range(60)]
    lake = lake_with(tmp_path, *posts, row_group_size=7)
    alone = rows_of(lake, workers=1)
    assert rows_of(lake, workers=2) == alone
    assert alone == sorted(alone, key=lambda row: tuple(row[name] for name in TABLES["pii_findings"].key))
    assert len(alone) == 40 + 51


def test_the_text_of_attachments_is_scanned_whatever_they_are_called(tmp_path: Path) -> None:
    names = ["notes.txt", "list.csv", "brief", "picture.png", "old.txt", "wide.txt", "gone.txt", "notes.txt"]
    lake = lake_with(tmp_path, post("job/1", attachments=names), post("job/2", attachments=["notes.txt"]))
    attach(tmp_path, "job/1", "notes.txt", MAIL.encode())
    attach(tmp_path, "job/1", "list.csv", f"name,phone\nx,{PHONE}\n".encode())
    attach(tmp_path, "job/1", "brief", f"<p>{MAIL}</p>".encode())
    attach(tmp_path, "job/1", "picture.png", b"\x89PNG\r\n\x1a\n\x00\x00" + MAIL.encode())
    attach(tmp_path, "job/1", "old.txt", f"für {MAIL}".encode("cp1252"))
    attach(tmp_path, "job/1", "wide.txt", MAIL.encode("utf-16"))
    attach(tmp_path, "job/1", "unlisted.txt", MAIL.encode())
    assert places(lake) == [
        ("job/1", "attachment:brief", "email"),
        ("job/1", "attachment:list.csv", "phone"),
        ("job/1", "attachment:notes.txt", "email"),
        ("job/1", "attachment:old.txt", "email"),
        ("job/1", "attachment:wide.txt", "email"),
    ]


def test_a_name_that_is_personal_data_is_not_repeated(tmp_path: Path) -> None:
    lake = lake_with(tmp_path, post("a", attachments=["x.txt", "maria@quietriver.org.txt"]))
    attach(tmp_path, "a", "x.txt", CLEAN.encode())
    attach(tmp_path, "a", "maria@quietriver.org.txt", MAIL.encode())
    assert places(lake) == [("a", "attachment:2", "email")]


def test_nothing_outside_a_jobs_folder_is_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text(MAIL)
    names = ["link.txt", "../b/other.txt", str(secret), "folder", "pipe", "nul\x01.txt", "x" * 5000]
    lake = lake_with(tmp_path, post("a", attachments=names), post("..", attachments=["secret.txt"]))
    attach(tmp_path, "b", "other.txt", MAIL.encode())
    attach(tmp_path, "a", "kept.txt", b"")
    folder = tmp_path / "attachments" / "a"
    (folder / "link.txt").symlink_to(secret)
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    assert [row["place"] for row in rows_of(lake) if row["place"].startswith("attachment:")] == []


def test_the_state_of_attachments_changes_with_any_of_them(tmp_path: Path) -> None:
    lake = lake_with(tmp_path, post("a", attachments=["x.txt", "y.txt"]), post("b"))
    states = [scanned.attachments_state(lake, SCOPE)]

    def look() -> None:
        states.append(scanned.attachments_state(lake, SCOPE))

    path = attach(tmp_path, "a", "x.txt", b"one")
    look()
    path.write_bytes(b"three")
    look()
    os.utime(path, ns=(1, 1))
    look()
    attach(tmp_path, "a", "y.txt", b"one")
    look()
    assert len(set(states)) == 5
    assert states[0] == ""
    before = scanned.attachments_state(lake, SCOPE)
    attach(tmp_path, "other job", "x.txt", b"one")
    attach(tmp_path, "a", "not listed.txt", b"one")
    assert scanned.attachments_state(lake, SCOPE) == before


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"plain", "plain"),
        (b"", ""),
        ("naïve ☎".encode(), "naïve ☎"),
        (b"\xef\xbb\xbfmarked", "marked"),
        ("wide".encode("utf-16"), "wide"),
        (b"caf\xe9 \x93x\x94", "café “x”"),
        (b"%PDF-1.7\n\x00\x01", None),
        (b"PK\x03\x04", None),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", None),
        (b"tab\tline\r\nfeed\x0c", "tab\tline\r\nfeed\x0c"),
    ],
)
def test_what_counts_as_text(tmp_path: Path, data: bytes, text: str | None) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(data)
    assert attached_text(path) == text


def test_a_long_file_is_read_up_to_the_limit_even_through_a_character(tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_bytes(b"x" * ((4 << 20) - 1) + "☎".encode() * 10)
    assert attached_text(path) == "x" * ((4 << 20) - 1)


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    assert attached_text(tmp_path / "pipe") is None
    assert attached_text(tmp_path / "link") is None
    assert attached_text(tmp_path) is None
    assert attached_text(tmp_path / "gone") is None


KILLED = """
import sys
from pathlib import Path
from hapi_pipeline.curation.pii_findings import pii_findings
from hapi_pipeline.lake import Lake

def main():
    for _ in range(1000):
        for batch in pii_findings(Lake(Path(sys.argv[1])), {"cohort": "2026-03"}, workers=2):
            print("batch", flush=True)

if __name__ == "__main__":
    main()
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_a_killed_parent_leaves_no_worker(tmp_path: Path) -> None:
    lake = lake_with(tmp_path, *[post(f"{n:03}", title=MAIL) for n in range(40)], row_group_size=4)
    script = tmp_path / "scan.py"
    script.write_text(KILLED)
    parent = subprocess.Popen([sys.executable, script, lake.root], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "batch\n"
    tasks = Path(f"/proc/{parent.pid}/task").glob("*/children")
    workers = [pid for task in tasks for pid in task.read_text().split()]
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert workers
    for _ in range(200):
        left = [pid for pid in workers if Path(f"/proc/{pid}").exists() and not is_zombie(pid)]
        if not left:
            return
        time.sleep(0.05)
    pytest.fail(f"still running: {left}")


def is_zombie(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
