"""Real Ray and real Spark: the same files to the byte, and a worker that is killed costs another try, not a row."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hapi_pipeline.lake import Lake
from hapi_pipeline.results import BY_CELL
from tests.engines.conftest import CURATION, digests, scopes_of
from tests.engines.engine_at_work import DYING

EVERY = [*CURATION, *BY_CELL]


def lacking(engine: str) -> str | None:
    module = {"ray": "ray", "spark": "pyspark"}[engine]
    if importlib.util.find_spec(module) is None:
        return f"needs the extra {engine}: pip install 'hapi-pipeline[{engine}]'"
    if engine == "spark" and not (shutil.which("java") or os.environ.get("JAVA_HOME")):
        return "needs Java 17: apt-get install openjdk-17-jre-headless"
    return None


@pytest.mark.parametrize("engine", ["ray", "spark"])
def test_every_partitioned_table_is_the_same_although_workers_die(
    made_here: Lake, tmp_path: Path, repository: Path, engine: str
) -> None:
    if why := lacking(engine):
        pytest.skip(why)
    home, marks = tmp_path / "home", tmp_path / "marks"
    shutil.copytree(made_here.root.parent, home)
    marks.mkdir()
    before = {table: digests(made_here, table) for table in EVERY}
    code = "from tests.engines.engine_at_work import main; main()"  # so that workers find its functions by name
    command = [sys.executable, "-c", code, engine, str(home), str(marks), "100", *EVERY]
    path = os.pathsep.join(filter(None, [str(repository), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["name"], told["elsewhere"], told["cores"]) == (engine, True, ["1"])
    assert {path.name for path in marks.iterdir()} == set(DYING)  # a worker died in each of them
    lake = Lake(home / "lake")
    assert {table: digests(lake, table) for table in EVERY} == before
    for table in EVERY:
        assert told[table] == [made_here.read(table, scope).num_rows for scope in scopes_of(table)], table
    assert not list(home.rglob("*.part"))
    assert not list((home / ".cache").glob("parts/*"))
    assert told["error"][0] == "The second one cannot be made."
    assert "in a worker" in told["error"][1]
