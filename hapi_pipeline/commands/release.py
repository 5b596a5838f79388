"""`hapi release`: make a version of the dataset that can be cited, list the versions there are, or check one."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hapi_pipeline.commands.arguments import Add
from hapi_pipeline.settings import Home, UserError

if TYPE_CHECKING:
    from hapi_pipeline.progress import Progress
    from hapi_pipeline.release import Release
    from hapi_pipeline.release.gate import Found

_SHOWN = 20  # findings on the terminal; --findings gives all


def add_to(add: Add) -> None:
    """Add the command."""
    released = add("release", release, "Make a version of the dataset that can be cited; also: --list, --check.")
    released.add_argument("--version", metavar="V", help="default: the newest month, e.g. 2026.10.0; never used twice")
    released.add_argument("--out", type=Path, metavar="DIR", help="folder of the releases (default: the home's)")
    released.add_argument(
        "--since", metavar="PREVIOUS", help="release to compare with, by version or folder (default: the newest there)"
    )
    released.add_argument(
        "--findings", type=Path, metavar="FILE", help="write what the search for personal data finds as CSV"
    )
    instead = released.add_mutually_exclusive_group()
    instead.add_argument("--list", action="store_true", help="list the releases that there are")
    instead.add_argument("--check", metavar="V", help="hold a release against its checksums")


def release(arguments: argparse.Namespace, home: Home) -> int:
    """Make, list or check releases."""
    folder = arguments.out or home.releases
    if arguments.list:
        return _list(folder)
    if arguments.check:
        return _check(folder, arguments.check)
    return _make(arguments, home)


def _make(arguments: argparse.Namespace, home: Home) -> int:
    from hapi_pipeline.agents.documents.model import counted
    from hapi_pipeline.lake import Lake
    from hapi_pipeline.operations import publishing
    from hapi_pipeline.registry import Registry
    from hapi_pipeline.release import GateClosedError, build_release

    told = _Told()
    try:
        with publishing(home, arguments.out):
            made = build_release(
                Lake(home.lake), Registry.of(home), home, arguments.version,
                out=arguments.out, since=arguments.since, say=told,
            )  # fmt: skip
    except GateClosedError as closed:
        told.end()
        return _closed(closed.found, arguments.findings)
    told.end()
    if arguments.findings:
        _write_findings((), arguments.findings)
    print(summary(made))
    left_out = made.manifest["deliverables"]["left_out"]
    if left_out:
        files = counted(left_out, "file was", "files were")
        print(f"Done, but {files} left out: what cannot be read cannot be searched.")
    return 1 if left_out else 0


class _Told:
    """Shows each step of the work as it goes."""

    def __init__(self) -> None:
        self._what = ""
        self._progress: Progress | None = None

    def __call__(self, what: str, done: int, of: int) -> None:
        from hapi_pipeline.progress import Progress

        if what != self._what:
            self.end()
            self._what, self._progress = what, Progress(what)
        if self._progress is not None and of > 1:
            self._progress.show(done, of)

    def end(self) -> None:
        """Leave the line of the last step."""
        if self._progress is not None:
            self._progress.__exit__(None, None, None)


def summary(made: Release) -> str:
    """What a release holds, for the terminal."""
    told = made.manifest
    jobs, files = told["jobs"], told["deliverables"]
    lines = [
        f"{told['title']} {made.version}",
        f"  tables        {len(told['tables'])}, {_rows(made):,} rows, as Parquet and CSV",
        f"  jobs          {_jobs(made):,}, {jobs['cleared']:,} of them with texts and files",
        *(f"                {n:,} {reason}" for reason, n in jobs["withheld"].items()),
        f"  deliverables  {files['published']:,} different files, {files['bytes'] / 1e6:,.1f} MB"
        + (f"; {files['left_out']:,} left out (table deliverables)" if files["left_out"] else ""),
        f"  before it     {told['previous']['version'] if told['previous'] else 'none, it is the first'}",
    ]
    if told["previous"]:
        lines.append(f"  changes       {_changed(told)}")
    return "\n".join([*lines, f"  folder        {made.path}"])


def _changed(told: Mapping[str, Any]) -> str:
    counts = {
        kind: sum(t["since_previous"][kind] for t in told["tables"].values()) for kind in ("new", "gone", "changed")
    }
    named = ", ".join(f"{n:,} {kind}" for kind, n in counts.items() if n)
    return f"{named} rows, each named with its reason" if named else "none: every row is as before"


def _closed(found: Sequence[Found], out: Path | None) -> int:
    """Say what keeps the release from leaving."""
    if out is not None:
        _write_findings(found, out)
    for one in found[:_SHOWN]:
        print(f"{one.type} ({one.decision}): {one.place}\n  {one.where}\n  sha256 {one.sha256}")
    if len(found) > _SHOWN:
        print(f"… and {len(found) - _SHOWN:,} more{f', all in {out}' if out else '; --findings FILE writes them all'}")
    print(
        "Take it out at its source. Where somebody has looked and it is harmless, write\n"
        "a line into cleared_findings.txt of the registry: the sha256, a space, and who\n"
        "looked and why."
    )
    print(f"Not released: personal data in {len(found):,} places; nothing was published.")
    return 1


def _write_findings(found: Sequence[Found], out: Path) -> None:
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("type", "decision", "where", "place", "sha256"))
        writer.writerows((f.type, f.decision, f.where, f.place, f.sha256) for f in found)


def _list(folder: Path) -> int:
    from hapi_pipeline.release import releases
    from hapi_pipeline.show import table

    there = releases(folder)
    if not there:
        print(f"No release in {folder} yet; `hapi release` makes one.")
        return 0
    known = {r.version: r for r in there}
    rows = [[r.version, r.manifest["as_of"][:10], _jobs(r), _rows(r), _follows(r, known)] for r in there]
    print(table(["version", "as of", "jobs", "rows", "follows"], rows))
    return 0


def _jobs(one: Release) -> int:
    jobs = one.manifest["jobs"]
    return int(jobs["cleared"] + sum(jobs["withheld"].values()))


def _rows(one: Release) -> int:
    return sum(int(table["rows"]) for table in one.manifest["tables"].values())


def _follows(one: Release, known: dict[str, Release]) -> str:
    """The release before, and whether it is still what this one was compared with."""
    if one.previous is None:
        return "none"
    before = known.get(one.previous["version"])
    if before is None:
        return f"{one.previous['version']} (not here)"
    same = before.sha256 == one.previous["sha256sums_sha256"]
    return before.version if same else f"{before.version} (changed since!)"


def _check(folder: Path, version: str) -> int:
    from hapi_pipeline.release import releases
    from hapi_pipeline.release.writing import problems

    there = next((r for r in releases(folder) if r.version == version), None)
    if there is None:
        raise UserError(f"There is no release {version!r} in {folder}; `hapi release --list` shows those there are.")
    found = problems(there.path)
    for problem in found[:_SHOWN]:
        print(problem)
    print(
        f"{version}: {f'{len(found):,} files are not as they were released' if found else 'every file is as released'}."
    )
    return 1 if found else 0
