"""The report: a static site made from the tables of a lake, to be read from a folder or any host."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hapi_pipeline.lake import Lake
    from hapi_pipeline.registry import Registry
    from hapi_pipeline.settings import Home


def build_report(lake: Lake, registry: Registry, home: Home, out: Path) -> Path:
    """Build the site in a folder, whole or not at all; its first page.

    The same lake and registry give the same bytes. A folder that is there already is replaced if it holds such a
    site; UserError if it holds anything else.
    """
    from hapi_pipeline.report.site import build

    return build(lake, registry, home, out)
