"""Near-duplicates among curated jobs: each job joins the cluster of the earliest job that it is like.

Two posts are alike when the word 3-shingles of their titles and descriptions overlap enough (Jaccard similarity,
Broder 1997, "On the resemblance and containment of documents"). Candidates come from MinHash signatures cut into bands
(Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", 3.4), and every candidate is then verified exactly.

A job looks only back, and only at heads of clusters: so no later month changes an earlier one, no chain of small steps
leads from one job to quite another, and the order of imports does not matter.
"""

from __future__ import annotations

import functools
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hapi_pipeline import engine
from hapi_pipeline.lake import Lake
from hapi_pipeline.parallel import spread_stream
from hapi_pipeline.registry import Duplicates
from hapi_pipeline.tables import TABLES

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import pyarrow as pa

    Shingles = np.ndarray[Any, np.dtype[np.int64]]

METHOD_VERSION = "1"
"""Raise it when shingles or signatures change: the months are then made anew."""
SHINGLE = 3  # words
BANDS, ROWS = 20, 5
"""A pair of similarity s becomes a candidate with probability 1 - (1 - s^ROWS)^BANDS: .9996 at .8, .47 at .5."""
MOST_CANDIDATES = 30
"""Heads that a job is held against at most: those that share most bands with it. Bounds the work on hostile texts."""
_MOST_TEXTS, _MOST_SHINGLES = 2_000, 1_000_000  # of jobs that are verified together: bounds the memory
_PIECES = 500  # texts whose signatures are made together
_WORTH_PROCESSES = 8  # pieces from which on other processes take part: about a second of work

# Scripts that put no space between words: each character counts as a word.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
_LONGEST_NORMALISED = 100  # characters: putting combining marks in order is quadratic in the length of a run


def words(text: str) -> list[str]:
    """The words of a text without case, marks and differences of encoding."""
    if not text.isascii():
        pieces = (unicodedata.normalize("NFKC", p) if len(p) <= _LONGEST_NORMALISED else p for p in text.split())
        text = " ".join(pieces)
    return _WORD.findall(text.casefold())


def shingles(text: str) -> list[str]:
    """Every run of three words of a text, repetitions included; a shorter text is one run, a wordless one is none."""
    return _runs(words(text))


def _runs(found: list[str]) -> list[str]:
    if len(found) <= SHINGLE:
        return [" ".join(found)] if found else []
    return [f"{a} {b} {c}" for a, b, c in zip(found, found[1:], found[2:], strict=False)]


def similarity(one: str, other: str) -> float:
    """Jaccard similarity of the shingles of two texts, 0 to 1; 0 where neither has a word."""
    a, b = set(shingles(one)), set(shingles(other))
    return len(a & b) / len(a | b) if a or b else 0.0


def signatures(texts: Iterable[str]) -> Iterator[tuple[int, list[int]]]:
    """For each text: how many distinct shingles it has, and its keys, signed 64-bit: two texts are worth comparing when
    they share one. The first key stands for the whole text, the others for the bands; a text without words has none.
    """
    from datasketch import MinHash

    blank = MinHash(num_perm=BANDS * ROWS, seed=1, hashfunc=zlib.crc32, scheme="affine32")
    for text in texts:
        said = words(text)
        found = {run.encode("utf-8", "surrogatepass") for run in _runs(said)}
        if not found:
            yield 0, []
            continue
        made = blank.copy()
        made.update_batch(found)
        whole = blake2b(" ".join(said).encode("utf-8", "surrogatepass"), digest_size=8).digest()
        yield len(found), [int.from_bytes(whole, "big", signed=True), *_band_keys(made.hashvalues)]


def _band_keys(values: np.ndarray[Any, np.dtype[np.uint32]]) -> list[int]:
    """A number for each band, from its rows and its place: a sum of products modulo 2^64 with fixed odd factors.

    Two bands that differ may share a number by chance; that costs a comparison and nothing else.
    """
    import numpy as np

    factors, places = _factors()
    keys = (values.reshape(BANDS, ROWS).astype(np.uint64) * factors).sum(axis=1) + places
    keys ^= keys >> np.uint64(32)
    found: list[int] = keys.view(np.int64).tolist()
    return found


