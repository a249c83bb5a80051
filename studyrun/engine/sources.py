"""The code of a study's own components, put on record in its run folder: the hashes, and a copy of each file."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from studyrun.code.ledger import run_so_far
from studyrun.code.record import check_imports, check_place
from studyrun.code.sources import Source, drawn_alone, packages_of, sources_of
from studyrun.errors import ComponentError, RunFolderError
from studyrun.registry import DRAWN, Listing, Registry
from studyrun.study.schema import Study
from studyrun.trace.atomic import write_atomically
from studyrun.trace.folder import read_json

PROVENANCE = "provenance.json"


class SourceRecord:
    """What code a study has come to import so far: more than at its start, where a function imports what it needs."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._imported = 0, 0

    def facts(self) -> dict[str, Any]:
        """What provenance.json says of it: `sources` are the files in the run folder's `plugins/`, by their place."""
        found = self._sources()
        hashes = {one.place: one.sha256 for one in found}
        return {
            "plugins": {
                (name := f"{one.kind}/{one.name}"): {"origin": one.origin, "sha256": hashes[f"{name}.py"]}
                for one in self._study.components
                if one.origin != "built-in"
            },
            "sources": hashes,
            "drawn_sources": drawn_alone(self._study.components, found) if found else [],
            "plugin_packages": packages_of(self._listings, found),
        }

    def copy(self, folder: Path, *, over: bool = False) -> None:
        """Write to `folder`/plugins every file that it lacks, or `over` what it has. Raises `RunFolderError`."""
        for one in self._sources():
            target = folder / "plugins" / one.place
            if target.is_file() and (not over or target.read_bytes() == one.content):
                continue
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise RunFolderError(f"cannot write {target}: {error.strerror or error}") from error
            write_atomically(target, one.content)

    def check(self, folder: Path) -> None:
        """Raise `ComponentError` if code that has been imported is not what `folder` keeps of it."""
        for listing in self._listings:
            if listing.kind not in DRAWN:
                check_imports(listing, folder / "plugins")

    def add_to(self, folder: Path) -> None:
        """Put on record what has been imported since this was last done, leaving what stands there as it is."""
        imported = len(sys.modules), run_so_far()
        if not self._listings or imported == self._imported:
            return
        self._imported = imported
        self.copy(folder)
        try:
            known = read_json(folder / PROVENANCE)
        except RunFolderError:
            return  # it is damaged, which resuming has said
        facts = self.facts()
        added: dict[str, Any] = {}
        for key in ("sources", "plugin_packages"):
            added[key] = {**facts[key], **(known[key] if isinstance(known.get(key), dict) else {})}
        if known and any(known.get(key) != value for key, value in added.items()):
            drawn = {*_texts(known, "drawn_sources"), *facts["drawn_sources"]}
            needed = set(facts["sources"]) - set(facts["drawn_sources"])
            added["drawn_sources"] = sorted(drawn - needed)
            write_atomically(folder / PROVENANCE, json.dumps({**known, **added}, indent=2) + "\n")

    def _sources(self) -> list[Source]:
        return sources_of(self._listings)

    @cached_property
    def _listings(self) -> list[Listing]:
        """The components in use that are not built in, those that probes are drawn with included."""
        found = {(one.kind, one.name): one for one in (*_default_figures(self._study), *self._study.components)}
        return [one for one in found.values() if one.origin != "built-in"]


def check_sources(folder: Path, facts: Mapping[str, Any]) -> None:
    """Raise `RunFolderError` if code that a run was made with is another now or gone, imported yet or not.

    `facts` is its provenance.json: the plugins that it names are looked for, and looked at, when they are loaded.
    """
    registry, record = Registry.for_run(folder), folder.resolve() / "plugins"
    passed = {*_texts(facts, "drawn_sources"), *(f"{name}.py" for name in _texts(facts, "plugins"))}
    for place in _texts(facts, "sources"):
        if place in passed or ".." in Path(place).parts or not (record / place).is_file():
            continue
        try:
            check_place(registry, record, place)
        except ComponentError as error:
            raise RunFolderError(f"{folder} cannot be resumed: {error}") from error


def _texts(facts: Mapping[str, Any], key: str) -> list[str]:
    found = facts.get(key)
    return [str(one) for one in found] if isinstance(found, dict | list) else []


def _default_figures(study: Study) -> Iterator[Listing]:
    """What the report draws for the study's probes, and the file therefore does not name."""
    registry = Registry.for_study(study.source) if study.source else Registry()
    for name in dict.fromkeys(name for entry in study.probes for name in entry.probe.figures):
        try:
            yield registry.find("figures", name)
        except ComponentError:
            continue  # the report says so, and draws the probe's channels instead
