"""Recall, precision and false positives of the personal data scan, beside presidio's pattern recognisers.

    python -m bench.pii [labelled.jsonl] [--misses]
    python -m bench.pii --posts posts.csv --column title [--show]

The labelled file has one JSON object a line: `text`, `has_pii`, `types` (label names), `kind`, `source` and
`scope`: `text` (the label is about the whole text), `type` (only about the named type), `weak` (nothing but
organisations, places, dates and the like, which are not personal data here), `lenient` (phone groupings that
only a lenient matcher takes). A text counts as found for a label when the scan finds that type in it.
With `--posts`, posts without labels (CSV, JSON lines or Parquet) are scanned instead: how many findings of each
type, how many posts each decision gets and, with `--show`, each finding with the words around it, to be looked at on
this machine only.

Presidio runs when it is installed, with a blank spaCy pipeline, so that only its patterns speak. Needs no
network.
"""

from __future__ import annotations

import argparse
import functools
import json
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from hapi_pipeline.curation.pii import REJECT_THRESHOLD, Finding, decide, scan_texts

DEFAULT = Path(__file__).parents[2] / "shared" / "real" / "pii" / "pii_labelled.jsonl"
GOAL_TYPES = ("email", "phone", "card", "iban", "us_ssn", "ip_address")
OTHER_TYPES = ("national_id", "street_address", "profile_link", "secret", "person_name")

NATIONAL_ID_LABELS = """
    AU_MEDICARE AU_TFN CA_SIN DE_FUEHRERSCHEIN DE_HEALTH_INSURANCE DE_PASSPORT DE_SOCIAL_SECURITY
    DE_TAX_ID DRIVERS_LICENCE ES_NIE ES_NIF ES_PASSPORT FI_PERSONAL_IDENTITY_CODE IN_AADHAAR IN_PAN
    IN_PASSPORT IN_VOTER IT_DRIVER_LICENSE KR_DRIVER_LICENSE KR_FRN KR_PASSPORT KR_RRN NG_NIN PL_PESEL
    SE_PERSONNUMMER SG_NRIC_FIN TAX_REFERENCE_NUMBER TH_TNIN TR_NATIONAL_ID UK_DRIVING_LICENCE UK_NHS
    UK_NINO UK_PASSPORT US_DRIVER_LICENSE US_ITIN US_MBI US_PASSPORT ZA_ID_NUMBER PH_TIN
"""

# Labels of the file to the types of the scan; labels that are not personal data here (places, dates, ages)
# are absent.
LABELS = {
    "EMAIL_ADDRESS": "email",
    "EMAIL": "email",
    "PHONE_NUMBER": "phone",
    "PHONE": "phone",
    "TR_PHONE_NUMBER": "phone",
    "PH_MOBILE_NUMBER": "phone",
    "CREDIT_CARD": "card",
    "IBAN_CODE": "iban",
    "US_SSN": "us_ssn",
    "SOCIAL_SECURITY_NUMBER": "us_ssn",
    "IP_ADDRESS": "ip_address",
    "STREET_ADDRESS": "street_address",
    "ADDRESS": "street_address",
    "PERSON": "person_name",
    "SKYPE": "profile_link",
    "TWITTER": "profile_link",
    "SOCIAL_HANDLE": "profile_link",
    "PASSWORD": "secret",
    "CREDENTIALS": "secret",
    **dict.fromkeys(NATIONAL_ID_LABELS.split(), "national_id"),
}

Row = dict[str, Any]
Found = list[set[str]]


def load(path: Path) -> list[Row]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def wanted_types(row: Row) -> set[str]:
    return {LABELS[label] for label in row["types"] or [] if label in LABELS}


def run_ours(texts: Sequence[str]) -> Found:
    return [{f.type for f in findings} for findings in scan_texts(texts)]


def presidio_runner() -> Callable[[Sequence[str]], Found] | None:
    """Presidio's predefined recognisers that need no language model, or None when it is not installed."""
    try:
        import spacy
        import tldextract  # type: ignore[import-not-found,unused-ignore]
        from presidio_analyzer import AnalyzerEngine
        from presidio_analyzer.nlp_engine import SpacyNlpEngine
    except ImportError:
        return None
    logging.disable(logging.WARNING)
    # Its e-mail recogniser would fetch the public suffix list from the network on its first call.
    tldextract.extract = tldextract.TLDExtract(suffix_list_urls=())

    class BlankEngine(SpacyNlpEngine):  # type: ignore[misc,unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.nlp = {"en": spacy.blank("en")}

    engine = AnalyzerEngine(nlp_engine=BlankEngine(), supported_languages=["en"])

    def run(texts: Sequence[str]) -> Found:
        return [{LABELS[r.entity_type] for r in engine.analyze(t, "en") if r.entity_type in LABELS} for t in texts]

    return run


