"""A file under a checksum: one line that names its kind, format, SHA-256 and length, then the content."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from studyrun.errors import RunFolderError
from studyrun.trace.atomic import write_atomically

_LONGEST_LINE = 200
_LINE = re.compile(rb"studyrun ([a-z]+) ([0-9]{1,9}) ([0-9a-f]{64}) ([0-9]{1,18})\n")


def seal(path: Path, kind: str, number: int, content: bytes) -> None:
    """Write `content` as a file of this kind and format number, atomically. Raises `RunFolderError`."""
    digest = hashlib.sha256(content).hexdigest()
    write_atomically(path, f"studyrun {kind} {number} {digest} {len(content)}\n".encode() + content)


def unseal(path: Path, kind: str, newest: int) -> tuple[int, bytes] | None:
    """The format number and the content of a sealed file, None of a file that has no such line.

    Raises `RunFolderError` if it is missing, of a newer format than `newest`, cut off, or not what was sealed.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise RunFolderError(f"{path} is missing") from error
    except OSError as error:
        raise RunFolderError(f"{path} cannot be read: {error.strerror or error}") from error
    line = _LINE.match(data[:_LONGEST_LINE])
    if line is None or line[1].decode() != kind:
        return None
    number, digest, length = int(line[2]), line[3].decode(), int(line[4])
    if number > newest:
        raise RunFolderError(
            f"{path} has {kind} format {number}, made by a newer studyrun; this version reads {newest} and older"
        )
    content = data[line.end() :]
    if len(content) != length:
        raise RunFolderError(f"{path} is cut off: {len(content)} bytes of {length} are there")
    if hashlib.sha256(content).hexdigest() != digest:
        raise RunFolderError(f"{path} is damaged: its content does not have the checksum that it was written with")
    return number, content
