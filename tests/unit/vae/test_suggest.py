"""How many latents are suggested, by losses that are given."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from napari_rvae import Crops, suggest_n_latents
from napari_rvae.vae import suggest


@pytest.fixture
def trained(monkeypatch):
    """Stand-ins for trainings that end with a given held-out loss for each number of latents."""

    def with_losses(losses):
        def made(_config, *, device, n_latents, seed):
            found = losses[n_latents]
            found = found[seed] if isinstance(found, tuple) else found
            record = SimpleNamespace(held_out_loss=found)
            model = SimpleNamespace(history_=[record])
            return SimpleNamespace(fit=lambda _crops: model)

        monkeypatch.setattr(suggest, "RVAE", made)
        images = np.zeros((4, 1, 8, 8), np.float32)
        table = suggest_n_latents(Crops(images=images, site_id=np.arange(4)), numbers=[*losses])
        return table.loc[table["suggested"], "n_latents"].tolist()

    return with_losses


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ({1: 20.0, 2: 12.0, 3: 11.0, 4: 10.8}, 3),
        ({1: 20.0, 2: 19.8}, 1),
        ({1: 20.0, 2: 16.0, 4: 15.2, 6: 13.0}, 6),
        ({2: 169.3, 3: 166.2, 4: 169.9, 6: 160.1, 8: 159.5}, 6),
        ({3: (165.7, 133.5), 4: (165.8, 131.6), 6: (165.3, 129.1), 8: (167.4, 127.5)}, 6),
    ],
    ids=[
        "three are enough",
        "one is enough",
        "two steps pay together",
        "one training failed",
        "they pay at one edge only",
    ],
)
def test_as_many_latents_are_suggested_as_pay(trained, losses, expected):
    assert trained(losses) == [expected]