@functools.cache
def _factors() -> tuple[np.ndarray[Any, np.dtype[np.uint64]], np.ndarray[Any, np.dtype[np.uint64]]]:
    import numpy as np

    drawn = np.asarray(np.random.PCG64(2026).random_raw(ROWS + BANDS), np.uint64) | np.uint64(1)
    return drawn[:ROWS], drawn[ROWS:]


def job_signatures(lake: Lake, scope: Mapping[str, str]) -> pa.Table:
    """The keys under which each curated job of a month looks for its like: rows of `job_signatures`."""
    import pyarrow as pa

    schema = TABLES["job_signatures"].schema()
    with engine.connect() as connection:
        engine.open_tables(connection, lake, {"curated_jobs": scope})
        posts = connection.sql(f"SELECT job_id, {_TEXT} AS text, simulated FROM curated_jobs")  # noqa: S608
        work = functools.partial(_signature_rows, cohort=scope["cohort"], schema=schema)
        parts = list(spread_stream(work, posts.to_arrow_reader(_PIECES), least=_WORTH_PROCESSES))
    return pa.concat_tables(parts) if parts else schema.empty_table()


_TEXT = "concat_ws(chr(10), title, description)"


def _signature_rows(piece: pa.RecordBatch, cohort: str, schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    columns: dict[str, list[Any]] = {"job_id": [], "band": [], "band_key": [], "n_shingles": [], "simulated": []}
    ids, simulated = piece["job_id"].to_pylist(), piece["simulated"].to_pylist()
    for job, made_up, (count, keys) in zip(ids, simulated, signatures(piece["text"].to_pylist()), strict=True):
        columns["job_id"] += [job] * len(keys)
        columns["band"] += range(len(keys))
        columns["band_key"] += keys
        columns["n_shingles"] += [count] * len(keys)
        columns["simulated"] += [made_up] * len(keys)
    columns["cohort"] = [cohort] * len(columns["job_id"])
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)


def months_before(cohort: str, count: int) -> list[str]:
    """The months before one, the latest first."""
    year, month = map(int, cohort.split("-"))
    last = year * 12 + month - 1
    return [f"{at // 12:04}-{at % 12 + 1:02}" for at in range(last - 1, last - 1 - count, -1) if at >= 0]


@dataclass(frozen=True)
class Head:
    """The earliest job of a cluster."""

    cohort: str
    job_id: str


Match = tuple[Head, float, str]
"""The head that a job is like, how much, and how that was found."""


@dataclass
class _Known:
    """What the jobs of a month are held against: the heads of earlier months, then those of the month itself."""

    heads: dict[int, Head]  # by place in time; of those of earlier months only the ones that some job may be like
    following: int  # the place of the next head
    least: float
    content: dict[str, int] = field(default_factory=dict)  # content_id: place of the head
    alike: dict[str, list[int]] = field(default_factory=dict)  # job: earlier heads that share a key, in order
    keys: dict[str, list[int]] = field(default_factory=dict)  # job: its keys that other jobs of the month have too
    whole: dict[str, int] = field(default_factory=dict)  # job: the key of its whole text, if another job has it too
    same: dict[int, tuple[int, float]] = field(default_factory=dict)  # key of a whole text: where it belongs
    buckets: dict[int, list[int]] = field(default_factory=dict)  # key: heads of this month, the earliest first
    texts: dict[str, Shingles] = field(default_factory=dict)  # shingles of the jobs at hand

    def near(self, job: str) -> list[int]:
        """The heads that a job is to be held against, in order of time."""
        shared: Counter[int] = Counter(at for key in self.keys.get(job, ()) for at in self.buckets.get(key, ()))
        best = sorted(shared.items(), key=lambda item: (-item[1], item[0]))[:MOST_CANDIDATES]
        return [*self.alike.get(job, ()), *sorted(at for at, _ in best)]

    def join(self, job: str, content_id: str) -> tuple[int, float, str] | None:
        """The place of the head whose cluster a job joins; None for a job that is like none."""
        if content_id in self.content:
            return self.content[content_id], 1.0, "content"
        if self.whole.get(job) in self.same:
            return *self.same[self.whole[job]], "near"
        for at in self.near(job):
            found = _overlap(self.texts[job], self.texts[self.heads[at].job_id], self.least)
            if found >= self.least:
                return at, found, "near"
        return None

    def add(self, cohort: str, job: str, content_id: str) -> int:
        """Make a job the head of a new cluster."""
        at = self.following
        self.heads[at], self.following = Head(cohort, job), at + 1
        self.content[content_id] = at
        for key in self.keys.get(job, ()):
            bucket = self.buckets.setdefault(key, [])
            if len(bucket) < MOST_CANDIDATES:
                bucket.append(at)
        return at


