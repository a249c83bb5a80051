"""The model against its formula, and in a small run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from studyrun import open_run
from studyrun.launch.start import launch
from studyrun.registry import Registry
from studyrun.study import load_study

PROJECT = Path(__file__).resolve().parents[3]
MyModel = Registry(PROJECT).load("models", "my_model")

STUDY = """
model: my_model
dataset: {use: chebyshev, degree: 1, points: 20}
loss: squared_error
optimizer: {use: gd, lr: 0.1}
stop: {steps: 200}
probes: [loss]
"""


def build(seed: int = 0, **options: object) -> torch.nn.Module:
    return MyModel(**options).build((2, 3), 4, torch.Generator().manual_seed(seed))


def test_it_is_an_affine_map() -> None:
    model, first, second = build(), torch.randn(5, 2, 3).double(), torch.randn(5, 2, 3).double()
    torch.testing.assert_close(model((first + second) / 2), (model(first) + model(second)) / 2)
    assert model(first).shape == (5, 4)


def test_one_seed_names_one_model() -> None:
    same, other = build(seed=0).state_dict(), build(seed=1).state_dict()
    assert all(torch.equal(value, same[name]) for name, value in build(seed=0).state_dict().items())
    assert not torch.equal(same["weight"], other["weight"])


def test_building_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    build()
    assert torch.equal(before, torch.get_rng_state())


def test_a_line_is_learnt_by_gradient_descent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDYRUN_PLUGINS", str(PROJECT / "plugins"))
    (tmp_path / "study.yaml").write_text(STUDY)
    launch(load_study(tmp_path / "study.yaml"), out=tmp_path / "run")
    loss = open_run(tmp_path / "run")["baseline"]["loss"]["train"].values
    assert loss[-1] < 1e-3 * loss[0]
