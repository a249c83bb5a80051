"""One seed is one run, bit for bit: with everything that `studyrun new` writes, and with every worked plugin."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import assert_same_channels

from studyrun.cli import call
from studyrun.engine.events import Silent
from studyrun.engine.run import execute, prepare
from studyrun.registry import Registry
from studyrun.report import build_report
from studyrun.study import load_study
from studyrun.trace.reader import open_run

WORKED = Path(__file__).resolve().parents[1] / "plugins"

GENERATED = """\
title: everything generated
model: own_model
dataset: own_dataset
groups: own_groups
loss: own_loss
optimizer: {use: own_optimizer, lr: 0.05}
stop: {steps: 12}
probes: [loss, own_probe]
branches: {late: {at: {use: own_trigger, share: 0.9}, set: {optimizer.lr: 0.02}}}
figures: [own_figure]
claims: [own_claim]
"""

STUDY = """\
title: a worked probe
model: {use: mlp, hidden: [6], activation: tanh}
dataset: {use: dice, classes: [three, six], size: 30, test_size: 0}
groups: {use: prototypes, per_class: 2}
loss: squared_error
optimizer: {use: gd, lr: 0.01}
stop: {steps: 6}
probes: [loss, per_example_loss, PROBE]
branches: {fast: {at: {use: step, step: 3}, set: {optimizer.lr: 0.05}}}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project, and the working directory."""
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def carried_out(project: Path, text: str, name: str) -> Path:
    (project / "study.yaml").write_text(text)
    (project / name).mkdir()
    execute(prepare(load_study(project / "study.yaml"), project), project / name, [], Silent())
    build_report(project / name)
    return project / name


def assert_one_run(project: Path, text: str) -> None:
    """The study run twice: every channel of every arm, the weights and what the report says."""
    first, again = (carried_out(project, text, name) for name in ("first", "again"))
    one, other = open_run(first), open_run(again)
    assert list(one.arms) == list(other.arms)
    for name in one.arms:
        assert len(one[name]["loss"].step) > 1
        assert_same_channels(one[name], other[name])
    made = [path.relative_to(first) for suffix in ("safetensors", "csv") for path in first.rglob(f"*.{suffix}")]
    for path in [*made, Path("report/claims.json")]:
        assert (first / path).read_bytes() == (again / path).read_bytes(), path


DRAWN = """
import numpy as np

from studyrun.plugin import Claim, Verdict


class OwnClaim(Claim):
    \"\"\"Decided by drawing again from the losses.\"\"\"

    def decide(self, ensemble):
        losses = ensemble.runs[0]["baseline"]["loss"]["train"].values
        return Verdict(True, float(np.random.choice(losses, 100).mean()), None, "drawn", 1)
"""


def test_a_claim_that_draws_is_decided_alike(project: Path) -> None:
    (project / "plugins" / "claims").mkdir(parents=True)
    (project / "plugins" / "claims" / "own_claim.py").write_text(DRAWN)
    assert_one_run(project, STUDY.replace(", PROBE", "") + "claims: [own_claim]\n")


def test_what_is_generated_gives_one_run(project: Path) -> None:
    for kind in ("model", "dataset", "groups", "loss", "optimizer", "probe", "trigger", "figure", "claim"):
        assert call(["new", kind, f"own_{kind}"]) == 0
    assert {path.parent.name for path in (project / "plugins").glob("*/own_*.py")} == set(Registry.kinds())
    assert_one_run(project, GENERATED)


@pytest.mark.parametrize("probe", sorted(path.stem for path in (WORKED / "probes").glob("*.py")))
def test_a_worked_probe_gives_one_run(project: Path, probe: str) -> None:
    shutil.copytree(WORKED, project / "plugins", ignore=shutil.ignore_patterns("tests", "__pycache__"))
    assert_one_run(project, STUDY.replace("PROBE", probe))
