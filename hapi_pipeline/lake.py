"""The lake: one Parquet file per partition of a table, replaced whole, so a reader never sees half of one.

Three kinds of tables live here. *Partitioned tables* are remade from their inputs and replaced file by file.
*Ledgers* are append-only: a file per import, which counts only once the import's manifest stands beside it.
A partition keys its folder by readable, reversible slugs: ``cohort=2026-10/model=GPT-5/round=agent_alone``.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hapi_pipeline.copies import brought, copy_of
from hapi_pipeline.naming import slug
from hapi_pipeline.tables import TABLES, Table
from hapi_pipeline.troubles import reading_trouble

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from hapi_pipeline.copies import WorkingCopy

_INPUTS, _CONTENT = b"hapi.inputs", b"hapi.content"
ROW_GROUP = 32_768
"""Rows of a row group; also the most that are held in memory of rows that arrive as a stream (50 MB of posts)."""


class SchemaError(Exception):
    """Rows that do not fit the declaration of their table."""


@dataclass(frozen=True)
class Written:
    """What came of writing a partition."""

    path: Path
    rows: int
    changed: bool


@dataclass(frozen=True)
class ImportedFile:
    """One file of an import."""

    name: str
    sha256: str
    rows: int
    quarantined: int


@dataclass(frozen=True)
class Import:
    """The manifest of an import, of one file or of many at once: what makes its ledger rows count."""

    import_id: str
    kind: str
    source: str | None
    files: tuple[ImportedFile, ...]
    imported_at: str
    cohorts: tuple[str, ...] = ()
    missing_columns: tuple[str, ...] = ()
    unmapped_columns: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()  # of a job export: all that the file has
    replaced: int = 0  # runs of bytes that were no text in the file's encoding; they read as U+FFFD

    @property
    def rows(self) -> int:
        """Rows taken in."""
        return sum(f.rows for f in self.files)

    @property
    def quarantined(self) -> int:
        """Rows put into quarantine."""
        return sum(f.quarantined for f in self.files)


class Lake:
    """Reads and writes the tables below one folder."""

    def __init__(self, root: Path):
        self.root = root
        self.working_copy = copy_of(root)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.working_copy is None:
            return Lake, (self.root,)
        return _lake_of, (self.working_copy, self.root.relative_to(self.working_copy.folder))

    # ---- where things are

    def folder(self, table: str, keys: Mapping[str, str]) -> Path:
        """The folder of a partition; keys must come in the table's order and may stop early."""
        given = itertools.takewhile(keys.__contains__, TABLES[table].partitions)
        return self.root.joinpath(table, *(f"{name}={slug(keys[name])}" for name in given))

    def path(self, table: str, keys: Mapping[str, str]) -> Path:
        """The file of one partition of a table that is not a ledger."""
        return brought(self.folder(table, keys) / "data.parquet")

    def files(self, table: str, keys: Mapping[str, str] | None = None) -> list[Path]:
        """The files of a table that match the given partition keys, in order; of a ledger only those that count."""
        declared, keys = TABLES[table], keys or {}
        if not declared.ledger and all(p in keys for p in declared.partitions):
            return [path for path in [self.path(table, keys)] if path.exists()]
        given = len(list(itertools.takewhile(keys.__contains__, declared.partitions)))
        pattern = [f"{p}={_glob(slug(keys[p]))}" if p in keys else f"{p}=*" for p in declared.partitions[given:]]
        found = sorted(brought(self.folder(table, keys)).glob("/".join([*pattern, "*.parquet"])))
        if declared.ledger:
            manifests = brought(self.root / "imports")
            return [path for path in found if (manifests / f"{path.stem}.json").exists()]
        return [path for path in found if path.name == "data.parquet"]

    def partitions(self, table: str) -> list[dict[str, str]]:
        """The keys of every partition that a table has on disk."""
        from hapi_pipeline.naming import unslug

        found = []
        for path in self.files(table):
            steps = path.relative_to(self.root / table).parts[:-1]
            found.append({name: unslug(value) for name, value in (step.split("=", 1) for step in steps)})
        return found

    # ---- partitioned tables

    def write(
        self, table: str, rows: pa.Table | Iterable[pa.RecordBatch], keys: Mapping[str, str], inputs: str = ""
    ) -> Written:
        """Replace one partition by these rows, unless they are what it holds already.

        A table is cast to the declared schema, checked against it and sorted by the primary key; batches must come in
        that order, and only a row group of them is in memory at a time. `inputs` is the fingerprint of what the rows
        were made from. Raises SchemaError when they do not fit.
        """
        import pyarrow as pa

        path = self.path(table, keys)
        with _writing(TABLES[table], path) as file:
            if isinstance(rows, pa.Table):
                file.add_conforming(conform(TABLES[table], rows))
            else:
                file.add(rows)
            content = file.finish({_INPUTS: inputs})
            there = _metadata(path)
            before = path.stat() if there.get(_CONTENT) == content else None
            if before and there.get(_INPUTS) == inputs:
                return Written(path, file.rows, False)
            # what a power cut takes back is made again: there is no need to wait for the folder to be on the disk;
            # same rows from other inputs: readers by modification time need not wake up
            file.settle(folder=False, times=(before.st_atime_ns, before.st_mtime_ns) if before else None)
        return Written(path, file.rows, before is None)

    def adopt(self, table: str, keys: Mapping[str, str], file: Path) -> None:
        """Replace one partition by a file that another lake made of it, whole or not at all."""
        path = self.path(table, keys)
        staged = _stage(path)
        try:
            os.link(file, staged)  # no partition is ever changed in place
        except OSError:
            shutil.copyfile(file, staged)
        try:
            _settle(staged, path)
        finally:
            staged.unlink(missing_ok=True)

    def read(self, table: str, keys: Mapping[str, str] | None = None, columns: list[str] | None = None) -> pa.Table:
        """The rows of all matching partitions; an empty table with the right schema where there are none."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = TABLES[table].schema()
        if columns is not None:
            schema = pa.schema([schema.field(c) for c in columns])
        paths = self.files(table, keys)
        try:
            files = [pq.ParquetFile(path) for path in paths]
            # what an earlier version wrote without a column that is declared today is read with nulls in it
            lacking = {name for name in schema.names for file in files if name not in file.schema_arrow.names}
            schema = pa.schema([f.with_nullable(f.nullable or f.name in lacking) for f in schema])
            parts = [_declared(file, schema) for file in files]
        except (pa.ArrowException, OSError, ValueError) as error:
            if trouble := reading_trouble(error, ((table, path) for path in paths)):
                raise trouble from error
            raise
        return pa.concat_tables(parts).replace_schema_metadata(None) if parts else schema.empty_table()

    def inputs(self, table: str, keys: Mapping[str, str]) -> str | None:
        """The fingerprint of what a partition was made from; None where there is no such partition."""
        return _metadata(self.path(table, keys)).get(_INPUTS)

    def content(self, table: str, keys: Mapping[str, str]) -> str | None:
        """The hash of a partition's rows; None where there is no such partition."""
        return _metadata(self.path(table, keys)).get(_CONTENT)

    def state(self, table: str, keys: Mapping[str, str]) -> str:
        """A fingerprint of the matching partitions, or of a ledger's files: changes when any of their rows does."""
        if TABLES[table].ledger:
            wanted = {k: v for k, v in keys.items() if k != "cohort"}  # a job may change its month
            return _sha(path.relative_to(self.root).as_posix() for path in self.files(table, wanted))
        return _sha(
            f"{path.parent.relative_to(self.root)}:{_metadata(path).get(_CONTENT)}" for path in self.files(table, keys)
        )

    # ---- ledgers

    def imports(self, kind: str | None = None) -> list[Import]:
        """The finished imports, oldest first."""
        found = [_manifest(path) for path in brought(self.root / "imports").glob("*.json")]
        found = [i for i in found if kind is None or i.kind == kind]
        return sorted(found, key=lambda i: (i.imported_at, i.import_id))

    def imported(self, kind: str, source: str | None = None) -> dict[str, Import]:
        """The files imported so far under a source, by their SHA-256."""
        return {f.sha256: i for i in self.imports(kind) if i.source == source for f in i.files}

    def append(self, table: str, import_id: str, rows: pa.Table, keys: Mapping[str, str] | None = None) -> None:
        """Stage rows of an import in a ledger: they count once `finish_import` has been called."""
        if rows.num_rows:
            self.append_stream(table, import_id, conform(TABLES[table], rows).to_batches(), keys)

    def append_stream(
        self,
        table: str,
        import_id: str,
        batches: Iterable[pa.RecordBatch],
        keys: Mapping[str, str] | None = None,
        *,
        split_by: str | None = None,
    ) -> dict[Path, int]:
        """`append` for rows that arrive in batches, in the order of the key; the files with their numbers of rows.

        With `split_by`, the partition key that is missing in `keys`, each value of that column has a file of its own.
        Where the batches end in an error, nothing is staged.
        """
        import pyarrow.compute as pc

        files: dict[Path, _PartitionFile] = {}

        def file_of(more: Mapping[str, str]) -> _PartitionFile:
            path = self.folder(table, {**(keys or {}), **more}) / f"{import_id}.parquet"
            if path not in files:
                files[path] = _PartitionFile(TABLES[table], path)
            return files[path]

        try:
            for batch in batches:
                values = pc.unique(batch.column(split_by)).to_pylist() if split_by else [None]
                for value in values:
                    some = batch.filter(pc.equal(batch.column(split_by), value)) if len(values) > 1 else batch
                    file_of({split_by: str(value)} if split_by else {}).add([some])
                _flush_largest(files.values())
            for file in files.values():
                file.finish({})
            for file in files.values():
                file.settle()
        finally:
            for file in files.values():
                file.discard()
        return {path: file.rows for path, file in files.items()}

    def finish_import(self, manifest: Import) -> None:
        """Make the staged rows of an import count, all at once."""
        write_bytes(
            self.root / "imports" / f"{manifest.import_id}.json",
            json.dumps(asdict(manifest), indent=1, ensure_ascii=False).encode(),
            new=True,
        )


