"""The groups against numpy, and in a small run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from studyrun import open_run
from studyrun.errors import ComponentError
from studyrun.launch.start import launch
from studyrun.plugin import Data, Split
from studyrun.registry import Registry
from studyrun.study import load_study

PROJECT = Path(__file__).resolve().parents[3]
MyGroups = Registry(PROJECT).load("groups", "my_groups")

STUDY = """
model: {use: mlp, hidden: [4], activation: tanh}
dataset: {use: chebyshev, degree: 3, points: 20}
groups: {use: my_groups, size: 3}
loss: squared_error
optimizer: {use: gd, lr: 0.01}
stop: {steps: 2}
probes: [loss, per_example_loss]
"""


def form(inputs: torch.Tensor, **options: object):
    data = Data(Split(inputs, torch.zeros(len(inputs), 1)), None, (), 1)
    return MyGroups(**options).form(data, torch.Generator())


def test_they_are_the_ends_of_the_sorted_norms() -> None:
    inputs = torch.randn(30, 2, 5, generator=torch.Generator().manual_seed(0))
    members = form(inputs, size=4).members
    order = np.argsort(np.linalg.norm(inputs.numpy().reshape(30, 10), axis=1))
    assert set(members["small"].tolist()) == set(order[:4])
    assert set(members["large"].tolist()) == set(order[-4:])


def test_groups_that_would_overlap_are_refused() -> None:
    with pytest.raises(ComponentError, match="two groups of 3 do not fit into 5 training examples"):
        form(torch.randn(5, 2), size=3)


def test_a_run_follows_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDYRUN_PLUGINS", str(PROJECT / "plugins"))
    (tmp_path / "study.yaml").write_text(STUDY)
    launch(load_study(tmp_path / "study.yaml"), out=tmp_path / "run")
    run = open_run(tmp_path / "run")
    losses = run["baseline"]["per_example_loss"]["loss"].values[0]
    # the points of this data set are evenly spaced on [−1, 1], so the largest norms are at both ends
    large = run["baseline"]["loss"]["by_group"].select(group="large")[0]
    ends = [[0, 1, 19], [0, 18, 19]]
    assert min(abs(large - losses[rows].mean()) for rows in ends) < 1e-6
