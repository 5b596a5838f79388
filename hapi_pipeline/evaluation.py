"""Who is to be attempted in a round, and what the ledgers hold of it: from tables to tasks and back."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from hapi_pipeline import __version__, engine
from hapi_pipeline.agents.ledger import AttemptLedger, Result, newest_of
from hapi_pipeline.agents.tasks import Feedback, Job, Task
from hapi_pipeline.copies import brought
from hapi_pipeline.grading.mentions import names_of
from hapi_pipeline.grading.packets import Criterion, Made, PacketSpec, make_packet, packet_id_for
from hapi_pipeline.lake import Lake
from hapi_pipeline.naming import digest
from hapi_pipeline.parallel import spread
from hapi_pipeline.registry import AgentLimits, Benchmark, Model
from hapi_pipeline.rounds import ROUND, Round

OVERALL = "__overall__"
"""The criterion id under which a grader's overall feedback stands."""


@dataclass(frozen=True)
class Cell:
    """One month of one model in one round."""

    cohort: str
    model: Model
    round: Round

    @property
    def keys(self) -> dict[str, str]:
        """The partition keys of the tables attempts, packets and verdicts."""
        return {"cohort": self.cohort, "model": self.model.name, "round": self.round.name}


def attachments_of(home_root: Path, job_id: str, names: Sequence[str] | None) -> tuple[Path, ...]:
    """The attached files of a job that lie in the home's `attachments/<job>/`; names without a file are left out."""
    from hapi_pipeline.naming import slug

    folder = (brought(home_root / "attachments") / slug(job_id)).resolve()
    found = []
    for name in names or []:
        try:
            path = (folder / name).resolve()
            if path.parent == folder and path.is_file():
                found.append(path)
        except (OSError, ValueError):  # no name that a file could have: too long, or with a null in it
            continue
    return tuple(found)


def jobs_of(lake: Lake, cohort: str) -> dict[str, Job]:
    """The benchmark's jobs of a month, as the agent gets to see them."""
    return {
        row["job_id"]: Job(
            job_id=row["job_id"],
            title=row["title"] or "",
            description=row["description"] or "",
            category=row["category"],
            subcategory=row["subcategory"],
            skills=tuple(row["skills"] or ()),
            attachments=attachments_of(lake.root.parent, row["job_id"], row["attachments"]),
        )
        for row in lake.read("benchmark_jobs", {"cohort": cohort}).to_pylist()
    }


def tasks_of(lake: Lake, ledger: AttemptLedger, cell: Cell, benchmark: Benchmark) -> list[Task]:
    """What is to be attempted here in a cell, whether it has been attempted already or not."""
    return [] if cell.model.external else due_tasks(lake, ledger, cell, benchmark)


def due_tasks(lake: Lake, ledger: AttemptLedger, cell: Cell, benchmark: Benchmark) -> list[Task]:
    """What is due in a cell, by whomever it is attempted.

    In the first round that is every job; later it is every job whose attempt before is graded and not complete. Of
    several samples it is the first that later rounds follow.
    """
    if cell.round.name not in benchmark.rounds:
        return []
    jobs = jobs_of(lake, cell.cohort)
    if cell.round.after is None:
        return [
            Task(job, cell.model, cell.cohort, cell.round.name, cell.round.turn, cell.round.arm)
            for job in jobs.values()
        ]
    before = Cell(cell.cohort, cell.model, ROUND[cell.round.after])
    if not lake.files("attempts", before.keys):
        return []
    failed = {
        o["attempt_id"]: o["job_id"]
        for o in outcomes_of(lake, before)
        if o["sample"] == 1
        and o["outcome"] == "graded"
        and o[benchmark.completion_rule] is False
        and o["job_id"] in jobs
    }
    results = {r.attempt_id: r for r in ledger.results(cell.model.key, before.round.name, jobs)}
    feedback = feedback_of(lake, before) if cell.round.feedback else {}
    nothing = Feedback((), "No file was handed in.")
    return [
        Task(
            jobs[job_id],
            cell.model,
            cell.cohort,
            cell.round.name,
            cell.round.turn,
            cell.round.arm,
            feedback.get(attempt_id, nothing) if cell.round.feedback else None,
            results[attempt_id],
        )
        for attempt_id, job_id in sorted(failed.items(), key=lambda item: item[1])
        if attempt_id in results
    ]


def outcomes_of(lake: Lake, cell: Cell) -> list[dict[str, Any]]:
    """What came of the current attempts of one cell, from the verdicts as they stand."""
    rows = engine.run(lake, engine.query("attempt_outcomes"), cell.keys).to_pylist()
    return [row for row in rows if row["round"] == cell.round.name]


