"""Hands packets out: the ones that still need grading, copied to a folder under their opaque ids.

Where graders are registered, handing out is assigning: who gets what is decided, written into the ledger `assignments`,
and each grader has a folder of their own.
"""

from __future__ import annotations

import io
import re
import shutil
import zipfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from hapi_pipeline.engine import connect, open_tables
from hapi_pipeline.grading import assignment
from hapi_pipeline.grading.assignment import OPEN, Change, Held, Plan, Row
from hapi_pipeline.grading.packets import zip_of
from hapi_pipeline.grading.workbook import GRADER_CELL
from hapi_pipeline.grading.worklist import current_status, held
from hapi_pipeline.intake.ledger import import_id, rows_of
from hapi_pipeline.lake import Import, ImportedFile, Lake
from hapi_pipeline.naming import digest
from hapi_pipeline.registry import Registry
from hapi_pipeline.settings import Home, UserError

if TYPE_CHECKING:
    from hapi_pipeline.grading.label_studio_project import TaskPacket

TO_GRADE = """
SELECT p.packet_id, p.folder
FROM packets p
LEFT JOIN attempt_outcomes o USING (attempt_id)
WHERE coalesce(o.outcome, 'pending') = 'pending'
  AND ($model IS NULL OR p.model = $model) AND ($round IS NULL OR p.round = $round)
  AND ($cohort IS NULL OR p.cohort = $cohort)
ORDER BY p.packet_id  -- an order that says nothing of model or round
"""


@dataclass(frozen=True)
class Chosen:
    """The packets that a command is about; None for all."""

    model: str | None = None
    round: str | None = None
    cohort: str | None = None

    def has(self, row: Mapping[str, Any]) -> bool:
        """Whether a row is about one of them."""
        wanted = {"model": self.model, "round": self.round, "cohort": self.cohort}
        return all(value is None or row[name] == value for name, value in wanted.items())


EVERYTHING = Chosen()


def packets_to_grade(home: Home, chosen: Chosen = EVERYTHING) -> list[Path]:
    """The folders of the packets without a complete verdict."""
    with connect() as connection:
        open_tables(connection, Lake(home.lake), ["packets", "attempt_outcomes"])
        found = connection.execute(TO_GRADE, asdict(chosen)).fetchall()
    return [home.root / folder for _, folder in found]


