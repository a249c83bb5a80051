"""One run of one study: begun in an empty folder, or resumed from its last checkpoint."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from studyrun.engine.arms import RunInProgress, RunResult
from studyrun.engine.checkpoint_folder import newest
from studyrun.engine.events import Journal, Progress
from studyrun.engine.extending import Extension
from studyrun.engine.prepare import Prepared, prepare
from studyrun.engine.problem import Problem
from studyrun.engine.provenance import provenance
from studyrun.engine.signals import StopRequest
from studyrun.engine.sources import SourceRecord
from studyrun.errors import StudyrunError
from studyrun.stopping import heeding
from studyrun.trace.atomic import write_atomically
from studyrun.trace.manifest import write_manifest
from studyrun.trace.writer import TraceWriter

__all__ = ["Prepared", "RunResult", "execute", "prepare", "resume"]


def execute(
    prepared: Prepared, folder: Path, command: Sequence[str], progress: Progress, stop: StopRequest | None = None
) -> RunResult:
    """Run a prepared study in `folder`, which exists and is empty. Raises what went wrong, with the trace readable."""
    study = prepared.study
    facts = provenance(prepared.problem, command)
    write_atomically(folder / "study.yaml", study.to_yaml())
    SourceRecord(study).copy(folder, over=True)
    write_atomically(folder / "provenance.json", json.dumps(facts, indent=2) + "\n")
    git = facts["git"] or {}
    stop = stop or StopRequest()
    writer = TraceWriter.create(
        folder / "trace.h5", title=study.title, study=study.to_yaml(), git_commit=git.get("commit", "")
    )
    with _closing(writer, stop):
        warnings = [*prepared.warnings, *_doubts(prepared.problem, facts)]
        return _guarded(prepared, folder, progress, writer, None, stop, warnings)


def _doubts(problem: Problem, facts: Mapping[str, Any]) -> Iterator[str]:
    """What is odd about what was loaded, to be put on record."""
    if (shared := facts["test_in_train"]) and problem.data.test is not None:
        yield (
            f"{shared:,} of {len(problem.data.test):,} test examples are byte for byte training examples: "
            "what is measured on the test set is not all unseen"
        )


def resume(
    prepared: Prepared,
    folder: Path,
    progress: Progress,
    stop: StopRequest | None = None,
    warnings: Sequence[str] = (),
    extension: Extension | None = None,
) -> RunResult:
    """Go on with the run in `folder` from its last checkpoint that is whole, putting the warnings on record.

    With an `extension`, it goes on as that says. Raises `RunFolderError` if there is no checkpoint.
    """
    stop = stop or StopRequest()
    content, warning = newest(folder) if extension is None else (dict(extension.content), "")
    said = [*warnings, *filter(None, [warning])]
    with _closing(TraceWriter.resume(folder / "trace.h5"), stop) as writer:
        return _guarded(prepared, folder, progress, writer, content, stop, said, extension)


@contextmanager
def _closing(writer: TraceWriter, stop: StopRequest) -> Iterator[TraceWriter]:
    """Flush and close at the end, which nobody's second Ctrl-C comes into the middle of."""
    try:
        yield writer
    finally:
        with stop.held():
            writer.close()


def _guarded(
    prepared: Prepared,
    folder: Path,
    progress: Progress,
    writer: TraceWriter,
    content: dict[str, Any] | None,
    stop: StopRequest,
    warnings: Sequence[str] = (),
    extension: Extension | None = None,
) -> RunResult:
    """Run with the signals caught, and the status set to `failed` if anything is raised."""
    running = RunInProgress(prepared, folder, progress, stop)
    running.journal.set_status(state="running")
    running.journal.event("run started" if content is None else "run resumed")
    for warning in warnings:
        running.journal.warn(warning)
    try:
        with stop.listening(), heeding():
            return running.run(writer, content, extension)
    except BaseException as error:
        _note_failure(running.journal, error)
        raise


def _note_failure(journal: Journal, error: BaseException) -> None:
    state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
    with suppress(StudyrunError, OSError):  # a full disk cannot take the note either
        journal.set_status(state=state, error=str(error))
        text = "".join(traceback.format_exception(error))  # whole: the message has the first line of it alone
        journal.event("run failed", level="error", error=f"{type(error).__name__}: {error}", traceback=text)
        write_manifest(journal.folder, state, journal.status["started"])
