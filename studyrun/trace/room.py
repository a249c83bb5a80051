"""Room on the disk, claimed before a write: a full disk is met while the file is still whole."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from studyrun.errors import RunFolderError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def claim(path: Path, descriptor: int, end: int, need: int) -> None:
    """Make the open file `need` bytes longer than `end`, or raise `RunFolderError` and leave it as it was.

    A file system that cannot reserve is no fault: there the write itself will tell.
    """
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, end, need)
        elif shutil.disk_usage(path.parent).free < need:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        if error.errno in _NO_ROOM:
            give_back(descriptor, end)
            raise disk_full(path, need) from error


def give_back(descriptor: int, end: int) -> None:
    """Cut the open file off at `end`: what was claimed beyond is free again."""
    if os.fstat(descriptor).st_size > end:
        os.ftruncate(descriptor, end)


def abandon(descriptor: int) -> None:
    """Turn what is still written through the descriptor away from the file.

    HDF5 cannot be told to forget a write that failed half-way: it tries again whenever something is closed, at exit at
    the latest, and would mix that with what is whole in the file.
    """
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def write_error(path: Path, error: Exception) -> RunFolderError:
    """What to tell the user of a write that failed. HDF5 hides the system's error number in its text."""
    if getattr(error, "errno", None) in _NO_ROOM or any(f"errno = {number}," in str(error) for number in _NO_ROOM):
        return disk_full(path)
    return RunFolderError(f"{path}: the trace cannot be written: {error}")


def disk_full(path: Path, need: int | None = None) -> RunFolderError:
    """The error of a full disk, with what to do about it."""
    much = f" {need / 1e6:.1f} MB" if need else ""
    return RunFolderError(
        f"the disk is full: no room for{much} more in {path}. What was written before is whole and readable; "
        f"free some space, then: studyrun resume {path.parent}"
    )
