"""Workers that cannot begin, and a sweep's record that cannot be written: each is said once, and no member is lost."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from oracles.effort import PATIENCE

from studyrun.engine.events import Silent
from studyrun.engine.signals import StopRequest
from studyrun.errors import RunFolderError
from studyrun.launch import workers
from studyrun.launch.member import MemberTask
from studyrun.launch.outcome import MemberOutcome
from studyrun.launch.sweep import SweepRecord
from studyrun.launch.worker import Worker

NAMES = ["seed=0", "seed=1", "seed=2"]


@pytest.fixture
def unheard(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What ended a thread, and would be a traceback on stderr."""
    raised: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda of: raised.append(of.exc_value))
    return raised


@contextmanager
def few_files(left: int) -> Iterator[None]:
    """Let this process open so many files more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = {int(name) for name in os.listdir("/proc/self/fd")}
    free = [number for number in range(max(taken) + left + 2) if number not in taken]
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[left], hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_process_that_cannot_be_started_is_a_failed_member(tmp_path: Path) -> None:
    with Worker() as worker, few_files(3):
        outcome = worker.finish(MemberTask(tmp_path, "seed=0", 1, ()))
    assert outcome == MemberOutcome("seed=0", "failed", "Too many open files")


@pytest.mark.parametrize("module", ["loky.backend.resource_tracker", "multiprocessing.resource_tracker"])
def test_the_trackers_outlive_what_a_scheduler_sends_to_every_process(module: str) -> None:
    """In a process of its own, since a tracker is one for each process and stays."""
    code = f"import os, signal, time; from {module} import _resource_tracker as tracker; "
    code += "from studyrun.launch.worker import _start_trackers; _start_trackers(); "
    code += "print(signal.pthread_sigmask(signal.SIG_BLOCK, ())); pid = tracker._pid; "
    code += "os.kill(pid, signal.SIGUSR1); time.sleep(0.5); print(os.waitpid(pid, os.WNOHANG))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert (done.stdout, done.stderr) == ("set()\n(0, 0)\n", "")


class Stub(Worker):
    """Ends every member at once, and does as the test says before the first of them ends."""

    spoil = staticmethod(lambda: None)

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def finish(self, task: MemberTask) -> MemberOutcome:
        self.spoil()
        return MemberOutcome(task.name, "complete")

    def stop(self) -> None:
        self.asked += 1


@pytest.mark.parametrize("name", ["status.json", "events.jsonl"])
def test_a_record_that_cannot_be_written_ends_the_sweep_with_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unheard: list[object], name: str
) -> None:
    def spoil() -> None:
        (tmp_path / name).unlink()
        (tmp_path / name / "in the way").mkdir(parents=True)

    monkeypatch.setattr(workers, "Worker", Stub)
    monkeypatch.setattr(Stub, "spoil", staticmethod(spoil))
    record = SweepRecord(tmp_path, NAMES, Silent())
    record.begin(1, 1)
    tasks = [MemberTask(tmp_path, one, 1, ()) for one in NAMES]
    crew = workers.Crew(tasks, record, Silent(), StopRequest(), workers=1, fail_fast=False)
    with pytest.raises(RunFolderError, match=f"cannot write {tmp_path / name}: Is a directory"):
        crew.run()
    assert unheard == []


def test_members_that_fail_one_after_another_ask_the_others_to_stop_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second request would be one to stop at once, without a checkpoint, which nobody made."""
    both = threading.Barrier(2)

    class Failing(Stub):
        def finish(self, task: MemberTask) -> MemberOutcome:
            both.wait(60)
            return MemberOutcome(task.name, "failed", "broken")

    monkeypatch.setattr(workers, "Worker", Failing)
    record = SweepRecord(tmp_path, NAMES[:2], Silent())
    tasks = [MemberTask(tmp_path, one, 1, ()) for one in NAMES[:2]]
    crew = workers.Crew(tasks, record, Silent(), StopRequest(), workers=2, fail_fast=True)
    crew.run()
    assert [worker.asked for worker in crew._workers] == [1, 1]


def test_once_it_is_asked_to_stop_no_member_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that a scheduler told before the parent did has ended its member, and must not be given another."""
    stop = StopRequest()
    monkeypatch.setattr(workers, "Worker", Stub)
    monkeypatch.setattr(Stub, "spoil", staticmethod(lambda: stop.receive(signal.SIGUSR1, None)))
    record = SweepRecord(tmp_path, NAMES, Silent())
    workers.Crew(
        [MemberTask(tmp_path, one, 1, ()) for one in NAMES], record, Silent(), stop, workers=1, fail_fast=False
    ).run()
    assert [one.state for one in record.end(stopped=True).members] == ["complete", "not started", "not started"]
