"""The site: its prose is true, it is built without a warning, and every page works in a browser, offline.

The browser is Debian's Chromium, driven by Playwright: ``pip install -e ".[test,docs,browser]"`` and ``apt install
chromium``.
"""

import doctest
import functools
import html
import http.server
import importlib
import re
import shutil
import subprocess
import sys
import threading
import urllib.parse
from itertools import pairwise
from pathlib import Path

import pytest

import demos
import minigrad as mg
from tests import house

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PROSE = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)

WIDTHS = {"desktop": 1280, "phone": 390}


@pytest.fixture(scope="module")
def reading():
    sys.path.insert(0, str(DOCS / "_ext"))
    try:
        yield importlib.import_module("reading")
    finally:
        sys.path.remove(str(DOCS / "_ext"))


@pytest.mark.parametrize("path", PROSE, ids=lambda path: path.relative_to(DOCS).as_posix())
def test_the_examples_of_a_page_run(path):
    # a fence is blanked, so that what follows a fence is not taken for expected output
    text = re.sub(r"^```.*$", "", path.read_text(), flags=re.MULTILINE)
    test = doctest.DocTestParser().get_doctest(text, {}, path.name, str(path), 0)
    failures = []
    doctest.DocTestRunner().run(test, out=failures.append)
    assert not failures, "".join(failures)


def test_every_definition_has_its_prose(reading):
    assert reading.unexplained() == []


def is_public(name):
    """Whether ``mg.`` and a name is something to call: "minigrad.relu", "relu" or "Tensor.backward"."""
    thing = mg
    for part in name.lstrip(".~").removeprefix("minigrad.").split("."):
        thing = getattr(thing, part, None)
    return callable(thing)


def test_the_first_evening_refers_to_nothing_that_is_not_read_yet(reading):
    """Its prose refers to the first evening, to public names (the reference explains them), and to the fast paths."""
    first = [entry.module for entry in house.ROUTE["First evening"]]
    ahead = []
    for module in first:
        file = reading.files()[module]
        for prose in file.prose:
            text = re.sub(r"^Next: .*", "", prose.text, flags=re.MULTILINE)
            for name in re.findall(r":(?:mod|func|class|meth|attr|data):`([^`]+)`", text):
                found = reading.referred(module, prose.inside, name)
                known = found and (found[0].module in first or found[0].module.startswith("minigrad.kernels."))
                if not (known or is_public(name) or is_public(f"{prose.inside}.{name}")):
                    ahead.append(f"{file.name}:{prose.line} {name}")
    assert ahead == []


def test_the_source_on_the_site_is_the_source(reading):
    """Every line of every file is shown once: as code, or as prose."""
    for file in reading.files().values():
        shown = [line for row in file.rows for line in row.code]
        assert shown == sorted(set(shown))
        left_out = set(range(1, len(file.lines) + 1)) - set(shown)
        assert all(n in file.spoken or not file.lines[n - 1].strip() for n in left_out)
        assert sum(len(row.prose) for row in file.rows) == len(file.prose)


# The built site ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build the site with the command of its front page, into another folder."""
    pytest.importorskip("sphinx")
    pytest.importorskip("furo")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", "docs", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def pages(site):
    return sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html") if "_static" not in path.parts)


def found(name):
    """Return what a dotted name stands for: modules first, since minigrad.inspect.statistics is a function, too."""
    importlib.import_module(name[0])
    for end in range(len(name) - 1, 0, -1):
        if (module := sys.modules.get(".".join(name[:end]))) is not None:
            return functools.reduce(getattr, name[end:], module)
    raise LookupError(name)


@pytest.mark.slow
def test_every_public_name_is_in_the_reference(site):
    from sphinx.util.inventory import InventoryFile

    from tests.docs.test_docs import PUBLIC

    with (site / "objects.inv").open("rb") as stream:
        there = InventoryFile.load(stream, "", lambda base, path: path)
    names = [name.split(".") for kind in ("py:function", "py:class") for name in there[kind]]
    documented = [found(name) for name in names]
    missing = [name for name, thing in PUBLIC.items() if not any(thing is entry for entry in documented)]
    assert missing == []


@pytest.mark.slow
def test_the_fields_of_named_tuples_are_described_once(site):
    reference = {path.name: path.read_text() for path in (site / "reference").glob("*.html")}
    assert "The number of images of the global batch." in reference["distributed.html"]
    assert [name for name, text in reference.items() if "Alias for field number" in text] == []