def share(part: int, whole: int) -> str:
    return f"{part / whole:.3f}" if whole else "-"


def is_correct_type(row: Row, kind: str) -> bool:
    """A label for a whole text vouches for the types it names; sentences name all they hold."""
    return kind in wanted_types(row)


def type_table(rows: list[Row], results: dict[str, Found]) -> Table:
    """Recall over the texts that carry the type; precision over all texts of scope `text` in which it was
    found."""
    table = Table(title="scope text, by type")
    for column in (
        "type",
        "texts",
        *(f"{name} {what}" for name in results for what in ("recall", "precision")),
    ):
        table.add_column(column, justify="left" if column == "type" else "right")
    for kind in (*GOAL_TYPES, *OTHER_TYPES):
        with_type = [i for i, row in enumerate(rows) if row["has_pii"] and kind in wanted_types(row)]
        cells = [kind, str(len(with_type))]
        for found in results.values():
            hit = sum(kind in found[i] for i in with_type)
            claimed = [i for i in range(len(rows)) if kind in found[i]]
            right = sum(rows[i]["has_pii"] and is_correct_type(rows[i], kind) for i in claimed)
            cells += [share(hit, len(with_type)), share(right, len(claimed))]
        table.add_row(*cells)
    return table


def source_table(rows: list[Row], results: dict[str, Found]) -> Table:
    table = Table(title="scope text, recall by type and source")
    for column in ("type", "source", "texts", *results):
        table.add_column(column, justify="left" if column in ("type", "source") else "right")
    cells: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        for kind in wanted_types(row) if row["has_pii"] else ():
            cells[kind, row["source"].split("@")[0]].append(i)
    for (kind, source), places in sorted(cells.items()):
        hits = [share(sum(kind in found[i] for i in places), len(places)) for found in results.values()]
        table.add_row(kind, source, str(len(places)), *hits)
    return table


