"""Prices: what is no price is said before money is spent, and each call is priced by the list of its day."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hapi_pipeline.agents import provider, run
from hapi_pipeline.agents.ledger import AttemptLedger
from hapi_pipeline.agents.run import run_tasks
from hapi_pipeline.agents.tasks import Task
from hapi_pipeline.registry import AgentLimits, Model, Pool, Price, Registry
from hapi_pipeline.settings import UserError

TODAY = datetime.now(UTC).date()
WRITE = ("write_file", {"path": "a.md", "content": "The work."})
FINISH = ("finish", {"summary": "Done.", "deliverables": ["a.md"]})


def registry(folder: Path, entry: str) -> Registry:
    (folder / "models.yaml").write_text(f"models:\n  - {{name: M, litellm: openai/m, {entry}}}\n")
    return Registry(folder)


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ('prices: [{from: "2020-01-01", input: -1, output: 2}]', "'input' is -1"),
        ('prices: [{from: "2020-01-01", input: .nan, output: 2}]', "'input' is nan"),
        ('prices: [{from: "2020-01-01", input: 1, output: .inf}]', "'output' is inf"),
        ('prices: [{from: "2020-01-01", input: 1, output: 2, cached_read: -0.1}]', "'cached_read'"),
        ('prices: [{from: "2020-01-01", input: 1}]', "'output'"),
        ('prices: [{from: "2020-01-01", input: 1, output: 2, free: true}]', "`free`"),
        ("prices: [{from: soon, input: 1, output: 2}]", "wrong kind"),
        ("pool: {name: p, tokens_per_minute: 0}", "pool.tokens_per_minute"),
        ("pool: {name: p, concurrency: many}", "pool.concurrency"),
    ],
)
def test_what_is_no_price_or_no_limit_is_refused(entry: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"models\.yaml") as caught:
        _ = registry(tmp_path, entry).models
    assert told in str(caught.value)


def test_free_and_priced_models_survive_being_written(tmp_path: Path) -> None:
    prices = 'prices: [{from: "2020-01-01", free: true}, {from: "2021-01-01", input: 1, output: 2, cached_read: 0}]'
    found = registry(tmp_path, f"{prices}, pool: {{name: p, tokens_per_minute: 5000}}")
    [model] = found.models
    assert model.prices[0] == Price(date(2020, 1, 1), 0.0, 0.0, free=True)
    assert model.price_problem(TODAY) is None
    assert model.price_problem(date(2020, 6, 1)) is None
    found.save_models([model])
    assert Registry(tmp_path).models == (model,)


def test_the_day_decides_which_list_holds() -> None:
    model = Model("M", "openai/m", prices=(Price(date(2026, 1, 1), 1.0, 2.0), Price(date(2026, 3, 1), 3.0, 4.0)))
    assert model.price_on(date(2026, 2, 28)) == model.prices[0]
    assert model.price_on(date(2026, 3, 1)) == model.prices[1]
    assert "no price before 2026-01-01" in str(model.price_problem(date(2025, 12, 31)))


@pytest.mark.parametrize(
    ("prices", "told"),
    [
        ((), "has no price"),
        ((Price(TODAY + timedelta(days=2), 1.0, 2.0),), "no price before"),
        ((Price(date(2020, 1, 1), 0.0, 2.0),), "a price of zero"),
    ],
)
def test_a_model_whose_price_is_unknown_is_refused_before_anything_is_spent(
    prices: tuple[Price, ...], told: str, ledger: AttemptLedger, stub: Any, make_task: Callable[..., Task]
) -> None:
    server = stub(lambda n, body: (200, {}, b"{}"))
    model = replace(make_task().model, api_base=server.base, prices=prices)
    with pytest.raises(UserError, match=told):
        run_tasks([make_task(model=model)], ledger, AgentLimits())
    assert server.requests == []


def test_a_price_that_changes_during_a_run_counts_from_its_day_on(
    ledger: AttemptLedger, stub: Any, replied: Any, make_task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Clock:
            # midnight passes with the second call
            return cls(2026, 3, 1, tzinfo=tz) - timedelta(days=0 if len(server.requests) > 1 else 1)

    def script(n: int, body: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        return 200, {}, replied(WRITE) if n == 1 else replied(FINISH)

    server = stub(script)
    monkeypatch.setattr(run, "datetime", Clock)
    monkeypatch.setattr(run, "POLICY", provider.CallPolicy(tries=1))
    prices = (Price(date(2026, 2, 1), 1.0, 10.0), Price(date(2026, 3, 1), 2.0, 20.0))
    model = replace(make_task().model, api_base=server.base, prices=prices, pool=Pool("day", 1))
    [result] = run_tasks([make_task(model=model)], ledger, AgentLimits())
    dollars = (1000 * 1.0 + 100 * 10.0) / 1e6
    assert result.cost_usd == pytest.approx(dollars + 2 * dollars)
