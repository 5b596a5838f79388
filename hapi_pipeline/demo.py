"""`hapi demo`: the main job on the bundled sample, offline, in a home of its own.

Everything is real but the people and the models: exports are imported, posts curated, agents attempt jobs through
litellm against a loopback server, packets go out as workbooks, simulated graders fill them in, and the files are
imported like any grader's. What comes of it is marked simulated everywhere.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hapi_pipeline import operations
from hapi_pipeline.copies import brought, copy_of
from hapi_pipeline.engine import connect, open_tables
from hapi_pipeline.handout import Assigned, assign
from hapi_pipeline.intake.jobs import import_jobs
from hapi_pipeline.intake.rubrics import import_rubrics
from hapi_pipeline.intake.verdicts import import_verdicts
from hapi_pipeline.lake import Lake
from hapi_pipeline.registry import Registry
from hapi_pipeline.settings import Home, UserError, shipped
from hapi_pipeline.show import table
from hapi_pipeline.simulate.graders import Work, grade_work
from hapi_pipeline.simulate.published import contradictions, published_cells

_EXAMPLE = 'SELECT "window", round, model, n_before, n_completed, lift_points, net_points, n_paired FROM feedback_lift'
_MAX_GRADINGS = 6  # one for each turn is enough; a bound in case packets never become complete


def run_demo(home: Home, *, fresh: bool = False) -> int:
    """Run the main job in a demo home, from where it stands; 0 when all of it is done."""
    _make_room(home, fresh)
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - started:6.1f} s  {text}", file=sys.stderr, flush=True)

    with operations.at_work(home):
        _set_up(home)
        _import_sample(home, say)
        for _ in range(_MAX_GRADINGS):
            _refresh(home, say)
            if not _grade(home, say):
                break
        say("publishing: the report, the warehouse, the feed")
        report = operations.publish(home)
    print(summary(home, report))
    return 0


def _make_room(home: Home, fresh: bool) -> None:
    """Refuse a home with real data; empty it when asked to start over."""
    in_store = copy_of(home.root) is not None
    if not home.root.exists() or not (home.exists() if in_store else any(home.root.iterdir())):
        return
    marker = brought(home.root / "DEMO")
    if not marker.exists():
        raise UserError(f"{home.address} is not empty and no demo home; name another folder with --home.")
    if fresh and in_store:
        raise UserError(f"{home.address} is in an object store, which --fresh does not empty; name another folder.")
    if fresh:
        shutil.rmtree(home.root)


def _set_up(home: Home) -> None:
    """The simulated models and graders, and the world that the models' provider plays out."""
    (home.root / "DEMO").write_text("Everything in this home is simulated.\n", "utf-8")
    for name in ("models.yaml", "graders.yaml"):
        shutil.copyfile(shipped("data/sample") / name, home.registry / name)
    world = home.root / "simulator" / "world"
    world.mkdir(parents=True, exist_ok=True)
    for path in [shipped("data/sample") / "truth.csv", *shipped("data/sample").glob("rubrics*.csv")]:
        shutil.copyfile(path, world / path.name)


def _import_sample(home: Home, say: Callable[[str], None]) -> None:
    sample, lake, registry = shipped("data/sample"), Lake(home.lake), Registry.of(home)
    before = {i.import_id for i in lake.imports()}
    jobs = import_jobs(lake, sorted(sample.glob("jobs_*")), registry.source("sample_market"), registry.benchmark)
    rubrics = import_rubrics(lake, sorted(sample.glob("rubrics_*.csv")), simulated=True)
    new = [("job_exports", i) for i in jobs] + [("rubric_exports", i) for i in rubrics]
    operations.report_imports(home, [(table_name, i) for table_name, i in new if i.import_id not in before])
    posts, criteria = sum(i.rows for i in jobs), sum(i.rows for i in rubrics)
    odd = sum(i.quarantined for i in [*jobs, *rubrics])
    say(f"imported {posts:,} posts and {criteria:,} rubric criteria; {odd} rows in quarantine")


def _refresh(home: Home, say: Callable[[str], None]) -> None:
    cohorts = operations.pending_cohorts(home)
    if not cohorts:
        say("nothing has changed since the last refresh")
        return
    say(f"refreshing {len(cohorts)} months: curation, attempts, packets, results")
    done = operations.refresh(home, cohorts)
    say(f"{done.attempts_made:,} attempts made (simulated cost ${done.cost_usd:,.2f})")


def _grade(home: Home, say: Callable[[str], None]) -> bool:
    """Give packets out, have simulated graders fill them in, import their files; then the same for adjudication.

    Whether there was anything to grade.
    """
    said = False
    for turn in ("verdicts", "adjudications"):
        given = assign(home)
        if given.noted:
            operations.report_imports(home, [("assignments", given.noted)])
        if not given.out:
            break
        said = _fill_in(home, given, turn, say) or said
    return said


def _fill_in(home: Home, given: Assigned, what: str, say: Callable[[str], None]) -> bool:
    """Fill in what is out, and import it."""
    # only second graders err, so that every outcome is the truth once a third has decided
    desk = [Work(home.root / o["folder"], o["grader"], errs=o["role"] == "second") for o in given.out]
    graders = len({work.grader for work in desk})
    say(f"{graders} graders fill in {len(desk):,} workbooks")
    returned = grade_work(desk, home.inbox / "graded")
    done, _ = import_verdicts(Lake(home.lake), returned)
    if done is None:
        return False
    operations.report_imports(home, [("verdict_exports", done)])
    say(f"imported {done.rows:,} {what} from {len(done.files):,} files")
    return True


