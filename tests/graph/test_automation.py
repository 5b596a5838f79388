"""What starts by itself: ticks of the schedule and the sensors; turns on the home; runs whose process was killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from hapi_pipeline import automation, operations
from hapi_pipeline.arrivals import handle
from hapi_pipeline.automation import MONTHLY, is_switched_on
from hapi_pipeline.checks.catalogue import rules
from hapi_pipeline.checks.inline import register_of
from hapi_pipeline.checks.register import bring_up_to_date
from hapi_pipeline.dead_runs import alive, bury_killed_runs
from hapi_pipeline.definitions import build_defs
from hapi_pipeline.lake import Lake
from hapi_pipeline.operations import at_work, busy_with, instance_of, pending_cohorts
from hapi_pipeline.registry import Registry
from hapi_pipeline.resources import HapiHome, patience
from hapi_pipeline.settings import Home, UserError, project_root
from tests.graph import small_world as world

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning", "ignore::dagster.PreviewWarning")

OLD, MIDDLE, NEW = "2025-03", "2025-04", "2025-05"
LATER = datetime(2025, 6, 20, tzinfo=UTC)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home of two refreshed months, one of whose models has handed work in for both."""
    root = tmp_path_factory.mktemp("automation")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HAPI_HOME", "")
        patch.setenv("DAGSTER_HOME", "")
        home = world.make_home(root, [OLD, MIDDLE], refreshed=False)
        assert world.hapi(home.root, "curate") == 0
        for month in (OLD, MIDDLE):
            world.hapi(home.root, "import", "attempts", str(world.write_attempts(root / f"work_{month}", month)))
        world.refresh_all(home)
    return home


