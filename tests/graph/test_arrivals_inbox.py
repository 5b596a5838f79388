"""The inbox without Dagster: what is seen, what is taken, where it goes, and what hostile things do not do."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hapi_pipeline import arrivals, inbox
from hapi_pipeline.lake import Lake
from hapi_pipeline.operations import Refreshed, Touched, rectangles
from hapi_pipeline.registry import Registry
from hapi_pipeline.settings import Home
from tests.graph import small_world as world

LONG_AGO = 1_600_000_000
MONTH = "2025-04"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home").ensure()
    (home.registry / "models.yaml").write_text(world.GUESTS)
    inbox.prepare(home)
    return home


def put(home: Home, relative: str, text: str | bytes = "hello\n") -> Path:
    path = home.inbox / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


def seen(home: Home) -> dict[str, str]:
    return {a.key(home): a.stamp for a in inbox.look(home)}


def take(home: Home, before: Mapping[str, str] | None = None) -> list[inbox.Taken]:
    """All that is at rest, claimed, taken in and put away."""
    rest = inbox.at_rest(home, inbox.look(home), seen(home) if before is None else before)
    claimed = [c for c in (inbox.claim(home, a) for a in rest) if c is not None]
    found = []
    for taken in inbox.Desk(home, Lake(home.lake), Registry.of(home), lambda _: None).take(claimed):
        inbox.put_away(home, taken)
        found.append(taken)
    return found


def below(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir() or p.is_symlink()}


# ---- looking


def test_the_inbox_explains_itself_and_is_made_once(home: Home) -> None:
    readme = home.inbox / "README.txt"
    assert all(f"{kind}/" in readme.read_text() for kind in inbox.KINDS)
    assert all((home.inbox / kind).is_dir() for kind in inbox.KINDS)
    readme.write_text("mine")
    inbox.prepare(home)
    assert readme.read_text() == "mine"
    assert inbox.look(home) == []


def test_files_are_known_by_their_folder_in_the_order_in_which_they_are_needed(home: Home) -> None:
    for name in ("verdicts/a.xlsx", "verdicts/ann/b.csv", "audits/c.xlsx", "rubrics/d.csv", "jobs/canonical/e.csv"):
        put(home, name)
    world.write_attempts(home.inbox / "attempts" / "f", MONTH)
    found = [(a.kind, a.source, a.path.name) for a in inbox.look(home)]
    assert found == [
        ("jobs", "canonical", "e.csv"),
        ("rubrics", None, "d.csv"),
        ("attempts", None, "f"),
        ("audits", None, "c.xlsx"),
        ("verdicts", None, "a.xlsx"),
        ("verdicts", None, "b.csv"),
    ]


@pytest.mark.parametrize("name", [".x.csv", "~$x.xlsx", "x.csv.part", "x.csv.PARTIAL", ".~lock.x#", "x.tmp"])
def test_what_is_still_being_written_is_not_seen(home: Home, name: str) -> None:
    put(home, f"rubrics/{name}")
    assert inbox.look(home) == []


def test_what_other_folders_hold_is_nobodys_business(home: Home) -> None:
    put(home, "graded/anything.csv")
    put(home, "done/2025-01-01/rubrics/old.csv")
    assert inbox.look(home) == []


def test_a_file_is_taken_once_it_has_stood_still(home: Home) -> None:
    path = put(home, "rubrics/r.csv", "a")
    first = seen(home)
    assert inbox.at_rest(home, inbox.look(home), {}) == []
    assert [a.path for a in inbox.at_rest(home, inbox.look(home), first)] == [path]
    path.write_text("ab")
    assert inbox.at_rest(home, inbox.look(home), first) == []
    assert [a.path for a in inbox.at_rest(home, inbox.look(home), seen(home))] == [path]


def test_a_folder_of_attempts_is_taken_once_everything_in_it_has_stood_still(home: Home) -> None:
    folder = world.write_attempts(home.inbox / "attempts" / "work", MONTH)
    first = seen(home)
    assert len(inbox.at_rest(home, inbox.look(home), first)) == 1
    (folder / "sub").mkdir()
    (folder / "sub" / "late.txt").write_text("still coming")
    assert inbox.at_rest(home, inbox.look(home), first) == []


def test_an_empty_file_may_still_be_on_its_way(home: Home) -> None:
    path = put(home, "rubrics/r.csv", "")
    assert inbox.look(home, now=LONG_AGO + 1) == []
    assert [a.path for a in inbox.look(home, now=LONG_AGO + inbox.EMPTY_SECONDS + 1)] == [path]


def test_one_look_at_an_endless_inbox_ends(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "MOST_SEEN", 30)
    for number in range(50):
        put(home, f"rubrics/{number}.csv")
    assert 0 < len(inbox.look(home)) < 50


# ---- hostile things


def test_a_link_is_not_followed(home: Home, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("job_id,criterion_id,text\nJ1,c1,a secret\n")
    (home.inbox / "rubrics" / "link.csv").symlink_to(secret)
    (home.inbox / "rubrics" / "folder").symlink_to(tmp_path)
    (home.inbox / "attempts" / "work").symlink_to(tmp_path)
    taken = take(home)
    assert [t.status for t in taken] == ["refused"] * 3
    assert all("link" in t.said or "folder" in t.said for t in taken)
    assert Lake(home.lake).imports() == []
    assert secret.read_text().endswith("a secret\n")
    assert (home.inbox / "refused" / "link.csv").is_symlink()


def test_a_kind_whose_folder_is_a_link_is_not_looked_into(home: Home, tmp_path: Path) -> None:
    (home.inbox / "rubrics").rmdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "r.csv").write_text("x")
    (home.inbox / "rubrics").symlink_to(tmp_path / "elsewhere")
    assert [t.status for t in take(home)] in ([], ["refused"])
    assert (tmp_path / "elsewhere" / "r.csv").exists()


def test_pipes_and_sockets_are_moved_away_unread(home: Home) -> None:
    os.mkfifo(home.inbox / "rubrics" / "pipe.csv")
    here = Path.cwd()
    os.chdir(home.inbox / "verdicts")  # the path of a socket must be short
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("socket.csv")
    finally:
        os.chdir(here)
    for name in ("rubrics/pipe.csv", "verdicts/socket.csv"):
        os.utime(home.inbox / name, (LONG_AGO, LONG_AGO))
    assert [t.said.splitlines()[2] for t in take(home)] == ["It is not a regular file."] * 2
    assert below(home.inbox / "refused") == {"pipe.csv", "pipe.csv.txt", "socket.csv", "socket.csv.txt"}


def test_a_file_that_is_too_large_is_not_read(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(inbox.MOST_BYTES, "rubrics", 3)
    put(home, "rubrics/large.csv", "abcd")
    (taken,) = take(home)
    assert "4 bytes" in taken.said
    assert "Split it" in taken.said


def test_a_file_that_is_swapped_for_a_link_is_not_read(home: Home, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("job_id,criterion_id,text\nJ1,c1,a secret\n")
    path = put(home, "rubrics/r.csv")
    (arrival,) = inbox.look(home)
    path.unlink()
    path.symlink_to(secret)
    assert inbox.claim(home, arrival) is None
    assert path.is_symlink()  # put back: the next look sees what it is


def test_a_file_that_grows_while_it_is_claimed_is_put_back(home: Home) -> None:
    path = put(home, "rubrics/r.csv", "a")
    (arrival,) = inbox.look(home)
    path.write_text("ab")
    assert inbox.claim(home, arrival) is None
    assert path.read_text() == "ab"
    assert list((home.inbox / inbox.TAKING).iterdir()) == []


def test_a_file_that_is_gone_is_no_error(home: Home) -> None:
    path = put(home, "rubrics/r.csv")
    (arrival,) = inbox.look(home)
    path.unlink()
    assert inbox.claim(home, arrival) is None


NASTY = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0") | st.sampled_from('\n\r\t\x1b\u202e\u200b\\:*?"<>|.- '),
    min_size=1,
    max_size=90,
)


@given(name=NASTY)
def test_any_name_becomes_a_harmless_one(name: str) -> None:
    found = inbox.harmless(name)
    assert found
    assert found.isprintable()
    assert not set(found) & set('/\\:*?"<>|\n\r\t\0\x1b\u202e\u200b')
    assert found[0] not in ".-"
    assert len(found.encode()) <= 160
    assert inbox.harmless(found) == found


@pytest.mark.parametrize(
    "name", [b"bad\xff\xfename.csv", b"line\nbreak.csv", b"\xe2\x80\xaegnp.csv", b"x" * 250, b"-rf", b" .csv"]
)
def test_files_with_nasty_names_are_taken_and_told_of(home: Home, name: bytes) -> None:
    path = os.fsencode(home.inbox / "rubrics") + b"/" + name
    with open(path, "wb") as file:  # noqa: PTH123  (no Path can be made of these bytes without decoding them)
        file.write(b"nothing of use")
    os.utime(path, (LONG_AGO, LONG_AGO))
    (taken,) = take(home)
    assert taken.status == "refused"
    assert len(below(home.inbox / "refused")) == 2
    assert all(p.isprintable() for p in below(home.inbox / "refused"))


def test_what_is_held_back_is_not_written_through_a_link(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    from hapi_pipeline.checks import inline
    from hapi_pipeline.checks.catalogue import rules
    from hapi_pipeline.checks.holds import Failure
    from hapi_pipeline.checks.rules import Found

    victim, link, plain = (home.root / name for name in ("victim.txt", "link.txt", "plain.txt"))
    victim.write_text("mine")
    plain.write_text("taken in")
    link.symlink_to(victim)
    failing = Failure(rules()["curation_funnel"][0], MONTH, Found("seen", errors=1))
    monkeypatch.setattr(inline, "known_failures", lambda _: [failing])
    taken = inbox.Taken(inbox.Arrival("rubrics", plain, "stamp"), "r.csv", "", "taken")
    refreshed = Refreshed((MONTH,), 0, 0, 0, 0.0, held=(failing.sentence,))
    replies = [(path, taken, Touched(frozenset({MONTH}))) for path in (link, plain)]
    arrivals.tell_what_is_held(home, arrivals.Handled(refreshed=refreshed, replies=replies))
    assert victim.read_text() == "mine"
    assert failing.sentence in plain.read_text()


# ---- taking in


def test_files_go_where_they_belong_with_a_reply_beside_them(home: Home) -> None:
    world.write_jobs(home.inbox / "jobs" / "canonical" / "jobs.csv", MONTH)
    world.write_rubrics(home.inbox / "rubrics" / "rubrics.csv", MONTH)
    put(home, "rubrics/poem.csv", "shall,I\ncompare,thee\n")
    taken = {t.name: t for t in take(home)}
    assert {name: t.status for name, t in taken.items()} == {
        "jobs.csv": "taken",
        "rubrics.csv": "taken",
        "poem.csv": "refused",
    }
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    done = below(home.inbox / "done" / day)
    assert done == {
        "jobs/canonical/jobs.csv", "jobs/canonical/jobs.csv.txt", "rubrics/rubrics.csv", "rubrics/rubrics.csv.txt",
    }  # fmt: skip
    said = (home.inbox / "refused" / "poem.csv.txt").read_text()
    assert "lacks the column 'job_id'" in said
    assert "put it back into inbox/rubrics/" in said
    assert str(home.root) not in said
    assert inbox.look(home) == []
    assert not list((home.inbox / inbox.TAKING).iterdir())


def test_rows_in_quarantine_are_told_in_the_reply(home: Home) -> None:
    path = world.write_jobs(home.inbox / "jobs" / "canonical" / "jobs.csv", MONTH)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, "," + lines[1].partition(",")[2]]) + "\n")
    (taken,) = take(home)
    assert (taken.rows, taken.quarantined) == (2, 1)
    assert "1 row(s) could not be taken in" in taken.said
    assert "row 3" in taken.said


def test_nothing_is_ever_overwritten(home: Home) -> None:
    for text in ("one", "two", "three"):
        put(home, "rubrics/r.csv", text)
        take(home)
    refused = home.inbox / "refused"
    assert {p.name: p.read_text() for p in refused.glob("*.csv")} == {
        "r.csv": "one", "r (2).csv": "two", "r (3).csv": "three",
    }  # fmt: skip
    assert len(list(refused.glob("*.csv.txt"))) == 3


@pytest.mark.parametrize(
    ("where", "hint"),
    [
        ("stray.csv", "jobs/SOURCE"),
        ("jobs/stray.csv", "named like their source"),
        ("jobs/no_such_market/stray.csv", "no_such_market"),
        ("attempts/stray.zip", "Attempts come as a folder"),
    ],
)
def test_a_file_in_the_wrong_place_is_told_where_it_belongs(home: Home, where: str, hint: str) -> None:
    put(home, where)
    (taken,) = take(home)
    assert taken.status == "refused"
    assert hint in taken.said


def test_the_same_file_again_changes_nothing_and_says_so(home: Home) -> None:
    for _ in range(2):
        world.write_rubrics(home.inbox / "rubrics" / "r.csv", MONTH)
        (taken,) = take(home)
    assert taken.status == "repeated"
    assert "imported before" in taken.said
    assert len(Lake(home.lake).imports("rubrics")) == 1


def test_what_a_killed_process_had_claimed_is_found_again_and_not_lost(home: Home) -> None:
    world.write_rubrics(home.inbox / "rubrics" / "r.csv", MONTH)
    (arrival,) = inbox.look(home)
    assert inbox.claim(home, arrival) is not None  # and then the process is killed
    (again,) = inbox.look(home)
    assert (again.kind, again.tries, again.name) == ("rubrics", 1, "r.csv")
    (taken,) = take(home, {})  # no second look is needed
    assert taken.status == "taken"
    assert below(home.inbox / inbox.TAKING) == set()


def test_what_was_imported_just_before_a_kill_still_counts_as_taken(home: Home) -> None:
    world.write_rubrics(home.inbox / "rubrics" / "r.csv", MONTH)
    (arrival,) = inbox.look(home)
    claimed = inbox.claim(home, arrival)
    assert claimed is not None
    desk = inbox.Desk(home, Lake(home.lake), Registry.of(home), lambda _: None)
    (first,) = desk.take([claimed])  # imported, but killed before it was put away
    (again,) = take(home, {})
    assert again.status == "taken"
    assert [i.import_id for i in again.imports] == [i.import_id for i in first.imports]


def test_a_file_that_kills_its_reader_is_given_up(home: Home) -> None:
    put(home, "rubrics/bomb.csv")
    (arrival,) = inbox.look(home)
    for _ in range(inbox.MOST_TRIES):
        assert inbox.claim(home, arrival) is not None
        (arrival,) = inbox.look(home)
    (taken,) = take(home, {})
    assert taken.status == "refused"
    assert "killed 3 times" in taken.said


def test_a_full_disk_is_not_the_files_fault(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    world.write_rubrics(home.inbox / "rubrics" / "r.csv", MONTH)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hapi_pipeline.intake.rubrics.import_rubrics", full)
    with pytest.raises(OSError, match="No space"):
        take(home)
    monkeypatch.undo()
    assert [t.status for t in take(home, {})] == ["taken"]


def test_a_reader_that_stumbles_does_not_block_the_files_behind(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    from hapi_pipeline.intake import rubrics

    real = rubrics.import_rubrics

    def stumbling(lake: Lake, paths: list[Path]) -> object:
        if paths[0].name == "a.csv":
            raise RecursionError("too deep")
        return real(lake, paths)

    monkeypatch.setattr(rubrics, "import_rubrics", stumbling)
    put(home, "rubrics/a.csv")
    world.write_rubrics(home.inbox / "rubrics" / "b.csv", MONTH)
    assert [(t.name, t.status) for t in take(home)] == [("a.csv", "refused"), ("b.csv", "taken")]


def test_one_bad_grading_file_does_not_keep_the_others_back(home: Home) -> None:
    put(home, "verdicts/bad.xlsx", b"PK\x03\x04 no workbook at all")
    world.write_verdicts(home.inbox / "verdicts" / "good.csv", MONTH, ["Guest"])
    assert {t.name: t.status for t in take(home)} == {"bad.xlsx": "refused", "good.csv": "taken"}


# ---- what follows


CELLS = st.sets(
    st.tuples(st.sampled_from(["2025-01", "2025-02", "2025-03", "2025-11", "2026-02"]), st.sampled_from("ABC"))
)


@given(cells=CELLS)
def test_rectangles_cover_exactly_the_cells(cells: set[tuple[str, str]]) -> None:
    covered = [(c, m) for cohorts, models in rectangles(cells) for c in cohorts for m in models]
    assert set(covered) == cells
    assert len(covered) == len(cells)


def test_many_scattered_cells_are_one_run() -> None:
    cells = {(f"20{y}-{m:02d}", "AB"[(y + m) % 2]) for y in range(20, 26) for m in range(1, 13, 2)}
    ((cohorts, models),) = rectangles(cells)
    assert models == ["A", "B"]
    assert set(cohorts) == {c for c, _ in cells}


@pytest.mark.parametrize(
    ("known", "refreshed", "closed", "due"),
    [
        (["2025-01", "2025-02", "2025-03"], ["2025-01"], "2025-03", ["2025-02", "2025-03"]),
        (["2025-01", "2025-02", "2025-03"], ["2025-01"], "2025-02", ["2025-02"]),  # the third is not over yet
        (["2025-01", "2025-02", "2025-03"], [], "2025-03", ["2025-03"]),  # history is asked for
        (["2025-01", "2025-03"], ["2025-03"], "2025-03", []),
        (["2025-01"], ["2025-01"], "2025-03", []),  # nothing has been imported for what closed since
        ([], [], "2025-03", []),
        ([f"2025-{m:02d}" for m in range(1, 10)], ["2025-01"], "2025-09", ["2025-07", "2025-08", "2025-09"]),
    ],
)
def test_missed_months_are_made_up_for(known: list[str], refreshed: list[str], closed: str, due: list[str]) -> None:
    assert arrivals.months_to_catch_up(known, refreshed, closed, 3) == due


def test_what_is_touched_is_told_in_words() -> None:
    touched = Touched(frozenset({"2025-01"}), frozenset({("2025-01", "A"), ("2025-03", "A"), ("2025-04", "B")}))
    assert arrivals.told(touched) == "all of 2025-01; A in 2025-03; B in 2025-04"
    assert arrivals.told(Touched()) == "nothing"


def test_a_damaged_note_of_what_to_follow_up_means_everything(home: Home) -> None:
    world.write_jobs(home.inbox / "jobs" / "canonical" / "jobs.csv", MONTH)
    take(home)
    assert arrivals.open_follow_up(home) == Touched()
    (home.lake / "arrivals.json").write_text("{half a no")
    assert arrivals.open_follow_up(home) == Touched(frozenset({MONTH}))
