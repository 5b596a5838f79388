"""`hapi models check`: one call, and a sentence for each thing that can be wrong."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from hapi_pipeline.agents import check
from hapi_pipeline.agents.check import check_model
from hapi_pipeline.agents.tasks import Task
from hapi_pipeline.registry import Model, Price

SECRET = "tok-4815162342-very-secret"


@pytest.fixture
def model(make_task: Callable[..., Task], monkeypatch: pytest.MonkeyPatch) -> Model:
    monkeypatch.setenv("STUB_KEY", SECRET)
    return replace(make_task().model, api_key_env="STUB_KEY", parameters={})


@pytest.mark.parametrize("litellm_id", ["hosted_vllm/sim-one", "openai/sim-one"])
@pytest.mark.parametrize(
    ("status", "content", "told"),
    [
        (401, {"error": {"message": f"bad key {SECRET}"}}, "the key in STUB_KEY"),
        (404, {"error": {"message": "model not found"}}, "there is no model"),
        (402, {"error": {"message": "no credit"}}, "turns its calls down"),
        (429, {"error": {"message": "quota"}}, "throttling"),
        (400, {"error": {"message": "temperature is not for you"}}, "temperature is not for you"),
        (200, b"<html>welcome</html>", "is no chat completions endpoint"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence_and_no_key_is_shown(
    litellm_id: str, status: int, content: Any, told: str, model: Model, stub: Any
) -> None:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    server = stub(lambda n, body: (status, {}, data))
    done = check_model(replace(model, litellm=litellm_id, api_base=server.base), None, seconds=20.0)
    assert not done.good
    [sentence] = done.told
    assert sentence.startswith("Sim One")
    assert told in sentence
    assert SECRET not in sentence
    assert len(server.requests) == 1, "one call, whatever comes of it"


def test_a_model_that_is_fit_says_who_answered_how_fast_and_for_how_much(model: Model, stub: Any, replied: Any) -> None:
    server = stub(lambda n, body: (200, {}, replied(("ready", {"ok": True}))))
    done = check_model(replace(model, api_base=server.base), None)
    assert done.good
    assert "sim-one-2026 answered in " in done.told[0]
    assert "1,000 tokens sent, 100 received, $0.002000." in done.told[0]
    [sent] = server.requests
    assert sent["max_tokens"] <= 512
    assert len(sent["tools"]) == 1


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"talk": True}, "without calling the tool"),
        ({"usage": None}, "reported no usage"),
    ],
)
def test_a_model_that_answers_but_is_not_fit(
    changes: Mapping[str, Any], told: str, model: Model, stub: Any, replied: Any
) -> None:
    talk = replied(content="Sure, I am ready!", finish="stop")
    reply = talk if "talk" in changes else replied(("ready", {"ok": True}))
    data = {k: v for k, v in json.loads(reply).items() if k != "usage" or "usage" not in changes}
    server = stub(lambda n, body: (200, {}, json.dumps(data).encode()))
    done = check_model(replace(model, api_base=server.base), None)
    assert not done.good
    assert any(told in sentence for sentence in done.told)


def test_silence_and_closed_doors(model: Model, stub: Any) -> None:
    late = threading.Event()
    server = stub(lambda n, body: (200 + 300 * late.wait(20), {}, b"{}"))
    [sentence] = check_model(replace(model, api_base=server.base), None, seconds=0.3).told
    late.set()
    assert "no answer within" in sentence
    [sentence] = check_model(replace(model, api_base="http://127.0.0.1:9/v1"), None, seconds=20.0).told
    assert "nothing answers at http://127.0.0.1:9/v1" in sentence
    [sentence] = check_model(replace(model, litellm="nonsense-7", api_base="http://127.0.0.1:9/v1"), None).told
    assert "litellm knows no provider" in sentence


def test_a_slow_model_is_said_to_be_slow(
    model: Model, stub: Any, replied: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "_SLOW", 0.0)
    server = stub(lambda n, body: (200, {}, replied(("ready", {"ok": True}))))
    done = check_model(replace(model, api_base=server.base), None)
    assert not done.good
    assert "for a few words" in done.told[-1]


def test_what_the_registry_alone_shows_costs_no_call(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    real = replace(model, api_base=None, litellm="openai/gpt-5")
    day = date(2020, 1, 1)
    for broken, told in (
        (replace(real, prices=()), "has no price"),
        (replace(real, prices=(Price(date(2999, 1, 1), 1.0, 2.0),)), "no price before 2999-01-01"),
        (replace(real, prices=(Price(day, 0.0, 2.0),)), "a price of zero"),
        (replace(real, api_key_env="NO_SUCH_VARIABLE"), "NO_SUCH_VARIABLE"),
    ):
        done = check_model(broken, None)
        assert not done.good
        assert told in done.told[0]
    assert check_model(replace(model, litellm=None), None).good


def test_a_simulated_model_is_called_too(model: Model, simulated: Any) -> None:
    done = check_model(replace(model, api_base="simulated", api_key_env=None), simulated.base)
    assert done.good, done.told
    assert len(simulated.lines()) == 1
