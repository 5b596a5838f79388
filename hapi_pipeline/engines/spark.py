"""On Spark: a data frame of numbers, one for each item, and `mapInArrow` over it; rows of tables never pass through it.

The cluster is the one that HAPI_SPARK_MASTER names, or one on this machine that is started for this process and ends
with it. Why Spark does not run the SQL: translated to its dialect some queries change their results in silence.
"""

from __future__ import annotations

import os
import pickle
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from hapi_pipeline.engines import TRIES, alone, opened

if TYPE_CHECKING:
    import pyarrow as pa

Item = TypeVar("Item")
Made = TypeVar("Made")

_MOST_TASKS = 2_000
"""Tasks of one Spark job; with more items than that a task has several."""


class Spark:
    """Tasks of a Spark application, which is started when it is first needed."""

    name = "spark"

    def __init__(self, workers: int | None = None, master: str = ""):
        self.workers = workers or os.cpu_count() or 1
        self.master = master or f"local[{self.workers},{TRIES}]"

    def each(
        self, work: Callable[[Item], Made], items: Sequence[Item], *, threads: int = 1, in_order: bool = False
    ) -> Iterator[Made]:
        """`work` on each item; all of them are done, or tried, before the first result is there."""
        for some in [[item] for item in items] if in_order else [items]:
            yield from map(opened, self._job(work, some))

    def _job(self, work: Callable[[Item], Made], items: Sequence[Item]) -> list[tuple[bool, Any]]:
        if not items:
            return []
        session = self._started()
        task = pickle.dumps((work, items))
        places = session.range(0, len(items), 1, min(len(items), _MOST_TASKS))
        found = places.mapInArrow(lambda batches: _done(task, batches), "place long, outcome binary").collect()
        return [pickle.loads(row.outcome) for row in sorted(found, key=lambda row: row.place)]  # noqa: S301 (our workers')

    def _started(self) -> Any:
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        os.environ.setdefault("PYSPARK_DRIVER_PYTHON", sys.executable)
        from pyspark.sql import SparkSession

        builder = SparkSession.builder.appName("hapi").master(self.master)
        settings = {
            "spark.task.maxFailures": str(TRIES),
            "spark.sql.execution.arrow.maxRecordsPerBatch": "1",
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.log.level": "ERROR",
            **(self._of_this_machine() if self.master.startswith("local") else {}),
        }
        for name, value in settings.items():
            builder = builder.config(name, value)
        return builder.getOrCreate()

    def _of_this_machine(self) -> dict[str, str]:
        return {
            "spark.driver.memory": "2g",
            "spark.driver.host": "127.0.0.1",  # nobody else has any business there
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.sql.warehouse.dir": tempfile.gettempdir(),
        }


def _done(task: bytes, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """In a worker: the work of some places in the list of items."""
    import pyarrow as pa

    work, items = pickle.loads(task)  # noqa: S301 (from whoever started us)
    for batch in batches:
        for place in batch.column(0).to_pylist():
            outcome = pickle.dumps(alone(work, items[place]))
            yield pa.RecordBatch.from_pydict({"place": pa.array([place], pa.int64()), "outcome": [outcome]})
