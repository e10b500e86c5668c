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

    from napari_rvae import Frames, Run, UnitCard, Units

__all__ = ["add_units_command", "tell_units"]

_UNITS = """\
Tell what the structural units of an earlier result are, in words, and write their cards.

RUN is the folder that --out named, or its run.json; it stays as it is unless you add --save. MOVIE,
what the run was made from, adds the mean crops. Units are cut, split, merged and renamed in this
order, and keep the numbers that are printed.
"""

_EXAMPLES = """\
examples:
  napari-rvae units results
  napari-rvae units results movie.tif --elements "A = C, A+ = Si" --out units
  napari-rvae units results --cut 6 --format svg --out units
  napari-rvae units results --merge 2,5 --rename "2 = edge" --save

"""


def add_units_command(commands: Any, epilog: str) -> argparse.ArgumentParser:
    """Add the command's flags; the caller adds those that several commands share."""
    units: argparse.ArgumentParser = commands.add_parser(
        "units",
        help="tell what the units of an earlier result are",
        usage="napari-rvae units RUN [MOVIE ...] [--out DIR] [options]",
        description=_UNITS,
        epilog=_EXAMPLES + epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    units.add_argument("run", metavar="RUN", type=Path, help="folder of the run, or its run.json")
    units.add_argument("--cut", metavar="N", type=int, help="go along the tree to so many units")
    units.add_argument(
        "--split", metavar="N", type=int, action="append", default=[], help="split a unit in two"
    )
    units.add_argument(
        "--merge", metavar="N,M", action="append", default=[], help="make one unit of several"
    )
    units.add_argument(
        "--rename", metavar="NAME", action="append", default=[], help='name a unit: "3 = edge"'
    )
    units.add_argument("--save", action="store_true", help="write the changed units to RUN")
    units.add_argument(
        "--elements", metavar="NAMES", default="", help='what the atoms are: "A = C, A+ = Si"'
    )
    units.add_argument("--out", metavar="DIR", type=Path, help="folder for figures and tables")
    units.add_argument("--overwrite", action="store_true", help="replace such files in DIR")
    units.add_argument(
        "--format", choices=("png", "svg", "pdf"), default="png", help="of the figures"
    )
    return units


def tell_units(run: Run, arguments: argparse.Namespace, frames: Frames | None) -> None:
    """Print the units of a run and, if asked to, change them and write their cards.

    Raises
    ------
    InputError
        If the run has no sites or units, the movie is another one, or an edit makes no sense.
    """
    import napari_rvae as nr
    from napari_rvae.analysis.motif import parse_elements
    from napari_rvae.analysis.recut import cut_as_trained
    from napari_rvae.figures import export_units

    units = run.units
    if run.sites is None or units is None:
        how = "walls --window PX" if "WallConfig" in run.configs else "run"
        raise InputError(f"{run.folder} holds no units: find them with napari-rvae {how}.")
    units = _edited(units, arguments)
    progress = Progress()
    model = run.load_model("cpu") if run.has_model else None
    crops = None
    if frames is not None and model is not None:
        run.check_frames(frames)
        with progress.step("cutting crops") as tick:
            crops = cut_as_trained(
                model, frames, run.sites, _crop_config(run, model), progress=tick
            )
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
    if arguments.save:
        _save(run, units, model)
    if arguments.out is not None:
        suffix: Any = f".{arguments.format}"
        paths = export_units(
            arguments.out, units, cards, suffix=suffix, overwrite=arguments.overwrite
        )
        say(f"written to {arguments.out}: {', '.join(path.name for path in paths)}")


def _edited(units: Units, arguments: argparse.Namespace) -> Units:
    """Units cut, split, merged and renamed as asked for."""
    import napari_rvae as nr

    if arguments.cut is not None:
        units = nr.cut_units(units, arguments.cut)
    for number in arguments.split:
        units = nr.split_unit(units, number)
    for text in arguments.merge:
        parts = text.split(",")
        if not all(part.strip().isdecimal() for part in parts):
            raise InputError(f"--merge {text!r}: give numbers of units, such as 2,5.")
        units = nr.merge_units(units, [int(part) for part in parts])
    for text in arguments.rename:
        number, _, name = text.partition("=")
        if not number.strip().isdecimal() or not name.strip():
            raise InputError(f'--rename {text!r}: give a number and a name, such as "3 = edge".')
        units = nr.rename_unit(units, int(number), name)
    return units


def _save(run: Run, units: Units, model: Any) -> None:
    """Write the run anew with other units; what was told of the old ones is left out."""
    import napari_rvae as nr

    assert run.sites is not None and run.units is not None  # noqa: S101, PT018 - it has units
    old = [name for name in units.table if name != "site_id" and name in run.sites]
    sites = nr.join_latents(run.sites.drop(columns=old), units.table)
    same = units.table["unit"].equals(run.units.table["unit"])
    nr.save_run(
        run.folder,
        frames=run.frames,
        sites=sites,
        model=model,
        units=units,
        pathways=run.pathways if same else None,
        configs=run.configs.values(),
        overwrite=True,
    )
    say(f"units written to {run.folder}")
    if run.pathways is not None and not same:
        say("pathways were those of other units and are left out: find them again")


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
