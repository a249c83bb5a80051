"""The trigger finds the first measured step at the optimizer's own threshold, and nothing earlier."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from studyrun.components.optimizers.adam import Adam
from studyrun.components.optimizers.gd import Gd
from studyrun.components.optimizers.torch_optimizer import TorchOptimizer
from studyrun.components.triggers.edge_of_stability import EdgeOfStability
from studyrun.errors import ComponentError
from studyrun.launch.start import launch
from studyrun.study import load_study
from studyrun.trace import edge
from studyrun.trace.channel import Channel, Dimension
from studyrun.trace.reader import open_run

CHANNEL = Channel("eigenvalue", "sharpness", (Dimension("k", (1, 2)),), standard_name="sharpness")


def moment(step: int, value: float | None, *, converged: bool = True, optimizer=None):
    reading = (
        None if value is None else {"eigenvalue": np.array([value, 0.0]), "converged": np.array([converged, True])}
    )
    return SimpleNamespace(
        step=step,
        context=SimpleNamespace(optimizer=optimizer or Gd(lr=0.1)),
        labels=("loss", "curvature"),
        channels=lambda label: {"eigenvalue": CHANNEL} if label == "curvature" else {"train": Channel("train", "loss")},
        reading=lambda label: reading if label == "curvature" else {"train": np.array(1e9)},
    )


def first_firing(trigger: EdgeOfStability, moments) -> int | None:
    carry = trigger.start()
    for each in moments:
        firing, carry = trigger.check(each, carry)
        if firing is not None:
            return each.step
    return None


CLIMB = [(0, 25.0), (10, 5.0), (20, 19.9), (30, None), (40, 20.0), (50, 30.0)]


@pytest.mark.parametrize(
    ("options", "step"),
    [
        ({"after_step": 0}, 40),
        ({"after_step": 40}, 50),
        ({"after_step": 0, "factor": 1.2}, 50),
        ({"after_step": 0, "factor": 0.2}, 10),
        ({"after_step": 50}, None),
    ],
)
def test_it_fires_at_the_first_measured_step_at_the_threshold(options: dict[str, float], step: int | None) -> None:
    assert first_firing(EdgeOfStability(**options), [moment(s, value) for s, value in CLIMB]) == step


def test_a_value_whose_solver_did_not_converge_does_not_count() -> None:
    climb = [moment(60, 99.0, converged=False), moment(70, 21.0)]
    assert first_firing(EdgeOfStability(), climb) == 70


def test_it_says_what_it_saw_when_it_never_fires() -> None:
    trigger = EdgeOfStability(after_step=0)
    _, carry = trigger.check(moment(10, 7.5), trigger.start())
    _, carry = trigger.check(moment(20, 6.5), carry)
    assert trigger.unfired(carry) == "the highest curvature recorded after step 0 was 7.5"
    assert "no converged curvature" in trigger.unfired(None)


@pytest.mark.parametrize(
    ("optimizer", "words"),
    [
        (TorchOptimizer(name="RMSprop", lr=0.1), "no threshold is known for this optimizer; use `threshold`"),
        (Adam(), "is one of the preconditioned_sharpness, which no probe of the study records"),
    ],
)
def test_it_refuses_what_it_cannot_watch(optimizer, words: str) -> None:
    with pytest.raises(ComponentError, match=words):
        EdgeOfStability().check_context(
            SimpleNamespace(optimizer=optimizer), {"loss": {}, "curvature": {"eigenvalue": CHANNEL}}
        )


STUDY = """\
model: {use: mlp, hidden: [4], activation: tanh}
dataset: {use: chebyshev, degree: 3, points: 12}
loss: squared_error
optimizer: {use: gd, lr: 0.5}
stop: {steps: 6}
probes:
  - {use: sharpness, every: 1, k: 2}
branches:
  edge: {at: {use: edge_of_stability, after_step: 1, factor: FACTOR}}
  step: {at: {use: step, step: 4}}
  time: {at: {use: time, time: 2.0}}
  own: {at: {use: same_number}}
  second: {from: edge, at: {use: edge_of_stability, after_step: 3, factor: FACTOR}}
"""
OWN = '''
"""A trigger that fires at the number of the threshold and does not say what it watched."""

from studyrun.plugin import Firing, Trigger


class SameNumber(Trigger):
    """Fires at step 3."""

    def check(self, moment, carry):
        level = moment.context.optimizer.threshold().value
        return (Firing(level, level, "the number of the threshold") if moment.step == 3 else None), carry
'''


def test_only_a_fork_whose_trigger_watched_the_curvature_at_the_very_threshold_is_at_the_edge(tmp_path) -> None:
    """2/η = 4 is a step's number too: of five forks in a real run, the edge is where the curvature was looked at."""
    (tmp_path / "plugins/triggers").mkdir(parents=True)
    (tmp_path / "plugins/triggers/same_number.py").write_text(OWN)
    path = tmp_path / "study.yaml"
    path.write_text(STUDY.replace("FACTOR", "1.0e-6"))
    launch(load_study(path), out=tmp_path / "low", command=["studyrun", "run"])
    run = open_run(tmp_path / "low")
    found = {arm.name: arm.attributes.get("trigger_quantity") for arm in run.arms.values() if arm.parent}
    assert found == {"edge": "sharpness", "step": "", "time": "", "own": "", "second": "sharpness"}
    levels = {name: run[name].attributes["trigger_threshold"] for name in ("step", "own")}
    assert levels == {"step": run["baseline"].threshold, "own": 4.0}
    assert not any(edge.forked_at_edge(arm, run.arms.get(arm.parent)) for arm in run.arms.values())
    for name, parent in (("edge", "baseline"), ("second", "edge")):  # as with factor 1 in a run that gets there
        run[name].attributes["trigger_threshold"] = run[parent].threshold
    at_edge = [name for name, arm in run.arms.items() if edge.forked_at_edge(arm, run.arms.get(arm.parent))]
    assert at_edge == ["edge", "second"]
    assert edge.met(run, "baseline") == (run["edge"].fork_step, run["edge"].fork_time)