def hand_out(home: Home, out: Path, chosen: Chosen = EVERYTHING, *, zipped: bool = False) -> tuple[int, int]:
    """Copy the packets to grade to `out`, each whole or not at all; the number to grade and of those there already."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; name a folder.")
    folders = packets_to_grade(home, chosen)
    out.mkdir(parents=True, exist_ok=True)
    return len(folders), sum(not _copied(folder, out / folder.name, zipped=zipped) for folder in folders)


def label_studio(home: Home, out: Path, chosen: Chosen = EVERYTHING) -> int:
    """Make a Label Studio project of the packets to grade; the number of its tasks."""
    from hapi_pipeline.grading.label_studio_project import write_project

    packets = _tasks_of(home, sorted(folder.name for folder in packets_to_grade(home, chosen)))
    return write_project(packets, out) if packets else 0


def _tasks_of(home: Home, packet_ids: Sequence[str]) -> list[TaskPacket]:
    """What the tasks of these packets say, in the order given.

    Raises UserError when a rubric has changed since a packet was made.
    """
    from hapi_pipeline.evaluation import criteria_by_job, jobs_of
    from hapi_pipeline.grading.label_studio_project import TaskPacket

    lake, wanted = Lake(home.lake), set(packet_ids)
    rows = {r["packet_id"]: r for r in lake.read("packets").to_pylist() if r["packet_id"] in wanted}
    cohorts = {row["cohort"] for row in rows.values()}
    jobs = {j: job for cohort in cohorts for j, job in jobs_of(lake, cohort).items()}
    rubrics = {j: rubric for cohort in cohorts for j, rubric in criteria_by_job(lake, cohort).items()}
    packets = []
    for row in (rows[packet_id] for packet_id in packet_ids):
        job, (version, criteria) = jobs.get(row["job_id"]), rubrics.get(row["job_id"], ("", ()))
        if job is None or version != row["rubric_version"]:
            raise UserError("Jobs or rubrics have changed since the packets were made; run `hapi refresh` first.")
        texts = (job.title, job.description, job.category, job.skills, criteria, home.root / row["folder"])
        packets.append(TaskPacket(row["packet_id"], row["packet_sha256"], version, *texts))
    return packets


def flagged(home: Home, chosen: Chosen = EVERYTHING) -> list[str]:
    """What the operator should know of packets that still need grading, a line each: `packet_id flag`."""
    wanted = {folder.name for folder in packets_to_grade(home, chosen)}
    rows = Lake(home.lake).read("packets", None, ["packet_id", "flags"]).to_pylist()
    return sorted(f"{r['packet_id']} {flag}" for r in rows if r["packet_id"] in wanted for flag in r["flags"] or ())


def _copied(folder: Path, goal: Path, grader: str = "", *, zipped: bool = False) -> bool:
    """Copy a packet whole or not at all, as a folder or a zip file, the grader filled in; False where it was there."""
    archive = goal.with_name(f"{goal.name}.zip")
    if goal.exists() or archive.exists():
        return False
    staged = goal.with_name(f".{goal.name}.part")
    shutil.rmtree(staged, ignore_errors=True)
    shutil.copytree(folder, staged)
    if grader:
        _sign(staged, grader)
    if zipped:
        packed = goal.with_name(f".{archive.name}.part")
        packed.write_bytes(zip_of(staged, goal.name))
        shutil.rmtree(staged)
        packed.replace(archive)
    else:
        staged.rename(goal)
    return True


# ---- assigning


@dataclass(frozen=True)
class Assigned:
    """What came of assigning: the packets that are out now, and what was noted."""

    out: Sequence[Mapping[str, Any]]  # packet_id, role, grader, position, due_at, folder, n_criteria
    new: int
    changes: Sequence[Change]
    waiting: Sequence[str]  # why packets find nobody, a sentence each
    noted: Import | None


def assign(home: Home, chosen: Chosen = EVERYTHING, now: datetime | None = None) -> Assigned:
    """Give every packet that wants a grader to one, and take back what graders may no longer work on.

    All of it is written into the ledger at once; what was given before stays given. `now` is in UTC.
    """
    lake, registry, now = Lake(home.lake), Registry.of(home), now or datetime.now(UTC)
    history = held(lake)
    planned, changes, rows = next_steps(registry, current_status(lake), history, chosen, now)
    packets = {p["packet_id"]: p for p in lake.read("packets", columns=list(_OF_PACKETS)).to_pylist()}
    facts = {r["packet_id"]: {**packets[r["packet_id"]], "category": r["category"]} for r in rows}
    due = now + timedelta(days=registry.benchmark.grading.due_days)
    given = [
        _event(facts[g.packet_id], now)
        | {"role": g.role, "grader": g.grader, "position": g.position, "seed": registry.benchmark.grading.seed}
        | {"assignment_id": digest("assignment", g.packet_id, g.role, g.grader, now.isoformat(), length=24)}
        | {"assigned_at": now, "due_at": due}
        for g in planned.given
    ]
    done = _note(lake, [*given, *_noted(lake, changes, now)], now)
    places = {(h.packet_id, h.role, h.grader): h.position for h in history if not h.withdrawn}
    before = [
        {**r, "position": places[key]}
        for r in rows
        if r["status"] in OPEN and (key := (r["packet_id"], r["role"], r["grader"])) in places and chosen.has(r)
    ]
    kept = ("packet_id", "role", "grader", "position", "due_at")
    out = [
        {name: one[name] for name in kept} | {name: facts[one["packet_id"]][name] for name in ("folder", "n_criteria")}
        for one in [*before, *given]
    ]
    return Assigned(out, len(given), changes, tuple(planned.unassigned.values()), done)


def waiting(home: Home, rows: Sequence[Row], chosen: Chosen = EVERYTHING) -> list[str]:
    """Why packets would find nobody if they were given out now, a sentence each; nothing is written."""
    registry = Registry.of(home)
    if not registry.graders:
        return []
    planned, _, _ = next_steps(registry, rows, held(Lake(home.lake)), chosen, datetime.now(UTC))
    return list(planned.unassigned.values())


def next_steps(
    registry: Registry, rows: Sequence[Row], history: Sequence[Held], chosen: Chosen, now: datetime
) -> tuple[Plan, list[Change], list[Row]]:
    """What to give, what to note on what was given before, and the rows without what is taken back."""
    graders, rules = registry.graders, registry.benchmark.grading
    noted = assignment.changes(history, rows, graders, rules, now.date())
    back = {c.assignment_id for c in noted if c.event == "withdrawn"}
    history = [replace(h, withdrawn=True) if h.assignment_id in back else h for h in history]
    gone = {(h.packet_id, h.role, h.grader) for h in history if h.assignment_id in back}
    left = [_taken_back(row) if (row["packet_id"], row["role"], row["grader"]) in gone else row for row in rows]
    asks = assignment.asks_of([row for row in left if chosen.has(row)], history, rules)
    return assignment.plan(asks, graders, rules, now.date(), assignment.book_of(history, left)), noted, left


def _taken_back(row: Row) -> Row:
    """The row of a packet that waits for somebody again."""
    waits = "to_adjudicate" if row["role"] == assignment.ADJUDICATOR else "unassigned"
    return {**row, "grader": None, "status": waits, "assigned_at": None, "due_at": None}


_OF_PACKETS = ("packet_id", "attempt_id", "cohort", "model", "round", "job_id", "folder", "n_criteria", "simulated")


def _event(packet: Row, now: datetime) -> dict[str, Any]:
    """What every entry says of its packet."""
    copied = ("packet_id", "attempt_id", "cohort", "model", "round", "job_id", "category", "simulated")
    return {name: packet[name] for name in copied} | {"event": "assigned", "noted_at": now, "reason": None}


def _noted(lake: Lake, changes: Collection[Change], now: datetime) -> list[dict[str, Any]]:
    """Entries that change what was given before; each repeats what the first entry says."""
    if not changes:
        return []
    first = {e["assignment_id"]: e for e in lake.read("assignments").to_pylist() if e["event"] == "assigned"}
    return [
        {**first[c.assignment_id], "event": c.event, "noted_at": now, "reason": c.reason}
        for c in changes
        if c.assignment_id in first
    ]


def _note(lake: Lake, entries: Sequence[Mapping[str, Any]], now: datetime) -> Import | None:
    """Add entries to the ledger: all count at once, or none."""
    if not entries:
        return None
    names = sorted(f"{e['assignment_id']}:{e['event']}" for e in entries)
    number = import_id("assignments", now.isoformat(), *names)
    for model in sorted({e["model"] for e in entries}):
        some = [e for e in entries if e["model"] == model]
        lake.append("assignments", number, rows_of("assignments", some), {"model": model})
    done = Import(
        import_id=number,
        kind="assignments",
        source=None,
        files=(ImportedFile("hapi packets", digest(number), len(entries), 0),),
        imported_at=now.isoformat(),
        cohorts=tuple(sorted({e["cohort"] for e in entries})),
    )
    lake.finish_import(done)
    return done


# ---- the folders of graders


def folder_of(one: Mapping[str, Any]) -> str:
    """Where a packet lies among those of its grader: the place in their row, and its opaque id."""
    return f"{one['grader']}/{one['position']:03d}_{one['packet_id']}"


def write_out(home: Home, out: Path, assigned: Assigned, *, zipped: bool = False) -> tuple[int, int]:
    """Copy what is out to a folder a grader, with a list of it; the number of packets and of those there already."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; name a folder.")
    there = 0
    for grader, some in _by_grader(assigned).items():
        (out / grader).mkdir(parents=True, exist_ok=True)
        for one in sorted(some, key=lambda o: o["position"]):
            there += not _copied(home.root / one["folder"], _goal(home, out, one), grader, zipped=zipped)
        (out / grader / "README.txt").write_text(cover(grader, some), "utf-8")
    return len(assigned.out), there