def _lake_of(copy: WorkingCopy, place: Path) -> Lake:
    """A lake in another process that it was handed to; the working folder has been opened there."""
    return Lake(copy.folder / place)


@functools.cache
def _manifest(path: Path) -> Import:
    """A manifest never changes once it is written."""
    loaded: dict[str, Any] = json.loads(path.read_text("utf-8"))
    lists = ("cohorts", "missing_columns", "unmapped_columns", "columns")
    files = tuple(ImportedFile(**f) for f in loaded.pop("files"))
    values: dict[str, Any] = {k: tuple(v) if k in lists else v for k, v in loaded.items()}
    return Import(files=files, **values)


def _declared(file: pq.ParquetFile, schema: pa.Schema) -> pa.Table:
    """A file's rows in these columns; one that it does not have is null."""
    import pyarrow as pa

    rows = file.read(columns=[name for name in schema.names if name in file.schema_arrow.names])
    for field in schema:
        if field.name not in rows.column_names:
            rows = rows.append_column(field, pa.nulls(rows.num_rows, field.type))
    return rows.select(schema.names).cast(schema)


def _metadata(path: Path) -> dict[bytes, str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pa.OSFile(str(path)) as file:  # by itself pyarrow takes several times as long to open it
            metadata = pq.read_metadata(file).metadata or {}
        return {k: v.decode() for k, v in metadata.items() if k in (_INPUTS, _CONTENT)}
    except (OSError, ValueError):  # a damaged file is remade like a missing one
        return {}


def conform(table: Table, rows: pa.Table) -> pa.Table:
    """Rows cast to a table's schema, checked for nulls and a unique key, and sorted by the key."""
    rows = _cast(table, rows)
    if rows.num_rows > 1 and not _ascending(rows.select(list(table.key))):
        rows = rows.sort_by([(name, "ascending") for name in table.key]).combine_chunks()
        distinct = rows.select(list(table.key)).group_by(list(table.key)).aggregate([]).num_rows
        if distinct != rows.num_rows:
            raise SchemaError(f"table {table.name}: {rows.num_rows - distinct} rows repeat the key {table.key}")
    return rows


def _cast(table: Table, rows: pa.Table, schema: pa.Schema | None = None) -> pa.Table:
    """Rows cast to a table's schema, or to another form of it, and checked for nulls."""
    import pyarrow as pa

    missing = [name for name in table.names if name not in rows.column_names]
    if missing:
        raise SchemaError(f"table {table.name}: rows lack the column(s) {', '.join(missing)}")
    try:
        rows = rows.select(list(table.names)).cast(schema or table.schema())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise SchemaError(f"table {table.name}: {error}") from error
    for column in table.columns:
        if not column.nullable and rows.column(column.name).null_count:
            raise SchemaError(f"table {table.name}: column {column.name} must not be null")
    return rows


_DISTINCT = frozenset({"verdict_id", "comment"})
"""Texts that are another one in almost each row: no dictionary of them is smaller."""
_GROWING = {"graded_at": "DELTA_BINARY_PACKED", "source_row": "DELTA_BINARY_PACKED", "verdict_id": "DELTA_BYTE_ARRAY"}
"""What differs little from the row before, and the encoding of such numbers or texts."""


def stored(table: Table) -> tuple[pa.Schema, dict[str, Any]]:
    """The types in which rows are handed to the writer, and how it is to encode them.

    For a ledger of verdicts it is told what it would find out at a price: the texts that repeat are dictionaries
    already, those that do not stay as they are, and the least and the greatest text of a column are not looked for.
    The file reads the same. Partitioned tables stay with what the writer does by itself: their content hash is that
    of the encoded pages, so that another encoding would make rows look new that are not.
    """
    import pyarrow as pa

    schema = table.schema()
    if not (table.ledger and _DISTINCT & set(table.names)):
        return schema, {}
    text = pa.dictionary(pa.int32(), pa.string())
    coded = [f.name for f in schema if pa.types.is_string(f.type) and f.name not in _DISTINCT]
    schema = pa.schema([f.with_type(text) if f.name in coded else f for f in schema])
    nested = {f.name: f"{f.name}.list.element" for f in schema if pa.types.is_list(f.type)}
    plain = [name for name in table.names if name not in _DISTINCT | _GROWING.keys()]
    return schema, {
        "store_schema": False,  # to readers they are texts
        "write_batch_size": ROW_GROUP,
        "max_rows_per_page": ROW_GROUP,
        "use_dictionary": [nested.get(name, name) for name in plain],
        "write_statistics": [name for name in table.names if name not in {*coded, *_DISTINCT, *nested}],
        "column_encoding": {name: _GROWING[name] for name in table.names if name in _GROWING},
    }


class _PartitionFile:
    """A Parquet file on its way: staged rows, checked against the declaration of their table as they come.

    Its content hash is that of the encoded pages, which are the same for the same rows in the same order, however
    they were cut into batches; what the rows were made from stands behind the pages and does not count.
    """

    def __init__(self, table: Table, path: Path):
        import pyarrow.parquet as pq

        self.table, self.path, self.rows = table, path, 0
        self.waiting: list[pa.RecordBatch] = []
        self.waiting_rows = self.waiting_bytes = 0
        self._schema, encodings = stored(table)
        self._staged: Path | None = _stage(path)
        self._last: pa.Table | None = None
        self._writer = pq.ParquetWriter(self._staged, self._schema, compression="zstd", **encodings)

    def add(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Take more rows. Raises SchemaError where they do not fit or do not come in the order of the key."""
        import pyarrow as pa

        for batch in batches:
            if not batch.num_rows:
                continue
            self.waiting.append(batch)
            self.waiting_rows += batch.num_rows
            self.waiting_bytes += batch.nbytes
            while self.waiting_rows >= ROW_GROUP:
                rows = pa.Table.from_batches(self.waiting)
                self._write(rows.slice(0, ROW_GROUP))
                self._keep(rows.slice(ROW_GROUP).to_batches())

    def add_conforming(self, rows: pa.Table) -> None:
        """Take rows that `conform` has seen to, after which none may come."""
        rows = rows.cast(self._schema)
        for at in range(0, rows.num_rows, ROW_GROUP):
            self._writer.write_table(rows.slice(at, ROW_GROUP).combine_chunks(), row_group_size=ROW_GROUP)
        self.rows += rows.num_rows

    def flush(self) -> None:
        """Write what waits for a row group to fill; where it is cut then depends on what else was written."""
        import pyarrow as pa

        if self.waiting:
            self._write(pa.Table.from_batches(self.waiting))
            self._keep([])

    def _keep(self, batches: list[pa.RecordBatch]) -> None:
        self.waiting = batches
        self.waiting_rows, self.waiting_bytes = sum(b.num_rows for b in batches), sum(b.nbytes for b in batches)

    def _write(self, rows: pa.Table) -> None:
        rows = _cast(self.table, rows, self._schema)
        _check_order(self.table, rows, self._last)
        self._last = rows.select(list(self.table.key)).slice(rows.num_rows - 1).combine_chunks()
        self._writer.write_table(rows.combine_chunks(), row_group_size=ROW_GROUP)
        self.rows += rows.num_rows

    def finish(self, metadata: Mapping[bytes, str]) -> str:
        """Complete the staged file, with this metadata; the hash of its rows."""
        if self._staged is None:
            raise ValueError(f"{self.path} has been settled already")
        self.flush()
        with self._staged.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        self._writer.add_key_value_metadata({**metadata, _CONTENT: content})
        self._writer.close()
        return content

    def settle(self, *, folder: bool = True, times: tuple[int, int] | None = None) -> None:
        """Make the staged file durable, then visible under its name, as of these times; with `folder` durably so."""
        if self._staged is not None:
            if times:
                os.utime(self._staged, ns=times)
            _settle(self._staged, self.path, folder=folder)
            self._staged = None

    def discard(self) -> None:
        """Remove what is staged, unless it has been settled."""
        self._writer.close()
        if self._staged is not None:
            self._staged.unlink(missing_ok=True)


_MOST_WAITING = 256 << 20  # bytes of rows that wait for their row groups to fill, in all files of an import


def _flush_largest(files: Iterable[_PartitionFile]) -> None:
    """Keep the rows that wait in many half-filled row groups within bounds."""
    listed = sorted(files, key=lambda f: f.waiting_bytes)
    while sum(f.waiting_bytes for f in listed) > _MOST_WAITING:
        listed.pop().flush()


@contextmanager
def _writing(table: Table, path: Path) -> Iterator[_PartitionFile]:
    with _naming(path):
        file = _PartitionFile(table, path)
        try:
            yield file
        finally:
            file.discard()


def _check_order(table: Table, rows: pa.Table, last: pa.Table | None) -> None:
    """Raise SchemaError unless each key is greater than the one before; `last` is the one before these rows."""
    import pyarrow as pa

    keys = rows.select(list(table.key))
    keys = pa.concat_tables([last, keys]) if last is not None else keys
    if any(keys.column(name).null_count for name in table.key):
        return  # nulls in a key: only in small tables, which `conform` has checked
    if not _ascending(keys):
        raise SchemaError(f"table {table.name}: rows repeat the key {table.key} or do not come in its order")


def _ascending(keys: pa.Table) -> bool:
    """Whether each row of a key is greater than the one before; false where there are nulls, which have no order."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if keys.num_rows < 2 or any(column.null_count for column in keys.columns):
        return bool(keys.num_rows < 2)
    greater: Any = pa.scalar(False)
    equal: Any = pa.scalar(True)
    for column in (c.combine_chunks() for c in keys.columns):
        if pa.types.is_dictionary(column.type):
            if len(column.dictionary) == 1:
                continue  # all the same
            column = column.cast(pa.string())
        before, after = column.slice(0, len(column) - 1), column.slice(1)
        greater = pc.or_(greater, pc.and_(equal, pc.greater(after, before)))
        if pc.all(greater).as_py():
            return True
        equal = pc.and_(equal, pc.equal(after, before))
    return False


def write_bytes(path: Path, data: bytes, *, new: bool = False) -> None:
    """Write a file whole or not at all. One that is `new` replaces none that another machine put into the store."""
    with _naming(path):
        staged = _stage(path)
        try:
            staged.write_bytes(data)
            _settle(staged, path, new=new)
        finally:
            staged.unlink(missing_ok=True)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """An error of the file system says which file it is about; what is raised within a library often does not."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def _stage(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.parent / f".{path.name}.{uuid.uuid4().hex}.part"


def _settle(staged: Path, path: Path, *, folder: bool = True, new: bool = False) -> None:
    """Make the staged bytes durable, then visible under their name; with `folder` their name is durable too.

    Of a home in an object store they are in the store before they are visible here.
    """
    with staged.open("rb") as file:
        os.fsync(file.fileno())
    if copy := copy_of(path):
        copy.put(copy.name_of(path), staged, new=new)
    staged.replace(path)
    if folder:
        _sync_folder(path.parent)


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _glob(text: str) -> str:
    """Text that glob takes literally."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in text)


def _sha(lines: Any) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
