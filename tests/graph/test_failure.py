"""Full disk, read-only lake, damaged files, errors that pass: one sentence, a next step, and the old data stays."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from hapi_pipeline.checks import inline
from hapi_pipeline.cli import main
from hapi_pipeline.definitions import build_defs
from hapi_pipeline.lake import Lake, write_bytes
from hapi_pipeline.settings import Home, UserError
from hapi_pipeline.troubles import DamagedFileError, damage, may_pass, named_trouble, writing_trouble
from tests import scenario

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning", "ignore::dagster.PreviewWarning")
MONTH = scenario.SCOPE


@pytest.fixture
def home(world: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home with the lake of the hand-made world."""
    shutil.copytree(world.root, tmp_path / "home" / "lake")
    monkeypatch.setenv("HAPI_HOME", str(tmp_path / "home"))
    return Home(tmp_path / "home").ensure()


def run(home: Home, *assets: str) -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.ephemeral() as instance:
        return (
            build_defs(home)
            .resolve_job_def("curate")
            .execute_in_process(
                instance=instance,
                raise_on_error=False,
                partition_key=MONTH["cohort"],
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                asset_selection=[dg.AssetKey([name]) for name in assets],
            )
        )


def sentence(result: dg.ExecuteInProcessResult) -> str:
    (failed,) = [e.step_failure_data for e in result.all_events if e.is_step_failure]
    assert failed.user_failure_data is not None
    return str(failed.user_failure_data.description)


def bytes_of(lake: Lake) -> dict[str, bytes]:
    return {str(p.relative_to(lake.root)): p.read_bytes() for p in lake.root.rglob("*") if p.is_file()}


# ---- damaged files


