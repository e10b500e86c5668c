"""Where an Image layer came from, in words that a script can be made of."""

from __future__ import annotations

from typing import Any

from napari_rvae.layers.channels import UNNAMED
from napari_rvae.layers.place import record_of

__all__ = ["SIMULATIONS", "image_origin", "reading"]

#: Functions that a sample movie can come from.
SIMULATIONS = ("simulate_graphene", "simulate_perovskite", "simulate_hopping", "simulate_walls")


def image_origin(layer: Any) -> dict[str, Any]:
    """What is known of where an Image layer came from, for JSON.

    Returns
    -------
    dict
        "name" of the layer and "channel" that it shows, and what there is of "simulation" (function
        and options), "response" (origins of amplitude and phase, and the options), "path".
    """
    record = record_of(layer)
    origin: dict[str, Any] = {"name": str(layer.name), "channel": str(record.get("channel", ""))}
    origin |= {key: record[key] for key in ("simulation", "response") if record.get(key)}
    path = getattr(getattr(layer, "source", None), "path", None)
    return origin | ({"path": str(path)} if path else {})


def reading(origin: dict[str, Any]) -> str:
    """Return the expression that reads it again; "" where nobody knows from where."""
    made, response = origin.get("simulation", {}), origin.get("response")
    if response:
        parts = [reading(part) for part in response["of"]]
        if not all(parts):
            return ""
        names = ("amplitude", "phase", *(part.get("as", "") for part in response["of"][2:]))
        if "as" in response["of"][0]:
            names = tuple(part["as"] for part in response["of"])
        scan = f"rvae.stack_channels([{', '.join(parts)}], {names!r})"
        options = "".join(f", {key}={response[key]!r}" for key in ("modality", "phase_unit"))
        return f"rvae.signed_response({scan}{options}).select_channel({origin['channel']!r})"
    if made.get("function") in SIMULATIONS:
        options = ", ".join(f"{key}={value!r}" for key, value in made["options"].items())
        text = f"rvae.{made['function']}({options}).frames"
    elif origin.get("path"):
        text = f"rvae.read_frames({origin['path']!r})"
    else:
        return ""
    channel = origin.get("channel", "")
    return text if channel in ("", UNNAMED) else f"{text}.select_channel({channel!r})"
