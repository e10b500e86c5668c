"""The command that tells of the units of an earlier result."""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_rvae.cli.progress import Progress, say
from napari_rvae.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_rvae import Frames, Run, UnitCard

__all__ = ["add_units_command", "tell_units"]

_UNITS = """\
Tell what the structural units of an earlier result are, in words, and write their cards.

RUN is the folder that --out named, or its run.json; it stays as it is. MOVIE, what the run was made
from, adds the mean crops.
"""

_EXAMPLES = """\
examples:
  napari-rvae units results
  napari-rvae units results movie.tif --elements "A = C, A+ = Si" --out units
  napari-rvae units results --cut 6 --format svg --out units

"""


def add_units_command(commands: Any, epilog: str) -> argparse.ArgumentParser:
    """Add the command's flags; the caller adds those that several commands share."""
    units: argparse.ArgumentParser = commands.add_parser(
        "units",
        help="tell what the units of an earlier result are",
        usage="napari-rvae units RUN [MOVIE] [--out DIR] [options]",
        description=_UNITS,
        epilog=_EXAMPLES + epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    units.add_argument("run", metavar="RUN", type=Path, help="folder of the run, or its run.json")
    units.add_argument("movie", metavar="MOVIE", nargs="?", help="file or folder")
    units.add_argument("--cut", metavar="N", type=int, help="go along the tree to so many units")
    units.add_argument(
        "--elements", metavar="NAMES", default="", help='what the atoms are: "A = C, A+ = Si"'
    )
    units.add_argument("--out", metavar="DIR", type=Path, help="folder for figures and tables")
    units.add_argument("--overwrite", action="store_true", help="replace such files in DIR")
    units.add_argument(
        "--format", choices=("png", "svg", "pdf"), default="png", help="of the figures"
    )
    return units


def tell_units(arguments: argparse.Namespace, frames: Frames | None) -> None:
    """Print the units of a run and, if asked to, write their cards.

    Raises
    ------
    InputError
        If the run has no sites or units, or the movie is another one.
    """
    import napari_rvae as nr
    from napari_rvae.analysis.motif import parse_elements
    from napari_rvae.figures import export_units

    run = nr.load_run(arguments.run)
    units = run.units
    if run.sites is None or units is None:
        raise InputError(f"{run.folder} holds no units: find them with napari-rvae run.")
    if arguments.cut is not None:
        units = nr.cut_units(units, arguments.cut)
    progress = Progress()
    model = run.load_model("cpu") if run.has_model else None
    crops = None
    if frames is not None and model is not None:
        run.check_frames(frames)
        with progress.step("cutting crops") as tick:
            crops = nr.extract_crops(frames, run.sites, _crop_config(run, model), progress=tick)
    with progress.step("drawing cards"):
        cards = nr.unit_cards(
            units,
            run.sites,
            model=model,
            crops=crops,
            frames_table=None if frames is None else frames.table,
            elements=parse_elements(arguments.elements),
        )
    _print(cards)
    if arguments.out is not None:
        suffix: Any = f".{arguments.format}"
        paths = export_units(
            arguments.out, units, cards, suffix=suffix, overwrite=arguments.overwrite
        )
        say(f"written to {arguments.out}: {', '.join(path.name for path in paths)}")


def _crop_config(run: Run, model: Any) -> Any:
    from napari_rvae import CropConfig

    options = run.configs.get("CropConfig")
    return options if isinstance(options, CropConfig) else model.crop_config


def _print(cards: Sequence[UnitCard]) -> None:
    """Print the name of each unit and what it is in words."""
    say("")
    for card in cards:
        say(f"{card.unit:>3}  {card.name}")
        words = card.caption.replace("\N{NO-BREAK SPACE}", " ")
        for line in textwrap.wrap(words, 90):
            say(f"       {line}")
