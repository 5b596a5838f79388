"""What workers agree on over a folder that they share: who lives, who has a month, what is spent, calls and rates."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hapi_pipeline import fan_out, locks
from hapi_pipeline.agents.pools import CeilingError
from hapi_pipeline.agents.shared_limits import SharedRate, SharedSlots, shared_limits
from hapi_pipeline.estimate import RoundPlan
from hapi_pipeline.operations import at_work, busy_with, held_here
from hapi_pipeline.registry import Model, Pool
from hapi_pipeline.settings import Home, UserError, project_root
from hapi_pipeline.spending import SharedBudget, journal_of, sums_of
from hapi_pipeline.workers import Crew, Part, crew_of, folder_of, months, months_to_oneself, part_of
from tests.graph import small_world as world

START, END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").ensure()


@pytest.fixture
def other() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts Python programs that say `ready` and then do what they are told; they end with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(program: str, *words: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", program, *map(str, words)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=project_root(),
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def killed(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


# ---- who is a worker, and of which months


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        ("2025-03", "2025-03", ["2025-03"]),
        ("2025-11", "2026-02", ["2025-11", "2025-12", "2026-01", "2026-02"]),
    ],
)
def test_the_months_of_a_part_are_those_of_its_range(first: str, last: str, expected: list[str]) -> None:
    tags = {"hapi/worker_of": "abc-1", START: f"{first}|New", END: f"{last}|New"}
    assert part_of(tags) == Part("abc-1", tuple(expected))
    assert months(first, last) == expected


@pytest.mark.parametrize("missing", ["hapi/worker_of", START, END])
def test_a_run_without_backfill_or_range_has_the_home_to_itself(missing: str) -> None:
    tags = {"hapi/worker_of": "a", START: "2025-01|N", END: "2025-02|N"}
    assert part_of({k: v for k, v in tags.items() if k != missing}) is None


@pytest.mark.parametrize("bad", ["../../../escaped", "2025-13", "2025-1", "", "2025-01\n"])
def test_a_range_of_anything_but_months_is_refused(bad: str) -> None:
    for first, last in ((bad, "2025-02"), ("2025-01", bad)):
        with pytest.raises(UserError, match="month"):
            part_of({"hapi/worker_of": "a", START: f"{first}|N", END: f"{last}|N"})


@pytest.mark.parametrize("name", ["..", "a/b", "../../x", "A", " ", "a" * 65, "a\n"])
def test_a_tag_that_is_no_name_reaches_no_folder(name: str) -> None:
    with pytest.raises(UserError, match="worker_of"):
        part_of({"hapi/worker_of": name, START: "2025-01|N", END: "2025-02|N"})


@given(st.lists(st.integers(min_value=0, max_value=50), min_size=1, max_size=40), st.integers(2, 8))
def test_months_are_cut_into_stretches_with_about_as_much_to_do(missing: list[int], count: int) -> None:
    cohorts = [f"{2020 + n // 12}-{n % 12 + 1:02d}" for n in range(len(missing))]
    to_make = dict(zip(cohorts, missing, strict=True))

    def planned(home: Home, model: Model, some: list[str]) -> list[RoundPlan]:
        return [RoundPlan("agent_alone", 0, sum(to_make[c] for c in some), 0)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fan_out, "plan_rounds", planned)
        parts = fan_out.parts_of(Home(Path("/nowhere")), Model("M", None), cohorts, count)
    assert [c for part in parts for c in part] == cohorts
    assert 1 <= len(parts) <= count
    assert all(parts)
    weights = [sum(to_make[c] + 1 for c in part) for part in parts]
    assert max(weights) <= sum(weights) / count + max(missing) + 1


def test_workers_are_refused_where_the_queue_starts_one_run_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("DAGSTER_HOME", "HAPI_HOME"):
        monkeypatch.setenv(name, "")  # so that it is as it was after the test
    home = world.make_home(tmp_path, ["2025-01"], refreshed=False, models=world.MODELS)
    assert world.hapi(home.root, "backfill", "--model", "One", "--workers", "2") == 2
    said = capsys.readouterr().err
    assert "max_concurrent_runs to 3" in said
    assert str(home.dagster / "dagster.yaml") in said
    assert not (home.dagster / "workers").exists()


# ---- the home

_SHARING = """
import sys
from pathlib import Path
from hapi_pipeline.operations import at_work
from hapi_pipeline.settings import Home
with at_work(Home(Path(sys.argv[1])), who="a worker", shared=True):
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_workers_share_a_home_and_keep_all_others_out(home: Home, other: Callable[..., Any]) -> None:
    first, second = other(_SHARING, home.root), other(_SHARING, home.root)
    assert (busy_with(home) or "").count("a worker") == 2
    assert not held_here(home)
    with pytest.raises(UserError, match=f"{first.pid}, a worker"), at_work(home):
        pass
    with at_work(home, shared=True):
        assert not held_here(home)
    killed(first)
    with pytest.raises(UserError, match="a worker"), at_work(home):
        pass
    killed(second)
    assert busy_with(home) is None
    with at_work(home, who="the owner"):
        assert held_here(home)
        assert list(home.root.glob(".at_work*")) == [home.root / ".at_work"]  # what the killed have left is gone
        with pytest.raises(UserError, match="the owner"), at_work(home, shared=True):
            pass


