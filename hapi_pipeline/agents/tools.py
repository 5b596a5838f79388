"""What an agent can do: read the material, write files, check them, hand them in; in the `code` profile, run Python."""

from __future__ import annotations

import base64
import binascii
import errno
import hashlib
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hapi_pipeline.agents import documents
from hapi_pipeline.agents.documents import Picture, Reading, UnreadableError, Want
from hapi_pipeline.agents.sandbox.levels import SandboxError
from hapi_pipeline.agents.sandbox.scripts import MAX_SECONDS, Room, Scripts, told
from hapi_pipeline.agents.texts import clean, one_line, safe_relative_path, shortened
from hapi_pipeline.naming import digest

OUTPUT_LIMIT = 16 * 1024  # characters of one tool result
MAX_TOTAL_BYTES = 50_000_000
MAX_FILES = 200
MAX_FINISH_REFUSALS = 2
MAX_PICTURES = 20  # shown to the model in one attempt: they are sent again with every call
CHECK_SECONDS = 120.0  # for opening all files of an attempt, once
_TO_READ = ("attachments", "previous", "deliverables")  # where a name without a folder is looked for
_TO_HAND_IN = ("deliverables", "previous", "attachments")
_LISTED = 300
_WITHHELD = " (nobody is handed such a file)"
_PAGE = 12_000  # characters of a document at a time
_MAX_ABOUT = 3_000
_OUR_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.EROFS})


def _tool(name: str, description: str, required: Sequence[str], **properties: Mapping[str, Any]) -> dict[str, Any]:
    parameters = {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }
    return {
        "type": "function",
        "function": {"name": name, "description": description, "parameters": parameters},
    }


TOOLS: list[dict[str, Any]] = [
    _tool(
        "list_files",
        "List the attachments, the previous files (if any) and the deliverables written so far.",
        [],
    ),
    _tool(
        "read_attachment",
        "Read a file: attachments/NAME, previous/NAME or deliverables/NAME. The answer begins with what the file is "
        "(pages, sheets, columns, rows, size), then its text: texts and tables of documents, workbooks, presentations, "
        "PDF, notebooks, web pages, e-mails; the list of files of an archive. Pictures and pages without text are "
        f"shown if you can see pictures. {_PAGE} characters at a time; use offset to read on.",
        ["path"],
        path={"type": "string"},
        sheet={"type": "string", "description": "name or number of one sheet of a workbook"},
        range={"type": "string", "description": "cells of that sheet, for example A1:F200"},
        pages={"type": "string", "description": "pages or slides, for example 3 or 1-4 or 2,5-6"},
        member={"type": "string", "description": "one file inside an archive or e-mail, named as in its list"},
        as_pictures={"type": "boolean", "description": "show pages of a PDF, or pictures in a document, as pictures"},
        offset={"type": "integer", "minimum": 0, "description": "characters of the text to skip"},
    ),
    _tool(
        "write_file",
        "Write a file under deliverables/ (an existing one is replaced, or extended with append).",
        ["path", "content"],
        path={"type": "string", "description": "relative to deliverables/, for example report.md"},
        content={"type": "string"},
        encoding={"type": "string", "enum": ["text", "base64"]},
        append={"type": "boolean"},
    ),
    _tool(
        "check_deliverables",
        "Show what would be handed in now: each file's size, whether it opens, and what a client would find in it.",
        [],
    ),
    _tool(
        "finish",
        "Hand in the work. Refused while a named file is missing, is empty or does not open.",
        ["summary", "deliverables"],
        summary={"type": "string"},
        deliverables={"type": "array", "items": {"type": "string"}},
    ),
]
TOOLS_SHA256 = digest(json.dumps(TOOLS, sort_keys=True))
RUN_PYTHON = _tool(
    "run_python",
    "Run a Python script in a fresh interpreter without network. Its folder holds attachments/ and previous/ (to "
    "read), deliverables/ (handed in at the end) and scratch/ (kept between runs); other files are not kept. The "
    "answer says the exit code, the files that changed and what was printed, shortened in the middle beyond 16 KiB.",
    ["code"],
    code={"type": "string"},
    timeout_s={"type": "integer", "minimum": 1, "maximum": MAX_SECONDS, "description": "60 if not given"},
)
CODE_TOOLS = [*TOOLS[:-2], RUN_PYTHON, *TOOLS[-2:]]
CODE_TOOLS_SHA256 = digest(json.dumps(CODE_TOOLS, sort_keys=True))


class ToolError(Exception):
    """The call was wrong; the message tells the model how."""


