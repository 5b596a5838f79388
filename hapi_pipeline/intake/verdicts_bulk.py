"""One large file of verdicts in the long form, taken in column by column: see `grading/bulk.py`."""

from __future__ import annotations

import functools
import hashlib
import mmap
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hapi_pipeline.engine import connect, open_tables
from hapi_pipeline.grading import bulk, delimited
from hapi_pipeline.grading.bulk import Bulk, Ground, Plain
from hapi_pipeline.grading.files import OVERALL
from hapi_pipeline.grading.verdicts import FIRST, OF_ROW, ROLES, Gradable, GradingIndex, RoleOf, verdict_id
from hapi_pipeline.intake.ledger import commit_import, import_id, rows_of
from hapi_pipeline.lake import ROW_GROUP, Import, ImportedFile, Lake, stored, write_bytes
from hapi_pipeline.parallel import in_threads
from hapi_pipeline.rounds import ROUNDS
from hapi_pipeline.tables import TABLES

if TYPE_CHECKING:
    from concurrent.futures import Future

    import numpy as np
    import pyarrow as pa

    Array = np.ndarray[Any, Any]

LEAST = 2_000_000
"""Bytes from which on a file is worth it: some 20,000 rows."""
_MOST = 1 << 30  # beyond which a file is refused
_IDS = ("packet_id", "attempt_id")
_OF_ATTEMPT = (*_IDS, "cohort", "model", "round", "job_id", "rubric_version", "simulated")
_AT_ONCE = 3  # partitions that are written together: while one waits for the disk, the others are encoded


@dataclass(frozen=True)
class Large:
    """What came of a large file: its import, or None when nothing is known of it yet, once more."""

    done: Import | None


def ahead(lake: Lake, paths: Sequence[Path]) -> Future[Ground] | None:
    """What verdicts may be about, looked up in another thread when there is a large file: `import_large` wants it."""
    if len(paths) != 1 or not paths[0].is_file() or not LEAST <= paths[0].stat().st_size <= _MOST:
        return None
    return _looking_up(lake)


def _looking_up(lake: Lake) -> Future[Ground]:
    from concurrent.futures import ThreadPoolExecutor

    thread = ThreadPoolExecutor(1)
    try:
        return thread.submit(ground_of, lake)
    finally:
        thread.shutdown(wait=False)


def import_large(
    lake: Lake,
    fresh: Sequence[tuple[Path, str]],
    early: Collection[str] = (),
    *,
    role_of: RoleOf | None = None,
    replies: Path | None = None,
    least: int | None = None,
    looked_up: Future[Ground] | None = None,
) -> Large | None:
    """Import a file in bulk; None where that cannot be done or is not worth it: nothing was written then.

    `fresh` are the files of the import with their SHA-256: only one by itself is taken. `early` are those that were
    imported before when nothing was known of them; `looked_up` is what `ahead` gave. Raises UserError where the file is
    no text.
    """
    if len(fresh) != 1 or not (LEAST if least is None else least) <= fresh[0][0].stat().st_size <= _MOST:
        return None
    (path, sha256), now = fresh[0], datetime.now(UTC)
    looked_up = looked_up or _looking_up(lake)
    try:
        with _opened(path) as data:
            made = _judged(looked_up.result, role_of, data, path.name, sha256, now)
    except bulk.AmbiguousError:
        return None
    if made is None:
        return None
    ground = looked_up.result()
    rows = made.n_plain + len(made.judged.rows)
    if sha256 in early and not rows:
        return Large(None)
    number = import_id("verdicts", sha256, *([now.isoformat()] if sha256 in early else []))
    cohorts = _append(lake, number, made, ground, path.name, sha256, now)
    if replies is not None:
        _write_reply(replies, path.name, sha256, made, ground)
    done = Import(
        import_id=number,
        kind="verdicts",
        source=None,
        files=(ImportedFile(path.name, sha256, rows, len(made.judged.quarantine)),),
        imported_at=now.isoformat(),
        cohorts=tuple(sorted(cohorts)),
    )
    return Large(commit_import(lake, done, made.judged.quarantine))


