"""`hapi import verdicts` on large files, beside pandas and DuckDB that only read them, each in a process of its own.

    python -m bench.import_verdicts [--rows 1000000] [--repeat 3] [--odd 0.001] [--work DIR]

A lake with attempts and rubrics is made, and one file of verdicts on them as CSV and as JSON Lines. `import` is the
whole of what the command does with the file: hashing it, reading, judging each row, quarantine, the ledger written and
made durable. `command` is the same by `hapi import verdicts`, start of the interpreter and of Dagster's instance
included. What is read beside it:

- DuckDB: `read_csv` / `read_json` with what it finds out of types itself (so moments and numbers are parsed), every
  column of every row into a table, or into Arrow;
- pandas: `read_csv` / `read_json(lines=True)` as they come;
- the floor: what no import can do without, and nothing else. The file is hashed and read (by Arrow), each row gets its
  id, and the ledger's columns are written and made durable, by the same functions; no row is looked at.

Seconds are those of the best run; memory is the peak of resident pages of the process, the file's own pages included.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from hapi_pipeline.settings import Home

SEED = 20261122
CRITERIA = 12
MODELS = 10
ROUNDS = ("agent_alone", "feedback_1")
FIELDS = ("packet_id", "criterion_id", "passed", "comment", "grader", "minutes", "graded_at")
TEXT = (
    "the table is missing one of the months and totals do not add up, while charts have no unit or title as asked for"
)
WORDS = TEXT.split()


@dataclass(frozen=True)
class Run:
    """What one way to read a file took."""

    seconds: float
    cpu_seconds: float
    peak_mib: float
    rows: int


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--odd", type=float, default=0.001, help="share of rows that are out of the ordinary")
    parser.add_argument("--work", type=Path, help="folder for the lake and the files")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.one:
        return measure_here(given.one[0], Path(given.one[1]), Path(given.one[2]))
    console = Console(width=150)
    with tempfile.TemporaryDirectory(prefix="bench-verdicts-", dir=given.work) as scratch:
        work = Path(scratch)
        console.print(f"making {given.rows:,} verdicts …")
        Home(work / "home").ensure()
        packets = make_lake(work / "home" / "lake", given.rows)
        files = write_files(work, packets, given.rows, given.odd)
        for path in files:
            console.print(compare(path, work, given.repeat))
    return 0


# --- what is read ----------------


def make_lake(root: Path, rows: int) -> list[str]:
    """A lake with as many attempts as so many verdicts need, and their rubrics; the packets' ids in a random order."""
    import pyarrow as pa

    from hapi_pipeline.grading.packets import packet_id_for
    from hapi_pipeline.lake import Lake
    from hapi_pipeline.naming import digest
    from tests import scenario

    lake, cohort = Lake(root), {"cohort": scenario.COHORT}
    cells = [(f"model-{m}", r) for m in range(MODELS) for r in ROUNDS]
    jobs = [f"job-{n:06d}" for n in range(rows // (CRITERIA * len(cells)) + 1)]
    rubric = [scenario.criterion(j, f"c{c:02d}", "critical") | cohort for j in jobs for c in range(1, CRITERIA + 1)]
    lake.write("rubrics", scenario.table_of("rubrics", rubric), cohort)
    packets = []
    for model, round_ in cells:
        ids = [digest(model, round_, job) for job in jobs]
        one = scenario.table_of("attempts", [scenario.attempt(model, round_, jobs[0])])
        many = one.take(pa.array([0] * len(jobs)))
        many = many.set_column(
            many.schema.get_field_index("attempt_id"), many.schema.field("attempt_id"), pa.array(ids)
        )
        many = many.set_column(many.schema.get_field_index("job_id"), many.schema.field("job_id"), pa.array(jobs))
        lake.write("attempts", many, cohort | {"model": model, "round": round_})
        packets += [packet_id_for(attempt_id) for attempt_id in ids]
    random.Random(SEED).shuffle(packets)
    return packets


def write_files(work: Path, packets: Sequence[str], rows: int, odd: float) -> list[Path]:
    """The same verdicts as CSV and as JSON Lines."""
    import csv

    files = [work / "verdicts.csv", work / "verdicts.jsonl"]
    with files[0].open("w", encoding="utf-8", newline="") as table, files[1].open("w", encoding="utf-8") as lines:
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(FIELDS)
        for row in verdicts(packets, rows, odd):
            writer.writerow(row)
            lines.write(json.dumps(dict(zip(FIELDS, row, strict=True)), ensure_ascii=False) + "\n")
    return files


def verdicts(packets: Sequence[str], rows: int, odd: float) -> Iterator[tuple[Any, ...]]:
    """Rows as graders' tools export them: packet by packet, four in ten with a comment, some of these with quotes."""
    dice = random.Random(SEED)
    moment = datetime(2026, 4, 1, tzinfo=UTC)
    for number in range(rows):
        packet, criterion = divmod(number, CRITERIA)
        if criterion == 0:
            grader, minutes = f"grader-{dice.randrange(40):02d}", dice.randrange(5, 90)
        moment += timedelta(seconds=7)
        comment = " ".join(dice.choices(WORDS, k=8)) if dice.random() < 0.4 else ""
        comment += ' as "asked", no' if comment and dice.random() < 0.1 else ""
        passed = dice.choice(("PASS", "FAIL")) if dice.random() >= odd else dice.choice(("", "perhaps", "pass?"))
        stamp = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
        yield packets[packet], f"c{criterion + 1:02d}", passed, comment, grader, minutes, stamp


# --- ways to read it ----------------


def by_import(path: Path, home: Path) -> int:
    from hapi_pipeline.intake.verdicts import import_verdicts
    from hapi_pipeline.lake import Lake

    done, _ = import_verdicts(Lake(home / "lake"), [path])
    assert done is not None
    return done.rows + done.quarantined


def by_duckdb_table(path: Path, home: Path) -> int:
    import duckdb

    with duckdb.connect(config={"threads": "2"}) as connection:
        connection.execute(f"CREATE TABLE read AS SELECT * FROM {_function(path)}")
        return int(connection.sql("SELECT count(*) FROM read").fetchall()[0][0])


def by_duckdb_arrow(path: Path, home: Path) -> int:
    import duckdb

    with duckdb.connect(config={"threads": "2"}) as connection:
        return int(connection.sql(f"SELECT * FROM {_function(path)}").to_arrow_table().num_rows)


def _function(path: Path) -> str:
    return f"read_csv('{path}')" if path.suffix == ".csv" else f"read_json('{path}')"


def by_pandas(path: Path, home: Path) -> int:
    import pandas as pd

    return len(pd.read_csv(path) if path.suffix == ".csv" else pd.read_json(path, lines=True))


def by_floor(path: Path, home: Path) -> int:
    from hapi_pipeline.intake.files import sha256_of
    from hapi_pipeline.lake import Lake
    from hapi_pipeline.parallel import in_threads

    sha256, rows, lake = sha256_of(path), _by_arrow(path), Lake(home / "lake")

    def write(first: int) -> None:
        keys = {"model": "floor", "round": "floor"}
        lake.append_stream("verdict_exports", f"floor-{first}", _unjudged(rows, first, sha256), keys)

    for _ in in_threads(write, range(0, rows.num_rows, 1 << 16), 2):
        pass
    return int(rows.num_rows)


def _by_arrow(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.json

    texts = dict.fromkeys(("packet_id", "criterion_id", "grader"), pa.dictionary(pa.int32(), pa.string()))
    if path.suffix == ".csv":
        return pyarrow.csv.read_csv(path, convert_options=pyarrow.csv.ConvertOptions(column_types=texts))
    return pyarrow.json.read_json(path)


def _unjudged(rows: Any, first: int, sha256: str) -> Iterator[Any]:
    """Rows of the ledger: what the file says, and the same in all rows where more would have to be looked up."""
    import numpy as np
    import pyarrow as pa

    from hapi_pipeline.intake.verdicts_bulk import verdict_ids
    from hapi_pipeline.lake import ROW_GROUP, stored
    from hapi_pipeline.tables import TABLES

    schema, said = stored(TABLES["verdict_exports"])[0], ("packet_id", "criterion_id", "grader", "comment", "graded_at")
    others = {"passed": True, "minutes": 5.0, "flags": [], "imported_at": datetime.now(UTC), "simulated": False}
    for start in range(first, min(first + (1 << 16), rows.num_rows), ROW_GROUP):
        some = rows.slice(start, ROW_GROUP).combine_chunks()
        number = np.arange(start, start + some.num_rows)
        ids = {"source_row": pa.array(number), "verdict_id": verdict_ids(sha256, number)}
        columns = {name: some.column(name) for name in said} | ids
        columns |= {name: pa.repeat(pa.scalar(v, schema.field(name).type), len(number)) for name, v in others.items()}
        same = pa.DictionaryArray.from_arrays(np.zeros(len(number), np.int32), ["the same"])
        made = pa.table({name: columns.get(name, same) for name in schema.names}).cast(schema)
        yield from made.to_batches()


WAYS: dict[str, Callable[[Path, Path], int]] = {
    "hapi import": by_import,
    "DuckDB, into a table": by_duckdb_table,
    "DuckDB, into Arrow": by_duckdb_arrow,
    "pandas": by_pandas,
    "floor": by_floor,
}


# --- measuring ----------------


def measure_here(way: str, path: Path, home: Path) -> int:
    """Measure one way in this process; imports of modules are not part of the time."""
    import duckdb
    import pandas
    import pyarrow.csv
    import pyarrow.json
    import pyarrow.parquet

    import hapi_pipeline.grading.worklist
    import hapi_pipeline.intake.verdicts
    import hapi_pipeline.intake.verdicts_bulk

    del duckdb, pandas, pyarrow, hapi_pipeline
    started, before = time.perf_counter(), time.process_time()
    rows = WAYS[way](path, home)
    taken = time.perf_counter() - started, time.process_time() - before
    print(json.dumps([*taken, peak_mib(), rows]))
    return 0


def peak_mib() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0


def run(way: str, path: Path, home: Path) -> Run:
    command = [sys.executable, "-m", "bench.import_verdicts", "--one", way, str(path), str(home)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{way} failed: {done.stderr[-3000:]}")
    seconds, cpu, peak, rows = json.loads(done.stdout.splitlines()[-1])
    return Run(seconds, cpu, peak, rows)


def command(path: Path, home: Path) -> Run:
    """`hapi import verdicts` as a user runs it."""
    code = "from hapi_pipeline.cli import entry; entry()"
    started, before = time.perf_counter(), os.times()
    done = subprocess.run(
        [sys.executable, "-c", code, "import", "verdicts", str(path), "--home", str(home)],
        capture_output=True,
        text=True,
        check=False,
    )
    seconds, after = time.perf_counter() - started, os.times()
    if done.returncode not in (0, 1):
        raise SystemExit(f"hapi import verdicts failed: {done.stderr[-3000:]}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Run(seconds, cpu, float("nan"), 0)


def compare(path: Path, work: Path, repeat: int) -> Table:
    home = work / "home"
    runs: dict[str, list[Run]] = {way: [] for way in [*WAYS, "hapi import, command"]}
    for _ in range(repeat):  # in turns, so that other work on the machine falls on all of them
        for way in WAYS:
            runs[way].append(run(way, path, home))
            forget(home)
        runs["hapi import, command"].append(command(path, home))
        forget(home)
    best = {way: min(some, key=lambda r: r.seconds) for way, some in runs.items()}
    bare = best["DuckDB, into a table"]
    rows = bare.rows
    table = Table(title=f"{path.name}: {rows:,} rows, {path.stat().st_size / 1e6:.0f} MB; best of {repeat}")
    for column in ("", "seconds", "rows/s", "CPU s", "peak MiB", "× DuckDB table", "× in CPU"):
        table.add_column(column, justify="right" if column else "left")
    for way, r in best.items():
        table.add_row(
            way,
            f"{r.seconds:.2f}",
            f"{rows / r.seconds:,.0f}",
            f"{r.cpu_seconds:.2f}",
            "" if r.peak_mib != r.peak_mib else f"{r.peak_mib:,.0f}",
            f"{r.seconds / bare.seconds:.2f}",
            f"{r.cpu_seconds / min(b.cpu_seconds for b in runs['DuckDB, into a table']):.2f}",
        )
    return table


def forget(home: Path) -> None:
    """Take the import back, so that the file can be imported again."""
    for name in ("imports", "verdict_exports", "quarantine"):
        shutil.rmtree(home / "lake" / name, ignore_errors=True)


if __name__ == "__main__":
    raise SystemExit(main())
