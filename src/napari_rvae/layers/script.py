"""Layers -> a Python script that does the same analysis again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

import napari_rvae
from napari_rvae import config, tables
from napari_rvae.errors import InputError
from napari_rvae.layers.origin import image_origin, reading
from napari_rvae.layers.place import record_of
from napari_rvae.layers.read import frames_from_layer, sites_from_layer
from napari_rvae.layers.steps import BY_HAND, steps_of, unit_steps
from napari_rvae.preprocess.wall_mask import measured_channels

if TYPE_CHECKING:
    from napari_rvae.frames import Frames

__all__ = ["analysis_script"]

#: Functions that change units.
_EDITS = ("merge_units", "split_unit", "rename_unit", "cut_units")

#: Columns of words that are no classes of the user's.
_OUR_WORDS = frozenset({"source", "kind", "species", "wall_type", "state_name"})

#: Columns of units that the layers carry.
_UNIT_COLUMNS = ("unit", "unit_probability", "environment", "environment_probability")

#: Columns of tracks and states that the layers carry.
_WAY_COLUMNS = ("lattice_track_id", "track_id", "state", "state_probability")

_LONGEST = 100

_HEAD = '''"""Analysis of {name!r}, as it was done in napari with napari-rvae {version}.

    python analysis.py [TABLE.csv]            writes the table of the sites
    python analysis.py [TABLE.csv] --view     shows them in napari, too{more}
