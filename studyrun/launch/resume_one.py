"""An interrupted run, carried on to where it would have ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from studyrun.engine.checkpoint_folder import has_checkpoint
from studyrun.engine.events import Progress
from studyrun.engine.problem import fingerprint
from studyrun.engine.provenance import differences
from studyrun.engine.run import Prepared, RunResult, prepare, resume
from studyrun.engine.signals import StopRequest
from studyrun.errors import RunFolderError, StudyrunError
from studyrun.launch.failure import failures_of
from studyrun.launch.folder import data_folder
from studyrun.launch.lock import holding
from studyrun.launch.one import as_it_stands, run_prepared
from studyrun.launch.state import DONE, state_of
from studyrun.launch.threads import use_threads
from studyrun.registry import Registry
from studyrun.study import load_study
from studyrun.trace.atomic import clear_drafts
from studyrun.trace.folder import TRACE, read_json
from studyrun.trace.reader import Run, open_run


def resume_one(folder: Path, progress: Progress, stop: StopRequest) -> RunResult:
    """Go on from the last checkpoint, or from the beginning where there is none yet; a finished run is left alone.

    With the same data, threads and versions it ends bit for bit as if it had never stopped. Raises `RunFolderError` if
    the folder cannot be resumed, `RunFailedError` if the run fails.
    """
    if state_of(folder) in DONE:
        return as_it_stands(folder)
    if not (folder / "study.yaml").is_file():
        raise RunFolderError(f"{folder} cannot be resumed: it holds no study.yaml")
    with holding(folder, progress):
        if state_of(folder) in DONE:  # by the process that held it until now
            return as_it_stands(folder)
        return _carried_on(folder, progress, stop)


def _carried_on(folder: Path, progress: Progress, stop: StopRequest) -> RunResult:
    for place in (folder, folder / "checkpoints"):
        clear_drafts(place)
    facts, warnings = _facts(folder)
    if isinstance(threads := facts.get("threads"), int):
        use_threads(threads)
    prepared = prepare(load_study(folder / "study.yaml", registry=Registry.for_run(folder)), data_folder())
    _check_data(folder, prepared, facts)
    if has_checkpoint(folder):
        warnings += differences(prepared.problem, facts)
        with failures_of(folder):
            return resume(prepared, folder, progress, stop, warnings)
    _clear_trace(folder)
    progress.say(f"{folder} has no checkpoint yet: it starts from the beginning")
    return run_prepared(prepared, folder, facts.get("command", ()), progress, stop)


def _facts(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """What provenance.json says of the process that began the run, and what is to be said where it cannot be read."""
    try:
        return read_json(folder / "provenance.json"), []
    except RunFolderError as error:
        return {}, [f"{error}; nothing tells whether data, versions and threads are those that the run began with"]


def _check_data(folder: Path, prepared: Prepared, facts: dict[str, Any]) -> None:
    if facts and facts.get("data") != fingerprint(prepared.problem.data):
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
