"""An interrupted run, carried on to where it would have ended."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from studyrun.engine.checkpoint_folder import has_checkpoint
from studyrun.engine.events import Progress
from studyrun.engine.provenance import differences
from studyrun.engine.run import Prepared, RunResult, prepare, resume
from studyrun.engine.signals import StopRequest
from studyrun.engine.sources import check_sources
from studyrun.errors import RunFolderError, StudyrunError
from studyrun.launch.failure import failures_of
from studyrun.launch.folder import data_folder
from studyrun.launch.lock import holding
from studyrun.launch.more import More, asks_for_more
from studyrun.launch.one import as_it_stands, run_prepared
from studyrun.launch.state import DONE, command_of, is_count, state_of
from studyrun.launch.threads import use_threads
from studyrun.trace.atomic import clear_drafts
from studyrun.trace.folder import TRACE, read_json
from studyrun.trace.reader import Run, open_run


def resume_one(
    folder: Path, progress: Progress, stop: StopRequest, threads: int | None = None, overrides: Sequence[str] = ()
) -> RunResult:
    """Go on from the last checkpoint, or from the beginning where there is none yet; a finished run is left alone.

    With the same data, threads and versions it ends bit for bit as if it had never stopped. `threads` is how many it
    computes with where its own record does not say. `overrides`, such as `stop.time=20`, and what study.yaml says by
    now, may ask for more than the run was begun with (`engine.extending`), and then a finished one goes on as well.
    Raises `RunFolderError` if the folder cannot be resumed, `RunFailedError` if the run fails.
    """
    if state_of(folder) in DONE and not asks_for_more(folder, overrides):
        return as_it_stands(folder)
    if not (folder / "study.yaml").is_file():
        raise RunFolderError(f"{folder} cannot be resumed: it holds no study.yaml")
    with holding(folder, progress):
        if state_of(folder) in DONE and not asks_for_more(folder, overrides):  # the process that held it until now
            return as_it_stands(folder)
        return _carried_on(folder, progress, stop, threads, overrides)


def _carried_on(
    folder: Path, progress: Progress, stop: StopRequest, threads: int | None, overrides: Sequence[str]
) -> RunResult:
    for place in (folder, folder / "checkpoints"):
        clear_drafts(place)
    facts, warnings = _facts(folder)
    recorded = facts.get("threads")
    if is_count(recorded):
        threads = recorded
    if threads is not None:
        use_threads(threads)
    check_sources(folder, facts)
    more = More.of(folder, overrides)
    done = more.states if state_of(folder) in DONE else None
    if done and not more.changes:
        return as_it_stands(folder)
    prepared = prepare(more.study, data_folder())
    _check_data(folder, prepared, facts)
    if has_checkpoint(folder):
        extension = more.plan(prepared, done, progress, stop) if more.changes else None
        if extension is not None:
            more.note(facts)
        warnings += differences(prepared.problem, facts)
        with failures_of(folder):
            return resume(prepared, folder, progress, stop, warnings, extension)
    _clear_trace(folder)
    progress.say(f"{folder} has no checkpoint yet: it starts from the beginning")
    return run_prepared(prepared, folder, command_of(facts), progress, stop)


def _facts(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """What provenance.json says of the process that began the run, and what is to be said where it cannot be read."""
    path = folder / "provenance.json"
    try:
        facts, lacking = read_json(path), f"{path} is missing"
    except RunFolderError as error:
        facts, lacking = {}, str(error)
    unknown = "nothing tells whether data, versions and threads are those that the run began with"
    return facts, [] if facts else [f"{lacking}; {unknown}"]


def _check_data(folder: Path, prepared: Prepared, facts: dict[str, Any]) -> None:
    if facts and facts.get("data") != prepared.problem.fingerprint:
        raise RunFolderError(
            f"{folder} cannot be resumed: the data in {data_folder()} are not those that the run began with "
            "(provenance.json holds their hashes)"
        )


def _clear_trace(folder: Path) -> None:
    """Make room for a run from step 0, whose process ended before its first checkpoint, and so before its first row.

    An empty trace goes; one that was cut off while it was made is put aside. Raises `RunFolderError` if rows were lost.
    """
    trace = folder / TRACE
    if not trace.exists():
        return
    try:
        run = open_run(folder)
    except StudyrunError:
        trace.replace(trace.with_name(f"{TRACE}.unreadable"))
        return
    assert isinstance(run, Run)
    if any(len(probe.step) for arm in run.arms.values() for probe in arm.probes.values()):
        raise RunFolderError(f"{folder} cannot be resumed: it holds a recorded trace, and its checkpoints are gone")
    trace.unlink()
