"""The simulated provider in this process, which also counts how many calls are with it at once, and when."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from aiohttp import web

from hapi_pipeline.simulate.server import BillingLog, application
from hapi_pipeline.simulate.world import World


class Loopback:
    """Serves on a port of its own from entering to leaving. `at` are the moments at which calls came in, in seconds."""

    def __init__(self, folder: Path, latency_ms: float):
        self._log = folder / "requests.jsonl"
        self._app = application(World.load(folder / "world"), BillingLog(self._log), latency_ms)
        self._app.middlewares.append(self._counting)
        self._loop = asyncio.new_event_loop()
        self.now, self.most, self.at, self.address = 0, 0, list[float](), ""

    def __enter__(self) -> Loopback:
        ready = threading.Event()

        async def serve() -> None:
            runner = web.AppRunner(self._app, access_log=None)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.address = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
            ready.set()

        self._loop.create_task(serve())
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        assert ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)

    def books(self) -> list[dict[str, Any]]:
        """A record for each request that was answered."""
        lines = self._log.read_text("utf-8").splitlines() if self._log.exists() else []
        return [json.loads(line) for line in lines]

    def requests(self) -> Counter[str]:
        """How often each call was made, by its key."""
        return Counter(str(record["key"]) for record in self.books())

    @web.middleware
    async def _counting(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.now += 1
        self.most = max(self.most, self.now)
        self.at.append(time.time())
        try:
            answer: web.StreamResponse = await handler(request)
            return answer
        finally:
            self.now -= 1
