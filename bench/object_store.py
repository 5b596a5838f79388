"""The whole demo in an object store beside the same on a disk: times, and whether the tables are the same files.

    python -m bench.object_store [--small] [--engine ray] [--query "SELECT ..."]

A server on this machine that speaks S3 (moto, in memory, one process of Python) stands for the object store; it takes
CPU of the same cores, and is far slower at a request, but far nearer, than a real one. Then a second machine (another
working folder) opens the home, questions are asked with and without copies, and every table is made once more on a disk
from the same ledgers and held against the objects byte by byte. With `--small`: without the demo on the disk. With
`--engine`: the demo in the object store makes its tables on Ray or Spark, whose workers hand them in.
"""

from __future__ import annotations

import argparse
import io
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from bench.s3_server import Server, serving
from hapi_pipeline.as_of import World, lay_ledgers, make
from hapi_pipeline.engines import ENGINE, ENGINES
from hapi_pipeline.lake import Lake
from hapi_pipeline.rebuild import derived_tables
from hapi_pipeline.settings import Home, find_home
from hapi_pipeline.store import ObjectStore

QUERY = "SELECT model, round, avg(CAST(passed AS INT)) FROM verdicts GROUP BY ALL ORDER BY ALL"


@dataclass(frozen=True)
class Took:
    """What a command took, the processes that it started included."""

    seconds: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.seconds:7.1f} s  {self.cpu:7.1f} s of CPU"


def timed(environment: Mapping[str, str], *words: str) -> Took:
    """Run a hapi command in a process of its own. Raises CalledProcessError where it fails."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command = [sys.executable, "-m", "hapi_pipeline.cli", *words]
    subprocess.run(command, env={**os.environ, **environment}, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Took(time.monotonic() - began, cpu)


def differing(home: Home, *, wholly: bool = False) -> tuple[int, list[str]]:
    """How many partitions a home in an object store has, and those of which a disk would have other bytes.

    Every table is made anew on a disk, from the ledgers and attempts of the home. What a file says of the inputs that
    it was made from is compared only where it is to be `wholly` the same: while a round is open, a home leaves out
    partitions without rows, which are made here and then are inputs.
    """
    store, found = ObjectStore(home.address), []
    with tempfile.TemporaryDirectory(prefix="hapi-bench-") as folder:
        world = World(home, Lake(Path(folder) / "lake"), trusting=False)
        lay_ledgers(world)
        make(world, derived_tables())
        names = [
            world.lake.path(table, keys).relative_to(folder).as_posix()
            for table in derived_tables()
            for keys in world.scopes(table)
        ]
        for name in names:
            there, made = store.read(name), Path(folder, name).read_bytes()
            same = there[0] == made if there else False
            if not same and (wholly or _pages(there[0] if there else None) != _pages(made)):
                found.append(name)
    return len(names), found


def _pages(file: bytes | None) -> bytes:
    """The encoded rows of a Parquet file, without what it says of its inputs; nothing where there are no rows."""
    metadata = pq.read_metadata(io.BytesIO(file)) if file else None
    return (metadata.metadata or {})[b"hapi.content"] if metadata and metadata.num_rows else b""


def main() -> None:
    """Run all of it."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--small", action="store_true", help="leave out the demo on the disk")
    options.add_argument("--engine", default="local", choices=ENGINES)
    options.add_argument("--query", default=QUERY)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="hapi-bench-") as folder, serving() as server:
        _measure(server, Path(folder), chosen.query, chosen.engine, on_disk=not chosen.small)


def _measure(server: Server, folder: Path, query: str, engine: str, *, on_disk: bool) -> None:
    address = f"s3://{server.bucket}/demo"
    first, second, third = ({**server.environment, "HAPI_WORK": str(folder / name)} for name in ("1", "2", "3"))
    first[ENGINE] = engine
    if on_disk:
        print("demo on a disk                ", timed({}, "demo", "--home", str(folder / "disk")))
    print("demo in the object store      ", timed(first, "demo", "--home", address))
    print("again, nothing to do          ", timed(first, "demo", "--home", address))
    print("refresh on a second machine   ", timed(second, "refresh", "--home", address))
    print("the same question, direct     ", timed(third, "query", "--home", address, query))
    print(
        "the same question, on a disk  ", timed({}, "query", "--home", str(folder / "disk"), query) if on_disk else ""
    )
    os.environ.update(second)
    objects = ObjectStore(address).listed("")
    print(f"{len(objects):,} objects, {sum(seen.size for seen in objects.values()) / 1e6:,.1f} MB")
    count, others = differing(find_home(address), wholly=True)
    print(f"{count:,} partitions made on a disk from the same ledgers; {len(others)} are other bytes {others[:5]}")


if __name__ == "__main__":
    main()