_MONTH = """
import sys
from pathlib import Path
from hapi_pipeline.settings import Home
from hapi_pipeline.workers import months_to_oneself
with months_to_oneself(Home(Path(sys.argv[1])), sys.argv[2:], wait=0):
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_two_workers_never_have_the_same_month(home: Home, other: Callable[..., Any]) -> None:
    holder = other(_MONTH, home.root, "2025-02", "2025-03")
    with months_to_oneself(home, ["2025-01", "2025-04"], wait=0):
        pass
    said: list[str] = []
    with (
        pytest.raises(UserError, match="2025-03"),
        months_to_oneself(home, ["2025-04", "2025-03"], wait=0.1, say=said.append),
    ):
        pass
    assert said == ["Waiting for another worker that is at work on 2025-03."]
    killed(holder)
    with months_to_oneself(home, ["2025-02", "2025-03"], wait=0):
        pass


# ---- who lives

_MEMBER = """
import sys
from pathlib import Path
from hapi_pipeline.workers import Crew
crew = Crew(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_killed_member_is_counted_no_more(
    tmp_path: Path, other: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hapi_pipeline.workers._COUNT", 0.0)
    crew = Crew(tmp_path)
    assert crew.size() == 1
    one, _ = other(_MEMBER, tmp_path), other(_MEMBER, tmp_path)
    assert crew.size() == 3
    killed(one)
    assert crew.size() == 2
    assert crew.lives(crew.me)
    assert not crew.lives("nobody")


def test_a_process_joins_a_crew_once(home: Home) -> None:
    assert crew_of(home, "one") is crew_of(home, "one")
    assert crew_of(home, "one") is not crew_of(home, "two")
    assert folder_of(home, "one").is_relative_to(home.dagster)


# ---- money

_SPENDER = """
import asyncio, random, sys
from pathlib import Path
from hapi_pipeline.agents.pools import CeilingError
from hapi_pipeline.spending import SharedBudget
from hapi_pipeline.workers import Crew

folder, most, seed = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
budget, chance = SharedBudget(Crew(folder), most), random.Random(seed)

async def calls():
    while True:
        aside = chance.uniform(0.01, 0.1)
        await budget.set_aside(aside, lambda: False)
        await asyncio.sleep(chance.uniform(0, 0.002))
        budget.settle(aside, aside * chance.uniform(0.2, 1.0))
        budget.made(failed=False)

async def main():
    done = await asyncio.gather(*(calls() for _ in range(6)), return_exceptions=True)
    assert all(isinstance(error, CeilingError) for error in done), done

print("ready", flush=True)
sys.stdin.readline()
asyncio.run(main())
"""


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in journal_of(folder).read_text().splitlines()]


def test_the_ceiling_of_several_processes_is_exceeded_by_less_than_one_call(
    tmp_path: Path, other: Callable[..., Any]
) -> None:
    started = [other(_SPENDER, tmp_path, 5.0, seed) for seed in range(3)]
    for process in started:
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.wait(60) for process in started] == [0, 0, 0]
    sums, calls = sums_of(tmp_path), [line for line in lines(tmp_path) if line.get("calls") == -1]
    assert 5.0 <= sums.spent < 5.0 + 0.1
    assert sums.spent == pytest.approx(sum(line["cost"] for line in calls))
    assert sums.made == len(calls)
    assert len({line["by"] for line in calls}) == 3
    # at no moment might the calls under way cost more than was left, unless one was alone
    spent, under_way = 0.0, list[float]()
    for line in lines(tmp_path):
        spent += line.get("cost", 0.0)
        if line.get("calls") == 1:
            under_way.append(line["aside"])
            assert len(under_way) == 1 or spent + sum(under_way) <= 5.0 + 1e-9
        elif line.get("calls") == -1:
            under_way.remove(-line["aside"])


