"""A run that has ended goes on to the very bits that a longer one would have had; branches start where it has been."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from conftest import assert_same_channels
from oracles.plain_study import PLAIN
from safetensors.torch import load_file

from studyrun import check_run, open_run
from studyrun.engine import events
from studyrun.engine.events import Silent
from studyrun.errors import InterruptedRunError, RunFolderError
from studyrun.launch import more, more_members
from studyrun.launch.start import launch, resume
from studyrun.report.tables import member_rows
from studyrun.study import load_study
from studyrun.trace import sealed
from studyrun.trace.writer import TraceWriter

STUDY = PLAIN.replace("stop: {steps: 6}", "stop: {steps: 6, time: 10.0}").replace("0.05}", "0.05, momentum: 0.9}")
ARMS = """\
branches:
  exit: {at: {use: step, step: 3}, set: {optimizer.lr: 0.01}}
  own: {at: {use: step, step: 4}, set: {stop.steps: 5}}
  edge: {at: {use: step, step: 6}}
  late: {at: {use: step, step: 8}, set: {optimizer.lr: 0.02}}
  later: {from: late, at: {use: step, step: 9}}
checkpoints: {best: loss.train}
"""
KEPT = "checkpoints: {keep: 3}\n"
LATE = "branches.late={at: {use: step, step: 4}, set: {optimizer.lr: 0.01}}"


class Heard(Silent):
    """Hears what is said, and presses Ctrl-C at a step of an arm, once."""

    def __init__(self, arm: str = "", step: int = -1) -> None:
        self.place, self.lines = (arm, step), list[str]()

    def say(self, text: str, level: str = "info") -> None:
        self.lines.append(text)

    def update(self, arm: str, step: int, fraction: float, note: str) -> None:
        if (arm, step) == self.place:
            self.place = ("", -1)
            os.kill(os.getpid(), signal.SIGINT)


def assert_same_runs(expected: Path, found: Path) -> None:
    """Every channel and every fact of every arm, the weights they ended with and the best, and the study."""
    one, other = open_run(expected), open_run(found)
    assert set(one) == set(other)
    for name, arm in one.arms.items():
        assert_same_channels(arm, other[name])
        for fact in ("parent", "fork_step", "fork_time", "state", "end_reason"):
            assert getattr(arm, fact) == getattr(other[name], fact), (name, fact)
        for fact in ("best_step", "best_value", "trigger", "steps"):
            assert arm.attributes.get(fact) == other[name].attributes.get(fact), (name, fact)
        calls = [
            {label: probe.attributes["calls"] for label, probe in each.probes.items()} for each in (arm, other[name])
        ]
        assert calls[0] == calls[1]
    names = {path.name for path in expected.glob("*.safetensors")}
    assert names == {path.name for path in found.glob("*.safetensors")}
    for weights in names:
        for key, value in load_file(expected / weights).items():
            assert torch.equal(value, load_file(found / weights)[key]), (weights, key)
    assert one.study_text == other.study_text == other.attributes["study"]
    assert {key: one.status[key] for key in ("state", "step", "arms")} == {
        key: other.status[key] for key in ("state", "step", "arms")
    }
    assert check_run(found).faults == ()


@pytest.mark.parametrize("longer", [["stop.steps=11"], ["stop.time=0.45"], ["stop.time=null"]], ids=" ".join)
def test_a_finished_run_goes_on_to_the_bits_of_a_longer_one(write, longer: Sequence[str]) -> None:
    """Arms that ended by the limit go on, one whose own limit ended it does not, and one that never began may."""
    limits = "{steps: 6, time: 10.0}" if "steps" in longer[0] else "{steps: 9, time: 0.3}"
    path = write(ARMS, STUDY.replace("{steps: 6, time: 10.0}", limits))
    whole = launch(load_study(path, overrides=longer)).folder
    folder = launch(load_study(path)).folder
    assert open_run(folder)["late"].state == "not started"
    outcome = resume(folder, overrides=longer)
    assert (outcome.state, outcome.already) == ("complete", False)
    assert_same_runs(whole, folder)
    again = resume(folder, overrides=longer)
    assert (again.state, again.already) == ("complete", True)


def test_it_goes_on_twice_and_says_what_it_was_run_with(write) -> None:
    path = write(ARMS, STUDY)
    whole, folder = launch(load_study(path, overrides=["stop.steps=12"])).folder, launch(load_study(path)).folder
    first = (folder / "study.yaml").read_text()
    heard = Heard()
    resume(folder, overrides=["stop.steps=9"], progress=heard)
    assert "it goes on with stop.steps: 6 → 9" in heard.lines
    resume(folder, overrides=["stop.steps=12"])
    assert_same_runs(whole, folder)
    facts = json.loads((folder / "provenance.json").read_text())
    assert facts["studies"][0]["study"] == first
    assert [entry["changes"] for entry in facts["studies"]] == [["stop.steps: 6 → 9"], ["stop.steps: 9 → 12"]]


def test_a_study_that_was_made_longer_by_hand_is_taken_up(write) -> None:
    path = write(ARMS, STUDY)
    whole, folder = launch(load_study(path, overrides=["stop.steps=9"])).folder, launch(load_study(path)).folder
    study = folder / "study.yaml"
    study.write_text(study.read_text().replace("steps: 6", "steps: 9"))
    assert resume(folder).state == "complete"
    assert_same_runs(whole, folder)


@pytest.mark.parametrize(("arm", "step"), [("baseline", 3), ("exit", 7)])
def test_a_run_that_is_not_over_goes_on_longer_and_one_that_stops_as_it_goes_on_resumes(write, arm, step) -> None:
    path = write(ARMS, STUDY)
    whole = launch(load_study(path, overrides=["stop.steps=11"])).folder
    stopped = Heard(arm, step)
    folder = launch(load_study(path), progress=stopped).folder
    assert resume(folder, overrides=["stop.steps=11"], progress=stopped).state in ("interrupted", "complete")
    assert resume(folder).state == "complete"
    assert_same_runs(whole, folder)


@pytest.mark.parametrize("deaths", [0, 1, 3, 5, 7])
def test_killed_at_any_write_as_it_begins_to_go_on_it_is_extended_again(write, monkeypatch, deaths: int) -> None:
    """Or, where nothing had been written down by then, asked for again."""
    path = write(ARMS, STUDY)
    whole, folder = launch(load_study(path, overrides=["stop.steps=9"])).folder, launch(load_study(path)).folder
    left = iter([True] * deaths)

    def dying(real):
        def replacement(*arguments, **options):
            if not next(left, False):
                raise SystemExit
            return real(*arguments, **options)

        return replacement

    with monkeypatch.context() as patched:
        for module in (events, more, sealed):
            patched.setattr(module, "write_atomically", dying(module.write_atomically))
        patched.setattr(TraceWriter, "set_study", dying(TraceWriter.set_study))
        with pytest.raises(SystemExit):
            resume(folder, overrides=["stop.steps=9"])
    assert resume(folder, overrides=["stop.steps=9"] if deaths == 0 else []).state == "complete"
    assert_same_runs(whole, folder)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "stop.steps=5",
            r"--set stop.steps=5, which gives it a stop under which arm 'baseline' would not .* the 6",
        ),
        (
            "stop.time=9.0",
            r"arm 'baseline' would not have come to where it stands: stop.time 9 ends it sooner than",
        ),
        ("stop.loss_below=0.1", r"whether the loss had been below stop.loss_below before is not known"),
        ("stop.when={use: step, step: 9}", r"another stop.when was not asked at the steps taken before"),
        ("optimizer.lr=0.1", r"gives it another optimizer than the run began with. A run can go on longer"),
        ("probes=[loss, gradient_norm]", r"another probes than the run began with"),
        ("checkpoints.best={highest: loss.train}", r"another checkpoints than the run began with"),
        ("branches.exit.set={optimizer.lr: 0.5}", r"another branches than the run began with"),
        ("branches.exit.at={use: step, step: 2}", r"another branches than the run began with"),
        ("seed=3", r"`studyrun run .*study.yaml --set seed=3` carries that out in a new folder"),
    ],
)
def test_what_no_run_can_go_on_with_is_refused_and_nothing_is_changed(ended, given: str, message: str) -> None:
    before = {path: path.read_bytes() for path in ended.rglob("*") if path.is_file()}
    with pytest.raises(RunFolderError, match=message):
        resume(ended, overrides=[given])
    assert {path: path.read_bytes() for path in ended.rglob("*") if path.is_file()} == before


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has ended, made once."""
    folder = tmp_path_factory.mktemp("once")
    (folder / "study.yaml").write_text(STUDY + ARMS)
    return launch(load_study(folder / "study.yaml"), out=folder / "run").folder


