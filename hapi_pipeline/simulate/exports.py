"""`hapi simulate`: exports of any size with known truth, written in bounded memory.

Posts are made chunk by chunk; each chunk has a random stream of its own, so neither the size of the machine
nor the form of the files changes what is made. Unlike the sample's, the texts are not meant to be read.
"""

from __future__ import annotations

import csv
import functools
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from hapi_pipeline.rounds import ROUNDS
from hapi_pipeline.settings import UserError
from hapi_pipeline.simulate.contacts import KINDS
from hapi_pipeline.simulate.market import (
    COLUMNS,
    POST_TRUTH_COLUMNS,
    RUBRIC_COLUMNS,
    TRUTH_COLUMNS,
    VERDICT_COLUMNS,
    staged,
    stamp,
    write,
)
from hapi_pipeline.simulate.mass import REASONS, Chunk, Plan
from hapi_pipeline.simulate.world import Criterion, Truth, complete_at, failing

if TYPE_CHECKING:
    import pyarrow as pa

Form = Literal["csv", "jsonl", "parquet"]
CHUNK = 20_000
"""Posts made at a time; about 40 MB of text."""
_Add = Callable[[Sequence[Sequence[object]]], object]
_ALWAYS_NEW = ("uid", "title", "description", "posted_ts", "contract_start", "contract_end", "modified_ts")


@dataclass(frozen=True)
class Summary:
    """What was made, and the truth about it.

    `rates` are cumulative, of all qualifying posts; `judged_rates` are those that the verdicts show, which
    differ where graders err. `first_reason` counts the other posts by what stops them first in the curation
    chain. `personal_data` counts posts by the kind that was planted in them, `repeated` those that repeat an
    earlier post, whatever becomes of them.
    """

    posts: int
    seed: int
    months: tuple[str, ...]
    qualifying: int
    qualifying_by_month: dict[str, int]
    first_reason: dict[str, int]
    personal_data: dict[str, int]
    repeated: int
    criteria: int
    verdicts: int
    rates: dict[str, dict[str, float]]
    judged_rates: dict[str, dict[str, float]]
    files: tuple[str, ...]


@dataclass
class _Tally:
    """Counts while files are being written."""

    by_month: Counter[str] = field(default_factory=Counter)
    first_reason: Counter[str] = field(default_factory=Counter)
    personal_data: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    complete: Counter[tuple[str, str]] = field(default_factory=Counter)  # (model, round)
    judged: Counter[tuple[str, str]] = field(default_factory=Counter)
    criteria: int = 0
    verdicts: int = 0


def months_from(first: str, number: int) -> tuple[str, ...]:
    """So many months as YYYY-MM, starting with `first`."""
    year, month = map(int, first.split("-"))
    return tuple(f"{year + (month - 1 + at) // 12}-{(month - 1 + at) % 12 + 1:02}" for at in range(number))


