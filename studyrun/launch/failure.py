"""An exception as one clear message."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from studyrun.errors import RunFailedError, StudyrunError
from studyrun.stopping import heed


@contextmanager
def failures_of(folder: Path) -> Iterator[None]:
    """Whatever fails inside is a failed run, which left a folder: neither an invalid study nor a wrong command."""
    try:
        yield
    except RunFailedError:
        raise  # which names its folder already
    except Exception as error:
        heed()
        raise RunFailedError(f"{folder}: {explained(error)}") from error


def explained(error: Exception | SystemExit) -> str:
    """The error in words; one that nobody foresaw with its type and the line that raised it."""
    if isinstance(error, StudyrunError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    if lacked_memory(error):
        from studyrun.curvature.memory import memory_asked

        return f"memory ran out{where}, {memory_asked(str(error))}: this needs a machine, or a device, with more of it"
    return f"{type(error).__name__}: {error}{where}"


def lacked_memory(error: BaseException) -> bool:
    """Whether it failed for want of memory, which is no fault of the code's."""
    from studyrun.curvature.memory import ran_out_of_memory  # not above: quick commands do without torch

    return ran_out_of_memory(error)
