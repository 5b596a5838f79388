"""Tables and explanations on the terminal."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import groupby
from typing import TYPE_CHECKING, Any

from hapi_pipeline.curation.rules import CHAIN
from hapi_pipeline.engine import connect, open_tables
from hapi_pipeline.lake import Lake
from hapi_pipeline.settings import UserError
from hapi_pipeline.tables import TABLES

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from hapi_pipeline.curation.whatif import WhatIf
    from hapi_pipeline.grading.judge import Judged
    from hapi_pipeline.grading.worklist import Worklist
    from hapi_pipeline.handout import Assigned
    from hapi_pipeline.rebuild import Compared, Difference
    from hapi_pipeline.registry import Registry
    from hapi_pipeline.settings import Home
    from hapi_pipeline.trace import Trace

_ROWS_SHOWN = 200


def print_rows(rows: pa.Table, form: str) -> None:
    """Print the answer to a query: as a table for a person, or as csv, json lines or Parquet for a program."""
    if form == "csv":
        import pyarrow.csv as pacsv

        pacsv.write_csv(_flat(rows), sys.stdout.buffer)
    elif form == "json":
        import json

        for row in rows.to_pylist():
            print(_escaped(json.dumps(row, default=_plain, ensure_ascii=False)))
    elif form == "parquet":
        import pyarrow.parquet as pq

        pq.write_table(rows, sys.stdout.buffer)
    else:
        shown = rows.slice(0, _ROWS_SHOWN)
        print(table(rows.column_names, [list(r.values()) for r in _distinct(shown).to_pylist()]))
        if rows.num_rows > _ROWS_SHOWN:
            print(f"… {rows.num_rows - _ROWS_SHOWN:,} more rows; --format csv gives all of them")
        print(f"{rows.num_rows:,} row(s)")


def _escaped(line: str) -> str:
    """A line of JSON in which no character can steer the terminal."""
    return "".join(c if c.isprintable() else _u_escape(c) for c in line)


def _u_escape(character: str) -> str:
    pairs = character.encode("utf-16-be")
    return "".join(f"\\u{pairs[i]:02x}{pairs[i + 1]:02x}" for i in range(0, len(pairs), 2))


def _distinct(rows: pa.Table) -> pa.Table:
    """Columns renamed apart, so that no value is lost where two share a name."""
    return rows.rename_columns([f"{i}:{name}" for i, name in enumerate(rows.column_names)])


def _flat(rows: pa.Table) -> pa.Table:
    """Lists and other nested values as JSON text, which CSV can hold."""
    import json

    import pyarrow as pa

    for i, kind in enumerate(rows.schema):
        if pa.types.is_nested(kind.type):
            texts = [
                None if v is None else json.dumps(v, default=_plain, ensure_ascii=False)
                for v in rows.column(i).to_pylist()
            ]
            rows = rows.set_column(i, kind.name, pa.array(texts, pa.string()))
    return rows


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return str(value)


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, width: int | None = None) -> str:
    """Rows as a table that fits the terminal; numbers to the right, long texts cut with an ellipsis."""
    columns, texts = [_text(name) for name in columns], [[_text(value) for value in row] for row in rows]
    numeric = [all(isinstance(row[i], int | float | Decimal | None) for row in rows) for i in range(len(columns))]
    widths = [max([len(name), *(len(row[i]) for row in texts)]) for i, name in enumerate(columns)]
    room = (width or shutil.get_terminal_size((120, 24)).columns) - 2 * (len(columns) - 1)
    while sum(widths) > room and max(widths) > 8:
        widest = widths.index(max(widths))
        widths[widest] = max(8, widths[widest] - (sum(widths) - room))
        if sum(widths) > room and widths[widest] == 8 and max(widths) == 8:
            break

    def line(cells: Sequence[str]) -> str:
        cut = [c if len(c) <= w else c[: w - 1] + "…" for c, w in zip(cells, widths, strict=True)]
        return "  ".join(
            c.rjust(w) if right else c.ljust(w) for c, w, right in zip(cut, widths, numeric, strict=True)
        ).rstrip()

    return "\n".join([line(list(columns)), "  ".join("─" * w for w in widths), *(line(row) for row in texts)])


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    # nothing that came from outside may steer the terminal
    return "".join(c if c.isprintable() else " " for c in str(value))


def funnel_text(rows: Sequence[Mapping[str, Any]], codes: Sequence[Mapping[str, Any]], title: str) -> str:
    """The funnel for a terminal of 80 columns: counts, what each rule alone would turn away, bars, the codes."""
    posts = rows[0]["n_in"] if rows else 0
    if not posts:
        return f"{title}: no posts."
    kept = rows[-1]["n_kept"]
    simulated = ", simulated" if any(row["simulated"] for row in rows) else ""
    lines = [
        f"{title}{simulated}:",
        f"{posts:,} posts, {kept:,} in the benchmark ({100 * kept / posts:.1f} %)",
        "",
        f"{'rule':21} {'kept':>10} {'rejected':>10} {'unknown':>9} {'alone':>10}",
        " ".join("─" * width for width in (21, 10, 10, 9, 10, 15)),
    ]
    for row in rows:
        alone = "–" if row["n_alone"] is None else f"{row['n_alone']:,}"
        lines.append(
            f"{_text(row['rule']):21} {row['n_kept']:>10,} {row['n_rejected']:>10,} {row['n_unknown']:>9,} "
            f"{alone:>10} {_bar(row['n_kept'] / posts, 15)}".rstrip()
        )
    lines.append("alone: what the rule would turn away of all posts, if it were the only one")
    if codes:
        lines += ["", "The most frequent reasons:"]
        lines += [f"{c['n']:>10,}  {_text(c['code']):30} {_text(c['rule'])}" for c in codes]
    return "\n".join(lines)


def _bar(share: float, width: int) -> str:
    """A bar of at most `width` characters, to an eighth of one."""
    eighths: int = round(max(0.0, min(1.0, share)) * width * 8)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def what_if_text(found: WhatIf) -> str:
    """What other thresholds would do, for a terminal of 80 columns."""
    changed = [f"{key} {_setting(a)} → {_setting(b)}" for key, (a, b) in found.changed.items()] or ["nothing changed"]
    simulated = " (simulated)" if found.simulated else ""
    sentences = (
        f"What if: {', '.join(changed)}. Nothing has been written. Over {len(found.cohorts)} month(s){simulated} the "
        f"benchmark has {found.jobs('stay', 'go'):,} jobs and would have {found.jobs('stay', 'come'):,}: "
        f"{found.jobs('come'):,} come, {found.jobs('go'):,} go, {found.jobs('stay'):,} stay. "
        f"{found.jobs('no_rubric'):,} more would come if they had a rubric."
    )
    if found.jobs("come") or found.jobs("no_rubric"):
        sentences += " Those that come have not been compared with others for likeness."
    parts = ["\n".join(textwrap.wrap(sentences, 80))]
    for dimension, title in (("rule", "what decides"), ("category", "category"), ("price_band", "price")):
        rows = found.table(dimension)
        moved = [row for row in rows if row["come"] or row["go"] or row["no_rubric"]]
        if moved:
            shown = [_move_cells(row) for row in moved[:_MOVES_SHOWN]]
            head = [title, *(["now", "then"] if dimension != "rule" else []), "come", "go", "no rubric"]
            more = f"\n… and {len(moved) - _MOVES_SHOWN:,} more" if len(moved) > _MOVES_SHOWN else ""
            parts.append(table(head, shown, width=80) + more)
    parts += _rate_parts(found)
    if found.uncurated:
        parts.append(f"Left out, not curated yet: {_some(found.uncurated)}.")
    if found.outdated:
        parts.append(
            f"The benchmark of {_some(found.outdated)} is not what the present rules make of it; "
            "`hapi curate` brings it up to date."
        )
    return "\n\n".join(parts)


_MOVES_SHOWN = 20


def _move_cells(row: Mapping[str, Any]) -> list[Any]:
    """A row of moves with rule and code in one cell."""
    if "rule" not in row:
        return [*row.values()]
    return [f"{row['code']} ({row['rule']})", row["come"], row["go"], row["no_rubric"]]


def _rate_parts(found: WhatIf) -> list[str]:
    rows = [r for r in found.rate_rows() if r["n_graded_now"]]
    if not rows:
        return ["No verdicts yet, so nothing can be said of completion rates."]
    cells = [[r["model"], r["round"], _rate(r, "now"), _rate(r, "stay")] for r in rows]
    come = found.jobs("come")
    apart = f"\nThe {come:,} jobs that come have no verdicts; they are in neither column." if come else ""
    return [
        f"Completion by {found.completion_rule}: completed / jobs, percent, Wilson's 95 % interval\n"
        + table(["model", "round", "now", "of those that stay"], cells, width=80)
        + apart
    ]


def _rate(row: Mapping[str, Any], of: str) -> str:
    if row[f"rate_{of}"] is None:
        return "–"
    low, high = row[f"rate_lo_{of}"], row[f"rate_hi_{of}"]
    return (
        f"{row[f'n_completed_{of}']:,}/{row[f'n_eligible_{of}']:,} {100 * row[f'rate_{of}']:.1f} "
        f"[{100 * low:.0f}, {100 * high:.0f}]"
    )


def _setting(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_text, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}"


def _some(cohorts: Sequence[str]) -> str:
    return ", ".join(cohorts[:6]) + (f" and {len(cohorts) - 6} more" if len(cohorts) > 6 else "")


def print_worklist(found: Worklist, form: str) -> None:
    """How far packets are: for a person, as JSON, or as CSV with a row a packet and role."""
    if form == "json":
        import json

        print(_escaped(json.dumps(found.as_json(), default=_plain, ensure_ascii=False)))
    elif form == "csv":
        import csv

        names = ("packet_id", "status", "role", "grader", "n_criteria", "n_answered", "n_disputed", "assigned_at")
        writer = csv.DictWriter(sys.stdout, (*names, "due_at", "returned_at", "minutes"), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(found.rows)
    else:
        print(worklist_text(found))


def worklist_text(found: Worklist) -> str:
    """The worklist for a person, no line longer than 80 characters."""
    from hapi_pipeline.grading.worklist import STATUSES

    if not found.rows:
        return "There are no packets yet; `hapi refresh` makes those of new attempts."
    totals = [[n, status.replace("_", " "), STATUSES[status]] for status, n in found.totals.items() if n]
    parts = [
        f"Packets as of {found.now:%Y-%m-%d %H:%M} UTC, one for each packet and role\n",
        table(["packets", "status", ""], totals, width=80),
    ]
    if found.graders:
        shown = ("grader", "out", "overdue", "back", "median_minutes", "n_minutes")
        rows = [[grader[name] for name in shown] for grader in found.graders]
        parts.append("\n" + table(["grader", "out", "overdue", "back", "median min", "of"], rows, width=80))
    steps = found.next or ["Nothing: every packet is with a grader or done."]
    parts += ["\nWhat to do next"]
    parts += [textwrap.fill(step, 80, initial_indent="- ", subsequent_indent="  ") for step in steps]
    return "\n".join(parts)


def handed_out_text(given: Assigned, out: Path, count: int, there: int, *, label_studio: bool = False) -> str:
    """What came of handing packets out to graders, as folders or as Label Studio projects."""
    each, what = ("project", "their exports") if label_studio else ("folder", "the filled workbooks")
    back = sum(change.event == "withdrawn" for change in given.changes)
    graders = len({one["grader"] for one in given.out})
    more = f"; {there} were there already" if there else ""
    parts = [
        f"{count} packet(s) for {graders} grader(s) in {out}, {given.new} of them given out now{more}. Send each "
        f"grader their {each}; `hapi import verdicts FILE…` takes {what} back."
        if count
        else "Nothing to give out: every packet is done, or waits for somebody."
    ]
    if back:
        parts.append(f"{back} packet(s) were taken back from graders who are no longer qualified; please tell them.")
    parts += [f"{n} × {why}" if n > 1 else why for why, n in sorted(Counter(given.waiting).items())]
    return "\n".join(parts)


def print_models(registry: Registry, home: Home) -> None:
    """The registered models, with what each has and what it lacks."""
    if not registry.models:
        print("No models yet. Next: hapi models add NAME --litellm ID --input-usd N --output-usd N")
        return
    with connect() as connection:
        open_tables(connection, Lake(home.lake), ["attempts", "benchmark_jobs", "completion_rates"])
        made = dict(connection.execute("SELECT model, count(*) FROM attempts GROUP BY 1").fetchall())
        tried = dict(
            connection.execute(
                "SELECT model, count(DISTINCT job_id) FROM attempts WHERE round = 'agent_alone' GROUP BY 1"
            ).fetchall()
        )
        graded = dict(
            connection.execute(
                "SELECT model, sum(n_graded) FROM completion_rates "
                "WHERE round = 'agent_alone' AND rule = 'all_criteria' GROUP BY 1"
            ).fetchall()
        )
        (jobs,) = connection.execute("SELECT count(*) FROM benchmark_jobs").fetchall()[0]
    rows = []
    for model in registry.models:
        lacks = [
            text
            for text, is_lacking in (
                ("a price list", not model.prices and not model.external),
                ("a training cutoff", model.training_cutoff is None),
                (f"{jobs - tried.get(model.name, 0)} of {jobs} jobs", tried.get(model.name, 0) < jobs),
            )
            if is_lacking
        ]
        state = (
            "retired"
            if model.retired
            else "external"
            if model.external
            else "simulated"
            if model.simulated
            else "active"
        )
        rows.append(
            [
                model.name,
                state,
                model.litellm or "–",
                made.get(model.name, 0),
                int(graded.get(model.name) or 0),
                ", ".join(lacks) or "nothing",
            ]
        )
    print(table(["model", "state", "litellm", "attempts", "graded alone", "lacks"], rows))
    if jobs:
        from hapi_pipeline.standing import count_rows

        head, counts = count_rows(Lake(home.lake), registry.models, registry.benchmark)
        print("\nJobs by round, as of the last refresh (`hapi explain JOB_ID` says why, job by job)")
        print(table(head, counts))


def explain_job(lake: Lake, job_id: str, registry: Registry | None = None) -> str:
    """Why a job is in or out, its rubric, attempts, verdicts and outcome; with a registry also why it lacks attempts.

    UserError when nobody knows the job.
    """
    from hapi_pipeline.standing import not_attempted

    names = [
        "job_posts",
        "job_exports",
        "rejected_jobs",
        "pii_findings",
        "benchmark_jobs",
        "rubrics",
        "attempts",
        "verdicts",
        "attempt_outcomes",
    ]
    with connect() as connection:
        open_tables(connection, lake, names)

        def ask(sql: str) -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = connection.sql(sql, params={"job": job_id}).to_arrow_table().to_pylist()
            return found

        posts = ask("SELECT * FROM job_posts WHERE job_id = $job") or ask(
            "SELECT * FROM job_exports WHERE job_id = $job ORDER BY imported_at DESC LIMIT 1"
        )
        if not posts:
            raise UserError(f"There is no job {job_id!r} in this home.")
        away = ask("SELECT * FROM rejected_jobs WHERE job_id = $job")
        inside = ask("SELECT * FROM benchmark_jobs WHERE job_id = $job")
        findings = ask(
            'SELECT place, finding_type, start, "end", decision FROM pii_findings WHERE job_id = $job ORDER BY ALL'
        )
        criteria = ask("SELECT criterion_id, importance, text FROM rubrics WHERE job_id = $job ORDER BY position")
        outcomes = ask(
            "SELECT a.model, a.round, coalesce(a.sample, 1) AS sample, a.finish_reason, "
            "a.n_deliverables AS files, o.n_passed AS passed, o.n_criteria AS of, "
            "CASE WHEN o.outcome <> 'graded' THEN o.outcome WHEN o.all_criteria THEN 'complete' ELSE 'incomplete' END "
            "AS outcome, round(a.cost_usd, 4) AS usd FROM attempts a LEFT JOIN attempt_outcomes o USING (attempt_id) "
            "WHERE a.job_id = $job AND a.is_current ORDER BY a.model, a.turn, a.round, sample"
        )
        failed = ask(
            "SELECT model, round, criterion_id, grader, comment FROM verdicts WHERE job_id = $job AND is_current "
            "AND NOT passed ORDER BY ALL LIMIT 40"
        )
        regrades = ask(_REGRADES)
        versions = ask(
            "SELECT source_file, source_row, imported_at FROM job_exports WHERE job_id = $job ORDER BY imported_at"
        )
    waiting = not_attempted(lake, registry.models, registry.benchmark, job_id) if registry else []
    parts = [_headline(posts[0]), _standing(posts[0], away, inside)]
    if len(versions) > 1:
        parts.append(
            f"{len(versions)} rows were imported for it; the newest is current: "
            + "; ".join(f"{_text(v['source_file'])} row {v['source_row']}" for v in versions)
        )
    for title, rows in (
        ("Personal data found", findings),
        ("Rubric", criteria),
        ("Attempts", outcomes),
        ("Not attempted", waiting),
        ("Failed criteria", failed),
        ("Regrades: verdicts that newer ones of the same grader replaced", regrades),
    ):
        if rows:
            parts.append(f"{title}\n" + table(list(rows[0]), [list(r.values()) for r in rows]))
    return "\n\n".join(parts)


_REGRADES = """
SELECT o.model, o.round, o.criterion_id, o.grader,
    CASE WHEN o.passed THEN 'pass' WHEN NOT o.passed THEN 'fail' ELSE 'unjudged' END AS was,
    CASE WHEN n.passed THEN 'pass' WHEN NOT n.passed THEN 'fail' ELSE 'unjudged' END AS is_now,
    strftime(o.imported_at, '%Y-%m-%d') AS imported, strftime(n.imported_at, '%Y-%m-%d') AS replaced
