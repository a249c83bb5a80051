"""Probes leave no mark on training, and a probe that tries is caught; each check is seen to fail without its guard."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import ALL_PROBES, TINY

from studyrun.engine import random_state
from studyrun.engine.events import Silent
from studyrun.engine.guard import MarkGuard
from studyrun.engine.run import execute, prepare
from studyrun.errors import ProbeError

ROGUE = '''\
"""A probe that misbehaves."""

import gc
import random
from typing import Literal

import numpy
import torch

from studyrun.plugin import Channel, Probe


class Rogue(Probe):
    """Misbehave in one of several ways."""

    way: Literal["draw", "parameter", "data_attribute", "inputs", "test_inputs", "gradient", "momentum", "late"]

    def channels(self, context):
        return [Channel("value", "nothing")]

    def measure(self, snapshot, carry):
        first = next(iter(snapshot.parameters.values()))
        match self.way:
            case "draw":
                torch.rand(3), numpy.random.rand(), random.random()
            case "parameter":
                first.mul_(1.5)
            case "data_attribute":
                first.data.mul_(1.5)
            case "inputs":
                snapshot.context.data.train.inputs.add_(0.1)
            case "test_inputs":
                snapshot.context.data.test.inputs.add_(0.1)
            case "momentum":
                buffers = [o for o in gc.get_objects() if type(o) is torch.optim.SGD]
                for state in (s for o in buffers for s in o.state.values() if s.get("momentum_buffer") is not None):
                    state["momentum_buffer"].mul_(2)
            case "late":
                if snapshot.step == 6:
                    first.mul_(1.5)
            case "gradient":
                snapshot._pass.gradient[0].zero_()
        return {"value": 0.0}, carry
'''

NOISY = '''\
"""A model that draws from the global generator while it trains."""

import torch
from torch import nn

from studyrun.plugin import Model


class Noisy(Model):
    """Linear, on inputs with dropout."""

    def build(self, example_shape, outputs, init):
        layer = nn.Linear(1024, outputs, dtype=torch.float64)
        with torch.no_grad():
            layer.weight.normal_(0, 0.01, generator=init)
            layer.bias.zero_()
        return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), layer)
'''


@pytest.fixture
def final_parameters(tiny, tmp_path: Path, data_folder):
    """The parameters that a tiny study with these probes ends in."""
    for kind, name, source in (("probes", "rogue", ROGUE), ("models", "noisy", NOISY)):
        folder = tmp_path / "plugins" / kind
        folder.mkdir(parents=True)
        (folder / f"{name}.py").write_text(source)
    count = iter(range(100))

    def train(probes: str, *overrides: str) -> bytes:
        prepared = prepare(tiny(probes, *overrides, text=TINY.replace("  - loss\n", "")), data_folder)
        folder = tmp_path / f"marks{next(count)}"
        folder.mkdir()
        execute(prepared, folder, [], Silent())
        return b"".join(parameter.detach().numpy().tobytes() for parameter in prepared.problem.model.parameters())

    return train


PROBES = ["  - loss\n", *(line + "\n" for line in ALL_PROBES.splitlines())]


@pytest.mark.parametrize(
    "optimizer", ["{use: gd, lr: 0.01}", "{use: sgd, lr: 0.01, batch_size: 10}"], ids=["gd", "sgd"]
)
def test_training_is_the_same_with_and_without_any_probe(final_parameters, optimizer: str) -> None:
    bare = final_parameters("  []", f"optimizer={optimizer}")
    for probe in PROBES:
        assert final_parameters(probe, f"optimizer={optimizer}") == bare, probe
    assert final_parameters("".join(PROBES), f"optimizer={optimizer}") == bare


def test_drawing_from_a_global_generator_leaves_no_mark(final_parameters) -> None:
    noisy = "model=noisy"
    assert final_parameters("  - {use: rogue, way: draw}", noisy) == final_parameters("  []", noisy)


def test_without_the_guard_that_draw_would_be_seen(final_parameters, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = final_parameters("  []", "model=noisy")
    monkeypatch.setattr(random_state, "restore", lambda state, device: None)
    assert final_parameters("  - {use: rogue, way: draw}", "model=noisy") != bare


@pytest.mark.parametrize(
    ("way", "what"),
    [
        ("parameter", "parameter layers.0.weight"),
        ("data_attribute", "parameter layers.0.weight"),
        ("inputs", "train inputs"),
        ("test_inputs", "test inputs"),
        ("momentum", "optimizer momentum_buffer 0"),
        ("late", "parameter layers.0.weight"),
        ("gradient", "gradient 0"),
    ],
)
def test_a_write_in_place_is_refused_by_name(final_parameters, way: str, what: str) -> None:
    with pytest.raises(ProbeError, match=f"probe 'rogue' wrote to {what} in place"):
        final_parameters(f"  - {{use: rogue, way: {way}}}", "optimizer.momentum=0.5")


@pytest.mark.parametrize("way", ["parameter", "data_attribute", "inputs", "gradient"])
def test_without_the_guard_that_write_would_be_seen(
    final_parameters, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    bare = final_parameters("  []")
    monkeypatch.setattr(MarkGuard, "changed", lambda *arguments: None)
    assert final_parameters(f"  - {{use: rogue, way: {way}}}") != bare


def test_generators_depend_on_seed_and_purpose_alone() -> None:
    torch.manual_seed(5)
    first = random_state.seeded(0, "init").initial_seed()
    torch.manual_seed(6)
    assert random_state.seeded(0, "init").initial_seed() == first
    assert len({random_state.seeded(s, p).initial_seed() for s in range(20) for p in ("init", "order", "probe")}) == 60
