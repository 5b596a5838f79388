"""Questions to a lake in an object store, answered from the objects themselves: nothing is copied to this machine.

DuckDB reads through an fsspec filesystem that is registered with it; of a Parquet file only the columns and row groups
that a question needs are fetched. Every read names the version that was listed, so an answer is of one state of each
file, or there is none. What is made (`recipes.py`) works on copies instead: it reads the same files over and over.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fsspec.spec import AbstractBufferedFile, AbstractFileSystem  # type: ignore[import-untyped]

from hapi_pipeline.copies import WorkingCopy
from hapi_pipeline.store import ChangedError, ObjectStore, Seen
from hapi_pipeline.tables import TABLES

if TYPE_CHECKING:
    import duckdb

_BLOCK = 1 << 20
"""Bytes that are fetched at least: what DuckDB reads of a small file lies in one request."""


def open_objects(connection: duckdb.DuckDBPyConnection, copy: WorkingCopy, names: Collection[str]) -> str:
    """Make a view for each of these tables, over its objects; below which address all of them lie."""
    from hapi_pipeline.engine import open_files

    files = {name: objects_of(copy, name) for name in names}
    addresses = {f"{copy.address}/{file}": (file, seen) for some in files.values() for file, seen in some.items()}
    connection.register_filesystem(Objects(copy.store, addresses))
    open_files(connection, {name: [f"{copy.address}/{file}" for file in some] for name, some in files.items()})
    return f"{copy.address}/lake/"


def named_in(sql: str, tables: Collection[str]) -> list[str]:
    """Those tables whose name stands anywhere in a question."""
    words = set(re.findall(r"\w+", sql.casefold()))
    return [name for name in tables if name in words]


def objects_of(copy: WorkingCopy, table: str) -> dict[str, Seen]:
    """The objects of a table that count, as `Lake.files` tells its files."""
    found = copy.objects(f"lake/{table}")
    if TABLES[table].ledger:
        imports = copy.objects("lake/imports")
        return {name: seen for name, seen in found.items() if f"lake/imports/{_stem(name)}.json" in imports}
    return {name: seen for name, seen in found.items() if name.endswith("/data.parquet")}


def _stem(name: str) -> str:
    return name.rpartition("/")[2].removesuffix(".parquet")


class Objects(AbstractFileSystem):  # type: ignore[misc]
    """Some objects, by their addresses, in the versions that were listed; read-only."""

    cachable = False

    def __init__(self, store: ObjectStore, objects: Mapping[str, tuple[str, Seen]]):
        super().__init__()
        self.protocol = urlsplit(store.address).scheme
        self.store, self.objects = store, objects

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """What was listed."""
        if path not in self.objects:
            raise FileNotFoundError(path)
        return {"name": path, "size": self.objects[path][1].size, "type": "file"}

    def modified(self, path: str) -> Any:
        """When it was written."""
        return self.objects[path][1].modified

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """The object itself: there is no need to look into folders."""
        return [self.info(path)] if detail else [path]

    def _open(self, path: str, mode: str = "rb", **_: Any) -> AbstractBufferedFile:
        if mode != "rb":
            raise PermissionError(f"{path} may only be read")
        return _Object(self, path, "rb", block_size=_BLOCK, size=self.info(path)["size"])


class _Object(AbstractBufferedFile):  # type: ignore[misc]
    """One object, read in blocks."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        name, seen = self.fs.objects[self.path]
        try:
            return bytes(self.fs.store.read_range(name, start, end, seen.etag))
        except ChangedError:
            raise OSError(f"{name} was replaced while it was being read; ask again.") from None
