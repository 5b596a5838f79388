"""Object stores: a home's objects by their names below its address, whole or not at all.

Amazon S3 and what speaks its protocol, Google Cloud Storage and Azure Blob Storage, all through obstore. Credentials
come from the environment, as each cloud's own tools take them; they are never part of an address, and no message of
ours repeats what a server said beyond its short code.

What belongs here: single objects. What does not: which of them have a copy on this machine (`copies.py`).
"""

from __future__ import annotations

import errno
import os
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hapi_pipeline.settings import UserError, is_address

_SINGLE = 16 << 20
"""Bytes up to which an object is sent in one request; larger ones in parts, which appear together at the end."""
_CHUNK = 4 << 20
_RETRIES: Any = {"max_retries": 8, "retry_timeout": timedelta(seconds=25)}  # with growing pauses, some 25 s in all


class StoreError(OSError):
    """The object store could not be reached or has refused: one sentence, without anything secret."""

    def __init__(self, message: str):
        super().__init__(errno.EIO, message)

    def __str__(self) -> str:
        return str(self.strerror)


class GoneError(StoreError):
    """The object, or the whole bucket, is not there."""


class ChangedError(Exception):
    """An object is there already, or is another one by now: a conditional write that was refused."""


@dataclass(frozen=True)
class Seen:
    """An object as a listing shows it."""

    etag: str
    size: int
    modified: datetime  # by the clock of the store; of what this process wrote, by its own


class ObjectStore:
    """The objects below one address; names are relative to it and use slashes. Safe to use from many threads."""

    def __init__(self, address: str):
        self.address = checked(address)
        self._versions: dict[tuple[str, str], str | None] = {}  # by name and ETag; Google's stores ask for it
        import_obstore()
        from obstore.store import from_url

        try:
            with self._told("be set up"):
                self._store: Any = from_url(self.address, client_options=_client_options(), retry_config=_RETRIES)
        except StoreError as error:
            raise UserError(error.strerror) from None

    def listed(self, folder: str, *, deep: bool = True) -> dict[str, Seen]:
        """The objects below a folder by their names; with `deep` off only those that stand in it directly."""
        import obstore

        with self._told(f"list {folder or 'its objects'}"):
            if not deep:
                found = obstore.list_with_delimiter(self._store, folder or None)["objects"]
            else:
                found = [entry for page in obstore.list(self._store, folder, chunk_size=1000) for entry in page]
        return {entry["path"]: _seen(entry) for entry in found}

    def head(self, name: str) -> Seen | None:
        """An object's state; None where there is no such object."""
        import obstore

        with self._told(f"look at {name}"):
            try:
                return _seen(obstore.head(self._store, name))
            except FileNotFoundError:
                return None

    def read(self, name: str) -> tuple[bytes, str] | None:
        """The bytes of a small object and its ETag; None where there is no such object."""
        import obstore

        with self._told(f"read {name}"):
            try:
                found = obstore.get(self._store, name)
                return bytes(found.bytes()), self._known(name, found.meta)
            except FileNotFoundError:  # or no such bucket, which a listing tells
                return None

    def read_range(self, name: str, start: int, end: int, etag: str) -> bytes:
        """Some bytes of this version of an object. Raises ChangedError when it is another one by now."""
        import obstore
        from obstore.exceptions import PreconditionError

        with self._told(f"read {name}"):
            try:
                found = obstore.get(self._store, name, options={"range": (start, end), "if_match": f'"{etag}"'})
                return bytes(found.bytes())
            except (PreconditionError, FileNotFoundError):
                raise ChangedError(name) from None

    def fetch(self, name: str, goal: Path) -> str:
        """Copy an object into a file, whole or not at all; the ETag of what was copied. GoneError: there is none.

        The bytes are those of one request, so of one version, whatever is written meanwhile.
        """
        import obstore

        goal.parent.mkdir(parents=True, exist_ok=True)
        staged = goal.parent / f".{uuid.uuid4().hex}.part"  # the name itself may be as long as may be
        try:
            with self._told(f"read {name}"):
                found = obstore.get(self._store, name)
                with staged.open("wb") as file:
                    for piece in found.stream(min_chunk_size=_CHUNK):
                        file.write(piece)
                staged.replace(goal)
                return _etag(found.meta)
        finally:
            staged.unlink(missing_ok=True)

    def put(self, name: str, what: Path | bytes) -> str:
        """Write an object, in one atomic step, whatever was there; its ETag."""
        import obstore

        small = isinstance(what, bytes) or what.stat().st_size <= _SINGLE
        with self._told(f"write {name}"):
            return _etag(obstore.put(self._store, name, what, use_multipart=not small))

    def copy(self, name: str, goal: str) -> str:
        """Make an object, in one atomic step, what another one of this store is; its ETag. GoneError: there is none."""
        import obstore

        with self._told(f"write {goal}"):
            obstore.copy(self._store, name, goal)
        if (seen := self.head(goal)) is None:
            raise GoneError(f"{self.address}: {goal} was removed by somebody else")
        return seen.etag

    def create(self, name: str, data: bytes) -> str:
        """Write an object that must not be there yet; its ETag. Raises ChangedError where there is one."""
        return self._conditional(name, data, "create")

    def exchange(self, name: str, data: bytes, etag: str) -> str:
        """Replace an object that must be this one; the new ETag. Raises ChangedError where it is not."""
        version = {"version": self._versions.get((name, etag))} if self.address.startswith("gs:") else {}
        return self._conditional(name, data, {"e_tag": f'"{etag}"', **version})

    def _conditional(self, name: str, data: bytes, mode: Any) -> str:
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with self._told(f"write {name}"):
            try:
                return self._known(name, obstore.put(self._store, name, data, mode=mode))
            except (AlreadyExistsError, PreconditionError):
                there = self.read(name)
        if there is not None and there[0] == data:
            return there[1]  # the first answer was lost on its way, and the request was sent again
        raise ChangedError(name)

    def _known(self, name: str, entry: Mapping[str, Any]) -> str:
        """An object's ETag, by which `exchange` finds what else its server wants to know."""
        etag = _etag(entry)
        self._versions = {key: version for key, version in self._versions.items() if key[0] != name}
        self._versions[name, etag] = entry["version"]
        return etag

    def delete(self, names: Iterable[str]) -> None:
        """Remove objects; one that is gone already is no error."""
        import obstore

        if listed := list(names):
            with self._told("delete objects"):
                obstore.delete(self._store, listed)

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Errors of the library become one sentence: its own quote the request and the server's answer at length."""
        try:
            yield
        except (StoreError, ChangedError, UserError):
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno is not None:  # of the local disk
                raise
            trouble = GoneError if isinstance(error, FileNotFoundError) else StoreError
            raise trouble(f"{self.address}: could not {what}: {_short(error)}") from None