@contextmanager
def _opened(path: Path) -> Iterator[mmap.mmap]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data


def _judged(
    grounds: Callable[[], Ground], role_of: RoleOf | None, data: Any, name: str, sha256: str, now: datetime
) -> Bulk | None:
    guessed = False
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in data[:4000]:
        data, guessed = _recoded(data, name)
    for _ in range(2):
        shape = bulk.shape_of(data, name)
        if shape is None and not guessed and not _is_utf8(data):
            data, guessed = _recoded(data, name)
            continue
        if shape is None:
            return None
        try:
            return bulk.judge_in_bulk(
                data,
                shape,
                grounds,
                source_file=name,
                source_sha256=sha256,
                imported_at=now,
                role_of=role_of,
                guessed=guessed,
            )
        except bulk.NotUtf8Error:
            data, guessed = _recoded(data, name)
    return None


def _recoded(data: Any, name: str) -> tuple[bytes, bool]:
    """The same text in UTF-8, and whether its encoding was guessed."""
    text, guessed = delimited.decode(bytes(data), name)
    return text.encode("utf-8"), guessed


def _is_utf8(data: Any) -> bool:
    try:
        bytes(data).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


# --- what verdicts may be about ----------------


def ground_of(lake: Lake) -> Ground:
    """Every attempt that verdicts may be given on, as columns. Raises AmbiguousError where two have one packet id."""
    follows = ", ".join(f"('{r.name}', '{r.after}')" for r in ROUNDS if r.after)
    with connect() as connection:
        open_tables(connection, lake, ["attempts", "packets", "rubrics", "standing_criteria"])
        attempts = connection.sql(
            f"""
            WITH versions AS (SELECT job_id, any_value(rubric_version) AS rubric_version FROM rubrics GROUP BY job_id),
            followed AS (
                SELECT DISTINCT a.model, a.job_id, f.after AS round
                FROM attempts a JOIN versions v USING (job_id)
                JOIN (VALUES {follows}) f(round, after) ON f.round = a.round
            )
            SELECT a.attempt_id, a.cohort, a.model, a.round, a.job_id, v.rubric_version, p.packet_sha256, a.simulated,
                   a.finished_at, coalesce(a.sample, 1) AS sample, a.is_current,
                   f.job_id IS NOT NULL AND coalesce(a.sample, 1) = 1 AS followed_up
            FROM attempts a
            JOIN versions v USING (job_id)
            LEFT JOIN packets p ON p.attempt_id = a.attempt_id
            LEFT JOIN followed f ON f.model = a.model AND f.job_id = a.job_id AND f.round = a.round
            """  # noqa: S608
        ).to_arrow_table()
        criteria = connection.sql("SELECT job_id, criterion_id FROM rubrics").to_arrow_table()
    attempts = attempts.append_column("packet_id", packet_ids(attempts.column("attempt_id").combine_chunks()))
    attempts = attempts.combine_chunks()
    ground = Ground(attempts, criteria, OnDemand(lake, attempts, criteria))
    if ground.columns.repeated:  # then their order says which of them counts
        attempts = attempts.sort_by([(name, "ascending") for name in ("is_current", "finished_at", "attempt_id")])
        ground = Ground(attempts, criteria, OnDemand(lake, attempts, criteria))
    return ground


