"""The options of every step, as frozen dataclasses that are checked when they are made.

One object drives the call, the form, the command line and the saved run. A field carries its
help text, unit and range in its metadata (see :func:`option`), so that none of them needs a
second list of the options.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self, Union, get_args, get_origin, get_type_hints

from napari_rvae.errors import InputError

__all__ = [
    "Config",
    "CropConfig",
    "DetectConfig",
    "PathwayConfig",
    "RVAEConfig",
    "SpeciesConfig",
    "TrackConfig",
    "UnitConfig",
    "option",
]


def option(
    default: Any,
    text: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    suggestions: tuple[str, ...] = (),
    unit: str = "",
    label: str = "",
    advanced: bool = False,
) -> Any:
    """Make a dataclass field that knows its help text, range, unit and place in a form.

    Its metadata has the keys "help", "low", "high", "choices", "suggestions", "unit", "label"
    and "advanced".

    Parameters
    ----------
    default
        Value when the user says nothing.
    text
        One sentence of help.
    low, high
        Allowed range, both ends included; None means open.
    choices
        Allowed words, for text options; none means any.
    suggestions
        Words that a form offers where others are allowed, too.
    unit
        Physical unit, for display.
    label
        A few words that stand beside it in a form, of 22 characters at most, without the unit;
        empty: its name with spaces.
    advanced
        True hides the option behind "advanced" in forms.
    """
    metadata = {
        "help": text,
        "low": low,
        "high": high,
        "choices": choices,
        "suggestions": suggestions,
        "unit": unit,
        "label": label,
        "advanced": advanced,
    }
    return field(default=default, metadata=metadata)


def _matches(value: Any, hint: Any) -> bool:
    """Whether `value` is of the annotated type `hint` (int counts as float, bool never as int)."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return any(_matches(value, part) for part in get_args(hint))
    if hint is type(None):
        return value is None
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Base of the step configurations: checks itself, and goes to and from JSON."""

    def __post_init__(self) -> None:
        """Check the type, the range and the choice of every field."""
        hints = get_type_hints(type(self))
        for item in dataclasses.fields(self):
            self._check(item, hints[item.name])

    def _check(self, item: dataclasses.Field[Any], hint: Any) -> None:
        value, meta = getattr(self, item.name), item.metadata
        where = f"{type(self).__name__}.{item.name}"
        if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
            value = value.item()  # a NumPy number is as good as Python's own
            object.__setattr__(self, item.name, value)
        if not _matches(value, hint):
            named = getattr(hint, "__name__", str(hint))
            raise InputError(f"{where} = {value!r} is not of type {named}: give one of that type.")
        if value is None:
            return
        choices = meta["choices"]
        if choices and value not in choices:
            raise InputError(f"{where} = {value!r} is unknown: choose one of {', '.join(choices)}.")
        low, high = meta["low"], meta["high"]
        if isinstance(value, float) and math.isnan(value):
            raise InputError(f"{where} is NaN: give a number.")
        if isinstance(value, float) and math.isinf(value):
            raise InputError(f"{where} = {value} is out of range: give a finite number.")
        if (low is not None and value < low) or (high is not None and value > high):
            ends = f"{'-inf' if low is None else low} to {'inf' if high is None else high}"
            raise InputError(f"{where} = {value!r} is out of range: choose from {ends}.")

    def to_dict(self) -> dict[str, Any]:
        """Return the options as a dictionary of JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Make a configuration from a dictionary; an unknown key is an error."""
        known = {item.name for item in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise InputError(
                f"{cls.__name__} has no option {', '.join(unknown)}: "
                f"its options are {', '.join(sorted(known))}."
            )
        return cls(**values)

    def to_json(self) -> str:
        """Return the options as JSON text."""
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Make a configuration from JSON text; an unknown key is an error."""
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(f"{cls.__name__}: this is no JSON ({error}); mend the file.") from None
        if not isinstance(values, dict):
            raise InputError(f"{cls.__name__}: the JSON must be an object of options.")
        return cls.from_dict(values)


