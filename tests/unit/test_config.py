import dataclasses
import json
import math
from typing import get_args, get_type_hints

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_rvae import config as module
from napari_rvae.config import Config, DetectConfig, RVAEConfig, TrackConfig, option
from napari_rvae.errors import InputError

CONFIGS = [getattr(module, name) for name in module.__all__ if name not in ("Config", "option")]


def _values(item, hint):
    """Strategy for the allowed values of an option."""
    meta, default = item.metadata, item.default
    if meta["choices"]:
        return st.sampled_from(meta["choices"])
    if isinstance(default, bool):
        return st.booleans()
    if isinstance(default, int):
        return st.integers(meta["low"], meta["high"])
    if isinstance(default, str):
        return st.text(max_size=8)
    if int in get_args(hint):
        numbers = st.integers(meta["low"], meta["high"])
    else:
        numbers = st.floats(meta["low"], meta["high"], allow_infinity=False, allow_nan=False)
    return st.none() | numbers if default is None else numbers


def configs(kind):
    hints = get_type_hints(kind)
    options = {item.name: _values(item, hints[item.name]) for item in dataclasses.fields(kind)}
    return st.builds(kind, **options)


@pytest.mark.parametrize("kind", CONFIGS)
def test_defaults_are_valid_and_every_option_has_help(kind):
    kind()
    for item in dataclasses.fields(kind):
        assert item.metadata["help"].endswith(".")


@pytest.mark.parametrize("kind", CONFIGS)
def test_labels_are_short_and_tell_options_apart(kind):
    labels = [item.metadata["label"] for item in dataclasses.fields(kind)]
    assert len(set(labels)) == len(labels)
    for label in labels:
        assert 3 <= len(label) <= 22
        assert label[0].isupper()
        assert not label.endswith((".", ":"))


def test_suggestions_forbid_nothing():
    (item,) = (item for item in dataclasses.fields(DetectConfig) if item.name == "device")
    assert item.metadata["suggestions"] == ("auto", "cpu", "cuda", "mps")
    assert item.metadata["choices"] == ()
    assert DetectConfig(device="cuda:1").device == "cuda:1"


@given(st.sampled_from(CONFIGS).flatmap(configs))
def test_json_and_back_is_the_identity(made):
    assert type(made).from_json(made.to_json()) == made


@given(st.sampled_from(CONFIGS).flatmap(configs))
def test_a_dictionary_and_back_is_the_identity(made):
    values = made.to_dict()
    assert json.loads(json.dumps(values)) == values
    assert type(made).from_dict(values) == made


def test_options_are_keyword_only_and_frozen():
    with pytest.raises(TypeError):
        TrackConfig(0.3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrackConfig().max_gap = 3


def test_a_misspelt_option_is_a_type_error():
    with pytest.raises(TypeError, match="epoch"):
        dataclasses.replace(RVAEConfig(), epoch=3)


def test_an_unknown_key_names_the_known_ones():
    with pytest.raises(InputError, match=r"no option max_gaps.*max_gap"):
        TrackConfig.from_dict({"max_gaps": 3})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "RVAEConfig.epochs = 0 is out of range"),
        ({"epochs": 2.5}, "not of type int"),
        ({"epochs": True}, "not of type int"),
        ({"epochs": "many"}, "not of type int"),
        ({"epochs": None}, "not of type int"),
        ({"shifts": 1}, "not of type bool"),
        ({"beta": math.nan}, "NaN"),
        ({"beta": math.inf}, "out of range"),
        ({"learning_rate": 2}, "out of range"),
    ],
)
def test_a_bad_value_is_named(options, message):
    with pytest.raises(InputError, match=message):
        RVAEConfig(**options)


def test_a_bad_choice_names_the_choices():
    with pytest.raises(InputError, match="bright, dark"):
        DetectConfig(contrast="grey")


def test_ends_of_the_range_are_allowed():
    assert RVAEConfig(n_latents=1).n_latents == 1
    assert RVAEConfig(n_latents=8).n_latents == 8


@pytest.mark.parametrize("number", [np.int64(3), np.array(3), np.uint8(3)])
def test_numpy_numbers_become_pythons_own(number):
    assert type(RVAEConfig(epochs=number).epochs) is int


def test_whole_numbers_are_good_where_a_fraction_is_asked_for():
    assert RVAEConfig(beta=2).beta == 2
    assert DetectConfig(sigma=3).sigma == 3


@pytest.mark.parametrize("text", ["", "{", "[1]", "3", '"a"', "null"])
def test_bad_json_is_an_input_error(text):
    with pytest.raises(InputError):
        TrackConfig.from_json(text)


def test_options_of_a_subclass_are_checked_too():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Narrow(Config):
        width: float = option(1.0, "Width.", low=0.5, unit="px", advanced=True)

    (item,) = dataclasses.fields(Narrow)
    assert item.metadata["unit"] == "px"
    assert item.metadata["advanced"]
    assert item.metadata["label"] == ""
    assert item.metadata["suggestions"] == ()
    with pytest.raises(InputError, match="out of range"):
        Narrow(width=0.1)


def test_an_infinite_number_is_refused_so_that_the_json_stays_valid():
    with pytest.raises(InputError):
        DetectConfig(neighbour_distance=math.inf)
