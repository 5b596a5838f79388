"""A server on this machine that speaks S3 with conditional writes: moto, in a process of its own, in memory.

with serving() as server: ...  # server.environment: what hapi needs to reach it
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

KEY, SECRET = "KEY-OF-A-TEST", "a-secret-that-must-not-be-told"
_MAIN = "import sys; from moto.server import main; main(sys.argv[1:])"


@dataclass(frozen=True)
class Server:
    """Where it listens."""

    endpoint: str
    bucket: str

    @property
    def environment(self) -> dict[str, str]:
        """What a client of it finds in its environment."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
        }


@contextmanager
def serving(bucket: str = "bench") -> Iterator[Server]:
    """The server with one empty bucket, until the block ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", _MAIN, "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        server = Server(f"http://127.0.0.1:{port}", bucket)
        _wait(port, process)
        urllib.request.urlopen(urllib.request.Request(f"{server.endpoint}/{bucket}", method="PUT")).close()
        yield server
    finally:
        process.kill()
        process.wait()


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("the S3 server (pip install 'moto[s3]' flask flask-cors) did not start")
