"""Whether a run folder, which may be a stranger's, keeps to itself.

A folder that was copied from elsewhere may hold links. What is written into such a folder, a report or the rest of a
run, would go where they lead, and what is read, into the report.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from studyrun.errors import RunFolderError


def check_contained(folder: Path) -> None:
    """Raise `RunFolderError` if anything in the folder of a run, or of a sweep, leads out of it.

    The folder itself may be a link: it is the user's own. What leads out of a trace is found where that is opened.
    """
    root = folder.resolve()
    for path in _inside(root):
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:  # a run that is going on writes drafts, and renames them
            continue
        if stat.S_ISLNK(mode):
            target = Path(os.path.realpath(path))
            if not target.is_relative_to(root):
                raise RunFolderError(
                    f"{path} is a link that leads out of the run folder, to {target}; nothing is read or written "
                    "through it; put the file itself in its place, or remove it"
                )
        elif not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise RunFolderError(f"{path} is a pipe or a device, which no run folder holds; remove it")


def _inside(root: Path) -> Iterator[Path]:
    for where, folders, files in os.walk(root):
        yield from (Path(where, name) for name in (*folders, *files))
