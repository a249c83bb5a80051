"""A run that stops anywhere goes on as if it had not: every channel of every arm, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import ALL_PROBES, assert_same_channels

from studyrun.engine import checkpoint
from studyrun.engine.arms import RunInProgress
from studyrun.engine.events import Silent
from studyrun.engine.run import execute, prepare, resume
from studyrun.engine.signals import StopRequest
from studyrun.errors import RunFolderError
from studyrun.trace.reader import open_run
from studyrun.trace.writer import TraceWriter

STUDY = (
    ALL_PROBES
    + """\
branches:
  exit: {at: {use: step, step: 5}, set: {optimizer.lr: 0.004}}
  again: {from: exit, at: {use: step, step: 9}, set: {optimizer.lr: 0.01}}
checkpoints: {every: 4}
"""
)


class DiesAt(Silent):
    """A process that dies right after a step of an arm, with nothing tidied up."""

    def __init__(self, arm: str, step: int) -> None:
        self.place = (arm, step)

    def update(self, arm: str, step: int, fraction: float, note: str) -> None:
        if (arm, step) == self.place:
            raise SystemExit(f"killed at {self.place}")


@pytest.mark.parametrize("optimizer", ["{use: gd, lr: 0.01, momentum: 0.9}", "{use: sgd, lr: 0.01, batch_size: 9}"])
@pytest.mark.parametrize(
    ("arm", "step"), [("baseline", 0), ("baseline", 6), ("baseline", 10), ("exit", 5), ("exit", 11), ("again", 10)]
)
def test_a_killed_run_resumes_bit_for_bit(
    tiny, carry_out, data_folder, tmp_path: Path, optimizer: str, arm: str, step: int
) -> None:
    study = tiny(STUDY, f"optimizer={optimizer}")
    whole = carry_out(study)
    folder = tmp_path / "killed"
    folder.mkdir()
    with pytest.raises(SystemExit):
        execute(prepare(study, data_folder), folder, [], DiesAt(arm, step))
    assert resume(prepare(study, data_folder), folder, Silent()).state == "complete"
    resumed = open_run(folder)
    assert list(resumed.arms) == list(whole.arms)
    for name, expected in whole.arms.items():
        assert_same_channels(expected, resumed.arms[name])
        assert resumed.arms[name].fork_step == expected.fork_step


def test_asked_to_stop_it_finishes_the_step_and_can_go_on(
    tiny, carry_out, data_folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tiny(ALL_PROBES, "stop.steps=20")
    whole = carry_out(study)
    asked = StopRequest()
    monkeypatch.setattr("studyrun.engine.run.StopRequest", lambda: asked)

    class AskAt(Silent):
        def update(self, arm: str, step: int, fraction: float, note: str) -> None:
            asked.requested |= step == 7

    folder = tmp_path / "stopped"
    folder.mkdir()
    result = execute(prepare(study, data_folder), folder, [], AskAt())
    assert result.state == "interrupted"
    stopped = open_run(folder)
    assert stopped.status["state"] == stopped.arms["baseline"].state == "interrupted"
    assert stopped.arms["baseline"].probes["loss"].step[-1] == 7
    asked.requested = False
    resume(prepare(study, data_folder), folder, Silent())
    assert_same_channels(whole.arms["baseline"], open_run(folder).arms["baseline"])


def test_costs_add_up_over_a_resumed_run(tiny, data_folder, tmp_path: Path) -> None:
    study = tiny("checkpoints: {every: 4}")
    with pytest.raises(SystemExit):
        execute(prepare(study, data_folder), tmp_path, [], DiesAt("baseline", 9))
    resume(prepare(study, data_folder), tmp_path, Silent())
    assert open_run(tmp_path).arms["baseline"].probes["loss"].attributes["calls"] == 13


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tiny, carry_out, data_folder, tmp_path: Path) -> None:
    study = tiny(ALL_PROBES + "checkpoints: {every: 3}")
    whole = carry_out(study)
    folder = tmp_path / "damaged"
    folder.mkdir()
    with pytest.raises(SystemExit):
        execute(prepare(study, data_folder), folder, [], DiesAt("baseline", 10))
    latest = folder / "checkpoints" / "latest.pt"
    latest.write_bytes(latest.read_bytes()[:1000])
    resume(prepare(study, data_folder), folder, Silent())
    assert_same_channels(whole.arms["baseline"], open_run(folder).arms["baseline"])


def test_without_any_checkpoint_it_says_so(tiny, data_folder, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"cannot be resumed: .*latest.pt is missing"):
        resume(prepare(tiny(), data_folder), tmp_path, Silent())


def test_kept_checkpoints_hold_the_parameters_of_their_step(tiny, data_folder, tmp_path: Path) -> None:
    study = tiny("checkpoints: {keep: 5}")
    prepared = prepare(study, data_folder)
    start = {name: value.detach().clone() for name, value in prepared.problem.model.named_parameters()}
    execute(prepared, tmp_path, [], Silent())
    kept = sorted(path.name for path in (tmp_path / "checkpoints").glob("baseline-step-*.pt"))
    assert kept == ["baseline-step-0.pt", "baseline-step-10.pt", "baseline-step-5.pt"]
    first = checkpoint.load(tmp_path / "checkpoints" / "baseline-step-0.pt")["state"]
    assert all(torch.equal(start[name], value) for name, value in first["parameters"].items())


def test_a_checkpoint_never_runs_code(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"format": 1, "trap": Trap()}, tmp_path / "evil.pt")
    with pytest.raises(RunFolderError, match="cannot be read as a checkpoint"):
        checkpoint.load(tmp_path / "evil.pt")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_around_the_checkpoint_between_two_arms_nothing_is_lost(
    tiny, carry_out, data_folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    study = tiny(STUDY, "checkpoints.every=100")
    whole, save = carry_out(study), checkpoint.save

    def save_and_die(path: Path, content: dict) -> None:
        between = path.name == "latest.pt" and content["state"] is None
        if not between or moment == "after":
            save(path, content)
        if between:
            raise SystemExit("killed between two arms")

    folder = tmp_path / "killed"
    folder.mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "save", save_and_die)
        patched.setattr(RunInProgress, "_arm_failed", lambda *arguments: None)
        patched.setattr(TraceWriter, "close", TraceWriter._abandon)  # as a power cut: no last flush
        with pytest.raises(SystemExit):
            execute(prepare(study, data_folder), folder, [], Silent())
    resume(prepare(study, data_folder), folder, Silent())
    for name in ("baseline", "exit", "again"):
        assert_same_channels(whole.arms[name], open_run(folder).arms[name])
        assert open_run(folder).arms[name].state == "complete"


def test_a_second_interrupt_leaves_an_interrupted_arm_and_not_a_failed_one(tiny, data_folder, tmp_path: Path) -> None:
    class Impatient(Silent):
        def update(self, arm: str, step: int, fraction: float, note: str) -> None:
            if step == 5:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(prepare(tiny(), data_folder), tmp_path, [], Impatient())
    left = open_run(tmp_path)
    assert left.status["state"] == left.arms["baseline"].state == "interrupted"


def test_seconds_and_products_add_up_over_a_resumed_run(tiny, data_folder, tmp_path: Path) -> None:
    study = tiny("  - {use: sharpness, every: 2}\ncheckpoints: {every: 4}")
    with pytest.raises(SystemExit):
        execute(prepare(study, data_folder), tmp_path, [], DiesAt("baseline", 9))
    latest = tmp_path / "checkpoints" / "latest.pt"
    content = checkpoint.load(latest)
    content["costs"]["seconds"]["training"] += 1000.0
    checkpoint.save(latest, content)
    resume(prepare(study, data_folder), tmp_path, Silent())
    arm = open_run(tmp_path).arms["baseline"]
    products = arm.probes["sharpness"]["matvecs"].values.sum()
    assert 1000 < arm.attributes["training_seconds"] < arm.attributes["seconds"] < 1100
    assert arm.probes["sharpness"].attributes["matvecs"] == products
    assert json.loads(arm.attributes["shared_matvecs"])["eigenpairs"] == products


def test_every_arm_keeps_checkpoints_of_its_own(tiny, data_folder, tmp_path: Path) -> None:
    study = tiny("branches: {exit: {at: {use: step, step: 5}, set: {optimizer.lr: 0.004}}}\ncheckpoints: {keep: 6}")
    execute(prepare(study, data_folder), tmp_path, [], Silent())
    kept = {path.name: checkpoint.load(path)["state"] for path in (tmp_path / "checkpoints").glob("*-step-*.pt")}
    assert sorted(kept) == [f"{arm}.pt" for arm in ("baseline-step-0", "baseline-step-12", "baseline-step-6")] + [
        "exit-step-12.pt",
        "exit-step-6.pt",
    ]
    assert [state["step"] for _, state in sorted(kept.items())] == [0, 12, 6, 12, 6]
    assert kept["exit-step-12.pt"]["time"] == pytest.approx(5 * 0.01 + 7 * 0.004)


def test_a_checkpoint_that_could_not_be_read_ends_the_run_when_it_is_first_written(
    tiny, data_folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = checkpoint.save
    monkeypatch.setattr(checkpoint, "save", lambda path, content: whole(path, {**content, "odd": Path("of no use")}))
    (tmp_path / "run").mkdir()
    with pytest.raises(RunFolderError, match=r"latest\.pt cannot be read as a checkpoint"):
        execute(prepare(tiny(), data_folder), tmp_path / "run", [], Silent())
    assert open_run(tmp_path / "run")["baseline"].state == "failed"