_CALLER = """
import sys
from pathlib import Path
from hapi_pipeline.spending import SharedBudget
from hapi_pipeline.workers import Crew
budget = SharedBudget(Crew(Path(sys.argv[1])), 1.0)
assert budget.reserve(0.4) and budget.reserve(0.3)
print("ready", flush=True)
sys.stdin.read()
"""


def test_what_a_killed_worker_had_set_aside_counts_as_spent(tmp_path: Path, other: Callable[..., Any]) -> None:
    budget, caller = SharedBudget(Crew(tmp_path), 1.0), other(_CALLER, tmp_path)
    assert not budget.reserve(0.5)  # the other has 0.7 under way
    killed(caller)
    assert not budget.used_up
    assert budget.reserve(0.5)  # nothing else is under way
    budget.settle(0.5, 0.2)
    assert sums_of(tmp_path).spent == pytest.approx(0.9)
    assert sums_of(tmp_path).lost == pytest.approx(0.7)
    assert budget.reserve(5.0)  # alone, so the last one
    budget.settle(5.0, 0.2)
    with pytest.raises(CeilingError):
        budget.reserve(0.001)
    assert budget.used_up


@given(st.integers(min_value=1, max_value=60), st.booleans())
@settings(max_examples=30, deadline=None)
def test_a_line_that_a_kill_has_torn_is_written_over(cut: int, more: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        first, whole = SharedBudget(Crew(place)), b""
        first.spend(0.25)
        whole = journal_of(place).read_bytes()
        torn = b'{"by":"x","calls":1,"aside":0.123456789,"cost":7.0,"failed":1}\n'[: min(cut, 62)]
        with journal_of(place).open("ab") as file:
            file.write(torn)
        if more:
            first.spend(0.5)
        else:
            SharedBudget(Crew(place)).spend(0.5)
        assert sums_of(place).spent == pytest.approx(0.75)
        assert journal_of(place).read_bytes().startswith(whole)
        assert b"aside" not in journal_of(place).read_bytes()


def test_a_full_disk_stops_the_call_and_leaves_the_journal_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget, written = SharedBudget(Crew(tmp_path), 1.0), os.pwrite
    budget.spend(0.25)
    with monkeypatch.context() as full:
        full.setattr("hapi_pipeline.spending.os.pwrite", lambda file, data, at: written(file, data[:9], at))
        with pytest.raises(OSError, match="No space left"):
            budget.reserve(0.1)
    assert budget.reserve(0.1)
    assert sums_of(tmp_path).spent == pytest.approx(0.25)


def test_without_a_ceiling_everything_is_counted_and_nothing_refused(tmp_path: Path) -> None:
    budget = SharedBudget(Crew(tmp_path))
    assert all(budget.reserve(1e6) for _ in range(3))
    budget.settle(1e6, None)
    budget.settle(1e6, 2.0)
    budget.made(failed=True)
    budget.made(failed=False)
    assert not budget.used_up
    assert sums_of(tmp_path).spent == 2.0
    assert (sums_of(tmp_path).made, sums_of(tmp_path).failed) == (2, 1)


def test_others_spending_is_seen_within_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hapi_pipeline.spending._LOOK_AGAIN", 0.0)
    crew = Crew(tmp_path)
    one, two = SharedBudget(crew, 1.0), SharedBudget(crew, 1.0)
    one.spend(1.5)
    assert two.spent == 1.5
    assert two.used_up


# ---- calls and rates


def test_the_files_of_limits_are_closed_with_them(tmp_path: Path) -> None:
    def opened() -> int:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    crew, pool = Crew(tmp_path), Pool(name="p", concurrency=20, requests_per_minute=60)
    before = opened()
    limits = shared_limits(crew, pool)
    assert opened() >= before + 20
    del limits
    assert opened() == before


_CALLS = """
import asyncio, os, sys, time
from pathlib import Path
from hapi_pipeline.agents.shared_limits import SharedSlots
from hapi_pipeline.workers import Crew

folder, count = Path(sys.argv[1]), int(sys.argv[2])

async def one(slots, log):
    for _ in range(8):
        await slots.acquire()
        os.write(log, b"+")
        await asyncio.sleep(0.005)
        os.write(log, b"-")
        slots.release()

async def main():
    slots = SharedSlots(folder / "pool", count, Crew(folder))
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    print("ready", flush=True)
    sys.stdin.readline()
    await asyncio.gather(*(one(slots, log) for _ in range(5)))

asyncio.run(main())
"""


def test_calls_at_once_are_counted_over_all_processes(tmp_path: Path, other: Callable[..., Any]) -> None:
    started = [other(_CALLS, tmp_path, 4) for _ in range(3)]
    for process in started:
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.wait(60) for process in started] == [0, 0, 0]
    log = (tmp_path / "log").read_text()
    assert log.count("+") == log.count("-") == 3 * 5 * 8
    assert max(itertools.accumulate(1 if mark == "+" else -1 for mark in log)) == 4