"""

import sys
from dataclasses import replace

import napari_rvae as rvae
from napari_rvae.device import limit_threads
'''

_MORE = """
    python analysis.py TABLE.csv FOLDER       writes the tables and figures of the pathways, too"""


def analysis_script(layer: Any, image: Any = None, *, movie: str | None = None) -> str:
    """Write a Python script that does the analysis of a layer of sites again.

    The script reads the movie, does every step with the options that it was done with, and writes
    the table of the sites, as :func:`~napari_rvae.export_table` does. It needs no napari. On the
    same machine it gives the same table; on another one, numbers can differ in their last digits.

    Parameters
    ----------
    layer
        Points layer of sites: its metadata say what was done.
    image
        Image layer that they lie on, which knows its file; None where `movie` is enough.
    movie
        Path of the movie, for an image that was not opened from a file.

    Returns
    -------
    str
        The script, ready to be saved or pasted.

    Raises
    ------
    InputError
        If it is no layer of sites, or a step cannot be done again from what is known: sites that
        a hand has set, and models that were loaded, must have been saved first.

    Examples
    --------
    >>> import numpy as np
    >>> from napari.components import ViewerModel
    >>> from napari_rvae import add_layers, analysis_script, points_layer
    >>> from napari_rvae.layers.steps import note_step
    >>> from napari_rvae.tables import make_sites
    >>> (layer,) = add_layers(ViewerModel(), points_layer(make_sites(frame=0, y=[1.0], x=[2.0])))
    >>> note_step(layer, "detect", config={"min_snr": 6.0})
    >>> script = analysis_script(layer, movie="movie.tif")
    >>> print(script[script.index("sites = ") :].splitlines()[0])
    sites = rvae.detect_atoms(frames, rvae.DetectConfig(min_snr=6.0))
    """
    sites = sites_from_layer(layer, image)
    steps = steps_of(layer)
    name = "the movie" if image is None else frames_from_layer(image).name or image.name
    threads = next((step["threads"] for step in steps if "threads" in step), None)
    ways = next((step for step in reversed(steps) if step["step"] == "ways"), None)
    more = "" if ways is None else _MORE
    head = _HEAD.format(name=name, version=napari_rvae.__version__, more=more).rstrip()
    body = [
        *_movie_lines(image, movie),
        *_sites_lines(layer, sites, steps),
        *_model_lines(steps),
        *_units_lines(steps, many=len(sites["frame"].unique()) > 1),
        *_way_lines(ways, steps),
        *_class_lines(sites),
        "return frames, sites" if ways is None else "return frames, sites, pathways",
    ]
    parts = [head, "", "", "def analyse():"]
    parts += [f"    {line}" if line else "" for line in body]
    end = _end_lines(layer, name, threads, ways=ways is not None)
    return "\n".join([*parts, "", "", *end, ""])


# ---------------------------------------------------------------------- the movie
def _movie_lines(image: Any, movie: str | None) -> Iterator[str]:
    """Read the movie, and give it the scale that the layer has."""
    if movie is None and image is None:
        raise InputError("There is no image: choose the movie that the sites lie on.")
    text = "" if image is None else reading(image_origin(image))
    if movie is not None:
        text = f"rvae.read_frames({str(movie)!r})"
    yield "# The movie."
    if text:
        yield f"frames = {text}"
    else:
        yield 'frames = rvae.read_frames("PATH OF THE MOVIE")  # it was not opened from a file'
    if image is not None:
        yield from _scale_lines(frames_from_layer(image))
    yield ""


def _scale_lines(frames: Frames) -> Iterator[str]:
    scale = tuple(float(step) for step in frames.scale)
    yield "frames = replace("
    yield f"    frames, name={frames.name!r}, scale={scale!r}, units={tuple(frames.units)!r}"
    yield ")"


# ---------------------------------------------------------------------- the sites
def _sites_lines(layer: Any, sites: pd.DataFrame, steps: list[dict[str, Any]]) -> Iterator[str]:
    """Find the sites again; where a hand was at work, take them from where they were saved."""
    record = record_of(layer)
    first = steps[0] if steps else {}
    again = first.get("step") in ("detect", "grid") and "region" not in first
    by_hand = any(record.get(key) for key in BY_HAND)
    by_hand |= any(step["step"] == "hand" for step in steps)
    if again and not by_hand:
        yield "# The sites."
        if first["step"] == "detect":
            options = _call("DetectConfig", first["config"])
            yield f"sites = rvae.detect_atoms(frames{f', {options}' if options else ''})"
        else:
            yield f"sites = rvae.sample_grid(frames, step={first['spacing']!r})"
        yield ""
        return
    folder = record.get("saved", record.get("run"))
    _check_saved(folder, sites)
    yield "# The sites: a hand or a region had a part in them, so they are those that were saved."
    yield f"sites = rvae.load_run({str(folder)!r}).sites"
    if any(step["step"] in ("train", "apply") for step in steps):
        latents = tables.latent_names(sites)
        later = {*latents, *(f"{name}_sd" for name in latents), *tables.LATENT_COLUMNS}
        later |= {*_UNIT_COLUMNS}
        if any(step["step"] == "ways" for step in steps):
            later |= {*_WAY_COLUMNS}
        kept = [str(name) for name in sites if name not in later]
        yield f"sites = sites[{kept!r}]"
    yield ""


def _check_saved(folder: str | None, sites: pd.DataFrame) -> None:
    """Check that the sites of a run are the present ones."""
    if folder is None:
        raise InputError(
            "A hand or a region had a part in these sites: save the run first (Save run… on "
            "Latents), and the script begins with the saved sites."
        )
    from napari_rvae.runs import load_run

    saved = load_run(folder).sites
    place = ["site_id", "frame", "y", "x"]
    now = sites[place].sort_values("site_id").to_numpy(float)
    then = np.empty((0, 4)) if saved is None else saved[place].sort_values("site_id").to_numpy()
    if now.shape != then.shape or not np.allclose(now, then, atol=1e-3):
        raise InputError(
            f"The sites have changed since they were saved in {folder}: save the run again."
        )


# ---------------------------------------------------------------------- latents
def _model_lines(steps: list[dict[str, Any]]) -> Iterator[str]:
    """Train again, or take the model that was loaded, and encode the sites."""
    made = [step for step in steps if step["step"] in ("train", "apply")]
    if not made:
        return
    step = made[-1]
    if step["step"] == "apply":
        yield from _apply_lines(step)
        return
    yield "# The model, and what it says of the sites."
    if "channels" in step:
        yield from _channel_lines(step)
    options = _call("CropConfig", step["crops"])
    plan = f", {options}" if options else ""
    plan += f", lags={tuple(step['lags'])}" if "lags" in step else ""
    yield f"crops = rvae.extract_crops(frames, sites{plan})"
    options = _call("RVAEConfig", step["model"]) or "rvae.RVAEConfig()"
    yield f"model = rvae.RVAE({options}, device={step.get('device', 'auto')!r})"
    if step.get("stopped"):
        yield "# It was stopped by hand: a stop inside an epoch cannot be repeated exactly."
        yield "for progress in model.iter_fit(crops):"
        yield f"    if progress.epoch >= {step['epochs']}:"
        yield "        break"
    else:
        yield "model.fit(crops)"
    yield "sites = rvae.join_latents(sites, model.transform(crops))"
    yield ""


def _channel_lines(step: dict[str, Any]) -> Iterator[str]:
    """Put the images together that the crops show; the first one is the movie."""
    names = measured_channels(step["channels"])
    texts = [reading(origin) for origin in step.get("images", [])[1:]]
    if len(texts) != len(names) - 1 or not all(texts):
        raise InputError(
            f"The crops show several images ({', '.join(names)}), and nobody knows where these "
            "came from: open them from files, or put them together with stack_channels."
        )
    yield "# The crops show several channels."
    yield "more = ["
    yield from (f"    {text}," for text in texts)
    yield "]"
    yield "more = [replace(one, scale=frames.scale, units=frames.units) for one in more]"
    yield f"frames = rvae.stack_channels([frames, *more], {tuple(names)!r})"


def _apply_lines(step: dict[str, Any]) -> Iterator[str]:
    if not step.get("model"):
        raise InputError("The model was trained on other sites: save it first (Save model…).")
    yield "# A model from elsewhere, and what it says of the sites."
    yield f"model = {_loading(step['model'])}"
    window = step.get("window")
    plan = "model.crop_config" if window is None else f"replace(model.crop_config, {window=})"
    yield f"crops = rvae.extract_crops(frames, sites, {plan})"
    yield "sites = rvae.join_latents(sites, model.transform(crops))"
    yield ""


def _loading(folder: str) -> str:
    """Call that loads the model of a folder, or of a run's folder."""
    if (Path(folder) / "run.json").exists():
        return f"rvae.load_run({folder!r}).load_model()"
    return f"rvae.RVAE.load({folder!r})"


