"""A run of attempts that is killed over and over: the provider's books and ours agree to the last step."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

from bench import kill_attempts
from hapi_pipeline.agents.ledger import AttemptLedger


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a system that knows SIGKILL")
def test_the_providers_books_and_ours_agree_after_five_kills(tmp_path: Path) -> None:
    tally, books = kill_attempts.kill_and_resume(tmp_path / "run", 16, 5, random.Random(1), forked=True)
    assert tally.kills == 5
    assert books.finished == books.files == 16
    assert (books.billed_twice, books.second_pass) == (0, 0)
    assert books.replayed, "some replies were under way when the run was killed"
    assert books.billed == books.steps
    assert books.tokens[0] == books.tokens[1]
    assert books.usd[0] == pytest.approx(books.usd[1], abs=0.005)
    assert books.clean
    begun = list((tmp_path / "run" / "attempts").rglob("steps.jsonl"))
    assert len(begun) == len(
        AttemptLedger(tmp_path / "run" / "attempts").results(kill_attempts.MODEL.key, "agent_alone")
    )
