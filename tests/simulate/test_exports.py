"""`hapi simulate`: seeded exports of any size whose truth is known."""

import csv
import html
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from hapi_pipeline.cli import main
from hapi_pipeline.curation.pii import Finding, decide, scan_texts
from hapi_pipeline.registry import Registry
from hapi_pipeline.settings import UserError
from hapi_pipeline.simulate import contacts, exports
from hapi_pipeline.simulate.exports import Form, Summary, months_from, simulate
from hapi_pipeline.simulate.mass import Chunk, Plan
from hapi_pipeline.simulate.prose import VOCABULARY, Pieces, raw_bits, texts, words
from hapi_pipeline.simulate.world import World


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    folder = tmp_path_factory.mktemp("simulated") / "out"
    return folder, simulate(900, 5, folder, repeats=0.1)


def rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def titles_and_texts(posts: Sequence[dict[str, str]]) -> list[tuple[str, str]]:
    return [(html.unescape(post["title"]), html.unescape(post["description"])) for post in posts]


def found_in(posts: Sequence[dict[str, str]]) -> list[list[Finding]]:
    """What a scan finds in titles and descriptions."""
    titles, descriptions = zip(*titles_and_texts(posts), strict=True)
    return [one + other for one, other in zip(scan_texts(titles), scan_texts(descriptions), strict=True)]


def reread(row: dict[str, str], findings: list[Finding]) -> str:
    """The first reason against a post alone, worked out anew from the export."""
    price = float(row["amount"] or "nan") if row["currency"] == "USD" else float("nan")
    checks = {
        "hourly": row["type"] == "hourly",
        "unknown_job_type": not row["type"],
        "open": row["status"] == "Open",
        "in_progress": row["status"] == "In Progress",
        "cancelled": row["status"] == "Cancelled",
        "unpaid": row["payment_status"] == "pending",
        "unknown_status": not row["status"],
        "unknown_paid": not row["payment_status"],
        "several_milestones": row["milestones"] not in ("1", "", None),
        "price_changed": row["budget_revised"] == "yes",
        "unknown_milestones": not row["milestones"],
        "unknown_price_change": not row["budget_revised"],
        "price_at_limit": price == 500,
        "price_over_limit": price > 500,
        "unknown_price": price != price,
        "personal_data": decide(findings) == "reject",
    }
    return next((name for name, holds in checks.items() if holds), "")


def triples(text: str) -> set[tuple[str, ...]]:
    said = re.findall(r"\w+", text.lower())
    return set(zip(said, said[1:], said[2:], strict=False))


def likeness(one: set[tuple[str, ...]], other: set[tuple[str, ...]]) -> float:
    return len(one & other) / len(one | other)


def duplicates(curated: Sequence[dict[str, str]]) -> dict[str, str]:
    """Which of the posts of one month repeat an earlier one that is a duplicate of none, by comparing all."""
    ordered = sorted(curated, key=lambda row: (row["posted_ts"], row["uid"]))
    known = [(row, triples("\n".join(pair))) for row, pair in zip(ordered, titles_and_texts(ordered), strict=True)]
    found: dict[str, str] = {}
    for (first, one), (second, other) in itertools.combinations(known, 2):
        alike = likeness(one, other)
        assert alike > 0.9 or alike < 0.5
        if alike > 0.9 and first["uid"] not in found:
            same = all(first[c] == second[c] for c in ("client_ref", "title", "description", "amount"))
            found[second["uid"]] = "duplicate_content" if same else "near_duplicate"
    return found


def reasons_of(folder: Path) -> dict[str, str]:
    """The first reason against each post, worked out anew from all that was exported."""
    sizes = Counter(r["job_id"] for r in rows(folder / "rubrics.csv"))
    found: dict[str, str] = {}
    for path in sorted(folder.glob("jobs_*.csv")):
        posts = list(rows(path))
        found |= {row["uid"]: reread(row, findings) for row, findings in zip(posts, found_in(posts), strict=True)}
        found |= duplicates([row for row in posts if not found[row["uid"]]])
    for uid, reason in found.items():
        if not reason and sizes[uid] < 5:
            found[uid] = "too_few_criteria" if sizes[uid] else "no_rubric"
    return found


