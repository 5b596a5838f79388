"""A home with real packets: three jobs, two models, a rubric of three criteria each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import yaml

from hapi_pipeline.grading.packets import Criterion, PacketSpec, packet_id_for, write_packet
from hapi_pipeline.intake.verdicts import import_verdicts
from hapi_pipeline.lake import Lake
from hapi_pipeline.settings import Home
from tests import scenario

MODELS = ("Zephyr Nine", "Ostrich-2")
JOBS = {"job-1": "Writing", "job-2": "Writing", "job-3": "Data"}
ROUND = "agent_alone"
CRITERIA = ("c1", "c2", "c3")


class Desk:
    """The home, and what its operator and graders do."""

    def __init__(self, home: Home):
        self.home, self.lake = home, Lake(home.lake)
        self._files = 0

    def packet(self, model: str = MODELS[0], job: str = "job-1") -> str:
        return packet_id_for(self.attempt_id(model, job))

    @property
    def packets(self) -> list[str]:
        return sorted(self.packet(m, j) for m in MODELS for j in JOBS)

    @staticmethod
    def attempt_id(model: str, job: str) -> str:
        return f"{model} {ROUND} {job}"

    def graders(self, *ids: str, **grading: Any) -> None:
        """Who is registered, and the rules of grading."""
        self.registered([{"id": i} for i in ids], **grading)

    def registered(self, entries: Iterable[dict[str, Any]], **grading: Any) -> None:
        (self.home.registry / "graders.yaml").write_text(yaml.safe_dump({"graders": list(entries)}))
        path = self.home.registry / "benchmark.yaml"
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"grading": grading}))

    def rubric(self, texts: dict[str, str] | None = None, version: str = "r1") -> None:
        """Every job's rubric, under a version; packets are made of it."""
        said = {c: f"{c} is met" for c in CRITERIA} | (texts or {})
        rows = [
            scenario.criterion(job, c, "critical", text=said[c], rubric_version=version)
            for job in JOBS
            for c in CRITERIA
        ]
        scenario.take_in(self.lake, "rubrics", "rubric_exports", rows)
        current = [row | {"cohort": scenario.COHORT} for row in rows]
        self.lake.write("rubrics", scenario.table_of("rubrics", current), scenario.SCOPE)
        for model in MODELS:
            self._packets_of(model, said, version)

    def _packets_of(self, model: str, said: dict[str, str], version: str) -> None:
        work = self.home.root / "work" / model
        work.mkdir(parents=True, exist_ok=True)
        (work / "answer.md").write_text("c1 is met, c2 is met\n")
        rows = []
        for job in JOBS:
            number = self.packet(model, job)
            spec = PacketSpec(
                number,
                f"Title of {job}",
                "Please do.",
                JOBS[job],
                (),
                tuple(Criterion(c, n, said[c], "critical") for n, c in enumerate(CRITERIA, 1)),
                version,
                (work / "answer.md",),
            )
            sha = write_packet(spec, self.home.packets / number)
            rows.append(
                scenario.attempt(model, ROUND, job)
                | {"packet_id": number, "rubric_version": version, "n_criteria": len(CRITERIA), "packet_sha256": sha}
                | {"folder": f"packets/{number}", "issued_at": scenario.NOON, "flags": []}
            )
        keys = {"cohort": scenario.COHORT, "model": model, "round": ROUND}
        self.lake.write("attempts", scenario.table_of("attempts", rows), keys)
        self.lake.write("packets", scenario.table_of("packets", rows), keys)

    def hand_in(self, packet: str, grader: str, verdicts: str, role: str = "") -> None:
        """Verdicts on c1, c2, c3 as letters: p, f, ? (cannot judge) or - (left out)."""
        self.hand_in_all([(packet, grader, verdicts)], role)

    def hand_in_all(self, said: Iterable[tuple[str, str, str]], role: str = "") -> None:
        """`hand_in` for several packets and graders, in one file."""
        words = {"p": "pass", "f": "fail", "?": "cannot_judge"}
        head = "packet_id,criterion_id,passed,grader,grader_role,minutes\n"
        lines = [
            f"{packet},{c},{words[v]},{grader},{role},{10 + self._files}\n"
            for packet, grader, verdicts in said
            for c, v in zip(CRITERIA, verdicts, strict=True)
            if v != "-"
        ]
        self._files += 1
        path = self.home.root / f"handed_in_{self._files}.csv"
        path.write_text(head + "".join(lines))
        if lines:
            done, _ = import_verdicts(self.lake, [path])
            assert done is not None
            assert not done.quarantined


@pytest.fixture
def desk(home: Home) -> Desk:
    """The home as it is before anything was handed out, with nobody registered."""
    made = Desk(home)
    (home.registry / "models.yaml").write_text(yaml.safe_dump({"models": [{"name": model} for model in MODELS]}))
    made.rubric()
    jobs = [scenario.post(job, category=c, rubric_version="r1", n_criteria=3) for job, c in JOBS.items()]
    made.lake.write("benchmark_jobs", scenario.table_of("benchmark_jobs", jobs), scenario.SCOPE)
    return made