@pytest.fixture(scope="module")
def address(site):
    """Serve the site from this machine."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.handle_error = lambda *_: None  # a page that is closed while it loads breaks its pipes
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        pytest.skip("there is no Chromium")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, address):
    """Open a page and gather what goes wrong on it."""
    wrong, contexts = [], []

    def open_page(name, width):
        context = browser.new_context(viewport={"width": width, "height": 800})
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: request.url.startswith(address) or wrong.append(f"asks for {request.url}"))
        page.on("response", lambda r: r.status < 400 or wrong.append(f"{r.status} for {r.url}"))
        page.on("requestfailed", lambda request: wrong.append(f"failed: {request.url}"))
        page.on("console", lambda m: m.type in ("error", "warning") and wrong.append(f"console: {m.text}"))
        page.on("pageerror", lambda error: wrong.append(f"script: {error}"))
        page.goto(address + name, wait_until="load")
        return page

    open_page.wrong = wrong
    yield open_page
    for context in contexts:
        context.close()


#: What a page knows about itself, gathered in the browser.
FACTS = """() => ({
    ids: [...document.querySelectorAll('[id]')].map(e => e.id),
    links: [...document.querySelectorAll('a[href]')].map(e => e.href),
    images: [...document.images].filter(e => !e.complete || !e.naturalWidth).map(e => e.src),
    maths: [...document.querySelectorAll('math')].filter(e => !e.getBoundingClientRect().width).map(e => e.textContent),
    faults: [...document.querySelectorAll('merror, .system-message, .problematic')].map(e => e.textContent),
    raw: [...document.querySelectorAll('article :is(p, li, dd, td, h1, h2, h3)')].filter(e => !e.closest('pre'))
        .map(e => e.innerText).join('\\n').match(/:(func|class|mod|math|meth):`|\\\\frac/g) ?? [],
    wide: document.documentElement.scrollWidth - window.innerWidth,
    cut: [...document.querySelectorAll('article p, article li, article h1')]
        .filter(e => e.getBoundingClientRect().right > window.innerWidth + 1 && !e.closest('table, pre, .math'))
        .map(e => e.textContent.slice(0, 60)),
    loose: [...document.querySelectorAll('article :is(pre, table, math, img, svg)')]
        .filter(e => e.getBoundingClientRect().right > window.innerWidth + 1)
        .filter(e => { while (e && !['auto', 'scroll'].includes(getComputedStyle(e).overflowX)) e = e.parentElement;
            return !e; })
        .map(e => e.textContent.slice(0, 60) || e.src),
    cropped: [...document.querySelectorAll('.annotated pre')].filter(e => e.scrollWidth > e.clientWidth + 1)
        .map(e => e.textContent.slice(0, 60)),
    undescribed: [...document.querySelectorAll('article img')]
        .filter(e => (e.alt.match(/\\p{Script=Han}|[\\p{L}\\p{N}]+/gu) ?? []).length < 5 || e.src.endsWith(e.alt))
        .map(e => e.src),
    small: [...document.querySelectorAll('article p')].filter(e => parseFloat(getComputedStyle(e).fontSize) < 12)
        .map(e => e.textContent.slice(0, 60)),
})"""


@pytest.mark.slow
def test_every_page_works_in_a_browser(site, address, visit):
    ids, links = {}, []
    names = pages(site)
    assert len(names) > 40
    for name in names:
        for kind, width in WIDTHS.items():
            page = visit(name, width)
            facts = page.evaluate(FACTS)
            for fault in ("images", "maths", "faults", "raw", "cut", "loose", "undescribed", "small"):
                assert not facts[fault], (name, kind, fault, facts[fault])
            assert kind == "phone" or not facts["cropped"], (name, facts["cropped"])
            assert facts["wide"] <= 0, f"{name} is {facts['wide']} pixels too wide for a {kind}"
            assert not visit.wrong, (name, kind, visit.wrong)
            ids[name] = set(facts["ids"])
            page.context.close()
        links += [(name, link) for link in facts["links"]]
    for name, link in set(links):
        if link.startswith(address):
            target, _, fragment = link.removeprefix(address).partition("#")
            target, fragment = urllib.parse.unquote(target.partition("?")[0]), urllib.parse.unquote(fragment)
            target = target or "index.html"
            assert target in ids or (site / target).is_file(), f"{name} links to {target}, which is not there"
            assert not fragment or target not in ids or fragment in ids[target], f"{name}: no {target}#{fragment}"
        else:
            assert link.startswith("https://"), f"{name} links to {link}"


# Paper and projector -------------------------------------------------------------------------

#: What is wider than the page or than the block of code around it, and what should not be printed but is.
PRINTED = """() => ({
    wide: [...document.querySelectorAll('article *')]
        .filter(e => e.getBoundingClientRect().right > window.innerWidth + 1).map(e => e.outerHTML.slice(0, 80)),
    cut: [...document.querySelectorAll('pre')]
        .filter(e => e.scrollWidth > e.clientWidth + 1 || e.scrollHeight > e.clientHeight + 1)
        .map(e => e.textContent.slice(0, 60)),
    shown: [...document.querySelectorAll('.skip-to-content, .sidebar-drawer, .toc-drawer, .mobile-header, footer')]
        .filter(e => e.getClientRects().length).map(e => e.className),
})"""

A4 = 672  # the pixels of CSS between the margins of docs/_static/print.css


@pytest.mark.slow
@pytest.mark.parametrize("name", ["index", "teaching/sheet", "source/minigrad/autograd/tape", "reference/nn"])
def test_nothing_is_cut_on_paper(visit, name):
    page = visit(f"{name}.html", A4)
    page.emulate_media(media="print")
    assert page.evaluate(PRINTED) == {"wide": [], "cut": [], "shown": []}


@pytest.fixture(scope="module")
def pdf(site):
    """Print the course."""
    pypdf = pytest.importorskip("pypdf")
    if not (shutil.which("chromium") or shutil.which("chromium-browser")):
        pytest.skip("there is no Chromium")
    subprocess.run([ROOT / ".ci/pdf", site, site / "course.pdf"], check=True, capture_output=True)
    return pypdf.PdfReader(site / "course.pdf")


def letters(text):
    return "".join(text.split())


@pytest.mark.slow
def test_the_pdf_has_every_title_and_every_line_of_code(pdf):
    pages = [re.sub(r"^\d+\n", "", page.extract_text()) for page in pdf.pages]  # without the number of the page
    text, outline, lost = letters("".join(pages)), str(pdf.outline), []
    assert letters("Skip to content") not in text
    for path in sorted((DOCS / "chapters").glob("[0-9]*.py")):
        _, docstring, program = path.read_text(encoding="utf-8").split('"""', 2)
        title = docstring.split("\n")[1]
        assert letters(title) in text
        assert title in outline
        lines = [line for line in program.splitlines() if line.strip() and not line.startswith(("#", "show()"))]
        lost += [f"{path.name}: {line}" for line in lines if not printed(letters(line), text, [*map(letters, pages)])]
    assert lost == []


def printed(line, text, pages):
    """Return whether a line is in the text, or goes on at the top of the next page.

    Formulas of a page come at the end of its text, and so between the two parts.
    """
    return line in text or any(
        line[:k] in page and after.startswith(line[k:]) for page, after in pairwise(pages) for k in range(1, len(line))
    )


@pytest.mark.slow
def test_the_pdf_leads_to_its_own_chapters_and_to_no_file_of_the_machine_that_made_it(pdf):
    marks = [mark.get_object() for page in pdf.pages for mark in page.get("/Annots", [])]
    assert sum("/Dest" in mark for mark in marks) > 2 * len(list((DOCS / "chapters").glob("[0-9]*.py")))
    links = [mark["/A"]["/URI"] for mark in marks if "/A" in mark]
    assert [link for link in links if not link.startswith("https://")] == []


@pytest.mark.slow
def test_slides_and_sheet_show_every_figure_of_the_chapters(site):
    def figures(paths):
        return {name for path in paths for name in re.findall(r"sphx_glr_\d\d_\w+_\d{3}\.png", path.read_text("utf-8"))}

    drawn = figures(site / f"course/{path.stem}.html" for path in (DOCS / "chapters").glob("[0-9]*.py"))
    assert len(drawn) > 40
    assert figures((site / "teaching").glob("slides_*.html")) == drawn
    assert figures([site / "teaching/sheet.html"]) == drawn


@pytest.mark.slow
def test_slides_fit_the_screen_and_follow_each_other(site, visit):
    for week in range(1, 7):
        page = visit(f"teaching/slides_{week}.html", WIDTHS["desktop"])
        page.set_viewport_size({"width": 1280, "height": 720})
        slides = page.evaluate("[...document.querySelectorAll('.slide')].map(e => [e.innerText, e.scrollHeight])")
        assert [text for text, height in slides if height > 721] == [], f"week {week}"
        page.keyboard.press("PageDown")
        page.wait_for_function("Math.abs(document.querySelectorAll('.slide')[1].getBoundingClientRect().top) < 2")
        page.context.close()
    assert not visit.wrong


@pytest.mark.slow
def test_search_finds_what_the_site_is_about(visit):
    page = visit("search.html?q=residual", WIDTHS["desktop"])
    for found in ("source/models/resnet", "gallery/degradation", "reference/models"):  # they come one after the other
        page.wait_for_selector(f'ul.search a[href*="{found}"]', timeout=20_000)
    assert not visit.wrong


@pytest.mark.slow
def test_search_finds_the_chapter_on_batch_norm_first_and_quotes_it(visit):
    page = visit("search.html?q=batch+norm", WIDTHS["desktop"])
    page.wait_for_selector("ul.search li:first-child p.context", timeout=20_000)
    first = page.query_selector("ul.search li:first-child")
    assert "course/11_batch_norm" in first.query_selector("a").get_attribute("href")
    assert "batch" in first.query_selector("p.context").inner_text().lower()


@pytest.mark.slow
def test_formulas_have_the_font_of_the_site(visit):
    page = visit("course/11_batch_norm.html", WIDTHS["desktop"])
    loaded = "document.fonts.ready.then(() => [...document.fonts].map(f => [f.family, f.status].join(' ')))"
    assert "STIX Two Math loaded" in [font.replace('"', "") for font in page.evaluate(loaded)]
    assert page.evaluate("getComputedStyle(document.querySelector('math')).fontFamily").startswith('"STIX Two Math"')


@pytest.mark.slow
def test_folded_code_opens_by_the_enter_key(visit):
    page = visit("course/11_batch_norm.html", WIDTHS["phone"])
    folded = page.query_selector("details.drawing")
    assert not folded.query_selector("pre").is_visible()
    folded.query_selector("summary").focus()
    page.keyboard.press("Enter")
    assert folded.query_selector("pre").is_visible()


@pytest.mark.slow
def test_notebooks_are_offered(site):
    chapters = {path.stem for path in (DOCS / "chapters").glob("*.py")}
    assert {path.stem for path in (site / "_downloads").rglob("*.ipynb")} == chapters | set(demos.ORDER)


@pytest.mark.slow
@pytest.mark.parametrize(("query", "page"), [("残差", "zh/02_tape"), ("批归一化", "zh/11_batch_norm")])
def test_search_finds_chinese(visit, query, page):
    found = visit(f"search.html?q={query}", WIDTHS["desktop"])
    found.wait_for_selector(f'ul.search a[href*="{page}"]', timeout=20_000)
    assert not visit.wrong


@pytest.mark.slow
def test_a_chinese_chapter_shows_the_code_output_and_figures_of_the_english_one(site):
    names = sorted(path.name for path in (site / "zh").glob("*.html"))
    assert len(names) == len([*(DOCS / "zh").glob("*.rst")])
    for name in names:
        chinese, english = ((site / folder / name).read_text(encoding="utf-8") for folder in ("zh", "course"))
        assert re.search('<html [^>]*lang="zh-CN"', chinese), name
        assert re.search('<html [^>]*lang="en"', english), name
        assert f'href="../course/{name}"' in chinese, name
        assert f'href="../zh/{name}"' in english, name
        assert figures_and_code(chinese) == figures_and_code(english), name
        summaries = [re.findall(r"<summary>.*?(\d+).*?</summary>", page) for page in (chinese, english)]
        assert summaries[0] == summaries[1], name
        assert "The code of the figure" not in chinese, name


def figures_and_code(page):
    """List the figures of a page, and its blocks of code and output without their colours and links."""
    shown = re.findall(r'src="[^"]*_images/[^"]+"|<div class="highlight-.*?</pre>', page, re.DOTALL)
    assert shown
    return [part if part.startswith("src") else html.unescape(re.sub("<[^>]*>", "", part)).split() for part in shown]


@pytest.mark.slow
def test_code_stands_beside_its_prose_or_below_it_on_a_phone(visit):
    for kind, width in WIDTHS.items():
        page = visit("source/minigrad/autograd/tape.html", width)
        prose, code = (page.query_selector_all(f".pair > .{side}")[1].bounding_box() for side in ("prose", "code"))
        if kind == "desktop":
            assert prose["x"] + prose["width"] < code["x"]
            assert code["width"] > 560
        else:
            assert prose["y"] + prose["height"] <= code["y"]
            assert code["width"] > 340
