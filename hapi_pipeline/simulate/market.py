"""How the invented marketplace exports its posts: column names, habits and defects of its monthly drops."""

from __future__ import annotations

import csv
import gzip
import html
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from hapi_pipeline.simulate.posts import Post

COLUMNS = (
    "uid",
    "posted_ts",
    "type",
    "title",
    "description",
    "category",
    "subcategory",
    "skills",
    "amount",
    "currency",
    "hourly_rate",
    "milestones",
    "budget_revised",
    "status",
    "payment_status",
    "client_ref",
    "client_payment_verified",
    "client_country",
    "contract_start",
    "contract_end",
    "modified_ts",
    "files",
    "connects",
)
"""Columns of an export, as in data/registry/sources/sample_market.yaml; `connects` is mapped to no field."""
RUBRIC_COLUMNS = ("job_id", "criterion_id", "position", "text", "importance", "author")
TRUTH_COLUMNS = ("job_id", "model_id", "completes", "retry_1")
POST_TRUTH_COLUMNS = ("uid", "reasons", "personal_data", "duplicate_of")
VERDICT_COLUMNS = (
    "job_id",
    "model",
    "round",
    "criterion_id",
    "passed",
    "comment",
    "grader",
    "minutes",
    "graded_at",
)


def raw(post: Post) -> dict[str, str]:
    """A post under the marketplace's own column names, all as text; empty where nothing is known."""
    return {
        "uid": post.uid,
        "posted_ts": stamp(post.posted),
        "type": post.type,
        "title": post.title,
        "description": post.description,
        "category": post.kind.category,
        "subcategory": post.kind.subcategory,
        "skills": ";".join(post.kind.skills),
        "amount": post.amount,
        "currency": post.currency,
        "hourly_rate": post.hourly_rate,
        "milestones": post.milestones,
        "budget_revised": post.revised,
        "status": post.status,
        "payment_status": post.payment,
        "client_ref": post.client,
        "client_payment_verified": str(post.verified).lower(),
        "client_country": post.country,
        "contract_start": stamp(post.started),
        "contract_end": stamp(post.completed),
        "modified_ts": stamp(post.modified),
        "files": ";".join(post.kind.files),
        "connects": str(2 + 2 * (len(post.description) % 4)),
    }


def stamp(when: datetime | None) -> str:
    """ISO 8601 in UTC to the second, empty for None."""
    return f"{when:%Y-%m-%dT%H:%M:%SZ}" if when else ""


def escaped(row: Mapping[str, str]) -> dict[str, str]:
    """The row with HTML entities in its texts, as some exports have them."""
    return {key: html.escape(text) if key in ("title", "description") else text for key, text in row.items()}


def with_types(row: Mapping[str, str]) -> dict[str, object]:
    """The row as JSON would hold it: numbers, booleans, lists and nulls."""
    typed: dict[str, object] = {key: text or None for key, text in row.items()}
    for key in ("skills", "files"):
        typed[key] = row[key].split(";") if row[key] else []
    for key in ("amount", "hourly_rate"):
        try:
            typed[key] = float(row[key])
        except ValueError:
            continue
    if row["milestones"].isdigit():
        typed["milestones"] = int(row["milestones"])
    typed["client_payment_verified"] = row["client_payment_verified"] == "true"
    return typed


def csv_text(columns: Sequence[str], rows: Sequence[Mapping[str, str]], end: str = "\n") -> str:
    """Rows as CSV with a header; cells are quoted where they must be."""
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, extrasaction="ignore", lineterminator=end)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def jsonl_text(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows as JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def gzipped(text: str) -> bytes:
    """The text packed, without time or file name, so that the same text gives the same bytes."""
    return gzip.compress(text.encode(), compresslevel=9, mtime=0)


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """A name to write to; the file gets its real name, whole and on disk, only when the block ends well."""
    temporary = path.with_name(f"{path.name}.part")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write(path: Path, content: str | bytes) -> None:
    """Write a whole file at once, as it is."""
    with staged(path) as part:
        part.write_bytes(content if isinstance(content, bytes) else content.encode())
