"""From specifications to objects and back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pytest

from gcl.core.classes import find_class, names
from gcl.core.errors import ConfigError
from gcl.core.registry import PARTS
from gcl.core.resolve import Slot, describe, hints_of, normalise, resolve, resolve_many
from gcl.losses.infonce import InfoNCE


class Knob:
    """A part with every kind of argument."""

    def __init__(
        self,
        size: int = 3,
        *,
        rate: float = 0.5,
        mode: Literal["a", "b"] = "a",
        flag: bool = False,
        label: str | None = None,
        sizes: list[int] | None = None,
        loss: Annotated[Any, Slot("loss")] = "infonce",
        parts: Annotated[Any, Slot("augmenter", many=True)] | None = None,
        views: Mapping[str, Annotated[Any, Slot("augmenter", many=True)]] | None = None,
    ):
        self.size, self.rate, self.mode, self.flag, self.label = size, rate, mode, flag, label
        self.sizes, self.loss, self.parts, self.views = sizes, loss, parts, views


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setitem(PARTS, "knob", {"knob": f"{__name__}:Knob"})
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])


def test_normal_form_has_every_argument_and_nested_parts():
    record = normalise("knob", "knob")
    assert record["size"] == 3
    assert record["loss"] == {"name": "infonce", "temperature": 0.5, "intra_view": True, "compat": None}
    assert record["parts"] is None


def test_the_same_name_keeps_the_presets_arguments_and_a_new_one_drops_them():
    preset = {"name": "team_up", "temperature": 0.2, "ramp_max": 5.0}
    assert normalise("loss", {"temperature": 0.3}, preset)["ramp_max"] == 5.0
    assert normalise("loss", {"temperature": 0.3}, preset)["temperature"] == 0.3
    assert normalise("loss", "infonce", preset)["temperature"] == 0.5  # that class's default, not the sibling's
    assert normalise("loss", "team_up", preset)["temperature"] == 0.2


def test_a_nested_override_keeps_the_nested_name():
    record = normalise(
        "knob", {"loss": {"temperature": 0.1}}, {"name": "knob", "loss": {"name": "team_up", "ramp_max": 2.0}}
    )
    assert (record["loss"]["name"], record["loss"]["temperature"], record["loss"]["ramp_max"]) == ("team_up", 0.1, 2.0)


def test_named_parts_merge_by_key_and_null_takes_one_out():
    preset = {"name": "knob", "parts": {"edge": {"name": "edge_drop", "drop_prob": 0.2}, "feature": "feature_mask"}}
    changed = normalise("knob", {"parts": {"edge": {"drop_prob": 0.4}}}, preset)["parts"]
    assert list(changed) == ["edge", "feature"]
    assert changed["edge"]["drop_prob"] == 0.4
    without = normalise("knob", {"parts": {"feature": None}}, preset)["parts"]
    assert without["feature"] is None  # so that it stays out when this is merged over the defaults again
    assert list(resolve_many("augmenter", without)) == ["edge"]
    assert normalise("knob", {"parts": without}, preset)["parts"] == without
    assert list(normalise("knob", {"parts": "identity"}, preset)["parts"]) == ["augmenter"]


def test_mappings_of_named_parts_merge_two_levels_down():
    preset = {"name": "knob", "views": {"view1": {"edge": "edge_drop"}, "view2": {"edge": "edge_drop"}}}
    views = normalise("knob", {"views": {"view1": {"edge": {"drop_prob": 0.7}}}}, preset)["views"]
    assert views["view1"]["edge"]["drop_prob"] == 0.7
    assert views["view2"]["edge"]["drop_prob"] == normalise("augmenter", "edge_drop")["drop_prob"]


def test_names_classes_dotted_paths_and_objects_are_the_same_part():
    dotted = f"{InfoNCE.__module__}:InfoNCE"
    for spec in ("infonce", "InfoNCE".lower(), dotted, InfoNCE, {"name": InfoNCE.__module__ + ":InfoNCE"}):
        assert isinstance(resolve("loss", spec), InfoNCE)
    loss = InfoNCE(0.1)
    assert resolve("loss", loss) is loss
    assert resolve("loss", "infonce", temperature=0.9).temperature == 0.9
    assert list(resolve_many("loss", {"first": "infonce", "second": "nt_xent"})) == ["first", "second"]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("knb", ["unknown knob", "'knob'"]),
        ({"name": "knob", "siz": 3}, ["unknown key 'siz'", "'size'"]),
        ({"name": "knob", "size": 2.5}, ["knob.size", "whole number", "2.5"]),
        ({"name": "knob", "size": True}, ["knob.size", "True"]),
        ({"name": "knob", "rate": "x"}, ["knob.rate", "finite number"]),
        ({"name": "knob", "rate": float("nan")}, ["knob.rate", "nan"]),
        ({"name": "knob", "rate": False}, ["knob.rate", "False"]),
        ({"name": "knob", "mode": "c"}, ["knob.mode", "'a', 'b'"]),
        ({"name": "knob", "flag": 1}, ["knob.flag", "true or false"]),
        ({"name": "knob", "label": 3}, ["knob.label", "text"]),
        ({"name": "knob", "sizes": [1, "x"]}, ["knob.sizes", "list"]),
        ({"name": "knob", "loss": {"name": "infonce", "temprature": 1.0}}, ["knob.loss", "'temperature'"]),
        ({"name": "knob", "loss": 3}, ["knob.loss", "3"]),
        ("no.such.module:Thing", ["cannot be imported"]),
        ("json:loads", ["not a class"]),
    ],
)
def test_wrong_specifications_are_one_sentence(spec, words):
    with pytest.raises(ConfigError) as caught:
        resolve("knob", spec)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_constructors_own_refusal_names_the_part():
    with pytest.raises(ConfigError, match="loss 'infonce': temperature"):
        resolve("loss", {"name": "infonce", "temperature": -1.0})


def test_a_description_resolves_to_an_equal_object():
    for slot in ("loss", "augmenter", "encoder", "projector", "communities", "method", "trainer", "evaluator"):
        for name in names(slot):
            if (slot, name) in (
                ("encoder", "pyg"),
                *(("augmenter", part) for part in ("pyg", "compose", "random_choice")),
            ):
                continue  # these need an argument
            described = describe(resolve(slot, normalise(slot, name)))
            assert described == normalise(slot, name)
            assert describe(resolve(slot, described)) == described


def test_an_object_without_stored_arguments_cannot_be_made_again():
    class Foreign:
        def __init__(self, secret: int):
            pass

    described = describe(Foreign(1))
    assert described["opaque"]
    with pytest.raises(ConfigError, match="cannot be made again"):
        normalise("loss", described)


def test_hints_of_a_constructor_keep_its_slots():
    class Holder:
        def __init__(self, loss: Annotated[Any, Slot("loss")] = None, *, size: int = 3):
            pass

    assert hints_of(Holder) == {"loss": Annotated[Any, Slot("loss")], "size": int}


def test_every_registered_class_is_there():
    for slot in PARTS:
        for name in names(slot):
            assert isinstance(find_class(slot, name), type)


def test_listing_names_and_help_import_no_torch():
    code = (
        "import sys, gcl; from gcl.core.classes import names; names('method');"
        "import gcl.cli.app; assert 'torch' not in sys.modules, 'torch'; assert 'torch_geometric' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
