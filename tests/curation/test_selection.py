"""Which of the curated jobs are selected, what a freeze keeps, and how far a change reaches."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hapi_pipeline import cli, engine, operations
from hapi_pipeline.curation.selection import freeze, freezes
from hapi_pipeline.lake import Import, Lake
from hapi_pipeline.parameters import query_parameters
from hapi_pipeline.registry import Benchmark, Registry, Selection
from hapi_pipeline.settings import Home, UserError, shipped
from tests import scenario

NOW = datetime(2026, 4, 2, tzinfo=UTC)
Answers = dict[str, dict[str, Any]]


def selected(lake: Lake, benchmark: Benchmark, jobs: Sequence[Mapping[str, Any]], **sample: Any) -> Answers:
    """What the rule says of each of these curated jobs, none of them alike, under such a sample."""
    rules = dataclasses.replace(benchmark, selection=Selection(**sample))
    lake.write("curated_jobs", scenario.table_of("curated_jobs", jobs), scenario.SCOPE)
    made = engine.Query("selected_jobs", engine.query("selected_jobs").sql, {})
    found = engine.run(lake, made, scenario.SCOPE, query_parameters(rules, dict(scenario.SCOPE)))
    return {row["job_id"]: row for row in found.to_pylist()}


def jobs_of(sizes: Mapping[tuple[str, float], int]) -> list[dict[str, Any]]:
    """So many jobs of each category and price."""
    return [
        scenario.post(f"{category}-{price}-{at:03}", category=category, price_usd=price)
        for (category, price), count in sizes.items()
        for at in range(count)
    ]


def kept(answers: Answers) -> set[str]:
    return {name for name, row in answers.items() if row["code"] is None}


def put_freeze(lake: Lake, *job_ids: str) -> None:
    rows = [
        {"freeze_name": "one", "cohort": scenario.COHORT, "job_id": name, "rubric_version": "r", "content_id": "c"}
        | {"frozen_at": NOW, "simulated": False}
        for name in job_ids
    ]
    lake.append("job_freezes", "freeze-1", scenario.table_of("job_freezes", rows))
    lake.finish_import(Import("freeze-1", "freeze", None, (), NOW.isoformat()))


def quotas(sizes: Mapping[str, int], frozen: Mapping[str, int], n: int) -> dict[str, int]:
    """The same apportionment written another way, with fractions: floors, then largest remainders."""
    total = sum(sizes.values())
    if n >= total:
        return dict(sizes)
    least = {s: frozen.get(s, 0) for s in sizes}
    room = n - sum(least.values())
    for s in sorted((s for s in sizes if not least[s]), key=lambda s: (-sizes[s], s))[: max(0, room)]:
        least[s] = 1
    spare = max(0, n - sum(least.values()))
    over = {s: max(Fraction(0), Fraction(n * sizes[s], total) - least[s]) for s in sizes}
    share = {s: spare * over[s] / (sum(over.values()) or 1) for s in sizes}
    found = {s: least[s] + int(share[s]) for s in sizes}
    left = spare - sum(int(x) for x in share.values())
    for s in sorted(sizes, key=lambda s: (-(share[s] - int(share[s])), -sizes[s], s))[: max(0, left)]:
        found[s] += over[s] > 0
    return found


# ---- the sample


def test_without_a_size_every_job_is_kept(lake: Lake, benchmark: Benchmark) -> None:
    jobs = jobs_of({("Data", 10.0): 30, ("Data", 400.0): 2})
    assert len(kept(selected(lake, benchmark, jobs))) == 32
    assert len(kept(selected(lake, benchmark, jobs, jobs_per_month=32))) == 32


def test_a_sample_is_in_proportion_and_every_stratum_has_a_job(lake: Lake, benchmark: Benchmark) -> None:
    jobs = jobs_of({("Data", 30.0): 60, ("Data", 60.0): 30, ("Law", 30.0): 9, ("Law", 900.0): 1})
    answers = selected(lake, benchmark, jobs, jobs_per_month=20)
    assert Counter(name.rsplit("-", 1)[0] for name in kept(answers)) == {
        "Data-30.0": 11,  # exact shares 12, 6, 1.8 and 0.2: what the last is given comes from all others
        "Data-60.0": 6,
        "Law-30.0": 2,
        "Law-900.0": 1,
    }
    away = [row for row in answers.values() if row["code"]]
    assert {row["code"] for row in away} == {"not_selected"}
    assert away[0]["threshold"] == "at most 20 jobs a month, seed 2026"
    data = sorted(r["observed"] for r in away if r["job_id"].startswith("Data-60"))
    assert data[0] == "stratum Data, $50-$100: rank 10, quota 6"
    assert len(data) == 24


def test_within_a_stratum_those_with_the_smallest_hash_are_taken(lake: Lake, benchmark: Benchmark) -> None:
    jobs = jobs_of({("Data", 30.0): 50})
    best = sorted((j["job_id"] for j in jobs), key=lambda name: hashlib.sha256(f"7 {name}".encode()).hexdigest())
    assert kept(selected(lake, benchmark, jobs, jobs_per_month=8, seed=7)) == set(best[:8])
    assert kept(selected(lake, benchmark, jobs, jobs_per_month=8, seed=8)) != set(best[:8])


def test_fewer_jobs_than_strata_come_from_the_largest_ones(lake: Lake, benchmark: Benchmark) -> None:
    jobs = jobs_of({("A", 30.0): 5, ("B", 30.0): 9, ("C", 30.0): 7})
    answers = selected(lake, benchmark, jobs, jobs_per_month=2)
    assert {name[0] for name in kept(answers)} == {"B", "C"}
    assert len(kept(answers)) == 2


@pytest.mark.parametrize(
    ("price", "band"),
    [(24.99, "under $25"), (25.0, "$25-$50"), (49.99, "$25-$50"), (200.0, "$200 and over"), (None, "no price")],
)
def test_a_band_begins_at_its_price(lake: Lake, benchmark: Benchmark, price: float | None, band: str) -> None:
    jobs = [scenario.post("a", category=None, price_usd=price)]
    assert selected(lake, benchmark, jobs)["a"]["observed"] == f"stratum no category, {band}: rank 1, quota 1"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.dictionaries(st.sampled_from("ABCDEFG"), st.integers(1, 25), min_size=1),
    n=st.integers(1, 60),
    fixed=st.integers(0, 6),
    chance=st.randoms(use_true_random=False),
)
def test_quotas_are_those_of_largest_remainders_in_any_order(
    sizes: dict[str, int],
    n: int,
    fixed: int,
    chance: random.Random,
    benchmark: Benchmark,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    lake = Lake(tmp_path_factory.mktemp("quotas") / "lake")
    jobs = jobs_of({(name, 30.0): count for name, count in sizes.items()})
    chance.shuffle(jobs)
    frozen = sorted(j["job_id"] for j in jobs)[:fixed]
    put_freeze(lake, *frozen)
    found = kept(selected(lake, benchmark, jobs, jobs_per_month=n))
    assert Counter(name[0] for name in found) == {
        s: q for s, q in quotas(sizes, Counter(name[0] for name in frozen), n).items() if q
    }
    assert set(frozen) <= found
    assert len(found) == max(len(frozen), min(n, len(jobs)))


def test_a_job_more_moves_few_others(lake: Lake, benchmark: Benchmark) -> None:
    sizes = {("A", 30.0): 40, ("B", 30.0): 30, ("B", 150.0): 20}
    before = kept(selected(lake, benchmark, jobs_of(sizes), jobs_per_month=30))
    jobs = [*jobs_of(sizes), scenario.post("one more", category="A", price_usd=31.0)]
    after = kept(selected(lake, benchmark, jobs, jobs_per_month=30))
    assert len(before - after) <= 2
    assert len(after - before) == len(before - after)


def test_jobs_of_a_freeze_stay_and_the_others_are_told_so(lake: Lake, benchmark: Benchmark) -> None:
    jobs = jobs_of({("Data", 30.0): 20})
    last = sorted(kept(selected(lake, benchmark, jobs)) - kept(selected(lake, benchmark, jobs, jobs_per_month=5)))[:2]
    put_freeze(lake, *last, "a job that is gone")
    answers = selected(lake, benchmark, jobs, jobs_per_month=5)
    assert set(last) <= kept(answers)
    assert len(kept(answers)) == 5
    assert answers[last[0]]["observed"].endswith(", quota 5, in a freeze")
    away = next(row for row in answers.values() if row["code"])
    assert away["observed"].endswith(", quota 5, 2 of it in a freeze")


# ---- alike


def test_of_jobs_that_are_alike_the_head_is_kept_and_the_others_name_it(lake: Lake, benchmark: Benchmark) -> None:
    row = {"cohort": scenario.COHORT, "cluster_id": "a", "head_cohort": scenario.COHORT, "simulated": False}
    rows = [
        row | {"job_id": "a", "similarity": 1.0, "method": "itself"},
        row | {"job_id": "b", "similarity": 1.0, "method": "content"},
        row | {"job_id": "c", "similarity": 0.934, "method": "near"},
    ]
    lake.write("job_clusters", scenario.table_of("job_clusters", rows), scenario.SCOPE)
    answers = selected(lake, benchmark, [scenario.post(name) for name in "abcd"], jobs_per_month=2)
    assert {name: answer["code"] for name, answer in answers.items()} == {
        "a": None,
        "b": "duplicate_content",
        "c": "near_duplicate",
        "d": None,  # of a cluster that nobody has looked for yet
    }
    assert answers["b"]["observed"] == "same as a"
    assert answers["c"]["observed"] == "like a, similarity 0.93"
    assert answers["c"]["threshold"] == "similarity under 0.80 to every earlier job"


def test_a_template_of_another_client_is_kept_once_in_the_whole_chain(tmp_path: Path, benchmark: Benchmark) -> None:
    lake = Lake(tmp_path / "lake")
    text = " ".join(f"word{at}" for at in range(40))
    scenario.take_in(
        lake,
        "jobs",
        "job_exports",
        [scenario.post(n, title=None, description=f"{text} {n}", client_id=f"client {n}") for n in ("t2", "t1")],
    )
    scenario.curate(lake, scenario.rules(benchmark))
    away = {r["job_id"]: (r["rule"], r["code"]) for r in lake.read("rejected_jobs").to_pylist()}
    assert away == {"t2": ("selected_jobs", "near_duplicate"), "t1": ("benchmark_jobs", "no_rubric")}


# ---- freezes


@pytest.fixture
def built(tmp_path: Path, benchmark: Benchmark) -> Lake:
    lake = Lake(tmp_path / "lake")
    scenario.build(lake, scenario.rules(benchmark))
    return lake


def test_a_freeze_lists_the_jobs_with_what_they_were(built: Lake) -> None:
    done = freeze(built, "2026 Q1", [scenario.COHORT], NOW)
    assert (done.rows, done.cohorts) == (len(scenario.GOOD), (scenario.COHORT,))
    rows = built.read("job_freezes").to_pylist()
    now = {r["job_id"]: r for r in built.read("benchmark_jobs").to_pylist()}
    assert {r["job_id"] for r in rows} == set(scenario.GOOD)
    for row in rows:
        assert (row["freeze_name"], row["frozen_at"]) == ("2026 Q1", NOW)
        for name in ("rubric_version", "content_id", "category", "price_usd", "cohort"):
            assert row[name] == now[row["job_id"]][name]


def test_a_freeze_says_what_has_become_of_its_jobs(built: Lake, benchmark: Benchmark) -> None:
    freeze(built, "first", [scenario.COHORT], NOW)
    assert freezes(built).to_pylist()[0]["differences"] == "none"
    better = [scenario.criterion("good-2", name, importance) for name, importance in scenario.RUBRIC]
    better = [{**row, "source_sha256": "e" * 64, "rubric_version": "new", "imported_at": NOW} for row in better]
    scenario.take_in(built, "rubrics", "rubric_exports", better)
    dear = scenario.post("good-1", price_usd=700.0, imported_at=NOW, source_sha256="f" * 64)
    scenario.take_in(built, "jobs", "job_exports", [dear])
    scenario.curate(built, scenario.rules(benchmark))
    (row,) = freezes(built).to_pylist()
    assert (row["n_jobs"], row["n_in_benchmark"]) == (4, 3)
    assert row["differences"] == "1 price_at_or_over_limit, 1 rubric changed"


@pytest.mark.parametrize("name", ["", " a", "a\n", "a\x1b[31m", "x" * 101, "FIRST"])
def test_a_name_is_used_once_and_can_be_read(built: Lake, name: str) -> None:
    freeze(built, "first", [scenario.COHORT], NOW)
    before = built.state("job_freezes", {})
    with pytest.raises(UserError):
        freeze(built, name, [scenario.COHORT], NOW)
    assert built.state("job_freezes", {}) == before


@pytest.mark.parametrize("cohorts", [[], ["2019-01"]])
def test_nothing_cannot_be_frozen(built: Lake, cohorts: list[str]) -> None:
    with pytest.raises(UserError, match="no jobs"):
        freeze(built, "empty", cohorts, NOW)


def test_a_freeze_that_was_killed_does_not_count_and_its_name_is_free(
    built: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as killed, contextlib.suppress(KeyboardInterrupt):
        killed.setattr(Lake, "finish_import", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        freeze(built, "first", [scenario.COHORT], NOW)
    assert built.read("job_freezes").num_rows == 0
    assert not built.imports("freeze")
    assert freeze(built, "first", [scenario.COHORT], NOW).rows == built.read("job_freezes").num_rows == 4


def test_the_command_freezes_lists_and_refuses_a_second_time(
    home: Home, built: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in built.root.iterdir():
        path.rename(home.lake / path.name)
    assert cli.main(["--home", str(home.root), "freeze"]) == 0
    assert "no freeze yet" in capsys.readouterr().out
    assert cli.main(["--home", str(home.root), "freeze", "Q1", "--cohorts", "2019-01..2019-03"]) == 2
    assert cli.main(["--home", str(home.root), "freeze", "Q1"]) == 0
    assert "Froze 4 jobs of 1 month(s) as 'Q1'" in capsys.readouterr().out
    assert cli.main(["--home", str(home.root), "freeze", "Q1"]) == 2
    assert cli.main(["--home", str(home.root), "freeze"]) == 0
    assert "Q1" in capsys.readouterr().out


# ---- the registry


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("duplicates: {min_similarity: 0.2}", "from 0.5 to 1"),
        ("duplicates: {months_back: 13}", "from 0 to 12"),
        ("duplicates: {months_back: true}", "from 0 to 12"),
        ("duplicates: {likeness: 1}", "wrong kind"),
        ("selection: {jobs_per_month: 0}", "from 1 to"),
        ("selection: {jobs_per_month: many}", "from 1 to"),
        ("selection: {price_bands: [50, 25]}", "that grow"),
        ("selection: {price_bands: []}", "that grow"),
        ("selection: {price_bands: 25}", "wrong kind"),
        ("selection: {seed: x}", "wrong kind"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path: Path, section: str, message: str) -> None:
    text = (shipped("data/registry") / "benchmark.yaml").read_text("utf-8")
    cut = text[: text.index("duplicates:")] + text[text.index("rubric:") :]
    (tmp_path / "benchmark.yaml").write_text(f"{cut}\n{section}\n", "utf-8")
    with pytest.raises(UserError, match=message):
        _ = Registry(tmp_path).benchmark


def test_a_home_without_these_sections_has_the_defaults(tmp_path: Path, benchmark: Benchmark) -> None:
    text = (shipped("data/registry") / "benchmark.yaml").read_text("utf-8")
    (tmp_path / "benchmark.yaml").write_text(text[: text.index("duplicates:")] + text[text.index("rubric:") :])
    assert Registry(tmp_path).benchmark == benchmark


# ---- how far a change reaches


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, home: Home) -> list[tuple[str, str]]:
    """The stretches that are curated; a month is made of its posts and of those before it."""
    done: list[tuple[str, str]] = []

    def run(defs: object, instance: object, job: str, span: tuple[str, str], tags: object) -> None:
        done.append(span)
        for month in MONTHS:
            if span[0] <= month <= span[1]:
                STATE[month] = made_of(month)

    monkeypatch.setattr(operations, "_run", run)
    monkeypatch.setattr(operations, "known_cohorts", lambda _: MONTHS)
    monkeypatch.setattr(operations, "_is_curated", lambda _, c: c in STATE)
    monkeypatch.setattr(
        operations, "_standing", lambda _, c: (STATE.get(c), POSTS.get(c) if c == "2024-06" else STATE.get(c))
    )
    STATE.clear()
    POSTS.clear()
    POSTS.update(dict.fromkeys(MONTHS, 0))
    return done


MONTHS = [f"{year}-{month:02}" for year in (2024, 2025, 2026) for month in range(1, 13)][:30]
STATE: dict[str, str] = {}
POSTS: dict[str, int] = {}


def made_of(month: str) -> str:
    """A month's posts with the months before it as they stand."""
    before = (STATE[m] for m in MONTHS if operations._is_after(month, m, 12))
    return hashlib.sha256(" ".join([str(POSTS[month]), *before]).encode()).hexdigest()


