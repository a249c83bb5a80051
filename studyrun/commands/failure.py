"""An exception as what the shell sees of it: one clear message on stderr, and an exit code."""

from __future__ import annotations

import os
import traceback
from contextlib import suppress

import typer

from studyrun.commands.output import note
from studyrun.errors import InvalidStudyError, StudyrunError

DEBUG = "STUDYRUN_DEBUG"
INTERRUPTED = 130


def report_failure(error: Exception) -> int:
    """Print the message, under $STUDYRUN_DEBUG the traceback too, and return the exit code."""
    if isinstance(error, typer.Abort):  # what some versions of the parser make of a Ctrl-C
        return INTERRUPTED
    if os.environ.get(DEBUG):
        with suppress(OSError):
            traceback.print_exception(error)
    if isinstance(error, StudyrunError):
        note(_message(error))
        return error.exit_code
    if hasattr(error, "show") and hasattr(error, "exit_code"):  # a wrong command, in the parser's words
        with suppress(OSError):
            error.show()
        return int(error.exit_code)
    from studyrun.launch.failure import explained, lacked_memory

    note(f"error: {explained(error)}")
    if not isinstance(error, OSError) and not lacked_memory(error) and not os.environ.get(DEBUG):
        note(f"this is a fault of studyrun or of a plugin; with --debug, or {DEBUG}=1, it shows where it comes from")
    return 1


def _message(error: StudyrunError) -> str:
    """The faults of a study stand as they are, one on each line, where editors find `file:line:column:`."""
    if isinstance(error, InvalidStudyError):
        count = "one fault" if len(error.faults) == 1 else f"{len(error.faults)} faults"
        return f"{error}\nerror: the study has {count}; nothing was run"
    return f"error: {error}"
