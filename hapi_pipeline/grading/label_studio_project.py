"""Packets as a Label Studio project: a labelling config, a task for each packet, and the files that tasks link to.

As blind as the packets: a task holds what the grader's page shows and the ids under which verdicts come back. The names
of its fields are those that `grading/label_studio.py` reads in the export, and must stay.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hapi_pipeline.grading.packets import PAGE, Criterion
from hapi_pipeline.grading.page import IMPORTANCE
from hapi_pipeline.grading.text import clean, words
from hapi_pipeline.grading.workbook import MAX_MINUTES
from hapi_pipeline.settings import UserError

CONFIG = "label_config.xml"
TASKS = "tasks.json"
FILES = "files"
CHOICES = ("Pass", "Fail", "Cannot judge")

# Text never becomes markup; files_html is written below, every name in it escaped
LABEL_CONFIG = f"""<View style="max-width: 70rem">
  <Header value="The brief"/>
  <Text name="brief" value="$brief" valueType="text" selectionEnabled="false"/>
  <Header value="What was handed in"/>
  <HyperText name="files" value="$files_html" clickableLinks="true" selectionEnabled="false"/>
  <Header value="What to judge: Pass means met as written (a pitfall: avoided), Fail means not or only in part"/>
  <Repeater on="$criteria" indexFlag="{{{{idx}}}}" mode="list">
    <View style="border-top: 1px solid #c9d1da; padding: 0.5rem 0">
      <Text name="crit_{{{{idx}}}}" value="$criteria[{{{{idx}}}}].shown" valueType="text" selectionEnabled="false"/>
      <Choices name="verdict_{{{{idx}}}}" toName="crit_{{{{idx}}}}" choice="single-radio" showInline="true"
               required="true" requiredMessage="Please choose a verdict for every criterion.">
        {"".join(f'<Choice value="{word}"/>' for word in CHOICES)}
      </Choices>
      <TextArea name="comment_{{{{idx}}}}" toName="crit_{{{{idx}}}}" rows="2" editable="true" maxSubmissions="1"
                placeholder="What is missing, or why you cannot judge"/>
    </View>
  </Repeater>
  <Header value="Overall feedback: what you would write to the person who did the work"/>
  <TextArea name="feedback" toName="brief" rows="4" editable="true" maxSubmissions="1"/>
  <Header value="Minutes that you spent"/>
  <Number name="minutes" toName="brief" min="0" max="{MAX_MINUTES}"/>
</View>
"""

README = f"""A Label Studio project: one task for each packet.

1. Let Label Studio serve this folder, before it starts (the path must be absolute):
     export LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true
     export LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=/path/to/this/folder
2. Make a project; under Settings, Labeling Interface, Code, paste {CONFIG}.
3. Under Settings, Cloud Storage, add a source storage "Local files" with the path of the folder "{FILES}". Do not
   synchronise it: it only allows the links.
4. Import {TASKS}. For two graders per packet set the overlap in Settings, Quality, or give the task to both.
5. Export as JSON or JSON_MIN, and take it back with: hapi import verdicts FILE

Keep the tasks' data as it is: which criterion an answer is about is known from it alone. Pages and drawings that were
handed in are here as text (.txt), because a server must not run them; "{PAGE}" shows them without their scripts.
"""
# what a browser would run in the name of Label Studio
_LIVE = words("htm html js mht mhtml shtml svg swf xhtml xml xsl")


@dataclass(frozen=True)
class TaskPacket:
    """A packet that was made, and what its task says."""

    packet_id: str
    packet_sha256: str
    rubric_version: str
    title: str
    description: str
    category: str | None
    skills: tuple[str, ...]
    criteria: tuple[Criterion, ...]
    folder: Path


def write_project(packets: Sequence[TaskPacket], out: Path) -> int:
    """Make the project in `out`; the number of its tasks. Files that are there already are left alone.

    Raises UserError when `out` is something else than a folder for such a project.
    """
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / CONFIG).is_file())):
        raise UserError(f"{out} holds other things; name a new folder for the Label Studio project.")
    (out / FILES).mkdir(parents=True, exist_ok=True)
    tasks = [_task(packet, _copied(packet, out / FILES)) for packet in packets]
    (out / CONFIG).write_text(LABEL_CONFIG, "utf-8")
    (out / "README.txt").write_text(README, "utf-8")
    staged = out / f".{TASKS}.new"
    staged.write_text(json.dumps(tasks, ensure_ascii=False, indent=1) + "\n", "utf-8")
    staged.replace(out / TASKS)
    return len(tasks)


def _copied(packet: TaskPacket, files: Path) -> list[str]:
    """Copy the page and the files of a packet whole or not at all; their places below the project's folder."""
    goal = files / packet.packet_id
    if not goal.exists():
        staged = files / f".{packet.packet_id}.part"
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir()
        shutil.copyfile(packet.folder / PAGE, staged / PAGE)
        for kind in ("deliverables", "attachments"):
            for source in sorted((packet.folder / kind).glob("*")):
                (staged / kind).mkdir(exist_ok=True)
                shutil.copyfile(source, staged / kind / _served_name(source.name))
        staged.rename(goal)
    places = [p for kind in ("deliverables", "attachments") for p in sorted((goal / kind).glob("*"))]
    return [f"{FILES}/{packet.packet_id}/{place.relative_to(goal).as_posix()}" for place in (goal / PAGE, *places)]


def _served_name(name: str) -> str:
    return f"{name}.txt" if name.rpartition(".")[2].lower() in _LIVE else name


def _task(packet: TaskPacket, places: Sequence[str]) -> dict[str, Any]:
    facts = " · ".join(part for part in (packet.category or "", ", ".join(packet.skills)) if part)
    return {
        "data": {
            "packet_id": packet.packet_id,
            "packet_sha256": packet.packet_sha256,
            "rubric_version": packet.rubric_version,
            "brief": clean("\n\n".join(part for part in (packet.title, facts, packet.description) if part)),
            "criteria": [_criterion(c) for c in packet.criteria],
            "files": list(places),
            "files_html": "<br>".join(map(_link, places)) or "Nothing was handed in.",
        }
    }


def _criterion(criterion: Criterion) -> dict[str, str]:
    kind = IMPORTANCE.get(criterion.importance, criterion.importance)
    return {
        "criterion_id": criterion.criterion_id,
        "text": clean(criterion.text),
        "importance": criterion.importance,
        "shown": clean(f"{criterion.criterion_id} · {kind}\n{criterion.text}"),
    }


def _link(place: str) -> str:
    """A link under which Label Studio serves a file below its document root."""
    shown = place.split("/", 2)[2]
    address = escape(f"/data/local-files/?d={quote(place)}", quote=True)
    return f'<a href="{address}" target="_blank" rel="noopener">{escape(shown)}</a>'
