"""Briefs for the author of an external agent: what an agent may know of the benchmark's jobs, and nothing else.

What is written here is made from the same `Job` and the same first message that the agents run by this project get,
so that neither a rubric nor a price, a grader or another model's work can get in.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hapi_pipeline.agents.ledger import AttemptLedger
from hapi_pipeline.agents.prompt import first_message
from hapi_pipeline.agents.tasks import Job, Task, file_sha256
from hapi_pipeline.agents.texts import safe_relative_path
from hapi_pipeline.agents.tools import MAX_FILES, MAX_TOTAL_BYTES, plain_names
from hapi_pipeline.evaluation import Cell, due_tasks, jobs_of
from hapi_pipeline.intake.attempts import COLUMNS
from hapi_pipeline.lake import Lake
from hapi_pipeline.naming import digest
from hapi_pipeline.registry import Model, Registry
from hapi_pipeline.rounds import ROUND, Round
from hapi_pipeline.settings import Home, UserError

FORMATS = ("folder", "jsonl")
_NOBODY = Model("any agent", None)


@dataclass(frozen=True)
class _Brief:
    """One job for one author: where its files are put, and what is said of it."""

    folder: str
    task: Task
    simulated: bool


def export_jobs(
    home: Home, out: Path, cohorts: Sequence[str], round: str = "agent_alone", model: str | None = None,
    form: str = "folder",
) -> int:  # fmt: skip
    """Write the briefs of some months to a new folder, whole or not at all; how many jobs there are.

    For a round after the first, `model` names the external model whose earlier work is followed up: only the jobs
    that are due for it are written, with what it handed in before and, where the round has it, the feedback. Raises
    UserError when there is nothing to write, or when `out` holds something.
    """
    this, chosen = _round(home, round), _model(home, round, model)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is there already and not empty; name a new folder.")
    briefs = _briefs(home, cohorts, this, chosen)
    if not briefs:
        raise UserError(f"No job of these months is due in {round}{f' for {model}' if model else ''}.")
    staged = out.resolve().with_name(f".{out.resolve().name}.{os.getpid()}.part")
    shutil.rmtree(staged, ignore_errors=True)
    try:
        staged.mkdir(parents=True)
        _write(staged, briefs, this, model, form)
        staged.rename(out.resolve())  # an empty folder in its place is replaced
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return len(briefs)


def _round(home: Home, name: str) -> Round:
    known = Registry.of(home).benchmark.rounds
    if name not in known:
        raise UserError(f"There is no round {name!r}; the rounds are {', '.join(known)}.")
    return ROUND[name]


def _model(home: Home, round: str, name: str | None) -> Model:
    if name is None:
        if ROUND[round].after is not None:
            raise UserError(f"{round} follows up earlier work: name the external model with --model.")
        return _NOBODY
    model = Registry.of(home).model(name)
    if not model.external or model.retired:
        raise UserError(
            f"{name!r} is {'retired' if model.retired else 'run by this project'}; briefs are for external models: "
            "hapi models add NAME --external."
        )
    return model


def _briefs(home: Home, cohorts: Sequence[str], this: Round, model: Model) -> list[_Brief]:
    lake, benchmark = Lake(home.lake), Registry.of(home).benchmark
    ledger, found = AttemptLedger(home.attempts), []
    for cohort in cohorts:
        rows = lake.read("benchmark_jobs", {"cohort": cohort}, ["job_id", "simulated"]).to_pylist()
        simulated = {row["job_id"]: bool(row["simulated"]) for row in rows}
        if this.after is None:
            tasks = [Task(j, model, cohort, this.name, this.turn, this.arm) for j in jobs_of(lake, cohort).values()]
        else:
            tasks = due_tasks(lake, ledger, Cell(cohort, model, this), benchmark)
        found += [_Brief(_folder_of(task.job), task, simulated[task.job.job_id]) for task in tasks]
    return sorted(found, key=lambda brief: brief.folder)


def _folder_of(job: Job) -> str:
    """A name that every file system takes, that starts like the job's id, and that no other job has."""
    return f"{plain_names([job.job_id])[0][:40].rstrip('.')}-{digest('brief', job.job_id, length=8)}"


def _write(folder: Path, briefs: Sequence[_Brief], this: Round, model: str | None, form: str) -> None:
    records = [_one(folder, brief, form) for brief in briefs]
    if form == "jsonl":
        (folder / "jobs.jsonl").write_text(_lines(records), "utf-8")
    (folder / "manifest_template.jsonl").write_text(_lines([_template(b, this, model) for b in briefs]), "utf-8")
    simulated = sum(brief.simulated for brief in briefs)
    (folder / "README.md").write_text(_readme(len(briefs), simulated, this, model, form), "utf-8")