def packet_ids(attempt_ids: pa.Array) -> pa.Array:
    """`packet_id_for` each attempt, a hundred thousand in the time in which it makes some ten thousand."""
    import numpy as np
    import pyarrow as pa

    size, sha256 = len(attempt_ids), hashlib.sha256  # with the processor's own instructions, which DuckDB's has not
    known, packet = attempt_ids.cast(pa.binary()).to_pylist(), len(b"packet").to_bytes(8, "big") + b"packet"
    hashed = b"".join([sha256(packet + len(one).to_bytes(8, "big") + one).digest()[:8] for one in known])
    numbers = np.frombuffer(hashed, ">u8").astype(np.uint64)
    letters = np.frombuffer(bulk.LETTERS, np.uint8)
    text = np.empty((size, bulk.PACKET_ID), np.uint8)
    text[:, : len(bulk.PREFIX)] = np.frombuffer(bulk.PREFIX, np.uint8)
    for at in range(len(bulk.PREFIX), bulk.PACKET_ID):  # base32: five bits a letter, the highest first
        numbers, bits = numbers << np.uint64(5), numbers >> np.uint64(59)
        text[:, at] = letters[bits]
    offsets = np.arange(size + 1, dtype=np.int32) * bulk.PACKET_ID
    return pa.Array.from_buffers(pa.string(), size, [None, pa.py_buffer(offsets), pa.py_buffer(text.ravel())])


def verdict_ids(source_sha256: str, rows: Array) -> pa.Array:
    """`verdict_id` of each of these rows of a file."""
    import numpy as np
    import pyarrow as pa

    first = np.frombuffer(verdict_id(source_sha256, 0).encode(), np.uint8)
    text = np.tile(first, (len(rows), 1))
    rest = rows.astype(np.uint32)
    for at in range(1, OF_ROW + 1):
        text[:, -at] += (rest % 10).astype(np.uint8)
        rest //= 10
    offsets = np.arange(len(rows) + 1, dtype=np.int32) * len(first)
    return pa.Array.from_buffers(pa.string(), len(rows), [None, pa.py_buffer(offsets), pa.py_buffer(text.ravel())])


def _coded(codes: Array, values: pa.Array) -> pa.Array:
    """Texts by their places among others that are distinct, as a dictionary of those that are there."""
    import pyarrow as pa

    some = pa.array(codes).dictionary_encode()
    return pa.DictionaryArray.from_arrays(some.indices, values.take(some.dictionary))


def _repeated(values: pa.ChunkedArray, places: pa.Array, distinct: bool) -> pa.Array:
    """The values at these places; texts as a dictionary."""
    import pyarrow as pa

    values = values.combine_chunks()
    if not pa.types.is_string(values.type):
        return values.take(places)
    if distinct:
        return pa.DictionaryArray.from_arrays(places, values)
    coded = values.dictionary_encode()
    return pa.DictionaryArray.from_arrays(coded.indices.take(places), coded.dictionary)


def _constant(text: str, size: int) -> pa.Array:
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), size), pa.array([text]))


