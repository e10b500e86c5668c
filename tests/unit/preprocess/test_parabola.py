"""The top of a parabola through three values."""

import numpy as np
import pytest

from napari_rvae.preprocess.parabola import top_offset


@pytest.mark.parametrize("top", [-0.5, -0.2, 0.0, 0.37, 0.5])
def test_the_top_of_a_parabola_is_found(top):
    below, at, above = (5 - 2 * (x - top) ** 2 for x in (-1.0, 0.0, 1.0))
    assert float(top_offset(below, at, above)) == pytest.approx(top)


def test_it_is_not_farther_than_half_a_sample_and_0_where_there_is_none():
    found = top_offset([0.0, 1.0, 3.0, np.nan], [1.0, 1.0, 1.0, 1.0], [1.9, 1.0, 3.0, 0.0])
    assert found.tolist() == [pytest.approx(0.5), 0.0, 0.0, 0.0]