def _one(folder: Path, brief: _Brief, form: str) -> dict[str, Any]:
    """Copy one job's files and write its brief; what there is to say of it as JSON data."""
    task, home = brief.task, folder / "jobs" / brief.folder
    job = task.job
    names = plain_names([path.name for path in job.attachments])
    attachments = [_copied(p, home, f"attachments/{n}") for p, n in zip(job.attachments, names, strict=True)]
    before = task.previous
    previous = [
        _copied(before.folder / "deliverables" / d.path, home, f"previous/{safe_relative_path(d.path)}")
        for d in before.deliverables
    ] if before else []  # fmt: skip
    text = first_message(task, *([(f["path"], f["bytes"]) for f in files] for files in (attachments, previous)))
    record = {
        "job_id": job.job_id,
        "round": task.round,
        "attempt": task.turn + 1,
        "folder": f"jobs/{brief.folder}",
        "title": job.title,
        "description": job.description,
        "category": job.category,
        "subcategory": job.subcategory,
        "skills": list(job.skills),
        "attachments": attachments,
        "previous": previous,
        "feedback": _feedback(task),
        "simulated": brief.simulated,
    }
    if form == "folder":
        home.mkdir(parents=True, exist_ok=True)
        (home / "job.json").write_text(json.dumps(record, indent=1, ensure_ascii=True) + "\n", "utf-8")
        (home / "brief.md").write_text(text + "\n", "utf-8", "replace")
        return record
    return record | {"brief": text}


def _feedback(task: Task) -> dict[str, Any] | None:
    if task.feedback is None:
        return None
    failed = [{"criterion": criterion, "comment": comment} for criterion, comment in task.feedback.failed]
    return {"failed": failed, "overall": task.feedback.overall}


def _copied(source: Path, home: Path, name: str) -> dict[str, Any]:
    target = home / name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    return {"path": name, "bytes": target.stat().st_size, "sha256": file_sha256(target)}


def _template(brief: _Brief, this: Round, model: str | None) -> dict[str, Any]:
    """A row of the manifest to be filled in: as it stands it is refused, so nothing is handed in by mistake."""
    filled = {
        "job_id": brief.task.job.job_id,
        "model": model,
        "round": this.name,
        "folder": f"jobs/{brief.folder}/deliverables",
    }
    left_out = ("seconds",)  # minutes are asked for; either will do
    return filled | {name: None for name in COLUMNS if name not in filled and name not in left_out}


def _lines(records: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(record, ensure_ascii=True) + "\n" for record in records)


def _readme(jobs: int, simulated: int, this: Round, model: str | None, form: str) -> str:
    what = {
        "folder": "`jobs/NAME/brief.md` is what the agent is told, `jobs/NAME/job.json` the same as data",
        "jsonl": "`jobs.jsonl` holds an object a job; its `brief` is what the agent is told",
    }[form]
    lines = [
        f"# {jobs} job(s), round {this.name}" + (f", model {model}" if model else ""),
        "",
        *([f"SIMULATED DATA: {simulated} of these jobs were made up.", ""] if simulated else []),
        this.meaning,
        "",
        f"- {what}.",
        "- `jobs/NAME/attachments/` holds the client's files"
        + (", `jobs/NAME/previous/` what your agent handed in before." if this.after else "."),
        "- Texts of clients and graders are data: they say what the work is, and give your system no orders.",
        "",
        "To hand in work:",
        "",
        "1. Put the files that a client would get into `jobs/NAME/deliverables/`: "
        f"at most {MAX_FILES} files of {MAX_TOTAL_BYTES / 1e6:g} MB together for a job, no links.",
        "2. Copy `manifest_template.jsonl` to `manifest.jsonl` and fill in a line for each job attempted: `model` (the "
        "name that you are registered under) and `deliverables` (paths within `folder`; `[]` if the agent handed in "
        "nothing, which counts as failed). Take out the lines of jobs that were not attempted.",
        "3. Where known, give `cost_usd`, `prompt_tokens`, `completion_tokens`, `cached_tokens`, `minutes`, "
        "`finished_at` (YYYY-MM-DDTHH:MM:SS, UTC) and `transcript` (a text file within `folder` that no grader "
        "sees); else leave null. What is not known stays unknown: it is not taken for zero.",
        "4. Send the folder back; it is taken in with `hapi import attempts DIR`.",
        "",
        "One honest attempt a job: what was tried, and what it cost, belongs in the manifest even if it failed.",
    ]
    return "\n".join(lines) + "\n"
