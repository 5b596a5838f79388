"""A real HTTP server between hapi and the store that misbehaves: it drops headers, or refuses what is written."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass
class Between:
    """How it misbehaves now, and what it saw."""

    endpoint: str = ""
    drops: tuple[str, ...] = ()  # headers
    refuses: str = ""  # PUT requests with this in their path end in 403
    cuts: str = ""  # of PUT requests with this in their path only half of the body is read
    seen: list[str] = field(default_factory=list)


@contextmanager
def between(target: str) -> Iterator[Between]:
    """Listens on this machine and passes requests on to `target`, an endpoint."""
    state, host = Between(), urlsplit(target).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            state.seen.append(f"{self.command} {self.path}")
            if self.command == "PUT" and state.cuts and state.cuts in self.path:
                self.rfile.read(length // 2)
                self.close_connection = True
                self.connection.close()
                return
            body = self.rfile.read(length)
            if self.command == "PUT" and state.refuses and state.refuses in self.path:
                self.answer(403, {}, b"<Error><Code>AccessDenied</Code><AWSAccessKeyId>KEY</AWSAccessKeyId></Error>")
                return
            headers = {k: v for k, v in self.headers.items() if k.lower() not in state.drops}
            onward = http.client.HTTPConnection(host)
            onward.request(self.command, self.path, body, headers)
            got = onward.getresponse()
            self.answer(got.status, dict(got.getheaders()), got.read())
            onward.close()

        def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in ("transfer-encoding", "content-length", "connection", "date", "server"):
                    self.send_header(name, value)
            size = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
            self.send_header("Content-Length", size)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = pass_on  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
