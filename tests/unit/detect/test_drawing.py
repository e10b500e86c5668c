"""Atoms drawn in parts are those drawn at once."""

import numpy as np
import pytest

from napari_rvae.detect import drawing
from napari_rvae.detect.drawing import draw_atoms
from napari_rvae.render import render_gaussians


@pytest.mark.parametrize("form", [None, np.array([[1.2, 0.1], [0.1, 0.85]])])
def test_parts_make_the_whole(form, rng, monkeypatch):
    monkeypatch.setattr(drawing, "_ATOMS", 7)
    y, x = rng.uniform(-8, 68, (2, 50))
    height = rng.uniform(1, 2, 50)
    drawn = draw_atoms(y, x, height, 2.1, (60, 50), form=form)
    whole = render_gaussians(y, x, height, 2.1, (60, 50), form=form)
    np.testing.assert_allclose(drawn, whole, atol=1e-12)


def test_no_atoms_are_an_empty_picture():
    nothing = np.zeros(0)
    assert not draw_atoms(nothing, nothing, nothing, 2.0, (5, 4)).any()
