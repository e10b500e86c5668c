"""Adam without torch's compiler does what torch's Adam does."""

import subprocess
import sys

import torch

from napari_rvae.vae.optimiser import Adam

_FIT = """
import sys
import numpy as np
from napari_rvae import RVAE, Crops
images = np.random.default_rng(0).normal(size=(40, 1, 16, 16)).astype(np.float32)
RVAE(epochs=1, n_latents=1).fit(Crops(images=images, site_id=np.arange(40)))
print("torch" in sys.modules, "torch._dynamo" in sys.modules)
"""


def _steps(kind, n_steps, state=None):
    """Weights after some steps downhill, and the optimiser."""
    weight = torch.nn.Parameter(torch.linspace(-1, 2, 5))
    optimiser = kind([weight], lr=0.1, fused=True)
    if state is not None:
        optimiser.load_state_dict(state)
    for _ in range(n_steps):
        optimiser.zero_grad(set_to_none=True)
        (weight**4).sum().backward()
        optimiser.step()
    return weight.detach(), optimiser


def test_steps_and_states_are_those_of_torch():
    ours, optimiser = _steps(Adam, 7)
    theirs, known = _steps(torch.optim.Adam, 7)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    torch.testing.assert_close(optimiser.state_dict()["state"], known.state_dict()["state"])
    again, _ = _steps(Adam, 3, optimiser.state_dict())
    expected, _ = _steps(torch.optim.Adam, 3, known.state_dict())
    torch.testing.assert_close(again, expected, rtol=0, atol=0)


def test_a_training_does_not_load_the_compiler():
    done = subprocess.run(
        [sys.executable, "-c", _FIT], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.split() == ["True", "False"]
