"""graders.yaml: pseudonyms and qualifications, and nothing that says who a person is."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from hapi_pipeline.registry import Grader, Grading, Registry
from hapi_pipeline.settings import UserError, shipped


def graders(folder: Path, entries: Any) -> tuple[Grader, ...]:
    (folder / "graders.yaml").write_text(yaml.safe_dump({"graders": entries}))
    return Registry(folder).graders


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    entry = {
        "id": "grader-01",
        "categories": ["Writing"],
        "job_success_score": 98,
        "badge": "top_rated",
        "hours": 1200,
        "active_from": date(2026, 1, 15),
        "active_until": "2026-12-31",
        "max_open": 20,
        "languages": ["en"],
        "label_studio": 7,
    }
    assert graders(tmp_path, [entry, {"id": "ann"}, {"id": 7}]) == (
        Grader(
            "grader-01",
            ("Writing",),
            98.0,
            "top_rated",
            1200.0,
            date(2026, 1, 15),
            date(2026, 12, 31),
            20,
            ("en",),
            "7",
        ),
        Grader("ann"),
        Grader("7"),
    )
    assert graders(tmp_path, []) == ()
    (tmp_path / "graders.yaml").unlink()
    assert Registry(tmp_path).graders == ()


def test_nobody_is_registered_as_shipped_and_the_sample_has_its_own() -> None:
    assert Registry(shipped("data/registry")).graders == ()
    assert len(Registry(shipped("data/sample")).graders) == 12


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ("ann", "must be a list"),
        (["ann"], "with an id"),
        ([{}], "with an id"),
        ([{"id": "jane@example.org"}], "e-mail"),
        ([{"id": "Jane Doe"}], "person's name"),
        ([{"id": "jane doe"}], "person's name"),
        ([{"id": "jane-doe"}], "person's name"),
        ([{"id": "jane_van_doe"}], "person's name"),
        ([{"id": "../etc"}], "no id"),
        ([{"id": "-"}], "no id"),
        ([{"id": "a" * 41}], "no id"),
        ([{"id": ""}], "no id"),
        ([{"id": "con\n"}], "no id"),
        ([{"id": "g1"}, {"id": "g1"}], "twice"),
        ([{"id": "g1", "name": "Jane"}], "'name'"),
        ([{"id": "g1", "email": "x@y.z"}], "'email'"),
        ([{"id": "g1", 3: "x"}], "'3'"),
        ([{"id": "g1", "categories": "Writing"}], "categories"),
        ([{"id": "g1", "hours": -1}], "hours"),
        ([{"id": "g1", "hours": True}], "hours"),
        ([{"id": "g1", "job_success_score": "high"}], "job_success_score"),
        ([{"id": "g1", "active_from": "soon"}], "YYYY-MM-DD"),
        ([{"id": "g1", "max_open": 0}], "max_open"),
        ([{"id": "g1", "max_open": 1.5}], "max_open"),
        ([{"id": "g1", "languages": "en"}], "languages"),
    ],
)
def test_an_entry_that_is_none_is_refused_in_a_sentence(tmp_path: Path, entries: Any, said: str) -> None:
    with pytest.raises(UserError, match=r"^graders\.yaml") as refusal:
        graders(tmp_path, entries)
    assert said in str(refusal.value)
    assert str(refusal.value).endswith(".")


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    (tmp_path / "benchmark.yaml").write_bytes((shipped("data/registry") / "benchmark.yaml").read_bytes())
    return tmp_path


def grading(folder: Path, section: Any) -> Grading:
    path = folder / "benchmark.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"grading": section}))
    return Registry(folder).benchmark.grading


def test_the_rules_of_grading(rules: Path) -> None:
    assert Registry(rules).benchmark.grading == Grading() == grading(rules, None)
    section = {"min_job_success_score": 90, "badges": ["top"], "min_hours": 5, "double_share": 1, "due_days": 3}
    assert grading(rules, section | {"seed": 7}) == Grading(90.0, ("top",), 5.0, 1.0, 3, "7")


@pytest.mark.parametrize(
    "section",
    [
        {"double_share": 1.1},
        {"double_share": "half"},
        {"double_share": True},
        {"due_days": 0},
        {"due_days": 1.5},
        {"min_hours": -1},
        {"badges": "top"},
        {"share": 0.2},
        ["x"],
    ],
)
def test_rules_that_are_none_are_refused(rules: Path, section: Any) -> None:
    with pytest.raises(UserError, match=r"benchmark\.yaml"):
        grading(rules, section)
