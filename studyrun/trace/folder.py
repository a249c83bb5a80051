"""The small files of a run folder: study.yaml, status.json, provenance.json, and sweep.json of a sweep."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from studyrun.errors import RunFolderError

TRACE = "trace.h5"
SWEEP = "sweep.json"
SWEEP_FORMAT = 1
MOST_JSON, MOST_YAML = 2**26, 2**22
"""Bytes of a file of this folder that are read: more than any run writes, and little for a machine."""
MAX_DEPTH = 60
_NAME = re.compile(r"[^/\\\x00-\x1f\x7f]{1,255}")


class MemberEntry(NamedTuple):
    """One line of sweep.json: a member's folder and what it sets, by dotted path."""

    name: str
    overrides: Mapping[str, Any]


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file, empty if there is no such file. Raises `RunFolderError` if it is damaged."""
    try:
        content = json.loads(_text(path, MOST_JSON))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise RunFolderError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise RunFolderError(f"{path}: expected a JSON object, got {type(content).__name__}")
    return content


def read_study(folder: Path) -> str | None:
    """The text of study.yaml, None if there is none."""
    try:
        return _text(folder / "study.yaml", MOST_YAML)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{folder / 'study.yaml'} cannot be read: {error}") from error


def parse_study(folder: Path, text: str) -> dict[str, Any]:
    """A resolved study as plain data. Raises `RunFolderError` for what no resolved study holds, aliases among it."""
    try:
        document = yaml.load(text, Loader=_Plain) or {}
    except (yaml.YAMLError, ValueError) as error:
        raise RunFolderError(f"{folder / 'study.yaml'} is no YAML: {error}") from error
    if not isinstance(document, dict):
        raise RunFolderError(f"{folder / 'study.yaml'}: expected a mapping, got {type(document).__name__}")
    return document


def read_sweep(folder: Path) -> tuple[str, tuple[MemberEntry, ...]]:
    """The title and the members of a sweep. Raises `RunFolderError` if sweep.json is damaged or of another format."""
    path = folder / SWEEP
    content = read_json(path)
    found = content.get("format")
    if isinstance(found, int) and found > SWEEP_FORMAT:
        raise RunFolderError(f"{path} has format {found}, made by a newer studyrun; this version reads {SWEEP_FORMAT}")
    if found != SWEEP_FORMAT:
        raise RunFolderError(f"{path}: expected format {SWEEP_FORMAT}, got {content.get('format', 'none')}")
    try:
        members = tuple(MemberEntry(str(one["name"]), dict(one["overrides"])) for one in content["members"])
    except (KeyError, TypeError, ValueError) as error:
        raise RunFolderError(f"{path}: every member needs a name and its overrides: {error!r}") from error
    for name in (member.name for member in members):
        if not _NAME.fullmatch(name) or name in (".", ".."):
            raise RunFolderError(f"{path}: {name!r} is no member of this folder; a plain name would be right")
    if not members:
        raise RunFolderError(f"{path} names no members")
    return str(content.get("title", "")), members


class _Plain(yaml.SafeLoader):
    """Reads what the writer of studies writes: no aliases, and nothing deeper than any study."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse what would grow out of all proportion when it is followed."""
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent) or self.depth >= MAX_DEPTH:
            raise yaml.composer.ComposerError(None, None, "it holds an alias, or is nested too deep", mark)
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


def _text(path: Path, most: int) -> str:
    """A whole file in UTF-8. Raises `ValueError` for one that is longer than `most` bytes, or is a pipe or device."""
    with open(path, "rb", opener=_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is a pipe or a device")
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it is longer than {most:,} bytes")
    return content.decode("utf-8")


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def check_run_folder(folder: Path) -> None:
    """Raise `RunFolderError`, saying what `folder` is instead, unless it holds a trace."""
    if (folder / TRACE).is_file():
        return
    if not folder.exists():
        raise RunFolderError(f"{folder} does not exist")
    if not folder.is_dir():
        raise RunFolderError(f"{folder} is a file; give the run folder that holds it")
    if (folder / "status.json").is_file():
        raise RunFolderError(f"{folder} has no {TRACE}: nothing has been recorded in this run yet")
    raise RunFolderError(f"{folder} is no run folder: it holds neither {TRACE} nor {SWEEP}")
