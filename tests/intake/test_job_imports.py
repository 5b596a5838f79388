"""Job exports in every form and state in which they arrive."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hapi_pipeline.intake import files, jobs
from hapi_pipeline.intake.jobs import import_jobs
from hapi_pipeline.lake import Import, Lake
from hapi_pipeline.registry import Benchmark, Source
from hapi_pipeline.settings import UserError
from tests import scenario

Drop = Callable[[str, str | bytes], Path]
Take = Callable[..., Import]
HEAD = "id,title,price,done,changed,milestones,land,country\n"
ROW = "j1,Draw a map,$40,2026-02-03,2026-02-04,1,,Peru\n"


def posts(lake: Lake) -> list[dict[str, Any]]:
    found = lake.read("job_exports").to_pylist()
    return sorted(found, key=lambda r: r["source_row"])


def quarantined(lake: Lake) -> list[tuple[int | None, str | None, str]]:
    return sorted(((r["row"], r["column"], r["code"]) for r in lake.read("quarantine").to_pylist()), key=str)


def titles(lake: Lake) -> dict[int, str]:
    return {r["source_row"]: r["title"] for r in posts(lake)}


# ---- forms


@pytest.mark.parametrize(
    ("encoding", "end", "pack"),
    [
        ("utf-8", "\n", gzip.compress),
        ("utf-8", "\r\n", bytes),
        ("utf-8-sig", "\n", bytes),
        ("utf-8-sig", "\r\n", gzip.compress),
        ("utf-16", "\r\n", gzip.compress),
        ("utf-16", "\n", bytes),
        ("cp1252", "\r\n", bytes),
    ],
)
def test_csv_reads_the_same_in_every_encoding(
    take: Take, lake: Lake, drop: Drop, encoding: str, end: str, pack: Callable[[bytes], bytes]
) -> None:
    text = HEAD + 'j1,"Dessine ""é"", et\nnote",$40,2026-02-03,2026-02-04,1,,Peru\n'
    take(drop("a.csv", pack(text.replace("\n", end).encode(encoding))))
    (row,) = posts(lake)
    assert row["title"] == 'Dessine "é", et\nnote'.replace("\n", end)
    assert (row["price_usd"], row["country"], row["cohort"]) == (40.0, "Peru", "2026-02")
    assert row["completed_at"] == datetime(2026, 2, 3, tzinfo=UTC)
    assert quarantined(lake) == []


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_csv_with_another_separator(take: Take, lake: Lake, drop: Drop, separator: str) -> None:
    take(
        drop(
            "a.csv",
            HEAD.replace(",", separator) + ROW.replace(",", separator).replace("Draw a map", "Draw, then"),
        )
    )
    assert titles(lake) == {1: "Draw, then"}


@pytest.mark.parametrize(
    "text",
    [
        "\n\n" + HEAD + ROW + "\n" + ROW.replace("j1", "j2"),
        HEAD + ROW.replace("\n", "\r\n") + ROW.replace("j1", "j2"),
        (HEAD + ROW + ROW.replace("j1", "j2")).replace("\n", "\r"),
        HEAD + ROW.replace("j1", "#1") + ROW.replace("j1", "#2").rstrip(),
    ],
    ids=["blank lines", "mixed line ends", "old line ends", "hashes and no last line end"],
)
def test_csv_as_people_and_programs_leave_it(take: Take, lake: Lake, drop: Drop, text: str) -> None:
    assert take(drop("a.csv", text)).rows == 2
    assert [r["source_row"] for r in posts(lake)] == [1, 2]
    assert quarantined(lake) == []


@pytest.mark.parametrize("at_once", [files._AT_ONCE, 0])
def test_rows_that_do_not_fit_the_header_go_to_quarantine_and_the_others_keep_their_numbers(
    take: Take, lake: Lake, drop: Drop, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(files, "_AT_ONCE", at_once)
    lines = [
        ROW.replace("j1", "a").replace("Draw a map", '"two\nlines"'),
        "b,too short\n",
        ROW.replace("j1", "c"),
        ROW.replace("j1", "d").rstrip() + ",more,and more\n",
        ROW.replace("j1", "e"),
        'f,"never closed,1\n',
    ]
    done = take(drop("a.csv", HEAD + "".join(lines)))
    assert (done.rows, done.quarantined) == (3, 3)
    assert {r["source_row"]: r["job_id"] for r in posts(lake)} == {1: "a", 3: "c", 5: "e"}
    assert quarantined(lake) == [(2, None, "bad_row"), (4, None, "bad_row"), (6, None, "bad_row")]
    shown = {r["row"]: r["value"] for r in lake.read("quarantine").to_pylist()}
    assert shown[2].startswith("b,too short")
    assert shown[6].startswith('f,"never closed,1')


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzipped"])
def test_json_lines_with_odd_keys_bad_lines_and_nested_values(
    take: Take, source: Callable[..., Source], lake: Lake, drop: Drop, pack: Callable[[bytes], bytes]
) -> None:
    odd = source(
        fields={
            "job_id": "id",
            "title": '"a.b"',
            "description": '"say ""hi"""',
            "category": '"*"',
            "subcategory": "ID2",
            "skills": "texts(skills)",
            "completed_at": "done",
            "country": '"back\\slash"',
        }
    )
    row = {
        "id": 7,
        "a.b": "T",
        'say "hi"': "D",
        "*": {"deep": [1, None]},
        "id2": True,
        "skills": ["x", "y z"],
        "done": "2026-02-03T23:59:59-05:00",
        "back\\slash": "B",
        "": "blank",
        "_row": 9,
        "null": None,
        "~/": "tilde",
    }
    lines = [
        json.dumps(row),
        "",
        "{broken",
        "[1]",
        '"text"',
        json.dumps({"id": "8", "DONE": "2026-02-01"}),
        '{"id": "\\ud800"}',
    ]
    done = take(drop("a.jsonl", pack(("\ufeff" + "\r\n".join(lines)).encode())), odd)
    found = {r["job_id"]: r for r in posts(lake)}
    assert set(found) == {"7", "8"}
    first = found["7"]
    assert (first["title"], first["description"], first["category"]) == ("T", "D", '{"deep":[1,null]}')
    assert (first["subcategory"], first["skills"], first["country"]) == ("true", ["x", "y z"], "B")
    assert first["completed_at"] == datetime(2026, 2, 4, 4, 59, 59, tzinfo=UTC)
    assert {"tilde", "blank"} <= set(json.loads(first["extra"]).values())
    assert found["8"]["cohort"] == "2026-02", "keys that differ in case alone are one column"
    assert (found["8"]["source_row"], first["source_row"]) == (6, 1)
    assert quarantined(lake) == [(n, None, "bad_row") for n in (3, 4, 5, 7)]
    assert (done.rows, done.quarantined) == (2, 4)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzipped"])
