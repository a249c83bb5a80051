"""The claim on a small run, its statistic against the trace."""

from __future__ import annotations

from pathlib import Path

import pytest

from studyrun import open_run
from studyrun.launch.start import launch
from studyrun.plugin import for_run
from studyrun.registry import Registry
from studyrun.report import build_report
from studyrun.study import load_study

PROJECT = Path(__file__).resolve().parents[3]
MyClaim = Registry(PROJECT).load("claims", "my_claim")

STUDY = """
model: {use: mlp, hidden: [4], activation: tanh}
dataset: {use: chebyshev, degree: 1, points: 20}
loss: squared_error
optimizer: {use: gd, lr: 0.05}
stop: {steps: 30}
probes: [loss]
claims: [{use: my_claim, share: 0.9, as: it_learns}]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STUDYRUN_PLUGINS", str(PROJECT / "plugins"))
    (tmp_path / "study.yaml").write_text(STUDY)
    launch(load_study(tmp_path / "study.yaml"), out=tmp_path / "run")
    return tmp_path / "run"


def test_the_statistic_is_the_ratio_of_the_recorded_losses(folder: Path) -> None:
    run = open_run(folder)
    loss = run["baseline"]["loss"]["train"].values
    verdict = MyClaim(share=0.9).decide(for_run(run))
    assert verdict.statistic == pytest.approx(loss[-1] / loss[0])
    assert verdict.holds
    assert verdict.runs == 1


def test_it_can_fail_and_it_can_be_undecided(folder: Path) -> None:
    ensemble = for_run(open_run(folder))
    assert MyClaim(share=1e-6).decide(ensemble).holds is False
    assert MyClaim(arm="exit").decide(ensemble).holds is None


def test_the_report_decides_it(folder: Path) -> None:
    ((label, verdict),) = build_report(folder).claims
    assert label == "it_learns"
    assert verdict.holds
