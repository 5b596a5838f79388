"""The tool calls of a reply: what they ask for, and what they answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from hapi_pipeline.agents import prompt
from hapi_pipeline.agents.tools import ToolError, Workspace

OnTool = Callable[[int, str, str, bool], None]
"""(index within the reply, tool, output, failed)"""


def calls_of(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tool calls of a model's message."""
    return [c for c in message.get("tool_calls") or [] if isinstance(c, dict)]


def arguments_of(call: Mapping[str, Any]) -> dict[str, Any] | str:
    """The call's arguments, or the raw text when it is not a JSON object."""
    raw = (call.get("function") or {}).get("arguments")
    try:
        parsed = json.loads(raw) if raw else {}
    except (ValueError, TypeError, RecursionError):
        return str(raw)
    return parsed if isinstance(parsed, dict) else str(raw)


def carried_out(
    workspace: Workspace, calls: list[dict[str, Any]], cut: bool, on_tool: OnTool = lambda *_: None
) -> list[dict[str, Any]]:
    """Run the calls of a reply in their order; the messages that answer them. `cut`: the reply was cut off."""
    answers = []
    for index, call in enumerate(calls):
        name = str((call.get("function") or {}).get("name"))
        output, failed = _run(workspace, name, arguments_of(call), cut)
        on_tool(index, name, output, failed)
        answers.append({"role": "tool", "tool_call_id": call.get("id"), "name": name, "content": output})
    return answers


def _run(workspace: Workspace, name: str, arguments: dict[str, Any] | str, cut: bool) -> tuple[str, bool]:
    """(what the tool answers, whether the call failed)"""
    if workspace.finished:
        return "Not done: the work has been handed in.", True
    if isinstance(arguments, str):
        why = prompt.CUT_OFF if cut else "Write one JSON object, with quotes and line breaks inside texts escaped."
        return f"Error: the arguments are not valid JSON, so nothing was done. {why}", True
    try:
        return workspace.run(name, arguments), False
    except ToolError as error:
        return f"Error: {error}.", True