def write_projects(home: Home, out: Path, assigned: Assigned) -> int:
    """Make a Label Studio project for each grader, of what is out, in the order in which to grade; the tasks in all.

    Label Studio knows no assignments (its paid edition does): who has a project of their own sees nobody else's tasks.
    """
    from hapi_pipeline.grading.label_studio_project import write_project

    projects = {
        grader: _tasks_of(home, [one["packet_id"] for one in sorted(some, key=lambda o: o["position"])])
        for grader, some in _by_grader(assigned).items()
    }
    return sum(write_project(packets, out / grader) for grader, packets in projects.items())


def _by_grader(assigned: Assigned) -> dict[str, list[Mapping[str, Any]]]:
    """What is out, by grader, in the order of their names."""
    found: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for one in assigned.out:
        found[one["grader"]].append(one)
    return dict(sorted(found.items()))


def _goal(home: Home, out: Path, one: Mapping[str, Any]) -> Path:
    """The packet's folder; one that was made anew since goes beside it, since the old may be half filled in."""
    goal, twin = out / folder_of(one), f"packet_{one['packet_id']}.csv"
    made, there = _fingerprint(home.root / one["folder"], twin), _fingerprint(goal, twin)
    return goal.with_name(f"{goal.name}_{made[:8]}") if there and there != made else goal


