"""Whole documents, bad bytes, and the definitions that ship, each on a file made from a short description."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hapi_pipeline.intake.documents import feed_to_lines, json_to_lines, records_prefix
from hapi_pipeline.intake.files import open_rows, recognise
from hapi_pipeline.intake.jobs import import_jobs
from hapi_pipeline.lake import Lake
from hapi_pipeline.registry import Benchmark, Registry
from hapi_pipeline.settings import UserError

Drop = Callable[[str, str | bytes], Path]


def rows_of(path: Path, records: str | None = None) -> list[dict[str, Any]]:
    with open_rows(path, records) as opened:
        found: list[dict[str, Any]] = (
            opened.connection.sql("SELECT * FROM export ORDER BY _row").to_arrow_table().to_pylist()
        )
        return found


# ---- JSON


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzipped"])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_json_array_is_read_like_json_lines(drop: Drop, indent: int | None, pack: Callable[[bytes], bytes]) -> None:
    records = [{"id": 1, "price": 12.50, "tags": ["a"], "note": "é\nü"}, {"id": 2, "money": {"amount": 3}}]
    text = json.dumps(records, indent=indent, ensure_ascii=False)
    assert rows_of(drop("a.json", pack(("\ufeff" + text).encode()))) == [
        {"_row": 1, "id": "1", "price": "12.5", "tags": '["a"]', "note": "é\nü", "money": None},
        {"_row": 2, "id": "2", "price": None, "tags": None, "note": None, "money": '{"amount":3}'},
    ]


def test_elements_that_are_no_objects_are_bad_rows(drop: Drop) -> None:
    with open_rows(drop("a.json", '[{"id": 1}, 7, "x", [1], null, {"id": 2}]')) as opened:
        assert [b.row for b in opened.bad_rows] == [2, 3, 4, 5]
        assert opened.connection.execute("SELECT id FROM export").fetchall() == [("1",), ("2",)]


ANSWER = {"data": {"search": {"edges": [{"node": {"id": "a"}}, {"node": {"id": "b"}}]}, "page": 1}}


@pytest.mark.parametrize(
    "text",
    [json.dumps(ANSWER), json.dumps(ANSWER, indent=1), json.dumps(ANSWER) + "\n" + json.dumps(ANSWER) + "\n"],
    ids=["one line", "many lines", "an answer a line"],
)
def test_a_path_names_the_records_of_a_nested_document(drop: Drop, text: str) -> None:
    found = rows_of(drop("a.json", text), "data.search.edges[].node")
    assert {r["id"] for r in found} == {"a", "b"}
    assert len(found) == 2 * text.count('"page"')


def test_a_path_may_end_at_a_list_and_an_object_of_many_lines_is_one_record(drop: Drop) -> None:
    path = drop("a.json", json.dumps({"result": {"projects": [{"id": 1}, {"id": 2}]}}, indent=2))
    assert [r["id"] for r in rows_of(path, "result.projects")] == ["1", "2"]
    assert [r["id"] for r in rows_of(path, "result.projects[]")] == ["1", "2"]
    assert list(rows_of(path)[0]) == ["_row", "result"]


@pytest.mark.parametrize("records", ["", ".", "a..b", "a[", "a[1]", "a]", "a.", "a b[]x"])
def test_a_path_that_is_none_is_refused(records: str) -> None:
    with pytest.raises(UserError, match="write a path such as"):
        records_prefix(records)


def test_a_definition_with_a_path_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "odd.yaml").write_text("records: a..b\nfields: {job_id: id}\n")
    with pytest.raises(UserError, match=r"odd\.yaml.*write a path"):
        Registry(tmp_path).source("odd")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('[{"id": 1}, {"id": ', "after record 1"),
        ('[{"id": 1} {"id": 2}]', "not whole JSON"),
        ("[", "not whole JSON"),
        ("[]", "no records"),
        ('[{"id": NaN}]', "not whole JSON"),
        ("[" * 200_000, "levels"),
        ('[{"a": ' + '{"a": ' * 50_000 + "1" + "}" * 50_000 + "}]", "levels"),
        ('[{"a": "' + "x[" * 100_000 + '\\"[[", "b": ' + "[1, " * 300, "levels"),
        ("<!DOCTYPE html><p>Log in</p>", "web page"),
    ],
)
def test_half_a_document_is_refused_in_one_sentence(drop: Drop, text: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason) as refused, open_rows(drop("a.json", text)):
        pass
    assert "\n" not in str(refused.value)


def test_brackets_within_text_are_no_levels(drop: Drop) -> None:
    text = "[{" * 100_000 + '"\\' + "[" * 100_000
    assert [r["a"] for r in rows_of(drop("a.json", json.dumps([{"a": text}, {"a": "\\"}, {"a": text[::-1]}])))] == [
        text,
        "\\",
        text[::-1],
    ]


def test_odd_numbers_and_lone_surrogates_are_text(drop: Drop, tmp_path: Path) -> None:
    source, goal = (
        drop("a.json", '[{"a": 1e3, "b": 0.10, "c": 1e999999999, "d": 12345678901234567890}]'),
        tmp_path / "l",
    )
    json_to_lines(source, goal, "a.json")
    assert json.loads(goal.read_text()) == {"a": "1000", "b": "0.10", "c": "1E+999999999", "d": 12345678901234567890}
    assert [r["id"] for r in rows_of(drop("b.json", '[{"id": 1, "x": "\\ud83d\\ude00"}]'))] == ["1"]


@settings(derandomize=True, deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    records=st.lists(
        st.dictionaries(
            st.sampled_from(["id", "a", "b"]), st.text(st.sampled_from('ab"\\\n,é\u2028'), min_size=1), min_size=1
        ),
        min_size=1,
        max_size=5,
    ),
    indent=st.sampled_from([None, 0, 3]),
)
def test_every_array_holds_what_was_put_in(tmp_path: Path, records: list[dict[str, str]], indent: int | None) -> None:
    path, goal = tmp_path / "a.json", tmp_path / "lines"
    path.write_text(json.dumps(records, indent=indent), "utf-8")
    assert recognise(path) == "json"
    json_to_lines(path, goal, "a.json")
    assert [json.loads(line) for line in goal.read_bytes().split(b"\n") if line] == records


# ---- feeds


def feed(items: list[dict[str, str]], encoding: str = "utf-8") -> bytes:
    """An RSS feed of items with these elements."""
    body = "".join(
        "<item>" + "".join(f"<{k}>{escape(v)}</{k.split()[0]}>" for k, v in item.items()) + "</item>" for item in items
    )
    head = f'<?xml version="1.0" encoding="{encoding}"?><rss xmlns:content="urn:c"><channel><title>Jobs</title>'
    return (head + body + "</channel></rss>").encode(encoding)


def test_items_of_a_feed_are_rows(drop: Drop) -> None:
    content = feed(
        [{"title": "Map & more", "content:encoded": "<p>é</p>"}, {"category": "a", "category x='1'": "b"}], "iso-8859-1"
    )
    assert rows_of(drop("a.xml", content)) == [
        {"_row": 1, "title": "Map & more", "content_encoded": "<p>é</p>", "category": None},
        {"_row": 2, "title": None, "content_encoded": None, "category": '["a","b"]'},
    ]


def test_entries_of_an_atom_feed_are_rows(drop: Drop) -> None:
    text = """<feed xmlns="http://www.w3.org/2005/Atom"><entry><id>urn:1</id><author><name>Ann</name></author>
        <link rel="self" href="https://a.example/self"/><link href="https://a.example/1"/>
        <content type="xhtml"><div>one <b>two</b> &lt;3</div></content></entry></feed>"""
    assert rows_of(drop("a.atom", text)) == [
        {
            "_row": 1,
            "id": "urn:1",
            "author_name": "Ann",
            "link_self": "https://a.example/self",
            "link": "https://a.example/1",
            "content": "<div>one <b>two</b> &lt;3</div>",
        }
    ]


LAUGHS = "".join(f'<!ENTITY l{i + 1} "{f"&l{i};" * 10}">' for i in range(9))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            f'<?xml version="1.0"?><!DOCTYPE r [<!ENTITY l0 "ha">{LAUGHS}]><rss><item><title>&l9;</title></item></rss>',
            "attacks",
        ),
        (
            '<?xml version="1.0"?><!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><rss><item><title>&x;</title></item></rss>',
            "attacks",
        ),
        ("<rss><item><title>&nbsp;</title></item></rss>", "no well-formed XML"),
        ("<rss><item><title>cut", "no well-formed XML"),
        ("<rss><channel></channel></rss>", "without an <item>"),
        ("<rss><item>" + "<a>" * 500 + "</a>" * 500 + "</item></rss>", "within each other"),
    ],
    ids=["billion laughs", "file", "unknown entity", "cut", "no items", "deep"],
)
def test_a_feed_that_attacks_or_is_none_is_refused(drop: Drop, text: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason) as refused, open_rows(drop("a.xml", text)):
        pass
    assert "\n" not in str(refused.value)


def test_an_item_without_end_is_refused(drop: Drop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hapi_pipeline.intake.documents._LONGEST_ITEM", 1000)
    with pytest.raises(UserError, match="an item of more than"):
        feed_to_lines(drop("a.xml", feed([{"title": "x" * 2000}])), tmp_path / "lines", "a.xml")


# ---- bytes that are no UTF-8


def text_of(path: Path) -> tuple[list[str], int]:
    with open_rows(path) as opened:
        return [
            t for (t,) in opened.connection.execute("SELECT t FROM export ORDER BY _row").fetchall()
        ], opened.replaced


def test_one_bad_byte_does_not_turn_a_file_into_another_encoding(drop: Drop) -> None:
    whole = "id,t\n" + "".join(f"{i},déjà vu €\n" for i in range(50)) + "50,cut X\n"
    texts, replaced = text_of(drop("a.csv", whole.encode().replace(b"X", b"\xc3")))
    assert texts == ["déjà vu €"] * 50 + ["cut \ufffd"]
    assert replaced == 1


@pytest.mark.parametrize("form", ["id,t\n1,déjà\n2,“vu”\n", '{"id": 1, "t": "déjà"}\n{"id": 2, "t": "“vu”"}\n'])
def test_a_file_that_is_mostly_no_utf8_is_windows_1252(drop: Drop, form: str) -> None:
    assert text_of(drop("a.txt", form.encode("cp1252"))) == (["déjà", "“vu”"], 0)


def test_a_file_of_utf8_is_left_as_it_is(drop: Drop) -> None:
    assert text_of(drop("a.csv", "id,t\n1,déjà €\n")) == (["déjà €"], 0)


# ---- definitions that ship


@pytest.fixture
def posts(lake: Lake, registry: Registry, benchmark: Benchmark, drop: Drop) -> Callable[..., list[dict[str, Any]]]:
    """The rows of the ledger after importing these files, in order of import and row."""

    def run(source: str, *contents: str | bytes) -> list[dict[str, Any]]:
        for number, content in enumerate(contents):
            import_jobs(lake, [drop(f"drop{number}", content)], registry.source(source), benchmark)
        assert lake.read("quarantine").num_rows == 0
        return sorted(lake.read("job_exports").to_pylist(), key=lambda r: (r["imported_at"], r["source_row"]))

    return run


def table(columns: list[str], rows: list[dict[str, str]], end: str = "\r\n") -> bytes:
    """A flat export with BOM and CRLF, as spreadsheets write it."""
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, restval="", lineterminator=end)
    writer.writeheader()
    writer.writerows(rows)
    return b"\xef\xbb\xbf" + out.getvalue().encode()


def test_flat_drops_that_drift(posts: Callable[..., list[dict[str, Any]]]) -> None:
    common = ["job_id", "title", "description", "job_type", "status", "paid", "milestones", "completed"]
    row = {
        "title": "Trace a logo &amp; more",
        "description": "Two\nlines",
        "job_type": "Fixed price",
        "status": "Completed",
        "paid": "yes",
        "milestones": "1",
        "completed": "6/7/2026 4:58am",
    }
    first = table([*common, "price", "country"], [row | {"job_id": "f1", "price": "$1,500", "country": "Peru"}])
    second = table(
        [*common, "budget", "client_country", "badge"],
        [
            row | {"job_id": "f2", "budget": "$10-$30", "client_country": "Chad"},
            row | {"job_id": "f3", "budget": "0"},
            row | {"job_id": "f4", "budget": "1 500 USD"},
        ],
    )
    a, b, c, d = posts("marketplace_csv", first, second)
    assert (a["title"], a["description"], a["job_type"]) == ("Trace a logo & more", "Two\nlines", "fixed")
    assert a["completed_at"] == datetime(2026, 6, 7, 4, 58, tzinfo=UTC)
    assert [(r["job_id"], r["price_usd"], r["country"]) for r in (a, b, c, d)] == [
        ("f1", 1500.0, "Peru"),
        ("f2", None, "Chad"),
        ("f3", None, None),
        ("f4", 1500.0, None),
    ]


def node(number: int, **job: Any) -> dict[str, Any]:
    """A job as a GraphQL search returns it."""
    return {
        "node": {
            "id": f"g{number}",
            "title": "Draw H^maps^H",
            "description": "<p>Two maps &amp; a key</p><p>PNG</p>",
            "status": "COMPLETED",
            "category": {"name": "Design"},
            "subcategory": {"name": "Maps"},
            "skills": [{"name": "H^qgis^H"}, {"name": "svg"}],
            "job": {
                "contractType": "FIXED_PRICE",
                "budget": {"rawValue": "85.00", "currency": "USD"},
                "budgetRevised": False,
                "milestones": [{"id": 1}],
                "paid": True,
                "completedAt": "2026-05-06T07:08:09+02:00",
            }
            | job,
            "client": {"id": "c9", "verificationStatus": "VERIFIED", "location": {"country": "Peru"}},
            "publishedAt": "2026-05-01T00:00:00Z",
            "attachments": [{"fileName": "coast.png"}],
        }
    }


def test_nested_objects_of_a_graphql_search(posts: Callable[..., list[dict[str, Any]]]) -> None:
    hourly = {"contractType": "HOURLY", "budget": {"rawValue": "20", "currency": "USD"}}
    euros = {"budget": {"rawValue": "85", "currency": "EUR"}}
    document = {"data": {"search": {"totalCount": 3, "edges": [node(1), node(2, **hourly), node(3, **euros)]}}}
    a, b, c = posts("marketplace_graphql", json.dumps(document, indent=2))
    assert (a["job_id"], a["title"], a["description"]) == ("g1", "Draw maps", "Two maps & a key\nPNG")
    assert (a["category"], a["subcategory"], a["skills"]) == ("Design", "Maps", ["qgis", "svg"])
    assert (a["job_type"], a["price_usd"], a["milestone_count"], a["price_changed"]) == ("fixed", 85.0, 1, False)
    assert (a["status"], a["paid"], a["client_verified"], a["country"]) == ("completed", True, True, "Peru")
    assert a["completed_at"] == datetime(2026, 5, 6, 5, 8, 9, tzinfo=UTC)
    assert a["attachments"] == ["coast.png"]
    assert (b["job_type"], b["price_usd"], c["price_usd"]) == ("hourly", None, None)


def test_items_of_a_feed_with_html_in_them(posts: Callable[..., list[dict[str, Any]]]) -> None:
    def html(money: str) -> str:
        return (
            f"Draw a map of a bay.<br /><br /><b>{money}<br /><b>Posted On</b>: May 05, 2026<br /><b>Category</b>: "
            "Maps &amp; GIS<br /><b>Skills</b>:QGIS,     Inkscape<br /><b>Country</b>: Peru <br />"
        )

    link = "https://market.example/jobs/bay"
    a, b, c = posts(
        "marketplace_rss",
        feed(
            [
                {
                    "title": "Map of a bay &amp; more",
                    "link": f"{link}1?source=rss",
                    "description": html("Budget</b>: $1,200 "),
                    "pubDate": "Tue, 05 May 2026 07:08:09 +0000",
                },
                {
                    "title": "Map",
                    "link": f"{link}2",
                    "description": html("Hourly Range</b>: $10.00-$30.00"),
                    "pubDate": "Tue, 05 May 2026 07:08:09 GMT",
                },
                {
                    "title": "Map of a bay &amp; more",
                    "link": f"{link}1?source=mail",
                    "description": html("Budget</b>: €90"),
                    "pubDate": "Wed, 06 May 2026 07:08:09 GMT",
                },
            ]
        ),
    )
    assert a["job_id"].startswith("c-")
    assert a["job_id"] == c["job_id"] != b["job_id"]
    assert (a["title"], a["category"], a["skills"], a["country"]) == (
        "Map of a bay & more",
        "Maps & GIS",
        ["QGIS", "Inkscape"],
        "Peru",
    )
    assert [(r["job_type"], r["price_usd"]) for r in (a, b, c)] == [
        ("fixed", 1200.0),
        ("hourly", None),
        ("fixed", None),
    ]
    assert a["posted_at"] == datetime(2026, 5, 5, 7, 8, 9, tzinfo=UTC)
    assert a["description"].startswith("Draw a map of a bay.\n\nBudget: $1,200")
    assert (a["status"], a["paid"], a["completed_at"]) == (None, None, None)


def test_objects_of_an_api_with_ranges_and_currencies(posts: Callable[..., list[dict[str, Any]]]) -> None:
    def project(number: int, low: Any, high: Any, code: str = "USD", **more: Any) -> dict[str, Any]:
        return {
            "id": number,
            "title": "Clean a list",
            "description": "500 rows",
            "type": "fixed",
            "status": "closed",
            "owner_id": 9,
            "budget": {"minimum": low, "maximum": high},
            "currency": {"code": code},
            "jobs": [{"name": "Excel"}],
            "submitdate": 1770000000,
            "time_completed": 1770094689,
            "location": {"country": {"name": "Peru"}},
        } | more

    found = posts(
        "marketplace_api",
        json.dumps(
            [
                project(1, 30.0, 30.0),
                project(2, 10.0, 30.0),
                project(3, 50, 50, "EUR"),
                project(4, 0, 0),
                project(5, 10.0, 30.0, accepted_amount=25.5),
                project(6, 10.0, None),
            ]
        ),
    )
    assert [(r["job_id"], r["price_usd"]) for r in found] == [
        ("1", 30.0),
        ("2", None),
        ("3", None),
        ("4", None),
        ("5", 25.5),
        ("6", None),
    ]
    assert found[0]["completed_at"] == datetime(2026, 2, 3, 4, 58, 9, tzinfo=UTC)
    assert (found[0]["status"], found[0]["skills"], found[0]["country"]) == ("completed", ["Excel"], "Peru")


def test_a_dump_of_json_lines(posts: Callable[..., list[dict[str, Any]]]) -> None:
    lines = [
        {
            "job_id": f"l{i}",
            "title": "Sort",
            "description": "x",
            "category": "Data",
            "job_type": "fixed",
            "price_usd": p,
            "milestone_count": 1,
            "price_changed": False,
            "status": "completed",
            "paid": True,
            "completed_at": "2026-03-04",
        }
        for i, p in enumerate([40, "40 USD", "about 40"])
    ]
    found = posts("canonical", "\n".join(map(json.dumps, lines)))
    assert [r["price_usd"] for r in found] == [40.0, 40.0, None]
