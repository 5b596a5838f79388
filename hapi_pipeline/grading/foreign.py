"""Files of other annotation tools, recognised by their column names, so that the sentence can name the tool."""

from __future__ import annotations

from collections.abc import Iterable

# tool: sets of names, of which one set must be there whole
_MARKS: dict[str, tuple[frozenset[str], ...]] = {
    "Prodigy": (frozenset({"_input_hash", "_task_hash"}), frozenset({"answer", "_session_id"})),
    "Langfuse": (
        frozenset({"traceid", "datatype"}),
        frozenset({"traceid", "stringvalue"}),
        frozenset({"authoruserid"}),
    ),
    "Argilla": (
        frozenset({"fields", "responses"}),
        frozenset({"fields", "suggestions"}),
        frozenset({"label", "label.suggestion"}),
    ),
    "LangSmith": (frozenset({"run_id", "feedback_source"}), frozenset({"run_id", "score", "key"})),
    "doccano": (
        frozenset({"text", "label"}),
        frozenset({"text", "labels"}),
        frozenset({"text", "entities"}),
        frozenset({"text", "cats"}),
    ),
}
_WHY = {
    "Prodigy": "its answers are accept, reject and ignore for texts, not verdicts on the criteria of a packet",
    "doccano": "its labels are for texts, not verdicts on the criteria of a packet",
    "Langfuse": "its scores are for traces, not verdicts on the criteria of a packet",
    "LangSmith": "its feedback is for runs, not verdicts on the criteria of a packet",
    "Argilla": "its records are not the criteria of a packet",
}


def tool_of(names: Iterable[object]) -> str | None:
    """The tool whose export has these names of columns or fields, or None."""
    have = {str(name).strip().casefold() for name in names if name is not None}
    return next((tool for tool, marks in _MARKS.items() if any(mark <= have for mark in marks)), None)


def refusal(file: str, tool: str) -> str:
    """One sentence: which tool's file it is, why it cannot be taken, and what to send instead."""
    return (
        f"{file} looks like a {tool} export: {_WHY[tool]}; grade in the packet's workbook, or send a CSV with "
        "packet_id, criterion_id, passed, grader and comment."
    )