class OnDemand(GradingIndex):
    """The index of attempts for the few rows that are judged one by one: each attempt is made when it is asked for."""

    def __init__(self, lake: Lake, attempts: pa.Table, criteria: pa.Table):
        self._lake, self._attempts, self._of_jobs = lake, attempts, criteria

    def by_packet(self, packet_id: str) -> Gradable | None:
        """The attempt under that packet id; some programs capitalise the first letter of a cell."""
        at = self._by_packet.get(packet_id, self._by_packet.get(packet_id.casefold()))
        return None if at is None else self._made(at)

    def by_cell(self, job_id: str, model: str, round: str, sample: str = "") -> Gradable | None:
        """The attempt of a model at a job in a round; the first where no sample is named."""
        at = self._by_cell.get((job_id, model, round, sample or FIRST))
        return None if at is None else self._made(at)

    @property
    def models(self) -> frozenset[str]:
        """The names that no grader may be shown."""
        return frozenset(self._attempts.column("model").unique().to_pylist())

    @functools.cached_property
    def texts(self) -> Mapping[tuple[str, str], str]:  # type: ignore[override]
        """The words of the criteria by job and criterion."""
        found = self._rows("SELECT job_id, criterion_id, text FROM rubrics")
        return {(job_id, criterion_id): text for job_id, criterion_id, text in found}

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        with connect() as connection:
            open_tables(connection, self._lake, ["rubrics", "standing_criteria"])
            return connection.execute(sql).fetchall()

    @functools.cached_property
    def _by_packet(self) -> dict[str, int]:
        return {packet: at for at, packet in enumerate(self._attempts.column("packet_id").to_pylist())}

    @functools.cached_property
    def _by_cell(self) -> dict[tuple[str, str, str, str], int]:
        columns = (self._attempts.column(name).to_pylist() for name in ("job_id", "model", "round", "sample"))
        return {(j, m, r, str(s)): at for at, (j, m, r, s) in enumerate(zip(*columns, strict=True))}

    @functools.cached_property
    def _criteria(self) -> tuple[dict[str, int], pa.Array]:
        """The places of jobs, and the criteria of each."""
        grouped = self._of_jobs.group_by("job_id").aggregate([("criterion_id", "list")]).combine_chunks()
        places = {job_id: at for at, job_id in enumerate(grouped.column("job_id").to_pylist())}
        return places, grouped.column("criterion_id_list").combine_chunks()

    @functools.cached_property
    def _standing(self) -> dict[str, dict[str, frozenset[str]]]:
        found: dict[str, dict[str, frozenset[str]]] = {}
        sql = """SELECT job_id, rubric_version, list(criterion_id) FILTER (WHERE still_stands)
                 FROM standing_criteria GROUP BY ALL"""
        for job_id, version, criteria in self._rows(sql):
            found.setdefault(job_id, {})[version] = frozenset(criteria or ())
        return found

    @functools.cached_property
    def _columns(self) -> dict[str, pa.Array]:
        names = {field.name for field in fields(Gradable)}.intersection(self._attempts.schema.names)
        return {name: self._attempts.column(name).combine_chunks() for name in names}

    @functools.lru_cache(maxsize=10_000)  # noqa: B019 (lives as long as an import)
    def _made(self, at: int) -> Gradable:
        row: dict[str, Any] = {name: column[at].as_py() for name, column in self._columns.items()}
        places, criteria = self._criteria
        of_job = frozenset(criteria[places[row["job_id"]]].as_py())
        return Gradable(**row, criteria=of_job, standing=self._standing.get(row["job_id"], {}))


# --- writing ----------------


def _append(lake: Lake, number: str, made: Bulk, ground: Ground, name: str, sha256: str, now: datetime) -> set[str]:
    """Stage the rows, a file for each model and round; the cohorts that they are of."""
    others: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in made.judged.rows:
        others.setdefault((row["model"], row["round"]), []).append(row)
    writing = _Writing(made, ground, name, sha256, now)

    def write(cell: tuple[str, str]) -> set[str]:
        keys, parts, besides = {"model": cell[0], "round": cell[1]}, made.plain.get(cell, ()), others.get(cell, [])
        lake.append_stream("verdict_exports", number, writing.batches(parts, besides), keys)
        return writing.cohorts(parts) | {row["cohort"] for row in besides}

    return set().union(*in_threads(write, sorted(made.plain.keys() | others.keys()), _AT_ONCE))


