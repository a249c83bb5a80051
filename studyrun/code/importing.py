"""The import of people's own code, which sees its own folder and project, while the rest of the process does not.

An import in such code, whenever it is carried out, looks there first and then where Python looks: it goes by the
`__import__` of the module's own builtins. What is elsewhere in the process, threads included, is left as it is.
"""

from __future__ import annotations

import builtins
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader
from importlib.machinery import ExtensionFileLoader, ModuleSpec, SourceFileLoader
from importlib.util import find_spec, resolve_name, spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from studyrun.code.drawing import drawing_alike
from studyrun.code.ledger import Code, code_of, note_code, note_import, note_plugin, outdated
from studyrun.code.places import (
    add_folder,
    file_of,
    generation_of,
    holds_plugins,
    name_of,
    place_of,
    roots,
    searched,
    top_of,
)

_generation = 0


def load(path: Path) -> ModuleType:
    """Import the plugin <folder>/<kind>/<name>.py: the same module as before unless code has changed since."""
    global _generation
    folder = add_folder(path.parents[1])
    if outdated(_generation):
        _generation += 1
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    name = name_of(folder / path.parent.name / path.stem, _generation)
    if name is None:
        raise ImportError(f"{path} has no name that Python could import it by")
    note_plugin(name)
    return importlib.import_module(name)


class _Finder:
    """Finds what lies under a name of ours, and nothing else."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        place = place_of(name)
        if place is None:
            return None
        file = None if holds_plugins(place) else file_of(place)
        if file is not None:
            return spec_from_file_location(name, file, loader=_loader(name, file))
        if not place.is_dir():
            return None
        spec = ModuleSpec(name, _FolderLoader(), is_package=True)
        spec.submodule_search_locations = [str(place)]
        return spec


def _loader(name: str, file: Path) -> SourceFileLoader | ExtensionFileLoader:
    if file.suffix == ".py":
        return _Loader(name, str(file))
    note_code(name, Code(file, file.read_bytes()))
    return ExtensionFileLoader(name, str(file))


class _Loader(SourceFileLoader):
    """Runs exactly the bytes that are put on record: no `.pyc` of a file that had the same second and size."""

    def get_code(self, fullname: str) -> CodeType:
        content = self.get_data(self.path)
        note_code(fullname, Code(Path(self.path), content))
        code: CodeType = self.source_to_code(content, self.path)
        return code

    def exec_module(self, module: ModuleType) -> None:
        importer = _importer(Path(self.path), module.__name__)
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": importer}
        inspect.modulesbyfile[self.path] = module.__name__  # not an older module made of the same file
        with drawing_alike(self.get_data(self.path)):
            super().exec_module(module)


class _FolderLoader(Loader):
    """A folder as a package, without running its `__init__.py`."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Folder(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


class _Folder(ModuleType):
    """Runs the folder's `__init__.py`, where there is one, once something is asked for that only it can have."""

    def __getattr__(self, name: str) -> Any:
        file = None if name.startswith("__") else Path(self.__path__[0]) / "__init__.py"
        if file is None or code_of(self.__name__) is not None or not file.is_file():
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        _Loader(self.__name__, str(file)).exec_module(self)
        return getattr(self, name)


# --- the import of a name in a file ---------------------------------------------------------------------------------


def _importer(file: Path, module: str) -> Callable[..., Any]:
    """`__import__` for the code in `file`, which lies in sys.modules as `module`."""

    def own(entry: Path | None, name: str, fromlist: Sequence[str]) -> ModuleType | None:
        first = name.partition(".")[0]
        head = name_of(entry / first, generation_of(module)) if entry is not None else None
        if head is None:
            return None
        target = head + name.removeprefix(first)
        note_import(module, target, fromlist)
        found = builtins.__import__(target, None, None, fromlist, 0)
        return found if fromlist else sys.modules[head]

    def import_(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> ModuleType:
        fromlist = fromlist or ()
        if level:
            package = (globals or {}).get("__package__") or ""
            note_import(module, resolve_name("." * level + name, package) if package else name, fromlist)
            return builtins.__import__(name, globals, locals, fromlist, level)
        found = own(_owner(name, fromlist, file), name, fromlist)
        if found is None:
            try:
                found = builtins.__import__(name, globals, locals, fromlist, 0)
            except ModuleNotFoundError as error:
                first = name.partition(".")[0]
                found = own(_last_resort(first, file), name, fromlist) if error.name == first else None
                if found is None:
                    raise
        return found if found is not importlib else _importlib(import_)

    return import_


def _owner(name: str, fromlist: Sequence[str], file: Path) -> Path | None:
    """The folder from which `import name`, or `from name import fromlist`, leads to a file of people's own code.

    A file never finds itself, so that a plugin may have the name of a package that it imports.
    """
    head, *rest = name.split(".")
    for entry in searched(file) if head != "studyrun" else ():
        found = file_of(entry / head)
        if found is None and (entry / head).is_dir():
            whole = entry.joinpath(head, *rest)
            leaves = (file_of(leaf) for leaf in (whole, *(whole / one for one in fromlist)))
            found = next((leaf for leaf in leaves if leaf is not None), None)
        if found is not None and found != file:
            return None if _is_installed(head, found, entry) else entry
    return None


def _is_installed(head: str, found: Path, entry: Path) -> bool:
    """Whether Python has this very file by this name anyway, as of a package that is installed in its place.

    Not so for plugins, of which a study names files, nor for what it finds by the working directory alone.
    """
    if top_of(found) in roots:
        return False
    known = head in sys.modules
    try:
        spec = find_spec(head)
    except (ImportError, ValueError):
        return False
    if spec is None or spec.origin is None or os.path.realpath(spec.origin) != os.path.realpath(found):
        return False
    return known or entry != Path.cwd() or str(entry) in sys.path


def _last_resort(head: str, file: Path) -> Path | None:
    """Where a name that nobody else has may be: a folder without code of its own, or beside the importing file."""
    folders = [entry for entry in searched(file) if (entry / head).is_dir()]
    return next(iter(folders), file.parent if file_of(file.parent / head) else None)


def _importlib(import_: Callable[..., Any]) -> ModuleType:
    """`importlib` as such code sees it: its `import_module` finds what an import statement would."""

    def import_module(name: str, package: str | None = None) -> Any:
        if name.startswith("."):
            return importlib.import_module(name, package)
        return import_(name, fromlist=("__name__",))

    seen = ModuleType("importlib")
    seen.__dict__.update(vars(importlib), import_module=import_module)
    return seen
