"""Code that is to be what a run was made with, held against the copies that the run folder keeps of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from studyrun.code.places import ROOT_IN_RECORD, root_of
from studyrun.code.sources import imported_sources
from studyrun.errors import ComponentError
from studyrun.registry import Listing, Registry


def check_component(listing: Listing, kept: Path | None) -> None:
    """Raise `ComponentError` if the component's file is not what a run keeps of it, where it keeps anything."""
    if kept is not None and listing.sha256 != replace(listing, path=kept).sha256:
        raise ComponentError(_other(listing.path, kept))


def check_imports(listing: Listing, record: Path) -> None:
    """Likewise of each file that the component has imported."""
    for one in imported_sources([listing]):
        kept = [file for file in (record / one.place, *record.glob(f"_[0-9]*/{one.place}")) if file.is_file()]
        if kept and all(file.read_bytes() != one.content for file in kept):
            raise ComponentError(_other(one.path, kept[0]))


def check_place(registry: Registry, record: Path, place: str) -> None:
    """Likewise of a file of the record, whether or not anything has imported it yet, and if it is gone."""
    kept, plain = record / place, re.sub(r"^_[0-9]+/", "", place)
    candidates = list(_candidates(registry, plain))
    files = [file for file in candidates if file.is_file()]
    if not files:
        missing = candidates[0] if candidates else plain
        raise ComponentError(
            f"{missing} is gone, with which the run was made and which {kept} holds: put that back to go on as before"
        )
    if all(file.read_bytes() != kept.read_bytes() for file in files):
        raise ComponentError(_other(files[0], kept))


def _other(file: Path, kept: Path) -> str:
    return (
        f"{file} is not what the run was made with, which {kept} holds: put that back to go on as before, or write "
        f"what it is now over {kept} to go on with that"
    )


def _candidates(registry: Registry, place: str) -> Iterator[Path]:
    """Where the file of this place in a record may lie now."""
    inside = place.removeprefix(f"{ROOT_IN_RECORD}/")
    for folder, _ in registry.folders():
        yield (root_of(folder) if inside != place else folder) / inside
    if inside != place:
        yield from (folder / inside for folder in _where(Path(inside).parts[0].removesuffix(".py")))


def _where(module: str) -> Iterator[Path]:
    """The folders that Python would import a module, or a package, from."""
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return
    if spec is not None:
        yield from (Path(place).parent for place in spec.submodule_search_locations or [spec.origin or ""])
