"""The Chinese pages: each translation is in step with its chapter, uses the glossary's terms, and can be searched."""

import importlib
import re
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
CHAPTERS = {path.stem: path for path in sorted((DOCS / "chapters").glob("*.py"))}
TRANSLATIONS = {path.stem: path for path in sorted((DOCS / "zh").glob("*.rst"))}

#: The numbers of the chapters without a translation.
ENGLISH_ONLY = {4, 5, 6, 7, 9, 10, 12, 13, 16, 17, 18, 19, 20, 21}

#: Glossary terms that are also everyday words, or that stay English.
EVERYDAY = {"error", "graph", "map", "net", "process", "ReLU", "rule", "step", "tensor", "tile", "transform"}


@pytest.fixture(scope="module")
def extension():
    pytest.importorskip("sphinx_gallery")
    sys.path.insert(0, str(DOCS / "_ext"))
    try:
        yield importlib.import_module("chinese")
    finally:
        sys.path.remove(str(DOCS / "_ext"))


@pytest.fixture(params=TRANSLATIONS)
def pairs(request, extension):
    """Return (the first line, English, Chinese) of every block of a translation."""
    english = extension.english(CHAPTERS[request.param])
    chinese = [block for _, block in extension.chinese(TRANSLATIONS[request.param])]
    return [(old.splitlines()[0], old, new) for old, new in zip(english, chinese, strict=True)]


def test_every_chapter_is_translated_or_listed():
    assert TRANSLATIONS.keys() <= CHAPTERS.keys(), "a translation is named like its chapter"
    without = {int(stem[:2]) for stem in CHAPTERS.keys() - TRANSLATIONS.keys()}
    assert without <= ENGLISH_ONLY
    assert not {int(stem[:2]) for stem in TRANSLATIONS} & ENGLISH_ONLY


@pytest.mark.parametrize("name", TRANSLATIONS)
def test_a_translation_is_of_the_english_text_as_it_is(extension, name):
    english = extension.english(CHAPTERS[name])
    expected = [f".. English {extension.digest(block)}" for block in english]
    found = [f".. English {digest}" for digest, _ in extension.chinese(TRANSLATIONS[name])]
    changed = [
        f"{line}   {block.splitlines()[0]}" for line, block in zip(expected, english, strict=True) if line not in found
    ]
    assert found == expected, "\n".join(
        [
            f"In docs/chapters/{name}.py these blocks of prose are new or have changed; git log -p shows how.",
            f"Adapt docs/zh/{name}.rst, and put this line above each block:",
            *changed,
        ]
    )


# What must be the same in both languages -----------------------------------------------------

#: A role with its target, a literal, or a directive with its argument, options and content.
ROLE = re.compile(r":([\w:]+):`(?:[^`<]*<)?([^`>]*)>?`")
LITERAL = re.compile(r"``(.+?)``", re.DOTALL)
DIRECTIVE = re.compile(r"^ *\.\. [\w-]+::.*\n?(?:(?: +\S.*)?\n)*?(?=\S|\Z)", re.MULTILINE)
CAPTION = re.compile(r"(\.\. figure::.*\n(?: +:.*\n)*\n) +")  # a directive whose content is prose

#: 1,000; 28.54; 1e-5; 25 million or 2500 万. A digit in a name, like float64, is none.
NUMBER = re.compile(r"(?<![A-Za-z_\d.])(\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?)(?:\s*(thousand|million|billion|万|亿))?")
UNITS = {"": 1, "thousand": 1e3, "million": 1e6, "billion": 1e9, "万": 1e4, "亿": 1e8}


def markup(block):
    """Return the formulas, code, references and directives of a block, without the words in them."""
    block = CAPTION.sub(r"\1", block)
    found = [re.sub(r"\\text\{[^}]*\}|^ *:alt:.*$", "", d, flags=re.MULTILINE) for d in DIRECTIVE.findall(block)]
    rest = DIRECTIVE.sub("", block)
    found += [f"{kind} {target}" for kind, target in ROLE.findall(rest)]
    found += LITERAL.findall(ROLE.sub("", rest))
    return sorted(" ".join(entry.split()) for entry in found)


def prose(block):
    """Return a block without its formulas, code, references and directives."""
    return LITERAL.sub("", ROLE.sub("", DIRECTIVE.sub("", CAPTION.sub(r"\1", block))))


def numbers(block):
    """Return the numbers of the prose of a block."""
    found = NUMBER.findall(prose(block))
    return sorted(round(float(digits.replace(",", "")) * UNITS[unit], 12) for digits, unit in found)


def test_formulas_code_and_references_are_the_same(pairs):
    for title, english, chinese in pairs:
        assert markup(chinese) == markup(english), title


