"""What a page asks of the lake: a SELECT that anybody can repeat with `hapi query`, and its rows."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from hapi_pipeline.lake import Lake
from hapi_pipeline.rounds import ROUND
from hapi_pipeline.settings import Home

if TYPE_CHECKING:
    import duckdb

    from hapi_pipeline.registry import Registry

Row = Mapping[str, Any]
_FETCHED = 2000  # rows that are fetched at a time


@dataclass(frozen=True)
class Answer:
    """The rows of a SELECT, and the SELECT itself."""

    sql: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def __bool__(self) -> bool:
        return bool(self.rows)

    @property
    def simulated(self) -> bool:
        """Whether any row rests on simulated data; a row that does not say counts as not."""
        return any(row.get("simulated") for row in self.rows)

    def where(self, **wanted: object) -> list[Row]:
        """The rows that have these values."""
        return [row for row in self.rows if all(row[name] == value for name, value in wanted.items())]

    def one(self, **wanted: object) -> Row | None:
        """The first such row."""
        return next(iter(self.where(**wanted)), None)


@dataclass(frozen=True)
class Sources:
    """All that a report is made from."""

    lake: Lake
    registry: Registry
    home: Home
    connection: duckdb.DuckDBPyConnection

    @property
    def rule(self) -> str:
        """The completion rule of the headline."""
        return self.registry.benchmark.completion_rule

    def ask(self, sql: str, **names: str) -> Answer:
        """The answer to a SELECT; `{name}` in it stands for a text, quoted as SQL wants it."""
        from hapi_pipeline.engine import quoted

        written = textwrap.dedent(sql).strip().format(**{name: quoted(value) for name, value in names.items()})
        cursor = self.connection.execute(written)
        columns = tuple(column[0] for column in cursor.description)
        rows = tuple(dict(zip(columns, map(_plain, row), strict=True)) for row in cursor.fetchall())
        return Answer(written, columns, rows)

    def stream(self, sql: str) -> Iterator[tuple[Any, ...]]:
        """The rows of a SELECT, some thousand at a time."""
        cursor = self.connection.cursor()
        try:
            found = cursor.execute(sql)
            while rows := found.fetchmany(_FETCHED):
                yield from rows
        finally:
            cursor.close()


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def opened(lake: Lake, registry: Registry, home: Home, clearance: Mapping[str, str]) -> Iterator[Sources]:
    """A connection that sees every table of the lake, as `hapi query` does.

    But for themes: they quote criteria, so words from jobs that are not cleared are left out of them.
    """
    from hapi_pipeline.engine import open_tables, spilling
    from hapi_pipeline.release.public import public_rows
    from hapi_pipeline.tables import TABLES

    withheld = ["failure_themes"] if any(clearance.values()) else []
    with spilling() as connection:
        # a TEMP view belongs to one connection only, and rows are streamed on several
        shared = cast("duckdb.DuckDBPyConnection", _Everywhere(connection))
        open_tables(shared, lake, [name for name in TABLES if name not in withheld])
        for name in withheld:
            connection.register("_rows", public_rows(lake, clearance, name))
            connection.execute(f'CREATE TABLE "{name}" AS SELECT * FROM _rows')  # noqa: S608
        yield Sources(lake, registry, home, connection)


class _Everywhere:
    """A connection whose views its cursors see too."""

    def __init__(self, connection: duckdb.DuckDBPyConnection):
        self._connection = connection

    def execute(self, sql: str) -> duckdb.DuckDBPyConnection:
        """Run a statement."""
        return self._connection.execute(sql.replace("CREATE TEMP VIEW", "CREATE VIEW", 1))


def rounds_in_order(names: Sequence[str]) -> list[str]:
    """Rounds as they follow one another; those that this version does not know come last."""
    known = [name for name in ROUND if name in names]
    return known + sorted({*names} - {*known})


def round_name(name: str) -> str:
    """A round in words for readers."""
    return _ROUND_NAMES.get(name, name)


_ROUND_NAMES = {
    "agent_alone": "Agent alone",
    "feedback_1": "After 1st feedback",
    "feedback_2": "After 2nd feedback",
    "retry_1": "Second try, no feedback",
}
RULES = {
    "all_criteria": "every criterion of its rubric",
    "required_criteria": "every critical and important criterion of its rubric",
}
"""What a complete job has passed, by completion rule."""
