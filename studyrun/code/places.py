"""Where people's own code lies, and the names that its modules have for that.

A module's name in sys.modules is made of its place, so that two folders may each have a `blocks.py`, and one file is
one module however it is imported. Once a file has changed, whatever is loaded from then on is a new generation.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from hashlib import sha256
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from studyrun.registry import BUILT_IN, is_run_folder, project_of

ROOT_IN_RECORD = "_project"
"""Where a run folder's `plugins/` keeps what lay in a project's root and not in its `plugins/`."""

roots: dict[Path, Path] = {}
"""Folders of plugins, each with the root of its project."""
tops: dict[str, Path] = {}
"""The first part of the modules' names, and which of those folders it stands for."""


def add_folder(folder: Path) -> Path:
    """Take a folder of plugins among those that code is imported from, and return its absolute path."""
    folder = Path(os.path.abspath(folder))
    roots[folder] = root_of(folder)
    return folder


def root_of(folder: Path) -> Path:
    """The root of the project that a folder of plugins belongs to; a run folder's record is one by itself."""
    if is_run_folder(folder.parent):
        kept = folder / ROOT_IN_RECORD
        return kept if kept.is_dir() else folder
    return folder.parent if folder.name == "plugins" else project_of(folder) or folder


def top_of(path: Path) -> Path | None:
    """The innermost folder of plugins, or root of a project, that a file or folder lies in."""
    found = [top for top in {*roots, *roots.values()} if path.is_relative_to(top)]
    return max(found, key=lambda top: len(top.parts), default=None)


def place_in_record(file: Path) -> str | None:
    """Where a run folder's `plugins/` keeps a file; None for one that is not of people's own code."""
    top = top_of(file)
    if top is None:
        return None
    inside = file.relative_to(top).as_posix()
    return inside if top in roots else f"{ROOT_IN_RECORD}/{inside}"


def name_of(place: Path, generation: int) -> str | None:
    """The module's name for a folder, or a file without its suffix; None where Python could not have one."""
    top = top_of(place)
    if top is None or not all(part.isidentifier() for part in place.relative_to(top).parts):
        return None
    name = f"studyrun_code_{sha256(os.fsencode(top)).hexdigest()[:10]}_{generation}"
    tops[name] = top
    return ".".join((name, *place.relative_to(top).parts))


def place_of(name: str) -> Path | None:
    """The folder, or the file without its suffix, that a module's name stands for; None for another's name."""
    first, *parts = name.split(".")
    return tops[first].joinpath(*parts) if first in tops else None


def generation_of(name: str) -> int:
    """The generation of a module, -1 for one that is not of people's own code."""
    first = name.partition(".")[0]
    return int(first.rpartition("_")[2]) if first in tops else -1


def project_of_module(name: str) -> tuple[Path, int]:
    """The root of the project that a module lies in, and its generation."""
    top = tops[name.partition(".")[0]]
    return roots.get(top, top), generation_of(name)


def readable(text: str) -> str:
    """A message with modules named as the code itself names them."""
    for name in tops:
        text = text.replace(f"{name}.", "")
    return text


def file_of(place: Path) -> Path | None:
    """The file that is imported for a place: a package before a module, as Python has it."""
    suffixes = (f"{os.sep}__init__.py", *EXTENSION_SUFFIXES, ".py")
    return next((file for file in (Path(f"{place}{suffix}") for suffix in suffixes) if file.is_file()), None)


def holds_plugins(place: Path) -> bool:
    """Whether a folder holds plugins, each of which is loaded alone, or folders of them."""
    return place in roots or place in roots.values() or (place.parent in roots and (BUILT_IN / place.name).is_dir())


def searched(file: Path) -> Iterator[Path]:
    """Where code in `file` looks for a name: beside the plugin, in the project's root, and in its `plugins/`."""
    top = top_of(file)
    if top in roots:
        inside = file.relative_to(top).parts
        yield from (top / inside[0],) if len(inside) > 1 else ()
        yield from dict.fromkeys((roots[top], top))
        yield from (top.parent,) if top.name == "plugins" else ()
    elif top is not None:
        yield from (top, *(folder for folder, root in roots.items() if root == top))