def test_the_summary_is_the_truth_about_the_files(made: tuple[Path, Summary]) -> None:
    folder, summary = made
    reasons = reasons_of(folder)
    found = Counter(reasons.values())
    assert len(reasons) == summary.posts == 900
    assert min(found["duplicate_content"], found["near_duplicate"]) > 1
    assert found.pop("") == summary.qualifying == sum(summary.qualifying_by_month.values())
    assert found == {name: count for name, count in summary.first_reason.items() if count}
    assert 0.1 < summary.qualifying / 900 < 0.22
    assert set(summary.files) == {p.name for p in folder.iterdir()}
    assert json.loads((folder / "summary.json").read_text("utf-8"))["qualifying"] == summary.qualifying


def test_the_truth_about_each_post(made: tuple[Path, Summary]) -> None:
    folder, summary = made
    truth = {row["uid"]: row for row in rows(folder / "posts_truth.csv")}
    assert {uid: row["reasons"].partition(";")[0] for uid, row in truth.items()} == reasons_of(folder)
    kinds = Counter(row["personal_data"] for row in truth.values() if row["personal_data"])
    assert kinds == Counter(summary.personal_data)
    assert sum(bool(row["duplicate_of"]) for row in truth.values()) == summary.repeated
    posts = {row["uid"]: row for path in folder.glob("jobs_*.csv") for row in rows(path)}
    heads = Counter(row["duplicate_of"] for row in truth.values() if row["duplicate_of"])
    assert max(heads.values()) == 1
    for uid, row in truth.items():
        first = row["duplicate_of"]
        assert not first or not truth[first]["duplicate_of"]
        assert not first or (posts[first]["posted_ts"], first) < (posts[uid]["posted_ts"], uid)
        assert ("personal_data" in row["reasons"]) == bool(row["personal_data"])


def test_a_repost_lies_in_its_month(made: tuple[Path, Summary]) -> None:
    folder, _ = made
    for path in folder.glob("jobs_*.csv"):
        for row in rows(path):
            times = [row[c] for c in ("posted_ts", "contract_start", "contract_end", "modified_ts") if row[c]]
            assert times == sorted(times)
            assert not row["contract_end"] or row["contract_end"][:7] == path.stem[-7:]


def test_a_scan_finds_what_was_planted_and_nothing_else() -> None:
    chunk = Chunk(Plan(11, 0.16, (), 0.0, verdicts=False, clients=900, repeats=0.01), "2026-08", 0, 6000)
    posts, truth = chunk.table().to_pylist(), chunk.truth().to_pylist()
    found = Counter[str]()
    for findings, row in zip(found_in(posts), truth, strict=True):
        kind = row["personal_data"]
        found[kind] += 1
        assert decide(findings) == ("reject" if kind else "keep"), row["uid"]
        assert not kind or kind.removesuffix("_obfuscated") in {finding.type for finding in findings}
    assert all(found[kind] > 8 for kind in contacts.KINDS)


def test_texts_hold_what_real_posts_hold() -> None:
    pairs = titles_and_texts(Chunk(Plan(7, 0.16, (), 0.0, False, 900, 0.0), "2026-08", 0, 3000).table().to_pylist())
    counts = Counter[str]()
    for title, text in pairs:
        assert 150 <= len(text.split()) <= 310
        counts["entity in title"] += "&" in title
        for name, pattern in {
            "price": r"[$€£]\d",
            "date": r"20\d\d-\d\d-\d\d",
            "six digits": r"\d(?:[-/. ]?\d){5}",
            "link": r"https://",
            "hashtag": r"#[a-z]",
            "dash list": r"\n- [A-Z].*\n- ",
            "numbered list": r"\n1\. [A-Z].*\n2\. ",
            "bracket": r"\(",
            "not ASCII": r"[^\x00-\x7f]",
            "emoji": "[\U0001f300-\U0001faff]",
            "percent": r"\d%",
        }.items():
            counts[name] += bool(re.search(pattern, text))
    share = {name: count / len(pairs) for name, count in counts.items()}
    assert all(0.01 < value < 0.6 for value in share.values()), share
    assert 0.05 < share["six digits"] < 0.25
    assert 0.1 < share["not ASCII"] < 0.4


def test_rates_follow_from_truth_and_from_verdicts(made: tuple[Path, Summary]) -> None:
    folder, summary = made
    truth = list(rows(folder / "truth.csv"))
    first = [r for r in truth if r["model_id"] == "sim-agent-1"]
    alone = sum(r["completes"] == "agent_alone" for r in first)
    assert summary.rates["Simulated Agent 1"]["agent_alone"] == alone / summary.qualifying
    after = sum(r["completes"] in ("agent_alone", "feedback_1") for r in first)
    assert summary.rates["Simulated Agent 1"]["feedback_1"] == after / summary.qualifying
    assert summary.judged_rates == summary.rates  # graders that never err
    assert len(truth) == 3 * summary.qualifying
    for rates in summary.rates.values():
        assert rates["agent_alone"] < rates["feedback_1"] < rates["feedback_2"]
        assert rates["agent_alone"] <= rates["retry_1"] < rates["feedback_1"]


