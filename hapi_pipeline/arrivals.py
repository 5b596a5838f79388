"""What follows from the inbox: files are taken in, then exactly the months and models that they touch are remade.

One call does it all while nobody else is at work on the home: first job exports and rubrics, then the work of external
agents, then verdicts, and after each what follows from it, because work can only be handed in for jobs that are known,
and judged once it is there. What has been touched is written down first, so that a call that is killed is made up for
by the next.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hapi_pipeline.checks.rules import scope_of_place
from hapi_pipeline.inbox import LEDGERS, MOST_AT_ONCE, STAGES, Arrival, Desk, Taken, at_rest, claim, look, put_away
from hapi_pipeline.lake import Import, Lake, write_bytes
from hapi_pipeline.operations import Refreshed, Touched, follow, known_cohorts, report_imports, settled_months
from hapi_pipeline.registry import Registry
from hapi_pipeline.settings import Home, UserError

if TYPE_CHECKING:
    from datetime import datetime


@dataclass
class Handled:
    """What came of a look into the inbox."""

    taken: list[Taken] = field(default_factory=list)
    touched: Touched = field(default_factory=Touched)
    refreshed: Refreshed | None = None
    stuck: list[str] = field(default_factory=list)  # what could not even be moved, a sentence each
    replies: list[tuple[Path, Taken, Touched]] = field(default_factory=list)  # of files taken in, and what they touch

    @property
    def counts(self) -> Counter[str]:
        """How many arrivals were taken in, had been before, or were refused."""
        return Counter(t.status for t in self.taken)


def open_follow_up(home: Home) -> Touched:
    """What earlier imports from the inbox have touched and nobody has followed up yet."""
    try:
        found = json.loads((home.lake / "arrivals.json").read_text("utf-8"))
        return Touched(frozenset(found["cohorts"]), frozenset((c, m) for c, m in found["cells"]))
    except FileNotFoundError:
        return Touched()
    except (ValueError, KeyError, TypeError):  # damaged: all months are looked at, which costs only time
        return Touched(frozenset(known_cohorts(Lake(home.lake))))


def _write_down(home: Home, touched: Touched) -> None:
    told = {"cohorts": sorted(touched.cohorts), "cells": sorted(touched.cells)}
    write_bytes(home.lake / "arrivals.json", json.dumps(told, indent=1).encode())


def handle(
    home: Home,
    seen: Mapping[str, str],
    *,
    attempts: bool,
    now: datetime,
    max_usd: float | None = None,
    tags: Mapping[str, str] | None = None,
    say: Callable[[str], None] = print,
) -> Handled:
    """Take in what lies in the inbox as it was `seen` (stamps by key), and bring what it touches up to date.

    With `attempts`, models attempt the newest closed month where it is touched; never an older one. Only for a caller
    that holds the home's lock. Raises RunFailedError when something that follows fails; what was taken in stays, and
    the next call goes on from there.
    """
    done = Handled()
    open_before, before = open_follow_up(home), settled_months(home)
    followed = Touched()
    waiting = [a for a in look(home) if a.kind in _ALL][:MOST_AT_ONCE]

    def follow_up(last: bool) -> None:
        nonlocal before, open_before, followed
        touched = open_before | done.touched
        allowed = attempts_allowed(home, attempts, now)
        say(f"Touched: {told(touched)}. Attempts may be made in: {', '.join(sorted(allowed)) or 'no month'}.")
        left = None if max_usd is None else max_usd - (done.refreshed.cost_usd if done.refreshed else 0.0)
        made = follow(home, touched, allowed, before=before, max_usd=left, tags=tags, summarise=last)
        done.refreshed = _joined(done.refreshed, made)
        followed, open_before, done.touched = followed | touched, Touched(), Touched()
        before = settled_months(home)

    for kinds in STAGES:
        arrivals = at_rest(home, [a for a in waiting if a.kind in (*kinds, *_STRAY[kinds])], seen)
        if arrivals and kinds != STAGES[0] and (open_before or done.touched):
            follow_up(last=False)  # what follows from the stage before has to be there for this one
        _take(home, arrivals, done, open_before | followed, say)
    if open_before or done.touched or followed:
        follow_up(last=True)
        (home.lake / "arrivals.json").unlink(missing_ok=True)
        tell_what_is_held(home, done)
    done.touched = followed
    return done


_ALL = ("", *(kind for stage in STAGES for kind in stage))
_STRAY = {kinds: ("",) if number == 0 else () for number, kinds in enumerate(STAGES)}


def _take(
    home: Home, arrivals: Sequence[Arrival], done: Handled, open_before: Touched, say: Callable[[str], None]
) -> None:
    """Take in arrivals of one stage, and put each away when it is written down what it touches."""
    claimed = []
    for arrival in arrivals:
        try:
            mine = claim(home, arrival)
        except UserError as error:
            done.stuck.append(str(error))
            continue
        if mine is not None:
            claimed.append(mine)
    lake, registry = Lake(home.lake), Registry.of(home)
    of_import: dict[str, Touched] = {}
    for taken in Desk(home, lake, registry, say).take(claimed):
        for made in taken.imports:
            if made.import_id not in of_import:
                of_import[made.import_id] = touched_by(home, lake, registry, made, taken.arrival)
                done.touched |= of_import[made.import_id]
                _write_down(home, open_before | done.touched)
                if taken.arrival.kind != "attempts":
                    report_imports(home, [(LEDGERS[taken.arrival.kind], made)])
        goal = put_away(home, taken)
        done.taken.append(taken)
        done.replies += [
            (goal.with_name(f"{goal.name}.txt"), taken, of_import[made.import_id]) for made in taken.imports[:1]
        ]
        say(f"{taken.said.splitlines()[0]} (inbox/{goal.relative_to(home.inbox).as_posix()})")


def tell_what_is_held(home: Home, done: Handled) -> None:
    """Add to the reply beside each file what checks hold back of what follows from it, and why.

    A reply to graders goes to people who must not know more than their packets say: it has the fact alone.
    """
    if done.refreshed is None or not done.refreshed.held:
        return
    from hapi_pipeline.checks.inline import known_failures

    failing = known_failures(home)
    for reply, taken, touched in done.replies:
        mine = [f for f in failing if _concerns(scope_of_place(f.rule.table, f.place), touched)]
        if not mine:
            continue
        if taken.arrival.kind == "verdicts":
            said = "What follows from it is held back by a check for now. Whoever runs the benchmark sees which."
        else:
            listed = "\n".join(f"* {failure.sentence}. {failure.rule.next_step}" for failure in mine)
            said = f"What follows from it is held back, because:\n\n{listed}"
        with suppress(OSError):  # somebody may have moved it, or put a link in its place
            file = os.open(reply, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)
            try:
                os.write(file, f"\n{said}\n".encode())
            finally:
                os.close(file)


def _concerns(scope: Mapping[str, str], touched: Touched) -> bool:
    """Whether a failure in a partition of these keys may hold back what follows from what is touched."""
    cohort, model = scope.get("cohort"), scope.get("model")
    if cohort is None or cohort in touched.cohorts:
        return True  # a table over all months, or a ledger: it concerns everything
    return any(cohort == c and model in (None, m) for c, m in touched.cells)


def _joined(first: Refreshed | None, second: Refreshed) -> Refreshed:
    if first is None:
        return second
    return Refreshed(
        tuple(sorted({*first.cohorts, *second.cohorts})),
        first.attempts_made + second.attempts_made,
        first.attempts_failed + second.attempts_failed,
        second.attempts_left,
        first.cost_usd + second.cost_usd,
        tuple(sorted({*first.left_out, *second.left_out})),
        second.held,
    )


def told(touched: Touched) -> str:
    """What is touched, in words."""
    parts = []
    if touched.cohorts:
        parts.append(f"all of {_listed(touched.cohorts)}")
    of_models: dict[str, set[str]] = {}
    for cohort, model in touched.cells:
        if cohort not in touched.cohorts:
            of_models.setdefault(model, set()).add(cohort)
    parts += [f"{model} in {_listed(cohorts)}" for model, cohorts in sorted(of_models.items())]
    return "; ".join(parts) or "nothing"


def _listed(cohorts: Iterable[str]) -> str:
    listed = sorted(cohorts)
    return ", ".join(listed) if len(listed) <= 6 else f"{len(listed)} months, {listed[0]} to {listed[-1]}"


# ---- what an import touches


def touched_by(home: Home, lake: Lake, registry: Registry, done: Import, arrival: Arrival) -> Touched:
    """The months, or cells of months and models, that an import from the inbox may change."""
    if done.kind == "rubrics":
        return Touched(_months_of_rubrics(lake, done))
    if done.kind == "verdicts":
        return Touched(cells=_cells_of_verdicts(lake, done))
    if done.kind == "attempts":
        models = _models_named(home, registry, arrival)
        return Touched(cells=frozenset((cohort, model) for cohort in done.cohorts for model in models))
    return Touched(frozenset(done.cohorts))


def _months_of_rubrics(lake: Lake, done: Import) -> frozenset[str]:
    """The months of the jobs that an import of rubrics is about, as far as these jobs are known."""
    import pyarrow as pa
    import pyarrow.compute as pc

    files = [path for path in lake.files("rubric_exports") if path.stem == done.import_id]
    if not files:
        return frozenset()
    import pyarrow.parquet as pq

    jobs = pa.concat_tables([pq.read_table(path, columns=["job_id"], partitioning=None) for path in files])["job_id"]
    exported = lake.read("job_exports", columns=["cohort", "job_id"])
    mine = exported.filter(pc.is_in(exported["job_id"], value_set=pc.unique(jobs)))
    return frozenset(mine["cohort"].unique().to_pylist())


def _cells_of_verdicts(lake: Lake, done: Import) -> frozenset[tuple[str, str]]:
    import pyarrow.parquet as pq

    cells: set[tuple[str, str]] = set()
    for path in lake.files("verdict_exports"):
        if path.stem == done.import_id:
            rows = pq.read_table(path, columns=["cohort", "model"], partitioning=None)
            pairs = rows.group_by(["cohort", "model"]).aggregate([])
            cells |= set(zip(pairs["cohort"].to_pylist(), pairs["model"].to_pylist(), strict=True))
    return frozenset(cells)


def _models_named(home: Home, registry: Registry, arrival: Arrival) -> set[str]:
    """The external models that a manifest names; all of them where it cannot be read any more."""
    external = {model.name for model in registry.models if model.external}
    named = set()
    try:
        listed = [arrival.path / "manifest.jsonl", *sorted(arrival.path.glob("*.jsonl"))]
        with next(path for path in listed if path.is_file() and not path.is_symlink()).open(encoding="utf-8") as file:
            for line in file:
                row = json.loads(line) if line.strip() else {}
                named.add(row.get("model") if isinstance(row, dict) else None)
    except (OSError, ValueError, StopIteration, RecursionError):
        return external
    return {name for name in named if isinstance(name, str)} & external


# ---- months


def last_closed_month(now: datetime) -> str:
    """The month before the one in which `now` lies (UTC)."""
    from datetime import UTC, timedelta

    return (now.astimezone(UTC).replace(day=1) - timedelta(days=1)).strftime("%Y-%m")


def attempts_allowed(home: Home, switched_on: bool, now: datetime) -> frozenset[str]:
    """The months in which what starts by itself may make attempts: the newest closed one with posts, or none."""
    closed = [c for c in known_cohorts(Lake(home.lake)) if c <= last_closed_month(now)]
    return frozenset(closed[-1:]) if switched_on else frozenset()


def months_to_catch_up(known: Collection[str], refreshed: Collection[str], closed: str, most: int) -> list[str]:
    """The closed months with posts that come after the newest one that has been refreshed, the newest `most` of them.

    Where none has been refreshed, it is the newest closed month alone: history is asked for.
    """
    candidates = sorted(c for c in known if c <= closed)
    done = [c for c in refreshed if c <= closed]
    if not done:
        return candidates[-1:]
    return [c for c in candidates if c > max(done)][-most:]
