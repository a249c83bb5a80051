"""The small files of a run folder: study.yaml, status.json, provenance.json, and sweep.json of a sweep."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from studyrun.errors import RunFolderError

TRACE = "trace.h5"
SWEEP = "sweep.json"
SWEEP_FORMAT = 1


class MemberEntry(NamedTuple):
    """One line of sweep.json: a member's folder and what it sets, by dotted path."""

    name: str
    overrides: Mapping[str, Any]


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file, empty if there is no such file. Raises `RunFolderError` if it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise RunFolderError(f"{path}: expected a JSON object, got {type(content).__name__}")
    return content


def read_study(folder: Path) -> str | None:
    """The text of study.yaml, None if there is none."""
    try:
        return (folder / "study.yaml").read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{folder / 'study.yaml'} cannot be read: {error}") from error


def parse_study(folder: Path, text: str) -> dict[str, Any]:
    """A resolved study as plain data."""
    try:
        document = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
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
    return str(content.get("title", "")), members


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