def test_verdicts_are_those_of_the_world(made: tuple[Path, Summary]) -> None:
    folder, summary = made
    world, seen = World.load(folder), 0
    for row in rows(folder / "verdicts.csv"):
        model_id = exports.model_id(row["model"])
        passed = row["criterion_id"] in world.passed(row["job_id"], model_id, row["round"])
        assert row["passed"] == str(passed).lower()
        assert bool(row["comment"]) != passed
        seen += 1
    assert seen == summary.verdicts


def test_a_complete_job_is_not_judged_again(made: tuple[Path, Summary]) -> None:
    folder, _ = made
    alone = {(r["job_id"], r["model_id"]) for r in rows(folder / "truth.csv") if r["completes"] == "agent_alone"}
    later = {
        (r["job_id"], exports.model_id(r["model"]))
        for r in rows(folder / "verdicts.csv")
        if r["round"] != "agent_alone"
    }
    assert later
    assert not alone & later


def test_graders_err_as_often_as_they_are_told_to(tmp_path: Path) -> None:
    summary = simulate(600, 5, tmp_path / "out", grader_error=0.05)
    world = World.load(tmp_path / "out")
    wrong = total = 0
    for row in rows(tmp_path / "out" / "verdicts.csv"):
        passed = world.passed(row["job_id"], exports.model_id(row["model"]), row["round"])
        wrong += (row["passed"] == "true") != (row["criterion_id"] in passed)
        total += 1
    assert 0.04 < wrong / total < 0.06
    assert summary.judged_rates["Simulated Agent 1"]["agent_alone"] < summary.rates["Simulated Agent 1"]["agent_alone"]


def test_same_arguments_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        simulate(60, seed, tmp_path / name)
    a, b, c = (contents(tmp_path / name) for name in "abc")
    assert a == b
    assert all(a[name] != c[name] for name in a if name not in ("models.yaml",))


def test_small_chunks_make_whole_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "CHUNK", 7)
    summary = simulate(50, 3, tmp_path / "out", months=["2026-11", "2026-12"])
    ids = [r["uid"] for path in sorted((tmp_path / "out").glob("jobs_*")) for r in rows(path)]
    assert ids == [f"sj{at:09d}" for at in range(50)]
    assert summary.months == ("2026-11", "2026-12")


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_every_form_holds_the_same_posts(tmp_path: Path, form: Form) -> None:
    from pyarrow import parquet

    simulate(40, 9, tmp_path / "csv", months=["2026-08"], verdicts=False)
    simulate(40, 9, tmp_path / form, months=["2026-08"], form=form, verdicts=False)
    path = tmp_path / form / f"jobs_2026-08.{form}"
    if form == "parquet":
        found = parquet.read_table(path).to_pylist()
    else:
        found = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    expected = [{k: v or None for k, v in r.items()} for r in rows(tmp_path / "csv" / "jobs_2026-08.csv")]
    assert found == expected
    assert {p.name for p in (tmp_path / form).iterdir()} == {
        *("README.md", "models.yaml", "rubrics.csv", "posts_truth.csv", "summary.json"),
        path.name,
    }


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"posts": 0}, "at least one post"),
        ({"seed": -1}, "from 0 up"),
        ({"months": []}, "YYYY-MM"),
        ({"months": ["2026-8"]}, "YYYY-MM"),
        ({"months": ["2026-13"]}, "YYYY-MM"),
        ({"months": ["2026-08", "2026-08"]}, "different months"),
        ({"form": "xml"}, "one of csv"),
        ({"share": 1.5}, "share is a probability"),
        ({"grader_error": -0.1}, "grader_error is a probability"),
        ({"repeats": 2}, "repeats is a probability"),
        ({"models": 0}, "1 to 100"),
    ],
)
def test_arguments_out_of_range_change_nothing(tmp_path: Path, arguments: dict[str, Any], why: str) -> None:
    usual: dict[str, Any] = {"posts": 5, "seed": 1, "out": tmp_path / "out"}
    with pytest.raises(UserError, match=why):
        simulate(**usual | arguments)
    assert not (tmp_path / "out").exists()


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep", "utf-8")
    for out in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(UserError, match="not an empty folder"):
            simulate(5, 1, out)
    assert contents(tmp_path) == {"mine.txt": b"keep"}


