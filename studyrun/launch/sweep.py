"""A sweep's folder: what it consists of, how its members stand, and the run of them all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock

from studyrun.engine.events import Journal, Progress
from studyrun.engine.run import prepare
from studyrun.engine.signals import StopRequest
from studyrun.engine.sources import SourceRecord
from studyrun.launch.failure import failures_of
from studyrun.launch.folder import check_place, data_folder, make_run_folder
from studyrun.launch.lock import holding
from studyrun.launch.member import MemberTask, finish_member
from studyrun.launch.one import heard
from studyrun.launch.outcome import MemberOutcome, Outcome, joint_state
from studyrun.launch.progress import Member
from studyrun.launch.state import NOT_STARTED, state_of
from studyrun.launch.threads import threads_each
from studyrun.registry import Registry
from studyrun.study import Study, load_study, study_from_member
from studyrun.trace.atomic import write_atomically
from studyrun.trace.folder import SWEEP, SWEEP_FORMAT, parse_study, read_study


def run_sweep(
    study: Study,
    out: Path | None,
    command: Sequence[str],
    progress: Progress,
    stop: StopRequest,
    *,
    workers: int,
    fail_fast: bool,
) -> Outcome:
    """Run every member of a study's sweep, in `out` or the next numbered folder.

    The first member's data and probes are checked before any folder is made. Every member computes with the same
    number of threads, so how many run at a time changes no bit as long as that number stands.
    """
    check_place(out)
    prepare(study_from_member(study, study.members[0]), data_folder())
    threads = threads_each(workers)
    with heard(stop, progress):
        folder = make_run_folder(out)
        with failures_of(folder), stop.held():
            _lay_out(study, folder)
        task = MemberTask(folder, "", threads, tuple(command), study.source, study.profiles, study.settings)
        tasks = [replace(task, name=one.name) for one in study.members]
        return finish_sweep(folder, tasks, progress, stop, workers=workers, fail_fast=fail_fast)


def _lay_out(study: Study, folder: Path) -> None:
    """Write what the sweep is before its first member: killed at any moment after, it can be resumed."""
    SourceRecord(study).copy(folder)
    _list_members(study, folder)
    write_atomically(folder / "study.yaml", study.to_yaml())


def restore(folder: Path, progress: Progress) -> None:
    """Where a sweep's study lies without the list of its members, write the list anew. Raises `RunFolderError`."""
    if (folder / SWEEP).exists():
        return
    text = read_study(folder)
    if text is None or not parse_study(folder, text).get("sweep"):
        return
    study = load_study(folder / "study.yaml", registry=Registry.for_run(folder))
    if study.members:
        _list_members(study, folder)
        progress.say(f"{folder / SWEEP} was missing; it is written anew from study.yaml", "warning")


def _list_members(study: Study, folder: Path) -> None:
    members = [{"name": one.name, "overrides": dict(one.overrides)} for one in study.members]
    content = {"format": SWEEP_FORMAT, "title": study.title, "members": members}
    write_atomically(folder / SWEEP, json.dumps(content, indent=2) + "\n")


def finish_sweep(
    folder: Path, tasks: Sequence[MemberTask], progress: Progress, stop: StopRequest, *, workers: int, fail_fast: bool
) -> Outcome:
    """Run what is left of a sweep, `workers` members at a time. Raises `RunFolderError` if another process does so."""
    workers = min(workers, len(tasks))
    with holding(folder, progress):
        record = SweepRecord(folder, [task.name for task in tasks], progress)
        with stop.last():
            record.begin(workers, tasks[0].threads)
            if workers == 1:
                _in_turn(tasks, record, progress, stop, fail_fast)
            else:
                from studyrun.launch.workers import Crew

                Crew(tasks, record, progress, stop, workers=workers, fail_fast=fail_fast).run()
        return record.end(stopped=stop.requested)


def _in_turn(
    tasks: Iterable[MemberTask], record: SweepRecord, progress: Progress, stop: StopRequest, fail_fast: bool
) -> None:
    for task in tasks:
        if stop.requested:
            break
        record.starts(task.name)
        outcome = finish_member(task, Member(task.name, progress), stop)
        record.note(outcome)
        if fail_fast and outcome.state == "failed":
            break


class SweepRecord:
    """How a sweep stands: in its status.json, in its events, on the screen. Used by several threads at once."""

    def __init__(self, folder: Path, names: Sequence[str], progress: Progress) -> None:
        self.folder = folder
        self._outcomes = {name: MemberOutcome(name, state_of(folder / name)) for name in names}
        self._journal = Journal(folder, progress)
        self._lock = Lock()

    def begin(self, workers: int, threads: int) -> None:
        """Note that the sweep runs, and with how much of the machine."""
        self._journal.set_status(state="running", workers=workers, threads=threads, members=self._states())
        at_once = "one after another" if workers == 1 else f"{workers} at a time"
        count = f"{len(self._outcomes)} members" if len(self._outcomes) > 1 else "one member"
        message = f"{self.folder}: {count}, {at_once}, {threads} torch thread{'s' * (threads > 1)} each"
        self._journal.event("sweep started", message)

    def starts(self, name: str) -> None:
        """A member is being run."""
        with self._lock:
            self._outcomes[name] = MemberOutcome(name, "running")
            self._journal.set_status(members=self._states())

    def note(self, outcome: MemberOutcome) -> None:
        """A member has ended."""
        with self._lock:
            self._outcomes[outcome.name] = outcome
            level = {"failed": "error", "diverged": "warning"}.get(outcome.state, "info")
            ended = sum(one.state not in (NOT_STARTED, "running") for one in self._outcomes.values())
            message = f"{outcome.name} {outcome.state} ({ended} of {len(self._outcomes)})"
            message += f": {outcome.error}" if outcome.error else ""
            self._journal.event("member ended", message, level, member=outcome.name, state=outcome.state)
            self._journal.set_status(members=self._states())

    def end(self, stopped: bool) -> Outcome:
        """Note the sweep's end and return it; `stopped` if somebody asked for it."""
        state = joint_state([one.state for one in self._outcomes.values()], stopped)
        self._journal.set_status(state=state, members=self._states())
        self._journal.event("sweep ended", state=state)
        return Outcome(self.folder, state, members=tuple(self._outcomes.values()))

    def _states(self) -> Mapping[str, Mapping[str, str]]:
        return {
            one.name: {"state": one.state, **({"error": one.error} if one.error else {})}
            for one in self._outcomes.values()
        }
