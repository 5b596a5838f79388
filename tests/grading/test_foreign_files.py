"""Exports of other annotation tools: one sentence that names the tool and says what to send instead."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pytest

from hapi_pipeline.grading.files import read_verdict_file
from hapi_pipeline.grading.foreign import tool_of
from hapi_pipeline.settings import UserError

PRODIGY = {"text": "a", "_input_hash": 1, "_task_hash": 2, "label": "X", "answer": "reject"}
LANGFUSE = {"id": "s", "traceId": "t", "name": "n", "source": "ANNOTATION", "value": 1, "dataType": "BOOLEAN"}
ARGILLA = {"id": "a", "fields": {"text": "x"}, "responses": {"label": [{"value": "yes", "status": "submitted"}]}}
LANGSMITH = {"run_id": "r", "key": "correct", "score": 1, "comment": ""}
FILES: dict[str, tuple[str, bytes]] = {
    "prodigy": ("Prodigy", "".join(json.dumps(PRODIGY | {"answer": a}) + "\n" for a in ("accept", "ignore")).encode()),
    "doccano jsonl": ("doccano", b'{"id": 1, "text": "a", "label": ["x"]}\n'),
    "doccano csv": ("doccano", b"text,label\nAAA,Positive\n"),
    "doccano utf-16": ("doccano", "text,label\nAAA,Positive\n".encode("utf-16")),
    "doccano spaces": ("doccano", b"text, label\nAAA, Negative, Positive\n"),
    "doccano semicolons": ("doccano", b"text;label\nAAA;Negative\n"),
    "doccano json": ("doccano", json.dumps([{"text": "a", "labels": ["x"]}], indent=1).encode()),
    "langfuse": ("Langfuse", json.dumps([LANGFUSE], indent=1).encode()),
    "langfuse csv": ("Langfuse", b"id,traceId,name,value,dataType,comment\ns,t,n,1,BOOLEAN,\n"),
    "argilla": ("Argilla", json.dumps([ARGILLA]).encode()),
    "langsmith": ("LangSmith", json.dumps(LANGSMITH).encode() + b"\n"),
}


@pytest.mark.parametrize("name", FILES)
def test_the_sentence_names_the_tool(drop: Callable[[str, bytes], Path], name: str) -> None:
    tool, data = FILES[name]
    with pytest.raises(UserError, match=f"looks like a {tool} export") as caught:
        read_verdict_file(drop("from_ann.csv", data))
    sentence = str(caught.value)
    assert sentence.startswith("from_ann.csv ")
    assert "workbook" in sentence
    assert "\n" not in sentence


def test_a_workbook_of_another_tool(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(["text", "label", None])  # type: ignore[union-attr]
    book.save(tmp_path / "x.xlsx")
    with pytest.raises(UserError, match="looks like a doccano export"):
        read_verdict_file(tmp_path / "x.xlsx")


def test_our_own_columns_are_nobody_elses() -> None:
    assert tool_of(["packet_id", "criterion_id", "passed", "comment", "grader", "minutes", "graded_at"]) is None
    assert tool_of(["annotation_id", "annotator", "criteria", "verdict_0"]) is None
    assert tool_of([]) is None
