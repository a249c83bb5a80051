"""The members of a sweep in several processes of this machine, one worker for each at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from threading import Lock, Thread
from time import monotonic, sleep
from typing import TYPE_CHECKING

from studyrun.engine.events import Progress
from studyrun.engine.signals import StopRequest
from studyrun.launch.follow import Follower
from studyrun.launch.member import MemberTask
from studyrun.launch.outcome import MemberOutcome
from studyrun.launch.progress import Member
from studyrun.launch.worker import Worker
from studyrun.stopping import heed, heeding, taken

if TYPE_CHECKING:
    from studyrun.launch.sweep import SweepRecord

SECONDS_BETWEEN_LOOKS = 0.2
SECONDS_TO_END = 10.0


class Crew:
    """Workers that take one member after another until none is left, or somebody asks them to stop."""

    def __init__(
        self,
        tasks: Sequence[MemberTask],
        record: SweepRecord,
        progress: Progress,
        stop: StopRequest,
        *,
        workers: int,
        fail_fast: bool,
    ) -> None:
        self._record, self._progress, self._stop, self._fail_fast = record, progress, stop, fail_fast
        self._waiting = deque(tasks)
        self._workers = [Worker() for _ in range(workers)]
        self._followers: dict[str, Follower] = {}
        self._lock = Lock()
        self._stopping = False
        self._fault: BaseException | None = None

    def run(self) -> None:
        """Return when every member has ended. Stopped once, members finish their step; twice, they stop at once.

        Raises whatever kept the sweep's own record from being written, when the members that ran then have stopped.
        """
        threads = [Thread(target=self._work, args=(worker,), daemon=True) for worker in self._workers]
        for thread in threads:
            thread.start()
        try:
            with heeding():
                self._watch(threads)
        except KeyboardInterrupt:
            taken()
            self._end_at_once(threads)
        except BaseException:
            self._end_at_once(threads)
            raise
        if self._fault is not None:
            raise self._fault

    def _watch(self, threads: Sequence[Thread]) -> None:
        """Pass on what members say, and a request to stop, until every worker is through."""
        while any(thread.is_alive() for thread in threads):
            sleep(SECONDS_BETWEEN_LOOKS)
            with self._lock:
                for name, follower in self._followers.items():
                    follower.poll(Member(name, self._progress))
            if self._stop.requested:
                self._ask_to_stop()

    def _work(self, worker: Worker) -> None:
        """One member after another: one that fails is noted, and what cannot be noted is left for `run` to raise."""
        try:
            with worker:
                while (task := self._next()) is not None:
                    self._ended(worker.finish(task))
        except BaseException as error:  # noqa: BLE001  it would end this thread alone, unheard
            heed()
            self._fault = self._fault or error
            self._ask_to_stop()

    def _ended(self, outcome: MemberOutcome) -> None:
        with self._lock:
            self._followers.pop(outcome.name).poll(Member(outcome.name, self._progress))
        self._record.note(outcome)
        if self._fail_fast and outcome.state == "failed":
            self._ask_to_stop()

    def _next(self) -> MemberTask | None:
        with self._lock:
            if not self._waiting or self._stop.requested:
                return None
            task = self._waiting.popleft()
            self._followers[task.name] = Follower(task.folder)
        self._record.starts(task.name)
        return task

    def _ask_to_stop(self) -> None:
        """No new members, and those that run are to finish their step: however often this is called, asked once."""
        with self._lock:
            self._waiting.clear()
            asked, self._stopping = self._stopping, True
        for worker in () if asked else self._workers:
            worker.stop()

    def _end_at_once(self, threads: Sequence[Thread]) -> None:
        self._ask_to_stop()
        for worker in self._workers:
            worker.stop()
        until = monotonic() + SECONDS_TO_END
        with suppress(KeyboardInterrupt):
            for thread in threads:
                thread.join(max(0.0, until - monotonic()))
        for worker in self._workers:
            worker.kill()
        for thread in threads:
            thread.join(SECONDS_TO_END)
