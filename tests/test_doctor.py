"""`hapi doctor` finds what is broken in a home and says what to do; `hapi prune` shortens the history of runs only."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from hapi_pipeline import doctor, prune
from hapi_pipeline.agents.ledger import AttemptLedger, Result
from hapi_pipeline.cli import main
from hapi_pipeline.doctor import NOTE, OK, PROBLEM, Finding, Look
from hapi_pipeline.lake import Lake
from hapi_pipeline.operations import at_work, instance_of
from hapi_pipeline.registry import Model
from hapi_pipeline.settings import Home
from tests import scenario

EXTERNAL = Model("Someone", None, agent_profile="external")
MODELS_YAML = "models:\n- {name: Someone, agent_profile: external}\n"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with posts, rubrics, verdicts, and an attempt with a file."""
    home = Home(tmp_path_factory.mktemp("sound") / "home").ensure()
    (home.registry / "models.yaml").write_text(MODELS_YAML)
    lake, work = Lake(home.lake), home.root.parent / "work.txt"
    scenario.take_in(lake, "jobs", "job_exports", scenario.POSTS)
    said = [scenario.verdict("a1", "Someone", "agent_alone", "good-1", ("c1", "g1", True), 1)]
    scenario.take_in(lake, "verdicts", "verdict_exports", said)
    lake.write("job_posts", scenario.table_of("job_posts", scenario.POSTS), scenario.SCOPE)
    work.write_text("what was asked for")
    result = submitted(home, work)
    row = scenario.attempt("Someone", "agent_alone", "good-1", attempt_id=result.attempt_id)
    scope = {**scenario.SCOPE, "model": "Someone", "round": "agent_alone"}
    lake.write("attempts", scenario.table_of("attempts", [row]), scope)
    return home


def submitted(home: Home, work: Path) -> Result:
    return AttemptLedger(home.attempts).add_external(
        job_id="good-1", model=EXTERNAL, round="agent_alone", turn=0, arm="human", files=[("work.txt", work)],
        cost_usd=1.0, prompt_tokens=1, completion_tokens=1, seconds=1.0, finished_at=None,
    )  # fmt: skip


@pytest.fixture
def home(sound: Home, tmp_path: Path) -> Home:
    """A copy of it to break."""
    shutil.copytree(sound.root, tmp_path / "home")
    return Home(tmp_path / "home")


def found(check: doctor.Check, home: Home, *, quick: bool = False) -> dict[str, list[str]]:
    """What a check finds, by state, as `found → do`."""
    told: dict[str, list[str]] = {OK: [], NOTE: [], PROBLEM: []}
    for finding in check(Look(home, quick)):
        told[finding.state].append(f"{finding.found} → {finding.do}")
    return told


def only(told: dict[str, list[str]], state: str) -> str:
    """The one finding of that state."""
    (text,) = told[state]
    return text


def one(home: Home, pattern: str) -> Path:
    return next(iter(sorted(home.root.glob(pattern))))


def flip(path: Path, at: int) -> None:
    """Change one byte of a file."""
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)


# ---- a sound home


SOUND = [doctor.registry, doctor.imports, doctor.results, doctor.files, doctor.inbox]


@pytest.mark.parametrize("check", SOUND, ids=lambda check: check.__name__)
@pytest.mark.parametrize("quick", [False, True])
def test_nothing_is_wrong_with_a_sound_home(check: doctor.Check, quick: bool, home: Home) -> None:
    before = {path: path.stat().st_mtime_ns for path in home.root.rglob("*")}
    told = found(check, home, quick=quick)
    assert (told[PROBLEM], told[NOTE]) == ([], [])
    assert told[OK]
    assert {path: path.stat().st_mtime_ns for path in home.root.rglob("*")} == before


# ---- the ledgers


def test_a_damaged_ledger_is_told_with_what_to_do(home: Home) -> None:
    flip(one(home, "lake/job_exports/*/*.parquet"), 10)
    text = only(found(doctor.imports, home), PROBLEM)
    assert text.startswith("1 damaged ledger file(s): job_exports/cohort=")
    assert "Restore" in text


def test_a_truncated_or_empty_file_is_told(home: Home) -> None:
    path = one(home, "lake/verdict_exports/*/*/*.parquet")
    for data in (path.read_bytes()[:-20], b"", b"PAR1"):
        path.write_bytes(data)
        assert "is no readable Parquet file" in only(found(doctor.imports, home), PROBLEM)