class Workspace:
    """The folders of one attempt as its agent sees them: two to read, deliverables/ to write."""

    def __init__(self, folder: Path, vision: bool = False, sandbox: str | None = None):
        self.vision = vision  # whether the model sees pictures
        self.scripts = Scripts(folder, sandbox, Room(MAX_TOTAL_BYTES, MAX_FILES)) if sandbox else None
        self.tools = CODE_TOOLS if sandbox else TOOLS
        self.deliverables = folder / "deliverables"
        self.roots = {
            "attachments": folder / "workspace" / "attachments",
            "previous": folder / "workspace" / "previous",
            "deliverables": self.deliverables,
        }
        if sandbox:
            self.roots["scratch"] = folder / "workspace" / "scratch"
        self.finished: str | None = None  # finished or finished_unchecked, once the work is handed in
        self.refusals = 0
        self._sizes: dict[str, int] = {}
        self._shown: list[Picture] = []  # by the calls since they were last taken
        self._pictures_left = MAX_PICTURES

    def prepare(self, attachments: Sequence[Path], previous: Sequence[tuple[str, Path]]) -> None:
        """Begin from clean folders that hold the attachments and the previous files. Raises OSError."""
        for root in self.roots.values():
            if os.path.lexists(root):
                shutil.rmtree(root, ignore_errors=True)
        self.deliverables.mkdir(parents=True)
        for path, name in zip(attachments, plain_names([p.name for p in attachments]), strict=True):
            _copy(path, self.roots["attachments"] / name)
        for name, path in previous:
            _copy(path, self.roots["previous"] / safe_relative_path(name))

    def files(self, root: str) -> list[tuple[str, int]]:
        """(path as the agent writes it, bytes) of the files under one of the roots."""
        return [(f"{root}/{name}", size) for name, size in walk(self.roots[root])]

    def run(self, name: str, arguments: Mapping[str, Any]) -> str:
        """Carry out one call. ToolError for a wrong call, OSError only when this machine is at fault."""
        handler = {
            "list_files": self._list_files,
            "read_attachment": self._read_attachment,
            "write_file": self._write_file,
            "check_deliverables": self._check_deliverables,
            "finish": self._finish,
            **({"run_python": self._run_python} if self.scripts else {}),
        }.get(name)
        if handler is None:
            raise ToolError(
                f"there is no tool {name!r}; the tools are {', '.join(t['function']['name'] for t in self.tools)}"
            )
        try:
            return shortened(clean(handler(arguments)), OUTPUT_LIMIT)
        except ToolError:
            raise
        except OSError as error:
            if error.errno in _OUR_DISK:
                raise
            raise ToolError(f"the file system refused: {error.strerror}") from error
        except Exception as error:  # a fault of ours must not end the attempt: the model can go another way
            raise ToolError(f"the tool failed ({type(error).__name__})") from error

    def _list_files(self, _: Mapping[str, Any]) -> str:
        lines = [f"{path} ({size} bytes)" for root in self.roots for path, size in self.files(root)]
        more = [f"... and {len(lines) - _LISTED} more"] if len(lines) > _LISTED else []
        return "\n".join(lines[:_LISTED] + more) or "There are no files yet."

    def _read_attachment(self, arguments: Mapping[str, Any]) -> str:
        path, shown = self._existing(_text(arguments, "path"))
        offset = arguments.get("offset") or 0
        if not isinstance(offset, int) or offset < 0:
            raise ToolError("offset must be a number of characters, 0 or more")
        want = _wanted(arguments, self.vision and self._pictures_left > 0)
        shown += f" / {one_line(want.member)[:300]}" if want.member else ""
        try:
            reading = documents.read(path, want)
        except UnreadableError as error:
            return f"{shown} ({path.stat().st_size} bytes): {shortened(one_line(str(error)), _MAX_ABOUT)}."
        return "\n".join([_head(shown, reading), *self._show(shown, reading), *_page(shown, reading, offset)])

    def _show(self, shown: str, reading: Reading) -> list[str]:
        """Note pictures for the model; what the text says of them. Their bytes stay out of every log."""
        lines = []
        for picture in reading.pictures[: self._pictures_left]:
            label = f"{shown}: {one_line(picture.label)[:200]}"
            self._shown.append(replace(picture, label=label))
            sha = hashlib.sha256(picture.data).hexdigest()
            size = f"{picture.width} x {picture.height} as shown"
            lines.append(f"[picture in the next message: {label}, {size}, {picture.media_type}, sha256 {sha}]")
        self._pictures_left -= len(lines)
        if len(lines) < len(reading.pictures):
            lines.append("[The other pictures are not shown: you have seen as many as one job allows]")
        return lines

    def take_pictures(self) -> list[Picture]:
        """The pictures that the calls since the last time have to show, in order."""
        taken, self._shown = self._shown, []
        return taken

    def _existing(self, given: str, roots: Sequence[str] = _TO_READ) -> tuple[Path, str]:
        """A readable file for a path as the agent writes it; without a root, the first of `roots` that fits."""
        name = _relative(given)
        root, _, rest = name.partition("/")
        tries = [(root, rest)] if root in self.roots and rest else [(r, name) for r in roots]
        for candidate, relative in tries:
            path = self.roots[candidate] / relative
            if path.is_file() and not _through_symlink(self.roots[candidate], relative):
                return path, f"{candidate}/{relative}"
        raise ToolError(f"there is no file {given[:200]!r}; list_files shows what there is")

    def _write_file(self, arguments: Mapping[str, Any]) -> str:
        name = _relative(_relative(_text(arguments, "path")).removeprefix("deliverables/"))
        data = _content(arguments)
        appending = bool(arguments.get("append", False))
        size = len(data) + (self._sizes.get(name, 0) if appending else 0)
        self._check_room(name, size)
        path = self.deliverables / name
        if "/" in name and _through_symlink(self.deliverables, name.rpartition("/")[0]):
            raise ToolError("this path leads out of deliverables/")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise ToolError("a part of this path is a file already; choose another name") from error
        _write(path, data, appending)
        self._sizes[name] = size
        return f"{'Added to' if appending else 'Wrote'} deliverables/{name}, now {size} bytes."

    def _check_room(self, name: str, size: int) -> None:
        others = {n: s for n, s in self._sizes.items() if n != name}
        if len(others) >= MAX_FILES:
            raise ToolError(f"there are {MAX_FILES} files already, which is the most that can be handed in")
        if sum(others.values()) + size > MAX_TOTAL_BYTES:
            raise ToolError(f"together the files may have {MAX_TOTAL_BYTES} bytes at most")
        if name not in self._sizes and name.casefold() in {n.casefold() for n in others}:
            raise ToolError("another file differs from this name only in upper and lower case; choose another name")

    def _run_python(self, arguments: Mapping[str, Any]) -> str:
        code, seconds = _text(arguments, "code"), arguments.get("timeout_s") or 60
        if not isinstance(seconds, int) or not 1 <= seconds <= MAX_SECONDS:
            raise ToolError(f"timeout_s must be a whole number of seconds from 1 to {MAX_SECONDS}")
        assert self.scripts is not None  # noqa: S101  (there is no such tool without)
        try:
            outcome, taken = self.scripts.run(code, seconds)
        except SandboxError:
            self.finished = "sandbox_error"  # no fair attempt is possible: it is made again another time
            return "The sandbox failed; this attempt ends here."
        self._sizes = dict(walk(self.deliverables))
        return told(outcome, taken, seconds)

    def take_seconds(self) -> float:
        """The seconds that scripts ran since the last time, as recorded with their runs."""
        if self.scripts is None:
            return 0.0
        taken, self.scripts.seconds = self.scripts.seconds, 0.0
        return taken

    def _check_deliverables(self, _: Mapping[str, Any]) -> str:
        until = time.monotonic() + CHECK_SECONDS
        lines = [
            f"{path}: {size} bytes, {_opens(self.deliverables.parent / path, until)}"
            for path, size in self.files("deliverables")
        ]
        return "\n".join(lines) or "Nothing is under deliverables/ yet."

    def _finish(self, arguments: Mapping[str, Any]) -> str:
        named = arguments.get("deliverables")
        if not isinstance(named, list) or not all(isinstance(n, str) for n in named):
            raise ToolError("deliverables must be a list of paths")
        problems = [p for p in (self._problem(n) for n in named) if p]
        if not any(size for _, size in self.files("deliverables")):
            problems.append("nothing is under deliverables/ yet")
        if problems and self.refusals < MAX_FINISH_REFUSALS:
            self.refusals += 1
            raise ToolError(
                "not handed in: " + "; ".join(problems[:10]) + ". Write what is missing and call finish again"
            )
        self.finished = "finished_unchecked" if problems else "finished"
        kept = [p for p in problems if p.endswith(_WITHHELD)]
        return f"Handed in, without what is withheld: {'; '.join(kept[:10])}." if kept else "Handed in."

    def _problem(self, given: str) -> str | None:
        """What stands against handing in this file; a file of previous/ is taken over unchanged."""
        try:
            path, shown = self._existing(given, _TO_HAND_IN)
            if shown.startswith("scratch/"):
                return f"{shown} is not under deliverables/; only what is there is handed in"
            if shown.startswith("attachments/"):
                return f"{shown} is the client's file, not a deliverable"
            if shown.startswith("previous/"):
                self._take_over(path, shown.removeprefix("previous/"))
        except ToolError as error:
            return str(error)
        found = documents.inspect(path)
        if found.harmful:
            return f"{shown} could harm whoever opens it: {found.about}{_WITHHELD}"
        return f"{shown} does not open: {found.about}" if found.opens is False else None

    def _take_over(self, path: Path, name: str) -> None:
        if name in self._sizes:
            raise ToolError(f"deliverables/{name} is a new version of that file already; name this one")
        self._check_room(name, path.stat().st_size)
        _copy(path, self.deliverables / name)
        self._sizes[name] = path.stat().st_size


