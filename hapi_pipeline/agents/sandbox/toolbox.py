"""The libraries that an agent's code may use: those of the extra `toolbox` that are installed, and what they need."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from hapi_pipeline.agents.sandbox.private import lasting_folder

TOOLBOX: tuple[tuple[str, str], ...] = (
    ("pandas", "pandas"),
    ("numpy", "numpy"),
    ("openpyxl", "openpyxl"),
    ("xlsxwriter", "xlsxwriter"),
    ("python-docx", "docx"),
    ("python-pptx", "pptx"),
    ("reportlab", "reportlab"),
    ("pypdf", "pypdf"),
    ("matplotlib", "matplotlib"),
    ("Pillow", "PIL"),
    ("scipy", "scipy"),
    ("trimesh", "trimesh"),
    ("numpy-stl", "stl"),
    ("ezdxf", "ezdxf"),
)
"""(distribution, the name under which it is imported)"""


@dataclass(frozen=True)
class Tool:
    """One library of the toolbox that is installed here."""

    name: str
    module: str
    version: str


def installed() -> tuple[Tool, ...]:
    """The libraries of the toolbox that are installed beside this program."""
    found = []
    for name, module in TOOLBOX:
        try:
            found.append(Tool(name, module, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue
    return tuple(found)


@lru_cache(maxsize=1)
def entries() -> dict[str, Path]:
    """What makes up the toolbox: top-level names in site-packages with their paths, of the libraries and their needs.

    Only these are shown to the code: site-packages as a whole would show it this program and its sample's rubrics.
    """
    found: dict[str, Path] = {}
    for distribution in _closure([tool.name for tool in installed()]):
        for file in distribution.files or ():
            top = file.parts[0]
            if top not in ("..", "__pycache__") and top not in found:
                path = Path(str(distribution.locate_file(top)))
                if path.exists():
                    found[top] = path.resolve()
    return found


def _closure(names: list[str]) -> Iterator[metadata.Distribution]:
    from packaging.requirements import Requirement

    seen: set[str] = set()
    while names:
        name = names.pop().lower().replace("_", "-")
        if name in seen:
            continue
        seen.add(name)
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        yield distribution
        needs = [Requirement(text) for text in distribution.requires or ()]
        names += [r.name for r in needs if r.marker is None or r.marker.evaluate({"extra": ""})]


@lru_cache(maxsize=1)
def linked() -> Path:
    """A folder of links to the toolbox's entries, for the level that cannot arrange its own view of the disk."""
    folder = lasting_folder("hapi-toolbox-")
    for name, path in entries().items():
        (folder / name).symlink_to(path)
    return folder


def interpreter() -> Path:
    """The Python that runs scripts: the one under this program's virtual environment, without the environment."""
    return Path(getattr(sys, "_base_executable", sys.executable)).resolve()


def interpreter_paths() -> list[Path]:
    """What the interpreter needs to run: itself, its library and its standard library."""
    base = Path(sys.base_prefix).resolve()
    library = sysconfig.get_config_var("INSTSONAME") or ""
    shared = Path(sysconfig.get_config_var("LIBDIR") or base / "lib") / library
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    # of the base, never of a virtual environment: in one's site-packages lie this program and its sample
    paths = [interpreter(), base / "lib" / version, base / sys.platlibdir / version]
    if library and shared.is_file():
        paths.append(shared.resolve())
    return [path for path in dict.fromkeys(paths) if path.exists()]