def test_parquet_with_types(
    take: Take, source: Callable[..., Source], lake: Lake, drop: Drop, pack: Callable[[bytes], bytes]
) -> None:
    rows = pa.table(
        {
            "id": pa.array([1, 2]),
            "title": ["A", ""],
            "price": pa.array([12.5, None]),
            "done": pa.array([datetime(2026, 2, 3, tzinfo=UTC).replace(tzinfo=None), None], pa.timestamp("ns")),
            "changed": pa.array([datetime(2026, 2, 4, tzinfo=UTC)] * 2, pa.timestamp("ms", "America/Lima")),
            "milestones": pa.array([1, 2], pa.int8()),
            "tags": pa.array([["x"], None]),
            "who": [{"name": "n"}, None],
        }
    )
    sink = io.BytesIO()
    pq.write_table(rows, sink)
    given = source(
        fields={
            **{k: v for k, v in source().fields.items() if k != "country"},
            "skills": "texts(tags)",
            "country": "json_extract_string(who, 'name')",
        }
    )
    done = take(drop("a.parquet", pack(sink.getvalue())), given)
    (row,) = posts(lake)
    assert (row["job_id"], row["price_usd"], row["milestone_count"]) == ("1", 12.5, 1)
    assert (row["completed_at"], row["updated_at"]) == (
        datetime(2026, 2, 3, tzinfo=UTC),
        datetime(2026, 2, 4, tzinfo=UTC),
    )
    assert (row["skills"], row["country"]) == (["x"], "n")
    assert quarantined(lake) == [(2, "completed_at", "no_date")]
    assert done.missing_columns == ()


