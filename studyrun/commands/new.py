"""`new`: a component of the user's own and its test, from a worked example of each kind."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

from studyrun.commands.kinds import kind_named, registry_here, singular
from studyrun.commands.output import note, write
from studyrun.errors import RunFolderError, UsageError
from studyrun.registry import project_of

TEMPLATES = Path(__file__).parent / "templates"
NAME = re.compile(r"[a-z][a-z0-9_]*\Z")


def new(kind: str, name: str) -> None:
    """Write plugins/<kind>/<name>.py and plugins/tests/<kind>/test_<name>.py of the project, and print their paths."""
    folder = kind_named(kind)
    _check_name(folder, name)
    plugins = _project() / "plugins"
    example = f"my_{singular(folder)}"
    targets = {
        plugins / folder / f"{name}.py": TEMPLATES / folder / f"{example}.py",
        plugins / "tests" / folder / f"test_{name}.py": TEMPLATES / "tests" / folder / f"test_{example}.py",
    }
    for target in targets:
        if target.exists():
            raise UsageError(f"{target} exists already; nothing was written")
    for target, template in targets.items():
        _write_new(target, renamed(template.read_text(encoding="utf-8"), example, name))
        write(str(target))
    note(f"both work as they stand: python -m pytest {list(targets)[-1]}")


def renamed(text: str, old: str, name: str) -> str:
    """The text with the example's name, in both spellings, replaced."""
    return text.replace(camel_case(old), camel_case(name)).replace(old, name)


def camel_case(name: str) -> str:
    """The class of a file: my_probe holds MyProbe."""
    return "".join(part.capitalize() for part in name.split("_"))


def _check_name(folder: str, name: str) -> None:
    if not NAME.match(name) or keyword.iskeyword(name):
        raise UsageError(f"{name!r} cannot be a component's name; lower-case words such as my_{singular(folder)} can")
    taken = next((one for one in registry_here().names(folder) if one.name == name), None)
    if taken is not None:
        raise UsageError(f"there is a {singular(folder)} named {name!r} already: {taken.path}; choose another name")


def _project() -> Path:
    """The project's root: where plugins/ is, or else the repository or package around here, or else here."""
    here = Path.cwd()
    roots = (one for one in (here, *here.parents) if (one / ".git").exists() or (one / "pyproject.toml").exists())
    return project_of(here) or next(roots, here)


def _write_new(target: Path, text: str) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise RunFolderError(f"cannot write {target}: {error.strerror or error}") from error
