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
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from hapi_pipeline import __version__
from hapi_pipeline.commands import arguments as given
from hapi_pipeline.commands import housekeeping, publish, release, report
from hapi_pipeline.commands.arguments import Command
from hapi_pipeline.engines import EngineSettings, engine_of
from hapi_pipeline.rounds import ROUND
from hapi_pipeline.settings import Home, UserError, find_home, project_root

if TYPE_CHECKING:
    from hapi_pipeline.handout import Chosen
    from hapi_pipeline.lake import Import, Lake
    from hapi_pipeline.operations import Refreshed
    from hapi_pipeline.registry import Model


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        return _run(arguments, find_home(getattr(arguments, "home", None)))
    except UserError as error:
        print(f"hapi: {error}", file=sys.stderr)
        return 2


def _run(arguments: argparse.Namespace, home: Home) -> int:
    """Run a command on a home; the exit code. Raises UserError."""
    try:
        engine_of(EngineSettings.of())  # one that there is not is refused before anything is begun
        code = int(arguments.run(arguments, home))
        home.send()
        return code
    except UserError:
        raise
    except KeyboardInterrupt:
        print("\nhapi: stopped; the same command goes on from here.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
    except Exception as error:
        from hapi_pipeline.troubles import named_trouble, writing_trouble

        trouble = writing_trouble(error, home.root) or named_trouble(error, home.root / "lake")
        if trouble is None and not isinstance(error, OSError):
            raise
        print(f"hapi: {trouble or _of_the_system(error)}", file=sys.stderr)
        return 2


def _of_the_system(error: Exception) -> str:
    """What the operating system says of an error, and of which file."""
    where = f" ({name})" if (name := getattr(error, "filename", None)) else ""
    return f"{getattr(error, 'strerror', None) or error}{where}; what was finished before is kept."


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

    what = commands.add_parser(
        "import", help="Take in files: jobs, rubrics, verdicts, audits, attempts."
    ).add_subparsers(metavar="KIND", required=True)
    jobs = add("jobs", import_jobs, "Import job exports (CSV, JSON lines, Parquet, gzipped or not).", what)
    jobs.add_argument("files", nargs="+", type=Path, metavar="FILE")
    jobs.add_argument("--source", required=True, metavar="NAME", help="source definition in registry/sources/")
    rubrics = add("rubrics", import_rubrics, "Import rubrics (long CSV, JSON lines or xlsx).", what)
    rubrics.add_argument("files", nargs="+", type=Path, metavar="FILE")
    verdicts = add(
        "verdicts",
        import_verdicts,
        "Import verdicts (packet workbooks, their CSV twins, Label Studio exports, long CSV, JSON lines).",
        what,
    )
    verdicts.add_argument("files", nargs="+", type=Path, metavar="FILE")
    audits = add("audits", import_audits, "Import what curators judged: workbooks made by `hapi audit`.", what)
    audits.add_argument("files", nargs="+", type=Path, metavar="FILE")
    attempts = add(
        "attempts", import_attempts, "Import an external agent's work: a folder with a JSONL manifest.", what
    )
    attempts.add_argument(
        "folder", type=Path, metavar="DIR", help="holds manifest.jsonl and the deliverables that it names"
    )

    refreshed = add("refresh", refresh, "Bring a month, or all that changed, up to date: curation, rounds, results.")
    refreshed.add_argument("--cohort", metavar="YYYY-MM", help="this month only, even if nothing changed")
    refreshed.add_argument(
        "--max-usd", type=given.usd, metavar="N", help="start no further attempt once this run has spent N USD"
    )

    refreshed.add_argument(
        "--dry-run", action="store_true", help="only say which attempts would be made and what they are likely to cost"
    )
    refreshed.add_argument(
        "--no-publish", action="store_true", help="leave the report, the warehouse and the feed as they are"
    )

    curated = add("curate", curate, "Apply the rules to a month, or to all that changed, and show what they leave.")
    curated.add_argument(
        "--cohort", type=given.month, metavar="YYYY-MM", help="this month only, even if nothing changed"
    )
    curated.add_argument(
        "--what-if",
        action="append",
        metavar="KEY=VALUE",
        help="change nothing, only say what another threshold would do, e.g. max_price_usd=300; may be repeated",
    )
    curated.add_argument("--format", choices=("table", "json"), default="table")

    models_command = add(
        "models", models, "List the models with what each has and lacks; also: models add, check, retire."
    )
    actions = models_command.add_subparsers(metavar="ACTION")
    new = add("add", models_add, "Register a model.", actions)
    new.add_argument("name", metavar="NAME")
    new.add_argument("--litellm", metavar="ID", help="litellm id, e.g. openai/gpt-5")
    new.add_argument("--external", action="store_true", help="its attempts are made elsewhere and imported")
    new.add_argument("--command", metavar="WORDS", help='a program that is the agent, e.g. "/opt/agent/run --fast"')
    new.add_argument("--reads", action="append", metavar="PATH", help="what that program needs to see; may be repeated")
    new.add_argument("--api-base", metavar="URL", help="address of the provider, where litellm does not know it")
    new.add_argument("--api-key-env", metavar="VARIABLE", help="name of the variable that holds the key")
    new.add_argument("--input-usd", type=given.usd, metavar="N", help="USD per million input tokens")
    new.add_argument("--output-usd", type=given.usd, metavar="N", help="USD per million output tokens")
    new.add_argument("--max-tokens", type=given.count, metavar="N", default=8192, help="longest reply, in tokens")
    new.add_argument("--concurrency", type=given.count, metavar="N", default=8, help="attempts in flight at once")
    new.add_argument("--training-cutoff", type=given.month, metavar="YYYY-MM", help="last month of its training data")
    retired = add("retire", models_retire, "Make no further attempts with a model; its results stay.", actions)
    retired.add_argument("name", metavar="NAME")
    checked = add("check", models_check, "Make one cheap call to a model and say what is wrong, if anything.", actions)
    checked.add_argument("name", metavar="NAME")

    backfilled = add("backfill", backfill, "Make a model's missing attempts over all months.")
    backfilled.add_argument("--model", required=True, metavar="NAME")
    backfilled.add_argument("--cohorts", metavar="A..B", help="months from A to B, as YYYY-MM..YYYY-MM")
    backfilled.add_argument(
        "--max-usd", type=given.usd, metavar="N", help="start no further attempt once this run has spent N USD"
    )
    backfilled.add_argument(
        "--workers",
        type=given.count,
        metavar="N",
        default=1,
        help="hand the months to N runs of the daemon (docs/deploy.md)",
    )
    backfilled.add_argument(
        "--dry-run", action="store_true", help="only say what would be done and what it is likely to cost"
    )
    backfilled.add_argument(
        "--no-publish", action="store_true", help="leave the report, the warehouse and the feed as they are"
    )

    packed = add("packets", packets, "Give out the packets that still need grading, or show how far they are.")
    packed.add_argument("--model", metavar="NAME", help="only attempts of this model")
    packed.add_argument("--round", metavar="NAME", help=f"only this round: {', '.join(ROUND)}")
    packed.add_argument("--cohort", type=given.month, metavar="YYYY-MM", help="only jobs of this month")
    packed.add_argument("--out", type=Path, metavar="DIR", help="where to; packets there already are left alone")
    form = packed.add_mutually_exclusive_group()
    form.add_argument("--zip", action="store_true", help="a zip file a packet instead of a folder")
    form.add_argument("--label-studio", action="store_true", help="a Label Studio project in a new folder instead")
    packed.add_argument("--status", action="store_true", help="what is out, back, overdue, in conflict, and what to do")
    packed.add_argument("--format", choices=("table", "json", "csv"), default="table", help="of --status")

    judged = add("judge", judge, "Ask a language model for verdicts, into a table of its own; people decide.")
    judged.add_argument("--model", required=True, metavar="NAME", help="a judge listed in registry/judges.yaml")
    judged.add_argument("--cohorts", metavar="A..B", help="months from A to B, as YYYY-MM..YYYY-MM (default: all)")
    judged.add_argument("--max-usd", type=given.usd, metavar="N", help="ask no further once this run has spent N USD")
    judged.add_argument("--dry-run", action="store_true", help="only say how many packets and what they may cost")
    judged.add_argument("--same-family", action="store_true", help="allow a judge of the family of a model under test")

    of_jobs = commands.add_parser("jobs", help="The benchmark's jobs: jobs export.").add_subparsers(
        metavar="ACTION", required=True
    )
    exported = add(
        "export", jobs_export, "Write briefs and attachments of jobs for the author of an external agent.", of_jobs
    )
    exported.add_argument("--out", required=True, type=Path, metavar="DIR", help="a new folder")
    exported_span = exported.add_mutually_exclusive_group()
    exported_span.add_argument("--cohort", type=given.month, metavar="YYYY-MM", help="this month only (default: all)")
    exported_span.add_argument("--cohorts", metavar="A..B", help="months from A to B, as YYYY-MM..YYYY-MM")
    exported.add_argument("--round", default="agent_alone", metavar="NAME", help=f"one of {', '.join(ROUND)}")
    exported.add_argument("--model", metavar="NAME", help="the external model; rounds after the first need it")
    exported.add_argument("--format", choices=("folder", "jsonl"), default="folder")

    audited = add("audit", audit, "Draw a blind sample of jobs for curators, or show what their answers say.")
    audited.add_argument("--out", type=Path, metavar="FILE", help="workbook to make (.xlsx); holds posts as they came")
    audited.add_argument("--show", action="store_true", help="precision and recall of each rule by the answers so far")
    span = audited.add_mutually_exclusive_group()
    span.add_argument(
        "--cohort", type=given.month, metavar="YYYY-MM", help="this month (default for --out: the newest)"
    )
    span.add_argument("--cohorts", metavar="A..B", help="months from A to B, as YYYY-MM..YYYY-MM")
    audited.add_argument(
        "--per-stratum", type=given.count, metavar="N", help="jobs a month and rule (default: see benchmark.yaml)"
    )

    frozen = add("freeze", freeze, "Write down the benchmark's jobs under a name that a release can cite.")
    frozen.add_argument("name", nargs="?", metavar="NAME", help="used once; without it, the freezes that there are")
    frozen.add_argument("--cohorts", metavar="A..B", help="months from A to B, as YYYY-MM..YYYY-MM")

    asked = add("query", query, "Ask every table of the lake in SQL, read-only.")
    asked.add_argument(
        "sql", metavar="SELECT", help='e.g. "SELECT * FROM leaderboard"; the tables: docs/data_dictionary.md'
    )
    asked.add_argument("--format", choices=("table", "csv", "json", "parquet"), default="table")
    given.dated(asked)

    scanned = add("pii", pii, "Scan a CSV, JSON lines or Parquet file for personal data: one JSON line a row.")
    scanned.add_argument("file", type=Path, metavar="FILE")
    scanned.add_argument("--text-column", metavar="C", help="column to scan (default: text, else all of them)")

    explained = add("explain", explain, "Why a job is in or out, its rubric, attempts, verdicts and outcome.")
    explained.add_argument("job_id", metavar="JOB_ID")

    traced = add("trace", trace, "From a number of a result table down to the verdict rows behind it.")
    traced.add_argument("table", metavar="TABLE", help="e.g. completion_rates, leaderboard, category_rates")
    traced.add_argument("--versus", metavar="M", help="the other model of model_comparisons")
    for key, metavar in (("model", "M"), ("round", "R"), ("rule", "RULE"), ("category", "C"), ("window", "W")):
        traced.add_argument(f"--{key}", metavar=metavar)
    traced.add_argument("--cohort", type=given.month, metavar="YYYY-MM")
    traced.add_argument("--column", metavar="COLUMN", help="only what this column counts, e.g. n_completed")
    traced.add_argument("--format", choices=("table", "csv", "json"), default="table", help="csv: the verdict rows")
    traced.add_argument("--all", action="store_true", help="every job and verdict, however many")
    given.dated(traced)

    rebuilt = add("rebuild", rebuild, "Remake the tables from the ledgers and hold them against those of the lake.")
    rebuilt.add_argument("--table", action="append", metavar="T", help="only this table; may be repeated")
    rebuilt.add_argument("--write", action="store_true", help="replace the partitions that differ")

    simulated = add(
        "simulate",
        simulate,
        "Make synthetic exports with known truth: why each post qualifies or not, what personal data it holds, "
        "which post it repeats.",
    )
    simulated.add_argument("--posts", type=int, required=True, metavar="N")
    simulated.add_argument("--seed", type=int, default=0, metavar="S")
    simulated.add_argument("--out", type=Path, required=True, metavar="DIR")
    simulated.add_argument("--format", choices=("csv", "jsonl", "parquet"), default="csv")
    simulated.add_argument(
        "--months",
        type=given.months,
        default="3",
        metavar="A..B",
        help="months from A to B, as YYYY-MM..YYYY-MM, or how many from 2026-08 on (default: 3)",
    )
    simulated.add_argument(
        "--share", type=given.share, default=0.16, metavar="P", help="probability that a post qualifies (default: 0.16)"
    )
    simulated.add_argument(
        "--repeats",
        type=given.share,
        default=0.01,
        metavar="P",
        help="probability that a post repeats an earlier one (default: 0.01)",
    )
    simulated.add_argument(
        "--no-verdicts", action="store_true", help="only jobs, rubrics and the truth about posts; much faster"
    )

    publish.add_to(add)
    report.add_to(add)
    housekeeping.add_to(add)
    release.add_to(add)

    shown = add("ui", ui, "Start the Dagster UI and daemon on this home; history is kept.")
    shown.add_argument("--port", type=int, default=3000)
    shown.add_argument("--host", default="127.0.0.1")
    return parser


# ---- set-up and the demo


def init(arguments: argparse.Namespace, home: Home) -> int:
    """Make a home."""
    new = not home.exists()
    home.ensure()
    rules = home.registry / "benchmark.yaml"
    print(f"{'Made' if new else 'Kept'} the home {home.address}; its rules stand in {rules}.")
    return 0


def demo(arguments: argparse.Namespace, home: Home) -> int:
    """The main job on the bundled sample."""
    from hapi_pipeline.demo import run_demo

    chosen = home if "home" in arguments else Home(project_root() / "data" / "demo")
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
        print(f"{done.files[0].name}: {done.rows:,} {unit} taken in{_remarks(done, Lake(home.lake))}.")
    return _quarantine_note(home, quarantined)


def _needs(home: Home) -> None:
    """Refuse to answer from a folder that is no home: it may be a typing mistake."""
    if not home.exists():
        raise UserError(f"{home.address} is not a home; `hapi import jobs` and `hapi init` make one.")


def _remarks(done: Import, lake: Lake) -> str:
    from hapi_pipeline.intake.drift import drift_of

    remarks = ""
    if done.missing_columns:
        remarks += f"; not in this file, so null: {', '.join(done.missing_columns)}"
    if done.unmapped_columns:
        shown = ", ".join(done.unmapped_columns[:6]) + (", …" if len(done.unmapped_columns) > 6 else "")
        remarks += f"; kept aside: {shown}"
    drift = drift_of(done, lake.imports("jobs")) if done.kind == "jobs" else None
    if drift and drift.before:
        remarks += f"; since {drift.before}: {drift.text}"
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
    from hapi_pipeline.intake.verdicts import reply_path
    from hapi_pipeline.lake import Lake
    from hapi_pipeline.operations import at_work, report_imports
    from hapi_pipeline.registry import Registry

    _needs(home)
    with at_work(home):
        replies = home.root / "inbox_replies"
        people = {g.label_studio: g.id for g in Registry.of(home).graders if g.label_studio}
        done, repeated = take_in(Lake(home.lake), arguments.files, people=people, replies=replies)
        for path in repeated:
            print(f"{path.name}: imported before, nothing changed.")
        if done is None:
            return 0
        report_imports(home, [("verdict_exports", done)])
    print(f"{done.rows:,} verdicts taken in from {len(done.files)} file(s).")
    for file in done.files if len(done.files) <= 20 else ():
        print(f"Reply to the grader: {reply_path(replies, file.name, file.sha256)}")
    if len(done.files) > 20:
        print(f"Replies to the graders: {replies}")
    return _quarantine_note(home, done.quarantined)


def import_audits(arguments: argparse.Namespace, home: Home) -> int:
    """Import what curators judged."""
    from hapi_pipeline.audit.imports import import_audits as take_in
    from hapi_pipeline.lake import Lake

    _needs(home)
    return _import(home, "audit_exports", "answers", lambda: take_in(Lake(home.lake), arguments.files))


def import_attempts(arguments: argparse.Namespace, home: Home) -> int:
    """Import an external agent's work."""
    from hapi_pipeline.intake.attempts import import_attempts as take_in
    from hapi_pipeline.lake import Lake
    from hapi_pipeline.operations import at_work
    from hapi_pipeline.registry import Registry

    _needs(home)
    with at_work(home):
        done, new = take_in(Lake(home.lake), home, Registry.of(home), arguments.folder)
    if new:
        print(f"{done.rows} attempt(s) taken in{_remarks(done, Lake(home.lake))}.")
    else:
        print(f"{arguments.folder}: imported before, nothing changed.")
    return _quarantine_note(home, done.quarantined if new else 0)


# ---- work


def refresh(arguments: argparse.Namespace, home: Home) -> int:
    """Bring months up to date."""
    from hapi_pipeline import operations
    from hapi_pipeline.estimate import forecast
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
            idle = arguments.no_publish or arguments.dry_run or not known
            return 0 if idle else publish.published(home)
        if arguments.dry_run:
            print(forecast(home, cohorts))
            _say_uncurated(sorted({*cohorts} & {*operations.uncurated_cohorts(home)}))
            return 0
        done = _guarded(
            lambda: operations.refresh(
                home, cohorts, max_usd=arguments.max_usd, before_attempts=lambda c: _say(forecast(home, c))
            )
        )
        published = 0 if arguments.no_publish or isinstance(done, str) else publish.published(home)
        return max(published, _report(done))


def _say(text: str) -> None:
    print(text, flush=True)  # before what it announces begins, wherever the output goes


def curate(arguments: argparse.Namespace, home: Home) -> int:
    """Apply the rules and show the funnel, or say what other thresholds would do."""
    from hapi_pipeline import operations
    from hapi_pipeline.lake import Lake

    _needs(home)
    lake = Lake(home.lake)
    known = operations.known_cohorts(lake)
    if arguments.cohort and arguments.cohort not in known:
        raise UserError(f"There are no jobs of {arguments.cohort!r}; months with jobs: {', '.join(known) or 'none'}.")
    of = [arguments.cohort] if arguments.cohort else known
    if arguments.what_if:
        return _what_if(arguments, home, of)
    with operations.at_work(home):
        to_do = of if arguments.cohort else operations.uncurated_cohorts(home)
        if to_do:
            try:
                operations.curate(home, to_do)
            except operations.RunFailedError as error:
                return _report(str(error))
    _show_funnel(lake, to_do or of, arguments.format)
    if not to_do and arguments.format == "table":
        print("\nNothing has changed since the last time." if known else "There are no jobs yet; import some.")
    return 0


def _show_funnel(lake: Lake, cohorts: Sequence[str], form: str) -> None:
    """The funnel over these months, for a person or as JSON."""
    import json

    from hapi_pipeline.curation.funnel import categories_of, codes_of, funnel_of
    from hapi_pipeline.show import funnel_text

    rows, codes = funnel_of(lake, cohorts), codes_of(lake, cohorts)
    if form == "json":
        categories = categories_of(lake, cohorts)
        print(json.dumps({"cohorts": list(cohorts), "funnel": rows, "codes": codes, "by_category": categories}))
    elif rows:
        span = cohorts[0] if len(cohorts) == 1 else f"{len(cohorts)} months, {cohorts[0]} to {cohorts[-1]}"
        print(funnel_text(rows, codes[:10], span))


def _what_if(arguments: argparse.Namespace, home: Home, cohorts: Sequence[str]) -> int:
    import json

    from hapi_pipeline.curation.whatif import changed_benchmark, what_if
    from hapi_pipeline.lake import Lake
    from hapi_pipeline.parameters import constant_relations, query_parameters
    from hapi_pipeline.registry import Registry
    from hapi_pipeline.show import what_if_text

    now = Registry.of(home).benchmark
    then = changed_benchmark(now, arguments.what_if)
    found = what_if(Lake(home.lake), now, then, cohorts, query_parameters, constant_relations)
    print(json.dumps(found.as_json()) if arguments.format == "json" else what_if_text(found))
    return 0


def _guarded(work: Callable[[], Refreshed]) -> Refreshed | str:
    """Do the work; or why it failed."""
    from hapi_pipeline.operations import RunFailedError

    try:
        return work()
    except RunFailedError as error:
        return str(error)


def _report(done: Refreshed | str, again: str = "hapi refresh") -> int:
    """What a refresh did, and the command that makes what is left; the exit code."""
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
    if done.attempts_failed or done.attempts_left:
        print(
            f"{done.attempts_failed} attempt(s) failed for reasons that are not the model's and {done.attempts_left} "
            f"are still to be made; `{again}` goes on with them."
        )
    for failing in done.held:
        print(f"Held back: {failing}")
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
    again = f"hapi backfill --model {_quoted(model.name)}" + (
        f" --cohorts {arguments.cohorts}" if arguments.cohorts else ""
    )
    waiting = sorted({*cohorts} & {*operations.uncurated_cohorts(home)})
    if waiting and not arguments.dry_run:  # or the estimate would leave out what is about to be spent
        print(f"Curating {len(waiting)} month(s) first, for something has changed there.")
        with operations.at_work(home):
            try:
                operations.curate_changed(home, waiting)
            except operations.RunFailedError as error:
                return _report(str(error), again)
    print(estimate(home, model, cohorts))
    if arguments.dry_run:
        _say_uncurated(waiting)
        return 0
    if arguments.workers > 1:
        return _backfill_by_workers(arguments, home, model, cohorts, f"{again} --workers {arguments.workers}")
    with operations.at_work(home):
        done = _guarded(lambda: operations.refresh(home, cohorts, [model.name], arguments.max_usd))
        published = 0 if arguments.no_publish or isinstance(done, str) else publish.published(home)
        return max(published, _report(done, again))


def _say_uncurated(waiting: Sequence[str]) -> None:
    """Of an estimate: which months it takes as they were."""
    if waiting:
        print(f"Not yet curated, so counted as they were before: {', '.join(waiting)}.")


def _backfill_by_workers(
    arguments: argparse.Namespace, home: Home, model: Model, cohorts: Sequence[str], again: str
) -> int:
    from hapi_pipeline.fan_out import backfill_by_workers
    from hapi_pipeline.operations import at_work
    from hapi_pipeline.resources import PATIENCE_MINUTES

    done = _guarded(lambda: backfill_by_workers(home, model, cohorts, arguments.workers, arguments.max_usd, _say))
    code = _report(done, again)
    if arguments.no_publish or isinstance(done, str):
        return code
    with at_work(home, wait=60 * PATIENCE_MINUTES, who="backfill", say=_say):
        return max(publish.published(home), code)


def _span(text: str, known: Sequence[str]) -> list[str]:
    found = re.fullmatch(r"(\d{4}-\d{2})(?:\.\.(\d{4}-\d{2}))?", text)
    if not found:
        raise UserError(f"--cohorts {text!r}: write YYYY-MM..YYYY-MM, or one month as YYYY-MM.")
    first, last = found.group(1), found.group(2) or found.group(1)
    return [c for c in known if first <= c <= last]


def packets(arguments: argparse.Namespace, home: Home) -> int:
    """Give packets out to graders, or show how far they are."""
    from hapi_pipeline.handout import Chosen, hand_out
    from hapi_pipeline.registry import Registry

    _needs(home)
    registry = Registry.of(home)
    if arguments.model is not None:
        registry.model(arguments.model)
    if arguments.round is not None and arguments.round not in ROUND:
        raise UserError(f"There is no round {arguments.round!r}; the rounds are {', '.join(ROUND)}.")
    chosen = Chosen(arguments.model, arguments.round, arguments.cohort)
    if arguments.status == (arguments.out is not None):
        raise UserError("Name the folder to give packets out to with --out DIR, or ask for --status.")
    if arguments.status:
        return _packets_status(home, chosen, arguments.format)
    if registry.graders:
        return _packets_to_graders(home, chosen, arguments.out, arguments.zip, arguments.label_studio)
    if arguments.label_studio:
        return _packets_to_label_studio(home, chosen, arguments.out)
    count, skipped = hand_out(home, arguments.out, chosen, zipped=arguments.zip)
    if not count:
        print("Nothing to grade: every packet has its verdicts.")
        return 0
    more = f"; {skipped} were there already" if skipped else ""
    print(
        f"{count} packet(s) to grade in {arguments.out}{more}. Send each folder to a grader; "
        "`hapi import verdicts FILE…` takes the filled workbooks back."
    )
    _print_flags(home, chosen)
    return 0


def _packets_to_label_studio(home: Home, chosen: Chosen, out: Path) -> int:
    """The packets that still need grading as a Label Studio project."""
    from hapi_pipeline.handout import label_studio

    count = label_studio(home, out, chosen)
    if not count:
        print("Nothing to grade: every packet has its verdicts.")
        return 0
    print(
        f"A Label Studio project of {count} task(s) in {out}; its README.txt says how to set it up. "
        "`hapi import verdicts FILE` takes its JSON or JSON_MIN export back."
    )
    _print_flags(home, chosen)
    return 0


def _print_flags(home: Home, chosen: Chosen) -> None:
    """What the operator should know of packets, and graders should not: work that names its maker, and the like."""
    from hapi_pipeline.handout import flagged

    flags = flagged(home, chosen)
    if flags:
        more = f"\n  … and {len(flags) - 5} more" if len(flags) > 5 else ""
        print(
            f"For you, not for graders: {len(flags)} thing(s) in these packets may give away who made the work (all of "
            "them: column flags of the table packets):"
        )
        print("\n".join(f"  {flag}" for flag in flags[:5]) + more)


def _packets_to_graders(home: Home, chosen: Chosen, out: Path, zipped: bool, label_studio: bool) -> int:
    """Decide who grades what, write it down, and make a folder, or a Label Studio project, for each grader."""
    from hapi_pipeline.handout import assign, write_out, write_projects
    from hapi_pipeline.operations import at_work, report_imports
    from hapi_pipeline.show import handed_out_text

    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; name a folder.")
    with at_work(home):
        given = assign(home, chosen)
        if given.noted:
            report_imports(home, [("assignments", given.noted)])
        if label_studio:
            count, there = write_projects(home, out, given), 0
        else:
            count, there = write_out(home, out, given, zipped=zipped)
    print(handed_out_text(given, out, count, there, label_studio=label_studio))
    _print_flags(home, chosen)
    return 0


def _packets_status(home: Home, chosen: Chosen, form: str) -> int:
    """The worklist."""
    from hapi_pipeline.grading.worklist import current_status, worklist
    from hapi_pipeline.handout import waiting
    from hapi_pipeline.lake import Lake
    from hapi_pipeline.show import print_worklist

    rows = current_status(Lake(home.lake))
    print_worklist(worklist([r for r in rows if chosen.has(r)], waiting=waiting(home, rows, chosen)), form)
    return 0


def judge(arguments: argparse.Namespace, home: Home) -> int:
    """Ask a judge about the packets that it has not judged; kept apart from all that people decide."""
    from hapi_pipeline import operations
    from hapi_pipeline.grading import judge as judging
    from hapi_pipeline.lake import Lake
    from hapi_pipeline.registry import Registry
    from hapi_pipeline.resources import HapiHome
    from hapi_pipeline.show import judge_text

    _needs(home)
    registry, lake = Registry.of(home), Lake(home.lake)
    chosen = judging.judge_named(registry, arguments.model)
    if not arguments.same_family:
        judging.check_independent(chosen, registry.models)
    known = operations.known_cohorts(lake)
    cohorts = _span(arguments.cohorts, known) if arguments.cohorts else None
    with operations.at_work(home), HapiHome(root=str(home.root)).simulated_provider(chosen.simulated) as address:
        packets = judging.packets_to_judge(home, lake, chosen, cohorts)
        if packets:
            most = judging.most_usd(packets, chosen, address)
            print(f"{len(packets):,} packet(s) for {chosen.name} to judge, at most about ${most:,.2f}.")
        if arguments.dry_run:
            return 0
        try:
            done = judging.run_judge(home, packets, chosen, arguments.max_usd, address) if packets else judging.Judged()
        finally:  # what was paid for is taken in, however the run ends
            taken = judging.take_in(home, lake, chosen)
            if taken is not None:
                operations.report_imports(home, [("judge_verdicts", taken)])
    print(judge_text(done, lake, registry, chosen.name))
    return 1 if done.left else 0


def jobs_export(arguments: argparse.Namespace, home: Home) -> int:
    """Write briefs for an external agent's author."""
    from hapi_pipeline.briefs import export_jobs
    from hapi_pipeline.lake import Lake

    _needs(home)
    known = sorted(keys["cohort"] for keys in Lake(home.lake).partitions("benchmark_jobs"))
    named = arguments.cohort or arguments.cohorts
    cohorts = _span(named, known) if named else known
    if not cohorts:
        raise UserError(f"There are no benchmark jobs of these months; there are of: {', '.join(known) or 'none yet'}.")
    count = export_jobs(home, arguments.out, cohorts, arguments.round, arguments.model, arguments.format)
    print(
        f"{count:,} brief(s) for {arguments.round} in {arguments.out}; its README.md says how work is handed in, "
        "`hapi import attempts DIR` takes it back."
    )
    return 0


def audit(arguments: argparse.Namespace, home: Home) -> int:
    """The human audit of curation: a sample to judge, or what the answers say."""
    from hapi_pipeline.audit.report import hand_out, shown
    from hapi_pipeline.lake import Lake
    from hapi_pipeline.registry import Registry

    _needs(home)
    if arguments.out is None and not arguments.show:
        raise UserError("Name the workbook to make with --out FILE.xlsx, or --show what the answers say so far.")
    lake = Lake(home.lake)
    curated = sorted(keys["cohort"] for keys in lake.partitions("curated_jobs"))
    named = arguments.cohort or arguments.cohorts
    cohorts = _span(named, curated) if named else curated
    if not cohorts:
        raise UserError(f"No such month is curated; those that are: {', '.join(curated) or 'none yet'}.")
    if arguments.out is not None:
        of = cohorts if named else cohorts[-1:]
        print(hand_out(lake, arguments.out, of, Registry.of(home).benchmark, arguments.per_stratum))
    if arguments.show:
        print(shown(lake, cohorts))
    return 0


def freeze(arguments: argparse.Namespace, home: Home) -> int:
    """Write down the benchmark's jobs under a name, or list what has been written down."""
    from datetime import UTC, datetime

    from hapi_pipeline import operations
    from hapi_pipeline.curation import selection
    from hapi_pipeline.lake import Lake
    from hapi_pipeline.show import print_rows

    _needs(home)
    lake = Lake(home.lake)
    if arguments.name is None:
        found = selection.freezes(lake)
        print_rows(found, "table") if found.num_rows else print("There is no freeze yet; `hapi freeze NAME` makes one.")
        return 0
    with operations.at_work(home):
        known = sorted(keys["cohort"] for keys in lake.partitions("benchmark_jobs"))
        cohorts = _span(arguments.cohorts, known) if arguments.cohorts else known
        stale = set(operations.uncurated_cohorts(home)) & set(cohorts)
        done = selection.freeze(lake, arguments.name, cohorts, datetime.now(UTC))
        operations.report_imports(home, [("job_freezes", done)])
    print(f"Froze {done.rows:,} jobs of {len(done.cohorts)} month(s) as {arguments.name!r}: table job_freezes.")
    if stale:
        print(f"Not up to date when it was made: {', '.join(sorted(stale))}.")
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

    if [bool(arguments.litellm), arguments.external, arguments.command is not None].count(True) != 1:
        raise UserError(
            "Name the model's --litellm ID, or say --external for one whose attempts are imported, or give the "
            "--command of a program that is the agent."
        )
    command, reads = _program(arguments.command, arguments.reads)
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
        agent_profile="external" if arguments.external else "command" if command else "paper",
        command=command,
        command_reads=reads,
        api_base=arguments.api_base,
        api_key_env=arguments.api_key_env,
        prices=prices,
        max_tokens=arguments.max_tokens,
        training_cutoff=arguments.training_cutoff,
        pool=Pool(
            arguments.litellm.split("/")[0] if arguments.litellm else "command" if command else "external",
            arguments.concurrency,
        ),
    )
    with at_work(home):
        Registry.of(home).save_models([*registry.models, model])
        with instance_of(home):
            pass  # opening the instance makes its model partitions those of the registry
    if model.external:
        following = "hapi import attempts DIR"
    elif priced or command:
        following = f"hapi backfill --model {_quoted(model.name)} --dry-run"
    else:
        following = f"write its `prices` into {home.registry / 'models.yaml'}; without them no attempt is started"
    print(f"Registered {model.name}. Next: {following}")
    return 0


