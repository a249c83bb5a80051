from __future__ import annotations

from collections.abc import Callable

from studyrun.study import Study

Load = Callable[..., Study]
FaultsOf = Callable[..., list[str]]


def test_a_branch_runs_its_own_study(load: Load) -> None:
    study = load("branches: {exit: {at: {use: above, value: 2}, set: {optimizer.lr: 0.5, stop: {steps: 1e3}}}}\n")
    (branch,) = study.branches
    assert (branch.name, branch.parent, branch.use) == ("exit", "baseline", "above")
    assert branch.trigger.value == 2.0  # type: ignore[attr-defined]
    assert branch.overrides == {"optimizer.lr": 0.5, "stop": {"steps": 1000}}
    assert (branch.study.optimizer.lr, branch.study.stop.steps) == (0.5, 1000)
    assert (study.optimizer.lr, study.stop.steps) == (0.1, 10)
    assert branch.study.branches == ()


def test_a_branch_inherits_from_the_arm_it_leaves(load: Load) -> None:
    late = "late: {at: above, from: exit, set: {stop.steps: 5}}"
    text = f"branches:\n  {late}\n  exit: {{at: above, set: {{optimizer.lr: 0.5}}}}\n"
    study = load(text)
    assert [branch.name for branch in study.branches] == ["exit", "late"]
    below = study.branches[1]
    assert (below.parent, below.study.optimizer.lr, below.study.stop.steps) == ("exit", 0.5, 5)


def test_an_empty_set_changes_nothing(load: Load) -> None:
    study = load("branches: {same: {at: above, set: {}}, too: {at: above}}\n")
    for branch in study.branches:
        assert branch.overrides == {}
        assert branch.study.optimizer == study.optimizer
        assert branch.study.stop == study.stop


def test_a_branch_may_change_its_optimizer_whole(load: Load) -> None:
    study = load("branches: {other: {at: above, set: {optimizer: drift}}}\n")
    assert study.branches[0].study.document["optimizer"] == {"use": "drift", "lr": 1.0, "pull": 0.5}


def test_a_branch_s_end_is_checked_for_the_probes_it_watches(faults_of: FaultsOf) -> None:
    text = "branches: {exit: {at: above, set: {stop.when: {use: above, probe: lvel}}}}\n"
    (fault,) = faults_of(text)
    assert fault.startswith("study.yaml:7:")
    assert "watches a probe labelled 'lvel', and there is none; did you mean 'level'?" in fault


def test_one_fault_that_trunk_and_branch_share_is_told_once(faults_of: FaultsOf) -> None:
    faults = faults_of("chunk_size: 0\nbranches: {exit: {at: above}, stay: {at: above}}\n")
    assert len(faults) == 1


def test_faults_of_every_branch_are_told_together(faults_of: FaultsOf) -> None:
    text = "branches:\n  a: {at: abov}\n  b: {at: above, set: {optimizer.lr: 0}}\n  c: 3\n  d: {at: above, set: [1]}\n"
    assert [fault.split(": ")[0] for fault in faults_of(text)] == [
        "study.yaml:8:11",
        "study.yaml:9:38",
        "study.yaml:10:6",
        "study.yaml:11:23",
    ]
