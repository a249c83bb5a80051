"""An interrupted run, carried on to where it would have ended."""

from __future__ import annotations

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
from studyrun.launch.one import as_it_stands, run_prepared
from studyrun.launch.state import DONE, command_of, is_count, state_of
from studyrun.launch.threads import use_threads
from studyrun.registry import Registry
from studyrun.study import load_study
from studyrun.trace.atomic import clear_drafts
from studyrun.trace.folder import TRACE, parse_study, read_json, read_study
from studyrun.trace.reader import Run, open_run


def resume_one(folder: Path, progress: Progress, stop: StopRequest, threads: int | None = None) -> RunResult:
    """Go on from the last checkpoint, or from the beginning where there is none yet; a finished run is left alone.

    With the same data, threads and versions it ends bit for bit as if it had never stopped. `threads` is how many it
    computes with where its own record does not say. Raises `RunFolderError` if
    the folder cannot be resumed, `RunFailedError` if the run fails.
    """
    if state_of(folder) in DONE:
        return as_it_stands(folder)
    if not (folder / "study.yaml").is_file():
        raise RunFolderError(f"{folder} cannot be resumed: it holds no study.yaml")
    with holding(folder, progress):
        if state_of(folder) in DONE:  # by the process that held it until now
            return as_it_stands(folder)
        return _carried_on(folder, progress, stop, threads)


def _carried_on(folder: Path, progress: Progress, stop: StopRequest, threads: int | None) -> RunResult:
    for place in (folder, folder / "checkpoints"):
        clear_drafts(place)
    facts, warnings = _facts(folder)
    recorded = facts.get("threads")
    if is_count(recorded):
        threads = recorded
    if threads is not None:
        use_threads(threads)
    check_sources(folder, facts)
    prepared = prepare(load_study(folder / "study.yaml", registry=Registry.for_run(folder)), data_folder())
    _check_data(folder, prepared, facts)
    if has_checkpoint(folder):
        _check_study(folder)
        warnings += differences(prepared.problem, facts)
        with failures_of(folder):
            return resume(prepared, folder, progress, stop, warnings)
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


def _check_study(folder: Path) -> None:
    """Raise `RunFolderError` if study.yaml is not what the run began with, which the trace holds as well.

    What is drawn and claimed may have changed, which the trace does not depend on.
    """
    text = read_study(folder) or ""
    try:
        run = open_run(folder)
    except StudyrunError:
        return  # of a trace that cannot be read, resuming says what is wrong
    recorded = str(run.attributes.get("study", text)) if isinstance(run, Run) else text
    now, then = (
        {key: value for key, value in parse_study(folder, one).items() if key not in ("figures", "claims")}
        for one in (text, recorded)
    )
    if text != recorded and now != then:
        changed = ", ".join(sorted(key for key in now | then if now.get(key) != then.get(key)))
        raise RunFolderError(
            f"{folder} cannot be resumed: study.yaml has another {changed} than the run began with, which the "
            "attribute `study` of trace.h5 holds: put that back to go on as before; "
            f"`studyrun run {folder / 'study.yaml'}` carries out what it says now, in a new folder"
        )


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
