"""Forms made from the configurations: what they show is what is run."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Collection, Mapping
from typing import Any, Generic, TypeVar, cast, get_args, get_type_hints

from magicgui.widgets import CheckBox, ComboBox, FloatSpinBox, LineEdit, SpinBox
from qtpy.QtCore import QEvent, QObject, Qt, Signal
from qtpy.QtWidgets import QFormLayout, QLabel, QWidget
from superqt import QCollapsible

from napari_rvae.config import Config
from napari_rvae.errors import InputError

__all__ = [
    "FIELD_WIDTH",
    "LABEL_WIDTH",
    "ConfigForm",
    "folded",
    "form_layout",
    "leave_wheel",
    "read_forms",
]

ConfigT = TypeVar("ConfigT", bound=Config)

#: What an optional number shows while it is None.
AUTOMATIC = "automatic"

#: Boxes shrink to this width, in pixels, so that a narrow dock cuts nothing off.
FIELD_WIDTH = 108

#: Labels are at least so wide, in pixels, so that the forms of a widget stand in one column.
LABEL_WIDTH = 155

#: Widest whole number that a spin box can be trusted with.
_LARGEST = 2**53

#: Units that are too long for a label.
_SHORT_UNITS = {"neighbour distances": "neighbours"}


class _Field:
    """One option: a widget, and the exact value that it stands for.

    A spin box rounds what it shows. The value that was put in is given back unrounded as long as
    nobody has changed the box.
    """

    def __init__(self, item: dataclasses.Field[Any], hint: Any, tip: str) -> None:
        self.name = item.name
        kinds = get_args(hint) or (hint,)
        self._optional = types.NoneType in kinds
        self._whole = self._optional and int in kinds  # a float box stands for it
        self.widget = _make_widget(item, kinds, optional=self._optional)
        self.widget.native.setMinimumWidth(FIELD_WIDTH)
        self.widget.native.setToolTip(tip)
        self.set(item.default)

    def get(self) -> Any:
        """Value of the option."""
        shown = self.widget.value
        if shown == self._shown:
            return self._exact
        if self._optional and shown <= self.widget.min:
            return None
        return int(shown) if self._whole else shown

    def set(self, value: Any) -> None:
        """Show a value."""
        if isinstance(self.widget, ComboBox):
            if value not in self.widget.choices:
                self.widget.choices = [*self.widget.choices, value]
            self.widget.value = value
        elif value is None:
            self.widget.value = self.widget.min
        else:
            self.widget.value = value
        self._exact, self._shown = value, self.widget.value


def _make_widget(item: dataclasses.Field[Any], kinds: tuple[Any, ...], *, optional: bool) -> Any:
    """Widget for an option, with its range, unit and choices."""
    meta = item.metadata
    words = meta["choices"] or meta.get("suggestions", ())
    if bool in kinds:
        return CheckBox(value=bool(item.default), text="")
    if words:
        return ComboBox(choices=list(words), value=words[0])
    if str in kinds:
        return LineEdit()
    if int in kinds and not optional:
        high = _LARGEST if meta["high"] is None else meta["high"]
        low = -_LARGEST if meta["low"] is None else meta["low"]
        widget: Any = SpinBox(min=low, max=high, value=low)
    else:
        widget = _float_box(item, whole=int in kinds, optional=optional)
    leave_wheel(widget.native)
    return widget


def _float_box(item: dataclasses.Field[Any], *, whole: bool, optional: bool) -> FloatSpinBox:
    """Box for a number; its step, and so its digits, follow from the default value.

    Whole numbers that may be automatic have one, too: boxes of whole numbers cannot show words.
    """
    meta = item.metadata
    default: Any = item.default
    typical = abs(float(default or 1.0))
    step = 1.0
    while step > typical / 5 and not whole:
        step /= 10
    high = 1e9 if meta["high"] is None else meta["high"]
    low = -1e9 if meta["low"] is None else meta["low"]
    digits = 0 if whole else max(2, len(f"{step:.9f}".rstrip("0").partition(".")[2]))
    box = FloatSpinBox(min=low, max=high, step=step, value=low)
    box.native.setDecimals(digits)
    box.native.setRange(low - step if optional else low, high)
    if optional:
        box.native.setSpecialValueText(AUTOMATIC)
    return box


class ConfigForm(QWidget, Generic[ConfigT]):
    """A form of the options of one step.

    Parameters
    ----------
    config
        Class of the configuration.
    only
        Options to show, None for all of the asked kind.
    advanced
        Show the options that hardly anyone needs, instead of the others.
    advice
        When to change an option, by its name; stands in its tooltip.
    """

    changed = Signal()

    def __init__(
        self,
        config: type[ConfigT],
        *,
        only: Collection[str] | None = None,
        advanced: bool = False,
        advice: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self._config = config
        hints = get_type_hints(config)
        rows = form_layout(self)
        self.fields: dict[str, _Field] = {}
        for item in dataclasses.fields(config):
            wanted = item.metadata["advanced"] == advanced
            if wanted and (only is None or item.name in only):
                tip = _tip(item, (advice or {}).get(item.name, ""))
                field = _Field(item, hints[item.name], tip)
                field.widget.changed.connect(self._tell)
                self.fields[item.name] = field
                rows.addRow(_label(item, tip), field.widget.native)

    def _tell(self) -> None:
        self.changed.emit()

    def values(self) -> dict[str, Any]:
        """Values of the options shown, by name."""
        return {name: field.get() for name, field in self.fields.items()}

    @property
    def config_name(self) -> str:
        """Name of the class of the configuration."""
        return self._config.__name__

    def show_values(self, values: Mapping[str, Any]) -> None:
        """Show the values of some options, by name; those of no field are left out."""
        for name in values.keys() & self.fields.keys():
            self.fields[name].set(values[name])

    def show_config(self, config: ConfigT) -> None:
        """Show the values of a configuration."""
        if not isinstance(config, self._config):
            raise InputError(
                f"The form is for {self._config.__name__}, not for {type(config).__name__}."
            )
        for name, field in self.fields.items():
            field.set(getattr(config, name))


def read_forms(config: type[ConfigT], *forms: ConfigForm[ConfigT], **values: Any) -> ConfigT:
    """Make the configuration that the forms show together.

    Parameters
    ----------
    config
        Class of the configuration.
    *forms
        Forms of it, such as the plain and the advanced one.
    **values
        Options that no form shows.
    """
    for form in forms:
        values.update(form.values())
    return config(**values)


def _tip(item: dataclasses.Field[Any], advice: str) -> str:
    """What an option means, when to change it, and its unit, range and default."""
    meta, default = item.metadata, item.default
    low, high = meta["low"], meta["high"]
    facts = [f"In {meta['unit']}"] if meta["unit"] else []
    if low is not None and high is not None:
        facts.append(f"from {low:g} to {high:g}")
    elif low is not None:
        facts.append(f"{low:g} or more")
    elif high is not None:
        facts.append(f"{high:g} or less")
    shown = AUTOMATIC if default is None else default
    if isinstance(default, bool):
        shown = "on" if default else "off"
    facts.append(f"at first {shown}")
    line = ", ".join(facts)
    return "\n".join(
        part for part in (meta["help"], advice, f"{line[0].upper()}{line[1:]}.") if part
    )


def _label(item: dataclasses.Field[Any], tip: str) -> QLabel:
    meta = item.metadata
    unit = _SHORT_UNITS.get(meta["unit"], meta["unit"])
    text = meta.get("label") or item.name.replace("_", " ")
    label = QLabel(f"{text} ({unit})" if unit else text)
    label.setToolTip(tip)
    label.setMinimumWidth(LABEL_WIDTH)
    return label


class _WheelGuard(QObject):
    """Lets a wheel pass by the widgets that do not have the keyboard's focus."""

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Pass a wheel on to what scrolls, unless the user is in this very box."""
        if event.type() == QEvent.Type.Wheel and not cast("QWidget", watched).hasFocus():
            event.ignore()
            return True
        return False


def leave_wheel(widget: QWidget) -> None:
    """Let a wheel that scrolls the dock not change what lies under the pointer."""
    widget.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    widget.installEventFilter(_WheelGuard(widget))


def form_layout(parent: QWidget) -> QFormLayout:
    """Give a widget the layout that all forms share."""
    rows = QFormLayout(parent)
    rows.setContentsMargins(0, 0, 0, 0)
    rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    rows.setLabelAlignment(Qt.AlignmentFlag.AlignLeft)
    return rows


def folded(
    title: str, *content: QWidget, on_open: Callable[[], None] | None = None
) -> QCollapsible:
    """Fold widgets under a title, closed; Tab passes by what cannot be seen."""
    box = QCollapsible(title, expandedIcon="▾", collapsedIcon="▸")
    box.setDuration(0)
    rows = box.layout()
    if rows is not None:
        rows.setContentsMargins(0, 0, 0, 0)
    for widget in content:
        box.addWidget(widget)
    box.collapse(animate=False)
    box.toggleButton().setToolTip(f"Unfold or fold: {title}")
    inner = box.content()
    inner.setVisible(False)
    box.toggled.connect(inner.setVisible)
    if on_open is not None:
        box.toggled.connect(lambda opened: on_open() if opened else None)
    return box
