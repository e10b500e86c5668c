"""Which layers a step can take; what is wrong with one of them, the library says."""

from __future__ import annotations

from typing import Any

from napari.layers import Image, Labels, Points, Shapes

__all__ = ["is_frames", "is_region", "is_sites", "kind_of", "made_from", "record_of"]

#: The same as in napari_rvae.layers, whose import takes longer than opening a widget may.
METADATA_KEY = "napari_rvae"


def record_of(layer: Any) -> dict[str, Any]:
    """What the library noted in a layer, nothing for None and for layers that are not ours."""
    found = {} if layer is None else layer.metadata.get(METADATA_KEY, {})
    return found if isinstance(found, dict) else {}


def kind_of(layer: Any) -> str:
    """What a layer of ours shows ("sites", "image", "manifold", ...), "" for any other."""
    return str(record_of(layer).get("kind", ""))


def is_frames(layer: Any) -> bool:
    """Whether a layer can be a movie: any image that is not one of our results."""
    return isinstance(layer, Image) and kind_of(layer) in ("", "image")


def is_region(layer: Any) -> bool:
    """Whether a layer can mark a region."""
    return isinstance(layer, (Shapes, Labels)) and kind_of(layer) == ""


def is_sites(layer: Any) -> bool:
    """Whether a layer can hold sites: ours, or points that the user has set."""
    return isinstance(layer, Points) and kind_of(layer) in ("", "sites")


def made_from(points: Any, image: Any) -> bool:
    """Whether a layer of sites says that it was made from an image, or from its file."""
    record = record_of(points)
    if not record:
        return False
    from napari_rvae.layers.read import frames_name

    if "image" in record:  # two movies may have the same name
        return bool(record["image"] == str(image.unique_id))
    return bool(record.get("frames") == frames_name(image))