@pytest.fixture
def home(made: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    copy = world.copy_home(made, tmp_path / "home")
    monkeypatch.setenv("HAPI_HOME", str(copy.root))
    monkeypatch.setenv("DAGSTER_HOME", str(copy.dagster))
    return copy


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home without tables, for what does not look at any."""
    home = Home(tmp_path / "home").ensure()
    (home.registry / "models.yaml").write_text(world.GUESTS)
    monkeypatch.setenv("HAPI_HOME", str(home.root))
    monkeypatch.setenv("DAGSTER_HOME", str(home.dagster))
    return home


@dg.op
def nothing() -> None: ...


@dg.job
def idle() -> None:
    nothing()


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    (tmp_path / "instance").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "instance")) as found:
        yield found


@pytest.fixture
def no_summaries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the tables over all months, which take most of the time."""
    real = operations._run
    monkeypatch.setattr(operations, "_run", lambda *a: [] if a[2] == "summarise" else real(*a))


def arrive(home: Home, attempts: bool = False) -> Any:
    """Everything in the inbox taken in, as the run of the sensor does it."""
    from hapi_pipeline import inbox

    inbox.prepare(home)
    seen = {a.key(home): a.stamp for a in inbox.look(home)}
    with at_work(home):
        return handle(home, seen, attempts=attempts, now=LATER, max_usd=1.0, say=lambda _: None)


# ---- exactly what is touched


def test_a_verdict_for_last_spring_refreshes_its_cell_and_the_summaries_alone(home: Home) -> None:
    before = world.times(home)
    world.write_verdicts(home.inbox / "verdicts" / "late.csv", OLD, ["Guest"])
    done = arrive(home)
    assert done.touched.cells == {(OLD, "Guest")}
    assert not done.touched.cohorts
    moved = world.changed(before, world.times(home))
    assert world.graded(home, OLD, "Guest") == (2, 2, 2)
    by_cell = {p for p in moved if "cohort=" in p}
    assert by_cell
    assert all(f"cohort={OLD}/model=Guest/" in p for p in by_cell)
    assert "leaderboard/data.parquet" in moved
    assert pending_cohorts(home) == []  # nothing else counts as changed


def test_a_rubric_touches_the_months_of_its_jobs_alone(home: Home, no_summaries: None) -> None:
    before = world.times(home)
    path = world.write_rubrics(home.inbox / "rubrics" / "r.csv", MIDDLE)
    path.write_text(path.read_text().replace("is there", "is there and clear"))
    done = arrive(home)
    assert done.touched.cohorts == {MIDDLE}
    moved = world.changed(before, world.times(home))
    assert f"rubrics/cohort={MIDDLE}/data.parquet" in moved
    assert not [p for p in moved if f"cohort={OLD}" in p]
    assert pending_cohorts(home) == []


def test_what_an_interrupted_call_had_touched_is_made_up_for(
    home: Home, monkeypatch: pytest.MonkeyPatch, no_summaries: None
) -> None:
    world.write_verdicts(home.inbox / "verdicts" / "late.csv", OLD, ["Guest"])

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("hapi_pipeline.arrivals.follow", killed)
        with pytest.raises(KeyboardInterrupt):
            arrive(home)
    assert world.graded(home, OLD, "Guest") == (2, 0, 0)
    arrive(home)
    assert world.graded(home, OLD, "Guest") == (2, 2, 2)
    assert not (home.lake / "arrivals.json").exists()


def test_a_reply_says_what_is_held_back_and_to_graders_only_that_it_is(home: Home, no_summaries: None) -> None:
    lake, spoilt = Lake(home.lake), {"cohort": MIDDLE}
    rows = lake.read("curation_funnel", spoilt)
    wrong = [
        row | ({"n_kept": row["n_kept"] + 3} if row["rule"] == "in_scope_jobs" else {}) for row in rows.to_pylist()
    ]
    lake.write(
        "curation_funnel", rows.from_pylist(wrong, rows.schema), spoilt, lake.inputs("curation_funnel", spoilt) or ""
    )
    found = {rule.name: rule for rule in rules()["curation_funnel"]}["funnel_reconciles"]
    bring_up_to_date(register_of(home), found, lake, Registry.of(home), [spoilt])  # as the step that reads it does
    for month in (OLD, MIDDLE):
        world.write_verdicts(home.inbox / "verdicts" / f"{month}.csv", month, ["Guest"])
        world.write_attempts(home.inbox / "attempts" / month, month, "Other guest")
    done = arrive(home)
    assert any("funnel_reconciles" in sentence for sentence in done.refreshed.held)
    replies = {
        p.relative_to(home.inbox / "done").as_posix()[11:]: p.read_text() for p in home.inbox.glob("done/*/*/*.txt")
    }
    assert f"funnel_reconciles in {MIDDLE}" in replies[f"attempts/{MIDDLE}.txt"]
    assert "hapi rebuild" in replies[f"attempts/{MIDDLE}.txt"]
    assert "held back by a check" in replies[f"verdicts/{MIDDLE}.csv.txt"]
    assert "funnel" not in replies[f"verdicts/{MIDDLE}.csv.txt"]
    assert "held back" not in replies[f"attempts/{OLD}.txt"]


# ---- money


def with_a_paid_model(home: Home) -> None:
    """One that costs money in place of those that do not."""
    (home.registry / "models.yaml").write_text("\n".join(world.MODELS.splitlines()[:2]) + "\n")


@pytest.mark.parametrize(("switched_on", "attempted"), [(False, []), (True, [NEW])])
def test_attempts_are_made_in_the_newest_closed_month_and_only_when_switched_on(
    home: Home, monkeypatch: pytest.MonkeyPatch, no_summaries: None, switched_on: bool, attempted: list[str]
) -> None:
    with_a_paid_model(home)
    asked: list[str] = []

    def no_attempts(tasks: list[Any], *_: object, **__: object) -> list[Any]:
        asked.extend(task.cohort for task in tasks)
        return []

    monkeypatch.setattr("hapi_pipeline.agents.run.run_tasks", no_attempts)
    monkeypatch.setattr(HapiHome, "simulated_provider", lambda *_: _nothing())
    monkeypatch.setattr("hapi_pipeline.agents.run.obstacle", lambda *_: None)
    for month in (MIDDLE, NEW):  # an older month is touched as well
        jobs = 3 if month == MIDDLE else 2
        world.write_jobs(home.inbox / "jobs" / "canonical" / f"{month}.csv", month, jobs)
        world.write_rubrics(home.inbox / "rubrics" / f"{month}.csv", month, jobs)
    done = arrive(home, attempts=switched_on)
    assert sorted(set(asked)) == attempted
    assert done.touched.cohorts == {MIDDLE, NEW}
    assert done.refreshed.attempts_left > 0
    assert set(pending_cohorts(home)) >= {MIDDLE}  # `hapi refresh` still has them to do


class _nothing:  # noqa: N801
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


# ---- the schedule


def tick(home: Home, instance: dg.DagsterInstance, at: datetime) -> list[dg.RunRequest]:
    defs = build_defs(home)
    with dg.build_schedule_context(
        instance=instance,
        scheduled_execution_time=at,
        repository_def=defs.get_repository_def(),
        resources={"hapi": HapiHome(root=str(home.root))},
    ) as context:
        return list(defs.resolve_schedule_def("monthly_refresh").evaluate_tick(context).run_requests or [])


def test_the_schedule_is_off_and_asks_once_a_month(bare: Home) -> None:
    schedule = build_defs(bare).resolve_schedule_def("monthly_refresh")
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 6 2 * *", "UTC")


def test_a_tick_asks_for_every_closed_month_that_was_missed(
    home: Home, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    assert tick(home, instance, datetime(2025, 5, 2, 6, tzinfo=UTC)) == []  # the closed month has been refreshed
    for month in (NEW, "2025-07"):
        path = world.write_jobs(tmp_path / f"{month}.csv", month)
        world.hapi(home.root, "import", "jobs", str(path), "--source", "canonical")
    requests = tick(home, instance, datetime(2025, 8, 2, 6, tzinfo=UTC))
    assert [r.partition_key for r in requests] == [NEW, "2025-07"]  # nothing was imported for June
    assert all(r.tags[MONTHLY] == r.partition_key for r in requests)
    assert len({r.run_key for r in requests}) == 2
    assert [r.partition_key for r in tick(home, instance, datetime(2025, 7, 2, 6, tzinfo=UTC))] == [NEW]


def test_the_daemon_itself_makes_up_for_the_newest_missed_tick(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Dagster does when it was down on the 2nd: it evaluates the newest tick that it missed, late."""
    import logging

    from dagster._core.test_utils import create_test_daemon_workspace_context, freeze_time
    from dagster._core.workspace.load_target import PythonFileTarget
    from dagster._scheduler.scheduler import launch_scheduled_runs

    source = home.root.parent / "location.py"
    source.write_text("from hapi_pipeline.definitions import build_defs\ndefs = build_defs()\n")
    target = PythonFileTarget(
        python_file=str(source), attribute=None, working_directory=None, location_name="hapi_pipeline"
    )
    path = world.write_jobs(home.root.parent / "new.csv", NEW)
    world.hapi(home.root, "import", "jobs", str(path), "--source", "canonical")
    with (
        instance_of(home) as instance,
        create_test_daemon_workspace_context(target, instance) as context,
    ):
        with freeze_time(datetime(2025, 4, 20, tzinfo=UTC)):
            location = next(iter(context.create_request_context().code_locations))
            schedule = location.get_repository("__repository__").get_schedule("monthly_refresh")
            instance.start_schedule(schedule)
            assert is_switched_on(instance)
        late = datetime(2025, 6, 5, 12, tzinfo=UTC)  # the ticks of May and June were missed
        with freeze_time(late):
            list(launch_scheduled_runs(context, logging.getLogger("test"), late, {}))
        runs = instance.get_runs(dg.RunsFilter(job_name=automation.REFRESH_MONTH))
        assert [run.tags[MONTHLY] for run in runs] == [NEW]


# ---- the look into the inbox


def look(home: Home, instance: dg.DagsterInstance, cursor: str | None) -> dg.SensorResult:
    resources = {"hapi": HapiHome(root=str(home.root))}
    with dg.build_sensor_context(instance=instance, cursor=cursor, resources=resources) as context:
        found = automation.inbox_sensor(automation.take_in())(context)
    assert isinstance(found, dg.SensorResult)
    return found


def test_a_file_is_asked_for_at_the_second_look_that_finds_it_unchanged(
    bare: Home, instance: dg.DagsterInstance
) -> None:
    first = look(bare, instance, None)
    assert (first.run_requests or []) == []
    path = world.write_rubrics(bare.inbox / "rubrics" / "r.csv", OLD)
    second = look(bare, instance, first.cursor)
    assert not second.run_requests
    path.write_text(path.read_text() + " ")
    third = look(bare, instance, second.cursor)
    assert not third.run_requests
    (request,) = look(bare, instance, third.cursor).run_requests or []
    config = request.run_config["ops"]["files"]["config"]
    assert list(config["seen"]) == ["rubrics/r.csv"]
    assert config["attempts"] is False  # the schedule is off


def test_a_look_leaves_the_home_to_whoever_is_at_work(bare: Home, instance: dg.DagsterInstance) -> None:
    world.write_rubrics(bare.inbox / "rubrics" / "r.csv", OLD)
    cursor = look(bare, instance, None).cursor
    with at_work(bare, who="a test"):
        found = look(bare, instance, cursor)
    assert not found.run_requests
    assert "a test" in str(found.skip_reason)
    assert look(bare, instance, found.cursor).run_requests


def test_a_take_in_that_failed_is_tried_again_after_a_pause(bare: Home, instance: dg.DagsterInstance) -> None:
    job = automation.take_in()
    world.write_rubrics(bare.inbox / "rubrics" / "r.csv", OLD)
    cursor = look(bare, instance, None).cursor
    config: dict[str, Any] = {"ops": {"files": {"config": {"seen": {}}}}}
    instance.create_run_for_job(job, run_config=config, status=dg.DagsterRunStatus.STARTED)
    going_on = look(bare, instance, cursor)
    assert "being taken in" in str(going_on.skip_reason)
    (run,) = instance.get_runs()
    instance.report_run_failed(run, "no reason")
    failed = look(bare, instance, cursor)
    assert "tried again at" in str(failed.skip_reason)


@pytest.mark.parametrize("cursor", ["", "no json", "[]", '{"seen": 3}', '{"asked": {"a": 1}}'])
def test_a_damaged_cursor_is_a_first_look(bare: Home, instance: dg.DagsterInstance, cursor: str) -> None:
    world.write_rubrics(bare.inbox / "rubrics" / "r.csv", OLD)
    assert json.loads(look(bare, instance, cursor or None).cursor or "")["seen"]


# ---- results that follow


def test_results_follow_and_nothing_that_costs_money_does(bare: Home) -> None:
    from hapi_pipeline.results import BY_CELL, SUMMARIES

    graph = build_defs(bare).resolve_asset_graph()
    following = {key.to_user_string() for key in graph.get_all_asset_keys() if graph.get(key).automation_condition}
    assert following == {*BY_CELL, *SUMMARIES}


def test_a_run_of_a_jobs_dialog_makes_all_of_its_months(home: Home) -> None:
    """The dialog gives a run over many partitions the tags of the first of them; it must not make that one alone."""
    job = build_defs(home).resolve_job_def("evaluate")
    first, last = f"{OLD}|Guest", f"{MIDDLE}|Guest"
    of_first = {k: v for k, v in job.get_tags_for_partition_key(first, None).items() if k != "dagster/partition"}
    span = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}

    def made(partition: str | None, tags: dict[str, str]) -> list[str]:
        result = job.execute_in_process(
            instance=used,
            partition_key=partition,
            tags=tags,
            asset_selection=[dg.AssetKey("completion_rates")],
            run_config=QUIET,
        )
        return sorted(str(event.partition) for event in result.get_asset_materialization_events())

    with instance_of(home) as used:
        assert made(None, {**of_first, **span}) == [first, last]
        assert made(last, {}) == [last]


# ---- one at a time

_HOLD = """
import sys, time
from hapi_pipeline.operations import at_work
from hapi_pipeline.settings import Home
from pathlib import Path
with at_work(Home(Path(sys.argv[1])), who="the first"):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def start_holder(home: Home, seconds: float) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", _HOLD, str(home.root), str(seconds)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=project_root())
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_run_waits_for_the_process_that_has_the_home(bare: Home, instance: dg.DagsterInstance) -> None:
    holder = start_holder(bare, 2.0)
    try:
        assert "the first" in (busy_with(bare) or "")
        said: list[str] = []
        with at_work(bare, wait=60, say=said.append):
            assert holder.wait(10) == 0  # it had ended before this one began
        assert len(said) == 1
        assert "the first" in said[0]
    finally:
        holder.kill()
    assert busy_with(bare) is None


def test_who_does_not_wait_is_told_who_is_at_work(bare: Home) -> None:
    holder = start_holder(bare, 60)
    try:
        with pytest.raises(UserError, match=f"process {holder.pid}, the first"), at_work(bare):
            pass
    finally:
        holder.kill()
        holder.wait()
    with at_work(bare):  # a lock does not outlive its process
        pass


def test_a_run_of_the_daemon_and_a_command_do_not_interleave(home: Home, instance: dg.DagsterInstance) -> None:
    """A run that finds the home busy waits in its own process, and fails with a sentence when that takes too long."""
    holder = start_holder(home, 60)
    job, one = build_defs(home).resolve_job_def("summarise"), [dg.AssetKey("cycle_curves")]
    try:
        result = job.execute_in_process(
            instance=instance,
            raise_on_error=False,
            tags={"hapi/wait_minutes": "0.02"},
            run_config=QUIET,
            asset_selection=one,
        )
    finally:
        holder.kill()
        holder.wait()
    assert not result.success
    failed = [e for e in result.all_events if e.is_failure]
    assert any("is at work on" in str(e.event_specific_data) for e in failed)
    assert job.execute_in_process(instance=instance, run_config=QUIET, asset_selection=one).success


QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@pytest.mark.parametrize(("tag", "seconds"), [("5", 300.0), ("nonsense", patience({})), (None, patience({}))])
def test_how_long_a_run_waits(tag: str | None, seconds: float) -> None:
    assert patience({} if tag is None else {"hapi/wait_minutes": tag}) == seconds


# ---- after a kill

_LIVE = """
import sys, time
import dagster as dg
from hapi_pipeline.checks.catalogue import rules
from hapi_pipeline.checks.inline import register_of
from hapi_pipeline.checks.register import bring_up_to_date
from hapi_pipeline.dead_runs import alive
with dg.DagsterInstance.from_ref(dg.DagsterInstance.local_temp(sys.argv[1]).get_ref()) as instance:
    with alive(instance, sys.argv[2]):
        print("alive", flush=True)
        time.sleep(60)
"""


def test_a_run_whose_process_is_killed_is_closed_and_a_living_one_is_not(
    bare: Home, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    killed, living, mine = (
        instance.create_run_for_job(idle, status=dg.DagsterRunStatus.STARTED).run_id for _ in range(3)
    )
    processes = []
    for run_id in (killed, living):
        words = [sys.executable, "-c", _LIVE, str(tmp_path / "instance"), run_id]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=project_root())
        assert process.stdout is not None
        assert process.stdout.readline() == "alive\n"
        processes.append(process)
    try:
        with alive(instance, mine):
            assert bury_killed_runs(instance) == []
            processes[0].send_signal(signal.SIGKILL)
            processes[0].wait()
            assert bury_killed_runs(instance) == [killed]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    run = instance.get_run_by_id(killed)
    assert run is not None
    assert run.status == dg.DagsterRunStatus.FAILURE
    events = [e.message for e in instance.all_logs(killed)]
    assert any("was killed" in message and "only the rest" in message for message in events)


def test_a_run_that_never_showed_a_sign_of_life_is_closed_after_a_while(
    bare: Home, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = instance.create_run_for_job(idle, status=dg.DagsterRunStatus.STARTING)
    instance.handle_new_event(_started(run))
    assert bury_killed_runs(instance) == []
    later = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: later)
    assert bury_killed_runs(instance) == [run.run_id]


def test_a_run_that_ends_well_lets_go_of_its_file_before_it_says_so(
    bare: Home, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = instance.create_run_for_job(idle, status=dg.DagsterRunStatus.STARTING)
    instance.handle_new_event(_started(run))
    later = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: later)
    monkeypatch.setattr(time, "sleep", lambda _: instance.report_run_canceled(run))  # what ends it is of no matter
    assert bury_killed_runs(instance) == []


def _started(run: dg.DagsterRun) -> Any:
    from dagster._core.events import DagsterEvent, DagsterEventType
    from dagster._core.events.log import EventLogEntry

    event = DagsterEvent(DagsterEventType.RUN_START.value, run.job_name)
    entry: Any = EventLogEntry
    return entry(None, 10, "", run.run_id, time.time(), None, run.job_name, event)


def test_the_home_of_the_tests_is_a_copy(home: Home, made: Home) -> None:
    assert Lake(home.lake).imports() == Lake(made.lake).imports()
    assert os.environ["HAPI_HOME"] == str(home.root)
