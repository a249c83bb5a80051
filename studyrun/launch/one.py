"""One run: everything that can refuse does so first, then the folder is made, then the study is carried out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from studyrun.engine.events import Progress
from studyrun.engine.run import Prepared, RunResult, execute, prepare
from studyrun.engine.signals import StopRequest
from studyrun.launch.failure import failures_of
from studyrun.launch.folder import check_place, data_folder, make_run_folder
from studyrun.launch.lock import holding
from studyrun.launch.state import DONE, read_status, state_of
from studyrun.study.schema import Study


def run_one(study: Study, out: Path | None, command: Sequence[str], progress: Progress, stop: StopRequest) -> RunResult:
    """Run a study without a sweep, in `out` or the next numbered folder. Raises what refused, or `RunFailedError`."""
    check_place(out)
    prepared = prepare(study, data_folder())
    with heard(stop, progress):
        folder = make_run_folder(out)
        progress.say(f"{folder}: {study.title}")
        with stop.last(), failures_of(folder), holding(folder, progress):
            return run_prepared(prepared, folder, command, progress, stop)
        return as_it_stands(folder)


def run_prepared(
    prepared: Prepared, folder: Path, command: Sequence[str], progress: Progress, stop: StopRequest
) -> RunResult:
    """Run a prepared study in a folder that has just been made. Raises `RunFailedError`, which names the folder."""
    with failures_of(folder):
        return execute(prepared, folder, command, progress, stop)


def as_it_stands(folder: Path) -> RunResult:
    """How a run ended that was stopped at once: interrupted, if not that it had come to its end just before."""
    state = state_of(folder)
    return RunResult(folder, state if state in DONE else "interrupted", dict(read_status(folder).get("arms", {})))


@contextmanager
def heard(stop: StopRequest, progress: Progress) -> Iterator[None]:
    """Catch Ctrl-C and what is like it inside the block, and say so the first time."""
    stop.announce = lambda: progress.say("stopping after this step, with a checkpoint; once more to stop at once")
    with stop.listening():
        yield
