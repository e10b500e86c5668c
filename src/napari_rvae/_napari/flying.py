"""Go to a site: its frame, its place in the middle of the canvas, near enough to be seen."""

from __future__ import annotations

from typing import Any

__all__ = ["fly_to_site"]

#: Neighbours are at least so many pixels of the screen apart after a flight.
_APART = 40.0


def fly_to_site(viewer: Any, layer: Any, site_id: int) -> bool:
    """Show a site and select it.

    Parameters
    ----------
    viewer
        The viewer, or its model.
    layer
        Points layer that holds it.
    site_id
        Its number.

    Returns
    -------
    bool
        Whether the layer still holds it.
    """
    from napari_rvae.layers.units import rows_of_sites

    rows = rows_of_sites(layer, [site_id])
    if not rows.size:
        return False
    row = int(rows[0])
    place = layer.data_to_world(layer.data[row])
    for axis in range(layer.ndim - 2):
        viewer.dims.set_point(viewer.dims.ndim - layer.ndim + axis, place[axis])
    camera = viewer.scene.camera
    camera.center = (*camera.center[:-2], *place[-2:])
    # a point is drawn about half a neighbour distance wide
    wide = 2 * float(layer.size[row]) * float(layer.scale[-1])
    if wide > 0:
        camera.zoom = max(camera.zoom, _APART / wide)
    viewer.layers.selection.active = layer
    layer.selected_data = {row}
    return True
