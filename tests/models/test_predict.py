"""Views, ensembles and photos."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import minigrad as mg
from minigrad import nn
from minigrad.data.images import center_square, read_photo, resize
from models import cifar_resnet
from models.predict import predict, ten_crop

Image = pytest.importorskip("PIL.Image")


def tiny(seed, classes=5):
    """A net that takes images of any size, with dropout and batch norm: its modes can be told apart."""
    rng = np.random.default_rng(seed)
    layers = [nn.Conv2d(3, 4, 3, rng=rng), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(rng=rng), nn.GlobalAvgPool2d()]
    return nn.Sequential(*layers, nn.Linear(4, classes, rng=rng))


def images(*shape, seed=0):
    return 3 * np.random.default_rng(seed).standard_normal(shape).astype("float32")


def softmax(net, view):
    logits = net(mg.Tensor(view)).data.astype("float64")
    e = np.exp(logits - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


# predict -------------------------------------------------------------------------------------


def test_scores_are_averaged_after_the_softmax_over_nets_and_views_of_any_size():
    nets, views = [tiny(0), tiny(1), tiny(2)], [images(2, 8, 8, 3), images(2, 5, 9, 3, seed=1)]
    got = predict(nets, views)
    expected = np.mean([softmax(net.eval(), view) for net in nets for view in views], axis=0)
    assert_allclose(got, expected.astype("float32"), rtol=1e-5, strict=True)
    logits = np.mean([net(mg.Tensor(view)).data for net in nets for view in views], axis=0)
    assert abs(mg.softmax(logits) - got).max() > 1e-3  # a mean of logits is something else
    assert_allclose(predict(nets[0], views[0]), softmax(nets[0], views[0]).astype("float32"), rtol=1e-5, strict=True)


def test_the_scores_of_an_image_do_not_depend_on_its_neighbours():
    net, view = tiny(0), images(3, 8, 8, 3)
    assert_allclose(predict(net, view)[1:2], predict(net, view[1:2]), rtol=1e-6, strict=True)


def test_a_global_pool_makes_a_net_fully_convolutional():
    """On maps that repeat, the probabilities do not depend on the size; padding would show, so there is none."""
    net, tile = tiny(0), images(1, 4, 4, 3)
    net.layers[0] = nn.Conv2d(3, 4, 2, stride=2, rng=0)
    assert_allclose(predict(net, tile), predict(net, np.tile(tile, (1, 3, 5, 1))), rtol=1e-5, strict=True)


def test_modes_and_statistics_are_left_as_they_were_even_after_a_failure():
    net = tiny(0)
    net.layers[1].training = False  # frozen
    modes = [module.training for _, module in net.named_modules()]
    state = net.state_dict()
    predict(net, images(2, 8, 8, 3))
    assert [module.training for _, module in net.named_modules()] == modes
    with pytest.raises(ValueError, match="conv2d"):
        predict(net, images(2, 8, 8, 4))
    assert [module.training for _, module in net.named_modules()] == modes
    assert all(np.array_equal(array, state[name]) for name, array in net.state_dict().items())


def test_nothing_is_recorded():
    net, seen = tiny(0), []
    net.hook(lambda module, out: seen.append(out.requires_grad))
    predict(net, images(2, 8, 8, 3))
    assert seen == [False]


def test_folding_changes_no_prediction():
    net = cifar_resnet(8)
    view = images(2, 32, 32, 3)
    for _ in range(3):
        net(mg.Tensor(view))  # statistics that are not 0 and 1
    assert_allclose(predict(nn.fold_batch_norm(net), view), predict(net, view), rtol=1e-4, atol=1e-6, strict=True)


@pytest.mark.parametrize(
    ("nets", "views", "error", "said"),
    [
        ([], [images(1, 8, 8, 3)], ValueError, "0 nets"),
        ([tiny(0)], [], ValueError, r"\(none\)"),
        ([tiny(0)], [images(1, 8, 8, 3), images(2, 8, 8, 3)], ValueError, "the same n images"),
        ([tiny(0)], images(8, 8, 3), ValueError, r"\(8, 8, 3\)"),
        ([tiny(0)], images(1, 8, 8, 3).astype("uint8"), TypeError, "preprocessed as the nets expect, got uint8"),
        ([tiny(0)], [mg.Tensor(images(1, 8, 8, 3))], TypeError, "got Tensor"),
        ([tiny(0), tiny(1, classes=1)], images(1, 8, 8, 3), ValueError, r"same classes.*\(1, 5\) and \(1, 1\)"),
        ([tiny(0)], images(1, 8, 8, 3).astype("float64"), TypeError, "float32"),
    ],
)
def test_what_cannot_be_averaged_is_explained(nets, views, error, said):
    with pytest.raises(error, match=said):
        predict(nets, views)


# Views ---------------------------------------------------------------------------------------


def test_ten_crop():
    x = images(2, 7, 9, 3)
    views = ten_crop(x, 4)
    assert len(views) == 10
    assert all(view.shape == (2, 4, 4, 3) for view in views)
    expected = [x[:, 1:5, 2:6], x[:, :4, :4], x[:, :4, 5:], x[:, 3:, :4], x[:, 3:, 5:]]
    for view, mirrored, crop in zip(views[:5], views[5:], expected, strict=True):
        assert_array_equal(view, crop)
        assert_array_equal(mirrored, np.flip(crop, axis=2))
    assert all((view == x[:, :4, :4]).all() for view in ten_crop(x[:, :4, :4], 4)[:5])
    for wrong in (x[:, :3], x[0], x[:, :, :3]):
        with pytest.raises(ValueError, match="ten_crop: expected images"):
            ten_crop(wrong, 4)
    with pytest.raises(ValueError, match="size=0"):
        ten_crop(x, 0)


def test_resize_keeps_the_shape_and_smooths():
    photo = np.zeros((40, 60, 3), np.uint8)
    photo[:, ::2] = 200
    small = resize(photo, 10)
    assert small.shape == (10, 15, 3)
    assert abs(small.astype(int) - 100).max() < 30  # stripes become grey, and do not alias
    assert resize(photo, 80).shape == (80, 120, 3)
    assert_array_equal(resize(photo, 40), photo)
    assert resize(photo.transpose(1, 0, 2), 10).shape == (15, 10, 3)
    assert resize(np.zeros((1, 20, 3), np.uint8), 3).shape == (3, 60, 3)


def test_the_long_side_becomes_the_nearest_number_of_pixels():
    """Within half a pixel of the exact length, for wide and for tall photos, and where both sides are short."""
    for long in range(7, 60):
        for short, wanted in ((7, 3), (7, 5), (7, 10), (6, 7), (3, 7), (7, 1)):
            for shape in ((short, long, 3), (long, short, 3)):
                height, width, _ = resize(np.zeros(shape, np.uint8), wanted).shape
                assert min(height, width) == wanted
                assert (height > width) == (shape[0] > shape[1] and max(height, width) > wanted)
                assert abs(2 * (max(height, width) * short - long * wanted)) <= short


@pytest.mark.parametrize(
    ("shape", "dtype", "short_side"),
    [
        ((1, 21, 3), "uint8", 4),
        ((4, 4, 3), "float32", 4),
        ((4, 4), "uint8", 4),
        ((4, 4, 4), "uint8", 4),
        ((4, 4, 3), "uint8", 0),
        ((0, 4, 3), "uint8", 4),
        ((0, 0, 3), "uint8", 4),
    ],
)
def test_what_cannot_be_resized_is_explained(shape, dtype, short_side):
    with pytest.raises(ValueError, match="resize: expected a photo"):
        resize(np.zeros(shape, dtype), short_side)


def test_center_square():
    photo = np.arange(4 * 7 * 3, dtype=np.uint8).reshape(4, 7, 3)
    assert_array_equal(center_square(photo), photo[:, 1:5])
    assert_array_equal(center_square(photo.transpose(1, 0, 2)), photo.transpose(1, 0, 2)[1:5])


# Photos --------------------------------------------------------------------------------------

RED, GREY = (255, 0, 0), (200, 200, 200)


def palette():
    picture = Image.new("P", (3, 2), 1)
    picture.putpalette([0, 0, 0, *RED])
    return picture


@pytest.mark.parametrize(
    ("picture", "suffix", "save", "expected"),
    [
        (Image.new("RGB", (3, 2), RED), "png", {}, RED),
        (Image.new("RGB", (3, 2), GREY), "jpg", {}, GREY),
        (Image.new("L", (3, 2), 200), "png", {}, GREY),
        (Image.new("L", (3, 2), 200), "jpg", {}, GREY),
        (Image.new("1", (3, 2), 1), "png", {}, (255, 255, 255)),
        (Image.new("I;16", (3, 2), 200 * 257), "png", {}, GREY),
        (Image.new("I;16", (3, 2), 200 * 257), "tif", {}, GREY),
        (Image.frombytes("I;16B", (3, 2), np.full(6, 200 * 257, ">u2").tobytes()), "tif", {}, GREY),
        (Image.new("I", (3, 2), 200 * 257), "tif", {}, GREY),
        (Image.new("LA", (3, 2), (200, 255)), "png", {}, GREY),
        (palette(), "png", {}, RED),
        (palette(), "png", {"transparency": 1}, (255, 255, 255)),
        (Image.new("RGBA", (3, 2), (*RED, 255)), "png", {}, RED),
        (Image.new("RGBA", (3, 2), (*RED, 0)), "png", {}, (255, 255, 255)),
        (Image.new("RGBA", (3, 2), (0, 0, 0, 51)), "png", {}, (204, 204, 204)),
        (Image.new("LA", (3, 2), (200, 0)), "png", {}, (255, 255, 255)),
        (Image.new("LA", (3, 2), (0, 51)), "png", {}, (204, 204, 204)),
        (Image.new("L", (3, 2), 200), "png", {"transparency": 200}, (255, 255, 255)),
        (Image.new("L", (3, 2), 200), "png", {"transparency": 201}, GREY),
        (Image.new("1", (3, 2), 0), "png", {"transparency": 0}, (255, 255, 255)),
        (Image.new("RGB", (3, 2), RED), "png", {"transparency": RED}, (255, 255, 255)),
        (Image.new("RGB", (3, 2), RED), "png", {"transparency": GREY}, RED),
        (palette(), "gif", {"transparency": 1}, (255, 255, 255)),
        (Image.new("CMYK", (3, 2), (0, 0, 0, 55)), "jpg", {}, GREY),
        (Image.new("RGB", (3, 2), RED), "gif", {}, RED),
    ],
)
def test_photos_of_all_kinds_are_read_as_rgb(picture, suffix, save, expected, tmp_path):
    path = tmp_path / f"photo.{suffix}"
    picture.save(path, **save)
    photo = read_photo(path)
    assert (photo.shape, photo.dtype) == ((2, 3, 3), np.uint8)
    assert abs(photo.astype(int) - expected).max() <= (suffix == "jpg")


def see_through(picture):
    """Make the black pixels of a picture transparent."""
    picture = picture.copy()
    picture.putalpha(picture.convert("L").point(lambda level: 255 if level else 0))
    return picture


def sixteen_bits(picture):
    return Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)


#: Kinds of pictures, as they are made of one in RGB; some have transparent pixels, by alpha or by a colour.
KINDS = {mode: (lambda picture, mode=mode: picture.convert(mode), {}) for mode in ("RGB", "L", "LA", "P", "RGBA")}
KINDS |= {f"{mode} with a key": (KINDS[mode][0], {"transparency": 0}) for mode in ("L", "P")}
KINDS |= {
    "RGB with a key": (lambda picture: picture, {"transparency": (0, 0, 0)}),
    "RGB with alpha": (see_through, {}),
    "grey with alpha": (lambda picture: see_through(picture).convert("LA"), {}),
    "16 bits": (sixteen_bits, {}),
    "16 bits with a key": (sixteen_bits, {"transparency": 0}),
}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_that_was_taken_sideways_is_turned(orientation, tmp_path):
    upright = np.zeros((2, 3, 3), np.uint8)
    upright[0, 0] = RED  # the corner tells all eight apart, with the shape
    stored = {  # what the sensor wrote, by the position of its first row and column: EXIF 2.3, tag 0x0112
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: upright.transpose(1, 0, 2)[::-1],
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: upright.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "photo.png", exif=exif)
    assert_array_equal(read_photo(tmp_path / "photo.png"), upright)
    for kind, (convert, save) in KINDS.items():
        for name, pixels, tag in (("turned", stored, {"exif": exif}), ("upright", upright, {})):
            convert(Image.fromarray(np.ascontiguousarray(pixels))).save(tmp_path / f"{name}.png", **save, **tag)
        turned, straight = (read_photo(tmp_path / f"{name}.png") for name in ("turned", "upright"))
        assert_array_equal(turned, straight, strict=True, err_msg=kind)
        assert (straight[0, 0] != straight[1, 1]).any()


def test_what_is_no_picture_is_named(tmp_path):
    Image.effect_noise((64, 64), 50).save(tmp_path / "whole.jpg")
    Image.effect_noise((64, 64), 50).save(tmp_path / "whole.png")
    jpeg, png = (tmp_path / "whole.jpg").read_bytes(), bytearray((tmp_path / "whole.png").read_bytes())
    png[len(png) // 2] ^= 255
    for name, content in {
        "empty.jpg": b"",
        "text.png": b"not a picture",
        "half.jpg": jpeg[: len(jpeg) // 2],
        "head.jpg": jpeg[:20],
        "flipped.png": bytes(png),
        "vector.jpg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"read_photo: .*{name} is not a picture that can be read"):
            read_photo(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_photo(tmp_path / "nowhere.jpg")
    with pytest.raises(OSError, match=str(tmp_path)):
        read_photo(tmp_path)


def test_a_picture_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch):
    Image.new("1", (100, 100)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ValueError, match=r"bomb\.png is not a picture that can be read"):
        read_photo(tmp_path / "bomb.png")