def plain_names(names: Sequence[str]) -> list[str]:
    """File names of letters, digits and a little punctuation, no two of them the same."""
    taken: set[str] = set()
    result = []
    for name in names:
        stem, dot, suffix = re.sub(r"[^\w.()+-]+", "_", clean(name)).strip("._")[-100:].rpartition(".")
        stem, suffix = (stem, dot + suffix) if dot else (suffix or "file", "")
        plain, number = f"{stem}{suffix}", 2
        while plain.casefold() in taken:
            plain, number = f"{stem}-{number}{suffix}", number + 1
        taken.add(plain.casefold())
        result.append(plain)
    return result


def walk(root: Path) -> Iterator[tuple[str, int]]:
    """(relative POSIX path, bytes) of the regular files under a folder, in order; symlinks are left out."""
    start = len(str(root)) + 1
    for folder, folders, names in os.walk(root, followlinks=False):
        folders.sort()
        for name in sorted(names):
            path = f"{folder}/{name}"
            state = os.lstat(path)
            if stat.S_ISREG(state.st_mode):
                yield path[start:], state.st_size


def _through_symlink(root: Path, relative: str) -> bool:
    """Whether any part of the way from a folder to a file in it is a symlink."""
    parts = relative.split("/")
    return any((root / "/".join(parts[:n])).is_symlink() for n in range(1, len(parts) + 1))


