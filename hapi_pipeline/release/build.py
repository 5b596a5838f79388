"""Builds a release: staged beside its place, looked through, described, and put there whole or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hapi_pipeline import __version__
from hapi_pipeline.copies import brought
from hapi_pipeline.lake import Lake
from hapi_pipeline.naming import attempt_place, digest
from hapi_pipeline.publication import clearance
from hapi_pipeline.registry import Registry
from hapi_pipeline.release import card, changes, citation, croissant, every_eval_ever, gate, public, writing
from hapi_pipeline.release.facts import Facts, TableFiles, newest_fact
from hapi_pipeline.release.memory import Memory
from hapi_pipeline.release.own_tables import CLEARANCE, DELIVERABLES
from hapi_pipeline.settings import Home, UserError
from hapi_pipeline.tables import Table

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

MANIFEST = "manifest.json"
_FORMAT = 1  # of the manifest: raised when a reader of it would have to change
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_STAGED = ".staged-"
_SIMULATED = "-simulated"
_Fate = tuple[str | None, str | None]  # where a file is in the release, or why it is not
Say = Callable[[str, int, int], None]
"""Told what is being done, and how far it is."""


class GateClosedError(Exception):
    """Personal data stands in what was about to leave: nothing was published."""

    def __init__(self, found: Sequence[gate.Found]):
        super().__init__(f"Not released: personal data in {len(found):,} places; nothing was published.")
        self.found = tuple(sorted(found))


@dataclass(frozen=True)
class Release:
    """A release that is there: its place and its manifest."""

    path: Path
    manifest: Mapping[str, Any]

    @property
    def version(self) -> str:
        """Its version."""
        return str(self.manifest["version"])

    @property
    def previous(self) -> Mapping[str, str] | None:
        """Version and hash of the release before."""
        found: Mapping[str, str] | None = self.manifest["previous"]
        return found

    @property
    def sha256(self) -> str:
        """What the next release knows it by: the hash of its SHA256SUMS, which cover every file of it."""
        return writing.sha256_of(self.path / writing.SUMS)


# ---- what releases there are


def releases(folder: Path) -> list[Release]:
    """The releases in a folder, each after the one that it follows; those that share a place by version."""
    found: dict[str, Release] = {}
    for path in sorted(folder.glob(f"*/{MANIFEST}")) if folder.is_dir() else ():
        release = read_release(path.parent) if not path.parent.name.startswith(".") else None
        if release is not None:
            found[release.version] = release
    return sorted(found.values(), key=lambda r: (_depth(r, found), r.version))


def read_release(path: Path) -> Release | None:
    """The release in a folder; None where there is none."""
    try:
        manifest = json.loads((path / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    known = isinstance(manifest, dict) and {"format", "version", "previous", "tables"} <= set(manifest)
    return Release(path, manifest) if known else None


def _depth(release: Release, found: Mapping[str, Release]) -> int:
    depth, seen = 0, {release.version}
    while release.previous and (before := found.get(release.previous["version"])) and before.version not in seen:
        seen.add(before.version)
        release, depth = before, depth + 1
    return depth


def _previous(folder: Path, since: str | None) -> Release | None:
    """The release that a new one follows: the one named, by version or folder, else the newest of the chain."""
    there = releases(folder)
    if since is None:
        return _intact(there[-1]) if there else None
    named = next((r for r in there if r.version == since), None) or read_release(Path(since))
    if named is None:
        known = ", ".join(r.version for r in there) or "none yet"
        raise UserError(f"There is no release {since!r} in {folder} (there: {known}); name a version or its folder.")
    return _intact(named)


def _intact(release: Release) -> Release:
    """The same release, whose tables are as they were released. Raises UserError where one is not."""
    for table in release.manifest["tables"].values():
        path = release.path / table["parquet"]
        if not path.is_file() or writing.sha256_of(path) != table["sha256"][table["parquet"]]:
            raise UserError(
                f"The release {release.version} is not as it was released ({table['parquet']}), so nothing can be "
                "compared with it; `--since` names another."
            )
    return release


# ---- building


def build_release(
    lake: Lake,
    registry: Registry,
    home: Home,
    version: str | None = None,
    *,
    out: Path | None = None,
    since: str | None = None,
    say: Say = lambda what, done, of: None,
) -> Release:
    """Make a release of everything that may leave, in ``out/VERSION`` (default: the home's releases).

    Without a version it is named after the newest month, numbered from 0. That of simulated data ends in -simulated,
    whatever it is called. `since` is the release to compare with; default: the newest one in `out`.
    Raises UserError for a version that is taken or no version, for real data without a licence, for an empty lake;
    GateClosedError where personal data was found. Nothing is published then.
    """
    if version is not None and not _VERSION.fullmatch(version):
        raise UserError(f"{version!r} is no version; write letters, digits, dots and dashes, such as 2026.10.0.")
    folder = out or home.releases
    source = _Source(lake, registry, home)
    with _alone(folder):
        previous = _previous(folder, since)
        name = _named(source, folder, version)
        staged = folder / f"{_STAGED}{name}"
        try:
            _Builder(source, name, previous, staged, say).build()
            if source.state != _state(lake):
                raise UserError("The tables changed while the release was being built; wait for the run and try again.")
            os.sync()  # at once for thousands of small files: to sync each takes longer than all the rest
            staged.rename(folder / name)
            _sync_folder(folder)
        except BaseException:
            shutil.rmtree(staged, ignore_errors=True)
            raise
    release = read_release(folder / name)
    assert release is not None  # noqa: S101  (it was just made)
    return release


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One builder a folder; what a killed one has left behind is taken away."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"Another release is being built in {folder}; wait for it.") from None
        for left in folder.glob(f"{_STAGED}*"):
            shutil.rmtree(left)
        yield
    finally:
        os.close(handle)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _state(lake: Lake) -> str:
    """A fingerprint of every table that a release reads."""
    return digest(*(f"{name}:{lake.state(name, {})}" for name in sorted({*public.PUBLIC, "benchmark_jobs"})))


class _Source:
    """What a release is made from."""

    def __init__(self, lake: Lake, registry: Registry, home: Home):
        self.lake, self.registry, self.home = lake, registry, home
        self.state = _state(lake)
        self.clearance = clearance(lake, registry)
        if not self.clearance:
            raise UserError("There is nothing to release: the benchmark has no jobs yet.")
        with public.opened(lake, self.clearance) as connection:
            self.rows: dict[str, pa.Table] = {name: public.rows(connection, name) for name in public.PUBLIC}
            self.rows["clearance"] = self._clearance_rows(connection)
        self.simulated = any(_any_simulated(rows) for rows in self.rows.values())

    def check_licence(self) -> None:
        """Raise UserError where real data would leave without a licence."""
        if not self.registry.benchmark.publish.licence and self._real():
            raise UserError(
                "This release would hold real data, and no licence is stated; write the SPDX identifier of the one you "
                "choose, e.g. CC-BY-4.0, under `publish.licence` in benchmark.yaml."
            )

    def _real(self) -> bool:
        """Whether any job, attempt or verdict is not simulated."""
        import pyarrow.compute as pc

        names = ("benchmark_jobs", "attempts", "verdicts")
        return any(pc.any(pc.invert(self.rows[n].column("simulated"))).as_py() for n in names if self.rows[n].num_rows)

    def _clearance_rows(self, connection: duckdb.DuckDBPyConnection) -> pa.Table:
        sql = (
            "SELECT b.job_id, b.cohort, c.reason = '' AS cleared, c.reason AS withheld, b.simulated "
            "FROM benchmark_jobs b JOIN _clearance c USING (job_id) ORDER BY b.job_id"
        )
        return connection.sql(sql).to_arrow_table().cast(CLEARANCE.schema())

    @property
    def newest_cohort(self) -> str:
        """The newest month of the benchmark."""
        return str(max(self.rows["clearance"].column("cohort").to_pylist()))


def _any_simulated(rows: pa.Table) -> bool:
    import pyarrow.compute as pc

    return bool(rows.num_rows and pc.any(rows.column("simulated")).as_py())


def _named(source: _Source, folder: Path, version: str | None) -> str:
    """The version of the new release. Raises UserError where there is one of that name."""
    ending = _SIMULATED if source.simulated else ""
    if version is None:
        month = source.newest_cohort.replace("-", ".")
        numbered = (f"{month}.{n}{ending}" for n in range(1_000_000))
        return next(name for name in numbered if not (folder / name).exists())
    if not source.simulated and version.endswith(_SIMULATED):
        raise UserError(f"{version!r} says that the data is simulated, but it is not; choose another version.")
    name = version if version.endswith(ending) else version + ending
    if (folder / name).exists():
        raise UserError(f"The release {name} is there already, and a release is never changed; choose another version.")
    return name


class _Builder:
    """One release in the making."""

    def __init__(self, source: _Source, version: str, previous: Release | None, staged: Path, say: Say):
        self.source, self.version, self.previous, self.staged, self.say = source, version, previous, staged, say
        self.suffix = ".simulated" if source.simulated else ""
        self.found: list[gate.Found] = []
        self.files: dict[str, TableFiles] = {}

    def build(self) -> None:
        """Write everything below the staging folder. Raises GateClosedError."""
        self.staged.mkdir(parents=True)
        deliverables, counts = self._deliverables()
        self._look_at_texts(deliverables)
        if self.found:
            raise GateClosedError(self.found)
        self.source.check_licence()  # after the search: what it finds is worth knowing before a licence is chosen
        tables = self._tables(deliverables)
        for done, (table, rows) in enumerate(tables, start=1):
            self.say("Tables", done, len(tables))
            self._write_table(table, rows)
        facts = self._facts(counts)
        self._describe(facts, self._changes())

    # -- tables

    def _tables(self, deliverables: pa.Table) -> list[tuple[Table, pa.Table]]:
        own = [(CLEARANCE, self.source.rows["clearance"]), (DELIVERABLES, deliverables)]
        named = [(public.public_table(name), self.source.rows[name]) for name in public.PUBLIC]
        return [*named, *own]

    def _write_table(self, table: Table, rows: pa.Table) -> None:
        names = {kind: f"{kind}/{table.name}{self.suffix}.{kind}" for kind in ("parquet", "csv")}
        writing.write_parquet(table, rows, self.staged / names["parquet"])
        writing.write_csv(table, rows, self.staged / names["csv"])
        self.files[table.name] = TableFiles(
            table, rows.num_rows, names["parquet"], names["csv"],
            {name: writing.sha256_of(self.staged / name) for name in names.values()},
            {name: (self.staged / name).stat().st_size for name in names.values()},
        )  # fmt: skip

    def _look_at_texts(self, deliverables: pa.Table) -> None:
        texts = gate.Texts.empty()
        for table, rows in self._tables(deliverables):
            texts.add(table, rows)
        self.say("Texts", 0, 1)
        self.found += gate.in_texts(texts, self.source.registry.cleared_findings)
        self.say("Texts", 1, 1)

    # -- deliverables

    def _deliverables(self) -> tuple[pa.Table, dict[str, int]]:
        """The table of deliverables, with the files that may leave copied beside it."""
        import pyarrow as pa

        entries = list(self._handed_in())
        first: dict[str, tuple[dict[str, Any], Path]] = {}
        for entry, path in entries:
            first.setdefault(entry["sha256"], (entry, path))
        fate = self._looked_at(first)
        rows = [e | dict(zip(("file", "left_out"), fate[e["sha256"]], strict=True)) for e, _ in entries]
        published = {f for f, _ in fate.values() if f}
        counts = {
            "published": len(published),
            "left_out": sum(f is None for f, _ in fate.values()),
            "bytes": sum((self.staged / f).stat().st_size for f in published),
        }
        rows.sort(key=lambda r: (r["attempt_id"], r["path"]))
        return pa.Table.from_pylist(rows, DELIVERABLES.schema()), counts

    def _handed_in(self) -> Iterator[tuple[dict[str, Any], Path]]:
        """Every file that was handed in for a cleared job, with where it is."""
        columns = ("attempt_id", "cohort", "model", "round", "job_id", "deliverables", "simulated")
        for row in self.source.rows["attempts"].select(columns).to_pylist():
            listed = row.pop("deliverables")
            if listed is None:  # the job is not cleared
                continue
            folder = attempt_folder(self.source.home, row) / "deliverables"
            for one in json.loads(listed):
                told = {k: one[k] for k in ("path", "media_type", "bytes", "sha256")}
                yield row | told, folder / one["path"]

    def _looked_at(self, first: Mapping[str, tuple[Mapping[str, Any], Path]]) -> dict[str, _Fate]:
        """For each file by its hash: where it is in the release, or why it was left out."""
        fate: dict[str, _Fate] = {}
        files = []
        for sha256, (entry, path) in sorted(first.items()):
            fate[sha256] = name, problem = self._copied(sha256, entry["path"], path)
            if name and not problem:
                files.append(self._file(entry, self.staged / name))
        cleared = self.source.registry.cleared_findings
        with Memory(self.source.home) as memory:
            for looked in gate.in_files(files, cleared, lambda done, of: self.say("Deliverables", done, of), memory):
                self.found += looked.found
                if looked.unread:
                    looked.file.path.unlink()
                    fate[looked.file.sha256] = None, looked.unread
        return fate

    def _file(self, entry: Mapping[str, Any], path: Path) -> gate.File:
        name = gate.shown_name(entry["path"])
        where = f"attempt {entry['attempt_id']} of job {entry['job_id']}, {f'file {name}' if name else 'a file'}"
        return gate.File(where, entry["path"], path, entry["sha256"])

    def _copied(self, sha256: str, called: str, path: Path) -> _Fate:
        """Copy a file under its hash; what is not what the ledger says was handed in stays behind."""
        suffix = re.search(r"\.[A-Za-z0-9]{1,8}$", called)
        name = f"deliverables{self.suffix}/{sha256[:2]}/{sha256}{suffix[0].lower() if suffix else ''}"
        try:
            data = gate.read_unfollowed(path)
        except OSError as error:
            return None, f"it cannot be opened ({error.strerror})"
        if hashlib.sha256(data).hexdigest() != sha256:
            return None, gate.OTHER_FILE
        (self.staged / name).parent.mkdir(parents=True, exist_ok=True)
        (self.staged / name).write_bytes(data)
        return name, None

    # -- descriptions

    def _facts(self, deliverables: Mapping[str, int]) -> Facts:
        source, withheld = self.source, Counter(filter(None, self.source.clearance.values()))
        return Facts(
            version=self.version,
            publish=source.registry.benchmark.publish,
            simulated=source.simulated,
            as_of=newest_fact(source.lake),
            completion_rule=source.registry.benchmark.completion_rule,
            program=__version__,
            tables=self.files,
            leaderboard=source.rows["leaderboard"].to_pylist(),
            models={m.name: m for m in source.registry.models},
            cleared=sum(not reason for reason in source.clearance.values()),
            withheld=dict(sorted(withheld.items())),
            deliverables=deliverables,
        )

    def _changes(self) -> list[changes.Change] | None:
        """What changed since the release before; None for the first."""
        if self.previous is None:
            return None
        self.say("Changes", 0, 1)
        old = {n: self.previous.path / t["parquet"] for n, t in self.previous.manifest["tables"].items()}
        new = {n: self.staged / one.parquet for n, one in self.files.items()}
        found = changes.changes(
            {n: path for n, path in old.items() if n in new}, new, {n: one.table for n, one in self.files.items()}
        )
        self.say("Changes", 1, 1)
        return found

    def _describe(self, facts: Facts, changed: Sequence[changes.Change] | None) -> None:
        staged, summed = self.staged, changes.summary(changed or ())
        rows = [change.cells() for change in changed or ()]
        listed = f"changes{self.suffix}.csv"
        _write_changes(staged / listed, rows)
        told = _changed_text(self.previous, changed, summed, listed)
        writing.write_text(staged / "README.md", card.card(facts, told))
        writing.write_text(staged / "DICTIONARY.md", card.dictionary(facts))
        writing.write_text(staged / "CITATION.cff", citation.citation_text(facts))
        about = card.description(facts)
        writing.write_text(staged / "croissant.json", writing.as_json(croissant.croissant(facts, about), indent=None))
        for path, record in every_eval_ever.records(facts).items():
            writing.write_text(staged / path, writing.as_json(record))
        writing.write_text(staged / MANIFEST, writing.as_json(self._manifest(facts, summed)))
        writing.write_sums(staged)

    def _manifest(self, facts: Facts, summed: Mapping[str, Any]) -> dict[str, Any]:
        before = self.previous
        gone = sorted(set(before.manifest["tables"]) - set(self.files)) if before else []
        return {
            "format": _FORMAT,
            "title": facts.title,
            "version": facts.version,
            "simulated": facts.simulated,
            "as_of": facts.as_of.isoformat().replace("+00:00", "Z"),
            "licence": facts.licence,
            "made_by": {"program": "hapi_pipeline", "version": facts.program},
            "rules_version": self.source.registry.benchmark.version,
            "lake": self.source.state,
            "previous": {"version": before.version, "sha256sums_sha256": before.sha256} if before else None,
            "jobs": {"cleared": facts.cleared, "withheld": facts.withheld},
            "deliverables": {
                "published": facts.deliverables["published"],
                "bytes": facts.deliverables["bytes"],
                "left_out": facts.deliverables["left_out"],
            },
            "tables": {name: self._table_entry(one, summed.get(name)) for name, one in self.files.items()},
            "tables_gone": gone,
            "private_tables": dict(public.PRIVATE),
        }

    def _table_entry(self, one: TableFiles, changed: Mapping[str, Any] | None) -> dict[str, Any]:
        name = one.table.name
        known = name in public.PUBLIC
        none = {"new": 0, "gone": 0, "changed": 0, "reasons": {}}
        return {
            "rows": one.n_rows,
            "key": list(one.table.key),
            "columns": list(one.table.names),
            "parquet": one.parquet,
            "csv": one.csv,
            "sha256": dict(one.sha256),
            "hidden": public.hidden_columns(name) if known else {},
            "null_unless_cleared": public.cleared_only_columns(name) if known else {},
            "since_previous": dict(changed or none) if self.previous else None,
        }


def attempt_folder(home: Home, attempt: Mapping[str, Any]) -> Path:
    """Where the ledger keeps an attempt."""
    place = attempt_place(*(attempt[name] for name in ("model", "round", "job_id", "attempt_id")))
    brought((home.attempts / place).parent)
    return home.attempts / place


def _write_changes(path: Path, rows: Sequence[Sequence[str]]) -> None:
    import csv

    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\r\n")
        writer.writerow(changes.COLUMNS)
        writer.writerows(rows)


def _changed_text(
    previous: Release | None,
    changed: Sequence[changes.Change] | None,
    summed: Mapping[str, Mapping[str, Any]],
    listed: str,
) -> str:
    """What is new, for the card."""
    if previous is None or changed is None:
        return "This is the first release: every row is new."
    if not changed:
        return f"No row differs from {previous.version}."
    lines = [
        f"Since {previous.version} {len(changed):,} rows came, went or changed; `{listed}` names each with its reason.",
        "",
        "| table | new | gone | changed | reasons |",
        "|---|--:|--:|--:|---|",
    ]
    for name, one in summed.items():
        reasons = "; ".join(f"{reason} ({n:,})" for reason, n in one["reasons"].items())
        lines.append(f"| {name} | {one['new']:,} | {one['gone']:,} | {one['changed']:,} | {reasons} |")
    return "\n".join(lines)
