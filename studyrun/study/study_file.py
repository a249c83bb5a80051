"""A study file from the disk: its bytes, its text, its one block."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from studyrun.study.tree import Block, Faults, Items, Origin, Scalar
from studyrun.study.yaml_reader import MAX_BYTES, parse, place


def shown(path: Path) -> str:
    """The path as messages show it: relative to the working directory where it lies inside."""
    absolute = Path(os.path.abspath(path))
    try:
        return str(absolute.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def read(path: Path, faults: Faults) -> Block | None:
    """Read a study file. Without a tree to go on with, return None; the reasons are in `faults`."""
    file = shown(path)
    try:
        raw = _content(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        faults.add(Origin(file), "", f"cannot be read: {reason}; a study is a YAML file")
        return None
    if len(raw) > MAX_BYTES:
        faults.add(Origin(file), "", f"is larger than {MAX_BYTES:,} bytes; no study file is")
        return None
    text = _decoded(raw, file, faults)
    return None if text is None else parse_study(text, file, faults)


def _content(path: Path) -> bytes:
    """The bytes of a file, as far as a study may reach. A pipe or a device is refused: it may never begin, or end."""
    with open(path, "rb", opener=_without_waiting) as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise ValueError("it is a pipe or a device")
        return stream.read(MAX_BYTES + 1)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def parse_study(text: str, file: str, faults: Faults) -> Block | None:
    """The tree of a study file's text, which must be one block."""
    top = parse(text, Origin(file, 1, 1), faults)
    if top is None or isinstance(top, Block):
        return top
    empty = isinstance(top, Scalar) and top.value is None
    found = "the file is empty" if empty else f"the file is {'a list' if isinstance(top, Items) else 'a single value'}"
    faults.add(top.origin, "", f"{found}; a study is a block of keys such as `model: mlp`")
    return None


def _decoded(raw: bytes, file: str, faults: Faults) -> str | None:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8", "replace")
        line, column = place(before, len(before))
        faults.add(
            Origin(file, line, column), "", f"byte 0x{raw[error.start]:02x} is not UTF-8; save the file as UTF-8"
        )
        return None
