"""Where the partitions of a table are made: in this process, on Ray, or on Spark.

What a partition is made from and how does not change (recipes.py): its rows follow from its input files and the
registry, and whoever makes it writes its file. An engine only decides which process that is, and starts the work anew
where a process dies. Which one it is says the environment, not the registry: no row depends on it.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import pickle
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from hapi_pipeline.settings import UserError

ENGINES = ("local", "ray", "spark")
ENGINE, WORKERS, SPLIT_ROWS, MASTER = "HAPI_ENGINE", "HAPI_WORKERS", "HAPI_SPLIT_ROWS", "HAPI_SPARK_MASTER"
SPLIT_ROWS_ELSEWHERE = 500_000
"""Rows from which on a partition is split, where another process makes it and nothing else is said."""
TRIES = 4
"""So often a piece of work is begun at most, where the processes that do it die."""

Item = TypeVar("Item")
Made = TypeVar("Made")


class Engine(Protocol):
    """Runs work on items. `work` and the items must be picklable, and doing an item twice must do no harm."""

    @property
    def name(self) -> str:
        """One of ENGINES."""

    def each(
        self, work: Callable[[Item], Made], items: Sequence[Item], *, threads: int = 1, in_order: bool = False
    ) -> Iterator[Made]:
        """`work` on each item, in their order; what it raises is raised here.

        `threads`: how many at once where they share this process. `in_order`: an item may need those before it.
        """


@dataclass(frozen=True)
class EngineSettings:
    """What the environment says of engines."""

    engine: str = "local"
    workers: int | None = None  # of a cluster that is started here; None: as many as there are cores
    split_rows: int | None = None  # None: never
    master: str = ""  # of Spark; empty: a cluster that is started here

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> EngineSettings:
        """The settings in these variables. Raises UserError where one makes no sense."""
        engine = environment.get(ENGINE, "").strip().lower() or "local"
        if engine not in ENGINES:
            raise UserError(
                f"{ENGINE} is {environment[ENGINE]!r}; it can be {', '.join(ENGINES[:-1])} or {ENGINES[-1]}."
            )
        default = None if engine == "local" else SPLIT_ROWS_ELSEWHERE
        return cls(
            engine,
            _whole(environment, WORKERS, None),
            _whole(environment, SPLIT_ROWS, default) or None,
            environment.get(MASTER, "").strip(),
        )


def _whole(environment: Mapping[str, str], name: str, default: int | None) -> int | None:
    text = environment.get(name, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise UserError(f"{name} is {text!r}; it must be a whole number.")
    return int(text)


def engine_of(settings: EngineSettings) -> Engine:
    """The engine that these settings name. Raises UserError where what it needs is not installed."""
    from hapi_pipeline.engines.local import Local

    if settings.engine == "local":
        return Local()
    _needs({"ray": "ray", "spark": "pyspark"}[settings.engine], settings.engine)
    return _elsewhere(settings)


def _needs(module: str, engine: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise UserError(
            f"{ENGINE}={engine} needs {module}, which is not installed: pip install 'hapi-pipeline[{engine}]'."
        )


@functools.cache
def _elsewhere(settings: EngineSettings) -> Engine:
    """One a process, for a cluster takes seconds to start."""
    if settings.engine == "ray":
        from hapi_pipeline.engines.ray import Ray

        return Ray(settings.workers)
    from hapi_pipeline.engines.spark import Spark

    return Spark(settings.workers, settings.master)


# ---- in the process of a worker


Outcome = tuple[bool, Any]
"""Whether it went well, and what came of it, or what was raised."""


def alone(work: Callable[[Item], Made], item: Item) -> Outcome:
    """`work` on an item in a process that is one of many: on one core, with errors as values.

    An error of the work is no reason to begin it again, as the death of a process is: it travels to whoever asked.
    """
    os.environ["HAPI_CORES"] = "1"
    try:
        return True, work(item)
    except Exception as error:
        return False, _portable(error)


def _portable(error: Exception) -> Exception:
    """An error that can travel, with where it was raised as a note."""
    error.add_note("in a worker:\n" + "".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 (what we have just made)
    except Exception:
        kind = UserError if isinstance(error, UserError) else RuntimeError
        text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        other = kind(text)
        for note in error.__notes__:
            other.add_note(note)
        return other
    return error


def opened(outcome: Outcome) -> Any:
    """What came of the work; raises what it raised."""
    well, found = outcome
    if not well:
        raise found
    return found
