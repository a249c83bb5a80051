"""Writing a folder so that it is there whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from studyrun.errors import RunFolderError


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give an empty folder beside `target`; at the end it takes its place, or vanishes if anything went wrong."""
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
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


def _swap(folder: Path, target: Path) -> None:
    """Put `folder` in the place of `target`, and drop what was there."""
    old = folder.with_name(f"{folder.name}-old")
    if target.exists():
        target.rename(old)
    folder.rename(target)
    shutil.rmtree(old, ignore_errors=True)
