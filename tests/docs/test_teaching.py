"""The teacher's pages: every chapter has its lesson, a meeting has 90 minutes, the answers of the quizzes are right."""

import doctest
import importlib
import importlib.util
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
import models
from minigrad.device import windows

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
WEEKS = {path.stem: path.read_text(encoding="utf-8") for path in sorted((DOCS / "teaching").glob("week_*.md"))}
CHAPTERS = {int(path.stem[:2]) for path in (DOCS / "chapters").glob("[0-9]*.py")}
SECTIONS = {
    int(n): text
    for page in WEEKS.values()
    for n, text in re.findall(r"^## Chapter (\d+)\n(.*?)(?=^## |\Z)", page, re.M | re.S)
}


@pytest.fixture(scope="module")
def teaching():
    pytest.importorskip("sphinx_gallery")
    sys.path.insert(0, str(DOCS / "_ext"))
    try:
        yield importlib.import_module("teaching")
    finally:
        sys.path.remove(str(DOCS / "_ext"))


def test_every_chapter_has_a_lesson_that_needs_earlier_ones(teaching):
    lessons = teaching.lessons()
    numbers = [lesson.number for lesson in lessons]
    assert numbers == sorted(numbers) == list(SECTIONS)
    assert set(numbers) >= CHAPTERS
    for i, lesson in enumerate(lessons):
        assert set(lesson.needs) <= set(numbers[:i]), lesson


@pytest.mark.parametrize("number", SECTIONS)
def test_a_lesson_has_its_parts(number):
    text = SECTIONS[number]
    goals, live, wrong = (
        re.search(rf"\*\*{title}\*\*\n\n((?:[- ] .*\n)+)", text)[1].count("\n- ") + 1
        for title in ("Afterwards, a student can", "Show live", "What goes wrong")
    )
    assert goals >= 3
    assert live >= 1
    assert wrong >= 2
    (quiz,) = re.findall(r"^```\{quiz\}\n(.*?)^```", text, re.M | re.S)
    assert len(re.findall(r"^\S.*\n: \S", quiz, re.M)) == len(re.findall(r"^[^\s:]", quiz, re.M)) == 3


@pytest.mark.parametrize("week", WEEKS)
def test_a_meeting_has_90_minutes(week):
    meetings = re.findall(r"^\| Minutes \|.*\n\|.*\n((?:\|.*\n)+)", WEEKS[week], re.M)
    assert len(meetings) == 2
    for meeting in meetings:
        assert sum(int(minutes) for minutes in re.findall(r"^\| (\d+) \|", meeting, re.M)) == 90


def test_commands_shown_live_exist_and_were_timed(teaching):
    commands = teaching.commands()
    assert len(commands) > 20
    assert [*json.loads(teaching.TIMES.read_text())["seconds"]] == commands
    shown = {command for page in WEEKS.values() for command in re.findall(r"`(python (?:-m )?[^`]+)`", page)}
    assert shown > set(commands)
    for command in shown:
        _, *module, name = [part for part in command.split() if part not in ("--quick", "--check", "photo.jpg")]
        assert importlib.util.find_spec(name) if module else (ROOT / name).is_file(), command


# Slides --------------------------------------------------------------------------------------


def test_examples_run(teaching):
    assert doctest.testmod(teaching).failed == 0


def chapter(teaching, *parts):
    """Return a chapter of one section with these parts."""
    from docutils import nodes

    section = nodes.section("", nodes.title("", "The idea"), *parts, ids=["the-idea"])
    return nodes.section("", nodes.title("", "2. The tape"), nodes.paragraph("", "How?"), section, ids=["chapter-02"])


def test_a_slide_has_a_title_and_no_more_than_it_holds(teaching):
    from docutils import nodes

    figures = [nodes.figure("", nodes.image(uri=f"{i}.png", alt="a figure")) for i in range(2)]
    formula, text = nodes.math_block("", "x = 1"), nodes.paragraph("", "One thought. Another one.")
    opening, quiz, *rest = teaching.slides(chapter(teaching, text, formula, *figures), [nodes.title("", "Why?")])
    assert (opening.astext(), quiz.astext()) == ("2. The tape\n\nHow?", "Quiz\n\nWhy?")
    assert [slide[0].astext() for slide in rest] == ["The idea"] * 3
    assert [part.tagname for part in rest[0].children] == ["title", "paragraph", "math_block"]
    assert rest[0][1].astext() == "One thought."
    assert [slide[1].tagname for slide in rest[1:]] == ["figure", "figure"]
    assert len({slide["ids"][0] for slide in (opening, quiz, *rest)}) == 5


def test_a_section_of_text_is_a_list_of_first_sentences(teaching):
    from docutils import nodes

    texts = [nodes.paragraph("", f"Point {i}. More.") for i in range(6)]
    *_, slide = teaching.slides(chapter(teaching, *texts), [])
    assert [item.astext() for item in slide.findall(nodes.list_item)] == [f"Point {i}." for i in range(4)]


