"""The loss against its closed form, finite differences, and in a small run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from studyrun import open_run
from studyrun.launch.start import launch
from studyrun.registry import Registry
from studyrun.study import load_study

PROJECT = Path(__file__).resolve().parents[3]
MyLoss = Registry(PROJECT).load("losses", "my_loss")

STUDY = """
model: {use: mlp, hidden: [4], activation: tanh}
dataset: {use: chebyshev, degree: 1, points: 20}
loss: my_loss
optimizer: {use: gd, lr: 0.05}
stop: {steps: 100}
probes: [loss]
"""


@pytest.mark.parametrize(("residual", "expected"), [(0.0, 0.0), (0.5, 0.125), (-1.0, 0.5), (3.0, 2.5), (-4.0, 3.5)])
def test_it_is_hubers_formula(residual: float, expected: float) -> None:
    targets = torch.tensor([[0.7]]).double()
    assert MyLoss().per_example(targets + residual, targets).item() == pytest.approx(expected)


def test_classes_are_one_hot() -> None:
    outputs = torch.tensor([[0.2, 0.9, -0.1]]).double()
    expected = (0.2**2 + 0.1**2 + 0.1**2) / 2
    assert MyLoss().per_example(outputs, torch.tensor([1])).item() == pytest.approx(expected)


def test_its_gradient_is_that_of_finite_differences() -> None:
    outputs = torch.linspace(-3, 3, 12).double().view(4, 3).requires_grad_()
    targets = torch.full((4, 3), 0.1).double()
    assert torch.autograd.gradcheck(lambda f: MyLoss(delta=0.8).per_example(f, targets), (outputs,))


def test_a_run_lowers_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDYRUN_PLUGINS", str(PROJECT / "plugins"))
    (tmp_path / "study.yaml").write_text(STUDY)
    launch(load_study(tmp_path / "study.yaml"), out=tmp_path / "run")
    loss = open_run(tmp_path / "run")["baseline"]["loss"]["train"].values
    assert loss[-1] < 0.5 * loss[0]