@dataclass(frozen=True, kw_only=True)
class DetectConfig(Config):
    """Options of :func:`napari_rvae.detect_atoms`; the defaults need no tuning."""

    contrast: str = option(
        "auto",
        "Atoms are bright (ADF, HAADF) or dark (ABF) on their background; auto: measured.",
        choices=("auto", "bright", "dark"),
        label="Contrast",
    )
    neighbour_distance: float | None = option(
        None,
        "Expected nearest-neighbour distance; empty: measured.",
        low=2.0,
        unit="px",
        label="Neighbour distance",
    )
    sigma: float | None = option(
        None,
        "Width (standard deviation) of an atom's image; empty: measured.",
        low=0.4,
        unit="px",
        advanced=True,
        label="Width of an atom",
    )
    min_snr: float = option(
        5.0,
        "An atom this many times above the noise (without a lattice: 1.2 times that) is believed.",
        low=1.0,
        high=100.0,
        label="Least signal/noise",
    )
    min_lattice_snr: float = option(
        2.5,
        "A weaker one, down to this, is kept where the lattice expects it.",
        low=0.5,
        high=100.0,
        advanced=True,
        label="Least S/N on a lattice",
    )
    min_lattice_support: float = option(
        0.35,
        "Share of the lattice's neighbours a weak atom must have.",
        low=0.0,
        high=1.0,
        advanced=True,
        label="Least lattice support",
    )
    destripe: bool = option(
        True,
        "Look for atoms without the offset that each row of the scan has of its own, if any.",
        advanced=True,
        label="Destripe",
    )
    classify: bool = option(
        False,
        "Name sublattices and species, and add missing atoms as vacancies.",
        label="Species, vacancies",
    )
    average_frames: int = option(
        1,
        "Look for atoms in the mean of so many frames about each, drift removed, for low doses.",
        low=1,
        high=1000,
        unit="frames",
        advanced=True,
        label="Average over",
    )
    min_quality: float = option(
        0.0,
        "Leave out frames of lower quality, as analyse_frames tells it; 0: none.",
        low=0.0,
        high=1.0,
        advanced=True,
        label="Least frame quality",
    )
    device: str = option(
        "cpu",
        "Where the atoms are fitted: auto, cpu, cuda or mps.",
        suggestions=("auto", "cpu", "cuda", "mps"),
        label="Device",
    )


@dataclass(frozen=True, kw_only=True)
class SpeciesConfig(Config):
    """Options of :func:`napari_rvae.classify_atoms`; the defaults need no tuning."""

    vacancies: bool = option(
        True, "Add missing atoms of a lattice as sites of their own.", label="Find vacancies"
    )
    false_discovery_rate: float = option(
        0.05,
        "Expected share of wrong ones among the atoms named brighter or dimmer than their host.",
        low=1e-4,
        high=0.5,
        label="False discoveries",
    )
    least_contrast: float = option(
        0.1,
        "An atom within this share of its host's brightness counts as host.",
        low=0.0,
        high=1.0,
        advanced=True,
        label="Least contrast",
    )
    least_probability: float = option(
        0.5,
        "A vacancy is at least this probable.",
        low=0.0,
        high=1.0,
        advanced=True,
        label="Least probability",
    )


@dataclass(frozen=True, kw_only=True)
class CropConfig(Config):
    """Options of :func:`napari_rvae.extract_crops`."""

    window_nd: float = option(
        3.5,
        "Side of a crop in nearest-neighbour distances.",
        low=0.5,
        high=50.0,
        unit="neighbour distances",
        label="Window",
    )
    window: float | None = option(
        None,
        "Side of a crop in frame pixels; overrides the one above.",
        low=2.0,
        unit="px",
        advanced=True,
        label="Fixed window",
    )
    pixels: int = option(
        32,
        "Side of the grid a crop is resampled to.",
        low=8,
        high=256,
        unit="px",
        advanced=True,
        label="Crop grid",
    )
    content: str = option(
        "frame",
        "What a crop shows: the frame, or Gaussians rendered at the fitted atoms.",
        choices=("frame", "rendered"),
        advanced=True,
        label="Crops show",
    )
    distortion: str = option(
        "movie",
        "Undo the shear and stretch of the lattice by the scan: of the movie, or frame by frame.",
        choices=("movie", "frame", "off"),
        advanced=True,
        label="Undo distortion",
    )
    destripe: bool = option(
        True,
        "Take off the offset that each row of the scan has of its own, where there is any.",
        advanced=True,
        label="Destripe",
    )
    stabilise: bool = option(
        False,
        "Make noise that grows with the signal the same everywhere, where its gain is known.",
        advanced=True,
        label="Stabilise the noise",
    )


