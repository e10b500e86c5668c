"""Which layers the widgets offer."""

import numpy as np
import pytest

pytest.importorskip("napari")

from napari.layers import Image, Labels, Points, Shapes

from napari_rvae import image_layer, manifold_layer, points_layer
from napari_rvae._napari import layer_kinds
from napari_rvae._napari.layer_kinds import is_frames, is_region, is_sites, kind_of
from napari_rvae.layers import METADATA_KEY


def _layer(kind, layer_tuple):
    data, options, _ = layer_tuple
    return kind(data, **options)


def test_key_is_that_of_the_library():
    assert layer_kinds.METADATA_KEY == METADATA_KEY


def test_an_image_can_be_frames_but_not_our_pictures(movie):
    assert is_frames(Image(np.zeros((16, 16))))
    assert is_frames(_layer(Image, image_layer(movie)))
    assert not is_frames(_layer(Image, manifold_layer(np.zeros((2, 2, 1, 8, 8)))))
    assert not is_frames(Labels(np.zeros((16, 16), int)))


def test_points_can_be_sites(movie, found):
    assert is_sites(Points(np.zeros((3, 2))))
    ours = _layer(Points, points_layer(found, movie))
    assert is_sites(ours)
    assert kind_of(ours) == "sites"
    assert not is_sites(Image(np.zeros((16, 16))))


def test_shapes_and_labels_can_be_a_region():
    assert is_region(Shapes())
    assert is_region(Labels(np.zeros((16, 16), int)))
    assert not is_region(Image(np.zeros((16, 16))))


def test_metadata_of_others_do_no_harm():
    assert kind_of(Image(np.zeros((16, 16)), metadata={METADATA_KEY: "something else"})) == ""
