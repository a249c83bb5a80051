"""The JSON Schema against the loader: what the loader takes the schema takes, and it catches typos by itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from studyrun.component import KINDS
from studyrun.registry import Registry
from studyrun.study import Study, editor_schema, json_schema
from studyrun.study.tree import Faults, Origin, plain
from studyrun.study.yaml_reader import parse

HERE = Path(__file__).parent
SHIPPED = sorted((HERE.parents[1] / "studies").rglob("*.yaml"))
Load = Callable[..., Study]
BASE = (
    "model: net\ndataset: toy\nloss: square\noptimizer: {use: descent, lr: 0.1}\nstop: {steps: 10}\nprobes: [level]\n"
)
FULL = """\
title: full
seed: {init: 3}
device: cuda:1
groups: {use: halves, size: 1e1}
branches: {exit: {at: above, from: baseline, set: {optimizer.lr: 1e-2}}, gone: null}
sweep: {seed: [0, 1], zip: {optimizer.lr: [1e-05, 0.1], model.hidden: [[8], [9, 9]]}}
figures: [panel, {use: panel, as: second, rows: 2}]
claims: [{use: holds, as: it_holds}]
checkpoints: {seconds: 5}
profiles: {smoke: {stop: {steps: 1}, optimizer: {lr: 0.2}, groups: null, probes: [{use: level, every: {log: 3}}]}}
"""
TYPOS = {
    "unknown section": "lossy: square",
    "unknown component": "groups: halfs",
    "unknown component in a block": "groups: {use: halfs}",
    "unknown option": "groups: {use: halves, sise: 1}",
    "wrong type": "groups: {use: halves, size: x}",
    "quoted number": "chunk_size: '3'",
    "no use": "groups: {size: 3}",
    "unknown precision": "precision: float16",
    "unknown device": "device: gpu",
    "negative seed": "seed: -1",
    "unknown purpose": "seed: {inti: 1}",
    "branch without trigger": "branches: {exit: {set: {}}}",
    "branch sets the model": "branches: {exit: {at: above, set: {model.hidden: [1]}}}",
    "branch with unknown key": "branches: {exit: {at: above, to: x}}",
    "sweep of no list": "sweep: {seed: 3}",
    "unsafe label": "figures: [{use: panel, as: ../a}]",
    "unknown figure": "figures: [panl]",
    "unknown checkpoint option": "checkpoints: {second: 5}",
    "typo in a profile": "profiles: {smoke: {optimizer: {use: descent, lrr: 1}}}",
    "unknown section in a profile": "profiles: {smoke: {lossy: 1}}",
}


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return editor_schema.json_schema(Registry(HERE))


def data_of(text: str) -> Any:
    node = parse(text, Origin("f", 1, 1), Faults())
    assert node is not None
    return plain(node)


def accepts(schema: dict[str, Any], text: str) -> bool:
    return jsonschema.Draft202012Validator(schema).is_valid(data_of(text))


def test_it_is_a_schema(schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)


def test_it_takes_what_the_loader_takes(schema: dict[str, Any], load: Load) -> None:
    load(FULL, text=BASE)
    assert accepts(schema, BASE)
    assert accepts(schema, BASE + FULL)


def test_it_takes_a_block_that_leaves_to_its_default_what_it_does_not_say(schema: dict[str, Any], load: Load) -> None:
    text = BASE.replace("model: net", "model: {use: net, init: {scale: 3}}")
    assert load(text=text).document["model"]["init"] == {"scheme": "normal", "scale": 3.0}
    assert accepts(schema, text)
    assert not accepts(schema, text.replace("scale", "scal"))


def test_it_takes_every_resolved_document(schema: dict[str, Any], load: Load) -> None:
    assert accepts(schema, load(FULL, text=BASE).to_yaml())


def test_it_takes_a_file_that_extends_another(schema: dict[str, Any]) -> None:
    assert accepts(schema, "extends: other.yaml\noptimizer: {lr: 0.2}\n")
    assert not accepts(schema, "extends: other.yaml\noptimizer: {use: descent, lrr: 0.2}\n")


@pytest.mark.parametrize("typo", TYPOS.values(), ids=TYPOS.keys())
def test_it_refuses_typos(schema: dict[str, Any], typo: str) -> None:
    assert not accepts(schema, BASE + typo)


@pytest.mark.parametrize("section", ["model", "dataset", "loss", "optimizer", "stop"])
def test_it_asks_for_what_every_study_has(schema: dict[str, Any], section: str) -> None:
    assert not accepts(schema, "\n".join(line for line in BASE.splitlines() if not line.startswith(section)))


def test_it_asks_for_a_component_s_own_required_options(schema: dict[str, Any]) -> None:
    assert not accepts(schema, BASE.replace(", lr: 0.1", ""))
    assert not accepts(schema, BASE.replace("{use: descent, lr: 0.1}", "descent"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_it_takes_every_shipped_study(path: Path) -> None:
    schema = json_schema()
    errors = jsonschema.Draft202012Validator(schema).iter_errors(data_of(path.read_text(encoding="utf-8")))
    assert [f"{error.json_path}: {error.message}" for error in errors] == []


def test_every_component_within_reach_is_in_it(schema: dict[str, Any]) -> None:
    registry = Registry(HERE)
    for kind in KINDS:
        for listing in registry.names(kind):
            assert (f"{kind}.{listing.name}" in schema["$defs"]) == (listing.name != "explodes")


def test_a_broken_plugin_is_left_out_with_a_note(schema: dict[str, Any]) -> None:
    assert "explodes.py:5: importing 'explodes' (probes) raised RuntimeError: no fuse" in schema["$comment"]
    assert not accepts(schema, BASE.replace("[level]", "[explodes]"))


def test_options_are_described_for_the_reader(schema: dict[str, Any]) -> None:
    assert schema["$defs"]["optimizers.descent"]["properties"]["lr"]["description"] == "The learning rate η."
    assert schema["$defs"]["optimizers.descent"]["properties"]["use"]["description"] == "Steps against the gradient."