def test_a_damaged_partition_can_be_remade(home: Home) -> None:
    flip(one(home, "lake/job_posts/*/data.parquet"), 10)
    assert "hapi rebuild --write" in only(found(doctor.imports, home), PROBLEM)


def test_a_look_at_sizes_only_does_not_see_changed_pages(home: Home) -> None:
    flip(one(home, "lake/job_exports/*/*.parquet"), 10)
    told = found(doctor.imports, home, quick=True)
    assert told[PROBLEM] == []
    assert "not read through" in only(told, OK)


def test_rows_that_an_import_lost_are_counted(home: Home) -> None:
    one(home, "lake/job_exports/*/*.parquet").unlink()
    assert f"(0 of {len(scenario.POSTS)} rows in job_exports)" in only(found(doctor.imports, home), PROBLEM)


def changed(folder: Path) -> None:
    (folder / "deliverables" / "work.txt").write_text("what was not made so")


def other_text(folder: Path) -> None:
    flip(folder / "deliverables" / "work.txt", 0)


def missing(folder: Path) -> None:
    (folder / "deliverables" / "work.txt").unlink()


def link(folder: Path) -> None:
    missing(folder)
    (folder / "deliverables" / "work.txt").symlink_to("/etc/hostname")


def moved(folder: Path) -> None:
    folder.rename(folder.with_name(folder.name[:-1] + ("0" if folder.name[-1] != "0" else "1")))


def torn(folder: Path) -> None:
    (folder / "result.json").write_text('{"attempt_id": ')


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (changed, "not as large"),
        (other_text, "is not what was handed in"),
        (missing, "is missing"),
        (link, "not as large"),
        (moved, "of another attempt"),
        (torn, "unreadable result.json"),
    ],
)
def test_an_attempt_that_is_not_what_its_record_says(harm: Callable[[Path], None], says: str, home: Home) -> None:
    harm(one(home, "attempts/*/*/*-at_*"))
    assert says in only(found(doctor.results, home), PROBLEM)


def test_an_attempt_that_is_not_finished_is_no_problem(home: Home) -> None:
    (one(home, "attempts/*/*/*-at_*") / "result.json").unlink()
    told = found(doctor.results, home)
    assert told[PROBLEM] == []
    assert "begun and not finished" in only(told, NOTE)


# ---- files


def test_a_packet_that_is_not_there(home: Home) -> None:
    lake = Lake(home.lake)
    row = lake.read("packets").to_pylist()
    if not row:
        row = [packet("pk_1")]
        lake.write(
            "packets", scenario.table_of("packets", row), {**scenario.SCOPE, "model": "M", "round": "agent_alone"}
        )
    assert "packets/pk_1" in only(found(doctor.files, home), PROBLEM)


def packet(name: str) -> dict[str, Any]:
    return {
        "packet_id": name, **scenario.SCOPE, "model": "M", "round": "agent_alone", "job_id": "good-1",
        "attempt_id": "a", "rubric_version": "v", "n_criteria": 1, "n_deliverables": 1, "packet_sha256": "0" * 64,
        "folder": f"packets/{name}", "issued_at": scenario.NOON, "flags": [], "simulated": True,
    }  # fmt: skip


def test_what_no_table_names_is_a_note(home: Home) -> None:
    (home.packets / "pk_other").mkdir()
    (home.lake / "old_table").mkdir()
    (home.lake / "job_exports" / "cohort=2026-03" / "broken-off.parquet").write_bytes(b"PAR1")
    shutil.rmtree(home.lake / "attempts")
    told = found(doctor.files, home)
    assert told[PROBLEM] == []
    assert len(told[NOTE]) == 4
    for words in ("packets/pk_other", "old_table", "broken-off.parquet", "of jobs or models that left"):
        assert any(words in text for text in told[NOTE])


def test_leftovers_count_once_nobody_can_be_writing_them(home: Home) -> None:
    left = [
        home.lake / "rubrics" / ".data.parquet.0.part",
        home.registry / "models.yaml.new",
        home.packets / "pk_1.old",
    ]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    assert list(doctor.leftovers(home)) == []
    for path in left:
        os.utime(path, (time.time() - 7200,) * 2)
    assert sorted(doctor.leftovers(home)) == sorted(left)
    assert "3 leftover(s)" in only(found(doctor.files, home), NOTE)