def test_numbers_are_the_same(pairs):
    for title, english, chinese in pairs:
        assert numbers(chinese) == numbers(english), title


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("25 million of 1,437 images, 28.54 %", [25e6, 1437, 28.54]),
        ("第 14 章：1437 幅图像中的 2500 万个，占 28.54%", [14, 25e6, 1437, 28.54]),
        ("float64, ``3``, :math:`x^2`, a 3x3 kernel, 1e-5", [3, 1e-5]),
        ("text\n\n.. math::\n    x = 7\n\n    + 8\n\n1. item 2", [1, 2]),
    ],
)
def test_which_numbers_count(block, expected):
    assert numbers(block) == sorted(expected)


# Chinese -------------------------------------------------------------------------------------


def glossary():
    """Yield (English, Chinese) for every term of the glossary that has a Chinese word."""
    for line in re.findall(r"^(\w.*)\n  \w", (DOCS / "glossary.md").read_text(encoding="utf-8"), re.MULTILINE):
        words = re.match(r"([\x00-\x7f]+?) ?([^\x00-\x7f].*)", line)
        if words:
            for old, new in zip(words[1].split(", "), re.split("，", words[2]), strict=False):
                yield old.strip(), re.sub("（.*?）", "", new)


def test_the_terms_are_those_of_the_glossary(pairs):
    terms = {old: new for old, new in glossary() if old not in EVERYDAY}
    assert terms["cotangent"] == "余切向量"
    for title, english, chinese in pairs:
        text = re.sub(r'"[^"]*"', "", prose(english))  # titles of papers stay English
        for old, new in terms.items():
            if re.search(rf"\b{re.escape(old)}s?\b", text, re.IGNORECASE):
                assert new in chinese, f"{title}: {old} is {new} in docs/glossary.md"


def test_punctuation_between_chinese_characters_is_chinese(pairs):
    for title, _, chinese in pairs:
        assert re.findall(r"[\u3400-\u9fff] ?[,;:?!][^`]", prose(chinese)) == [], title


# The page ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TRANSLATIONS)
def test_a_page_has_the_code_the_output_and_the_figures_of_the_chapter(extension, name):
    from sphinx_gallery.gen_rst import rst_blocks
    from sphinx_gallery.py_source_parser import split_code_and_text_blocks

    _, blocks = split_code_and_text_blocks(CHAPTERS[name])
    outputs = [f".. image-sg:: /course/images/{i}.png\n\n" for i, _ in enumerate(blocks)]
    page = ".. _a label\n\n" + rst_blocks(blocks, outputs, {}, {"line_numbers": False}) + "\n.. _sphx_glr_download:\n"
    chinese = [block for _, block in extension.chinese(TRANSLATIONS[name])]
    shown = extension.joined(page, extension.english(CHAPTERS[name]), chinese)
    for block in extension.english(CHAPTERS[name]):
        page = page.replace(block, "")
    for block in chinese:
        assert block in shown
        shown = shown.replace(block, "")
    assert ".. code-block:: python" in shown
    assert shown.split() == page.removeprefix(".. _a label").removesuffix(".. _sphx_glr_download:\n").split()


def test_a_page_needs_every_block(extension):
    from sphinx.errors import ExtensionError

    assert extension.joined("head One. code Two. end", ["One.", "Two."], ["一。", "二。"]) == "一。 code 二。 end"
    with pytest.raises(ExtensionError, match="expected 2 blocks of Chinese prose, got 1"):
        extension.joined("One. Two.", ["One.", "Two."], ["一。"])
    with pytest.raises(ExtensionError, match=r"not on the page of the chapter: Two\."):
        extension.joined("One.", ["One.", "Two."], ["一。", "二。"])


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("一行。\n二行", "一行。二行"),
        ("一行\n二行", "一行二行"),
        ("一行。\nReLU", "一行。ReLU"),
        ("一行\nReLU", "一行\nReLU"),
        ("ReLU\n（一行）", "ReLU（一行）"),
        ("one\ntwo", "one\ntwo"),
    ],
)
def test_which_line_ends_are_removed(extension, source, expected):
    assert extension.LINE_END.sub("", source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("叫做 **磁带** 的表", r"叫做\ **磁带**\ 的表"),
        ("在 :doc:`第 1 章 </course/x>` 中", r"在\ :doc:`第 1 章 </course/x>`\ 中"),
        ("数 :math:`x` 与 **x** 和 ``x`` 中", "数 :math:`x` 与 **x** 和 ``x`` 中"),
    ],
)
def test_which_spaces_are_removed(extension, source, expected):
    assert extension.SPACE.sub(r"\\ ", source) == expected


def test_the_words_of_chinese_are_pairs(extension):
    words = extension.WordsAndPairs({})
    assert words.split("用 ReLU的残差学习，layer_1") == ["用", "ReLU", "的残", "残差", "差学", "学习", "layer_1"]
    assert words.stem("残差") == "残差"
    assert words.word_filter("残差")
    assert words.stem("networks") == "network"
