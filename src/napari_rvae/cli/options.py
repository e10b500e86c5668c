"""The options of every step on the command line, made from the configurations themselves."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args, get_type_hints

from napari_rvae.config import (
    Config,
    CropConfig,
    DetectConfig,
    PathwayConfig,
    RVAEConfig,
    TrackConfig,
    UnitConfig,
    WallConfig,
)
from napari_rvae.errors import InputError

__all__ = [
    "Options",
    "add_option_flags",
    "explain_leftovers",
    "normalise_flags",
    "read_options",
]

_WORDS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """The configuration of every step of the way."""

    detect: DetectConfig = field(default_factory=DetectConfig)
    tracks: TrackConfig = field(default_factory=TrackConfig)
    crop: CropConfig = field(default_factory=CropConfig)
    rvae: RVAEConfig = field(default_factory=RVAEConfig)
    units: UnitConfig = field(default_factory=UnitConfig)
    pathways: PathwayConfig = field(default_factory=PathwayConfig)


#: Name of each step and its configuration, in the order of the way.
STEPS: Mapping[str, type[Config]] = {
    "detect": DetectConfig,
    "tracks": TrackConfig,
    "crop": CropConfig,
    "rvae": RVAEConfig,
    "units": UnitConfig,
    "pathways": PathwayConfig,
}


#: Steps of other commands than the whole way.
OTHER_STEPS: Mapping[str, type[Config]] = {"walls": WallConfig}


def add_option_flags(
    parser: argparse.ArgumentParser,
    *,
    advanced: bool,
    only: tuple[str, ...] = (),
    without: tuple[str, ...] = (),
) -> None:
    """Give a parser a flag ``--step.option`` for every field of every configuration.

    Parameters
    ----------
    parser
        The parser.
    advanced
        Show the options in the help that hardly anyone needs; they work all the same.
    only
        The steps whose options there are; none means all of the whole way.
    without
        Options, such as "crop.window", that mean nothing here.
    """
    for step, config in {**STEPS, **OTHER_STEPS}.items():
        if step not in (only or STEPS):
            continue
        group = parser.add_argument_group(f"step {step!r}")
        hints = get_type_hints(config)
        for item in dataclasses.fields(config):
            if f"{step}.{item.name}" in without:
                continue
            shown = advanced or not item.metadata["advanced"]
            group.add_argument(
                f"--{step}.{item.name}",
                type=_value_reader(hints[item.name]),
                default=argparse.SUPPRESS,  # only what was given gets a place in the result
                metavar=_metavar(item, hints[item.name]),
                help=_help(item) if shown else argparse.SUPPRESS,
            )


def _kinds(hint: Any) -> tuple[Any, ...]:
    """Types that an annotation allows."""
    return get_args(hint) or (hint,)


def _value_reader(hint: Any) -> Callable[[str], Any]:
    """Make the function that turns the text of a flag into a value."""
    kinds = _kinds(hint)

    def read(text: str) -> Any:
        word = text.strip().lower()
        if types.NoneType in kinds and word == "none":
            return None
        if bool in kinds:
            if word not in _WORDS:
                raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
            return _WORDS[word]
        for kind, what in ((int, "whole number"), (float, "number")):
            if kind in kinds:
                try:
                    return kind(text)
                except ValueError:
                    raise argparse.ArgumentTypeError(f"{text!r} is no {what}") from None
        return text

    return read


def _metavar(item: dataclasses.Field[Any], hint: Any) -> str:
    if item.metadata["choices"]:
        return "|".join(item.metadata["choices"])
    if bool in _kinds(hint):
        return "true|false"
    return "N" if int in _kinds(hint) else "X" if float in _kinds(hint) else "WORD"


def _help(item: dataclasses.Field[Any]) -> str:
    meta = item.metadata
    low, high = meta["low"], meta["high"]
    notes = [meta["unit"]]
    if low is not None and high is not None:
        notes.append(f"{low:g} to {high:g}")
    elif low is not None:
        notes.append(f"{low:g} or more")
    elif high is not None:
        notes.append(f"at most {high:g}")
    default = str(item.default)
    notes.append(f"default: {default.lower() if item.default in (None, True, False) else default}")
    text = f"{meta['help']} ({'; '.join(note for note in notes if note)})"
    return text.replace("%", "%%")


def normalise_flags(arguments: list[str]) -> list[str]:
    """Bring the spellings of the step options into one form.

    ``--rvae.batch-size`` becomes ``--rvae.batch_size``; a bare ``--rvae.shifts`` or
    ``--no-rvae.shifts`` becomes ``--rvae.shifts=true`` or ``=false``.
    """
    switches = _switches()
    result = []
    for number, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        step, dot, option = name.removeprefix("--").removeprefix("no-").partition(".")
        known = step in STEPS or step in OTHER_STEPS
        if not (name.startswith("--") and dot and known):
            result.append(argument)
            continue
        flag = f"--{step}.{option.replace('-', '_')}"
        following = arguments[number + 1 : number + 2]
        if flag in switches and not equals:
            if name.startswith("--no-"):
                equals, value = "=", "false"
            elif not following or following[0].lower() not in _WORDS:
                equals, value = "=", "true"
        elif name.startswith("--no-"):
            flag = f"--no-{flag[2:]}"  # there is no such flag: let the parser say so
        result.append(f"{flag}{equals}{value}")
    return result


def _switches() -> set[str]:
    """Flags of the options that are true or false."""
    return {
        f"--{step}.{item.name}"
        for step, config in STEPS.items()
        for item in dataclasses.fields(config)
        if get_type_hints(config)[item.name] is bool
    }


def explain_leftovers(arguments: list[str], leftovers: list[str]) -> str:
    """Say what is wrong with arguments that no parser wanted.

    Parameters
    ----------
    arguments
        All arguments, as :func:`normalise_flags` returns them.
    leftovers
        Those that are left over, one or more.

    Returns
    -------
    str
        One line; a word after a switch was meant to be its value, and a flag that is nearly
        spelt like an option was meant to be that.
    """
    bare = {f"{flag}=true" for flag in _switches()}
    for flag, word in pairwise(arguments):
        if flag in bare and word in leftovers:
            name = flag.removesuffix("=true")
            return f"argument {name}: {word!r} is neither true nor false"
    text = f"unrecognized arguments: {' '.join(leftovers)}"
    known = [f"--{step}.{item.name}" for step in STEPS for item in dataclasses.fields(STEPS[step])]
    flags = [word.partition("=")[0] for word in leftovers if word.startswith("--") and "." in word]
    near = [match for flag in flags for match in difflib.get_close_matches(flag, known, 1, 0.7)]
    return f"{text}; did you mean {', '.join(near)}?" if near else text


def read_options(flags: Mapping[str, Any], file: str | Path | None = None) -> Options:
    """Put together the defaults, then the file, then the flags.

    Parameters
    ----------
    flags
        Values by the name of their flag, such as ``{"rvae.epochs": 40}``; others are ignored.
    file
        JSON file of one object a step: ``{"detect": {...}, "rvae": {...}}``.

    Raises
    ------
    InputError
        If a step or option is unknown, or a value is not allowed.
    ReadError
        If the file cannot be read.
    """
    given: dict[str, dict[str, Any]] = {step: {} for step in STEPS}
    if file is not None:
        for step, values in _read_file(Path(file)).items():
            given[step].update(values)
    for name, value in flags.items():
        step, dot, option = name.partition(".")
        if dot and step in given:
            given[step][option] = value
    made: dict[str, Any] = {step: STEPS[step].from_dict(values) for step, values in given.items()}
    return Options(**made)


def _read_file(file: Path) -> dict[str, dict[str, Any]]:
    from napari_rvae.io import read_json

    content = read_json(file)
    if not isinstance(content, dict):
        raise InputError(f'{file.name}: the file must hold an object, {{"detect": {{...}}, ...}}.')
    unknown = sorted(set(content) - set(STEPS))
    if unknown:
        raise InputError(
            f"{file.name}: there is no step {', '.join(unknown)}: the steps are {', '.join(STEPS)}."
        )
    wrong = [step for step, values in content.items() if not isinstance(values, dict)]
    if wrong:
        raise InputError(f"{file.name}: {wrong[0]} must be an object of options.")
    return content
