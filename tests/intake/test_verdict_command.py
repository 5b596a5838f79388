"""`hapi import verdicts`: where the reply to the grader stands, and that the registry's graders are known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hapi_pipeline.cli import main
from hapi_pipeline.grading.packets import packet_id_for
from hapi_pipeline.lake import Lake
from hapi_pipeline.settings import Home
from tests import scenario

MODEL, JOB = "Alpha", "job-a"
KEYS = {"cohort": scenario.COHORT, "model": MODEL, "round": "agent_alone"}


def test_the_command_says_where_the_reply_is(
    home: Home,
    drop: Callable[[str, str], Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # the events in the UI have tests of their own, and starting Dagster takes longer than all that is tested here
    monkeypatch.setattr("hapi_pipeline.operations.report_imports", lambda *_: None)
    lake = Lake(home.lake)
    rubric = [scenario.criterion(JOB, c, i) | {"cohort": scenario.COHORT} for c, i in scenario.RUBRIC]
    lake.write("rubrics", scenario.table_of("rubrics", rubric), {"cohort": scenario.COHORT})
    lake.write("attempts", scenario.table_of("attempts", [scenario.attempt(MODEL, "agent_alone", JOB)]), KEYS)
    (home.registry / "graders.yaml").write_text("graders:\n  - {id: grader-07, label_studio: ann@example.org}\n")
    data = {
        "packet_id": packet_id_for(f"{MODEL} agent_alone {JOB}"),
        "criteria": [{"criterion_id": c, "text": "?"} for c, _ in scenario.RUBRIC],
    }
    record = data | {"id": 3, "annotation_id": 9, "annotator": "ann@example.org", "verdict_0": "Pass", "verdict_1": "?"}
    path = drop("export.json", json.dumps([record]))
    assert main(["--home", str(home.root), "import", "verdicts", str(path)]) == 1
    said = capsys.readouterr().out
    assert "1 verdicts taken in from 1 file(s)." in said
    (reply,) = (home.root / "inbox_replies").iterdir()
    assert str(reply) in said
    text = reply.read_text()
    assert "**Task 3**" in text
    assert "criterion c2 (“c2 is met”)" in text
    (row,) = lake.read("verdict_exports").to_pylist()
    assert (row["grader"], row["passed"]) == ("grader-07", True)
    assert main(["--home", str(home.root), "import", "verdicts", str(path)]) == 0
    assert "imported before" in capsys.readouterr().out