def negative_table(title: str, rows: list[Row], results: dict[str, Found], names_count: bool = False) -> Table:
    """Texts without personal data in which something was found, by kind of text."""
    table = Table(title=title)
    for column in ("kind", "texts", *(f"{name} flagged" for name in results)):
        table.add_column(column, justify="left" if column == "kind" else "right")
    by_kind: dict[str, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        by_kind[row["kind"]].append(i)
        by_kind["ALL"].append(i)
    for kind in sorted(by_kind, key=lambda k: (k == "ALL", k)):
        places = by_kind[kind]
        flagged = [sum(bool(found[i] - ({"person_name"} if not names_count else set())) for i in places)
                   for found in results.values()]  # fmt: skip
        table.add_row(kind, str(len(places)), *(f"{n} ({n / len(places):.1%})" for n in flagged))
    return table


def type_scope_table(rows: list[Row], results: dict[str, Found]) -> Table:
    """Texts that are labelled as not holding one type: how often just that type is claimed."""
    table = Table(title="scope type: claimed though the label says not this type")
    for column in ("type", "texts", *results):
        table.add_column(column, justify="left" if column == "type" else "right")
    places: dict[str, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        for kind in wanted_types(row) if not row["has_pii"] else ():
            places[kind].append(i)
    for kind, at in sorted(places.items()):
        table.add_row(kind, str(len(at)), *(str(sum(kind in found[i] for i in at)) for found in results.values()))
    return table


def subset(
    rows: list[Row], results: dict[str, Found], keep: Callable[[Row], bool]
) -> tuple[list[Row], dict[str, Found]]:
    places = [i for i, row in enumerate(rows) if keep(row)]
    return [rows[i] for i in places], {name: [found[i] for i in places] for name, found in results.items()}


def print_misses(console: Console, rows: list[Row], found: Found) -> None:
    """What was missed and what was wrongly found, to be looked at on this machine only."""
    for row, types in zip(rows, found, strict=True):
        missed = sorted((wanted_types(row) & set(GOAL_TYPES)) - types) if row["has_pii"] else []
        wrong = (
            sorted(types - {"person_name"})
            if not row["has_pii"]
            else sorted(types & set(GOAL_TYPES) - wanted_types(row))
        )
        if missed or wrong:
            console.print({"missed": missed, "wrong": wrong, "kind": row["kind"], "text": row["text"][:160]})


def read_column(path: Path, column: str) -> list[str]:
    """One column of a file of posts; empty cells are left out."""
    import pandas

    readers: dict[str, Callable[..., Any]] = {".csv": pandas.read_csv, ".parquet": pandas.read_parquet}
    frame = readers.get(path.suffix, functools.partial(pandas.read_json, lines=True))(path)
    if column not in frame.columns:
        raise SystemExit(f"{path.name} has no column {column!r}; it has {', '.join(map(str, frame.columns))}.")
    return [str(value) for value in frame[column].dropna()]


def post_table(findings: list[list[Finding]]) -> Table:
    """Findings and posts by type."""
    table = Table(title=f"{len(findings)} posts")
    for column in ("type", "findings", "below threshold", "posts"):
        table.add_column(column, justify="left" if column == "type" else "right")
    for kind in sorted({f.type for of_post in findings for f in of_post}):
        scores = [f.score for of_post in findings for f in of_post if f.type == kind]
        weak = sum(score < REJECT_THRESHOLD for score in scores)
        posts = sum(any(f.type == kind for f in of_post) for of_post in findings)
        table.add_row(kind, str(len(scores)), str(weak), str(posts))
    return table


def in_context(text: str, finding: Finding) -> str:
    """The finding between marks with some words around it; control characters of the text never reach the terminal."""
    before, value = text[max(0, finding.start - 40) : finding.start], text[finding.start : finding.end]
    shown = f"{before}>>{value}<<{text[finding.end : finding.end + 40]}"
    return "".join(char if char.isprintable() else " " for char in shown)


def scan_posts(console: Console, path: Path, column: str, show: bool) -> None:
    texts = read_column(path, column)
    findings = scan_texts(texts)
    console.print(post_table(findings))
    console.print("decisions:", dict(Counter(decide(of_post) for of_post in findings)))
    for text, of_post in zip(texts, findings, strict=True) if show else ():
        for finding in of_post:
            line = f"{finding.type} {finding.score:.2f} {in_context(text, finding)}"
            console.print(line, markup=False, highlight=False)


def timed(console: Console, name: str, run: Callable[[Sequence[str]], Found], texts: Sequence[str]) -> Found:
    run(texts[:5])
    started = time.perf_counter()
    found = run(texts)
    spent = time.perf_counter() - started
    console.print(f"{name}: {len(texts)} texts in {spent:.2f} s ({len(texts) / spent:,.0f} texts/s)")
    return found


def main(arguments: Iterable[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labelled", nargs="?", type=Path, default=DEFAULT)
    parser.add_argument(
        "--misses", action="store_true", help="also print the texts that were missed or wrongly flagged"
    )
    parser.add_argument("--posts", type=Path, help="scan the posts of this file instead: CSV, JSON lines or Parquet")
    parser.add_argument("--column", default="description", help="the column of --posts to scan (default: description)")
    parser.add_argument("--show", action="store_true", help="print each finding of --posts with the words around it")
    options = parser.parse_args(None if arguments is None else list(arguments))
    console = Console(width=150)
    if options.posts:
        scan_posts(console, options.posts, options.column, options.show)
        return 0
    if not options.labelled.exists():
        console.print(f"No labelled file at {options.labelled}: name one as the first argument.")
        return 1
    rows = load(options.labelled)
    texts = [row["text"] for row in rows]
    results = {"hapi": timed(console, "hapi", run_ours, texts)}
    presidio = presidio_runner()
    if presidio is None:
        console.print("presidio not installed")
    else:
        results["presidio"] = timed(console, "presidio", presidio, texts)

    text_rows, text_results = subset(rows, results, lambda r: r["scope"] == "text")
    console.print(type_table(text_rows, text_results))
    console.print(source_table(text_rows, text_results))
    negatives = subset(rows, results, lambda r: r["scope"] == "text" and not r["has_pii"])
    console.print(negative_table("scope text, hard negatives (person names aside)", *negatives))
    weak = subset(rows, results, lambda r: r["scope"] == "weak")
    console.print(negative_table("scope weak: organisations, places, dates only (person names aside)", *weak))
    console.print(type_scope_table(*subset(rows, results, lambda r: r["scope"] == "type")))
    lenient, lenient_results = subset(rows, results, lambda r: r["scope"] == "lenient")
    for name, found in lenient_results.items():
        console.print(
            f"scope lenient: {name} finds {sum('phone' in f for f in found)} of {len(lenient)} phone groupings"
        )
    decisions = Counter(decide(findings) for findings in scan_texts([r["text"] for r in negatives[0]]))
    console.print("decisions on hard negatives:", dict(decisions))
    if options.misses:
        print_misses(console, text_rows, text_results["hapi"])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
