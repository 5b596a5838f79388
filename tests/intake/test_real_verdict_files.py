"""Files that real tools export, where they are at hand: taken in, or refused in one sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from hapi_pipeline.grading.files import read_verdict_file
from hapi_pipeline.grading.verdicts import Gradable, GradingIndex, judge
from hapi_pipeline.intake.verdicts import import_verdicts
from hapi_pipeline.lake import Lake
from hapi_pipeline.settings import UserError
from tests import scenario

EXPORTS = Path(__file__).resolve().parents[3] / "shared/real/exports"
PACKETS = {"pk_7f3a": ("J001", 2), "pk_91bb": ("J002", 1)}
pytestmark = pytest.mark.skipif(
    not EXPORTS.exists(), reason="the real exports are not part of the repository and are not at hand"
)


@pytest.fixture
def index() -> GradingIndex:
    """An index that knows the packets of the exports."""
    return GradingIndex(
        Gradable(
            packet, f"attempt of {job}", scenario.COHORT, "Alpha", "agent_alone", job, "r1", None,
            frozenset(f"{job}-C0{n}" for n in range(1, size + 1)), False,
        )
        for packet, (job, size) in PACKETS.items()
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("labelstudio_export_JSON.json", ["skipped_task"]),
        ("labelstudio_export_JSON_MIN.json", []),
        ("labelstudio_export.csv", []),
    ],
)
def test_label_studio_keeps_both_graders_and_leaves_the_skipped_task_pending(
    index: GradingIndex, name: str, codes: list[str]
) -> None:
    rows, quarantine = judge(
        read_verdict_file(EXPORTS / name), index, source_file=name, source_sha256="ab", imported_at=scenario.NOON
    )
    assert [q["code"] for q in quarantine] == codes
    said: dict[str, Mapping[str, bool | None]] = {}
    for row in rows:
        if not row["criterion_id"].startswith("__"):
            said[row["grader"]] = {**said.get(row["grader"], {}), row["criterion_id"]: row["passed"]}
    # nobody passed or failed the task that was skipped, so its attempt is pending
    assert said == {
        "ls-1": {"J001-C01": True, "J001-C02": False, "J002-C01": None},
        "ls-1-a2": {"J001-C01": True, "J001-C02": True},
    }
    assert {row["minutes"] for row in rows} == {12.0}
    assert {row["cohort"] for row in rows} == {scenario.COHORT}


@pytest.mark.parametrize(
    ("pattern", "number", "tool"),
    [("doccano/*", 3, "doccano"), ("prodigy*", 1, "Prodigy"), ("label_studio/*", 3, "Label Studio")],
)
def test_other_files_are_refused_by_the_name_of_their_tool(
    lake: Lake, pattern: str, number: int, tool: str, bytes_below: Callable[[Path], dict[str, str]]
) -> None:
    paths = sorted(EXPORTS.glob(pattern))
    assert len(paths) == number
    for path in paths:
        with pytest.raises(UserError, match=f"looks like a {tool} export|is a {tool} export") as caught:
            import_verdicts(lake, [path], replies=lake.root / "replies")
        assert "\n" not in str(caught.value)
        assert path.name in str(caught.value)
    assert bytes_below(lake.root) == {}