def test_refused_files_in_the_inbox(home: Home) -> None:
    refused = home.inbox / "refused"
    refused.mkdir()
    (refused / "bad\x1b[2J.csv").write_text("")
    (refused / "bad\x1b[2J.csv.txt").write_text("why")
    text = only(found(doctor.inbox, home), PROBLEM)
    assert text.startswith("1 refused file(s): bad [2J.csv")
    assert "\x1b" not in text


# ---- registry, models, keys


@pytest.mark.parametrize("name", ["benchmark.yaml", "models.yaml", "graders.yaml", "sources/canonical.yaml"])
def test_a_registry_file_that_does_not_load(name: str, home: Home) -> None:
    (home.registry / name).write_text("a: [")
    text = only(found(doctor.registry, home), PROBLEM)
    assert f"{name} does not load" in text
    assert "Mend" in text


PAID = """models:
- {name: Paid, litellm: a/b, api_key_env: HAPI_TEST_KEY, prices: [{from: 2020-01-01, input: 1, output: 2}]}
"""


@pytest.mark.parametrize(
    ("key", "says"),
    [(None, "HAPI_TEST_KEY is not set"), ("", "HAPI_TEST_KEY is not set"), ("sk-secret-123\n", "a line break")],
)
def test_a_key_that_is_missing_or_torn(key: str | None, says: str, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    (home.registry / "models.yaml").write_text(PAID)
    monkeypatch.delenv("HAPI_TEST_KEY", raising=False)
    if key is not None:
        monkeypatch.setenv("HAPI_TEST_KEY", key)
    assert says in only(found(doctor.models, home), PROBLEM)


def test_a_key_is_never_shown(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    (home.registry / "models.yaml").write_text(PAID)
    monkeypatch.setenv("HAPI_TEST_KEY", "sk-secret-123")
    told = found(doctor.models, home)
    assert told[PROBLEM] == []
    assert any("HAPI_TEST_KEY" in text for text in told[OK])
    assert "secret" not in str(told)


def test_a_model_without_a_price(home: Home) -> None:
    (home.registry / "models.yaml").write_text("models:\n- {name: Free, litellm: a/b}\n")
    assert "has no price" in only(found(doctor.models, home), PROBLEM)


def test_a_retired_model_needs_nothing(home: Home) -> None:
    (home.registry / "models.yaml").write_text("models:\n- {name: Old, litellm: a/b, retired: true}\n")
    assert found(doctor.models, home)[PROBLEM] == []


# ---- software, disk, Dagster


def test_packages_are_held_against_the_lock() -> None:
    from importlib.metadata import version

    there = version("dagster")
    assert list(doctor.unlike_lock(f"dagster=={there} \\\n    --hash=sha256:0\nnot_installed==9 ; x\n")) == []
    assert list(doctor.unlike_lock("Dagster==0.0.1 \\\n")) == [f"dagster {there} (locked: 0.0.1)"]


def test_the_project_has_what_it_needs() -> None:
    assert list(doctor.unmet_requirements()) == []


@pytest.mark.parametrize(("free", "state"), [(10 << 20, PROBLEM), (3 << 30, NOTE), (100 << 30, OK)])
def test_a_disk_that_is_nearly_full(free: int, state: str, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(home.root)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=free))
    assert any("free on its disk" in text for text in found(doctor.home, home)[state])


def test_somebody_at_work_is_told(home: Home) -> None:
    with at_work(home):
        assert f"process {os.getpid()} is at work" in only(found(doctor.home, home), NOTE)


def test_a_home_in_which_nothing_has_run(home: Home) -> None:
    assert "nothing has run here yet" in only(found(doctor.dagster, home), OK)
    assert not (home.dagster / "history").exists()


def test_telemetry_that_is_on_is_told(home: Home) -> None:
    (home.dagster / "dagster.yaml").write_text("nux: {enabled: false}\n")
    assert "telemetry" in only(found(doctor.dagster, home), NOTE)


def test_a_daemon_that_has_died_while_a_schedule_is_on(home: Home) -> None:
    with instance_of(home) as instance:
        heartbeat(instance, time.time() - 5)
        assert "alive" in next(doctor._daemon(instance)).found
        heartbeat(instance, time.time() - 7300)
        (finding,) = doctor._daemon(instance)
        assert (finding.state, "2 h" in finding.found) == (OK, True)
        instance.add_instigator_state(switched_on("monthly_refresh"))
        (finding,) = doctor._daemon(instance)
        assert (finding.state, "monthly_refresh" in finding.found) == (PROBLEM, True)


def switched_on(name: str) -> Any:
    """A schedule that somebody has switched on."""
    from dagster._core.definitions.run_request import InstigatorType
    from dagster._core.remote_origin import (
        InProcessCodeLocationOrigin,
        RemoteInstigatorOrigin,
        RemoteRepositoryOrigin,
    )
    from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, ScheduleInstigatorData
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

    location = InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="m"), location_name="l")
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, "r"), name)
    data = ScheduleInstigatorData("0 6 2 * *", time.time())
    return InstigatorState(origin, InstigatorType.SCHEDULE, InstigatorStatus.RUNNING, data)


