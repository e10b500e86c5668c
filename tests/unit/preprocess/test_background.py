import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_rvae.preprocess.background import slow_background


def exact(image, width):
    return ndimage.uniform_filter(ndimage.uniform_filter(image, width), width)


@pytest.mark.parametrize("width", [3, 9, 15])
def test_means_over_few_pixels_are_exact(width, rng):
    image = rng.normal(size=(50, 64))
    assert np.allclose(slow_background(image, width), exact(image, width))


@given(st.integers(0, 2**32 - 1), st.sampled_from([17, 29, 35, 61, 101]))
@settings(max_examples=30, deadline=None)
def test_wide_means_are_those_of_all_pixels_to_a_few_hundredths(seed, width):
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(int(rng.integers(100, 200)), int(rng.integers(100, 200))))
    off = slow_background(image, width) - exact(image, width)
    # 1 is the noise; a picture is mirrored some pixels from its edge
    assert np.std(off) < 0.012
    assert np.std(off[25:-25, 25:-25]) < 0.006


@pytest.mark.parametrize("width", [17, 35, 61])
def test_a_slope_is_its_own_background(width):
    slope = np.zeros((130, 1)) + np.arange(211) / 10
    inner = np.s_[:, width:-width]
    assert np.allclose(slow_background(slope, width)[inner], slope[inner], atol=0.02)


def test_it_is_one_picture_for_any_unit_and_offset(rng):
    image = rng.normal(size=(90, 130))
    there = slow_background(3 * image - 7, 31)
    assert np.allclose(there, 3 * slow_background(image, 31) - 7)
