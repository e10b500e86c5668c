"""Layers that are drawn beside the points, one of each kind: maps, directions, decoded pictures."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from napari.layers import Layer

from napari_rvae._napari.layer_kinds import METADATA_KEY, kind_of, record_of

if TYPE_CHECKING:
    from napari_rvae.layers import LayerTuple

__all__ = ["draw_directions", "draw_map", "drawn_layer", "put_layer"]

#: The layer of each kind that was last drawn for a layer of sites (or, decoded pictures, for a
#: viewer), and the name it was given.
_DRAWN: weakref.WeakKeyDictionary[Any, dict[str, tuple[weakref.ref[Any], str]]] = (
    weakref.WeakKeyDictionary()
)


# ---------------------------------------------------------------------- layers of the sites
def draw_map(viewer: Any, sites: Any, image: Any, column: str, **look: Any) -> Any:
    """Draw a column as a picture over the image, as :func:`napari_rvae.map_layer` says.

    Parameters
    ----------
    viewer
        The viewer, or its model.
    sites
        Points layer of the sites.
    image
        Image layer that they lie on.
    column
        Column of their features.
    **look
        Options of :func:`napari_rvae.map_layer`.

    Returns
    -------
    Layer
        The new layer, or the one that showed these sites before.

    Raises
    ------
    InputError
        If the column cannot be drawn.
    """
    from napari_rvae.layers import frames_from_layer, map_layer, sites_from_layer
    from napari_rvae.layers.colours import known_categories, known_colours

    made = map_layer(
        sites_from_layer(sites, image),
        column,
        frames_from_layer(image),
        categories=known_categories(record_of(sites), column),
        colors=known_colours(record_of(sites), column),
        **look,
    )
    return put_layer(viewer, sites, image, made)


def draw_directions(viewer: Any, sites: Any, image: Any, column: str, symmetry: int) -> Any:
    """Draw a column of angles as arms, as :func:`napari_rvae.vectors_layer` says.

    Parameters
    ----------
    viewer
        The viewer, or its model.
    sites
        Points layer of the sites.
    image
        Image layer that they lie on; None draws them in pixels.
    column
        Column of angles.
    symmetry
        Number of arms.

    Returns
    -------
    Layer
        The new layer, or the one that showed these sites before.

    Raises
    ------
    InputError
        If there is no such column.
    """
    from napari_rvae.layers import frames_from_layer, sites_from_layer, vectors_layer

    frames = None if image is None else frames_from_layer(image)
    made = vectors_layer(sites_from_layer(sites, image), frames, column=column, symmetry=symmetry)
    return put_layer(viewer, sites, image, made)


def drawn_layer(viewer: Any, owner: Any, kind: str) -> Any:
    """Layer of a kind that was drawn before, or None.

    Parameters
    ----------
    viewer
        The viewer, or its model.
    owner
        Points layer whose "map" or "directions" it is; the viewer for its "manifold".
    kind
        Which one.
    """
    known = _DRAWN.get(owner, {}).get(kind)
    layer = known[0]() if known else None
    if layer is not None and any(layer is there for there in viewer.layers):
        return layer
    run = None if owner is viewer else record_of(owner).get("run")
    if run is None:
        return None
    # a run that was opened brings its own
    taken = {id(made[0]()) for drawn in _DRAWN.values() for made in drawn.values()}
    source = record_of(owner).get("source")
    for layer in viewer.layers:
        record = record_of(layer)
        same = record.get("run") == run and record.get("source") == source
        if kind_of(layer) == kind and same and id(layer) not in taken:
            return layer
    return None


def put_layer(viewer: Any, owner: Any, image: Any, made: LayerTuple) -> Any:
    """Add a layer just above the image, or put it in the place of the one of its kind.

    Parameters
    ----------
    viewer
        The viewer, or its model.
    owner
        What the layer belongs to, see :func:`drawn_layer`.
    image
        Image layer; None puts the layer lowest.
    made
        The layer as data, options and kind.

    Returns
    -------
    Layer
        The layer in the viewer. It has the name, opacity and blending that the user gave the one
        before. (napari's layers cannot take other data, colours and features in one step: drawn
        in between, they raise.)
    """
    data, options, form = made
    kind = options["metadata"][METADATA_KEY]["kind"]
    before = drawn_layer(viewer, owner, kind)
    # seen only in its place: napari would draw its first frame now and the viewer's frame later
    layer = Layer.create(data, {**options, "visible": False}, form)
    selected = set(viewer.layers.selection)
    own_name = False
    if before is None:
        below = [item for item in (image, drawn_layer(viewer, owner, "map")) if item is not None]
        places = [viewer.layers.index(item) for item in below if item in viewer.layers]
        place = max(places, default=-1) + 1
    else:
        known = _DRAWN.get(owner, {}).get(kind)
        own_name = known is not None and before.name != known[1]
        if own_name:
            layer.name = before.name
        layer.opacity, layer.blending = before.opacity, before.blending
        selected = {layer if item is before else item for item in selected}
        place = viewer.layers.index(before)
        viewer.layers.remove(before)
    viewer.layers.insert(place, layer)
    layer.visible = True
    viewer.layers.selection = selected  # the user goes on with what is at hand
    _DRAWN.setdefault(owner, {})[kind] = (weakref.ref(layer), "" if own_name else layer.name)
    return layer
