"""What every step's options are made of: fields that know their help text, unit and range."""

from __future__ import annotations

import dataclasses
import json
import math
import types
from dataclasses import dataclass, field
from typing import Any, Self, Union, get_args, get_origin, get_type_hints

from napari_rvae.errors import InputError

__all__ = ["Config", "option"]


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