def cut_off(data: bytes) -> bytes:
    return data[: len(data) // 2]


def overwritten_within(data: bytes) -> bytes:
    return data[:40] + b"\xff" * 200 + data[240:]


DAMAGE: list[tuple[Any, str]] = [
    (lambda data: b"", "it is empty"),
    (cut_off, "it is cut off or overwritten"),
    (lambda data: b"job_id,title\n" * 20, "it is no Parquet file"),
    (overwritten_within, ""),
]
KINDS = ["empty", "cut off", "another format", "overwritten within"]


@pytest.mark.parametrize(("harm", "why"), DAMAGE, ids=KINDS)
def test_reading_a_damaged_file_names_it_and_the_next_step(home: Home, harm: Any, why: str) -> None:
    lake = Lake(home.lake)
    path = lake.path("benchmark_jobs", MONTH)
    assert damage(path) is None
    path.write_bytes(harm(path.read_bytes()))
    with pytest.raises(DamagedFileError) as told:
        lake.read("benchmark_jobs")
    assert str(told.value).startswith(f"{path} is damaged: {why}")
    assert "`hapi rebuild --table benchmark_jobs --write`" in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("harm", [d[0] for d in DAMAGE[:3]], ids=KINDS[:3])
def test_a_query_over_a_damaged_file_ends_with_2_and_one_sentence(
    home: Home, harm: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Lake(home.lake).path("benchmark_jobs", MONTH)
    path.write_bytes(harm(path.read_bytes()))
    assert main(["query", "SELECT count(*) FROM benchmark_jobs"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"hapi: {path} is damaged: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize("harm", [d[0] for d in DAMAGE], ids=KINDS)
def test_a_run_that_reads_a_damaged_file_says_so_and_leaves_what_is_there(home: Home, harm: Any) -> None:
    lake = Lake(home.lake)
    path = lake.path("curated_jobs", MONTH)
    path.write_bytes(harm(path.read_bytes()))
    before = bytes_of(lake)
    result = run(home, "job_signatures")
    assert sentence(result).startswith(f"{path} is damaged: ")
    assert sentence(result).endswith(
        "`hapi rebuild --table curated_jobs --write` makes the table anew from the ledgers."
    )
    assert bytes_of(lake) == before
    assert not [e for e in result.all_events if e.is_step_up_for_retry]  # trying again would not help


def test_a_damaged_file_of_a_ledger_is_not_said_to_be_rebuilt(home: Home) -> None:
    lake = Lake(home.lake)
    (path,) = lake.files("job_exports")
    path.write_bytes(b"")
    with pytest.raises(UserError, match="put the file back from a backup"):
        lake.read("job_exports")
    result = run(home, "job_posts")
    assert str(path.name) in sentence(result)
    assert "job_posts of 2026-03 is held back: job_exports fails the check schema" in sentence(result)


def test_an_error_that_names_another_file_is_not_explained(tmp_path: Path) -> None:
    outside = tmp_path / "elsewhere.parquet"
    outside.write_bytes(b"")
    error = OSError(f"No magic bytes found at end of file '{outside}'")
    assert named_trouble(error, tmp_path / "lake") is None
    assert named_trouble(ValueError("no file at all"), tmp_path / "lake") is None


# ---- the disk


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """The system refuses what would make a file larger, as a full disk refuses what does not fit."""
    limits, before = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


def test_a_partition_that_does_not_fit_leaves_the_old_one_and_no_leftover(lake: Lake) -> None:
    posts = [scenario.post(f"j{n}", description=os.urandom(300).hex()) for n in range(200)]
    rows = scenario.table_of(
        "benchmark_jobs",
        [r | {"rubric_version": "v", "n_criteria": 5} for r in scenario.table_of("job_exports", posts).to_pylist()],
    )
    lake.write("benchmark_jobs", rows.slice(0, 1), MONTH)
    write_bytes(lake.root / "refreshed.json", b"{}")
    before = bytes_of(lake)
    for write in (
        lambda: lake.write("benchmark_jobs", rows, MONTH),
        lambda: write_bytes(lake.root / "refreshed.json", b"1" * 100_000),
    ):
        with no_file_larger_than(40_000), pytest.raises(OSError, match="File too large") as failed:
            write()
        told = writing_trouble(failed.value, lake.root)
        assert told is not None
        assert str(failed.value.filename) in str(told)
        assert str(told).endswith("What was there before is kept.")
    assert bytes_of(lake) == before


FINAL = [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT]
PASSING = [errno.EIO, errno.ESTALE, errno.EBUSY]


class Failing:
    """Lake.write that fails with an error of the system for a number of times."""

    def __init__(self, number: int, times: int):
        self.number, self.left, self.calls, self.real = number, times, 0, Lake.write

    def __call__(self, lake: Lake, table: str, rows: pa.Table, keys: Any, inputs: str = "") -> Any:
        self.calls += 1
        if self.left:
            self.left -= 1
            raise OSError(self.number, os.strerror(self.number), str(lake.path(table, keys)))
        return self.real(lake, table, rows, keys, inputs)


def outdated(home: Home, table: str) -> None:
    lake = Lake(home.lake)
    lake.write(table, lake.read(table, MONTH), MONTH, "outdated")


@pytest.mark.parametrize("number", FINAL, ids=[errno.errorcode[n] for n in FINAL])
def test_a_full_or_read_only_disk_fails_at_once_with_one_sentence(
    home: Home, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    outdated(home, "fixed_price_jobs")
    before, failing = bytes_of(Lake(home.lake)), Failing(number, times=9)
    monkeypatch.setattr(Lake, "write", lambda *args, **more: failing(*args, **more))
    result = run(home, "fixed_price_jobs")
    assert str(Lake(home.lake).path("fixed_price_jobs", MONTH)) in sentence(result)
    assert sentence(result).endswith("then run again. What was there before is kept.")
    assert failing.calls == 1
    assert bytes_of(Lake(home.lake)) == before


@pytest.mark.parametrize("number", PASSING, ids=[errno.errorcode[n] for n in PASSING])
def test_what_may_pass_is_tried_again(home: Home, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(inline, "_WAIT", 0.0)
    outdated(home, "fixed_price_jobs")
    failing = Failing(number, times=inline.TRIES)
    monkeypatch.setattr(Lake, "write", lambda *args, **more: failing(*args, **more))
    assert run(home, "fixed_price_jobs").success
    assert failing.calls == inline.TRIES + 1


def test_it_is_tried_again_only_so_often(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inline, "_WAIT", 0.0)
    outdated(home, "fixed_price_jobs")
    failing = Failing(errno.EIO, times=99)
    monkeypatch.setattr(Lake, "write", lambda *args, **more: failing(*args, **more))
    assert not run(home, "fixed_price_jobs").success
    assert failing.calls == inline.TRIES + 1


def test_a_wrong_program_is_not_tried_again(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    outdated(home, "fixed_price_jobs")
    calls: list[int] = []

    def wrong(*args: Any, **more: Any) -> Any:
        calls.append(1)
        raise KeyError("a mistake of ours")

    monkeypatch.setattr(Lake, "write", wrong)
    assert not run(home, "fixed_price_jobs").success
    assert len(calls) == 1


def test_no_error_is_both_final_and_passing() -> None:
    for number in (*FINAL, *PASSING):
        error = OSError(number, os.strerror(number))
        assert may_pass(error) == (number in PASSING)
        assert (writing_trouble(error, Path("/lake")) is not None) == (number in FINAL)


def test_the_command_ends_with_2_where_the_disk_is_full(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(home.lake / "imports" / ".x.json.0a.part"))

    monkeypatch.setattr("hapi_pipeline.engine.read_only_query", full)
    assert main(["query", "SELECT 1"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"hapi: The disk is full: {home.lake}/imports/x.json could not be written. Free some space")