def _relative(given: str) -> str:
    try:
        return safe_relative_path(given)
    except ValueError as error:
        raise ToolError(str(error)) from error


def _text(arguments: Mapping[str, Any], name: str) -> str:
    value = arguments.get(name)
    if not isinstance(value, str):
        raise ToolError(f"{name} must be given, as a text")
    return value


def _content(arguments: Mapping[str, Any]) -> bytes:
    content, encoding = _text(arguments, "content"), arguments.get("encoding") or "text"
    if len(content) > MAX_TOTAL_BYTES * 3 // 2:
        raise ToolError(f"together the files may have {MAX_TOTAL_BYTES} bytes at most")
    if encoding == "text":
        return content.encode("utf-8", "replace")
    if encoding != "base64":
        raise ToolError("encoding must be text or base64")
    try:
        return base64.b64decode("".join(content.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ToolError(f"content is not valid base64 ({error})") from error


def _write(path: Path, data: bytes, appending: bool) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | (os.O_APPEND if appending else os.O_TRUNC)
    try:
        descriptor = os.open(path, flags, 0o644)
    except IsADirectoryError as error:
        raise ToolError("this path is a folder; choose another name") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target, follow_symlinks=True)


def _wanted(arguments: Mapping[str, Any], pictures: bool) -> Want:
    """The part of a document that a call asks for. Numbers are taken for texts: models write pages=3."""
    given: dict[str, str | None] = {}
    for name in ("sheet", "range", "pages", "member"):
        value = arguments.get(name)
        if isinstance(value, bool) or not isinstance(value, str | int | None):
            raise ToolError(f"{name} must be a text")
        given[name] = None if value in (None, "") else str(value)
    return Want(
        sheet=given["sheet"],
        cells=given["range"],
        pages=given["pages"],
        member=given["member"],
        as_pictures=bool(arguments.get("as_pictures", False)),
        pictures=pictures,
    )


def _head(shown: str, reading: Reading) -> str:
    return f"{shown}: {shortened(one_line(reading.about), _MAX_ABOUT)}"


def _page(shown: str, reading: Reading, offset: int) -> list[str]:
    """A page of the text, and where to read on."""
    text = clean(reading.text)
    if offset and offset >= len(text):
        raise ToolError(f"{shown} has {len(text)} characters of text; offset {offset} is past its end")
    end = offset + _PAGE
    more = [f"[characters {offset} to {end} of {len(text)}; read on with offset {end}]"] if end < len(text) else []
    return [text[offset:end], *more] if text else []


def _opens(path: Path, until: float) -> str:
    """Whether a client will be able to open the file, and what is in it."""
    found = documents.inspect(path, until=until)
    if found.opens is None:
        return f"{found.media_type}, present, {found.about}"
    if not path.stat().st_size:
        return "EMPTY"
    return f"{found.media_type}, {'opens' if found.opens else 'DOES NOT OPEN'}: {shortened(found.about, 500)}"