# ---------------------------------------------------------------------- units and classes
def _units_lines(steps: list[dict[str, Any]], *, many: bool) -> Iterator[str]:
    """Find the units again, and change them as they were changed."""
    made = [step for step in steps if step["step"] in ("units", "edit")]
    if not made:
        return
    yield "# The units: a unit must recur on several places of the lattice."
    yield "linked = rvae.with_tracks(sites)" if many else "linked = sites"
    if any(step.get("crops") for step in made):
        yield "crops = rvae.extract_crops(frames, linked, model.crop_config, lags=model.lags_)"
    like = ""
    for step in made:
        if step["step"] == "units":
            options = _call("UnitConfig", step["config"]) or "rvae.UnitConfig()"
            seen = "features=model.invariants(crops), model=model" if step.get("crops") else ""
            extra = ", ".join(part for part in (options, seen, like) if part)
            yield f"units = rvae.find_units(linked, {extra})"
        elif step.get("function") in _EDITS:
            arguments = ", ".join(repr(value) for value in step["arguments"])
            yield f"units = rvae.{step['function']}(units, {arguments})"
        like = "like=units"
    yield f"kept = [name for name in {_UNIT_COLUMNS!r} if name in units.table]"
    yield 'sites = rvae.join_latents(sites, units.table[["site_id", *kept]])'
    yield ""