class _Writing:
    """Makes rows of the ledger from codes."""

    def __init__(self, made: Bulk, ground: Ground, name: str, sha256: str, now: datetime):
        import pyarrow as pa

        self.attempts, self.now = ground.attempts.select(_OF_ATTEMPT), now
        self.name, self.sha256 = name, sha256
        self.schema, _ = stored(TABLES["verdict_exports"])
        self.criteria, self.graders, self.roles = (
            pa.array(v, pa.string()) for v in (made.criteria, made.graders, ROLES)
        )
        self.flags = pa.array(
            [[flag for bit, flag in bulk.FLAGS.items() if bit & code] for code in range(8)], pa.list_(pa.string())
        )

    def batches(self, parts: Sequence[Plain], others: list[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
        """Plain rows and those judged one by one, in the order of their rows in the file."""
        import numpy as np
        import pyarrow as pa

        others = sorted(others, key=lambda row: int(row["source_row"]))
        numbers = np.array([row["source_row"] for row in others], np.int64)
        done = 0
        plain = bulk.joined(parts)
        for start in range(0, len(plain), ROW_GROUP):
            rows = plain.slice(start, start + ROW_GROUP)
            table = self._table(rows)
            until = int(np.searchsorted(numbers, rows.row[-1]))
            if until > done:
                more = rows_of("verdict_exports", others[done:until]).cast(self.schema)
                order = np.argsort(np.concatenate([rows.row, numbers[done:until]]), kind="stable")
                table = pa.concat_tables([table, more]).combine_chunks().take(pa.array(order))
                done = until
            yield from table.to_batches()
        if done < len(others):
            yield from rows_of("verdict_exports", others[done:]).cast(self.schema).to_batches()

    def cohorts(self, parts: Sequence[Plain]) -> set[str]:
        """The cohorts of plain rows."""
        import numpy as np
        import pyarrow as pa

        used = pa.array(np.unique(bulk.column_of(parts, "attempt")))
        return set(self.attempts.column("cohort").take(used).unique().to_pylist())

    def _table(self, rows: Plain) -> pa.Table:
        import pyarrow as pa

        size = len(rows)
        attempts = pa.array(rows.attempt).dictionary_encode()  # there are several rows on each
        of_attempts = self.attempts.take(attempts.dictionary)
        stamp = self.schema.field("graded_at").type
        columns = {n: _repeated(of_attempts.column(n), attempts.indices, n in _IDS) for n in _OF_ATTEMPT} | {
            "verdict_id": verdict_ids(self.sha256, rows.row),
            "criterion_id": _coded(rows.criterion, self.criteria),
            "grader": _coded(rows.grader, self.graders),
            "grader_role": _coded(rows.role, self.roles),
            "passed": pa.array(rows.passed == 1, mask=rows.passed < 0),
            "comment": rows.comment,
            "minutes": pa.array(rows.minutes, from_pandas=True),
            "graded_at": pa.array(rows.graded_at, mask=rows.graded_at == bulk.NO_DATE).cast(stamp),
            "flags": self.flags.take(pa.array(rows.flags)),
            "source_file": _constant(self.name, size),
            "source_sha256": _constant(self.sha256, size),
            "source_row": pa.array(rows.row, pa.int64()),
            "imported_at": pa.repeat(pa.scalar(self.now, stamp), size),
        }
        return pa.table([columns[name] for name in self.schema.names], schema=self.schema)


# --- telling ----------------


def _write_reply(replies: Path, name: str, sha256: str, made: Bulk, ground: Ground) -> None:
    """Write the reply to the grader, as `import_verdicts` does for other files."""
    from hapi_pipeline.grading.reply import reply
    from hapi_pipeline.intake.verdicts import reply_path, texts_of

    judged, index = made.judged, ground.index
    text = reply(
        name,
        "long",
        judged.rows,
        judged.problems,
        texts_of(judged.problems, index),
        above=made.above,
        secrets=index.models,
        besides=(_by_packet(ground, made), _by_flag(made)),
    )
    replies.mkdir(parents=True, exist_ok=True)
    write_bytes(reply_path(replies, name, sha256), text.encode())


def _by_packet(ground: Ground, made: Bulk) -> Counter[str]:
    """How many verdicts on each packet are plain; overall feedback is none."""
    import numpy as np
    import pyarrow as pa

    attempt, overall = made.column("attempt"), made.criteria.index(OVERALL)
    attempts = np.flatnonzero(np.bincount(attempt))
    counts = np.bincount(attempt, weights=made.column("criterion") != overall)[attempts].astype(np.int64)
    packets = ground.attempts.column("packet_id").take(pa.array(attempts)).to_pylist()
    return Counter(dict(zip(packets, counts.tolist(), strict=True)))


def _by_flag(made: Bulk) -> Counter[str]:
    import numpy as np

    flags = made.column("flags")
    counted = {flag: int(np.count_nonzero(flags & bit)) for bit, flag in bulk.FLAGS.items()}
    return Counter({flag: count for flag, count in counted.items() if count})
