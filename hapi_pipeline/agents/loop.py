"""The loop of one attempt: ask, do what the reply says, until the work is handed in or must end.

Everything here is a function of the recorded replies, so running it again over a log leads to the same state.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hapi_pipeline.agents import prompt
from hapi_pipeline.agents.calls import arguments_of, calls_of
from hapi_pipeline.agents.desk import Acted, Shown
from hapi_pipeline.agents.texts import shortened
from hapi_pipeline.registry import AgentLimits

MAX_FORMAT_ERRORS = 3
MAX_REFUSALS = 2
_KEPT_MESSAGES = 3  # at the end of the conversation, when older tool texts are elided
_ELIDABLE = 400  # characters

Ask = Callable[[int, list[dict[str, Any]]], Awaitable[dict[str, Any]]]
"""(step from 1, conversation) -> a `reply` or `failure` record of the step log."""
Act = Callable[[int], Awaitable[Acted]]
"""step from 1 -> what came of the tool calls of that step's reply, which `ask` has given"""


@dataclass
class Conversation:
    """The state of one attempt in progress."""

    messages: list[dict[str, Any]]
    steps: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: float | None = 0.0  # None once a call had no price
    seconds: float = 0.0
    model_snapshot: str | None = None
    format_errors: int = 0  # in a row
    refusals: int = 0
    elided: bool = False
    last_turn: str | None = None  # the limit that made the next turn the last
    notes: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        """Add a message of ours."""
        self.messages.append({"role": "user", "content": text})


async def converse(state: Conversation, limits: AgentLimits, ask: Ask, act: Act) -> str:
    """Carry an attempt to its end; the finish reason. Raises what `ask` and `act` raise."""
    while True:
        limit = limit_reached(state, limits)
        if limit and state.last_turn is None:
            state.last_turn = limit
            state.say(prompt.LAST_TURN)
        record = await ask(state.steps + 1, state.messages)
        _count(state, record)
        end = _failed(state, record) if record["event"] == "failure" else await _act(state, record, act)
        if end is None and state.last_turn is not None:
            end = state.last_turn
        if end is not None:
            return state.last_turn if state.last_turn and end.startswith("finished") else end


def limit_reached(state: Conversation, limits: AgentLimits) -> str | None:
    """The first limit that the attempt has used up."""
    if state.steps >= limits.max_steps:
        return "limit_steps"
    if state.cost_usd is not None and state.cost_usd >= limits.max_cost_usd > 0:
        return "limit_cost"
    if state.seconds >= limits.max_seconds:
        return "limit_wall"
    if state.prompt_tokens + state.completion_tokens >= limits.max_tokens:
        return "limit_tokens"
    return None


def _count(state: Conversation, record: Mapping[str, Any]) -> None:
    state.steps += 1
    state.seconds += record["seconds"]
    if record["event"] == "failure":
        return
    usage = record["usage"]
    state.prompt_tokens += usage["prompt"]
    state.completion_tokens += usage["completion"]
    state.cached_tokens += usage["cached"]
    state.reasoning_tokens += usage["reasoning"]
    cost = record["cost_usd"]
    state.cost_usd = None if cost is None or state.cost_usd is None else state.cost_usd + cost
    state.model_snapshot = record["model"] or state.model_snapshot


def _failed(state: Conversation, record: Mapping[str, Any]) -> str | None:
    """What a call that brought no reply means for the attempt."""
    kind = record["kind"]
    state.notes.append(record["message"])
    if kind == "policy":
        return _refused(state)
    if kind == "context":
        if state.elided or not elide(state.messages):
            return "context_overflow"
        state.elided = True
        return None
    if kind == "timeout":
        return state.last_turn or ("limit_wall" if record.get("wall") else "provider_error")
    return "provider_error"


def _refused(state: Conversation) -> str | None:
    state.refusals += 1
    if state.refusals > MAX_REFUSALS:
        return "refused"
    state.say(prompt.REFUSED)
    return None


