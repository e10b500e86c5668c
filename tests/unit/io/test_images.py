import numpy as np
import pytest
from PIL import Image

from napari_rvae.errors import InputError, ReadError
from napari_rvae.io import images, read_frames


def _save(path, array, mode=None):
    Image.fromarray(array).convert(mode).save(path) if mode else Image.fromarray(array).save(path)
    return path


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".PNG"])
def test_8_bit_images_are_exact(tmp_path, movie, suffix):
    grey = (movie[0] >> 8).astype(np.uint8)
    frames = read_frames(_save(tmp_path / f"a{suffix}", grey))
    assert frames.axis_labels == ("y", "x")
    assert frames.dtype == np.uint8
    assert frames.name == f"a{suffix}"
    assert frames.metadata == {"path_name": f"a{suffix}", "format": suffix[1:].lower()}
    np.testing.assert_array_equal(frames.data, grey)


def test_16_bit_and_1_bit_png_are_exact(tmp_path, movie):
    frames = read_frames(_save(tmp_path / "a.png", movie[0]))
    assert frames.dtype == np.uint16
    np.testing.assert_array_equal(frames.data, movie[0])
    frames = read_frames(_save(tmp_path / "b.png", movie[0] > 2**15))
    assert frames.dtype == bool
    np.testing.assert_array_equal(frames.data, movie[0] > 2**15)


def test_jpeg_is_read(tmp_path):
    ramp = np.tile(np.arange(0, 64, dtype=np.uint8), (48, 1))
    frames = read_frames(_save(tmp_path / "a.jpeg", ramp))
    assert frames.metadata["format"] == "jpg"
    assert np.abs(np.asarray(frames.data, float) - ramp).max() < 5


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_colour_images_of_equal_channels_are_grey(tmp_path, movie, mode):
    grey = (movie[0] >> 8).astype(np.uint8)
    frames = read_frames(_save(tmp_path / "a.png", grey, mode))
    assert frames.dtype == np.uint8
    np.testing.assert_array_equal(frames.data, grey)


def test_colours_are_refused(tmp_path, movie, one_line):
    colours = np.stack([movie[i] >> 8 for i in range(3)], -1).astype(np.uint8)
    for name in ("rgb.png", "rgb.bmp", "rgb.jpg"):
        with pytest.raises(ReadError, match="convert it to greyscale") as caught:
            read_frames(_save(tmp_path / name, colours))
        one_line(caught, name)
    with pytest.raises(ReadError, match="convert it to greyscale"):
        read_frames(_save(tmp_path / "cmyk.jpg", colours, "CMYK"))


def test_partly_transparent_images_are_refused(tmp_path, movie):
    values = np.stack([movie[0] >> 8, movie[1] >> 8], -1).astype(np.uint8)
    bands = [Image.fromarray(values[..., i]) for i in range(2)]
    Image.merge("LA", bands).save(tmp_path / "a.png")
    with pytest.raises(ReadError, match="transparent"):
        read_frames(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_cut_images_are_one_line(tmp_path, movie, one_line, suffix, share):
    path = _save(tmp_path / f"a.{suffix}", (movie[0] >> 8).astype(np.uint8))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ReadError) as caught:
        read_frames(path)
    one_line(caught, path.name)


def test_other_content_is_no_image(tmp_path, one_line):
    path = tmp_path / "a.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n" * 9)
    with pytest.raises(ReadError, match="no PNG") as caught:
        read_frames(path)
    one_line(caught, "a.png")


def test_animated_images_are_refused(tmp_path):
    pictures = [Image.fromarray(np.full((16, 16), i, np.uint8)) for i in (0, 99)]
    pictures[0].save(tmp_path / "a.png", save_all=True, append_images=pictures[1:])
    with pytest.raises(ReadError, match="animated"):
        read_frames(tmp_path / "a.png")


def test_deep_colours_are_refused_not_rounded(tmp_path, movie, monkeypatch):
    path = _save(tmp_path / "a.png", (movie[0] >> 8).astype(np.uint8), "RGB")
    opened = images._open

    def deep(path):
        image = opened(path)
        image.tile = [(*tile[:3], "RGB;16B") for tile in image.tile]
        image.load = lambda: None
        image._im = Image.new("RGB", image.size).im
        return image

    monkeypatch.setattr(images, "_open", deep)
    with pytest.raises(ReadError, match="16-bit"):
        read_frames(path)


def test_tiny_images_name_the_file(tmp_path, one_line):
    with pytest.raises(InputError, match="too small") as caught:
        read_frames(_save(tmp_path / "a.png", np.zeros((4, 40), np.uint8)))
    one_line(caught, "a.png")


def test_channel_of_an_image(tmp_path, one_line):
    path = _save(tmp_path / "a.png", np.zeros((40, 40), np.uint8))
    assert read_frames(path, channel=0).shape == (40, 40)
    with pytest.raises(InputError, match="no channel") as caught:
        read_frames(path, channel="phase")
    one_line(caught, "a.png")
