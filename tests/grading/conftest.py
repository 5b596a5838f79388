"""A small packet, and the attempt that it stands for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hapi_pipeline.grading.packets import Criterion, PacketSpec, packet_id_for
from hapi_pipeline.grading.verdicts import Gradable, GradingIndex

CRITERIA = (
    Criterion("c01", 1, "The table lists all twelve months", "critical"),
    Criterion("c02", 2, '=SUM is used; totals are < 5 % off & "rounded"', "important"),
    Criterion("c03", 3, "Each chart has\na title and a unit", "optional"),
    Criterion("c04", 4, "No client's name is misspelt", "pitfall"),
)


@pytest.fixture
def spec(tmp_path: Path) -> PacketSpec:
    work = tmp_path / "work"
    work.mkdir()
    (work / "report.md").write_text("# Report\nThe table lists all twelve months\n")
    (work / "numbers.csv").write_text("month,total\nJan,5\n")
    return PacketSpec(
        packet_id=packet_id_for("attempt-1"),
        title="Tidy up a ledger",
        description="Twelve sheets.\nOne table, please.",
        category="Data",
        skills=("spreadsheets", "bookkeeping"),
        criteria=CRITERIA,
        rubric_version="rubric-7",
        deliverables=(work / "report.md", work / "numbers.csv"),
    )


@pytest.fixture
def make_gradable() -> Callable[..., Gradable]:
    def make(**changes: Any) -> Gradable:
        values: dict[str, Any] = {
            "packet_id": packet_id_for("attempt-1"),
            "attempt_id": "attempt-1",
            "cohort": "2026-01",
            "model": "quillmind-9",
            "round": "agent_alone",
            "job_id": "j1",
            "rubric_version": "rubric-7",
            "packet_sha256": None,
            "criteria": frozenset(c.criterion_id for c in CRITERIA),
            "simulated": False,
        }
        return Gradable(**(values | changes))

    return make


@pytest.fixture
def index(make_gradable: Callable[..., Gradable]) -> GradingIndex:
    return GradingIndex([make_gradable()])