@pytest.fixture
def ended(once: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(once, tmp_path / "ended"))


def test_where_no_arm_goes_on_it_says_so(write) -> None:
    folder = launch(load_study(write("", STUDY.replace("steps: 6", "steps: 6, when: {use: step, step: 4}")))).folder
    resume(folder, overrides=["stop.steps=9"])
    assert open_run(folder)["baseline"].attributes["steps"] == 4, "what ended it ends it again"
    own = launch(load_study(write("branches: {own: {at: {use: step, step: 2}, set: {stop.steps: 6}}}\n", STUDY))).folder
    resume(own, overrides=["stop.steps=9"])
    arms = open_run(own).arms
    assert {name: arm.attributes["steps"] for name, arm in arms.items()} == {"baseline": 9, "own": 6}


def test_an_arm_that_diverged_stays_as_it_is(write) -> None:
    extra = "branches: {wild: {at: {use: step, step: 2}, set: {optimizer.lr: 1e30}}}\n"
    path = write(extra, STUDY.replace(", time: 10.0", ""))
    whole = launch(load_study(path, overrides=["stop.steps=30"])).folder
    folder = launch(load_study(path, overrides=["stop.steps=20"])).folder
    assert open_run(folder)["wild"].state == "diverged"
    assert resume(folder, overrides=["stop.steps=30"]).state == "diverged"
    one, other = open_run(whole), open_run(folder)
    for name in one:
        assert_same_channels(one[name], other[name])
    assert check_run(folder).faults == ()