def feedback_of(lake: Lake, cell: Cell) -> dict[str, Feedback]:
    """The graders' words on each attempt of a cell: failed criteria with comments, and the overall text."""
    texts = {
        (r["job_id"], r["criterion_id"], r["rubric_version"]): (r["position"], r["text"])
        for r in lake.read("rubrics", {"cohort": cell.cohort}).to_pylist()
    }
    failed: dict[str, dict[tuple[int, str], list[str]]] = defaultdict(dict)
    overall: dict[str, list[str]] = defaultdict(list)
    verdicts = [v for v in lake.read("verdicts", cell.keys).to_pylist() if v["is_current"]]
    overruled = {
        (v["attempt_id"], v["criterion_id"]) for v in verdicts if v["grader_role"] == "adjudicator" and v["passed"]
    }
    for v in sorted(verdicts, key=lambda v: (v["grader_role"], v["grader"], v["criterion_id"])):
        comment, criterion = v["comment"] or "", (v["job_id"], v["criterion_id"], v["rubric_version"])
        if v["criterion_id"] == OVERALL:
            overall[v["attempt_id"]] += [comment] if comment else []
        elif v["passed"] is False and criterion in texts and (v["attempt_id"], v["criterion_id"]) not in overruled:
            said = failed[v["attempt_id"]].setdefault(texts[criterion], [])
            if comment and comment not in said:
                said.append(comment)
    return {
        attempt: Feedback(
            tuple((text, " ".join(said)) for (_, text), said in sorted(failed[attempt].items())),
            "\n".join(dict.fromkeys(overall[attempt])),
        )
        for attempt in failed.keys() | overall.keys()
    }


def attempts_fingerprint(lake: Lake, ledger: AttemptLedger, cell: Cell, benchmark: Benchmark) -> str:
    """Changes with anything that decides what is to be attempted in a cell, or with the attempts that it has."""
    states = [lake.state(table, cell.keys) for table in ("benchmark_jobs", "job_posts", "rubrics")]
    if cell.round.after:
        before = {**cell.keys, "round": cell.round.after}
        states += [lake.state(table, before) for table in ("attempts", "verdicts")]
    # those at the month's own jobs: attempts in another month change nothing here
    made = sorted(r.attempt_id for r in ledger.results(cell.model.key, cell.round.name, posted_jobs(lake, cell.cohort)))
    return digest(__version__, repr(benchmark), repr(cell.model), *states, *made, length=32)


def posted_jobs(lake: Lake, cohort: str) -> frozenset[str]:
    """All jobs of a month, in the benchmark or not."""
    return frozenset(lake.read("job_posts", {"cohort": cohort}, ["job_id"])["job_id"].to_pylist())


def attempts_of_cell(
    lake: Lake, ledger: AttemptLedger, cell: Cell, due: Sequence[Task], limits: AgentLimits
) -> tuple[list[dict[str, Any]], bool]:
    """Rows of the table `attempts` for a cell where these tasks are due, and whether nothing of it is missing."""
    jobs = posted_jobs(lake, cell.cohort)
    current = current_attempts(ledger, due, limits)
    rows = attempt_rows(cell, ledger.results(cell.model.key, cell.round.name, jobs), current, jobs)
    return rows, cell.model.retired or all(task.job.job_id in current for task in due)


def attempt_rows(
    cell: Cell, results: Iterable[Result], current: Mapping[str, str], job_ids: frozenset[str]
) -> list[dict[str, Any]]:
    """Rows of the table `attempts`: every attempt at the month's jobs, superseded ones included.

    `current` names the attempt that answers today's question for a job; where there is none, the newest one counts.
    Every further sample has a current attempt of its own, its newest.
    """
    by_sample: dict[tuple[str, int], list[Result]] = defaultdict(list)
    for result in results:
        if result.job_id in job_ids:
            by_sample[result.job_id, result.sample].append(result)
    rows = []
    for (job_id, sample), found in by_sample.items():
        newest = newest_of(found).attempt_id
        counts = current.get(job_id, newest) if sample == 1 else newest
        rows += [_attempt_row(cell, r, r.attempt_id == counts) for r in found]
    return rows


def _attempt_row(cell: Cell, result: Result, is_current: bool) -> dict[str, Any]:
    files = [
        {"path": d.path, "media_type": d.media_type, "bytes": d.bytes, "sha256": d.sha256, "opens": d.opens}
        for d in result.deliverables
    ]
    copied = [
        "attempt_id",
        "job_id",
        "turn",
        "arm",
        "sample",
        "try_number",
        "status",
        "finish_reason",
        "steps",
        "prompt_tokens",
        "completion_tokens",
        "cached_tokens",
        "reasoning_tokens",
        "cost_usd",
        "maybe_billed_steps",
        "seconds",
        "request_sha256",
        "previous_attempt_id",
        "model_snapshot",
        "agent_profile",
        "sandbox",
        "code_version",
        "finished_at",
        "simulated",
    ]
    return (
        {name: getattr(result, name) for name in copied}
        | cell.keys
        | {
            "deliverables": json.dumps(files, ensure_ascii=False),
            "n_deliverables": len(files),
            "is_current": is_current,
        }
    )


