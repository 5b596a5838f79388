"""From the ledgers to a folder for each grader, and back to the worklist."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hapi_pipeline import engine
from hapi_pipeline.cli import main
from hapi_pipeline.grading.assignment import SECOND, doubled
from hapi_pipeline.grading.files import read_verdict_file
from hapi_pipeline.grading.worklist import current_status, worklist
from hapi_pipeline.handout import Assigned, Chosen, assign, hand_out, write_out
from hapi_pipeline.registry import Benchmark, Registry
from hapi_pipeline.settings import UserError
from hapi_pipeline.simulate.graders import Work, grade_work
from tests import scenario
from tests.assignment.conftest import CRITERIA, JOBS, MODELS, Desk

THREE = ("grader-1", "grader-2", "grader-3")
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def give(desk: Desk, **more: Any) -> Assigned:
    return assign(desk.home, now=NOON, **more)


def statuses(desk: Desk, packet: str | None = None) -> set[tuple[str, str | None, str]]:
    wanted = packet or desk.packet()
    return {(r["role"], r["grader"], r["status"]) for r in current_status(desk.lake) if r["packet_id"] == wanted}


def holders(desk: Desk, packet: str | None = None) -> dict[str, str]:
    """Who has the packet, by role."""
    return {role: grader for role, grader, _ in statuses(desk, packet) if grader}


def ledger(desk: Desk) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = desk.lake.read("assignments").to_pylist()
    return found


def below(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# ---- giving out


def test_each_grader_has_a_folder_with_packets_in_a_random_order_that_is_recorded(desk: Desk, tmp_path: Path) -> None:
    desk.graders(*THREE, double_share=0)
    given = give(desk)
    assert write_out(desk.home, tmp_path / "out", given) == (6, 0)
    folders = sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").glob("*/*") if p.is_dir())
    entries = ledger(desk)
    assert folders == sorted(f"{e['grader']}/{e['position']:03d}_{e['packet_id']}" for e in entries)
    assert Counter(e["grader"] for e in entries) == dict.fromkeys(THREE, 2)
    assert {(e["role"], e["event"], e["seed"]) for e in entries} == {("grader", "assigned", "1")}
    assert {e["due_at"] - e["assigned_at"] for e in entries} == {timedelta(days=14)}
    assert {e["category"] for e in entries} == set(JOBS.values())
    # what is in a folder is the packet as it stands in the home, with the grader filled in
    for entry in entries:
        folder = tmp_path / "out" / entry["grader"] / f"{entry['position']:03d}_{entry['packet_id']}"
        packet = below(desk.home.packets / entry["packet_id"])
        assert below(folder).keys() == packet.keys()
        differing = {name for name, data in below(folder).items() if data != packet[name]}
        assert differing == {f"packet_{entry['packet_id']}.{kind}" for kind in ("xlsx", "csv")}
        for kind in ("xlsx", "csv"):
            file = read_verdict_file(folder / f"packet_{entry['packet_id']}.{kind}")
            assert file.header["grader"] == entry["grader"]
            assert len(file.rows) == len(CRITERIA)


def test_what_was_given_stays_given_and_is_copied_once(desk: Desk, tmp_path: Path) -> None:
    desk.graders(*THREE)
    first = give(desk)
    write_out(desk.home, tmp_path / "out", first)
    before = ledger(desk)
    desk.graders("grader-0", *THREE, "grader-9")
    again = assign(desk.home, now=NOON + timedelta(days=1))
    assert (again.new, again.noted, again.changes) == (0, None, [])
    assert ledger(desk) == before
    assert write_out(desk.home, tmp_path / "out", again) == (len(first.out), len(first.out))
    assert write_out(desk.home, tmp_path / "lost and found", again) == (len(first.out), 0)
    assert below(tmp_path / "lost and found") == below(tmp_path / "out")


def test_new_packets_are_given_out_around_the_old_ones(desk: Desk) -> None:
    desk.graders(*THREE, double_share=0)
    give(desk, chosen=Chosen(model=MODELS[0]))
    before = ledger(desk)
    assert {e["model"] for e in before} == {MODELS[0]}
    second = give(desk)
    assert second.new == 3
    assert [e for e in ledger(desk) if e["model"] == MODELS[0]] == before
    assert Counter(e["grader"] for e in ledger(desk)) == dict.fromkeys(THREE, 2)
    by_grader = {g: sorted(e["position"] for e in ledger(desk) if e["grader"] == g) for g in THREE}
    assert by_grader == {g: [1, 2] for g in THREE}


def test_a_share_goes_to_two_and_the_same_world_is_shared_out_alike(desk: Desk) -> None:
    rules = {"double_share": 0.5, "seed": "7"}
    desk.graders(*THREE, **rules)
    give(desk)
    wanted = {p for p in desk.packets if doubled(p, Registry.of(desk.home).benchmark.grading)}
    assert 0 < len(wanted) < 6
    assert {e["packet_id"] for e in ledger(desk) if e["role"] == SECOND} == wanted
    pairs = Counter((e["packet_id"], e["grader"]) for e in ledger(desk))
    assert max(pairs.values()) == 1
    once = [(e["assignment_id"], e["position"]) for e in ledger(desk)]
    for path in (desk.home.lake / "imports").glob("assignments-*.json"):
        path.unlink()  # as if it had never been given out
    assert ledger(desk) == []
    desk.graders(*reversed(THREE), **rules)
    give(desk)
    assert [(e["assignment_id"], e["position"]) for e in ledger(desk)] == once


def test_nothing_in_a_graders_folder_names_a_model_a_round_or_a_role(desk: Desk, tmp_path: Path) -> None:
    desk.graders(*THREE, double_share=1)
    write_out(desk.home, tmp_path / "out", give(desk))
    told = ("second", "adjudicator", "agent_alone", "zephyr", "ostrich")
    others = {g: [o for o in THREE if o != g] for g in THREE}
    for name, data in below(tmp_path / "out").items():
        parts = [data]
        if name.endswith(".xlsx"):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                parts = [archive.read(entry) for entry in archive.namelist()]
        for text in [name, *(part.decode("utf-8", "replace") for part in parts)]:
            assert not [word for word in told + tuple(others[name.split("/")[0]]) if word in text.casefold()]


def test_simulated_graders_fill_in_what_was_given_to_them(desk: Desk, tmp_path: Path) -> None:
    desk.graders("grader-1", double_share=0)
    write_out(desk.home, tmp_path / "out", give(desk))
    folders = sorted(p for p in (tmp_path / "out" / "grader-1").iterdir() if p.is_dir())
    filled = grade_work([Work(folder, "grader-1") for folder in folders], tmp_path / "back")
    assert [read_verdict_file(path).header["grader"] for path in filled] == ["grader-1"] * 6


def test_the_list_of_a_grader_says_what_comes_when(desk: Desk, tmp_path: Path) -> None:
    desk.graders("grader-1", double_share=0, due_days=3)
    write_out(desk.home, tmp_path / "out", give(desk))
    text = (tmp_path / "out" / "grader-1" / "README.txt").read_text()
    assert text.startswith("Packets for grader-1\n")
    for entry in ledger(desk):
        assert f"{entry['position']:03d}  {entry['packet_id']}   3 criteria, by 2026-11-04" in text


def test_a_packet_that_was_made_anew_lies_beside_the_old_one(desk: Desk, tmp_path: Path) -> None:
    desk.graders("grader-1", double_share=0)
    write_out(desk.home, tmp_path / "out", give(desk))
    old = below(tmp_path / "out")
    desk.rubric({"c3": "c3 is met twice"}, "r2")
    assert write_out(desk.home, tmp_path / "out", give(desk)) == (6, 0)
    new = below(tmp_path / "out")
    assert {name: new[name] for name in old} == old
    assert len({name.split("/")[1] for name in new if "/0" in name}) == 12
    assert write_out(desk.home, tmp_path / "out", give(desk)) == (6, 6)


def test_without_registered_graders_packets_are_handed_out_as_ever(desk: Desk, tmp_path: Path) -> None:
    assert hand_out(desk.home, tmp_path / "out") == (6, 0)
    assert {name.split("/")[0] for name in below(tmp_path / "out")} == set(desk.packets)
    for packet in desk.packets:
        assert below(tmp_path / "out" / packet) == below(desk.home.packets / packet)
    assert hand_out(desk.home, tmp_path / "out", Chosen(cohort=scenario.COHORT, model=MODELS[1])) == (3, 3)
    assert hand_out(desk.home, tmp_path / "out", Chosen(cohort="2020-01")) == (0, 0)
    assert not ledger(desk)


def test_a_file_is_no_folder_to_hand_out_to(desk: Desk, tmp_path: Path) -> None:
    desk.graders("grader-1")
    (tmp_path / "out").write_text("")
    with pytest.raises(UserError, match="is a file"):
        write_out(desk.home, tmp_path / "out", give(desk))


# ---- how far packets are


def test_from_out_to_complete(desk: Desk) -> None:
    desk.graders(*THREE, double_share=0)
    assert statuses(desk) == {("grader", None, "unassigned")}
    give(desk)
    who = holders(desk)["grader"]
    assert statuses(desk) == {("grader", who, "out")}
    desk.hand_in(desk.packet(), who, "p--")
    assert statuses(desk) == {("grader", who, "incomplete")}
    desk.hand_in(desk.packet(), who.upper(), "-pf")
    assert statuses(desk) == {("grader", who, "complete")}
    assert give(desk).new == 0


def test_two_graders_who_agree_are_done_and_one_of_them_alone_waits(desk: Desk) -> None:
    desk.graders(*THREE, double_share=1)
    give(desk)
    one, two = holders(desk)["grader"], holders(desk)["second"]
    desk.hand_in(desk.packet(), two, "ppf")
    assert statuses(desk) == {("grader", one, "out"), ("second", two, "back")}
    desk.hand_in(desk.packet(), one, "ppf")
    assert statuses(desk) == {("grader", one, "complete"), ("second", two, "complete")}
    assert give(desk).new == 0


def test_a_third_grader_decides_between_two_without_knowing_it(
    desk: Desk, tmp_path: Path, benchmark: Benchmark
) -> None:
    desk.graders(*THREE, double_share=1)
    write_out(desk.home, tmp_path / "first", give(desk))
    one, two = holders(desk)["grader"], holders(desk)["second"]
    desk.hand_in(desk.packet(), one, "ppf")
    desk.hand_in(desk.packet(), two, "pff")
    conflict = {("grader", one, "in_conflict"), ("second", two, "in_conflict")}
    assert statuses(desk) == conflict | {("adjudicator", None, "to_adjudicate")}
    assert outcome(desk, benchmark)["disagreement"]

    given = give(desk)
    assert given.new == 1
    (third,) = set(THREE) - {one, two}
    assert statuses(desk) == conflict | {("adjudicator", third, "out")}
    # what he gets is what the others got: all criteria, no verdict, no word on what is disputed
    write_out(desk.home, tmp_path / "third", given)
    (folder,) = (tmp_path / "third" / third).glob(f"*_{desk.packet()}")
    (theirs,) = (tmp_path / "first" / one).glob(f"*_{desk.packet()}")
    theirs_as_his = {n: d.replace(one.encode(), third.encode()) for n, d in below(theirs).items() if "xlsx" not in n}
    assert {n: d for n, d in below(folder).items() if "xlsx" not in n} == theirs_as_his
    rows = read_verdict_file(folder / f"packet_{desk.packet()}.xlsx").rows
    assert [(r.values["criterion_id"], r.values["passed"]) for r in rows] == [(c, None) for c in CRITERIA]

    desk.hand_in(desk.packet(), third, "pp-")
    assert ("adjudicator", third, "incomplete") in statuses(desk)
    desk.hand_in(desk.packet(), third, "--p")
    assert {status for _, _, status in statuses(desk)} == {"complete"}
    assert outcome(desk, benchmark)["all_criteria"] is True
    assert not outcome(desk, benchmark)["disagreement"]
    roles = {(v["grader"], v["grader_role"]) for v in desk.lake.read("verdict_exports").to_pylist()}
    assert roles == {(one, "grader"), (two, "grader"), (third, "adjudicator")}
    assert give(desk).new == 0


def outcome(desk: Desk, benchmark: Benchmark) -> dict[str, Any]:
    """The outcome of the first packet's attempt, by the project's own SQL."""
    keys = {"cohort": scenario.COHORT, "model": MODELS[0], "round": "agent_alone"}
    desk.lake.write("verdicts", engine.run(desk.lake, engine.query("verdicts"), keys), keys)
    rows = scenario.make(desk.lake, benchmark, "attempt_outcomes", {"cohort": scenario.COHORT, "model": MODELS[0]})
    found: list[dict[str, Any]] = rows.to_pylist()
    return next(r for r in found if r["attempt_id"] == desk.attempt_id(MODELS[0], "job-1"))


def test_a_sheet_cannot_make_its_grader_an_adjudicator(desk: Desk) -> None:
    desk.hand_in(desk.packet(job="job-2"), "anybody", "ppp", role="adjudicator")  # nothing was assigned: it holds
    desk.graders(*THREE, double_share=0)
    give(desk)
    desk.hand_in(desk.packet(), holders(desk)["grader"], "ppp", role="adjudicator")
    desk.hand_in(desk.packet(), "stranger", "fff", role="adjudicator")
    roles = {(v["grader"], v["grader_role"]) for v in desk.lake.read("verdict_exports").to_pylist()}
    assert {role for grader, role in roles if grader != "anybody"} == {"grader"}
    assert ("anybody", "adjudicator") in roles
    assert ("adjudicator", None, "to_adjudicate") in statuses(desk)


def test_what_nobody_could_judge_goes_to_one_more_and_then_rests(desk: Desk) -> None:
    desk.graders(*THREE, double_share=0)
    give(desk)
    who = holders(desk)["grader"]
    desk.hand_in(desk.packet(), who, "f?p")
    assert statuses(desk) == {("grader", who, "complete")}, "a criterion failed: the outcome is known"
    desk.hand_in(desk.packet(), who, "p?p")
    assert ("adjudicator", None, "to_adjudicate") in statuses(desk)
    give(desk)
    desk.hand_in(desk.packet(), holders(desk)["adjudicator"], "p?p")
    assert {status for _, _, status in statuses(desk)} == {"complete"}
    assert give(desk).new == 0


def test_nobody_is_left_to_decide(desk: Desk) -> None:
    desk.graders("grader-1", "grader-2", double_share=1)
    give(desk)
    desk.hand_in(desk.packet(), "grader-1", "ppp")
    desk.hand_in(desk.packet(), "grader-2", "ppf")
    given = give(desk)
    assert given.new == 0
    assert given.waiting == (
        "An adjudication of a packet of Writing waits: all who may grade it have had the packet already.",
    )
    assert ("adjudicator", None, "to_adjudicate") in statuses(desk)


def test_verdicts_on_a_criterion_that_changed_are_stale(desk: Desk, benchmark: Benchmark) -> None:
    desk.graders(*THREE, double_share=0)
    give(desk)
    who = holders(desk)["grader"]
    desk.hand_in(desk.packet(), who, "ppp")
    desk.rubric({"c3": "c3 is met twice"}, "r2")
    scenario.make(desk.lake, benchmark, "standing_criteria", scenario.SCOPE)
    assert statuses(desk) == {("grader", who, "stale")}
    desk.hand_in(desk.packet(), who, "--p")
    assert statuses(desk) == {("grader", who, "complete")}


def test_a_grader_who_is_struck_off_gives_back_what_is_open_and_keeps_what_is_done(desk: Desk) -> None:
    desk.graders("grader-1", double_share=0)
    give(desk)
    desk.hand_in(desk.packet(), "grader-1", "ppp")
    desk.hand_in(desk.packet(job="job-2"), "grader-1", "p--")
    desk.graders("grader-2", "grader-3", double_share=0)
    given = assign(desk.home, now=NOON + timedelta(days=1))
    assert given.new == 5
    assert statuses(desk) == {("grader", "grader-1", "complete")}
    (row,) = (r for r in current_status(desk.lake) if r["packet_id"] == desk.packet())
    assert row["unqualified"]
    events = Counter((e["event"], e["reason"]) for e in ledger(desk) if e["grader"] == "grader-1")
    gone = "no longer listed in graders.yaml"
    assert events == {("assigned", None): 6, ("withdrawn", gone): 5, ("flagged", gone): 1}
    # of what was begun the verdicts stay, but somebody else grades the whole
    begun = desk.packet(job="job-2")
    new = holders(desk, begun)["grader"]
    assert statuses(desk, begun) == {("grader", new, "out")}
    desk.hand_in(begun, new, "ppp")
    assert statuses(desk, begun) == {("grader", new, "complete")}
    assert assign(desk.home, now=NOON + timedelta(days=2)).noted is None
    desk.graders(*THREE, double_share=0)
    cleared = assign(desk.home, now=NOON + timedelta(days=3))
    assert [c.event for c in cleared.changes] == ["cleared"]
    (row,) = (r for r in current_status(desk.lake) if r["packet_id"] == desk.packet())
    assert not row["unqualified"]


def test_who_grades_without_having_been_asked_counts(desk: Desk) -> None:
    desk.hand_in(desk.packet(), "volunteer", "ppp")
    desk.hand_in(desk.packet(job="job-2"), "volunteer", "p--")
    assert statuses(desk) == {("grader", "volunteer", "complete")}
    begun = desk.packet(job="job-2")
    assert statuses(desk, begun) == {("grader", "volunteer", "incomplete")}
    desk.graders(*THREE, double_share=0)
    assert give(desk).new == 5
    (who,) = (grader for _, grader, status in statuses(desk, begun) if status == "out" and grader)
    desk.hand_in(begun, who, "ppp")
    assert ("grader", who, "complete") in statuses(desk, begun)


def test_the_table_is_what_the_worklist_reads_and_does_not_change_with_the_hour(
    desk: Desk, benchmark: Benchmark
) -> None:
    desk.graders(*THREE, double_share=0.5)
    give(desk)
    for packet in desk.packets[:4]:
        desk.hand_in(packet, holders(desk, packet)["grader"], "ppf")
    fresh = [{k: v for k, v in r.items() if k != "category"} for r in current_status(desk.lake)]
    made = []
    for model in MODELS:
        keys = {"cohort": scenario.COHORT, "model": model, "round": "agent_alone"}
        desk.lake.write("verdicts", engine.run(desk.lake, engine.query("verdicts"), keys), keys)
        made += scenario.make(
            desk.lake, benchmark, "packet_status", {k: keys[k] for k in ("cohort", "model")}
        ).to_pylist()

    def ordered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return sorted(rows, key=lambda r: (r["packet_id"], r["role"], r["grader"] or ""))

    assert ordered(made) == ordered(fresh)
    now, later = (worklist(fresh, NOON + timedelta(days=d)).totals for d in (14, 15))
    assert now["overdue"] == 0
    assert later["overdue"] == now["out"] > 0
    assert later["complete"] == now["complete"]


# ---- the command


def test_the_worklist_fits_a_terminal_and_says_what_to_do(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.registered(
        [
            {"id": "a-grader-with-a-pseudonym-of-some-leng-1"},
            {"id": "grader-2"},
            {"id": "grader-3", "categories": ["Data"]},
        ],
        double_share=1,
        due_days=1,
    )
    home = ["--home", str(desk.home.root)]
    assign(desk.home, now=NOON - timedelta(days=300))
    desk.hand_in(desk.packet(), "grader-2", "ppf")
    desk.hand_in(desk.packet(), "a-grader-with-a-pseudonym-of-some-leng-1", "ppp")
    desk.hand_in(desk.packet(job="job-2"), "grader-2", "p--")
    capsys.readouterr()
    assert main([*home, "packets", "--status"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    flat = " ".join(text.split())
    for said in ("overdue", "in conflict", "to adjudicate", "Remind", desk.packet(), "What to do next", "waits:"):
        assert said in flat
    assert main([*home, "packets", "--status", "--format", "json", "--model", MODELS[0]]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["totals"]["in_conflict"] == 2
    assert {p["model"] for p in found["packets"]} == {MODELS[0]}
    assert sum(found["totals"].values()) == len(found["packets"])
    assert main([*home, "packets", "--status", "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert Counter(r["status"] for r in rows)["overdue"] > 0


@pytest.mark.parametrize(
    "words", [[], ["--status", "--out", "x"], ["--status", "--model", "Nobody"], ["--status", "--round", "x"]]
)
def test_what_the_command_cannot_do_is_said_in_a_sentence(
    desk: Desk, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert main(["--home", str(desk.home.root), "packets", *words]) == 2
    assert capsys.readouterr().err.startswith("hapi: ")


def test_the_command_gives_out_notes_it_and_tells(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    desk.registered([{"id": "grader-1", "categories": ["Data"]}], double_share=0)
    command = ["--home", str(desk.home.root), "packets", "--out", str(tmp_path / "out")]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "2 packet(s) for 1 grader(s)" in said
    assert "4 × A packet of Writing waits: nobody in graders.yaml is qualified" in said
    assert len(ledger(desk)) == 2
    assert main(command) == 0
    assert "0 of them given out now; 2 were there already" in capsys.readouterr().out
    (desk.home.registry / "graders.yaml").write_text("graders: [{id: jane@example.org}]")
    assert main(command) == 2
    assert "e-mail" in capsys.readouterr().err
