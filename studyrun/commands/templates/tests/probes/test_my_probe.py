"""The probe against torch's own gradient, in a small run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from studyrun import open_run
from studyrun.engine.run import prepare
from studyrun.launch.start import launch
from studyrun.study import load_study

PROJECT = Path(__file__).resolve().parents[3]

STUDY = """
precision: float64
model: {use: mlp, hidden: [5], activation: tanh}
dataset: {use: chebyshev, degree: 3, points: 20}
loss: squared_error
optimizer: {use: gd, lr: 0.02}
stop: {steps: 6}
probes:
  - {use: my_probe, every: 2}
branches:
  copy: {at: {use: step, step: 2}}
"""


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STUDYRUN_PLUGINS", str(PROJECT / "plugins"))
    (tmp_path / "study.yaml").write_text(STUDY)
    return load_study(tmp_path / "study.yaml")


@pytest.fixture
def run(study, tmp_path: Path):
    launch(study, out=tmp_path / "run")
    return open_run(tmp_path / "run")


def test_it_is_the_largest_entry_of_torchs_gradient(study, run, tmp_path: Path) -> None:
    problem = prepare(study, tmp_path).problem
    outputs = problem.model(problem.data.train.inputs)
    (outputs - problem.data.train.targets).square().sum(1).mean().backward()
    expected = max(parameter.grad.abs().max().item() for parameter in problem.model.parameters())
    assert run["baseline"]["my_probe"]["largest"].values[0] == pytest.approx(expected, rel=1e-12)


def test_the_change_is_that_of_what_was_recorded(run) -> None:
    probe = run["baseline"]["my_probe"]
    assert probe.step.tolist() == [0, 2, 4, 6]
    assert np.isnan(probe["change"].values[0])
    np.testing.assert_allclose(probe["change"].values[1:], np.diff(probe["largest"].values), rtol=1e-12)


def test_a_branch_takes_its_parents_memory_along(run) -> None:
    trunk, branch = run["baseline"]["my_probe"]["change"], run["copy"]["my_probe"]["change"]
    assert branch.values.tolist() == trunk.values[trunk.step >= 2].tolist()
