"""checksums.json: what the files of a run folder were when its run ended."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from studyrun.errors import RunFolderError
from studyrun.trace import weights
from studyrun.trace.atomic import write_atomically
from studyrun.trace.folder import TRACE, read_json

MANIFEST = "checksums.json"
FORMAT = 1
EVENTS = "events.jsonl"  # grows: its beginning is summed
_SINGLE = ("study.yaml", "provenance.json", TRACE, EVENTS)
_INSIDE = (("checkpoints", "*.pt"), ("plugins", "**/*.py"), *weights.INSIDE)
_BLOCK = 1 << 20


def write_manifest(folder: Path, state: str, started: float) -> None:
    """Sum what the folder holds as a run ends in `state`; to be called before status.json says so.

    `started` is that of status.json: a manifest holds for the stretch of the run that wrote it and for no later one.
    Reads every byte of the trace and the checkpoints. Raises `RunFolderError` if the folder cannot be read or written.
    """
    try:
        files = {name: _entry(folder / name) for name in _names(folder)}
    except OSError as error:
        raise RunFolderError(f"{folder / MANIFEST} cannot be made: {error}") from error
    content = {"format": FORMAT, "state": state, "started": started, "files": files}
    write_atomically(folder / MANIFEST, json.dumps(content, indent=2) + "\n")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The folder's checksums.json, empty if there is none.

    Raises `RunFolderError` if it is damaged, of a newer format, or names what does not lie in the folder.
    """
    path = folder / MANIFEST
    content = read_json(path)
    if not content:
        return {}
    found = content.get("format")
    if isinstance(found, int) and found > FORMAT:
        raise RunFolderError(f"{path} has format {found}, made by a newer studyrun; this version reads {FORMAT}")
    files = content.get("files")
    if found != FORMAT or not isinstance(files, dict) or not all(map(_is_covered, files, files.values())):
        raise RunFolderError(f"{path} is damaged: it is no list of files with their sha256 and bytes")
    return content


def holds_for(manifest: dict[str, Any], status: dict[str, Any]) -> bool:
    """Whether a manifest was written at the end that status.json tells of, rather than before the run was resumed."""
    return all(manifest.get(key) == status.get(key) for key in ("state", "started"))


def changed(folder: Path, manifest: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Every file that is not what it was, and how, in words; files of the kinds summed that came later, too."""
    files = manifest["files"]
    for name, entry in files.items():
        if reason := _difference(folder / name, entry["sha256"], entry["bytes"], grows=name == EVENTS):
            yield name, reason
    for name in _names(folder):
        if name not in files:
            yield name, "was put there after the run had ended"


def _names(folder: Path) -> list[str]:
    found = [name for name in _SINGLE if _is_file(folder / name)]
    for inside, pattern in _INSIDE:
        found += sorted(
            path.relative_to(folder).as_posix() for path in (folder / inside).glob(pattern) if _is_file(path)
        )
    return found


def _is_file(path: Path) -> bool:
    """A file of its own: a link may lead anywhere, and a pipe never ends."""
    return path.is_file() and not path.is_symlink()


def _is_covered(name: str, entry: object) -> bool:
    """Whether this is a line of a manifest, of a file that lies in the folder."""
    parts = name.split("/")
    inside = name in _SINGLE or (parts[0] in ("checkpoints", "plugins") and len(parts) > 1 and ".." not in parts)
    inside = inside or (len(parts) == 1 and name.endswith(weights.ENDING))
    whole = isinstance(entry, dict) and isinstance(entry.get("sha256"), str) and isinstance(entry.get("bytes"), int)
    return inside and whole


def _entry(path: Path) -> dict[str, Any]:
    size = path.stat().st_size
    return {"sha256": _digest(path, size), "bytes": size}


def _digest(path: Path, size: int) -> str:
    """SHA-256 of the first `size` bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while size > 0 and (block := file.read(min(size, _BLOCK))):
            digest.update(block)
            size -= len(block)
    return digest.hexdigest()


def _difference(path: Path, digest: str, size: int, *, grows: bool) -> str:
    try:
        if not _is_file(path):
            return "is a link" if path.is_symlink() else "is gone"
        there = path.stat().st_size
        if there < size:
            return f"is cut off: {there:,} bytes of {size:,} are there"
        if there > size and not grows:
            return f"has grown since the run ended: {there:,} bytes in place of {size:,}"
        return "" if _digest(path, size) == digest else "is not what it was when the run ended"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
