"""The site in a real Chromium: no error, no request that leaves the folder, nothing that axe-core finds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hapi_pipeline.report.site import NAVIGATION
from tests.report.conftest import EVIL, EVIL_ID

NAMES = [*(name for name, _ in NAVIGATION), "dictionary"]
_LIGHTNESS = """
(kinds) => {
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const luminance = (rgb) => rgb.map((v, i) => linear(v / 255) * [.2126, .7152, .0722][i]).reduce((a, b) => a + b);
  const contrast = (a, b) => {
    const [x, y] = [luminance(a), luminance(b)].sort((p, q) => q - p);
    return (x + .05) / (y + .05);
  };
  const over = (paint, alpha, below) => paint.map((v, i) => v * alpha + below[i] * (1 - alpha));
  const card = numbers(getComputedStyle(document.querySelector(".fig")).backgroundColor).slice(0, 3);
  const found = [];
  for (const svg of document.querySelectorAll(".plot.wide svg")) {
    const areas = [...svg.querySelectorAll("rect:not(.hp-bg, .hp-hole)")];
    for (const text of svg.querySelectorAll("text:not(.hp-watermark)")) {
      const box = text.getBBox(), x = box.x + box.width / 2, y = box.y + box.height / 2;
      let below = card;
      for (const area of areas) {
        const a = area.getBBox(), style = getComputedStyle(area);
        if (a.x <= x && x <= a.x + a.width && a.y <= y && y <= a.y + a.height)
          below = over(numbers(style.fill).slice(0, 3), Number(style.opacity), below);
      }
      found.push(["text " + text.textContent, contrast(numbers(getComputedStyle(text).fill).slice(0, 3), below), 4.5]);
    }
    for (const mark of svg.querySelectorAll("circle, path[class^=hp-f], line[class^=hp-s], rect.hp-hole")) {
      const style = getComputedStyle(mark);
      const paint = style.stroke !== "none" ? style.stroke : style.fill;
      found.push(["mark " + mark.getAttribute("class"), contrast(numbers(paint).slice(0, 3), card), 3]);
    }
  }
  return found.filter(([, ratio, least]) => ratio < least).map(([what, ratio]) => `${what}: ${ratio.toFixed(2)}`);
}
"""
_CUT_OFF = """
[...document.querySelectorAll("main .scroll, main pre, main .plot svg")]
  .filter((e) => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
  .map((e) => e.outerHTML.slice(0, 80))
"""


@pytest.fixture(scope="module")
def watched(browser: Any) -> Iterator[Any]:
    """A context whose pages report what goes wrong, in `problems`."""
    contexts = []

    def new(width: int, scheme: str = "light") -> tuple[Any, list[str]]:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page, problems = context.new_page(), []
        page.on("console", lambda message: problems.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: problems.append(f"error: {error}"))
        page.on("dialog", lambda dialog: problems.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: None if request.url.startswith("file:") else problems.append(request.url))
        page.on("requestfailed", lambda request: failed(request, problems))
        return page, problems

    yield new
    for context in contexts:
        context.close()


def failed(request: Any, problems: list[str]) -> None:
    if request.failure != "net::ERR_ABORTED":  # what was still being loaded when the page was left
        problems.append(f"not there: {request.url}: {request.failure}")


def some_jobs(site: Path) -> list[str]:
    """The page of the hostile job, and of two others."""
    names = sorted(path.name for path in (site / "jobs").iterdir())
    evil = next(name for name in names if name.startswith("job-evil"))
    return [f"jobs/{name}" for name in (evil, names[0], names[-1])]


def pages(site: Path) -> list[str]:
    return [*(f"{name}.html" for name in NAMES), *some_jobs(site)]


COLOURS = {"runOnly": ["color-contrast"]}
IN_THE_DARK = ("index.html", "categories.html", "jobs.html", "downloads.html")
"""Pages that have, between them, all there is to colour; charts are looked at below."""
STRUCTURE = {"rules": {"color-contrast": {"enabled": False}}}


def looked_for(name: str, width: int, scheme: str) -> dict[str, Any] | None:
    """What axe looks for: everything on the wide screen; structure on the narrow one; colours in the dark."""
    if scheme == "dark":
        return COLOURS if (width > 600 and name in IN_THE_DARK) or name.startswith("jobs/job-evil") else None
    if name == "dictionary.html":  # nine thousand elements, set in the colours of the methodology
        return STRUCTURE if width > 600 else None
    return {} if width > 600 else STRUCTURE


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")])
def test_every_page_is_whole_quiet_and_open_to_everybody(site: Path, watched: Any, width: int, scheme: str) -> None:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="needs the dev extra (axe-playwright-python)"
    )
    page, problems = watched(width, scheme)
    for name in pages(site):
        page.goto((site / name).as_uri())
        page.evaluate("for (const d of document.querySelectorAll('details.tab, details.model')) d.open = true")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{name} is wider than the screen"
        assert page.evaluate(_CUT_OFF) == [], f"{name}: what is wider than the screen cannot be scrolled to"
        assert page.title() != "ran"
        assert page.locator("h1").count() == 1
        wanted = looked_for(name, width, scheme)
        if wanted is not None:
            found = axe.Axe().run(page, options={"resultTypes": ["violations"], "preload": False, **wanted})
            assert found.violations_count == 0, f"{name}: {found.generate_report()}"
    assert problems == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_marks_of_charts_stand_out_in_both_themes(site: Path, watched: Any, scheme: str) -> None:
    page, problems = watched(1280, scheme)
    for name in ("index", "categories", "models", "economics", "failures", "agreement", "dataset"):
        page.goto((site / f"{name}.html").as_uri())
        assert page.evaluate(_LIGHTNESS) == [], name
    assert problems == []


def test_hostile_text_is_shown_and_nothing_runs(site: Path, watched: Any) -> None:
    page, problems = watched(1280)
    evil = some_jobs(site)[0]
    page.goto((site / evil).as_uri())
    shown = page.locator(".outside").inner_text()
    assert "<script>document.title='ran'</script>" in shown
    assert "[U+202E]gnp.exe[U+202C]" in shown, "marks that turn the direction of writing are spelled out"
    assert "\u202e" not in page.content()
    assert "{{ 7*7 }}" in shown
    assert page.locator("a[href^='javascript']").count() == 0
    assert page.locator("main script, main img, main iframe, main [onerror], main [onload]").count() == 0
    for link in page.locator("main a").all():
        target = link.get_attribute("href") or ""
        assert re.fullmatch(r"(\.\./)?[\w./#-]+", target), target
        if "files/" in target:
            assert link.get_attribute("download") is not None
    for name in NAMES:
        page.goto((site / f"{name}.html").as_uri())
        assert page.title() != "ran"
    assert EVIL_ID.replace("\u202e", "[U+202E]") in (site / "jobs.html").read_text("utf-8").replace(
        "&lt;", "<"
    ).replace("&gt;", ">").replace("&#39;", "'")
    assert problems == []
    assert EVIL not in (site / evil).read_text("utf-8")


def test_a_policy_forbids_what_is_not_in_the_folder(site: Path, watched: Any) -> None:
    page, problems = watched(1280)
    page.goto((site / "index.html").as_uri())
    page.evaluate("""() => {
        const image = new Image(); image.src = "http://leak.test/x"; document.body.append(image);
        const script = document.createElement("script");
        script.textContent = "document.title = 'ran'";
        document.body.append(script);
        const armed = "<p id=armed onclick=\\"document.title='ran'\\" style='color:red'>x</p>";
        document.body.insertAdjacentHTML("beforeend", armed);
        document.getElementById("armed").click();
        fetch("http://leak.test/y").catch(() => 0);
    }""")
    page.wait_for_timeout(50)
    assert page.title() != "ran"
    assert sum("Content Security Policy" in problem for problem in problems) >= 4, problems


def test_colours_are_chosen_and_remembered(site: Path, watched: Any) -> None:
    page, problems = watched(1280)
    page.goto((site / "index.html").as_uri())
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.get_by_role("button", name="Dark").click()
    dark = page.evaluate(background)
    assert light != dark
    page.goto((site / "models.html").as_uri())
    assert page.evaluate(background) == dark
    assert page.get_by_role("button", name="Dark").get_attribute("aria-pressed") == "true"
    page.get_by_role("button", name="System").click()
    assert page.evaluate(background) == light
    assert problems == []


def test_jobs_are_found_sorted_and_paged(site: Path, watched: Any) -> None:
    page, problems = watched(390)
    page.goto((site / "jobs.html").as_uri())
    rows = page.locator("#jobs tbody tr")
    assert rows.count() == 36
    page.get_by_label("Find").fill("list 17")
    assert rows.first.inner_text().startswith("Sort list 17")
    assert page.locator("#found").inner_text() == "1 of 36 jobs"
    page.get_by_label("Find").fill("")
    page.get_by_label("Category").select_option("Writing")
    assert page.locator("#found").inner_text() == "12 of 36 jobs"
    page.get_by_role("button", name="Price").click()
    prices = [float(r.locator("td").nth(2).inner_text().strip("$")) for r in rows.all()]
    assert prices == sorted(prices)
    assert page.locator("#jobs th[aria-sort=ascending]").inner_text().startswith("Price")
    assert problems == []


def test_it_can_be_read_with_the_keyboard_and_without_scripts(site: Path, watched: Any, browser: Any) -> None:
    page, problems = watched(1280)
    page.goto((site / "index.html").as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
    page.keyboard.press("Enter")
    assert page.locator("#fig-completion table").is_visible()
    assert problems == []
    plain = browser.new_context(java_script_enabled=False).new_page()
    plain.goto((site / "jobs.html").as_uri())
    assert plain.locator("#jobs tbody tr").count() == 36
    assert not plain.get_by_label("Find").is_visible()


def test_paper_gets_every_table_and_no_buttons(site: Path, watched: Any) -> None:
    page, problems = watched(1280)
    page.goto((site / "index.html").as_uri())
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#fig-completion table").is_visible()
    assert not page.locator(".top").is_visible()
    assert not page.get_by_text("SQL").first.is_visible()
    assert page.locator(".banner").is_visible()
    assert problems == []