def job_clusters(lake: Lake, scope: Mapping[str, str], settings: Duplicates) -> pa.Table:
    """The cluster of each curated job of a month: rows of `job_clusters`.

    Reads the month's jobs and, of the months before, the clusters as they stand and the texts of their heads.
    """
    import pyarrow as pa

    cohort, rows = scope["cohort"], []
    files = _files(lake, cohort, settings.months_back)
    large = sum(path.stat().st_size for listed in files.values() for path in listed) > _LARGE
    # a database of its own takes a while to start, and only much data needs its limit of memory
    with engine.spilling() if large else engine.connect() as connection:
        _open(connection, files)
        known = _known(connection, settings.min_similarity)
        jobs = connection.execute(_JOBS).fetchall()
        for block in _blocks(jobs):
            _load(connection, known, [job for job, *_ in block])
            for job, content_id, simulated, _ in block:
                match = _settle(known, cohort, job, content_id)
                rows.append((cohort, job, match[0].job_id, match[0].cohort, match[1], match[2], simulated))
    schema = TABLES["job_clusters"].schema()
    columns = zip(*rows, strict=True) if rows else [[] for _ in schema.names]
    return pa.table(dict(zip(schema.names, map(list, columns), strict=True)), schema=schema)


def _settle(known: _Known, cohort: str, job: str, content_id: str) -> Match:
    """Where a job belongs, remembered for those that come after it."""
    found = known.join(job, content_id)
    at, alike, method = found or (known.add(cohort, job, content_id), 1.0, "itself")
    known.content.setdefault(content_id, at)
    if job in known.whole:
        known.same.setdefault(known.whole[job], (at, alike))
    return known.heads[at], alike, method


def _overlap(one: Shingles, other: Shingles, least: float) -> float:
    """Jaccard similarity of two sets; 0 where their sizes alone keep it under the least that matters."""
    import numpy as np

    small, large = sorted((len(one), len(other)))
    if small == 0 or small < least * large:
        return 0.0
    both = len(np.intersect1d(one, other, assume_unique=True))
    return both / (small + large - both)


_JOBS = """
SELECT j.job_id, j.content_id, j.simulated, coalesce(s.n_shingles, 0)
FROM jobs j LEFT JOIN signatures s ON s.job_id = j.job_id AND s.band = 0
ORDER BY j.posted_at NULLS LAST, j.job_id
"""
# the place of a head is its place in time; a job that has moved from an earlier month is no head of its own
_HEADS = """
CREATE TEMP TABLE heads AS
SELECT c.cohort, c.job_id, j.content_id,
    row_number() OVER (ORDER BY c.cohort, j.posted_at NULLS LAST, c.job_id) - 1 AS place
FROM earlier_clusters c JOIN earlier_jobs j USING (cohort, job_id) ANTI JOIN jobs ON jobs.job_id = c.job_id
WHERE c.cluster_id = c.job_id
"""
_CONTENT = "SELECT content_id, min(place) FROM heads SEMI JOIN jobs USING (content_id) GROUP BY content_id"
# of each key the earliest heads, and of each job those that share most keys: however many share one, work is bounded
_ALIKE = """
WITH theirs AS (
    SELECT h.place, s.band_key
    FROM earlier_signatures s JOIN heads h USING (cohort, job_id) SEMI JOIN signatures m ON m.band_key = s.band_key
    QUALIFY row_number() OVER (PARTITION BY s.band_key ORDER BY h.place) <= $most
),
shared AS (
    SELECT m.job_id, t.place, count(*) AS n FROM signatures m JOIN theirs t USING (band_key) GROUP BY ALL
)
SELECT job_id, list(place ORDER BY place) FROM (
    SELECT job_id, place FROM shared QUALIFY row_number() OVER (PARTITION BY job_id ORDER BY n DESC, place) <= $most
) GROUP BY job_id
"""
_KEYS = """
SELECT job_id, list(band_key ORDER BY band), min(band_key) FILTER (band = 0) FROM signatures
SEMI JOIN (SELECT band_key FROM signatures GROUP BY band_key HAVING count(*) > 1) USING (band_key) GROUP BY job_id
"""