def heartbeat(instance: dg.DagsterInstance, at: float) -> None:
    from dagster._daemon.types import DaemonHeartbeat

    instance.add_daemon_heartbeat(DaemonHeartbeat(at, "SENSOR", "d", []))


def run_of(instance: dg.DagsterInstance, status: dg.DagsterRunStatus, days_ago: float) -> str:
    """A run of a one-asset job that was made so long ago."""
    job = dg.define_asset_job("j").resolve(asset_graph=dg.Definitions(assets=[an_asset]).resolve_asset_graph())
    run = instance.create_run_for_job(job, status=status, tags={"hapi/started_by": "hapi"})
    then = datetime.now(UTC) - timedelta(days=days_ago)
    with instance.run_storage.connect() as connection:  # type: ignore[attr-defined]
        from dagster._core.storage.runs.schema import RunsTable

        stamps = {"create_timestamp": then.replace(tzinfo=None), "update_timestamp": then.replace(tzinfo=None)}
        connection.execute(RunsTable.update().where(RunsTable.c.run_id == run.run_id).values(**stamps))
    return run.run_id


@dg.asset
def an_asset() -> None:
    """One."""


def test_a_run_that_was_left_standing_and_one_that_failed(home: Home) -> None:
    with instance_of(home) as instance:
        run_of(instance, dg.DagsterRunStatus.STARTED, 2)
        run_of(instance, dg.DagsterRunStatus.FAILURE, 0)
        left, failed = doctor._runs(instance)
        assert "more than a day" in left.found
        assert "hapi refresh" in left.do
        assert "failed" in failed.found


@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_runs_looked_at_are_those_of_the_home(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: bool
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "")  # put back at the end, whatever is done to it
    with instance_of(home) as instance:
        run_of(instance, dg.DagsterRunStatus.FAILURE, 0)
    if elsewhere:
        monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "other"))
    else:
        monkeypatch.delenv("DAGSTER_HOME")
    told = found(doctor.dagster, home)
    assert any("failed" in text for texts in told.values() for text in texts)
    assert not (tmp_path / "other").exists()


# ---- all of it


