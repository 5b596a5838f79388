"""What the environment says of engines, and what an engine promises."""

from __future__ import annotations

import importlib.util
import pickle
import subprocess
import sys

import pytest

from hapi_pipeline import engines
from hapi_pipeline.engines import EngineSettings, alone, engine_of, opened
from hapi_pipeline.engines.local import Local
from hapi_pipeline.recipes import recipes
from hapi_pipeline.settings import UserError
from hapi_pipeline.troubles import DamagedFileError


def test_without_a_word_everything_is_made_here() -> None:
    settings = EngineSettings.of({})
    assert settings == EngineSettings("local", None, None, "")
    assert engine_of(settings).name == "local"
    assert EngineSettings.of({"HAPI_ENGINE": "  "}) == settings


def test_elsewhere_large_partitions_are_split_unless_told_otherwise() -> None:
    assert EngineSettings.of({"HAPI_ENGINE": "Ray"}) == EngineSettings("ray", None, engines.SPLIT_ROWS_ELSEWHERE)
    told = {"HAPI_ENGINE": "spark", "HAPI_WORKERS": "3", "HAPI_SPLIT_ROWS": "0", "HAPI_SPARK_MASTER": "spark://a:1"}
    assert EngineSettings.of(told) == EngineSettings("spark", 3, None, "spark://a:1")
    assert EngineSettings.of({"HAPI_SPLIT_ROWS": "1000"}).split_rows == 1000


@pytest.mark.parametrize(
    ("name", "value"),
    [("HAPI_ENGINE", "dask"), ("HAPI_WORKERS", "two"), ("HAPI_SPLIT_ROWS", "-1"), ("HAPI_SPLIT_ROWS", "1e6"),
     ("HAPI_WORKERS", "٣"), ("HAPI_WORKERS", "9" * 40)],
)  # fmt: skip
def test_what_makes_no_sense_is_named(name: str, value: str) -> None:
    with pytest.raises(UserError, match=name):
        EngineSettings.of({name: value})


@pytest.mark.parametrize(("engine", "module"), [("ray", "ray"), ("spark", "pyspark")])
def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, engine: str, module: str) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=rf"needs {module}.*hapi-pipeline\[{engine}\]"):
        engine_of(EngineSettings(engine))


def test_local_work_is_done_in_order() -> None:
    assert list(Local().each(str, range(50), threads=3)) == [str(n) for n in range(50)]
    assert list(Local().each(str, [], threads=3)) == []


def test_recipes_travel_by_name() -> None:
    for recipe in recipes().values():
        assert pickle.loads(pickle.dumps(recipe)) is recipe


def fails(item: object) -> None:
    raise DamagedFileError("grades", __import__("pathlib").Path("x.parquet"), "it is empty")


class OddError(Exception):
    def __init__(self, one: int, other: int):
        super().__init__(f"{one} and {other}")


def is_odd(item: object) -> None:
    raise OddError(1, 2)


def test_errors_travel_with_their_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAPI_CORES", "1")
    sent = pickle.loads(pickle.dumps(alone(fails, 1)))
    with pytest.raises(UserError, match="is damaged: it is empty") as raised:
        opened(sent)
    assert "in a worker" in raised.value.__notes__[0]
    with pytest.raises(RuntimeError, match="OddError: 1 and 2"):
        opened(pickle.loads(pickle.dumps(alone(is_odd, 1))))
    assert opened(alone(abs, -3)) == 3


def test_a_worker_uses_one_core() -> None:
    code = (
        "import os; os.environ['HAPI_CORES'] = '1'\n"
        "from hapi_pipeline import parallel\n"
        "from hapi_pipeline.engine import connect\n"
        "parallel._in_processes = None\n"
        "print(parallel.cores(), sum(parallel.spread(abs, [-1] * 500)))\n"
        "with connect() as c: print(c.execute(\"SELECT current_setting('threads')\").fetchone()[0])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["1", "500", "1"], done.stderr