def packet_specs(lake: Lake, cell: Cell, results: Mapping[str, Result]) -> dict[str, PacketSpec]:
    """The packets that graders need of a cell, by attempt: those of current attempts that handed something in."""
    jobs, rubrics = jobs_of(lake, cell.cohort), criteria_by_job(lake, cell.cohort)
    specs = {}
    for attempt in lake.read("attempts", cell.keys).to_pylist():
        job, rubric = jobs.get(attempt["job_id"]), rubrics.get(attempt["job_id"])
        if attempt["is_current"] and attempt["n_deliverables"] and attempt["status"] == "done" and job and rubric:
            result, (version, criteria) = results[attempt["attempt_id"]], rubric
            specs[result.attempt_id] = PacketSpec(
                packet_id=packet_id_for(result.attempt_id),
                title=job.title,
                description=job.description,
                category=job.category,
                skills=job.skills,
                criteria=criteria,
                rubric_version=version,
                deliverables=tuple(result.folder / "deliverables" / d.path for d in result.deliverables),
                attachments=job.attachments,
                makers=names_of(cell.model.name, cell.model.litellm, cell.model.pool.name),
            )
    return specs


def write_packets(specs: Sequence[PacketSpec], folder: Path) -> Iterator[Made]:
    """Write packets below `folder`, each whole or not at all. One that is there is left alone."""
    return spread(partial(_write_packet, folder), specs)


def _write_packet(folder: Path, spec: PacketSpec) -> Made:
    return make_packet(spec, folder / spec.packet_id)


def packet_rows(
    lake: Lake, cell: Cell, specs: Mapping[str, PacketSpec], made: Mapping[str, Made], now: datetime
) -> list[dict[str, Any]]:
    """Rows of the table `packets`; a packet that has not changed keeps the time at which it was first issued.

    `made` gives what is known of each packet by its id.
    """
    issued = {(p["packet_id"], p["packet_sha256"]): p["issued_at"] for p in lake.read("packets", cell.keys).to_pylist()}
    attempts = {a["attempt_id"]: a for a in lake.read("attempts", cell.keys).to_pylist()}
    copied = ("cohort", "model", "round", "job_id", "attempt_id", "n_deliverables", "simulated")
    return [
        {name: attempts[attempt_id][name] for name in copied}
        | {
            "packet_id": spec.packet_id,
            "rubric_version": spec.rubric_version,
            "n_criteria": len(spec.criteria),
            "packet_sha256": made[spec.packet_id].sha256,
            "folder": f"packets/{spec.packet_id}",
            "issued_at": issued.get((spec.packet_id, made[spec.packet_id].sha256), now),
            "flags": list(made[spec.packet_id].flags),
        }
        for attempt_id, spec in specs.items()
    ]


def criteria_by_job(lake: Lake, cohort: str) -> dict[str, tuple[str, tuple[Criterion, ...]]]:
    """Rubric version and criteria of each job of a month."""
    grouped: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in lake.read("rubrics", {"cohort": cohort}).to_pylist():
        grouped[row["job_id"]].append(row)
    return {
        job_id: (
            rows[0]["rubric_version"],
            tuple(
                Criterion(r["criterion_id"], r["position"], r["text"], r["importance"])
                for r in sorted(rows, key=lambda r: int(r["position"]))
            ),
        )
        for job_id, rows in grouped.items()
    }


def open_tasks(ledger: AttemptLedger, tasks: Sequence[Task], limits: AgentLimits) -> list[Task]:
    """The tasks that no attempt answers yet."""
    return [task for task, answer in zip(tasks, _answers(ledger, tasks, limits), strict=True) if answer is None]


def current_attempts(ledger: AttemptLedger, tasks: Sequence[Task], limits: AgentLimits) -> dict[str, str]:
    """For each job, the attempt that answers its task as it stands today."""
    answers = zip(tasks, _answers(ledger, tasks, limits), strict=True)
    return {task.job.job_id: answer.attempt_id for task, answer in answers if answer is not None}


def _answers(ledger: AttemptLedger, tasks: Sequence[Task], limits: AgentLimits) -> list[Result | None]:
    """For each task the attempt that answers it, or None.

    A second try counts as made once the same first attempt has been followed up, even if a grader has since changed
    a word of the feedback: a late verdict never starts a paid attempt by itself.
    """
    follow_ups: dict[tuple[str, str | None], Result] = {}
    for model_key, round_name in {(t.model.key, t.round) for t in tasks if t.previous is not None}:
        for result in sorted(ledger.results(model_key, round_name), key=lambda r: (r.finished_at, r.attempt_id)):
            if result.status == "done" and result.sample == 1:
                follow_ups[result.round, result.previous_attempt_id] = result
    return [
        ledger.find(task, limits) or (follow_ups.get((task.round, task.previous.attempt_id)) if task.previous else None)
        for task in tasks
    ]
