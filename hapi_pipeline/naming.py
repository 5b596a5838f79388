"""Names that become folder names, partition keys or identifiers, safely and reversibly."""

from __future__ import annotations

import hashlib
from pathlib import PurePath
from urllib.parse import quote, unquote

_KEPT = " ()+=@:_-."  # readable in a folder name and harmless in a Dagster partition key


def slug(name: str) -> str:
    """A folder name and partition key for a free-text name; `unslug` gives the name back.

    Percent-encodes what a path, a multi-partition key (``|``), a partition range (``...``) or a list of keys
    (``,``) would stumble over.
    """
    encoded = quote(name, safe=_KEPT, errors="surrogatepass")
    if encoded.startswith(".") or ".." in encoded:
        encoded = encoded.replace(".", "%2E")
    if encoded != encoded.strip():
        encoded = encoded.replace(" ", "%20")
    return encoded


def unslug(text: str) -> str:
    """The name that `slug` made this text from."""
    return unquote(text, errors="surrogatepass")


def job_prefix(job_id: str) -> str:
    """With what the folder of each attempt at a job begins."""
    return digest("job", job_id, length=12)


def attempt_place(model: str, round: str, job_id: str, attempt_id: str) -> PurePath:
    """The folder of an attempt below a home's `attempts/`; `model` is the model's name, not its slug."""
    return PurePath(slug(model), slug(round), f"{job_prefix(job_id)}-{attempt_id}")


def digest(*parts: str | bytes, length: int = 64) -> str:
    """SHA-256 over the parts, each preceded by its length so that no two lists of parts collide."""
    sha = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass")
        sha.update(len(data).to_bytes(8, "big"))
        sha.update(data)
    return sha.hexdigest()[:length]