# ---- values that are not known


@pytest.mark.parametrize(
    ("price", "milestones", "expected"),
    [
        ("$1,250.00", "1", (1250.0, 1)),
        ("20 USD", "2.0", (20.0, 2)),
        ("$10-$30", "1.4", (None, None)),
        ("€20", "several", (None, None)),
        ("nan", "nan", (None, None)),
        ("inf", "1e400", (None, None)),
        ("-5", "-1", (None, -1)),
        ("1,50", "", (None, None)),
    ],
)
def test_what_cannot_be_read_with_certainty_is_null(
    take: Take,
    source: Callable[..., Source],
    lake: Lake,
    drop: Drop,
    price: str,
    milestones: str,
    expected: tuple[Any, ...],
) -> None:
    take(drop("a.csv", HEAD + f'j1,T,"{price}",2026-02-03,,{milestones},,\n'), source(assume={}))
    (row,) = posts(lake)
    assert (row["price_usd"], row["milestone_count"]) == expected


def test_numbers_and_dates_beyond_all_measure_are_null_even_where_the_source_casts_by_itself(
    take: Take, source: Callable[..., Source], lake: Lake, drop: Drop
) -> None:
    fields = dict(source().fields) | {"price_usd": "price::DOUBLE", "posted_at": "changed"}
    text = HEAD + "j1,T,nan,2026-02-03,infinity,,,\nj2,T,inf,20200-05-01,,,,\nj3,T,1,infinity,,,,\n"
    take(drop("a.csv", text), source(fields=fields))
    (row,) = posts(lake)
    assert (row["price_usd"], row["posted_at"], row["updated_at"]) == (None, None, None)
    assert quarantined(lake) == [(2, "completed_at", "no_date"), (3, "completed_at", "no_date")]


def test_only_rows_on_which_the_assumption_was_used_list_it(take: Take, lake: Lake, drop: Drop) -> None:
    take(drop("a.csv", HEAD + ROW + ROW.replace("j1", "j2").replace(",1,,", ",,,")))
    assert [(r["milestone_count"], r["assumed_fields"]) for r in posts(lake)] == [
        (1, ["status"]),
        (1, ["milestone_count", "status"]),
    ]


def test_the_clients_id_is_never_kept(take: Take, source: Callable[..., Source], lake: Lake, drop: Drop) -> None:
    given = source(fields={"job_id": "id", "title": "title", "completed_at": "done", "client_id": "client"})
    take(drop("a.csv", "id,title,done,client\nj1,T,2026-02-03,client-4711\n"), given)
    assert "4711" not in json.dumps(posts(lake), default=str)
    assert len(posts(lake)[0]["client_id"]) == 16


def test_rows_without_id_or_month_go_to_quarantine_with_their_code(take: Take, lake: Lake, drop: Drop) -> None:
    dates = {"j1": "2026-02-03", " ": "2026-02-03", "j2": "soon", "j3": "2019-12-31", "j4": "2999-01-01"}
    done = take(drop("a.csv", HEAD + "".join(f"{i},T,1,{date},,,,\n" for i, date in dates.items())))
    assert (done.rows, done.quarantined, done.cohorts) == (1, 4, ("2026-02",))
    assert quarantined(lake) == [
        (2, "job_id", "missing_job_id"),
        (3, "completed_at", "no_date"),
        (4, "completed_at", "cohort_out_of_range"),
        (5, "completed_at", "cohort_out_of_range"),
    ]


# ---- drift


def test_an_optional_column_that_is_missing_is_null_and_reported(take: Take, lake: Lake, drop: Drop) -> None:
    done = take(drop("a.csv", "id,title,done,country,colour\nj1,T,2026-02-03,Peru,red\n"))
    assert done.missing_columns == ("changed", "land", "milestones", "price")
    assert done.unmapped_columns == ("colour",)
    (row,) = posts(lake)
    assert (row["price_usd"], row["country"], json.loads(row["extra"])) == (None, "Peru", {"colour": "red"})


