"""What holds for every built-in component: described, listed, round-trips through JSON, named after its file."""

from __future__ import annotations

import json
import re

import pytest
from pydantic import ValidationError

from studyrun.component import KINDS, Component
from studyrun.registry import Registry

REGISTRY = Registry()
ALL = [(kind, listing.name) for kind in KINDS for listing in REGISTRY.names(kind)]
NEEDED = {
    ("optimizers", "gd"): {"lr": 0.1},
    ("optimizers", "sgd"): {"lr": 0.1},
    ("optimizers", "torch_optimizer"): {"name": "RMSprop", "lr": 0.1},
    ("triggers", "step"): {"step": 3},
    ("triggers", "time"): {"time": 0.5},
    ("triggers", "loss_below"): {"value": 0.1},
    ("triggers", "threshold"): {"probe": "loss", "channel": "train", "below": 0.1},
    ("groups", "indices"): {"members": {"few": [1, 2]}},
    ("claims", "sign"): {"channel": "by_group", "sign": "positive", "arm": "exit", "select": {"group": "inlier"}},
    ("claims", "correlation"): {"channel": "cos2", "claimed": "positive"},
    ("claims", "contrast"): {"channel": "cos2", "arm": "exit", "greater": {"model": "mlp"}, "than": {"model": "cnn"}},
    ("claims", "dose"): {"channel": "train", "sign": "positive"},
    ("claims", "ordering"): {"channel": "cos2", "greater": "inlier", "than": "boundary"},
    ("claims", "ratio"): {"channel": "coupling_squared", "over": "influence", "within": 3},
    ("figures", "channels"): {"probe": "loss"},
}


@pytest.mark.parametrize(("kind", "name"), ALL)
class TestEveryComponent:
    def test_is_named_after_its_file(self, kind: str, name: str) -> None:
        camel = "".join(part.capitalize() for part in name.split("_"))
        assert REGISTRY.load(kind, name).__name__ == camel

    def test_is_described(self, kind: str, name: str) -> None:
        listing = REGISTRY.find(kind, name)
        assert re.match(r"[A-Z∇].{15,}[.:]$", listing.summary), listing.summary
        for option, field in REGISTRY.load(kind, name).model_fields.items():
            assert field.description, f"{kind}/{name}: the option {option} has no docstring"

    def test_options_round_trip_through_json(self, kind: str, name: str) -> None:
        component = REGISTRY.load(kind, name)
        try:
            built = component.model_validate(NEEDED.get((kind, name), {}))
        except ValidationError as error:
            missing = [problem["loc"] for problem in error.errors() if problem["type"] == "missing"]
            pytest.fail(f"say in NEEDED what {kind}/{name} needs: {missing or error}")
        again = component.model_validate_json(json.dumps(built.model_dump(mode="json")), strict=True)
        assert again == built

    def test_is_frozen_and_refuses_unknown_options(self, kind: str, name: str) -> None:
        component: type[Component] = REGISTRY.load(kind, name)
        assert component.model_config["frozen"]
        with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
            component.model_validate({**NEEDED.get((kind, name), {}), "no_such_option": 1})


def test_there_are_components_of_every_kind() -> None:
    assert {kind for kind, _ in ALL} == set(KINDS)