def test_a_folder_without_the_state_of_its_end_says_how_to_have_a_longer_run(ended: Path) -> None:
    (ended / "checkpoints" / "end-baseline.pt").unlink()
    with pytest.raises(
        RunFolderError, match=r"arm 'baseline' cannot go on: checkpoints/end-baseline.pt.*missing.*`studyrun run"
    ):
        resume(ended, overrides=["stop.steps=9"])


def test_the_end_of_another_run_is_refused(write, ended: Path) -> None:
    other = launch(load_study(write(ARMS, STUDY), overrides=["seed=1"])).folder
    shutil.copy(other / "checkpoints" / "end-exit.pt", ended / "checkpoints" / "end-exit.pt")
    with pytest.raises(Exception, match=r"the end of 'exit' was written by a run of another study"):
        resume(ended, overrides=["stop.steps=9"])


# --- branches that come later ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [0, 3, 4, 6])
def test_a_branch_that_comes_later_is_the_one_it_would_have_been(write, step: int) -> None:
    """Whether the state of its step was kept, or lies between two that were."""
    given = [LATE.replace("step: 4", f"step: {step}"), "branches.after={from: late, at: {use: step, step: 6}}"]
    path = write(KEPT, STUDY)
    whole, folder = launch(load_study(path, overrides=given)).folder, launch(load_study(path)).folder
    resume(folder, overrides=given)
    assert_same_runs(whole, folder)
    assert open_run(folder)["late"].fork_step == step


def test_a_branch_of_a_branch_with_an_empty_set_is_its_parent_again(write) -> None:
    extra = "branches: {exit: {at: {use: step, step: 2}, set: {optimizer.lr: 0.3}}}\n"
    folder = launch(load_study(write(extra + KEPT, STUDY))).folder
    at = "{use: threshold, probe: loss, channel: train, above: 0.0, after_step: 3}"
    resume(folder, overrides=[f"branches.same={{from: exit, at: {at}}}"])
    run = open_run(folder)
    assert run["same"].fork_step == 4
    assert_same_channels(run["exit"], run["same"], from_step=4)
    assert check_run(folder).faults == ()