def summary(home: Home, report: Path) -> str:
    """The leaderboard, the category table beside the published one, contradictions, lifts, and where to look next."""
    with connect() as connection:
        names = ["leaderboard", "category_rates", "feedback_lift", "job_posts", "benchmark_jobs"]
        open_tables(connection, Lake(home.lake), names)
        board = connection.execute(
            "SELECT model, round, n_completed, n_eligible, rate, rate_lo, rate_hi, cost_usd FROM leaderboard "
            "WHERE rule = 'all_criteria' AND leaderboard.window = 'all' ORDER BY round, rank, model"
        ).fetchall()
        cells = {
            (m, r, c): (x, n)
            for m, r, c, x, n in connection.execute(
                "SELECT model, round, category, n_completed, n_eligible FROM category_rates "
                "WHERE rule = 'all_criteria' AND category_rates.window = 'all'"
            ).fetchall()
        }
        lifts = connection.execute(_LIFTS).fetchall()
        posts, jobs = connection.execute(
            "SELECT (SELECT count(*) FROM job_posts), (SELECT count(*) FROM benchmark_jobs)"
        ).fetchall()[0]
    parts = [
        f"\nSIMULATED DATA. {posts:,} posts, {jobs} of them in the benchmark: every criterion of the rubric passed, "
        "at this round or earlier\n",
        table(
            ["model", "round", "completed", "of", "rate", "95 % interval", "cost so far"],
            [
                [m, r, x, n, _percent(p), f"{_percent(lo)} to {_percent(hi)}", f"${usd or 0:,.2f}"]
                for m, r, x, n, p, lo, hi, usd in board
            ],
        ),
        "\nBy category, in % (published figure in brackets; * marks what no whole number of jobs can give)\n",
        _category_table(cells),
        "\nWhere the published figures contradict each other:",
        *(textwrap.fill(f"  {line}", 118, subsequent_indent="    ") for line in contradictions()),
        "\nThe expert's first feedback: both rescue rates, and what it added beyond a second try without it\n",
        _lift_table(lifts),
        _where_next(home, report),
    ]
    return "\n".join(parts)


_LIFTS = """
SELECT model, n_before, n_completed, n_rescued, n_retried, rescue_of_retried, rescue_lo, rescue_hi, n_failed_rescued,
    n_failed_before, rescue_of_failed, net_points, net_lo, net_hi, n_paired
FROM feedback_lift l WHERE l.window = 'all' AND rule = 'all_criteria' AND round = 'feedback_1'
ORDER BY n_completed DESC, model
"""


def _lift_table(lifts: list[Any]) -> str:
    """A row a model: before → after, rescued of those tried again and of all that failed, net of the control arm."""
    rows = [
        [
            model,
            f"{before} → {after}",
            f"{rescued}/{retried} = {_percent(rate)} [{_percent(lo)}, {_percent(hi)}]",
            f"{rescued_of_failed}/{failed} = {_percent(of_failed)}",
            "–" if net is None else f"{net:+.1f} [{net_lo:+.1f}, {net_hi:+.1f}] points of {paired} jobs",
        ]
        for (
            model, before, after, rescued, retried, rate, lo, hi, rescued_of_failed, failed, of_failed, net, net_lo,
            net_hi, paired,
        ) in lifts
    ]  # fmt: skip
    head = ["model", "complete", "of those tried again", "of all that failed", "beyond a second try"]
    return table(head, rows, width=140)


def _percent(rate: float | None) -> str:
    return "–" if rate is None else f"{100 * rate:.1f} %"


def _category_table(cells: dict[tuple[str, str, str], tuple[int, int]]) -> str:
    """Ours beside the published figures: a row a category, a column a model, alone → after feedback."""
    published = published_cells()
    models = list(dict.fromkeys(c.model for c in published))
    sizes = {c.category: c.n_jobs for c in published}
    shown: dict[tuple[str, str], list[str]] = {}
    impossible = []
    for cell in published:
        done, of = cells.get((cell.model, cell.round, cell.category), (0, 0))
        digits = len(cell.percent.partition(".")[2])
        ours = f"{100 * done / of:.{digits}f}" if of else "–"
        star = "" if cell.possible else "*"
        shown.setdefault((cell.category, cell.model), []).append(f"{ours} ({cell.percent}{star})")
        if not cell.possible:
            impossible.append(
                f"{cell.model}, {cell.category}, {cell.round}: {cell.percent} of {cell.n_jobs} jobs; "
                f"nearest {done}/{of}"
            )
    rows: list[list[Any]] = [
        [category, size, *(" → ".join(shown.get((category, model), ["–"])) for model in models)]
        for category, size in sorted(sizes.items(), key=lambda item: -item[1])
    ]
    text = table(["category", "jobs", *models], rows, width=140)
    return text + "\n\nImpossible in the published table:\n" + "\n".join(f"  {line}" for line in impossible)


def _where_next(home: Home, report: Path) -> str:
    where = f"--home {home.address if copy_of(home.root) else _short(home.root)}"
    hapi = (shutil.which("hapi") and "hapi") or f"{_short(Path(sys.executable).parent)}/hapi"
    return "\n".join(
        [
            "\nWhere to look next",
            f"  {_short(report)}    the report: open it in a browser",
            f"  {hapi} show {where} leaderboard    the results with their intervals, here",
            f"  {hapi} query {where} '{_EXAMPLE}'",
            f"  {hapi} explain {where} JOB_ID    why a job is in or out, its attempts and verdicts",
            f"  {hapi} ui {where}                the lineage, the funnel and every run in the browser",
        ]
    )


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
