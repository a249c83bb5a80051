"""What people's own code was run in this process, and who imported what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from studyrun.code.places import generation_of, project_of_module


@dataclass
class Code:
    """A module of people's own: its file, the bytes that were run, and what it imports, by names in sys.modules."""

    path: Path
    content: bytes
    imports: set[str] = field(default_factory=set)


_loaded: dict[str, Code] = {}  # those that failed too, for whoever imports them may do without
_plugins: set[str] = set()


def note_plugin(module: str) -> None:
    """A plugin is loaded by its own name, and so belongs to the studies that name it."""
    _plugins.add(module)


def note_code(module: str, code: Code) -> None:
    """A module is about to run."""
    _loaded[module] = code


def note_import(module: str, target: str, fromlist: Sequence[str]) -> None:
    """A module asks for another one: for its packages, too, and for what it takes from there."""
    parts = target.split(".")
    packages = {".".join(parts[: end + 1]) for end in range(len(parts))}
    _loaded[module].imports |= packages | {f"{target}.{name}" for name in fromlist}


def code_of(module: str) -> Code | None:
    """The code of a module, None for one that is not of people's own or has not run."""
    return _loaded.get(module)


def run_so_far() -> int:
    """How many modules of people's own have run."""
    return len(_loaded)


def has_run(file: Path) -> bool:
    """Whether a file is of people's own code that this process has imported."""
    return any(code.path == file for code in _loaded.values())


def imported_by(modules: Iterable[str]) -> list[Code]:
    """The code of these modules and of all that they have come to import, in the order in which it was first run.

    What no statement imported, so that nothing tells who did, counts for every module of its project.
    """
    waiting = [name for name in modules if name in _loaded]
    projects = {project_of_module(name) for name in waiting}
    known = _plugins.union(*(code.imports for code in _loaded.values()))
    waiting += [name for name in _loaded if name not in known and project_of_module(name) in projects]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in _loaded and name not in found:
            found.add(name)
            waiting += _loaded[name].imports
    return [code for name, code in _loaded.items() if name in found]


def outdated(generation: int) -> bool:
    """Whether any file has changed since this generation ran it."""
    return any(_has_changed(code) for name, code in _loaded.items() if generation_of(name) == generation)


def _has_changed(code: Code) -> bool:
    try:
        return code.path.read_bytes() != code.content
    except OSError:
        return True
