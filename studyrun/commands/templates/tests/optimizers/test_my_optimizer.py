"""The optimizer's threshold against what a quadratic does on either side of it, and in a small run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from studyrun import open_run
from studyrun.launch.start import launch
from studyrun.registry import Registry
from studyrun.study import load_study

PROJECT = Path(__file__).resolve().parents[3]
MyOptimizer = Registry(PROJECT).load("optimizers", "my_optimizer")

STUDY = """
model: {use: mlp, hidden: [4], activation: tanh}
dataset: {use: chebyshev, degree: 1, points: 20}
loss: squared_error
optimizer: {use: my_optimizer, lr: 0.05, decay: 0.001}
stop: {steps: 50}
probes: [loss]
"""


def distance_after(steps: int, curvature: float, **options: float) -> float:
    """How far from the minimum of ½ h x² an optimizer that starts at 1 has got."""
    place = torch.nn.Parameter(torch.ones((), dtype=torch.float64))
    optimizer = MyOptimizer(**options).build([place])
    for _ in range(steps):
        optimizer.zero_grad()
        (curvature * place**2 / 2).backward()
        optimizer.step()
    return abs(place.item())


@pytest.mark.parametrize("options", [{"lr": 0.1}, {"lr": 0.1, "decay": 4.0}])
def test_the_threshold_is_where_stability_ends(options: dict[str, float]) -> None:
    edge = MyOptimizer(**options).threshold().value
    assert distance_after(500, 0.99 * edge, **options) < 0.5
    assert distance_after(500, 1.01 * edge, **options) > 2


def test_one_step_is_the_formula() -> None:
    assert distance_after(1, curvature=2.0, lr=0.1, decay=0.5) == pytest.approx(1 - 0.1 * (2.0 + 0.5))


def test_a_run_records_the_threshold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDYRUN_PLUGINS", str(PROJECT / "plugins"))
    (tmp_path / "study.yaml").write_text(STUDY)
    launch(load_study(tmp_path / "study.yaml"), out=tmp_path / "run")
    baseline = open_run(tmp_path / "run")["baseline"]
    assert baseline.threshold == pytest.approx(2 / 0.05 - 0.001)
    assert baseline["loss"]["train"].values[-1] < baseline["loss"]["train"].values[0]
