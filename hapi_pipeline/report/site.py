"""Builds the site: pages through templates, charts and tables as files, all in a folder that is renamed when whole."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hapi_pipeline import __version__
from hapi_pipeline.made import PLACES, is_current, made_from
from hapi_pipeline.plots import svg
from hapi_pipeline.report import jobs as job_pages
from hapi_pipeline.report import numbers
from hapi_pipeline.report.ask import Sources, opened
from hapi_pipeline.report.figures import Figure, Page
from hapi_pipeline.settings import UserError

if TYPE_CHECKING:
    import jinja2

    from hapi_pipeline.lake import Lake
    from hapi_pipeline.registry import Registry
    from hapi_pipeline.release.searched import Searched
    from hapi_pipeline.settings import Home

MARKER = "hapi-report.txt"
"""Stands in every site, so that nothing else is ever replaced by one."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
    "base-uri 'none'; form-action 'none'"
)
"""What a page may load: files of its own folder, and nothing inline."""
NAVIGATION = (
    ("index", "Overview"),
    ("categories", "Categories"),
    ("models", "Models"),
    ("economics", "Economics"),
    ("failures", "Failures"),
    ("agreement", "Agreement"),
    ("dataset", "Dataset"),
    ("jobs", "Jobs"),
    ("methodology", "Methodology"),
    ("downloads", "Downloads"),
)


@dataclass(frozen=True)
class About:
    """What every page says of the data."""

    simulated: str  # '', some or all
    newest: str  # day of the newest import or attempt
    state: str
    version: str
    n_jobs: int


@dataclass(frozen=True)
class File:
    """A file that is offered for download."""

    path: str
    title: str
    rows: int
    bytes: int


def build(lake: Lake, registry: Registry, home: Home, out: Path) -> Path:
    """See `hapi_pipeline.report.build_report`."""
    from hapi_pipeline.release.searched import searched

    shown = searched(lake, registry, home)
    with _replacing(out) as (folder, earlier), opened(lake, registry, home, shown.clearance) as sources:
        _Site(sources, shown, folder, earlier).write()
    return out / "index.html"


@contextmanager
def _replacing(out: Path) -> Iterator[tuple[Path, Path | None]]:
    """A new folder beside `out` that takes its place at the end, and the site that stands there so far."""
    _clear_away(out)
    earlier = out if (out / MARKER).is_file() else None
    if out.exists() and earlier is None and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} holds something else than a report; name a new folder.")
    out.parent.mkdir(parents=True, exist_ok=True)
    staged = out.with_name(f".{out.name}.{os.getpid()}.part")
    shutil.rmtree(staged, ignore_errors=True)  # of a killed process that had our number
    staged.mkdir()
    try:
        yield staged, earlier
        away = out.with_name(f".{out.name}.{os.getpid()}.old.part")
        if out.exists():
            out.replace(away)
        staged.replace(out)
        shutil.rmtree(away, ignore_errors=True)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _clear_away(out: Path) -> None:
    """Remove what builds left that were killed; a site that was just being replaced comes back."""
    for left in sorted(out.parent.glob(f".{out.name}.*.part")):
        process = left.name.removeprefix(f".{out.name}.").split(".")[0]
        if not process.isdecimal() or _runs(int(process)):
            continue
        if left.name.endswith(".old.part") and not out.exists():
            left.replace(out)
        else:
            shutil.rmtree(left, ignore_errors=True)