@dataclass(frozen=True, kw_only=True)
class RVAEConfig(Config):
    """Options of :class:`napari_rvae.RVAE`: the model's and the training's together."""

    n_latents: int = option(
        4, "Number of latent variables.", low=1, high=8, label="Latent variables"
    )
    decoder: str = option(
        "steerable",
        "Engine: exact rotations (steerable), or the published one, pixel by pixel, to compare.",
        choices=("steerable", "pixel"),
        advanced=True,
        label="Engine",
    )
    rotation: bool = option(
        True,
        "Latents that do not change when a crop turns; off: a plain VAE, angle 0.",
        advanced=True,
        label="Rotation invariance",
    )
    shifts: bool = option(
        False,
        "Let the model move crops; for sites that are not well centred.",
        label="Centre the crops",
    )
    epochs: int = option(30, "Passes over the training crops.", low=1, high=10_000, label="Epochs")
    max_crops: int = option(
        10_000,
        "Train on at most so many crops, drawn at random.",
        low=16,
        advanced=True,
        label="Most crops",
    )
    batch_size: int = option(
        256, "Crops in one step.", low=2, high=65_536, advanced=True, label="Crops in a step"
    )
    learning_rate: float = option(
        4e-3,
        "Step size of the optimiser at its peak.",
        low=1e-6,
        high=1.0,
        advanced=True,
        label="Learning rate",
    )
    hidden: int = option(
        256, "Width of the hidden layers.", low=8, high=4096, advanced=True, label="Network width"
    )
    beta: float = option(
        1.0,
        "Weight of the prior on the latents.",
        low=0.0,
        high=100.0,
        advanced=True,
        label="Weight of the prior",
    )
    band_limit: float = option(
        0.6,
        "Highest spatial frequency kept, as a share of the grid's Nyquist frequency.",
        low=0.1,
        high=1.0,
        advanced=True,
        label="Highest frequency",
    )
    held_out: float = option(
        0.1,
        "Share of the frames (of fewer than five: of their area) kept out of training, to test it.",
        low=0.0,
        high=0.5,
        advanced=True,
        label="Held-out share",
    )
    patience: int = option(
        10,
        "Stop after so many epochs without a better result on the held-out crops.",
        low=1,
        high=10_000,
        unit="epochs",
        advanced=True,
        label="Patience",
    )
    max_shift_nd: float = option(
        0.25,
        "Largest shift of a crop; keeps it from hopping to the next atom.",
        low=0.0,
        high=0.5,
        unit="neighbour distances",
        advanced=True,
        label="Largest shift",
    )
    angle_prior_sd: float = option(
        0.1,
        "Engine pixel: width that the prior gives to the angle of a crop.",
        low=1e-3,
        high=100.0,
        unit="rad",
        advanced=True,
        label="Width of the angle",
    )
    pixel_share: float = option(
        1.0,
        "Engine pixel: share of the pixels, drawn anew, that a step looks at; fewer are faster.",
        low=1e-3,
        high=1.0,
        advanced=True,
        label="Share of the pixels",
    )
    half_precision: bool = option(
        False,
        "Engine pixel: train in bfloat16, faster where the processor has instructions for it.",
        advanced=True,
        label="Half precision",
    )
    seed: int = option(0, "Start of the random numbers.", low=0, advanced=True, label="Random seed")

    @classmethod
    def published(cls, **overrides: Any) -> Self:
        """Options of the published rVAE, to compare with it.

        Engine "pixel" with two latents and shifts, two hidden layers of 128, Adam with a step
        of 1e-4, 200 epochs in batches of 200 crops, an angle prior of 0.1 rad, and all crops up
        to 100,000. From the notebook of Science Advances 7, eabd5084 (2021). Nothing is held
        out: there it was 15 % drawn at random, which had no say in the training.

        Parameters
        ----------
        **overrides
            Single options, such as ``epochs=20``.

        Examples
        --------
        >>> from napari_rvae import RVAEConfig
        >>> config = RVAEConfig.published(epochs=20)
        >>> config.decoder, config.learning_rate, config.epochs
        ('pixel', 0.0001, 20)
        """
        values: dict[str, Any] = {
            "decoder": "pixel",
            "n_latents": 2,
            "shifts": True,
            "epochs": 200,
            "max_crops": 100_000,
            "batch_size": 200,
            "learning_rate": 1e-4,
            "hidden": 128,
            "held_out": 0.0,
            "angle_prior_sd": 0.1,
        }
        return cls(**(values | overrides))