def _fingerprint(folder: Path, twin: str) -> str:
    """The packet's SHA-256 as its CSV twin states it, in a folder or a zip file; empty where there is none."""
    archive = folder.with_name(f"{folder.name}.zip")
    try:
        if archive.exists():
            with zipfile.ZipFile(archive) as packed:
                name = next((n for n in packed.namelist() if n.rpartition("/")[2] == twin), "")
                data = packed.read(name) if name else b""
        else:
            data = (folder / twin).read_bytes()
    except (OSError, zipfile.BadZipFile):
        return ""
    found = re.search(rb"packet_sha256,([0-9a-f]{64})", data[:2000])
    return found[1].decode() if found else ""


def cover(grader: str, some: Iterable[Mapping[str, Any]]) -> str:
    """The list of a grader's packets, in the order in which to grade them; it says nothing of who made what."""
    ordered = sorted(some, key=lambda one: one["position"])
    lines = [
        f"  {one['position']:03d}  {one['packet_id']}  {one['n_criteria']:>2} criteria, by {one['due_at']:%Y-%m-%d}"
        for one in ordered
    ]
    return "\n".join(
        [
            f"Packets for {grader}",
            "",
            "Please grade them in this order. In each folder open brief.html, look at everything under deliverables,",
            "fill in the workbook (packet_….xlsx), save it and send it back. Your id is filled in already; please",
            "leave it and all other ids as they are.",
            "",
            *lines,
            "",
        ]
    )


_EMPTY = re.compile(rf'<c r="{GRADER_CELL}"((?: s="\d+")?)/>')
_GRADE_SHEET = "xl/worksheets/sheet1.xml"


def _sign(folder: Path, grader: str) -> None:
    """Fill the grader's id into the workbook and its CSV twin; nothing else in them changes."""
    for book in folder.glob("packet_*.xlsx"):
        out = io.BytesIO()
        with zipfile.ZipFile(book) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
            for entry in source.infolist():
                data = source.read(entry)
                target.writestr(entry, _signed(data, grader) if entry.filename == _GRADE_SHEET else data)
        book.write_bytes(out.getvalue())
    for twin in folder.glob("packet_*.csv"):
        data = twin.read_bytes()
        twin.write_bytes(data.replace(b"\ngrader,\r\n", f"\ngrader,{grader}\r\n".encode(), 1))


def _signed(sheet: bytes, grader: str) -> bytes:
    """The sheet's XML with the grader's cell filled in."""
    cell = rf'<c r="{GRADER_CELL}"\1 t="inlineStr"><is><t>{escape(grader)}</t></is></c>'
    return _EMPTY.sub(cell, sheet.decode("utf-8"), count=1).encode("utf-8")
