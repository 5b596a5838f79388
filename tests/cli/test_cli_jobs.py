"""`hapi jobs export` and the way back: from a curated home to an external agent's author and in again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from hapi_pipeline.cli import main
from tests.cli.conftest import MODELS, QUALIFYING, Hapi, write_world


@pytest.fixture(scope="module")
def curated_stock(stock: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The eight jobs, curated once, with an external model registered."""
    home = tmp_path_factory.mktemp("curated") / "home"
    shutil.copytree(stock / "home", home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HAPI_HOME", "")
        patch.setenv("DAGSTER_HOME", "")
        assert main(["--home", str(home), "models", "add", "Elsewhere", "--external"]) == 0
        assert main(["--home", str(home), "curate"]) == 0
    return home


@pytest.fixture
def curated(curated_stock: Path, home: Path) -> Path:
    """A copy of it, to be changed."""
    shutil.copytree(curated_stock, home)
    return home


def test_an_external_agents_work_goes_out_as_briefs_and_comes_back(hapi: Hapi, curated: Path, tmp_path: Path) -> None:
    out = tmp_path / "briefs"
    code, said, _ = hapi("jobs", "export", "--out", out, "--model", "Elsewhere", "--cohort", "2025-03")
    assert (code, said.startswith("4 brief(s) for agent_alone")) == (0, True)
    rows = [json.loads(line) for line in (out / "manifest_template.jsonl").read_text().splitlines()]
    assert sorted(row["job_id"] for row in rows) == ["J1", "J2", "J3", "J4"]
    assert hapi("import", "attempts", out)[0] == 1, "the template itself hands nothing in"
    rows[0]["deliverables"] = []
    (out / "manifest.jsonl").write_text(json.dumps(rows[0] | {"mood": "good"}))
    code, said, _ = hapi("import", "attempts", out)
    assert (code, said) == (0, "1 attempt(s) taken in; kept aside: mood.\n")
    assert hapi("import", "attempts", out)[1].endswith("imported before, nothing changed.\n")


def test_models_and_explain_say_why_a_job_is_not_attempted(hapi: Hapi, curated: Path) -> None:
    _, said, _ = hapi("models")
    assert "awaited" in said
    _, said, _ = hapi("explain", "J1")
    assert "Not attempted" in said
    assert "its author has handed in nothing yet" in said
    assert "there is no attempt of agent_alone to follow up" in said
    assert "Not attempted" not in hapi("explain", "J7")[1], "a job that is out of the benchmark is not waited for"


@pytest.mark.parametrize(
    "words",
    [
        ("--round", "feedback_1"),
        ("--round", "nowhere"),
        ("--model", "Nobody"),
        ("--cohort", "1999-01"),
        ("--cohorts", "soon"),
    ],
)
def test_a_bad_request_is_one_sentence_and_writes_nothing(
    hapi: Hapi, curated: Path, tmp_path: Path, words: tuple[str, str]
) -> None:
    code, out, err = hapi("jobs", "export", "--out", tmp_path / "briefs", *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert not (tmp_path / "briefs").exists()


def test_before_anything_is_curated_there_is_nothing_to_export(hapi: Hapi, stocked: Path, tmp_path: Path) -> None:
    code, _, err = hapi("jobs", "export", "--out", tmp_path / "briefs")
    assert (code, "no benchmark jobs" in err, (tmp_path / "briefs").exists()) == (2, True, False)


def test_what_a_ceiling_leaves_is_told_with_the_reason(hapi: Hapi, curated: Path) -> None:
    (curated / "registry" / "models.yaml").write_text(MODELS)
    write_world(curated / "simulator" / "world")
    code, said, err = hapi("refresh", "--max-usd", "0.003")
    assert (code, "attempts are left for the next run" in said) == (1, True), err
    told = [hapi("explain", job)[1] for job in QUALIFYING]
    left = [text for text in told if "due and not made: The ceiling of" in text]
    assert 0 < len(left) < len(QUALIFYING)
    _, said, _ = hapi("models")
    assert f"{len(QUALIFYING) - len(left)}" in next(line for line in said.splitlines() if "agent_alone" in line)
    assert "left" in said