def _program(command: str | None, reads: Sequence[str] | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The words of a command and the paths that it needs; by default the program itself, where its path is given."""
    import shlex

    if command is None:
        if reads:
            raise UserError("--reads goes with --command.")
        return (), ()
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise UserError(f"--command cannot be taken apart ({error}); write it as in a shell.") from error
    if not words:
        raise UserError("--command is empty; write the program and its arguments.")
    paths = tuple(reads) if reads else tuple(w for w in words[:1] if w.startswith("/"))
    for path in paths:
        if not path.startswith("/") or not Path(path).exists():
            raise UserError(f"{path} is not there; give the full path of what the program needs (--reads).")
    return words, paths


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


def models_check(arguments: argparse.Namespace, home: Home) -> int:
    """Call a model once; 1 when it cannot be run as it is."""
    from hapi_pipeline.agents.check import check_model
    from hapi_pipeline.registry import Registry
    from hapi_pipeline.resources import HapiHome

    model = Registry.of(home).model(arguments.name)
    with HapiHome(root=str(home.root)).simulated_provider(model.simulated) as address:
        done = check_model(model, address)
    print("\n".join(done.told))
    return 0 if done.good else 1


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
    if arguments.as_of is None:
        print_rows(read_only_query(Lake(home.lake), arguments.sql), arguments.format)
        return 0
    from hapi_pipeline.as_of import lake_as_of, tables_named

    tables = tables_named(arguments.sql)
    _say_as_of(arguments.as_of)
    with lake_as_of(home, arguments.as_of, tables) as lake:
        print_rows(read_only_query(lake, arguments.sql, tables), arguments.format)
    return 0


def _say_as_of(day: date) -> None:
    print(
        f"As of the end of {day} (UTC): what had been imported, attempted and judged by then, under today's code, "
        "benchmark.yaml and models.",
        file=sys.stderr,
    )


def trace(arguments: argparse.Namespace, home: Home) -> int:
    """From a number down to the verdicts."""
    from hapi_pipeline.lake import Lake
    from hapi_pipeline.show import print_trace
    from hapi_pipeline.trace import KEYS, READ, TRACEABLE
    from hapi_pipeline.trace import trace as traced

    _needs(home)
    given = {key: getattr(arguments, key) for key in KEYS}
    if arguments.as_of is None:
        found = traced(Lake(home.lake), arguments.table, given, arguments.column)
    else:
        from hapi_pipeline.as_of import lake_as_of

        _say_as_of(arguments.as_of)
        tables = [arguments.table, *READ] if arguments.table in TRACEABLE else []
        with lake_as_of(home, arguments.as_of, tables) as lake:
            found = traced(lake, arguments.table, given, arguments.column)
    print_trace(found, arguments.format, everything=arguments.all)
    return 0


def rebuild(arguments: argparse.Namespace, home: Home) -> int:
    """Remake the tables from the ledgers and compare; 1 when some partition differs."""
    from hapi_pipeline.operations import at_work, pending_cohorts
    from hapi_pipeline.rebuild import derived_tables
    from hapi_pipeline.rebuild import rebuild as remade
    from hapi_pipeline.show import print_rebuilt

    _needs(home)
    with at_work(home):
        pending = pending_cohorts(home)
        if pending:
            told = f"{len(pending)} month(s) have not been refreshed since something changed; what differs may be that."
            print(told, file=sys.stderr)
        tables = arguments.table or derived_tables()
        return print_rebuilt(remade(home, tables, write=arguments.write), arguments.write)


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
    from hapi_pipeline.registry import Registry
    from hapi_pipeline.show import explain_job

    _needs(home)
    print(explain_job(Lake(home.lake), arguments.job_id, Registry.of(home)))
    return 0


def simulate(arguments: argparse.Namespace, home: Home) -> int:
    """Make synthetic exports."""
    from hapi_pipeline.simulate.exports import simulate as make

    if arguments.posts < 1:
        raise UserError("--posts must be at least 1.")
    made = make(
        arguments.posts,
        arguments.seed,
        arguments.out,
        months=arguments.months,
        form=arguments.format,
        share=arguments.share,
        repeats=arguments.repeats,
        verdicts=not arguments.no_verdicts,
    )
    print(
        f"Made {made.posts:,} posts ({made.qualifying:,} of them qualify, {sum(made.personal_data.values()):,} hold "
        f"personal data, {made.repeated:,} repeat another), {made.criteria:,} rubric criteria and "
        f"{made.verdicts:,} verdicts in {arguments.out}: {', '.join(made.files)}."
    )
    return 0


if __name__ == "__main__":
    entry()
