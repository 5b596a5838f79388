"""The simulated provider as a process of its own, for as long as somebody needs it."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_START_SECONDS = 300.0  # it takes a second or two; at a load of 12 on two cores, 60 were not enough
_END_SECONDS = 5.0
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "SYSTEMROOT")


@contextmanager
def simulated_provider(folder: Path, latency_ms: float = 0) -> Iterator[str]:
    """Run the simulated provider and give its base URL.

    Its world is `folder`/world, its billing log `folder`/requests.jsonl. Works from any thread; the server
    ends with the block, and with this process however that ends. Raises RuntimeError with the server's own
    words if it does not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    complaints = folder / "server.stderr"
    command = [sys.executable, "-P", "-m", "hapi_pipeline.simulate.server"]
    command += ["--world", str(folder / "world"), "--log", str(folder / "requests.jsonl")]
    command += ["--latency-ms", str(latency_ms)]
    with complaints.open("wb") as errors:
        server = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=_environment()
        )
    try:
        yield _address(server, complaints)
    finally:
        _end(server)


def _environment() -> dict[str, str]:
    """A small environment without the keys of real providers, in which this package can be imported."""
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    package_root = str(Path(__file__).resolve().parents[2])
    return kept | {"PYTHONPATH": os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH")]))}


def _address(server: subprocess.Popen[bytes], complaints: Path) -> str:
    assert server.stdout is not None  # noqa: S101  (we asked for a pipe)
    deadline = time.monotonic() + _START_SECONDS
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(server.stdout, selectors.EVENT_READ)
        while not line.endswith(b"\n") and selector.select(max(0.0, deadline - time.monotonic())):
            piece = os.read(server.stdout.fileno(), 4096)
            if not piece:
                break
            line += piece
    words = line.decode("utf-8", "replace").split()
    if len(words) != 2 or words[0] != "listening":
        within = "" if time.monotonic() < deadline else f" within {_START_SECONDS:.0f} s"
        said = complaints.read_text("utf-8", "replace")[-2000:]
        raise RuntimeError(f"The simulated provider did not start{within}.\n{said}".rstrip())
    return words[1]


def _end(server: subprocess.Popen[bytes]) -> None:
    for stream in (server.stdin, server.stdout):
        if stream is not None:
            stream.close()
    try:
        server.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
