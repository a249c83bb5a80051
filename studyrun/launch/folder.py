"""Where runs and data lie: numbered run folders, made whole or not at all, and the user's data folder."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from studyrun.errors import RunFolderError, UsageError

OUTPUTS = "STUDYRUN_OUTPUTS"
DATA = "STUDYRUN_DATA"
_NUMBERED = re.compile(r"run([0-9]+)\Z")


def outputs_folder() -> Path:
    """The folder that numbered run folders are made in: $STUDYRUN_OUTPUTS, or `outputs` in the working directory."""
    return _given(OUTPUTS) or Path("outputs")


def data_folder() -> Path:
    """The folder that data sets lie in: $STUDYRUN_DATA, or `studyrun/data` in the user's cache.

    A user without a home directory, as containers have them, has that cache in the working directory. Raises
    `UsageError` if $STUDYRUN_DATA begins with a `~` that leads nowhere.
    """
    if given := _given(DATA):
        return given
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.path.expanduser(cache).removeprefix("~/")) / "studyrun" / "data"


def _given(variable: str) -> Path | None:
    value = os.environ.get(variable)
    try:
        return Path(value).expanduser() if value else None
    except RuntimeError as error:
        text = f"${variable} is {value}, and no home directory is known for that ~; give the path in full"
        raise UsageError(text) from error


def check_place(out: Path | None) -> None:
    """Raise `RunFolderError` if a run folder could not be made, as far as can be told without making it."""
    if out is not None and os.path.lexists(out):
        raise RunFolderError(f"{out} exists already; a run folder is never overwritten, so give --out a new path")
    wanted = out.parent if out is not None else outputs_folder()
    held = next(folder for folder in (wanted, *wanted.absolute().parents) if os.path.lexists(folder))
    if not held.is_dir():
        raise _cannot_make(wanted, OSError(errno.ENOTDIR, f"{held} is not a folder"))
    if not os.access(held, os.W_OK | os.X_OK):
        raise _cannot_make(wanted, PermissionError(errno.EACCES, f"{held} is not writable"))


def make_run_folder(out: Path | None = None) -> Path:
    """Make and return exactly `out`, or the next numbered folder. Of two processes that ask at once, each gets its own.

    Raises `RunFolderError` if it exists or cannot be made.
    """
    if out is None:
        return _next_numbered(outputs_folder())
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.mkdir()
    except FileExistsError as error:
        raise RunFolderError(f"{out} exists already; a run folder is never overwritten") from error
    except OSError as error:
        raise _cannot_make(out.parent, error) from error
    return out


def _next_numbered(outputs: Path) -> Path:
    """The folder after the highest number there is, so that gaps left by deleted runs stay gaps."""
    try:
        outputs.mkdir(parents=True, exist_ok=True)
        number = max((int(match[1]) for name in os.listdir(outputs) if (match := _NUMBERED.match(name))), default=0)
        while True:
            number += 1
            try:
                (outputs / f"run{number}").mkdir()
            except FileExistsError:
                continue
            return outputs / f"run{number}"
    except OSError as error:
        raise _cannot_make(outputs, error) from error


def _cannot_make(where: Path, error: OSError) -> RunFolderError:
    reason = error.strerror or str(error)
    return RunFolderError(
        f"no run folder can be made in {where}: {reason}; choose another place with --out or ${OUTPUTS}"
    )
