"""Small formats whose header says who wrote them: notebooks, RTF, drawings and models."""

from __future__ import annotations

import base64
import binascii
import json
import re
import struct
from typing import Any

from hapi_pipeline.grading.strip.base import CannotStrip, Inside


def notebook(data: bytes, inside: Inside) -> bytes:
    """Without metadata of the book, its cells and outputs; the language stays. Pictures in outputs are stripped too."""
    book = _json(data)
    if not isinstance(book.get("cells"), list):
        raise CannotStrip("not what its name says")
    metadata = book.get("metadata")
    language = metadata.get("language_info") if isinstance(metadata, dict) else None
    name = language.get("name") if isinstance(language, dict) else None
    book["metadata"] = {"language_info": {"name": str(name)}} if name else {}
    for cell in book["cells"]:
        if isinstance(cell, dict):
            cell["metadata"] = {}
            for part in (cell, *_dicts(cell.get("outputs"))):
                _output(part, inside)
    return json.dumps(book, ensure_ascii=True, indent=1).encode()


def _output(part: dict[str, Any], inside: Inside) -> None:
    if "metadata" in part:
        part["metadata"] = {}
    attached = part.get("attachments")
    bundles = [part.get("data"), *(attached.values() if isinstance(attached, dict) else ())]
    for bundle in _dicts(bundles):
        for kind in ("image/png", "image/jpeg", "image/gif", "image/webp"):
            if isinstance(bundle.get(kind), str):
                bundle[kind] = _picture(kind, bundle[kind], inside)


def _picture(kind: str, text: str, inside: Inside) -> str:
    try:
        data = base64.b64decode(text)
    except (binascii.Error, ValueError):
        return text
    stripped = inside.strip(f"picture.{kind.removeprefix('image/')}", data)
    return text if stripped == data else base64.b64encode(stripped).decode("ascii")


def _dicts(values: object) -> list[dict[str, Any]]:
    return [v for v in values if isinstance(v, dict)] if isinstance(values, list) else []


def _json(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CannotStrip("damaged") from error
    if not isinstance(value, dict):
        raise CannotStrip("not what its name says")
    return value


_RTF_GROUP = re.compile(rb"\{\\(?:\*\\)?(info|generator|userprops|xmlnstbl|company|operator|author)\b")


def rtf(data: bytes, inside: Inside) -> bytes:
    """Without the groups of properties."""
    if not data.startswith(b"{\\rtf"):
        raise CannotStrip("not what its name says")
    kept, at = [], 0
    while group := _RTF_GROUP.search(data, at):
        kept.append(data[at : group.start()])
        at = _end_of_group(data, group.start())
    return b"".join([*kept, data[at:]])


def _end_of_group(data: bytes, at: int) -> int:
    depth = 0
    for mark in re.compile(rb"\\.|[{}]", re.DOTALL).finditer(data, at):
        if mark[0] in (b"{", b"}"):
            depth += 1 if mark[0] == b"{" else -1
            if depth == 0:
                return mark.end()
    raise CannotStrip("damaged")


def gltf(data: bytes, inside: Inside) -> bytes:
    """glTF as text, without generator and copyright."""
    return json.dumps(_neutral_scene(_json(data)), ensure_ascii=False, separators=(",", ":")).encode()


def glb(data: bytes, inside: Inside) -> bytes:
    """glTF as one binary file, without generator and copyright."""
    if data[:4] != b"glTF" or len(data) < 20 or data[16:20] != b"JSON":
        raise CannotStrip("not what its name says")
    size = int.from_bytes(data[12:16], "little")
    scene = json.dumps(_neutral_scene(_json(data[20 : 20 + size])), ensure_ascii=False, separators=(",", ":")).encode()
    scene += b" " * (-len(scene) % 4)
    rest = data[20 + size :]
    head = struct.pack(
        "<4sIII4s", b"glTF", int.from_bytes(data[4:8], "little"), 20 + len(scene) + len(rest), len(scene), b"JSON"
    )
    return head + scene + rest


def _neutral_scene(scene: dict[str, Any]) -> dict[str, Any]:
    asset = scene.get("asset")
    version = asset.get("version", "2.0") if isinstance(asset, dict) else "2.0"
    return scene | {"asset": {"version": str(version)}}


def stl(data: bytes, inside: Inside) -> bytes:
    """Without the free text of its header (binary) or its name (text)."""
    if len(data) >= 84 and len(data) == 84 + 50 * int.from_bytes(data[80:84], "little"):
        return bytes(80) + data[80:]
    if not data.lstrip().startswith(b"solid"):
        raise CannotStrip("not what its name says")
    return re.sub(rb"(?m)^([ \t]*(?:end)?solid)[^\r\n]*", rb"\1", data)


def dxf(data: bytes, inside: Inside) -> bytes:
    """Without comments (group 999), custom properties and the name of who saved last."""
    if data.startswith(b"AutoCAD Binary DXF"):
        raise CannotStrip("binary DXF")
    end = b"\r\n" if b"\r\n" in data[:4000] else b"\n"
    lines = data.replace(b"\r\n", b"\n").split(b"\n")
    kept: list[bytes] = []
    variable = b""
    for code, value in zip(lines[::2], lines[1::2], strict=False):
        number = code.strip()
        if number == b"999":
            continue
        if number == b"9":
            variable = value.strip()
        elif number == b"0":
            variable = b""
        if variable.startswith(b"$CUSTOMPROPERTY"):
            continue
        kept += [code, b"" if variable == b"$LASTSAVEDBY" and number == b"1" else value]
    return end.join(kept + lines[len(lines) // 2 * 2 :])


def drawio(data: bytes, inside: Inside) -> bytes:
    """Without what diagrams.net notes about the browser, the host and the time."""
    head = re.match(rb"\s*(?:<\?xml[^>]*>\s*)?<mxfile\b[^>]*>", data)
    if head is None:
        raise CannotStrip("not what its name says")
    return re.sub(rb"\s(?:agent|host|modified|etag|version|userAgent)=\"[^\"]*\"", b"", head[0]) + data[head.end() :]
