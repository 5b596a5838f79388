"""For a process of its own: every partitioned table made anew on an engine, with workers that die in the middle.

    main() with the arguments ENGINE HOME FOLDER SPLIT_ROWS TABLE…

In FOLDER each table of which a worker is to die leaves a file once one has. Prints what came of it as JSON.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hapi_pipeline.engines import Engine, EngineSettings, engine_of, making
from hapi_pipeline.lake import Lake
from hapi_pipeline.recipes import recipes
from hapi_pipeline.settings import Home, UserError
from tests.engines.conftest import rules_of, scopes_of

DYING = ("pii_findings", "attempt_outcomes", "criterion_outcomes")


def dies_once(mark: Path, work: Callable[[Any], Any], item: Any) -> Any:
    """In a worker: the first one is killed when the rows of a partition are written, but not the file's end."""
    import pyarrow.parquet as pq

    finish = pq.ParquetWriter.add_key_value_metadata

    def die(*arguments: Any, **named: Any) -> None:
        try:
            mark.open("x").close()
        except FileExistsError:
            finish(*arguments, **named)
        else:
            os.kill(os.getpid(), signal.SIGKILL)

    pq.ParquetWriter.add_key_value_metadata = die
    try:
        return work(item)
    finally:
        pq.ParquetWriter.add_key_value_metadata = finish


class Dying:
    """An engine of which one worker dies."""

    def __init__(self, engine: Engine, mark: Path):
        self.engine, self.mark, self.name = engine, mark, engine.name

    def each(self, work: Callable[[Any], Any], items: Sequence[Any], **how: Any) -> Iterator[Any]:
        return self.engine.each(functools.partial(dies_once, self.mark, work), items, **how)


def refuses(item: int) -> int:
    """Work that fails by itself, which no other try would mend."""
    if item == 2:
        raise UserError("The second one cannot be made.")
    return item


def who(item: int) -> tuple[int, str]:
    return os.getpid(), os.environ["HAPI_CORES"]


def main() -> None:
    name, root, folder, split, *tables = sys.argv[1:]
    home, marks = Home(Path(root)), Path(folder)
    registry, lake, settings = rules_of(home), Lake(home.lake), EngineSettings(name, 2, int(split) or None)
    engine = engine_of(settings)
    workers = list(engine.each(who, range(8)))
    told: dict[str, Any] = {"name": engine.name, "elsewhere": os.getpid() not in {pid for pid, _ in workers}}
    told["cores"] = sorted({cores for _, cores in workers})
    for table in tables:
        dying = Dying(engine, marks / table) if table in DYING else engine
        setattr(making, "engine_of", lambda _, dying=dying: dying)  # noqa: B010 (it is not exported)
        made = making.remake(recipes()[table], lake, registry, scopes_of(table), anew=True, settings=settings)
        told[table] = [one.rows for one in made]
    try:
        list(engine_of(settings).each(refuses, [1, 2, 3]))
    except UserError as error:
        told["error"] = [str(error), *error.__notes__]
    print(json.dumps(told))
