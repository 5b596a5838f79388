"""How the ledger of verdicts lies on the disk: encoded by hand, and the same to all who read it."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hapi_pipeline import engine
from hapi_pipeline.lake import Import, ImportedFile, Lake, SchemaError, conform, stored
from hapi_pipeline.tables import TABLES
from tests import scenario

TABLE = TABLES["verdict_exports"]
KEYS = {"model": "Quill", "round": "agent_alone"}


def verdicts(first: int, count: int) -> pa.Table:
    rows = [
        scenario.verdict("a", "Quill", "agent_alone", "job", (f"c{n % 7}", f"grader {n % 3}", n % 2 == 0), n)
        | {"source_sha256": "f" * 64, "source_row": n, "comment": None if n % 4 else f"comment {n}"}
        for n in range(first, first + count)
    ]
    return conform(TABLE, scenario.table_of("verdict_exports", rows))


def count_it(lake: Lake, number: str, rows: int) -> None:
    lake.finish_import(Import(number, "verdicts", None, (ImportedFile("f", number, rows, 0),), "2026-03-01"))


def file_of(lake: Lake, number: str) -> Path:
    (path,) = (path for path in lake.files("verdict_exports") if path.stem == number)
    return path


def test_files_of_an_earlier_version_and_of_this_one_are_read_together(lake: Lake) -> None:
    old, new = verdicts(0, 50), verdicts(50, 60)
    path = lake.folder("verdict_exports", KEYS) / "old.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(old, path, compression="zstd")  # as it was written before
    count_it(lake, "old", 50)
    lake.append("verdict_exports", "new", new, KEYS)
    count_it(lake, "new", 60)
    both = pa.concat_tables([old, new])
    assert lake.read("verdict_exports").sort_by("source_row") == both
    assert pq.read_table(file_of(lake, "new"), partitioning=None) == new  # texts, to any reader
    with engine.connect() as connection:
        engine.open_tables(connection, lake, ["verdict_exports"])
        found = connection.sql("SELECT * FROM verdict_exports ORDER BY source_row").to_arrow_table()
    assert found.select(both.column_names).to_pylist() == both.to_pylist()


def test_texts_may_come_as_dictionaries_and_give_the_same_file(lake: Lake) -> None:
    rows = verdicts(0, 40)
    coded = rows.cast(stored(TABLE)[0])
    assert pa.types.is_dictionary(coded.schema.field("grader").type)
    lake.append("verdict_exports", "texts", rows, KEYS)
    lake.append_stream("verdict_exports", "coded", coded.to_batches(), KEYS)
    for number in ("texts", "coded"):
        count_it(lake, number, 40)
    assert file_of(lake, "texts").read_bytes() == file_of(lake, "coded").read_bytes()


def test_dictionaries_out_of_order_or_with_a_null_are_refused(lake: Lake) -> None:
    schema = stored(TABLE)[0]
    coded = verdicts(0, 40).cast(schema)
    listed = [row | {"source_sha256": sha * 64} for row, sha in zip(verdicts(0, 2).to_pylist(), "ba", strict=True)]
    of_two = pa.Table.from_pylist(listed, schema=TABLE.schema()).cast(schema)
    nobody = pa.nulls(40, pa.string()).dictionary_encode()
    lacking = coded.set_column(schema.get_field_index("grader"), "grader", nobody)
    for rows, reason in (
        (coded.take(pa.array([1, 0])), "order"),
        (of_two, "order"),
        (lacking, "grader.*null"),
    ):
        with pytest.raises(SchemaError, match=reason):
            lake.append_stream("verdict_exports", "bad", rows.to_batches(), KEYS)
    assert not [path for path in lake.root.rglob("*") if path.is_file()]


def test_tables_that_tell_a_change_by_the_bytes_of_their_pages_keep_them() -> None:
    """Their content hash would differ once, and all that is made from them would be made again."""
    for table in TABLES.values():
        if not table.ledger:
            assert stored(table) == (table.schema(), {})
