"""The trigger against the recorded losses, in small runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from studyrun import open_run
from studyrun.launch.start import launch
from studyrun.study import load_study

PROJECT = Path(__file__).resolve().parents[3]

STUDY = """
model: {use: mlp, hidden: [4], activation: tanh}
dataset: {use: chebyshev, degree: 1, points: 20}
loss: squared_error
optimizer: {use: gd, lr: 0.05}
stop: {steps: 60}
probes: [loss]
branches:
  early: {at: {use: my_trigger, share: 0.5}}
  never: {at: {use: my_trigger, share: 1.0e-9}}
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STUDYRUN_PLUGINS", str(PROJECT / "plugins"))
    (tmp_path / "study.yaml").write_text(STUDY)
    launch(load_study(tmp_path / "study.yaml"), out=tmp_path / "run")
    return open_run(tmp_path / "run")


def test_it_fires_at_the_first_step_below(run) -> None:
    loss = run["baseline"]["loss"]["train"]
    first = loss.step[np.flatnonzero(loss.values < 0.5 * loss.values[0])[0]]
    assert run["early"].fork_step == first > 0


def test_where_it_never_fires_the_reason_is_recorded(run) -> None:
    assert not run["never"].started
    assert "stayed at or above 1e-09 of its first value" in run["never"].end_reason
