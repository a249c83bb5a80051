"""One process that runs members, seen from both sides.

Each worker has an executor of its own, so that one that is killed takes no other with it. It leaves the terminal's
process group: Ctrl-C reaches the parent alone, which passes it on once. What a scheduler sends to every process, and
the parent passes on besides, is one request still.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from multiprocessing import resource_tracker
from threading import Thread
from time import sleep
from typing import Self

from loky.backend.resource_tracker import ensure_running
from loky.process_executor import ProcessPoolExecutor, TerminatedWorkerError

from studyrun.engine.events import Silent
from studyrun.engine.signals import AT_ONCE, WARNING, StopRequest
from studyrun.launch.failure import explained
from studyrun.launch.member import MemberTask, finish_member
from studyrun.launch.outcome import MemberOutcome
from studyrun.stopping import heed

KILLED = "its process was killed, for instance for want of memory; resume the sweep to carry it on"
SECONDS_BETWEEN_LOOKS = 1.0


class Worker:
    """The parent's side: a process that is started when first needed, and again after it was killed."""

    def __init__(self) -> None:
        self._executor: ProcessPoolExecutor | None = None
        self._pid: int | None = None
        self._stopped = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=True)
        self._executor = self._pid = None

    def finish(self, task: MemberTask) -> MemberOutcome:
        """Have the member run to its end. Whatever keeps it from that is a failed member, and no exception."""
        try:
            return self._finished(task)
        except TerminatedWorkerError:
            self._executor = self._pid = None
            return MemberOutcome(task.name, *(("interrupted",) if self._stopped else ("failed", KILLED)))
        except KeyboardInterrupt:  # in the other process, before it came to the member
            return MemberOutcome(task.name, "interrupted")
        except Exception as error:  # noqa: BLE001  for instance a process that cannot be started
            heed()
            self._give_up()
            return MemberOutcome(task.name, "failed", explained(error))

    def _finished(self, task: MemberTask) -> MemberOutcome:
        if self._executor is None:
            _start_trackers()
            self._executor = ProcessPoolExecutor(max_workers=1, initializer=_begin, initargs=(os.getpid(),))
            self._pid = self._executor.submit(os.getpid).result()
        if self._stopped:
            return MemberOutcome(task.name, "interrupted")
        outcome: MemberOutcome = self._executor.submit(_finish, task).result()
        return outcome

    def _give_up(self) -> None:
        """Leave the process to itself, so that the next member is given another."""
        executor, self._executor, self._pid = self._executor, None, None
        with suppress(Exception):  # what was never whole cannot be ended in good order
            if executor is not None:
                executor.shutdown(wait=False, kill_workers=True)

    def stop(self) -> None:
        """Ask once: the member finishes its step. Ask again: it stops at once."""
        number = AT_ONCE if self._stopped else WARNING
        self._stopped = True
        self._signal(number)

    def kill(self) -> None:
        """End the process whatever it does."""
        self._stopped = True
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self._pid, number)


def _start_trackers() -> None:
    """Start what keeps account of shared resources, to outlive what a scheduler sends to every process.

    The processes inherit the mask. By themselves they are deaf to Ctrl-C and SIGTERM alone, and when they are started
    anew they complain at length of what they do not know.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (WARNING, AT_ONCE))
    try:
        resource_tracker.ensure_running()  # Python's, which loky starts as well
        ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# --- in the worker's process ----------------------------------------------------------------------------------------

_stop = StopRequest()
_busy = False


def _begin(parent: int) -> None:
    os.setpgid(0, 0)
    _stop.listen()
    Thread(target=_watch_parent, args=(parent,), daemon=True).start()


def _watch_parent(parent: int) -> None:
    """Without a parent nobody waits for this process: the member is to stop with a checkpoint."""
    while os.getppid() == parent:
        sleep(SECONDS_BETWEEN_LOOKS)
    os.kill(os.getpid(), WARNING)
    while _busy:
        sleep(SECONDS_BETWEEN_LOOKS)
    os._exit(1)


def _finish(task: MemberTask) -> MemberOutcome:
    global _busy
    _busy = True
    try:
        return finish_member(task, Silent(), _stop)
    finally:
        _busy = False
