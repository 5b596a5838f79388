"""The lake: one Parquet file per partition of a table, replaced whole, so a reader never sees half of one.

Three kinds of tables live here. *Partitioned tables* are remade from their inputs and replaced file by file.
*Ledgers* are append-only: a file per import, which counts only once the import's manifest stands beside it.
A partition keys its folder by readable, reversible slugs: ``cohort=2026-10/model=GPT-5/round=agent_alone``.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hapi_pipeline.naming import slug
from hapi_pipeline.tables import TABLES, Table

if TYPE_CHECKING:
    import pyarrow as pa

_INPUTS, _CONTENT = b"hapi.inputs", b"hapi.content"


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

    # ---- where things are

    def folder(self, table: str, keys: Mapping[str, str]) -> Path:
        """The folder of a partition; keys must come in the table's order and may stop early."""
        path = self.root / table
        for name in TABLES[table].partitions:
            if name not in keys:
                break
            path /= f"{name}={slug(keys[name])}"
        return path

    def path(self, table: str, keys: Mapping[str, str]) -> Path:
        """The file of one partition of a table that is not a ledger."""
        return self.folder(table, keys) / "data.parquet"

    def files(self, table: str, keys: Mapping[str, str] | None = None) -> list[Path]:
        """The files of a table that match the given partition keys, in order; of a ledger only those that count."""
        declared, keys = TABLES[table], keys or {}
        pattern = [f"{p}={_glob(slug(keys[p]))}" if p in keys else f"{p}=*" for p in declared.partitions]
        found = sorted((self.root / table).glob("/".join([*pattern, "*.parquet"])))
        if declared.ledger:
            return [path for path in found if (self.root / "imports" / f"{path.stem}.json").exists()]
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

    def write(self, table: str, rows: pa.Table, keys: Mapping[str, str], inputs: str = "") -> Written:
        """Replace one partition by these rows, unless they are what it holds already.

        Rows are cast to the declared schema, checked against it and sorted by the primary key. `inputs` is the
        fingerprint of what they were made from. Raises SchemaError when they do not fit.
        """
        rows = conform(TABLES[table], rows)
        path, content = self.path(table, keys), content_hash(rows)
        changed = self.content(table, keys) != content
        if changed or self.inputs(table, keys) != inputs:
            before = path.stat() if not changed else None
            write_parquet(path, rows.replace_schema_metadata({_INPUTS: inputs.encode(), _CONTENT: content.encode()}))
            if before:  # same rows from other inputs: readers by modification time need not wake up
                os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        return Written(path, rows.num_rows, changed)

    def read(self, table: str, keys: Mapping[str, str] | None = None, columns: list[str] | None = None) -> pa.Table:
        """The rows of all matching partitions; an empty table with the right schema where there are none."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = TABLES[table].schema()
        if columns is not None:
            schema = pa.schema([schema.field(c) for c in columns])
        parts = [pq.ParquetFile(path).read(columns=columns).cast(schema) for path in self.files(table, keys)]
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
        found = [_manifest(path) for path in (self.root / "imports").glob("*.json")]
        found = [i for i in found if kind is None or i.kind == kind]
        return sorted(found, key=lambda i: (i.imported_at, i.import_id))

    def imported(self, kind: str, source: str | None = None) -> dict[str, Import]:
        """The files imported so far under a source, by their SHA-256."""
        return {f.sha256: i for i in self.imports(kind) if i.source == source for f in i.files}

    def append(self, table: str, import_id: str, rows: pa.Table, keys: Mapping[str, str] | None = None) -> None:
        """Stage rows of an import in a ledger: they count once `finish_import` has been called."""
        if rows.num_rows:
            write_parquet(self.folder(table, keys or {}) / f"{import_id}.parquet", conform(TABLES[table], rows))

    def finish_import(self, manifest: Import) -> None:
        """Make the staged rows of an import count, all at once."""
        write_bytes(
            self.root / "imports" / f"{manifest.import_id}.json",
            json.dumps(asdict(manifest), indent=1, ensure_ascii=False).encode(),
        )


@functools.cache
def _manifest(path: Path) -> Import:
    """A manifest never changes once it is written."""
    loaded: dict[str, Any] = json.loads(path.read_text("utf-8"))
    lists = ("cohorts", "missing_columns", "unmapped_columns")
    files = tuple(ImportedFile(**f) for f in loaded.pop("files"))
    values: dict[str, Any] = {k: tuple(v) if k in lists else v for k, v in loaded.items()}
    return Import(files=files, **values)


def _metadata(path: Path) -> dict[bytes, str]:
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_schema(path).metadata or {}
        return {k: v.decode() for k, v in metadata.items() if k in (_INPUTS, _CONTENT)}
    except (OSError, ValueError):  # a damaged file is remade like a missing one
        return {}


def conform(table: Table, rows: pa.Table) -> pa.Table:
    """Rows cast to a table's schema, checked for nulls and a unique key, and sorted by the key."""
    import pyarrow as pa

    schema = table.schema()
    missing = [name for name in table.names if name not in rows.column_names]
    if missing:
        raise SchemaError(f"table {table.name}: rows lack the column(s) {', '.join(missing)}")
    try:
        rows = rows.select(list(table.names)).cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        raise SchemaError(f"table {table.name}: {error}") from error
    for column in table.columns:
        if not column.nullable and rows.column(column.name).null_count:
            raise SchemaError(f"table {table.name}: column {column.name} must not be null")
    if rows.num_rows:  # a single row too: sorting also clears what stands under nulls, which the hash would see
        rows = rows.sort_by([(name, "ascending") for name in table.key]).combine_chunks()
        distinct = rows.select(list(table.key)).group_by(list(table.key)).aggregate([]).num_rows
        if distinct != rows.num_rows:
            raise SchemaError(f"table {table.name}: {rows.num_rows - distinct} rows repeat the key {table.key}")
    return rows


def content_hash(rows: pa.Table) -> str:
    """SHA-256 of the rows in Arrow's stream format."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows.combine_chunks())
    return hashlib.sha256(sink.getvalue()).hexdigest()


def write_parquet(path: Path, rows: pa.Table) -> None:
    """Write a Parquet file whole or not at all."""
    import pyarrow.parquet as pq

    staged = _stage(path)
    pq.write_table(rows, staged, compression="zstd")
    _settle(staged, path)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    staged = _stage(path)
    staged.write_bytes(data)
    _settle(staged, path)


def _stage(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.parent / f".{path.name}.{uuid.uuid4().hex}.part"


def _settle(staged: Path, path: Path) -> None:
    """Make the staged bytes durable, then visible under their name."""
    with staged.open("rb") as file:
        os.fsync(file.fileno())
    staged.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _glob(text: str) -> str:
    """Text that glob takes literally."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in text)


def _sha(lines: Any) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
