"""Whether a model can be reached and does what an agent needs: one cheap call, and what is wrong in a sentence."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from hapi_pipeline.agents import provider
from hapi_pipeline.agents.pools import CircuitPolicy, Gate
from hapi_pipeline.agents.run import event_loop, obstacle
from hapi_pipeline.registry import Model

_SECONDS = 60.0
_SLOW = 20.0  # seconds for a few words
_MAX_TOKENS = 512  # models that think before they answer need some
_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "ready",
        "description": "Say that you can call tools.",
        "parameters": {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]},
    },
}
_MESSAGES = [
    {"role": "system", "content": "You answer with tool calls only."},
    {"role": "user", "content": "Call the tool `ready` with ok set to true."},
]


@dataclass(frozen=True)
class Checked:
    """What a check found. `told` is for people and holds no key."""

    good: bool
    told: tuple[str, ...]


def check_model(model: Model, simulated_base: str | None, seconds: float = _SECONDS) -> Checked:
    """Make one call to a model, unless the registry alone shows that it cannot be run. Costs a few hundred tokens."""
    if model.external:
        return Checked(True, (f"{model.name} is external: its attempts are imported, so there is nothing to call.",))
    problem = obstacle(model, simulated_base)
    if problem is not None:
        return Checked(False, (problem,))
    provider.prepare_litellm()
    endpoint = provider.endpoint_of(model, simulated_base)
    began = time.monotonic()
    try:
        record = asyncio.run_coroutine_threadsafe(_asked(model, endpoint, seconds), event_loop()).result()
    except provider.OperatorError as error:
        return Checked(False, (_turned_down(model, str(error)),))
    if record["event"] == "failure":
        return Checked(False, (_failed(model, record, seconds),))
    return _answered(model, record, time.monotonic() - began)


async def _asked(model: Model, endpoint: provider.Endpoint, seconds: float) -> dict[str, Any]:
    gate = Gate(model.pool.name)
    gate.adopt([model.pool], CircuitPolicy())
    policy = provider.CallPolicy(seconds=seconds, tries=1)
    cheap = replace(endpoint, max_tokens=min(endpoint.max_tokens, _MAX_TOKENS))
    return await provider.ask(cheap, _MESSAGES, [_TOOL], f"check-{time.time_ns()}", seconds, policy, gate)


def _where(model: Model) -> str:
    return f"at {model.api_base}" if model.api_base and not model.simulated else "at its provider's own address"


def _turned_down(model: Model, error: str) -> str:
    """What to do when the provider refuses every call."""
    said = f"The provider says: {error}"
    lowered = error.lower()
    if "authentication" in lowered or "permission" in lowered or "(401)" in lowered:
        what = f"{model.name}: the provider turned the key in {model.api_key_env or '(no api_key_env is set)'} down."
        return f"{what} {said}"
    if "notfound" in lowered:
        return (
            f"{model.name}: there is no model {model.litellm!r} {_where(model)}. Check `litellm` and `api_base` in "
            f"models.yaml (an address often has to end in /v1). {said}"
        )
    if "unsupportedparams" in lowered:
        return f"{model.name}: the model does not know one of its `parameters` in models.yaml. {said}"
    return f"{model.name}: the provider turns its calls down. {said}"


def _failed(model: Model, record: Mapping[str, Any], seconds: float) -> str:
    """What to do when the one call brought no reply."""
    message = record["message"]
    lowered = message.lower()
    if record["kind"] == "timeout":
        return f"{model.name}: no answer within {seconds:.0f} s {_where(model)}. Check `api_base`, or try again later."
    if "provider not provided" in lowered:
        return (
            f"{model.name}: litellm knows no provider for {model.litellm!r}; write `litellm: provider/model` in "
            "models.yaml, for example openai/gpt-5."
        )
    if "ratelimit" in lowered:
        return f"{model.name}: the provider is throttling this account or its quota is used up. It says: {message}"
    if any(words in lowered for words in ("json", "expecting value", "invalid response", "redirect")):
        return (
            f"{model.name}: what answers {_where(model)} is no chat completions endpoint. Check `api_base` (an address "
            f"often has to end in /v1). It says: {message}"
        )
    if any(words in lowered for words in ("connect", "name or service")):
        return f"{model.name}: nothing answers {_where(model)}. Check `api_base` and the network. It says: {message}"
    return f"{model.name}: the call failed. It says: {message}"


def _answered(model: Model, record: Mapping[str, Any], seconds: float) -> Checked:
    usage = record["usage"]
    cost = provider.cost_of(usage, model.price_on(datetime.now(UTC).date()))
    spent = "no price, so no cost" if cost is None else f"${cost:.6f}"
    head = (
        f"{model.name}: {record['model'] or 'a model that does not say its name'} answered in {seconds:.1f} s; "
        f"{usage['prompt']:,} tokens sent, {usage['completion']:,} received, {spent}."
    )
    wrong = []
    if not _calls_tools(record["message"]):
        wrong.append(
            "It answered without calling the tool that it was told to call: the agent cannot work with it. Choose a "
            "model, or a setting of its server, with tool calls."
        )
    if usage.get("estimated"):
        wrong.append("It reported no usage: tokens and cost would be estimates by the length of the texts.")
    if seconds > _SLOW:
        wrong.append(f"It took {seconds:.0f} s for a few words: an attempt may run into agent.max_seconds.")
    return Checked(not wrong, (head, *wrong) if wrong else (head, "It can be run."))


def _calls_tools(message: Mapping[str, Any] | None) -> bool:
    for call in (message or {}).get("tool_calls") or []:
        try:
            if isinstance(json.loads((call.get("function") or {}).get("arguments") or "{}"), dict):
                return True
        except (ValueError, RecursionError):
            continue
    return False
