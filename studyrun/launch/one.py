"""One run: everything that can refuse does so first, then the folder is made, then the study is carried out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from studyrun.engine.events import Progress
from studyrun.engine.run import Prepared, RunResult, execute, prepare
from studyrun.engine.signals import StopRequest
from studyrun.launch.failure import failures_of
from studyrun.launch.folder import check_place, data_folder, make_run_folder
from studyrun.launch.lock import holding
from studyrun.launch.sources import copy_sources
from studyrun.launch.state import DONE, state_of
from studyrun.study.schema import Study


def run_one(study: Study, out: Path | None, command: Sequence[str], progress: Progress) -> RunResult:
    """Run a study without a sweep, in `out` or the next numbered folder. Raises what refused, or `RunFailedError`."""
    check_place(out)
    prepared = prepare(study, data_folder())
    with stop_request(progress).listening() as stop:
        folder = make_run_folder(out)
        progress.say(f"{folder}: {study.title}")

        def run() -> RunResult:
            with holding(folder, progress):
                return run_prepared(prepared, folder, command, progress, stop)

        return carried_out(folder, run)


def run_prepared(
    prepared: Prepared, folder: Path, command: Sequence[str], progress: Progress, stop: StopRequest
) -> RunResult:
    """Run a prepared study in a folder that has just been made. Raises `RunFailedError`, which names the folder."""

    def run() -> RunResult:
        copy_sources(prepared.study, folder)
        return execute(prepared, folder, command, progress, stop)

    return carried_out(folder, run)


def carried_out(folder: Path, run: Callable[[], RunResult]) -> RunResult:
    """What `run` returns; stopped at once, it is an interrupted run, and whatever it raises a failed one."""
    try:
        with failures_of(folder):
            return run()
    except KeyboardInterrupt:  # which may come once the run has ended
        state = state_of(folder)
        return RunResult(folder, state if state in DONE else "interrupted")


def stop_request(progress: Progress) -> StopRequest:
    """What takes Ctrl-C and SIGTERM, and says that they were heard."""
    return StopRequest(lambda: progress.say("stopping after this step, with a checkpoint; once more to stop at once"))
