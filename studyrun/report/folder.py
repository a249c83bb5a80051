"""Writing a folder so that it is there whole or not at all."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from studyrun.errors import RunFolderError
from studyrun.trace.process import identity, lives

OLD = "-old"


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give an empty folder beside `target`; at the end it takes its place, or vanishes if anything went wrong."""
    _clear_up(target)
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}-{os.getpid()}-", dir=target.parent))
    except OSError as error:
        raise RunFolderError(f"cannot write a report into {target.parent}: {error.strerror or error}") from error
    try:
        yield folder
        folder.chmod(0o755)
        _swap(folder, target)
    except OSError as error:
        raise RunFolderError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _clear_up(target: Path) -> None:
    """Put back what a process that died in the middle of `_swap` had moved away, and remove what others left."""
    pattern = re.compile(rf"\.{re.escape(target.name)}-([0-9]+)-[^.]+?({OLD})?")
    for folder in sorted(target.parent.glob(f".{target.name}-*")):
        found = pattern.fullmatch(folder.name)
        if found is None or folder.is_symlink() or lives({**identity(), "pid": int(found[1]), "born": None}):
            continue
        if found[2] and not target.exists():
            with suppress(OSError):
                folder.rename(target)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _swap(folder: Path, target: Path) -> None:
    """Put `folder` in the place of `target`, and drop what was there."""
    old = folder.with_name(folder.name + OLD)
    try:
        if target.exists():
            target.rename(old)
        folder.rename(target)
    finally:
        if old.exists() and not target.exists():  # stopped in between
            old.rename(target)
        shutil.rmtree(old, ignore_errors=True)
