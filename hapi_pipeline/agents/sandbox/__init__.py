"""Where an agent's code runs: a sandbox that has shown, at the start, that it holds.

`selftest` finds the level, `levels` runs one program at it, `scripts` runs an agent's scripts in its workspace.
`launcher`, `confine` and `runner` are what runs on the other side; they use nothing but the standard library.
"""

from __future__ import annotations

import functools

from hapi_pipeline.agents.sandbox.levels import SandboxError
from hapi_pipeline.agents.sandbox.selftest import Probe, describe, probe, required

__all__ = ["Probe", "SandboxError", "describe", "libraries", "probe", "required"]


@functools.lru_cache(maxsize=4)
def libraries(level: str) -> tuple[tuple[str, str], ...]:
    """(library, version) of what code can import at a level; found once a process."""
    from hapi_pipeline.agents.sandbox.scripts import toolbox_inside

    return toolbox_inside(level)
