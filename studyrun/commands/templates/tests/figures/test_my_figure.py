"""The figure in the report of a small run, its numbers against the trace."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from studyrun import open_run
from studyrun.launch.start import launch
from studyrun.report import build_report
from studyrun.study import load_study

PROJECT = Path(__file__).resolve().parents[3]

STUDY = """
model: {use: mlp, hidden: [4], activation: tanh}
dataset: {use: chebyshev, degree: 1, points: 20}
loss: squared_error
optimizer: {use: gd, lr: 0.05}
stop: {steps: 20}
probes: [loss]
branches:
  slow: {at: {use: step, step: 5}, set: {optimizer.lr: 0.01}}
figures: [my_figure]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STUDYRUN_PLUGINS", str(PROJECT / "plugins"))
    (tmp_path / "study.yaml").write_text(STUDY)
    launch(load_study(tmp_path / "study.yaml"), out=tmp_path / "run")
    return tmp_path / "run"


def test_it_is_drawn_in_every_format(folder: Path) -> None:
    result = build_report(folder)
    assert not result.broken
    names = {path.name for path in (folder / "report" / "figures").iterdir()}
    assert {f"my_figure.{suffix}" for suffix in ("png", "svg", "pdf")} <= names


def test_its_numbers_are_the_traces(folder: Path) -> None:
    build_report(folder)
    run = open_run(folder)
    first = run["baseline"]["loss"]["train"].values[0]
    with next((folder / "report").rglob("my_figure*.csv")).open(newline="") as file:
        numbers = {float(cell) for row in csv.reader(file) for cell in row if _is_number(cell)}
    for arm in ("baseline", "slow"):
        for value in run[arm]["loss"]["train"].values / first:
            assert min(abs(number - value) for number in numbers) < 1e-6


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
