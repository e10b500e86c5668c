"""Sample data: made on the fly, so that nothing is downloaded or kept."""

from __future__ import annotations

from napari_rvae.layers import LayerTuple, image_layer
from napari_rvae.synthetic import simulate_graphene, simulate_perovskite, simulate_walls

__all__ = ["graphene_movie", "perovskite_frame", "wall_movie"]


def graphene_movie() -> list[LayerTuple]:
    """Simulate a movie of graphene with silicon, vacancies, two grains and a growing hole."""
    # silicon of both kinds is in it, and a model of it is trained on a laptop within minutes
    return [image_layer(simulate_graphene(n_frames=8, size=384).frames)]


def perovskite_frame() -> list[LayerTuple]:
    """Simulate a frame of a perovskite with two polar domains."""
    return [image_layer(simulate_perovskite(size=512).frames)]


def wall_movie() -> list[LayerTuple]:
    """Simulate a movie of growing ferroelectric domains: amplitude, phase and height."""
    frames = simulate_walls(n_frames=20, size=192).frames
    shown = {"amplitude": True, "phase": False, "topography": False}
    layers = []
    for channel, visible in shown.items():
        data, options, kind = image_layer(frames, channel=channel)
        layers.append((data, {**options, "visible": visible}, kind))
    return layers