def test_a_failure_leaves_no_file_under_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(exports, "_judge", fail)
    with pytest.raises(OSError, match="disk full"):
        simulate(5, 1, tmp_path / "out")
    assert contents(tmp_path / "out") == {}


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (1.0, 30)])
def test_none_or_all_may_qualify(tmp_path: Path, share: float, expected: int) -> None:
    assert simulate(30, 1, tmp_path / "out", share=share, repeats=0).qualifying == expected


def test_models_can_be_registered(tmp_path: Path) -> None:
    simulate(5, 1, tmp_path / "out", models=5)
    models = Registry(tmp_path / "out").models
    assert len(models) == 5
    assert all(m.simulated for m in models)
    assert (models[0].litellm, exports.model_id(models[0].name)) == ("openai/sim-agent-1", "sim-agent-1")


def test_the_command_takes_months_a_share_and_no_verdicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    usual = ["simulate", "--posts", "40", "--no-verdicts", "--share", "1", "--repeats", "0", "--out"]
    assert main([*usual, str(tmp_path / "a"), "--months", "2026-12..2027-01"]) == 0
    assert "40 of them qualify, 0 hold personal data, 0 repeat another" in capsys.readouterr().out
    assert main([*usual, str(tmp_path / "b"), "--months", "2"]) == 0
    assert main([*usual, str(tmp_path / "c")]) == 0
    made = [sorted(p.stem for p in (tmp_path / name).glob("jobs_*")) for name in "abc"]
    assert made == [
        ["jobs_2026-12", "jobs_2027-01"],
        ["jobs_2026-08", "jobs_2026-09"],
        ["jobs_2026-08", "jobs_2026-09", "jobs_2026-10"],
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        ("--months", "0"),
        ("--months", "2026-12..2026-11"),
        ("--months", "2026-13"),
        ("--months", "²"),
        ("--share", "nan"),
        ("--share", "1.1"),
        ("--repeats", "-1"),
    ],
)
def test_the_command_refuses_what_it_cannot_make(
    tmp_path: Path, wrong: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["simulate", "--posts", "5", "--out", str(tmp_path / "out"), *wrong])
    assert ended.value.code == 2
    assert f"argument {wrong[0]}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_months_run_over_the_end_of_the_year() -> None:
    assert months_from("2026-11", 4) == ("2026-11", "2026-12", "2027-01", "2027-02")


def test_texts_are_long_varied_and_well_formed() -> None:
    found = texts(raw_bits(1), 400, 150, 300).to_pylist()
    assert all(150 <= len(t.split()) <= 300 for t in found)
    assert all(t[0].isupper() and t.endswith(".") and not t.endswith(" .") for t in found)
    assert all(s.strip()[0].isupper() for t in found for s in t.split(".") if s.strip())
    assert len(set(found)) == 400
    assert len({w.strip(".,").lower() for t in found for w in t.split()}) > 8000


def test_pieces_stand_within_sentences_and_apart() -> None:
    woven = (Pieces(["<4,000 rows>"], 1.0, 12), Pieces(["<v1.2>"], 0.5, 3))
    found = texts(raw_bits(4), 300, 100, 120, woven=woven).to_pylist()
    counts = [len(re.findall(r"<[^>]*>", t)) for t in found]
    assert max(counts) > 8
    assert sum(counts) / 300 > 4
    assert not any(re.search(r"> <|>[.,]|\A<|>\Z", t) for t in found)
    assert all(re.search(r"[a-z,] <", t) or "<" not in t for t in found)


def test_titles_are_one_run_of_words() -> None:
    found = texts(raw_bits(2), 200, 4, 9, title=True).to_pylist()
    assert all(4 <= len(t.split(" ")) <= 9 and t[0].isupper() for t in found)
    assert not any(mark in t for t in found for mark in ".,\n")


def test_no_texts_are_no_trouble() -> None:
    assert texts(raw_bits(1), 0, 5, 9).to_pylist() == []


def test_the_vocabulary_is_large_and_common_words_come_first() -> None:
    assert len(words()) == len(set(words())) == VOCABULARY
    assert words()[0] == "the"
    counts = Counter(" ".join(texts(raw_bits(3), 200, 150, 300).to_pylist()).lower().split())
    assert counts["the"] > 10 * counts["about"] > 0
