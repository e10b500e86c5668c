"""Sample data: made on the fly, so that nothing is downloaded or kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari_rvae.layers import METADATA_KEY, LayerTuple, image_layer
from napari_rvae.synthetic import (
    Simulation,
    simulate_graphene,
    simulate_perovskite,
    simulate_walls,
)

__all__ = ["graphene_movie", "perovskite_frame", "wall_movie"]


def graphene_movie() -> list[LayerTuple]:
    """Simulate a movie of graphene with silicon, vacancies, two grains and a growing hole."""
    # silicon of both kinds is in it, and a model of it is trained on a laptop within minutes
    return [_simulated(simulate_graphene, {"n_frames": 8, "size": 384})]


def perovskite_frame() -> list[LayerTuple]:
    """Simulate a frame of a perovskite with two polar domains."""
    return [_simulated(simulate_perovskite, {"size": 512})]


def wall_movie() -> list[LayerTuple]:
    """Simulate a movie of growing ferroelectric domains: amplitude, phase and height."""
    options: dict[str, Any] = {"n_frames": 20, "size": 192}
    frames = simulate_walls(**options).frames
    made = {"function": "simulate_walls", "options": options}
    shown = {"amplitude": True, "phase": False, "topography": False}
    layers = []
    for channel, visible in shown.items():
        data, look, kind = image_layer(frames, channel=channel)
        look["metadata"][METADATA_KEY]["simulation"] = made
        layers.append((data, {**look, "visible": visible}, kind))
    return layers


def _simulated(simulate: Callable[..., Simulation], options: dict[str, Any]) -> LayerTuple:
    """Layer of a simulation, which knows how it was made."""
    data, look, kind = image_layer(simulate(**options).frames)
    made = {"function": simulate.__name__, "options": options}
    look["metadata"][METADATA_KEY]["simulation"] = made
    return data, look, kind