# Answers -------------------------------------------------------------------------------------


def cotangent_of_x():
    x = mg.Tensor(np.array(3.0), requires_grad=True)
    (x * x + x).backward()
    return x.grad.item()


def slope_of_bias():
    x, b = np.zeros((32, 10)), mg.Tensor(np.zeros(10), requires_grad=True)
    (x + b).backward(np.ones((32, 10)))
    return b.grad.data


def slopes_of_equal_scores():
    scores = mg.Tensor(np.zeros((1, 3)), requires_grad=True)
    return mg.grad(mg.cross_entropy(scores, [0]), scores)[0].data[0]


def running_mean():
    mean = np.zeros(1)
    for _ in range(2):
        x = np.array([[4.0], [6.0]])
        mg.batch_norm(x, np.ones(1), np.zeros(1), mean, np.ones(1), training=True)
    return mean[0]


def slope_under_ones():
    x = mg.Tensor(np.random.default_rng(0).standard_normal((4, 2, 2, 3)), requires_grad=True)
    y = mg.batch_norm(x, np.ones(3), np.zeros(3), np.zeros(3), np.ones(3), training=True)
    return abs(mg.grad(y, x, mg.Tensor(np.ones(y.shape)))[0].data).max()


def first_ratio():
    """Return |F(x)| / |x| of the first block of ResNet-20 before training, x being noise that the stem has seen."""
    net = models.cifar_resnet(20, rng=0)
    x = net.stem(mg.Tensor(np.random.default_rng(0).standard_normal((8, 32, 32, 3), dtype="float32")))
    block = net.layer1[0]
    residual = block.bn2(block.conv2(block.relu(block.bn1(block.conv1(x)))))
    return np.linalg.norm(residual.data) / np.linalg.norm(x.data)


def factor(eta_lambda, m):
    return max(abs(np.roots([1, -(1 + m - eta_lambda), m])))


def spread(*errors):
    return 100 * np.sqrt(sum(p * (1 - p) / 10_000 for p in errors))


IMAGE = np.zeros((1, 4, 4, 1))
VIEW = windows(IMAGE, (3, 3), (1, 1), (1, 1))
ONE, LARGE = np.float32(1), np.float32(2**24)

