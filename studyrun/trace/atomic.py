"""Files that are there whole or not at all, whenever the process dies or the power goes."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from studyrun.errors import RunFolderError

_DRAFT = re.compile(r"\..+\.[0-9]+\.tmp|trace\.h5\.(journal\.)?draft")


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file in full beside its place, see it on the disk, and rename it there. Raises `RunFolderError`."""
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):  # a disk that has become read-only keeps the draft
            temporary.unlink(missing_ok=True)
        raise RunFolderError(f"cannot write {path}: {error.strerror or error}") from error
    sync_folder(path.parent)


def clear_drafts(folder: Path) -> None:
    """Remove what processes that died left beside the places of the files that they were writing."""
    with suppress(OSError):
        for path in folder.iterdir():
            if _DRAFT.fullmatch(path.name) and not path.is_dir():
                path.unlink()


def sync_folder(folder: Path) -> None:
    """See the names in a folder on the disk; a system that cannot open a folder for that goes without."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
