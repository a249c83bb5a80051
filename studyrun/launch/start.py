"""The two ways to set off: a study that is new, and a folder that is not finished."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from studyrun.engine.events import Progress, Silent
from studyrun.engine.run import RunResult
from studyrun.engine.signals import StopRequest
from studyrun.errors import RunFolderError, UsageError
from studyrun.launch.lock import holding
from studyrun.launch.member import MemberTask
from studyrun.launch.more import asks_for_more
from studyrun.launch.more_members import members_ask_for_more, take_further
from studyrun.launch.one import as_it_stands, heard, run_one
from studyrun.launch.outcome import MemberOutcome, Outcome
from studyrun.launch.resume_one import resume_one
from studyrun.launch.state import DONE, command_of, read_status, state_of
from studyrun.launch.sweep import finish_sweep, restore, run_sweep
from studyrun.launch.threads import threads_each
from studyrun.study import Study
from studyrun.trace.contained import check_contained
from studyrun.trace.folder import SWEEP, read_json, read_sweep


def launch(
    study: Study,
    *,
    out: Path | None = None,
    workers: int = 1,
    fail_fast: bool = False,
    command: Sequence[str] = (),
    progress: Progress | None = None,
    stop: StopRequest | None = None,
) -> Outcome:
    """Run a study, or every member of its sweep, in a new folder: `out`, or the next `outputs/run1`, `run2`, ...

    Raises what refuses to start before any folder is made, and `RunFailedError` for a run that fails. A sweep whose
    members fail returns, with their errors. `stop` is where signals are caught, if the caller goes on catching them.
    """
    progress, stop = progress or Silent(), stop or StopRequest()
    _check_workers(workers)
    if not study.members:
        return _outcome(run_one(study, out, command, progress, stop))
    return run_sweep(study, out, command, progress, stop, workers=workers, fail_fast=fail_fast)


def resume(
    folder: Path,
    *,
    overrides: Sequence[str] = (),
    workers: int | None = None,
    fail_fast: bool = False,
    progress: Progress | None = None,
    stop: StopRequest | None = None,
) -> Outcome:
    """Carry on with a run, or with whatever is left of a sweep. A folder that is finished is returned as it is.

    `overrides`, such as `stop.time=20`, have a run, or every member of a sweep, go on beyond its end. Raises
    `RunFolderError` if the folder is no run's, or another process is filling it.
    """
    progress, stop = progress or Silent(), stop or StopRequest()
    check_contained(folder)
    with suppress(RunFolderError):  # of a study that cannot be read, resuming says what is wrong
        restore(folder, progress)
    if (folder / SWEEP).is_file():
        return _resume_sweep(folder, overrides, workers, fail_fast, progress, stop)
    if not (folder / "status.json").is_file() and not (folder / "study.yaml").is_file():
        raise RunFolderError(f"{folder} is no run folder: it holds neither study.yaml nor {SWEEP}")
    began = read_status(folder).get("started") if state_of(folder) in DONE else None
    with heard(stop, progress):
        with stop.last():
            result = resume_one(folder, progress, stop, overrides=overrides)
            return _outcome(result, began is not None and read_status(folder).get("started") == began)
        return _outcome(as_it_stands(folder))


def _resume_sweep(
    folder: Path,
    overrides: Sequence[str],
    workers: int | None,
    fail_fast: bool,
    progress: Progress,
    stop: StopRequest,
) -> Outcome:
    status = read_status(folder)
    _, entries = read_sweep(folder)
    longer = bool(overrides) or members_ask_for_more(folder, entries)
    if longer:
        with holding(folder, progress):
            take_further(folder, entries, overrides)
    states = [MemberOutcome(one.name, state_of(folder / one.name)) for one in entries]
    ended = all(one.state in DONE for one in states) and state_of(folder) in DONE
    if ended and not longer and not any(asks_for_more(folder / one.name, ()) for one in entries):
        return Outcome(folder, state_of(folder), members=tuple(states), already=True)
    at_once: int = workers or status.get("workers", 1)
    _check_workers(at_once)
    threads = status["threads"] if workers is None and "threads" in status else threads_each(at_once)
    command = _command(folder / entries[0].name)
    tasks = [MemberTask(folder, one.name, threads, command) for one in entries]
    with heard(stop, progress):
        return finish_sweep(folder, tasks, progress, stop, workers=at_once, fail_fast=fail_fast)


def _command(member: Path) -> tuple[str, ...]:
    """The command that began a sweep, as a member of it has noted."""
    with suppress(RunFolderError):
        return command_of(read_json(member / "provenance.json"))
    return ()


def _check_workers(workers: int) -> None:
    if workers < 1:
        raise UsageError(f"--workers {workers}: at least one process must work")


def _outcome(result: RunResult, already: bool = False) -> Outcome:
    return Outcome(result.folder, result.state, arms=result.arms, already=already)
