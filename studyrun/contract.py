"""From a component's file to its class: the import, and the checks that refuse a component before a study uses it."""

from __future__ import annotations

import importlib
import inspect
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import PydanticUserError

from studyrun.backend import any_backend
from studyrun.code.importing import load
from studyrun.code.ledger import has_run
from studyrun.code.places import readable, root_of
from studyrun.component import KINDS, Component, Kind
from studyrun.errors import ComponentError
from studyrun.registry import BUILT_IN, Listing
from studyrun.stopping import heed

RESERVED = {
    "probes": ("use", "every", "at", "as"),
    "figures": ("use", "as", "where"),
    "claims": ("use", "as", "where"),
}
"""Keys of a block in YAML that belong to the study, so that no option may have their name."""


class DefinesNoneError(ComponentError):
    """A file beside components that is none itself: code that they share, if it was meant so."""


def load_class(listing: Listing) -> type[Component]:
    """Import the component's file, and no other, and return its class. Raises `ComponentError`."""
    kind = KINDS.get(listing.kind)
    if kind is None:
        raise ComponentError(f"{listing.path}: {listing.kind!r} is no kind of component; kinds: {', '.join(KINDS)}")
    module = _import(listing)
    found = _class_of(module, listing, kind)
    problems = list(_problems(found, listing.kind))
    if problems:
        raise ComponentError(f"{_who(listing, kind)}: class {found.__name__} {'; it '.join(problems)}")
    return found


def _who(listing: Listing, kind: Kind) -> str:
    return f"{listing.path}: the {kind.singular} component {listing.name!r} cannot be used"


def _import(listing: Listing) -> ModuleType:
    try:
        with any_backend():
            return _imported(listing)
    except (Exception, SystemExit) as error:
        heed()
        if isinstance(error, ComponentError):
            raise
        what = f"{listing.path}:{_line_of(error, listing.path)}: importing {listing.name!r} ({listing.kind}) raised"
        raise ComponentError(
            f"{what} {type(error).__name__}: {readable(str(error))}{_further(error, listing)}"
        ) from error


def _imported(listing: Listing) -> ModuleType:
    if listing.target:
        return importlib.import_module(listing.target.split(":")[0].strip())
    if listing.path.is_relative_to(BUILT_IN):
        return importlib.import_module(f"studyrun.components.{listing.kind}.{listing.name}")
    return load(listing.path)


def _line_of(error: BaseException, path: Path) -> int:
    """The line of this very file that the error came through last."""
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename) == path:
        return error.lineno or 1
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
    return (lines[-1] if lines else None) or 1


def _further(error: BaseException, listing: Listing) -> str:
    """In which other file of people's own the error came up, and where a module that was not found may be put."""
    said = ""
    frames = traceback.extract_tb(error.__traceback__)
    inner = next((frame for frame in reversed(frames) if has_run(Path(frame.filename))), None)
    if inner is not None and Path(inner.filename) != listing.path:
        said = f" ({inner.filename}:{inner.lineno})"
    if isinstance(error, ModuleNotFoundError) and not listing.target:
        folders = ", in ".join(map(str, dict.fromkeys((root_of(listing.path.parents[1]), listing.path.parents[1]))))
        said += f"; it was looked for beside the plugin, in {folders} and among the installed packages"
    return said


def _class_of(module: ModuleType, listing: Listing, kind: Kind) -> type[Component]:
    attribute = listing.target.partition(":")[2].strip()
    if attribute:
        named: Any = getattr(module, attribute, None)
        if not (inspect.isclass(named) and issubclass(named, kind.contract)):
            raise ComponentError(f"{_who(listing, kind)}: {listing.target} is no subclass of {kind.contract.__name__}")
        return named
    own: list[type[Component]] = [value for value in vars(module).values() if _is_own(value, module, kind.contract)]
    concrete = [value for value in own if not inspect.isabstract(value)]
    if len(concrete) == 1:
        return concrete[0]
    wanted = f"one concrete subclass of {kind.contract.__name__}"
    if concrete:
        names = ", ".join(value.__name__ for value in concrete)
        raise ComponentError(
            f"{_who(listing, kind)}: the file must define {wanted}, and defines {len(concrete)}: {names}"
        )
    if len(own) == 1:
        return own[0]
    raise DefinesNoneError(f"{_who(listing, kind)}: the file must define {wanted}, and defines none")


def _is_own(value: object, module: ModuleType, contract: type[Component]) -> bool:
    return inspect.isclass(value) and issubclass(value, contract) and value.__module__ == module.__name__


def _problems(found: type[Component], kind: str) -> list[str]:
    """What the class breaks of its contract, each as the end of a sentence that begins with its name."""
    problems = []
    if missing := sorted(getattr(found, "__abstractmethods__", ())):
        problems.append(f"does not implement {', '.join(missing)}")
    if not (found.__dict__.get("__doc__") or "").strip():
        problems.append("has no docstring; its first line is what `studyrun list` shows")
    if unresolved := _unresolved(found):
        problems.append(f"has an option whose type is not understood: {unresolved}")
    keys = {field.alias or name for name, field in found.model_fields.items()}
    for key in RESERVED.get(kind, ("use",)):
        if key in keys:
            problems.append(f"has an option named {key!r}, a key that the study file keeps for itself")
    if found.model_config.get("extra") != "forbid" or not found.model_config.get("frozen"):
        problems.append("changes model_config: options must stay frozen and unknown ones an error")
    return problems


def _unresolved(found: type[Component]) -> str:
    """What is wrong with an annotation that names something the module does not have; empty if nothing is."""
    try:
        found.model_rebuild()
    except (NameError, PydanticUserError) as error:
        return str(error).split("\n", 1)[0]
    return ""
