"""The tools of the `paper` profile: read the material, write files, check them, hand them in."""

from __future__ import annotations

import base64
import binascii
import errno
import json
import os
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hapi_pipeline.agents.documents import UnreadableError, document_text
from hapi_pipeline.agents.texts import clean, safe_relative_path, shortened
from hapi_pipeline.naming import digest

OUTPUT_LIMIT = 16 * 1024  # characters of one tool result
MAX_TOTAL_BYTES = 50_000_000
MAX_FILES = 200
MAX_FINISH_REFUSALS = 2
_LISTED = 300
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
        "Read the text of a file: attachments/NAME, previous/NAME or deliverables/NAME. "
        "Long texts are shortened in the middle; use offset to read on.",
        ["path"],
        path={"type": "string"},
        offset={"type": "integer", "minimum": 0, "description": "characters to skip"},
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
    _tool("check_deliverables", "Show what would be handed in now: files, sizes, and whether they open.", []),
    _tool(
        "finish",
        "Hand in the work. Refused while a named file is missing or empty.",
        ["summary", "deliverables"],
        summary={"type": "string"},
        deliverables={"type": "array", "items": {"type": "string"}},
    ),
]
TOOLS_SHA256 = digest(json.dumps(TOOLS, sort_keys=True))


class ToolError(Exception):
    """The call was wrong; the message tells the model how."""


class Workspace:
    """The folders of one attempt as its agent sees them: two to read, deliverables/ to write."""

    def __init__(self, folder: Path):
        self.deliverables = folder / "deliverables"
        self.roots = {
            "attachments": folder / "workspace" / "attachments",
            "previous": folder / "workspace" / "previous",
            "deliverables": self.deliverables,
        }
        self.finished: str | None = None  # finished or finished_unchecked, once the work is handed in
        self.refusals = 0
        self._sizes: dict[str, int] = {}

    def prepare(self, attachments: Sequence[Path], previous: Sequence[tuple[str, Path]]) -> None:
        """Begin from clean folders that hold the attachments and the previous files. Raises OSError."""
        for root in self.roots.values():
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
        }.get(name)
        if handler is None:
            raise ToolError(
                f"there is no tool {name!r}; the tools are {', '.join(t['function']['name'] for t in TOOLS)}"
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
        try:
            text = document_text(path)
        except UnreadableError as error:
            return f"{shown} ({path.stat().st_size} bytes): {error}."
        if offset and offset >= len(text):
            raise ToolError(f"{shown} has {len(text)} characters; offset {offset} is past its end")
        return text[offset:] or f"{shown} is empty."

    def _existing(self, given: str) -> tuple[Path, str]:
        """A readable file for a path as the agent writes it; without a root, the first that fits."""
        name = _relative(given)
        root, _, rest = name.partition("/")
        tries = [(root, rest)] if root in self.roots and rest else [(r, name) for r in self.roots]
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

    def _check_deliverables(self, _: Mapping[str, Any]) -> str:
        lines = [
            f"{path}: {size} bytes, {_opens(self.deliverables.parent / path)}"
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
        return "Handed in."

    def _problem(self, given: str) -> str | None:
        """What stands against handing in this file; a file of previous/ is taken over unchanged."""
        try:
            path, shown = self._existing(given)
            if shown.startswith("previous/"):
                self._take_over(path, shown.removeprefix("previous/"))
        except ToolError as error:
            return str(error)
        return None if path.stat().st_size else f"{shown} is empty"

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
    for folder, folders, names in os.walk(root, followlinks=False):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink():
                yield path.relative_to(root).as_posix(), path.stat().st_size


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


def _opens(path: Path) -> str:
    """Whether a grader will be able to open the file, as far as that can be told cheaply."""
    if not path.stat().st_size:
        return "EMPTY"
    try:
        if path.suffix.lower() in (".docx", ".xlsx", ".pptx", ".zip"):
            with zipfile.ZipFile(path) as archive:
                return f"opens ({len(archive.namelist())} parts)"
        if path.suffix.lower() == ".json":
            json.loads(path.read_bytes())
    except (zipfile.BadZipFile, ValueError, RecursionError, NotImplementedError):
        return "DOES NOT OPEN: not a valid file of its kind"
    return "present"