async def _act(state: Conversation, record: Mapping[str, Any], act: Act) -> str | None:
    """Take in a reply and run its tool calls; the finish reason if that ends the attempt."""
    message, reason = record["message"], record["finish_reason"]
    if message is None:
        return _format_error(state, prompt.EMPTY_REPLY)
    calls = calls_of(message)
    if reason in ("content_filter", "refusal") or (message.get("refusal") and not calls):
        return _refused(state)
    cut = reason == "length"
    if not calls:
        content = message.get("content")
        if content:
            state.messages.append({**message, "role": "assistant"})
        return _format_error(state, prompt.CUT_OFF if cut else prompt.NO_TOOL_CALL if content else prompt.EMPTY_REPLY)
    arguments = [arguments_of(call) for call in calls]
    state.messages.append(_resendable(message, calls, arguments))
    acted = await act(state.steps)
    state.messages += acted.answers
    state.seconds += acted.seconds
    if acted.pictures:
        state.messages.append(_shown(acted.pictures))
    if acted.finished:
        return acted.finished
    if all(isinstance(parsed, str) for parsed in arguments):
        return _format_error(state, None)
    state.format_errors = 0
    return None


def _shown(pictures: Sequence[Shown]) -> dict[str, Any]:
    """The message that shows pictures: of ours, because few providers take them in the answer of a tool."""
    parts: list[dict[str, Any]] = []
    for picture in pictures:
        parts.append({"type": "text", "text": f"Picture from read_attachment: {picture.label}"})
        url = f"data:{picture.media_type};base64,{picture.base64}"
        parts.append({"type": "image_url", "image_url": {"url": url}})
    return {"role": "user", "content": parts}


def _format_error(state: Conversation, nudge: str | None) -> str | None:
    state.format_errors += 1
    if state.format_errors >= MAX_FORMAT_ERRORS:
        return "format_errors"
    if nudge:
        state.say(nudge)
    return None


def _resendable(
    message: Mapping[str, Any], calls: list[dict[str, Any]], arguments: list[dict[str, Any] | str]
) -> dict[str, Any]:
    """The message for the history: malformed arguments in it would make the next call fail inside litellm."""
    fixed = []
    for call, parsed in zip(calls, arguments, strict=True):
        if isinstance(parsed, str):
            wrapped = json.dumps({"_malformed": shortened(parsed, 2_000)})
            call = {**call, "function": {**(call.get("function") or {}), "arguments": wrapped}}
        elif not (call.get("function") or {}).get("arguments"):
            call = {**call, "function": {**(call.get("function") or {}), "arguments": "{}"}}
        fixed.append(call)
    return {**message, "role": "assistant", "tool_calls": fixed}


def elide(messages: list[dict[str, Any]]) -> bool:
    """Replace long tool texts of the older part of a conversation by stubs; whether there were any."""
    found = False
    for place in range(2, max(2, len(messages) - _KEPT_MESSAGES)):
        message = messages[place]
        if message["role"] == "tool" and len(message["content"]) > _ELIDABLE:
            messages[place] = {**message, "content": f"[elided, {len(message['content'])} characters]"}
            found = True
        elif message["role"] == "user" and isinstance(message.get("content"), list):
            told = " ".join(part["text"] for part in message["content"] if part.get("type") == "text")
            messages[place] = {"role": message["role"], "content": f"[elided: {told}]"}
            found = True
        elif message.get("tool_calls") and any(_long_content(c) for c in message["tool_calls"]):
            messages[place] = {**message, "tool_calls": [_short_call(c) for c in message["tool_calls"]]}
            found = True
    return found


def _long_content(call: Mapping[str, Any]) -> bool:
    return len(call["function"]["arguments"]) > _ELIDABLE


def _short_call(call: dict[str, Any]) -> dict[str, Any]:
    if not _long_content(call):
        return call
    arguments = json.loads(call["function"]["arguments"])
    short = {
        k: f"[elided, {len(v)} characters]" if isinstance(v, str) and len(v) > 200 else v for k, v in arguments.items()
    }
    return {**call, "function": {**call["function"], "arguments": json.dumps(short)}}