_VIEWS = {
    "jobs": "curated_jobs",
    "signatures": "job_signatures",
    "earlier_jobs": "curated_jobs",
    "earlier_signatures": "job_signatures",
    "earlier_clusters": "job_clusters",
}
"""What is read, by name: of the month itself or, where the name begins with earlier, of the months before."""
_LARGE = 32 << 20  # bytes of Parquet


def _files(lake: Lake, cohort: str, months_back: int) -> dict[str, list[Path]]:
    """The files behind each view."""
    before = months_before(cohort, months_back)
    return {
        view: [
            path
            for month in (before if view.startswith("earlier") else [cohort])
            for path in lake.files(table, {"cohort": month})
        ]
        for view, table in _VIEWS.items()
    }


def _open(connection: duckdb.DuckDBPyConnection, files: Mapping[str, list[Path]]) -> None:
    for view, table in _VIEWS.items():
        if files[view]:
            sql = f"CREATE TEMP VIEW {view} AS SELECT * FROM {engine.parquet(files[view])}"  # noqa: S608
            connection.execute(sql)
        else:
            connection.register(view, TABLES[table].schema().empty_table())


def _known(connection: duckdb.DuckDBPyConnection, least: float) -> _Known:
    connection.execute(_HEADS)
    content = dict(connection.execute(_CONTENT).fetchall())
    alike = dict(connection.execute(_ALIKE, {"most": MOST_CANDIDATES}).fetchall())
    named = sorted({*content.values(), *(at for places in alike.values() for at in places)})
    wanted = "SELECT place, cohort, job_id FROM heads SEMI JOIN (SELECT unnest($named) AS place) USING (place)"
    heads = connection.execute(wanted, {"named": named}).fetchall() if named else []
    (count,) = connection.execute("SELECT count(*) FROM heads").fetchone() or (0,)
    shared = connection.execute(_KEYS).fetchall()
    return _Known(
        {place: Head(cohort, job) for place, cohort, job in heads},
        count,
        least,
        content=content,
        alike=alike,
        keys={job: keys for job, keys, _ in shared},
        whole={job: key for job, _, key in shared if key is not None},
    )


def _blocks(jobs: Sequence[tuple[str, str, bool, int]]) -> Iterator[list[tuple[str, str, bool, int]]]:
    """The jobs in their order, in blocks whose texts fit into memory together."""
    block: list[tuple[str, str, bool, int]] = []
    size = 0
    for job in jobs:
        if block and (len(block) >= _MOST_TEXTS or size + job[3] > _MOST_SHINGLES):
            yield block
            block, size = [], 0
        block.append(job)
        size += job[3]
    if block:
        yield block


def _load(connection: duckdb.DuckDBPyConnection, known: _Known, block: Sequence[str]) -> None:
    """Have the shingles of those jobs of a block that may be like another, and of the heads they may be like."""
    suspects = [job for job in block if job in known.keys or job in known.alike]
    here = {known.heads[at].job_id for job in suspects for at in known.near(job)} | set(suspects)
    known.texts = {job: found for job, found in known.texts.items() if job in here}
    wanted = sorted(here - known.texts.keys())
    for at in range(0, len(wanted), _MOST_TEXTS):
        connection.execute(_TEXTS, {"wanted": wanted[at : at + _MOST_TEXTS]})
        while rows := connection.fetchmany(_PIECES):
            known.texts |= {job: _numbers(text) for job, text in rows}


_TEXTS = f"""
WITH wanted AS (SELECT unnest($wanted) AS job_id),
heads_of AS (SELECT cohort, job_id FROM heads SEMI JOIN wanted USING (job_id))
SELECT job_id, {_TEXT} FROM jobs SEMI JOIN wanted USING (job_id)
UNION ALL
SELECT job_id, {_TEXT} FROM earlier_jobs SEMI JOIN heads_of USING (cohort, job_id)
"""  # noqa: S608


def _numbers(text: str) -> Shingles:
    """The distinct shingles of a text as numbers that hold within this process: 64 bits of Python's keyed hash."""
    import numpy as np

    return np.unique(np.fromiter(map(hash, shingles(text)), np.int64))