#: chapter -> pairs: what an answer says, and whether it is so.
ANSWERS = {
    0: [
        ("0.1² / 2 = 0.005. (The exact error is 0.00517.)", round(np.exp(0.1) - 1.1, 5) == 0.00517),
        ("400 and 0.04", (100 * 4, 100 * 4 / 100**2) == (400, 0.04)),
    ],
    1: [("Divided by 0.1, this is 26.99", np.isclose(((3 + 0.1j) ** 3).imag / 0.1, 26.99))],
    2: [
        (": 7, the sum", cotangent_of_x() == 7),
        ("2¹⁰ = 1,024 paths; the tape visits 11 numbers", (2**10, 10 + 1) == (1024, 11)),
    ],
    3: [
        (": (8, 7, 6, 5).", np.broadcast_shapes((8, 1, 6, 1), (7, 1, 5)) == (8, 7, 6, 5)),
        (": 32 in each of the ten entries", (slope_of_bias() == np.full(10, 32)).all()),
        ("The difference has the shape (60, 60)", (np.zeros((60, 1)) - np.zeros(60)).shape == (60, 60)),
    ],
    4: [
        ("-2/3, 1/3, 1/3", np.allclose(slopes_of_equal_scores(), [-2 / 3, 1 / 3, 1 / 3])),
        ("2 million", 2 * 1000 * 1000 == 2e6),
        ("1,001 million", 1000**3 + 1000**2 == 1001e6),
    ],
    5: [
        ("4 · 27 = 108, 12 · 9 = 108, and 24 · 3 = 72", (4 * 3**3, 12 * 3**2, 24 * 3) == (108, 108, 72)),
        ("10¹² entries, 4 · 10¹² bytes", (10**6) ** 2 * np.float32().nbytes == 4 * 10**12),
    ],
    6: [
        ("log₂(4 / 2) = 1", np.log2(4 / 2) == 1),
        (": One half, and 0.", np.isclose((mg.relu(np.array(1e-5)) - mg.relu(np.array(-1e-5))) / 2e-5, 0.5)),
    ],
    7: [
        (
            "3,072 · 16,384 = 50,331,648, and 3 · 3 · 3 · 16 = 432",
            32 * 32 * 3 * 32 * 32 * 16 == 3072 * 16384 == 50331648,
        )
    ],
    8: [
        (
            ": 4 by 4",
            mg.conv2d(np.zeros((1, 8, 8, 1)), np.zeros((3, 3, 1, 1)), stride=2, padding=1).shape[1:3] == (4, 4),
        ),
        (
            "(128, 32, 8, 8), and (128, 32, 8, 32, 8, 8)",
            (IMAGE.strides, VIEW.strides) == ((128, 32, 8, 8), (128, 32, 8, 32, 8, 8)),
        ),
        ("(1, 2, 2, 3, 3, 1)", VIEW.shape == (1, 2, 2, 3, 3, 1)),
    ],
    9: [
        ("= 4,608 operations. In blocks 4 · (16 + 16) = 128 bytes, so 36", 2 * 9 * 16 * 16 == 4608 == 36 * 128),
        ("= 1,280 bytes, so 3.6", 4 * (16 + 288 + 16) == 1280 and 4608 / 1280 == 3.6),
    ],
    10: [
        ("36 instead of 144, a quarter", (6 * 6, 4 * 4 * 9) == (36, 144)),
        ("1.06 and 0.30", [round(1 / 4 + 13 / c, 2) for c in (16, 256)] == [1.06, 0.3]),
        ("only 20 % of the products", round(100 * 8 * 8 / (6 * 6 * 9)) == 20),
    ],
    11: [(": 0. The sum", slope_under_ones() < 1e-12), (": 0.95:", np.isclose(running_mean(), 0.95))],
    12: [
        ("2 / 20 = 0.1", factor(2, 0) <= 1 < factor(2.01, 0)),
        ("2 · 1.9 / 20 = 0.19", factor(2 * 1.9 - 1e-9, 0.9) <= 1 < factor(2 * 1.9 + 0.01, 0.9)),
        ("0.1 / (1 - 0.9) = 1", np.isclose(0.1 * sum(0.9**k for k in range(1000)), 1)),
        ("99 / 101 = 0.980", round(abs(1 - 2 / 101 * 100), 3) == 0.980),
        ("9 / 11 = 0.818", round(factor((2 / 11) ** 2, (9 / 11) ** 2), 3) == 0.818),
    ],
    13: [
        (
            "√(2 / 784) = 0.0505, and √(2 / 576) = 0.0589",
            [round((2 / f) ** 0.5, 4) for f in (784, 9 * 64)] == [0.0505, 0.0589],
        ),
        ("about 9 · 10⁻¹⁶; and 2⁻²⁵, about 3 · 10⁻⁸", (f"{2**-50:.0e}", f"{2**-25:.0e}") == ("9e-16", "3e-08")),
    ],
    14: [("6 · 9 + 2 = 56", 6 * 9 + 2 == 56), ("36 identity layers into a trained plain-20", 20 + 36 == 56)],
    15: [
        ("2³ = 8, and 3", [bin(path).count("1") for path in range(8)].count(1) == 3),
        ("about √2 = 1.41", abs(first_ratio() - 2**0.5) < 0.05),
    ],
    16: [
        ("56² · 9 · 64 · 64 = 115,605,504", 56**2 * 9 * 64 * 64 == 115_605_504),
        ("= 69,632, and 2 · 9 · 64 · 64 = 73,728", (256 * 64 + 9 * 64**2 + 64 * 256, 18 * 64**2) == (69632, 73728)),
    ],
    17: [
        (
            "391, because the last batch is smaller; 163.7 epochs",
            (-(-50_000 // 128), round(64_000 / 391, 1)) == (391, 163.7),
        ),
        ("standard deviation of 0.37 points", round(spread(0.0751, 0.0717), 2) == 0.37),
        ("the difference is 0.34 points", round(7.51 - 7.17, 2) == 0.34),
    ],
    18: [
        (
            "(7, 7, 3, 64), by the axes (2, 3, 1, 0)",
            np.zeros((64, 3, 7, 7)).transpose(2, 3, 1, 0).shape == (7, 7, 3, 64),
        ),
        ("Four windows need 9 pixels", -(-8 // 2) == 4 and 2 * (4 - 1) + 3 == 9),
        ("2 / √16 = 0.5; the bias is 1 - 0.5 · 3 = -0.5", (2 / 16**0.5, 1 - 0.5 * 3) == (0.5, -0.5)),
    ],
    19: [
        (
            "√(100 / 4) = 5 blocks; 100 / 5 + 4 · 5 = 40 maps, instead of 400",
            min(range(1, 101), key=lambda k: 100 / k + 4 * k) == 5,
        )
    ],
    21: [
        (": 0 and 2.", ((LARGE + ONE) + ONE - LARGE, LARGE + (ONE + ONE) - LARGE) == (0, 2)),
        (": 3, and 2 · 3 = 6", np.log2(8) == 3),
    ],
}


@pytest.mark.parametrize("number", ANSWERS)
def test_the_answers_are_right(number):
    text = " ".join(SECTIONS[number].split())
    for said, right in ANSWERS[number]:
        assert said in text
        assert right, said
