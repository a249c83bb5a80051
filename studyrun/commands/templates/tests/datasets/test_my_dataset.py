"""The data set against what its docstring says, and in a small run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from studyrun import open_run
from studyrun.launch.start import launch
from studyrun.registry import Registry
from studyrun.study import load_study

PROJECT = Path(__file__).resolve().parents[3]
MyDataset = Registry(PROJECT).load("datasets", "my_dataset")

STUDY = """
model: {use: mlp, hidden: []}
dataset: {use: my_dataset, separation: 8}
loss: squared_error
optimizer: {use: gd, lr: 0.05}
stop: {steps: 50}
probes: [loss]
"""


def load(seed: int = 0, **options: object):
    return MyDataset(**options).load(Path("unused"), torch.Generator().manual_seed(seed))


def test_the_classes_lie_where_they_should() -> None:
    data = load(size=20_000, separation=3.0)
    means = torch.stack([data.train.inputs[data.train.targets == label].mean(0) for label in (0, 1)])
    # a mean of 10,000 has a standard error of 0.01; five of them leave room for every seed but one in a million
    torch.testing.assert_close(means, torch.tensor([[-1.5, 0.0], [1.5, 0.0]]).double(), atol=0.05, rtol=0)


def test_sizes_are_those_asked_for() -> None:
    data = load(size=7, test_size=0, dimensions=3)
    assert data.train.inputs.shape == (7, 3)
    assert torch.bincount(data.train.targets).tolist() == [4, 3]
    assert data.test is None


def test_one_seed_names_one_data_set() -> None:
    assert torch.equal(load(seed=3).train.inputs, load(seed=3).train.inputs)
    assert not torch.equal(load(seed=3).train.inputs, load(seed=4).train.inputs)


def test_a_line_separates_clouds_far_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDYRUN_PLUGINS", str(PROJECT / "plugins"))
    (tmp_path / "study.yaml").write_text(STUDY)
    launch(load_study(tmp_path / "study.yaml"), out=tmp_path / "run")
    assert open_run(tmp_path / "run")["baseline"]["loss"]["test_accuracy"].values[-1] > 0.95