def curate(home: Home, cohorts: Sequence[str]) -> list[str]:
    found = operations._curate(home, None, None, cohorts, {})  # type: ignore[arg-type]
    operations._settle(home, cohorts, "curated", operations._CURATED_FROM)
    return found


def test_months_that_are_all_new_are_curated_once(home: Home, runs: list[tuple[str, str]]) -> None:
    assert curate(home, MONTHS) == []
    assert runs == [(MONTHS[0], MONTHS[-1])]
    assert operations.uncurated_cohorts(home) == []


def test_a_change_is_carried_on_to_every_month_that_it_reaches(home: Home, runs: list[tuple[str, str]]) -> None:
    curate(home, MONTHS)
    runs.clear()
    POSTS["2024-02"] = 1
    moved = curate(home, ["2024-02"])
    assert runs == [("2024-02", "2024-02"), ("2024-03", "2025-02"), ("2025-03", "2026-02"), ("2026-03", "2026-06")]
    assert set(moved) == {m for m in MONTHS if m > "2024-02"} - {"2024-06"}  # whose benchmark is the same
    assert operations.uncurated_cohorts(home) == []


def test_a_month_that_comes_out_the_same_disturbs_no_other(home: Home, runs: list[tuple[str, str]]) -> None:
    curate(home, MONTHS)
    runs.clear()
    assert curate(home, ["2024-02", "2025-07"]) == []
    assert runs == [("2024-02", "2024-02"), ("2025-07", "2025-07")]


def test_a_kill_on_the_way_leaves_the_rest_to_be_done(
    home: Home, runs: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    curate(home, MONTHS)
    POSTS["2024-02"] = 1
    real = operations._run

    def run_once(*arguments: Any) -> Any:
        if arguments[3][0] != "2024-02":
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as killed, contextlib.suppress(KeyboardInterrupt):
        killed.setattr(operations, "_run", run_once)
        curate(home, ["2024-02"])
    left = operations.uncurated_cohorts(home)
    assert set(left) >= {m for m in MONTHS if "2024-02" < m <= "2025-02"}
    curate(home, left)
    expected = dict(STATE)
    for month in MONTHS:
        STATE[month] = made_of(month)
    assert expected == STATE