def test_a_worker_leaves_room_for_the_others(
    tmp_path: Path, other: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hapi_pipeline.workers._COUNT", 0.0)
    crew = Crew(tmp_path)

    async def taken(slots: SharedSlots) -> int:
        number = 0
        while True:
            try:
                await asyncio.wait_for(slots.acquire(), 0.1)
            except TimeoutError:
                return number
            number += 1

    member = other(_MEMBER, tmp_path)
    assert asyncio.run(taken(SharedSlots(tmp_path / "a", 5, crew))) == 3  # half of them, rounded up
    killed(member)
    assert asyncio.run(taken(SharedSlots(tmp_path / "b", 5, crew))) == 5


def test_a_killed_worker_gives_its_calls_back(tmp_path: Path, other: Callable[..., Any]) -> None:
    program = """
import asyncio, sys
from pathlib import Path
from hapi_pipeline.agents.shared_limits import SharedSlots
from hapi_pipeline.workers import Crew
async def main():
    slots = SharedSlots(Path(sys.argv[1]) / "pool", 1, Crew(Path(sys.argv[1])))
    await slots.acquire()
    print("ready", flush=True)
    sys.stdin.read()
asyncio.run(main())
"""
    holder = other(program, tmp_path)

    async def story() -> bool:
        slots = SharedSlots(tmp_path / "pool", 1, Crew(tmp_path))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(slots.acquire(), 0.1)
        killed(holder)
        await asyncio.wait_for(slots.acquire(), 10)
        slots.release()
        return True

    assert asyncio.run(story())


def test_a_rate_holds_over_all_who_take_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    one, two = SharedRate(tmp_path / "r", 60), SharedRate(tmp_path / "r", 60)
    assert [rate.take(1, 0.0) for rate in (one, two, one, two)] == [0.0, 1.0, 2.0, 3.0]
    one.correct(-2)
    assert two.take(1, 0.0) == 2.0
    monkeypatch.setattr(time, "time", lambda: 2000.0)
    assert one.take(1, 0.0) == 0.0
    (tmp_path / "r").write_bytes(b"torn")
    assert two.take(1, 0.0) == 0.0


def test_the_limits_of_a_pool_are_its_own_and_none_where_it_names_none(tmp_path: Path) -> None:
    crew = Crew(tmp_path)
    strict = shared_limits(crew, Pool("a/b c", 2, requests_per_minute=60))
    assert strict.requests.take(1, 0.0) == 0.0
    assert strict.requests.take(1, 0.0) > 0.9
    assert strict.tokens.take(10**9, 0.0) == 0.0
    assert strict.tokens.take(10**9, 0.0) == 0.0
    assert shared_limits(crew, Pool("other", 2, requests_per_minute=60)).requests.take(1, 0.0) == 0.0


# ---- locks


def test_a_lock_is_taken_alone_or_shared_and_ends_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "lock"
    one, two = locks.opened(path), locks.opened(path)
    assert locks.take(one, shared=True)
    assert locks.take(two, shared=True)
    assert not locks.take(one)
    os.close(two)
    assert locks.take(one)
    assert locks.is_held(path)
    locks.let_go(one)
    assert not locks.is_held(path)
    assert not locks.is_held(tmp_path / "none")
    os.close(one)