def _way_lines(ways: dict[str, Any] | None, steps: list[dict[str, Any]]) -> Iterator[str]:
    """Find the pathways again."""
    if ways is None:
        return
    if not ways["units"] or unit_steps(steps) != ways["units"]:
        raise InputError(
            "The units have changed since the pathways were found: press Find pathways again."
        )
    yield "# The pathways: what the units turn into along the tracks."
    yield 'linked = sites if {"lattice_track_id", "track_id"} <= set(sites) else None'
    yield "linked = rvae.link_sites(sites) if linked is None else linked"
    yield 'known = units.table[["site_id", "unit", "unit_probability"]]'
    yield "linked = rvae.join_latents(linked, known)"
    options = _call("PathwayConfig", ways["config"]) or "rvae.PathwayConfig()"
    more = "units=units, frames_table=frames.table"
    yield f"pathways = rvae.find_pathways(linked, {options}, {more})"
    yield 'tracks = linked[["site_id", "lattice_track_id", "track_id"]]'
    yield 'states = pathways.table[["site_id", "state", "state_probability"]]'
    yield "sites = rvae.join_latents(rvae.join_latents(sites, tracks), states)"
    yield ""


def _class_lines(sites: pd.DataFrame) -> Iterator[str]:
    """Give the sites the classes that a hand has given them."""
    for column in sites.columns:
        kind = sites[column].dtype.kind
        if column in _OUR_WORDS or kind in "fiub":
            continue
        words = sites[column].fillna("").astype("str")
        for number, name in enumerate(sorted(set(words) - {""})):
            if number == 0:
                yield f"# Classes that were given by hand: {column}."
            ids = sites.loc[words == name, "site_id"].tolist()
            yield "sites = rvae.label_sites("
            yield f"    sites, {_folded(ids)}, {name!r}, column={str(column)!r}"
            yield ")"


def _folded(ids: list[int]) -> str:
    """Numbers as a list, over several lines where they are many."""
    text = repr(ids)
    if len(text) < _LONGEST - 20:
        return text
    rows = [ids[start : start + 14] for start in range(0, len(ids), 14)]
    lines = [f"        {', '.join(str(number) for number in row)}," for row in rows]
    return "\n".join(["[", *lines, "    ]"])


# ---------------------------------------------------------------------- the rest
def _call(name: str, values: dict[str, Any]) -> str:
    """Options as a call that names those which are not usual; "" for none."""
    kind = getattr(config, name)
    made, usual = kind.from_dict(values), kind()
    names = [item.name for item in dataclasses.fields(made)]
    own = [key for key in names if getattr(made, key) != getattr(usual, key)]
    if not own:
        return ""
    return f"rvae.{name}({', '.join(f'{key}={getattr(made, key)!r}' for key in own)})"


def _end_lines(layer: Any, name: str, threads: int | None, *, ways: bool) -> Iterator[str]:
    """Run it, write the table, and show it where that is asked for."""
    record = record_of(layer)
    shown = {"color_by": record.get("column"), "symmetry": record.get("symmetry")}
    look = ", ".join(f"{key}={value!r}" for key, value in shown.items() if value)
    stem = "".join(char if char.isalnum() else "-" for char in name) or "sites"
    yield 'if __name__ == "__main__":'
    yield '    files = [word for word in sys.argv[1:] if not word.startswith("-")]'
    yield f"    with limit_threads({threads!r}):"
    yield f"        frames, sites{', pathways' if ways else ''} = analyse()"
    yield f"    path = files[0] if files else {json.dumps(f'{stem}-sites.csv')}"
    yield "    rvae.export_table(sites, path, frames=frames, overwrite=True)"
    if ways:
        yield "    if len(files) > 1:"
        yield "        from napari_rvae.figures import export_pathways"
        yield ""
        yield "        export_pathways(files[1], pathways, overwrite=True)"
    yield '    if "--view" in sys.argv:'
    yield "        import napari"
    yield ""
    yield "        viewer = napari.Viewer()"
    points = f"rvae.points_layer(sites, frames{f', {look}' if look else ''})"
    yield f"        rvae.add_layers(viewer, rvae.image_layer(frames), {points})"
    yield "        napari.run()"
