"""A sweep is laid out before its first member, outlives a failing one, and is resumed where it was left."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import torch
from conftest import assert_same_channels

from studyrun import check_run, open_run
from studyrun.engine.events import Silent
from studyrun.errors import DataUnavailableError, RunFolderError, UsageError
from studyrun.launch.start import launch, resume
from studyrun.launch.state import state_of
from studyrun.study import load_study, study_from_member

FRAGILE = '''\
"""A probe that the learning rate breaks."""

from studyrun.plugin import Channel, Probe


class Fragile(Probe):
    """Fails at step 2 where the learning rate is 0.07."""

    def channels(self, context):
        return [Channel("number", "number of the step")]

    def measure(self, snapshot, carry):
        if snapshot.step == 2 and snapshot.context.optimizer.lr == 0.07:
            raise ValueError("broken by 0.07")
        return {"number": float(snapshot.step)}, carry
'''
SWEEP = "sweep: {optimizer.lr: [0.05, 0.07, 0.01]}\n"
NAMES = ["lr=0.05", "lr=0.07", "lr=0.01"]


@pytest.fixture
def fragile(write, tmp_path: Path) -> Path:
    """A sweep whose second member fails."""
    (tmp_path / "plugins" / "probes").mkdir(parents=True)
    (tmp_path / "plugins" / "probes" / "fragile.py").write_text(FRAGILE)
    return write("  - fragile\n" + SWEEP)


class At(Silent):
    """Does something when a member's arm is at a step."""

    def __init__(self, arm: str, step: int) -> None:
        self.place = (arm, step)

    def act(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    def update(self, arm: str, step: int, fraction: float, note: str) -> None:
        if (arm, step) == self.place:
            self.act()


def states(outcome) -> dict[str, str]:
    return {member.name: member.state for member in outcome.members}


def test_the_folder_says_what_the_sweep_consists_of_before_its_first_member(write) -> None:
    found = {}

    class Look(At):
        def act(self) -> None:
            found.update(json.loads(Path("outputs/run1/sweep.json").read_text()))
            found["status"] = json.loads(Path("outputs/run1/status.json").read_text())

    launch(load_study(write(SWEEP)), progress=Look("lr=0.05/baseline", 0))
    assert (found["format"], found["title"]) == (1, "a plain study")
    assert [member["name"] for member in found["members"]] == NAMES
    assert found["members"][1]["overrides"] == {"optimizer.lr": 0.07}
    assert found["status"]["state"] == "running"
    assert found["status"]["members"]["lr=0.05"] == {"state": "running"}
    assert found["status"]["members"]["lr=0.01"] == {"state": "not started"}


def test_each_member_is_the_run_that_it_would_be_alone(write) -> None:
    study = load_study(write(SWEEP))
    outcome = launch(study)
    assert (outcome.state, states(outcome)) == ("complete", dict.fromkeys(NAMES, "complete")), outcome.members
    swept = open_run(outcome.folder)
    assert [run.name for run in swept.members] == NAMES
    for member, run in zip(study.members, swept.members, strict=True):
        alone = open_run(launch(study_from_member(study, member)).folder)
        assert_same_channels(alone["baseline"], run["baseline"])
        assert run.document == alone.document
    assert load_study(outcome.folder / "study.yaml").members == study.members


def test_a_failing_member_does_not_stop_the_others(fragile: Path) -> None:
    outcome = launch(load_study(fragile))
    assert outcome.state == "failed"
    assert states(outcome) == {"lr=0.05": "complete", "lr=0.07": "failed", "lr=0.01": "complete"}
    assert "ValueError: broken by 0.07" in outcome.members[1].error
    status = json.loads((outcome.folder / "status.json").read_text())
    assert status["state"] == "failed"
    assert "broken by 0.07" in status["members"]["lr=0.07"]["error"]
    assert len(open_run(outcome.folder / "lr=0.07")["baseline"]["fragile"].step) == 2


def test_fail_fast_stops_at_the_first_failure(fragile: Path) -> None:
    outcome = launch(load_study(fragile), fail_fast=True)
    assert outcome.state == "failed"
    assert states(outcome) == {"lr=0.05": "complete", "lr=0.07": "failed", "lr=0.01": "not started"}
    assert not (outcome.folder / "lr=0.01").exists()


def test_resuming_tries_again_what_failed_and_runs_what_never_started(fragile: Path, tmp_path: Path) -> None:
    folder = launch(load_study(fragile), fail_fast=True).folder
    finished = (folder / "lr=0.05" / "trace.h5").stat().st_mtime_ns
    for kept in tmp_path.rglob("fragile.py"):  # the project's own, and what the run folder says it was made with
        kept.write_text(FRAGILE.replace("snapshot.step == 2", "False"))
    outcome = resume(folder)
    assert (outcome.state, states(outcome)) == ("complete", dict.fromkeys(NAMES, "complete")), outcome.members
    assert (folder / "lr=0.05" / "trace.h5").stat().st_mtime_ns == finished
    assert open_run(folder / "lr=0.07")["baseline"]["fragile"].step.tolist() == list(range(7))


def test_stopped_in_a_member_it_is_resumed_from_there(write) -> None:
    study = load_study(write(SWEEP))
    whole = launch(study).folder
    stopped = launch(study, progress=At("lr=0.07/baseline", 3))
    assert stopped.state == "interrupted"
    assert states(stopped) == {"lr=0.05": "complete", "lr=0.07": "interrupted", "lr=0.01": "not started"}
    assert state_of(stopped.folder) == "interrupted"
    again = resume(stopped.folder)
    assert (again.state, states(again)) == ("complete", dict.fromkeys(NAMES, "complete"))
    for name in NAMES:
        assert_same_channels(open_run(whole / name)["baseline"], open_run(stopped.folder / name)["baseline"])


def test_a_finished_sweep_is_left_alone(write) -> None:
    folder = launch(load_study(write(SWEEP))).folder
    outcome = resume(folder)
    assert (outcome.state, outcome.already, states(outcome)) == ("complete", True, dict.fromkeys(NAMES, "complete"))


def test_missing_data_are_said_before_any_folder_is_made(write) -> None:
    study = load_study(write(SWEEP), overrides=["dataset={use: cifar10, size: 10}", "model.hidden=[2]"])
    with pytest.raises(DataUnavailableError, match=r"cifar-10-batches-py.* is missing"):
        launch(study)
    assert not Path("outputs").exists()


def test_a_member_that_cannot_begin_is_a_failed_member(write) -> None:
    outcome = launch(load_study(write("sweep: {dataset: [{use: chebyshev, degree: 3, points: 9}, cifar10]}\n")))
    assert outcome.state == "failed"
    assert [member.state for member in outcome.members] == ["complete", "failed"]
    assert "studyrun data fetch cifar10" in outcome.members[1].error


def test_divergence_does_not_make_a_sweep_fail(write) -> None:
    outcome = launch(load_study(write("sweep: {optimizer.lr: [0.05, 1.0e+8]}\n"), overrides=["stop.steps=60"]))
    assert outcome.state == "diverged"
    assert list(states(outcome).values()) == ["complete", "diverged"]


def test_a_damaged_sweep_json_is_said(write) -> None:
    folder = launch(load_study(write(SWEEP)), progress=At("lr=0.05/baseline", 1)).folder
    (folder / "sweep.json").write_text("{}")
    with pytest.raises(RunFolderError, match=r"sweep.json: expected format 1"):
        resume(folder)


@pytest.mark.parametrize("workers", [0, -2])
def test_without_workers_nothing_is_done(write, workers: int) -> None:
    with pytest.raises(UsageError, match=rf"--workers {workers}: at least one process must work"):
        launch(load_study(write(SWEEP)), workers=workers)
    assert not Path("outputs").exists()


def test_a_sweep_that_lost_its_list_of_members_is_still_a_sweep(write) -> None:
    """Lost, or never written: the process was killed between the two. A base study alone is nobody's wish."""
    whole = launch(load_study(write(SWEEP))).folder
    folder = launch(load_study(write(SWEEP)), progress=At("lr=0.07/baseline", 1)).folder
    (folder / "sweep.json").unlink()
    assert "sweep.json" in [fault.where for fault in check_run(folder).faults]
    outcome = resume(folder)
    assert (outcome.state, states(outcome)) == ("complete", dict.fromkeys(NAMES, "complete")), outcome.members
    assert (folder / "sweep.json").read_bytes() == (whole / "sweep.json").read_bytes()
    found = check_run(folder)
    assert (found.sound, {member.state for member in found.members}) == (True, {"complete"})


def test_killed_while_it_is_laid_out_it_is_no_run_yet(write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its list comes first, so that there is no instant at which the folder would pass for a single run's."""
    from studyrun.launch import sweep

    wrote = sweep.write_atomically

    def dies(path, text):
        if path.name == "study.yaml":
            raise SystemExit
        wrote(path, text)

    monkeypatch.setattr(sweep, "write_atomically", dies)
    with pytest.raises(SystemExit):
        launch(load_study(write(SWEEP)))
    assert [path.name for path in Path("outputs/run1").iterdir()] == ["sweep.json"]


def test_a_component_that_changes_while_the_sweep_runs_fails_the_members_after(fragile: Path, tmp_path: Path) -> None:
    """Else the members of one sweep would be of two kinds."""

    class Edit(At):
        def act(self) -> None:
            source = tmp_path / "plugins" / "probes" / "fragile.py"
            source.write_text(FRAGILE.replace("float(snapshot.step)", "-1.0"))

    outcome = launch(load_study(fragile), progress=Edit("lr=0.05/baseline", 3))
    assert states(outcome) == {"lr=0.05": "complete", "lr=0.07": "failed", "lr=0.01": "failed"}
    assert "fragile.py is not what the run was made with" in outcome.members[1].error


def test_a_member_without_a_record_goes_on_with_the_threads_of_the_sweep(
    write, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = launch(load_study(write(SWEEP)), progress=At("lr=0.07/baseline", 1)).folder
    (folder / "lr=0.07" / "provenance.json").unlink()
    status = json.loads((folder / "status.json").read_text())
    (folder / "status.json").write_text(json.dumps({**status, "threads": 5}))
    asked = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    assert resume(folder).state == "complete"
    assert asked == [5, 5]
    events = (folder / "lr=0.07" / "events.jsonl").read_text()
    assert "provenance.json is missing; nothing tells whether data, versions and threads are those" in events


def test_a_component_that_ends_the_process_fails_its_member_alone(fragile: Path, tmp_path: Path) -> None:
    for source in tmp_path.rglob("fragile.py"):
        source.write_text(FRAGILE.replace('ValueError("broken by 0.07")', "SystemExit(5)"))
    outcome = launch(load_study(fragile))
    assert states(outcome) == {"lr=0.05": "complete", "lr=0.07": "failed", "lr=0.01": "complete"}
    assert outcome.members[1].error.startswith("SystemExit: 5 (")