def _runs(process: int) -> bool:
    """Whether there is a process with this number."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


class _Site:
    """One build."""

    def __init__(self, sources: Sources, shown: Searched, folder: Path, earlier: Path | None):
        self.sources, self.clearance, self.folder = sources, shown.clearance, folder
        self.state = made_from(sources.lake, sources.registry)
        self.about = _about(sources, self.state)
        self.files = job_pages.Files(sources.home.attempts, folder, earlier, shown.unread)
        self.offered: list[File] = []

    def write(self) -> None:
        """Every file of the site."""
        from hapi_pipeline.report.pages import categories, dataset, models, money, overview, quality, reading

        self._assets()
        makers = (
            overview.overview,
            categories.categories,
            models.models,
            money.economics,
            quality.failures,
            quality.agreement,
            dataset.dataset,
        )
        for make in makers:
            self._page(make(self.sources))
        self._page(reading.methodology())
        self._page(reading.dictionary())
        self._jobs()
        self._downloads()
        (self.folder / MARKER).write_text(
            f"A report made by hapi_pipeline {self.about.version}; `hapi report` replaces this folder.\n", "utf-8"
        )

    def _assets(self) -> None:
        """The style sheet, the script, fonts and the icon."""
        static, assets = Path(__file__).parent / "static", self.folder / "assets"
        (assets / "fonts").mkdir(parents=True)
        style = (static / "site.css").read_text("utf-8")
        (assets / "site.css").write_text(f"{svg.css('page')}\n{style}", "utf-8")
        for path in sorted((*static.glob("*.js"), *static.glob("*.svg"), *static.glob("fonts/*"))):
            shutil.copyfile(path, assets / path.relative_to(static))

    def _page(self, page: Page) -> None:
        for section in page.sections:
            for figure in section.figures:
                self._figure_files(figure)
        self._render("page.html", f"{page.name}.html", page=page, here=page.name)

    def _figure_files(self, figure: Figure) -> None:
        """The table of a figure as CSV and its chart as SVG."""
        path = self.folder / "data" / f"{figure.key}.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text(figure.csv, "utf-8", newline="")
        self.offered.append(File(f"data/{path.name}", figure.title, len(figure.answer.rows), path.stat().st_size))
        if figure.charts:
            chart = self.folder / "charts" / f"{figure.key}.svg"
            chart.parent.mkdir(exist_ok=True)
            chart.write_text(svg.standalone(figure.charts[0]), "utf-8")

    def _jobs(self) -> None:
        """The index of jobs and the page of each."""
        cleared = {job for job, why in self.clearance.items() if not why}
        listed = job_pages.listed_jobs(self.sources, cleared)
        parts = job_pages.chunks(listed)
        names = ["jobs.html", *(f"jobs-{number}.html" for number in range(2, len(parts) + 1))]
        withheld: dict[str, int] = {}
        for why in self.clearance.values():
            if why:
                withheld[why] = withheld.get(why, 0) + 1
        for name, part in zip(names, parts, strict=True):
            self._render(
                "jobs.html", name, jobs=part, names=names, name=name, n_jobs=len(self.clearance), n_listed=len(listed),
                withheld=sorted(withheld.items()), categories=sorted({job.category for job in part}), here="jobs",
            )  # fmt: skip
        if listed:
            (self.folder / "jobs").mkdir()
            template = self._environment.get_template("job.html")
            with _open_folder(self.folder / "jobs") as put:
                for job in job_pages.jobs(self.sources, listed, self.files):
                    put(job.listed.page, template.render(job=job, about=self.about, here="jobs", root="../"))

    def _downloads(self) -> None:
        """The page that lists every file."""
        publications = _publications(self.sources, self.folder, self.state)
        self._render(
            "downloads.html", "downloads.html", files=self.offered, publications=publications,
            n_files=self.files.copied, here="downloads",
        )  # fmt: skip

    def _render(self, template: str, path: str, **values: Any) -> None:
        text = self._environment.get_template(template).render(about=self.about, root="", **values)
        (self.folder / path).write_text(text, "utf-8")

    @functools.cached_property
    def _environment(self) -> jinja2.Environment:
        return environment()


@functools.cache
def environment() -> jinja2.Environment:
    """The templates; everything that they print is escaped."""
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(navigation=NAVIGATION, policy=POLICY)
    made.filters.update(share=numbers.share, usd=numbers.usd, count=numbers.count, size=_size, prose=_prose)
    return made


@contextmanager
def _open_folder(folder: Path) -> Iterator[Any]:
    """A function that writes many small files into one folder."""
    where = f"{folder}{os.sep}"

    def put(name: str, text: str) -> None:
        with open(where + name, "wb", buffering=0) as file:  # noqa: PTH123 - thousands of files: a Path costs more
            file.write(text.encode("utf-8", "replace"))

    yield put


def _about(sources: Sources, state: str) -> About:
    some, every = _simulated(sources)
    newest = sources.ask(
        "SELECT strftime(max(day), '%Y-%m-%d') AS day FROM (SELECT max(imported_at) AS day FROM job_exports "
        "UNION ALL SELECT max(finished_at) FROM attempts UNION ALL SELECT max(imported_at) FROM verdicts)"
    ).rows[0]["day"]
    jobs = sources.ask("SELECT count(*) AS n FROM benchmark_jobs").rows[0]["n"]
    return About("all" if every else "some" if some else "", newest or "", state[:12], __version__, int(jobs))


def _simulated(sources: Sources) -> tuple[bool, bool]:
    """Whether some, and whether all of the posts, attempts and verdicts are simulated."""
    rows = sources.ask(
        "SELECT coalesce(bool_or(simulated), false) AS some, coalesce(bool_and(simulated), false) AS every FROM ("
        "SELECT simulated FROM benchmark_jobs UNION ALL SELECT simulated FROM attempts "
        "UNION ALL SELECT simulated FROM verdicts UNION ALL SELECT simulated FROM job_posts)"
    ).rows
    return bool(rows[0]["some"]), bool(rows[0]["every"])


def _publications(sources: Sources, folder: Path, state: str) -> list[File]:
    """What programs read: the feed with its schema, and the warehouse where it was made from these very tables."""
    from hapi_pipeline.feed import build_feed

    fed = build_feed(sources.lake, sources.registry, folder / "data" / "leaderboard.json", state)
    offered = [(fed.path, "Headline tables as JSON"), (fed.schema, "What its fields mean: JSON Schema")]
    warehouse = sources.home.releases / PLACES["warehouse"]
    if is_current(warehouse, state) and not warehouse.is_symlink():  # an older one may hold what is no longer public
        offered.append((folder / "data" / warehouse.name, "All public tables as one DuckDB file"))
        shutil.copyfile(warehouse, offered[-1][0])
    return [File(f"data/{path.name}", title, 0, path.stat().st_size) for path, title in offered]


def _prose(words: str) -> str:
    """A sentence in which no percent sign stands alone at the beginning of a line."""
    return words.replace(" %", f"{numbers.THIN}%")


def _size(value: float) -> str:
    """Bytes for readers."""
    if value < 1000:
        return f"{value:.0f} bytes"
    return f"{value / 1000:,.0f} kB" if value < 1_000_000 else f"{value / 1_000_000:,.1f} MB"
