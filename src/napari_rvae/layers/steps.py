"""What was done to a layer of sites, step by step, so that it can be done again.

``layer.metadata["napari_rvae"]["steps"]`` is a list of dictionaries that JSON can hold, in the
order of the work. ``step`` says which it was:

==========  ================================================================================
``detect``  ``config`` of :class:`~napari_rvae.DetectConfig`; ``region`` where it was only
            looked at in a part of the frames
``grid``    ``spacing`` of :func:`~napari_rvae.sample_grid` in pixels; ``region`` as above
``walls``   ``config`` of :class:`~napari_rvae.WallConfig`; ``region`` as above
``renew``   some frames were looked at again
``hand``    sites were set, moved or deleted by hand, or looked for again in some frames; saved runs
            have it, open layers note it elsewhere
``train``   ``crops`` and ``model``, the options of both; ``epochs`` that were done; ``stopped``
            where a hand ended it; ``device``
``apply``   a ``model`` from elsewhere, by its folder or its run's ("" where it was never
            saved); ``window``
``units``   ``config`` of :class:`~napari_rvae.UnitConfig`; ``crops``, whether they were looked at
``edit``    ``function`` that changed the units, and its ``arguments``
``ways``    ``config`` of :class:`~napari_rvae.PathwayConfig`; ``units``, the steps "units" and
            "edit" that the pathways rest on
==========  ================================================================================

``threads`` is how many threads computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from napari_rvae.layers.place import METADATA_KEY, record_of

__all__ = ["note_step", "note_units", "note_ways", "steps_of", "steps_to_save", "unit_steps"]

#: Steps that make latents, and those that make units.
_MODELS, _UNITS = ("train", "apply"), ("units", "edit")

#: What the metadata of a layer have where a hand was at work on its sites.
BY_HAND = ("edited", "deleted", "renewed")


def steps_of(layer: Any) -> list[dict[str, Any]]:
    """What was done to a layer of sites, in order; see this module.

    Parameters
    ----------
    layer
        Any layer; those that are not ours have no steps.

    Examples
    --------
    >>> from napari.layers import Points
    >>> from napari_rvae.layers.steps import note_step, steps_of
    >>> points = Points([[5, 5]])
    >>> note_step(points, "detect", config={"min_snr": 6.0})
    >>> steps_of(points)
    [{'step': 'detect', 'config': {'min_snr': 6.0}}]
    """
    return [dict(step) for step in record_of(layer).get("steps", ())]


def note_step(layer: Any, step: str, **values: Any) -> None:
    """Note a step in the metadata of a layer.

    A model that came before goes, unless units rest on it: what it said was replaced.

    Parameters
    ----------
    layer
        Layer of sites.
    step
        Which one.
    **values
        What it takes to do it again; None is left out.
    """
    record = layer.metadata.setdefault(METADATA_KEY, {})
    steps = steps_of(layer)
    if step in _MODELS and steps and steps[-1]["step"] in _MODELS:
        steps.pop()
    known = {key: value for key, value in values.items() if value is not None}
    record["steps"] = [*steps, {"step": step, **known}]


def note_units(layer: Any, units: list[dict[str, Any]]) -> None:
    """Note how the present units came about, in place of what was noted of earlier ones.

    Parameters
    ----------
    layer
        Layer of sites.
    units
        Steps "units" and "edit", in order.
    """
    record = layer.metadata.setdefault(METADATA_KEY, {})
    rest = [step for step in steps_of(layer) if step["step"] not in _UNITS]
    record["steps"] = [*rest, *units]


def unit_steps(steps: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return those of some steps that made or changed the units."""
    return [dict(step) for step in steps if step["step"] in _UNITS]


def note_ways(layer: Any, config: dict[str, Any]) -> None:
    """Note how the present pathways came about, in place of what was noted of earlier ones.

    Parameters
    ----------
    layer
        Layer of sites.
    config
        Options of :class:`~napari_rvae.PathwayConfig`.
    """
    record = layer.metadata.setdefault(METADATA_KEY, {})
    steps = [step for step in steps_of(layer) if step["step"] != "ways"]
    record["steps"] = [*steps, {"step": "ways", "config": config, "units": unit_steps(steps)}]


def steps_to_save(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Steps of a layer for a run, which tell of the work of a hand as a step of its own.

    Parameters
    ----------
    record
        What the metadata of the layer hold of ours.
    """
    steps = [dict(step) for step in record.get("steps", ())]
    if any(record.get(key) for key in BY_HAND) and all(step["step"] != "hand" for step in steps):
        steps.insert(min(1, len(steps)), {"step": "hand"})
    return steps
