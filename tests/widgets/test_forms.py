"""Forms: config -> form -> config is the identity, whatever the values."""

import dataclasses
import types
from typing import get_args, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qtpy.QtWidgets import QLabel

pytest.importorskip("napari")

from napari_rvae import (
    CropConfig,
    DetectConfig,
    RVAEConfig,
    SpeciesConfig,
    TrackConfig,
    UnitConfig,
)
from napari_rvae._napari.forms import ConfigForm, read_forms
from napari_rvae.errors import InputError

CONFIGS = (DetectConfig, SpeciesConfig, CropConfig, RVAEConfig, UnitConfig, TrackConfig)


def _values(item, hint):
    """Any value that the option allows."""
    meta, kinds = item.metadata, get_args(hint) or (hint,)
    if bool in kinds:
        return st.booleans()
    if meta["choices"]:
        return st.sampled_from(meta["choices"])
    if str in kinds:
        return st.sampled_from(["auto", "cpu", "cuda", "cuda:1"])
    low, high = meta["low"], meta["high"]
    if int in kinds:
        numbers = st.integers(low or 0, min(high or 2**40, 2**40))
    else:
        numbers = st.floats(low or 0.0, min(high or 1e6, 1e6), allow_nan=False)
    return st.none() | numbers if types.NoneType in kinds else numbers


@st.composite
def configs(draw):
    config = draw(st.sampled_from(CONFIGS))
    hints = get_type_hints(config)
    return config(
        **{item.name: draw(_values(item, hints[item.name])) for item in dataclasses.fields(config)}
    )


@pytest.fixture
def forms(qtbot):
    """One plain and one advanced form of every configuration."""
    made = {c: (ConfigForm(c), ConfigForm(c, advanced=True)) for c in CONFIGS}
    for pair in made.values():
        for form in pair:
            qtbot.addWidget(form)
    return made


@pytest.fixture(scope="module")
def shared_forms(qapp):
    return {c: (ConfigForm(c), ConfigForm(c, advanced=True)) for c in CONFIGS}


@settings(max_examples=200)
@given(config=configs())
def test_config_to_form_to_config_is_the_identity(shared_forms, config):
    pair = shared_forms[type(config)]
    for form in pair:
        form.show_config(config)
    assert read_forms(type(config), *pair) == config


@pytest.mark.parametrize("config", CONFIGS)
def test_a_fresh_form_shows_the_defaults(forms, config):
    assert read_forms(config, *forms[config]) == config()


def test_what_is_typed_is_what_is_read(forms):
    plain, _ = forms[DetectConfig]
    plain.fields["min_snr"].widget.native.setValue(7.5)
    plain.fields["contrast"].widget.native.setCurrentText("dark")
    assert plain.values()["min_snr"] == 7.5
    assert plain.values()["contrast"] == "dark"


def test_an_optional_number_can_be_given_and_taken_back(forms):
    field = forms[DetectConfig][0].fields["neighbour_distance"]
    assert field.get() is None
    assert field.widget.native.text() == "automatic"
    field.widget.native.setValue(12.0)
    assert field.get() == 12.0
    field.widget.native.setValue(field.widget.native.minimum())
    assert field.get() is None


def test_a_whole_number_may_be_automatic(forms):
    field = forms[RVAEConfig][0].fields["n_latents"]
    assert (field.get(), field.widget.native.text()) == (None, "automatic")
    field.widget.native.setValue(1)
    assert field.get() == 1
    field.set(None)
    assert field.widget.native.text() == "automatic"


def test_units_and_help_are_shown(forms):
    plain = forms[DetectConfig][0]
    assert "neighbour" in plain.fields["neighbour_distance"].widget.native.toolTip()
    labels = [label.text() for label in plain.findChildren(QLabel)]
    assert any(text.endswith("(px)") for text in labels)


def test_every_change_is_told(forms, qtbot):
    plain, _ = forms[RVAEConfig]
    with qtbot.waitSignal(plain.changed):
        plain.fields["epochs"].widget.value = 7


def test_a_form_shows_its_own_kind_only(forms):
    with pytest.raises(InputError, match="not for CropConfig"):
        forms[DetectConfig][0].show_config(CropConfig())
