"""(kind, name) to class: which components there are, by reading their sources, and loading only the one that is named.

Four doors, in order: built-in, the `plugins/` folder of the project, every folder of $STUDYRUN_PLUGINS, and installed
packages' entry points of the group `studyrun.<kind>`. Listing parses sources and imports nothing; not even the
contracts, which cost 0.2 seconds of pydantic.

A run folder has a `plugins/` too: the sources of what was run. Those are a record that comes with the folder, from
whomever, and no door: nothing is imported from there.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from studyrun.errors import ComponentError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from studyrun.component import Component

Origin = Literal["built-in", "project", "environment", "entry point"]
BUILT_IN = Path(__file__).parent / "components"
ENVIRONMENT = "STUDYRUN_PLUGINS"
_OF_A_RUN = ("trace.h5", "sweep.json", "status.json", "provenance.json")
DRAWN = ("figures", "claims")
"""Kinds that a run does not depend on: what is drawn and claimed may be made better later."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A component as its source shows it. `target` is the import path of an entry point, empty for a file.

    `module` is the name in sys.modules once it has been loaded.
    """

    name: str
    kind: str
    origin: Origin
    path: Path
    target: str = ""
    module: str = field(default="", compare=False)

    @property
    def source(self) -> str:
        """The text of the file. Raises `ComponentError` where it cannot be read."""
        try:
            return self.path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ComponentError(f"{self.path}: this {self.kind} component cannot be read: {error}") from error

    @property
    def sha256(self) -> str:
        """The hash of the source, for provenance, and to tell a copy from a namesake."""
        return sha256(self.source.encode()).hexdigest()

    @property
    def docs(self) -> str:
        """The docstring of the component's class, or of its module; empty where the file does not parse."""
        return _docstring(self)

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return self.docs.strip().split("\n", 1)[0].strip()


