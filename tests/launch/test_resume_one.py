"""An interrupted run ends as if it had never stopped; a folder that cannot be resumed says why."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from pathlib import Path

import pytest
import torch
from conftest import assert_same_channels
from oracles.processes import Heard

from studyrun import check_run, open_run
from studyrun.engine.events import Silent
from studyrun.errors import RunFolderError, StudyrunError
from studyrun.launch.lock import holding
from studyrun.launch.start import launch, resume
from studyrun.study import load_study

BRANCH = "branches: {exit: {at: {use: step, step: 3}, set: {optimizer.lr: 0.01}}}\n"


class StopAt(Silent):
    """Somebody who presses Ctrl-C at a step of an arm, `times` times."""

    def __init__(self, arm: str, step: int, times: int = 1, number: int = signal.SIGINT) -> None:
        self.place, self.times, self.number = (arm, step), times, number

    def update(self, arm: str, step: int, fraction: float, note: str) -> None:
        if (arm, step) == self.place:
            for _ in range(self.times):
                os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(("arm", "step"), [("baseline", 0), ("baseline", 2), ("baseline", 5), ("exit", 4)])
def test_stopped_once_it_ends_as_if_it_had_not_been(write, arm: str, step: int) -> None:
    study = load_study(write(BRANCH))
    whole = launch(study).folder
    stopped = launch(study, progress=StopAt(arm, step))
    assert stopped.state == "interrupted"
    assert resume(stopped.folder).state == "complete"
    for name, expected in open_run(whole).arms.items():
        assert_same_channels(expected, open_run(stopped.folder)[name])
        assert open_run(stopped.folder)[name].fork_step == expected.fork_step


@pytest.mark.parametrize(("times", "number"), [(2, signal.SIGINT), (1, signal.SIGTERM), (2, signal.SIGTERM)])
def test_stopped_at_once_or_by_the_system_it_can_be_resumed(write, times: int, number: int) -> None:
    study = load_study(write())
    whole = launch(study).folder
    stopped = launch(study, progress=StopAt("baseline", 4, times, number))
    assert stopped.state == "interrupted"
    assert check_run(stopped.folder).faults == ()
    assert resume(stopped.folder).state == "complete"
    assert_same_channels(open_run(whole)["baseline"], open_run(stopped.folder)["baseline"])


def test_the_request_is_acknowledged(write) -> None:
    class Both(StopAt, Heard):
        def __init__(self) -> None:
            StopAt.__init__(self, "baseline", 2)
            Heard.__init__(self)

    heard = Both()
    launch(load_study(write()), progress=heard)
    assert "stopping after this step, with a checkpoint; once more to stop at once" in heard.lines


def test_a_finished_run_is_left_alone(write) -> None:
    folder = launch(load_study(write())).folder
    before = (folder / "trace.h5").read_bytes()
    outcome = resume(folder)
    assert (outcome.state, outcome.already) == ("complete", True)
    assert (folder / "trace.h5").read_bytes() == before


def test_a_copy_is_resumed_by_itself(write, tmp_path_factory) -> None:
    study = load_study(write(BRANCH))
    whole, stopped = launch(study).folder, launch(study, progress=StopAt("exit", 4)).folder
    copy = tmp_path_factory.mktemp("elsewhere") / "copy"
    shutil.move(stopped, copy)
    resume(copy)
    assert_same_channels(open_run(whole)["exit"], open_run(copy)["exit"])


def test_killed_before_its_first_checkpoint_it_starts_over(write, monkeypatch: pytest.MonkeyPatch) -> None:
    study = load_study(write())
    whole = launch(study).folder
    with monkeypatch.context() as dying:
        dying.setattr("studyrun.engine.arms.RunInProgress.run", lambda *_: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            launch(study)
    heard = Heard()
    assert resume(Path("outputs/run2"), progress=heard).state == "complete"
    assert "outputs/run2 has no checkpoint yet: it starts from the beginning" in heard.lines
    assert_same_channels(open_run(whole)["baseline"], open_run("outputs/run2")["baseline"])


def test_killed_between_its_first_flush_and_its_first_checkpoint_it_starts_over(
    write, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = load_study(write(BRANCH))
    whole = launch(study).folder
    with monkeypatch.context() as dying:
        dying.setattr("studyrun.engine.checkpoint.save", lambda *_: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            launch(study)
    assert list(open_run("outputs/run2").arms) == ["baseline"]
    assert resume(Path("outputs/run2")).state == "complete"
    assert_same_channels(open_run(whole)["exit"], open_run("outputs/run2")["exit"])


def test_a_trace_cut_off_while_it_was_made_is_put_aside(write) -> None:
    folder = launch(load_study(write()), progress=StopAt("baseline", 0)).folder
    shutil.rmtree(folder / "checkpoints")
    (folder / "trace.h5").write_bytes(b"\x89HDF\r\n\x1a\n cut off")
    assert resume(folder).state == "complete"
    assert (folder / "trace.h5.unreadable").read_bytes().endswith(b"cut off")


def test_rows_without_a_checkpoint_are_not_thrown_away(write) -> None:
    folder = launch(load_study(write()), progress=StopAt("baseline", 3)).folder
    shutil.rmtree(folder / "checkpoints")
    with pytest.raises(RunFolderError, match=r"run1 cannot be resumed: .*trace, and its checkpoints are gone"):
        resume(folder)
    assert len(open_run(folder)["baseline"]["loss"].step) == 4


def test_other_data_than_it_began_with_are_refused(write) -> None:
    folder = launch(load_study(write()), progress=StopAt("baseline", 3)).folder
    facts = folder / "provenance.json"
    facts.write_text(re.sub('"sha256": "....', '"sha256": "0000', facts.read_text()))
    with pytest.raises(RunFolderError, match=r"are not those that the run began with .*provenance.json"):
        resume(folder)


def test_it_goes_on_with_as_many_threads_as_it_began_with(write, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = launch(load_study(write()), progress=StopAt("baseline", 3)).folder
    facts = json.loads((folder / "provenance.json").read_text())
    assert facts["threads"] == torch.get_num_threads()
    (folder / "provenance.json").write_text(json.dumps({**facts, "threads": 7}))
    asked = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    resume(folder)
    assert asked == [7]


def test_another_study_than_it_began_with_is_refused_and_another_drawing_of_it_taken(write) -> None:
    """Half a run at one learning rate and half at another is nobody's trace."""
    whole = launch(load_study(write())).folder
    folder = launch(load_study(write()), progress=StopAt("baseline", 3)).folder
    study = folder / "study.yaml"
    text = study.read_text()
    study.write_text(text.replace("lr: 0.05", "lr: 0.06"))
    with pytest.raises(RunFolderError, match=r"study.yaml has another optimizer than the run began with"):
        resume(folder)
    assert len(open_run(folder)["baseline"]["loss"].step) == 4
    study.write_text(f"# a remark\n{text}figures: [loss]\n" if "figures" not in text else f"# a remark\n{text}")
    assert resume(folder).state == "complete"
    assert_same_channels(open_run(whole)["baseline"], open_run(folder)["baseline"])


