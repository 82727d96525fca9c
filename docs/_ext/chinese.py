r"""The course in Chinese: prose from docs/zh/NN_name.rst; code, output and figures from the English chapter.

sphinx-gallery runs docs/chapters/NN_name.py once and writes docs/course/NN_name.rst. When Sphinx reads
docs/zh/NN_name.rst, it is given that page, with every English block of prose replaced by the Chinese one. So code is
never written twice.

A translation has a block for each block of prose of its chapter, in the same order: a line ``.. English 0a1b2c3d``,
then the Chinese text. The digits are a digest of the English block. tests/docs/test_chinese.py names the blocks whose
English text has changed since, and prints these lines for a chapter that is new.

A translation refers to chapters as the English text does (``/course/02_tape``); a chapter that has a Chinese page is
linked there. The pages of a chapter link each other, Chinese pages have ``lang="zh-CN"``, and the search finds Chinese.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.search.en import SearchEnglish
from sphinx_gallery.py_source_parser import split_code_and_text_blocks

#: Chinese characters, and the punctuation that takes the width of one.
HAN, WIDE = r"\u3400-\u9fff", r"\u2018-\u201d\u3000-\u303f\uff00-\uffef"

#: Line ends next to Chinese text, which a browser would show as spaces.
LINE_END = re.compile(rf"(?<=[{WIDE}])\n|\n(?=[{WIDE}])|(?<=[{HAN}])\n(?=[{HAN}])")

#: Spaces between Chinese and Chinese that is bold or a link. reST asks for them; readers should not see them.
SPACE = re.compile(rf"(?<=[{HAN}]) (?=(?:\*\*|:\w+:`)[{HAN}])|(?:(?<=[{HAN}{WIDE}]\*\*)|(?<=>`)) (?=[{HAN}])")


# A page --------------------------------------------------------------------------------------


def english(chapter: Path) -> list[str]:
    """Return the blocks of prose of a chapter."""
    _, blocks = split_code_and_text_blocks(chapter)
    return [block.content.strip() for block in blocks if block.type == "text"]


def digest(block: str) -> str:
    """Return eight digits that change with the words of a block, but not with its line ends."""
    return hashlib.sha256(" ".join(block.split()).encode()).hexdigest()[:8]


def chinese(translation: Path) -> list[tuple[str, str]]:
    """Return (digest of the English block, Chinese block) for every block of a translation."""
    _, *parts = re.split(r"^\.\. English (\w+)\n", translation.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [(old, block.strip()) for old, block in zip(parts[::2], parts[1::2], strict=True)]


def joined(page: str, english: list[str], chinese: list[str]) -> str:
    """Return sphinx-gallery's page of a chapter, with Chinese prose, without the page's header and footer."""
    if len(english) != len(chinese):
        raise ExtensionError(f"expected {len(english)} blocks of Chinese prose, got {len(chinese)}")
    body = []
    for old, new in zip(english, chinese, strict=True):
        before, found, page = page.partition(old)
        if not found:
            raise ExtensionError(f"not on the page of the chapter: {old}")
        body += [before, new]
    rest, _, _ = page.partition("\n.. _sphx_glr_download")
    return "".join([*body[1:], rest])


def read(app: Sphinx, docname: str, source: list[str]) -> None:
    """Give Sphinx the page of a chapter in Chinese, with links to chapters in Chinese where there are any."""
    folder, _, name = docname.partition("/")
    if folder != "zh" or not name:
        return
    root = Path(app.srcdir)
    chapter, page, translation = root / f"chapters/{name}.py", root / f"course/{name}.rst", root / f"zh/{name}.rst"
    for path in (chapter, page):
        app.env.note_dependency(str(path))
    blocks = [block for _, block in chinese(translation)]
    text = joined(page.read_text(encoding="utf-8"), english(chapter), blocks)
    for other in (root / "zh").glob("*.rst"):
        text = re.sub(rf"(?<=[<`])/course/{other.stem}\b", f"/zh/{other.stem}", text)
    source[0] = SPACE.sub(r"\\ ", text)


def finish(app: Sphinx, document: nodes.document) -> None:
    """Remove line ends from Chinese text, and link the two pages of a chapter."""
    docname = app.env.current_document.docname
    folder, _, name = docname.partition("/")
    if folder == "zh":
        for text in list(document.findall(nodes.Text)):
            if not isinstance(text.parent, nodes.FixedTextElement | nodes.literal | nodes.math | nodes.math_block):
                text.parent.replace(text, nodes.Text(without_line_ends(text)))
    if folder in ("course", "zh") and name and (Path(app.srcdir) / f"zh/{name}.rst").is_file():
        other, label = ("zh", "中文") if folder == "course" else ("course", "English")
        address = app.builder.get_relative_uri(docname, f"{other}/{name}")
        title = next(document.findall(nodes.title))
        link = nodes.paragraph("", "", nodes.reference("", label, internal=True, refuri=address), classes=["facts"])
        title.parent.insert(title.parent.index(title) + 1, link)


def without_line_ends(text: nodes.Text) -> str:
    """Return a piece of text without the line ends next to Chinese, also where they are its first or last character."""
    neighbours, place = text.parent.children, text.parent.index(text)
    before = neighbours[place - 1].astext()[-1:].strip() if place else ""
    after = neighbours[place + 1].astext()[:1].strip() if place + 1 < len(neighbours) else ""
    line = LINE_END.sub("", f"{before}{text.astext()}{after}")
    return line[len(before) : len(line) - len(after)]


def language(app: Sphinx, docname: str, template: str, context: dict[str, Any], document: nodes.document) -> None:
    """Tell browsers, screen readers and fonts which pages are Chinese."""
    if docname == "zh" or docname.startswith("zh/"):
        context["language"] = "zh-CN"


# Search --------------------------------------------------------------------------------------


class WordsAndPairs(SearchEnglish):
    """Sphinx's English search, which also finds Chinese: the words of a run of characters are its pairs of neighbours.

    Chinese has no spaces, and Sphinx would take the text between two commas for one word. Pairs need no dictionary, and
    a query of any length is found wherever all its pairs occur. The browser cuts the query in the same way.
    """

    js_splitter_code = f"""
var splitQuery = (query) => query
  .split(/[^\\p{{Letter}}\\p{{Number}}_\\p{{Emoji_Presentation}}]+/u)
  .flatMap((word) => word.match(/[{HAN}]+|[^{HAN}]+/g) ?? [])
  .flatMap((run) => /^[{HAN}]{{3}}/.test(run) ? Array.from(run.slice(1), (next, i) => run[i] + next) : [run]);
"""

    def split(self, input: str) -> list[str]:
        """Cut text into English words and pairs of Chinese characters."""
        runs = re.findall(rf"[{HAN}]+|[^\W{HAN}]+", input)
        return [part for run in runs for part in (pairs(run) if re.match(rf"[{HAN}]{{3}}", run) else [run])]


def pairs(run: str) -> list[str]:
    """Return all neighbouring characters of a run.

    >>> pairs("残差学习")
    ['残差', '差学', '学习']
    """
    return [run[i : i + 2] for i in range(len(run) - 1)]


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.add_search_language(WordsAndPairs)  # under the code of English, which is the site's language
    app.connect("source-read", read)
    app.connect("doctree-read", finish)
    app.connect("html-page-context", language)
    return {"parallel_read_safe": True}