def test_a_check_that_cannot_be_carried_out_is_a_finding(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def faints(_: Look) -> Any:
        raise RuntimeError("no strength")

    monkeypatch.setattr(doctor, "CHECKS", {"first": faints, "inbox": doctor.inbox})
    first, second = doctor.examine(Look(home))
    assert first == Finding("first", PROBLEM, "could not be looked at: RuntimeError: no strength")
    assert (second.area, second.state) == ("inbox", OK)


def test_the_command_says_it_for_people_and_for_programs(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    some = {name: doctor.CHECKS[name] for name in ("registry", "imports", "files", "inbox")}
    monkeypatch.setattr(doctor, "CHECKS", some)
    assert main(["--home", str(home.root), "doctor"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "Nothing to mend."
    flip(one(home, "lake/job_exports/*/*.parquet"), 10)
    assert main(["--home", str(home.root), "doctor"]) == 1
    out = capsys.readouterr().out
    assert "✗ 1 damaged ledger file(s)" in out
    assert "→ Restore" in out
    assert out.splitlines()[-1] == "1 problem(s) to mend."
    assert main(["--home", str(home.root), "doctor", "--format", "json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["problems"] == 1
    assert {"area", "state", "found", "do"} == set(said["findings"][0])


def test_a_folder_that_is_no_home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("doctor", "prune"):
        assert main(["--home", str(tmp_path / "nowhere"), command]) == 2
        assert "is not a home" in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()


# ---- prune


@pytest.fixture
def history(home: Home) -> dict[str, str]:
    """Runs of a year ago: one superseded, one that made a month last, one under way; and one of today."""
    with instance_of(home) as instance:
        runs = {
            "superseded": run_of(instance, dg.DagsterRunStatus.SUCCESS, 365),
            "newest": run_of(instance, dg.DagsterRunStatus.SUCCESS, 360),
            "under_way": run_of(instance, dg.DagsterRunStatus.STARTED, 360),
            "today": run_of(instance, dg.DagsterRunStatus.SUCCESS, 0),
        }
        long_ago = time.time() - 365 * 86400
        for name, month in (("superseded", "2025-01"), ("superseded", "2025-02"), ("newest", "2025-01"),
                            ("today", "2025-02")):  # fmt: skip
            materialized(instance, runs[name], month, long_ago if name != "today" else time.time())
            long_ago += 3600
    return runs


def materialized(instance: dg.DagsterInstance, run_id: str, month: str, at: float) -> None:
    made = dg.AssetMaterialization("an_asset", partition=month)
    from dagster._core.events import DagsterEventType, StepMaterializationData

    inner = dg.DagsterEvent(
        DagsterEventType.ASSET_MATERIALIZATION.value, "j", event_specific_data=StepMaterializationData(made)
    )
    entry = dg.EventLogEntry(  # type: ignore[no-untyped-call]
        error_info=None, level=20, user_message="", run_id=run_id, timestamp=at, job_name="j", dagster_event=inner
    )
    instance.store_event(entry)


def runs_of(home: Home) -> set[str]:
    with instance_of(home) as instance:
        return {record.run_id for record in instance.get_runs()}


def test_old_runs_go_unless_a_partition_rests_on_them(home: Home, history: dict[str, str]) -> None:
    with instance_of(home) as instance:
        plan = prune.plan(home, instance, datetime.now(UTC) - timedelta(days=90))
        assert plan.runs == (history["superseded"],)
        assert (plan.kept, plan.newer, plan.total) == (1, 2, 4)
        assert plan.bytes > 0
        prune.carry_out(home, instance, plan)
        assert instance.get_materialized_partitions(dg.AssetKey("an_asset")) == {"2025-01", "2025-02"}
        assert list(prune.shard(home, history["superseded"])) == []
        assert list(prune.shard(home, history["newest"]))
    assert runs_of(home) == {history[name] for name in ("newest", "under_way", "today")}


def test_the_command_changes_nothing_until_it_is_told_to(
    home: Home, history: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    lake = {path: path.stat().st_mtime_ns for path in home.lake.rglob("*")}
    assert main(["--home", str(home.root), "prune", "--older-than", "12w"]) == 0
    out = capsys.readouterr().out
    assert "Would take 1 of 4 run(s)" in out
    assert "1 as old stay" in out
    assert runs_of(home) == set(history.values())
    assert main(["--home", str(home.root), "prune", "--yes"]) == 0
    assert "Took 1 of 4 run(s)" in capsys.readouterr().out
    assert history["superseded"] not in runs_of(home)
    assert main(["--home", str(home.root), "prune", "--yes"]) == 0
    assert "None of 3 run(s) goes" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in home.lake.rglob("*")} == lake


@pytest.mark.parametrize("text", ["90", "0d", "-3d", "d", "3 d", "3m", "999999d", ""])
def test_an_age_that_is_none_is_refused(text: str, home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--home", str(home.root), "prune", f"--older-than={text}"])
    assert left.value.code == 2
    assert "is no age" in capsys.readouterr().err


def test_a_database_that_somebody_writes_in_is_left_alone(tmp_path: Path) -> None:
    import sqlite3
    from contextlib import closing

    path = tmp_path / "x.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("CREATE TABLE t (a)")
        assert prune.compact(path)
        writer.execute("BEGIN IMMEDIATE")
        assert not prune.compact(path, wait=0.05)
    assert not prune.compact(tmp_path / "none.db")
