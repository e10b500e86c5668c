"""Coloured sites as figures and movies, and categories that are switched off."""

import numpy as np
import pytest
from napari.components import ViewerModel
from PIL import Image

import napari_rvae as rvae
from napari_rvae.errors import Cancelled, InputError
from napari_rvae.layers import hidden_categories
from napari_rvae.tables import make_sites


@pytest.fixture
def layers():
    movie = rvae.Frames(
        np.random.default_rng(0).random((3, 40, 60)), scale=(1, 0.1, 0.1), units=("s", "nm", "nm")
    )
    sites = make_sites(
        frame=[0, 0, 1, 2], y=[5.0, 30.0, 5.0, 5.0], x=[5.0, 50.0, 5.0, 5.0], unit=[0, 1, 0, -1]
    ).assign(z0=[0.0, 1.0, 0.5, 0.2])
    made = rvae.image_layer(movie), rvae.points_layer(sites, movie, color_by="unit")
    return rvae.add_layers(ViewerModel(), *made)


def test_a_figure_has_the_size_that_was_asked_for(layers, tmp_path):
    image, points = layers
    file = rvae.save_frame_figure(points, image, tmp_path / "frame.png", width_mm=170, dpi=254)
    with Image.open(file) as picture:
        assert picture.width == 1700
        top = np.asarray(picture.convert("RGB"))[: round(1700 * 40 / 60)]
    # the sites of the frame stand where they are, in their own colours
    for y, x, row in ((5.0, 5.0, 0), (30.0, 50.0, 1)):
        at = top[round((y + 0.5) / 40 * len(top)), round((x + 0.5) / 60 * 1700)]
        assert np.allclose(at, 255 * np.asarray(points.face_color)[row][:3], atol=2)


@pytest.mark.parametrize("column", [None, "z0", "unit"])
@pytest.mark.parametrize("suffix", [".svg", ".pdf"])
def test_figures_are_drawings_too(layers, tmp_path, suffix, column):
    image, points = layers
    rvae.color_points(points, column)
    file = rvae.save_frame_figure(points, image, tmp_path / f"frame{suffix}", frame=1)
    assert file.stat().st_size > 1000
    content = file.read_bytes()
    assert b"<dc:date>" not in content  # an unchanged figure is the same file on another day
    assert b"CreationDate" not in content


def test_movies_have_a_picture_for_each_frame(layers, tmp_path):
    image, points = layers
    for name in ("movie.gif", "movie.tif"):
        with Image.open(rvae.save_movie(points, image, tmp_path / name, pixels=200)) as movie:
            assert movie.n_frames == 3
            assert movie.width == 200
    first = rvae.save_movie(points, image, tmp_path / "movie.png", frames=[0, 2], pixels=100)
    assert first.name == "movie-0000.png"
    assert (tmp_path / "movie-0002.png").exists()


def test_a_movie_that_is_stopped_leaves_nothing(layers, tmp_path):
    image, points = layers
    with pytest.raises(Cancelled):
        rvae.save_movie(points, image, tmp_path / "movie.gif", progress=lambda done, _: done < 1)
    assert not list(tmp_path.iterdir())


def test_wrong_wishes_are_one_line(layers, tmp_path):
    image, points = layers
    with pytest.raises(InputError, match="no frame 7"):
        rvae.frame_figure(points, image, frame=7)
    with pytest.raises(InputError, match="choose one of"):
        rvae.save_movie(points, image, tmp_path / "movie.mp4")
    (tmp_path / "frame.png").touch()
    with pytest.raises(InputError, match="already there"):
        rvae.save_frame_figure(points, image, tmp_path / "frame.png")
    with pytest.raises(InputError, match="no such folder"):
        rvae.save_movie(points, image, tmp_path / "nowhere" / "movie.gif")


def test_a_folder_that_takes_no_file_is_one_line(layers, tmp_path, monkeypatch):
    def refuse(*_arguments):
        raise PermissionError(13, "Permission denied", ".frame.png.1234.tmp")

    image, points = layers
    monkeypatch.setattr("napari_rvae.io.files.write_atomic", refuse)
    with pytest.raises(InputError, match=r"frame\.png cannot be written \(Permission denied\)"):
        rvae.save_frame_figure(points, image, tmp_path / "frame.png")


def test_categories_are_switched_off_and_on(layers):
    _, points = layers
    assert rvae.hide_categories(points, [0, None]) == 3
    assert points.shown.tolist() == [False, True, False, False]
    assert hidden_categories(points) == [0, None]
    assert rvae.hide_categories(points, []) == 0
    assert points.shown.all()
    with pytest.raises(InputError, match="holds numbers"):
        rvae.hide_categories(points, [0.5], column="z0")


def test_a_legend_of_long_names_fits_and_leaves_out_what_is_hidden(layers):
    image, points = layers
    names = {0: "three neighbours, distorted (2)", 1: "bright, with four neighbours"}
    rvae.color_points(points, "unit", categories=names)
    figure = rvae.frame_figure(points, image)
    (legend,) = figure.legends
    figure.canvas.draw()
    box = legend.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
    assert [text.get_text() for text in legend.get_texts()] == [
        "three neighbours, distorted (2) (1)",
        "bright, with four neighbours (1)",
    ]
    rvae.hide_categories(points, [0])
    (legend,) = rvae.frame_figure(points, image).legends
    assert [text.get_text() for text in legend.get_texts()] == ["bright, with four neighbours (1)"]