@pytest.mark.parametrize(
    ("fields", "required", "header", "named"),
    [
        ({}, ["title"], "id,done", "'title'"),
        (
            {"price_usd": "CASE WHEN land = 'x' THEN usd(price) END"},
            ["price_usd"],
            "id,title,done,land",
            "'price'",
        ),
        ({"job_id": "'tiny-' || id"}, ["title"], "title,done", "'id'"),
    ],
    ids=["the only column", "one of two, and nothing is left without it", "the id, which is always required"],
)
def test_a_required_column_that_is_missing_is_named_and_nothing_is_written(
    take: Take,
    source: Callable[..., Source],
    lake: Lake,
    drop: Drop,
    fields: dict[str, str],
    required: list[str],
    header: str,
    named: str,
) -> None:
    given = source(fields={**source().fields, **fields}, required=required)
    with pytest.raises(UserError, match=f"a.csv lacks the column {named}"):
        take(drop("a.csv", f"{header}\n" + ",".join("x" for _ in header.split(",")) + "\n"), given)
    assert not lake.root.exists()


def test_a_required_field_with_another_column_to_fall_back_on_is_fine(
    take: Take, source: Callable[..., Source], lake: Lake, drop: Drop
) -> None:
    take(drop("a.csv", "id,title,done,country\nj1,T,2026-02-03,Peru\n"), source(required=["job_id", "country"]))
    assert posts(lake)[0]["country"] == "Peru"


# ---- files that cannot be taken