class Registry:
    """Every component within reach of one project. `project` is its `plugins/` folder's parent, or None.

    `record` is the `plugins/` folder of a run: what this registry loads for it has to be what it was run with.
    """

    def __init__(self, project: Path | None = None, record: Path | None = None) -> None:
        self.project, self.record = project, record

    @classmethod
    def for_study(cls, study: Path) -> Registry:
        """The registry of the project that the study file lies in."""
        folder = study.resolve().parent
        return cls.for_run(folder) if is_run_folder(folder) else cls(project_of(folder))

    @classmethod
    def for_run(cls, folder: Path) -> Registry:
        """The registry of the project around a run folder or, where there is none, around the working directory."""
        own = folder.resolve()
        project = project_of(own.parent) or project_of(Path.cwd())
        inside = project is not None and project.resolve().is_relative_to(own)
        return cls(None if inside else project, own / "plugins")

    @staticmethod
    def kinds() -> tuple[str, ...]:
        """The folders that components live in, one for each kind."""
        return tuple(sorted(entry.name for entry in BUILT_IN.iterdir() if _is_name(entry.name) and entry.is_dir()))

    def names(self, kind: str) -> list[Listing]:
        """Every component of a kind, sorted by name. A name taken twice stands here twice."""
        return sorted(self._listings(kind), key=lambda listing: listing.name)

    def installed(self) -> list[Listing]:
        """The components that installed packages bring."""
        return [listing for kind in self.kinds() for listing in _installed(kind)]

    def find(self, kind: str, name: str) -> Listing:
        """The component of this name. Raises `ComponentError` if there is none, or two that differ."""
        found = _distinct(listing for listing in self._listings(kind) if listing.name == name)
        if len(found) > 1:
            both = " and ".join(f"{listing.path} ({listing.origin})" for listing in found)
            raise ComponentError(f"two {kind} are named {name!r}: {both}; rename or remove one of them")
        if found:
            return found[0]
        near = self.nearest(kind, name)
        known = ", ".join(sorted({listing.name for listing in self._listings(kind)})) or "none"
        hint = f"did you mean {near!r}? " if near else ""
        kept = self._recorded(kind, name)
        if kept is not None:
            hint = (
                f"the run folder holds the source that it was run with, {kept}, and nothing is imported from there; "
                f"put it into plugins/{kind}/ of your project, or trust the folder by ${ENVIRONMENT}={self.record}; "
            )
        raise ComponentError(f"there is no {name!r} among the {kind}; {hint}known: {known}")

    def load(self, kind: str, name: str) -> type[Component]:
        """Import the one file that holds this component and return its class, checked against its contract."""
        from studyrun.code.record import check_component, check_imports
        from studyrun.contract import load_class

        listing = self.find(kind, name)
        compared = self.record is not None and kind not in DRAWN and listing.origin != "built-in"
        if compared:
            check_component(listing, self._recorded(kind, name))
        found = load_class(listing)
        if compared and self.record is not None:
            check_imports(replace(listing, module=found.__module__), self.record)
        return found

    def _recorded(self, kind: str, name: str) -> Path | None:
        """Where a run folder keeps the source of this component."""
        kept = self.record / kind / f"{name}.py" if self.record is not None and _is_name(name) else None
        return kept if kept is not None and kept.is_file() else None

    def nearest(self, kind: str, name: str) -> str | None:
        """The known name that is spelt most like `name`, if any is close."""
        return nearest(name, (listing.name for listing in self._listings(kind)))

    def docs(self, kind: str, name: str) -> str:
        """The whole docstring of a component, read without importing it."""
        return self.find(kind, name).docs

    def _listings(self, kind: str) -> Iterator[Listing]:
        yield from _files(BUILT_IN, kind, "built-in")
        for folder, origin in self.folders():
            yield from _files(folder, kind, origin)
        yield from _installed(kind)

    def folders(self) -> Iterator[tuple[Path, Origin]]:
        """The folders of plugins, that of the project first."""
        if self.project is not None:
            yield self.project / "plugins", "project"
        for folder in filter(None, os.environ.get(ENVIRONMENT, "").split(os.pathsep)):
            yield Path(os.path.expanduser(folder)), "environment"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is spelt most like `name`, if any is close."""
    from difflib import get_close_matches

    by_folded = {one.lower().replace("-", "_"): one for one in known}
    close = get_close_matches(name.lower().replace("-", "_"), by_folded, n=1)
    return by_folded[close[0]] if close else None


def project_of(folder: Path) -> Path | None:
    """The nearest folder upwards that has `plugins/`, looking no further than the project's root (.git, pyproject).

    A run folder is no project.
    """
    for candidate in (folder, *folder.parents):
        if (candidate / "plugins").is_dir() and not is_run_folder(candidate):
            return candidate
        if (candidate / ".git").exists() or (candidate / "pyproject.toml").exists():
            return None
    return None


def is_run_folder(folder: Path) -> bool:
    """Whether a run, or a sweep, has left its files in the folder."""
    return any((folder / name).is_file() for name in _OF_A_RUN)


def _is_name(stem: str) -> bool:
    return stem.isidentifier() and not stem.startswith("_")


def _files(folder: Path, kind: str, origin: Origin) -> Iterator[Listing]:
    try:
        files = sorted((folder / kind).glob("*.py"))
    except OSError:
        return
    yield from (Listing(file.stem, kind, origin, file.absolute()) for file in files if _is_name(file.stem))


def _installed(kind: str) -> Iterator[Listing]:
    for point in _entry_points(tuple(sys.path)).select(group=f"studyrun.{kind}"):
        yield Listing(point.name, kind, "entry point", _file_of(point), point.value)


@lru_cache(maxsize=1)
def _entry_points(path: tuple[str, ...]) -> Any:
    """Every installed package's entry points, read once for all kinds: a dozen milliseconds, nine times over."""
    from importlib.metadata import entry_points

    return entry_points()


def _distinct(listings: Iterable[Listing]) -> list[Listing]:
    """One listing for each source: a copy is no rival.

    An installed package's own goes before its copy, which cannot import what lies beside it in the package.
    """
    found = list(listings)
    if len(found) > 1:
        found.sort(key=lambda listing: not listing.target)
        found = list({listing.sha256: listing for listing in reversed(found)}.values())[::-1]
    return found


def _file_of(point: EntryPoint) -> Path:
    """The file behind an entry point, found as the import system would, but without running any package."""
    where: list[str] | None = None
    parts = point.module.split(".")
    origin: str | None = None
    for depth in range(1, len(parts) + 1):
        name = ".".join(parts[:depth])
        specs = (finder.find_spec(name, where) for finder in sys.meta_path if hasattr(finder, "find_spec"))
        spec = next((spec for spec in specs if spec is not None), None)
        where = list(spec.submodule_search_locations or []) if spec else []
        origin = spec.origin if spec else None
    return Path(origin or f"{point.module}.py")


def _docstring(listing: Listing) -> str:
    try:
        tree = ast.parse(listing.source)
    except (ComponentError, SyntaxError, ValueError):
        return ""
    wanted = listing.name.replace("_", "").lower()
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    classes.sort(key=lambda node: node.name.lower() != wanted)
    documented = (ast.get_docstring(node) for node in classes if node.name.lower() == wanted or len(classes) == 1)
    return next((text for text in documented if text), None) or ast.get_docstring(tree) or ""
