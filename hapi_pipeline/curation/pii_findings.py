"""Where the posts of a month hold personal data: every text of every post, scanned by as many processes as there are
cores.

All posts are scanned, whether or not they are in scope, because the funnel says what this rule alone would turn away.
The posts' file is read by row groups, so that memory depends on the cores and not on the number of posts, and the rows
are the same however many processes there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hapi_pipeline.copies import brought
from hapi_pipeline.lake import Lake
from hapi_pipeline.naming import digest, slug
from hapi_pipeline.parallel import spread_stream
from hapi_pipeline.tables import TABLES

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_ROWS = 1024
_COLUMNS = ("job_id", "title", "description", "attachments")
_LEAST_GROUPS = 2  # row groups from which on other processes are worth their start

Row = dict[str, Any]


@dataclass(frozen=True)
class _Part:
    """The posts of one row group: all that a process needs to know to scan them."""

    file: Path
    row_group: int
    cohort: str
    home: Path


def detector_version() -> str:
    """Version of the detectors of personal data."""
    from hapi_pipeline.curation.pii import DETECTOR_VERSION

    return DETECTOR_VERSION


def pii_findings(lake: Lake, scope: Mapping[str, str], *, workers: int | None = None) -> Iterator[pa.RecordBatch]:
    """Rows of `pii_findings` for all posts of a month, in the order of the table's key.

    Scans titles, descriptions, names of attachments and the text of those attachments in the home's folder
    `attachments/` that are text. `workers` is the number of processes, by default one for each of up to four cores.
    """
    import pyarrow.parquet as pq

    parts = [
        _Part(file, group, scope["cohort"], lake.root.parent)
        for file in lake.files("job_posts", scope)
        for group in range(pq.read_metadata(file).num_row_groups)
    ]
    for found in spread_stream(_scan_part, parts, workers=workers, least=_LEAST_GROUPS):
        yield from found.to_batches()


def attachments_state(lake: Lake, scope: Mapping[str, str]) -> str:
    """A fingerprint of the attached files of a month's posts by name, size and time of change; empty without any."""
    import pyarrow.parquet as pq

    home = lake.root.parent
    brought(home / "attachments")
    folders = _folders(home)
    if not folders:
        return ""
    seen = []
    for file in lake.files("job_posts", scope):
        for batch in pq.ParquetFile(file).iter_batches(_BATCH_ROWS, columns=["job_id", "attachments"]):
            for job_id, names in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                seen += [f"{job_id}/{path.name}:{_stamp(path)}" for path in _attached(home, folders, job_id, names)]
    return digest(*seen, length=32) if seen else ""


def _stamp(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:  # gone since it was listed
        return ""
    return f"{found.st_size}:{found.st_mtime_ns}"


def _scan_part(part: _Part) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = TABLES["pii_findings"].schema()
    folders = _folders(part.home)
    with pq.ParquetFile(part.file) as file:
        batches = [
            pa.RecordBatch.from_pylist(_rows_of(batch, part, folders), schema=schema)
            for batch in file.iter_batches(_BATCH_ROWS, row_groups=[part.row_group], columns=list(_COLUMNS))
        ]
    return pa.Table.from_batches(batches, schema)


def _rows_of(batch: pa.RecordBatch, part: _Part, folders: frozenset[str]) -> list[Row]:
    job_ids, titles, descriptions, attachments = (batch.column(name).to_pylist() for name in _COLUMNS)
    listed = ["\n".join(names or ()) for names in attachments]
    places = {"title": titles, "description": descriptions, "attachments": listed}
    rows = [
        row for place, texts in places.items() for row in _found(part.cohort, zip(job_ids, texts, strict=True), place)
    ]
    for job_id, names in zip(job_ids, attachments, strict=True):
        for place, text in _attached_texts(_attached(part.home, folders, job_id, names)):
            rows += _found(part.cohort, [(job_id, text)], place)
    return sorted(rows, key=lambda row: tuple(row[name] for name in TABLES["pii_findings"].key))


def _found(cohort: str, texts: Iterable[tuple[str, str | None]], place: str) -> Iterator[Row]:
    from hapi_pipeline.curation.pii import DETECTOR_VERSION, decide, scan_texts

    filled = [(job_id, text) for job_id, text in texts if text]
    for (job_id, _), findings in zip(filled, scan_texts([text for _, text in filled]), strict=True):
        for finding in findings:
            yield {
                "cohort": cohort,
                "job_id": job_id,
                "place": place,
                "finding_type": finding.type,
                "start": finding.start,
                "end": finding.end,
                "score": finding.score,
                "decision": decide([finding]),
                "detector_version": DETECTOR_VERSION,
            }


# ---- attached files


def _folders(home: Path) -> frozenset[str]:
    """The jobs for which something is attached, as they are called in the file system."""
    try:
        return frozenset(entry.name for entry in (home / "attachments").iterdir())
    except OSError:
        return frozenset()


def _attached(home: Path, folders: frozenset[str], job_id: str, names: Sequence[str] | None) -> Sequence[Path]:
    """The files of a job that agents and graders get to see, each once."""
    if not names or slug(job_id) not in folders:
        return ()
    from hapi_pipeline.evaluation import attachments_of

    return tuple(dict.fromkeys(attachments_of(home, job_id, names)))


def _attached_texts(paths: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """The place and the text of each attached file that is text."""
    from hapi_pipeline.curation.pii.files import attached_text

    for number, path in enumerate(paths, 1):
        text = attached_text(path)
        if text:
            yield _place(path.name, number), text


def _place(name: str, number: int) -> str:
    """`attachment:<name>`, or its number where the name itself holds personal data, which no finding may repeat."""
    from hapi_pipeline.curation.pii import scan_text

    personal = scan_text(name) or scan_text(name.rpartition(".")[0]) or not name.isprintable()
    return f"attachment:{number if personal else name}"