def bad_files() -> dict[str, bytes | None]:
    whole = gzip.compress((HEAD + ROW * 50).encode())
    return {
        "missing": None,
        "empty": b"",
        "blanks": b" \n\t\r\n ",
        "blanks in UTF-16": " \n ".encode("utf-16"),
        "header": HEAD.encode(),
        "binary": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0",
        "zip": b"PK\x03\x04 is no workbook",
        "parquet": b"PAR1 cut short",
        "array": b'[{"id": 1}]',
        "damaged gzip": whole[: len(whole) // 2],
        "gzip of nothing": gzip.compress(b""),
        "gzip with rubbish": whole[:20] + b"\xff" * 30,
        "prose": b"Dear operator,\nhello\n",
        "utf-16 halves": b"\xff\xfe\x00",
        "only bad lines": b'{"id": \n{"id": \n',
    }


@pytest.mark.parametrize("what", bad_files())
def test_a_file_that_cannot_be_taken_is_refused_in_one_sentence_and_the_lake_is_untouched(
    take: Take, lake: Lake, drop: Drop, bytes_below: Callable[[Path], dict[str, str]], what: str
) -> None:
    take(drop("good.csv", HEAD + ROW))
    before, content = bytes_below(lake.root), bad_files()[what]
    path = drop("bad.csv", content or b"")
    if content is None:
        path.unlink()
    with pytest.raises(UserError) as refused:
        take(path)
    assert bytes_below(lake.root) == before
    assert "\n" not in str(refused.value)
    assert "bad.csv" in str(refused.value)


def test_a_folder_is_refused(take: Take, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder"):
        take(tmp_path)


def test_a_gzip_bomb_is_not_unpacked(take: Take, lake: Lake, drop: Drop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_MAX_UNPACKED", 1 << 20)
    with pytest.raises(UserError, match="more than 1 MiB"):
        take(drop("a.csv", gzip.compress(HEAD.encode() + b"x" * (3 << 20))))
    assert not lake.root.exists()


def test_a_csv_may_be_larger_than_the_memory_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "SPILLING", {"memory_limit": "280MB"})  # less than the file
    large, rows = tmp_path / "large.csv", 2_900
    with large.open("w") as file:
        file.write("id,text\n")
        file.writelines(f"{number},{'x' * 99_990}\n" for number in range(rows))
    with files.open_rows(large) as opened:
        found = opened.connection.execute("SELECT count(*), max(_row), min(length(text)) FROM export").fetchall()
    assert found == [(rows, rows, 99_990)]


@pytest.mark.parametrize("at_once", [files._AT_ONCE, 1 << 20])
def test_what_looks_like_rows_within_a_cell_of_megabytes_is_one_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(files, "_AT_ONCE", at_once)
    long, cell = tmp_path / "long.csv", "7,8\n" * 7_000_000
    long.write_text(f'id,text\n1,{"x" * 30_000_000}\n2,{"y" * 30_000_000}\n3,"{cell}"\n4,last\n')
    with files.open_rows(long) as opened:
        found = opened.connection.execute("SELECT id, length(text) FROM export ORDER BY _row").fetchall()
        assert (found, opened.bad_rows) == ([("1", 30_000_000), ("2", 30_000_000), ("3", len(cell)), ("4", 4)], ())


@pytest.mark.parametrize("text", ["x" * 90_000_000, '"' + '"x' * 35_000_000, '"' + "x\n" * 35_000_000])
def test_a_last_row_that_is_too_long_is_refused_and_not_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(files, "_AT_ONCE", 0)
    (tmp_path / "long.csv").write_text(f"id,text\n1,2\n3,{text}")
    with pytest.raises(UserError, match="The last row is longer than 64 MiB"), files.open_rows(tmp_path / "long.csv"):
        pytest.fail("it was read")


def test_of_several_files_all_are_checked_before_the_first_is_taken(
    lake: Lake, drop: Drop, source: Callable[..., Source], benchmark: Benchmark
) -> None:
    with pytest.raises(UserError, match=r"bad\.csv lacks the column 'title'"):
        import_jobs(
            lake,
            [drop("good.csv", HEAD + ROW), drop("bad.csv", "id,done\n1,2026-02-03\n")],
            source(),
            benchmark,
        )
    assert not lake.root.exists()


@pytest.mark.parametrize(
    "sql",
    [
        "title,",
        "(SELECT title)",
        "title FROM read_text('/etc/hostname')",
        "EXISTS (FROM job_posts)",
        "no_such(title)",
        "title; DROP TABLE export",
        "title, price",
        "*",
        "",
        "price + ",
        "count(*)",
        "((title)",
        "title::NO_SUCH_TYPE",
        "error('stop')",
        "title -- note",
        "(" * 3000,
    ],
)
def test_an_expression_that_is_none_is_refused_in_one_sentence(
    take: Take, source: Callable[..., Source], lake: Lake, drop: Drop, sql: str
) -> None:
    with pytest.raises(UserError, match="tiny") as refused:
        take(drop("a.csv", HEAD + ROW), source(fields={**source().fields, "description": sql}))
    assert "\n" not in str(refused.value)
    assert not lake.root.exists()


@pytest.mark.parametrize("key", ["fields", "assume"])
def test_a_field_that_does_not_exist_is_refused(
    take: Take, source: Callable[..., Source], lake: Lake, drop: Drop, key: str
) -> None:
    with pytest.raises(UserError, match="'colour'"):
        take(drop("a.csv", HEAD + ROW), source(**{key: {**dict(source().fields), "colour": "title"}}))
    assert not lake.root.exists()


def test_columns_named_leaves_out_the_names_of_lambdas() -> None:
    assert jobs.columns_named("list_filter(string_split(skills, ';'), lambda p: p <> other)", "x") == [
        "skills",
        "other",
    ]


# ---- history


def test_the_same_file_counts_once(
    take: Take, lake: Lake, drop: Drop, bytes_below: Callable[[Path], dict[str, str]]
) -> None:
    first = take(drop("a.csv", HEAD + ROW))
    before = bytes_below(lake.root)
    assert take(drop("renamed.csv", HEAD + ROW)) == first
    assert bytes_below(lake.root) == before


def current(lake: Lake, benchmark: Benchmark) -> dict[str, tuple[str, str]]:
    """Where each job stands today, and its title."""
    found: dict[str, tuple[str, str]] = {}
    for cohort in sorted({c for i in lake.imports("jobs") for c in i.cohorts}):
        for row in scenario.make(lake, benchmark, "job_posts", {"cohort": cohort}).to_pylist():
            assert row["job_id"] not in found, "a job stands in one month only"
            found[row["job_id"]] = (cohort, row["title"])
    return found


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_the_newest_row_is_current_in_whatever_order_files_are_imported(
    take: Take, lake: Lake, drop: Drop, benchmark: Benchmark, order: tuple[int, ...]
) -> None:
    drops = [
        "j1,old,1,2026-02-03,2026-02-04,,,\nj2,only,1,2026-02-03,2026-02-04,,,\n",
        "j1,moved,1,2026-03-03,2026-03-04,,,\nj3,stays,1,2026-03-03,2026-03-04,,,\n",
        "j1,newest,1,2026-02-05,2026-04-04,,,\n",
    ]
    imports = [take(drop(f"{i}.csv", HEAD + drops[i])) for i in order]
    assert current(lake, benchmark) == {
        "j1": ("2026-02", "newest"),
        "j2": ("2026-02", "only"),
        "j3": ("2026-03", "stays"),
    }
    # a month that a job leaves is named by the import, so that it is refreshed too
    assert {"2026-02", "2026-03"} <= {c for i in imports for c in i.cohorts}


def test_without_a_time_of_change_the_later_import_and_the_lower_row_count(
    take: Take, lake: Lake, drop: Drop, benchmark: Benchmark
) -> None:
    take(drop("1.csv", HEAD + "j1,first,1,2026-02-03,,,,\n"))
    done = take(drop("2.csv", HEAD + "j1,second,1,2026-03-03,,,,\nj1,third,1,2026-03-04,,,,\n"))
    assert current(lake, benchmark) == {"j1": ("2026-03", "third")}
    assert done.cohorts == ("2026-02", "2026-03")
    assert len(posts(lake)) == 3, "the older rows stay, with their history"


# ---- every row is somewhere


CELLS = st.text(st.sampled_from("ab1 ,;\"\n'#\\é\ufeff\t"), max_size=6)


@st.composite
def damaged(draw: st.DrawFn) -> tuple[bytes, int]:
    """A CSV file with rows too short, too long, without id or date, and how many rows it has."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator=draw(st.sampled_from(["\n", "\r\n"])))
    writer.writerow(["id", "title", "done"])
    kinds = draw(
        st.lists(st.sampled_from(["good", "short", "long", "no id", "no date", "early"]), min_size=1, max_size=12)
    )
    for number, kind in enumerate(kinds):
        cells = [f"j{number}", draw(CELLS), "2026-02-03"]
        change: dict[str, list[str]] = {
            "short": cells[:2],
            "long": [*cells, "x"],
            "no id": ["", *cells[1:]],
            "no date": [*cells[:2], "?"],
            "early": [*cells[:2], "1999-01-01"],
        }
        writer.writerow(change.get(kind, cells))
    return out.getvalue().encode(draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))), len(kinds)


@settings(derandomize=True, deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
@given(file=damaged())
def test_every_row_is_in_the_ledger_or_in_quarantine(
    tmp_path: Path, benchmark: Benchmark, source: Callable[..., Source], file: tuple[bytes, int]
) -> None:
    lake, path = Lake(tmp_path / str(len(list(tmp_path.iterdir())))), tmp_path / "damaged.csv"
    path.write_bytes(file[0])
    (done,) = import_jobs(lake, [path], source(), benchmark)
    numbers = [r["source_row"] for r in posts(lake)] + [row for row, *_ in quarantined(lake) if row]
    assert sorted(numbers) == list(range(1, file[1] + 1))
    assert done.rows + done.quarantined == file[1]


def test_what_stands_there_but_cannot_be_read_is_not_assumed(take: Take, lake: Lake, drop: Drop) -> None:
    take(drop("a.csv", HEAD + ROW.replace(",1,,", ",one or two,,")))
    assert [(r["milestone_count"], "milestone_count" in r["assumed_fields"]) for r in posts(lake)] == [(None, False)]
