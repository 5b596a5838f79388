"""A small home whose Dagster runs in PostgreSQL, and two workers of a backfill on it."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from hapi_pipeline.operations import instance_of
from hapi_pipeline.settings import Home
from hapi_pipeline.workers import WORKER_OF, part_of
from tests.deploy.cluster import settle_in
from tests.deploy.loopback import Loopback
from tests.graph import small_world as world

MODELS = """models:
- {name: New, litellm: hosted_vllm/new, api_base: "ADDRESS", prices: [{from: 2020-01-01, input: 1.0, output: 2.0}],
   pool: {name: local, concurrency: CONCURRENCY}}
"""


def months_of(count: int) -> list[str]:
    return [f"{2025 + n // 12}-{n % 12 + 1:02d}" for n in range(count)]


def made_home(work: Path, months: Sequence[str], jobs: int) -> Home:
    """A home with these months imported; needs the cluster's environment."""
    return furnished(settle_in(Home(work / "home")), months, jobs)


def furnished(home: Home, months: Sequence[str], jobs: int) -> Home:
    """A home with these months imported, and a simulated provider that knows their rubrics."""
    work = home.ensure().root.parent
    simulated = home.root / "simulator" / "world"
    simulated.mkdir(parents=True)
    truth, files, rubrics = ["job_id,model_id,completes,retry_1"], [], []
    for month in months:
        truth += [f"{job},new,agent_alone,false" for job in world.jobs_of(month, jobs)]
        files.append(str(world.write_jobs(work / "files" / f"jobs_{month}.csv", month, jobs)))
        rubrics.append(str(world.write_rubrics(simulated / f"rubrics_{month}.csv", month, jobs)))
    (simulated / "truth.csv").write_text("\n".join(truth) + "\n")
    (home.registry / "models.yaml").write_text(MODELS.replace("ADDRESS", "simulated").replace("CONCURRENCY", "1"))
    assert world.hapi(home.root, "import", "jobs", *files, "--source", "canonical") == 0
    assert world.hapi(home.root, "import", "rubrics", *rubrics) == 0
    return home


def point_at(home: Home, address: str, concurrency: int) -> None:
    """Have the model called at an address, so many calls at once."""
    models = MODELS.replace("ADDRESS", address).replace("CONCURRENCY", str(concurrency))
    (home.registry / "models.yaml").write_text(models)


def results(home: Home) -> list[dict[str, object]]:
    """The finished attempts."""
    return [json.loads(path.read_text()) for path in home.attempts.rglob("result.json")]


def workers(home: Home) -> dict[int, str]:
    """The processes that share the home, with what they say of themselves."""
    notes = [path.read_text() for path in home.root.glob(".at_work.*")]
    said = [note.partition(", ") for note in notes if ", run " in note]
    return {int(pid): who for pid, _, who in said}


def left_by_worker(home: Home, jobs: int) -> dict[int, int]:
    """How many attempts each process that shares the home has still to make."""
    done = Counter(str(result["job_id"])[1:7] for result in results(home))
    left = {}
    with instance_of(home) as instance:
        for pid, who in workers(home).items():
            runs = instance.get_runs(dg.RunsFilter(tags={"hapi/started_by": "hapi"}), limit=20)
            for run in runs:
                if who.startswith(f"run {run.run_id[:8]}") and (part := part_of(run.tags)):
                    left[pid] = sum(jobs - done[month.replace("-", "")] for month in part.cohorts)
    return left


@dataclass(frozen=True)
class Span:
    """When a worker was at work, on which months from which on."""

    backfill: str
    first: str
    start: float
    end: float


def spans(home: Home) -> list[Span]:
    """The runs of workers that have begun."""
    with instance_of(home) as instance:
        records = instance.get_run_records(dg.RunsFilter(job_name="evaluate"))
    return [
        Span(tags[WORKER_OF], tags["dagster/asset_partition_range_start"], record.start_time, record.end_time or 0.0)
        for record in records
        if WORKER_OF in (tags := record.dagster_run.tags) and record.start_time
    ]


def overlapping(home: Home) -> bool:
    """Whether two workers of one backfill have been at work at the same time, on different months."""
    return any(
        a.backfill == b.backfill and a.first != b.first and a.start < b.end and b.start < a.end
        for a, b in itertools.combinations(spans(home), 2)
    )


def bills(provider: Loopback) -> list[float]:
    """What each call cost by the provider's books, in USD."""
    return [record["prompt_tokens"] * 1e-6 + record["completion_tokens"] * 2e-6 for record in provider.books()]


def wait_for_daemon(home: Home, seconds: float) -> None:
    """Wait until the daemon has said that it starts what is queued."""
    kind = "QUEUED_RUN_COORDINATOR"
    with instance_of(home) as instance:
        world.wait_for(lambda: instance.get_daemon_statuses([kind])[kind].healthy, seconds)
