"""Opening a trace for reading, also while a run is still writing it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np

from studyrun.errors import TraceError
from studyrun.trace.layout import FORMAT

Result = TypeVar("Result")

_ATTEMPTS = 6
_FIRST_PAUSE = 0.02  # seconds, doubled at each attempt: a flush takes some milliseconds
_HIDDEN = ("CLASS", "NAME", "REFERENCE_LIST", "DIMENSION_LIST")
_BUSY = 5.0  # seconds since the last write within which a fault may be a flush under way


def read(path: Path, what: Callable[[h5py.File], Result]) -> Result:
    """Open the trace, hand it to `what`, close it, and return what that made of it.

    Locks are not asked for, so a writer is never held up; a read that meets a flush half-way is tried again. Raises
    `TraceError` where the file is damaged or of a newer format.
    """
    for attempt in range(_ATTEMPTS):
        try:
            with h5py.File(path, "r", locking=False) as file:
                check_format(path, file)
                return what(file)
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            if attempt == _ATTEMPTS - 1 or not _being_written(path):
                raise TraceError(f"{path} cannot be read: {error}") from error
            time.sleep(_FIRST_PAUSE * 2**attempt)
    raise AssertionError("unreachable: the last attempt returns or raises")


def check_format(path: Path, file: h5py.File) -> None:
    """Raise `TraceError` unless this version of the project wrote, or could have written, the file."""
    found = file.attrs.get("studyrun_format")
    if found is None:
        raise TraceError(f"{path} is no trace of studyrun: it lacks the attribute studyrun_format")
    if found != FORMAT:
        raise TraceError(f"{path} has studyrun_format {found}; this version reads {FORMAT}")


def read_attributes(target: h5py.Group | h5py.Dataset) -> dict[str, Any]:
    """Attributes as plain Python numbers and texts, without those that only HDF5 needs."""
    return {name: _plain(target.attrs[name]) for name in target.attrs if name not in _HIDDEN}


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _being_written(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime < _BUSY
    except OSError:
        return False