def test_a_branch_whose_trigger_never_fired_is_refused_with_the_steps_there_are(write) -> None:
    folder = launch(load_study(write(KEPT, STUDY))).folder
    with pytest.raises(RunFolderError, match=r"'late' cannot start: step fires at no step .* \(steps 0, 3, 6\)"):
        resume(folder, overrides=[LATE.replace("step: 4", "step: 40")])
    assert open_run(folder).document.get("branches") is None


def test_a_branch_waits_for_an_arm_that_goes_on(write) -> None:
    given = [LATE.replace("step: 4", "step: 8"), "stop.steps=10"]
    path = write(KEPT, STUDY)
    whole, folder = launch(load_study(path, overrides=given)).folder, launch(load_study(path)).folder
    resume(folder, overrides=given)
    assert_same_runs(whole, folder)


def test_a_run_that_is_not_over_takes_a_branch_it_has_passed_and_one_to_come(write) -> None:
    given = [LATE, LATE.replace("late", "next").replace("step: 4", "step: 6")]
    path = write("", STUDY)
    whole = launch(load_study(path, overrides=given)).folder
    folder = launch(load_study(path), progress=Heard("baseline", 4)).folder
    resume(folder, overrides=given)
    assert_same_runs(whole, folder)


def test_asked_to_stop_while_it_looks_for_a_fork_it_changes_nothing(write) -> None:
    folder = launch(load_study(write("", STUDY))).folder
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(InterruptedRunError, match="interrupted before the run went on; nothing was changed"):
        resume(folder, overrides=[LATE], progress=Heard("baseline", 2))
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


# --- sweeps ----------------------------------------------------------------------------------------------------------

SWEPT = "branches: {exit: {at: {use: step, step: 3}, set: {optimizer.lr: 0.01}}}\nsweep: {seed: [0, 1]}\n"


def test_every_member_of_a_sweep_goes_on(write, monkeypatch) -> None:
    """Also where the process died between writing that down for one member and for the next."""
    path = write(SWEPT, STUDY)
    whole, folder = launch(load_study(path, overrides=["stop.steps=9"])).folder, launch(load_study(path)).folder
    real, left = more_members.write_atomically, iter([True, True])

    def dying(place: Path, text: str) -> None:
        if not next(left, False):
            raise SystemExit
        real(place, text)

    with monkeypatch.context() as patched:
        patched.setattr(more_members, "write_atomically", dying)
        with pytest.raises(SystemExit):
            resume(folder, overrides=["stop.steps=9"])
    outcome = resume(folder)
    assert (outcome.state, outcome.already) == ("complete", False)
    for member in outcome.members:
        assert_same_runs(whole / member.name, folder / member.name)
    assert (whole / "study.yaml").read_text() == (folder / "study.yaml").read_text()
    assert resume(folder).already
    with pytest.raises(RunFolderError, match=r"seed=0 cannot go on so: its study would have a stop under which arm"):
        resume(folder, overrides=["stop.steps=7"])
    with pytest.raises(RunFolderError, match=r"what a sweep varies cannot change as it goes on"):
        resume(folder, overrides=["sweep.seed=[0, 1, 2]"])
    with pytest.raises(RunFolderError, match=r"no member goes on with --set stop.steps=9"):
        resume(folder, overrides=["stop.steps=9"])


def test_what_a_member_sets_itself_stands(write) -> None:
    path = write("sweep: {stop.steps: [3, 5]}\n", STUDY)
    folder = launch(load_study(path)).folder
    with pytest.raises(RunFolderError, match=r"no member goes on with .*, which each has, or sets itself"):
        resume(folder, overrides=["stop.steps=9"])
    rows = {row.name: row.step for row in member_rows(open_run(folder))}
    assert rows == {"steps=3": 3, "steps=5": 5}
