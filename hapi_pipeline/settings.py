"""Where things are: the home of one deployment, and the files that ship with the package.

A *home* holds everything specific to one deployment: its registry (configuration), inbox, lake (tables),
attempts, packets and releases. Nothing else on the machine is written to.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

HOME_VARIABLE = "HAPI_HOME"
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
    def registry(self) -> Path:
        """The operator's configuration: benchmark.yaml, models.yaml, graders.yaml, sources/."""
        return self.root / "registry"

    @property
    def inbox(self) -> Path:
        """Where an operator drops files to be imported."""
        return self.root / "inbox"

    @property
    def lake(self) -> Path:
        """The tables, one Parquet file per partition."""
        return self.root / "lake"

    @property
    def attempts(self) -> Path:
        """The ledger of attempts: a folder each, with its steps, result and deliverables."""
        return self.root / "attempts"

    @property
    def packets(self) -> Path:
        """What graders get: a folder per packet."""
        return self.root / "packets"

    @property
    def releases(self) -> Path:
        """Published datasets and reports."""
        return self.root / "releases"

    @property
    def dagster(self) -> Path:
        """DAGSTER_HOME of this deployment: runs, schedules, dynamic partitions."""
        return self.root / ".dagster"

    def ensure(self) -> Home:
        """Create the folders and copy the shipped registry and dagster.yaml where they are missing."""
        for name in _FOLDERS:
            (self.root / name).mkdir(parents=True, exist_ok=True)
        if not (self.registry / "benchmark.yaml").exists():
            _copy_tree(shipped("data/registry"), self.registry)
        self.dagster.mkdir(parents=True, exist_ok=True)
        if not (self.dagster / "dagster.yaml").exists():
            settings = shipped("dagster.yaml").read_text("utf-8") + _EVENT_LOG
            staged = self.dagster / f".dagster.yaml.{os.getpid()}.part"
            staged.write_text(settings, "utf-8")
            staged.replace(self.dagster / "dagster.yaml")
        return self

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
    """The home to work on: the one named, else ``HAPI_HOME``, else ``data/`` of the project."""
    chosen = explicit or os.environ.get(HOME_VARIABLE) or project_root() / "data"
    return Home(Path(chosen).expanduser().resolve())