def checked(address: str) -> str:
    """An address as it is used everywhere, without a slash at the end. UserError for one that cannot be used."""
    try:
        parts = urlsplit(address)
    except ValueError:
        raise UserError("The address of the home is none: s3://bucket/folder, or gs:// or az://.") from None
    if "@" in address or ":" in parts.netloc or parts.query or parts.fragment:
        raise UserError(
            "The address of a home in an object store is scheme://bucket/folder and nothing else: credentials belong "
            "in the environment (docs/object_store.md)."
        )
    if not is_address(address) or not parts.netloc or not re.fullmatch(r"[\w.@/=-]*", parts.path):
        raise UserError(f"{address} is no address of an object store: s3://bucket/folder, or gs:// or az://.")
    return f"{parts.scheme}://{parts.netloc}/{'/'.join(filter(None, parts.path.split('/')))}".rstrip("/")


def import_obstore() -> None:
    """UserError where the library is not installed, which is an optional one."""
    try:
        import obstore  # noqa: F401
    except ImportError as error:
        raise UserError(
            "A home in an object store needs one more library: pip install 'hapi_pipeline[objects]'."
        ) from error


def _client_options() -> Any:
    """Plain HTTP is allowed where the endpoint that was named is plain HTTP."""
    named = [os.environ.get(name, "") for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")]
    return {"allow_http": any(endpoint.startswith("http://") for endpoint in named)}


def _seen(entry: Mapping[str, Any]) -> Seen:
    return Seen(_etag(entry), int(entry["size"]), entry["last_modified"])


def _etag(entry: Mapping[str, Any]) -> str:
    """Servers do not agree with themselves on whether quotes belong to it."""
    return str(entry["e_tag"] or "").strip('"')


_REASONS: Mapping[str, str] = {
    "PermissionDeniedError": "access is denied",
    "UnauthenticatedError": "the credentials were not accepted",
    "FileNotFoundError": "there is no such bucket or object",
}


def _short(error: BaseException) -> str:
    """Why, without addresses, keys and the text of answers."""
    text = str(error)
    code = re.search(r"<Code>(\w{1,60})</Code>", text)
    reason = _REASONS.get(type(error).__name__) or next((told for said, told in _SAID if said in text.lower()), "")
    return " ".join(filter(None, [reason or "the request failed", f"({code[1]})" if code else ""]))


_SAID = (
    ("169.254.169.254", "no credentials were found"),  # a machine of Amazon would be asked for its role there
    ("invalidaccesskeyid", "the credentials were not accepted"),
    ("signaturedoesnotmatch", "the credentials were not accepted"),
    ("connect", "the server cannot be reached"),
    ("dns", "the server cannot be reached"),
    ("timed out", "the server did not answer in time"),
    ("allow_http", "plain http is not allowed for this endpoint"),
    ("credential", "no credentials were found"),
)


def each_at_once(work: Callable[[Any], Any], items: Iterable[Any], at_once: int = 16) -> None:
    """`work` on each item in threads, for requests that wait for a server. Raises what the first failing one raises."""
    from hapi_pipeline.parallel import in_threads

    listed = list(items)
    for _ in in_threads(work, listed, min(at_once, len(listed))):
        pass