FROM verdicts o
JOIN verdicts n ON n.attempt_id = o.attempt_id AND n.criterion_id = o.criterion_id AND n.grader = o.grader
    AND n.grader_role = o.grader_role AND n.is_current
WHERE o.job_id = $job AND NOT o.is_current AND o.criterion_id <> '__overall__'
ORDER BY ALL LIMIT 40
"""


def _headline(post: Mapping[str, Any]) -> str:
    price = "price unknown" if post["price_usd"] is None else f"${post['price_usd']:,.2f}"
    done = f"completed {post['completed_at']:%Y-%m-%d}" if post["completed_at"] else "not completed"
    assumed = f"\nAssumed by the operator: {', '.join(post['assumed_fields'])}" if post["assumed_fields"] else ""
    return (
        f"{_text(post['job_id'])}  {_text(post['title'])}\n"
        f"{_text(post['category'] or 'no category')}, {price}, {done}, "
        f"source {_text(post['source'])} ({_text(post['source_file'])} row {post['source_row']}){assumed}"
    )


def _standing(post: Mapping[str, Any], away: Sequence[Mapping[str, Any]], inside: Sequence[Mapping[str, Any]]) -> str:
    """In or out, and the rule that decided it."""
    if inside:
        return (
            f"IN the benchmark of {inside[0]['cohort']}: it passed all {len(CHAIN)} rules, with a rubric of "
            f"{inside[0]['n_criteria']} criteria."
        )
    if away:
        rule = away[0]
        place = CHAIN.index(rule["rule"]) + 1
        meaning = TABLES[rule["rule"]].meaning
        return (
            f"OUT of the benchmark of {post['cohort']}: rule {place} of {len(CHAIN)} ({rule['rule']}: {meaning}) "
            f"turned it away with the code {rule['code']}; found: {_text(rule['observed'])}; asked for: "
            f"{_text(rule['threshold'])} (rules version {rule['rule_version']})."
        )
    return "Imported, but not curated yet; `hapi refresh` decides."


def judge_text(done: Judged, lake: Lake, registry: Registry, judge: str) -> str:
    """What a judge was asked and how far it agrees with people, which is all that may be said of its verdicts."""
    from hapi_pipeline.agreement import judge_agreement

    lines = [f"Asked about {done.asked:,} packet(s) for ${done.cost_usd:,.2f}."]
    lines += [f"{count:,} left: {why}." for why, count in sorted(done.left.items())]
    if done.maybe_billed:
        lines.append(f"{done.maybe_billed:,} call(s) brought nothing and may have been billed.")
    for row in judge_agreement(lake, registry, {}).to_pylist():
        if row["judge"] == judge and row["scope"] == "overall":
            lines.append(_judge_line(row))
    return "\n".join([*lines, "`hapi refresh` brings the table judge_agreement up to date."])


def _judge_line(row: Mapping[str, Any]) -> str:
    asked = f"Prompt {row['prompt_version']}: {row['n_calls']:,} packets, {row['n_no_verdict']:,} criteria not judged"
    if not row["n_compared"]:
        return f"{asked}; nothing to compare: people have not judged these."
    alpha = "undefined" if row["alpha"] is None else f"{row['alpha']:.2f}"
    ends = "" if row["alpha_lo"] is None else f" ({row['alpha_lo']:.2f} to {row['alpha_hi']:.2f})"
    return (
        f"{asked}; it agrees with people on {row['raw_agreement']:.1%} of {row['n_compared']:,} criteria, "
        f"Krippendorff's alpha {alpha}{ends}."
    )


_DIFFERENCES_SHOWN = 20


def print_rebuilt(found: Iterable[Compared], write: bool) -> int:
    """What came of holding tables against the ledgers, a line a table as it is done; 1 when anything differs."""
    tables = partitions = rows = 0
    differences: list[Difference] = []
    for one in found:
        tables, partitions, rows = tables + 1, partitions + one.partitions, rows + one.rows
        differences += one.differences
        state = f"{len(one.differences):,} differ" if one.differences else "same"
        print(f"{one.table:<24}{one.rows:>12,} rows in {one.partitions:>5,} partition(s)  {state}", flush=True)
        for given in one.differences[:_DIFFERENCES_SHOWN]:
            where = " ".join(f"{key}={_text(value)}" for key, value in given.keys.items()) or "the whole table"
            print(textwrap.fill(f"{where}: {_text(given.text)}", 80, initial_indent="    ", subsequent_indent="      "))
        if len(one.differences) > _DIFFERENCES_SHOWN:
            print(f"    … {len(one.differences) - _DIFFERENCES_SHOWN:,} more")
    whole = f"{rows:,} rows in {partitions:,} partition(s) of {tables} table(s) made from the ledgers"
    if not differences:
        print(f"\n{whole}: the lake holds the same.")
        return 0
    mended = sum(d.mendable for d in differences) if write else 0
    print(f"\n{whole}; {len(differences):,} partition(s) of the lake differed, {mended:,} were replaced.")
    if not write:
        print("`hapi rebuild --write` replaces them.")
    return 1


_JOBS_TRACED, _VERDICTS_TRACED = 8, 20


def print_trace(found: Trace, form: str, *, everything: bool = False) -> None:
    """What stands behind a number: for a person, as one JSON object, or as CSV with a row a verdict."""
    if form == "json":
        import json
        from dataclasses import asdict

        print(_escaped(json.dumps(asdict(found), default=_plain, ensure_ascii=False)))
    elif form == "csv":
        import csv

        from hapi_pipeline.trace import VERDICT_COLUMNS

        writer = csv.DictWriter(sys.stdout, VERDICT_COLUMNS)
        writer.writeheader()
        writer.writerows(found.verdicts)
    else:
        print(trace_text(found, everything=everything))


def trace_text(found: Trace, *, everything: bool = False) -> str:
    """The trace for a terminal of 80 columns: numbers, formula, jobs by state, verdict rows."""
    keys = ", ".join(f"{key} {_text(value)}" for key, value in found.keys.items())
    simulated = " (simulated)" if found.simulated else ""
    rows = f"; the sum of {found.n_rows} rows" if found.n_rows > 1 else ""
    numbers = [
        textwrap.fill(
            f"{n.column:<17}{_text(n.value):>9}{_text(n.traced):>9}  {n.meaning}", 80, subsequent_indent=" " * 37
        )
        for n in found.numbers
    ]
    parts = [
        textwrap.fill(f"{found.table}{simulated}: {keys}{rows}", 80),
        "\n".join([f"{'':17}{'in table':>9}{'counted':>9}", *numbers]),
        "Every number was counted anew from its jobs, and is what the table says.",
    ]
    said = [f"{key.capitalize()}: {value}." for key, value in found.formula.items() if key not in ("grain", "inputs")]
    chain = " ← ".join(", ".join(step) for step in found.chain)
    parts += ["\n".join(textwrap.fill(_text(line), 80) for line in [*said, f"Computed from: {chain}"])]
    parts += _traced_jobs(found, everything)
    parts += _traced_verdicts(found, everything)
    return "\n\n".join(parts)


def _traced_jobs(found: Trace, everything: bool) -> list[str]:
    """The jobs of each state with their attempts."""
    from hapi_pipeline.trace import STATES

    made: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for attempt in found.attempts:
        made.setdefault((attempt["cohort"], attempt["job_id"]), []).append(attempt)
    parts = [f"Counted by {found.column}: {len(found.jobs):,} jobs"] if found.column else []
    # ids are there to be copied: what all attempts share makes room for them
    said = [name for name in ("model", "round") if len({a[name] for a in found.attempts}) > 1] or ["round"]
    for state in STATES:
        jobs = [job for job in found.jobs if job["state"] == state]
        shown = jobs if everything else jobs[:_JOBS_TRACED]
        rows = [
            [job["job_id"], *(a[name] for name in said), a["attempt_id"], _passed(a)]
            for job in shown
            for a in made.get((job["cohort"], job["job_id"]), [_NO_ATTEMPT])
        ]
        if jobs:
            listed = table(["job", *said, "attempt", "criteria passed"], rows, width=80)
            parts.append(f"{state}: {len(jobs):,} job(s)\n{listed}{_more(len(jobs) - len(shown), 'jobs')}")
    return parts


_NO_ATTEMPT = {"model": None, "round": None, "attempt_id": None, "n_criteria": None, "outcome": None, "n_passed": None}


def _passed(attempt: Mapping[str, Any]) -> str:
    if attempt["n_criteria"] is None:
        return "–"
    told = "" if attempt["outcome"] == "graded" else f", {attempt['outcome']}"
    return f"{attempt['n_passed']} of {attempt['n_criteria']}{told}"


def _traced_verdicts(found: Trace, everything: bool) -> list[str]:
    """The verdict rows that count, and how many do not."""
    counting = [v for v in found.verdicts if v["standing"] == "counts"]
    shown = counting if everything else counting[:_VERDICTS_TRACED]
    others = Counter(v["standing"] for v in found.verdicts if v["standing"] != "counts")
    left = ", ".join(f"{n:,} {standing}" for standing, n in sorted(others.items()))
    parts = [f"{len(counting):,} verdict rows count" + (f"; left out: {left} (--format csv has them)" if left else "")]
    for (job, round_, attempt), given in groupby(shown, key=lambda v: (v["job_id"], v["round"], v["attempt_id"])):
        rows = [
            [v["criterion_id"], _VERDICT[v["passed"]], v["grader"], v["source_file"], v["source_row"], _day(v)]
            for v in given
        ]
        listed = table(["criterion", "verdict", "grader", "file", "row", "imported"], rows, width=80)
        parts.append(f"{_text(job)} {round_} {attempt}\n{listed}")
    parts[-1] += _more(len(counting) - len(shown), "verdicts")
    return parts


def _day(verdict: Mapping[str, Any]) -> str:
    return f"{verdict['imported_at']:%Y-%m-%d}"


_VERDICT = {True: "pass", False: "fail", None: "unjudged"}


def _more(count: int, what: str) -> str:
    return f"\n… {count:,} more {what}; --all or --format csv or json gives them" if count else ""
