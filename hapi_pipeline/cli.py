"""Keep a benchmark of human + agent work: import, curate, attempt, grade, publish.

A thin, friendly face over the Dagster instance of a home: what it starts is a Dagster run and shows up in the UI.

Exit codes: 0 done; 1 done with rows in quarantine or attempts failed (named on the last line); 2 bad usage or bad
input, with one clear sentence and nothing changed.
"""

from __future__ import annotations

import argparse
import gc
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hapi_pipeline import __version__
from hapi_pipeline.rounds import ROUND
from hapi_pipeline.settings import Home, UserError, find_home, project_root

if TYPE_CHECKING:
    from hapi_pipeline.lake import Import
    from hapi_pipeline.operations import Refreshed

Command = Callable[[argparse.Namespace, Home], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    arguments = _parser().parse_args(argv)
    home = find_home(getattr(arguments, "home", None))
    try:
        return int(arguments.run(arguments, home))
    except UserError as error:
        print(f"hapi: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nhapi: stopped; the same command goes on from here.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        print(f"hapi: {error.strerror or error}{where}; what was finished before is kept.", file=sys.stderr)
        return 2


def entry() -> None:
    """The console script."""
    # the libraries leave a million long-lived objects, which the default would go through again and again
    gc.set_threshold(100_000, 50, 50)
    sys.exit(main())


def _parser() -> argparse.ArgumentParser:
    home = argparse.ArgumentParser(add_help=False)
    home.add_argument(
        "--home",
        metavar="DIR",
        default=argparse.SUPPRESS,
        help="folder of the deployment (default: HAPI_HOME, else data/)",
    )
    parser = argparse.ArgumentParser(
        prog="hapi", parents=[home], description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--version", action="version", version=f"hapi {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(
        name: str,
        run: Command,
        help: str,
        within: argparse._SubParsersAction[argparse.ArgumentParser] = commands,
    ) -> argparse.ArgumentParser:
        command = within.add_parser(name, parents=[home], help=help, description=help)
        command.set_defaults(run=run)
        return command

    demo_command = add(
        "demo", demo, "Run everything on the bundled simulated sample, offline (in data/demo unless --home)."
    )
    demo_command.add_argument("--fresh", action="store_true", help="delete this demo home and start over")
    add("init", init, "Make a home: a folder with its own rules, models and data.")

    what = commands.add_parser("import", help="Take in files: jobs, rubrics, verdicts, attempts.").add_subparsers(
        metavar="KIND", required=True
    )
    jobs = add("jobs", import_jobs, "Import job exports (CSV, JSON lines, Parquet, gzipped or not).", what)
    jobs.add_argument("files", nargs="+", type=Path, metavar="FILE")
    jobs.add_argument("--source", required=True, metavar="NAME", help="source definition in registry/sources/")
    rubrics = add("rubrics", import_rubrics, "Import rubrics (long CSV, JSON lines or xlsx).", what)
    rubrics.add_argument("files", nargs="+", type=Path, metavar="FILE")
    verdicts = add(
        "verdicts",
        import_verdicts,
        "Import verdicts (packet workbooks, their CSV twins, long CSV, JSON lines).",
        what,
    )
    verdicts.add_argument("files", nargs="+", type=Path, metavar="FILE")
    attempts = add(
        "attempts", import_attempts, "Import an external agent's work: a folder with a JSONL manifest.", what
    )
    attempts.add_argument(
        "folder", type=Path, metavar="DIR", help="holds manifest.jsonl and the deliverables that it names"
    )

    refreshed = add("refresh", refresh, "Bring a month, or all that changed, up to date: curation, rounds, results.")
    refreshed.add_argument("--cohort", metavar="YYYY-MM", help="this month only, even if nothing changed")
    refreshed.add_argument(
        "--max-usd", type=_usd, metavar="N", help="start no further attempt once this run has spent N USD"
    )

    models_command = add(
        "models", models, "List the models with what each has and lacks; also: models add, models retire."
    )
    actions = models_command.add_subparsers(metavar="ACTION")
    new = add("add", models_add, "Register a model.", actions)
    new.add_argument("name", metavar="NAME")
    new.add_argument("--litellm", metavar="ID", help="litellm id, e.g. openai/gpt-5")
    new.add_argument("--external", action="store_true", help="its attempts are made elsewhere and imported")
    new.add_argument("--api-base", metavar="URL", help="address of the provider, where litellm does not know it")
    new.add_argument("--api-key-env", metavar="VARIABLE", help="name of the variable that holds the key")
    new.add_argument("--input-usd", type=_usd, metavar="N", help="USD per million input tokens")
    new.add_argument("--output-usd", type=_usd, metavar="N", help="USD per million output tokens")
    new.add_argument("--max-tokens", type=_count, metavar="N", default=8192, help="longest reply, in tokens")
    new.add_argument("--concurrency", type=_count, metavar="N", default=8, help="attempts in flight at once")
    new.add_argument("--training-cutoff", type=_month, metavar="YYYY-MM", help="last month of its training data")
    retired = add("retire", models_retire, "Make no further attempts with a model; its results stay.", actions)
    retired.add_argument("name", metavar="NAME")

    backfilled = add("backfill", backfill, "Make a model's missing attempts over all months.")
    backfilled.add_argument("--model", required=True, metavar="NAME")
    backfilled.add_argument("--cohorts", metavar="A..B", help="months from A to B, as YYYY-MM..YYYY-MM")
    backfilled.add_argument(
        "--max-usd", type=_usd, metavar="N", help="start no further attempt once this run has spent N USD"
    )
    backfilled.add_argument(
        "--dry-run", action="store_true", help="only say what would be done and what it is likely to cost"
    )

    packed = add("packets", packets, "Copy the packets that still need grading to a folder, for graders.")
    packed.add_argument("--model", metavar="NAME", help="only attempts of this model")
    packed.add_argument("--round", metavar="NAME", help=f"only this round: {', '.join(ROUND)}")
    packed.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="DIR",
        help="where to; packets there already are left alone",
    )

    asked = add("query", query, "Ask every table of the lake in SQL, read-only.")
    asked.add_argument(
        "sql", metavar="SELECT", help='e.g. "SELECT * FROM leaderboard"; the tables: docs/data_dictionary.md'
    )
    asked.add_argument("--format", choices=("table", "csv", "json", "parquet"), default="table")

    scanned = add("pii", pii, "Scan a CSV, JSON lines or Parquet file for personal data: one JSON line a row.")
    scanned.add_argument("file", type=Path, metavar="FILE")
    scanned.add_argument("--text-column", metavar="C", help="column to scan (default: text, else all of them)")

    explained = add("explain", explain, "Why a job is in or out, its rubric, attempts, verdicts and outcome.")
    explained.add_argument("job_id", metavar="JOB_ID")

    simulated = add("simulate", simulate, "Make synthetic exports with known truth.")
    simulated.add_argument("--posts", type=int, required=True, metavar="N")
    simulated.add_argument("--seed", type=int, default=0, metavar="S")
    simulated.add_argument("--out", type=Path, required=True, metavar="DIR")
    simulated.add_argument("--format", choices=("csv", "jsonl", "parquet"), default="csv")

    shown = add("ui", ui, "Start the Dagster UI and daemon on this home; history is kept.")
    shown.add_argument("--port", type=int, default=3000)
    shown.add_argument("--host", default="127.0.0.1")
    return parser


def _count(text: str) -> int:
    """A whole number of at least one."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at least 1")
    return int(text)


def _month(text: str) -> str:
    """A month."""
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no month; write YYYY-MM")
    return text


def _usd(text: str) -> float:
    """An amount of money."""
    amount = float(text)
    if not 0 <= amount < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no amount in USD: it must be zero or more")
    return amount


# ---- set-up and the demo


def init(arguments: argparse.Namespace, home: Home) -> int:
    """Make a home."""
    new = not home.exists()
    home.ensure()
    print(f"{'Made' if new else 'Kept'} the home {home.root}; its rules stand in {home.registry / 'benchmark.yaml'}.")
    return 0


def demo(arguments: argparse.Namespace, home: Home) -> int:
    """The main job on the bundled sample."""
    from hapi_pipeline.demo import run_demo

    chosen = (
        Home(Path(arguments.home).expanduser().resolve())
        if "home" in arguments
        else Home(project_root() / "data" / "demo")
    )
    return run_demo(chosen, fresh=arguments.fresh)


def ui(arguments: argparse.Namespace, home: Home) -> int:
    """The Dagster UI and daemon."""
    from hapi_pipeline.ui import serve

    return serve(home, arguments.host, arguments.port)


# ---- files in


def import_jobs(arguments: argparse.Namespace, home: Home) -> int:
    """Import job exports."""
    from hapi_pipeline.intake.jobs import import_jobs as take_in
    from hapi_pipeline.lake import Lake
    from hapi_pipeline.registry import Registry

    registry = Registry.of(home)
    source = registry.source(arguments.source)
    return _import(
        home,
        "job_exports",
        "rows",
        lambda: take_in(Lake(home.lake), arguments.files, source, registry.benchmark),
    )


def import_rubrics(arguments: argparse.Namespace, home: Home) -> int:
    """Import rubrics."""
    from hapi_pipeline.intake.rubrics import import_rubrics as take_in
    from hapi_pipeline.lake import Lake

    return _import(home, "rubric_exports", "criteria", lambda: take_in(Lake(home.lake), arguments.files))


def _import(home: Home, table: str, unit: str, take_in: Callable[[], list[Import]]) -> int:
    """Take files in and say what came of each; 1 when rows are in quarantine."""
    from hapi_pipeline.lake import Lake
    from hapi_pipeline.operations import at_work, report_imports

    known = {i.import_id for i in Lake(home.lake).imports()}
    if home.exists():
        with at_work(home):
            imports = take_in()
    else:
        imports = take_in()  # a home is only made once its first file has been found good
    home.ensure()  # also when nothing is new: an earlier import may have been killed before it came to this
    quarantined = 0
    for done in imports:
        if done.import_id in known:
            print(f"{done.files[0].name}: imported before, nothing changed.")
            continue
        known.add(done.import_id)
        report_imports(home, [(table, done)])
        quarantined += done.quarantined
        print(f"{done.files[0].name}: {done.rows:,} {unit} taken in{_remarks(done)}.")
    return _quarantine_note(home, quarantined)


def _needs(home: Home) -> None:
    """Refuse to answer from a folder that is no home: it may be a typing mistake."""
    if not home.exists():
        raise UserError(f"{home.root} is not a home; `hapi import jobs` and `hapi init` make one.")


def _remarks(done: Import) -> str:
    remarks = ""
    if done.missing_columns:
        remarks += f"; not in this file, so null: {', '.join(done.missing_columns)}"
    if done.unmapped_columns:
        shown = ", ".join(done.unmapped_columns[:6]) + (", …" if len(done.unmapped_columns) > 6 else "")
        remarks += f"; kept aside: {shown}"
    return remarks


def _quarantine_note(home: Home, quarantined: int) -> int:
    if not quarantined:
        return 0
    question = "SELECT file, row, code, message FROM quarantine"
    print(f'{quarantined} row(s) in quarantine: hapi query "{question}"')
    return 1


def import_verdicts(arguments: argparse.Namespace, home: Home) -> int:
    """Import verdicts."""
    from hapi_pipeline.intake.verdicts import import_verdicts as take_in
    from hapi_pipeline.lake import Lake
    from hapi_pipeline.operations import at_work, report_imports

    _needs(home)
    with at_work(home):
        done, repeated = take_in(Lake(home.lake), arguments.files)
        for path in repeated:
            print(f"{path.name}: imported before, nothing changed.")
        if done is None:
            return 0
        report_imports(home, [("verdict_exports", done)])
    print(f"{done.rows:,} verdicts taken in from {len(done.files)} file(s).")
    return _quarantine_note(home, done.quarantined)


def import_attempts(arguments: argparse.Namespace, home: Home) -> int:
    """Import an external agent's work."""
    from hapi_pipeline.intake.attempts import import_attempts as take_in
    from hapi_pipeline.lake import Lake
    from hapi_pipeline.operations import at_work
    from hapi_pipeline.registry import Registry

    _needs(home)
    with at_work(home):
        done, new = take_in(Lake(home.lake), home, Registry.of(home), arguments.folder)
    print(f"{done.rows} attempt(s) taken in." if new else f"{arguments.folder}: imported before, nothing changed.")
    return _quarantine_note(home, done.quarantined if new else 0)


# ---- work


def refresh(arguments: argparse.Namespace, home: Home) -> int:
    """Bring months up to date."""
    from hapi_pipeline import operations
    from hapi_pipeline.lake import Lake

    _needs(home)
    with operations.at_work(home):
        known = operations.known_cohorts(Lake(home.lake))
        if arguments.cohort and arguments.cohort not in known:
            raise UserError(
                f"There are no jobs of {arguments.cohort!r}; months with jobs: {', '.join(known) or 'none'}."
            )
        cohorts = [arguments.cohort] if arguments.cohort else operations.pending_cohorts(home)
        if not cohorts:
            print("Nothing has changed since the last refresh." if known else "There are no jobs yet; import some.")
            return 0
        return _report(_guarded(lambda: operations.refresh(home, cohorts, max_usd=arguments.max_usd)))


def _guarded(work: Callable[[], Refreshed]) -> Refreshed | str:
    """Do the work; or why it failed."""
    from hapi_pipeline.operations import RunFailedError

    try:
        return work()
    except RunFailedError as error:
        return str(error)


def _report(done: Refreshed | str) -> int:
    if isinstance(done, str):
        print(f"hapi: {done}\nWhat was finished is kept; the same command goes on from here.", file=sys.stderr)
        return 1
    span = done.cohorts[0] if len(done.cohorts) == 1 else f"{done.cohorts[0]} to {done.cohorts[-1]}"
    print(
        f"Refreshed {len(done.cohorts)} month(s), {span}: {done.attempts_made:,} attempts made for "
        f"${done.cost_usd:,.2f}."
    )
    for reason in done.left_out:
        print(reason)
    if not done.clean:
        print(
            f"{done.attempts_failed} attempt(s) failed for reasons that are not the model's and {done.attempts_left} "
            "are still to be made; `hapi refresh` tries them again."
        )
    return 0 if done.clean else 1


def backfill(arguments: argparse.Namespace, home: Home) -> int:
    """Run a model over all months."""
    from hapi_pipeline import operations
    from hapi_pipeline.estimate import estimate
    from hapi_pipeline.lake import Lake
    from hapi_pipeline.registry import Registry

    _needs(home)
    model = Registry.of(home).model(arguments.model)
    known = operations.known_cohorts(Lake(home.lake))
    cohorts = _span(arguments.cohorts, known) if arguments.cohorts else known
    if not cohorts:
        raise UserError(f"There are no jobs in these months; months with jobs: {', '.join(known) or 'none yet'}.")
    print(estimate(home, model, cohorts))
    if arguments.dry_run:
        return 0
    with operations.at_work(home):
        return _report(_guarded(lambda: operations.refresh(home, cohorts, [model.name], arguments.max_usd)))


def _span(text: str, known: Sequence[str]) -> list[str]:
    found = re.fullmatch(r"(\d{4}-\d{2})(?:\.\.(\d{4}-\d{2}))?", text)
    if not found:
        raise UserError(f"--cohorts {text!r}: write YYYY-MM..YYYY-MM, or one month as YYYY-MM.")
    first, last = found.group(1), found.group(2) or found.group(1)
    return [c for c in known if first <= c <= last]


def packets(arguments: argparse.Namespace, home: Home) -> int:
    """Copy the packets that still need grading."""
    from hapi_pipeline.handout import hand_out
    from hapi_pipeline.registry import Registry

    _needs(home)
    if arguments.model is not None:
        Registry.of(home).model(arguments.model)
    if arguments.round is not None and arguments.round not in ROUND:
        raise UserError(f"There is no round {arguments.round!r}; the rounds are {', '.join(ROUND)}.")
    count, skipped = hand_out(home, arguments.out, arguments.model, arguments.round)
    if not count:
        print("Nothing to grade: every packet has its verdicts.")
        return 0
    more = f"; {skipped} were there already" if skipped else ""
    print(
        f"{count} packet(s) to grade in {arguments.out}{more}. Send each folder to a grader; "
        "`hapi import verdicts FILE…` takes the filled workbooks back."
    )
    return 0


# ---- models


def models(arguments: argparse.Namespace, home: Home) -> int:
    """The registry."""
    from hapi_pipeline.registry import Registry
    from hapi_pipeline.show import print_models

    print_models(Registry.of(home), home)
    return 0


def models_add(arguments: argparse.Namespace, home: Home) -> int:
    """Register a model."""
    from datetime import UTC, datetime

    from hapi_pipeline.operations import at_work, instance_of
    from hapi_pipeline.registry import Model, Pool, Price, Registry

    if arguments.external == bool(arguments.litellm):
        raise UserError("Name the model's --litellm ID, or say --external for one whose attempts are imported.")
    if not arguments.name.strip() or not arguments.name.isprintable():
        raise UserError("A model's name must have at least one visible character and no control characters.")
    registry = Registry.of(home)
    if any(m.name.casefold() == arguments.name.casefold() for m in registry.models):
        raise UserError(f"There is a model {arguments.name!r} already; retire it or choose another name.")
    if (arguments.input_usd is None) != (arguments.output_usd is None):
        raise UserError("Give both --input-usd and --output-usd, or neither.")
    priced = arguments.input_usd is not None
    prices = (
        (Price(datetime.now(UTC).date().replace(day=1), arguments.input_usd, arguments.output_usd),) if priced else ()
    )
    model = Model(
        name=arguments.name,
        litellm=arguments.litellm,
        agent_profile="external" if arguments.external else "paper",
        api_base=arguments.api_base,
        api_key_env=arguments.api_key_env,
        prices=prices,
        max_tokens=arguments.max_tokens,
        training_cutoff=arguments.training_cutoff,
        pool=Pool((arguments.litellm or "external").split("/")[0], arguments.concurrency),
    )
    with at_work(home):
        Registry.of(home).save_models([*registry.models, model])
        with instance_of(home):
            pass  # opening the instance makes its model partitions those of the registry
    if model.external:
        following = "hapi import attempts DIR"
    elif priced:
        following = f"hapi backfill --model {_quoted(model.name)} --dry-run"
    else:
        following = f"write its `prices` into {home.registry / 'models.yaml'}; without them no attempt is started"
    print(f"Registered {model.name}. Next: {following}")
    return 0


def models_retire(arguments: argparse.Namespace, home: Home) -> int:
    """Retire a model."""
    from dataclasses import replace

    from hapi_pipeline.operations import at_work
    from hapi_pipeline.registry import Registry

    registry = Registry.of(home)
    chosen = registry.model(arguments.name)
    _needs(home)
    with at_work(home):
        registry.save_models([replace(m, retired=True) if m is chosen else m for m in registry.models])
    print(f"Retired {chosen.name}: no further attempts; its results stay.")
    return 0


def _quoted(text: str) -> str:
    import shlex

    return shlex.quote(text)


# ---- looking


def query(arguments: argparse.Namespace, home: Home) -> int:
    """Answer a SELECT."""
    from hapi_pipeline.engine import read_only_query
    from hapi_pipeline.lake import Lake
    from hapi_pipeline.show import print_rows

    _needs(home)
    print_rows(read_only_query(Lake(home.lake), arguments.sql), arguments.format)
    return 0


def pii(arguments: argparse.Namespace, home: Home) -> int:
    """Scan a file for personal data."""
    import json

    from hapi_pipeline.curation.pii import scan_file
    from hapi_pipeline.intake.files import check_readable

    check_readable(arguments.file)
    try:
        for line in scan_file(arguments.file, arguments.text_column):
            print(json.dumps(line))
    except ValueError as error:
        raise UserError(str(error)) from error
    return 0


def explain(arguments: argparse.Namespace, home: Home) -> int:
    """Everything known of one job."""
    from hapi_pipeline.lake import Lake
    from hapi_pipeline.show import explain_job

    _needs(home)
    print(explain_job(Lake(home.lake), arguments.job_id))
    return 0


def simulate(arguments: argparse.Namespace, home: Home) -> int:
    """Make synthetic exports."""
    from hapi_pipeline.simulate.exports import simulate as make

    if arguments.posts < 1:
        raise UserError("--posts must be at least 1.")
    made = make(arguments.posts, arguments.seed, arguments.out, form=arguments.format)
    print(
        f"Made {made.posts:,} posts ({made.qualifying:,} of them qualify), {made.criteria:,} rubric criteria and "
        f"{made.verdicts:,} verdicts in {arguments.out}: {', '.join(made.files)}."
    )
    return 0


if __name__ == "__main__":
    entry()
