"""Kinds of components as people name them, and the registry of the project they stand in."""

from __future__ import annotations

from pathlib import Path

from studyrun.errors import ComponentError, UsageError
from studyrun.registry import Listing, Registry, nearest, project_of


def registry_here() -> Registry:
    """The components within reach of the working directory."""
    return Registry(project_of(Path.cwd()))


def kind_named(given: str) -> str:
    """The folder of a kind given in the singular or the plural. Raises `UsageError`."""
    folders = {folder: folder for folder in Registry.kinds()}
    spelt = {**{singular(folder): folder for folder in folders}, **folders}
    if given.lower() in spelt:
        return spelt[given.lower()]
    near = nearest(given, spelt)
    hint = f"did you mean {near!r}? " if near else ""
    raise UsageError(f"there is no kind of component named {given!r}; {hint}kinds: {', '.join(folders)}")


def component_named(kind: str, name: str) -> Listing:
    """The component of a kind that the user named. Raises `UsageError` if there is none."""
    registry = registry_here()
    try:
        return registry.find(kind, name)
    except ComponentError as error:
        if any(one.name == name for one in registry.names(kind)):
            raise
        raise UsageError(str(error)) from error


def singular(folder: str) -> str:
    """A kind's name in the singular. It is spelt out here since the contracts that say it too cost 0.2 seconds."""
    return {"losses": "loss", "groups": "groups"}.get(folder, folder.removesuffix("s"))
