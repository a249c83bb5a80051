"""Opening a trace for reading, also while a run is still writing it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np

from studyrun.errors import StudyrunError, TraceError
from studyrun.stopping import heed
from studyrun.trace import sums
from studyrun.trace.foreign import check_own
from studyrun.trace.journal import journal_of, read_journal
from studyrun.trace.layout import READABLE, unreadable
from studyrun.trace.pages import PagedFile

Result = TypeVar("Result")

_ATTEMPTS = 6
_FIRST_PAUSE = 0.02  # seconds, doubled at each attempt: a commit takes some milliseconds
NO_DAMAGE = "nothing speaks for damage"
_own: dict[Path, list[tuple[int, int] | None]] = {}
"""The traces that have been found to lead nowhere else, as they stood then."""


def read(path: Path, what: Callable[[h5py.File], Result], name: str = "") -> Result:
    """Open the trace, hand it to `what`, close it, and return what that made of it; `name` is the channel it is after.

    A writer is never held up. A read during which the file changed is done again, except for the last attempt: a read
    that takes longer than the pause between two flushes would never end. Raises `TraceError` where the file is damaged
    or of another format.
    """
    for attempt in range(_ATTEMPTS):
        last, before = attempt == _ATTEMPTS - 1, _stamps(path)
        try:
            with _opened(path) as file:
                check_format(path, file)
                if _own.get(path) != before:
                    check_own(path, file)
                    _own[path] = before
                result = what(file)
        except StudyrunError:
            raise
        except Exception as error:  # a damaged file has h5py raise whatever comes of it
            heed()
            if last or _stamps(path) == before:
                raise TraceError(damage(path, name, error)) from error
        else:
            if last or _stamps(path) == before:
                return result
        time.sleep(_FIRST_PAUSE * 2**attempt)
    raise AssertionError("unreachable: the last attempt returns or raises")


def damage(path: Path, name: str, error: Exception) -> str:
    """What to say of a trace, or of one channel in it, that raises `error` on reading."""
    where = f"{path}: {name.strip('/')}" if name else str(path)
    reason = str(error) or type(error).__name__
    if isinstance(error, MemoryError):
        return f"{where} cannot be read: this process lacks the memory for it ({reason}); {NO_DAMAGE}"
    return f"{where} cannot be read: {reason}; `studyrun check {path.parent}` says what is damaged"


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """The file as the last commit left it, or leaves it, if its journal is still there."""
    if (file := _direct(path)) is not None:
        with file:
            yield file
        return
    with pages(path) as content, h5py.File(content, "r") as file:
        yield file


def _direct(path: Path) -> h5py.File | None:
    """The file opened by HDF5 itself, the quicker way; None with a journal, and where HDF5 does not open it.

    Of a file that this process holds open already, HDF5 allows no second way of opening it, and locks may be forced.
    """
    if journal_of(path).exists():
        return None
    try:
        return h5py.File(path, "r", locking=False)
    except OSError:
        return None


def pages(path: Path) -> PagedFile:
    """The bytes of the trace with its journal's pages over them. Raises `TraceError` where they cannot be had."""
    try:
        journal = read_journal(path)
        return PagedFile(path, os.open(path, os.O_RDONLY), journal)
    except OSError as error:
        raise TraceError(f"{path} cannot be opened: {error.strerror or error}; {NO_DAMAGE}") from error


def _stamps(path: Path) -> list[tuple[int, int] | None]:
    """What changes with every commit, when it begins and when it ends."""
    return [_stamp(path), _stamp(journal_of(path))]


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def check_format(path: Path, file: h5py.File) -> None:
    """Raise `TraceError` unless this version of the project wrote, or could have written, the file."""
    found = file.attrs.get("studyrun_format")
    if found is None:
        raise TraceError(f"{path} is no trace of studyrun: it lacks the attribute studyrun_format")
    if found not in READABLE:
        raise TraceError(f"{path}: {unreadable(found)}")


def read_attributes(target: h5py.Group | h5py.Dataset) -> dict[str, Any]:
    """Attributes as plain Python numbers and texts, without those that only HDF5 needs.

    Raises `ValueError` where the texts are not those that were written.
    """
    found = {name: _plain(target.attrs[name]) for name in target.attrs if name not in sums.HIDDEN}
    sums.hold(target, sums.TEXTS, {name: value for name, value in found.items() if isinstance(value, str)})
    return found


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