def simulate(
    posts: int,
    seed: int,
    out: Path,
    *,
    months: Sequence[str] = ("2026-08", "2026-09", "2026-10"),
    form: Form = "csv",
    share: float = 0.16,
    models: int = 3,
    grader_error: float = 0.0,
    verdicts: bool = True,
    repeats: float = 0.01,
) -> Summary:
    """Write exports of so many posts into an empty or new folder, and return the truth about them.

    `months` are YYYY-MM, one file of jobs each; `share` is the probability that a post qualifies;
    `grader_error` is the probability that a simulated grader judges one criterion wrongly; `models` is how
    many agents there are; `repeats` is the probability that a post repeats an earlier one, word for word or
    nearly (not every one finds a post to repeat). Without `verdicts` there are only jobs, rubrics and the truth
    about posts, none about agents. Equal arguments give equal bytes. Raises UserError for arguments out of range and
    for a folder that is not empty.
    """
    _check(posts, seed, months, form, models, share=share, grader_error=grader_error, repeats=repeats)
    names = tuple(f"Simulated Agent {at}" for at in range(1, models + 1))
    plan = Plan(seed, share, names, grader_error, verdicts, max(1, posts // 4), repeats)
    folder = _empty_folder(out)
    tally = _Tally()
    with ExitStack() as files:
        rubric_rows = files.enter_context(_rows_of(folder / "rubrics.csv", RUBRIC_COLUMNS))
        posts_truth = files.enter_context(_table_file(folder / "posts_truth.csv", POST_TRUTH_COLUMNS))
        outcome_rows: tuple[_Add, _Add] | None = None
        if verdicts:
            outcome_rows = (
                files.enter_context(_rows_of(folder / "truth.csv", TRUTH_COLUMNS)),
                files.enter_context(_rows_of(folder / "verdicts.csv", VERDICT_COLUMNS)),
            )
        number = 0
        for month, count in zip(months, _split(posts, len(months)), strict=True):
            with _jobs_file(folder / f"jobs_{month}.{form}", form) as add, _in_background(add) as add_later:
                for size in _chunks(count):
                    chunk = Chunk(plan, month, number, size)
                    add_later(chunk.table())
                    posts_truth(chunk.truth())
                    _judge(chunk, tally, rubric_rows, outcome_rows)
                    number += size
    summary = _summary(posts, seed, tuple(months), plan, tally, folder)
    write(folder / "models.yaml", _models_yaml(names))
    write(folder / "README.md", _readme(summary))
    # last, because it says that all the others are there
    write(folder / "summary.json", json.dumps(asdict(summary), indent=1) + "\n")
    return summary


def _check(posts: int, seed: int, months: Sequence[str], form: str, models: int, **probabilities: float) -> None:
    if posts < 1:
        raise UserError(f"There must be at least one post to simulate, not {posts}.")
    if seed < 0:
        raise UserError(f"A seed is a whole number from 0 up, not {seed}.")
    if not months or any(not _is_month(m) for m in months) or len(set(months)) != len(months):
        raise UserError(f"Name different months as YYYY-MM, not {', '.join(months) or 'none'}.")
    if form not in get_args(Form):
        raise UserError(f"The form of job exports is one of {', '.join(get_args(Form))}, not {form!r}.")
    for name, value in probabilities.items():
        if not 0 <= value <= 1:
            raise UserError(f"{name} is a probability from 0 to 1, not {value}.")
    if not 1 <= models <= 100:
        raise UserError(f"There can be 1 to 100 simulated models, not {models}.")


def _is_month(text: str) -> bool:
    try:
        return datetime.strptime(text, "%Y-%m").strftime("%Y-%m") == text  # noqa: DTZ007
    except ValueError:
        return False


def _empty_folder(out: Path) -> Path:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is not an empty folder; name a new one.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"The folder {out} cannot be made: {error.strerror}.") from error
    return out


def _split(total: int, parts: int) -> list[int]:
    return [total * (at + 1) // parts - total * at // parts for at in range(parts)]


def _chunks(count: int) -> Iterator[int]:
    for start in range(0, count, CHUNK):
        yield min(CHUNK, count - start)


@contextmanager
def _rows_of(path: Path, columns: Sequence[str]) -> Iterator[_Add]:
    """A CSV file that rows can be added to; it gets its name when the block ends well."""
    with staged(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        yield writer.writerows


@contextmanager
def _table_file(path: Path, columns: Sequence[str]) -> Iterator[Callable[[pa.Table], None]]:
    """A CSV file that tables of texts can be added to."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    schema = pa.schema([(name, pa.string()) for name in columns])
    with staged(path) as part, arrow_csv.CSVWriter(part, schema) as writer:
        yield writer.write_table


@contextmanager
def _jobs_file(path: Path, form: Form) -> Iterator[Callable[[pa.Table], None]]:
    """A file of jobs that tables can be added to."""
    import pyarrow as pa
    from pyarrow import parquet

    if form == "csv":
        with _table_file(path, COLUMNS) as add:
            yield add
        return
    schema = pa.schema([(name, pa.string()) for name in COLUMNS])
    with staged(path) as part:
        if form == "parquet":
            repeated = [name for name in COLUMNS if name not in _ALWAYS_NEW]
            with parquet.ParquetWriter(part, schema, compression="zstd", use_dictionary=repeated) as writer:
                yield writer.write_table
        else:
            with part.open("w", encoding="utf-8", newline="") as file:
                yield lambda table: file.writelines(
                    json.dumps(row, ensure_ascii=False) + "\n" for row in table.to_pylist()
                )


@contextmanager
def _in_background(add: Callable[[pa.Table], None]) -> Iterator[Callable[[pa.Table], None]]:
    """Add tables while the next one is made; at most one waits, and all are added when the block ends."""
    pending: list[Future[None]] = []

    def add_later(table: pa.Table) -> None:
        if pending:
            pending.pop().result()
        pending.append(writer.submit(add, table))

    with ThreadPoolExecutor(1) as writer:
        yield add_later
    if pending:
        pending.pop().result()


def _judge(chunk: Chunk, tally: _Tally, rubric_rows: _Add, outcome_rows: tuple[_Add, _Add] | None) -> None:
    """Write the rubrics of a chunk, where they are wanted truth and verdicts too, and count what they are."""
    rubrics = chunk.rubrics()
    tally.by_month[chunk.month] += int(chunk.good.sum())
    tally.first_reason.update(chunk.first_reasons())
    tally.personal_data.update(chunk.personal_data())
    tally.repeated += chunk.repeated
    tally.criteria += sum(map(len, rubrics.values()))
    for job, listed in rubrics.items():
        rubric_rows([(job, c.id, at, c.text, c.importance, "expert-01") for at, c in enumerate(listed, 1)])
    if not outcome_rows:
        return
    truth_rows, verdict_rows = outcome_rows
    for job, truths in chunk.outcomes():
        for model, truth in zip(chunk.plan.models, truths, strict=True):
            truth_rows([(job, model_id(model), truth.completes, str(truth.retry_1).lower())])
            for name in _rounds_complete(functools.partial(complete_at, truth)):
                tally.complete[model, name] += 1
            _verdicts(chunk, job, model, truth, rubrics[job], tally, verdict_rows)


def _verdicts(
    chunk: Chunk,
    job: str,
    model: str,
    truth: Truth,
    criteria: tuple[Criterion, ...],
    tally: _Tally,
    write_rows: _Add,
) -> None:
    """What graders say of every round that follows from what they said before."""
    judged: dict[str, bool] = {}
    for r in ROUNDS:
        if r.after and judged.get(r.after, True):  # complete, or never tried
            continue
        fails = frozenset() if complete_at(truth, r.name) else failing(job, model_id(model), r.name, criteria)
        seed = f"{chunk.plan.seed}|{job}|{model}|{r.name}"
        draws = hashlib.shake_256(seed.encode()).digest(4 + 4 * len(criteria))
        by = f"sim-grader-{1 + draws[0] % 6}", 8 + draws[1] % 28, stamp(_graded_at(chunk, r.turn, draws[2]))
        rows = []
        for at, criterion in enumerate(criteria, 1):
            wrong = int.from_bytes(draws[4 * at : 4 * at + 4], "big") < chunk.plan.grader_error * 2**32
            passed = (criterion.id not in fails) != wrong
            verdict = ("true", "") if passed else ("false", f"Not met: {criterion.text}")
            rows.append((job, model, r.name, criterion.id, *verdict, *by))
        judged[r.name] = all(row[4] == "true" for row in rows)
        write_rows(rows)
        tally.verdicts += len(rows)
    for name in _rounds_complete(lambda r: judged.get(r, False)):
        tally.judged[model, name] += 1


def _graded_at(chunk: Chunk, turn: int, draw: int) -> datetime:
    """A moment in the month after the chunk's, later for later turns; `draw` is 0 to 255."""
    return datetime.fromtimestamp(chunk.midnight, UTC) + timedelta(days=32 + 4 * turn, minutes=draw * 20)


def _rounds_complete(complete: Callable[[str], bool]) -> list[str]:
    """The rounds after which a job counts as complete: at the round or at one on the way to it."""
    return [r.name for r in ROUNDS if any(complete(name) for name in r.path)]


def model_id(name: str) -> str:
    """Id under which the simulated provider knows a simulated agent."""
    return f"sim-{name.removeprefix('Simulated ').lower().replace(' ', '-')}"


def _summary(posts: int, seed: int, months: tuple[str, ...], plan: Plan, tally: _Tally, folder: Path) -> Summary:
    good = tally.by_month.total()

    def rates(counts: Counter[tuple[str, str]]) -> dict[str, dict[str, float]]:
        return {m: {r.name: counts[m, r.name] / good if good else 0.0 for r in ROUNDS} for m in plan.models}

    return Summary(
        posts=posts,
        seed=seed,
        months=months,
        qualifying=good,
        qualifying_by_month={month: tally.by_month[month] for month in months},
        first_reason={name: tally.first_reason[name] for name in REASONS},
        personal_data={kind: tally.personal_data[kind] for kind in KINDS},
        repeated=tally.repeated,
        criteria=tally.criteria,
        verdicts=tally.verdicts,
        rates=rates(tally.complete) if plan.verdicts else {},
        judged_rates=rates(tally.judged) if plan.verdicts else {},
        files=tuple(sorted([p.name for p in folder.iterdir()] + ["README.md", "models.yaml", "summary.json"])),
    )


def _models_yaml(names: Sequence[str]) -> str:
    lines = [
        "# Simulated agents: nothing here reaches a real provider. The prices are invented.",
        "models:",
    ]
    for name in names:
        lines += [
            f"- name: {name}",
            f"  litellm: openai/{model_id(name)}",
            "  api_base: simulated",
            "  agent_profile: paper",
            "  prices:",
            '  - {from: "2026-01-01", input: 1.0, output: 4.0, cached_read: 0.1}',
            "  pool: {name: simulated, concurrency: 64}",
        ]
    return "\n".join(lines) + "\n"


def _readme(summary: Summary) -> str:
    agents = """
`truth.csv` says when each agent completes each job, `verdicts.csv` what simulated graders say of their work.
"""
    return f"""\
# Simulated exports

All of it is simulated, with seed {summary.seed}. Import the jobs with `--source sample_market`.
{summary.qualifying} of {summary.posts} posts qualify; `summary.json` holds the truth: why the others do not,
and how many of the qualifying ones each agent completes in each round.

`jobs_*` are the monthly drops, `rubrics.csv` the rubrics, `models.yaml` the agents. `posts_truth.csv` says of
each post why it does not qualify (`reasons`), which kind of personal data was planted in it (`personal_data`) and
which earlier post it repeats (`duplicate_of`), each empty where there is nothing to say.
{agents if "truth.csv" in summary.files else ""}"""
