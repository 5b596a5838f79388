"""Attempts made elsewhere: from a folder with a JSONL manifest to the ledger of attempts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hapi_pipeline.agents.ledger import AttemptLedger
from hapi_pipeline.intake.files import sha256_of
from hapi_pipeline.intake.ledger import Rejected, commit_import, import_id, quarantine_rows
from hapi_pipeline.lake import Import, ImportedFile, Lake
from hapi_pipeline.registry import Model, Registry
from hapi_pipeline.rounds import ROUND
from hapi_pipeline.settings import Home, UserError

_MOST = 1e15  # more dollars, tokens or seconds than any attempt takes
_REQUIRED = ("job_id", "model", "round", "deliverables")


class _RefusedError(Exception):
    """A row of a manifest that cannot be taken in: column, code and a plain sentence."""

    def __init__(self, column: str, code: str, message: str):
        super().__init__(message)
        self.column, self.code = column, code


def import_attempts(lake: Lake, home: Home, registry: Registry, folder: Path) -> tuple[Import, bool]:
    """Take in the attempts that a folder's manifest lists; the import, and whether it is new.

    The manifest is the only ``*.jsonl`` in the folder, or ``manifest.jsonl``: an object a line with job_id, model,
    round and deliverables (paths within the folder), and where known cost_usd, prompt_tokens, completion_tokens,
    seconds and finished_at. Bad rows go to quarantine. Raises UserError when there is no such manifest.
    """
    manifest = _manifest(folder)
    rows = _rows(manifest)
    sha = sha256_of(manifest)
    known = lake.imported("attempts").get(sha)
    if known:
        return known, False
    ledger, now = AttemptLedger(home.attempts), datetime.now(UTC)
    cohorts = {
        row["job_id"]: row["cohort"] for row in lake.read("benchmark_jobs", columns=["job_id", "cohort"]).to_pylist()
    }
    rejected: list[Rejected] = []
    touched, taken = set[str](), 0
    for number, row in rows:
        try:
            _take_in(ledger, registry, cohorts, folder, row)
            touched.add(cohorts[row["job_id"]])
            taken += 1
        except _RefusedError as problem:
            rejected.append(Rejected(number, problem.column, str(row.get(problem.column)), problem.code, str(problem)))
        except UserError as problem:
            rejected.append(
                Rejected(number, "deliverables", str(row.get("deliverables")), "bad_deliverable", str(problem))
            )
    done = Import(
        import_id=import_id("attempts", sha),
        kind="attempts",
        source=None,
        imported_at=now.isoformat(),
        files=(ImportedFile(manifest.name, sha, taken, len(rejected)),),
        cohorts=tuple(sorted(touched)),
    )
    return commit_import(lake, done, quarantine_rows("attempts", manifest.name, sha, now, rejected)), True


def _manifest(folder: Path) -> Path:
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; attempts are imported from a folder with a JSONL manifest.")
    named, found = folder / "manifest.jsonl", sorted(folder.glob("*.jsonl"))
    if named.is_file():
        return named
    if len(found) != 1:
        raise UserError(f"{folder} must hold a manifest.jsonl, or a single *.jsonl; it holds {len(found)}.")
    return found[0]


def _rows(manifest: Path) -> list[tuple[int, dict[str, Any]]]:
    """The objects of the manifest with their line numbers; a line that is none becomes an empty object."""
    try:
        lines = manifest.read_text("utf-8-sig").split("\n")  # splitlines would also split at U+2028
    except UnicodeDecodeError as error:
        raise UserError(f"{manifest.name} is not UTF-8 text; expected an object of JSON a line.") from error
    rows: list[tuple[int, dict[str, Any]]] = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                loaded = json.loads(line)
            except (ValueError, RecursionError):
                loaded = {}
            rows.append((number, loaded if isinstance(loaded, dict) else {}))
    if not any(row for _, row in rows):
        raise UserError(f"{manifest.name} holds no attempt; expected an object of JSON a line.")
    return rows


def _take_in(
    ledger: AttemptLedger,
    registry: Registry,
    cohorts: Mapping[str, str],
    folder: Path,
    row: Mapping[str, Any],
) -> None:
    for name in _REQUIRED:
        if name not in row:
            raise _RefusedError(name, "missing_column", f"The row lacks {name!r}, or is not an object of JSON.")
    if not isinstance(row["job_id"], str) or row["job_id"] not in cohorts:
        raise _RefusedError("job_id", "unknown_id", "There is no such job in the benchmark.")
    if not isinstance(row["round"], str) or row["round"] not in ROUND:
        raise _RefusedError("round", "unknown_round", f"The round must be one of {', '.join(ROUND)}.")
    model, this = _external_model(registry, row["model"]), ROUND[row["round"]]
    ledger.add_external(
        job_id=row["job_id"],
        model=model,
        round=this.name,
        turn=this.turn,
        arm=this.arm,
        files=_files(folder, row["deliverables"]),
        cost_usd=_number(row, "cost_usd"),
        prompt_tokens=_whole(row, "prompt_tokens"),
        completion_tokens=_whole(row, "completion_tokens"),
        seconds=_number(row, "seconds"),
        finished_at=_moment(row),
    )


def _external_model(registry: Registry, name: object) -> Model:
    for model in registry.models:
        if model.name == name:
            if not model.external:
                raise _RefusedError("model", "not_external", "This model's attempts are made here, not imported.")
            return model
    raise _RefusedError("model", "unknown_model", "Register the model first: hapi models add NAME --external.")


def _files(folder: Path, listed: object) -> list[tuple[str, Path]]:
    if not isinstance(listed, list) or not all(isinstance(p, str) for p in listed):
        raise _RefusedError(
            "deliverables", "bad_deliverable", "deliverables must be a list of paths within the folder."
        )
    root, found = folder.resolve(), []
    for text in listed:
        try:
            path = (root / text).resolve()
            is_file = path.is_file()
        except (OSError, ValueError):
            raise _RefusedError("deliverables", "bad_deliverable", "No file can have such a name.") from None
        if not path.is_relative_to(root):
            raise _RefusedError("deliverables", "bad_deliverable", "A deliverable lies outside the folder.")
        if not is_file:
            raise _RefusedError("deliverables", "missing_file", "A deliverable that is listed does not exist.")
        found.append((text, path))
    return found


def _number(row: Mapping[str, Any], name: str) -> float | None:
    value = row.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MOST:
        raise _RefusedError(name, "bad_number", f"{name} must be a number of zero or more.")
    return float(value)


def _whole(row: Mapping[str, Any], name: str) -> int | None:
    number = _number(row, name)
    return None if number is None else int(number)


def _moment(row: Mapping[str, Any]) -> datetime | None:
    value = row.get("finished_at")
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        raise _RefusedError("finished_at", "bad_date", "finished_at must be written as YYYY-MM-DDTHH:MM:SS.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
