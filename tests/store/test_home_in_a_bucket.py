"""A home in an object store through the command line: a machine dies in the middle of a refresh, another goes on."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from bench.object_store import differing
from bench.s3_server import KEY, SECRET, Server
from hapi_pipeline import copies
from hapi_pipeline.cli import main
from hapi_pipeline.copies import open_copy
from hapi_pipeline.lease import LEASE_VARIABLE, holder
from hapi_pipeline.operations import at_work
from hapi_pipeline.settings import find_home
from hapi_pipeline.store import ObjectStore, Seen
from tests.cli.conftest import MODELS, write_jobs, write_rubrics, write_world

LEASE_SECONDS = "6"


@dataclass
class Story:
    """One home in a bucket, and what was said on each machine."""

    address: str
    folder: Path
    said: dict[str, tuple[int, str, str]] = field(default_factory=dict)
    results: dict[str, dict[str, Seen]] = field(default_factory=dict)

    def on(self, machine: str) -> None:
        copies._open.clear()
        os.environ["HAPI_WORK"] = str(self.folder / machine)

    def do(self, step: str, *words: object) -> None:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(["--home", self.address, *map(str, words)])
        self.said[step] = (code, out.getvalue(), err.getvalue())

    def note_results(self, step: str) -> None:
        found = ObjectStore(self.address).listed("attempts")
        self.results[step] = {name: seen for name, seen in found.items() if name.endswith("/result.json")}


@pytest.fixture(scope="module")
def story(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("bucket")
    with pytest.MonkeyPatch.context() as patch:
        more = {"HAPI_HOME": "", "DAGSTER_HOME": "", "HAPI_WORK": "", LEASE_VARIABLE: LEASE_SECONDS}
        for name, value in {**server.environment, **more}.items():
            patch.setenv(name, value)
        patch.setattr(copies, "_open", {})
        yield _told(Story(f"s3://{server.bucket}/{folder.name}", folder))


def _told(story: Story) -> Story:
    folder = story.folder
    story.on("a")
    story.do("jobs", "import", "jobs", write_jobs(folder / "jobs.csv"), "--source", "canonical")
    story.do("rubrics", "import", "rubrics", write_rubrics(folder / "rubrics.csv"))
    home = find_home(story.address)
    (home.registry / "models.yaml").write_text(MODELS)
    rules = home.registry / "benchmark.yaml"
    rules.write_text(re.sub("(?m)^rounds: .*", "rounds: [agent_alone]", rules.read_text()))  # the others add only time
    write_world(home.root / "simulator" / "world")
    home.send()

    running = subprocess.Popen(
        [sys.executable, "-m", "hapi_pipeline.cli", "refresh", "--home", story.address],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    _until(lambda: _some_result(story) or running.poll() is not None)
    story.on("b")
    story.do("second writer", "refresh")
    running.kill()
    running.wait()
    story.note_results("killed")
    _until(lambda: holder(open_copy(story.address)) is None)
    story.do("refresh", "refresh")
    story.note_results("refreshed")

    models = find_home(story.address).registry / "models.yaml"
    second = yaml.safe_load(MODELS)["models"][0] | {"name": "Sim Y", "litellm": "hosted_vllm/sim-y"}
    models.write_text(models.read_text() + yaml.safe_dump([second]))
    story.do("backfill", "backfill", "--model", "Sim Y")
    story.note_results("backfilled")
    with at_work(find_home(story.address)):
        story.on("d")
        story.do("second publisher", "feed")
    story.do("feed", "feed")
    story.on("c")
    story.do("query", "query", "SELECT model, sum(n_attempted) n FROM completion_rates GROUP BY model ORDER BY model")
    return story


def _some_result(story: Story) -> bool:
    story.note_results("now")
    return bool(story.results["now"])


def _until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("second", ["second writer", "second publisher"])
def test_a_second_writer_on_another_machine_is_refused(story: Story, second: str) -> None:
    code, out, err = story.said[second]
    assert (code, out) == (2, "")
    assert err.startswith("hapi: Another hapi command (process ")
    assert err.endswith(f") is at work on {story.address}; wait for it or stop it.\n")


def test_another_machine_goes_on_where_the_first_was_killed(story: Story) -> None:
    code, out, err = story.said["refresh"]
    assert code == 0, err
    assert "Refreshed 2 month(s), 2025-03 to 2025-04" in out
    killed, refreshed = story.results["killed"], story.results["refreshed"]
    assert 0 < len(killed) <= len(refreshed) == 6
    assert {name: refreshed[name] for name in killed} == killed, "no finished attempt was made again"


def test_a_backfill_adds_its_models_attempts(story: Story) -> None:
    assert story.said["backfill"][0] == 0
    refreshed, backfilled = story.results["refreshed"], story.results["backfilled"]
    assert len(backfilled) == 12
    assert {name: backfilled[name] for name in refreshed} == refreshed


def test_what_is_published_is_in_the_bucket_when_the_command_ends(story: Story) -> None:
    code, _, err = story.said["feed"]
    assert code == 0, err
    fed = ObjectStore(story.address).read("releases/feed/v1/leaderboard.json")
    assert fed is not None
    assert b"Sim Y" in fed[0]


def test_a_machine_that_only_asks_copies_no_table(story: Story) -> None:
    code, out, _ = story.said["query"]
    assert code == 0
    assert [line.split()[:2] for line in out.splitlines() if line.startswith("Sim")] == [["Sim", "X"], ["Sim", "Y"]]
    assert list((story.folder / "c").rglob("*.parquet")) == []


def test_a_disk_has_the_same_rows_in_the_same_pages(story: Story) -> None:
    story.on("b")
    count, others = differing(find_home(story.address))
    assert count > 90
    assert others == []


def test_no_key_is_written_or_said_anywhere(story: Story) -> None:
    said = "".join(out + err for _, out, err in story.said.values()).encode()
    kept = [path.read_bytes() for path in story.folder.rglob("*") if path.is_file()]
    assert len(kept) > 100
    for secret in (KEY.encode(), SECRET.encode()):
        assert secret not in said
        assert not [data for data in kept if secret in data]
