"""Where things are: the home of one deployment, and the files that ship with the package.

A *home* holds everything specific to one deployment: its registry (configuration), inbox, lake (tables),
attempts, packets and releases. Nothing else on the machine is written to. A home may also stand in an object store;
then its folder is the working folder of `copies.py`, and asking for a part of it brings what the store has.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

HOME_VARIABLE = "HAPI_HOME"
MARKER = ".object_store"
"""The file in a folder that says of which home in an object store it is the working folder."""
# only in a home, where DAGSTER_HOME is always set: Dagster's own tools read the shipped file without one
_EVENT_LOG = """
# Dagster's own event log, in the files where it would be anyway, but written with less work (docs/decisions/0016)
event_log_storage:
  module: hapi_pipeline.event_log
  class: QuickEventLog
  config: {base_dir: {env: DAGSTER_HOME}}
"""
_FOLDERS = ("inbox", "lake", "attempts", "packets", "releases")


class UserError(Exception):
    """Bad usage or bad input: shown to the user as one plain sentence, exit code 2, nothing changed."""


@dataclass(frozen=True)
class Home:
    """The root folder of one deployment's run-time data and configuration."""

    root: Path

    @property
    def address(self) -> str:
        """What HAPI_HOME says for this home: its folder, or where it stands in an object store."""
        from hapi_pipeline.copies import copy_of

        copy = copy_of(self.root)
        return copy.address if copy else str(self.root)

    @property
    def registry(self) -> Path:
        """The operator's configuration: benchmark.yaml, models.yaml, graders.yaml, sources/."""
        return self._part("registry")

    @property
    def inbox(self) -> Path:
        """Where an operator drops files to be imported."""
        return self.root / "inbox"

    @property
    def lake(self) -> Path:
        """The tables, one Parquet file per partition."""
        return self._part("lake")

    @property
    def attempts(self) -> Path:
        """The ledger of attempts: a folder each, with its steps, result and deliverables."""
        return self.root / "attempts"

    @property
    def packets(self) -> Path:
        """What graders get: a folder per packet."""
        return self._part("packets")

    @property
    def releases(self) -> Path:
        """Published datasets and reports."""
        return self._part("releases")

    @property
    def dagster(self) -> Path:
        """DAGSTER_HOME of this deployment: runs, schedules, dynamic partitions."""
        return self.root / ".dagster"

    def _part(self, name: str) -> Path:
        from hapi_pipeline.copies import brought

        return brought(self.root / name)

    def tell_dagster(self) -> None:
        """Set the variables by which Dagster and its settings know this home, in this process and what it starts."""
        os.environ[HOME_VARIABLE] = str(self.root)
        os.environ["DAGSTER_HOME"] = str(self.dagster)
        os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")

    def ensure(self) -> Home:
        """Create the folders and copy the shipped registry and dagster.yaml where they are missing."""
        for name in _FOLDERS:
            (self.root / name).mkdir(parents=True, exist_ok=True)
        if not (self.registry / "benchmark.yaml").exists():
            _copy_tree(shipped("data/registry"), self.registry)
            self.send("registry")
        self.dagster.mkdir(parents=True, exist_ok=True)
        if not (self.dagster / "dagster.yaml").exists():
            settings = shipped("dagster.yaml").read_text("utf-8") + _EVENT_LOG
            staged = self.dagster / f".dagster.yaml.{os.getpid()}.part"
            staged.write_text(settings, "utf-8")
            staged.replace(self.dagster / "dagster.yaml")
        return self

    def send(self, *parts: str) -> None:
        """Put what has changed here, in these folders or all, into the object store that the home stands in, if any."""
        from hapi_pipeline.copies import copy_of

        if copy := copy_of(self.root):
            copy.send_changed(*parts)

    def exists(self) -> bool:
        """Whether this folder has been set up as a home."""
        return (self.registry / "benchmark.yaml").exists()


def _copy_tree(source: Path, target: Path) -> None:
    """Copy the files that are missing; those at the top come last, for one of them says that a home is set up."""
    for path in sorted(source.rglob("*"), key=lambda p: (-len(p.parts), p.name == "benchmark.yaml", p)):
        if path.is_file():
            goal = target / path.relative_to(source)
            goal.parent.mkdir(parents=True, exist_ok=True)
            if not goal.exists():
                _copy_file(path, goal)


def _copy_file(source: Path, goal: Path) -> None:
    """Copy a file whole or not at all."""
    staged = goal.with_name(f".{goal.name}.{os.getpid()}.part")
    shutil.copyfile(source, staged)
    staged.replace(goal)


def project_root() -> Path:
    """The checkout that this package runs from, or the current folder when it is installed as a wheel."""
    checkout = Path(__file__).resolve().parent.parent
    return checkout if (checkout / "pyproject.toml").exists() else Path.cwd()


def shipped(relative: str) -> Path:
    """A file or folder that ships with the project: from the checkout, or from inside the wheel.

    `relative` is written as in the checkout, e.g. ``data/registry`` or ``sql``.
    """
    checkout = Path(__file__).resolve().parent.parent / relative
    if checkout.exists():
        return checkout
    return Path(__file__).resolve().parent / "_shipped" / relative.removeprefix("data/")


def find_home(explicit: str | Path | None = None) -> Home:
    """The home to work on: the one named, else ``HAPI_HOME``, else ``data/`` of the project.

    It is a folder, or an address such as ``s3://bucket/folder``: UserError for one that cannot be used.
    """
    chosen = explicit or os.environ.get(HOME_VARIABLE) or project_root() / "data"
    if is_address(str(chosen)):
        return _opened(str(chosen))
    root = Path(chosen).expanduser().resolve()
    marker = root / MARKER
    return _opened(marker.read_text("utf-8"), root) if marker.exists() else Home(root)


def is_address(text: str) -> bool:
    """Whether a text names a home in an object store; whether it can be used is another question."""
    return re.match(r"(s3|gs|az):/", text) is not None


def _opened(address: str, folder: Path | None = None) -> Home:
    from hapi_pipeline.copies import open_copy

    return Home(open_copy(address, folder).folder)
