"""Sample data: made on the fly, so that nothing is downloaded or kept."""

from __future__ import annotations

from napari_rvae.layers import LayerTuple, image_layer
from napari_rvae.synthetic import simulate_graphene, simulate_perovskite

__all__ = ["graphene_movie", "perovskite_frame"]


def graphene_movie() -> list[LayerTuple]:
    """Simulate a movie of graphene with silicon, vacancies, two grains and a growing hole."""
    # silicon of both kinds is in it, and a model of it is trained on a laptop within minutes
    return [image_layer(simulate_graphene(n_frames=8, size=384).frames)]


def perovskite_frame() -> list[LayerTuple]:
    """Simulate a frame of a perovskite with two polar domains."""
    return [image_layer(simulate_perovskite(size=512).frames)]
