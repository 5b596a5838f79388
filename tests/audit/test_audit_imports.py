"""The way round: out as a workbook, back into the ledger, on to the estimates and the UI."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from hapi_pipeline.assets.curation import curation_assets
from hapi_pipeline.audit.imports import import_audits
from hapi_pipeline.audit.reasons import KEPT, LABELS
from hapi_pipeline.audit.sample import draw
from hapi_pipeline.cli import main
from hapi_pipeline.lake import Lake
from hapi_pipeline.operations import _CURATED_FROM
from hapi_pipeline.registry import AuditPlan, Registry
from hapi_pipeline.resources import HapiHome
from hapi_pipeline.settings import Home, UserError
from tests.audit.conftest import MARCH, answers_csv, curate

Drop = Callable[[str, str | bytes], Path]
PII = "pii_free_jobs"
DECISIONS = {"k1": KEPT, "k2": KEPT, "p1": PII, "h1": "fixed_price_jobs"}


def ledger(lake: Lake) -> list[tuple[Any, ...]]:
    rows = lake.read("audit_exports").to_pylist()
    return sorted((r["job_id"], r["curator"], r["keep"], r["reason"], r["cohort"]) for r in rows)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HAPI_HOME", str(tmp_path / "default"))
    monkeypatch.setenv("DAGSTER_HOME", "")


def test_answers_become_rows_of_the_ledger_with_their_months(lake: Lake, drop: Drop) -> None:
    curate(lake, DECISIONS)
    curate(lake, {"a1": KEPT}, "2026-04", a1={"simulated": True})
    file = drop("a.csv", answers_csv([("k1", "KEEP", "", ""), ("p1", "no", "pii", "mail"), ("a1", "KEEP", "", "")]))
    (done,) = import_audits(lake, [file])
    assert (done.kind, done.rows, done.quarantined, done.cohorts) == ("audits", 3, 0, (MARCH, "2026-04"))
    assert ledger(lake) == [
        ("a1", "ann", True, None, "2026-04"),
        ("k1", "ann", True, None, MARCH),
        ("p1", "ann", False, PII, MARCH),
    ]
    rows = {r["job_id"]: r for r in lake.read("audit_exports").to_pylist()}
    assert (rows["p1"]["comment"], rows["p1"]["source_file"], rows["p1"]["simulated"]) == ("mail", "a.csv", False)
    assert rows["a1"]["simulated"]
    assert f"{rows['k1']['judged_at']:%Y-%m-%d}" == "2026-04-02"


def test_the_same_file_again_changes_nothing_even_under_another_name(lake: Lake, drop: Drop) -> None:
    curate(lake, DECISIONS)
    text = answers_csv([("k1", "KEEP", "", "")])
    first = import_audits(lake, [drop("a.csv", text), drop("b.csv", text)])
    assert first[0] == first[1] == import_audits(lake, [drop("c.csv", text)])[0]
    assert len(ledger(lake)) == len(lake.imports("audits")) == 1


def test_a_correction_and_a_second_curator_stay_beside_the_first(lake: Lake, drop: Drop) -> None:
    curate(lake, DECISIONS)
    for curator, answer in (("ann", "KEEP"), ("ann", "REJECT"), ("bob", "KEEP")):
        import_audits(lake, [drop(f"{curator}{answer}.csv", answers_csv([("k1", answer, "", "")], curator))])
    assert [(who, keep) for _, who, keep, _, _ in ledger(lake)] == [("ann", False), ("ann", True), ("bob", True)]


def test_bad_rows_go_to_quarantine_and_the_good_ones_count(lake: Lake, drop: Drop) -> None:
    curate(lake, DECISIONS)
    rows = [("k1", "KEEP", "", ""), ("nobody", "KEEP", "", ""), ("k2", "so so", "", "")]
    (done,) = import_audits(lake, [drop("a.csv", answers_csv(rows, judged_on="2.4.2026"))])
    assert (done.rows, done.quarantined) == (1, 3)
    quarantined = lake.read("quarantine").to_pylist()
    assert sorted((r["kind"], r["code"]) for r in quarantined) == [
        ("audits", "bad_answer"),
        ("audits", "bad_date"),
        ("audits", "unknown_job"),
    ]
    assert lake.read("audit_exports").to_pylist()[0]["judged_at"] is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (answers_csv([("nobody", "KEEP", "", "")]), "known in this home"),
        (answers_csv([("k1", "", "", "")]), "no answer yet"),
        ("nothing", "holds no answers"),
    ],
)
def test_one_file_that_cannot_be_taken_stops_all_before_anything_is_written(
    lake: Lake, drop: Drop, bytes_below: Callable[[Path], dict[str, str]], text: str, said: str
) -> None:
    curate(lake, DECISIONS)
    before = bytes_below(lake.root)
    with pytest.raises(UserError, match=said):
        import_audits(lake, [drop("good.csv", answers_csv([("k1", "KEEP", "", "")])), drop("bad.csv", text)])
    assert bytes_below(lake.root) == before


def test_ids_that_a_cell_cannot_hold_are_found_again(lake: Lake, fill: Callable[..., Path]) -> None:
    odd = ["=1+1", "'k", "a\tb ", "7", "x" * 300, "a,b;c"]
    curate(lake, dict.fromkeys(odd, KEPT))
    jobs = draw(lake, [MARCH], AuditPlan())
    import_audits(lake, [fill(jobs, dict.fromkeys(odd, ("KEEP",)))])
    assert [row[0] for row in ledger(lake)] == sorted(odd)


# ---- through the command line


def test_out_and_back_through_the_command_line(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str], drop: Drop
) -> None:
    def hapi(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["--home", str(home.root), *map(str, words)])
        said = capsys.readouterr()
        return code, said.out, said.err

    curate(Lake(home.lake), DECISIONS)
    out = tmp_path / "new" / "audit.xlsx"
    code, said, _ = hapi("audit", "--out", out)
    assert (code, out.exists()) == (0, True)
    assert "4 jobs of 2026-03 to judge" in said
    assert "personal data included" in said
    for words, why in (
        (("--out", out), "is there already"),
        (("--out", tmp_path / "a.csv"), "must end in .xlsx"),
        (("--out", tmp_path / "b.xlsx", "--cohort", "2020-01"), "No such month is curated; those that are: 2026-03"),
        (("--out", tmp_path / "b.xlsx", "--cohorts", "March"), "write YYYY-MM..YYYY-MM"),
        ((), "--out FILE.xlsx, or --show"),
    ):
        code, _, error = hapi("audit", *words)
        assert code == 2
        assert why in error
    assert "No curator has judged" in hapi("audit", "--show")[1]
    file = drop("a.csv", answers_csv([("k1", "KEEP", "", ""), ("p1", "REJECT", LABELS[PII], "")]))
    assert hapi("import", "audits", file)[:2] == (0, "a.csv: 2 answers taken in.\n")
    assert hapi("import", "audits", file)[:2] == (0, "a.csv: imported before, nothing changed.\n")
    assert hapi("import", "audits", drop("b.csv", answers_csv([("k1", "maybe", "", "")])))[0] == 1
    code, said, _ = hapi("audit", "--show", "--cohorts", "2026-01..2026-12")
    assert code == 0
    assert "1.000 (0.207 to 1.000)" in said
    assert "Audited: 2026-03" in said


def test_the_asset_shows_figures_and_a_table_and_follows_new_answers(home: Home, drop: Drop) -> None:
    lake = Lake(home.lake)
    curate(lake, DECISIONS)
    (asset,) = [a for a in curation_assets("2026-01") if dg.AssetKey("curation_audit") in a.keys]

    def made() -> dict[str, Any]:
        result = dg.materialize(
            [asset], partition_key=MARCH, resources={"hapi": HapiHome(root=str(home.root))}, raise_on_error=True
        )
        (event,) = result.asset_materializations_for_node("curation_audit")
        return {name: value.value for name, value in event.metadata.items()}

    first = made()
    assert "audit" not in first
    assert not any(name.startswith(("precision", "recall")) for name in first)
    assert made()["partitions_changed"] == 0
    import_audits(lake, [drop("a.csv", answers_csv([("k1", "KEEP", "", ""), ("p1", "REJECT", "pii", "")]))])
    second = made()
    assert second["partitions_changed"] == 1
    assert (second["precision_all"], second[f"precision_{PII}"], second["n_audited_all"]) == (1.0, 1.0, 1)
    assert f"| {PII} | 1 | 1 | 1 | 1.000" in second["audit"]
    assert "audits" in _CURATED_FROM


def test_the_plan_is_read_from_the_registry(home: Home) -> None:
    path = home.registry / "benchmark.yaml"
    assert Registry.of(home).benchmark.audit == AuditPlan(10, 3, "1")
    text = path.read_text("utf-8").replace("per_stratum: 10", "per_stratum: 4")
    path.write_text(text, "utf-8")
    assert Registry.of(home).benchmark.audit.per_stratum == 4
    path.write_text(text.replace("per_stratum: 4", "per_stratum: 0"), "utf-8")
    with pytest.raises(UserError, match="at least 1"):
        _ = Registry.of(home).benchmark
