"""A partition that is too large for one worker, made in parts: each of the jobs whose ids hash to its number.

Only tables that are made job by job can be split (`Recipe.cut` says from which of their inputs a job needs no rows but
its own). A part is a table in the order of the key like any other; merged in that order they are the rows, and the
file, that would have been made in one go.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from hapi_pipeline.copies import PARTS
from hapi_pipeline.engine import connect, files_of, open_files, spilling, stream
from hapi_pipeline.lake import Lake, Written
from hapi_pipeline.naming import digest
from hapi_pipeline.recipes import Recipe, Scope, make_partitions
from hapi_pipeline.tables import TABLES

if TYPE_CHECKING:
    from hapi_pipeline.registry import Registry

_SORTING = {"memory_limit": "700MB", "threads": "1"}
_LEFT_BEHIND = 2 * 86_400  # seconds after which nobody comes back to a part


@dataclass(frozen=True)
class Part:
    """One part of a partition."""

    keys: tuple[tuple[str, str], ...]
    number: int  # from 0
    of: int
    fingerprint: str  # of the whole partition

    @property
    def scope(self) -> dict[str, str]:
        """The keys of the partition."""
        return dict(self.keys)


def parts_of(scope: Scope, count: int, fingerprint: str) -> list[Part]:
    """The parts of a partition."""
    return [Part(tuple(scope.items()), number, count, fingerprint) for number in range(count)]


def number_of_parts(recipe: Recipe, lake: Lake, scope: Scope, most_rows: int | None) -> int:
    """In how many parts a partition is made, so that none reads many more than so many rows of any table."""
    if not most_rows or not recipe.cut:
        return 1
    largest = max(rows_of(files_of(lake, table, [scope])) for table in recipe.cut)
    return max(1, math.ceil(largest / most_rows))


def rows_of(files: Sequence[Path]) -> int:
    """Rows of Parquet files, from their footers."""
    import pyarrow.parquet as pq

    return sum(int(pq.read_metadata(path).num_rows) for path in files)


class PartOfLake(Lake):
    """A lake in which some tables hold the rows of some jobs only; their files are copied as they are asked for."""

    def __init__(self, lake: Lake, cut: Sequence[str], part: Part, folder: Path):
        super().__init__(lake.root)
        self.whole, self.cut, self.part, self.folder_of_copies = lake, cut, part, folder

    def files(self, table: str, keys: Mapping[str, str] | None = None) -> list[Path]:
        """As in the whole lake, but of the tables that are cut, files with the rows of this part."""
        files = self.whole.files(table, keys)
        return [self._copy(table, path) for path in files] if table in self.cut else files

    def _copy(self, table: str, path: Path) -> Path:
        import pyarrow as pa
        import pyarrow.parquet as pq

        copy = self.folder_of_copies / f"{digest(str(path), length=32)}.parquet"
        if copy.exists():
            return copy
        with connect() as connection, pq.ParquetWriter(copy, TABLES[table].schema(), compression="lz4") as writer:
            open_files(connection, {table: [path]})
            # a hash that is the same everywhere: DuckDB's own hash() changes with its version
            sql = f'SELECT * FROM "{table}" WHERE md5_number_lower(job_id) % $of = $number'  # noqa: S608
            for batch in stream(connection, sql, {"of": self.part.of, "number": self.part.number}):
                writer.write_table(pa.Table.from_batches([batch]).cast(TABLES[table].schema()))
        return copy


def make_part(recipe: Recipe, lake: Lake, registry: Registry, part: Part) -> int:
    """Make one part, unless it is there from an attempt that was interrupted; how many rows it has."""
    kept = part_lake(lake, recipe.name, part)
    if kept.inputs(recipe.name, part.scope) == part.fingerprint:
        return rows_of(kept.files(recipe.name, part.scope))
    with tempfile.TemporaryDirectory(prefix="hapi-") as folder:
        some = PartOfLake(lake, recipe.cut, part, Path(folder))
        for scope, rows in make_partitions(recipe, some, registry, [part.scope]):
            written = kept.write(recipe.name, rows, scope, part.fingerprint)
    return written.rows


def merge(recipe: Recipe, lake: Lake, parts: Sequence[Part]) -> Written:
    """Put the parts of a partition together, in the order of the key."""
    table, scope = TABLES[recipe.name], parts[0].scope
    files = [path for part in parts for path in part_lake(lake, table.name, part).files(table.name, scope)]
    order = ", ".join(f'"{name}"' for name in table.key)
    with spilling(_SORTING) as connection:
        open_files(connection, {table.name: files})
        rows = stream(connection, f'SELECT * FROM "{table.name}" ORDER BY {order}')  # noqa: S608
        return lake.write(table.name, rows, scope, parts[0].fingerprint)


def part_lake(lake: Lake, table: str, part: Part) -> Lake:
    """Where a part is kept until it is merged, for every worker to see."""
    return Lake(_scratch(lake, table) / part.fingerprint / f"{part.number}-of-{part.of}")


def forget(lake: Lake, table: str, fingerprints: Collection[str]) -> None:
    """Remove the parts of partitions that have been made of them, and what an interrupted run left days ago."""
    scratch = _scratch(lake, table)
    if copy := lake.working_copy:
        long_ago = datetime.now(UTC) - timedelta(seconds=_LEFT_BEHIND)
        found = copy.store.listed(f"{PARTS}/{table}")
        copy.remove([n for n, seen in found.items() if n.split("/")[2] in fingerprints or seen.modified < long_ago])
    for folder in scratch.glob("*"):
        if folder.name in fingerprints or time.time() - folder.stat().st_mtime > _LEFT_BEHIND:
            shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):  # another run is at work on other partitions
        scratch.rmdir()


def _scratch(lake: Lake, table: str) -> Path:
    return lake.root.parent / (PARTS if lake.working_copy else f".cache/{PARTS}") / table