def test_the_checkpoint_or_fork_of_another_study_is_refused(write) -> None:
    study, other = load_study(write(BRANCH)), load_study(write(BRANCH), overrides=["optimizer.lr=0.06"])
    strange = launch(other, progress=StopAt("exit", 4)).folder
    for name in ("latest.pt", "fork-exit.pt"):
        folder = launch(study, progress=StopAt("baseline", 5)).folder
        checkpoints = folder / "checkpoints"
        shutil.copy(strange / "checkpoints" / name, checkpoints / name)
        what = "its checkpoint" if name == "latest.pt" else "the fork of 'exit'"
        with pytest.raises(StudyrunError, match=rf"cannot be resumed: {what} was written by a run of another study"):
            resume(folder)


def test_killed_after_it_went_on_from_the_checkpoint_before_it_still_goes_on(
    write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The damaged one must not take the place of the one that is whole, and is kept."""
    study = load_study(write("checkpoints: {every: 1}\n"))
    whole = launch(study).folder
    folder = launch(study, progress=StopAt("baseline", 4)).folder
    latest = folder / "checkpoints" / "latest.pt"
    damaged = latest.read_bytes()[:-1]
    latest.write_bytes(damaged)
    with monkeypatch.context() as dying:
        dying.setattr("studyrun.engine.checkpoint.seal", lambda *_: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            resume(folder)
    assert latest.with_name("latest.pt.damaged").read_bytes() == damaged
    assert resume(folder).state == "complete"
    assert_same_channels(open_run(whole)["baseline"], open_run(folder)["baseline"])


@pytest.mark.parametrize(
    "facts", [{"threads": -1, "packages": 3}, {"threads": True, "command": 3}, {"threads": 10**30}]
)
def test_a_record_that_says_what_cannot_be_is_no_hindrance(write, facts: dict[str, object]) -> None:
    folder = launch(load_study(write()), progress=StopAt("baseline", 3)).folder
    path = folder / "provenance.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))
    assert resume(folder).state == "complete"


def test_a_folder_that_another_process_fills_is_refused(write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studyrun.launch.lock.HANDOVER", 0.1)
    folder = launch(load_study(write()), progress=StopAt("baseline", 3)).folder
    before = (folder / "trace.h5").read_bytes()
    with (
        holding(folder),
        pytest.raises(RunFolderError, match=rf"run1 is being filled by process {os.getpid()} on this host"),
    ):
        resume(folder)
    assert (folder / "trace.h5").read_bytes() == before


@pytest.mark.parametrize("there", [True, False])
def test_what_is_no_run_folder_is_said_to_be_none(tmp_path: Path, there: bool) -> None:
    folder = tmp_path / "folder"
    if there:
        folder.mkdir()
    with pytest.raises(RunFolderError, match=r"folder is no run folder: it holds neither study.yaml nor sweep.json"):
        resume(folder)
