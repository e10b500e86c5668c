"""What the tests of the readers share."""

import numpy as np
import pytest


@pytest.fixture
def movie():
    """Six frames of 40 x 50 pixels, 16 bits."""
    return np.random.default_rng(0).integers(0, 2**16, (6, 40, 50)).astype(np.uint16)


@pytest.fixture
def one_line():
    """Check that an error is one line that names the file."""

    def check(caught, name):
        message = str(caught.value)
        assert name in message
        assert "\n" not in message
        assert "Traceback" not in message

    return check