@dataclass(frozen=True, kw_only=True)
class UnitConfig(Config):
    """Options of :func:`napari_rvae.find_units`."""

    #: Options of earlier versions, which runs may hold: the number of units is found now.
    _RETIRED: ClassVar[frozenset[str]] = frozenset(
        {"max_units", "outlier_level", "min_sites", "min_tracks", "max_rare"}
    )

    n_features: int = option(
        40,
        "Principal components of the features that are kept.",
        low=1,
        high=256,
        advanced=True,
        label="Features",
    )
    n_components: int = option(
        60,
        "Environments that the sites are split into before what is alike is merged.",
        low=2,
        high=500,
        advanced=True,
        label="Environments",
    )
    min_places: int = option(
        4,
        "What occurs at fewer places of the lattice is irregular, not a unit of its own.",
        low=1,
        high=1000,
        label="Fewest places",
    )
    mirror: bool = option(
        True,
        "Surroundings and their mirror image are one unit.",
        label="Join mirror images",
    )
    n_starts: int = option(
        5,
        "The search is repeated from so many other starts to see how stable the units are.",
        low=0,
        high=50,
        advanced=True,
        label="Other starts",
    )
    seed: int = option(0, "Start of the random numbers.", low=0, advanced=True, label="Random seed")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Make the options from a dictionary; those of earlier versions are left out."""
        return super().from_dict({k: v for k, v in values.items() if k not in cls._RETIRED})


@dataclass(frozen=True, kw_only=True)
class TrackConfig(Config):
    """Options of :func:`napari_rvae.link_sites`."""

    max_step_nd: float = option(
        0.35,
        "A site moves at most this far between frames, drift removed.",
        low=0.01,
        high=0.5,
        unit="neighbour distances",
        label="Largest step",
    )
    max_gap: int = option(
        2,
        "A dopant may be missing for this many frames.",
        low=0,
        high=1000,
        unit="frames",
        label="Longest gap",
    )
    place_gap: int = option(
        50,
        "A place of the lattice may be empty for this many frames.",
        low=0,
        high=100_000,
        unit="frames",
        advanced=True,
        label="Longest emptiness",
    )
    max_hop_nd: float = option(
        2.2,
        "A dopant hops at most this far between frames.",
        low=0.1,
        high=10.0,
        unit="neighbour distances",
        advanced=True,
        label="Largest hop",
    )
    stitch_gap: int = option(
        15,
        "A dopant that vanishes, and one that appears near it within so many frames, are one.",
        low=0,
        high=1000,
        unit="frames",
        advanced=True,
        label="Longest break",
    )


@dataclass(frozen=True, kw_only=True)
class PathwayConfig(Config):
    """Options of :func:`napari_rvae.find_pathways`."""

    follow: str = option(
        "both",
        "Follow dopant atoms, places of the lattice, or both.",
        choices=("both", "atoms", "places"),
        label="Follow",
    )
    split: str = option(
        "lattice_angle",
        "What divides a unit of dopants into several states.",
        choices=("lattice_angle", "sublattice", "off"),
        label="Divide units by",
    )
    max_angles: int = option(
        2,
        "Most classes of the lattice angle in one unit.",
        low=1,
        high=6,
        advanced=True,
        label="Most angle classes",
    )
    max_states: int = option(
        10,
        "Most states of an atom; the least frequent ones become one, named other.",
        low=2,
        high=30,
        advanced=True,
        label="Most states",
    )
    min_sightings: int = option(
        4,
        "A track needs this many sightings.",
        low=2,
        high=1000,
        advanced=True,
        label="Fewest sightings",
    )
    min_probability: float = option(
        0.5,
        "An event is at least this probable.",
        low=0.05,
        high=1.0,
        label="Least probability",
    )
    min_sites: int = option(
        3,
        "An event without a dopant shows at this many sites.",
        low=1,
        high=100,
        advanced=True,
        label="Fewest sites",
    )
    merge_nd: float = option(
        2.2,
        "Changes within this distance, at most one frame apart, are one event.",
        low=0.1,
        high=20.0,
        unit="neighbour distances",
        advanced=True,
        label="Merge within",
    )
    jump_nd: float = option(
        0.3,
        "An atom that moves farther than this between frames has left its place.",
        low=0.05,
        high=5.0,
        unit="neighbour distances",
        advanced=True,
        label="Least jump",
    )
    border_nd: float = option(
        1.5,
        "What comes nearer to the edge of the frames than this is out of sight.",
        low=0.0,
        high=20.0,
        unit="neighbour distances",
        advanced=True,
        label="Border",
    )
    level: float = option(
        0.95,
        "Probability that an interval holds the true value.",
        low=0.5,
        high=0.999,
        advanced=True,
        label="Level of intervals",
    )
    n_samples: int = option(
        800,
        "Histories drawn for the intervals.",
        low=100,
        high=20_000,
        advanced=True,
        label="Histories drawn",
    )
    seed: int = option(0, "Start of the random numbers.", low=0, advanced=True, label="Random seed")
